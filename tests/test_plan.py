from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mtlser.__main__ import main
from mtlser.config import ALPHAS, RECIPE_VERSION, ConfigError, RunConfig
from mtlser.corpus.folds import make_folds
from mtlser.corpus.iemocap import ReleaseDiffers
from mtlser.corpus.store import store_audio
from mtlser.files import write_json
from mtlser.runs import complete, records
from mtlser.runs.corpora import NoRelease, load_utterances
from mtlser.runs.identity import fold_digests, make_run_id, old_run_id, run_content
from mtlser.runs.plan import table4
from mtlser.runs.records import Records, read_records, read_run, read_shared
from mtlser.runs.settings import Settings
from mtlser.runs.share import share
from release_tree import write_turns
from test_records import write_run
from tiny import tiny_backbone, tiny_plan, tiny_utterances

ROOT = Path(__file__).parents[1]


@pytest.fixture
def utterances(tmp_path):
    return tiny_utterances(tmp_path / "wav")


def ids(tmp_path, utterances, **settings):
    runs = tiny_plan(tmp_path, utterances, **settings).runs
    return {(run.config.alpha, run.config.fold): run.run_id for run in runs}


def test_settings_come_from_the_environment():
    settings = Settings.from_environment(
        {
            "MTLSER_ALPHAS": "0, 0.1",
            "MTLSER_FOLDS": "Ses01F Ses02M",
            "MTLSER_EPOCHS": "2",
            "MTLSER_PRECISION": "fp32",
            "MTLSER_TRAIN": "0",
            "X": "1",
        }
    )
    assert (settings.alphas, settings.folds, settings.epochs, settings.train) == (
        (0.0, 0.1), ("Ses01F", "Ses02M"), 2, False,
    )  # fmt: skip
    assert table4("iemocap", settings).template.precision == "fp32"
    assert table4("iemocap", Settings()).template.precision == "bf16"
    with pytest.raises(ConfigError, match="precision='fp16'"):
        table4("iemocap", Settings(precision="fp16"))
    with pytest.raises(ConfigError, match="MTLSER_EPOCHS='two'"):
        Settings.from_environment({"MTLSER_EPOCHS": "two"})
    with pytest.raises(ConfigError, match="MTLSER_TRAIN='yes'"):
        Settings.from_environment({"MTLSER_TRAIN": "yes"})


def test_the_whole_table_is_five_alphas_by_the_folds(tmp_path, utterances):
    plan = tiny_plan(tmp_path, utterances)
    assert [(r.config.alpha, r.fold.name) for r in plan.runs] == [(a, f) for a in ALPHAS for f in ("Ses01F", "Ses01M")]
    assert len({run.run_id for run in plan.runs}) == 10
    assert len(plan.missing()) == 10
    part = plan.only(alpha=0.1, fold="Ses01M")
    assert [run.run_id for run in part.runs] == [run.run_id for run in plan.runs if run.config.alpha == 0.1][1:]


def test_a_part_that_the_plan_does_not_have_is_an_error(tmp_path, utterances):
    plan = tiny_plan(tmp_path, utterances)
    with pytest.raises(ConfigError, match=r"alpha=0\.5"):
        plan.only(alpha=0.5)
    with pytest.raises(ConfigError, match="Ses09F"):
        _ = tiny_plan(tmp_path, utterances, folds=("Ses09F",)).runs
    with pytest.raises(ConfigError, match="Table 4"):
        table4("pocket", Settings(alphas=(0.5,)))


def test_the_same_content_has_the_same_ids_wherever_it_lies(tmp_path, utterances):
    elsewhere = tiny_utterances(tmp_path / "other place" / "wav")
    assert ids(tmp_path, utterances) == ids(tmp_path, elsewhere)


