"""What a person reads at the end of a run: before and after per subset, negatives left, failures, gates, and how to load it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from arhn_hf.cli.output import harmless
from arhn_hf.publishing.hub import PushResult

PUBLISHED = {"relabel": 1.6, "filter": 2.2}  # of 10 negatives; Choi et al., arXiv 2604.11092, with a large LLM judge
_BAR = 30


def refine_summary(report: dict[str, Any]) -> list[Any]:
    """Renderables for a finished `refine` or `derive`."""
    parts: list[Any] = [_subsets(report), _histogram(report), _sentences(report)]
    gates = _gates(report["gates"])
    if gates is not None:
        parts.append(gates)
    parts.append(_loading(report))
    return parts


def push_summary(done: PushResult) -> Text:
    """Where the publication is, and the lines that load it."""
    where = (
        f"Pull request: {done.pr}"
        if done.pr
        else f"Published: {done.url} (commit {done.commit[:12]}{f', tag {done.tag}' if done.tag else ''})"
    )
    if done.pr is not None:
        return Text(f"{where}\nNobody's data changed yet: merge it to publish.")
    branch = f', revision="{done.revision}"' if done.revision else ""
    lines = [f'  load_dataset("{done.repo_id}", "{name}", split="train"{branch})' for name in done.variants]
    return Text("\n".join([where, "Load it:", *lines]))


def _subsets(report: dict[str, Any]) -> Table:
    table = Table(title="What became of the negatives", title_justify="left")
    table.add_column("subset")
    for name in ("pos.", "neg.", "relabel", "filter", "dupl.", "undec.", "keep", "skip"):
        table.add_column(name, justify="right")
    keys = ("positives", "negatives", "relabel", "filter", "duplicate", "undecided", "keep", "skipped")
    for one in report["subsets"]:
        table.add_row(harmless(one["subset"] or "(all)"), *(f"{one[key]:,}" for key in keys))
    if len(report["subsets"]) > 1:
        table.add_section()
        table.add_row("all", *(f"{sum(one[key] for one in report['subsets']):,}" for key in keys))
    return table


def _histogram(report: dict[str, Any]) -> Table:
    name = next(iter(report["histogram"]))
    left = report["histogram"][name]
    table = Table(title=f"Negatives left per row ({name})", title_justify="left")
    for column in ("negatives", "rows", ""):
        table.add_column(column, justify="right" if column else "left")
    most = max(left.values(), default=1)
    for number, rows in left.items():
        table.add_row(number, f"{rows:,}", "█" * max(1, round(_BAR * rows / most)))
    return table


def _sentences(report: dict[str, Any]) -> Text:
    rates, failures, rows = report["per_10_negatives"], report["failures"], report["rows"]
    lines = []
    if report["shard"] is not None:
        lines.append(
            f"Part {report['shard']['index']} of {report['shard']['count']}: provisional, and no gate is judged, until "
            "`arhn-hf merge` joins the parts."
        )
    first = next((about for about in report["judges"].values() if "band" in about), None)
    if first is not None:
        everything = sum(about["decided"] for about in report["judges"].values())
        lines.append(
            f"A cascade: the embedded reader decided {first['decided']:,} of {everything:,} negatives by itself (no answer "
            f"below {first['band']['low']:g}, an answer from {first['band']['high']:g} on), no LLM read those."
        )
    elif any(about["kind"] == "reader" for about in report["judges"].values()):
        lines.append(
            "Judged by the embedded reader: no LLM read these passages. Good for trials; look at the evidence."
        )
    lines.append(
        f"Of 10 negatives {rates['relabel']:.2f} relabeled and {rates['filter']:.2f} filtered "
        f"(published for ARHN with a large LLM: {PUBLISHED['relabel']} and {PUBLISHED['filter']})."
    )
    lines.append(
        f"Rows: {rows['source']:,} in the source, {rows['sampled']:,} taken, {rows['judged']:,} judged, {rows['skipped']:,} skipped, "
        f"{rows['invalid']:,} invalid. Failed judgements: {failures['count']:,} of {failures['of']:,}."
    )
    for name, one in report["variants"].items():
        lines.append(
            f"{name}: {one['rows']:,} rows, {one['rows_changed']:,} changed, {one['rows_dropped']:,} dropped; "
            f"{one['positives']:,} positives, {one['negatives']:,} negatives."
        )
    lines += _cost(report)
    return Text("\n".join(lines))


def _cost(report: dict[str, Any]) -> list[str]:
    """Tokens per judged row, where the engine counts them (an LLM's): what a larger run will cost."""
    tokens, requests, rows = report["tokens"], report["requests"], report["rows"]["judged"]
    if not tokens["prompt"] or not rows:
        return []
    computed = tokens["prompt"] - tokens["prefix_cached"]
    line = (
        f"Tokens per row: {computed / rows:,.0f} of prompts computed, {tokens['prefix_cached'] / rows:,.0f} from the prefix cache, "
        f"{tokens['completion'] / rows:,.0f} generated ({requests['sent']:,} requests sent"
    )
    return [
        f"{line}, {requests['from_store']:,} came from the store for nothing)."
        if requests["from_store"]
        else f"{line})."
    ]


def _gates(gates: list[dict[str, Any]]) -> Text | None:
    broken = [gate for gate in gates if gate["ok"] is False]
    if not broken:
        return None
    lines = [f"Gate failed: {gate['name']} is {gate['value']:.4g}, limit {gate['limit']:.4g}." for gate in broken]
    return Text("\n".join(lines), style="bold red")


def _loading(report: dict[str, Any]) -> Text:
    folder = harmless(report["output"])
    lines = [f"Written to {folder} in {report['seconds']:.1f} s. Load it:"]
    lines += [f'  load_dataset("{folder}", "{name}", split="train")' for name in report["variants"]]
    if any(any((Path(report["output"]) / name).glob("*.jsonl")) for name in report["variants"]):
        lines.append(f'  load_dataset("parquet", data_files="{folder}/evidence/*.parquet", split="train")')
    else:
        lines.append(f'  load_dataset("{folder}", "evidence", split="train")')
    lines.append(f"Look at single decisions: arhn-hf show {folder} --action relabel")
    return Text("\n".join(lines))
