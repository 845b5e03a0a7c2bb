"""The run's log, `.arhn/run.jsonl`: one JSON object a line, and no half line that stays.

A line goes into the file by one system call, and one that did not fit (a full disk) is taken back. What a killed run may
have left behind half written goes when the next one begins. Who follows the file as it grows may see the beginning of a line
an instant before its end (a system call that crosses a page is seen page by page): a line ends with its line break.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

_TAIL = 1 << 16  # bytes at the end of an old log in which the last line must end


def append_line(path: Path, value: dict[str, Any]) -> None:
    """Append one object. Raises `OSError` for a full disk, and then the file is as it was."""
    line = (json.dumps(value, default=str) + "\n").encode()
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        before = os.fstat(file).st_size
        rest = memoryview(line)
        try:
            while rest := rest[os.write(file, rest) :]:  # a second time only where the disk is full: to hear it said
                pass
        except OSError:
            os.ftruncate(file, before)
            raise
    finally:
        os.close(file)


def drop_half_line(path: Path) -> None:
    """Take away what stands after the last whole line of an old log, if anything."""
    try:
        with path.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            start = max(0, size - _TAIL)
            file.seek(start)
            tail = file.read()
            if tail and not tail.endswith(b"\n"):
                file.truncate(start + tail.rfind(b"\n") + 1)
    except FileNotFoundError:
        return
