"""End a run whose judge hangs: requests are in flight, and none has finished for a long time.

A dead engine says so; a hung one (a wedged GPU, a proxy that holds a connection open) says nothing, and a run would wait
for it for days. What is slow but comes, what loads, and what the engine itself waits for is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from arhn_hf.config import RunConfig
from arhn_hf.engines.base import EngineError
from arhn_hf.judges.asking import Asker, Oldest
from arhn_hf.monitor import Monitor
from arhn_hf.pace import spoken

USUAL = 1800.0  # seconds


class Stall:
    """How long nothing has finished while something was in flight. `limit` in seconds; 0 never ends a run."""

    def __init__(self, limit: float) -> None:
        self._limit, self._finished = limit, 0
        self.idle = 0.0

    def see(self, passed: float, *, finished: int, in_flight: int, away: bool) -> bool:
        """Whether the limit is passed. `passed`: seconds since the last call without those the machine slept."""
        if finished != self._finished or in_flight == 0 or away:
            self._finished, self.idle = finished, 0.0
        else:
            self.idle += passed
        return 0 < self._limit < self.idle


@contextmanager
def watched(asker: Asker, monitor: Monitor, config: RunConfig) -> Iterator[None]:
    """While the block runs, an interruption, a failure and a stall reach those who wait for `asker` or for one beside it."""
    with ExitStack() as stack:
        for one in asker.everyone:
            stack.enter_context(_watched(one, monitor, Stall(stall_limit(config))))
        yield


@contextmanager
def _watched(asker: Asker, monitor: Monitor, stall: Stall) -> Iterator[None]:
    def tick(passed: float) -> None:
        in_flight = asker.in_flight()
        if stall.see(passed, finished=asker.finished, in_flight=in_flight, away=asker.engine.is_away()):
            oldest = asker.oldest()
            if oldest is not None:
                monitor.fail(stalled(stall.idle, in_flight, oldest, asker))

    monitor.on_interrupt.append(asker.interrupt)
    monitor.on_failure.append(asker.fail)
    monitor.on_tick.append(tick)
    try:
        yield
    finally:
        monitor.on_tick.remove(tick)
        monitor.on_failure.remove(asker.fail)
        monitor.on_interrupt.remove(asker.interrupt)


def stall_limit(config: RunConfig) -> float:
    """Seconds after which nothing finished counts as a stall; who allows a request an hour does not mean half of it."""
    if config.stall_timeout is not None:
        return config.stall_timeout
    return max(USUAL, 2 * config.request_timeout)


def stalled(idle: float, in_flight: int, oldest: Oldest, asker: Asker) -> EngineError:
    """Which engine hangs, how much waits for it, and for how long."""
    what = f"the store ({asker.store.path})" if oldest.stored else asker.engine.hangs_at(oldest.request)
    whose = "" if oldest.row is None else f" of row {oldest.row} ({oldest.place} of its {oldest.of})"
    return EngineError(
        f"no request has finished for {spoken(idle)}: {what} hangs with {in_flight:,} in flight, the oldest for "
        f"{spoken(oldest.age)}, a request of kind {oldest.request.kind}{whose}",
        where="--stall-timeout",
        hint="What was finished is kept: see to it, then run the same command again (0 waits for ever)",
    )
