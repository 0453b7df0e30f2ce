"""`python -m mtlser backbones|corpora|corpus|plan|run|share|reference|models|predict|bench`: the library's commands."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mtlser.command import INTERRUPTED, failed
from mtlser.config import MAINTAINERS, MAX_SECONDS, PRESETS
from mtlser.machine import num_cores
from mtlser.paper import PUBLISHED_V100_AUDIO_SECONDS_PER_SECOND
from mtlser.runs.settings import Settings

RECORD_BYTES = 500_000  # of one run: its predictions and history, rounded up


def main(arguments: list[str] | None = None) -> int:
    """Parses the command line and returns the exit code; what a user can mend is one clear line."""
    try:
        options = _parser().parse_args(arguments)
        if "preset" in options and not getattr(options, "order", None):
            from mtlser.runs.open_corpora import check_release

            check_release(options.preset)
        status = options.command(options) or 0
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print(f"\n{INTERRUPTED}", file=sys.stderr)
        return 130
    except Exception as error:
        return failed(error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mtlser", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    preset = os.environ.get("MTLSER_PRESET") or "pocket"

    def command(function) -> Callable:
        """Adds the command that a function is, and returns what adds an argument to it."""
        added = commands.add_parser(function.__name__.strip("_"), help=function.__doc__, description=function.__doc__)
        added.set_defaults(command=function)
        if function is not _bench:
            added.add_argument("--preset", default=preset, choices=list(PRESETS))
        return added.add_argument

    command(_backbones)
    command(_corpora)
    command(_corpus)
    command(_plan)("--watch", action="store_true", help="draw a table of its runs again until all have ended")
    command(_models)
    run, share, reference, predict, bench = map(command, (_run, _share, _reference, _predict, _bench))
    run("experiment", nargs="?", default=os.environ.get("MTLSER_EXPERIMENT") or "table4")
    run("--shard", type=_shard, default=(1, 1), metavar="K/N", help="only each N-th run from K")
    run("--order", type=Path, help=argparse.SUPPRESS)  # what an engine starts
    run("--worker", action="store_true", help=argparse.SUPPRESS)
    named = {"type": _contributor, "help": "name of the folder under the results folder"}
    share("contributor", **named)
    share("--remarks", default="", help="anything a reader of the results should know")
    reference("contributor", nargs="?", default=MAINTAINERS, **named)
    predict("files", nargs="+", metavar="FILE")
    predict("--model", type=Path, help="folder of a trained model; default: the newest that runs kept")
    predict("--frames", action="store_true", help="add what the model reads at each frame")
    longer = "longer files are refused: memory grows with the square"
    predict("--max-seconds", type=float, default=MAX_SECONDS, help=longer)
    bench("names", nargs="*", metavar="NAME", help="all but the longest, reproduce and tests, unless named")
    me = os.environ.get("MTLSER_CONTRIBUTOR") or MAINTAINERS
    bench("--contributor", default=me, **named)
    bench("--repeats", type=int, default=3, help="of which the median is taken")
    bench("--threads", type=int, default=num_cores(), help="of torch; one for each core by default")
    bench("--bf16", action="store_true", help="bf16 too, as on every GPU: for CPUs with instructions for it")
    bench("--again", action="store_true", help="also what has a record, which it replaces")
    bench("--small", action="store_true", help="try it in seconds, which leaves no record")
    return parser


def _shard(text: str) -> tuple[int, int]:
    """ "2/8" → (2, 8)."""
    number, _, count = text.partition("/")
    if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} is not K/N with 1 ≤ K ≤ N, such as 2/8")
    return int(number), int(count)


def _contributor(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][\w-]{0,63}", text, re.ASCII):
        raise argparse.ArgumentTypeError(
            f"{text!r} names no folder of results: use letters, digits, _ and -, 64 at most"
        )
    return text


def _backbones(options: argparse.Namespace) -> int | None:
    """List the backbones that have a card: what each heard in pretraining, licence, and what is here."""
    from mtlser.model.cards import backbones_table

    print(backbones_table(Settings.from_environment().backbone).to_string(index=False))


def _corpora(options: argparse.Namespace) -> int | None:
    """List the corpora: licence, size, and what is here."""
    from mtlser.runs.open_corpora import corpora_table

    print(corpora_table(Settings.from_environment()).to_string(index=False))


def _corpus(options: argparse.Namespace) -> int | None:
    """Make or check the preset's corpus."""
    from mtlser.corpus.release_counts import fingerprint
    from mtlser.runs.corpora import load_utterances
    from mtlser.runs.open_corpora import fetch_corpus

    settings = Settings.from_environment()
    fetch_corpus(options.preset, settings)
    utterances = load_utterances(options.preset, settings)
    counts = utterances["emotion"].value_counts().to_dict()
    print(f"{len(utterances)} utterances of {utterances['speaker'].nunique()} speakers: {counts}")
    print(f"fingerprint {fingerprint(utterances)}")


