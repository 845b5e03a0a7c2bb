"""Command-line options generated from the configuration's fields, so that flags, YAML keys and docs cannot drift apart.

Values come from `--config` (click's default map), then `ARHN_…` environment variables, then the command line; the last wins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import Field
from typing import Any

import click

from arhn_hf.config import option_fields
from arhn_hf.config_file import read_yaml
from arhn_hf.rules import option_name

_OWN_GROUP = "General"


class GroupedCommand(click.Command):
    """A command whose help lists options under the headings of their groups, and examples at the end."""

    def __init__(self, *args: Any, examples: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See `click.Command.format_options`."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                groups.setdefault(getattr(parameter, "group", _OWN_GROUP), []).append(record)
        for name in sorted(groups, key=lambda group: group == _OWN_GROUP):
            with formatter.section(name):
                formatter.write_dl(groups[name])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples, as `huggingface_hub`'s commands have them."""
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples.strip().splitlines():
                    formatter.write(f"  {line.strip()}\n")


def config_option(item: Field[Any]) -> click.Option:
    """The click option of one configuration field."""
    meta = item.metadata
    names = [option_name(item.name)]
    default = None if item.default is None else item.default
    common: dict[str, Any] = {
        "help": meta["help"], "default": default, "show_default": default not in (None, (), False), "envvar": f"ARHN_{item.name.upper()}",
        "metavar": meta["metavar"], "multiple": meta["multiple"],
    }  # fmt: skip
    if meta["kind"] is bool:
        if default is True:
            names = [f"{names[0]}/--no-{names[0][2:]}"]
        else:
            common["is_flag"] = True
        common.pop("metavar")
    else:
        common["type"] = _type(meta)
    built = click.Option([*names, item.name], **common)
    built.group = meta["group"]  # type: ignore[attr-defined]
    return built


def _type(meta: Any) -> Any:
    if meta["choices"]:
        return click.Choice(meta["choices"])
    low, high = meta["minimum"], meta["maximum"]
    if meta["kind"] is int:
        return click.IntRange(low, high) if low is not None or high is not None else int
    if meta["kind"] is float:
        return click.FloatRange(low, high) if low is not None or high is not None else float
    return str


def with_config(names: Iterable[str] | None = None) -> Callable[[click.Command], click.Command]:
    """Add the options of these fields (all, if `None`) and `--config` to a command."""

    def decorate(command: click.Command) -> click.Command:
        chosen = option_fields()
        wanted = set(chosen if names is None else names)
        added = [config_option(item) for name, item in chosen.items() if name in wanted]
        for one in added if names is not None else ():
            one.show_default = False  # there, what is not given stays as the folder has it
        command.params += added
        command.params.append(
            click.Option(
                ["--config", "config_file"],
                is_eager=True,
                expose_value=False,
                callback=_load_config,
                metavar="FILE.yaml",
                help="Options from a YAML file; the command line wins.",
                envvar="ARHN_CONFIG",
            )  # fmt: skip
        )
        return command

    return decorate


def _load_config(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value:
        ctx.meta["arhn_hf.config"] = value
        ctx.default_map = {**(ctx.default_map or {}), **read_yaml(value)}


def given(ctx: click.Context, values: dict[str, Any]) -> dict[str, Any]:
    """Only the values that somebody gave: on the command line, in the environment or in a `--config` file."""
    source = click.core.ParameterSource
    told = (source.COMMANDLINE, source.ENVIRONMENT, source.DEFAULT_MAP)
    return {name: value for name, value in values.items() if ctx.get_parameter_source(name) in told}


def output_options(command: click.Command) -> click.Command:
    """Add `--json`, `--quiet` and `--verbose`."""
    command.params += [
        click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON object to stdout and nothing else."),
        click.Option(["--quiet", "-q"], is_flag=True, help="Print errors only."),
        click.Option(["--verbose", "-v"], is_flag=True, help="Say more; show tracebacks of unexpected errors."),
    ]
    return command
