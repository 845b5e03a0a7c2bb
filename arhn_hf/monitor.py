"""How far a run is, and whether it should stop: the one object that the pipeline writes and that progress displays read.

The pipeline works in a thread of its own (`Dataset.map` fails under a running event loop, as notebooks have), so the main thread
stays free to draw progress and to take Ctrl-C.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from arhn_hf.records import file_error

T = TypeVar("T")
_POLL = 0.1  # seconds
_GRACE = 8.0  # seconds that a run gets to stop


class Interrupted(Exception):
    """The person asked the run to stop."""


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


@dataclass
class Monitor:
    """Progress of one run. `stage`, `done`, `total` speak of the stage at work; `relabeled` and `filtered` are counted as they are
    decided; `notices` are lines for the person. `watch` is called from the main thread every tenth of a second."""

    watch: Callable[[Monitor], None] = lambda monitor: None
    stage: str = "starting"
    done: int = 0
    total: int | None = None
    relabeled: int = 0
    filtered: int = 0
    counts: Counts | None = None
    started: float = field(default_factory=time.monotonic)
    stage_started: float = field(default_factory=time.monotonic)
    answered_before: int = 0
    notices: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    on_interrupt: list[Callable[[], None]] = field(default_factory=list)
    log: Path | None = None

    def begin(self, stage: str, total: int | None = None) -> None:
        """A new stage starts. Raises `Interrupted` if the run should stop."""
        self.check()
        self.stage, self.done, self.total, self.stage_started = stage, 0, total, time.monotonic()
        self.answered_before = self.counts.answered if self.counts else 0
        self.record("stage", stage=stage, total=total)

    def advance(self, rows: int) -> None:
        """Rows finished in this stage."""
        self.done += rows
        self.check()

    def decided(self, actions: Sequence[str]) -> None:
        """A row finished in this stage with these actions."""
        self.relabeled += actions.count("relabel")
        self.filtered += actions.count("filter")
        self.advance(1)

    @property
    def answered_in_stage(self) -> int:
        """Requests the engine answered since this stage began."""
        return (self.counts.answered if self.counts else 0) - self.answered_before

    def check(self) -> None:
        """Raise `Interrupted` if the person asked to stop."""
        if self.stop.is_set():
            raise Interrupted

    def notice(self, text: str) -> None:
        """A line the person should see once."""
        self.notices.append(text)
        self.record("notice", text=text)

    def record(self, event: str, **what: Any) -> None:
        """Append one event to `run.jsonl`, the run's log."""
        if self.log is not None:
            requests = vars(self.counts) if self.counts else None
            line = {"time": round(time.time(), 3), "event": event, **what, "requests": requests}
            with self.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, default=str) + "\n")

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
            monitor.watch(monitor)
        monitor.watch(monitor)
    except BaseException:  # Ctrl-C, or a display that broke: the run must not go on behind the caller's back
        monitor.interrupt()
        ended.wait(_GRACE)
        raise
    error = outcome.get("error")
    if isinstance(error, OSError):  # a full disk, a folder without permission: for a person, whoever called
        raise file_error(error) from error
    if error is not None:
        raise error
    value: T = outcome["value"]
    return value
