import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mtlser.config import RunConfig
from mtlser.files import write_json, write_table
from mtlser.runs import records
from mtlser.runs.records import RecordError, Records
from mtlser.runs.share import kind_of_error, share


def write_run(folder, run_id, alpha=0.1, fold="Ses01F", status="done", correct=3, epochs=2):
    """A run folder with two epochs and four test utterances, all sad."""
    folder = folder / run_id
    folder.mkdir(parents=True)
    f1 = 1.0 if correct == 4 else correct / (4 + correct)  # of sad 2 · correct / (4 + correct), of happy 0
    final = {
        "accuracy": correct / 4,
        "uar": correct / 4,
        "macro_f1": f1,
        "wer": 0.5,
        "cer": 0.1,
        "num_correct": correct,
    }
    config = RunConfig("pocket", alpha=alpha, fold=fold, epochs=epochs).to_dict()
    write_json(
        folder / "run.json",
        {
            "run_id": run_id, "status": status, "config": config, "corpus": "pocket corpus (synthetic)",
            "num_test": 4, "num_train": 36, "final": final if status == "done" else None, "device": "cpu",
        },
    )  # fmt: skip
    if status == "done":
        history = pd.DataFrame(dict.fromkeys(records.HISTORY_COLUMNS, 1.0), index=range(epochs))
        history["epoch"] = range(1, epochs + 1)
        predictions = pd.DataFrame(
            {
                "utterance": [f"{fold[:5]}F_impro01_{fold[-1]}00{i}" for i in range(4)],
                "speaker": fold, "label": "sad", "prediction": ["sad"] * correct + ["happy"] * (4 - correct),
                "logits": [np.zeros(4, np.float32)] * 4, "reference": "A B", "hypothesis": "A",
                "word_errors": 1, "words": 2,
            }
        )  # fmt: skip
        write_table(folder / "history.parquet", history)
        write_table(folder / "predictions.parquet", predictions)
    return folder


@pytest.fixture
def folders(tmp_path):
    return [
        write_run(tmp_path, "a", alpha=0.0),
        write_run(tmp_path, "b", alpha=0.1, correct=4),
        write_run(tmp_path, "c", alpha=0.1, fold="Ses01M", status="diverged"),
        write_run(tmp_path, "d", alpha=0.1, fold="Ses02F", status="failed"),
        write_run(tmp_path, "e", alpha=0.1, fold="Ses02M", status="running"),
    ]


def test_ended_runs_are_read_and_a_diverged_or_failed_one_is_never_dropped(folders):
    found = records.read_records(folders)
    assert found.runs.set_index("run_id")["status"].to_dict() == {
        "a": "done", "b": "done", "c": "diverged", "d": "failed",
    }  # fmt: skip
    assert set(found.history["run_id"]) == set(found.predictions["run_id"]) == {"a", "b"}
    assert found.provenance == "pocket corpus (synthetic)"


def test_only_filters_every_table(folders):
    part = records.read_records(folders).only(alpha=0.1, status="done")
    assert part.runs["run_id"].tolist() == ["b"]
    assert set(part.predictions["run_id"]) == set(part.history["run_id"]) == {"b"}
    with pytest.raises(KeyError, match="alhpa"):
        part.only(alhpa=1)


def test_nothing_is_not_run():
    assert Records.empty().provenance == "not run"
    assert records.read_records([]).runs.empty


def test_a_done_run_that_lost_a_table_is_missing(folders):
    (folders[0] / "history.parquet").unlink()
    assert records.run_status(folders[0]) == "missing"
    assert records.run_status(folders[4]) == "running"


