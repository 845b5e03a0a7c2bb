"""An audit for the terminal: decisions beside labels, the judge beside its baselines, and what stayed out."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from arhn_hf.auditing.section import span
from arhn_hf.cli.output import harmless


def audit_tables(report: dict[str, Any]) -> list[Any]:
    """Renderables for a finished audit."""
    parts: list[Any] = [_head(report), _decisions(report), _grades(report), _ranking(report)]
    if "subsets" in report:
        parts.append(_subsets(report["subsets"]))
    parts.append(_tail(report))
    return parts


def agreement_tables(report: dict[str, Any]) -> list[Any]:
    """Renderables for people's verdicts: figures by person, their agreement with each other, and published kappas beside it."""
    found = report["agreement"]
    people = dict(found["annotators"])
    if found["majority"]:
        people["majority"] = found["majority"]
    table = Table(title="Verdicts of people", title_justify="left")
    table.add_column("figure")
    for name in people:
        table.add_column(harmless(name), justify="right")
    for key in dict.fromkeys(key for one in people.values() for key in one):
        table.add_row(harmless(key.replace("_", " ")), *(_cell(one.get(key)) for one in people.values()))
    lines = [
        f"{harmless(pair['first'])} and {harmless(pair['second'])}: kappa {_cell(pair['kappa_yes_or_partly'])} on {pair['both']} "
        "passages that both judged."
        for pair in found["pairs"]
    ]
    lines += [
        f"Published, {one['name']}: {one['of']}, kappa {one['low']:.2f}"
        + (f" to {one['high']:.2f}" if one["high"] != one["low"] else "")
        + f" ({one['source']})."
        for one in found["published_kappas"]
    ]
    return [table, Text("\n".join(lines))]


def _cell(value: Any) -> str:
    if isinstance(value, dict) and "value" in value:
        return span(value)
    return "–" if value is None else f"{value:.2f}" if isinstance(value, float) else harmless(value)


def _head(report: dict[str, Any]) -> Text:
    labels = report["labels"]
    lines = [
        f"{report['candidates']:,} labelled negatives of {report['queries']:,} queries ({harmless(labels['name'])}): {report['relevant']:,} "
        f"relevant, {report['ambiguous']:,} ambiguous, {report['clean']:,} not relevant. Brackets are 95 % intervals over queries."
    ]
    if labels["unjoined"]:
        examples = "; ".join(harmless(one) for one in labels["examples"])
        lines.append(f"{labels['unjoined']:,} labels belong to no passage of the source, such as {examples}.")
    if report["unlabelled"]:
        lines.append(
            f"{report['unlabelled']:,} negatives have no grade ({labels['set_aside']:,} are labelled duplicate)."
        )
    if report["left_out"]:
        left = ", ".join(f"{count:,} {harmless(name)}" for name, count in report["left_out"].items())
        lines.append(f"Not decided by the judge, so not measured: {left}.")
    return Text("\n".join(lines))


def _decisions(report: dict[str, Any]) -> Table:
    table = Table(title="Decisions", title_justify="left")
    for name in ("", "negatives", "precision", "recall", "of the clean"):
        table.add_column(name, justify="right" if name else "left")
    for name, words in (("relabel", "relabeled"), ("filter", "filtered"), ("leaves", "either")):
        one = report["decisions"][name]
        table.add_row(
            words, f"{one['flagged']:,}", span(one["precision"]), span(one["recall"]), span(one["clean_touched"])
        )
    good = report["decisions"]["relabel"]["precision_as_good_as_the_positive"]
    table.caption = (
        f"Relabeled and graded no lower than the labelled positive: {span(good)}. Kappa: {span(report['kappa'])}."
    )
    table.caption_justify = "left"
    return table


def _grades(report: dict[str, Any]) -> Table:
    table = Table(title="By grade", title_justify="left")
    for name in ("grade", "negatives", "relabeled", "filtered", "kept"):
        table.add_column(name, justify="right")
    for one in report["grades"]:
        table.add_row(
            f"{one['grade']:g}",
            f"{one['negatives']:,}",
            f"{one['relabel']:,}",
            f"{one['filter']:,}",
            f"{one['keep']:,}",
        )
    return table


def _ranking(report: dict[str, Any]) -> Table:
    table = Table(
        title=f"Is it a false negative? (the judge ranked by its {report['scored_by']})", title_justify="left"
    )
    for name in (
        "",
        "AUROC",
        "without ambiguous",
        "average precision",
        "clean removed at recall .5",
        "judge better by",
    ):
        table.add_column(name, justify="right" if name else "left")
    table.add_row("this judge", *_ranked(report["ranking"]), "")
    for name, one in report["baselines"].items():
        table.add_row(name, *_ranked(one["ranking"]), span(one["auroc_judge_minus_this"]))
    return table


def _ranked(one: dict[str, Any]) -> list[str]:
    names = ("auroc", "auroc_without_ambiguous", "average_precision", "clean_removed_at_recall_0.5")
    return [span(one[name]) for name in names]


def _subsets(subsets: dict[str, Any]) -> Table:
    table = Table(title="By subset", title_justify="left")
    for name in ("subset", "negatives", "AUROC", "precision", "recall"):
        table.add_column(name, justify="right" if name != "subset" else "left")
    for name, one in subsets.items():
        if "why_not" in one:
            table.add_row(harmless(name), f"{one['candidates']:,}", one["why_not"], "", "")
        else:
            leaves = one["decisions"]["leaves"]
            cells = (span(one["ranking"]["auroc"]), span(leaves["precision"]), span(leaves["recall"]))
            table.add_row(harmless(name), f"{one['candidates']:,}", *cells)
    return table


def _tail(report: dict[str, Any]) -> Text:
    lines = []
    for name, one in report["baselines"].items():
        if one["leaves"]:
            leaves = one["leaves"]
            lines.append(
                f"{name}: precision {span(leaves['precision'])}, recall {span(leaves['recall'])}, of the clean {span(leaves['clean_touched'])}."
            )
    if report["threshold"]:
        found = report["threshold"]
        lines.append(
            f"Threshold for {found['target']}: --answer-threshold {found['answer_threshold']:.4f} (recall {_cell(found['recall'])}, "
            f"of the clean {_cell(found['clean_touched'])}). It was fitted on these labels: elsewhere it will do worse."
        )
    if report["band"]:
        found, held = report["band"], report["band"]["held_out"]
        lines.append(
            f"Cascade for {found['target']}: --cascade reader --cascade-low {found['cascade_low']:.4f} --cascade-high "
            f"{found['cascade_high']:.4f} leaves {found['share_left']:.0%} of these negatives to the LLM. Bands of other queries leave "
            f"{held['share_left']:.0%} and lose {_cell(held['precision_lost'])} of precision and {_cell(held['recall_lost'])} of recall."
        )
    return Text("\n".join(lines))
