"""The paper's tables and the audited differences, as data.

Paper: Cai, Yuan, Zheng, Huang, Church, "Speech Emotion Recognition with Multi-task Learning", Interspeech 2021.
Released code: github.com/TideDancer/interspeech21_emotion at commit c36dcc0, read for the audit; none of it is used here.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

CITATION = (
    "X. Cai, J. Yuan, R. Zheng, L. Huang, K. Church: Speech Emotion Recognition with Multi-task Learning, "
    "Interspeech 2021"
)
RELEASED_CODE = "github.com/TideDancer/interspeech21_emotion"
RELEASED_COMMIT = "c36dcc0"

# Section 4.1.
NUM_UTTERANCES = 5531

# Section 3.1.
NUM_CHARACTERS = 32

# Sections 3.1 and 4.2: what the paper says of its network, in the order of Figure 1 from below.
ARCHITECTURE = {
    "convolutional blocks": (7, "section 4.2"),
    "channels of each": (512, "section 4.2"),
    "transformer blocks": (12, "section 4.2"),
    "hidden dimension": (768, "section 3.1"),
    "characters": (NUM_CHARACTERS, "section 3.1"),
    "emotions": (4, "section 4.1"),
}

# Sizes of the released code's ten test sets on the known corpus, counted in the audit (difference 2).
RELEASED_TEST_SIZES = {
    "01F": 507, "01M": 578, "02F": 505, "02M": 518, "03F": 536,
    "03M": 615, "04F": 553, "04M": 478, "05F": 644, "05M": 597,
}  # fmt: skip

# Utterances of each true speaker on the known corpus, counted in the audit (difference 2).
SPEAKER_TEST_SIZES = {
    "Ses01F": 528, "Ses01M": 557, "Ses02F": 481, "Ses02M": 542, "Ses03F": 522,
    "Ses03M": 629, "Ses04F": 528, "Ses04M": 503, "Ses05F": 590, "Ses05M": 651,
}  # fmt: skip

# Duration of the 5531 utterances, measured in the audit from their wav files.
IEMOCAP_HOURS = 6.99

# Published, not measured here: SpeechBrain's IEMOCAP recipe, wav2vec2-base fine-tuned, 3 min 14 s an epoch on one V100.
PUBLISHED_V100_AUDIO_SECONDS_PER_SECOND = 104.0


def fold_sizes() -> pd.DataFrame:
    """Utterances of each test fold of IEMOCAP: columns `fold`, `released`, `speaker`."""
    rows = [
        {"fold": f"Ses{name}", "released": size, "speaker": SPEAKER_TEST_SIZES[f"Ses{name}"]}
        for name, size in RELEASED_TEST_SIZES.items()
    ]
    return pd.DataFrame(rows)


def table1() -> pd.DataFrame:
    """Table 1 and section 4.2: columns `setting`, `value`, as printed."""
    rows = [
        ("sample frequency", "16k Hz"),
        ("training epochs", "100"),
        ("optimizer", "AdamW (β1 = 0.9, β2 = 0.999, ε = 1e-8)"),
        ("α", "0, 0.001, 0.01, 0.1"),
        ("learning rate", "1e-5 if α = 0, 5e-5 otherwise"),
        ("warm-up ratio", "0.1, linear warm-up"),
        ("batch size", "8 (accumulated batch size)"),
    ]
    return pd.DataFrame(rows, columns=["setting", "value"])


def table3() -> pd.DataFrame:
    """Table 3 with Table 2's descriptions: columns `method`, `description`, `year`, `cross_validation`, `accuracy`."""
    rows = [
        ("Wu et al. [37]", "capsule network", 2019, "10-fold", 0.7273),
        ("Sajjad et al. [13]", "ResNet-101 + bi-LSTM", 2020, "5-fold", 0.7225),
        ("Lu et al. [35]", "pretrained ASR + bi-LSTM + attention", 2020, "10-fold", 0.726),
        ("Liu et al. [38]", "local + global representation learning", 2020, "5-fold", 0.7078),
        ("Wang et al. [39]", "Dual-Sequence LSTM", 2020, "5-fold", 0.733),
        ("Pappagari et al. [40]", "ResNet based x-vector model", 2020, "5-fold", 0.703),
        ("Peng et al. [14]", "3D convolution + ASRNN", 2020, "5-fold", 0.626),
        ("ours (Cai et al.)", "wav2vec 2.0 multi-task, α = 0.1", 2021, "10-fold", 0.7815),
    ]
    return pd.DataFrame(rows, columns=["method", "description", "year", "cross_validation", "accuracy"])


@dataclass(frozen=True)
class Annotation:
    """What is known about a row of Table 3 beside what the table prints, and whether it can be set beside the claim.

    `method` is the row's; `comparable` begins with "yes", "no" or "unknown"; `source` names where `known` was read.
    """

    method: str
    known: str
    comparable: str
    source: str


