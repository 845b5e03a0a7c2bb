"""What the command-line tests share: running a command here, its outcome, and small sources of every schema."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from scripted import ScriptedEngine, scripted_judge, scripted_reply

from arhn_hf import pipeline, pushing
from arhn_hf.config import RunConfig
from arhn_hf.monitor import Monitor

HEAD = {"schema", "command", "status", "exit_code", "error"}
STATUS = {0: "done", 1: "failed", 2: "usage", 3: "gate"}


@dataclass
class Outcome:
    """Exit code and both streams of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object on stdout; fails if there is anything else, or if its head contradicts the exit code."""
        lines = self.out.splitlines()
        assert len(lines) == 1, f"stdout: {self.out!r}, stderr: {self.err!r}"
        found = json.loads(lines[0])
        assert found.keys() >= HEAD
        assert found["schema"] == "arhn-hf/1"
        assert found["exit_code"] == self.code
        assert found["status"] == STATUS[self.code]
        assert (found["error"] is None) == (self.code in (0, 3))
        return found

    @property
    def error(self) -> str:
        """The one line of an error on stderr, which is its last; nothing of a result is on stdout."""
        assert self.out == ""
        last = self.err.splitlines()[-1]
        assert last.startswith("Error: "), self.err
        return last


def cli(*words: Any, env: dict[str, str] | None = None) -> Outcome:
    """Run `arhn-hf WORDS…` in this process, by the entry point that the console script calls."""
    from arhn_hf.cli.main import run

    out, err = io.StringIO(), io.StringIO()
    handler, before = signal.getsignal(signal.SIGTERM), dict(os.environ)
    os.environ.update(env or {})
    code = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                run([str(word) for word in words])
            except SystemExit as end:
                code = int(end.code or 0)
    finally:
        signal.signal(signal.SIGTERM, handler)
        os.environ.clear()
        os.environ.update(before)
    return Outcome(code, out.getvalue(), err.getvalue())


def process(*words: Any, **options: Any) -> Outcome:
    """Run `arhn-hf WORDS…` in a process of its own: real streams, a real exit code."""
    command = [sys.executable, "-m", "arhn_hf.cli.main", *(str(word) for word in words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)
    return Outcome(done.returncode, done.stdout, done.stderr)


@dataclass
class Asked:
    """What a scripted `arhn-hf refine` asked, over all runs of a test."""

    engines: list[ScriptedEngine] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Requests that reached an engine."""
        return sum(engine.count for engine in self.engines)


def use_reply(monkeypatch: pytest.MonkeyPatch, reply: Any = scripted_reply) -> Asked:
    """Make `arhn-hf refine` ask scripted engines that reply so, a new one for every run."""
    original, asked = pipeline.run_refine, Asked()

    def run(config: RunConfig, monitor: Monitor, *more: Any) -> pipeline.RefineResult:
        asked.engines.append(ScriptedEngine(reply))
        return original(config, monitor, scripted_judge(asked.engines[-1]))

    monkeypatch.setattr(pushing, "run_refine", run)
    return asked


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Rows as a jsonl file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def tevatron_row(number: int, query: Any, positives: list[Any], negatives: list[Any], **more: Any) -> dict[str, Any]:
    """A Tevatron row of plain texts (`None` allowed: a row that cannot be judged)."""
    sides = {
        f"{side}_passages": [{"docid": f"{number}{side[0]}{i}", "title": "", "text": t} for i, t in enumerate(texts)]
        for side, texts in (("positive", positives), ("negative", negatives))
    }
    return {"query_id": f"q{number}", "query": query, **sides, **more}


TOPICS = ("harbour lights", "winter wheat", "copper roofs", "river barges", "glass lenses", "paper mills")


def texts(topic: str, count: int, kind: str) -> list[str]:
    """Different sentences about a topic, far from each other as word sets."""
    return [
        f"Note {kind}{i} on {topic} {hashlib.sha256(f'{topic}{kind}{i}'.encode()).hexdigest()[:8]} tells of "
        + " ".join(f"{kind}{i}w{k}x{len(topic)}" for k in range(8))
        for i in range(count)
    ]


def six_rows(**more: Any) -> list[dict[str, Any]]:
    """Six plain Tevatron rows, of one or two positives and five negatives each."""
    return [
        tevatron_row(n, f"what is known about {t}", texts(t, 1 + n % 2, "pos"), texts(t, 5, "neg"), **more)
        for n, t in enumerate(TOPICS)
    ]


def sources_of_every_schema(folder: Path) -> dict[str, tuple[Path, Path | None]]:
    """The six rows in every schema that is read: name → (source, corpus)."""
    rows = six_rows(subset="plain")
    flat = [
        (row["query"], [p["text"] for p in row["positive_passages"]], [p["text"] for p in row["negative_passages"]])
        for row in rows
    ]
    documents = [p for row in rows for side in ("positive", "negative") for p in row[f"{side}_passages"]]
    ids = [
        {"query_id": row["query_id"], "query_text": row["query"]}
        | {f"{s}_document_ids": [p["docid"] for p in row[f"{s}_passages"]] for s in ("positive", "negative")}
        for row in rows
    ]
    scored = [
        {
            "query": q,
            "pos": p,
            "neg": n,
            "pos_scores": [0.5 + i for i in range(len(p))],
            "neg_scores": [0.1 * i for i in range(len(n))],
            "prompt": "Find the note.",
            "type": "normal",
        }
        for q, p, n in flat
    ]
    triplets = [{"anchor": q, "positive": p, "negative": n} for q, ps, ns in flat for p in ps for n in ns]
    tuples = [
        {"anchor": q, "positive": p, **{f"negative_{i + 1}": n for i, n in enumerate(ns[:4])}}
        for q, ps, ns in flat
        for p in ps
    ]
    pairs = [
        {"sentence1": q, "sentence2": t, "label": label}
        for q, ps, ns in flat
        for label, ts in ((1, ps), (0, ns))
        for t in ts
    ]
    return {
        "tevatron": (write_jsonl(folder / "tevatron.jsonl", rows), None),
        "tevatron-ids": (write_jsonl(folder / "ids.jsonl", ids), write_jsonl(folder / "corpus.jsonl", documents)),
        "flagembedding": (write_jsonl(folder / "flag.jsonl", scored), None),
        "triplet": (write_jsonl(folder / "triplet.jsonl", triplets), None),
        "n-tuple": (write_jsonl(folder / "tuples.jsonl", tuples), None),
        "labeled-pair": (write_jsonl(folder / "pairs.jsonl", pairs), None),
    }


def parquet_of(folder: Path, name: str) -> Path:
    """The only file of a variant or of the evidence."""
    (found,) = sorted((folder / name).glob("train-*.parquet"))
    return found


def edit_rows(folder: Path, name: str, change: Any) -> None:
    """Rewrite the rows of a variant or of the evidence: `change` gets the list of dicts and may return another."""
    path = parquet_of(folder, name)
    table = pq.read_table(path)
    rows = table.to_pylist()
    changed = change(rows)
    pq.write_table(table.from_pylist(rows if changed is None else changed, schema=table.schema), path)


def evidence(folder: Path) -> list[dict[str, Any]]:
    """The evidence rows."""
    return pq.read_table(parquet_of(folder, "evidence")).to_pylist()


def promises(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The promises of a `check` object by name."""
    return {one["name"]: one for one in report["promises"]}
