"""The durable memory: what was committed survives kill -9, damage and a full disk; nothing damaged is ever returned."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from arhn_hf.engines.base import Response
from arhn_hf.store import Store, StoreError


def key(i: int) -> bytes:
    """Without any order in its first bytes, as a hash; the number is in the others."""
    return (i * 0x9E3779B97F4A7C15 % 2**64).to_bytes(8, "big") + i.to_bytes(24, "big")


def response(i: int) -> Response:
    return Response(
        f'{{"answer": "number {i} é 👍"}}' + "x" * (i % 7) * 40, "stop" if i % 5 else "length", {"prompt": i}
    )


def put_all(store: Store, numbers: list[int] | range, make: Callable[[int], Response] = response) -> list[Any]:
    """Put and wait until all are answered for; what `done` was called with, group by group."""
    groups: list[Any] = []
    finished = threading.Event()
    lock = threading.Lock()

    def done(tokens: list[Any]) -> None:
        with lock:
            groups.append(tokens)
            if sum(map(len, groups)) == len(numbers):
                finished.set()

    for i in numbers:
        store.put(key(i), make(i), done, i)
    assert finished.wait(20), "the writer fell silent"
    return groups


def filled(path: Path, count: int, *, close: bool = True) -> Store:
    store = Store(path)
    put_all(store, range(count))
    if close:
        store.close()
    return store


def readable(store: Store, count: int) -> int:
    """How many of the first `count` are there; those that are there are right."""
    found = {}
    for start in range(0, count, 500):
        found |= store.get([key(i) for i in range(start, min(count, start + 500))])
    for name, got in found.items():
        assert got == response(int.from_bytes(name[8:], "big"))
    return len(found)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory" / "store.sqlite"


# ---- put and get


def test_put_then_get(path: Path) -> None:
    store = Store(path)
    assert store.get([key(1)]) == {}
    put_all(store, [1, 2, 3])
    assert store.get([key(1), key(3), key(9)]) == {key(1): response(1), key(3): response(3)}
    assert store.get([]) == {}
    assert len(store) == 3
    assert store.notices == []
    store.close()
    again = Store(path)
    assert readable(again, 5) == 3
    assert again.notices == []
    again.close()


@pytest.mark.parametrize(
    "text", ["", "\0", "a\0b", "é👍🏽\u202e", "\r\n", "x" * 300_000, "\ufeff", "'; DROP TABLE responses; --"]
)
def test_any_text_comes_back(path: Path, text: str) -> None:
    store = Store(path)
    put_all(store, [1], lambda i: Response(text, "stop", {"a": 1}))
    store.close()
    store = Store(path)
    assert store.get([key(1)]) == {key(1): Response(text, "stop", {"a": 1})}
    store.close()


def test_a_text_that_sqlite_refuses_is_told_not_swallowed(path: Path) -> None:
    """Askers replace lone surrogates before they put anything; whoever does not is told."""
    store = Store(path)
    put_all(store, [1])
    assert put_all(store, [2], lambda i: Response("half an emoji: \ud83d")) == [[2]]
    assert isinstance(store.failure, StoreError)
    store.close()
    store = Store(path)
    assert (store.notices, len(store)) == ([], 1)
    store.close()


def test_the_first_response_of_a_key_stays(path: Path) -> None:
    store = Store(path)
    put_all(store, [1], lambda i: Response("first"))
    put_all(store, [1], lambda i: Response("second"))
    assert store.get([key(1)])[key(1)].text == "first"
    store.close()


def test_done_is_called_after_the_commit_with_everything_once(path: Path) -> None:
    store = Store(path)
    other = sqlite3.connect(path)
    seen: list[bool] = []
    finished = threading.Event()

    def done(tokens: list[Any]) -> None:
        reader = sqlite3.connect(path)
        seen.extend(
            reader.execute("SELECT count(*) FROM responses WHERE key = ?", (key(i),)).fetchone()[0] == 1 for i in tokens
        )
        reader.close()
        if len(seen) == 300:
            finished.set()

    for i in range(300):
        store.put(key(i), response(i), done, i)
    assert finished.wait(20)
    assert all(seen)
    other.close()
    store.close()


def test_commits_come_in_groups(path: Path) -> None:
    store = Store(path)
    groups = put_all(store, range(5000))
    assert sorted(token for group in groups for token in group) == list(range(5000))
    assert len(groups) < 2500
    store.close()


def test_close_commits_what_is_queued(path: Path) -> None:
    store = Store(path)
    for i in range(2000):
        store.put(key(i), response(i), lambda tokens: None, i)
    store.close()
    store = Store(path)
    assert readable(store, 2000) == 2000
    store.close()


def test_many_threads_put(path: Path) -> None:
    store = Store(path)
    threads = [threading.Thread(target=put_all, args=(store, range(n * 100, n * 100 + 100))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert readable(store, 800) == 800
    store.close()


def test_it_is_wal_with_full_sync(path: Path) -> None:
    from arhn_hf.store import _open

    connection = _open(path.parent.parent / "x.sqlite")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    connection.close()


# ---- places


@pytest.fixture
def small_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    import arhn_hf.store as module

    monkeypatch.setattr(module, "FRESH", 100)
    monkeypatch.setattr("arhn_hf.store_tables._SLICES", 4)


def places(path: Path) -> list[int]:
    """How many places stand in `settled`, `recent` and `fresh`."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return [
            connection.execute(f"SELECT count(*) FROM {level}").fetchone()[0]
            for level in ("settled", "recent", "fresh")
        ]


