"""A card's two halves, the YAML head and the text, changed without touching what a person wrote in either.

Our text stands between two marker lines. In the head, keys are replaced one by one where they stand, so that comments, order and
the keys of others stay as they are.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from arhn_hf.records import ArhnError

BEGIN, END = "<!-- arhn-hf: generated from here -->", "<!-- arhn-hf: generated to here -->"
_KEY = re.compile(r"^(?:'([^']*)'|\"([^\"]*)\"|([^\s#'\"\[\]{}&*!|>%@`-][^:#]*?))\s*:(?=\s|$)")


def split_card(text: str) -> tuple[str, str]:
    """The YAML head (without its `---` lines, empty if there is none) and the text."""
    match = re.match(r"\A\ufeff?---[ \t]*\r?\n(.*?)(?:\r?\n)?^---[ \t]*(?:\r?\n|\Z)", text, re.DOTALL | re.MULTILINE)
    return (match.group(1), text[match.end() :]) if match else ("", text)


def read_head(head: str) -> dict[str, Any]:
    """The head's keys and values. Raises `ArhnError` for YAML that cannot be read or is no mapping."""
    try:
        found = yaml.safe_load(head)
    except yaml.YAMLError as error:
        raise ArhnError(
            "the card's YAML cannot be read", where="README.md", hint="Repair it or move it away"
        ) from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ArhnError("the card's YAML is not a mapping", where="README.md", hint="Repair it or move it away")
    return found


def edit_head(head: str, values: dict[str, Any]) -> str:
    """The head with these keys set: replaced where they stand, else added at the end.

    YAML that cannot be taken apart line by line (anchors across keys, for one) is written anew with all its keys.
    """
    wanted = {**read_head(head), **values}
    changed = {key: value for key, value in values.items() if read_head(head).get(key, _Missing) != value}
    edited = _replaced(head, changed)
    try:
        if yaml.safe_load(edited) == wanted:
            return edited
    except yaml.YAMLError:
        pass
    return _dumped(wanted)


def _replaced(head: str, values: dict[str, Any]) -> str:
    """Line by line: a top-level key's block is its line and what follows up to the next top-level key or comment."""
    lines: list[str] = []
    skipping = False
    left = dict(values)
    for line in head.splitlines():
        match = _KEY.match(line)
        key = next((group for group in match.groups() if group is not None), None) if match else None
        if key is not None:
            skipping = key in values
            if key in left:
                lines.append(_dumped({key: left.pop(key)}).rstrip("\n"))
        elif line.startswith("#"):
            skipping = False
        if not skipping:
            lines.append(line)
    text = "\n".join(lines) + "\n" if lines else ""
    return text + (_dumped(left) if left else "")


def _dumped(values: dict[str, Any]) -> str:
    return str(yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120))


def join_card(head: str, body: str) -> str:
    """A whole card from its halves."""
    return f"---\n{head.rstrip()}\n---\n\n{body.lstrip()}" if head.strip() else body


def outside(body: str) -> tuple[str, str] | None:
    """What stands before and after our section; `None` if the text has no section of ours."""
    before, begun, rest = body.partition(BEGIN)
    if not begun or END not in rest:
        return None
    return before, rest.split(END, 1)[1]


def section_of(body: str) -> str:
    """Our section, its marker lines included; empty if there is none."""
    around = outside(body)
    return "" if around is None else body[len(around[0]) : len(body) - len(around[1])]


def with_section(body: str, section: str) -> str:
    """The text with our section in its place, or first where there was none."""
    around = outside(body)
    if around is not None:
        return around[0] + section + around[1]
    return f"{section}\n\n{body.lstrip()}" if body.strip() else f"{section}\n"


class _Missing:
    """Equal to no value of a card."""
