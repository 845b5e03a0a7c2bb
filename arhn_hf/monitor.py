"""How far a run is, and whether it should stop: the one object that the pipeline writes and that progress displays read.

The pipeline works in a thread of its own (`Dataset.map` fails under a running event loop, as notebooks have), so the main thread
stays free to draw progress and to take Ctrl-C.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from arhn_hf.pace import Pace, Sample
from arhn_hf.records import ArhnError, file_error
from arhn_hf.runlog import append_line, drop_half_line

T = TypeVar("T")
_POLL = 0.1  # seconds
_GRACE = 8.0  # seconds that a run gets to stop
_SAMPLE = 1.0  # seconds between two samples of the pace
_LOG = 30.0  # seconds between two lines of progress in the log
_LONGEST_TICK = 5.0  # seconds: a longer pause between two ticks was the machine's (suspended, stopped), not the run's

ABANDONED: list[str] = []
"""What this process could not stop in time and left behind: its threads would keep the interpreter from ending."""


class Interrupted(Exception):
    """The person asked the run to stop."""


_STOPPED = (Interrupted, KeyboardInterrupt)


@dataclass
class Counts:
    """Requests of one run, by how they were answered; tokens as the engine reported them."""

    by_kind: dict[str, int] = field(default_factory=dict)
    from_store: int = 0
    joined: int = 0
    sent: int = 0
    answered: int = 0
    retried: int = 0
    tokens: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    """Answers that are none, by finish reason (`error`, `too_long`, `length`, `refused`); they are in `answered` too."""
    asking: int = 0
    """Rows that wait for answers now."""

    def snapshot(self) -> dict[str, Any]:
        """All of it as plain JSON, while other threads count on."""
        return {name: dict(value) if isinstance(value, dict) else value for name, value in vars(self).items()}

    @property
    def in_flight(self) -> int:
        """Requests that the engine has not answered yet."""
        return self.sent - self.answered


@dataclass
class Monitor:
    """Progress of one run. `stage`, `done`, `total` speak of the stage at work; `relabeled` and `filtered` are counted as they are
    decided; `notices` are lines for the person. `watch` is called from the main thread every tenth of a second.

    `seconds_left` (of the stage), `rates` (rows and answered requests per second, lately) and `awake` (seconds the run has been
    at work, without those the machine slept) are renewed every second."""

    watch: Callable[[Monitor], None] = lambda monitor: None
    stage: str = "starting"
    done: int = 0
    total: int | None = None
    then: str | None = None
    relabeled: int = 0
    filtered: int = 0
    counts: Counts | None = None
    started: float = field(default_factory=time.monotonic)
    stage_started: float = field(default_factory=time.monotonic)
    notices: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    on_interrupt: list[Callable[[], None]] = field(default_factory=list)
    on_tick: list[Callable[[float], None]] = field(default_factory=list)
    on_failure: list[Callable[[ArhnError], None]] = field(default_factory=list)
    failure: ArhnError | None = None
    log: Path | None = None
    run_id: str | None = None
    seconds_left: float | None = None
    rates: tuple[float, float] = (0.0, 0.0)
    awake: float = 0.0
    _at_start: Counts = field(default_factory=Counts)
    _pace: Pace = field(default_factory=Pace)
    _ticked: float = field(default_factory=time.monotonic)
    _next_sample: float = 0.0
    _next_line: float = 0.0
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def begin(self, stage: str, total: int | None = None, *, then: str | None = None) -> None:
        """A new stage starts; `then` names a later one that asks a judge too. Raises `Interrupted` if the run should
        stop, or what ended it."""
        self.check()
        with self._lock:
            if self.stage != "starting":
                self.record("stage_end", **self.progress())
            now = self.counts.snapshot() if self.counts else {}
            self._at_start = Counts(**now)
            self._pace, self.seconds_left, self.rates = Pace(), None, (0.0, 0.0)
            self.stage, self.done, self.total, self.then, self.stage_started = stage, 0, total, then, time.monotonic()
            self._next_sample = self.awake
            self._next_line = self.awake + _LOG
            self.record("stage", **self.progress())

    def advance(self, rows: int) -> None:
        """Rows finished in this stage."""
        self.done += rows
        self.check()

    def decided(self, actions: Sequence[str]) -> None:
        """A row finished in this stage with these actions."""
        self.relabeled += actions.count("relabel")
        self.filtered += actions.count("filter")
        self.advance(1)

    def check(self) -> None:
        """Raise `Interrupted` if the person asked to stop, or what ended the run."""
        if self.stop.is_set():
            raise Interrupted
        if self.failure is not None:
            raise self.failure

    def notice(self, text: str) -> None:
        """A line the person should see once."""
        self.notices.append(text)
        self.record("notice", text=text)

    def progress(self) -> dict[str, Any]:
        """What a line of the log says of the stage at work (docs/long-runs.md)."""
        left = self.seconds_left
        return {
            "run_id": self.run_id, "stage": self.stage, "done": self.done, "total": self.total,
            "seconds": round(time.monotonic() - self.started, 1),
            "stage_seconds": round(time.monotonic() - self.stage_started, 1),
            "rows_per_second": round(self.rates[0], 3), "requests_per_second": round(self.rates[1], 3),
            "in_flight": self.counts.in_flight if self.counts else 0,
            "stage_seconds_left": None if left is None else round(left),
            "seconds_left": None if left is None or self.then is not None or self.counts is None else round(left),
        }  # fmt: skip

    def tick(self) -> None:
        """Called from the main thread some times a second: samples the pace, writes the log, asks `on_tick` (with the
        seconds passed since the last call, less what the machine slept)."""
        now = time.monotonic()
        passed, self._ticked = min(now - self._ticked, _LONGEST_TICK), now
        self.awake += passed
        if self.awake >= self._next_sample:
            with self._lock:
                self._sample()
        if self.awake >= self._next_line:
            self._next_line = self.awake + _LOG
            try:
                with self._lock:
                    self.record("progress", **self.progress())
            except OSError as error:
                self.fail(file_error(error))
        for callback in list(self.on_tick):
            callback(passed)

    def _sample(self) -> None:
        self._next_sample = self.awake + _SAMPLE
        now, base = self.counts or Counts(), self._at_start
        self._pace.see(
            Sample(
                self.awake, self.done, now.asking,
                sum(now.by_kind.copy().values()) - sum(base.by_kind.values()),
                now.from_store + now.joined - base.from_store - base.joined, now.sent - base.sent,
                now.answered - base.answered,
            )
        )  # fmt: skip
        self.rates, self.seconds_left = self._pace.rates(), self._pace.seconds_left(self.total)

    def open_log(self, path: Path) -> None:
        """Write `run.jsonl` there from now on."""
        drop_half_line(path)
        self.log = path

    def record(self, event: str, **what: Any) -> None:
        """Append one event to `run.jsonl`, the run's log."""
        if self.log is not None:
            now = time.time()
            utc = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            requests = self.counts.snapshot() if self.counts else None
            append_line(self.log, {"time": round(now, 3), "utc": utc, "event": event, **what, "requests": requests})

    def ended(self, error: BaseException | None) -> None:
        """The last line of the log: how the work ended. It changes nothing any more if it cannot be written."""
        if self.log is not None and self.log.exists():
            outcome = "done" if error is None else "interrupted" if isinstance(error, _STOPPED) else "failed"
            said = None if error is None else " ".join(str(error).split())[:500]
            with contextlib.suppress(OSError), self._lock:
                self.record("end", outcome=outcome, error=said, **self.progress())

    def fail(self, error: ArhnError) -> None:
        """End the run with this error, from any thread; the first one counts."""
        if self.failure is None:
            self.failure = error
            for callback in list(self.on_failure):
                callback(error)

    def interrupt(self) -> None:
        """Ask the run to stop."""
        self.stop.set()
        for callback in list(self.on_interrupt):
            callback()


