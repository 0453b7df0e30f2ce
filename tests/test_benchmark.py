"""The benchmarks' machinery on invented measurements, and each of them as a try on tiny shapes."""

from __future__ import annotations

import json
from dataclasses import replace
from pkgutil import resolve_name
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from mtlser import __main__ as command
from mtlser.config import ConfigError
from mtlser.model import MultitaskModel
from mtlser.runs import benchmark, benchmark_step
from mtlser.runs.batches import make_batch
from mtlser.runs.benchmark import Options, read_record, run_benchmarks
from mtlser.runs.benchmark_step import CONFIGS, Released, base_architecture, noise_inputs
from mtlser.runs.records import RecordError
from mtlser.runs.training import Trainer
from smoke import ROOT

LINES: list[str] = []
SMALL = Options(repeats=1, threads=1, small=True, say=LINES.append)
REAL = replace(SMALL, small=False)
RESULTS: list = []  # what `fake` returns or raises next; the last of them from then on


def fake(options: Options) -> benchmark.Measured:
    result = RESULTS.pop(0) if len(RESULTS) > 1 else RESULTS[0]
    if isinstance(result, Exception):
        raise result
    return {"cold_seconds": result}, {"turns": 7}


@pytest.fixture(autouse=True)
def fakes(request, monkeypatch):
    """Two benchmarks that return what the test says, where it asks for `tmp_path`; the second only when named."""
    if "tmp_path" in request.fixturenames:
        made = dict.fromkeys(("loader", "tests"), ("A title", f"{__name__}:fake"))
        monkeypatch.setattr(benchmark, "BENCHMARKS", made)


def test_a_record_holds_the_numbers_and_what_they_depend_on(tmp_path):
    RESULTS[:] = [3.14159265]
    assert run_benchmarks(["loader"], tmp_path, REAL) == []
    record = read_record(tmp_path / "loader-cpu.json")
    assert record["measured"] == {"cold_seconds": 3.14159265} and record["details"] == {"turns": 7}
    assert (record["threads"], record["repeats"], record["device"]) == (1, 1, "cpu")
    assert record["hardware"]["cores"] >= 1 and "torch" in record["versions"]
    assert record["revision"] and record["finished"].startswith("20") and "instructions" in record["hardware"]
    assert any(line.startswith("loader: cold_seconds 3.14 (") for line in LINES)


def test_a_record_is_replaced_when_asked_and_a_try_leaves_none(tmp_path):
    path = tmp_path / "loader-cpu.json"
    RESULTS[:] = [1.0, 2.0, 3.0, 4.0, 5.0]

    def value() -> float:
        return read_record(path)["measured"]["cold_seconds"]

    run_benchmarks(["loader"], tmp_path, SMALL)
    assert not path.exists() and "loader: cold_seconds 1 (" in LINES[-1]
    run_benchmarks(["loader"], tmp_path, REAL)
    assert value() == 2.0
    run_benchmarks(["loader"], tmp_path, SMALL)
    run_benchmarks(["loader"], tmp_path, REAL)
    assert value() == 2.0 and str(path) in LINES[-1] and "--again" in LINES[-1]
    run_benchmarks(["loader"], tmp_path, REAL, again=True)
    assert value() == 4.0
    path.write_text("{")
    with pytest.raises(RecordError, match=r"loader-cpu\.json"):
        run_benchmarks(["loader"], tmp_path, REAL)
    run_benchmarks(["loader"], tmp_path, REAL, again=True)
    assert value() == 5.0


def test_a_failure_leaves_the_others_and_its_old_record(tmp_path):
    RESULTS[:] = [1.0, RuntimeError("no room")]
    run_benchmarks(["loader"], tmp_path, REAL)
    before = (tmp_path / "loader-cpu.json").read_bytes()
    assert run_benchmarks(["loader", "tests"], tmp_path, REAL, again=True) == ["loader", "tests"]
    assert (tmp_path / "loader-cpu.json").read_bytes() == before
    assert "loader: FAILED: RuntimeError: no room" in LINES


