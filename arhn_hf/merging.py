"""Join the parts of one run (`refine --shard`): from the evidence of all of them, the folder that one run would have written.

Nothing that the parts decided is believed: what looks past a row (subsets left untouched, positives of other rows, backfill, gates) is
decided here over the whole source, by the same code as in `refine`. Only answers and rankings come from the parts, and a ranking that
one run would not have asked for is left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset

from arhn_hf.inputs import Inputs
from arhn_hf.methods.arhn import needs_ranking
from arhn_hf.monitor import Monitor, run_in_thread
from arhn_hf.parts import Part, open_parts
from arhn_hf.pipeline import Judgement, RefineResult, announce_untouched, refuse_wrong_words, write_out
from arhn_hf.publishing.card import refuse_broken_card
from arhn_hf.publishing.evidence import StoredEvidence, stored_answer, stored_ranking
from arhn_hf.publishing.folder import OutputFolder, refuse_foreign
from arhn_hf.records import Ranking, UsageError
from arhn_hf.stages.maps import Maps, beside, quiet_datasets
from arhn_hf.stages.prepare import make_prepare
from arhn_hf.stages.tables import (
    ANSWERS,
    RANKINGS,
    ROWS,
    answers_table,
    rankings_table,
    to_answers,
    to_prepared,
    to_row,
)
from arhn_hf.stages.treat import Treatments, answerable_shares, subsets
from arhn_hf.stored import StoredRun, open_run


def merge(
    directories: Sequence[str | Path], output: str | Path, *, monitor: Monitor | None = None, **options: Any
) -> RefineResult:
    """Write into `output` what one run would have written of which `directories` hold the parts, in any order.

    `options` are `source` and `corpus` (where they are now), limits of gates, `license` and `card_template`. Returns a `RefineResult`
    whose report also has `parts`; a failed gate has `exit_code` 3 and the folder is written all the same. Raises `UsageError`,
    before anything is written, for parts that are missing, given twice, unfinished, damaged, or of different runs.
    """
    monitor = monitor or Monitor()
    folders, target = [Path(one) for one in directories], Path(output)
    if not folders:
        raise UsageError("no part to merge given", hint="Name the folders that `arhn-hf refine --shard` wrote")

    def work() -> RefineResult:
        started = time.monotonic()
        with quiet_datasets():
            refuse_foreign(target)
            refuse_broken_card(target)
            limits = frozenset(name for name, value in options.items() if value is not None)
            parts = open_parts(folders, target, limits)
            with OutputFolder(target) as opened:
                return _merge(parts, opened, monitor, options, started)

    return run_in_thread(work, monitor)


def _merge(
    parts: list[Part], opened: OutputFolder, monitor: Monitor, options: dict[str, Any], started: float
) -> RefineResult:
    runs = [open_run(part.folder, opened.work / f"evidence-{part.shard.index}") for part in parts]
    whole = _whole(runs)
    config = replace(whole.config(**{**options, "output": str(opened.path)}), shard=None)
    refuse_wrong_words(config)
    inputs = whole.open(config, whole.criteria(), monitor)
    judged = _judgement(parts, runs, whole, inputs, monitor, inputs.maps(opened.work))
    local = Path(config.source)
    opened.remember(
        settings={"merged": True, "corpus": config.corpus}, status="running",
        source_path=str(local.resolve()) if local.exists() else None,
    )  # fmt: skip
    result = write_out(inputs, judged, monitor, opened, started, command="merge")
    result.report["parts"] = [part.report() for part in parts]
    return result


def _whole(runs: list[StoredRun]) -> StoredRun:
    """The run that the parts are of: what they share, and the criteria of every subset that occurs in any of them."""
    first = runs[0]
    lineage = {key: value for key, value in first.lineage.items() if key != "shard"}
    lineage["criteria"] = {subset: about for run in runs for subset, about in run.lineage["criteria"].items()}
    return StoredRun(first.folder, lineage, first.evidence)


def _judgement(
    parts: list[Part], runs: list[StoredRun], whole: StoredRun, inputs: Inputs, monitor: Monitor, maps: Maps
) -> Judgement:
    """All rows, with their answers and the rankings that one run would have asked for."""
    config = inputs.config
    index = inputs.index_rows()
    monitor.begin("reading the source", len(index))
    prepare = make_prepare(
        inputs.dataset, inputs.form, inputs.index, config, inputs.criteria, english_only=whole.english_only,
        report=monitor.advance,
    )  # fmt: skip
    rows = maps.map("rows", index, prepare, ROWS)
    joined = _Joined(parts, runs, inputs, monitor.advance)
    monitor.begin("reading the evidence", len(rows))
    answers = maps.map("answers", rows, joined.answers, ANSWERS, with_indices=True)
    joined.refuse_other_passages()
    shares = answerable_shares(beside(rows, answers))
    ranks = config.variant_names != ("filter",)
    treatments = Treatments(config, inputs.criteria, ranks, shares, subsets(rows))
    announce_untouched(treatments, monitor)
    monitor.begin("reading the rankings", len(rows))
    rankings = maps.map(
        "rankings", beside(rows, answers), joined.make_rankings(treatments), RANKINGS, with_indices=True
    )
    return Judgement(
        rows, answers, rankings, treatments, int(whole.lineage["rules"]["orders"]), whole.judge_name,
        whole.lineage["judges"], whole.lineage["ranking"],
    )  # fmt: skip


class _Joined:
    """The evidence of all parts, each row's from the part that it belongs to."""

    def __init__(self, parts: list[Part], runs: list[StoredRun], inputs: Inputs, report: Callable[[int], None]) -> None:
        self._parts, self._inputs, self._report = parts, inputs, report
        self._lookups: list[StoredEvidence] = [run.lookup() for run in runs]
        self._evidence: list[Dataset] = [run.evidence for run in runs]
        self._judges = frozenset(runs[0].lineage["judges"])  # those of all parts: others were refused
        self._passages = [0] * len(parts)  # evidence rows that each part must hold

    def answers(self, table: pa.Table, places: list[int]) -> pa.Table:
        """The transform (with indices) from `ROWS` to `ANSWERS`. Raises `UsageError` for a row whose part does not hold it."""
        found = []
        for value, place in zip(table.to_pylist(), places, strict=True):
            number, items = self._of(value, place)
            if any(item is None for item in items):
                part = self._parts[number]
                raise UsageError(
                    f"{part.shard.words} has no evidence of row {value['rows'][0]}, which is its own", where=str(part.folder),
                    hint="Refine that part again",
                )  # fmt: skip
            self._passages[number] += sum(len(p["cells"] or [0]) for p in (*value["positives"], *value["negatives"]))
            found.append([stored_answer(item, self._judges) for item in items])
        self._report(len(places))
        return answers_table(found)

    def refuse_other_passages(self) -> None:
        """Raise `UsageError` if a part holds evidence of rows that are another part's. To be called after the answers."""
        for part, evidence, expected in zip(self._parts, self._evidence, self._passages, strict=True):
            if len(evidence) != expected:
                raise UsageError(
                    f"{part.shard.words} holds evidence of {len(evidence):,} passages, its rows have {expected:,}",
                    where=str(part.folder), hint="Refine that part again",
                )  # fmt: skip

    def make_rankings(self, treatments: Treatments) -> Callable[..., pa.Table]:
        """The transform (with indices) from `ROWS` + `ANSWERS` to `RANKINGS`: those that the whole run needs, no other."""

        def transform(table: pa.Table, places: list[int]) -> pa.Table:
            found = []
            for value, place in zip(table.to_pylist(), places, strict=True):
                answers = to_answers(value)
                rankings = [Ranking() for _ in answers]
                if needs_ranking(to_row(value), to_prepared(value), answers, treatments.of(value), self._inputs.config):
                    number, items = self._of(value, place)
                    rankings = [stored_ranking(item) for item in items]
                    if all(one.status == "not_ranked" for one in rankings):
                        part = self._parts[number]
                        raise UsageError(
                            f"{part.shard.words} has no ranking of row {value['rows'][0]}", where=str(part.folder),
                            hint="Refine that part again",
                        )  # fmt: skip
                found.append(rankings)
            self._report(len(places))
            return rankings_table(found)

        return transform

    def _of(self, value: dict[str, Any], place: int) -> tuple[int, list[dict[str, Any] | None]]:
        """The number of the part that a row belongs to, and its evidence there."""
        number = self._inputs.index.owner(self._inputs.chosen[place], place, len(self._parts)) - 1
        return number, self._lookups[number].of_row(value)
