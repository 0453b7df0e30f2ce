"""The benchmarks' machinery on invented measurements, and each of them as a try on tiny shapes."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mtlser import __main__ as command
from mtlser.config import ConfigError, get_preset
from mtlser.model import MultitaskModel, products
from mtlser.model.backbone import init_random_backbone
from mtlser.processes import has_fast_bfloat16
from mtlser.runs import (
    benchmark,
    benchmark_children,
    benchmark_inputs,
    benchmark_parts,
    benchmark_project,
    benchmark_runs,
    benchmark_step,
)
from mtlser.runs.benchmark import BENCHMARKS, FIGURES, Benchmark, Measured, Options, read_record, run_benchmarks
from mtlser.runs.released_step import ReleasedStep
from mtlser.files import write_json
from smoke import ROOT

LINES: list[str] = []
SMALL = Options(repeats=1, threads=1, small=True, say=LINES.append)
FAKE = Benchmark("loader", "A title", "mtlser.nowhere:none")


@pytest.fixture
def measure(monkeypatch):
    """Makes every benchmark return what the test says, and counts the calls."""
    calls = []

    def use(result):
        def function(options):
            calls.append(options)
            if isinstance(result, Exception):
                raise result
            return result

        monkeypatch.setattr(benchmark, "_function", lambda one: function)
        return calls

    return use


def test_a_record_holds_the_numbers_and_what_they_depend_on(tmp_path, measure):
    measure(Measured({"cold_seconds": 3.14159265}, {"turns": 7}))
    assert run_benchmarks([FAKE], tmp_path, SMALL) == []
    record = read_record(tmp_path / "loader-cpu.json")
    assert record["measured"] == {"cold_seconds": 3.14159} and record["details"] == {"turns": 7}
    assert (record["threads"], record["repeats"], record["small"]) == (1, 1, True)
    assert record["hardware"]["cores"] >= 1 and "torch" in record["versions"]
    assert any("indexed and checked" in line and "3.14 s" in line for line in LINES)


def test_a_second_call_measures_what_has_no_record_of_this_code_and_machine(tmp_path, measure, monkeypatch):
    calls = measure(Measured({"cold_seconds": 1.0}))
    run_benchmarks([FAKE], tmp_path, SMALL)
    run_benchmarks([FAKE], tmp_path, SMALL)
    assert len(calls) == 1
    run_benchmarks([FAKE], tmp_path, SMALL, again=True)
    run_benchmarks([FAKE], tmp_path, replace(SMALL, repeats=2))
    assert len(calls) == 3
    monkeypatch.setattr(benchmark, "code_digest", lambda: "other code")
    run_benchmarks([FAKE], tmp_path, replace(SMALL, repeats=2))
    assert len(calls) == 4


def test_a_failure_leaves_the_others_and_its_old_record(tmp_path, measure):
    measure(Measured({"cold_seconds": 1.0}))
    run_benchmarks([FAKE], tmp_path, SMALL)
    before = (tmp_path / "loader-cpu.json").read_bytes()
    measure(RuntimeError("no room"))
    assert run_benchmarks([FAKE, replace(FAKE, name="book")], tmp_path, SMALL, again=True) == ["loader", "book"]
    assert (tmp_path / "loader-cpu.json").read_bytes() == before
    assert "loader: FAILED: RuntimeError: no room" in LINES


def test_the_command_writes_records_and_fails_when_one_does(tmp_path, measure, monkeypatch, capsys):
    monkeypatch.setenv("MTLSER_RESULTS", str(tmp_path))
    measure(Measured({"cold_seconds": 1.0}))
    assert command.main(["bench", "loader", "--contributor", "someone", "--threads", "1"]) == 0
    assert list(tmp_path.rglob("*.json"))[0].relative_to(tmp_path).as_posix().startswith("someone/benchmarks/loader-")
    measure(RuntimeError("no room"))
    assert command.main(["bench", "loader", "--contributor", "someone", "--again"]) == 1
    assert "error: loader failed" in capsys.readouterr().err
    assert command.main(["bench", "nothing"]) == 1
    assert "choose from training-step" in capsys.readouterr().err


def test_all_but_the_longest_run_by_default():
    names = [one.name for one in benchmark.find_benchmarks([])]
    assert "training-step" in names and not {"tests", "reproduce"} & set(names)
    assert [one.name for one in benchmark.find_benchmarks(["tests"])] == ["tests"]
    with pytest.raises(ConfigError, match="no benchmark speed"):
        benchmark.find_benchmarks(["speed"])


def test_every_promise_belongs_to_a_benchmark_and_says_what_its_prediction_came_from():
    names = {one.name for one in BENCHMARKS}
    assert {figure.benchmark for figure in FIGURES} == names
    assert all(figure.why for figure in FIGURES if figure.predicted is not None)
    assert len({(figure.benchmark, figure.name, figure.device) for figure in FIGURES}) == len(FIGURES)


def test_every_benchmark_s_function_is_there():
    assert all(callable(benchmark._function(one)) for one in BENCHMARKS)


def test_ratios_are_taken_within_each_repeat():
    samples = {"released": [1.0, 2.0, 4.0], "ours": [3.0, 4.0, 10.0]}
    assert benchmark.median_ratios(samples, "released") == {"ours": 2.5}


def test_lengths_are_like_iemocap_s():
    seconds = benchmark_inputs.iemocap_lengths(20_000)
    assert np.median(seconds) == pytest.approx(3.58, rel=0.03) and seconds.mean() == pytest.approx(4.55, rel=0.03)
    assert np.quantile(seconds, 0.95) == pytest.approx(11.06, rel=0.05)
    assert 0.585 <= seconds.min() and seconds.max() <= 34.139
    np.testing.assert_array_equal(benchmark_inputs.iemocap_lengths(24), seconds[:24])


def test_the_shape_is_wav2vec2_base_s():
    config = benchmark_inputs.base_architecture()
    assert (config.hidden_size, config.num_hidden_layers, config.conv_dim) == (768, 12, (512,) * 7)
    assert config.feat_extract_norm == "group" and not config.do_stable_layer_norm and config.layerdrop == 0


def test_table_4_trains_on_nine_folds_and_evaluates_the_tenth():
    seconds = 6.99 * 3600 * 5 * 100
    assert benchmark_step.table4_seconds(2.0, 4.0) == pytest.approx(seconds * (9 / 2 + 1 / 4))
    assert 9 * seconds == pytest.approx(113e6, rel=0.01)  # the audit's audio-seconds to train on


def test_the_released_step_learns_and_sees_padding(tmp_path):
    """It is a baseline that trains, and not padding-exact: an utterance's loss depends on what is beside it."""
    backbone = str(init_random_backbone(tmp_path / "b", benchmark_inputs.base_architecture(True), 0))
    released = ReleasedStep(backbone, replace(get_preset("iemocap").run, learning_rate=1e-3), torch.device("cpu"))
    assert released.encoder.config._attn_implementation == "eager" and released.encoder.is_activation_checkpointing
    generator = torch.Generator().manual_seed(0)
    waveforms = [torch.randn(n, generator=generator) for n in (16_000, 9_000, 12_000, 16_000)]
    labels, targets = torch.arange(4), [torch.tensor([5, 6, 7])] * 4

    @torch.no_grad()
    def loss(rows: slice) -> float:
        released.encoder.eval()
        value = released._loss(waveforms[rows], labels[rows], targets[rows]).item()
        released.encoder.train()
        return value

    first = loss(slice(4))
    for _ in range(12):
        released.step(waveforms, labels, targets)
    assert loss(slice(4)) < 0.8 * first
    released.config = replace(released.config, alpha=0.0)
    apart = (loss(slice(0, 1)) + loss(slice(1, 2))) / 2
    assert loss(slice(0, 2)) != pytest.approx(apart, rel=1e-4)
    assert loss(slice(0, 4, 3)) == pytest.approx((loss(slice(0, 1)) + loss(slice(3, 4))) / 2, rel=1e-4)  # of one length


