"""A plan's totals are exact on small data, and estimated with an interval that holds on large data."""

from __future__ import annotations

from pathlib import Path

import pytest

from arhn_hf import planning
from arhn_hf.config import RunConfig
from arhn_hf.monitor import Monitor


def test_a_sampled_plan_says_so_and_its_interval_holds_the_exact_total(
    sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = planning.plan(RunConfig(source=str(sample)), Monitor())
    monkeypatch.setattr(planning, "EXACT_ROWS", 40)
    monkeypatch.setattr(planning, "SAMPLED_ROWS", 30)
    sampled = planning.plan(RunConfig(source=str(sample)), Monitor())
    assert exact["stage_1"]["exact"]
    assert not sampled["stage_1"]["exact"]
    assert sampled["stage_1"]["sampled_rows"] == 30
    for what in ("requests", "tokens"):
        found, total = sampled["stage_1"][what], exact["stage_1"][what]["total"]
        assert exact["stage_1"][what]["low"] is None
        assert found["low"] <= total <= found["high"]


def test_what_a_plan_counts_is_what_the_run_then_asks(sample: Path, tmp_path: Path) -> None:
    from scripted import ScriptedEngine, scripted_judge

    from arhn_hf.pipeline import run_refine

    planned = planning.plan(RunConfig(source=str(sample)), Monitor())
    engine = ScriptedEngine()
    config = RunConfig(source=str(sample), output=str(tmp_path / "out"), variants="filter", min_answerable=0.0)
    report = run_refine(config, Monitor(), scripted_judge(engine)).report
    assert planned["stage_1"]["requests"]["total"] == report["requests"]["sent"] - report["requests"]["retried"]
    assert planned["passages"]["negatives"] == report["passages"]["negatives"]
    assert sum(planned["duplicates"].values()) == report["decisions"]["duplicate"]


def test_a_probe_sends_about_that_many_requests_and_says_how_long_the_whole_takes(sample: Path) -> None:
    from scripted import ScriptedEngine, scripted_judge

    engine = ScriptedEngine(delay=0.005, threads=1)
    report = planning.plan(RunConfig(source=str(sample)), Monitor(), probe=60, factory=scripted_judge(engine))
    probe = report["probe"]
    assert 60 <= probe["requests"] == engine.count < 120
    assert probe["hours"]["low"] <= probe["hours"]["mean"] <= probe["hours"]["high"]
    assert probe["rows_per_hour"]["mean"] * probe["hours"]["mean"] == pytest.approx(66, rel=0.02)
