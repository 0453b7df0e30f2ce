"""Records → the sentences in which the book reads a result, so that no number of ours is typed into prose."""

from __future__ import annotations

import ast
import re
from functools import cache
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

from mtlser import paper
from mtlser.config import get_preset
from mtlser.corpus.release_counts import iemocap_counts
from mtlser.report import claims, power, statistics, tables
from mtlser.report.display import (
    Html,
    Markdown,
    interval,
    interval_points,
    p_value,
    percent,
    points,
    provenance,
)

BASELINE, BEST = 0.0, 0.1  # the ends of the paper's claim: no CTC loss against its best alpha (Table 4)


def _paper_accuracy(alpha: float) -> float:
    return float(paper.table4().set_index("alpha").loc[alpha, "accuracy"])


def _gain(records: Any) -> dict[str, Any] | None:
    """`statistics.compare` of the paper's claim, or None where either alpha has no finished run."""
    if records is None:
        return None
    predictions = records.only(status="done").predictions
    if not {BASELINE, BEST} <= set(predictions["alpha"]):
        return None
    return statistics.compare(predictions, BASELINE, BEST)


def _judgement(gain: dict[str, Any] | None) -> str:
    """In words, whether the interval of the gain lies above zero, below it, or holds it."""
    if gain is None:
        return "not run"
    low, high = gain["difference_interval"]
    if not low < high and low != high:  # NaN: a single speaker
        return f"undecided ({points(gain['difference'])} points, no interval)"
    word = "held" if low > 0 else "contradicted" if high < 0 else "undecided"
    return f"{word} ({points(gain['difference'])} points, 95% interval {interval_points((low, high))})"


def _partial(records: Any) -> str:
    words = [tables.completeness(records, alpha) for alpha in (BASELINE, BEST)]
    return "; partial" if any(word.startswith("partial") for word in words) else ""


def verdict(pocket: Any, iemocap: Any | None = None) -> pd.DataFrame:
    """The paper's claims, what it reports for each, and what each corpus says so far: columns claim, paper_, …"""
    rows = [{"claim": f"α = {BEST:g} recognises emotions better than α = 0 (Table 4)",
             "paper_reported": f"{points(_paper_accuracy(BEST) - _paper_accuracy(BASELINE))} points"}]  # fmt: skip
    rows += [
        {"claim": f"“{claim.quote}” (Figure 2)", "paper_reported": "one run drawn"} for claim in paper.FIGURE2_CLAIMS
    ]
    for name, records in (("iemocap", iemocap), ("pocket", pocket)):
        nothing = records is None or records.only(status="done").runs.empty
        gain = _gain(records)
        rows[0][f"{name}_verdict"] = "not run" if gain is None else _judgement(gain) + _partial(records)
        summary = None if nothing else claims.summary(records)
        for position in range(len(paper.FIGURE2_CLAIMS)):
            rows[position + 1][f"{name}_verdict"] = "not run" if summary is None else _folds(summary.iloc[position])
    return pd.DataFrame(rows)


def _folds(counts: pd.Series) -> str:
    decided = counts["held"] + counts["not_held"]
    if not decided:
        return "undecidable"
    return f"held in {counts['held']} of {decided} folds" + (
        f", {counts['undecidable']} undecidable" if counts["undecidable"] else ""
    )


def state(pocket: Any, iemocap: Any | None = None) -> Markdown:
    """One paragraph: what was run, what was not, and what the paper's main claim looks like so far."""
    if iemocap is None or iemocap.only(status="done").runs.empty:
        real = (
            "**Not run: IEMOCAP.** The paper's experiment has no finished run in this copy of the book, so its numbers "
            "are neither confirmed nor contradicted here."
        )
    else:
        real = f"**{provenance(iemocap)}.** The main claim: {_judgement(_gain(iemocap))}."
    if pocket.only(status="done").runs.empty:
        synthetic = "**Not run: the pocket corpus.** `make reproduce` completes it."
    else:
        synthetic = (
            f"**{provenance(pocket)}.** The main claim, on synthetic speech: {_judgement(_gain(pocket))}. This shows "
            "that the experiment runs and what it can detect; it is no evidence about IEMOCAP."
        )
    return Markdown(f"{real}\n\n{synthetic}")


