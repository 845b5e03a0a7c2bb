"""Open a finished folder again: its lineage, its evidence, and the source it was made from.

`derive`, `check` and `show` all need the same three things, and the source must be the very same data: its fingerprint is compared.
"""

from __future__ import annotations

import contextlib
import glob
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, load_dataset

from arhn_hf.config import RunConfig
from arhn_hf.criteria import Criteria
from arhn_hf.formats import FORMATS, TARGETS
from arhn_hf.inputs import Inputs, open_inputs
from arhn_hf.methods.arhn import needs_ranking
from arhn_hf.monitor import Monitor
from arhn_hf.publishing.evidence import EVIDENCE, EVIDENCE_VERSION, StoredEvidence, evidence_files
from arhn_hf.publishing.folder import read_lineage
from arhn_hf.records import UsageError
from arhn_hf.rules import Rules
from arhn_hf.shards import Shard
from arhn_hf.stages.answers import wanted_passages
from arhn_hf.stages.maps import Maps, beside
from arhn_hf.stages.prepare import make_prepare
from arhn_hf.stages.tables import ANSWERS, RANKINGS, ROWS, to_answers, to_prepared, to_row
from arhn_hf.stages.treat import Treatments, answerable_shares, subsets

ENGLISH_ONLY = frozenset({"reader", "cross-encoder"})  # kinds of judges in which the embedded reader finds the answers
_SECTIONS = (
    "run_id", "source", "sample", "format", "variants", "rules", "criteria", "ranking", "judges", "file_type", "results",
)  # fmt: skip


@dataclass
class StoredRun:
    """A finished folder. `lineage` is its `arhn.json`, `evidence` its evidence as a dataset."""

    folder: Path
    lineage: dict[str, Any]
    evidence: Dataset

    @property
    def judge_name(self) -> str:
        """The judge whose answers these are: of a cascade, the one that ranked and that nobody decided for."""
        return next(str(name) for name, about in self.lineage["judges"].items() if "band" not in about)

    @property
    def english_only(self) -> bool:
        """Whether that judge reads nothing but English."""
        return self.lineage["judges"][self.judge_name]["kind"] in ENGLISH_ONLY

    @property
    def shard(self) -> Shard | None:
        """Which part of a run this is, or `None` for a whole one."""
        found = self.lineage.get("shard")
        return None if found is None else Shard(found["index"], found["count"])

    def config(self, **overrides: Any) -> RunConfig:
        """The configuration that made the folder, under `overrides`."""
        known = {item.name for item in fields(Rules)}
        rules = {key: value for key, value in self.lineage["rules"].items() if key in known}
        source, form, sample = self.lineage["source"], self.lineage["format"], self.lineage["sample"]
        state = _memory(self.folder)
        settings = state.get("settings") or {}
        values = {
            **rules, **{gate["name"]: gate["limit"] for gate in self.lineage["results"]["gates"]},
            "name": source["name"], "split": source["split"], "to": form["to"],
            "negatives": form["negatives"] if form["to"] else None, "variants": ",".join(self.lineage["variants"]),
            "sample": sample["n"] if sample else None, "output": str(self.folder),
            "source": state.get("source_path") or "", "corpus": settings.get("corpus"), "format": source["format"],
            "revision": source["revision"], "shard": self.shard and str(self.shard),
        }  # fmt: skip
        if not values["source"] and source["kind"] == "hub":
            values["source"] = source["id"]
        shaped = TARGETS[form["to"]] if form["to"] else FORMATS[source["format"]]
        if overrides.get("to") and form["short_rows"] == shaped.default_short_rows:
            values["short_rows"] = None  # the default of the schema it is converted to
        values.update({key: value for key, value in overrides.items() if value is not None})
        if "seed" in overrides and sample and overrides["seed"] not in (None, sample["seed"]):
            raise UsageError(
                "the sample was chosen by another seed", where="--seed", hint="Run `arhn-hf refine` with that seed"
            )
        if not values["source"] or (source["kind"] != "hub" and not Path(values["source"]).exists()):
            raise UsageError(
                f"the source {source['id']!r} is not where it was", where=str(self.folder), hint="Name it with --source"
            )
        if Path(values["source"]).exists():
            values["revision"] = None
        return RunConfig.from_mapping(values)

    def criteria(self, overrides: tuple[str, ...] = (), filter_only: tuple[str, ...] = ()) -> Criteria:
        """The criteria that were in force, under overrides; profiles of this version play no part."""
        recorded = self.lineage["criteria"]
        criteria = tuple(f"{subset}={about['criterion']}" for subset, about in recorded.items())
        only = tuple(subset for subset, about in recorded.items() if about["filter_only"])
        return Criteria((*criteria, *overrides), (*only, *filter_only), profile=False)

    def lookup(self) -> StoredEvidence:
        """The evidence by source cell."""
        return StoredEvidence(self.evidence, frozenset(self.lineage["judges"]))

    def open(self, config: RunConfig, criteria: Criteria, monitor: Monitor) -> Inputs:
        """The source again. Raises `UsageError` if it is not the same data."""
        inputs = open_inputs(config, monitor, criteria)
        if inputs.index.fingerprint != self.lineage["source"]["fingerprint"]:
            raise UsageError(
                "the source has changed since this folder was made (other fingerprint)", where=config.source,
                hint="Name the unchanged one with --source, or refine again",
            )  # fmt: skip
        return inputs

    def judgement(self, inputs: Inputs, monitor: Monitor, maps: Maps) -> tuple[Dataset, Dataset, Dataset, Treatments]:
        """Rows, answers and rankings as the evidence has them, and the treatments that follow under the configuration."""
        index = inputs.index_rows()
        monitor.begin("reading the source", len(index))
        transform = make_prepare(
            inputs.dataset, inputs.form, inputs.index, inputs.config, inputs.criteria, english_only=self.english_only,
            report=monitor.advance,
        )  # fmt: skip
        rows = maps.map("rows", index, transform, ROWS)
        stored = self.lookup()
        monitor.begin("reading the evidence", len(rows))
        answers = maps.map("answers", rows, stored.make_answers(), ANSWERS)
        rankings = maps.map("rankings", rows, stored.make_rankings(), RANKINGS)
        ranks = inputs.config.variant_names != ("filter",)
        shares = answerable_shares(beside(rows, answers))
        whole = inputs.config.shard is None
        return rows, answers, rankings, Treatments(inputs.config, inputs.criteria, ranks, shares, subsets(rows), whole)


