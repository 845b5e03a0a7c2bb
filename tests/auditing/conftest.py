"""A judge that says what each passage tells it to, so that every decision and score of a run is known beforehand.

A passage ends with its verdict (`positive`, `relabel`, `filter`, `keep` or `failed`) and its score.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest
from scripted import ScriptedEngine, passage_of, scripted_judge

from arhn_hf.config import RunConfig
from arhn_hf.engines.base import Request, Response
from arhn_hf.inputs import Inputs
from arhn_hf.judges.asking import Asker
from arhn_hf.judges.base import Judge
from arhn_hf.monitor import Monitor
from arhn_hf.pipeline import run_refine
from arhn_hf.records import Answer, Placement, Ranking, Row
from arhn_hf.store import Store
from arhn_hf.stored import StoredRun, open_run

_VERDICT = re.compile(r"verdict (\w+) ([\d.]+)")
_PLACE = {"relabel": 0, "positive": 1, "filter": 2, "keep": 3, "failed": 4}


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A `datasets` cache of these tests' own, and no Hub."""
    with pytest.MonkeyPatch.context() as patch:
        cache = tmp_path_factory.mktemp("datasets-cache")
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
        patch.setattr(datasets.config, "HF_UPDATE_DOWNLOAD_COUNTS", False)  # else every load asks the Hub, if it can
        patch.setenv("HF_DATASETS_CACHE", str(cache))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


def text(name: str, verdict: str, score: float) -> str:
    """Words of this name alone, then what the judge is to make of them."""
    words = " ".join(hashlib.sha256(f"{name}{i}".encode()).hexdigest()[:7] for i in range(9))
    return f"note {words} verdict {verdict} {score}"


def passage(docid: str, verdict: str, score: float = 0.5, **more: Any) -> dict[str, Any]:
    """A Tevatron passage; `more` are further fields, such as `grade`."""
    return {"docid": docid, "title": "", "text": text(docid, verdict, score), **more}


def reply(request: Request) -> Response:
    """An LLM that obeys: its answers and rankings are those that the passages ask for."""
    usage = {"prompt": 10, "completion": 2}
    if request.kind == "answer":
        words = passage_of(request)
        [(verdict, _)] = _VERDICT.findall(words)
        answer = json.dumps({"answer": None if verdict == "keep" else " ".join(words.split()[:4])})
        return Response("nonsense" if verdict == "failed" else answer, "stop", usage)
    verdicts = [verdict for verdict, _ in _VERDICT.findall(request.payload["messages"][1]["content"])]
    order = sorted(range(len(verdicts)), key=lambda i: (_PLACE[verdicts[i]], i))
    return Response(json.dumps([i + 1 for i in order]), "stop", usage)


class ObedientJudge(Judge):
    """The same judge with a score for every passage. `threshold`: decide by the score, not the verdict.
    `late_first`: of passages of one verdict the last is ranked best."""

    name, orders = "obedient", 1

    def __init__(self, threshold: float | None = None, *, late_first: bool = False) -> None:
        self.threshold, self.late_first = threshold, late_first

    async def answers(self, row: Row, criterion: str, wanted: Sequence[int]) -> list[Answer]:
        found = []
        for i in wanted:
            words = row.passages[i].text
            [(verdict, score)] = _VERDICT.findall(words)
            if verdict == "failed":
                found.append(Answer("malformed"))
            elif verdict == "keep" if self.threshold is None else float(score) < self.threshold:
                found.append(Answer("no_answer", score=float(score)))
            else:
                found.append(Answer("answered", words[:12], "text", 0, 12, float(score)))
        return found

    async def rank(
        self, row: Row, criterion: str, answers: Sequence[Answer], candidates: Sequence[int]
    ) -> list[Ranking]:
        rankings = [Ranking() for _ in row.passages]
        listed = [*range(len(row.positives)), *candidates]

        def place(i: int) -> tuple[int, int]:
            [(verdict, _)] = _VERDICT.findall(row.passages[i].text)
            return _PLACE[verdict], -i if self.late_first else i

        for rank, i in enumerate(sorted(listed, key=place), start=1):
            rankings[i] = Ranking("ranked", [Placement(0, 0, rank)])
        return rankings

    def describe(self) -> dict[str, Any]:
        return {"kind": "scripted", "model": "obedient", "revision": None}


def write_jsonl(path: Path, rows: Sequence[Any]) -> Path:
    """One JSON object a line; gzipped where the name ends so."""
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(lines.encode()) if path.name.endswith(".gz") else lines.encode())
    return path


