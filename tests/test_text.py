"""Transcripts: tags, both styles, the 32 characters, and their properties."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtlser.corpus import text
from mtlser.corpus.text import decode, encode, greedy_decode, normalise, released_style, transcript_text

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ'"
words = st.text(alphabet=LETTERS, min_size=1, max_size=8)
sentences = st.lists(words, max_size=8).map(" ".join)
ascii_transcripts = st.text(
    alphabet=st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="0123456789")
)


def test_alphabet_is_wav2vec2_bases():
    assert len(text.ALPHABET) == 32 and text.BLANK == 0
    # vocab.json of facebook/wav2vec2-base, in the order of its ids
    symbols = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"]
    assert sorted(text.ALPHABET, key=text.ALPHABET.get) == symbols
    assert sorted(text.ALPHABET.values()) == list(range(32))


@pytest.mark.parametrize(
    ("transcript", "expected"),
    [
        ("Excuse me.", "EXCUSE ME"),
        ("[LAUGHTER] Oh, stop it!", "OH STOP IT"),
        ("Well [laughter] then [Breathing]", "WELL THEN"),
        ("[LAUGHTER]", ""),
        ("[GARBAGE][BREATHING] ", ""),
        ("", ""),
        ("[some new tag] yes", "YES"),
        ("un[LAUGHTER]till", "UN TILL"),
        ("yes [LAUGHTER", "YES"),
        ("LAUGHTER] yes", "YES"),
        ("It's five o'clock, isn't it?", "IT'S FIVE O'CLOCK ISN'T IT"),
        ("It’s ‘cause", "IT'S 'CAUSE"),
        ("well-known half--finished – and—so", "WELL KNOWN HALF FINISHED AND SO"),
        ("wait... what?!", "WAIT WHAT"),
        ("wait…what", "WAIT WHAT"),
        ('under_score a/b (c) "d"', "UNDER SCORE A B C D"),
        ("  many\t spaces\n", "MANY SPACES"),
        ("' a ' b ''", "A B"),
        ("café naïve", "CAFE NAIVE"),
        ("room 12", "ROOM 12"),
    ],
)
def test_normalise_by_hand(transcript, expected):
    assert normalise(transcript) == expected


@pytest.mark.parametrize(
    ("transcript", "expected"),
    [
        ("Excuse me.", "EXCUSE ME "),
        ("Do you have your forms?  Yes.", "DO YOU HAVE YOUR FORMS  YES "),
        ("Well... no", "WELL  NO "),
        ("well-known", "WELL KNOWN "),
        ("[LAUGHTER]", "LG "),
        ("[breathing] Yes [GARBAGE].", "BR YES NS "),
        ("Yes. [LAUGHTER]", "YES  LG "),
        ("", ""),
        ("...", ""),
    ],
)
def test_released_style_by_hand(transcript, expected):
    assert released_style(transcript) == expected
    assert transcript_text(transcript, "released") == expected


def test_styles_are_named():
    assert transcript_text("Hm. [LAUGHTER]") == transcript_text("Hm. [LAUGHTER]", "normalised") == "HM"
    with pytest.raises(ValueError, match="'gold' is unknown; choose one of normalised, released"):
        transcript_text("Hm.", "gold")


def test_encode_by_hand():
    assert encode("HI A") == [11, 10, 4, 7]
    assert encode("") == []
    assert encode("A  ") == [7, 4, 4]  # the released style's delimiters are kept
    assert decode([11, 10, 4, 7]) == "HI A"
    assert decode([1, 11, 10, 0, 0, 2, 3]) == "HI"


@pytest.mark.parametrize("bad", ["ROOM 12", "hello", "A|B", "É", "<pad>"])
def test_encode_refuses_other_characters(bad):
    with pytest.raises(ValueError, match="write numbers as words"):
        encode(bad)


@pytest.mark.parametrize("bad", [-1, 32])
def test_decode_refuses_other_ids(bad):
    with pytest.raises(ValueError, match="not in the alphabet"):
        decode([7, bad])


def test_greedy_decode_by_hand():
    a, b, space = text.ALPHABET["A"], text.ALPHABET["B"], text.ALPHABET["|"]
    assert greedy_decode([0, a, a, 0, a, b, b, 0]) == "AAB"
    assert greedy_decode([space, a, space, 0, space, b, space, space]) == "A B"
    assert greedy_decode([1, a, 2, 3, a]) == "AA"
    assert greedy_decode([0, 0, 0]) == greedy_decode([]) == greedy_decode([space]) == ""


@given(sentences)
def test_decode_inverts_encode(sentence):
    assert decode(encode(sentence)) == sentence
    assert all(4 <= id_ < 32 for id_ in encode(sentence))


@given(ascii_transcripts)
def test_normalised_ascii_is_in_the_alphabet(transcript):
    normalised = normalise(transcript)
    assert re.fullmatch(r"([A-Z']+( [A-Z']+)*)?", normalised)
    assert normalise(normalised) == normalised
    assert decode(encode(normalised)) == normalised


@given(st.text())
def test_normalise_is_idempotent_on_any_text(transcript):
    normalised = normalise(transcript)
    assert normalise(normalised) == normalised
    assert normalised == " ".join(normalised.split())


@given(ascii_transcripts)
def test_released_style_has_the_words_of_normalised(transcript):
    released = released_style(transcript)
    encode(released)
    assert released == "" or (released.endswith(" ") and not released.endswith("  ") and "   " not in released)
    if not set("[]") & set(transcript):
        # A dot or a query mark between apostrophes leaves lone ones on its two sides.
        assert released.replace("'", "").split() == normalise(transcript).replace("'", "").split()


@given(sentences, st.randoms(use_true_random=False))
def test_greedy_decode_finds_the_text_under_blanks_and_repeats(sentence, random):
    path, previous = [], None
    for id_ in encode(sentence):
        path += [0] * (random.randrange(3) + (id_ == previous)) + [id_] * random.randint(1, 3)
        previous = id_
    assert greedy_decode(path) == sentence