def read_run(folder: Path) -> dict[str, Any]:
    """The lineage of a finished folder. Raises `UsageError` if it is not one, or of a version that cannot be read."""
    lineage = read_lineage(folder)
    if lineage["evidence_version"] != EVIDENCE_VERSION:
        version = lineage["evidence_version"]
        raise UsageError(
            f"holds evidence of version {version!r}, this arhn-hf reads {EVIDENCE_VERSION}", where=str(folder)
        )
    if missing := [name for name in _SECTIONS if name not in lineage]:
        raise UsageError(f"lacks {', '.join(missing)}", where=str(folder / "arhn.json"), hint="Refine again")
    return lineage


def open_run(folder: Path, work: Path) -> StoredRun:
    """Open a finished folder; `work` is a scratch folder. Raises `UsageError` if it is not one, or its evidence is gone."""
    lineage = read_run(folder)
    files = evidence_files(folder)
    if not files:
        raise UsageError("has no evidence", where=str(folder), hint="Refine again")
    evidence = read_parquet(files, work)
    if missing := [name for name in EVIDENCE.names if name not in evidence.column_names]:
        raise UsageError(
            f"the evidence lacks the columns {', '.join(missing)}", where=str(files[0]), hint="Refine again"
        )
    return StoredRun(folder, lineage, evidence)


def read_parquet(files: list[Path], work: Path) -> Dataset:
    """Parquet files as one dataset, through a cache of their own. Raises `UsageError` for a file that cannot be read."""
    with contextlib.suppress(pa.ArrowException):  # said below; `load_dataset` reads no empty file
        if not any(pq.ParquetFile(f).metadata.num_rows for f in files):
            return Dataset(pq.read_table(files[0]))
    try:
        names = [glob.escape(str(f)) for f in files]
        loaded = load_dataset("parquet", data_files=names, split="train", cache_dir=str(work))
    except Exception as error:
        raise UsageError(f"cannot be read ({' '.join(str(error).split())[:200]})", where=str(files[0])) from error
    return loaded


def refuse_other_criteria(recorded: dict[str, Any], criteria: Criteria) -> None:
    """Raise `UsageError` if a subset was judged by another criterion: its answers are to another question."""
    for subset, about in recorded.items():
        before, now = about["criterion"], criteria.criterion(subset)
        if before != now and "skip" not in (before, now):
            raise UsageError(
                f"subset {subset!r} was judged by the criterion {before}, not {now}", where="--criterion",
                hint="Run `arhn-hf refine` with these options: it asks for those only",
            )  # fmt: skip


def refuse_unjudged(rows: Dataset, treatments: Treatments, rules: Rules) -> None:
    """Raise `UsageError` if these rules need a judgement that the evidence does not hold. `rows` has all stages' columns."""
    unread = unranked = 0
    for batch in rows.with_format("arrow").iter(200):
        for value in batch.to_pylist():
            row, answers, prepared = to_row(value), to_answers(value), to_prepared(value)
            wanted = wanted_passages(row, prepared, not_english=value["not_english"], criterion=value["criterion"])
            unread += sum(answers[i].status == "not_judged" for i in wanted)
            if needs_ranking(row, prepared, answers, treatments.of(value), rules):
                unranked += all(one["status"] == "not_ranked" for one in value["rankings"])
    if unread or unranked:
        raise UsageError(
            f"under these rules {unread} passages would have to be read and {unranked} rows ranked that were not",
            hint="Run `arhn-hf refine` with these options: it asks for those only",
        )  # fmt: skip


def _memory(folder: Path) -> dict[str, Any]:
    try:
        loaded = json.loads((folder / ".arhn" / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return loaded if isinstance(loaded, dict) else {}
