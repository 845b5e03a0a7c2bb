"""What the pipeline itself costs: a whole `refine` with an engine that answers at once.

It writes a seeded source of the asked size (one positive and four negatives a row, about 100 tokens each, no two
alike), refines it in a process of its own with the durable store on disk, and prints requests per second, seconds per
stage and the peak of RssAnon. RssAnon and not RSS, because memory-mapped Arrow files count in RSS although the kernel
may drop them at any time.

    python benchmarks/pipeline.py --rows 10000 100000 1000000
    python benchmarks/pipeline.py --rows 50000 --parts 2
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from concurrent.futures import Future
from pathlib import Path
from typing import Any

SEED = 7
NEGATIVES = 4
ANSWERING = 0.4  # share of the negatives that hold an answer; ARHN found 1.6 + 2.2 of ten
WORDS = 75  # about 100 tokens
MARK = "It was settled"  # how the answer sentence of a passage begins
SHARD, ROW_GROUP = 100_000, 1000  # rows
SAMPLE_EVERY = 0.02  # seconds between two looks at RssAnon


def write_source(folder: Path, rows: int) -> None:
    """Tevatron-style parquet shards; the positives and `ANSWERING` of the negatives hold an answer sentence."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    passage = pa.struct([("docid", pa.string()), ("title", pa.string()), ("text", pa.string())])
    schema = pa.schema(
        [
            ("query_id", pa.string()), ("query", pa.string()), ("positive_passages", pa.list_(passage)),
            ("negative_passages", pa.list_(passage)), ("subset", pa.string()),
        ]
    )  # fmt: skip
    chance = np.random.default_rng(SEED)
    syllables = ["ba", "den", "fir", "go", "hul", "ka", "lim", "mor", "ne", "os", "pra", "qui", "ru", "sta", "tel"]
    vocabulary = ["".join(chance.choice(syllables, size=n)) for n in chance.integers(1, 5, size=20_000)]
    often = 1.0 / np.arange(2, len(vocabulary) + 2)  # Zipf, as in real text
    often /= often.sum()

    def text(drawn: np.ndarray, answers: bool) -> str:
        words = [vocabulary[i] for i in drawn]
        sentences = [" ".join(words[start : start + 15]).capitalize() for start in range(0, WORDS, 15)]
        if answers:
            sentences[2] = f"{MARK} by {sentences[2].lower()}"
        return ". ".join(sentences) + "."

    def table(start: int, count: int) -> pa.Table:
        drawn = chance.choice(len(vocabulary), size=(count * (NEGATIVES + 1), WORDS), p=often)
        answering = chance.random(size=(count, NEGATIVES + 1)) < ANSWERING
        answering[:, 0] = True
        made = []
        for row in range(count):
            first = row * (NEGATIVES + 1)
            passages = [
                {"docid": f"d{start + row}-{i}", "title": f"{vocabulary[drawn[first + i][0]]} {start + row}",
                 "text": text(drawn[first + i], bool(answering[row, i]))}
                for i in range(NEGATIVES + 1)
            ]  # fmt: skip
            query = f"what {' '.join(vocabulary[i] for i in drawn[first][20:28])} {start + row}"
            made.append(
                {"query_id": f"q{start + row}", "query": query, "positive_passages": passages[:1],
                 "negative_passages": passages[1:], "subset": f"part{row % 3}"}
            )  # fmt: skip
        return pa.Table.from_pylist(made, schema=schema)

    folder.mkdir(parents=True)
    shards = range(0, rows, SHARD)
    for number, shard in enumerate(shards):
        with pq.ParquetWriter(folder / f"train-{number:05d}-of-{len(shards):05d}.parquet", schema) as writer:
            for start in range(shard, min(shard + SHARD, rows), ROW_GROUP):
                writer.write_table(table(start, min(ROW_GROUP, rows - start)))