def test_one_wav_label_or_transcript_changes_the_ids_of_the_folds_that_read_it(tmp_path, utterances):
    before = ids(tmp_path, utterances)
    samples, rate = soundfile.read(utterances["wav"][0], dtype="int16")
    samples[3] += 1
    soundfile.write(utterances["wav"][0], samples, rate, subtype="PCM_16")
    after_wav = ids(tmp_path, utterances)
    relabelled = utterances.assign(emotion=["sad", *utterances["emotion"][1:]])
    retold = utterances.assign(transcript=["OTHER", *utterances["transcript"][1:]])
    for changed in (after_wav, ids(tmp_path, relabelled), ids(tmp_path, retold)):
        # every fold reads every utterance, for training or for testing
        assert changed.keys() == before.keys() and not set(changed.values()) & set(before.values())


def test_a_tag_that_normalisation_removes_changes_no_id(tmp_path, utterances):
    tagged = utterances.assign(transcript=[utterances["transcript"][0] + " [LAUGHTER]", *utterances["transcript"][1:]])
    assert ids(tmp_path, tagged) == ids(tmp_path, utterances)


def test_an_utterance_that_a_fold_does_not_read_changes_only_the_others(tmp_path, utterances):
    folds = make_folds(utterances, "speaker")
    smaller = replace(folds[0], train=folds[0].train[1:])
    unread = folds[0].train[0]
    relabelled = utterances.assign(
        emotion=[
            "sad" if name == unread else e
            for name, e in zip(utterances["utterance"], utterances["emotion"], strict=True)
        ]
    )
    if (relabelled["emotion"] == utterances["emotion"]).all():
        relabelled["emotion"] = [
            "angry" if n == unread else e for n, e in zip(utterances["utterance"], utterances["emotion"], strict=True)
        ]
    audio = store_audio(utterances, tmp_path / "cache").table
    before, after = (run_content(table, audio, "normalised") for table in (utterances, relabelled))
    assert fold_digests(before, smaller) == fold_digests(after, smaller)
    assert fold_digests(before, folds[1]) != fold_digests(after, folds[1])


def test_weights_configuration_and_recipe_version_are_in_the_id(tmp_path, utterances):
    plan = tiny_plan(tmp_path, utterances)
    run = plan.runs[0]
    names = {
        run.run_id,
        make_run_id(run.config, run.digests | {"backbone": "other"}),
        make_run_id(replace(run.config, learning_rate=0.5), run.digests),
        make_run_id(run.config, run.digests, recipe_version=99),
        make_run_id(replace(run.config, seed=1), run.digests),
    }
    assert len(names) == 5
    assert ids(tmp_path, utterances, epochs=7).keys() == ids(tmp_path, utterances).keys()
    assert ids(tmp_path, utterances, epochs=7) != ids(tmp_path, utterances)


@dataclass(frozen=True)
class Grown(RunConfig):
    """A configuration with a field that there was not before."""

    system: str = "multitask"


def test_a_new_field_orphans_no_record_and_changes_the_id_only_where_it_is_set(tmp_path, utterances):
    run = tiny_plan(tmp_path, utterances).runs[0]
    grown = Grown(**run.config.to_dict())
    assert make_run_id(grown, run.digests) == run.run_id
    assert old_run_id(grown, run.digests, "") == old_run_id(run.config, run.digests, "")
    changed = replace(grown, system="another")
    assert make_run_id(changed, run.digests) != run.run_id and old_run_id(changed, run.digests, "") is None


def test_published_defaults_never_change():
    """Ids leave defaults out, and records that lack a field are read as having them: set another value in a preset."""
    assert {f.name: f.default for f in fields(RunConfig) if f.default is not MISSING} == {
        "alpha": 0.1, "protocol": "speaker", "fold": "", "seed": 0, "pooling": "sum", "transcript_style": "normalised",
        "encoder_padding": "exact", "epochs": 100, "learning_rate": 5e-5, "learning_rate_alpha_zero": 1e-5,
        "adam_beta1": 0.9, "adam_beta2": 0.999, "adam_epsilon": 1e-8, "weight_decay": 0.0, "max_gradient_norm": 1.0,
        "warmup_ratio": 0.1, "batch_size": 8, "length_bucket": 1, "micro_batch_seconds": 40.0,
        "micro_batch_padding_seconds": 40.0, "precision": "fp32", "freeze_convolutions": False,
        "initialisation": "pretrained", "mask_time_probability": 0.05, "mask_time_length": 10,
        "mask_time_min_masks": 2, "training_texts": "own", "ctc_gradient": "shared", "dropout": None, "layerdrop": None,
    }  # fmt: skip


