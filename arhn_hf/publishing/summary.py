"""What a run did, counted from its evidence: the same numbers for `refine`, the card, the gates and `check`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from datasets import Dataset

from arhn_hf.records import VARIANTS

_KEYS = [
    "subset", "label", "answer_status", "rank_status", "truncated", "action", "reason", "in_combined", "in_relabel",
    "in_filter", "judge",
]  # fmt: skip
_FAILED_REASONS = frozenset({"not_english", "answer_failed", "ranking_failed", "positives_failed"})


@dataclass
class Summary:
    """Counts over evidence rows (source cells). `by` maps (subset, label, …, judge) tuples to how many; see
    `_KEYS`."""

    by: Counter[tuple[Any, ...]] = field(default_factory=Counter)

    @classmethod
    def of(cls, evidence: Dataset) -> Summary:
        """Count the evidence, batch by batch."""
        summary = cls()
        for batch in evidence.select_columns(_KEYS).with_format("arrow").iter(10_000):
            counts = pa.table(batch).group_by(_KEYS).aggregate([([], "count_all")])
            for item in counts.to_pylist():
                summary.by[tuple(item[key] for key in _KEYS)] += item["count_all"]
        return summary

    def count(self, **wanted: Any) -> int:
        """How many evidence rows have these values; a set of values matches any of them."""
        tests = [(_KEYS.index(key), value) for key, value in wanted.items()]
        return sum(
            n
            for key, n in self.by.items()
            if all(key[i] in value if isinstance(value, (set, frozenset)) else key[i] == value for i, value in tests)
        )

    def subsets(self) -> list[str | None]:
        """Subset names that occur, `None` for rows without one."""
        return sorted({key[0] for key in self.by}, key=lambda name: (name is not None, name or ""))

    def decisions(self) -> dict[str, int]:
        """Negatives by action."""
        return {
            name: self.count(label="negative", action=name)
            for name in ("relabel", "filter", "keep", "duplicate", "undecided")
        }

    def considered(self) -> int:
        """Negatives of rows that were not skipped as a whole."""
        skipped = self.count(label="negative", action="skipped") - self.count(label="negative", reason="max_negatives")
        return self.count(label="negative") - skipped

    def per_10_negatives(self) -> dict[str, float]:
        """Relabeled and filtered of ten negatives (published for ARHN: 1.6 and 2.2)."""
        of = self.considered()
        found = self.decisions()
        return {name: round(10 * found[name] / of, 3) if of else 0.0 for name in ("relabel", "filter")}

    def failures(self) -> dict[str, Any]:
        """Failed judgements of negatives: `count` of `of` meant, `rate`; `ungrounded` apart; `by_status` of answers and
        rankings."""
        meant = self.count(label="negative") - self.count(label="negative", action={"skipped", "duplicate"})
        failed = self.count(label="negative", action="undecided", reason=_FAILED_REASONS)
        ungrounded = self.count(
            label="negative", action="undecided", reason="answer_failed", answer_status="ungrounded"
        )
        by_status: dict[str, int] = {}
        for key, n in sorted(self.by.items(), key=str):
            row = dict(zip(_KEYS, key, strict=True))
            if row["label"] == "negative" and row["action"] == "undecided":
                name = row["answer_status"] if row["reason"] == "answer_failed" else row["reason"]
                by_status[name] = by_status.get(name, 0) + n
        count = failed - ungrounded
        return {
            "count": count, "of": meant, "rate": round(count / meant, 6) if meant else 0.0,
            "ungrounded": ungrounded, "ungrounded_rate": round(ungrounded / meant, 6) if meant else 0.0,
            "by_status": by_status,
        }  # fmt: skip

    def before_after(self) -> list[dict[str, Any]]:
        """Per subset: positives and negatives before, and what became of the negatives in the first variant written."""
        rows = []
        for subset in self.subsets():
            one: dict[str, Any] = {"subset": subset}
            for label in ("positive", "negative"):
                one[f"{label}s"] = self.count(subset=subset, label=label)
            for action in ("relabel", "filter", "keep", "duplicate", "undecided", "skipped"):
                one[action] = self.count(subset=subset, label="negative", action=action)
            for variant in VARIANTS:
                for place in ("positive", "negative", "removed", "row_dropped"):
                    one[f"{variant}_{place}"] = self.count(subset=subset, **{f"in_{variant}": place})
            rows.append(one)
        return rows


def gates(
    summary: Summary, limits: dict[str, Any], variant_rows: dict[str, int], *, whole: bool = True
) -> list[dict[str, Any]]:
    """Every gate with its limit, its value and whether it held (`None` in a part of a run: gates are of the whole). Limits that are
    `None` are no gates.

    `limits` has the option names of the group "Gates"; `variant_rows` the rows of each variant written.
    """
    failures = summary.failures()
    rates = summary.per_10_negatives()
    fewest = min(variant_rows.values(), default=0)
    table = [
        ("max_failures", failures["rate"], True), ("max_ungrounded", failures["ungrounded_rate"], True),
        ("min_relabel", rates["relabel"], False), ("max_relabel", rates["relabel"], True),
        ("min_filter", rates["filter"], False), ("max_filter", rates["filter"], True),
        ("min_rows", fewest, False),
    ]  # fmt: skip
    return [
        {
            "name": name,
            "limit": limits[name],
            "value": value,
            "ok": None if not whole else value <= limits[name] if upper else value >= limits[name],
        }  # fmt: skip
        for name, value, upper in table
        if limits.get(name) is not None
    ]
