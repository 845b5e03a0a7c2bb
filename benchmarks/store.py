"""The durable store as it grows: rates, size on disk, memory and the time to open, `python benchmarks/store.py`.

Fills one store through `Store.put`, as a run does: groups of 512, at most 2,048 responses that wait for their commit. At every
size it is asked for keys it has and for keys it has not, 512 a query as a run asks, then closed and opened again.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from arhn_hf.engines.base import Response
from arhn_hf.store import Store

MARKS = (1_000_000, 5_000_000, 10_000_000, 15_000_000, 20_000_000, 25_000_000)
IN_FLIGHT = 2048  # the default of --max-in-flight
GROUP = 512  # keys a query, as `judges/asking.py` asks
SLICE = 100_000  # entries whose keys are made ahead, off the clock
LAST = 10  # slices before a mark whose median is its insert rate
QUERIES = 200  # queries of each kind at a mark

WORDS = (
    "the",
    "a",
    "of",
    "in",
    "was",
    "by",
    "born",
    "city",
    "river",
    "year",
    "first",
    "known",
    "called",
    "between",
    "north",
)


def keys(kind: str, numbers: Sequence[int]) -> list[bytes]:
    """Keys as a run's are: 32 bytes without any order. Those of one kind differ from those of another."""
    start = hashlib.sha256(kind.encode())
    made = []
    for number in numbers:
        state = start.copy()
        state.update(number.to_bytes(8, "big"))
        made.append(state.digest())
    return made


def responses() -> list[Response]:
    """What the keys stand for in turn: answers of some 60 characters, with their tokens."""
    chance = random.Random(5)
    made = []
    for _ in range(4096):
        snippet = " ".join(chance.choices(WORDS, k=6))
        text = f'{{"answers": {chance.choice(["true", "false"])}, "snippet": "{snippet}"}}'
        made.append(
            Response(text, "stop", {"prompt": chance.randrange(150, 400), "completion": chance.randrange(9, 30)})
        )
    return made


class Filler:
    """Puts responses as fast as the store commits them."""

    def __init__(self) -> None:
        self._free = IN_FLIGHT
        self._changed = threading.Condition()
        self._responses = responses()

    def _done(self, tokens: list[Any]) -> None:
        with self._changed:
            self._free += len(tokens)
            self._changed.notify()

    def _wait(self, free: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._free >= free)

    def expected(self, number: int) -> Response:
        """The response of one number."""
        return self._responses[number % len(self._responses)]

    def fill(self, store: Store, first: int, names: Sequence[bytes]) -> tuple[float, float]:
        """Put the responses of the numbers from `first` on; wall and CPU seconds until all are committed."""
        wall, cpu = time.perf_counter(), time.process_time()
        for start in range(0, len(names), GROUP):
            group = names[start : start + GROUP]
            self._wait(len(group))
            with self._changed:
                self._free -= len(group)
            for place, name in enumerate(group, first + start):
                store.put(name, self.expected(place), self._done, place)
        self._wait(IN_FLIGHT)
        if store.failure is not None:
            raise store.failure
        return time.perf_counter() - wall, time.process_time() - cpu


def look_up(store: Store, filler: Filler, count: int) -> Iterator[tuple[str, float, float]]:
    """Per query of keys that are there ("found") or are not ("missing"): wall and CPU seconds."""
    chance = random.Random(count)
    for _ in range(QUERIES):
        for kind in ("found", "missing"):
            numbers = chance.sample(range(count), GROUP)
            asked = keys(kind if kind == "missing" else "stored", numbers)
            wall, cpu = time.perf_counter(), time.process_time()
            found = store.get(asked)
            yield kind, time.perf_counter() - wall, time.process_time() - cpu
            right = {} if kind == "missing" else dict(zip(asked, map(filler.expected, numbers), strict=True))
            if found != right:
                raise SystemExit(f"at {count} entries the store gave something else than was put")


def from_proc(name: str, field: str) -> int:
    """A number that /proc tells of this process: RssAnon in KiB, wchar (what it has written to files) in bytes."""
    for line in Path("/proc/self", name).read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    raise LookupError(f"no {field} in /proc/self/{name}")


def measure(path: Path, entries: int) -> None:
    """Fill the store at `path`, or go on with it, and print a row of the table at every mark."""
    print("| entries | inserts/s | per CPU second | found keys/s | per CPU second | missing keys/s | per CPU second "
          "| KiB written an insert | file, MiB | bytes an entry | opening, s | RssAnon, MiB |")  # fmt: skip
    print("| ---: " * 12 + "|", flush=True)
    filler, store = Filler(), Store(path)
    count, memory = len(store), 0
    took: list[tuple[int, float, float]] = []
    marks = sorted({mark for mark in MARKS if count < mark < entries} | {entries})
    for mark in marks:
        before, written = count, from_proc("io", "wchar")
        while count < mark:
            names = keys("stored", range(count, min(count + SLICE, mark)))
            wall, cpu = filler.fill(store, count, names)
            took.append((len(names), wall, cpu))
            count += len(names)
            memory = max(memory, from_proc("status", "RssAnon"))
        written = from_proc("io", "wchar") - written
        inserts = [statistics.median(n / seconds[i] for n, *seconds in took[-LAST:]) for i in (0, 1)]
        asked = list(look_up(store, filler, count))
        rates = [
            GROUP / statistics.median(seconds[i] for one, *seconds in asked if one == kind)
            for kind in ("found", "missing")
            for i in (0, 1)
        ]
        memory = max(memory, from_proc("status", "RssAnon"))
        store.close()
        size = path.stat().st_size
        started = time.perf_counter()
        store = Store(path)
        opening = time.perf_counter() - started
        figures = " | ".join(f"{rate:,.0f}" for rate in (*inserts, *rates))
        print(
            f"| {count:,} | {figures} | {written / 1024 / max(count - before, 1):.1f} | {size / 2**20:,.0f} "
            f"| {size / count:.1f} | {opening:.1f} | {memory / 1024:.0f} |",
            flush=True,
        )
        memory = 0
    store.close()


def main() -> None:
    """Print the table for a store in a folder that is removed afterwards."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=MARKS[-1], help="responses in the store at the end")
    parser.add_argument("--work", type=Path, help="folder for the store: on the disk that is to be measured")
    parser.add_argument("--store", type=Path, help="a store that this script has begun, to go on with; it is kept")
    given = parser.parse_args()
    if given.store is not None:
        measure(given.store, given.entries)
        return
    if given.work is not None:
        given.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given.work) as folder:
        measure(Path(folder) / "store.sqlite", given.entries)


if __name__ == "__main__":
    main()