def refine(source: Path, output: Path, pace: float | None = None, shard: str | None = None) -> dict[str, Any]:
    """One run in this process, with an engine that answers at once, or `pace` requests a second; what it took. `shard`: one part only."""
    from arhn_hf.config import RunConfig
    from arhn_hf.engines.base import Engine, Request, Response
    from arhn_hf.judges.asking import Asker
    from arhn_hf.judges.llm import LLMJudge
    from arhn_hf.monitor import Monitor
    from arhn_hf.pipeline import run_refine
    from arhn_hf.store import Store

    nothing = '{"answer": null}'

    class InstantEngine(Engine):
        """Answers inside `submit`: the marked sentence, if there is one; ranks by the passages' own fence marks."""

        identity = {"engine": "instant"}

        def submit(self, request: Request) -> Future[Response]:
            shown = request.payload["messages"][1]["content"]
            if request.kind == "answer":
                start = shown.find(MARK)
                answer = nothing if start < 0 else json.dumps({"answer": shown[start : shown.find(".", start)]})
            else:
                marks = [part[:16] for part in shown.split("<<passage ")[1:]]
                answer = str(sorted(range(1, len(marks) + 1), key=lambda i: marks[i - 1]))
            future: Future[Response] = Future()
            response = Response(answer, "stop", {"prompt": 300, "completion": 20})
            if pace is None:
                future.set_result(response)
            else:
                waiting.append((future, response))
            return future

    waiting: deque[tuple[Future[Response], Response]] = deque()

    def answer_in_turn() -> None:
        """As many of those that wait as the pace allows; an engine with nothing to do saves nothing up."""
        due, before = 0.0, time.monotonic()
        while True:
            time.sleep(0.005)
            now = time.monotonic()
            due, before = due + (now - before) * (pace or 0), now
            while due >= 1 and waiting:
                future, response = waiting.popleft()
                future.set_result(response)
                due -= 1
            due = min(due, 1.0) if not waiting else due

    if pace is not None:
        threading.Thread(target=answer_in_turn, daemon=True).start()

    def factory(config: RunConfig, store: Store, monitor: Monitor) -> tuple[LLMJudge, Asker]:
        asker = Asker(InstantEngine(), store, max_in_flight=config.max_in_flight, stop=monitor.stop)
        judge = LLMJudge(
            asker, name="instant", about={"kind": "instant", "model": "instant", "revision": None},
            orders=config.orders, window_size=config.window_size, window_positives=config.window_positives,
            seed=config.seed, rank_input=config.rank_input, max_chunks=config.max_chunks,
        )  # fmt: skip
        return judge, asker

    config = RunConfig.from_mapping({"source": str(source), "output": str(output), "shard": shard})
    wall, cpu = time.perf_counter(), time.process_time()
    result = run_refine(config, Monitor(), factory)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    requests = result.report["requests"]
    return {
        "rows": result.report["rows"]["source"], "requests": requests["sent"], "answers": requests["answers"],
        "rankings": requests["rankings"], "decisions": result.report["decisions"], "exit_code": result.exit_code,
        "seconds": round(wall, 3), "cpu_seconds": round(cpu, 3), "requests_per_second": round(requests["sent"] / wall),
        "requests_per_cpu_second": round(requests["sent"] / cpu),
    }  # fmt: skip


def stage_seconds(log: Path) -> dict[str, float]:
    """Seconds between one stage event of `run.jsonl` and the next event, by stage; what comes before is not in the log."""
    events = [json.loads(line) for line in log.read_text().splitlines()]
    marks = [event for event in events if event["event"] in ("stage", "finished")]
    seconds: dict[str, float] = {}
    for here, after in zip(marks, marks[1:], strict=False):
        seconds[here["stage"]] = round(seconds.get(here["stage"], 0.0) + after["time"] - here["time"], 3)
    return seconds


