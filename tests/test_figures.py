"""Figures over invented records: both themes, deterministic, text as text, alternative text, provenance."""

from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ElementTree

import pandas as pd
import pytest

from fake_records import SPEAKERS, fake_records, with_status
from mtlser.config import ALPHAS, EMOTIONS
from mtlser.model.ctc_by_hand import PROBABILITIES, forward_sums
from mtlser.report import figures
from mtlser.runs.records import Records

OF_ONE_ALPHA = (figures.training_curves, figures.confusion, figures.per_speaker)
OF_ALL = (figures.figure2, figures.accuracy_by_alpha, figures.gradients)


@pytest.fixture(scope="module")
def records():
    return fake_records(folds=SPEAKERS[:3])


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("function", OF_ONE_ALPHA + OF_ALL, ids=lambda function: function.__name__)
def test_svg_is_valid_small_and_transparent(function, theme, records):
    data = records.only(alpha=0.1) if function in OF_ONE_ALPHA else records
    svg = figures.draw(function, data, theme)
    ElementTree.fromstring(svg)
    assert len(svg) < 150_000
    assert "<text" in svg and "<image" not in svg  # text stays text, nothing is rasterised
    background = re.search(r'id="patch_1">\s*<path[^>]*style="([^"]*)"', svg)
    assert background is None or "fill: none" in background.group(1)


def test_the_same_records_give_the_same_bytes(records):
    one = records.only(alpha=0.1)
    assert figures.draw(figures.confusion, one, "light") == figures.draw(figures.confusion, one, "light")


def test_every_alpha_and_emotion_has_its_own_colour(records):
    assert len({*figures.ALPHA_COLOURS.values()}) == len(ALPHAS)
    assert len({*figures.EMOTION_COLOURS.values()}) == len(EMOTIONS)
    svg = figures.draw(figures.figure2, records, "light").lower()
    for alpha in ALPHAS:
        assert figures.ALPHA_COLOURS[alpha].lower() in svg
        assert f"α = {alpha:g}" in svg


def test_an_alpha_keeps_its_colour_when_others_are_missing(records):
    svg = figures.draw(figures.figure2, records.only(alpha=[0.0, 0.1]), "light").lower()
    assert figures.ALPHA_COLOURS[0.1].lower() in svg
    assert figures.ALPHA_COLOURS[0.01].lower() not in svg


def test_show_gives_both_themes_alternative_text_and_provenance(records):
    shown = figures.show(figures.figure2, records, "Figure 2", alt='Two panels, "accuracy" & WER')
    assert shown.html.count("<img") == shown.html.count('alt="Two panels, &quot;accuracy&quot; &amp; WER"') == 2
    assert 'class="only-light"' in shown.html and 'class="only-dark"' in shown.html
    assert "Figure 2. Pocket corpus (synthetic): speaker folds" in shown.html
    pictures = re.findall(r"base64,([^\"]+)", shown.html)
    light, dark = (base64.b64decode(picture).decode() for picture in pictures)
    assert light != dark and light.lstrip().startswith("<?xml")


def test_a_picture_without_alternative_text_is_refused():
    with pytest.raises(ValueError, match="alt is empty"):
        figures.show(figures.figure2, Records.empty(), "title", alt=" ")


def test_not_run_is_a_line_of_text():
    assert "not run" in figures.show(figures.figure2, Records.empty(), "Figure 2", alt="two panels").html


def test_one_epoch_and_diverged_runs_are_drawn():
    figures.draw(figures.figure2, fake_records(folds=SPEAKERS[:2], epochs=1), "light")
    figures.draw(figures.gradients, fake_records(folds=SPEAKERS[:2], epochs=1), "light")
    diverged = with_status(fake_records(alphas=(0.1,), folds=SPEAKERS[:2]), "0.1-Ses01F-0", "diverged")
    figures.draw(figures.training_curves, diverged, "dark")


def test_gains_have_intervals_and_say_what_was_not_run():
    nothing = (float("nan"), float("nan"))
    rows = [("published", 0.065, nothing), ("measured", 0.157, (0.089, 0.229)), ("never", float("nan"), nothing)]
    rows += [("some folds\n(partial)", float("nan"), nothing)]
    svg = figures.draw(
        figures.gains, pd.DataFrame(rows, columns=["what", "difference", "difference_interval"]), "light"
    )
    texts = re.findall(r">([^<>]+)</text>", svg)
    assert [text for text in texts if text in ("+6.5", "+15.7", "not run")] == ["+6.5", "+15.7", "not run"]
    assert {"published", "measured", "never", "partial"} <= set(texts)  # not a mark like the paper's
    ElementTree.fromstring(svg)


def test_leaks_writes_shares_into_cells():
    shares = pd.DataFrame({"01F": [0.52, 0.0], "01M": [0.48, 1.0]}, index=["Ses01F", "Ses01M"])
    svg = figures.draw(figures.leaks, shares, "light")
    assert "52%" in svg and "100%" in svg and ">0%" not in svg


def test_gradients_of_zero_and_of_alpha_zero_alone_are_drawn():
    records = fake_records(alphas=(0.0, 0.1), folds=SPEAKERS[:2])
    records.history["gradient_norm_ctc"] = 0.0  # every utterance infeasible, say
    figures.draw(figures.gradients, records, "light")
    figures.draw(figures.gradients, records.only(alpha=0.0), "dark")


def test_forward_sums_name_states_that_repeat():
    svg = figures.draw(figures.forward_sums, forward_sums(PROBABILITIES, "SEE"), "light")
    assert svg.count(">_</text>") == 4 and svg.count(">E</text>") == 2 and ">0.304</text>" in svg


def test_neighbours_draws_both_settings():
    changes = pd.DataFrame({"encoder_padding": ["exact", "released"] * 2, "seconds": [0.0, 0.0, 1.0, 1.0],
                            "features_change": [0.0, 0.0, 0.0, 0.3]})  # fmt: skip
    svg = figures.draw(figures.neighbours, changes, "dark")
    assert 'encoder_padding = "released"' in svg.replace("&quot;", '"') and "30%" in svg
