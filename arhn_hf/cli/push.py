"""`arhn-hf push`: publish a finished folder."""

from __future__ import annotations

from typing import Any

import click

from arhn_hf.cli.options import GroupedCommand, given, output_options, with_config
from arhn_hf.cli.output import Output, harmless

OPTIONS = ("private", "create_pr", "tag", "commit_message", "license", "into_existing", "corpus")
EXAMPLES = """
arhn-hf push refined me/my-dataset-arhn --license cc-by-sa-4.0
arhn-hf push refined me/my-dataset-arhn --private --tag v1
arhn-hf push refined my-org/my-dataset-arhn --create-pr
"""


@output_options
@with_config(OPTIONS)
@click.command("push", cls=GroupedCommand, examples=EXAMPLES)
@click.argument("directory", type=click.Path(exists=True, file_okay=False))
@click.argument("repo_id")
@click.option("--revision", help="Branch to commit to (made if it does not exist). [default: main]", metavar="BRANCH")
@click.option("--source", help="Where the source is now, if it moved.")
@click.pass_context
def command(
    ctx: click.Context, /, directory: str, repo_id: str, revision: str | None, source: str | None, as_json: bool, quiet: bool,
    verbose: bool, **values: Any,
) -> int:  # fmt: skip
    """Publish DIRECTORY to the Hub dataset REPO_ID as one commit, after proving it.

    The repository's readers see all of it or none of it. Its card is merged with the one that is there; files that arhn-hf did not
    write are never touched. The token is the one of `hf auth login`, or HF_TOKEN.
    """
    from arhn_hf.cli.progress import Progress
    from arhn_hf.cli.summary import push_summary
    from arhn_hf.monitor import Monitor
    from arhn_hf.pushing import push
    from arhn_hf.report_head import head

    output = Output("json" if as_json else "quiet" if quiet else "human", verbose)
    with Progress(output) as progress:
        done = push(
            directory,
            repo_id,
            monitor=Monitor(watch=progress.watch),
            source=source,
            revision=revision,
            **given(ctx, values),
        )
    report = {**head("push", "done", 0), "output": harmless(directory), "push": done.report()}
    output.result(report, [push_summary(done)])
    return 0
