"""Write `docs/cli.md` from the commands themselves: `python docs/generate_cli.py`.

With `--check` nothing is written: exit 1 if the page is stale.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from arhn_hf.cli.main import COMMANDS, main

TARGET = Path(__file__).parent / "cli.md"
HEAD = """<!-- Written by `python docs/generate_cli.py` from the commands themselves. Change those, not this page. -->
# The command line

{commands}

**Streams.** The result goes to stdout, progress and notices to stderr. With `--json` stdout holds one JSON object and
nothing else, also when the command fails ([its keys](evidence.md#the---json-objects)); with `--quiet` only errors are
said. An error is one line: where, what, what to do.

**Exit codes**

| code | meaning |
| ---: | --- |
| 0 | done |
| 1 | the work failed; what was judged is kept, the same command goes on |
| 2 | wrong usage, configuration or schema, said before anything is judged |
| 3 | a quality gate or a promise failed; the folder is written all the same |
| 130, 143 | interrupted by Ctrl-C, by SIGTERM; the same command goes on |

**Where options come from.** A YAML file (`--config`), then environment variables, then the command line: the later
wins. YAML keys are the options' names without the leading dashes (`max-failures` and `max_failures` are the same), and
`source` for SOURCE. An option that may be given several times is a list; `criterion` may also be a mapping:

```yaml
source: rlhn/default-100K
sample: 2000
relabel: false
criterion:
  fever: claim
  arguana: skip
filter-only: [hotpotqa]
```

In the environment several values are separated by spaces: `ARHN_FILTER_ONLY="fever hotpotqa"`.
"""


def page() -> str:
    """The whole page."""
    lines = "\n".join(f"- [`arhn-hf {name}`](#arhn-hf-{name}): {about}" for name, about in COMMANDS.items())
    with click.Context(main, info_name="arhn-hf") as parent:
        sections = [_section(name, parent) for name in COMMANDS]
    return HEAD.format(commands=lines) + "".join(sections)


def _section(name: str, parent: click.Context) -> str:
    command = main.get_command(parent, name)
    if command is None:
        raise LookupError(name)
    with click.Context(command, info_name=name, parent=parent) as ctx:
        usage = " ".join(command.collect_usage_pieces(ctx))
        lines = [
            "",
            f"## arhn-hf {name}",
            "",
            "```",
            f"arhn-hf {name} {usage}",
            "```",
            "",
            " ".join((command.help or "").split()),
            "",
        ]
        groups: dict[str, list[click.Option]] = {}
        for parameter in command.get_params(ctx):
            if isinstance(parameter, click.Option):
                groups.setdefault(getattr(parameter, "group", "General"), []).append(parameter)
    for group in sorted(groups, key=lambda one: one == "General"):
        lines += [f"**{group}**", "", "| option | value | default | environment | |", "| --- | --- | --- | --- | --- |"]
        lines += [_option(option) for option in groups[group]]
        lines.append("")
    examples = getattr(command, "examples", "").strip().splitlines()
    return "\n".join([*lines, "Examples:", "", "```bash", *(line.strip() for line in examples), "```", ""])


def _option(option: click.Option) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    variable = f"`{option.envvar}`" if isinstance(option.envvar, str) else ""
    cells = (names, _value(option), _default(option), variable, " ".join((option.help or "").split()))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _value(option: click.Option) -> str:
    kind: Any = option.type
    if option.is_flag:
        return ""
    if isinstance(kind, click.Choice):
        return ", ".join(f"`{choice}`" for choice in kind.choices)
    many = ", several times" if option.multiple else ""
    if isinstance(kind, click.IntRange | click.FloatRange):
        word = "whole number" if isinstance(kind, click.IntRange) else "number"
        limits = [f"at least {kind.min}"] * (kind.min is not None) + [f"at most {kind.max}"] * (kind.max is not None)
        return ", ".join([word, *limits]) + many
    return f"`{option.metavar or 'TEXT'}`{many}"


def _default(option: click.Option) -> str:
    if not option.show_default or option.default in (None, ()):
        return ""
    if option.secondary_opts:
        return f"`{option.opts[0] if option.default else option.secondary_opts[0]}`"
    return f"`{option.default}`"


def run(words: list[str]) -> int:
    """Write the page, or, with `--check`, compare it."""
    text = page()
    if "--check" not in words:
        TARGET.write_text(text, encoding="utf-8")
        return 0
    if TARGET.is_file() and TARGET.read_text(encoding="utf-8") == text:
        return 0
    print("docs/cli.md is stale: run `python docs/generate_cli.py`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
