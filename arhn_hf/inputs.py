"""From a configuration to the rows to judge: source, format, index, sample, and how the variants are shaped.

`refine`, `plan`, `derive` and `check` all begin here, so they cannot see different rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset

from arhn_hf.config import RunConfig
from arhn_hf.criteria import Criteria
from arhn_hf.formats import TARGETS, detect
from arhn_hf.formats.base import Format, Target
from arhn_hf.monitor import Monitor
from arhn_hf.records import UsageError
from arhn_hf.sources import Source, load_source, load_table
from arhn_hf.stages.index import Index, build_index
from arhn_hf.stages.maps import Maps
from arhn_hf.stages.ondisk import Ints

N_TUPLE_NEGATIVES = 7  # when converting; sentence-transformers' and RLHN's usual number


@dataclass
class Inputs:
    """What a run reads. `chosen` are the numbers of the judged rows taken (all, the sample, or a part of either); `count` is the number of negatives
    every written row must have (n-tuples) or `None`; `short_rows` what happens to short ones."""

    config: RunConfig
    source: Source
    form: Format
    target: Target | None
    count: int | None
    short_rows: str
    criteria: Criteria
    index: Index
    chosen: Sequence[int] | Ints = field(default_factory=list)

    @property
    def dataset(self) -> Dataset:
        """The source dataset."""
        return self.source.dataset

    def index_rows(self) -> Dataset:
        """The chosen rows of the index as a dataset."""
        return self.index.dataset(self.chosen)

    def maps(self, folder: Path) -> Maps:
        """The maps of a run over these rows, with work files in `folder`."""
        row_bytes = self.dataset.data.nbytes // max(1, len(self.dataset))
        return Maps(folder, self.index.fingerprint[:16], row_bytes * self.index.source_rows // max(1, len(self.index)))

    def known(self, number: int) -> frozenset[int]:
        """Digests of positives elsewhere, for the `number`-th chosen row."""
        return self.index.positives_elsewhere(self.chosen[number])

    def source_lineage(self) -> dict[str, Any]:
        """The source as `arhn.json` names it: no local path but its last component."""
        return {
            "id": self.source.label, "kind": self.source.kind, "revision": self.source.revision, "name": self.source.name,
            "split": self.source.split, "format": self.form.name, "fingerprint": self.index.fingerprint,
            "rows": self.index.source_rows,
        }  # fmt: skip

    def format_lineage(self) -> dict[str, Any]:
        """How variants are written."""
        return {"to": self.target.name if self.target else None, "negatives": self.count, "short_rows": self.short_rows}

    def sample_lineage(self) -> dict[str, Any] | None:
        """The sample, or `None` for all rows."""
        return None if self.config.sample is None else {"n": self.config.sample, "seed": self.config.seed}


def open_inputs(config: RunConfig, monitor: Monitor, criteria: Criteria | None = None) -> Inputs:
    """Load the source, recognise its format and index it. Raises `UsageError` before anything is spent."""
    if not config.source:
        raise UsageError("no source given", hint="Name a Hub dataset, a folder or a file")
    monitor.begin("loading the source")
    source = load_source(config.source, name=config.name, split=config.split, revision=config.revision)
    corpus = load_table(config.corpus) if config.corpus else None
    form = detect(source.dataset.features, corpus, config.format)
    form.validate(source.dataset.with_format("arrow")[:])
    target = TARGETS[config.to]() if config.to and config.to != form.name else None
    count = _count(config, form, target)
    short_rows = config.short_rows or (target or form).default_short_rows
    if short_rows == "keep" and count is not None:
        raise UsageError(
            "keep is impossible for n-tuples: every row has the same number of negatives", where="--short-rows"
        )
    monitor.begin("indexing the source", len(source.dataset))

    def advance(done: int) -> None:
        monitor.done = done
        monitor.check()

    index = build_index(source.dataset, form, advance)
    taken = index.sample(config.sample, config.seed)
    chosen = taken if config.part is None else index.part(taken, config.part)
    found = criteria or Criteria(config.criterion, config.filter_only)
    return Inputs(config, source, form, target, count, short_rows, found, index, chosen)


def _count(config: RunConfig, form: Format, target: Target | None) -> int | None:
    if target is not None:
        return (config.negatives or N_TUPLE_NEGATIVES) if target.needs_negatives else None
    if form.negatives is not None and config.negatives not in (None, form.negatives):
        raise UsageError(
            f"the source's rows have {form.negatives} negatives and keep their columns", where="--negatives",
            hint="Leave it out, or convert with --to",
        )  # fmt: skip
    return form.negatives


def local_path(source: Source) -> str | None:
    """The absolute path of a local source, for the folder's private memory only."""
    return str(Path(source.path).resolve()) if source.path is not None else None
