"""The durable memory around any engine: no judged request is ever paid for twice.

Every raw response is committed to SQLite (WAL, synchronous=FULL, one transaction per group) *before* anybody uses it, so that
kill -9 or a power cut costs at most the requests in flight. Only raw responses are kept: parsing happens on reading, so a changed
rule or a better parser re-uses them all. Group commit matters: 160 rows/s one at a time, 100,000 in groups of 512.
"""

from __future__ import annotations

import contextlib
import json
import queue
import shutil
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any

from arhn_hf.engines.base import Response
from arhn_hf.filesystems import network_type
from arhn_hf.records import ArhnError
from arhn_hf.store_tables import FRESH, create, insert_rows, is_leveled, look_up, move_on, prefix_of

_GROUP = 4096  # responses a commit, at most
_WAL_PAGES = 8192  # pages in the WAL before they are copied into the file: each is copied once, not after every commit
_ELSEWHERE = "--store PATH keeps it elsewhere (a local disk, not a network file system)"
_SHARED_MEMORY = 65_536  # bytes: SQLite makes its file 32 KiB at a time


class StoreError(ArhnError):
    """The store cannot be read or written: the run ends with exit 1, and what was committed stays."""


def _crc(key: Any, text: Any, finish_reason: Any, usage: Any) -> int:
    return zlib.crc32(f"{key!r}\0{finish_reason}\0{usage}\0{text}".encode("utf-8", "surrogatepass"))