def table4(records: Any) -> Markdown:
    """What Table 4 says on one corpus: the gain of alpha = 0.1, its uncertainty, and the best alpha."""
    gain = _gain(records)
    if gain is None:
        return Markdown(f"α = 0 and α = {BEST:g} are not both run, so the main claim of Table 4 can't be read.")
    scores = tables.scores(records)
    best = scores.loc[scores["accuracy"].idxmax()]
    claimed = points(_paper_accuracy(BEST) - _paper_accuracy(BASELINE))
    tests = statistics.paired_tests(records.only(status="done")).set_index("alpha")
    return Markdown(
        f"On the {records.provenance}, over {gain['num_utterances']} test utterances, α = {BEST:g} differs from α = 0 "
        f"by **{points(gain['difference'])} points** (95% interval {interval_points(gain['difference_interval'])}; "
        f"permutation of speakers, Holm-corrected, p {_equals(tests.loc[BEST, 'holm'])}). The paper reports {claimed} "
        f"points on IEMOCAP. The highest accuracy here, {percent(best['accuracy'])} "
        f"({interval(best['interval'])}), belongs to α = {best['alpha']:g}. {_agreement(records, gain)}"
    )


def _equals(value: float) -> str:
    words = p_value(value)
    return words if words.startswith("<") else f"= {words}"


def _agreement(records: Any, gain: dict[str, Any]) -> str:
    low, high = gain["difference_interval"]
    where = "the same experiment" if records.provenance == "IEMOCAP" else "this synthetic corpus"
    if low > 0:
        return f"The direction of the paper's claim holds on {where}."
    if high < 0:
        return f"The direction is the opposite of the paper's on {where}."
    return f"The interval does not exclude zero: {where} does not decide the direction."


def one_alpha(records: Any) -> Markdown:
    """How one alpha ended: its accuracy and WER beside the paper's, and how many runs had a problem."""
    if records.only(status="done").runs.empty:
        return Markdown("No run of this page is finished, so there is nothing to set beside the paper.")
    row = tables.beside_paper(records).iloc[0]
    return Markdown(
        f"α = {row['alpha']:g}: the paper reports {percent(row['paper_accuracy'])} and WER {row['paper_wer']:.4f}; "
        f"here {percent(row['ours_accuracy'])} ({interval(row['ours_interval'])}) and WER {row['ours_wer']:.4f}, a "
        f"difference of {points(row['difference'])} points. {_other_corpus(records)}{_troubles(records)}"
    )


def _other_corpus(records: Any) -> str:
    if records.provenance == "IEMOCAP":
        return ""
    return "The two are different corpora: the difference measures the instrument, not the paper. "


def _troubles(records: Any) -> str:
    problems = tables.problems(records)
    if problems.empty:
        return "No run diverged, failed or collapsed."
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in problems["outcome"].value_counts().items())
    return (
        f"**Of {len(records.runs)} runs: {outcomes}**; they are listed above. Only finished runs enter the means, "
        "collapsed ones included."
    )


def figure2(records: Any) -> Markdown:
    """In how many folds each of the paper's sentences about Figure 2 held."""
    if records.only(status="done").runs.empty:
        return Markdown("Not run: the claims about Figure 2 can't be read.")
    summary = claims.summary(records)
    lines = [f"* {row['claim']}: **{_folds(row)}**" for _, row in summary.iterrows()]
    return Markdown("\n".join([f"{provenance(records)}:", "", *lines]))


def leaks(audit: pd.DataFrame, protocol: str) -> Markdown:
    """What one protocol's audit (`folds.audit`) says about speakers and texts that train and test share."""
    same, named, repeated = (
        100 * float((audit[column] * audit["num_test"]).sum(skipna=False) / audit["num_test"].sum())
        for column in ("test_in_train_speaker_share", "named_speaker_share", "repeated_text_share")
    )
    actor = f" {named:.1f}% are spoken by the actor whom the fold is named after." if named == named else ""
    return Markdown(
        f"Protocol `{protocol}`, {len(audit)} folds: {same:.1f}% of the test utterances are spoken by somebody who is "
        f"also in training.{actor} {repeated:.1f}% of the test transcripts also occur in training."
    )