@pytest.mark.parametrize("content", ["{", "{}", '{"status": "finished", "config": {}}'])
def test_a_damaged_run_names_its_file(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(RecordError, match=r"run\.json"):
        records.read_run(tmp_path)


def test_a_damaged_table_names_its_file(folders):
    (folders[0] / "predictions.parquet").write_bytes(b"PAR1")
    with pytest.raises(RecordError, match=r"predictions\.parquet"):
        records.read_records(folders)


def test_shared_records_have_no_transcripts_and_read_back_equal(folders, tmp_path):
    found = records.read_records(folders)
    shared = share(found, tmp_path / "results" / "someone", {"contributor": "someone"})
    assert sorted(p.name for p in shared.parent.rglob("*.*")) == [
        "about.json", "history.parquet", "predictions.parquet", "runs.parquet",
    ]  # fmt: skip
    back = records.read_shared(shared)
    pd.testing.assert_frame_equal(back.runs, found.runs)
    assert set(found.predictions) - set(back.predictions) == {"reference", "hypothesis"}
    assert json.loads((shared / "about.json").read_text())["contributor"] == "someone"


def test_sharing_adds_and_never_drops(folders, tmp_path):
    found = records.read_records(folders)
    shared = share(found, tmp_path / "results" / "someone", {})
    again = found.only(run_id="a")
    share(Records(again.runs.assign(seconds=7.0), again.history, again.predictions), shared, {})
    back = records.read_shared(shared)
    assert sorted(back.runs["run_id"]) == ["a", "b", "c", "d"]
    assert back.runs["seconds"].isna().all()  # what ended and is published stays
    assert len(back.predictions) == len(found.predictions) and len(back.history) == len(found.history)


def test_of_an_error_only_its_kind_is_shared(folders, tmp_path):
    """Messages quote transcripts and paths."""
    failed = records.read_run(folders[3]) | {"error": "ValueError: '7' in 'WE MEET AT 7': not among the 28 characters"}
    write_json(folders[3] / "run.json", failed)
    shared = share(records.read_records(folders), tmp_path / "someone", {})
    errors = pd.read_parquet(shared / "runs.parquet").set_index("run_id")["error"]
    assert errors["d"] == "ValueError" and errors.drop("d").isna().all()
    assert kind_of_error("batch of Ses01F_impro01_F000 …") == "error"


def test_a_failed_run_that_is_done_now_is_replaced_and_a_share_killed_anywhere_changes_nothing(
    folders, tmp_path, monkeypatch
):
    shared = share(records.read_records(folders), tmp_path / "someone", {})
    shutil.rmtree(folders[3])
    again = records.read_records([write_run(tmp_path, "d", fold="Ses02F")])
    tables = iter(())

    def write(path, table):
        next(tables)  # StopIteration is the kill
        write_table(path, table)

    monkeypatch.setattr("mtlser.runs.share.write_table", write)
    for moment in range(3):
        before, tables = records.read_shared(shared), iter(range(moment))
        with pytest.raises(StopIteration):
            share(again, shared, {})
        for name in records.COLUMNS:
            pd.testing.assert_frame_equal(getattr(records.read_shared(shared), name), getattr(before, name))
    tables = iter(range(3))
    share(again, shared, {})
    back = records.read_shared(shared)
    assert back.runs.set_index("run_id")["status"]["d"] == "done" and len(back.predictions) == 12


def changed(table, name, value, row=0):
    """A copy of a table with one cell changed."""
    table = table.astype({name: "object"})
    table.at[row, name] = value
    return table


@pytest.mark.parametrize(
    ("table", "change", "said"),
    [
        ("runs", lambda t: changed(t, "device", "~/ada/gpu"), r"runs\.parquet: device holds free text"),
        ("runs", lambda t: changed(t, "error", "WE MEET AT 7"), "error holds free text"),
        ("runs", lambda t: changed(t, "corpus", "EVERY WORD OF A LINE"), "corpus is none of IEMOCAP"),
        ("runs", lambda t: changed(t, "seconds", "A LINE"), "seconds holds free text"),
        ("runs", lambda t: changed(t, "accuracy", 1.5), "accuracy holds free text, or what is out of range"),
        ("runs", lambda t: changed(t, "protocol", "A LINE"), "protocol='A LINE' is out of range"),
        ("runs", lambda t: changed(t, "accuracy", 0.25), "accuracy is not what the other tables say, of a"),
        ("runs", lambda t: changed(t, "num_test", 5), "num_test is not .* of a"),
        ("runs", lambda t: changed(t, "uar", 0.5), "uar is not .* of a"),
        ("runs", lambda t: changed(t, "macro_f1", 0.5), "macro_f1 is not .* of a"),
        ("runs", lambda t: changed(t, "wer", 0.25), "wer is not .* of a"),
        ("runs", lambda t: pd.concat([t, t.iloc[[1]]]), "rows stand twice of b"),
        ("history", lambda t: changed(t, "alpha", 0.1), "names another alpha, fold or seed than its run, of a"),
        ("history", lambda t: t.drop(index=3), "epochs .* is not .* of b"),
        ("predictions", lambda t: t.drop(index=0), "num_test is not .* of a"),
        ("predictions", lambda t: pd.concat([t, t.iloc[[0]]]), "rows stand twice of a"),
        ("predictions", lambda t: changed(t, "label", "bored"), "label holds free text"),
        ("predictions", lambda t: changed(t, "utterance", "we meet at seven"), "utterance holds free text"),
        ("predictions", lambda t: changed(t, "logits", [0, np.nan, 0, 0]), "logits holds free text, or what is out"),
        ("predictions", lambda t: changed(t, "logits", [0, 1, 0, 0]), "not its largest logit, of a"),
    ],
)  # fmt: skip
def test_records_that_hold_words_contradict_themselves_or_lack_rows_are_refused_on_both_sides(
    folders, tmp_path, table, change, said
):
    found = records.read_records(folders[:2])
    shared = share(found, tmp_path / "someone", {})
    if said != "error holds free text":  # of which only the kind is written
        with pytest.raises(RecordError, match=said):
            share(replace(found, **{table: change(getattr(found, table))}), tmp_path / "another", {})
    write_table(shared / f"{table}.parquet", change(pd.read_parquet(shared / f"{table}.parquet")))
    with pytest.raises(RecordError, match=said):
        records.read_shared(shared)


def test_records_of_before_have_the_defaults_of_newer_fields(folders, tmp_path):
    found = records.read_records(folders)
    shared = share(found, tmp_path / "someone", {})
    old = pd.read_parquet(shared / "runs.parquet").drop(columns=["length_bucket", "processor"])
    write_table(shared / "runs.parquet", old)
    back = records.read_shared(shared).runs
    assert set(back["length_bucket"]) == {1} and back["processor"].isna().all()


def test_the_first_that_ended_is_kept_of_each_alpha_fold_and_seed(folders):
    found = records.read_records(folders)
    failed = found.runs.assign(run_id="new", status="failed").iloc[[0]]
    both = Records(pd.concat([failed, found.runs]), found.history, found.predictions)
    assert sorted(records.first_of_each(both).runs["run_id"]) == ["a", "b", "c", "d"]


def test_shared_records_with_transcripts_are_refused(folders, tmp_path):
    shared = share(records.read_records(folders), tmp_path / "someone", {})
    table = pd.read_parquet(shared / "predictions.parquet")
    write_table(shared / "predictions.parquet", table.assign(reference="A B"))
    with pytest.raises(RecordError, match="reference: transcripts are not shared"):
        records.read_shared(shared)
    write_table(shared / "predictions.parquet", table)
    history = pd.read_parquet(shared / "history.parquet")
    write_table(shared / "history.parquet", history.drop(columns="alpha"))
    with pytest.raises(RecordError, match=r"history\.parquet lacks alpha"):
        records.read_shared(shared)
    write_table(shared / "history.parquet", history.assign(text="A B"))
    with pytest.raises(RecordError, match=r"history\.parquet holds text"):
        records.read_shared(shared)


def test_sharing_nothing_is_an_error(tmp_path):
    with pytest.raises(RecordError, match="no ended run"):
        share(Records.empty(), tmp_path / "x", {})


def test_merge_keeps_the_first_of_two_equal_run_ids(folders):
    found = records.read_records(folders)
    other = Records(found.runs.assign(accuracy=0.0), found.history, found.predictions, "shared by another")
    merged = records.merge([found.only(run_id="a"), other])
    assert sorted(merged.runs["run_id"]) == ["a", "b", "c", "d"]
    assert merged.runs.set_index("run_id").loc["a", "accuracy"] == 0.75
    assert len(merged.predictions) == 8
