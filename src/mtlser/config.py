"""The typed, frozen description of a run, its presets, and where each number comes from.

Every number that decides a result lives here once: the Makefile, the notebooks and the tests read it from here.
"""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

# The order of the four classes is the order of the emotion head's outputs (section 4.1: excited is merged into happy).
EMOTIONS = ("neutral", "happy", "angry", "sad")

# Table 1 and section 4.2: audio is sampled at 16 kHz.
SAMPLE_RATE_HZ = 16_000

# A trained model refuses longer files: attention compares every frame with every other, so memory grows with the square
# of the duration. IEMOCAP's longest utterance has 34 s, and an emotion is asked of an utterance, not of a recording.
MAX_SECONDS = 60.0

# Table 4. Table 1 lists the first four.
ALPHAS = (0.0, 0.001, 0.01, 0.1, 1.0)

# Raised whenever the arithmetic of training changes, so that records of different arithmetic are never mixed.
RECIPE_VERSION = 1

# Raised whenever the same settings give another pocket corpus.
POCKET_GENERATOR_VERSION = 2

Protocol = Literal["speaker", "released", "session", "groups", "random", "text"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)

# The contributor whose records the book shows first.
MAINTAINERS = "maintainers"

DATA_FOLDER = Path(__file__).parent / "data"
POCKET_BACKBONE = DATA_FOLDER / "pocket-backbone"

# How measurements on people are made and judged, committed before the first of them.
RULES = DATA_FOLDER / "people.toml"
PEOPLE_RULES: dict[str, Any] = tomllib.loads(RULES.read_text(encoding="utf-8"))

# What they chose on a corpus's development speakers, fields of RunConfig; a test compares it with the records.
PEOPLE: dict[str, dict[str, Any]] = {
    "ravdess": {"epochs": 6, "learning_rate": 5e-5, "learning_rate_alpha_zero": 5e-5},
}


class ConfigError(ValueError):
    """A setting is unknown or out of range; the message names the field and what it accepts."""


def _refuse(settings: RunConfig | PocketCorpusConfig, checks: dict[str, bool]) -> None:
    for name, holds in checks.items():
        if not holds:
            kind, value = type(settings).__name__, getattr(settings, name)
            raise ConfigError(f"{name}={value!r} is out of range; see {kind}.{name}")


