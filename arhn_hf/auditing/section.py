"""What an audit found, as a section of the dataset's card (`arhn-hf audit --card`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from arhn_hf.publishing.card_blocks import escaped
from arhn_hf.publishing.card_text import AUDIT, join_card, split_card, with_audit
from arhn_hf.publishing.folder import replace_text


def write_section(directory: Path, report: dict[str, Any]) -> None:
    """Put the audit's section into the folder's `README.md`, in the place of an older one; everything else stays."""
    card = directory / "README.md"
    head, body = split_card(card.read_text(encoding="utf-8"))
    section = f"{AUDIT[0]}\n{section_text(report)}\n{AUDIT[1]}"
    replace_text(card, join_card(head, with_audit(body, section)))


def section_text(report: dict[str, Any]) -> str:
    """The section in Markdown."""
    labels = report["labels"]
    lines = [
        "## How good the judge is",
        "",
        f"Measured on {report['candidates']:,} negatives of {report['queries']:,} queries with labels from {escaped(labels['name'])}: "
        f"{report['relevant']:,} relevant, {report['ambiguous']:,} ambiguous, {report['clean']:,} not relevant. Brackets: 95 % intervals "
        f"over queries. Ambiguous negatives count against precision. Run `{report['run_id']}`.",
        "",
        "| decision | negatives | precision | recall | of the clean |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, words in (
        ("relabel", "relabeled"), ("filter", "filtered"), ("leaves", "either"),
    ):  # fmt: skip
        one = report["decisions"][name]
        lines.append(
            f"| {words} | {one['flagged']:,} | {span(one['precision'])} | {span(one['recall'])} | {span(one['clean_touched'])} |"
        )
    lines += [
        "",
        "| ranked by | AUROC | average precision | clean removed at recall .5 |",
        "| --- | ---: | ---: | ---: |",
    ]
    rows = [("**this judge**", report["ranking"])]
    rows += [(escaped(name), one["ranking"]) for name, one in report["baselines"].items()]
    lines += [
        f"| {name} | {span(one['auroc'])} | {span(one['average_precision'])} | {span(one['clean_removed_at_recall_0.5'])} |"
        for name, one in rows
    ]
    lines += ["", f"Cohen's kappa of the judge and the labels: {span(report['kappa'])}."]
    return "\n".join(lines)


def span(value: dict[str, Any]) -> str:
    """`.77 [.68–.85]`, or a dash where nothing could be measured."""
    if value["value"] is None:
        return "–"
    if value["low"] is None:
        return _short(value["value"])
    return f"{_short(value['value'])} [{_short(value['low'])}–{_short(value['high'])}]"


def _short(number: float) -> str:
    return f"{number:.2f}".replace("0.", ".", 1) if abs(number) < 1 else f"{number:.2f}"
