"""Finds the line of a JSON file that Arrow refused, and says why.

Arrow's own messages count rows within a block of the file, and some damage (invalid UTF-8, a repeated key) it lets
through or repairs silently. This reads the file again, slowly and strictly, but only after something went wrong.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

READ_ERRORS = (OSError, EOFError, zlib.error)
"""What reading a damaged or compressed file raises."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_BLANKS = b"\xef\xbb\xbf \t\r\n"  # a byte order mark is blank, too
_BLANK = object()


class Fault(NamedTuple):
    """What is wrong in a JSON file: a line number from 1 (in a file that is one list: the item's), and why."""

    line: int
    why: str
    unit: str = "line"


class _Refused(Exception):
    """Carries the reason out of the depths of one value."""


def read_otherwise(path: Path) -> bool:
    """Whether the JSON loader reads this file by other ways than Arrow's, which bend what Arrow would refuse.

    A list of objects goes through another parser; a file of one value that Arrow refuses is read by pandas.
    """
    with _open(path) as file:
        start = file.read(64).lstrip(_BLANKS)
        file.seek(0)
        if start.startswith(b"["):
            return True
        values = (line for line in file if line.strip(_BLANKS))
        next(values, None)
        return next(values, None) is None


def first_fault(path: Path) -> Fault | None:
    """The first line that is not UTF-8, not JSON, no object, or of other types than those before; `None`: all are well.

    Raises:
        OSError, EOFError, zlib.error: the file cannot be read (a broken archive, for one).
    """
    seen: dict[str, tuple[str, int]] = {}
    with _open(path) as file:
        start = file.read(64).lstrip(_BLANKS)
        file.seek(0)
        lines = _list_items(file) if start.startswith(b"[") else enumerate(file, 1)
        unit = "item" if start.startswith(b"[") else "line"
        number = 0
        try:
            for number, line in lines:
                value = _parse(line, first=number == 1) if isinstance(line, bytes) else line
                if value is not _BLANK:
                    _check_types(value, "", seen, number)
        except _Refused as refused:
            return Fault(max(number, 1), str(refused), unit if number else "line")
    return None


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _list_items(file: IO[bytes]) -> Iterator[tuple[int, Any]]:
    """The items of a file that holds one JSON list."""
    yield from enumerate(_parse(file.read(), first=True), 1)


def _parse(line: bytes, *, first: bool) -> Any:
    try:
        text = line.decode("utf-8-sig" if first else "utf-8").rstrip(" \t\r\n")
    except UnicodeDecodeError as error:
        raise _Refused(f"not UTF-8 (byte 0x{line[error.start]:02x} at byte {error.start + 1})") from None
    if not text:
        return _BLANK
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        cut = error.pos >= len(text) or error.msg.startswith("Unterminated")
        place = f"character {error.colno}" + (f" of line {error.lineno}" if error.lineno > 1 else "")
        kind = "JSON that is cut off" if cut else "not JSON"
        raise _Refused(f"{kind} ({error.msg.lower()} at {place})") from None
    except RecursionError:
        raise _Refused("JSON nested too deeply") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Refused(f"the key {twice!r} appears twice in one object")
    return made


def _check_types(value: Any, path: str, seen: dict[str, tuple[str, int]], line: int) -> None:
    """Compares a value's kind with the first of its kind at the same path: Arrow's columns have one type."""
    kind = _kind(value)
    if not path and kind != "an object":
        raise _Refused(f"{kind} instead of an object")
    if kind == "null":
        return
    first, where = seen.setdefault(path, (kind, line))
    if first != kind:
        raise _Refused(f"mixed types: {path} is {kind}, but {first} in line {where}")
    if kind == "a string" and _SURROGATE.search(value):
        raise _Refused(f"{path} holds a lone surrogate (\\ud800 to \\udfff without its partner), which is no text")
    if kind == "a list":
        for item in value:
            _check_types(item, f"{path}[]", seen, line)
    elif kind == "an object":
        for name, item in value.items():
            if _SURROGATE.search(name):
                raise _Refused("a key holds a lone surrogate, which is no text")
            _check_types(item, f"{path}.{name}" if path else name, seen, line)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a truth value"
    for kind, name in ((str, "a string"), (list, "a list"), (dict, "an object")):
        if isinstance(value, kind):
            return name
    return "a number"
