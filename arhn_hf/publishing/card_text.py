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
AUDIT = ("<!-- arhn-hf: audit from here -->", "<!-- arhn-hf: audit to here -->")
"""Marker lines of the section that `arhn-hf audit --card` writes."""
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


def edit_head(head: str, values: dict[str, Any], *, without: tuple[str, ...] = ()) -> str:
    """The head with these keys set, replaced where they stand, else added at the end; the keys `without` are taken out.

    YAML that cannot be taken apart line by line (anchors across keys, for one) is written anew with all its keys, under its comments.
    """
    there = read_head(head)
    wanted = {key: value for key, value in {**there, **values}.items() if key not in without}
    changed = {key: value for key, value in values.items() if key not in there or there[key] != value}
    edited = _replaced(head, changed, without)
    try:
        if (yaml.safe_load(edited) or {}) == wanted:
            return edited
    except yaml.YAMLError:
        pass
    comments = "".join(f"{line}\n" for line in head.splitlines() if line.lstrip().startswith("#"))
    return comments + _dumped(wanted)


def _replaced(head: str, values: dict[str, Any], without: tuple[str, ...]) -> str:
    """Line by line: a top-level key's block is its line and what follows up to the next top-level key or comment."""
    lines: list[str] = []
    skipping = False
    left = dict(values)
    for line in head.rstrip("\n").split("\n") if head else ():
        match = _KEY.match(line)
        key = next((group for group in match.groups() if group is not None), None) if match else None
        if key is not None:
            skipping = key in values or key in without
            if key in left:
                lines.append(_dumped({key: left.pop(key)}).rstrip("\n"))
        elif line.startswith("#"):
            skipping = False
        if not skipping:
            lines.append(line)
    text = "\n".join(lines) + "\n" if lines else ""
    return text + (_dumped(left) if left else "")


def _dumped(values: dict[str, Any]) -> str:
    """YAML that reads as these values; escaped where PyYAML writes a character (U+0085) that it does not read back."""
    text = str(yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120))
    return text if yaml.safe_load(text) == values else str(yaml.safe_dump(values, sort_keys=False, width=120))


def join_card(head: str, body: str) -> str:
    """A whole card from its halves."""
    return f"---\n{head.rstrip()}\n---\n\n{body.lstrip()}" if head.strip() else body


def outside(body: str, marks: tuple[str, str] = (BEGIN, END)) -> tuple[str, str] | None:
    """What stands before and after a section of ours; `None` if the text has no such section."""
    before, begun, rest = body.partition(marks[0])
    if not begun or marks[1] not in rest:
        return None
    return before, rest.split(marks[1], 1)[1]


def section_of(body: str, marks: tuple[str, str] = (BEGIN, END)) -> str:
    """A section of ours, its marker lines included; empty if there is none."""
    around = outside(body, marks)
    return "" if around is None else body[len(around[0]) : len(body) - len(around[1])]


def with_section(body: str, section: str) -> str:
    """The text with our generated section in its place, or first where there was none."""
    around = outside(body)
    if around is not None:
        return around[0] + section + around[1]
    return f"{section}\n\n{body.lstrip()}" if body.strip() else f"{section}\n"


def with_audit(body: str, section: str) -> str:
    """The text with the audit's section in its place, or right after the generated one, or last."""
    around = outside(body, AUDIT)
    if around is not None:
        return around[0] + section + around[1]
    generated = section_of(body)
    before, after = outside(body) or (body, "")
    return f"{before}{generated}\n\n{section}\n{after.lstrip()}" if generated else f"{body.rstrip()}\n\n{section}\n"


def without_stale_audit(body: str, run_id: str) -> str:
    """The text without an audit of another run: its figures would stand under a judge they do not speak of."""
    section = section_of(body, AUDIT)
    return body if not section or f"`{run_id}`" in section else without_audit(body)


def without_audit(body: str) -> str:
    """The text without the audit's section."""
    around = outside(body, AUDIT)
    return body if around is None else f"{around[0].rstrip()}\n{around[1]}"
