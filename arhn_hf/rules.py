"""The decision rules' options, each with its default, range and one line of help: the single place that defines them.

`RunConfig` adds the options of a run to these; the command line, the YAML keys, the card and `arhn.json` are all generated from
the same fields. Apart from `config.py` so that the pure parts (`methods/`, `variants.py`) need nothing else.
"""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from arhn_hf.records import UsageError


def option(
    default: Any,
    help: str,
    *,
    group: str,
    kind: type = str,
    choices: tuple[str, ...] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    multiple: bool = False,
    metavar: str | None = None,
) -> Any:
    """A dataclass field that is also a command-line option and a YAML key; `None` as default means "not given"."""
    return field(
        default=default,
        metadata={
            "help": help, "group": group, "kind": kind, "choices": choices, "minimum": minimum, "maximum": maximum,
            "multiple": multiple, "metavar": metavar,
        },
    )  # fmt: skip


RULES = "Decision rules"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Rules in force (DESIGN §4). Raises `UsageError` naming the option when a value is out of its range."""

    min_answerable: float = option(
        0.5, "Leave a subset untouched when fewer of its original positives hold an answer.",
        group=RULES, kind=float, minimum=0, maximum=1,
    )  # fmt: skip
    near_duplicate: float = option(
        0.8, "Jaccard similarity of token sets from which two passages count as near-duplicates.",
        group=RULES, kind=float, minimum=0.5, maximum=1,
    )  # fmt: skip
    reference: str = option(
        "best",
        "Original positive to compare with: the best- or the worst-ranked.",
        group=RULES,
        choices=("best", "worst"),
    )
    no_answer_in_positives: str = option(
        "filter", "When no original positive holds an answer: filter answering negatives, leave the row, or rank all the same.",
        group=RULES, choices=("filter", "leave", "rank"),
    )  # fmt: skip
    relabel: bool = option(
        True, "Turn negatives that stand above the reference positive into positives.", group=RULES, kind=bool
    )
    filter_scope: str = option(
        "all", "What the filter variant removes: all answering negatives, or only those below the reference positive.",
        group=RULES, choices=("all", "below"),
    )  # fmt: skip
    undecided: str = option(
        "keep", "What happens to negatives whose judgement failed.", group=RULES, choices=("keep", "remove")
    )
    max_new_positives: int = option(
        3, "New positives per row, at most; further ones are filtered.", group=RULES, kind=int, minimum=0
    )
    ambiguous_above: int = option(
        7,
        "With more relabels than this a row counts as ambiguous: all of them are filtered.",
        group=RULES,
        kind=int,
        minimum=0,
    )
    min_negatives: int = option(1, "Negatives a row must keep.", group=RULES, kind=int, minimum=0)
    short_rows: str | None = option(
        None, "Rows with fewer: drop them, keep them, or backfill with other rows' negatives. "
        "[default: drop; backfill for n-tuples]", group=RULES, choices=("drop", "keep", "backfill"),
    )  # fmt: skip
    max_negatives: int | None = option(
        None, "Judge at most this many negatives of a row (a seeded choice); the others are removed.",
        group=RULES, kind=int, minimum=1,
    )  # fmt: skip
    train_max_length: int | None = option(
        None, "Tokens the trained encoder sees: an answer beyond them may filter, never relabel.",
        group=RULES, kind=int, minimum=8,
    )  # fmt: skip
    orders: int = option(
        2,
        "Orders each list is ranked in (the reader always gives one).",
        group="Ranking",
        kind=int,
        minimum=1,
        maximum=16,
    )
    seed: int = option(42, "Seed of every choice: sample, orders, backfill.", group="Source", kind=int, minimum=0)

    def __post_init__(self) -> None:
        validate(self)


def option_name(field_name: str) -> str:
    """The command-line spelling of a field."""
    return "--" + field_name.replace("_", "-")


def validate(record: Any) -> None:
    """Check every option field of a dataclass against its own metadata; raises `UsageError` naming the first that fails."""
    for item in fields(record):
        meta = item.metadata
        if "help" not in meta:
            continue
        value = getattr(record, item.name)
        if value is None:
            if item.default is not None and item.default is not MISSING:
                raise UsageError("needs a value", where=option_name(item.name))
            continue
        for one in value if meta["multiple"] else (value,):
            _check(option_name(item.name), one, meta)


def _check(name: str, value: Any, meta: Any) -> None:
    kind = meta["kind"]
    wanted: tuple[type, ...] = (int, float) if kind is float else (kind,)
    if not isinstance(value, wanted) or (kind is not bool and isinstance(value, bool)):
        raise UsageError(f"{value!r} is not a valid {kind.__name__}", where=name)
    if meta["choices"] and value not in meta["choices"]:
        raise UsageError(f"{value!r} is not one of {', '.join(meta['choices'])}", where=name)
    low, high = meta["minimum"], meta["maximum"]
    if (
        (low is not None and value < low)
        or (high is not None and value > high)
        or (isinstance(value, float) and math.isnan(value))
    ):
        span = f"at least {low}" if high is None else f"at most {high}" if low is None else f"between {low} and {high}"
        raise UsageError(f"{value} is out of range: it must be {span}", where=name)
