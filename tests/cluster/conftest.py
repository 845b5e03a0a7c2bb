"""A Ray cluster of two nodes on this machine: real processes, to be killed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from requiring import skip_or_fail

TESTS = Path(__file__).parent.parent
sys.path[:0] = [str(TESTS / "cluster"), str(TESTS / "engines"), str(TESTS / "pipeline"), str(TESTS / "llm")]


@pytest.fixture(scope="session")
def installed() -> None:
    """Skips where Ray is not."""
    try:
        from ray import is_initialized  # noqa: F401
    except ImportError:
        skip_or_fail("ray", "Ray is not installed")


@pytest.fixture(scope="session")
def head(installed: None) -> Iterator[Any]:
    """The cluster with its first node, of one CPU and one GPU that exists in its books alone."""
    from ray.cluster_utils import Cluster

    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(TESTS.parent), str(TESTS / "engines"), *filter(None, [before])])
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 1, "include_dashboard": False})
    yield cluster
    cluster.shutdown()
    os.environ.pop("PYTHONPATH")
    if before is not None:
        os.environ["PYTHONPATH"] = before


@pytest.fixture
def second(head: Any) -> Iterator[Any]:
    """The second node, like the first."""
    node = head.add_node(num_cpus=1, num_gpus=1)
    head.wait_for_nodes()
    yield node
    if node in head.worker_nodes:
        head.remove_node(node, allow_graceful=False)