def measure(rows: int, folder: Path) -> dict[str, Any]:
    """Write a source, refine it in a process of its own, and watch that process's RssAnon."""
    source, output, answer = folder / f"source-{rows}", folder / f"out-{rows}", folder / f"result-{rows}.json"
    if not source.exists():
        write_source(source, rows)
    shutil.rmtree(output, ignore_errors=True)
    cache = folder / f"cache-{rows}"
    shutil.rmtree(cache, ignore_errors=True)
    command = [sys.executable, str(Path(__file__).resolve()), "--refine", str(source), str(output)]
    environment = {**os.environ, "HF_DATASETS_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    with answer.open("w") as file:
        child = subprocess.Popen(command, stdout=file, env=environment)
        peak = 0
        while child.poll() is None:
            peak = max(peak, rss_anon(child.pid))
            time.sleep(SAMPLE_EVERY)
    if child.returncode:
        raise SystemExit(f"the run over {rows} rows failed")
    found: dict[str, Any] = json.loads(answer.read_text())
    found["rss_anon_mib"] = round(peak / 1024, 1)
    stages = stage_seconds(output / ".arhn" / "run.jsonl")
    before = max(0.0, found["seconds"] - sum(stages.values()))
    found["stages"] = {"loading, indexing": round(before, 3), **stages}
    return found


def parts(rows: int, count: int, folder: Path) -> dict[str, Any]:
    """The same source in `count` parts at once, each in a process of its own, and what joining them takes."""
    from arhn_hf.merging import merge

    source = folder / f"source-{rows}"
    if not source.exists():
        write_source(source, rows)
    outputs = [folder / f"part-{number}" for number in range(1, count + 1)]
    for output in (*outputs, folder / "merged"):
        shutil.rmtree(output, ignore_errors=True)
    environment = {**os.environ, "HF_DATASETS_CACHE": str(folder / f"cache-{rows}"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, str(Path(__file__).resolve()), "--refine", str(source)]
    wall = time.perf_counter()
    children = [
        subprocess.Popen(
            [*command, str(output), "--shard", f"{number}/{count}"], stdout=subprocess.PIPE, env=environment
        )
        for number, output in enumerate(outputs, start=1)
    ]
    said = [child.communicate()[0] for child in children]
    wall = time.perf_counter() - wall
    if any(child.returncode for child in children):
        raise SystemExit("a part failed")
    requests = sum(json.loads(one)["requests"] for one in said)
    joining = time.perf_counter()
    merge(outputs, folder / "merged", source=str(source))
    joining = time.perf_counter() - joining
    return {
        "parts": count, "requests": requests, "seconds": round(wall, 1), "requests_per_second": round(requests / wall),
        "joining_seconds": round(joining, 1),
    }  # fmt: skip


def rss_anon(pid: int) -> int:
    """KiB of anonymous memory of a process, 0 once it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


def table(runs: list[dict[str, Any]]) -> str:
    """The runs side by side, in Markdown."""
    head = ["", *(f"{run['rows']:,} rows" for run in runs)]
    lines = [
        ["requests", *(f"{run['requests']:,}" for run in runs)],
        ["requests/s", *(f"{run['requests_per_second']:,}" for run in runs)],
        ["requests per CPU second", *(f"{run['requests_per_cpu_second']:,}" for run in runs)],
        ["seconds", *(f"{run['seconds']:.1f}" for run in runs)],
        *([f"– {stage}", *(f"{run['stages'].get(stage, 0.0):.1f}" for run in runs)] for stage in runs[0]["stages"]),
        ["peak RssAnon, MiB", *(f"{run['rss_anon_mib']:.0f}" for run in runs)],
        ["RssAnon ÷ first", *(f"{run['rss_anon_mib'] / runs[0]['rss_anon_mib']:.2f}" for run in runs)],
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000], help="sizes, one process each")
    parser.add_argument(
        "--parts", type=int, help="instead: the first size in so many parts at once (--shard), then merged"
    )
    parser.add_argument("--shard", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help="keep sources and outputs here [default: a temporary folder]")
    parser.add_argument("--refine", type=Path, nargs=2, metavar=("SOURCE", "OUTPUT"), help=argparse.SUPPRESS)
    parser.add_argument("--pace", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.refine:
        print(json.dumps(refine(*options.refine, options.pace, options.shard)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.work or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if options.parts:
            print(json.dumps(parts(options.rows[0], options.parts, folder)))
            return
        load = os.getloadavg()[0]
        runs = [measure(rows, folder) for rows in options.rows]
    machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "load_before": round(load, 2)}
    print(json.dumps({"machine": machine, "runs": runs}, indent=1, ensure_ascii=False))
    print()
    print(table(runs))


if __name__ == "__main__":
    main()
