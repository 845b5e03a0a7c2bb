"""The command line's front door: commands are imported only when they are called, so that `--help` is quick.

Every error ends here and leaves as one line: 1 the work failed, 2 usage, 3 a gate, 130/143 interrupted.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
import traceback
from typing import Any, NoReturn

import click

from arhn_hf import __version__
from arhn_hf.cli.output import Output
from arhn_hf.monitor import ABANDONED
from arhn_hf.records import ArhnError, UsageError, file_error

COMMANDS = {
    "refine": "Refine a dataset: write its combined, relabel and filter variants with evidence.",
    "plan": "Say what a run would find and cost, before anything is spent.",
    "merge": "Join the parts of a run that was refined with --shard.",
    "derive": "Apply other rules to stored evidence, without a judge.",
    "audit": "Measure a judge against labels, or against people's verdicts.",
    "push": "Publish a folder to the Hub, as one commit.",
    "check": "Prove the promises and gates of a folder or a Hub dataset; exit 3 if one fails.",
    "try": "Send one row through a judge and print everything: to choose a model, to write a prompt.",
    "show": "Print decided rows with the snippet highlighted in its passage.",
    "completion": "Print the shell completion script for bash, zsh or fish.",
}


class Commands(click.Group):
    """Commands by name; each lives in a module of its own."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """See `click.Group.list_commands`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """See `click.Group.get_command`."""
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = importlib.import_module(f"arhn_hf.cli.{cmd_name}").command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="arhn-hf")
def main() -> None:
    """Clean the hard negatives of a retrieval training set (ARHN: relabel false negatives, filter ambiguous ones)."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, handled as Ctrl-C is."""


def _terminate(number: int, frame: Any) -> NoReturn:
    raise Terminated


def run(arguments: list[str] | None = None) -> NoReturn:
    """Entry point of `arhn-hf`: runs a command and exits with its code."""
    words = sys.argv[1:] if arguments is None else arguments
    signal.signal(signal.SIGTERM, _terminate)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal of another encoding shows a question mark, not a traceback
            stream.reconfigure(errors="replace")
    command = next((word for word in words if word in COMMANDS), "arhn-hf")
    output = Output("json" if "--json" in words else "quiet" if {"-q", "--quiet"} & set(words) else "human")
    code = 0
    try:
        if os.environ.get("_ARHN_HF_COMPLETE"):
            main.main(prog_name="arhn-hf", complete_var="_ARHN_HF_COMPLETE")
        code = main.main(args=words, prog_name="arhn-hf", standalone_mode=False) or 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = 2
    except click.ClickException as error:
        output.failure(command, _usage(error, command))
        code = 2
    except ArhnError as error:
        output.failure(command, error)
        code = error.exit_code
    except (KeyboardInterrupt, click.exceptions.Abort) as error:  # click turns the one into the other
        code = 143 if isinstance(error, Terminated) or isinstance(error.__cause__, Terminated) else 130
        notes = getattr(error, "__notes__", None) or getattr(error.__cause__, "__notes__", [])
        hints = [*notes, *(["Run the same command again: it goes on where it stopped"] if command == "refine" else [])]
        stopped = ArhnError("interrupted", hint=". ".join(hints) or None)
        stopped.exit_code = code
        output.failure(command, stopped)
    except BrokenPipeError:
        sys.stderr.close()
        code = 1
    except Exception as error:  # noqa: BLE001 - the last line of defence: said in one line, never passed for success
        if {"-v", "--verbose"} & set(words):
            traceback.print_exc()
        output.failure(command, _unexpected(error))
        code = 1
    if ABANDONED:
        _leave(code)
    sys.exit(code)


def _leave(code: int) -> NoReturn:
    """End at once although threads or children of a hung engine are left, for which Python would wait for ever."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(code)


def _usage(error: click.ClickException, command: str) -> UsageError:
    """What click found wrong, with the option, environment variable or `--config` key that holds it."""
    message, where = error.format_message(), None
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    if isinstance(error, click.BadParameter) and not isinstance(error, click.MissingParameter) and ctx and error.param:
        message, where = error.message, error.param.get_error_hint(ctx).split(" / ")[0].strip("'\"")
        source = ctx.get_parameter_source(error.param.name or "")
        if source is click.core.ParameterSource.ENVIRONMENT:
            where = str(error.param.envvar)
        elif source is click.core.ParameterSource.DEFAULT_MAP:
            where = f"{ctx.meta.get('arhn_hf.config')}, {error.param.name}"
    hint = f"Try '{ctx.command_path if ctx else f'arhn-hf {command}'} --help'"
    return UsageError(" ".join(message.split()).rstrip("."), where=where, hint=hint)


def _unexpected(error: Exception) -> ArhnError:
    if isinstance(error, OSError):
        return file_error(error)
    words = " ".join(str(error).split())
    return ArhnError(
        f"unexpected {error.__class__.__name__}: {words}"[:500],
        hint="Run with -v for the traceback, and please report it",
    )


if __name__ == "__main__":
    run()
