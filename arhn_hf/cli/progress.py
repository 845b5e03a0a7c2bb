"""Progress on stderr: a rich bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from arhn_hf.cli.output import Output, harmless
from arhn_hf.monitor import Monitor
from arhn_hf.pace import spoken

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
            from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn
            from rich.progress import Progress as Bars

            self._bar = Bars(
                SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[facts]}"),
                console=Console(stderr=True), transient=True,
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
        self._bar.update(
            self._task,
            completed=monitor.done,
            total=monitor.total,
            facts=", ".join([*facts(monitor), *time_left(monitor)]),
        )


def facts(monitor: Monitor) -> list[str]:
    """Requests answered, their recent rate, those without an answer, relabeled and filtered so far."""
    parts = []
    if monitor.counts is not None and monitor.counts.answered:
        parts.append(f"{monitor.counts.answered:,} requests")
        rate = monitor.rates[1]
        if rate > 0:
            parts.append(f"{rate:,.0f}/s" if rate >= 1 else f"{rate * 60:,.1f}/min")
        failed = sum(monitor.counts.failed.copy().values())
        if failed:
            parts.append(f"{failed:,} failed")
    if monitor.relabeled or monitor.filtered:
        parts.append(f"{monitor.relabeled:,} relabeled, {monitor.filtered:,} filtered")
    return parts


def time_left(monitor: Monitor) -> list[str]:
    """The time this stage will still take, once it can be told; of a run, its last stage that asks a judge."""
    if not monitor.seconds_left:
        return []
    after = f", then {monitor.then}" if monitor.then else ""
    return [f"{spoken(monitor.seconds_left)} left{after}"]
