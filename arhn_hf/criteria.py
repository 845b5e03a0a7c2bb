"""What makes a passage relevant, by subset: the shipped profile (`configs/subsets.yaml`) under the person's own overrides."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from arhn_hf.records import Criterion
from arhn_hf.resources import resource_folder


def subset_key(name: str | None) -> str:
    """Subset names match with case and punctuation ignored: `Climate-FEVER` is `climate_fever`."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", name or "").casefold())


@cache
def _profile() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((resource_folder("configs") / "subsets.yaml").read_text(encoding="utf-8"))
    return loaded


@dataclass(frozen=True)
class Criteria:
    """Criterion and filter-only flag of every subset. `overrides` holds `SUBSET=criterion`, `filter_only` subset names;
    without `profile` only those count (for repeating a run by what its lineage recorded)."""

    overrides: tuple[str, ...] = ()
    filter_only: tuple[str, ...] = ()
    profile: bool = True

    def criterion(self, subset: str | None) -> Criterion:
        """`question`, `claim` or `skip`."""
        key = subset_key(subset)
        for item in reversed(self.overrides):
            name, _, value = item.rpartition("=")
            if subset_key(name) == key:
                return value  # type: ignore[return-value]  # checked by RunConfig
        for value in ("skip", "claim"):
            if self.profile and key and key in _keys(_profile()["criterion"][value]):
                return value  # type: ignore[return-value]
        return "question"

    def only_filters(self, subset: str | None) -> bool:
        """Whether relabeling is off for this subset."""
        key = subset_key(subset)
        return bool(key) and key in _keys((*self.filter_only, *(_profile()["filter_only"] if self.profile else ())))

    def unknown(self, occurring: Iterable[str]) -> list[str]:
        """Subset names of the overrides that match none of the `occurring` ones."""
        there = _keys(occurring)
        named = [*(item.rpartition("=")[0] for item in self.overrides), *self.filter_only]
        return [name for name in named if subset_key(name) not in there]


def _keys(names: Iterable[str]) -> set[str]:
    return {subset_key(name) for name in names}