def test_the_command_writes_records_and_fails_when_one_does(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MTLSER_RESULTS", str(tmp_path))
    RESULTS[:] = [1.0, RuntimeError("no room")]
    assert command.main(["bench", "loader", "--contributor", "someone", "--threads", "1"]) == 0
    assert list(tmp_path.rglob("*.json"))[0].relative_to(tmp_path).as_posix().startswith("someone/benchmarks/loader-")
    assert command.main(["bench", "loader", "--contributor", "someone", "--again"]) == 1
    assert "error: loader failed" in capsys.readouterr().err
    assert command.main(["bench", "--contributor", "someone"]) == 0
    assert command.main(["bench", "nothing"]) == 1
    assert "choose from loader, tests" in capsys.readouterr().err


def test_all_but_the_longest_run_by_default(tmp_path):
    RESULTS[:] = [1.0]
    run_benchmarks([], tmp_path, REAL)
    assert [path.name for path in tmp_path.iterdir()] == ["loader-cpu.json"]
    run_benchmarks(["tests"], tmp_path, REAL)
    assert (tmp_path / "tests-cpu.json").exists()
    with pytest.raises(ConfigError, match="no benchmark speed; choose from loader, tests"):
        run_benchmarks(["speed"], tmp_path, REAL)


def test_every_benchmark_s_function_is_there():
    assert list(benchmark.BENCHMARKS) == ["training-step", "memory", "several-runs", "loader", "reproduce", "tests"]
    assert set(benchmark.ONLY_NAMED) == {"several-runs", "reproduce", "tests"}
    assert all(callable(resolve_name(function)) for _, function in benchmark.BENCHMARKS.values())


def test_ratios_are_taken_within_each_repeat():
    rates = pd.DataFrame({"released": [1.0, 2.0, 4.0], "ours_bf16": [3.0, 4.0, 10.0], "evaluation": 8.0})
    found = benchmark_step.step_figures(rates, "released", "bf16")
    assert found["ratio_bf16"] == 2.5
    assert (found["rate_released"], found["rate_bf16"], found["rate_evaluation"]) == (2.0, 4.0, 8.0)
    hours = 6.99 * 5 * 100  # of audio, on whose nine folds of ten Table 4 trains
    assert found["table4_hours"] == pytest.approx(hours * (9 / 4 + 1 / 8))
    assert 9 * hours * 3600 == pytest.approx(113e6, rel=0.01)  # the audit's audio-seconds to train on
    assert not {"ratio_released", "ratio_evaluation"} & found.keys()


def test_lengths_are_like_iemocap_s():
    seconds = benchmark_step.iemocap_lengths(20_000)
    assert np.median(seconds) == pytest.approx(3.58, rel=0.03) and seconds.mean() == pytest.approx(4.55, rel=0.03)
    assert np.quantile(seconds, 0.95) == pytest.approx(11.06, rel=0.05)
    assert 0.585 <= seconds.min() and seconds.max() <= 34.139
    np.testing.assert_array_equal(benchmark_step.iemocap_lengths(24), seconds[:24])


def test_the_shape_is_wav2vec2_base_s():
    config = base_architecture()
    assert (config.hidden_size, config.num_hidden_layers, config.conv_dim) == (768, 12, (512,) * 7)
    assert config.feat_extract_norm == "group" and not config.do_stable_layer_norm and config.layerdrop == 0


def test_the_released_step_learns_and_sees_padding(tmp_path):
    """It is a baseline that trains, and not padding-exact: an utterance's loss depends on what is beside it."""
    inputs = noise_inputs(np.array([1.0, 0.5625, 0.75, 1.0]), tmp_path, small=True)
    feed = Trainer(CONFIGS["float32"], inputs, tmp_path).feed
    torch.manual_seed(0)
    released = Released(base_architecture(True), feed).train()
    assert released.encoder.config._attn_implementation == "eager" and released.encoder.is_activation_checkpointing

    @torch.no_grad()
    def logits(*rows: int) -> torch.Tensor:
        released.eval()
        batch = make_batch(inputs.dataset, rows, feed.inputs).to(feed.device)
        emotion_logits, ctc_logits, frame_lengths = released(batch.inputs)
        released.train()
        assert frame_lengths.tolist() == [ctc_logits.shape[1]] * len(rows)
        return emotion_logits.cpu()

    def loss() -> torch.Tensor:
        return torch.nn.functional.cross_entropy(logits(0, 1, 2, 3), torch.arange(4))

    apart = torch.cat([logits(0), logits(1)])
    assert not torch.allclose(logits(0, 1), apart, rtol=1e-4)
    torch.testing.assert_close(logits(0, 3), torch.cat([logits(0), logits(3)]), rtol=1e-4, atol=1e-6)  # of one length
    first = loss()
    released.optimizer.param_groups[0]["lr"] = 1e-2
    for _ in range(12):
        released.step(inputs.train)
    assert loss() < 0.8 * first


@pytest.mark.parametrize("precisions", [("float32",), ("float32", "bf16")])
def test_the_training_step_is_measured_whole(precisions):
    measured, details = benchmark_step.training_step(replace(SMALL, precisions=precisions))
    json.dumps(details, allow_nan=False)
    best = precisions[-1]
    variants = {"released", "evaluation", *(f"ours_{name}" for name in precisions)}
    assert details["samples"].keys() == variants and details["precision"] == best
    rates = {f"rate_{name.removeprefix('ours_')}" for name in variants}
    ratios = {f"ratio_{name}" for name in precisions}
    assert measured.keys() == rates | ratios | {"table4_hours"} and min(measured.values()) > 0
    assert "batch 1" in LINES[-1] and "released" in LINES[-1]


def test_the_operations_of_base_are_near_the_audit_s(tmp_path):
    """42 GFLOP for a second of training, where nothing but products is counted."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        model = MultitaskModel(base_architecture()).eval()
        waveform = torch.zeros(1, 4 * 16_000)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.wav2vec2(waveform, torch.tensor([4 * 16_000]))
    assert 3 * counter.get_total_flops() / 4e9 == pytest.approx(42, rel=0.1)


def test_memory_is_measured_in_a_process_of_its_own():
    """Whose peak has nothing of this process's: 1 GiB that is held here is not in it."""
    held = np.ones(2**27)
    [(name, value)] = benchmark_step.memory(SMALL)[0].items()
    assert name == "peak_gib_float32" and 0.1 < value < 1.0 <= held.nbytes / 2**30


def test_the_loader_is_measured_on_a_store_that_is_made_for_it():
    measured, details = benchmark_step.loader(SMALL)
    assert details["utterances"] == 20 and details["audio_seconds"] > 20
    assert measured["utterances_per_second"] > 0


@pytest.mark.parametrize(
    ("code", "line", "error"),
    [(0, "==== 2254 passed, 1 skipped in 300.25s (0:05:00) ====", None),
     (1, "FAILED a.py::b\n==== 1 failed, 2253 passed in 301.00s ====", "\nFAILED a.py::b\n(.*\n)*.* 1 failed"),
     (2, "", "no rule")],
)  # fmt: skip
def test_the_suite_is_measured_as_make_test_runs_it(monkeypatch, tmp_path, code, line, error):
    called = []

    def run(words, cwd, **_):
        called.append((words[:2], cwd))
        return SimpleNamespace(returncode=code, stdout=f"some lines\n{line}\n" if line else "", stderr="no rule")

    monkeypatch.setattr(benchmark.subprocess, "run", run)
    options = replace(SMALL, root=tmp_path)
    if error:
        with pytest.raises(RuntimeError, match=error):
            benchmark.tests(options)
    else:
        measured, details = benchmark.tests(options)
        assert measured == {"seconds": 300.25} and "2254 passed" in details["closing"]
    assert called == [(["make", "test"], tmp_path)]


def test_the_whole_path_is_measured_in_a_copy_without_what_was_trained(monkeypatch):
    called = []

    def make(project, *words):
        left = [name for name in ("artifacts", "build", ".git", "Makefile", "src/mtlser") if (project / name).exists()]
        called.append((words, left, (project / ".venv").is_symlink()))

    monkeypatch.setattr(benchmark, "make", make)
    measured, details = benchmark.reproduce(replace(SMALL, root=ROOT))
    assert called == [(("reproduce", "PRESET=smoke", "FRESH=1", "PYTHON=true"), ["Makefile", "src/mtlser"], True)]
    assert measured["seconds"] > 0 and details == {"preset": "smoke"}


def test_a_target_runs_without_the_options_of_the_one_that_started_it(monkeypatch, tmp_path):
    (tmp_path / "Makefile").write_text("show:\n\t@echo [$$MTLSER_PRESET] $$PYTHONPATH\nfail:\n\t@echo why; exit 3\n")
    monkeypatch.setenv("MTLSER_PRESET", "iemocap")
    monkeypatch.setenv("MAKEFLAGS", "--keep-going")
    assert benchmark.make(tmp_path, "show").strip() == f"[] {tmp_path / 'src'}"
    with pytest.raises(RuntimeError, match="make fail failed:\nwhy"):
        benchmark.make(tmp_path, "fail")
