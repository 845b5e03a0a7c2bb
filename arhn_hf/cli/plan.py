"""`arhn-hf plan`: look before you spend."""

from __future__ import annotations

from typing import Any

import click

from arhn_hf.cli.options import GroupedCommand, given, output_options, with_config
from arhn_hf.cli.output import Output, harmless

EXAMPLES = """
arhn-hf plan examples/hard-negatives
arhn-hf plan rlhn/default-680K --sample 10000 --json
arhn-hf plan examples/hard-negatives --probe 40
"""


@output_options
@with_config()
@click.command("plan", cls=GroupedCommand, examples=EXAMPLES)
@click.argument("source", required=False)
@click.option(
    "--probe", type=click.IntRange(1), metavar="N", help="Send about N real requests and say what the whole takes."
)
@click.pass_context
def command(ctx: click.Context, /, probe: int | None, as_json: bool, quiet: bool, verbose: bool, **values: Any) -> int:
    """Say what refining SOURCE would find and cost; takes the options of `refine` and sends nothing (but for --probe)."""
    from rich.table import Table
    from rich.text import Text

    from arhn_hf.cli.progress import Progress
    from arhn_hf.config import RunConfig
    from arhn_hf.monitor import Monitor
    from arhn_hf.planning import plan

    output = Output("json" if as_json else "quiet" if quiet else "human", verbose)
    config = RunConfig.from_mapping(given(ctx, values))
    with Progress(output) as progress:
        report = plan(config, Monitor(watch=progress.watch), probe)
    facts = Table(title=f"Plan for {harmless(report['source']['id'])}", title_justify="left", show_header=False)
    for name, value in _facts(report):
        facts.add_row(name, harmless(value))
    subsets = Table(title="Criteria", title_justify="left")
    for name in ("subset", "rows", "criterion", ""):
        subsets.add_column(name, justify="right" if name == "rows" else "left")
    for subset, about in report["subsets"].items():
        note = (
            "left as it is"
            if about["criterion"] == "skip"
            else "filter only, no relabeling"
            if about["filter_only"]
            else ""
        )
        subsets.add_row(harmless(subset or "(none)"), f"{about['rows']:,}", about["criterion"], note)
    embedded = config.judge == "reader" and not config.model
    tail = [Text("The embedded reader judges: no LLM reads these passages.")] if embedded else []
    output.result(report, [facts, subsets, *tail])
    return 0


def _facts(report: dict[str, Any]) -> list[tuple[str, str]]:
    rows, passages, first, second = report["rows"], report["passages"], report["stage_1"], report["stage_2"]
    duplicates = (
        ", ".join(f"{n:,} {reason.replace('_', ' ')}" for reason, n in sorted(report["duplicates"].items())) or "none"
    )
    writes = report["writes"]
    probe = report["probe"]
    probed = []
    if probe:
        hours, speed = probe["hours"], probe["rows_per_hour"]
        span = f" (95 %: {hours['low']:.2f} to {hours['high']:.2f})" if hours["low"] is not None else ""
        said = f"{probe['requests']} requests sent: {speed['mean']:,.0f} rows/hour, {hours['mean']:.2f} hours for all{span}"
        probed = [("probe", said)]
    return [
        *probed,
        ("schema", f"{report['source']['format']} ({', '.join(report['columns'])})"),
        ("writes", f"{', '.join(writes['variants'])} as {writes['format']}, short rows: {writes['short_rows']}"),
        ("rows", f"{rows['source']:,} in the source, {rows['judged']:,} judged together by query"),
        ("invalid rows", f"{rows['invalid']:,}" + (f" ({'; '.join(report['invalid'])})" if report["invalid"] else "")),
        ("not English", f"{rows['not_english']:,} rows"),
        (
            "passages",
            f"{passages['positives']:,} positives, {passages['negatives']:,} negatives; "
            f"{passages['unique_pairs']:,} different pairs of query and passage",
        ),
        ("leave unjudged", duplicates),
        ("near-duplicates", f"{report['near_duplicate_clusters']:,} clusters among the negatives of a row"),
        (
            "stage 1",
            f"{_number(first['requests'])} different requests, {_number(first['tokens'])} tokens ({first['tokenizer']})",
        ),
        *_cascade(report["cascade"]),
        ("stage 2", f"{_number(second['requests'])} requests ({second['note']})"),
        ("not wholly seen", f"{report['truncated']:,} passages"),
    ]


def _cascade(found: dict[str, Any] | None) -> list[tuple[str, str]]:
    if found is None:
        return []
    if found["share"]["mean"] is None:
        return [("cascade", "the reader would read no passage first")]
    share = found["share"]
    span = f" (95 %: {share['low']:.0%} to {share['high']:.0%})" if share["low"] is not None else ""
    said = f"about {share['mean']:.0%} of the negatives would go to the judge{span}; {found['read']} of {found['rows']} rows read"
    return [("cascade", said)]


def _number(estimate: dict[str, Any]) -> str:
    if estimate["low"] is None:
        return f"{estimate['total']:,}"
    return f"about {estimate['total']:,} (95 %: {estimate['low']:,} to {estimate['high']:,})"
