"""How each row is treated as a whole, once the answers are known: which subsets are left untouched, where relabeling is
off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow.compute as pc
from datasets import Dataset

from arhn_hf.criteria import Criteria
from arhn_hf.methods.arhn import Treatment
from arhn_hf.records import ANSWER_FAILED, GROUNDED
from arhn_hf.rules import Rules


@dataclass
class Treatments:
    """Row → `Treatment`. `answerable` is, per subset, the share of original positives that hold a grounded answer
    (failed ones are in neither number); `untouched` are the subsets below `--min-answerable`.

    `whole` is false for one part of a source (`--shard`): the share of a part says nothing about its subset, so none is left
    untouched there and every row is ranked that the merged run might need.
    """

    rules: Rules
    criteria: Criteria
    ranks: bool
    answerable: Mapping[str, float] = field(default_factory=dict)
    subsets: frozenset[str] = frozenset()
    whole: bool = True
    _only_filters: dict[str | None, bool] = field(default_factory=dict)  # by subset: the criteria normalise every name

    @property
    def all_subsets(self) -> dict[str, float | None]:
        """Every subset that occurs, with its share of answerable positives (`None`: nothing was judged there)."""
        return {name: self.answerable.get(name) for name in sorted(self.subsets | set(self.answerable))}

    @property
    def untouched(self) -> list[str]:
        """Subsets left as they are."""
        return sorted(name for name in self.answerable if self._too_few(name))

    def _too_few(self, subset: str) -> bool:
        return self.whole and self.answerable.get(subset, 1.0) < self.rules.min_answerable

    def of(self, value: Mapping[str, Any], beyond: tuple[bool, ...] = ()) -> Treatment:
        """The treatment of one `ROWS` item."""
        skip = None
        if value["invalid"] is not None:
            skip = "invalid_row"
        elif value["criterion"] == "skip":
            skip = "criterion_skip"
        elif self._too_few(value["subset"] or ""):
            skip = "subset_untouched"
        may = None
        subset = value["subset"]
        if subset not in self._only_filters:
            self._only_filters[subset] = self.criteria.only_filters(subset)
        if self._only_filters[subset]:
            may = "filter_only"
        elif not self.rules.relabel:
            may = "relabel_off"
        return Treatment(skip, may, self.ranks, bool(value["not_english"]), beyond)


def answerable_shares(rows: Dataset) -> dict[str, float]:
    """Per subset, grounded ÷ judged among the original positives. `rows` has the columns of `ROWS` and `ANSWERS`."""
    grounded: dict[str, int] = {}
    judged: dict[str, int] = {}
    for batch in rows.select_columns(["subset", "positives", "answers"]).with_format("arrow").iter(1000):
        counts = pc.list_value_length(batch["positives"]).to_pylist()
        names, answered = batch["subset"].to_pylist(), batch["answers"].to_pylist()
        for subset, count, answers in zip(names, counts, answered, strict=True):
            for answer in answers[:count]:
                status = answer["status"]
                if status in GROUNDED:
                    grounded[subset or ""] = grounded.get(subset or "", 0) + 1
                elif status in ANSWER_FAILED or status in ("not_judged", "invalid_row") or answer["truncated"]:
                    continue
                judged[subset or ""] = judged.get(subset or "", 0) + 1
    return {subset: grounded.get(subset, 0) / count for subset, count in judged.items()}


def subsets(rows: Dataset) -> frozenset[str]:
    """Names of the subsets that occur; rows without one belong to the empty name."""
    return frozenset(name or "" for name in pc.unique(rows.data.column("subset")).to_pylist())
