"""The chapter on using the model: with a model its answers, without one "not run", and never one of IEMOCAP."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from mtlser.config import EMOTIONS, get_preset
from mtlser.files import write_json
from mtlser.report import display, using
from mtlser.runs.settings import Settings
from sentences import BOOK, cell, read
from tiny_models import from_backbone


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    """Two runs with kept models: fresh heads on the pocket backbone."""
    artifacts = tmp_path_factory.mktemp("artifacts")
    for preset, finished in (("pocket", "2026-01-01"), ("iemocap", "2026-01-02")):
        folder = artifacts / "runs" / f"{preset}-run"
        from_backbone("pocket-backbone", pooling="sum").save_pretrained(folder / "model")
        config = dataclasses.replace(get_preset(preset).run, fold="Ses03M").to_dict()
        final = {"accuracy": 0.5, "uar": 0.25, "macro_f1": 0.2, "wer": 0.75, "cer": 0.5}
        write_json(folder / "run.json", {
            "run_id": folder.name, "status": "done", "config": config, "finished": finished, "revision": "abc",
            "num_train": 9, "num_test": 3, "seconds": 90.0, "final": final,
        })  # fmt: skip
    return artifacts


@pytest.fixture(scope="module")
def demo(artifacts):
    return using.demonstration("iemocap", Settings(artifacts=artifacts))


@pytest.fixture
def nothing(tmp_path):
    return using.demonstration("pocket", Settings(artifacts=tmp_path))


def which_model(demo) -> str:
    return read("use", "using.demonstration", demo=demo)


def model_card(demo):
    names = cell("use", "CORPUS_NAMES", demo=demo)
    return cell("use", "Model card", display=display, **names)["card"]


def test_a_model_of_iemocap_is_never_shown(demo):
    assert demo.model.run["run_id"] == "pocket-run"
    assert "synthetic" in demo.source and "Ses03M" in which_model(demo)


def test_the_voice_is_the_one_left_out(demo, nothing):
    assert {example.speaker for example in using.examples(demo)} == {"Ses03M"}
    assert {example.speaker for example in using.examples(nothing)} == {"Ses01F"}


def test_answers_and_frames(demo, tmp_path):
    spoken = using.examples(demo)
    files = using.write_examples(spoken, tmp_path)
    answers = using.answers(demo, files)
    assert list(answers["file"]) == [f"{example.emotion}: “{example.text}”" for example in spoken]
    assert set(answers["recognised"]) <= set(EMOTIONS)
    given = {"demo": demo, "spoken": spoken, "folder": SimpleNamespace(name=tmp_path)}
    formats = using.answers(demo, cell("use", "soxr", Path=Path, using=using, display=display, **given)["formats"])
    assert [name.split(",")[0] for name in formats["file"]] == ["wav", "flac", "ogg", "mp3"]
    shown = using.frames(demo, files, "Frames").html
    assert shown.count("<img") == 2 and "synthetic" in shown


def test_every_bad_file_is_refused_in_words_without_a_path(demo, tmp_path):
    given = {"demo": demo, "folder": SimpleNamespace(name=tmp_path), "np": np, "soundfile": soundfile}
    bad = cell("use", "Dear reader", Path=Path, using=using, display=display, **given)["bad"]
    refused = using.refusals(demo, bad).set_index("file")["error"]
    problems = {"no such file": "does not exist", "a text": "not readable as audio", "no byte": "0 bytes",
                "no sample": "no samples", "silence": "is silent", "a hundredth of a second": "too few",
                "an hour": "lasts 3600 s", "not a number": "NaN"}  # fmt: skip
    assert set(refused.index) == set(problems)
    for name, problem in problems.items():
        assert problem in refused[name] and str(tmp_path) not in refused[name]


def test_the_card_says_what_it_was_trained_and_tested_on(demo):
    card = model_card(demo).set_index("question")["answer"]
    assert "50.00%" in card["test"] and "never heard" in card["test"]
    assert "9 utterances of the pocket corpus (synthetic)" in card["training"]
    assert "No decision about anybody may rest on it" in (BOOK / "use.ipynb").read_text(encoding="utf-8")


def test_without_a_model_everything_says_not_run(nothing, tmp_path):
    files = using.write_examples(using.examples(nothing), tmp_path)
    assert "make reproduce" in which_model(nothing)
    for frame in (using.answers(nothing, files), using.refusals(nothing, files), model_card(nothing)):
        assert frame.empty and "Not run" in display.show(frame, "Title", nothing.source).html
    assert "not run" in using.frames(nothing, files, "Frames").html
