"""A cheap judge in front of a strong one: the embedded reader reads negatives first, the LLM what the reader is unsure of.

Why it exists: most mined negatives are plainly about something else, and an LLM that says so costs as much as one that
finds an answer. RLHN (arXiv 2505.16967) cascades a cheap LLM and a strong one; the band on a calibrated score and all
rules below are our choice:

- labelled positives always go to the strong judge: their answers decide whether a subset is touched and who is the
  reference, so a mistake there costs a whole row;
- so does whatever the reader was not made for or did not do: rows that are probably not English, claims, passages it
  did not see wholly, reads that failed;
- ranking is always the strong judge's, over everything that answers, whoever found it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from arhn_hf.judges.base import Judge
from arhn_hf.judges.reader import ReaderJudge
from arhn_hf.language import probably_english
from arhn_hf.records import GROUNDED, Answer, Ranking, Row


@dataclass(frozen=True)
class Band:
    """Scores of the reader between which the strong judge decides. Below `low` a passage holds no answer, from `high` on
    it answers; `high` of 1 means that the reader is never believed when it finds an answer, `low` of 0 that it never is
    when it finds none."""

    low: float
    high: float

    def settles(self, reading: Answer) -> Answer | None:
        """What the reader decides by itself, or `None` for what the strong judge must read. `reading` comes from a
        reader with threshold 0, which quotes its best span whatever the score."""
        if reading.score is None or reading.status not in GROUNDED or reading.truncated:
            return None
        if reading.score < self.low:
            return Answer("no_answer", score=reading.score)
        return reading if reading.score >= self.high and self.high < 1 else None


def read_first(row: Row, criterion: str, wanted: Sequence[int]) -> list[int]:
    """Indices into `row.passages` that the reader reads first: negatives of English questions."""
    negatives = [i for i in wanted if i >= len(row.positives)]
    return negatives if negatives and criterion == "question" and probably_english(row) else []


class CascadeJudge(Judge):
    """`first` (with threshold 0) decides outside `band`, `strong` inside it. Answers name who decided."""

    def __init__(self, first: ReaderJudge, strong: Judge, band: Band) -> None:
        self._first, self._strong, self._band = first, strong, band
        self.name, self.orders, self.english_only = strong.name, strong.orders, strong.english_only

    async def answers(self, row: Row, criterion: str, wanted: Sequence[int]) -> list[Answer]:
        """See `Judge.answers`. What is left for the strong judge goes to it together, so that its prompts share their
        beginning."""
        first = read_first(row, criterion, wanted)
        settled = {
            i: replace(answer, judge=self._first.name)
            for i, reading in zip(first, await self._first.answers(row, criterion, first), strict=True)
            if (answer := self._band.settles(reading)) is not None
        }
        left = [i for i in wanted if i not in settled]
        for i, answer in zip(left, await self._strong.answers(row, criterion, left), strict=True):
            settled[i] = replace(answer, judge=self.name)
        return [settled[i] for i in wanted]

    async def rank(
        self, row: Row, criterion: str, answers: Sequence[Answer], candidates: Sequence[int]
    ) -> list[Ranking]:
        """See `Judge.rank`: the strong judge's."""
        return await self._strong.rank(row, criterion, answers, candidates)

    def describe(self) -> dict[str, Any]:
        """See `Judge.describe`: the strong judge, with the reader and its band under `cascade`."""
        return {**self._strong.describe(), "cascade": self._about_first()}

    def judges(self) -> dict[str, dict[str, Any]]:
        """See `Judge.judges`: the strong judge, then the reader with its `band`."""
        return {self.name: self._strong.describe(), self._first.name: self._about_first()}

    def _about_first(self) -> dict[str, Any]:
        about = self._first.describe()
        for name in ("answer_threshold", "relabel_threshold"):  # the band stands in their place
            del about[name]
        return {**about, "band": {"low": self._band.low, "high": self._band.high}}
