"""What a person without the torch extra, or with options that do not go together, is told."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from arhn_hf.config import RunConfig
from arhn_hf.judges.opening import open_judge
from arhn_hf.monitor import Monitor
from arhn_hf.records import UsageError
from arhn_hf.store import Store


@pytest.mark.parametrize(
    ("options", "module", "where"),
    [
        ({"judge": "reader", "model": "me/model"}, "torch", "--model me/model: torch is not installed"),
        ({"judge": "cross-encoder", "model": "me/model"}, "torch", "--model me/model: torch is not installed"),
        ({"similarity_model": "me/encoder"}, "torch", "--similarity-model me/encoder: torch is not installed"),
    ],
)
def test_the_missing_extra_is_named(
    options: dict[str, Any], module: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    store = Store(tmp_path / "store.sqlite")
    with pytest.raises(UsageError) as caught:
        open_judge(RunConfig(**options), store, Monitor())
    store.close()
    line = str(caught.value)
    assert line.startswith(where)
    assert line.endswith('pip install "arhn-hf[torch]"')
    assert "\n" not in line
    assert caught.value.exit_code == 2


def test_the_cross_encoder_needs_a_model() -> None:
    with pytest.raises(UsageError, match="--judge cross-encoder needs a model"):
        RunConfig(judge="cross-encoder")


@pytest.mark.parametrize("judge", ["cross-encoder", "vllm"])
def test_a_similarity_model_goes_with_a_reader_only(judge: str) -> None:
    with pytest.raises(UsageError, match="--similarity-model: goes with --judge reader only"):
        RunConfig(judge=judge, model="me/model", similarity_model="me/encoder")
