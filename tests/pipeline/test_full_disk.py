"""A full disk: one line, exit 1, nothing judged is lost, and the same command goes on when there is space again."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from durability import assert_kept, command_line, go, made_rows, stored_keys, write_source
from scripted import ScriptedEngine, folder_bytes, scripted_reply

from arhn_hf.engines.base import Request, Response

IN_FLIGHT = 16


class SmallDisk:
    """A disk in memory of a given size in KiB."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def size(self, kib: int, *options: str) -> None:
        again = "remount," if os.path.ismount(self.path) else ""
        command = ["mount", "-t", "tmpfs", "-o", f"{again}size={kib}k", "tmpfs", str(self.path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"cannot mount a small disk here ({done.stderr.strip()})")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    if os.name != "posix" or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk")
    path = tmp_path / "disk"
    path.mkdir()
    try:
        yield SmallDisk(path)
    finally:
        if os.path.ismount(path):
            subprocess.run(["umount", str(path)], check=False, capture_output=True)
        if os.path.ismount(path):
            subprocess.run(["umount", "-l", str(path)], check=True)


def wordy(request: Request) -> Response:
    """The usual reply behind 20,000 random letters of thought, so that the store outgrows everything else."""
    response = scripted_reply(request)
    noise = "".join(random.Random(str(request.payload)).choices("abcdefgh ", k=20_000))
    return Response(f"<think>{noise}</think>{response.text}", "stop", response.usage)


@pytest.mark.parametrize(("first", "apart"), [(3000, False), (1500, True)])
def test_a_disk_full_of_answers(
    disk: SmallDisk, tmp_path: Path, capsys: pytest.CaptureFixture[str], first: int, apart: bool
) -> None:
    """`apart`: only the store is on the small disk, or else the whole output folder."""
    source = write_source(tmp_path / "source.jsonl", made_rows(24, 9))
    undisturbed = ScriptedEngine(wordy)
    go(source, tmp_path / "whole", undisturbed)
    distinct = len(set(undisturbed.keys))

    disk.size(first)
    output = tmp_path / "out" if apart else disk.path / "out"
    store = disk.path / "answers.sqlite" if apart else output / ".arhn" / "store.sqlite"
    arguments = [
        "refine", str(source), "--output", str(output), "--min-answerable", "0", "--max-in-flight", str(IN_FLIGHT),
        *(["--store", str(store)] if apart else []),
    ]  # fmt: skip
    sent = 0
    for _ in range(2):
        kept = stored_keys(store)
        engine = ScriptedEngine(wordy)
        said = command_line(engine, capsys, *arguments)
        assert said.code == 1
        said.assert_one_line("the disk is full", "run the same command again")
        assert not kept & set(engine.keys)
        assert not (output / "arhn.json").exists()
        sent += engine.count
    kept = stored_keys(store)
    assert len(kept) >= sent - 2 * IN_FLIGHT
    assert 10 < len(kept) < distinct

    disk.size(64_000)
    engine = ScriptedEngine(wordy)
    assert command_line(engine, capsys, *arguments).code == 0
    assert set(engine.keys) == set(undisturbed.keys) - kept
    assert folder_bytes(output) == folder_bytes(tmp_path / "whole")
    assert_kept(output)


def test_a_disk_that_is_full_at_any_point_of_a_run(
    disk: SmallDisk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A little larger after every failure, so that it is full while locking, storing, mapping, writing, publishing."""
    source = write_source(tmp_path / "source.jsonl", made_rows(24, 9, length=60))
    undisturbed = ScriptedEngine()
    go(source, tmp_path / "whole", undisturbed)
    whole = folder_bytes(tmp_path / "whole")
    output, store = disk.path / "out", disk.path / "out" / ".arhn" / "store.sqlite"
    arguments = [
        "refine", str(source), "--output", str(output), "--min-answerable", "0", "--max-in-flight", str(IN_FLIGHT),
    ]  # fmt: skip
    asked: list[str] = []
    endings: list[Any] = []
    for kib in (4, 16, 60, 150, 300, 420, 540, 660, 780, 900, 1100, 1300, 1600, 2000, 2500, 3200, 64_000):
        disk.size(kib)
        kept = stored_keys(store)
        engine = ScriptedEngine()
        said = command_line(engine, capsys, *arguments)
        assert not kept & set(engine.keys), kib
        asked += engine.keys
        endings.append((kib, said.code, said.errors))
        if said.code == 0:
            break
        assert said.code == 1, endings
        said.assert_one_line("the disk is full")
        if (output / "arhn.json").exists():
            assert folder_bytes(output) == whole
    assert said.code == 0, endings
    failures = len(endings) - 1
    assert failures >= 5
    assert set(asked) == set(undisturbed.keys)
    assert len(asked) <= len(set(asked)) + failures * IN_FLIGHT
    assert folder_bytes(output) == whole
    assert_kept(output)
