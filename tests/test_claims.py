"""Every claim has a verdict and evidence, the rules give it, and only IEMOCAP or an audit decides."""

from __future__ import annotations

from html.parser import HTMLParser
from itertools import chain
from pathlib import Path

import pandas as pd
import pytest

from fake_records import SPEAKERS, fake_records, with_status
from mtlser import paper
from mtlser.config import ALPHAS
from mtlser.report import claims, display
from mtlser.runs.records import Records, merge
from mtlser_book.pages import toc_names
from sentences import cell

ROOT = Path(__file__).parents[1]
NOTHING = (Records.empty(), Records.empty())
MEASURED = [claim["id"] for claim in claims.CLAIMS if claim["measure"] != "audit"]
RISING = {0.0: 4, 0.001: 6, 0.01: 8, 0.1: 10, 1.0: 9}  # of 20


def runs(preset: str, right: dict[float, int] = RISING, other_gain: int = 6, **settings) -> tuple[Records, Records]:
    """Table 4 in which folds gain not all the same, WER falls with alpha, and α = 0.1 gains at the other rate."""
    table4 = fake_records(preset, accuracy={alpha: 0.05 * n for alpha, n in right.items()}, num_test=20, **settings)
    other = fake_records(preset, alphas=(0.0, 0.1), accuracy={0.0: 0.4, 0.1: 0.4 + 0.05 * other_gain}, num_test=20)
    for records in (table4, other):
        place = records.runs["fold"].map({name: number for number, name in enumerate(SPEAKERS)})
        records.runs["accuracy"] += 0.001 * place * records.runs["alpha"].map(list(ALPHAS).index)
        records.runs["wer"] = (
            1 - 0.2 * records.runs["alpha"].map(list(ALPHAS).index) - 0.001 * place * records.runs["alpha"]
        )
    return table4, other


def found(iemocap: tuple = NOTHING, pocket: tuple = NOTHING) -> pd.Series:
    table = claims.verdicts(iemocap, pocket)
    return table.set_index(pd.Index([claim["id"] for claim in claims.CLAIMS]))["verdict"]


@pytest.mark.parametrize("claim", claims.CLAIMS, ids=lambda claim: claim["id"])
def test_every_claim_is_quoted_decidable_and_has_evidence_that_resolves(claim):
    assert claim["quote"].strip() and claim["section"].startswith(("abstract", "section", "Table"))
    assert claim["kind"] in ("result", "method", "comparison") and claim["decides"].strip() and claim["evidence"]
    assert (claim["measure"] == "audit") == ("verdict" in claim) != (claim["measure"] in claims.RULES["measures"])
    if claim["measure"] == "audit":
        assert claim["verdict"] in ("verified", "falsified", "inconclusive") and claim["found"].strip()
    anchors = {f"departure-{departure.name}" for departure in paper.DEPARTURES}
    for target in claim["evidence"].values():
        page, _, anchor = target.partition("#")
        if page.startswith("tests/"):
            assert (ROOT / page).is_file(), target
        else:
            assert f"book/{page.removesuffix('.html')}" in toc_names(ROOT), target
            assert not anchor or (page == "departures.html" and anchor in anchors), target


def test_claims_have_names_of_their_own_and_the_rules_explain_every_verdict():
    assert len({claim["id"] for claim in claims.CLAIMS}) == len(claims.CLAIMS)
    assert set(claims.VERDICTS) < set(claims.RULES)
    quoted = {claim["id"]: claim["quote"] for claim in claims.CLAIMS}
    assert all(quoted[claim.name] in claim.quote for claim in paper.FIGURE2_CLAIMS)
    assert f"{100 * paper.claimed_gain():.2f} points" in claims.RULES["measures"]["numbers"]


def test_nothing_is_decided_without_runs():
    table = found()
    assert (table[MEASURED] == "not run").all() and set(table.drop(MEASURED)) == {
        "verified",
        "falsified",
        "inconclusive",
    }


def test_pocket_alone_is_a_toy_whatever_it_says():
    for right in (RISING, {alpha: 20 - number for alpha, number in RISING.items()}):
        table = found(pocket=runs("pocket", right))
        asked = [c["id"] for c in claims.CLAIMS if c["measure"] in ("comparisons", "rates", "divergence", "figure2")]
        assert (table[asked] == "toy").all()
        assert (table[sorted(set(MEASURED) - set(asked))] == "not run").all()  # the printed numbers are IEMOCAP's
        assert table.drop(MEASURED).equals(found().drop(MEASURED))  # an audit is not changed by runs


def test_iemocap_decides_what_it_measured():
    table = found(iemocap=runs("iemocap"), pocket=runs("pocket"))
    held = ["single-task", "larger-alpha", "multi-task-cause", "alpha-one", "earlier-wer"]
    assert (table[held] == "verified").all()
    assert (table[["better-asr", "diverges", "accuracies", "word-error-rates"]] == "falsified").all()
    assert table["best-rates"] == "not run"  # that nobody asks stays not run
    falling = runs("iemocap", {alpha: 14 - number for alpha, number in RISING.items()})
    assert (found(iemocap=falling)[["single-task", "larger-alpha", "multi-task-cause"]] == "falsified").all()


