"""What pretraining leaves: weights, a record of how they were made, and probes of what they hold.

The probes read linear functions off the encoder's frozen output, in voices that were never trained on, and off the same
encoder with random weights beside it.
"""

from __future__ import annotations

import hashlib
import platform
import subprocess
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from mtlser.config import SAMPLE_RATE_HZ
from mtlser.corpus import espeak
from mtlser.model.backbone import write_model
from mtlser.model.frames import FrameLayout
from mtlser.model.pretraining_card import model_card
from mtlser.model.pretraining_corpus import ACCENTS, PROBE_VARIANTS, TRAINING_VARIANTS, WORDS, SpeechCorpus
from mtlser.model.pretraining_objective import (
    PretrainingConfig,
    convolution_features,
    draw_mask,
    layer_states,
    masked_accuracy,
)
from mtlser.model.pretraining_phonemes import purity, spoken_phonemes
from mtlser.model.pretraining_targets import Targets, cluster
from mtlser.storage import whole_file, write_json

if TYPE_CHECKING:
    from mtlser.model.pretraining import Pretraining

STYLES = {"masked prediction": "HuBERT-style", "contrastive": "contrastive (wav2vec 2.0's)"}
NUM_PROBE_FIT = 1200  # training utterances that a probe is fitted on
NUM_PROBE_FRAMES = 12_000  # frames of them for the frame-level probe
PACKAGES = ("torch", "transformers", "numpy", "scipy", "scikit-learn", "soxr", "espeakng-loader")


def write_backbone(
    pretraining: Pretraining, targets: Targets, folder: Path, revision: str | None = None
) -> dict[str, Any]:
    """Writes model.safetensors, config.json, record.json and README.md into `folder`; returns the record."""
    encoder = pretraining.model.encoder
    write_model(Path(folder), encoder.state_dict(), encoder.config)
    speech = pretraining.batches.speech
    models = {"pretrained": pretraining.model, "random weights": random_model(pretraining)}
    heard = Phonemes.of(speech, pretraining.batches.layout)
    record = {
        "name": f"wav2vec 2.0 architecture, {STYLES[pretraining.config.objective]} objective, synthetic speech",
        "config": asdict(pretraining.config),
        "num_parameters": sum(parameter.numel() for parameter in encoder.parameters()),
        "corpus": describe_corpus(speech, targets),
        "curve": pretraining.curve,
        "held_out_voices": held_out_accuracy(pretraining, targets),
        "probes": {name: probe(model, speech, targets, heard) for name, model in models.items()},
        "purity": measure_purity(models, speech, targets, heard, pretraining.config),
        "seconds": round(pretraining.seconds),
        "hardware": {"processor": processor_name(), "threads": torch.get_num_threads(), "system": platform.system()},
        "versions": {name: version(name) for name in PACKAGES} | {"espeak-ng": espeak.version()},
        "revision": revision,
        "sha256": hashlib.sha256((Path(folder) / "model.safetensors").read_bytes()).hexdigest(),
    }
    write_json(Path(folder) / "record.json", record)
    with whole_file(Path(folder) / "README.md") as partial:
        partial.write_text(model_card(record), encoding="utf-8")
    return record


def random_model(pretraining: Pretraining) -> nn.Module:
    """The same model with random weights."""
    from mtlser.model.pretraining import new_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(pretraining.config.seed + 1)
        return new_model(pretraining.model.encoder.config, pretraining.config).eval()


@dataclass(frozen=True)
class Phonemes:
    """What espeak-ng spoke in each frame (T,) of the utterances that probes are fitted on, and tested on."""

    fit: list[np.ndarray]
    test: list[np.ndarray]

    @classmethod
    def of(cls, speech: SpeechCorpus, layout: FrameLayout) -> Phonemes:
        """Speaks those utterances again, which gives the same samples."""
        return cls(*(spoken_phonemes(speech, indices, layout) for indices in probe_utterances(speech)))


def probe_utterances(speech: SpeechCorpus) -> tuple[np.ndarray, np.ndarray]:
    """Utterances that a probe is fitted on (training voices) and tested on (held-out voices)."""
    return speech.indices("training")[:NUM_PROBE_FIT], speech.indices("probe")


def measure_purity(
    models: dict[str, nn.Module], speech: SpeechCorpus, targets: Targets, heard: Phonemes, config: PretrainingConfig
) -> dict[str, dict[str, float]]:
    """Purity in held-out voices of the MFCC clusters, and of as many clusters of each model's own layer."""
    fit, test = probe_utterances(speech)
    phonemes = np.concatenate(heard.test)
    measured = {"MFCC clusters": purity(np.concatenate([targets.phones[targets.of(i)] for i in test]), phonemes)}
    for name, model in models.items():
        states = [[layer_states(model, speech, i, config.second_pass_layer) for i in part] for part in (fit, test)]
        num_fit = sum(len(state) for state in states[0])
        rows = np.concatenate([*states[0], *states[1]])
        clusters = cluster(rows, np.arange(num_fit), config.num_phone_clusters, config.seed)
        measured[name] = purity(clusters[num_fit:], phonemes)
    return {name: {key: round(value, 4) for key, value in row.items()} for name, row in measured.items()}


def describe_corpus(speech: SpeechCorpus, targets: Targets) -> dict[str, Any]:
    """Counts that a reader of the record wants without synthesising anything."""
    return {
        "generator": "espeak-ng, English of accents and voice variants that the pocket corpus does not use",
        "accents": list(ACCENTS),
        "training_variants": list(TRAINING_VARIANTS),
        "held_out_variants": list(PROBE_VARIANTS),
        "num_words": len(WORDS),
        "num_training_utterances": len(speech.indices("training")),
        "num_held_out_utterances": len(speech.indices("probe")),
        "hours": round(speech.seconds / 3600, 2),
        "num_frames": int(targets.starts[-1]),
    }


