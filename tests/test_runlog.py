"""The run's log: whole lines only, whoever reads, whatever broke off."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from arhn_hf.runlog import append_line, drop_half_line


def test_lines_follow_one_another(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    for number in range(3):
        append_line(path, {"number": number, "text": "é\n"})
    assert [json.loads(line)["number"] for line in path.read_text().splitlines()] == [0, 1, 2]
    assert path.read_bytes().endswith(b"\n")


def test_a_reader_who_follows_gets_every_line_once_and_in_order(tmp_path: Path) -> None:
    """As every program that follows a file: what has no line break yet is waited for."""
    path = tmp_path / "run.jsonl"
    path.touch()
    writer = threading.Thread(
        target=lambda: [append_line(path, {"number": number, "text": "x" * 700}) for number in range(2000)]
    )
    writer.start()
    seen: list[int] = []
    left, deadline = b"", time.monotonic() + 60
    with path.open("rb") as file:
        while len(seen) < 2000 and time.monotonic() < deadline:
            *lines, left = (left + file.read()).split(b"\n")
            seen += [json.loads(line)["number"] for line in lines]
    writer.join()
    assert seen == list(range(2000))
    assert left == b""


FULL = """
import resource, signal, sys
from pathlib import Path
from arhn_hf.runlog import append_line
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for number in range(100):
    try:
        append_line(Path(sys.argv[1]), {"number": number, "text": "x" * 90})
    except OSError as error:
        print(error.errno, number)
        break
"""


def test_a_line_that_does_not_fit_leaves_nothing_behind(tmp_path: Path) -> None:
    """A file that may not grow, where a disk would be full."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY or os.geteuid() == 0
    path = tmp_path / "run.jsonl"
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True)
    failed, number = map(int, done.stdout.split())
    assert failed == errno.EFBIG
    lines = path.read_text().splitlines()
    assert len(lines) == number > 3
    assert [json.loads(line)["number"] for line in lines] == list(range(number))


@pytest.mark.parametrize(
    ("held", "left"),
    [
        ("", ""), ('{"a": 1}\n', '{"a": 1}\n'), ('{"a": 1}\n{"b": ', '{"a": 1}\n'), ('{"b": ', ""),
        ("x" * 70_000 + '\n{"b"', "x" * 70_000 + "\n"),
    ],
)  # fmt: skip
def test_what_a_killed_run_left_half_written_goes(tmp_path: Path, held: str, left: str) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text(held)
    drop_half_line(path)
    assert path.read_text() == left


def test_no_log_is_no_trouble(tmp_path: Path) -> None:
    drop_half_line(tmp_path / "run.jsonl")
    assert not (tmp_path / "run.jsonl").exists()
