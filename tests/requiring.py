"""Skips that may not be skips: where `ARHN_REQUIRE` (a comma list) names an extra, its absence is a failure.

On a machine that promises the extra, a skipped test would pass for a passed one.
"""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def required(name: str) -> bool:
    """Whether `ARHN_REQUIRE` names this extra."""
    return name in {part.strip() for part in os.environ.get("ARHN_REQUIRE", "").split(",")}


def skip_or_fail(name: str, reason: str) -> NoReturn:
    """Skip a test whose extra is missing, or fail it where the extra is required."""
    if required(name):
        pytest.fail(f"{name} is required here: {reason}", pytrace=False)
    pytest.skip(reason)
