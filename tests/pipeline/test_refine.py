"""The sequence of maps end to end, with a scripted engine."""

from __future__ import annotations

from pathlib import Path

from datasets import load_dataset
from scripted import ScriptedEngine, folder_bytes, scripted_judge

from arhn_hf.checks import check
from arhn_hf.config import RunConfig
from arhn_hf.monitor import Monitor
from arhn_hf.pipeline import run_refine


def test_variants_load_and_every_promise_holds(sample: Path, tmp_path: Path) -> None:
    engine = ScriptedEngine()
    config = RunConfig(source=str(sample), output=str(tmp_path / "out"), min_answerable=0.0)
    result = run_refine(config, Monitor(), scripted_judge(engine))
    assert result.exit_code == 0
    assert engine.count == result.requests["sent"] == len(set(engine.keys))
    source = load_dataset(str(sample), split="train")
    for variant in ("combined", "relabel", "filter"):
        loaded = load_dataset(str(tmp_path / "out"), variant, split="train")
        assert loaded.features == source.features
        assert len(loaded) == result.variants[variant]["rows"]
    report = check(tmp_path / "out")
    assert report["exit_code"] == 0, report


def test_a_second_run_asks_nothing_and_writes_the_same_bytes(sample: Path, tmp_path: Path) -> None:
    config = RunConfig(source=str(sample), output=str(tmp_path / "out"), min_answerable=0.0)
    run_refine(config, Monitor(), scripted_judge(ScriptedEngine()))
    before = folder_bytes(tmp_path / "out")
    again = ScriptedEngine()
    result = run_refine(config, Monitor(), scripted_judge(again))
    assert again.count == 0
    assert result.requests["from_store"] > 0
    assert folder_bytes(tmp_path / "out") == before
