"""A store where SQLite cannot work as it must: no shared memory, a limit on files, a network file system."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from arhn_hf.engines.base import Response
from arhn_hf.store import Store, StoreError


def test_a_file_system_that_takes_no_write_ahead_log_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's dot-file locking has no shared memory, as some network file systems have none."""
    plain = sqlite3.connect
    monkeypatch.setattr(
        "arhn_hf.store.sqlite3.connect",
        lambda path, **options: plain(f"file:{path}?vfs=unix-dotfile", uri=True, **options),
    )
    path = tmp_path / "store.sqlite"
    with pytest.raises(StoreError) as caught:
        Store(path)
    assert caught.value.exit_code == 1
    for part in (str(path), "write-ahead log", "'delete'", "--store PATH", "local disk"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_writer_that_finds_no_write_ahead_log_tells_whoever_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer opens its own connection, later than the reader."""
    store = Store(tmp_path / "store.sqlite")
    told = threading.Event()

    def no_log(path: Path) -> Any:
        raise StoreError("its file system cannot share the memory", where=str(path))

    monkeypatch.setattr("arhn_hf.store._open", no_log)
    store.put(b"k" * 32, Response("x"), lambda tokens: told.set(), 1)
    assert told.wait(20)
    assert "cannot share" in str(store.failure)
    store.close()


FULL = """
import json, resource, signal, sys, threading
from pathlib import Path
from arhn_hf.engines.base import Response
from arhn_hf.store import Store
store = Store(Path(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
for number in range(1000):
    told = threading.Event()
    store.put(number.to_bytes(32, "big"), Response("y" * 20_000), lambda tokens: told.set(), number)
    told.wait()
    if store.failure is not None:
        break
print(json.dumps([number, str(store.failure)]))
store.close()
"""


def test_a_limit_on_the_size_of_files_is_named_and_nothing_committed_is_lost(tmp_path: Path) -> None:
    """As a quota: SQLite calls it an I/O error."""
    path = tmp_path / "store.sqlite"
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True)
    committed, said = json.loads(done.stdout)
    assert committed > 10
    assert "quota" in said or "the disk is full" in said
    assert "--store PATH" in said or "Free some space" in said
    store = Store(path)
    assert len(store) == committed
    assert store.notices == []
    store.close()


def test_a_network_file_system_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the mount table alone: the place itself is local, and works."""
    table = tmp_path / "mounts"
    table.write_text(f"/dev/sda1 / ext4 rw 0 0\nfiler:/x {os.path.realpath(tmp_path)} nfs4 rw 0 0\n")
    monkeypatch.setattr("arhn_hf.filesystems._MOUNTS", table)
    store = Store(tmp_path / "store.sqlite")
    (line,) = store.notices
    assert "nfs4" in line
    assert "--store PATH" in line
    store.close()
    (tmp_path / "x").mkdir()
    with pytest.raises(StoreError, match="on nfs4"):
        Store(tmp_path / "x")
