"""The model card of a pretrained backbone; every number in it comes from the record beside the weights."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from mtlser.model.pretraining_objective import PretrainingConfig


def model_card(record: dict[str, Any]) -> str:
    """README.md of the weights' folder; every number in it comes from `record`."""
    config, corpus, held_out = record["config"], record["corpus"], record["held_out_voices"]
    convolution_steps = round(config["steps"] * config["convolution_share"])
    common = {name: held_out.get(f"{name}_commonest") for name in ("phone_accuracy", "prosody_accuracy")}
    rows = [
        (f"hidden frame's {kind} cluster", held_out[f"{kind}_accuracy"], None, common[f"{kind}_accuracy"])
        for kind in ("phone", "prosody")
        if f"{kind}_accuracy" in held_out  # the contrastive objective names no cluster
    ]
    for name, measure in _PROBES.items():
        commonest = common["phone_accuracy"] if name == "phone_accuracy" else None
        rows.append((measure, *(probes[name] for probes in record["probes"].values()), commonest))
    purities = [record["purity"][name]["pnmi"] for name in record["probes"]]
    rows.append(("clusters of the third layer: mutual information with phonemes, share of entropy", *purities, None))
    cells = [[name] + ["" if value is None else f"{value:.3f}" for value in values] for name, *values in rows]
    return _CARD.format(
        **{name: record[name] for name in ("name", "num_parameters", "sha256")},
        objective=_OBJECTIVES[config["objective"]].format(**config) + _second_pass(config),
        command=_command(config, record["hardware"]["threads"]),
        **{name: config[name] for name in ("batch_size", "learning_rate")},
        **{name: corpus[name] for name in ("hours", "num_training_utterances", "num_held_out_utterances", "num_words")},
        **{name: config["speech"][name] for name in ("rate_wpm", "snr_db", "clean_share")},
        **{name: record["hardware"][name] for name in ("threads", "processor")},
        espeak=record["versions"]["espeak-ng"],
        accents=", ".join(corpus["accents"]),
        num_variants=len(corpus["training_variants"]),
        num_held_out_variants=len(corpus["held_out_variants"]),
        steps=config["steps"],
        convolution_steps=convolution_steps,
        frozen_steps=config["steps"] - convolution_steps,
        seed=config["seed"],
        minutes=record["seconds"] / 60,
        rows="\n".join(f"| {' | '.join(row)} |" for row in cells),
    )


def _second_pass(config: dict[str, Any]) -> str:
    share, layer = config["second_pass_share"], config["second_pass_layer"]
    if not share or config["objective"] == "contrastive":
        return ""
    return f"\nThe last {share:.0%} of the steps ask for clusters of the model's own layer {layer} instead of MFCCs'."


def _command(config: dict[str, Any], threads: int) -> str:
    """What repeats this recipe: only the options that differ from its defaults."""
    defaults = asdict(PretrainingConfig())
    options = [f"--threads {threads}"]
    for name in ("steps", "objective", "second_pass_share", "convolution_share"):
        if config[name] != defaults[name]:
            value = f'"{config[name]}"' if isinstance(config[name], str) else f"{config[name]:g}"
            options.append(f"--{name.replace('_', '-')} {value}")
    return "python -m mtlser.model.pretraining " + " ".join(options)


_OBJECTIVES = {
    "masked prediction": """Masked prediction (Hsu et al., 2021) of two clusterings of each frame of the clean signal,
while the model hears the noisy one: {num_phone_clusters} clusters of MFCCs and their deltas, normalised per utterance;
and {num_prosody_clusters} clusters of voicing, log-F0, its change and relative energy, because MFCCs discard pitch,
which emotion needs. Hidden and visible frames are both asked for.""",
    "contrastive": "wav2vec 2.0's contrastive and diversity loss (Baevski et al., 2020), as transformers has it.",
}

_PROBES = {
    "phoneme_accuracy": "linear probe: the phoneme that espeak-ng speaks in a visible frame, accuracy",
    "phone_accuracy": "linear probe: visible frame's phone cluster, accuracy",
    "pitch_r2": "linear probe: mean log-F0, R² (mean over frames)",
    "rate_r2": "linear probe: letters per second, R² (mean over frames)",
    "rate_from_sum_r2": "linear probe: letters per second, R² (sum over frames)",
}

_CARD = """# Pocket backbone

**{name}.** {num_parameters:,} parameters, a frame every
40 ms, group norm and post-norm as in wav2vec 2.0 base. It is what the `pocket` preset fine-tunes in place of
`facebook/wav2vec2-base`, so that the whole experiment runs on two cores. It has never heard a person: it is part of a
calibrated instrument, says nothing about IEMOCAP, and is of no use for real speech.

## Data

{hours} hours of espeak-ng {espeak}: {num_training_utterances:,} training utterances and {num_held_out_utterances:,} of
held-out voices. Accents: {accents}; {num_variants} voice variants for training and {num_held_out_variants} others held
out. Drawn at random: pitch, pitch range, rate ({rate_wpm[0]} to {rate_wpm[1]} words per minute) and noise
({snr_db[0]:g} to {snr_db[1]:g} dB below the speech; none in {clean_share:.0%}). Half of the sentences are random words,
half are random words in the order of a sentence's word classes, from {num_words} common words.

Disjoint from the pocket corpus: accents (that one is American), voice variants, and sentences. **Single words may be in
both.** No transcript, label or emotion is used.

## Recipe

{objective}

{steps:,} steps of {batch_size} utterances: {convolution_steps:,} that train everything, on crops of
1.6 s, then {frozen_steps:,} with frozen convolutions, on whole utterances. AdamW, peak learning rate {learning_rate:g},
linear warm-up and decay, seed {seed}. It took {minutes:.0f} minutes on {threads} thread of {processor}.

    {command}

Resumable; the same bytes for the same seed on the same processor and versions, which `record.json` holds together with
the learning curve.

## What it learnt

All on voices that were never trained on.

| measure | pretrained | random weights | commonest cluster |
|---|---|---|---|
{rows}

## Limits

One language, one synthesiser, one seed. Clusters stand in for phones, and an autocorrelation's F0 for pitch. The book's
chapter on the instrument compares objectives. Loudness cannot be learnt: the input is
normalised per utterance.

## Licence

The weights have this repository's licence. espeak-ng, which made the audio, is a program under GPL-3.0; it is used as
an installed package, and neither the program nor any of its audio is part of the weights.

Weights: sha256 `{sha256}`.
"""