def detectable(records: Any) -> Markdown:
    """Whether the paper's gain, and the gain found, are larger than what these runs could detect."""
    table = power.power(records)
    row = table[table["comparison"] == f"{BASELINE:g} → {BEST:g}"] if len(table) else table
    if row.empty:
        return Markdown("Not run: what these runs could detect is unknown. The table above is what was planned for.")
    row = row.iloc[0]
    claimed = _paper_accuracy(BEST) - _paper_accuracy(BASELINE)
    least = f"{100 * row['detectable_holm']:.1f} points"
    word = "can" if claimed > row["detectable_holm"] else "can't"
    return Markdown(
        f"{provenance(records)}. {100 * row['discordance']:.0f}% of the {row['num_utterances']} test utterances are "
        f"right under only one of α = {BASELINE:g} and α = {BEST:g}. With that, a true difference of {least} is found "
        f"four times in five, after Holm's correction. A gain as large as the paper's, {points(claimed)} points, "
        f"{word} be counted on to show; the difference observed is {points(row['difference'])}. A difference below "
        f"{least} that is not significant here is *undecided*, not absent."
    )


def release_fingerprint() -> Markdown:
    """The known release's number of utterances and fingerprint, as `python -m mtlser corpus` prints them."""
    counts = iemocap_counts()
    printed = f"{counts['total']} utterances of {len(counts['by_speaker'])} speakers"
    return Markdown(f"```text\n{printed}\nfingerprint {counts['sha256_of_sorted_utterance_emotion_lines']}\n```")


def backbone_name() -> str:
    """Hub name and revision of the backbone of PRESET=iemocap."""
    preset = get_preset("iemocap")
    return f"{preset.backbone} at revision {preset.backbone_revision}"


def departures() -> Html:
    """Every difference of `paper.DEPARTURES` as a section with an anchor, `#departure-<name>`."""
    sections = "".join(_departure(departure) for departure in paper.DEPARTURES)
    return Html(f'<div class="mtlser-departures">{sections}</div>', f"{len(paper.DEPARTURES)} differences")


def _departure(departure: paper.Departure) -> str:
    rows = {
        "As written": departure.paper,
        "As released": departure.released,
        "This book": departure.ours,
        "The other side": departure.measured,
    }
    number = "" if departure.number is None else f"{departure.number}. "
    terms = "".join(f"<dt>{term}</dt><dd>{escape(text)}</dd>" for term, text in rows.items())
    terms += f"<dt>Decided in</dt><dd>{_link(departure.code)}</dd>"
    heading = f"<h3>{number}{escape(departure.topic)}</h3>"
    return f'<section id="departure-{departure.name}">{heading}<dl>{terms}</dl></section>\n'


def _link(code: str) -> str:
    """The API page's entry of "module:object", and beside it the file and line in the repository."""
    module, _, name = code.partition(":")
    file, line = source_line(code)
    return f'<a href="api.html#{api_anchor(module, name)}"><code>{code}</code></a>, <code>{file}:{line}</code>'


def api_anchor(module: str, name: str) -> str:
    """The anchor of an object on the book's API page: in the characters that Sphinx leaves in an anchor."""
    return re.sub(r"[^a-z0-9]+", "-", f"api-{module}.{name}".lower()).strip("-")


@cache
def source_line(code: str) -> tuple[str, int]:
    """Where "module:object" begins: path in the repository and line. Read from the source, so nothing is imported.

    Raises LookupError for an object that the module does not define.
    """
    module, _, path = code.partition(":")
    file = Path(find_spec(module).origin)
    node: Any = _parsed(file)
    for name in path.split("."):
        found = [child for child in node.body if name in _defined(child)]
        if not found:
            raise LookupError(f"{module} defines no {path}; correct the entry of mtlser.paper.DEPARTURES")
        node = found[0]
    parts = module.split(".")
    return "/".join(["src", *parts[: -1 if file.stem == parts[-1] else None], file.name]), node.lineno


@cache
def _parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _defined(node: ast.stmt) -> set[str]:
    """The names that a statement of a module or class defines."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {node.name}
    targets = getattr(node, "targets", [getattr(node, "target", None)])
    return {target.id for target in targets if isinstance(target, ast.Name)}
