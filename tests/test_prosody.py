"""Pitch, energy and rate of sounds that are known, and without waiting for torch."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from mtlser.corpus.pocket import write_wav
from mtlser.corpus.prosody import measure_prosody, pitch_and_energy, pitch_contour


def test_pitch_of_a_harmonic_tone():
    time = np.arange(16_000) / 16_000
    for pitch_hz in (80.0, 125.0, 250.0, 400.0):
        tone = sum(np.sin(2 * np.pi * pitch_hz * k * time) / k for k in range(1, 8)).astype(np.float32)
        log_pitch, _ = pitch_and_energy(tone, 24, 640)
        assert np.exp(log_pitch[1:-2]) == pytest.approx(pitch_hz, rel=0.03)
        assert pitch_contour(tone)[1:-2] == pytest.approx(pitch_hz, rel=0.03)


def test_noise_and_silence_are_unvoiced():
    noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    noise[8000:] *= 1e-4
    log_pitch, energy_db = pitch_and_energy(noise, 24, 640)
    assert np.isnan(log_pitch).mean() > 0.9
    assert energy_db[:10].mean() - energy_db[-8:].mean() == pytest.approx(80, abs=3)


def test_pitch_and_rate_of_a_known_sound(tmp_path):
    time = np.arange(32_000) / 16_000
    write_wav(tmp_path / "a.wav", 0.3 * np.sign(np.sin(2 * np.pi * 125 * time)))
    write_wav(tmp_path / "b.wav", np.random.default_rng(0).uniform(-0.3, 0.3, 16_000))
    table = pd.DataFrame(
        {"utterance": ["a", "b"], "wav": [str(tmp_path / n) for n in ("a.wav", "b.wav")],
         "transcript": ["Ten letters, eh", "[LAUGHTER]"]}
    )  # fmt: skip
    a, b = measure_prosody(table).itertuples()
    assert a.pitch_hz == pytest.approx(125, rel=0.02) and a.pitch_range_semitones < 0.5
    assert (a.seconds, a.letters_per_second) == (2.0, 6.0)
    assert np.isnan(b.pitch_hz) and np.isnan(b.letters_per_second)


def test_simple_features_wait_for_no_model():
    script = "import sys, mtlser.corpus.prosody; print(bool({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "False"
