"""Data in the schemas we write, and the environments of the libraries that have to read it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

HERE = Path(__file__).resolve().parent
VARIANT = "combined"

CARD = """---
configs:
- config_name: combined
  default: true
  data_files:
  - split: train
    path: combined/train-*
- config_name: evidence
  data_files:
  - split: train
    path: evidence/train-*
---
# A refined dataset, made by hand for the tests
"""


@pytest.fixture(scope="session")
def require_or_skip() -> Callable[[str, str], NoReturn]:
    """Skip for a missing part, unless ARHN_REQUIRE (a comma list) names it: then its absence is a failure.

    On a machine that promises the part a skipped test would pass for a passed one.
    """
    required = [part.strip() for part in os.environ.get("ARHN_REQUIRE", "").split(",")]

    def absent(part: str, reason: str) -> NoReturn:
        if part in required:
            pytest.fail(f"{part} is required here: {reason}", pytrace=False)
        pytest.skip(reason)

    return absent


@pytest.fixture(scope="session")
def consume(require_or_skip) -> Callable[..., dict]:
    """Run a consumer script under its environment's python; returns the JSON line it prints."""
    root = os.environ.get("ARHN_CONSUMERS")
    if not root:
        require_or_skip("consumers", "ARHN_CONSUMERS names no folder of environments (make it with environments.py)")
    checked = subprocess.run(
        [sys.executable, HERE / "environments.py", root, "--check"], capture_output=True, text=True, check=False
    )
    if checked.returncode:
        require_or_skip("consumers", f"ARHN_CONSUMERS={root}: {checked.stdout.strip() or checked.stderr.strip()}")

    def run(environment: str, script: str, *arguments: str | Path) -> dict:
        command = [Path(root).resolve() / environment / "bin" / "python", HERE / script, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        lines = done.stdout.splitlines()
        assert len(lines) == 1, f"{script} printed {done.stdout!r} and died with\n{done.stderr[-2000:]}"
        verdict = json.loads(lines[0])
        assert verdict["ok"] == (done.returncode == 0)
        return verdict

    return run


def source_rows() -> list[dict]:
    """Nine questions with one to four negatives each, scored: the last negative of every third row is a false one."""
    rows = []
    for i in range(9):
        texts = [f"Café number {i} opens at {i} o'clock."] + [
            f"Tea room {i}.{j} has no hours." for j in range(1 + i % 4)
        ]
        passages = [
            {"docid": f"d{i}-{j}", "title": f"Café {i}" if j % 2 == 0 else "", "text": text, "score": i + j / 8}
            for j, text in enumerate(texts)
        ]
        rows.append({"query_id": f"q{i}", "query": f"When does café {i} open?", "passages": passages, "positives": 1})
    return rows


def refined_rows() -> list[dict]:
    """The same rows after relabelling, never left without a negative: what our default writes."""
    rows = source_rows()
    for row in rows[::3]:
        if len(row["passages"]) > 2:
            row["passages"].insert(1, row["passages"].pop())
            row["positives"] = 2
    return rows


def in_schema(kind: str, rows: list[dict]) -> list[dict]:
    """The rows as `--to KIND` writes them."""
    out = []
    for row in rows:
        positives, negatives = row["passages"][: row["positives"]], row["passages"][row["positives"] :]
        query, positive = row["query"], positives[0]["text"]
        if kind == "triplet":
            out += [{"anchor": query, "positive": positive, "negative": negative["text"]} for negative in negatives]
        elif kind == "n-tuple":
            if len(negatives) >= 2:  # a fixed number of columns: shorter rows cannot be told in this schema
                out.append(
                    {"anchor": query, "positive": positive}
                    | {f"negative_{n}": negative["text"] for n, negative in enumerate(negatives[:2], 1)}
                )
        elif kind == "labeled-pair":
            out += [{"anchor": query, "document": passage["text"], "label": 1} for passage in positives]
            out += [{"anchor": query, "document": passage["text"], "label": 0} for passage in negatives]
        elif kind == "tevatron":
            pair = {"positive_passages": positives, "negative_passages": negatives}
            passages = {
                name: [{field: passage[field] for field in ("docid", "title", "text")} for passage in side]
                for name, side in pair.items()
            }
            out.append({"query_id": row["query_id"], "query": query, **passages, "subset": "cafés"})
        elif kind == "flagembedding":
            scored = {"pos_scores": [p["score"] for p in positives], "neg_scores": [p["score"] for p in negatives]}
            pos_neg = {"pos": [p["text"] for p in positives], "neg": [p["text"] for p in negatives]}
            out.append({"query": query, **pos_neg, **scored, "prompt": "Find the opening hours: "})
    return out


def write_shards(rows: list[dict], folder: Path, suffix: str, shards: int = 2) -> Path:
    """Write `train-00000-of-0000N.SUFFIX` files, as a variant has them."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        path = folder / f"train-{shard:05}-of-{shards:05}.{suffix}"
        part = rows[shard::shards]
        if suffix == "parquet":
            pq.write_table(pa.Table.from_pylist(part), path)
        else:
            path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in part), encoding="utf-8")
    return folder


# ---------------------------------------------------------------------------------------------------------------------
# THE PLACE TO SWAP: let this one function write the folder by `arhn-hf refine SOURCE --to KIND` (for "flagembedding"
# from the jsonl of `flagembedding_source`) and every check below runs on what the tool really writes.
# ---------------------------------------------------------------------------------------------------------------------
def write_refined_folder(kind: str, folder: Path) -> None:
    """Write a whole output folder for this schema: card, variant, evidence and lineage."""
    write_shards(in_schema(kind, refined_rows()), folder / VARIANT, "jsonl" if kind == "flagembedding" else "parquet")
    write_shards([{"row": 0, "label": "positive"}], folder / "evidence", "parquet", shards=1)
    (folder / "README.md").write_text(CARD, encoding="utf-8")
    (folder / "arhn.json").write_text('{"evidence_version": 1}\n', encoding="utf-8")


@pytest.fixture(scope="session")
def refined_folders(tmp_path_factory) -> dict[str, Path]:
    """Kind of schema → an output folder in that schema."""
    folders = {}
    for kind in ("triplet", "n-tuple", "labeled-pair", "tevatron", "flagembedding"):
        folders[kind] = tmp_path_factory.mktemp("refined") / kind
        write_refined_folder(kind, folders[kind])
    return folders


@pytest.fixture(scope="session")
def flagembedding_source(tmp_path_factory) -> Path:
    """The FlagEmbedding data before it was refined, with its scores."""
    return write_shards(in_schema("flagembedding", source_rows()), tmp_path_factory.mktemp("source"), "jsonl")
