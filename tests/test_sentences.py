"""What the chapters on the model and the losses say of their tables, over frames with known values."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from transformers import Wav2Vec2Config

from mtlser.model import ctc_by_hand, loss_variants
from mtlser.model.frames import receptive_field
from mtlser.report import display
from sentences import read


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.75, "0.75"), (0.0002131, "0.000213"), (4.768e-7, "4.8e-07"), (847.4, "847"), (12345.6, "12,346"),
     (999.9, "1,000"), (math.nan, "–")],
)  # fmt: skip
def test_three_digits(value, text):
    assert display.three_digits(value) == text


def test_tables_of_the_lessons_have_headings_and_rounded_numbers():
    shown = display.show(receptive_field(Wav2Vec2Config(), 16_000), "Convolutions", "wav2vec2-base").html
    assert ">hears, ms</th>" in shown and ">outputs here</th>" in shown and "<td>49</td></tr>\n</tbody>" in shown
    compared = display.show(ctc_by_hand.compare(ctc_by_hand.PROBABILITIES, "SE"), "Three ways", "invented").html
    assert ">loss, nats</th>" in compared and compared.count("<td>1.153248</td>") == 3
    twice = display.show(loss_variants.double_softmax((0, 1)), "Two", "computed").html
    assert ">lead of the right logit</th>" in twice and "<td>1.39</td>" in twice
    frame = pd.DataFrame({"text": ["", "S"], "parameters": [12345, 0], "symbol": ["z", ""]})
    assert [part in display.show(frame, "T", "s").html for part in ("(nothing)", "12,345", "<td>–</td>")] == [True] * 3


def test_frame_rate_of_base():
    base = receptive_field(Wav2Vec2Config())
    text = read("model", "**wav2vec2-base**", base=base, display=display)
    assert "400 samples, 25 ms" in text and "320 samples, 20 ms" in text and "50 frames a second" in text


def test_pooling_reads_ratios():
    frame = pd.DataFrame({"logit_sum": [20.0], "logit_mean": [2.0], "gradient_sum": [9.0], "gradient_mean": [3.0]})
    text = read("model", "logit_sum", pooled=frame, display=display)
    assert "are 10 times" in text and "is 3 times" in text


def test_a_neighbour_in_the_batch_under_both_settings():
    frame = pd.DataFrame({"encoder_padding": ["exact", "released"], "frames": [50, 70],
                          "features_change": [3e-7, 0.25], "pooled_change": [2e-7, 0.5]})  # fmt: skip
    text = read("model", "pooled_change", both=frame, display=display)
    assert "own 50 frames change by **25.0%**" in text and "counts 70 frames" in text
    assert "`exact`: below 0.001% and below 0.001%" in text


def test_the_best_path_need_not_be_the_best_text():
    texts = ctc_by_hand.texts(ctc_by_hand.PROBABILITIES)
    given = {"paths": ctc_by_hand.paths_of(ctc_by_hand.PROBABILITIES, "SEE"), "ctc_by_hand": ctc_by_hand}
    text = read("losses", "The likeliest path", texts=texts, display=display, **given)
    assert "`SEE_E`" in text and "spells **SEE**" in text and "the likeliest text is **SE**" in text
    agreeing = read("losses", "The likeliest path", texts=texts[texts["text"] == "SEE"], display=display, **given)
    assert "also the likeliest" in agreeing


def test_batch_sizes_and_double_softmax_in_words():
    frame = pd.DataFrame({"batch_size": [1, 2, 4], "released_alpha": [0.1, 0.2, 0.4]})
    text = read("losses", "The same α amounts", released=frame, display=display)
    assert text.endswith("code. 2 utterances: 2 times, 4 utterances: 4 times.")
    twice = loss_variants.double_softmax((0, 1, 8))
    assert "4 times weaker" in read("losses", "steep", twice=twice, display=display)
