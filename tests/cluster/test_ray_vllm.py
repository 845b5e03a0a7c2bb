"""Real vLLM engines as Ray actors. Their GPUs exist in Ray's books alone: vLLM's CPU backend asks for none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from test_vllm import ENGINE_ARGS, agreement, tiny

import arhn_hf
from arhn_hf.monitor import Monitor

__all__ = ["tiny"]


def test_two_engines_on_two_nodes_decide_as_the_gold_says(tiny: Path, head: Any, second: Any, tmp_path: Path) -> None:
    import ray

    monitor = Monitor()
    result = arhn_hf.refine(
        str(tiny / "source"), output=str(tmp_path / "out"), monitor=monitor, judge="vllm", model=str(tiny),
        min_answerable=0.0, engine_arg=[f"{key}={value}" for key, value in ENGINE_ARGS.items()], executor="ray",
        ray_address=head.address,
    )  # fmt: skip
    assert not ray.is_initialized(), "the run leaves the cluster as it found it"
    assert result.exit_code == 0
    assert agreement(tiny, tmp_path / "out") >= 0.95
    assert result.requests["sent"] > 20
    assert not [line for line in monitor.notices if "died" in line]