@pytest.mark.parametrize("with_bf16", [True, False])
def test_the_training_step_is_measured_whole(monkeypatch, with_bf16):
    """In bfloat16 too where the processor computes it; elsewhere that would take minutes, and says nothing."""
    fast = has_fast_bfloat16(torch.device("cpu"))
    if with_bf16 and not fast:
        pytest.skip("this processor has no instructions for bfloat16")
    monkeypatch.setattr(benchmark_inputs, "has_fast_bfloat16", lambda device: with_bf16)
    monkeypatch.setattr(products, "convolves", lambda: with_bf16)
    found = benchmark_step.training_step(SMALL)
    json.dumps(found.details, allow_nan=False)
    precisions = ["float32", "bf16"] if with_bf16 else ["float32"]
    promised = {f.name for f in FIGURES if f.benchmark == "training-step" and f.device == "cpu"}
    left_out = {"convolution_ratio"} if with_bf16 else {"ratio_bf16", "product_ratio"}
    assert promised - left_out <= found.measured.keys() and not left_out & found.measured.keys()
    assert min(found.measured.values()) >= 0 and found.measured["gradient_difference"] < 1e-4
    assert {"rate_released", "rate_evaluation", *(f"rate_{name}" for name in precisions)} <= found.measured.keys()
    assert found.details["precision"] == precisions[-1]
    spent = found.details["operations"]
    variants = {f"padded_{precisions[-1]}", *(f"ours_{name}" for name in precisions)}
    assert spent.keys() == variants | {"product_float32" if with_bf16 else "convolution_float32"}
    for kinds in spent.values():
        assert kinds.keys() == {*benchmark_step.OPERATIONS, "other"} and min(kinds.values()) > 0
    for precision in precisions:
        whole = found.measured[f"torch_product_gflops_{precision}"]
        assert found.measured[f"product_gflops_{precision}"] >= whole > 0
    whole, computed = (found.measured[f"gflop_{name}"] for name in ("per_audio_second", "computed_float32"))
    assert computed == whole if with_bf16 else 0.5 * whole < computed < whole  # the positional convolution's