@pytest.mark.usefixtures("small_levels")
def test_places_move_on_and_every_response_is_found_meanwhile(path: Path) -> None:
    store = Store(path)
    for start in range(0, 3000, 30):
        put_all(store, range(start, start + 30))
        asked = [key(i) for i in range(start % 7, start + 60, 7)]
        assert len(store.get(asked)) == sum(i < start + 30 for i in range(start % 7, start + 60, 7))
    store.close()
    counts = places(path)
    assert sum(counts) == 3000
    assert counts[0] > 2000
    assert 0 < counts[1] < 500
    assert counts[2] <= 130
    store = Store(path)
    assert (len(store), readable(store, 3100)) == (3000, 3000)
    store.close()


@pytest.mark.usefixtures("small_levels")
def test_the_first_response_of_a_key_stays_when_its_place_moved_on(path: Path) -> None:
    store = Store(path)
    put_all(store, range(1000))
    put_all(store, range(1000), lambda i: Response("second"))
    assert readable(store, 1000) == 1000
    store.close()


def test_keys_that_begin_alike_are_told_apart(path: Path) -> None:
    store = Store(path)
    alike = [b"the same" + i.to_bytes(24, "big") for i in range(3)]
    for name in alike[:2]:
        store.put(name, Response(name.hex()), lambda tokens: None, None)
    store.close()
    store = Store(path)
    assert store.get(alike) == {name: Response(name.hex()) for name in alike[:2]}
    assert store.get(alike[2:]) == {}
    store.close()


def test_a_failure_while_places_move_on_is_told_and_loses_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import arhn_hf.store as module

    def full(connection: sqlite3.Connection, turn: int) -> None:
        connection.execute("DELETE FROM fresh")
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(module, "FRESH", 100)
    monkeypatch.setattr(module, "move_on", full)
    store = Store(path)
    put_all(store, range(150))
    store.close()
    assert "the disk is full" in str(store.failure)
    monkeypatch.undo()
    store = Store(path)
    assert readable(store, 150) == 150
    store.close()


# ---- files of before places moved on


