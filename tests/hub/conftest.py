"""Makes the helpers of this folder importable, starts a Hub for each test that wants one, and refines a folder once."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import huggingface_hub.file_download
import huggingface_hub.utils._http
import pytest
from huggingface_hub import close_session, constants
from scripted import ScriptedEngine, scripted_judge

from arhn_hf.config import RunConfig
from arhn_hf.monitor import Monitor
from arhn_hf.pipeline import run_refine
from arhn_hf.publishing import hub_calls

sys.path.insert(0, str(Path(__file__).parent))

from hub_server import HubServer

ROWS = 6


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A fresh Hub; a request that it does not know, or an error of its own, fails the test."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with HubServer().running() as server:
        yield server
    assert server.unknown == []
    assert server.errors == []


@pytest.fixture(autouse=True, scope="session")
def _own_caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A `datasets` cache of these tests' own, and no token or option from outside."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("hf-home")
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "HF_ENDPOINT", "HF_OIDC_RESOURCE"):
            patch.delenv(name, raising=False)
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", home / "datasets")
        patch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
        patch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr(
            constants, "HF_HUB_DISABLE_XET", True
        )  # read at import: uploads go by LFS, which the Hub here has
        yield


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Nobody waits between two tries, neither we nor the client; what we would have waited is noted."""
    pauses: list[float] = []
    monkeypatch.setattr(hub_calls, "time", SimpleNamespace(sleep=pauses.append))
    hurried = SimpleNamespace(**{**vars(time), "sleep": lambda seconds: None})
    for module in (huggingface_hub.utils._http, huggingface_hub.file_download):
        monkeypatch.setattr(module, "time", hurried)
    yield pauses
    close_session()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, slept: list[float]) -> None:
    """Every time limit is a third of a second: ours, and those that the client has of its own."""
    monkeypatch.setattr(hub_calls, "TIMEOUT", 0.3)
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.3)
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.3)
    monkeypatch.setattr(huggingface_hub.file_download, "_ETAG_RETRY_TIMEOUT", 0.3)


def refine_folder(source: Path, folder: Path, **options: Any) -> Path:
    """A finished folder by the scripted engine."""
    config = RunConfig(source=str(source), output=str(folder), **{"min_answerable": 0.0, "sample": ROWS, **options})
    assert run_refine(config, Monitor(), scripted_judge(ScriptedEngine())).exit_code == 0
    return folder


@pytest.fixture(scope="session")
def refined(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six rows of the sample in three variants; not to be changed."""
    return refine_folder(sample, tmp_path_factory.mktemp("refined") / "out")


@pytest.fixture(scope="session")
def older(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another run over the same sample: one more row, by another seed; not to be changed."""
    return refine_folder(sample, tmp_path_factory.mktemp("older") / "out", sample=ROWS + 1, seed=7)


@pytest.fixture
def copied(refined: Path, tmp_path: Path) -> Path:
    """A copy of `refined` to change."""
    return Path(shutil.copytree(refined, tmp_path / "copied"))