def test_several_runs_share_the_machine():
    found = benchmark_runs.several_runs(replace(SMALL, threads=2))
    assert found.details["runs"] == 2
    assert 0 < found.measured["rate_aggregate"] < 1e6 and found.measured["table4_hours"] > 0


@pytest.mark.parametrize("fork", [True, False])
def test_a_process_of_a_benchmark_that_dies_is_named(fork):
    with (
        pytest.raises(RuntimeError, match="ended with code"),
        benchmark_children.children("builtins:input", [{}], fork=fork) as [child],
    ):
        benchmark_children.answer(child)


@pytest.mark.parametrize(("convolves", "variant"), [(True, "product_float32"), (False, "convolution_float32")])
def test_a_variant_with_torch_s_own_layers_leaves_the_others_theirs(tmp_path, monkeypatch, convolves, variant):
    monkeypatch.setattr(products, "convolves", lambda: convolves)
    ways = products.linear, products.multiplies
    dataset = benchmark_inputs.noise_dataset([0.4, 0.7], tmp_path)
    backbone = str(init_random_backbone(tmp_path / "b", benchmark_inputs.base_architecture(True), 0))
    variants = benchmark_step.own_variants(dataset, backbone, tmp_path)
    assert variants[variant](np.arange(2)) > 0
    assert (products.linear, products.multiplies) == ways


