"""The plain typed records that travel between the parts of the package.

They live in one file, without any I/O, so that every rule of `methods/`, `variants.py`, `windows.py` and `formats/` can be read
and tested with nothing but these names. Source of the vocabulary: the evidence contract, version 1 (`docs/evidence.md`).
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Label = Literal["positive", "negative"]
Criterion = Literal["question", "claim", "skip"]

VARIANTS = ("combined", "relabel", "filter")

ANSWER_STATUSES = (
    "answered", "approximate", "no_answer", "ungrounded", "malformed", "cut_off", "refused", "engine_error", "invalid_row",
    "not_judged",
)  # fmt: skip
RANK_STATUSES = ("ranked", "partial", "malformed", "cut_off", "refused", "engine_error", "not_ranked")
GROUNDED = frozenset({"answered", "approximate"})
ANSWER_FAILED = frozenset({"ungrounded", "malformed", "cut_off", "refused", "engine_error"})


class ArhnError(Exception):
    """A failure that a person can act on: one line of what, where and what to do (the command line shows just that).

    `exit_code` is 1 (the work failed), 2 (usage, configuration or schema) or 3 (a quality gate failed).
    """

    exit_code = 1

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message, self.where, self.hint = message, where, hint

    def __str__(self) -> str:
        line = self.message if self.where is None else f"{self.where}: {self.message}"
        return line if self.hint is None else f"{line}. {self.hint}"


class UsageError(ArhnError):
    """Wrong usage, configuration or schema: found before anything is spent (exit 2)."""

    exit_code = 2


class GateError(ArhnError):
    """A quality gate or a promise failed (exit 3)."""

    exit_code = 3


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def file_error(error: OSError) -> ArhnError:
    """What the system said of a file, for a person; a full disk is named as such."""
    where = None if error.filename is None else str(error.filename)
    if error.errno in _FULL:
        return ArhnError(
            "the disk is full",
            where=where,
            hint="Free some space and run the same command again: nothing judged is lost",
        )
    return ArhnError(error.strerror or " ".join(str(error).split()), where=where)


class Cell(NamedTuple):
    """Where a passage stands in the source: row index, list (`positive` or `negative`) and index in that list."""

    row: int
    label: Label
    position: int


class Document(NamedTuple):
    """A passage's content as the source holds it; a format without ids or titles leaves those `None`."""

    docid: str | None
    title: str | None
    text: str | None


@dataclass(slots=True)
class SourceRow:
    """One row of the source dataset, read by its format; `None` where the source has a null (judged invalid later)."""

    query: str | None
    positives: list[Document]
    negatives: list[Document]
    query_id: str | None = None
    subset: str | None = None
    instruction: str | None = None


@dataclass(slots=True)
class Passage:
    """A distinct passage of a judged row: `position` is its index among the row's positives or negatives.

    `cells` lists every place of the source that holds it: one for formats with lists, several where triplets,
    n-tuples or labeled pairs of one query repeat it.
    """

    label: Label
    position: int
    title: str | None
    text: str
    docid: str | None
    cells: list[Cell]


@dataclass(slots=True)
class Row:
    """What is judged together: one source row, or all source rows of one query where the format spreads them.

    `index` is the first source row, `rows` all of them in source order; `invalid` says in words why it cannot be judged.
    """

    index: int
    rows: list[int]
    query: str
    positives: list[Passage]
    negatives: list[Passage]
    query_id: str | None = None
    subset: str | None = None
    instruction: str | None = None
    invalid: str | None = None

    @property
    def passages(self) -> list[Passage]:
        """Positives, then negatives: the order of every per-passage list in the package."""
        return self.positives + self.negatives


@dataclass(slots=True)
class Placement:
    """The place a passage got in one ranking request: `rank` is 1-based among the identifiers that answer named."""

    window: int
    order: int
    rank: int


@dataclass(slots=True)
class Answer:
    """What a judge found in one passage. `start`/`end` are code points in the original `field`, end exclusive.

    `judge` names who decided, where several judge together; `None` means the run's only judge.
    """

    status: str = "not_judged"
    snippet: str | None = None
    field: str | None = None
    start: int | None = None
    end: int | None = None
    score: float | None = None
    truncated: bool = False
    judge: str | None = None


@dataclass(slots=True)
class Ranking:
    """Where one passage stood in the listwise rankings of its row."""

    status: str = "not_ranked"
    placements: list[Placement] = field(default_factory=list)


@dataclass(slots=True)
class Decision:
    """What happens to one passage: a pair of the closed table of actions and reasons, and the votes behind it.

    `new_position` is 1, 2, … for new positives, best first; `rank` the mean place where one window held the whole list.
    """

    action: str
    reason: str
    votes_above: int | None = None
    votes: int | None = None
    rank: float | None = None
    new_position: int | None = None


@dataclass(slots=True)
class Placed:
    """One judged row of one variant, ready to be written.

    `positives` are the original positives, then the new ones by rank; `negatives` the ones left, in source order; each is the
    passage's first source cell. `donors` are source cells of *other* rows' negatives that fill up a short row. `left` holds
    every negative source cell of the row that stayed negative (all cells of a passage), `new_positives` the tail of `positives`,
    `promoted` every cell of those, `originals` every source cell of the original positives (labeled pairs need to know them).
    """

    rows: list[int]
    positives: list[Cell]
    negatives: list[Cell]
    new_positives: list[Cell]
    promoted: frozenset[Cell]
    left: frozenset[Cell]
    donors: list[Cell]
    originals: frozenset[Cell] = frozenset()


@dataclass(slots=True)
class OutRow:
    """One row to write: its positives and negatives as source cells, other columns copied from source row `template`.

    A labeled pair has one cell: among `positives` it is written with label 1, among `negatives` with label 0.
    """

    template: int
    positives: list[Cell]
    negatives: list[Cell]
