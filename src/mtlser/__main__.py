"""`python -m mtlser corpus|plan|run|share|predict|bench`: the library's commands."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from mtlser.config import MAINTAINERS, MAX_SECONDS, PRESETS
from mtlser.machine import INTERRUPTED, num_cores
from mtlser.paper import PUBLISHED_V100_AUDIO_SECONDS_PER_SECOND
from mtlser.runs.settings import Settings

RECORD_BYTES = 500_000  # of one run: its predictions and history, rounded up


def main(arguments: list[str] | None = None) -> int:
    """Parses the command line and returns the exit code; an error that the library itself raises is one clear line."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except KeyboardInterrupt:
        print(f"\n{INTERRUPTED}", file=sys.stderr)
        return 130
    except Exception as error:
        if not type(error).__module__.startswith("mtlser."):  # a mistake in the code: the traceback says where
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mtlser", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    def add(function, summary: str) -> argparse.ArgumentParser:
        command = commands.add_parser(function.__name__.strip("_"), help=summary, description=summary)
        command.set_defaults(command=function)
        return command

    corpus = add(_corpus, "make or check the preset's corpus")
    plan = add(_plan, "what would be trained, and what it would take; trains nothing")
    run = add(_run, "complete an experiment's runs")
    run.add_argument("experiment", nargs="?", default="table4", choices=["table4", "changes"])
    run.add_argument("--shard", type=_shard, default=(1, 1), metavar="K/N", help="only each N-th run from K")
    run.add_argument("--order", type=Path, help=argparse.SUPPRESS)  # what an engine starts
    run.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    share = add(_share, "write this machine's records to the results folder, without transcripts")
    share.add_argument("contributor", help="name of the folder under the results folder")
    share.add_argument("--remarks", default="", help="anything a reader of the results should know")
    preset = os.environ.get("MTLSER_PRESET") or "pocket"
    for command in (corpus, plan, run, share):
        command.add_argument("--preset", default=preset, choices=list(PRESETS))
    predict = add(_predict, "emotion and transcript of audio files, as JSON lines")
    predict.add_argument("files", nargs="+", metavar="FILE")
    predict.add_argument("--model", type=Path, help="folder of a trained model; default: the newest that runs kept")
    predict.add_argument("--preset", default=preset, help="of whose runs, if any")
    predict.add_argument("--frames", action="store_true", help="add what the model reads at each frame")
    longer = "longer files are refused: memory grows with the square"
    predict.add_argument("--max-seconds", type=float, default=MAX_SECONDS, help=longer)
    bench = add(_bench, "measure speed and memory; writes records that the book shows")
    bench.add_argument("names", nargs="*", metavar="NAME", help="which benchmarks; all but the longest by default")
    bench.add_argument("--contributor", default=MAINTAINERS, help="name of the folder under the results folder")
    bench.add_argument("--repeats", type=int, default=3, help="of which the median is taken")
    bench.add_argument("--threads", type=int, default=num_cores(), help="of torch; one for each core by default")
    bf16 = "bf16 too, as on every GPU: for CPUs with instructions for it"
    bench.add_argument("--bf16", action="store_true", help=bf16)
    bench.add_argument("--again", action="store_true", help="also what has a record, which it replaces")
    bench.add_argument("--small", action="store_true", help="try it in seconds; the book leaves such records out")
    return parser


def _shard(text: str) -> tuple[int, int]:
    """ "2/8" → (2, 8)."""
    number, _, count = text.partition("/")
    if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} is not K/N with 1 ≤ K ≤ N, such as 2/8")
    return int(number), int(count)


def _corpus(options: argparse.Namespace) -> int:
    from mtlser.corpus.release_counts import fingerprint
    from mtlser.runs.corpora import load_utterances

    utterances = load_utterances(options.preset, Settings.from_environment())
    counts = utterances["emotion"].value_counts().to_dict()
    print(f"{len(utterances)} utterances of {utterances['speaker'].nunique()} speakers: {counts}")
    print(f"fingerprint {fingerprint(utterances)}")
    return 0


def _plan(options: argparse.Namespace) -> int:
    from mtlser.runs.plan import table4

    plan = table4(options.preset, Settings.from_environment())
    if plan.preset.corpus is not None and not plan.corpus.exists:
        num_folds = len(plan.fold_names or ()) or plan.preset.num_folds or 10
        num_runs = len(plan.alphas) * num_folds * len(plan.preset.seeds)
        print(f"{options.preset}: the corpus is not made yet; `make reproduce` makes it, for {num_runs} runs")
        return 0
    status = plan.status()
    print(f"{options.preset}, protocol {plan.template.protocol}: {len(status)} runs")
    print(status.groupby(["alpha", "status"]).size().unstack(fill_value=0).to_string())
    for run_id in status["run_id"][status["status"] == "failed"]:
        print(f"failed: {run_id}")
    for line in _expectation(plan, len(plan.missing())):
        print(line)
    return 0


