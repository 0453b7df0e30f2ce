"""Tables and sentences of the lessons over frames with known values, and over invented records."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from transformers import Wav2Vec2Config

from fake_records import SPEAKERS, fake_records
from mtlser.model import ctc_by_hand, loss_variants
from mtlser.model.frames import receptive_field
from mtlser.report import display, lessons
from mtlser.runs.records import Records


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.75, "0.75"), (0.0002131, "0.000213"), (4.768e-7, "4.8e-07"), (847.4, "847"), (12345.6, "12,346"),
     (999.9, "1,000"), (math.nan, "–")],
)  # fmt: skip
def test_number(value, text):
    assert lessons.number(value) == text


def test_the_blank_has_a_name():
    assert lessons.symbols(ctc_by_hand.PROBABILITIES).columns.tolist() == ["frame", "blank", "S", "E"]


def test_lessons_never_show_iemocap():
    assert [lessons.synthetic(preset) for preset in ("pocket", "smoke", "iemocap")] == ["pocket", "smoke", "pocket"]
    assert "IEMOCAP" not in lessons.source("iemocap") and "synthetic" in lessons.source("iemocap")


def test_tables_have_headings_for_every_column():
    shown = lessons.table(receptive_field(Wav2Vec2Config(), 16_000))
    assert shown["hears, ms"].tolist()[-1] == "25" and shown["outputs here"].tolist()[-1] == "49"
    lessons.table(ctc_by_hand.compare(ctc_by_hand.PROBABILITIES, "SE"))
    lessons.table(loss_variants.double_softmax((0, 1)))
    with pytest.raises(KeyError, match="unheard"):
        lessons.table(pd.DataFrame({"unheard": [1]}))
    assert "hears, ms" in display.show(shown, "Convolutions", "wav2vec2-base").html


def test_frame_rate_of_base():
    text = lessons.frame_rate("wav2vec2-base", receptive_field(Wav2Vec2Config())).text
    assert "400 samples, 25 ms" in text and "320 samples, 20 ms" in text and "50 frames a second" in text


def test_pooling_reads_ratios():
    frame = pd.DataFrame({"logit_sum": [20.0], "logit_mean": [2.0], "gradient_sum": [9.0], "gradient_mean": [3.0]})
    text = lessons.pooling(frame).text
    assert "are 10 times" in text and "is 3 times" in text


def test_beside_names_both_settings():
    frame = pd.DataFrame({"encoder_padding": ["exact", "released"], "frames": [50, 70],
                          "features_change": [3e-7, 0.25], "pooled_change": [2e-7, 0.5]})  # fmt: skip
    text = lessons.beside(frame).text
    assert "own 50 frames change by **25.0%**" in text and "counts 70 frames" in text
    assert "`exact`: below 0.001% and below 0.001%" in text


def test_the_best_path_need_not_be_the_best_text():
    probabilities = ctc_by_hand.PROBABILITIES
    texts = ctc_by_hand.texts(probabilities)
    text = lessons.best_path(texts, ctc_by_hand.paths_of(probabilities, "SEE")).text
    assert "`SEE_E`" in text and "spells **SEE**" in text and "the likeliest text is **SE**" in text
    agreeing = lessons.best_path(texts[texts["text"] == "SEE"], ctc_by_hand.paths_of(probabilities, "SEE")).text
    assert "also the likeliest" in agreeing


def test_batch_sizes_and_double_softmax_in_words():
    frame = pd.DataFrame({"batch_size": [1, 2, 4], "released_alpha": [0.1, 0.2, 0.4]})
    assert "2 utterances: 2 times, 4 utterances: 4 times" in lessons.batch_sizes(frame).text
    assert "4 times weaker" in lessons.double_softmax(loss_variants.double_softmax((0, 1, 8))).text


@pytest.fixture(scope="module")
def records():
    return fake_records(folds=SPEAKERS[:2])


def test_pull_is_alpha_times_the_ratio_of_norms(records):
    history = lessons.gradient_history(records)  # invented: norms 1 and 10
    assert history.loc[history["alpha"] == 0.1, "pull"].unique() == pytest.approx([1.0])
    assert history.loc[history["alpha"] == 1.0, "pull"].unique() == pytest.approx([10.0])
    assert history.loc[history["alpha"] == 0.0, "pull"].isna().all()


def test_gradients_table_and_sentences(records):
    table = lessons.gradients(records)
    assert table["alpha"].tolist() == [0.0, 0.001, 0.01, 0.1, 1.0]
    assert table["α · CTC / cross-entropy, last"].tolist() == ["–", "0.01", "0.1", "1", "10"]
    text = lessons.gradients_reading(records).text
    assert "After the first epoch, CTC pulls harder than cross-entropy for α = 1 (" in text
    assert "median 0.10" in text and "between 0.10 and 0.10" in text


def test_gradients_without_a_run():
    assert lessons.gradients_reading(Records.empty()).text.startswith("Not run")
    assert lessons.gradients(Records.empty()).empty
