"""Who works in an output folder: one process at a time, also where the folder is shared by several machines.

The kernel's lock goes with the process that held it, however that died, so on one machine a stale lock is nothing to
think about. Network file systems are different: some keep locks to themselves on every machine, some have none. So the
owner also leaves its name in a file and touches it as long as it lives, and that is believed where locks cannot be.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from arhn_hf.pace import spoken
from arhn_hf.records import ArhnError

BEAT = 30.0  # seconds between two signs of life
DEAD = 180.0  # seconds without one after which an owner on another machine counts as dead
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class Owner:
    """Holds `memory` (a folder's `.arhn`) for this process between `take` and `leave`. `notices`: lines for the person."""

    def __init__(self, memory: Path) -> None:
        self.notices: list[str] = []
        self._folder, self._name = memory.parent, memory / "pid"
        self._lock = FileLock(memory / "lock", timeout=0)
        self._left = threading.Event()

    def take(self) -> None:
        """Raises `ArhnError` when another process works in the folder."""
        holder = _read(self._name)
        try:
            self._lock.acquire()
            locked = True
        except Timeout as error:
            raise self._held(holder) from error
        except (NotImplementedError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
                raise
            locked = False
            self.notices.append(
                f"{self._folder} is on a file system without locks: see to it that only one run works there."
            )
        try:
            self._inherit(_read(self._name), locked)
            self._name.write_text(json.dumps({**_self(), "since": datetime.now(UTC).isoformat(timespec="seconds")}))
        except BaseException:
            self._lock.release()
            raise
        threading.Thread(target=self._live, name="arhn-owner", daemon=True).start()

    def leave(self) -> None:
        """Free the folder."""
        self._left.set()
        if _is_self(_read(self._name)):
            with contextlib.suppress(FileNotFoundError):
                self._name.unlink()
        self._lock.release()

    def _live(self) -> None:
        while not self._left.wait(BEAT):
            with contextlib.suppress(OSError):  # the folder is gone, or its server: who writes there will hear of it
                os.utime(self._name)

    def _inherit(self, holder: dict[str, Any], locked: bool) -> None:
        """What to make of an owner that did not say goodbye. Where the lock was had, one on this machine is dead."""
        if not holder or (locked and holder.get("host") in (None, socket.gethostname())):
            return
        silent = self._silent_for()
        here = holder.get("host") == socket.gethostname()
        if silent < DEAD and not (here and not _runs(holder)):
            raise ArhnError(
                f"another process ({_named(holder)}) works in this folder, as it did {spoken(silent)} ago",
                where=str(self._folder),
                hint=f"Wait for it, or choose another --output; if it is dead, its mark counts no more after {spoken(DEAD)}",
            )
        self.notices.append(
            f"The last run in this folder ({_named(holder)}) did not end well and has been silent for {spoken(silent)}: "
            "it is taken for dead."
        )

    def _silent_for(self) -> float:
        """Seconds since the owner's last sign of life, by the file system's clock, whatever ours says."""
        now = self._name.with_name("now")
        now.touch()
        try:
            return max(0.0, now.stat().st_mtime - self._name.stat().st_mtime)
        finally:
            now.unlink(missing_ok=True)

    def _held(self, holder: dict[str, Any]) -> ArhnError:
        if holder.get("host") == socket.gethostname() and not _runs(holder):
            return ArhnError(
                f"is locked, although the process that locked it ({_named(holder)}) is gone",
                where=str(self._folder),
                hint=f"A process it started may still run: see `fuser {self._name.with_name('lock')}`, and end that",
            )
        return ArhnError(
            f"another process ({_named(holder)}) works in this folder", where=str(self._folder),
            hint="Wait for it, or choose another --output",
        )  # fmt: skip


def _self() -> dict[str, Any]:
    return {"pid": os.getpid(), "host": socket.gethostname()}


def _is_self(holder: dict[str, Any]) -> bool:
    return {name: holder.get(name) for name in ("pid", "host")} == _self()


def _runs(holder: dict[str, Any]) -> bool:
    """Whether a process of this machine runs; one of somebody else's does."""
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _named(holder: dict[str, Any]) -> str:
    if not holder:
        return "unknown"
    host = f" on {holder['host']}" if holder.get("host") else ""
    return f"pid {holder.get('pid')}{host}"


def _read(path: Path) -> dict[str, Any]:
    """The owner's name; a plain number is that of an earlier version. Empty where there is none, or half of one."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    if isinstance(value, dict):
        return value if isinstance(value.get("pid"), int) else {}
    return {"pid": value} if isinstance(value, int) else {}