def test_the_operations_of_base_are_near_the_audit_s(tmp_path):
    """42 GFLOP for a second of training, where nothing but products is counted."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        model = MultitaskModel(benchmark_inputs.base_architecture()).eval()
        waveform = torch.zeros(1, 4 * 16_000)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.wav2vec2(waveform, torch.tensor([4 * 16_000]))
    assert 3 * counter.get_total_flops() / 4e9 == pytest.approx(42, rel=0.1)


def test_memory_is_measured_in_a_process_of_its_own():
    found = benchmark_parts.memory(SMALL).measured
    fast = has_fast_bfloat16(torch.device("cpu"))
    assert set(found) == ({"peak_gib_bf16", "peak_gib_float32"} if fast else {"peak_gib_float32"})
    assert all(0.1 < value < 4 for value in found.values())
    assert benchmark_parts.peak_memory() > 50 * 2**20


def test_the_parts_of_a_pocket_step_make_the_whole():
    found = benchmark_parts.pocket_step(SMALL).measured
    for when in ("before", "after"):
        parts = [found[f"{part}_ms_{when}"] for part in benchmark.STEP_PARTS]
        assert min(parts) > 0
        assert sum(parts) == pytest.approx(found[f"step_ms_{when}"], rel=0.5)
    assert found["evaluation_ms"] > 0 and found["probe_ms"] > 0


def test_the_loader_is_measured_on_a_release_of_full_size():
    found = benchmark_project.loader(SMALL)
    assert found.details["turns"] == 10_039 and found.details["utterances"] == 5531
    assert 0 < found.measured["cold_seconds"] < 300


@pytest.mark.parametrize(
    ("code", "line", "error"),
    [(0, "==== 2254 passed, 1 skipped in 300.25s (0:05:00) ====", None),
     (1, "FAILED a.py::b\n==== 1 failed, 2253 passed in 301.00s (0:05:01) ====", "\nFAILED a.py::b\n.* 1 failed"),
     (2, "", "no rule")],
)  # fmt: skip
def test_the_suite_is_measured_as_make_test_runs_it(monkeypatch, tmp_path, code, line, error):
    called = []

    def run(words, cwd, **_):
        called.append((words[:2], cwd))
        return SimpleNamespace(returncode=code, stdout=f"some lines\n{line}\n" if line else "", stderr="no rule")

    monkeypatch.setattr(benchmark_project.subprocess, "run", run)
    options = replace(SMALL, root=tmp_path)
    if error:
        with pytest.raises(RuntimeError, match=error):
            benchmark_project.tests(options)
    else:
        found = benchmark_project.tests(options)
        assert found.measured == {"seconds": 300.25} and "2254 passed" in found.details["closing"]
    assert called == [(["make", "test"], tmp_path)]


def test_the_whole_path_is_measured_in_a_copy_without_artifacts(monkeypatch):
    called = []

    def caller(project, preset):
        def call(target):
            called.append((preset, target, (project / "artifacts").exists(), (project / "Makefile").exists()))
            for number, status in enumerate(("done", "done", "failed")):
                write_json(project / f"artifacts/runs/{number}/run.json", {"status": status, "seconds": 10.0 + number})
            return 99.5

        return call

    monkeypatch.setattr(benchmark_project, "_caller", caller)
    found = benchmark_project.reproduce(replace(SMALL, root=ROOT))
    assert called == [("smoke", "reproduce", False, True)]
    assert found.measured == {"seconds": 99.5, "runs_seconds": 21.0, "longest_run_seconds": 11.0}
    assert found.details == {"preset": "smoke", "runs": 2}


def test_a_copy_of_the_project_is_whole_and_changes_stay_in_it(tmp_path):
    copy = benchmark_project.copy_project(ROOT, tmp_path / "copy")
    page, notebook = benchmark_project.PAGE, benchmark_project.NOTEBOOK
    assert (copy / "Makefile").read_bytes() == (ROOT / "Makefile").read_bytes()
    before = (ROOT / page).read_bytes(), (ROOT / notebook).read_bytes()
    benchmark_project.change(copy / page, "\nMore.\n")
    benchmark_project.change_notebook(copy / notebook, "More.")
    assert (copy / page).read_text(encoding="utf-8").endswith("More.\n")
    cells = json.loads((copy / notebook).read_text(encoding="utf-8"))["cells"]
    assert cells[0]["source"].endswith("More.") and len(cells) > 3
    assert before == ((ROOT / page).read_bytes(), (ROOT / notebook).read_bytes())
    with pytest.raises(RuntimeError, match="git checkout"):
        benchmark_project.copy_project(copy, tmp_path / "none")
