"""An audit as one PNG: who ranks false negatives best, whether a score means what it says, and how errors grow with coverage.

Drawn with matplotlib (the `audit` extra), without a display.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from arhn_hf.records import UsageError

HOW_TO_INSTALL = 'Install it with: pip install "arhn-hf[audit]"'
_JUDGE, _OTHER, _LINE = "#0072B2", "#999999", "#D55E00"  # Okabe-Ito, told apart by everybody


def plot(report: dict[str, Any], path: str | Path) -> None:
    """Write the figures of an audit report (`audit`) to a PNG file.

    Raises `UsageError` if matplotlib is missing or the file cannot be written.
    """
    matplotlib = refuse_missing()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"font.size": 9, "text.usetex": False, "text.parse_math": False}):
        figure = Figure(figsize=(11, 3.8), layout="constrained")
        FigureCanvasAgg(figure)
        ranking, calibration, risk = figure.subplots(1, 3, width_ratios=[1.4, 1, 1])
        _draw_ranking(ranking, report)
        _draw_calibration(calibration, report)
        _draw_risk(risk, report)
        try:
            figure.savefig(path, dpi=150, format="png")
        except OSError as error:
            raise UsageError(f"cannot be written ({error.strerror})", where=f"--png {path}") from error


def refuse_missing() -> Any:
    """matplotlib. Raises `UsageError` if it is missing."""
    try:
        import matplotlib
    except ImportError as error:
        raise UsageError("matplotlib is not installed", where="--png", hint=HOW_TO_INSTALL) from error
    return matplotlib


def _draw_ranking(axes: Any, report: dict[str, Any]) -> None:
    """AUROC with intervals, the judge first."""
    rows = [("this judge", report["ranking"]["auroc"], _JUDGE)]
    rows += [(name, one["ranking"]["auroc"], _OTHER) for name, one in report["baselines"].items()]
    for place, (_, value, colour) in enumerate(rows):
        if value["value"] is None:
            continue
        low, high = (value["value"] if value[end] is None else value[end] for end in ("low", "high"))
        axes.plot([low, high], [place, place], color=colour, linewidth=2)
        axes.plot(value["value"], place, "o", color=colour)
        axes.annotate(f"{value['value']:.2f}", (value["value"], place), (0, 6), textcoords="offset points", ha="center")
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.7)
    axes.axvline(0.5, color="#dddddd", zorder=0)
    axes.set_title(f"AUROC of “is a false negative”, {report['queries']} queries")
    axes.set_xlabel("AUROC, 95 % interval over queries")


def _draw_calibration(axes: Any, report: dict[str, Any]) -> None:
    """How often a score of p is right."""
    axes.set_title("Calibration")
    if not report["reliability"]:
        axes.text(0.5, 0.5, "this judge gives no probability", ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    axes.plot([0, 1], [0, 1], color="#dddddd", zorder=0)
    means = [one["mean_score"] for one in report["reliability"]]
    axes.plot(means, [one["share_true"] for one in report["reliability"]], "o-", color=_JUDGE)
    axes.set_xlabel("score")
    axes.set_ylabel("share that people call relevant")


def _draw_risk(axes: Any, report: dict[str, Any]) -> None:
    """Share of wrong decisions among the surest ones."""
    points = sorted((float(share), risk) for share, risk in report["risk_coverage"]["risk_at_coverage"].items())
    axes.plot([share for share, _ in points], [risk for _, risk in points], "o-", color=_LINE)
    axes.set_ylim(bottom=0)
    axes.set_title("Errors among the surest decisions")
    axes.set_xlabel("share of decisions taken, surest first")
    axes.set_ylabel("share of them wrong")