@dataclass(frozen=True)
class RunConfig:
    """One training run: one alpha, one test fold, one seed. `None` of these fields is read from anywhere else."""

    preset: str
    alpha: float = 0.1  # weight of the CTC loss, Eq. 3; 0.1 is the paper's best (Table 4)
    protocol: Protocol = "speaker"  # as written, section 4.1
    fold: str = ""  # name of the test fold, e.g. "Ses01F"
    seed: int = 0  # the paper states none (departure "seeds")

    pooling: Literal["sum", "mean"] = "sum"  # section 3.1: "sums over the sample length"; released code: mean
    transcript_style: Literal["normalised", "released"] = "normalised"  # departure "transcripts"
    encoder_padding: Literal["exact", "released"] = "exact"  # departure "padding"

    epochs: int = 100  # Table 1
    learning_rate: float = 5e-5  # Table 1, alpha > 0
    learning_rate_alpha_zero: float = 1e-5  # Table 1, alpha = 0
    adam_beta1: float = 0.9  # Table 1
    adam_beta2: float = 0.999  # Table 1
    adam_epsilon: float = 1e-8  # Table 1
    weight_decay: float = 0.0  # not in the paper; transformers 4.4.2 default, inherited by the released code
    max_gradient_norm: float = 1.0  # not in the paper; transformers 4.4.2 default, inherited by the released code
    warmup_ratio: float = 0.1  # Table 1
    batch_size: int = 8  # Table 1, "accumulated batch size"
    length_bucket: int = 1  # batches whose utterances are sorted by length together; 1: plain shuffling, as the paper
    micro_batch_seconds: float = 40.0  # audio in memory at once; without LayerDrop and dropout no result changes
    micro_batch_padding_seconds: float = 40.0  # of them padding, on a CPU, where a batch is padded at all
    precision: Literal["fp32", "bf16"] = "fp32"  # not in the paper; released code used fp16 until August 2022
    freeze_convolutions: bool = False  # section 4.2: all of theta is optimised
    initialisation: Literal["pretrained", "random"] = "pretrained"  # random: what the backbone buys, by doing without

    mask_time_probability: float = 0.05  # not in the paper; SpecAugment of transformers 4.4.2's Wav2Vec2Config
    mask_time_length: int = 10  # frames, as above; shortened for an utterance that is shorter
    mask_time_min_masks: int = 2  # as above
    training_texts: Literal["own", "exchanged"] = "own"  # a control: each of another sentence of about that length
    ctc_gradient: Literal["shared", "head", "head, clipped apart"] = "shared"  # a control: how far CTC's gradient goes
    dropout: float | None = None  # all dropouts of the encoder; None keeps the backbone's own
    layerdrop: float | None = None  # None keeps the backbone's own

    def __post_init__(self) -> None:
        kinds = {name: kind for name, kind in get_type_hints(RunConfig).items() if get_origin(kind) is Literal}
        checks = {name: getattr(self, name) in get_args(kind) for name, kind in kinds.items()} | {
            "alpha": self.alpha >= 0,
            "epochs": self.epochs >= 1,
            "batch_size": self.batch_size >= 1,
            "length_bucket": self.length_bucket >= 1,
            "learning_rate": self.learning_rate > 0 and self.learning_rate_alpha_zero > 0,
            "warmup_ratio": 0 <= self.warmup_ratio < 1,
            "micro_batch_seconds": self.micro_batch_seconds > 0,
            "micro_batch_padding_seconds": self.micro_batch_padding_seconds >= 0,
        }
        _refuse(self, checks)

    @property
    def peak_learning_rate(self) -> float:
        """Learning rate after warm-up for this run's alpha (Table 1 gives alpha = 0 its own)."""
        return self.learning_rate if self.alpha > 0 else self.learning_rate_alpha_zero

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `run.json` stores them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RunConfig:
        """Inverse of `to_dict`. Raises ConfigError for a field this version does not know."""
        if unknown := set(values) - {f.name for f in fields(cls)}:
            raise ConfigError(f"unknown configuration fields: {', '.join(sorted(unknown))}")
        return cls(**values)


@dataclass(frozen=True)
class PocketCorpusConfig:
    """Settings of the synthetic pocket corpus: a calibrated instrument, not evidence about IEMOCAP.

    The strength of every cue is a setting. A probability of 0.25 would be chance for one of four emotions.
    """

    seed: int = 2021
    voices: Literal["pocket", "pilot"] = "pocket"  # the pilot tunes on ten voices that the pocket corpus does not have
    utterances_per_speaker: int = 160  # of the four classes; the pilot's choice
    scripted_share: float = 0.47  # IEMOCAP: 2588 of 5531
    repeated_text_share: float = 0.22  # IEMOCAP, speaker folds: 22.1% of test transcripts occur verbatim in training
    arousal_cue_probability: float = 0.95  # prosody shows the emotion's arousal (angry, happy / neutral, sad)
    valence_cue_probability: float = 0.95  # words show the emotion's valence (happy, neutral / angry, sad)
    speaker_deviation: float = 0.4  # how much voices differ in baseline and in how they show arousal; 0 is not at all
    pitch_shift_semitones: float = 4.0  # of high against low arousal, averaged over voices
    rate_ratio: float = 1.18  # speaking rate of high over low arousal, averaged over voices
    pitch_range_shift: float = 24.0  # liveliness of high against low arousal, in espeak-ng's steps of 0 to 99
    pitch_variation_semitones: float = 0.7  # standard deviation between utterances of one voice and one arousal
    rate_variation: float = 0.04  # as above, of the logarithm of the speaking rate
    base_words_per_minute: int = 145  # slow enough for 40 ms frames to spell every word
    noise_snr_db: float = 25.0  # of noise scaled to each utterance (gain itself is invisible to the model)

    def __post_init__(self) -> None:
        shares = ("repeated_text_share", "arousal_cue_probability", "valence_cue_probability")
        checks = {name: 0 <= getattr(self, name) <= 1 for name in shares} | {
            "voices": self.voices in ("pocket", "pilot"),
            "scripted_share": 0 <= self.scripted_share <= 0.9,  # a sound alone is improvised
            # Fewer leave a dialog without a speaker, more use up the grammar's sentences.
            "utterances_per_speaker": 4 <= self.utterances_per_speaker <= 1000,
            "speaker_deviation": 0 <= self.speaker_deviation <= 1.5,  # more takes weights and pitches out of range
            "rate_ratio": self.rate_ratio > 0,
            "base_words_per_minute": 80 <= self.base_words_per_minute <= 300,
        }
        _refuse(self, checks)


