"""Makes the helpers of this folder importable, and starts a Hub of its own for each test that asks for one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from hub_server import HubServer


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A fresh Hub; a request that it does not know, or an error of its own, fails the test."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with HubServer().running() as server:
        yield server
    assert server.unknown == []
    assert server.errors == []
