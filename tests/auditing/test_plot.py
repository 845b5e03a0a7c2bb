"""The picture of an audit: a real PNG whatever there is to draw, and one line where it cannot be drawn."""

from __future__ import annotations

import copy
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from requiring import skip_or_fail

from arhn_hf.auditing import plot as plotting
from arhn_hf.auditing.audit import LabelSource, audit
from arhn_hf.auditing.plot import plot
from arhn_hf.records import UsageError

try:
    import matplotlib
except ImportError:
    matplotlib = None


@pytest.fixture(scope="module")
def report(judged: Path) -> dict[str, Any]:
    return audit(judged, LabelSource(grades="grade"), samples=100)


@pytest.fixture(scope="module", autouse=True)
def _drawn_here() -> None:
    if matplotlib is None:
        skip_or_fail("audit", "matplotlib is not installed")


def size(path: Path) -> tuple[int, int]:
    """Width and height of a PNG; fails if it is none."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert data[12:16] == b"IHDR"
    assert data[-8:-4] == b"IEND"
    return struct.unpack(">II", data[16:24])


class Axes:
    """Notes what is drawn on it."""

    transAxes = None

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *values, **options: self.calls.append((name, values))

    def of(self, name: str) -> list[tuple[Any, ...]]:
        return [values for called, values in self.calls if called == name]


def test_an_audit_is_a_png_of_readable_size(report: dict[str, Any], tmp_path: Path) -> None:
    before = copy.deepcopy(report)
    plot(report, tmp_path / "audit.png")
    width, height = size(tmp_path / "audit.png")
    assert (width, height) == (1650, 570)
    assert (tmp_path / "audit.png").stat().st_size > 20_000
    assert report == before


def test_it_is_a_png_whatever_its_name_is(report: dict[str, Any], tmp_path: Path) -> None:
    plot(report, tmp_path / "audit.pdf")
    assert size(tmp_path / "audit.pdf") == (1650, 570)


def test_what_was_not_measured_is_not_drawn(report: dict[str, Any], tmp_path: Path) -> None:
    empty = {"value": None, "low": None, "high": None}
    bare = {**report, "baselines": {}, "reliability": None, "ranking": {**report["ranking"], "auroc": empty}}
    plot(bare, tmp_path / "bare.png")
    assert size(tmp_path / "bare.png") == (1650, 570)
    one = {**report, "ranking": {**report["ranking"], "auroc": {"value": 0.5, "low": None, "high": None}}}
    plot(one, tmp_path / "one.png")
    assert size(tmp_path / "one.png") == (1650, 570)


def test_names_are_text_and_no_formulas(report: dict[str, Any], tmp_path: Path) -> None:
    named = {**report, "baselines": {r"$\frac{1}{ \undefined _x_": report["baselines"]["flag everything"]}}
    plot(named, tmp_path / "named.png")
    assert size(tmp_path / "named.png") == (1650, 570)


def test_the_settings_of_others_stay_as_they_are(report: dict[str, Any], tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    plot(report, tmp_path / "audit.png")
    assert dict(matplotlib.rcParams) == before


def test_an_older_picture_is_replaced(report: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "audit.png").write_bytes(b"old")
    plot(report, tmp_path / "audit.png")
    assert size(tmp_path / "audit.png") == (1650, 570)


def test_an_interval_is_drawn_from_its_low_to_its_high_end(report: dict[str, Any]) -> None:
    axes = Axes()
    ranking = {"auroc": {"value": 0.25, "low": 0.0, "high": 0.5}}
    plotting._draw_ranking(axes, {**report, "ranking": ranking, "baselines": {}})
    assert axes.of("plot")[0][:2] == ([0.0, 0.5], [0, 0])


def test_the_risk_is_drawn_by_rising_coverage(report: dict[str, Any]) -> None:
    axes = Axes()
    plotting._draw_risk(axes, report)
    [(coverage, risk, *_)] = axes.of("plot")
    assert coverage == [i / 10 for i in range(1, 11)]
    assert risk[-1] == 0.3


@pytest.mark.parametrize("name", ["absent/audit.png", "."])
def test_a_file_that_cannot_be_written_is_one_line(report: dict[str, Any], tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be written") as raised:
        plot(report, tmp_path / name)
    assert raised.value.where == f"--png {tmp_path / name}"
    assert "\n" not in str(raised.value)


def test_without_matplotlib_one_line_names_the_extra(
    report: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError) as raised:
        plot(report, tmp_path / "audit.png")
    assert str(raised.value) == '--png: matplotlib is not installed. Install it with: pip install "arhn-hf[audit]"'
    assert not (tmp_path / "audit.png").exists()
