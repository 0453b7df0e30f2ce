"""Tables, claims and sentences over invented records: completeness, provenance, and nothing dropped silently."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd
import pytest

from fake_records import SPEAKERS, fake_records, with_status
from mtlser import paper
from mtlser.config import ALPHAS, EMOTIONS
from mtlser.corpus.folds import Fold
from mtlser.report import claims, departures, display, tables
from mtlser.runs.records import Records, merge
from sentences import cell, read

NOTHING = Records.empty()


class Cells(HTMLParser):
    """The texts of a table's header and body cells, and the attributes of the headers."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.headers, self.cells, self.scopes, self._into = [], [], [], None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self._into = {"th": self.headers, "td": self.cells}.get(tag)
        if self._into is not None:
            self._into.append("")
        if tag == "th":
            self.scopes.append(dict(attrs).get("scope"))

    def handle_endtag(self, tag):
        self._into = None if tag in ("th", "td") else self._into

    def handle_data(self, data):
        if self._into is not None:
            self._into[-1] += data


def test_table4_beside_the_paper():
    records = fake_records()
    table = tables.table4_beside_paper(records, NOTHING)
    assert table["alpha"].tolist() == list(ALPHAS)
    row = table.set_index("alpha").loc[0.1]
    assert row["paper_accuracy"] == 0.7815
    ours = records.only(alpha=0.1).predictions
    assert row["pocket_accuracy"] == pytest.approx((ours["label"] == ours["prediction"]).mean())
    assert "pocket_difference" not in table  # another corpus
    real = tables.table4_beside_paper(NOTHING, fake_records("iemocap")).iloc[3]
    assert real["iemocap_difference"] == pytest.approx(real["iemocap_accuracy"] - 0.7815)
    assert row["pocket_wer"] == pytest.approx(1 / 5)
    assert row["pocket_folds"] == "10 of 10 folds"
    assert math.isnan(row["iemocap_accuracy"])


def test_what_is_not_run_says_so():
    for iemocap in (None, NOTHING):
        shown = display.show(tables.table4_beside_paper(NOTHING, iemocap), "Table 4", NOTHING)
        assert Cells(shown.html).cells.count("not run") == 4 * len(ALPHAS)
        assert "Not run" in shown.text
    assert tables.completeness(NOTHING, 0.1) == "not run"


def test_partial_and_diverged_runs_are_labelled():
    three = fake_records(alphas=(0.1,), folds=SPEAKERS[:3])
    assert tables.completeness(three, 0.1) == "partial (3 of 10 folds)"
    assert display.provenance(three).endswith("3 of 10 folds: partial")
    diverged = with_status(fake_records(alphas=(0.1,)), "0.1-Ses01F-0", "diverged")
    assert tables.completeness(diverged, 0.1) == "partial (9 of 10 folds, 1 diverged)"
    assert tables.problems(diverged)["error"].tolist() == ["loss is not finite"]
    assert tables.runs(diverged)["outcome"].iloc[0] == "diverged"  # problems first
    assert len(tables.runs(diverged)) == 10
    assert "1 diverged" in one_alpha(diverged)


def test_a_fold_counts_when_every_seed_is_done():
    records = fake_records(alphas=(0.1,), seeds=(0, 1))
    assert tables.completeness(records, 0.1) == "10 of 10 folds"
    failed = with_status(records, "0.1-Ses02M-1", "failed")
    assert tables.completeness(failed, 0.1) == "partial (9 of 10 folds, 1 failed)"
    assert "seeds 0, 1" in display.provenance(failed)


def test_collapsed_runs_are_listed_and_kept():
    records = fake_records(alphas=(0.0,))
    records.runs.loc[records.runs["fold"] == "Ses01F", "collapsed"] = True
    assert tables.problems(records)["outcome"].tolist() == ["collapsed"]
    assert tables.completeness(records, 0.0) == "10 of 10 folds, 1 collapsed"


def test_provenance_names_other_weights_than_the_preset_s_and_unchecked_ones():
    made = fake_records("iemocap", alphas=(0.1,), folds=("Ses01F",))
    said = {}
    for name, checked in (("facebook/wav2vec2-base", True), ("facebook/wav2vec2-base", False), ("mine", False)):
        runs = made.runs.assign(backbone=name, backbone_checked=checked)
        said[name, checked] = display.provenance(replace(made, runs=runs))
    note = "(its weights were compared with no published ones)"
    assert "backbone" not in said["facebook/wav2vec2-base", True] + display.provenance(made)
    assert f"backbone facebook/wav2vec2-base {note}" in said["facebook/wav2vec2-base", False]
    assert f"backbone mine {note}" in said["mine", False]