def run_in_thread(work: Callable[[], T], monitor: Monitor) -> T:
    """Run `work` in a thread; its exception is raised here. Ctrl-C stops it within seconds and is raised again.

    An event of our own says that it has ended: before Python 3.13 a `join` that Ctrl-C breaks off takes the thread for
    ended.
    """
    outcome: dict[str, Any] = {}
    ended = threading.Event()

    def target() -> None:
        try:
            outcome["value"] = work()
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread, nothing is swallowed
            outcome["error"] = error
        finally:
            ended.set()

    threading.Thread(target=target, name="arhn-pipeline", daemon=True).start()
    try:
        while not ended.wait(_POLL):
            monitor.tick()
            monitor.watch(monitor)
            if monitor.failure is not None:
                if not ended.wait(_GRACE):  # whatever hangs, it hangs alone
                    ABANDONED.append("the pipeline")
                break
        monitor.watch(monitor)
    except BaseException as broken:  # Ctrl-C, or a display that broke: the run must not go on behind the caller's back
        monitor.interrupt()
        if not ended.wait(_GRACE):
            ABANDONED.append("the pipeline")
        monitor.ended(broken)
        raise
    error = outcome.get("error", monitor.failure if "value" not in outcome else None)
    if isinstance(error, _STOPPED) and monitor.failure is not None:
        error = monitor.failure
    monitor.ended(error)
    if isinstance(error, OSError):  # a full disk, a folder without permission: for a person, whoever called
        raise file_error(error) from error
    if error is not None:
        raise error
    value: T = outcome["value"]
    return value