def test_a_run_that_a_committed_record_holds_is_done_by_either_id(tmp_path, utterances):
    """Work goes on from the records, on another machine too; FRESH=1 trains what they hold."""
    plan = tiny_plan(tmp_path, utterances, alphas=(0.1,))
    first, second = plan.runs
    for name, run in ((first.run_id, first), (second.alias, second)):
        content = read_run(write_run(tmp_path / "theirs", name, fold=run.config.fold, epochs=run.config.epochs))
        write_json(tmp_path / "theirs" / name / "run.json", content | {"config": run.config.to_dict()})
    share(read_records(sorted((tmp_path / "theirs").iterdir())), tmp_path / "results" / "someone", {})
    again = tiny_plan(tmp_path, utterances, alphas=(0.1,))
    assert not again.missing() and complete(again).runs["fold"].tolist() == ["Ses01F", "Ses01M"]
    assert not (tmp_path / "artifacts" / "runs").exists()
    fresh = tiny_plan(tmp_path, utterances, alphas=(0.1,), fresh=True)
    assert len(fresh.missing()) == 2 and fresh.records().runs.empty

    own = write_run(tmp_path / "artifacts" / "runs", first.run_id, correct=1)
    write_json(own / "run.json", read_run(own) | {"config": first.config.to_dict()})
    found = tiny_plan(tmp_path, utterances, alphas=(0.1,)).records()
    assert found.runs["num_correct"].tolist() == [1, 3] and found.source == "this machine, shared by someone"


def test_a_run_in_a_folder_of_its_former_id_is_found(tmp_path, utterances):
    run = tiny_plan(tmp_path, utterances).runs[0]
    write_run(tmp_path / "artifacts" / "runs", run.alias)
    assert tiny_plan(tmp_path, utterances).runs[0].status == "done"


@pytest.mark.parametrize(
    ("column", "value"),
    [("corpus_id", "pocket-other"), ("backbone_digest", "other"), ("system", "other"), ("dropout", 0.1)],
)
def test_records_of_another_corpus_backbone_system_or_dropout_are_left_out(tmp_path, column, value):
    plan = table4("pocket", Settings(artifacts=tmp_path, results=tmp_path))
    committed = records.read_results(ROOT / "book" / "results")
    kept = plan.matching(committed)
    assert len(kept.runs) == 50  # records from before these columns have the frozen instrument's
    runs = committed.runs.astype({column: "object"})
    runs.loc[runs["fold"] == "Ses01F", column] = value
    others = Records(runs, committed.history, committed.predictions)
    assert len(plan.matching(others).runs) == 45
    assert plan.matching(others).runs["fold"].nunique() == 9


def test_nothing_run_is_empty_records(tmp_path, utterances):
    found = tiny_plan(tmp_path, utterances).records()
    assert isinstance(found, Records) and found.provenance == "not run"


def test_iemocap_without_a_release_says_what_to_type(tmp_path):
    with pytest.raises(NoRelease, match="make reproduce IEMOCAP="):
        load_utterances("iemocap", Settings(artifacts=tmp_path))
    assert table4("iemocap", Settings(artifacts=tmp_path, results=tmp_path)).records().provenance == "not run"


def test_seeds_of_numpy_stay_out_of_the_plan(tmp_path, utterances):
    np.random.seed(0)
    state = np.random.get_state()[1].copy()
    _ = tiny_plan(tmp_path, utterances).runs
    assert (np.random.get_state()[1] == state).all()