def test_provenance_names_corpus_protocol_seed_epochs_and_folds():
    words = display.provenance(fake_records(alphas=(0.1,), epochs=1))
    assert words == "Pocket corpus (synthetic): speaker folds, sum pooling, seed 0, 1 epoch, 10 of 10 folds"
    assert display.provenance(fake_records("iemocap", alphas=(0.1,))).startswith("IEMOCAP: ")
    assert display.provenance(NOTHING) == "Not run"
    other = fake_records(alphas=(0.1,))
    other.runs["precision"] = "bf16"
    assert "epochs, in bf16, 10 of 10" in display.provenance(other)
    other.runs["processor"] = ["AMD EPYC", *["Intel Xeon"] * 8, None]
    assert "epochs, in bf16, on 2 kinds of processor, 10 of 10" in display.provenance(other)
    other.runs["processor"] = ["AMD EPYC", *[None] * 9]  # records from before it was written down
    assert "epochs, in bf16, 10 of 10" in display.provenance(other)
    uneven = merge([fake_records(alphas=(0.0,)), fake_records(alphas=(0.1,), folds=SPEAKERS[:4])])
    assert display.provenance(uneven).endswith("4 to 10 of 10 folds, depending on α: partial")


def test_different_experiments_are_never_averaged():
    mixed = fake_records(alphas=(0.1,))
    mixed.runs.loc[mixed.runs["fold"] == "Ses01F", "pooling"] = "mean"
    with pytest.raises(tables.MixedRecordsError, match="pooling mean and sum"):
        tables.table4_beside_paper(mixed)


def test_per_speaker_scores_and_confusion():
    records = fake_records(alphas=(0.1,))
    speakers = tables.per_speaker(records)
    assert speakers["speaker"].tolist() == sorted(SPEAKERS)
    assert (speakers["num_utterances"] == 12).all()
    counts = tables.confusion(records)
    assert counts["emotion"].tolist() == list(EMOTIONS)
    assert counts[list(EMOTIONS)].to_numpy().sum() == 120
    scores = tables.scores(records).iloc[0]
    assert scores["accuracy"] == pytest.approx(speakers["accuracy"].mean())  # equal fold sizes
    for empty in (tables.per_speaker(NOTHING), tables.confusion(NOTHING), tables.scores(NOTHING), tables.runs(NOTHING)):
        assert empty.empty
        assert display.show(empty, "Title", NOTHING, empty="none").text == "Title. Not run"
    ended = display.show(tables.problems(records), "Title", records, empty="none")
    assert ended.text.endswith("10 of 10 folds: none")


def test_shared_records_without_transcripts_give_the_same_tables():
    records = fake_records(alphas=(0.0, 0.1))
    shared = Records(records.runs, records.history, records.predictions.drop(columns=["reference", "hypothesis"]))
    pd.testing.assert_frame_equal(tables.table4_beside_paper(shared), tables.table4_beside_paper(records))
    pd.testing.assert_frame_equal(
        tables.per_speaker(shared.only(alpha=0.1)), tables.per_speaker(records.only(alpha=0.1))
    )


def test_speaker_shares_sum_to_one():
    utterances = pd.DataFrame({"utterance": list("abcd"), "speaker": ["F", "F", "M", "M"]})
    folds = [Fold("x", ("b", "d"), ("a", "c")), Fold("y", ("a", "c"), ("b", "d"))]
    shares = tables.speaker_shares(utterances, folds)
    assert shares.to_numpy().tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_html_tables_have_a_caption_and_a_named_header_for_every_column():
    records = fake_records()
    frames = [tables.table4_beside_paper(records, None), tables.paired_tests(records), claims.summary(records),
              tables.runs(records)]  # fmt: skip
    for frame in frames:
        shown = display.show(frame, "A title", records)
        cells = Cells(shown.html)
        assert all(text.strip() for text in cells.headers)
        assert set(cells.scopes) <= {"row", "col", "colgroup"}
        assert "<caption><span>A title. Pocket corpus (synthetic)" in shown.html