@dataclass(frozen=True)
class Preset:
    """What `make reproduce` completes. A preset never changes the code path."""

    name: str
    run: RunConfig  # template; alpha, fold and seed are filled in
    alphas: tuple[float, ...] = ALPHAS
    num_folds: int | None = None  # None: every fold of the protocol
    seeds: tuple[int, ...] = (0,)
    corpus: PocketCorpusConfig | None = None  # None: a corpus that lies in a folder, `reads`
    reads: str = "iemocap"  # its name in `mtlser.corpus.load`
    backbone: str = POCKET_BACKBONE.name  # "pocket-backbone" (shipped), a local folder, or a hub name
    backbone_revision: str | None = None  # commit on the hub
    device: Literal["any", "cpu"] = "any"  # "any": a GPU where there is one
    kept_weights: tuple[tuple[float, str], ...] = ()  # (alpha, fold) whose trained weights are kept; "": the first fold


# Dropout is off for the pocket model: its random numbers were 15% of a step, and 40 ms frames halve the rest.
_POCKET_RUN = RunConfig(
    preset="pocket",
    epochs=5,  # some nine hundred steps; the pilot's choice with the size of the corpus and the learning rate
    learning_rate=2e-3,  # the pilot's choice
    learning_rate_alpha_zero=2e-3,  # one learning rate for every alpha: no confound (departure "learning-rate")
    freeze_convolutions=True,  # their outputs are then computed once per corpus
    pooling="sum",
    dropout=0.0,
    layerdrop=0.0,
    mask_time_length=4,  # 160 ms of the pocket model's 40 ms frames, near the 200 ms of base
    length_bucket=16,  # a fifth of a plainly shuffled batch is padding; so is a fifth of its step
)


# On people, with an encoder that fits two cores. Everything that could favour a result was fixed or chosen on speakers
# that are not tested (data/people.toml).
_PEOPLE_RUN = RunConfig(
    preset="people",
    epochs=4,
    learning_rate=1e-4,
    learning_rate_alpha_zero=1e-4,
    pooling="mean",  # as released; Whisper's frames have a norm of about 30, and IEMOCAP's longest would sum 1,700
    length_bucket=16,
    micro_batch_padding_seconds=8.0,
)


def people(name: str) -> Preset:
    """The preset of an open corpus, or of one's own: its speakers, each alone or in groups, are tested in turn."""
    protocol = "speaker" if name in ("nemo", "emodb") else "groups"
    run = replace(_PEOPLE_RUN, preset=name, protocol=protocol, **PEOPLE.get(name, {}))
    return Preset(name, run, seeds=(0, 1, 2), reads=name, backbone="openai/whisper-tiny.en", kept_weights=((0.1, ""),))


_KEPT = ((0.1, "Ses01F"),)  # whose weights the book shows

PRESETS = {
    preset.name: preset
    for preset in (
        # On a CPU, as the instrument was calibrated: so small a model keeps a GPU waiting, and sixteen cores beat one.
        Preset("pocket", _POCKET_RUN, corpus=PocketCorpusConfig(), device="cpu", kept_weights=_KEPT),
        Preset(
            "smoke",
            replace(_POCKET_RUN, preset="smoke", epochs=1),
            num_folds=2,
            corpus=PocketCorpusConfig(utterances_per_speaker=8),
            device="cpu",
            kept_weights=_KEPT,
        ),
        Preset(
            "iemocap",
            # 80 s: so nearly no batch is cut in two (their mean is 36 s, and a third exceed the default's 40).
            RunConfig(preset="iemocap", precision="bf16", micro_batch_seconds=80.0),
            backbone="facebook/wav2vec2-base",
            backbone_revision="0b5b8e868dd84f03fd87d01f9c4ff0f080fecfe8",
        ),
        *(people(name) for name in ("nemo", "emodb", "ravdess", "crema-d", "own")),
    )
}


def get_preset(name: str) -> Preset:
    """The preset of that name. Raises ConfigError that lists the names."""
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
