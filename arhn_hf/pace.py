"""How long a stage will still take, from what it did lately: pure, fed with samples.

The mean since the start would lie on a run that goes on: stored answers come at once and cost no time, so the first
minutes of a resumed run are thousands of times faster than the rest. Time is spent by the requests that an engine has
to answer. So what is left is counted in those, and divided by how many were answered lately.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

WINDOW = 120.0  # seconds that count as lately
_FEW = 20  # answers, or rows, below which a window says nothing: it then reaches further back
_SHORTEST, _FEWEST = 5.0, 3  # seconds of work, and answers or rows, before anything is said
_KEPT = 3600  # samples


class Sample(NamedTuple):
    """Where a stage was: all counts since it began, `time` in seconds on any clock that runs while the machine does.

    `open_rows` wait for answers; `asked` counts requests of finished and open rows, each looked up in the store sooner
    or later: `stored` were there (or are those of another row), `sent` were not, and `answered` of these are done.
    """

    time: float
    rows: int
    open_rows: int = 0
    asked: int = 0
    stored: int = 0
    sent: int = 0
    answered: int = 0


class Pace:
    """The samples of one stage, oldest first."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=_KEPT)
        self._paid_from: Sample | None = None  # the last sample before an engine's first answer

    def see(self, sample: Sample) -> None:
        """One more sample."""
        if sample.sent and not sample.answered:
            self._paid_from = sample
        elif sample.sent and self._paid_from is None:  # answered within one sample; what the store gave came in it too
            self._paid_from = self._samples[-1] if self._samples and not sample.stored else sample
        self._samples.append(sample)

    def rates(self) -> tuple[float, float]:
        """Rows and requests answered by the engine per second, lately; 0 where nothing was done."""
        if len(self._samples) < 2:
            return 0.0, 0.0
        now = self._samples[-1]
        before = next(one for one in self._samples if now.time - one.time <= WINDOW)
        seconds = now.time - before.time
        if seconds <= 0:
            return 0.0, 0.0
        return (now.rows - before.rows) / seconds, (now.answered - before.answered) / seconds

    def seconds_left(self, total: int | None) -> float | None:
        """Seconds until `total` rows are done; `None` while that cannot be told."""
        if not self._samples or not total:
            return None
        now = self._samples[-1]
        if now.rows >= total:
            return 0.0
        if now.sent:
            return self._paid_left(now, total)
        before = self._lately(lambda one: now.rows - one.rows, None)
        return None if before is None else (total - now.rows) * (now.time - before.time) / (now.rows - before.rows)

    def _paid_left(self, now: Sample, total: int) -> float | None:
        """What the engine still has to answer, at the speed at which it answered lately."""
        before = self._lately(lambda one: now.answered - one.answered, self._paid_from)
        if before is None:
            return None
        looked_up = now.sent + now.stored
        to_come = max(0.0, total * now.asked / max(1, now.rows + now.open_rows) - looked_up)
        lately = looked_up - before.sent - before.stored
        share = (now.sent - before.sent) / lately if lately else 1.0  # of those to come, how many are not stored
        return (now.sent - now.answered + to_come * share) * (now.time - before.time) / (now.answered - before.answered)

    def _lately(self, done: Callable[[Sample], int], first: Sample | None) -> Sample | None:
        """The youngest sample since which the window's time has passed and enough was done, not before `first`; the
        oldest where there is none, and `None` if that is too little to say anything."""
        now = self._samples[-1]
        oldest: Sample | None = None
        for one in reversed(self._samples):
            if first is not None and one.time < first.time:
                break
            oldest = one
            if now.time - one.time >= WINDOW and done(one) >= _FEW:
                return one
        if oldest is None or now.time - oldest.time < _SHORTEST or done(oldest) < _FEWEST:
            return None
        return oldest


def spoken(seconds: float) -> str:
    """A time for a person: `40 s`, `12 min`, `2 h 10 min`, `1 d 4 h`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h" if hours % 24 else f"{hours // 24} d"