def test_columns_are_under_their_group_wherever_they_stand():
    frame = pd.DataFrame({"alpha": [0.1], "paper_wer": [0.2], "pocket_wer": [0.3], "paper_cer": [0.1], "folds": ["1"]})
    html = display.show(frame, "Title", "source").html
    groups = ["paper", "pocket (synthetic), this book", "paper"]
    assert re.findall(r'colspan="1">([^<]+)<', html) == groups and html.count('rowspan="2"') == 2


def test_html_is_escaped():
    frame = pd.DataFrame({"error": ["<b>&"], "fold": ["<i>"]})
    shown = display.show(frame, "<title>", "source").html
    assert "<b>" not in shown and "&lt;b&gt;&amp;" in shown and "<title>" not in shown


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (display.percent(0.7166), "71.66%"),
        (display.points(0.0649), "+6.49"),
        (display.points(-0.1), "−10.00"),
        (display.p_value(0.00001), "< 0.001"),
        (display.interval((0.681, 0.75)), "68.1 to 75.0%"),
        (display.interval((float("nan"), float("nan"))), "–"),
    ],
)
def test_numbers_are_written_as_the_paper_writes_them(shown, expected):
    assert shown == expected


def history(accuracy: dict[float, list[float]], wer: dict[float, list[float]]) -> pd.DataFrame:
    rows = [
        {"alpha": alpha, "epoch": epoch, "accuracy": value, "wer": wer[alpha][epoch - 1]}
        for alpha, values in accuracy.items()
        for epoch, value in enumerate(values, start=1)
    ]
    return pd.DataFrame(rows)


AS_DRAWN = history(
    {0.0: [0.5, 0.6, 0.6, 0.6], 0.001: [0.5, 0.6, 0.6, 0.6], 0.01: [0.5, 0.6, 0.6, 0.7], 0.1: [0.3, 0.5, 0.7, 0.8]},
    {0.0: [1, 1, 1, 1], 0.001: [1, 1, 1, 0.5], 0.01: [1, 1, 0.6, 0.3], 0.1: [1, 0.9, 0.5, 0.2]},
)


def test_claims_hold_for_curves_like_the_papers():
    # The level is (1 + 0.2) / 2 = 0.6: reached in epoch 4, 3, 3.
    assert claims.decide_fold(AS_DRAWN) == dict.fromkeys(["earlier-wer", "slower-start", "overtakes"], claims.HELD)


def test_claims_fail_for_the_opposite():
    swapped = AS_DRAWN.assign(alpha=AS_DRAWN["alpha"].map({0.0: 0.0, 0.001: 0.1, 0.01: 0.01, 0.1: 0.001}))
    assert set(claims.decide_fold(swapped).values()) == {claims.NOT_HELD}


def test_claims_are_undecidable_without_enough():
    undecidable = dict.fromkeys(["earlier-wer", "slower-start", "overtakes"], claims.UNDECIDABLE)
    assert claims.decide_fold(AS_DRAWN[AS_DRAWN["epoch"] == 1]) == undecidable
    assert claims.decide_fold(AS_DRAWN[AS_DRAWN["alpha"] != 0.01]) == undecidable
    assert claims.decide_fold(AS_DRAWN.drop(index=AS_DRAWN.index[-1])) == undecidable  # one run ended early
    assert claims.decide_fold(AS_DRAWN.assign(wer=1.0))["earlier-wer"] == claims.UNDECIDABLE


def test_a_diverged_run_makes_its_fold_undecidable():
    records = with_status(fake_records(folds=SPEAKERS[:3]), "0.01-Ses01M-0", "diverged")
    verdicts = claims.decide(records).set_index("fold")
    assert (verdicts.loc["Ses01M", ["earlier-wer", "slower-start", "overtakes"]] == claims.UNDECIDABLE).all()
    assert claims.summary(records)[["held", "not_held", "undecidable"]].sum(axis=1).tolist() == [3, 3, 3]
    assert len(claims.summary(NOTHING)) == len(paper.FIGURE2_CLAIMS)


def main_claim(ours: Records) -> str:
    return read("table4", "claims.main_claim", ours=ours, display=display, claims=claims, paper=paper)


def one_alpha(runs: Records) -> str:
    return read("training/template", "tables.beside_paper(runs.only", runs=runs, display=display, tables=tables)


