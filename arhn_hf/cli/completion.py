"""`arhn-hf completion`: shell completion, as click makes it."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from arhn_hf.cli.options import GroupedCommand


@click.command("completion", cls=GroupedCommand, examples='eval "$(arhn-hf completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> int:
    """Print the completion script of SHELL; evaluate it in the shell's start-up file."""
    from arhn_hf.cli.main import main

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"no completion for {shell}")
    click.echo(found(main, {}, "arhn-hf", "_ARHN_HF_COMPLETE").source())
    return 0
