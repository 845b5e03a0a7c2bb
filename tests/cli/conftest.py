"""A folder refined once by the scripted engine, and a `refine` that asks that engine instead of the reader."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
from cli_helpers import Asked, use_reply
from scripted import ScriptedEngine, scripted_judge

from arhn_hf import pipeline, pushing
from arhn_hf.config import RunConfig
from arhn_hf.monitor import Monitor


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A `datasets` cache of these tests' own, no Hub, and no option from outside."""
    with pytest.MonkeyPatch.context() as patch:
        cache = tmp_path_factory.mktemp("datasets-cache")
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
        patch.setenv("HF_DATASETS_CACHE", str(cache))
        patch.setenv("HF_HUB_OFFLINE", "1")
        for name in [
            name for name in os.environ if name.startswith("ARHN_") and name not in ("ARHN_REQUIRE", "ARHN_SHARED")
        ]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def refined(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole sample, refined by the scripted engine; not to be changed."""
    folder = tmp_path_factory.mktemp("refined") / "out"
    config = RunConfig(source=str(sample), output=str(folder), min_answerable=0.0)
    assert pipeline.run_refine(config, Monitor(), scripted_judge(ScriptedEngine())).exit_code == 0
    return folder


@pytest.fixture
def copied(refined: Path, tmp_path: Path) -> Path:
    """A copy of `refined` to tamper with."""
    return Path(shutil.copytree(refined, tmp_path / "copied"))


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """`arhn-hf refine` asks scripted engines instead of the reader."""
    return use_reply(monkeypatch)


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> Callable[[], RunConfig]:
    """Stops `arhn-hf refine` once its options are read; call it for the configuration that came out."""
    seen: list[RunConfig] = []

    class Report(dict[str, Any]):
        def __missing__(self, key: str) -> Any:
            return {} if key != "gates" else []

    def stop(config: RunConfig, monitor: Monitor) -> Any:
        seen.append(config)
        return pipeline.RefineResult(Path(config.output), "0", Report())

    monkeypatch.setattr(pushing, "refine_and_push", stop)
    monkeypatch.setattr("arhn_hf.cli.summary.refine_summary", lambda report: [])
    return lambda: seen[-1]
