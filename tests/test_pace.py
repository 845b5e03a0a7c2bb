"""The time left: what the store gives at once does not fool it, and slower work shows within minutes."""

from __future__ import annotations

import pytest

from arhn_hf.pace import WINDOW, Pace, Sample, spoken

PER_ROW = 10


def run(pace: Pace, *, stored: int, rate: float, seconds: int, at: float = 0.0, in_flight: int = 200) -> Sample:
    """A stage whose first `stored` rows are in the store and come in the first second; then the engine answers `rate`
    requests per second. One sample a second; returns the last."""
    sample = Sample(at, 0)
    pace.see(sample)
    for second in range(1, seconds + 1):
        answered = int((second - 1) * rate)
        sent = answered + in_flight
        rows = stored + answered // PER_ROW
        sample = Sample(
            at + second, rows, in_flight // PER_ROW, rows * PER_ROW + in_flight, stored * PER_ROW, sent, answered
        )
        pace.see(sample)
    return sample


@pytest.mark.parametrize("stored", [0, 9_000, 900_000])
@pytest.mark.parametrize("seconds", [15, 60, 300])
def test_stored_answers_do_not_shorten_the_time_left(stored: int, seconds: int) -> None:
    pace = Pace()
    last = run(pace, stored=stored, rate=100.0, seconds=seconds)
    left = pace.seconds_left(stored + 10_000)
    assert left is not None
    assert left == pytest.approx((stored + 10_000 - last.rows) * PER_ROW / 100.0, rel=0.1)


def test_a_mean_since_the_start_would_have_been_fooled() -> None:
    """The test above would tell: so far off is the plain quotient."""
    pace = Pace()
    last = run(pace, stored=900_000, rate=100.0, seconds=60)
    plain = last.time / last.rows * (910_000 - last.rows)
    assert plain < 1 < 900 < (pace.seconds_left(910_000) or 0.0)


def test_answers_stored_here_and_there_are_reckoned_with() -> None:
    """Every second request is in the store, all along."""
    pace = Pace()
    for second in range(200):
        answered, sent = second * 50, second * 50 + 100
        stored = sent
        asked = sent + stored
        pace.see(Sample(float(second), (answered * 2) // PER_ROW, 20, asked, stored, sent, answered))
    left = pace.seconds_left(10_000)
    assert left is not None
    assert left == pytest.approx((10_000 * PER_ROW / 2 - 199 * 50) / 50, rel=0.1)


def test_a_stage_that_sends_nothing_goes_by_its_rows() -> None:
    pace = Pace()
    for second in range(30):
        pace.see(Sample(float(second), second * 1000, 0, second * 10_000, second * 10_000))
    assert pace.seconds_left(129_000) == pytest.approx(100.0)
    assert pace.rates() == (pytest.approx(1000.0), 0.0)


def test_an_engine_that_becomes_slower_shows_within_the_window() -> None:
    pace = Pace()
    last = run(pace, stored=0, rate=100.0, seconds=3000)
    for second in range(1, int(WINDOW) + 2):
        answered = last.answered + 10 * second
        pace.see(Sample(last.time + second, answered // PER_ROW, 20, answered + 200, 0, answered + 200, answered))
    rows = (last.answered + 10 * int(WINDOW)) // PER_ROW
    assert pace.seconds_left(rows + 1000) == pytest.approx(1000.0, rel=0.1)


def test_the_time_until_the_first_answer_counts_as_no_rate() -> None:
    """A model that thinks for a minute before the first of 200 answers, then gives 10 a second."""
    pace = Pace()
    for second in range(91):
        answered = max(0, second - 60) * 10
        pace.see(Sample(float(second), answered // PER_ROW, 20, answered + 200, 0, answered + 200, answered))
        if second <= 60:
            assert pace.seconds_left(1000) is None
    assert pace.seconds_left(1000) == pytest.approx((10_000 - 300) / 10, rel=0.1)


def test_nothing_is_said_too_early_and_nothing_is_left_at_the_end() -> None:
    pace = Pace()
    assert pace.seconds_left(10) is None
    assert pace.rates() == (0.0, 0.0)
    pace.see(Sample(0.0, 0))
    pace.see(Sample(1.0, 5))
    assert pace.seconds_left(10) is None
    assert pace.seconds_left(None) is None
    pace.see(Sample(2.0, 10))
    assert pace.seconds_left(10) == 0.0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 s"), (40, "40 s"), (89, "89 s"), (90, "2 min"), (3_540, "59 min"), (3_590, "1 h"), (7_800, "2 h 10 min"),
        (86_000, "23 h 53 min"), (100_800, "1 d 4 h"), (172_800, "2 d"),
    ],
)  # fmt: skip
def test_times_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert spoken(seconds) == words
