"""Transcripts become normalised text, then the 32 characters of wav2vec2-base, and back."""

from __future__ import annotations

import itertools
import json
import re
import unicodedata
from collections.abc import Iterable

from mtlser.config import DATA_FOLDER

# Ids of facebook/wav2vec2-base's vocabulary (section 3.1: 32 characters). The model's CTC head has this order.
ALPHABET: dict[str, int] = json.loads((DATA_FOLDER / "alphabet.json").read_text(encoding="utf-8"))

BLANK = ALPHABET["<pad>"]
_SPECIALS = {id_ for symbol, id_ in ALPHABET.items() if len(symbol) > 1}  # <pad>, <s>, </s>, <unk>

TRANSCRIPT_STYLES = ("normalised", "released")

_CHARACTERS = {id_: symbol.replace("|", " ") for symbol, id_ in ALPHABET.items() if id_ not in _SPECIALS}
_IDS = {symbol: id_ for id_, symbol in _CHARACTERS.items()}

# [LAUGHTER], [breathing], …; also a tag whose other bracket was forgotten.
_TAG = re.compile(r"\[[^\[\]]*\]|\[\w*|\w+\]")
_APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ`´", "'"))
# Letters and digits outside the alphabet stay, so that `encode` names them instead of losing a word in silence.
_SEPARATORS = re.compile(r"(?:[^\w']|_)+")
_LONE_APOSTROPHES = re.compile(r"(?<!\S)'+(?!\S)")

# Tags of the released code's transcripts: {LG} 121, {NS} 29, {BR} 27, where the release has [LAUGHTER] 120,
# [GARBAGE] 21, [BREATHING] 27. That they correspond is inferred from those counts; any other tag becomes NS.
_RELEASED_TAGS = {"LAUGHTER": "LG", "BREATHING": "BR"}
_SENTENCE_END = re.compile(r"[.?!…]+")


def normalise(transcript: str) -> str:
    """Upper-case words of A-Z and ' between single spaces: tags removed, hyphens and punctuation separate words.

    May be "" (31 of IEMOCAP's 5531): such an utterance is kept for emotion and left out of WER and CTC. Accents are
    dropped. Digits stay, and `encode` refuses them: how a number was spoken is for a person to say.
    """
    words = _SEPARATORS.sub(" ", _upper(_TAG.sub(" ", transcript)))
    return " ".join(_LONE_APOSTROPHES.sub(" ", words).split())


def released_style(transcript: str) -> str:
    """The text that the released code trains on, as near as the release's own transcripts allow.

    Departure "transcripts". Its source is the forced alignment: words with " ." for each pause, tags as words,
    whitespace collapsed *before* the dots are removed, so that a target ends in a space and holds two spaces at each
    inner pause. The transcription files don't hold pauses. Here every sentence end (. ? !) and the end of the utterance
    stands for one: an approximation, which gives the same words but not the same 1988 doubled delimiters.
    An utterance without words and tags stays "".
    """
    words = _TAG.sub(_released_tag, transcript)
    sentences = [sentence for part in _SENTENCE_END.split(words) if (sentence := normalise(part))]
    return "  ".join(sentences) + " " * bool(sentences)


def transcript_text(transcript: str, style: str = "normalised") -> str:
    """The transcript in one of TRANSCRIPT_STYLES. Raises ValueError for another style."""
    if style not in TRANSCRIPT_STYLES:
        raise ValueError(f"transcript style {style!r} is unknown; choose one of {', '.join(TRANSCRIPT_STYLES)}")
    return normalise(transcript) if style == "normalised" else released_style(transcript)


def unknown_characters(text: str) -> str:
    """Those that `encode` refuses, "" where there are none."""
    return " ".join(map(repr, sorted(set(text) - _IDS.keys())))


def encode(text: str) -> list[int]:
    """Character ids, a space as the word delimiter. Raises ValueError that names characters outside the alphabet."""
    if unknown := unknown_characters(text):
        raise ValueError(
            f"{unknown} in {text!r}: not among the 28 characters A-Z, ' and space; "
            "write numbers as words, and pass transcripts through transcript_text first"
        )
    return [_IDS[character] for character in text]


def decode(ids: Iterable[int]) -> str:
    """The inverse of `encode`; special symbols such as padding are left out. Raises ValueError for an unknown id."""
    ids = [int(id_) for id_ in ids]
    if unknown := sorted(set(ids) - _CHARACTERS.keys() - _SPECIALS):
        raise ValueError(f"ids {unknown} are not in the alphabet of {len(ALPHABET)}")
    return "".join(_CHARACTERS.get(id_, "") for id_ in ids)


def greedy_decode(ids: Iterable[int]) -> str:
    """Text of a best path over frames: repeats collapse, then blanks and specials go; single spaces between words."""
    return " ".join(decode(id_ for id_, _ in itertools.groupby(int(id_) for id_ in ids)).split())


def _upper(text: str) -> str:
    """Upper case without accents. Compatibility forms decompose before and after: upper-casing can make new ones."""
    for _ in range(2):
        decomposed = unicodedata.normalize("NFKD", text.translate(_APOSTROPHES))
        text = "".join(c for c in decomposed if not unicodedata.combining(c)).upper()
    return text.translate(_APOSTROPHES)


def _released_tag(tag: re.Match[str]) -> str:
    return f" {_RELEASED_TAGS.get(tag.group().strip('[] ').upper(), 'NS')} "
