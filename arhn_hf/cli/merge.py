"""`arhn-hf merge`: join the parts of a run."""

from __future__ import annotations

from typing import Any

import click

from arhn_hf.cli.options import GroupedCommand, given, output_options, with_config
from arhn_hf.cli.output import Output
from arhn_hf.config import gate_names

# What the parts were judged and decided by stays; gates, the card and where things are now concern the whole.
OPTIONS = (*gate_names(), "corpus", "license", "card_template")
EXAMPLES = """
arhn-hf merge parts/1 parts/2 parts/3 --output refined
arhn-hf merge parts/* --output refined --max-failures 0.01 --license cc-by-4.0
"""


@output_options
@with_config(OPTIONS)
@click.command("merge", cls=GroupedCommand, examples=EXAMPLES)
@click.argument(
    "directories", nargs=-1, required=True, metavar="DIRECTORY...", type=click.Path(exists=True, file_okay=False)
)
@click.option("--output", required=True, help="Folder to write.", metavar="DIR", envvar="ARHN_OUTPUT")
@click.option("--source", help="Where the source is now, if it moved.")
@click.pass_context
def command(
    ctx: click.Context, /, directories: tuple[str, ...], output: str, source: str | None, as_json: bool, quiet: bool, verbose: bool,
    **values: Any,
) -> int:  # fmt: skip
    """Join the parts that `arhn-hf refine --shard` wrote, in any order, into the folder that one run would have written.

    All parts of one run are needed, each once. Nothing is judged again; what looks past a row (subsets left untouched, short rows,
    gates) is decided over the whole, and a failed gate exits with 3 as in `refine`.
    """
    from arhn_hf.cli.progress import Progress
    from arhn_hf.cli.summary import refine_summary
    from arhn_hf.merging import merge
    from arhn_hf.monitor import Monitor
    from arhn_hf.publishing.report import public

    sink = Output("json" if as_json else "quiet" if quiet else "human", verbose)
    options = given(ctx, values)
    if source is not None:
        options["source"] = source
    with Progress(sink) as progress:
        result = merge(directories, output, monitor=Monitor(watch=progress.watch), **options)
    sink.result(public(result.report), refine_summary(result.report))
    return result.exit_code
