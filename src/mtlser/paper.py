"""The paper's tables and the audited differences, as data.

Paper: Cai, Yuan, Zheng, Huang, Church, "Speech Emotion Recognition with Multi-task Learning", Interspeech 2021.
Released code: github.com/TideDancer/interspeech21_emotion at commit c36dcc0, read for the audit; none of it is used here.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass

import pandas as pd

from mtlser.config import DATA_FOLDER

NUM_UTTERANCES = 5531  # section 4.1

# Tables 1 and 3, what others report, sizes of folds, and the claims about Figure 2; the audited differences.
_PAPER, _AUDIT = (
    tomllib.loads((DATA_FOLDER / name).read_text(encoding="utf-8")) for name in ("paper.toml", "departures.toml")
)

# What the paper says of its network, in the order of Figure 1 from below: what → its size, and the section.
ARCHITECTURE: dict[str, tuple[int, str]] = _PAPER["architecture"]

# Counted in the audit on the known corpus (difference 2): test sets of the released code, utterances of each speaker.
RELEASED_TEST_SIZES: dict[str, int] = _PAPER["released_test_sizes"]
SPEAKER_TEST_SIZES: dict[str, int] = _PAPER["speaker_test_sizes"]

# Duration of the 5531 utterances, measured in the audit from their wav files.
IEMOCAP_HOURS = 6.99

# Published, not measured here: SpeechBrain's IEMOCAP recipe, wav2vec2-base fine-tuned, 3 min 14 s an epoch on one V100.
PUBLISHED_V100_AUDIO_SECONDS_PER_SECOND = 104.0


def fold_sizes() -> pd.DataFrame:
    """Utterances of each test fold of IEMOCAP: columns `fold`, `released`, `speaker`."""
    speaker = pd.Series(SPEAKER_TEST_SIZES, name="speaker")
    released = pd.Series(RELEASED_TEST_SIZES, name="released").add_prefix("Ses")
    return pd.concat([released, speaker], axis=1).rename_axis("fold").reset_index()


def table1() -> pd.DataFrame:
    """Table 1 and section 4.2: columns `setting`, `value`, as printed."""
    return pd.DataFrame(_PAPER["table1"].items(), columns=["setting", "value"])


def table3() -> pd.DataFrame:
    """Table 3 with Table 2's descriptions, and what is known of each row and whether it is comparable with the claim.

    Columns: method, description, year, cross_validation, accuracy, known, comparable, source (of the last two).
    """
    return pd.DataFrame(_PAPER["table3"])


def others() -> pd.DataFrame:
    """What others report on the same 5531 utterances: columns `system`, `figure`, `protocol`, `source`."""
    return pd.DataFrame(_PAPER["others"])


def table4() -> pd.DataFrame:
    """Table 4: columns `alpha`, `accuracy` (Eq. 4, a share), `wer` (Eq. 5, a share)."""
    rows = [(0.0, 0.7166, 0.9981), (0.001, 0.7397, 0.2233), (0.01, 0.7634, 0.2007), (0.1, 0.7815, 0.1929),
            (1.0, 0.7735, 0.1877)]  # fmt: skip
    return pd.DataFrame(rows, columns=["alpha", "accuracy", "wer"])


# The ends of the paper's claim: no CTC loss against the alpha that Table 4 finds best.
BASELINE, BEST = 0.0, 0.1


def claimed_gain() -> float:
    """What the paper reports of BEST over BASELINE in accuracy, as a share."""
    accuracy = table4().set_index("alpha")["accuracy"]
    return float(accuracy[BEST] - accuracy[BASELINE])


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper about Figure 2 that a history of training can support or contradict."""

    name: str
    quote: str
    section: str
    test: str  # what this project measures to decide it, in words


# The curves of Figure 2: Table 1's alphas. Table 4's alpha = 1 is not drawn there.
FIGURE2_ALPHAS = (0.0, 0.001, 0.01, 0.1)

FIGURE2_CLAIMS = tuple(Claim(**entry) for entry in _PAPER["claim"])


@dataclass(frozen=True)
class Departure:
    """A difference between paper, released code and this book."""

    name: str
    number: int  # row of the audit
    topic: str
    paper: str
    released: str
    ours: str  # what the book does by default
    code: str  # where (module:object, importable)
    measured: str  # the configuration that runs the other side of the difference, or that none does


DEPARTURES = tuple(Departure(**entry) for entry in _AUDIT["departure"])