def _plan(options: argparse.Namespace) -> int | None:
    """What would be trained, and what it would take; trains nothing."""
    from mtlser.model.cards import backbone_bytes
    from mtlser.runs import experiments
    from mtlser.runs.plan import table4

    settings = Settings.from_environment()
    plan = table4(options.preset, settings)
    if plan.preset.corpus is not None and not plan.corpus.exists:
        num_folds = len(plan.fold_names or ()) or plan.preset.num_folds or 10
        num_runs = len(plan.alphas) * num_folds * len(plan.preset.seeds)
        protocol = f", PROTOCOL={plan.settings.protocol}" if plan.settings.protocol else ""
        print(f"{options.preset}{protocol}: the corpus is not made yet; `make reproduce` makes it, for {num_runs} runs")
        return
    if options.watch:
        from mtlser.report.watch import watch

        plans = experiments.plans(os.environ.get("MTLSER_EXPERIMENT") or "table4", options.preset, settings)
        return bool(watch(plans))
    status, num_missing = plan.status(), len(plan.missing())
    print(f"{options.preset}, protocol {plan.template.protocol}: {len(status)} runs")
    print(status.groupby(["alpha", "status"]).size().unstack(fill_value=0).to_string())
    for run_id in status["run_id"][status["status"] == "failed"]:
        print(f"failed: {run_id}")
    if not num_missing:
        plan.own_records()  # a record that is damaged is named here
        print("nothing is missing")
        return
    print(f"missing: {num_missing} runs")
    weights = backbone_bytes(plan.backbone) / 2**30
    disk = num_missing * RECORD_BYTES / 2**30 + (len(plan.preset.kept_weights) + 3) * weights
    free = shutil.disk_usage(plan.settings.artifacts if plan.settings.artifacts.exists() else ".").free / 2**30
    print(f"time: {_expected_time(plan, num_missing)}")
    print(f"memory: {4 * weights:.2f} GiB a run for weights, gradients and AdamW's two moments; activations besides")
    print(f"disk: {disk:.2f} GiB for records, one checkpoint and kept weights; {free:.0f} GiB are free")


def _expected_time(plan, num_missing: int) -> str:
    """Hours of the missing runs, from finished ones (this machine's, if any), else from a published speed."""
    done = plan.own_records().only(status="done").runs
    done = done if len(done) else plan.records().only(status="done").runs
    if len(done):
        hours = done["seconds"].astype(float).mean() * num_missing / 3600
        where = f"{done['device'].iloc[0]}, mean of {len(done)} finished runs"
        return f"{hours:.1f} hours of one worker ({where}); divided by the workers at once"
    utterances, speed = plan.corpus.utterances, PUBLISHED_V100_AUDIO_SECONDS_PER_SECOND
    seconds = (utterances["end_seconds"] - utterances["start_seconds"]).sum() * plan.template.epochs
    hours = num_missing * seconds / speed / 3600
    return f"not measured yet; at the published {speed:g} audio-seconds a second of one V100 at most {hours:.0f} hours"