def test_a_gain_at_one_of_two_rates_is_not_enough():
    table4, _ = runs("iemocap")
    even = table4.only(alpha=[0.0, 0.1])
    even.runs["accuracy"] = 0.5 + 0.01 * (even.runs["fold"].map(list(SPEAKERS).index) % 2) * (even.runs["alpha"] > 0)
    table = found(iemocap=(table4, even))
    assert table["single-task"] == "verified" and table["multi-task-cause"] == "inconclusive"


def test_a_part_of_the_folds_decides_nothing():
    table = found(iemocap=runs("iemocap", folds=SPEAKERS[:9]))
    assert (table[["single-task", "larger-alpha", "accuracies", "overtakes"]] == "inconclusive").all()


def test_printed_numbers_are_verified_where_the_interval_is_near():
    table4, other = runs("iemocap")
    for column in ("accuracy", "wer"):
        printed = table4.runs["alpha"].map(paper.table4().set_index("alpha")[column])
        uneven = table4.runs["fold"].map(list(SPEAKERS).index) % 3 - 0.9
        table4.runs[column] = printed + 0.01 * uneven * (1 + table4.runs["alpha"])
    assert (found(iemocap=(table4, other))[["accuracies", "word-error-rates"]] == "verified").all()
    table4.runs["wer"] += 0.3 * (table4.runs["fold"].map(list(SPEAKERS).index) % 2) - 0.15
    assert found(iemocap=(table4, other))["word-error-rates"] == "inconclusive"  # far too wide


def test_half_of_the_runs_diverging_verifies_that_they_do():
    table4, other = runs("iemocap")
    one = with_status(other, "0.0-Ses01F-0", "diverged")
    assert found(iemocap=(table4, one))["diverges"] == "inconclusive"
    for fold in SPEAKERS[:5]:
        other = with_status(other, f"0.0-{fold}-0", "diverged")
    assert found(iemocap=(table4, other))["diverges"] == "verified"


def test_holm_counts_every_comparison():
    table = claims.compare(runs("iemocap")[0], [("accuracy", 0.0, 0.1), ("accuracy", 0.01, 0.1), ("wer", 0.0, 0.1)])
    assert table["holm"].tolist() == pytest.approx([3 * 2 / 2**10] * 3)  # each as small as ten folds allow
    assert table["difference"].tolist()[2] == pytest.approx(0.6 + 0.1 * 0.0045)  # WER: how far it falls


def test_people_stand_beside_the_gain_and_never_change_a_verdict():
    contrasts = pd.DataFrame({"corpus": ["EmoDB", "nEMO"], "verdict": ["gain", "loss"]})
    table = claims.verdicts(NOTHING, NOTHING, contrasts)
    shown = table["elsewhere"] == "EmoDB: gain; nEMO: loss"
    assert table[shown]["claim"].str.contains("than training on a single task").tolist() == [True]
    assert table["verdict"].tolist() == found().tolist()
    assert claims.counts(table).startswith(f"{len(claims.CLAIMS)} claims: ")


def test_what_can_be_checked_with_a_pencil():
    """The audit's arithmetic on the paper's tables."""
    table3, alpha_zero = paper.table3().iloc[:-1], paper.table4()["accuracy"].iloc[0]
    assert (len(table3), int((table3["accuracy"] < alpha_zero).sum())) == (7, 3)
    assert table3["cross_validation"].value_counts().to_dict() == {"5-fold": 5, "10-fold": 2}
    assert paper.table3()["accuracy"].iloc[-1] - table3["accuracy"].max() == pytest.approx(0.0485)
    steps = paper.table4().diff().iloc[1:]
    assert (steps["wer"] < 0).all() and (steps["accuracy"] > 0).tolist() == [True, True, True, False]


class Targets(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.targets = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.targets += [value for name, value in attrs if name == "href"]


def test_the_table_of_the_book_links_its_evidence():
    table = claims.verdicts(NOTHING, runs("pocket"))
    html = cell("claims", "Claims of the paper", table=table, synthetic=runs("pocket"), display=display)["shown"].html
    wanted = chain(*(claim["evidence"].values() for claim in claims.CLAIMS))
    assert Targets(html).targets == [target for target in wanted if not target.startswith("tests/")]
    assert "Pocket corpus (synthetic)" in html and html.count("<td>toy</td>") == (table["verdict"] == "toy").sum()


def test_records_of_a_corpus_without_any_are_empty(monkeypatch, tmp_path):
    monkeypatch.setenv("MTLSER_ARTIFACTS", str(tmp_path / "artifacts"))
    monkeypatch.setenv("MTLSER_RESULTS", str(tmp_path))
    monkeypatch.setenv("MTLSER_EPOCHS", "1")  # what this machine runs beside is another experiment
    assert [len(records.runs) for records in claims.records_of("iemocap")] == [0, 0]
    assert merge(claims.records_of("pocket")).runs.empty
