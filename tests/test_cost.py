"""What the cost chapter shows, over invented records: nothing in them was measured."""

from __future__ import annotations

import ast
from base64 import b64decode

import nbformat
import pandas as pd
import pytest

from fake_records import fake_records
from mtlser.files import write_json
from mtlser.report import cost, display
from mtlser.report.cost import STEP_PARTS
from mtlser.runs.benchmark import FOLDER
from mtlser.runs.records import RecordError, Records
from smoke import ROOT


def record(benchmark: str, measured: dict, device: str = "cpu", finished: str = "2026-01-01", **more) -> dict:
    machine = {"processor": "a processor", "cores": 4, "memory_gib": 8.0}
    return {
        "benchmark": benchmark, "title": benchmark, "device": device, "key": "k", "threads": 2, "repeats": 3,
        "measured": measured, "details": {}, "versions": {"torch": "2"}, "hardware": machine, "revision": "abc",
        "finished": finished, "contributor": "someone",
    } | more  # fmt: skip


STEP = record(
    "training-step",
    {
        "ratio_float32": 2.5, "ratio_bf16": 3.5, "rate_released": 1.0, "rate_float32": 2.5, "rate_bf16": 3.5,
        "gradient_difference": 2e-6, "gflop_per_audio_second": 40.0, "product_gflops_float32": 200.0,
        "product_gflops_bf16": 400.0, "torch_product_gflops_float32": 100.0, "torch_product_gflops_bf16": 390.0,
        "utilisation_float32": 0.5, "utilisation_bf16": 0.35, "table4_hours": 1234.5,
    },
    details={
        "samples": {"released": [0.9, 1.0, 1.1], "ours_float32": [2.5], "ours_bf16": [3.5]},
        "operations": {"ours_bf16": {"copies": 0.25, "other": 1.0}, "padded_bf16": {"copies": 0.5, "other": 2.0}},
    },
)  # fmt: skip
POCKET = record(
    "pocket-step",
    {f"{part}_ms_{when}": ms for part in STEP_PARTS for when, ms in (("before", 20.0), ("after", 5.0))}
    | {"step_ms_before": 100.0, "step_ms_after": 25.0},
)


def promises(records: list[dict], device: str = "cpu") -> pd.DataFrame:
    return cost.promises(records).query("device == @device").reset_index(drop=True)


def figures_of(records: list[dict], first: str, device: str = "cpu") -> pd.DataFrame:
    """As the chapter's own calls ask for them."""
    cells = [cell["source"] for cell in nbformat.read(ROOT / "book/cost.ipynb", 4).cells]
    [cell] = [cell for cell in cells if f'"{first}", headings' in cell]
    headings = ast.literal_eval(cell.split("headings = ")[1].split("display.show(")[0])
    return cost.figures_of(records, "pocket-step" if first == "part" else "training-step", first, headings, device)


def test_without_a_record_everything_is_not_measured():
    for device in ("cpu", "cuda"):
        table = promises([], device)
        assert set(table["measured"]) == set(table["outcome"]) == {"not measured"}
        assert figures_of([], "variant", device).empty and figures_of([], "precision", device).empty
    assert figures_of([], "part").empty and cost.operations([]).empty and cost.machines([]).empty
    assert cost.profile_figure([]).text.endswith(": not measured")
    assert cost.measured_on([], "loader") == "Not measured"
    assert set(cost.table4_costs([])["time"][1:]) == {"not measured"}
    assert (promises([])["bound"] != "").sum() == 9


def test_a_promise_is_met_or_missed_by_its_target():
    table = promises([STEP]).set_index("what")
    float32 = table.loc["training step in float32, against the released code's"]
    assert (float32["target"], float32["measured"], float32["outcome"]) == ("at least 2.25 times", "2.5 times", "met")
    bf16 = table.loc["training step in bf16, against the released code's in float32"]
    assert (bf16["measured"], bf16["outcome"]) == ("3.5 times", "missed")
    assert table.loc["share of the fastest matrix product in float32", "measured"] == "50%"
    gradient = table.loc["gradient of a packed batch of 8 against 8 batches of one"]
    assert (gradient["target"], gradient["measured"], gradient["outcome"]) == ("at most 1.0e-04", "2.0e-06", "met")
    assert set(promises([STEP], "cuda")["outcome"]) == {"not measured"}