def _expectation(plan, num_missing: int) -> Iterator[str]:
    """Lines on hours, memory and disk for the missing runs, each with where it comes from."""
    from mtlser.model.backbone import backbone_bytes

    if num_missing == 0:
        yield "nothing is missing"
        return
    yield f"missing: {num_missing} runs"
    done = plan.own_records().only(status="done").runs
    if not len(done):
        done = plan.records().only(status="done").runs
    if len(done):
        hours = done["seconds"].astype(float).mean() * num_missing / 3600
        where = f"{done['device'].iloc[0]}, mean of {len(done)} finished runs"
        yield f"time: {hours:.1f} hours of one worker ({where}); divided by the workers at once"
    else:
        utterances = plan.corpus.utterances
        seconds = (utterances["end_seconds"] - utterances["start_seconds"]).sum() * plan.template.epochs
        hours = num_missing * seconds / PUBLISHED_V100_AUDIO_SECONDS_PER_SECOND / 3600
        speed = f"{PUBLISHED_V100_AUDIO_SECONDS_PER_SECOND:g} audio-seconds a second"
        yield f"time: not measured yet; at the published {speed} of one V100 at most {hours:.0f} hours"
    weights = backbone_bytes(plan.backbone, plan.preset.backbone_revision) / 2**30
    disk = num_missing * RECORD_BYTES / 2**30 + (len(plan.preset.kept_weights) + 3) * weights
    free = shutil.disk_usage(plan.settings.artifacts if plan.settings.artifacts.exists() else ".").free / 2**30
    yield f"memory: {4 * weights:.2f} GiB a run for weights, gradients and AdamW's two moments, and activations besides"
    yield f"disk: {disk:.2f} GiB for records, one checkpoint and kept weights; {free:.0f} GiB are free"


def _run(options: argparse.Namespace) -> int:
    from mtlser.runs.engines import complete
    from mtlser.runs.plan import CHANGES, changed, table4
    from mtlser.runs.work import be_a_worker, work

    if options.worker:
        return be_a_worker(options.order)
    if options.order:
        failures = work(options.order, options.shard)
        print("\n".join(f"error: {run_id}: {error}" for run_id, error in failures.items()), file=sys.stderr)
        return 1 if failures else 0
    settings = Settings.from_environment()
    plans = {"Table 4": table4(options.preset, settings)}
    if options.experiment == "changes":
        plans = {f"Table 4, {name}": changed(name, options.preset, settings) for name in CHANGES}
    for name, plan in plans.items():
        print(name)
        print(complete(plan, options.shard).runs.groupby(["alpha", "status"]).size().to_string(), flush=True)
    return 0


def _share(options: argparse.Namespace) -> int:
    from mtlser.runs.plan import CHANGES, changed, table4
    from mtlser.runs.records import merge, share

    settings = replace(Settings.from_environment(), train=False)
    plans = [table4(options.preset, settings), *(changed(name, options.preset, settings) for name in CHANGES)]
    about = {"contributor": options.contributor, "remarks": options.remarks}
    folder = share(merge(plan.own_records() for plan in plans), settings.results / options.contributor, about)
    print(f"wrote {folder}; commit it to have the book show it")
    return 0


def _bench(options: argparse.Namespace) -> int:
    import torch

    from mtlser.runs import benchmark

    has_gpu = torch.cuda.is_available()
    precisions = ("float32", "bf16") if has_gpu or options.bf16 else ("float32",)
    device = "cuda" if has_gpu else "cpu"
    given = benchmark.Options(options.repeats, options.threads, device, precisions, options.small)
    folder = Settings.from_environment().results / options.contributor / benchmark.FOLDER
    failed = benchmark.run_benchmarks(options.names, folder, given, options.again)
    for name in [] if options.names else benchmark.ONLY_NAMED:
        print(f"{name}: takes minutes, so it is measured when it is named: python -m mtlser bench {name}")
    if failed:
        print(f"error: {', '.join(failed)} failed; their messages are above, and the others are kept", file=sys.stderr)
    return 1 if failed else 0


def _predict(options: argparse.Namespace) -> int:
    from mtlser.corpus.audio import AudioError
    from mtlser.model import Recognizer
    from mtlser.runs.kept import kept_model

    folder = options.model
    if folder is None:
        model = kept_model(Settings.from_environment().artifacts, options.preset)
        folder = model.folder
        print(f"model {folder}: {model.description}", file=sys.stderr)
    recognizer = Recognizer.from_pretrained(folder, options.max_seconds)
    failed = 0
    for file in options.files:
        try:
            answer = recognizer(file).to_dict(frames=options.frames)
        except AudioError as error:
            failed = 1
            answer = {"error": error.reason}
        print(json.dumps({"file": file, **answer}), flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