def run(
    folder: Path, rows: Sequence[Any], *, scores: bool = True, judge: ObedientJudge | None = None, **options: Any
) -> Path:
    """Refine these rows by the judge with scores, or without; the source lies beside the result."""
    folder.mkdir(parents=True, exist_ok=True)
    source = write_jsonl(folder / "source.jsonl", rows)
    given = {"source": str(source), "output": str(folder / "out"), "max_failures": 1.0, **options}

    def scored(config: RunConfig, store: Store, monitor: Monitor) -> tuple[Judge, Asker]:
        asker = Asker(ScriptedEngine(), store, max_in_flight=config.max_in_flight, stop=monitor.stop)
        return judge or ObedientJudge(), asker

    factory = scored if scores else scripted_judge(ScriptedEngine(reply))
    assert run_refine(RunConfig(**given), Monitor(), factory).exit_code == 0
    return folder / "out"


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[tuple[StoredRun, Inputs]]:
    """A finished folder and its source, as an audit opens them."""
    with tempfile.TemporaryDirectory() as scratch:
        stored = open_run(folder, Path(scratch))
        yield stored, stored.open(stored.config(), stored.criteria(), Monitor())


def labelled_rows() -> list[dict[str, Any]]:
    """Three queries with ten labelled candidates: 4 relevant, 4 clean and 2 ambiguous.

    Of the relevant ones 1 is relabeled, 2 filtered, 1 kept; of the clean 1 relabeled, 3 kept; of the ambiguous 1
    filtered, 1 kept.
    Beside them an undecided negative, one equal to its positive, and one without a label.
    """
    twin = passage("q1p0", "positive", 0.95, grade=None)
    return [
        {
            "query_id": "q0", "query": "what is known of harbour lights", "subset": "a",
            "positive_passages": [passage("q0p0", "positive", 0.95, grade=3)],
            "negative_passages": [
                passage("q0n0", "relabel", 0.9, grade=2), passage("q0n1", "filter", 0.7, grade=2),
                passage("q0n2", "keep", 0.2, grade=0), passage("q0n3", "keep", 0.1, grade=1),
            ],
        },
        {
            "query_id": "q1", "query": "what is known of winter wheat", "subset": "a",
            "positive_passages": [twin],
            "negative_passages": [
                passage("q1n0", "relabel", 0.8, grade=0), passage("q1n1", "keep", 0.3, grade=2),
                passage("q1n2", "filter", 0.6, grade=1), passage("q1n3", "keep", 0.05, grade=0),
                passage("q1n4", "failed", grade=2), {**twin, "docid": "q1n5", "grade": 2},
            ],
        },
        {
            "query_id": "q2", "query": "what is known of copper roofs", "subset": "b",
            "positive_passages": [passage("q2p0", "positive", 0.95, grade=None)],
            "negative_passages": [
                passage("q2n0", "filter", 0.65, grade=2), passage("q2n1", "keep", 0.15, grade=0),
                passage("q2n2", "keep", 0.25, grade=None),
            ],
        },
    ]  # fmt: skip


def triplet_rows() -> list[dict[str, Any]]:
    """Two queries as triplets: two positives with three negatives each, so that every negative stands in two rows."""
    verdicts = (("relabel", 0.9, 2), ("keep", 0.2, 0), ("failed", 0.5, 2))
    return [
        {
            "query_id": f"t{q}", "anchor": f"what is known of {topic}", "positive": text(f"t{q}p{p}", "positive", 0.95),
            "negative": text(f"t{q}n{n}", verdict, score),
        }
        for q, topic in enumerate(("river barges", "paper mills"))
        for p in range(2)
        for n, (verdict, score, _) in enumerate(verdicts)
    ]  # fmt: skip


@pytest.fixture(scope="session")
def desk() -> SimpleNamespace:
    """What the tests here are made with."""
    return SimpleNamespace(
        text=text, passage=passage, reply=reply, judge=ObedientJudge, write_jsonl=write_jsonl, run=run, opened=opened,
        rows=labelled_rows, triplets=triplet_rows,
    )  # fmt: skip


@pytest.fixture(scope="session")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`labelled_rows`, judged with scores; not to be changed."""
    return run(tmp_path_factory.mktemp("judged"), labelled_rows())


@pytest.fixture(scope="session")
def scoreless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same rows, judged by an LLM that decides the same without scores; not to be changed."""
    return run(tmp_path_factory.mktemp("scoreless"), labelled_rows(), scores=False)


@pytest.fixture(scope="session")
def triplets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`triplet_rows`, judged with scores; not to be changed."""
    return run(tmp_path_factory.mktemp("triplets"), triplet_rows())
