"""Data in the schemas we write, and the environments of the libraries that have to read it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from requiring import skip_or_fail
from scripted import ScriptedEngine, scripted_judge

from arhn_hf.config import RunConfig
from arhn_hf.monitor import Monitor
from arhn_hf.pipeline import run_refine

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


@pytest.fixture(scope="session")
def consume() -> Callable[..., dict]:
    """Run a consumer script under its environment's python; returns the JSON line it prints."""
    root = os.environ.get("ARHN_CONSUMERS")
    if not root:
        skip_or_fail("consumers", "ARHN_CONSUMERS names no folder of environments (make it with environments.py)")
    checked = subprocess.run(
        [sys.executable, HERE / "environments.py", root, "--check"], capture_output=True, text=True, check=False
    )
    if checked.returncode:
        skip_or_fail("consumers", f"ARHN_CONSUMERS={root}: {checked.stdout.strip() or checked.stderr.strip()}")

    def run(environment: str, script: str, *arguments: str | Path) -> dict:
        command = [Path(root).resolve() / environment / "bin" / "python", HERE / script, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        lines = done.stdout.splitlines()
        assert len(lines) == 1, f"{script} printed {done.stdout!r} and died with\n{done.stderr[-2000:]}"
        verdict = json.loads(lines[0])
        assert verdict["ok"] == (done.returncode == 0)
        return verdict

    return run


def sample_rows() -> list[dict]:
    """The sample's rows, a score on every passage that tells it apart."""
    lines = (ROOT / "examples" / "hard-negatives" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="session")
def flagembedding_source(tmp_path_factory) -> Path:
    """The sample in FlagEmbedding's schema before it is refined, a different score on every passage of a row."""
    folder = tmp_path_factory.mktemp("source")
    with (folder / "train.jsonl").open("w", encoding="utf-8") as file:
        for row in sample_rows():
            pos = [f"{p['title']} {p['text']}".strip() for p in row["positive_passages"]]
            neg = [f"{p['title']} {p['text']}".strip() for p in row["negative_passages"]]
            scores = {
                "pos_scores": [20 + i / 8 for i in range(len(pos))],
                "neg_scores": [i / 8 for i in range(len(neg))],
            }
            item = {"query": row["query"], "pos": pos, "neg": neg, **scores, "prompt": "Find passages that answer: "}
            file.write(json.dumps(item, ensure_ascii=False) + "\n")
    return folder


@pytest.fixture(scope="session")
def refined_folders(tmp_path_factory, flagembedding_source) -> dict[str, Path]:
    """Kind of schema → what `refine --to` writes in it: the sample under a scripted judge, so that much changes.

    FlagEmbedding is refined from its own schema, since only there are scores to keep.
    """
    folders = {}
    for kind in ("triplet", "n-tuple", "labeled-pair", "tevatron", "flagembedding"):
        own = kind == "flagembedding"
        source = flagembedding_source / "train.jsonl" if own else ROOT / "examples" / "hard-negatives"
        folders[kind] = tmp_path_factory.mktemp("refined") / kind
        config = RunConfig(source=str(source), output=str(folders[kind]), to=None if own else kind, min_answerable=0.0)
        result = run_refine(config, Monitor(), scripted_judge(ScriptedEngine()))
        assert result.decisions["relabel"] > 0
        assert result.decisions["filter"] > 0
    return folders
