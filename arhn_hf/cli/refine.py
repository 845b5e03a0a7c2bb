"""`arhn-hf refine`: the command the project is about."""

from __future__ import annotations

from typing import Any

import click

from arhn_hf.cli.options import GroupedCommand, given, output_options, with_config
from arhn_hf.cli.output import Output

EXAMPLES = """
arhn-hf refine examples/hard-negatives --output refined
arhn-hf refine rlhn/default-100K --sample 200 --output refined
arhn-hf refine train.jsonl --to triplet --variants combined
arhn-hf refine my-data --config run.yaml --criterion my-claims=claim
arhn-hf refine me/my-dataset --judge vllm --model Qwen/Qwen3-32B --push me/my-dataset-arhn
"""


@output_options
@with_config()
@click.command("refine", cls=GroupedCommand, examples=EXAMPLES)
@click.argument("source", required=False)
@click.pass_context
def command(ctx: click.Context, /, as_json: bool, quiet: bool, verbose: bool, **values: Any) -> int:
    """Refine SOURCE: find false and ambiguous negatives, write cleaned variants with evidence for every passage.

    SOURCE is a Hub dataset id, a folder that `load_dataset` reads, or a jsonl or parquet file with queries, positives and hard
    negatives. The same command resumes: every answer is kept, and none is asked for twice.
    """
    from arhn_hf.cli.progress import Progress
    from arhn_hf.cli.summary import push_summary, refine_summary
    from arhn_hf.config import RunConfig
    from arhn_hf.monitor import Monitor
    from arhn_hf.publishing.report import public
    from arhn_hf.pushing import refine_and_push
    from arhn_hf.records import UsageError

    output = Output("json" if as_json else "quiet" if quiet else "human", verbose)
    config = RunConfig.from_mapping(given(ctx, values))
    if not config.source:  # said before an output folder is made
        raise UsageError("no source given", hint="Name a Hub dataset, a folder or a file")
    with Progress(output) as progress:
        monitor = Monitor(watch=progress.watch)
        result = refine_and_push(config, monitor)
        progress.watch(monitor)
    summary = refine_summary(result.report)
    if result.push is not None:
        summary.append(push_summary(result.push))
    output.result(public(result.report), summary)
    return result.exit_code
