"""The reader's ranking: by score, but nothing that it is unsure of stands above what a person called a positive."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from arhn_hf.config import RunConfig
from arhn_hf.judges.asking import Asker
from arhn_hf.judges.reader import ReaderJudge
from arhn_hf.records import Answer, Passage, Row, UsageError


def ranks(scores: list[float | None], positives: int, **options: Any) -> list[int | None]:
    """The place of each passage (positives first) that a reader with these scores gives."""
    passages = [
        Passage("positive" if i < positives else "negative", i, None, f"text {i}", None, []) for i in range(len(scores))
    ]
    row = Row(0, [0], "query", passages[:positives], passages[positives:])
    judge = ReaderJudge(cast(Asker, SimpleNamespace()), threshold=0.4, max_chunks=32, **options)
    answers = [Answer("engine_error") if one is None else Answer("answered", score=one) for one in scores]
    found = asyncio.run(judge.rank(row, "question", answers, range(positives, len(scores))))
    return [one.placements[0].rank if one.placements else None for one in found]


def test_scores_rank_where_the_reader_is_sure() -> None:
    assert ranks([0.85, 0.9, 0.81, 0.88], 1) == [3, 1, 4, 2]


def test_a_negative_below_the_relabel_threshold_stands_below_every_positive() -> None:
    assert ranks([0.1, 0.5, 0.79, 0.9, 0.45], 2) == [3, 2, 4, 1, 5]
    assert ranks([0.1, 0.5, 0.79, 0.9, 0.45], 2, relabel_threshold=0.0) == [5, 3, 2, 1, 4]
    assert ranks([0.1, 0.2, 1.0], 2, relabel_threshold=1.0) == [3, 2, 1]


def test_equal_scores_keep_their_order_and_what_failed_has_no_place() -> None:
    assert ranks([0.9, 0.9, None, 0.9], 1) == [1, 2, None, 3]


@pytest.mark.parametrize("judge", [{"judge": "vllm", "model": "m"}, {"judge": "cross-encoder", "model": "m"}])
def test_other_judges_have_no_such_threshold(judge: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="--judge reader only") as error:
        RunConfig(source="s", relabel_threshold=0.9, **judge)  # type: ignore[arg-type]
    assert error.value.where == "--relabel-threshold"