_TABLE = "Table 3 of the paper"
_FIVE = "Five folds cannot leave out one of ten speakers each; what they leave out is not printed"

# Difference 23. A protocol is called unknown where neither the paper nor the audit settles it; nothing is guessed.
TABLE3_ANNOTATIONS: tuple[Annotation, ...] = (
    Annotation(
        "Wu et al. [37]", "The figure is WA; the same system's UA is 59.71%",
        "no: by UA it is 13 points lower, and what its ten folds leave out is not printed", "audit, difference 23",
    ),
    Annotation("Sajjad et al. [13]", _FIVE, "unknown: another number of folds, metric not printed", _TABLE),
    Annotation(
        "Lu et al. [35]", "The ten folds follow this work (section 4.1). Its abstract gives an accuracy of 71.7%, lower "
        "than the figure printed; section 4.1 says that the higher of WA and UA is listed",
        "unknown: folds as in the claim, perhaps another metric", "section 4.1; arXiv 1911.09762, abstract",
    ),
    Annotation("Liu et al. [38]", _FIVE, "unknown: another number of folds, metric not printed", _TABLE),
    Annotation(
        "Wang et al. [39]", "The figure is UA; its abstract gives WA 72.7%. Its public code splits utterances at random, "
        "so that speakers are shared; its speaker-independent script logs 56.2 / 57.1",
        "no: speakers shared between training and test, and UA against WA",
        "audit, difference 23; arXiv 1910.08874, abstract",
    ),
    Annotation("Pappagari et al. [40]", _FIVE, "unknown: another number of folds, metric not printed", _TABLE),
    Annotation("Peng et al. [14]", _FIVE, "unknown: another number of folds, metric not printed", _TABLE),
    Annotation(
        "ours (Cai et al.)", "WA (Eq. 4). As written one speaker is left out; the released code shares the speakers of "
        "every test utterance with training",
        "the claim itself", "section 4.1; audit, difference 1",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Reported:
    """An accuracy that others report on the same 5531 utterances, with the protocol that goes with it."""

    system: str
    figure: str
    protocol: str
    source: str


OTHERS: tuple[Reported, ...] = (
    Reported("SpeechBrain recipe, wav2vec2-base", "78.7% best, 77.0% mean WA", "random 80/10/10 of the utterances", "the recipe"),
    Reported("the SpeechBrain authors' paper", "79.58% WA", "speakers shared with training", "arXiv 2111.02735"),
    Reported("the SpeechBrain authors' paper", "73.01% WA", "speakers not shared with training", "arXiv 2111.02735"),
    Reported("SUPERB, wav2vec2-base frozen", "63.43%", "five sessions", "the benchmark"),
    Reported("FT-w2v2-ser: V-FT, TAPT, P-TAPT", "about 70%, 73.5%, 74.3% UA", "five sessions, five runs, last epoch", "the repository"),
)  # fmt: skip


# EMO-SUPERB (arXiv 2402.13018), abstract: papers on speech emotion recognition whose results cannot be reproduced.
SHARE_NOT_REPRODUCIBLE = 0.8077


def others() -> pd.DataFrame:
    """`OTHERS` as a table: columns `system`, `figure`, `protocol`, `source`."""
    return pd.DataFrame([vars(row) for row in OTHERS])


def table4() -> pd.DataFrame:
    """Table 4: columns `alpha`, `accuracy` (Eq. 4, a share), `wer` (Eq. 5, a share)."""
    rows = [(0.0, 0.7166, 0.9981), (0.001, 0.7397, 0.2233), (0.01, 0.7634, 0.2007), (0.1, 0.7815, 0.1929),
            (1.0, 0.7735, 0.1877)]  # fmt: skip
    return pd.DataFrame(rows, columns=["alpha", "accuracy", "wer"])


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper about Figure 2 that a history of training can support or contradict."""

    name: str
    quote: str
    section: str
    test: str  # what this project measures to decide it, in words


# The curves of Figure 2: Table 1's alphas. Table 4's alpha = 1 is not drawn there.
FIGURE2_ALPHAS = (0.0, 0.001, 0.01, 0.1)

# The paper draws "one run" and says no fold. "Low" and "satisfactory" word error rate are not numbers there; here the
# level is halfway, within a fold, from the highest WER of the first epoch to the lowest WER of any epoch, over alpha > 0.
FIGURE2_CLAIMS = (
    Claim(
        "earlier-wer",
        "the bigger α, the earlier that the model reaches low word-error-rate",
        "section 4.5",
        "the first epoch with a WER at or below the level never comes later for a larger α > 0, and comes earlier for "
        "the largest than for the smallest",
    ),
    Claim(
        "slower-start",
        "before reaching a satisfactory wer, acc grows slower",
        "section 4.5",
        "accuracy, averaged over the epochs before α = 0.1 reaches the level, is lower for α = 0.1 than for each "
        "smaller α",
    ),
    Claim(
        "overtakes",
        "after the model reaches a good wer, the performance on acc climbs quickly for larger α, and they soon "
        "outperform smaller α cases",
        "section 4.5",
        "at the last epoch, accuracy is higher for α = 0.1 than for each smaller α",
    ),
)


@dataclass(frozen=True)
class Departure:
    """A difference between paper, released code and this book.

    `ours` is what the book does by default; `code` names where (module:object, importable); `measured` names the
    configuration that runs the other side of the difference, or says that none does.
    """

    name: str
    number: int | None  # row of the audit, None for a choice that is this book's alone
    topic: str
    paper: str
    released: str
    ours: str
    code: str
    measured: str


DEPARTURES: tuple[Departure, ...] = (
    Departure(
        "folds", 1, "Folds",
        "“leave one speaker out as the test set and use the remaining nine speakers for training” (section 4.1)",
        "Folds follow the first six letters of the dialog's name (Ses01F), which name the actor who wore the "
        "motion-capture markers. Every dialog has both actors, so every test utterance comes from a speaker who is also in "
        "training; 50.3% of a fold's test utterances are spoken by the actor it is named after",
        "As written (protocol speaker); as released (protocol released) and five sessions (protocol session) stand beside it",
        "mtlser.corpus.folds:make_folds", "protocol=released, protocol=session",
    ),
    Departure(
        "fold-sizes", 2, "Fold sizes", "not given",
        "507, 578, 505, 518, 536, 615, 553, 478, 644, 597 (speakers: 528, 557, 481, 542, 522, 629, 528, 503, 590, 651)",
        "Both are asserted on load", "mtlser.corpus.iemocap:load_release", "follows from the folds",
    ),
    Departure(
        "repeated-text", 3, "Repeated text", "not discussed",
        "Test transcripts that occur verbatim in training: about 25% (released folds), 22.1% (speaker folds), 22.0% "
        "(session folds)",
        "Counted for every fold", "mtlser.corpus.folds:audit", "counted, not changed",
    ),
    Departure(
        "pooling", 4, "Pooling", "sum over time: c = h(Σ z_i) (section 3.1)", "mean over time, padding included",
        "Sum over the utterance's own frames", "mtlser.model.multitask:MultitaskModel.pool", "pooling=mean",
    ),
    Departure(
        "ctc-scale", 5, "Scale of the CTC loss", "not given",
        "Summed over characters and over the batch while cross-entropy is a batch mean: with batch 2 per device the "
        "effective alpha doubles. The paper trained with batch 1 per GPU",
        "Summed over characters, averaged over the utterances of the whole batch: the meaning alpha had at batch 1",
        "mtlser.model.losses:multitask_loss", "equal to the released scale at batch 1",
    ),
    Departure(
        "readme-loss", 6, "Loss in the README", "L = CE + alpha · CTC (Eq. 3)",
        "The README says ctc + alpha · cls; the code computes CE + alpha · CTC", "Eq. 3",
        "mtlser.model.losses:multitask_loss", "not run: the code agrees with the paper",
    ),
    Departure(
        "double-softmax", 7, "Softmax before cross-entropy", "Eq. 2 applies a softmax before CrossEntropy",
        "An early version applied softmax twice; fixed on 2021-08-19, after the first commit of June 2021. Whether the "
        "published numbers carry it is unknown",
        "Softmax once, inside the cross-entropy", "mtlser.model.losses:multitask_loss", "not run",
    ),
    Departure(
        "schedule-length", 8, "Learning rate and epochs", "5e-5 (1e-5 for alpha 0), 100 epochs (Table 1)",
        "Until 2022-02-14: 1e-5, 100 epochs; then 5e-5, 200 epochs", "Table 1 for IEMOCAP",
        "mtlser.config:RunConfig", "settings learning_rate and epochs",
    ),
    Departure(
        "learning-rate", 9, "Learning rate and alpha", "alpha = 0 uses 1e-5, alpha > 0 uses 5e-5 (Table 1)",
        "the same: the effect of alpha is confounded with that of the learning rate",
        "Table 1 for IEMOCAP; one learning rate for every alpha on the pocket corpus",
        "mtlser.config:RunConfig.peak_learning_rate", "pocket preset",
    ),
    Departure(
        "warm-up", 10, "Warm-up", "ratio 0.1 (Table 1)", "not set in the training script",
        "ratio 0.1; of n warm-up steps the first has 1/n of the rate, in transformers 0 (and n is rounded up there)",
        "mtlser.runs.training:learning_rate_factor", "setting warmup_ratio",
    ),
    Departure(
        "padding", 11, "Batch and padding", "2 GPUs × 1 × 4 = 8",
        "2 × 4 = 8, padded, no attention mask: zeros reach group norm, attention, CTC lengths and the mean pool; at "
        "batch 2 the zeros are 26% of all frames",
        "8 utterances, padding-exact: an utterance's output does not depend on its batch",
        "mtlser.model.encoder:Encoder", "encoder_padding=released",
    ),
    Departure(
        "convolutions", 12, "Convolutional encoder", "θ is optimised jointly (section 4.2)",
        "not frozen by default; a flag exists", "Trained for IEMOCAP; frozen for pocket, so that their outputs are computed once",
        "mtlser.model.multitask:MultitaskModel.freeze_convolutions", "setting freeze_convolutions",
    ),
    Departure(
        "specaugment", 13, "SpecAugment", "not mentioned",
        "on (probability 0.05, length 10, at least 2 masks): 12.6% of frames on average, up to 57% of a short utterance",
        "On with the same numbers, drawn per utterance, shortened for short utterances; length 4 on pocket's 40 ms frames",
        "mtlser.model.encoder:time_mask", "settings mask_time_*",
    ),
    Departure(
        "dropout", 14, "LayerDrop and dropout", "not mentioned",
        "library defaults of the pinned version or the hub configuration of its time (LayerDrop 0.1 or 0.0); the head's "
        "dropout does nothing",
        "The backbone's own configuration for IEMOCAP; none for pocket", "mtlser.config:RunConfig",
        "settings dropout and layerdrop",
    ),
    Departure(
        "precision", 15, "Precision", "not mentioned",
        "fp16 until August 2022; gradient checkpointing hard-coded on", "bf16 for IEMOCAP, float32 for pocket",
        "mtlser.config:RunConfig", "setting precision",
    ),
    Departure(
        "transcripts", 16, "Transcripts", "“gold transcription” (section 3.2)",
        "Forced-alignment words with “ .” for pauses and tags {LG}, {NS}, {BR}; every target ends in the word delimiter, "
        "1988 hold a doubled delimiter, tags become the words LG, NS, BR and are the whole target of 31 utterances",
        "The release's transcripts, tags removed; the 31 that are then empty train the emotion head only",
        "mtlser.corpus.text:normalise", "transcript_style=released",
    ),
    Departure(
        "selection", 17, "Model selection", "not given",
        "The last step is kept; the test fold is evaluated during training and the README suggests stopping early on it",
        "The last epoch is the result; nothing is selected on the test fold", "mtlser.runs.training:train",
        "best epoch on test is shown as optimism, never as a result",
    ),
    Departure(
        "seeds", 18, "Seeds", "not given", "the heads are initialised before any seed is set",
        "Head initialisation, data order and masks depend on (seed, fold) and never on alpha",
        "mtlser.runs.training:train", "setting seed",
    ),
    Departure(
        "wer", 19, "WER", "mean over the ten folds (Eq. 5)", "corpus WER of each fold over the text of row 16",
        "Eq. 5 over normalised text; utterances with an empty reference are left out", "mtlser.runs.metrics:wer",
        "transcript_style=released",
    ),
    Departure(
        "accuracy", 20, "Accuracy", "correct / 5531, pooled (Eq. 4), called WA", "the same", "Eq. 4, with UA and macro-F1 beside it",
        "mtlser.runs.metrics:weighted_accuracy", "no difference",
    ),
    Departure(
        "checkpoints", 21, "Released checkpoints", "not mentioned",
        "Loading one (fold 02F) reports unused weights vib_cls.*, vib_ctc.*: a variational bottleneck that neither paper "
        "nor code describes",
        "Not used", "mtlser.model.multitask:MultitaskModel", "not run",
    ),
    Departure(
        "optimiser", 22, "Optimiser", "AdamW, learning rate, betas, epsilon, warm-up (Table 1)",
        "inherits from transformers 4.4.2: gradients clipped to norm 1.0, weight decay 0, linear decay to zero",
        "The same as released, but for the warm-up's first step", "mtlser.runs.training:make_optimizer",
        "settings max_gradient_norm and weight_decay",
    ),
    Departure(
        "baselines", 23, "Table 3", "“same settings as ours” (section 4.3)",
        "At least Wu (WA 72.73 but UA 59.71) and Wang (random utterance splits in its public code; its speaker-independent "
        "script logs 56.2 / 57.1) do not share the settings; the table prints the higher of WA and UA",
        "Table 3 is shown as published, annotated", "mtlser.paper:table3", "not applicable",
    ),
)  # fmt: skip


def departures() -> pd.DataFrame:
    """All audited differences, one row each, columns the fields of `Departure`."""
    return pd.DataFrame([vars(departure) for departure in DEPARTURES])