def _run(options: argparse.Namespace) -> int | None:
    """Complete an experiment's runs."""
    from mtlser.runs import experiments
    from mtlser.runs.engines import complete
    from mtlser.runs.open_corpora import fetch_corpus
    from mtlser.runs.work import be_a_worker, work

    if options.worker:
        return be_a_worker(options.order)
    if options.order:
        failures = work(options.order, options.shard)
        print("\n".join(f"error: {run_id}: {error}" for run_id, error in failures.items()), file=sys.stderr)
        return bool(failures)
    settings = Settings.from_environment()
    fetch_corpus(options.preset, settings)
    for name, plan in experiments.plans(options.experiment, options.preset, settings).items():
        print(name)
        print(complete(plan, options.shard).runs.groupby(["alpha", "status"]).size().to_string(), flush=True)


def _share(options: argparse.Namespace) -> int | None:
    """Write this machine's records to the results folder, without transcripts."""
    from mtlser.runs import experiments
    from mtlser.runs.open_corpora import results_folder, write_licence
    from mtlser.runs.records import merge
    from mtlser.runs.share import share

    settings = replace(Settings.from_environment(), train=False)
    plans = experiments.every_plan(options.preset, settings)
    about = {"contributor": options.contributor, "remarks": options.remarks}
    folder = results_folder(options.preset, settings.results / options.contributor)
    share(merge(plan.own_records() for plan in plans), folder, about)
    write_licence(options.preset, folder)
    print(f"wrote {folder}; commit it to have the book show it")


def _reference(options: argparse.Namespace) -> int | None:
    """Measure what needs no training of the encoder: majority, look-up of the text, a linear classifier."""
    from mtlser.runs.open_corpora import fetch_corpus, results_folder, write_licence
    from mtlser.runs.plan import table4
    from mtlser.runs.reference import FOLDER, write_reference

    settings = Settings.from_environment()
    fetch_corpus(options.preset, settings)
    folder = results_folder(options.preset, settings.results / options.contributor)
    print(f"wrote {write_reference(table4(options.preset, settings), folder / FOLDER)}")
    write_licence(options.preset, folder)


def _bench(options: argparse.Namespace) -> int | None:
    """Measure speed and memory; writes records that the book shows."""
    import torch

    from mtlser.runs import benchmark

    device = "cuda" if torch.cuda.is_available() else "cpu"
    precisions = ("float32", "bf16") if device == "cuda" or options.bf16 else ("float32",)
    given = benchmark.Options(options.repeats, options.threads, device, precisions, options.small)
    folder = Settings.from_environment().results / options.contributor / benchmark.FOLDER
    failed = benchmark.run_benchmarks(options.names, folder, given, options.again)
    if failed:
        print(f"error: {', '.join(failed)} failed; their messages are above, and the others are kept", file=sys.stderr)
    return bool(failed)


def _models(options: argparse.Namespace) -> int | None:
    """List the trained models that runs kept, newest first: what each was trained on, and its folder."""
    from mtlser.runs.kept import kept_models

    for model in kept_models(Settings.from_environment().artifacts):
        print(f"{model.description}\n    {model.folder}")


def _predict(options: argparse.Namespace) -> int | None:
    """Emotion and transcript of audio files, as JSON lines."""
    from mtlser.corpus.audio import AudioError
    from mtlser.model import Recognizer
    from mtlser.runs.kept import description_of, kept_model, kept_models

    folder = options.model
    if folder is None:
        artifacts = Settings.from_environment().artifacts
        folder = kept_model(artifacts, options.preset).folder
        others = len(kept_models(artifacts)) - 1
        print(f"model {folder} ({others} others: python -m mtlser models)", file=sys.stderr)
    recognizer = Recognizer.from_pretrained(folder, options.max_seconds)
    trained = description_of(folder)
    failed = False
    for file in options.files:
        try:
            answer = recognizer(file).to_dict(frames=options.frames)
        except AudioError as error:
            answer, failed = {"error": error.reason}, True
        print(json.dumps({"file": file, **answer, "model": trained}), flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
