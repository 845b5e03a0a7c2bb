"""What a line of progress says."""

from __future__ import annotations

from arhn_hf.cli.progress import facts, time_left
from arhn_hf.monitor import Counts, Monitor


def test_the_time_left_is_said_in_words_once_it_is_known() -> None:
    monitor = Monitor()
    assert time_left(monitor) == []
    monitor.seconds_left = 7_800.0
    assert time_left(monitor) == ["2 h 10 min left"]
    monitor.then = "ranking"
    assert time_left(monitor) == ["2 h 10 min left, then ranking"]
    monitor.seconds_left = 0.0
    assert time_left(monitor) == []


def test_facts_are_requests_their_rate_and_what_failed() -> None:
    monitor = Monitor(counts=Counts(sent=2000, answered=1500, failed={"error": 2, "length": 1}))
    monitor.rates = (12.0, 412.4)
    monitor.relabeled, monitor.filtered = 4, 1000
    assert facts(monitor) == ["1,500 requests", "412/s", "3 failed", "4 relabeled, 1,000 filtered"]
    monitor.rates = (0.01, 0.2)
    assert "12.0/min" in facts(monitor)
    assert facts(Monitor(counts=Counts())) == []
