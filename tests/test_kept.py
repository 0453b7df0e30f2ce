"""Kept models and `python -m mtlser predict`: which model answers, JSON lines, and errors that leave the others."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
import torch

from mtlser import __main__ as commands
from mtlser.config import ConfigError
from mtlser.files import write_json
from mtlser.model import MultitaskModel
from mtlser.runs.kept import kept_model, kept_models
from tiny_models import tiny_config


def keep(artifacts, name, preset="pocket", finished="2026-01-01", status="done"):
    torch.manual_seed(0)
    folder = artifacts / "runs" / name
    MultitaskModel(tiny_config(pooling="mean")).save_pretrained(folder / "model")
    config = {"preset": preset, "alpha": 0.1, "fold": "Ses01F"}
    write_json(folder / "run.json", {"run_id": name, "status": status, "config": config, "finished": finished})
    return folder / "model"


def test_the_newest_finished_model_of_the_preset_comes_first(tmp_path):
    keep(tmp_path, "a", finished="2026-01-02")
    keep(tmp_path, "b", finished="2026-01-01")
    keep(tmp_path, "c", preset="smoke", finished="2026-01-03")
    keep(tmp_path, "d", status="failed", finished="2026-01-04")
    (keep(tmp_path, "e").parent / "run.json").write_text("{")
    assert [model.folder.parent.name for model in kept_models(tmp_path)] == ["c", "a", "b"]
    assert kept_model(tmp_path, "pocket").folder.parent.name == "a"
    assert kept_model(tmp_path, "iemocap").folder.parent.name == "c"  # any is better than none
    assert (
        kept_model(tmp_path, "pocket").description == "α = 0.1, trained on the pocket corpus (synthetic) without Ses01F"
    )


def test_no_model_says_how_to_get_one(tmp_path, monkeypatch, capsys):
    with pytest.raises(ConfigError, match="make reproduce"):
        kept_model(tmp_path, "pocket")
    monkeypatch.setenv("MTLSER_ARTIFACTS", str(tmp_path))
    assert commands.main(["predict", "a.wav"]) == 1
    assert "make reproduce" in capsys.readouterr().err
    assert commands.main(["predict", "a.wav", "--model", str(tmp_path)]) == 1
    assert "is not a trained model" in capsys.readouterr().err


def test_predict_gives_a_line_a_file_and_an_error_stops_no_other(tmp_path, monkeypatch, capsys):
    keep(tmp_path, "a")
    monkeypatch.setenv("MTLSER_ARTIFACTS", str(tmp_path))
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000)
    first, last = (str(tmp_path / name) for name in ("é 1.wav", "2.flac"))
    soundfile.write(first, noise, 16_000)
    soundfile.write(last, noise, 44_100)
    missing = str(tmp_path / "missing.wav")
    assert commands.main(["predict", first, missing, last]) == 1
    shown = capsys.readouterr()
    answers = [json.loads(line) for line in shown.out.splitlines()]
    assert [answer["file"] for answer in answers] == [first, missing, last]
    trained = "α = 0.1, trained on the pocket corpus (synthetic) without Ses01F"
    assert answers[1] == {"file": missing, "error": "does not exist", "model": trained}
    assert set(answers[0]) == {
        "file",
        "emotion",
        "probabilities",
        "transcript",
        "num_frames",
        "frame_seconds",
        "seconds",
        "model",
    }
    assert answers[0]["model"] == trained and "0 others: python -m mtlser models" in shown.err
    assert all(value == round(value, 4) for value in answers[0]["probabilities"].values())
    assert commands.main(["predict", "--frames", first]) == 0
    frames = json.loads(capsys.readouterr().out)["frames"]
    assert {len(values) for values in frames.values()} == {answers[0]["num_frames"]}
    assert commands.main(["predict", "--max-seconds", "0.5", first]) == 1
    assert "at most 0.5 s" in capsys.readouterr().out


def test_models_that_are_here_are_listed_and_a_folder_without_a_record_says_so(tmp_path, monkeypatch, capsys):
    keep(tmp_path, "a", finished="2026-01-01")
    newest = keep(tmp_path, "c", preset="smoke", finished="2026-01-03")
    monkeypatch.setenv("MTLSER_ARTIFACTS", str(tmp_path))
    assert commands.main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["α = 0.1, trained on the smoke corpus (synthetic) without Ses01F", f"    {newest}"]
    assert len(lines) == 4
    (newest.parent / "run.json").unlink()
    noise = str(tmp_path / "noise.wav")
    soundfile.write(noise, np.random.default_rng(0).uniform(-0.5, 0.5, 16_000), 16_000)
    assert commands.main(["predict", noise, "--model", str(newest)]) == 0
    assert json.loads(capsys.readouterr().out)["model"] == "not recorded"