def test_sentences_say_what_was_run_and_what_not():
    records = fake_records()
    assert "not both run" in main_claim(fake_records(alphas=(0.1,))) and "not both run" in main_claim(NOTHING)
    assert "+33.33 points" in main_claim(records) and "belongs to α = 1. The direction" in main_claim(records)
    assert "nothing to set beside" in one_alpha(NOTHING)
    failed = with_status(fake_records(alphas=(0.1,), folds=SPEAKERS[:1]), "0.1-Ses01F-0", "failed")
    assert "nothing to set beside" in one_alpha(failed)


def test_one_alpha_is_set_beside_the_paper_in_words():
    text = one_alpha(fake_records(alphas=(0.1,)))
    assert text.startswith("α = 0.1: the paper reports 78.15% and WER 0.1929; here ")
    assert text.endswith("so the two are not compared. No run diverged, failed or collapsed.") and "points" not in text
    assert "points away. No run" in one_alpha(fake_records("iemocap", alphas=(0.1,)))


def test_the_opposite_result_is_called_so():
    records = fake_records(accuracy=dict(zip(ALPHAS, [0.9, 0.5, 0.5, 0.5, 0.5], strict=True)))
    assert "opposite" in main_claim(records)
    equal = fake_records(accuracy=dict.fromkeys(ALPHAS, 0.5))
    assert "does not decide the direction" in main_claim(equal)


def test_leak_sentences_weigh_folds_by_size():
    audit = pd.DataFrame(
        {
            "num_test": [10, 30],
            "test_in_train_speaker_share": [1.0, 0.0],
            "named_speaker_share": [float("nan")] * 2,
            "repeated_text_share": [0.0, 0.5],
        }
    )
    audits = {"session": audit, "released": audit.assign(named_speaker_share=0.5)}
    text = read("folds", "leak_shares", audits=audits, corpus="Invented", tables=tables, display=display)
    session, released = text.splitlines()[-2:]
    assert "25.0% of the test utterances" in session and "37.5% of the test transcripts" in session
    assert "actor" not in session and "50.0% are spoken by the actor" in released


def test_departures_have_an_anchor_each():
    html = departures.sections().html
    assert all(f'id="departure-{departure.name}"' in html for departure in paper.DEPARTURES)
    assert html.count("<dd>") == 5 * len(paper.DEPARTURES)


def test_settings_are_those_of_the_preset():
    table = cell("departures", "get_preset", preset="pocket", display=display)["settings"]
    table = table.set_index("setting")["value"]
    assert table["pooling"] == "sum" and "alpha" not in table


def test_table3_is_annotated_row_by_row_and_ours_stand_below():
    table = tables.table3_annotated(NOTHING)
    printed = table.iloc[:-1]
    assert printed["method"].tolist() == paper.table3()["method"].tolist()
    assert printed["accuracy"].tolist() == paper.table3()["accuracy"].tolist()
    assert (printed["status"] == "as printed").all() and printed["known"].str.len().min() > 10
    assert all(word.startswith(("yes", "no", "unknown", "the claim")) for word in table["comparable"])
    iemocap = table.iloc[-1]
    assert iemocap["status"] == "not run" and math.isnan(iemocap["accuracy"])


def test_iemocap_on_other_folds_is_not_comparable():
    records = fake_records("iemocap", alphas=(0.1,))
    ours = tables.table3_annotated(records).iloc[-1]
    assert ours["comparable"].startswith("yes") and ours["status"] == "10 of 10 folds"
    records.runs["protocol"] = "released"
    assert tables.table3_annotated(records)["comparable"].iloc[-1] == "no: released folds"


def test_what_iemocap_costs_is_computed_from_published_figures():
    names = cell("iemocap", "from mtlser.model.backbone import CARDS")
    cost = cell("iemocap", "The fifty runs", **names)["cost"].set_index("what")["amount"]
    assert cost["runs"] == "50" and cost["audio to train on"] == "113 million seconds"
    assert cost["time"] == "about 302 hours of one V100"  # the audit: about 300
    release = cell("iemocap", "by_session", **names)["release"]
    assert release["total"].iloc[-1] == release["total"].iloc[:-1].sum() == paper.NUM_UTTERANCES
    assert cell("iemocap", "sha256", "files = ", **names)["files"]["bytes"].tolist() == ["–", "380,267,417"]
    assert paper.table3()["source"].str.len().min() > 5
    assert set(paper.others().columns) == {"system", "figure", "protocol", "source"}