def test_shared_records_of_another_setting_are_another_experiment(tmp_path):
    shared = tmp_path / "results"
    for number, epochs in enumerate((table4("pocket", Settings()).template.epochs, 3)):
        run = write_run(tmp_path / "runs", f"r{number}", epochs=epochs)
        content = read_run(run)
        config = table4("pocket", Settings()).template.to_dict() | {"alpha": 0.1, "fold": "Ses01F", "epochs": epochs}
        write_json(run / "run.json", content | {"config": config, "recipe_version": RECIPE_VERSION})
    share(read_records(sorted((tmp_path / "runs").iterdir())), shared / "someone", {})
    settings = Settings(artifacts=tmp_path / "artifacts", results=shared)
    assert table4("pocket", settings).records().runs["run_id"].tolist() == ["r0"]
    assert table4("pocket", replace(settings, epochs=3)).records().runs["run_id"].tolist() == ["r1"]
    assert table4("pocket", replace(settings, alphas=(0.0,))).records().provenance == "not run"
    assert table4("smoke", settings).records().provenance == "not run"


def test_sharing_gives_the_runs_of_this_machine_and_none_that_others_shared(tmp_path, monkeypatch, capsys):
    results, artifacts = tmp_path / "results", tmp_path / "artifacts"
    config = table4("pocket", Settings()).template.to_dict() | {"alpha": 0.1}
    for folder, fold in ((tmp_path / "theirs" / "a", "Ses01F"), (artifacts / "runs" / "b", "Ses01M")):
        run = write_run(folder.parent, folder.name, epochs=config["epochs"])
        content = read_run(run) | {"config": config | {"fold": fold}, "recipe_version": RECIPE_VERSION}
        write_json(run / "run.json", content)
    share(read_records([tmp_path / "theirs" / "a"]), results / "someone", {})
    monkeypatch.setenv("MTLSER_RESULTS", str(results))

    monkeypatch.setenv("MTLSER_ARTIFACTS", str(tmp_path / "nothing"))
    assert main(["share", "me"]) == 1 and "no ended run to share" in capsys.readouterr().err
    assert not (results / "me").exists()

    monkeypatch.setenv("MTLSER_ARTIFACTS", str(artifacts))
    assert main(["share", "me"]) == 0
    assert read_shared(results / "me").runs["run_id"].tolist() == ["b"]


@pytest.fixture
def small_release(tmp_path, known_tree):
    """Every 60th turn of the release-shaped tree: the layout and its oddities, quickly trained on.

    Their labels are as short as their sounds, which the check of a corpus compares.
    """
    turns = [replace(turn, end_seconds=round(turn.start_seconds + 0.05, 4)) for turn in known_tree.turns[::60]]
    return write_turns(tmp_path / "release", turns)


def test_the_iemocap_preset_trains_on_a_release_with_the_paper_s_settings(tmp_path, small_release):
    settings = Settings(
        release=small_release, allow_different=True, backbone=str(tiny_backbone(tmp_path / "backbone")), epochs=1,
        alphas=(0.1,), folds=("Ses05M",), artifacts=tmp_path / "artifacts", results=tmp_path, progress=tmp_path / "log",
    )  # fmt: skip
    found = complete(table4("iemocap", settings))
    assert found.provenance == "IEMOCAP (a copy that differs from the known corpus)"
    run = found.runs.iloc[0]
    assert (run["status"], run["precision"], run["learning_rate"], run["fold"]) == ("done", "bf16", 5e-5, "Ses05M")
    assert not run["freeze_convolutions"] and run["pooling"] == "sum" and run["batch_size"] == 8
    assert set(found.predictions["speaker"]) == {"Ses05M"}


def test_a_release_that_differs_is_refused_and_says_how_to_use_it(tmp_path, small_release):
    plan = table4("iemocap", Settings(release=small_release, artifacts=tmp_path, results=tmp_path))
    with pytest.raises(ReleaseDiffers, match="ALLOW_DIFFERENT=1"):
        complete(plan)
    assert not (tmp_path / "runs").exists()
