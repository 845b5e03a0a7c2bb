"""`arhn-hf check`: what people put in CI."""

from __future__ import annotations

from typing import Any

import click

from arhn_hf.cli.options import GroupedCommand, given, output_options, with_config
from arhn_hf.cli.output import Output, harmless
from arhn_hf.config import gate_names

EXAMPLES = """
arhn-hf check refined
arhn-hf check refined --max-failures 0.01 --max-relabel 3 --min-rows 50
arhn-hf check refined --source examples/hard-negatives --json
arhn-hf check me/my-dataset-arhn --revision v1
"""


@output_options
@with_config((*gate_names(), "corpus"))
@click.command("check", cls=GroupedCommand, examples=EXAMPLES)
@click.argument("directory", metavar="DIRECTORY|REPO_ID")
@click.option("--revision", help="Branch, tag or commit of a Hub dataset.")
@click.option("--source", help="Where the source is now, if it moved.")
@click.pass_context
def command(
    ctx: click.Context, /, directory: str, revision: str | None, source: str | None, as_json: bool, quiet: bool, verbose: bool,
    **values: Any,
) -> int:  # fmt: skip
    """Prove the promises and gates of a folder, or of a Hub dataset that arhn-hf published; exit 3 if one fails.

    Everything is derived again from the source and the evidence and compared with the files, value by value. The gates
    are those that it records, under the limits given here. The source of a Hub dataset is the revision that its lineage names.
    """
    from rich.table import Table

    from arhn_hf.checks import check
    from arhn_hf.cli.progress import Progress
    from arhn_hf.monitor import Monitor

    output = Output("json" if as_json else "quiet" if quiet else "human", verbose)
    with Progress(output) as progress:
        report = check(
            directory, monitor=Monitor(watch=progress.watch), revision=revision, source=source, **given(ctx, values)
        )
    table = Table(title=f"{harmless(directory)}: promises and gates", title_justify="left")
    for name in ("", "what", "checked", "found"):
        table.add_column(name, justify="right" if name == "checked" else "left")
    words = {True: "ok", False: "BROKEN", None: "not visible from outside"}
    for promise in report["promises"]:
        found = harmless("; ".join(promise["examples"]))
        table.add_row(words[promise["ok"]], promise["name"].replace("_", " "), f"{promise['checked']:,}", found)
    said = {True: "ok", False: "FAILED", None: "not judged: a part"}
    for gate in report["gates"]:
        table.add_row(said[gate["ok"]], f"gate {gate['name']} {gate['limit']:g}", "", f"{gate['value']:.4g}")
    output.result(report, [table])
    return int(report["exit_code"])