def file_of_before(path: Path, count: int) -> None:
    """As it was made when one index held all keys."""
    from arhn_hf.store import _row

    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(
            "CREATE TABLE responses (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, text TEXT NOT NULL, "
            "finish_reason TEXT NOT NULL, usage TEXT NOT NULL, crc INTEGER NOT NULL)"
        )
        connection.execute("CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
        connection.execute("INSERT INTO meta VALUES ('clean', '1')")
        rows = [_row(key(i), response(i)) for i in range(count)]
        connection.executemany(
            "INSERT INTO responses (key, text, finish_reason, usage, crc) VALUES (?, ?, ?, ?, ?)", rows
        )
        connection.commit()


def test_a_file_of_before_is_read_and_goes_on(path: Path) -> None:
    file_of_before(path, 1000)
    store = Store(path)
    assert readable(store, 1100) == 1000
    put_all(store, range(900, 1000), lambda i: Response("second"))
    put_all(store, range(1000, 1500))
    assert store.failure is None
    store.close()
    store = Store(path)
    assert store.notices == []
    assert (len(store), readable(store, 2000)) == (1500, 1500)
    store.close()


def test_a_damaged_file_of_before_is_salvaged(path: Path) -> None:
    file_of_before(path, 2000)
    os.truncate(path, path.stat().st_size // 2)
    check_healed(path, 200, 2000)
    assert sum(places(path)) >= 2000


# ---- kill -9

CHILD = """
import os, sys, threading
from pathlib import Path
from arhn_hf.engines.base import Response
from arhn_hf.store import Store

sys.path.insert(0, sys.argv[3])
import arhn_hf.store as module
import arhn_hf.store_tables as tables
from test_store import key, response

module.FRESH, tables._SLICES = 100, 4  # places move on all the time

store = Store(Path(sys.argv[1]))
first = int(sys.argv[2])
slots = threading.Semaphore(64)

def done(tokens):
    assert store.failure is None
    os.write(1, b"".join(b"%d\\n" % i for i in tokens))
    for _ in tokens:
        slots.release()

i = first
while True:
    slots.acquire()
    store.put(key(i), response(i), done, i)
    i += 1
"""


def test_what_was_committed_survives_kill_9_at_any_moment(path: Path) -> None:
    """A child says what was committed, and is killed at a random moment; the next one goes on with the same file."""
    chance = random.Random(7)
    committed: set[int] = set()
    for _ in range(8):
        start = max(committed, default=-1) + 100
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path), str(start), str(Path(__file__).parent)], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        told = child.stdout.readline()  # it is at work
        time.sleep(chance.uniform(0, 0.15))
        child.send_signal(signal.SIGKILL)
        told += child.stdout.read()
        child.wait()
        child.stdout.close()
        committed |= {int(line) for line in told.split(b"\n")[:-1]}
    assert len(committed) > 8
    store = Store(path)
    assert store.notices == [], "a killed process leaves no damage"
    for name in committed:
        assert store.get([key(name)]) == {key(name): response(name)}
    assert len(store) <= len(committed) + 8 * 64, "at most what was in flight is there without having been told"
    store.close()


# ---- damage


def damaged_files(path: Path) -> list[str]:
    return sorted(p.name for p in path.parent.iterdir() if ".damaged-" in p.name)


def check_healed(path: Path, kept: int, count: int, *, exactly: bool = False) -> None:
    store = Store(path)
    assert len(store.notices) == 1
    (notice,) = store.notices
    assert "was damaged" in notice
    assert "store.sqlite.damaged-1" in notice
    assert f"{len(store)} responses salvaged" in notice
    assert damaged_files(path)[0] == "store.sqlite.damaged-1"
    found = readable(store, count)
    assert found == kept if exactly else found >= kept
    put_all(store, range(count))
    assert readable(store, count) == count
    store.close()
    healed = Store(path)
    assert healed.notices == []
    assert readable(healed, count) == count
    healed.close()


NO_STORE = [
    ("zero bytes", b""),
    ("not a database", b"this is a text that somebody wrote\n" * 400),
    ("zeros", b"\0" * 20_000),
    ("a broken header", b"SQLite format 3\0" + b"\xff" * 8000),
]


