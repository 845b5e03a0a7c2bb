"""One input for which memory does not suffice is marked; all others are answered."""

from __future__ import annotations

from typing import Any

import pytest
from tiny_checkpoints import libraries

from arhn_hf.engines.base import Request
from arhn_hf.engines.checkpoint_engine import CheckpointEngine

TOO_MUCH = 1 << 50  # numbers: a few petabytes


class Greedy(CheckpointEngine):
    """Wants memory that no machine has for texts that say so: as often as `refusals` has it."""

    def __init__(self, refusals: int) -> None:
        self.torch, _ = libraries()
        self.tries: list[str] = []
        self._refusals = refusals
        self.identity = {"engine": "greedy"}
        super().__init__("cpu", 2)

    def answer(self, payload: dict[str, Any]) -> dict[str, Any]:
        self.tries.append(payload["text"])
        if payload["text"] == "huge" and self.tries.count("huge") <= self._refusals:
            self.torch.empty(TOO_MUCH)
        return {"score": 1.0}


@pytest.mark.parametrize(("refusals", "reason"), [(9, "error"), (1, "stop")])
def test_an_input_too_large_for_memory_is_tried_once_more_alone(refusals: int, reason: str) -> None:
    engine = Greedy(refusals)
    futures = [engine.submit(Request("rank", {"text": text})) for text in ("a", "huge", "b")]
    responses = [future.result(timeout=60) for future in futures]
    engine.close()
    assert [one.finish_reason for one in responses] == ["stop", reason, "stop"]
    assert engine.tries.count("huge") == 2
    if reason == "error":
        assert responses[1].text == "out of memory"


def test_other_errors_of_torch_still_end_the_run() -> None:
    class Broken(Greedy):
        def answer(self, payload: dict[str, Any]) -> dict[str, Any]:
            self.torch.ones(2) @ self.torch.ones(3)
            return {}

    engine = Broken(0)
    with pytest.raises(RuntimeError, match="size"):
        engine.submit(Request("rank", {"text": "a"})).result(timeout=60)
    engine.close()
