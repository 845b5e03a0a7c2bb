"""Shared by all tests: no Hub, no progress bars, the sample's place, and the real data beside it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
sys.path.insert(0, str(Path(__file__).parent))

from requiring import skip_or_fail

ROOT = Path(__file__).parent.parent


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
