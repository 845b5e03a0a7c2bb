"""The sequence of maps, top to bottom: source → rows → answers → rankings → decisions → places → evidence, variants, card.

`refine` asks a judge; `derive` reads the answers and rankings from stored evidence instead. Everything after that is the same code.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import pyarrow
from datasets import Dataset

from arhn_hf.config import RunConfig, execution_names, publishing_names
from arhn_hf.criteria import Criteria
from arhn_hf.engines.closing import closing
from arhn_hf.inputs import Inputs, local_path, open_inputs
from arhn_hf.judges.asking import Asker
from arhn_hf.judges.base import Judge
from arhn_hf.judges.opening import open_judge
from arhn_hf.judges.stalling import watched
from arhn_hf.monitor import Monitor, run_in_thread
from arhn_hf.publishing.card import card_template, refuse_broken_card
from arhn_hf.publishing.evidence import EVIDENCE, in_order, make_evidence
from arhn_hf.publishing.folder import OutputFolder, refuse_foreign, refuse_other_part
from arhn_hf.publishing.hub import PushResult
from arhn_hf.publishing.licenses import refuse_unknown
from arhn_hf.publishing.lineage import lineage, rules_in_force
from arhn_hf.publishing.report import finish
from arhn_hf.publishing.shaping import Shape
from arhn_hf.records import UsageError
from arhn_hf.rules import Rules
from arhn_hf.stages.answers import make_answers
from arhn_hf.stages.decide import Shortage, make_decide, make_places
from arhn_hf.stages.finished import run_key
from arhn_hf.stages.maps import ASKING_BATCH, Maps, beside, quiet_datasets
from arhn_hf.stages.prepare import make_prepare
from arhn_hf.stages.ranking import make_ranking
from arhn_hf.stages.tables import ANSWERS, DECISIONS, PLACES, RANKINGS, ROWS
from arhn_hf.stages.treat import Treatments, answerable_shares, subsets
from arhn_hf.store import Store
from arhn_hf.tokens import count_tokens

JudgeFactory = Callable[[RunConfig, Store, Monitor], tuple[Judge, Asker]]


@dataclass
class RefineResult:
    """What a run did. `output` is the folder, `report` the object that `--json` prints, `exit_code` 0, or 3 for a failed gate,
    `push` what was published, if anything."""

    output: Path
    run_id: str
    report: dict[str, Any]
    exit_code: int = 0
    push: PushResult | None = None

    def __getattr__(self, name: str) -> Any:
        try:
            return self.report[name]
        except KeyError as error:
            raise AttributeError(name) from error


@dataclass
class Judgement:
    """Rows with their answers and rankings, and what is known of who judged them."""

    rows: Dataset
    answers: Dataset
    rankings: Dataset
    treatments: Treatments
    orders: int
    judge_name: str
    judges: dict[str, Any]
    ranking: dict[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)


def run_refine(
    config: RunConfig,
    monitor: Monitor,
    factory: JudgeFactory = open_judge,
    ready: Callable[[Inputs], None] = lambda inputs: None,
) -> RefineResult:
    """Refine by a validated configuration; `factory` opens the judge, `ready` is called when the source is open and nothing has
    been judged yet. Nothing is pushed here (see `pushing`).

    Returns a `RefineResult`; a failed gate has `exit_code` 3 and the folder is written all the same. Raises `UsageError` (nothing
    was spent) or `ArhnError` (the work failed; what was judged is kept, and the same call goes on).
    """

    def work() -> RefineResult:
        with quiet_datasets():
            started = time.monotonic()
            output = Path(config.output)
            refuse_foreign(output)  # what can be refused is refused before a folder is made
            refuse_other_part(output, config.part)
            refuse_broken_card(output)
            refuse_wrong_words(config)
            inputs = open_inputs(config, monitor)
            ready(inputs)
            with OutputFolder(output, goes_on=True) as folder:
                return _refine(inputs, monitor, factory, folder, started)

    return run_in_thread(work, monitor)


def refuse_wrong_words(config: RunConfig) -> None:
    """Raise `UsageError` for a card template or a licence that would fail at the end."""
    card_template(config.card_template)
    if config.license is not None:
        refuse_unknown(config.license)


def _refine(
    inputs: Inputs, monitor: Monitor, factory: JudgeFactory, folder: OutputFolder, started: float
) -> RefineResult:
    config = inputs.config
    monitor.open_log(folder.memory / "run.jsonl")
    _announce(folder, config, inputs, monitor)
    store = Store(Path(config.store) if config.store else folder.memory / "store.sqlite")
    try:
        for line in [*folder.notices, *store.notices]:
            monitor.notice(line)
        judge, asker = factory(config, store, monitor)
        monitor.counts = asker.counts
        _go_on(inputs, judge, asker, monitor, folder)
        with watched(asker, monitor, config), closing(*(one.engine for one in asker.everyone)):
            judged = ask_judge(inputs, judge, monitor, _maps(inputs, folder))
    finally:
        store.close()
    return write_out(inputs, judged, monitor, folder, started)


def ask_judge(inputs: Inputs, judge: Judge, monitor: Monitor, maps: Maps) -> Judgement:
    """Prepare the rows, then stage 1 and stage 2."""
    config = inputs.config
    rows = prepared_rows(inputs, monitor, maps, english_only=judge.english_only)
    monitor.begin("reading passages", len(rows), then=None if config.variant_names == ("filter",) else "ranking")
    answers = maps.map("answers", rows, make_answers(judge, monitor.advance), ANSWERS, batch=ASKING_BATCH)
    treatments = Treatments(
        config,
        inputs.criteria,
        config.variant_names != ("filter",),
        answerable_shares(beside(rows, answers)),
        subsets(rows),
        whole=config.shard is None,
    )
    announce_untouched(treatments, monitor)
    monitor.begin("ranking", len(rows))
    rank = make_ranking(
        judge,
        treatments,
        config,
        rank_all=config.rank_candidates == "all",
        report=lambda decisions: monitor.decided([d.action for d in decisions]),
    )
    rankings = maps.map("rankings", beside(rows, answers), rank, RANKINGS, batch=ASKING_BATCH)
    ranking = {
        "candidates": config.rank_candidates, "input": config.rank_input, "window_size": config.window_size,
        "window_positives": config.window_positives,
    }  # fmt: skip
    return Judgement(rows, answers, rankings, treatments, judge.orders, judge.name, judge.judges(), ranking)


def announce_untouched(treatments: Treatments, monitor: Monitor) -> None:
    """Say out loud which subsets are left as they are, and why."""
    for subset in treatments.untouched:
        share = treatments.answerable[subset]
        monitor.notice(
            f"Subset {subset or '(none)'!r} is left untouched: only {share:.0%} of its positives hold an answer "
            f"(--min-answerable {treatments.rules.min_answerable})."
        )


def prepared_rows(inputs: Inputs, monitor: Monitor, maps: Maps, *, english_only: bool) -> Dataset:
    """Judged rows with duplicates settled; with `--strict`, a row that cannot be judged raises `UsageError`."""
    index = inputs.index_rows()
    monitor.begin("finding duplicates", len(index))
    transform = make_prepare(
        inputs.dataset, inputs.form, inputs.index, inputs.config, inputs.criteria, english_only=english_only,
        report=monitor.advance,
    )  # fmt: skip
    rows = maps.map("rows", index, transform, ROWS)
    if inputs.config.strict:
        refuse_invalid(rows)
    for name in inputs.criteria.unknown(subsets(rows)) if inputs.config.shard is None else ():
        monitor.notice(f"No row taken belongs to subset {name!r}: the option that names it changes nothing.")
    return rows


def refuse_invalid(rows: Dataset) -> None:
    """Raise `UsageError` naming the first row that cannot be judged and how many there are (`--strict`)."""
    column = rows.data.column("invalid")
    if column.null_count == len(rows):
        return
    bad = [i for i, reason in enumerate(column.to_pylist()) if reason is not None]
    first = rows[bad[0]]
    raise UsageError(
        f"{first['invalid']} ({len(bad)} such rows)", where=f"row {first['rows'][0]}",
        hint="Repair the source, or leave --strict out to pass them through",
    )  # fmt: skip


def write_out(
    inputs: Inputs, judged: Judgement, monitor: Monitor, folder: OutputFolder, started: float, command: str = "refine"
) -> RefineResult:
    """Decide, place, and write evidence, variants, card and lineage."""
    config = inputs.config
    rules: Rules = config
    maps = _maps(inputs, folder)
    shape = decided(inputs, judged, rules, monitor, maps)
    monitor.begin("writing evidence", len(shape.rows))
    evidence = maps.map("evidence", shape.rows, make_evidence(judged.judge_name), EVIDENCE)
    folder.write_tables("evidence", in_order(evidence), EVIDENCE, "parquet")
    written = {}
    for variant in config.variant_names:
        monitor.begin(f"writing {variant}", len(shape.rows))
        written[variant] = folder.write_tables(
            variant, shape.tables(variant), shape.features().arrow_schema, shape.file_type
        )
    document = lineage(
        source=inputs.source_lineage(), sample=inputs.sample_lineage(), form=inputs.format_lineage(),
        rules=rules_in_force(rules, orders=judged.orders, short_rows=inputs.short_rows),
        criteria=criteria_lineage(inputs, judged.treatments), ranking=judged.ranking, judges=judged.judges,
        variants=config.variant_names, shard=config.part,
    )  # fmt: skip
    monitor.run_id = document["run_id"]
    report = finish(
        inputs=inputs, shape=shape, evidence=evidence, written=written, document=document, treatments=judged.treatments,
        folder=folder, monitor=monitor, seconds=time.monotonic() - started, command=command,
    )  # fmt: skip
    return RefineResult(folder.path, document["run_id"], report, report["exit_code"])


def decided(inputs: Inputs, judged: Judgement, rules: Rules, monitor: Monitor, maps: Maps) -> Shape:
    """Decisions and places of every row, ready to be shaped into variants."""
    everything = beside(judged.rows, judged.answers, judged.rankings)
    monitor.begin("deciding", len(everything))
    counter = count_tokens if rules.train_max_length is not None else None
    decide = make_decide(judged.treatments, rules, judged.orders, counter)
    decisions = maps.map("decisions", everything, decide, DECISIONS)
    ready = beside(everything, decisions)
    monitor.begin("placing", len(ready))
    shortage = Shortage(inputs.short_rows, inputs.count, inputs.known)
    places = maps.map(
        "places", ready, make_places(ready, rules, inputs.config.variant_names, shortage), PLACES, with_indices=True
    )
    return Shape(inputs.dataset, inputs.form, beside(ready, places), inputs.target, inputs.count)


def criteria_lineage(inputs: Inputs, treatments: Treatments) -> dict[str, Any]:
    """Per subset that occurs: criterion, filter-only, the share of answerable positives, and whether it was left untouched."""
    criteria: Criteria = inputs.criteria
    return {
        subset: {
            "criterion": criteria.criterion(subset), "filter_only": criteria.only_filters(subset),
            "answerable": None if share is None else round(share, 6), "untouched": subset in treatments.untouched,
        }
        for subset, share in treatments.all_subsets.items()
    }  # fmt: skip


def _maps(inputs: Inputs, folder: OutputFolder) -> Maps:
    maps = inputs.maps(folder.work)
    maps.finished = folder.finished
    return maps


def _go_on(inputs: Inputs, judge: Judge, asker: Asker, monitor: Monitor, folder: OutputFolder) -> None:
    """Take what the same run had finished when it broke off, and say so."""
    if inputs.config.corpus is not None:  # a corpus has no fingerprint: it may have changed
        return
    key = run_key(
        settings=folder.state().get("settings"), source=inputs.index.fingerprint, judges=judge.judges(), orders=judge.orders,
        engines=[one.engine.identity for one in asker.everyone], versions=[datasets.__version__, pyarrow.__version__],
        schema=inputs.dataset.features.arrow_schema.to_string(show_schema_metadata=False),
    )  # fmt: skip
    if stages := [
        name
        for name in folder.go_on(key, [one.counts for one in asker.everyone])
        if name in ("rows", "answers", "rankings")
    ]:
        monitor.notice(f"Work that was finished is taken as it is: {', '.join(stages)}.")


def _announce(folder: OutputFolder, config: RunConfig, inputs: Inputs, monitor: Monitor) -> None:
    """Say what an existing folder held, then remember this run (the source's local path stays in the private memory)."""
    aside = ("output", "fresh", "strict", "stall_timeout", *publishing_names(), *execution_names())
    settings = {key: value for key, value in vars(config).items() if key not in aside}
    if config.corpus and Path(config.corpus).exists():
        settings["corpus"] = str(Path(config.corpus).resolve())
    before = folder.state()
    if before and before.get("settings") != _plain(settings):
        held = "a finished" if before.get("status") == "finished" else "an unfinished"
        monitor.notice(
            f"This folder holds {held} run of other settings: its answers are kept and re-used, its outputs are rebuilt."
        )
    elif before.get("status") == "running":
        monitor.notice("Going on with an unfinished run: stored answers are re-used.")
    if config.fresh:
        folder.clear_outputs()
    folder.remember(settings=_plain(settings), status="running", source_path=local_path(inputs.source))


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()}