@torch.no_grad()
def held_out_accuracy(pretraining: Pretraining, targets: Targets) -> dict[str, float]:
    """Masked accuracy in held-out voices, beside what always naming the commonest cluster would reach.

    Of the last pass's clusters. The contrastive objective has none; only the commonest of the MFCC clusters is given.
    """
    common = [np.bincount(stream).max() / len(stream) for stream in (targets.phones, targets.prosody)]
    if pretraining.config.objective == "contrastive":
        return {"phone_accuracy_commonest": round(float(common[0]), 4)}
    targets = pretraining.batches.targets
    model = pretraining.model.eval()
    speech, config = pretraining.batches.speech, pretraining.config
    scores, weights = [], []
    for i in speech.indices("probe"):
        features = convolution_features(model, speech, int(i))[None]
        mask = draw_mask(np.random.default_rng([config.seed, 3, int(i)]), 1, features.shape[1], config)
        logits = model(features, mask)
        ids = [
            torch.from_numpy(stream[targets.of(i)].astype(np.int64))[None]
            for stream in (targets.phones, targets.prosody)
        ]
        scores.append([masked_accuracy(stream, target, mask) for stream, target in zip(logits, ids, strict=True)])
        weights.append(int(mask.sum()))
    phones, prosody = np.average(scores, axis=0, weights=weights)
    last = np.bincount(targets.phones).max() / len(targets.phones)
    values = {"phone_accuracy": phones, "prosody_accuracy": prosody, "phone_accuracy_commonest": common[0]}
    values |= {"last_phone_accuracy_commonest": last, "prosody_accuracy_commonest": common[1]}
    return {name: round(float(value), 4) for name, value in values.items()}


@torch.no_grad()
def hidden_states(model: nn.Module, speech: SpeechCorpus, indices: np.ndarray) -> list[np.ndarray]:
    """Encoder output (T, H) of each utterance, nothing hidden."""
    model.eval()
    return [model.encode(convolution_features(model, speech, int(i))[None])[0].numpy() for i in indices]


def probe(model: nn.Module, speech: SpeechCorpus, targets: Targets, heard: Phonemes) -> dict[str, float]:
    """Linear probes, fitted on training voices, scored on held-out voices.

    pitch_r2, rate_r2: of an utterance's mean log-F0 and of its letters per second, from the mean over its frames;
    rate_from_sum_r2: the same from the sum over frames, the paper's pooling; phone_accuracy: of each
    frame's MFCC cluster; phoneme_accuracy: of the phoneme that espeak-ng speaks in each frame.
    """
    fit, test = probe_utterances(speech)
    states = {"fit": hidden_states(model, speech, fit), "test": hidden_states(model, speech, test)}
    means = {part: np.stack([state.mean(axis=0) for state in hidden]) for part, hidden in states.items()}
    sums = {part: np.stack([state.sum(axis=0) for state in hidden]) for part, hidden in states.items()}
    rows = {"fit": fit, "test": test}
    pitch = {part: np.array([mean_log_pitch(targets, i) for i in indices]) for part, indices in rows.items()}
    rate = {part: np.array([letters_per_second(speech, i) for i in indices]) for part, indices in rows.items()}
    phones = {part: np.concatenate([targets.phones[targets.of(i)] for i in indices]) for part, indices in rows.items()}
    phonemes = {part: np.concatenate(rows) for part, rows in (("fit", heard.fit), ("test", heard.test))}
    frames = {part: np.concatenate(hidden) for part, hidden in states.items()}
    values = {
        "pitch_r2": _ridge_r2(means, pitch),
        "rate_r2": _ridge_r2(means, rate),
        "rate_from_sum_r2": _ridge_r2(sums, rate),
        "phone_accuracy": _frame_accuracy(frames, phones),
        "phoneme_accuracy": _frame_accuracy(frames, phonemes),
    }
    return {name: round(float(value), 4) for name, value in values.items()}


def mean_log_pitch(targets: Targets, index: int) -> float:
    """Mean log-F0 over an utterance's voiced frames; NaN without any."""
    pitch = targets.log_pitch[targets.of(index)]
    return float(np.mean(pitch[np.isfinite(pitch)])) if np.isfinite(pitch).any() else float("nan")


def letters_per_second(speech: SpeechCorpus, index: int) -> float:
    """Speaking rate of an utterance."""
    return speech.draws[index].num_letters * SAMPLE_RATE_HZ / float(speech.starts[index + 1] - speech.starts[index])


def _ridge_r2(features: dict[str, np.ndarray], values: dict[str, np.ndarray]) -> float:
    usable = {part: np.isfinite(values[part]) for part in values}
    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 13)))
    model.fit(features["fit"][usable["fit"]], values["fit"][usable["fit"]])
    return r2_score(values["test"][usable["test"]], model.predict(features["test"][usable["test"]]))


def _frame_accuracy(features: dict[str, np.ndarray], classes: dict[str, np.ndarray]) -> float:
    chosen = np.random.default_rng(0).choice(
        len(classes["fit"]), min(NUM_PROBE_FRAMES, len(classes["fit"])), replace=False
    )
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, tol=1e-3, max_iter=500))
    model.fit(features["fit"][chosen], classes["fit"][chosen])
    return model.score(features["test"], classes["test"])


def processor_name() -> str:
    """The processor's own name where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def code_revision() -> str | None:
    """The commit of this code, None outside a git checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
