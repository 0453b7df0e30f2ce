"""Speech → figures of it: durations, spectrograms, how voices show emotion, what a model reads frame by frame.

Drawn by `figures.show`, in the same colours and both themes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import scipy.signal

from mtlser.config import EMOTIONS, SAMPLE_RATE_HZ
from mtlser.corpus.pocket_examples import Example
from mtlser.corpus.prosody import pitch_contour
from mtlser.report.figures import PAPER_COLOUR, Axes, Figure, PercentFormatter, emotion_marks, panels_of

WINDOW = 400  # samples, 25 ms
HOP = 160  # samples, 10 ms: a column
HIGHEST_HZ = 4000  # of the pictures; the audio goes to 8000
RANGE_DB = 40.0  # from the loudest point down to the page's ground
NUM_SHADES = 8  # few enough that a picture is a few kilobytes

VOICE_COLUMNS = {"pitch_hz": "pitch, Hz", "letters_per_second": "letters per second"}
_POCKET_COLOUR, _PITCH_COLOUR = "#2A7FC0", PAPER_COLOUR


def durations(shares: pd.DataFrame) -> Figure:
    """Durations of a corpus as a curve (`corpus.durations`), and what is known of IEMOCAP's as marks."""
    figure, (axes,) = panels_of(1)
    for name, colour, style in (("IEMOCAP", PAPER_COLOUR, "D"), ("pocket", _POCKET_COLOUR, "-")):
        part = shares[shares["corpus"] == name]
        axes.plot(part["seconds"], part["share"], style, color=colour, label=part["label"].iloc[0], clip_on=False)
    axes.set(xscale="log", xlabel="seconds", ylabel="utterances not longer", ylim=(0, 1.02))
    axes.set_xticks(ticks := [0.5, 1, 2, 5, 10, 20, 35], [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def spectrogram(samples: np.ndarray) -> np.ndarray:
    """(S,) → (bands of 62.5 Hz, steps of 10 ms) in [0, 1]: 1 is the loudest point, 0 is RANGE_DB below it or less."""
    transform = scipy.signal.ShortTimeFFT(scipy.signal.get_window("hann", WINDOW), HOP, SAMPLE_RATE_HZ, mfft=512)
    power = np.abs(transform.stft(samples))[: HIGHEST_HZ * 512 // SAMPLE_RATE_HZ] ** 2
    power = power.reshape(len(power) // 2, 2, -1).mean(axis=1)  # bands of 62.5 Hz
    level = 10 * np.log10(power / power.max() + 1e-12)
    return np.clip(1 + level / RANGE_DB, 0, 1)


def spectrograms(examples: Sequence[Example]) -> Figure:
    """A row for each emotion and a column for each voice: energy over time and frequency, and the pitch as a line."""
    columns = len({example.speaker for example in examples})
    figure, panels = panels_of(len(examples), height=1 + 1.45 * len(examples) / columns, columns=columns)
    longest = max(len(example.samples) for example in examples) / SAMPLE_RATE_HZ
    for place, (axes, example) in enumerate(zip(panels, examples, strict=True)):
        pitch = _spectrogram(axes, example.samples)
        axes.set(xlim=(0, longest), ylim=(0, HIGHEST_HZ / 1000))
        axes.set_title(f"{example.emotion}, {example.speaker}: “{example.text}”", fontsize=8)
        if place % columns == 0:
            axes.set_ylabel("kHz")
        if place % columns == columns - 1:
            pitch.spines["right"].set_visible(True)
            pitch.set_yticks([100, 200, 300])
            pitch.set_ylabel("pitch, Hz", color=_PITCH_COLOUR)
        if place >= len(examples) - columns:
            axes.set_xlabel("seconds")
    return figure


def _spectrogram(axes: Axes, samples: np.ndarray) -> Axes:
    """Draws one, and the pitch on a scale of its own, which is returned."""
    shades = np.round(spectrogram(samples) * NUM_SHADES) / NUM_SHADES
    extent = (0, shades.shape[1] * HOP / SAMPLE_RATE_HZ, 0, HIGHEST_HZ / 1000)
    axes.imshow(shades, origin="lower", aspect="auto", interpolation="none", extent=extent, vmin=0, vmax=1)
    own, pitch = axes.twinx(), pitch_contour(samples, HOP)
    own.plot(np.arange(len(pitch)) * HOP / SAMPLE_RATE_HZ, pitch, color=_PITCH_COLOUR, lw=1.5)
    own.set(ylim=(50, 350), yticks=[])
    own.tick_params(colors=_PITCH_COLOUR)
    return own


def voices(prosody: pd.DataFrame, columns: Mapping[str, str] = VOICE_COLUMNS) -> Figure:
    """For each speaker and emotion the median of each of `columns` (name -> label); the others: speaker, emotion."""
    speakers = sorted(prosody["speaker"].unique())
    figure, panels = panels_of(len(columns), height=1.2 + 0.28 * len(speakers))
    for axes, (column, label) in zip(panels, columns.items(), strict=True):
        emotion_marks(axes, prosody.groupby(["emotion", "speaker"])[column].median(), speakers, size=5)
        axes.set_xlabel(label)
    for axes in panels[1:]:
        axes.set_yticklabels([])
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(EMOTIONS),
                  handletextpad=0.2)  # fmt: skip
    return figure


def frames(table: pd.DataFrame) -> Figure:
    """Frame by frame (`using.frame_table`): the probability of the blank, and the likeliest character with its own."""
    figure, (axes,) = panels_of(1, height=2.6)
    axes.plot(table["seconds"], table["blank_probability"], lw=1, color="#7F7F7F", label="blank")
    spoken = table[table["character"] != ""]
    axes.vlines(spoken["seconds"], 0, spoken["probability"], color=_POCKET_COLOUR, lw=1.5, label="likeliest character")
    for seconds, character, probability in spoken[["seconds", "character", "probability"]].itertuples(index=False):
        axes.text(seconds, probability + 0.03, character.replace(" ", "␣"), ha="center", fontsize=8)
    axes.set(xlabel="seconds", ylabel="probability", ylim=(0, 1.15), yticks=[0, 0.5, 1])
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    figure.legend(loc="outside upper center", ncols=2)
    return figure
