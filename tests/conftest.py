"""Shared by all tests: no Hub, no progress bars, the sample's place, and skips that may not be skips (`ARHN_REQUIRE`)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
sys.path.insert(0, str(Path(__file__).parent))

ROOT = Path(__file__).parent.parent


def required(name: str) -> bool:
    """Whether `ARHN_REQUIRE` names this extra: then its tests must run."""
    return name in {part.strip() for part in os.environ.get("ARHN_REQUIRE", "").split(",")}


def skip_or_fail(name: str, reason: str) -> None:
    """Skip a test whose extra is missing, or fail it where `ARHN_REQUIRE` names the extra."""
    if required(name):
        pytest.fail(f"ARHN_REQUIRE names {name}, but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def sample() -> Path:
    """The hand-written sample dataset."""
    return ROOT / "examples" / "hard-negatives"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real data beside a checkout; skips where it is not."""
    folder = Path(os.environ.get("ARHN_SHARED", ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        skip_or_fail("shared", f"{folder.name}/ is not beside the checkout")
    return folder
