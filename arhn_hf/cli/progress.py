"""Progress on stderr: a rich bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from arhn_hf.cli.output import Output, harmless
from arhn_hf.monitor import Monitor

_PLAIN_EVERY = 15.0  # seconds


class Progress:
    """Draws a `Monitor`. Use as a context manager; pass `watch` to the monitor."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._shown = 0
        self._last = time.monotonic()
        self._stage = ""
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        if self._output.mode == "human" and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bars

            self._bar = Bars(
                SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[facts]}"),
                TimeRemainingColumn(), console=Console(stderr=True), transient=True,
            )  # fmt: skip
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def watch(self, monitor: Monitor) -> None:
        """Called from the main thread some times a second."""
        while self._shown < len(monitor.notices):
            line = monitor.notices[self._shown]
            self._shown += 1
            if self._bar is not None:
                self._bar.console.print(harmless(line), markup=False)
            else:
                self._output.note(line)
        if self._output.mode != "human":
            return
        if self._bar is not None:
            self._draw(monitor)
        elif monitor.stage != self._stage or time.monotonic() - self._last > _PLAIN_EVERY:
            new, self._stage, self._last = monitor.stage != self._stage, monitor.stage, time.monotonic()
            if monitor.total and not (new and monitor.done == 0):
                parts = [f"{monitor.done:,} of {monitor.total:,} rows", *facts(monitor), *time_left(monitor)]
                self._output.note(f"{monitor.stage}: {', '.join(parts)}")
            elif new and monitor.total:
                self._output.note(f"{monitor.stage}: {monitor.total:,} rows")

    def _draw(self, monitor: Monitor) -> None:
        if self._task is None:
            self._task = self._bar.add_task(monitor.stage, total=monitor.total, facts="")
        if monitor.stage != self._stage:
            self._stage = monitor.stage
            self._bar.reset(self._task, total=monitor.total, description=monitor.stage)
        self._bar.update(self._task, completed=monitor.done, total=monitor.total, facts=", ".join(facts(monitor)))


def facts(monitor: Monitor) -> list[str]:
    """Requests answered and their rate, relabeled and filtered so far."""
    parts = []
    elapsed = time.monotonic() - monitor.stage_started
    if monitor.counts is not None and monitor.counts.answered:
        parts.append(f"{monitor.counts.answered:,} requests")
        if elapsed > 1 and monitor.answered_in_stage > 0:
            parts.append(f"{monitor.answered_in_stage / elapsed:,.0f}/s")
    if monitor.relabeled or monitor.filtered:
        parts.append(f"{monitor.relabeled:,} relabeled, {monitor.filtered:,} filtered")
    return parts


def time_left(monitor: Monitor) -> list[str]:
    """The time this stage will still take, once it can be told."""
    elapsed = time.monotonic() - monitor.stage_started
    if not monitor.total or not monitor.done or elapsed < 5:
        return []
    return [f"{elapsed / monitor.done * (monitor.total - monitor.done):,.0f} s left"]