def test_what_only_another_processor_has_is_no_promise_of_this_one():
    ratio = "training step in float32, against the same with torch's own convolutions"
    assert ratio in set(promises([])["what"]) and ratio not in set(promises([STEP])["what"])
    assert ratio in set(promises([STEP | {"measured": STEP["measured"] | {"convolution_ratio": 1.2}}])["what"])
    targets = cost.PROMISED.query("device == 'cpu' and bound != ''")["title"].str.replace("`", "")
    assert set(targets) <= set(promises([STEP])["what"])


def test_operations_that_are_saved_are_no_speed():
    measured = STEP["measured"] | {"gflop_computed_float32": 38.0}
    table = figures_of([STEP | {"measured": measured}], "precision").set_index("precision")
    assert table["GFLOP per audio-second"].to_dict() == {"float32": "38.0", "bf16": "40.0"}
    assert table.loc["float32", "training, GFLOP/s"] == "95"


def test_the_outcomes_name_what_was_met_missed_and_not_measured():
    def outcomes(device: str) -> dict[str, list[str]]:
        table = promises([STEP], device).query("bound != ''")
        return {one: table["title"][table["outcome"] == one].tolist() for one in ("met", "missed", "not measured")}

    cpu, gpu = outcomes("cpu"), outcomes("cuda")
    assert len(cpu["met"]) == 2 and "gradient of a packed batch of 8 against 8 batches of one" in cpu["met"]
    assert cpu["missed"][0] == "training step in bf16, against the released code's in float32"
    assert cpu["missed"][1].startswith("share of")
    assert any(title.startswith("release of full size") for title in cpu["not measured"])
    assert (gpu["met"], gpu["missed"]) == ([], []) and gpu["not measured"][0].startswith("training step in bf16")


@pytest.mark.parametrize(("benchmark", "name", "met", "missed"), [
    ("loader", "cold_seconds", 20.0, 20.1), ("training-step", "ratio_float32", 2.25, 2.24),
])  # fmt: skip
def test_a_ceiling_and_a_floor(benchmark, name, met, missed):
    for value, outcome in ((met, "met"), (missed, "missed")):
        table = promises([record(benchmark, {name: value}, details={"samples": {}})])
        assert table["outcome"].isin(["met", "missed"]).sum() == 1 and outcome in set(table["outcome"])
    assert set(promises([record("memory", {"peak_gib_bf16": 1.0})])["outcome"]) >= {"no target"}


def test_every_promise_says_what_its_prediction_came_from():
    table = cost.PROMISED
    assert set(table["device"]) == {"cpu", "cuda"} and table["predicted"].notna().all() and (table["why"] != "").all()
    assert not table.duplicated(["benchmark", "device", "name"]).any()
    assert (table["target"].notna() == table["bound"].isin(["at least", "at most"])).all()


def test_rates_and_utilisation_are_the_record_s():
    table = figures_of([STEP], "variant")
    assert table["audio-seconds a second"].tolist() == ["1", "2.5", "3.5"]
    assert table["lowest to highest"][0] == "0.9 to 1.1"
    assert table["times the released step"].tolist() == ["–", "2.50", "3.50"]
    table = figures_of([STEP], "precision")
    assert table["training, GFLOP/s"].tolist() == ["100", "140"]
    assert table["torch's product, GFLOP/s"].tolist() == ["100", "390"]
    assert table["share of the fastest"].tolist() == ["50%", "35%"]


def test_a_record_from_before_a_figure_was_measured_is_still_shown():
    older = {name: value for name, value in STEP["measured"].items() if not name.startswith("torch_product")}
    old = record("training-step", older, details={"samples": STEP["details"]["samples"]})
    assert figures_of([old], "precision")["torch's product, GFLOP/s"].tolist() == ["–", "–"]
    assert cost.operations([old]).empty
    promised = promises([old]).set_index("what")["outcome"]
    assert promised["runs on all cores at once, a thread each"] == "not measured"


def test_a_record_of_the_step_alone_is_shown():
    """As today's benchmark writes it: without the machine's own product, operations and gradients."""
    measured = {name: value for name, value in STEP["measured"].items() if name.startswith(("rate", "ratio", "table4"))}
    new = record("training-step", measured, "cuda", details={"samples": STEP["details"]["samples"]})
    del new["key"]
    assert figures_of([new], "variant", "cuda").equals(figures_of([STEP], "variant"))
    assert figures_of([new], "precision", "cuda").empty and cost.operations([new]).empty
    assert promises([new], "cuda")["outcome"].tolist() == ["missed", "missed", "not measured", "not measured"]
    assert (
        cost.table4_costs([new]).set_index("machine").loc["one GPU, one run at a time", "time"] == "about 1,234 hours"
    )


