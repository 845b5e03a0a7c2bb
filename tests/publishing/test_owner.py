"""Who owns a folder: one process at a time, the dead leave it free, and another machine's owner is believed while it lives."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from arhn_hf.publishing import owner as module
from arhn_hf.publishing.owner import Owner
from arhn_hf.records import ArhnError

HOST = socket.gethostname()


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    folder = tmp_path / "out" / ".arhn"
    folder.mkdir(parents=True)
    return folder


def left_behind(memory: Path, *, seconds: float, **holder: Any) -> None:
    """The mark of an owner whose last sign of life was so long ago."""
    (memory / "pid").write_text(json.dumps(holder))
    when = time.time() - seconds
    os.utime(memory / "pid", (when, when))


def dead_pid() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


HOLD = """
import sys, time
from pathlib import Path
from arhn_hf.publishing.owner import Owner
Owner(Path(sys.argv[1])).take()
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_process_is_refused_by_name_and_kill_9_frees_the_folder(memory: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(memory)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(ArhnError) as caught:
        Owner(memory).take()
    assert caught.value.exit_code == 1
    assert f"another process (pid {holder.pid} on {HOST}) works in this folder" in str(caught.value)
    assert str(memory.parent) in str(caught.value)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (memory / "pid").exists(), "it could not say goodbye"
    owner = Owner(memory)
    owner.take()
    assert owner.notices == []
    assert json.loads((memory / "pid").read_text())["pid"] == os.getpid()
    owner.leave()
    assert not (memory / "pid").exists()


def test_an_owner_on_another_machine_is_believed_while_it_lives(memory: Path) -> None:
    """The lock can be had: the file system keeps locks to each machine."""
    left_behind(memory, seconds=20, pid=7, host="node-17")
    with pytest.raises(ArhnError) as caught:
        Owner(memory).take()
    for part in ("pid 7 on node-17", "20 s ago", "after 3 min", str(memory.parent)):
        assert part in str(caught.value)
    assert json.loads((memory / "pid").read_text())["host"] == "node-17", "its mark stays"


def test_an_owner_on_another_machine_that_fell_silent_counts_as_dead(memory: Path) -> None:
    left_behind(memory, seconds=7200, pid=7, host="node-17")
    owner = Owner(memory)
    owner.take()
    (line,) = owner.notices
    assert "pid 7 on node-17" in line
    assert "silent for 2 h" in line
    owner.leave()


def test_an_owner_gives_signs_of_life(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT", 0.05)
    owner = Owner(memory)
    owner.take()
    os.utime(memory / "pid", (1.0, 1.0))
    end = time.monotonic() + 20
    while (memory / "pid").stat().st_mtime < 2 and time.monotonic() < end:
        time.sleep(0.02)
    assert (memory / "pid").stat().st_mtime > 2
    owner.leave()
    assert not (memory / "pid").exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_where_there_are_no_locks_the_mark_alone_keeps_others_out(
    memory: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """What `flock` says on some mounts of NFS and Lustre."""
    import filelock

    def refuse(self: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(filelock.FileLock, "_acquire", refuse)
    left_behind(memory, seconds=20, pid=os.getppid(), host=HOST)
    with pytest.raises(ArhnError, match=f"pid {os.getppid()} on"):
        Owner(memory).take()
    left_behind(memory, seconds=20, pid=dead_pid(), host=HOST)
    owner = Owner(memory)
    owner.take()
    assert "without locks" in owner.notices[0]
    assert "taken for dead" in owner.notices[1]
    owner.leave()


def test_a_lock_that_outlived_its_process_is_told_as_that(memory: Path) -> None:
    """A child of a killed run that inherited the lock."""
    other = module.FileLock(memory / "lock", timeout=0)
    other.acquire()
    pid = dead_pid()
    left_behind(memory, seconds=20, pid=pid, host=HOST)
    with pytest.raises(ArhnError, match=f"pid {pid} on {HOST}. is gone") as caught:
        Owner(memory).take()
    assert "fuser" in str(caught.value)
    other.release()


@pytest.mark.parametrize("held", ["4711", "", "{", '{"pid": 4711}', "[1]", "null"])
def test_any_old_mark_is_read(memory: Path, held: str) -> None:
    """Of earlier versions, and half written ones: the lock decides, as ever."""
    (memory / "pid").write_text(held)
    owner = Owner(memory)
    owner.take()
    owner.leave()
    assert not (memory / "pid").exists()


def test_who_leaves_takes_only_the_own_mark(memory: Path) -> None:
    owner = Owner(memory)
    owner.take()
    left_behind(memory, seconds=0, pid=7, host="node-17")
    owner.leave()
    assert (memory / "pid").exists()
