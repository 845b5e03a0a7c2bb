"""`arhn-hf derive`: other rules over stored evidence."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import click

from arhn_hf.cli.options import GroupedCommand, given, output_options, with_config
from arhn_hf.cli.output import Output
from arhn_hf.config import gate_names
from arhn_hf.rules import Rules

# Options that change what a judge is asked have no place here.
OPTIONS = (
    *(item.name for item in fields(Rules) if item.name != "orders"), *gate_names(), "variants", "to", "negatives", "criterion",
    "filter_only", "corpus", "license", "card_template",
)  # fmt: skip
EXAMPLES = """
arhn-hf derive refined --output refined-strict --min-negatives 3 --short-rows backfill
arhn-hf derive refined --output filtered --no-relabel --variants combined
arhn-hf derive refined --output triplets --to triplet
"""


@output_options
@with_config(OPTIONS)
@click.command("derive", cls=GroupedCommand, examples=EXAMPLES)
@click.argument("directory", type=click.Path(exists=True, file_okay=False))
@click.option("--output", required=True, help="Folder to write.", metavar="DIR", envvar="ARHN_OUTPUT")
@click.option("--source", help="Where the source is now, if it moved.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    directory: str,
    output: str,
    source: str | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **values: Any,
) -> int:
    """Apply other rules to the evidence in DIRECTORY and write new variants, without a judge.

    What is not given stays as DIRECTORY has it.
    """
    from arhn_hf.cli.progress import Progress
    from arhn_hf.cli.summary import refine_summary
    from arhn_hf.deriving import derive
    from arhn_hf.monitor import Monitor
    from arhn_hf.publishing.report import public

    sink = Output("json" if as_json else "quiet" if quiet else "human", verbose)
    options = given(ctx, values)
    if source is not None:
        options["source"] = source
    with Progress(sink) as progress:
        result = derive(directory, output, monitor=Monitor(watch=progress.watch), **options)
    sink.result(public(result.report), refine_summary(result.report))
    return result.exit_code