def test_the_operations_of_a_step_add_up():
    table = cost.operations([STEP]).set_index("operation")
    assert table["this book's step, bf16"].tolist() == ["0.25 s", "1.00 s", "1.25 s"]
    assert table["the same in bf16, with padding"].to_dict()["whole step"] == "2.50 s"
    assert cost.measured_on([STEP], "training-step", takes="one step each").endswith("2 threads; one step each")
    assert cost.operations([]).empty and cost.operations([POCKET]).empty


def test_the_profile_in_numbers_and_as_a_picture():
    table = figures_of([POCKET], "part")
    assert table["part"].tolist() == [*STEP_PARTS, "whole step"]
    assert table["share after"].tolist() == ["20%"] * 5 + ["100%"]
    shown = cost.profile_figure([POCKET])
    svg = b64decode(shown.html.split("base64,")[1].split('"')[0]).decode()
    assert all(part in svg for part in (*STEP_PARTS, "before", "after")) and ">step<" not in svg
    assert "Measured on a processor, 4 cores, 8 GiB, 2 threads; medians of 3" in shown.text


def test_the_cost_of_table_4_quotes_projects_or_says_not_measured():
    table = cost.table4_costs([STEP]).set_index("machine")
    assert table.iloc[0]["time"] == "about 302 hours" and table.iloc[0]["from"].startswith("quoted: 104 audio-seconds")
    assert table.loc["this CPU, one run at a time", "time"] == "about 1,234 hours"
    others = ["this CPU, a run on each core", "one GPU, one run at a time", "one H100, several runs at a time"]
    assert (table.loc[others, "time"] == "not measured").all()
    several = record("several-runs", {"table4_hours": 3.21, "rate_aggregate": 5000.0}, "cuda")
    assert cost.table4_costs([several]).set_index("machine").loc[others[2], "time"] == "about 3 hours"
    promised = promises([several], "cuda").set_index("what")
    assert promised.loc["Table 4 in full, evaluation included, projected", "outcome"] == "met"
    assert promised.loc["four runs at once on one GPU", "outcome"] == "missed"


def test_the_time_of_pocket_runs_is_the_sum_of_their_clocks():
    table = cost.pocket_time(fake_records()).set_index("what")["amount"]
    assert table["finished runs"] == "50" and table["all, one after the other"] == "50.0 minutes"
    assert table["all, two at a time"].startswith("25.0 minutes, computed")
    assert cost.pocket_time(Records.empty()).empty


def test_of_several_records_one_is_shown_and_the_others_beside_it(tmp_path):
    for contributor, day in (("a", "2026-01-02"), ("b", "2026-01-01")):
        path = tmp_path / contributor / FOLDER / "loader-cpu.json"
        write_json(path, record("loader", {"cold_seconds": 3.0}, finished=day))
    assert [one["contributor"] for one in cost.read(tmp_path)[1]] == ["b"]
    [found], _ = cost.read(tmp_path)
    assert (found["contributor"], found["finished"]) == ("a", "2026-01-02")
    assert cost.machines([found])["by"].tolist() == ["a"]
    mine = tmp_path / cost.MAINTAINERS / FOLDER / "loader-cpu.json"
    write_json(mine, record("loader", {"cold_seconds": 30.0}, finished="2025-01-01"))
    shown, others = cost.read(tmp_path)
    assert [record["contributor"] for record in shown] == [cost.MAINTAINERS]
    table = cost.promises(others, "inner")
    others = table.set_index("by")
    assert others["outcome"].to_dict() == {"a": "met", "b": "met"} and others.loc["b", "measured"] == "3 s"
    assert "<table" in display.show(table, "A title", "Invented").html
    assert others.loc["b", "machine"] == "a processor, 4 cores, 8 GiB"
    path.write_text("{")
    with pytest.raises(RecordError, match=r"loader-cpu\.json.*make bench"):
        cost.read(tmp_path)
    write_json(path, {"benchmark": "loader"})
    with pytest.raises(RecordError, match="lacks title, device"):
        cost.read(tmp_path)


def test_every_table_can_be_shown():
    records = [STEP, POCKET]
    for table in (promises(records), *(figures_of(records, first) for first in cost.ROWS), cost.operations(records),
                  cost.table4_costs(records), cost.machines(records)):  # fmt: skip
        assert "<table" in display.show(table, "A table", "somewhere").html