class Store:
    """Raw responses by key, in one SQLite file.

    `get` may be called from one thread (the one that awaits judges), `put` from any. `notices` holds lines for the person, such as
    the salvage of a damaged file.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the file; a damaged one is moved aside and its readable rows are kept.

        Raises `StoreError` when the file cannot be opened or written.
        """
        self.path = path
        self.notices: list[str] = []
        self._failure: StoreError | None = None
        self._queue: queue.SimpleQueue[tuple[bytes, Response, Callable[[list[Any]], None], Any] | None] = (
            queue.SimpleQueue()
        )
        self._mark = "1"  # what `close` leaves behind: `damaged` sends the next opening to salvage
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and not _sound(path):
                self._salvage()
            self._reader = _open(path)
            self._leveled = is_leveled(self._reader)
            self._reader.execute("INSERT OR REPLACE INTO meta VALUES ('clean', '0')")
            self._reader.commit()
        except (sqlite3.Error, OSError) as error:
            raise _store_error(path, error) from error
        if (kind := network_type(path.parent)) is not None:
            self.notices.append(
                f"The store is on a network file system ({kind}): use it from one machine at a time. --store PATH on a local "
                "disk is safer and faster."
            )
        self._writer = threading.Thread(target=self._write, name="arhn-store", daemon=True)
        self._writer.start()

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Response]:
        """The stored responses among `keys`. Raises `StoreError` if the file is damaged."""
        if not keys:
            return {}
        # Padded to a power of two with what no row has: SQLite keeps every statement it has prepared.
        asked = sorted(map(prefix_of, keys)) if self._leveled else keys
        padding = [None] * ((1 << (len(keys) - 1).bit_length()) - len(keys))
        try:
            sql = look_up(len(asked) + len(padding), self._leveled)
            rows = self._reader.execute(sql, [*asked, *padding]).fetchall()
        except sqlite3.Error as error:
            self._mark = self._mark if "locked" in str(error) else "damaged"
            raise _store_error(self.path, error) from error
        found: dict[bytes, Response] = {}
        wanted = set(keys)
        rows.sort(key=itemgetter(0))  # by id: of a key that was stored twice the first response counts
        for _, key, text, finish_reason, usage, crc in rows:
            if _crc(key, text, finish_reason, usage) != crc:
                self._mark = "damaged"
                raise StoreError(
                    "a stored response is damaged", where=str(self.path), hint="Run again: it will be salvaged"
                )
            if key in wanted and key not in found:  # a prefix may be another key's as well
                found[key] = Response(text, finish_reason, json.loads(usage))
        return found

    def put(self, key: bytes, response: Response, done: Callable[[list[Any]], None], token: Any) -> None:
        """Queue a response for the next commit. After it, `done` is called once per group, in the writer's thread, with the
        tokens of the group's responses that share this `done`; if the commit failed `failure` says why. Of a key that is put
        twice the first response stays the one that `get` gives."""
        self._queue.put((key, response, done, token))

    @property
    def failure(self) -> StoreError | None:
        """Why writing stopped, if it did."""
        return self._failure

    def __len__(self) -> int:
        return int(self._reader.execute("SELECT count(*) FROM responses").fetchone()[0])

    def close(self) -> None:
        """Commit what is queued and close."""
        self._queue.put(None)
        self._writer.join()
        with contextlib.suppress(sqlite3.Error):  # a full disk: the responses are committed, only the mark is not
            if self._failure is None:
                self._reader.execute("INSERT OR REPLACE INTO meta VALUES ('clean', ?)", (self._mark,))
                self._reader.commit()
        self._reader.close()

    def _write(self) -> None:
        connection: sqlite3.Connection | None = None
        last = False
        while not last:
            group = [self._queue.get()]
            with contextlib.suppress(queue.Empty):
                while len(group) < _GROUP:
                    group.append(self._queue.get_nowait())
            last = None in group
            items = [item for item in group if item is not None]
            moves, last_id = False, 0
            if items and self._failure is None:
                try:
                    connection = connection or _open(self.path)
                    with connection:
                        last_id = insert_rows(connection, [_row(key, r) for key, r, _, _ in items], self._leveled)
                    moves = self._leveled and last_id // FRESH > (last_id - len(items)) // FRESH
                except StoreError as error:
                    self._failure = error
                except (sqlite3.Error, OSError, UnicodeEncodeError) as error:
                    self._failure = _store_error(self.path, error)
            tokens: dict[Callable[[list[Any]], None], list[Any]] = {}
            for _, _, done, token in items:
                tokens.setdefault(done, []).append(token)
            for done, ones in tokens.items():
                done(ones)
            if moves and connection is not None and self._failure is None:
                try:
                    with connection:
                        move_on(connection, last_id // FRESH)
                except (sqlite3.Error, OSError) as error:
                    self._failure = _store_error(self.path, error)
        if connection is not None:
            connection.close()

    def _salvage(self) -> None:
        """Copy every row that still reads and matches its checksum into a new file, which then takes the damaged one's place.

        In that order, so that whoever is killed meanwhile, or runs out of disk, finds the damaged file where it was.
        """
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.damaged-{number}")).exists():
            number += 1
        whole = self.path.with_name(f"{self.path.name}.salvaged")
        for suffix in ("", "-wal", "-shm"):
            whole.with_name(whole.name + suffix).unlink(missing_ok=True)
        fresh = _open(whole)
        rows = _readable_rows(self.path)
        while group := list(islice(rows, FRESH)):
            with fresh:
                move_on(fresh, insert_rows(fresh, group, leveled=True) // FRESH)
        kept = fresh.execute("SELECT count(*) FROM responses").fetchone()[0]
        fresh.close()
        for suffix in ("-wal", "-shm", ""):
            part = self.path.with_name(self.path.name + suffix)
            if part.exists():
                part.rename(aside.with_name(aside.name + suffix))
        whole.rename(self.path)
        self.notices.append(
            f"The store {self.path.name} was damaged: moved to {aside.name}, {kept} responses salvaged."
        )


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False, timeout=30)
    mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
    if mode != "wal":
        connection.close()
        raise StoreError(
            f"its file system cannot share the memory of a write-ahead log (SQLite stays with {mode!r})", where=str(path),
            hint=f"A network file system, it seems. {_ELSEWHERE}",
        )  # fmt: skip
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint={_WAL_PAGES}")
    create(connection)
    return connection


def _row(key: bytes, response: Response) -> tuple[Any, ...]:
    usage = json.dumps(response.usage)
    crc = _crc(key, response.text, response.finish_reason, usage)
    return key, response.text, response.finish_reason, usage, crc


def _sound(path: Path) -> bool:
    """Whether the file is a store, passes SQLite's own check (0.5 s a million rows) and gave no damaged response last time."""
    try:
        connection = sqlite3.connect(path)
        try:
            row = connection.execute("SELECT value FROM meta WHERE name = 'clean'").fetchone()
            connection.execute("SELECT key, text, finish_reason, usage, crc FROM responses LIMIT 0").fetchall()
            return row != ("damaged",) and bool(connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
        finally:
            connection.close()
    except sqlite3.OperationalError as error:
        if any(sign in str(error) for sign in ("no such table", "no such column", "unsupported file format", "decode")):
            return False
        raise
    except sqlite3.DatabaseError:
        return False


def _readable_rows(path: Path) -> Iterator[tuple[Any, ...]]:
    """Rows of a damaged file that match their checksum, by id; a hole is jumped over in growing steps."""
    after, step = 0, 1
    while step < 1 << 40:
        try:
            with contextlib.closing(sqlite3.connect(path)) as connection:
                connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
                connection.execute(
                    "PRAGMA writable_schema=ON"
                )  # else SQLite reads nothing of a file that was cut short
                columns = "SELECT id, key, text, finish_reason, usage, crc FROM responses WHERE id > ? ORDER BY id"
                for number, *row, crc in connection.execute(columns, (after,)):
                    if _crc(*row) == crc:
                        after, step = number, 1
                        yield (*row, crc)
                return
        except sqlite3.DatabaseError:
            after, step = after + step, step * 2


def _store_error(path: Path, error: Exception) -> StoreError:
    text = str(error)
    full = "full" in text or "No space" in text
    if "I/O error" in text:  # what SQLite says when there is no room left for its shared memory
        with contextlib.suppress(OSError):
            full = shutil.disk_usage(path.parent).free < _SHARED_MEMORY
    if not full and getattr(error, "sqlite_errorname", "") == "SQLITE_IOERR_WRITE":
        text += ": perhaps a quota or a limit on the size of files is reached"
    kind = network_type(path.parent)
    if kind is not None:
        text += f", on {kind}"
    hint = (
        "Free some space and run the same command again: it goes on where it stopped"
        if full
        else f"Run the same command again; {_ELSEWHERE}"
    )
    return StoreError("the disk is full" if full else f"cannot be used ({text})", where=str(path), hint=hint)
