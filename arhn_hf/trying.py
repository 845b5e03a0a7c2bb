"""One row through a judge, with nothing hidden: prompts, raw responses, parsed answers, orders, votes, decision.

It is how people choose a model and write a prompt. Nothing is stored: every request is sent, and the folder of a run is not touched.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from typing import Any

from arhn_hf.config import RunConfig
from arhn_hf.criteria import Criteria
from arhn_hf.engines.base import Engine, Request, Response
from arhn_hf.engines.closing import closing
from arhn_hf.inputs import Inputs, open_inputs
from arhn_hf.judges.base import Judge
from arhn_hf.judges.opening import open_judge
from arhn_hf.judges.stalling import watched
from arhn_hf.methods.arhn import Treatment, decide, needs_ranking
from arhn_hf.methods.duplicates import Prepared, prepare
from arhn_hf.monitor import Monitor, run_in_thread
from arhn_hf.pipeline import JudgeFactory
from arhn_hf.records import GROUNDED, Answer, Cell, Label, Passage, Ranking, Row, UsageError
from arhn_hf.report_head import head
from arhn_hf.stages.maps import Maps, quiet_datasets
from arhn_hf.stages.prepare import make_prepare
from arhn_hf.stages.tables import ROWS, to_row
from arhn_hf.store import Store


class Recorder(Engine):
    """Passes requests on and keeps them with their responses in `exchanges`, in the order they were sent."""

    def __init__(self, inner: Engine, exchanges: list[tuple[Request, Future[Response]]] | None = None) -> None:
        self.inner, self.identity = inner, inner.identity
        self.exchanges = [] if exchanges is None else exchanges

    def submit(self, request: Request) -> Future[Response]:
        """See `Engine.submit`."""
        answered = self.inner.submit(request)
        self.exchanges.append((request, answered))
        return answered

    def fits(self, request: Request) -> bool:
        """See `Engine.fits`."""
        return self.inner.fits(request)

    def hangs_at(self, request: Request) -> str:
        """See `Engine.hangs_at`."""
        return self.inner.hangs_at(request)

    def is_away(self) -> bool:
        """See `Engine.is_away`."""
        return self.inner.is_away()

    def close(self) -> None:
        """See `Engine.close`."""
        self.inner.close()


def row_of_texts(query: str, positives: Sequence[str], passages: Sequence[str]) -> Row:
    """A row made of texts typed by a person; without a positive the first passage stands in for one."""
    texts: list[tuple[Label, str]] = [("positive", text) for text in positives or passages[:1]]
    texts += [("negative", text) for text in (passages if positives else passages[1:])]
    if not query.strip() or not texts or not all(text.strip() for _, text in texts):
        raise UsageError("needs a query and at least one passage, none of them empty", where="--query, --passage")
    made: dict[str, list[Passage]] = {"positive": [], "negative": []}
    for label, text in texts:
        position = len(made[label])
        made[label].append(Passage(label, position, None, text, None, [Cell(0, label, position)]))
    return Row(0, [0], query, made["positive"], made["negative"])


def try_row(
    config: RunConfig, number: int | None, row: Row | None, monitor: Monitor, factory: JudgeFactory = open_judge
) -> dict[str, Any]:
    """The object that `try --json` prints. `number` is a source row, or `row` is given. Raises `UsageError` for a row that is not
    there or cannot be judged."""

    def work() -> dict[str, Any]:
        with quiet_datasets(), tempfile.TemporaryDirectory(prefix="arhn-try-") as scratch:
            found = row if row is not None else source_row(config, number or 0, monitor, Path(scratch))
            return _try(config, found, monitor, factory, Path(scratch))

    return run_in_thread(work, monitor)


def source_row(config: RunConfig, number: int, monitor: Monitor, scratch: Path) -> Row:
    """The judged row that holds source row `number`."""
    inputs: Inputs = open_inputs(config, monitor)
    for judged in range(len(inputs.index)):
        if number in inputs.index.rows(judged):
            break
    else:
        raise UsageError(f"the source has {inputs.index.source_rows} rows", where=f"--row {number}")
    transform = make_prepare(inputs.dataset, inputs.form, inputs.index, config, inputs.criteria, english_only=False)
    row = to_row(Maps(scratch, "try").map("row", inputs.index.dataset([judged]), transform, ROWS)[0])
    if row.invalid is not None:
        raise UsageError(row.invalid, where=f"row {number}")
    return row


def _try(config: RunConfig, row: Row, monitor: Monitor, factory: JudgeFactory, scratch: Path) -> dict[str, Any]:
    criterion = Criteria(config.criterion, config.filter_only).criterion(row.subset)
    if criterion == "skip":
        raise UsageError(f"subset {row.subset!r} is skipped", where="--criterion", hint="Give it a criterion to try it")
    prepared = prepare(row, config)
    treatment = Treatment(may_relabel=None if config.relabel else "relabel_off")
    store = Store(scratch / "store.sqlite")
    judge, asker = factory(config, store, monitor)
    exchanges: list[tuple[Request, Future[Response]]] = []
    for each in asker.everyone:
        each.engine = Recorder(each.engine, exchanges)
    try:
        with watched(asker, monitor, config), closing(*(one.engine for one in asker.everyone)):
            answers, rankings = asyncio.run(_ask(judge, row, criterion, prepared, treatment, config))
    finally:
        store.close()
    decisions = decide(row, prepared, answers, rankings, treatment, config, judge.orders)
    return {
        **head("try"),
        "query": row.query, "subset": row.subset, "instruction": row.instruction, "criterion": criterion,
        "judge": judge.describe(), "orders": judge.orders,
        "exchanges": [
            {
                "kind": request.kind, "attempt": request.attempt, "request": request.payload,
                "response": answered.result().text, "finish_reason": answered.result().finish_reason,
                "usage": answered.result().usage,
            }
            for request, answered in exchanges
        ],
        "passages": [
            {
                "label": passage.label, "position": passage.position, "title": passage.title, "text": passage.text,
                "answer": asdict(answer), "ranking": asdict(ranking), "decision": asdict(decision),
            }
            for passage, answer, ranking, decision in zip(row.passages, answers, rankings, decisions, strict=True)
        ],
    }  # fmt: skip


async def _ask(
    judge: Judge, row: Row, criterion: str, prepared: Prepared, treatment: Treatment, config: RunConfig
) -> tuple[list[Answer], list[Ranking]]:
    """Both stages, as the pipeline asks them."""
    count = len(row.positives)
    open_ones = [count + i for i, settled in enumerate(prepared.outcome) if settled is None]
    wanted = [*range(count), *open_ones]
    answers = [Answer() for _ in row.passages]
    for i, answer in zip(wanted, await judge.answers(row, criterion, wanted), strict=True):
        answers[i] = answer
    if not needs_ranking(row, prepared, answers, treatment, config):
        return answers, [Ranking() for _ in answers]
    everything = config.rank_candidates == "all"
    candidates = [i for i in open_ones if everything or answers[i].status in GROUNDED]
    return answers, await judge.rank(row, criterion, answers, candidates)
