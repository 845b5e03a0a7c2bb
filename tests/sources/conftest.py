"""A folder to write data into, and a loader with a cache of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from source_helpers import Load, Make

from arhn_hf.sources import load_source


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes files below a folder; a single one is returned itself."""

    def write(files: dict[str, bytes]) -> Path:
        for name, content in files.items():
            path = tmp_path / "data" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return tmp_path / "data" / next(iter(files)) if len(files) == 1 else tmp_path / "data"

    return write


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """`load_source` with a cache of its own."""
    return lambda source, **options: load_source(str(source), cache_dir=tmp_path / "cache", **options)