@pytest.mark.parametrize(("name", "content"), NO_STORE, ids=[case[0] for case in NO_STORE])
def test_a_file_that_is_no_store_is_moved_aside(path: Path, name: str, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    check_healed(path, 0, 20, exactly=True)
    assert (path.parent / "store.sqlite.damaged-1").read_bytes() == content


def test_another_database_is_moved_aside_unharmed(path: Path) -> None:
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE notes (text)")
    connection.execute("INSERT INTO notes VALUES ('keep me')")
    connection.commit()
    connection.close()
    check_healed(path, 0, 5, exactly=True)
    connection = sqlite3.connect(path.parent / "store.sqlite.damaged-1")
    assert connection.execute("SELECT text FROM notes").fetchall() == [("keep me",)]
    connection.close()


def test_a_corrupt_header(path: Path) -> None:
    filled(path, 500)
    content = bytearray(path.read_bytes())
    content[:16] = b"garbage garbage!"
    path.write_bytes(content)
    check_healed(path, 0, 500)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_file(path: Path, share: float) -> None:
    filled(path, 2000)
    size = path.stat().st_size
    os.truncate(path, int(size * share))
    check_healed(path, int(2000 * share * 0.2), 2000)


@pytest.mark.parametrize("at", [0.3, 0.6, 0.9])
def test_garbage_in_the_middle(path: Path, at: float) -> None:
    """Rows before and after the hole are salvaged, also after a clean close."""
    filled(path, 4000)
    content = bytearray(path.read_bytes())
    page = int(len(content) * at) // 4096
    content[page * 4096 : (page + 1) * 4096] = random.Random(3).randbytes(4096)
    path.write_bytes(content)
    check_healed(path, 3000, 4000)


def spoil(path: Path, sql: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(sql)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE responses SET text = text || '!' WHERE id = 3",
        "UPDATE responses SET finish_reason = 'stop' WHERE id = 1",  # the first one was cut off
        "UPDATE responses SET crc = crc + 1 WHERE id = 3",
        "UPDATE responses SET text = CAST(X'C328FF' AS TEXT) WHERE id = 3",
        "UPDATE responses SET text = CAST(X'C328FF' AS TEXT) WHERE id = 1",
    ],
)
def test_a_response_that_does_not_match_its_checksum_is_never_returned(path: Path, sql: str) -> None:
    filled(path, 10)
    spoil(path, sql)
    store = Store(path)
    if not store.notices:  # what SQLite itself cannot see shows when it is read; the next opening salvages
        with pytest.raises(StoreError) as caught:
            store.get([key(i) for i in range(10)])
        assert caught.value.exit_code == 1
        assert "Run" in str(caught.value)
        store.close()
        check_healed(path, 9, 10, exactly=True)
        return
    assert readable(store, 10) == 9
    store.close()


def test_damage_again_is_moved_aside_again(path: Path) -> None:
    for number in (1, 2):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"nonsense " * 100)
        for extra in ("-wal", "-shm"):
            path.with_name(path.name + extra).unlink(missing_ok=True)
        store = Store(path)
        assert f"damaged-{number}" in store.notices[0]
        store.close()
    assert damaged_files(path) == ["store.sqlite.damaged-1", "store.sqlite.damaged-2"]


