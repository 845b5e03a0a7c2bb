"""What a judge is: a row in, answers and rankings out. Judges render requests, parse and ground responses, and ask again.

A judge never decides what happens to a passage; that is `methods/`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from arhn_hf.records import Answer, Placement, Ranking, Row


def place(rankings: list[Ranking], order: Iterable[int]) -> list[Ranking]:
    """Give the passages in `order`, best first, the places of one window in one order; the others keep what they have."""
    for rank, i in enumerate(order, start=1):
        rankings[i] = Ranking("ranked", [Placement(0, 0, rank)])
    return rankings


class Judge(ABC):
    """Finds answer snippets and ranks passages. `orders`: in how many orders it ranks. `english_only`: reads nothing else."""

    name: str
    orders: int
    english_only: bool = False

    @abstractmethod
    async def answers(self, row: Row, criterion: str, wanted: Sequence[int]) -> list[Answer]:
        """One `Answer` per index in `wanted` (indices into `row.passages`)."""

    @abstractmethod
    async def rank(
        self, row: Row, criterion: str, answers: Sequence[Answer], candidates: Sequence[int]
    ) -> list[Ranking]:
        """One `Ranking` per passage of the row: the original positives and `candidates` (indices into `row.passages`) are
        ranked, all others stay `not_ranked`. `answers` is in the order of `row.passages`."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What `arhn.json` and the card say of this judge: kind, model, revision, and whatever changes its answers."""

    def judges(self) -> dict[str, dict[str, Any]]:
        """By name, everybody who decides here: the judge itself, first, and what it works with."""
        return {self.name: self.describe()}
