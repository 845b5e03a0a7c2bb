"""Memory that the index of a source takes, in anonymous bytes a row: `python benchmarks/index_memory.py`.

What lies in memory-mapped files is not counted: the system writes it back when something else needs the space. Every size runs in a
process of its own; the figure is the slope between the two sizes, of the peak while the source is indexed and of what stays.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pyarrow as pa
from datasets import Dataset

from arhn_hf.formats import detect
from arhn_hf.stages.index import build_index

SIZES = (200_000, 600_000)


def anonymous() -> int:
    """RssAnon of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    raise LookupError("no RssAnon in /proc/self/status")


def write_source(path: Path, rows: int, repeats: int) -> None:
    """Triplets in an Arrow file; every query occurs `repeats` times, far apart."""
    schema = pa.schema([(name, pa.string()) for name in ("anchor", "positive", "negative")])
    queries = rows // repeats
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for start in range(0, rows, 10_000):
            numbers = range(start, min(start + 10_000, rows))
            columns = [
                [f"question number {i % queries}" for i in numbers],
                [f"right answer {i}" for i in numbers],
                [f"wrong answer {i}" for i in numbers],
            ]
            writer.write_batch(pa.record_batch([pa.array(one) for one in columns], schema=schema))


def measure(path: Path) -> dict[str, float]:
    """Build the index of the file; peak and lasting growth of anonymous memory, in bytes, and seconds."""
    source = Dataset.from_file(str(path))
    form = detect(source.features)
    build_index(source.select(range(2000)), form)
    before, peak, done = anonymous(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            peak[0] = max(peak[0], anonymous())

    thread = threading.Thread(target=watch)
    thread.start()
    started = time.monotonic()
    index = build_index(source, form)
    rows = index.dataset(index.sample(None, 0))
    seconds = time.monotonic() - started
    done.set()
    thread.join()
    return {"peak": peak[0] - before, "stays": anonymous() - before, "seconds": seconds, "judged": len(rows)}


def main() -> None:
    """Print bytes a row for triplets whose queries occur once and three times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", type=Path)
    parser.add_argument("--sizes", type=int, nargs=2, default=SIZES, help="source rows of the two runs")
    parser.add_argument("--repeats", type=int, nargs="+", default=(1, 3), help="how often each query occurs")
    given = parser.parse_args()
    if given.measure is not None:
        print(json.dumps(measure(given.measure)))
        return
    for repeats in given.repeats:
        found = []
        for rows in given.sizes:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "source.arrow"
                write_source(path, rows, repeats)
                words = [sys.executable, __file__, "--measure", str(path)]
                found.append(json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout))
        small, large = found
        more = given.sizes[1] - given.sizes[0]
        slope = {key: (large[key] - small[key]) / more for key in ("peak", "stays")}
        print(
            f"each query {repeats}x: {slope['peak']:.0f} bytes a row at the peak, {slope['stays']:.0f} stay; "
            f"{large['seconds'] / given.sizes[1] * 1e6:.0f} s for a million rows"
        )


if __name__ == "__main__":
    main()
