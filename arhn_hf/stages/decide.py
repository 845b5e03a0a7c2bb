"""Stage 3, pure: decisions, then the place of every passage in every variant, with the donors of short rows."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from datasets import Dataset

from arhn_hf.methods.arhn import decide
from arhn_hf.records import GROUNDED, Answer, Cell, Decision, Passage, Row
from arhn_hf.rules import Rules
from arhn_hf.stages.index import passage_digest
from arhn_hf.stages.tables import (
    PLACES,
    decisions_table,
    to_answers,
    to_decisions,
    to_prepared,
    to_rankings,
    to_row,
)
from arhn_hf.stages.treat import Treatments
from arhn_hf.text import normalised, passage_key, token_set
from arhn_hf.variants import missing_negatives, place

_DRAWS = 64  # tries for one missing negative before the row counts as short


def make_decide(
    treatments: Treatments, rules: Rules, orders: int, count_tokens: Callable[[str], int] | None
) -> Callable[[pa.Table], pa.Table]:
    """The transform from `ROWS` + `ANSWERS` + `RANKINGS` to a `DECISIONS` table.

    `count_tokens` is needed with `--train-max-length`: tokens of a text as the trained encoder's kind of tokenizer
    counts them.
    """

    def transform(table: pa.Table) -> pa.Table:
        records = []
        for value in table.to_pylist():
            row, answers = to_row(value), to_answers(value)
            beyond = _beyond(row, answers, rules, count_tokens)
            treatment = treatments.of(value, beyond)
            records.append(decide(row, to_prepared(value), answers, to_rankings(value), treatment, rules, orders))
        return decisions_table(records)

    return transform


def _beyond(
    row: Row, answers: Sequence[Answer], rules: Rules, count_tokens: Callable[[str], int] | None
) -> tuple[bool, ...]:
    """Per negative, whether its snippet ends beyond the tokens the trained encoder sees (title first, then text)."""
    if rules.train_max_length is None or count_tokens is None:
        return ()
    flags = []
    for passage, answer in zip(row.negatives, answers[len(row.positives) :], strict=True):
        seen = ""
        if answer.status in GROUNDED and answer.field == "text":
            seen = f"{passage.title or ''} {passage.text[: answer.end]}"
        elif answer.status in GROUNDED:
            seen = (passage.title or "")[: answer.end]
        flags.append(count_tokens(seen) > rules.train_max_length)
    return tuple(flags)


@dataclass(frozen=True)
class Shortage:
    """How short rows are treated: `treatment` is `drop`, `keep` or `backfill`; `wanted` the number of negatives that
    every written row must have (n-tuples), or `None`; `known(i)` the digests of positives elsewhere of the i-th row's
    query."""

    treatment: str
    wanted: int | None
    known: Callable[[int], frozenset[int]]


def make_places(rows: Dataset, rules: Rules, variants: Sequence[str], shortage: Shortage) -> Callable[..., pa.Table]:
    """The transform (with indices) from `ROWS` + `DECISIONS` to a `PLACES` table.

    `rows` is that same dataset, drawn from for backfilling.
    """
    reader = rows.with_format("arrow")
    wanted, short_rows = shortage.wanted, shortage.treatment

    def transform(table: pa.Table, indices: list[int]) -> pa.Table:
        items = []
        for number, value in zip(indices, table.to_pylist(), strict=True):
            row, decisions = to_row(value), to_decisions(value)
            item: dict[str, Any] = dict.fromkeys(PLACES.names)
            for variant in variants:
                where = _places(row, decisions, variant, rules)
                lacking = missing_negatives(decisions, where[len(row.positives) :], rules)
                skipped = decisions[0].reason == "invalid_row"
                short = lacking if wanted is None or skipped else max(lacking, _lacking(row, where, wanted))
                donors: list[Cell] = []
                if short and short_rows == "backfill":
                    donors = _donors(reader, number, row, variant, rules, short, shortage.known(number))
                if lacking > len(donors) and short_rows != "keep":
                    where, donors = ["row_dropped"] * len(where), []
                item[variant] = where
                item[f"{variant}_donors"] = [{"row": cell.row, "position": cell.position} for cell in donors]
            items.append(item)
        return pa.Table.from_pylist(items, schema=PLACES)

    return transform


def _places(row: Row, decisions: Sequence[Decision], variant: str, rules: Rules) -> list[str | None]:
    return [place(d, p.label, variant, rules) for p, d in zip(row.passages, decisions, strict=True)]


def _lacking(row: Row, where: Sequence[str | None], wanted: int) -> int:
    """The most negatives any row of an n-tuple group lacks: each source row's own, and the group's for new
    positives."""
    count = len(row.positives)
    left = dict.fromkeys(row.rows, 0)
    for passage, spot in zip(row.negatives, where[count:], strict=True):
        if spot == "negative":
            for cell in passage.cells:
                left[cell.row] += 1
    group = sum(spot == "negative" for spot in where[count:])
    return max(0, wanted - min([*left.values(), group]))


def _donors(
    reader: Dataset, number: int, row: Row, variant: str, rules: Rules, short: int, known: frozenset[int]
) -> list[Cell]:
    """Random negatives of other rows: a pure function of source, decisions and seed. None equals or nearly equals a
    positive of this query, or a negative it already has."""
    chooser = random.Random(f"backfill\0{rules.seed}\0{variant}\0{row.index}")
    taken = [token_set(passage_key(p.title, p.text)) for p in row.passages]
    donors: list[Cell] = []
    total = len(reader)
    for _ in range(_DRAWS * short):
        if len(donors) == short or total < 2:
            break
        other = chooser.randrange(total - 1)
        value = reader[other + (other >= number)].to_pylist()[0]
        candidate = _donated(to_row(value), to_decisions(value), chooser, row, variant, rules)
        if candidate is None or (known and passage_digest(candidate.title, candidate.text) in known):
            continue
        tokens = token_set(passage_key(candidate.title, candidate.text))
        if any(_similar(tokens, one, rules.near_duplicate) for one in taken):
            continue
        taken.append(tokens)
        donors.append(candidate.cells[0])
    return donors


def _donated(
    other: Row, decisions: Sequence[Decision], chooser: random.Random, row: Row, variant: str, rules: Rules
) -> Passage | None:
    """One negative that stays a negative in its own row; nothing from rows of the same query or from invalid ones."""
    if other.invalid is not None or normalised(other.query) == normalised(row.query):
        return None
    where = _places(other, decisions, variant, rules)[len(other.positives) :]
    staying = [p for p, spot in zip(other.negatives, where, strict=True) if spot == "negative"]
    return chooser.choice(staying) if staying else None


def _similar(a: frozenset[str], b: frozenset[str], threshold: float) -> bool:
    shared = len(a & b)
    return shared > 0 and shared / (len(a) + len(b) - shared) >= threshold
