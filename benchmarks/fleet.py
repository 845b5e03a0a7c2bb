"""Several engines as one: how well work spreads over workers, and how many requests/s the driver itself can pass on.

    python benchmarks/fleet.py scaling --workers 1 2          # engines that burn a fixed CPU time, pinned to a core each
    python benchmarks/fleet.py ceiling --workers 1 2 4        # engines that answer at once: what is left is the driver
    python benchmarks/fleet.py scaling --executor ray         # the same over Ray actors on this machine

Prompts are as long as real ones (2,400 characters, no two alike). No store and no pipeline: those are `pipeline.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from arhn_hf.engines.base import Engine, Request, Response
from arhn_hf.engines.fleet import Fleet
from arhn_hf.engines.processes import ProcessWorker

REPLY = Response('{"answer": "the last words of this passage"}', "stop", {"prompt": 600, "completion": 12})
IN_FLIGHT = 2048
GPU_RATE = 30  # requests/s of one GPU, for "how many can it feed"


class Instant(Engine):
    """Answers at once."""

    def __init__(self) -> None:
        self.identity = {"engine": "instant"}

    def submit(self, request: Request) -> Future[Response]:
        future: Future[Response] = Future()
        future.set_result(REPLY)
        return future


class Burning(Engine):
    """Burns `seconds` of CPU time a request, on a core of its own: the n-th line in `places` gets the n-th core."""

    def __init__(self, places: str, seconds: float) -> None:
        self.identity = {"engine": "burning"}
        with Path(places).open("a") as file:
            file.write("x")
            file.flush()
            number = os.fstat(file.fileno()).st_size - 1
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[number % len(cores)]})
        self._seconds, self._pool = seconds, ThreadPoolExecutor(1)

    def submit(self, request: Request) -> Future[Response]:
        return self._pool.submit(self._burn)

    def _burn(self) -> Response:
        end = time.thread_time() + self._seconds
        while time.thread_time() < end:
            sum(range(500))
        return REPLY


def requests(count: int) -> list[Request]:
    """Seeded prompts, no two alike."""
    chooser = random.Random(1)
    words = ["".join(chooser.choices("abcdefghij", k=5)) for _ in range(3000)]
    system = {"role": "system", "content": " ".join(chooser.choices(words, k=200))}
    return [
        Request(
            "answer",
            {
                "messages": [system, {"role": "user", "content": " ".join(chooser.choices(words, k=200))}],
                "schema": {"type": "object"}, "max_tokens": 512,
            },
        )
        for _ in range(count)
    ]  # fmt: skip


def measured(fleet: Fleet, asked: list[Request]) -> dict[str, float]:
    """Seconds from the first request to the last response, and the driver's CPU time, with IN_FLIGHT requests open."""
    places, left, ended = threading.Semaphore(IN_FLIGHT), [len(asked)], threading.Event()

    def done(future: Future[Response]) -> None:
        future.result()
        places.release()
        with lock:
            left[0] -= 1
            if not left[0]:
                ended.set()

    lock = threading.Lock()
    wall, cpu = time.perf_counter(), time.process_time()
    for one in asked:
        places.acquire()
        fleet.submit(one).add_done_callback(done)
    ended.wait()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "requests_per_second": round(len(asked) / wall, 1),
        "driver_cpu_microseconds_per_request": round(cpu / len(asked) * 1e6, 1),
    }


def opened(build: Any, workers: int, executor: str) -> Fleet:
    """A fleet of this many workers."""
    if executor == "processes":
        return Fleet([ProcessWorker(f"worker {n + 1}", build) for n in range(workers)], max_in_flight=IN_FLIGHT)
    from arhn_hf.engines.ray import Cluster

    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    cluster = Cluster("local")
    return Fleet(cluster.workers(build, workers, gpus=0), max_in_flight=IN_FLIGHT, on_close=cluster.close)


def main() -> None:
    import fleet as importable  # what is defined in a script is unknown to other processes

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("scaling", "ceiling"))
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--executor", choices=("processes", "ray"), default="processes")
    parser.add_argument("--requests", type=int, help="default: 2,000 to burn, 100,000 to answer at once")
    parser.add_argument("--milliseconds", type=float, default=10.0, help="CPU time that one request burns")
    options = parser.parse_args()
    asked = requests(options.requests or (2_000 if options.what == "scaling" else 100_000))
    found: dict[str, Any] = {"what": options.what, "executor": options.executor, "load_before": os.getloadavg()[0]}
    for workers in options.workers:
        with tempfile.TemporaryDirectory() as scratch:
            places = str(Path(scratch) / "places")
            build = importable.Instant
            if options.what == "scaling":
                build = partial(importable.Burning, places, options.milliseconds / 1000)
            fleet = opened(build, workers, options.executor)
            try:
                one = measured(fleet, asked)
            finally:
                fleet.close()
        if options.what == "ceiling":
            one["gpus_at_30_requests_per_second"] = round(one["requests_per_second"] / GPU_RATE)
        found[f"workers {workers}"] = one
    if options.what == "scaling":
        rates = [found[f"workers {workers}"]["requests_per_second"] for workers in options.workers]
        found["speed_up"] = [round(rate / rates[0], 2) for rate in rates]
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