def test_a_salvage_that_is_interrupted_is_done_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import arhn_hf.store as module

    filled(path, 2000)
    os.truncate(path, path.stat().st_size - 4096)
    plain = module._readable_rows

    def interrupted(file: Path) -> Iterator[tuple[Any, ...]]:
        for number, row in enumerate(plain(file)):
            if number == 300:
                raise KeyboardInterrupt
            yield row

    monkeypatch.setattr(module, "_readable_rows", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Store(path)
    assert damaged_files(path) == []
    monkeypatch.setattr(module, "_readable_rows", plain)
    check_healed(path, 1900, 2000)


def test_two_holes_cost_only_what_was_in_them(path: Path) -> None:
    filled(path, 4000)
    content = bytearray(path.read_bytes())
    for at in (0.35, 0.75):
        page = int(len(content) * at) // 4096
        content[page * 4096 : (page + 1) * 4096] = b"\xff" * 4096
    path.write_bytes(content)
    check_healed(path, 3700, 4000)


def test_a_torn_write_ahead_log_loses_only_its_end(path: Path) -> None:
    """As after a power cut: the main file and a log whose last pages are garbage."""
    store = filled(path, 300, close=False)
    copy = path.parent / "copy"
    copy.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(path.with_name(path.name + suffix), copy / (path.name + suffix))
    store.close()
    wal = copy / (path.name + "-wal")
    size = wal.stat().st_size
    with wal.open("r+b") as file:
        file.seek(size - 6000)
        file.write(random.Random(1).randbytes(6000))
    again = Store(copy / path.name)
    assert readable(again, 300) >= 0
    put_all(again, range(300))
    assert readable(again, 300) == 300
    again.close()


def test_random_damage_never_returns_a_wrong_response_and_always_heals(path: Path) -> None:
    filled(path, 400)
    sound = path.read_bytes()
    chance = random.Random(11)
    for number in range(25):
        folder = path.parent / str(number)
        folder.mkdir()
        content = bytearray(sound)
        for _ in range(chance.choice([1, 1, 3, 40])):
            at = chance.randrange(100 if chance.random() < 0.2 else len(content))
            length = chance.choice([1, 4, 64, 4096])
            content[at : at + length] = chance.randbytes(length)
        target = folder / "store.sqlite"
        target.write_bytes(bytes(content[: len(sound)]))
        for _ in range(3):  # at the first opening, or at the second after it was noticed while reading
            store = Store(target)
            try:
                readable(store, 400)
                healthy = True
            except StoreError:
                healthy = False
            store.close()
            if healthy:
                break
        assert healthy, f"damage {number} comes back at every opening"


# ---- a full disk


def fill_up(store: Store, limit: int = 200_000) -> int:
    """Put big responses until writing fails: how many were committed."""
    for i in range(limit):
        groups = put_all(store, [i], lambda n: Response("y" * 20_000 + str(n)))
        assert groups == [[i]], "whoever waits is told, also of a failure"
        if store.failure is not None:
            return i
    pytest.fail("the disk never filled up")


def test_a_full_disk_keeps_what_was_committed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import arhn_hf.store as module

    plain = module._open

    def small(file: Path) -> sqlite3.Connection:
        connection = plain(file)
        connection.execute("PRAGMA max_page_count = 300")
        return connection

    monkeypatch.setattr(module, "_open", small)
    store = Store(path)
    committed = fill_up(store)
    failure = store.failure
    assert failure is not None
    assert failure.exit_code == 1
    assert "the disk is full" in str(failure)
    assert "run the same command again" in str(failure)
    assert committed > 10
    assert put_all(store, [999_999]) == [[999_999]], "later ones fail at once, and are told"
    store.close()
    monkeypatch.setattr(module, "_open", plain)
    store = Store(path)
    assert store.notices == []
    assert len(store) == committed
    put_all(store, range(committed, committed + 5), lambda n: Response("y" * 20_000 + str(n)))
    assert len(store) == committed + 5
    store.close()


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of two megabytes, where the tests may mount one."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root on Linux can mount a small file system")
    folder = Path(tempfile.mkdtemp(prefix="arhn-small-"))
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        folder.rmdir()
        pytest.skip(f"a small file system cannot be mounted here ({done.stderr.strip()})")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
    folder.rmdir()


def test_a_really_full_disk(small_disk: Path) -> None:
    path = small_disk / "store.sqlite"
    store = Store(path)
    committed = fill_up(store)
    assert "the disk is full" in str(store.failure)
    store.close()
    ballast = small_disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb") as file:
        file.write(b"x" * 4_000_000)
    with contextlib.suppress(StoreError):  # it may open, where a page was left
        Store(path).close()
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    store = Store(path)
    assert store.notices == []
    assert len(store) == committed
    put_all(store, range(committed, committed + 5), lambda n: Response("y" * 20_000 + str(n)))
    store.close()


# ---- places where no store can be


@pytest.mark.parametrize("kind", ["a folder", "below a file"])
def test_a_path_that_cannot_hold_a_store(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "x"
    if kind == "a folder":
        place.mkdir()
    else:
        place.write_bytes(b"")
        place = place / "store.sqlite"
    with pytest.raises(StoreError) as caught:
        Store(place)
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)


def test_a_locked_store_is_not_taken_for_a_damaged_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(path, 5)
    plain = sqlite3.connect
    monkeypatch.setattr(
        "arhn_hf.store.sqlite3.connect", lambda *args, **options: plain(*args, **{**options, "timeout": 0.2})
    )
    holder = plain(path)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match="locked"):
        Store(path)
    holder.rollback()
    holder.close()
    assert damaged_files(path) == []
    store = Store(path)
    assert readable(store, 5) == 5
    store.close()
