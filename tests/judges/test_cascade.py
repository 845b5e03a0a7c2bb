"""The reader in front of a strong judge: who decides what, that the evidence says so, and that nothing is paid twice."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scripted import ScriptedEngine, folder_bytes, passage_of, scripted_judge

import arhn_hf
from arhn_hf.auditing.audit import LabelSource, audit
from arhn_hf.checks import check
from arhn_hf.config import RunConfig
from arhn_hf.deriving import derive
from arhn_hf.engines.base import Request, Response
from arhn_hf.judges.asking import Asker
from arhn_hf.judges.cascade import Band, CascadeJudge
from arhn_hf.judges.llm import LLMJudge
from arhn_hf.judges.opening import behind_reader
from arhn_hf.judges.reader import ReaderJudge
from arhn_hf.monitor import Monitor
from arhn_hf.pipeline import run_refine
from arhn_hf.planning import plan
from arhn_hf.records import Answer, Cell, Label, Passage, Row
from arhn_hf.showing import Wanted, show
from arhn_hf.store import Store
from arhn_hf.trying import try_row

GERMAN = "Rembrandt malte Die Nachtwache im Jahr 1642 für eine Kompanie der Amsterdamer Bürgerwehr."


def read(request: Request) -> Response:
    """A reader that scores a passage as its last word says, and quotes its first two."""
    text = request.payload["text"]
    last = text.split()[-1]
    if last == "broken":
        return Response("no memory", "error")
    end = len(" ".join(text.split()[:2]))
    reading = {
        "score": float(last.rstrip("~")), "margin": 0.0, "field": "text", "start": 0, "end": end,
        "snippet": text[:end], "truncated": last.endswith("~"),
    }  # fmt: skip
    return Response(json.dumps(reading))


def quote(request: Request) -> Response:
    """An LLM that quotes the third word of everything, and ranks in the order shown."""
    if request.kind == "rank":
        return Response(json.dumps(list(range(1, request.payload["schema"]["minItems"] + 1))))
    return Response(json.dumps({"answer": passage_of(request).split()[2]}))


class Bench:
    """A cascade over two scripted engines and one store."""

    def __init__(self, store: Store, low: float, high: float) -> None:
        self.reading, self.strong = ScriptedEngine(read), ScriptedEngine(quote)
        self.reading.identity = {"engine": "reader", "model": "scripted", "revision": "1"}
        ask = {"max_in_flight": 64, "stop": threading.Event()}
        asker = Asker(self.strong, store, **ask)
        asker.beside.append(Asker(self.reading, store, **ask))
        llm = LLMJudge(
            asker, name="vllm", about={"kind": "vllm", "model": "m", "revision": None}, orders=2, window_size=20,
            window_positives=5, seed=42, rank_input="passage", max_chunks=32,
        )  # fmt: skip
        first = ReaderJudge(asker.beside[0], threshold=0.0, max_chunks=32)
        self.asker, self.judge = asker, CascadeJudge(first, llm, Band(low, high))

    def answers(self, row: Row, wanted: list[int], criterion: str = "question") -> list[Answer]:
        return asyncio.run(asyncio.wait_for(self.judge.answers(row, criterion, wanted), 20))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "store.sqlite")
    yield opened
    opened.close()


def make_row(negatives: list[str], query: str = "who painted the night watch") -> Row:
    def passages(label: Label, texts: list[str]) -> list[Passage]:
        return [Passage(label, i, None, text, None, [Cell(0, label, i)]) for i, text in enumerate(texts)]

    positives = ["The night watch was painted by Rembrandt 0.0"]
    return Row(0, [0], query, passages("positive", positives), passages("negative", negatives))


def told(*scores: str) -> list[str]:
    return [f"This passage is number {i} about the painter {score}" for i, score in enumerate(scores)]


READER, LLM = "reader", "vllm"


@pytest.mark.parametrize(
    ("low", "high", "score", "who", "status"),
    [
        (0.2, 0.8, "0.1999", READER, "no_answer"),
        (0.2, 0.8, "0.2", LLM, "answered"),
        (0.2, 0.8, "0.7999", LLM, "answered"),
        (0.2, 0.8, "0.8", READER, "answered"),
        (0.5, 0.5, "0.4999", READER, "no_answer"),
        (0.5, 0.5, "0.5", READER, "answered"),
        (0.0, 1.0, "0.0", LLM, "answered"),
        (0.0, 1.0, "1.0", LLM, "answered"),
        (0.2, 0.8, "0.1~", LLM, "answered"),
        (0.2, 0.8, "0.9~", LLM, "answered"),
        (0.2, 0.8, "broken", LLM, "answered"),
    ],
    ids=str,
)
def test_the_band_says_who_decides(store: Store, low: float, high: float, score: str, who: str, status: str) -> None:
    bench = Bench(store, low, high)
    positive, negative = bench.answers(make_row(told(score)), [0, 1])
    assert (negative.judge, negative.status) == (who, status)
    assert (positive.judge, positive.snippet) == (LLM, "watch")  # a score of 0, and asked all the same
    assert bench.reading.count == 1
    assert bench.strong.count == (2 if who == LLM else 1)
    if who == READER:
        assert negative.score == float(score)
        assert negative.snippet == ("This passage" if status == "answered" else None)
    else:
        assert (negative.score, negative.snippet) == (None, "is")


def test_what_the_reader_was_not_made_for_goes_to_the_llm_unread(store: Store) -> None:
    bench = Bench(store, 0.5, 0.5)
    row = make_row(told("0.1", "0.9"))
    assert {one.judge for one in bench.answers(row, [0, 1, 2], "claim")} == {LLM}
    german = make_row([f"{GERMAN} 0.1", f"{GERMAN} 0.9"], "wer hat die Nachtwache gemalt und wann war das")
    german.positives[0].text = f"{GERMAN} 0.5"
    assert {one.judge for one in bench.answers(german, [0, 1, 2])} == {LLM}
    assert bench.reading.count == 0
    assert not bench.judge.english_only


def test_only_wanted_passages_are_read_and_answers_keep_their_order(store: Store) -> None:
    bench = Bench(store, 0.2, 0.8)
    row = make_row(told("0.1", "0.5", "0.9", "0.3"))
    found = bench.answers(row, [4, 3, 1])
    assert [one.judge for one in found] == [LLM, READER, READER]
    assert [one.status for one in found] == ["answered", "answered", "no_answer"]
    assert bench.reading.count == 3


def test_the_strong_judge_ranks_what_either_found(store: Store) -> None:
    bench = Bench(store, 0.2, 0.8)
    row = make_row(told("0.1", "0.5", "0.9"))
    answers = bench.answers(row, [0, 1, 2, 3])
    asyncio.run(bench.judge.rank(row, "question", answers, [2, 3]))
    assert bench.asker.counts.by_kind == {"answer": 2, "rank": 2}
    assert bench.asker.beside[0].counts.by_kind == {"answer": 3}


def test_both_judges_are_described_the_strong_one_first(store: Store) -> None:
    about = Bench(store, 0.2, 0.8).judge.judges()
    assert list(about) == [LLM, READER]
    assert about[READER]["band"] == {"low": 0.2, "high": 0.8}
    assert "answer_threshold" not in about[READER]
    assert "band" not in about[LLM]


# ---- whole runs


ROWS = [
    {
        "query_id": f"q{q}", "query": f"who built house number {q} in the old town",
        "positive_passages": [{"docid": f"q{q}p", "title": "", "text": f"The house of number {q} was built by Ada 0.5", "grade": 3}],
        "negative_passages": [
            {"docid": f"q{q}n{i}", "title": "", "text": f"Some {word} story tells of {word} {q} and nobody else {score}", "grade": grade}
            for i, (word, score, grade) in enumerate(
                (("apple", "0.05", 0), ("bridge", "0.4", 2), ("clock", "0.95", 2), ("door", "0.6", 0))
            )
        ],
    }
    for q in range(4)
]  # fmt: skip
SETTINGS: dict[str, Any] = {
    "judge": "vllm", "model": "m", "cascade": "reader", "cascade_low": 0.1, "cascade_high": 0.9, "min_answerable": 0.0,
}  # fmt: skip


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return path


def factory(benches: list[Bench]) -> Any:
    def made(config: RunConfig, store: Store, monitor: Monitor) -> tuple[CascadeJudge, Asker]:
        benches.append(Bench(store, config.cascade_low, config.cascade_high))
        return benches[-1].judge, benches[-1].asker

    return made


def evidence(folder: Path) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = pq.read_table(next((folder / "evidence").glob("*.parquet"))).to_pylist()
    return items


def test_a_run_names_who_decided_and_everything_else_works_on_it(source: Path, tmp_path: Path) -> None:
    benches: list[Bench] = []
    config = RunConfig(source=str(source), output=str(tmp_path / "out"), **SETTINGS)
    result = run_refine(config, Monitor(), factory(benches))
    by = {(item["label"], item["docid"][2:]): item["judge"] for item in evidence(tmp_path / "out")}
    assert by == {
        ("positive", "p"): LLM, ("negative", "n0"): READER, ("negative", "n1"): LLM, ("negative", "n2"): READER,
        ("negative", "n3"): LLM,
    }  # fmt: skip
    assert {name: about["decided"] for name, about in result.judges.items()} == {LLM: 8, READER: 8}
    assert result.requests["answers"] == result.requests["sent"] - result.requests["rankings"] == 12
    assert benches[0].reading.count == 16
    assert check(tmp_path / "out")["exit_code"] == 0
    derived = derive(tmp_path / "out", tmp_path / "derived", source=str(source))
    assert [item["judge"] for item in evidence(derived.output)] == [
        item["judge"] for item in evidence(tmp_path / "out")
    ]
    assert check(derived.output, source=str(source))["exit_code"] == 0
    [shown] = show(tmp_path / "out", Wanted(row=1))
    assert [one["judge"] for one in shown["passages"]] == [LLM, READER, LLM, READER, LLM]
    found = audit(tmp_path / "out", LabelSource(grades="grade"), with_baselines=False, samples=100)
    assert found["scored_by"] == "decision"  # some passages have the reader's score, the others none
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "8 of 16 negatives were decided by the small embedded reader" in card


def test_a_judge_that_never_judged_is_found_out(source: Path, tmp_path: Path) -> None:
    config = RunConfig(source=str(source), output=str(tmp_path / "out"), **SETTINGS)
    run_refine(config, Monitor(), factory([]))
    [path] = (tmp_path / "out" / "evidence").glob("*.parquet")
    table = pq.read_table(path)
    place = table.column_names.index("judge")
    for forged in ("somebody", None):
        pq.write_table(table.set_column(place, "judge", pa.array([forged, *table["judge"].to_pylist()[1:]])), path)
        promises = {one["name"]: one["ok"] for one in check(tmp_path / "out")["promises"]}
        assert promises["decisions_follow_from_evidence"] is False


def test_a_second_run_sends_nothing_to_either_and_writes_the_same_bytes(source: Path, tmp_path: Path) -> None:
    benches: list[Bench] = []
    config = RunConfig(source=str(source), output=str(tmp_path / "out"), **SETTINGS)
    run_refine(config, Monitor(), factory(benches))
    before = folder_bytes(tmp_path / "out")
    run_refine(config, Monitor(), factory(benches))
    assert (benches[1].reading.count, benches[1].strong.count) == (0, 0)
    assert folder_bytes(tmp_path / "out") == before
    wider = RunConfig(source=str(source), output=str(tmp_path / "out"), **{**SETTINGS, "cascade_high": 1.0})
    run_refine(wider, Monitor(), factory(benches))
    assert benches[2].reading.count == 0  # another band asks only for what it takes from the reader
    assert benches[2].strong.count == 4  # the rankings are as they were: the same passages answer


def test_the_embedded_reader_reads_first_and_a_plain_run_of_it_is_used_again(sample: Path, tmp_path: Path) -> None:
    shared: dict[str, Any] = {"source": str(sample), "sample": 3, "store": str(tmp_path / "store.sqlite")}
    arhn_hf.refine(shared.pop("source"), output=str(tmp_path / "plain"), **shared)
    engine = ScriptedEngine()
    askers: list[Asker] = []

    def made(config: RunConfig, store: Store, monitor: Monitor) -> Any:
        judge, asker = behind_reader(*scripted_judge(engine)(config, store, monitor), config, store, monitor)
        askers.append(asker)
        return judge, asker

    config = RunConfig(
        source=str(sample), output=str(tmp_path / "out"), sample=3, store=shared["store"],
        **{**SETTINGS, "cascade_low": 0.3},
    )  # fmt: skip
    result = run_refine(config, Monitor(), made)
    reading = askers[0].beside[0].counts
    assert reading.sent == 0 < reading.from_store
    assert result.judges["reader"]["decided"] > 0
    assert result.judges["scripted"]["decided"] > 0
    assert check(tmp_path / "out")["exit_code"] == 0


def test_recorded_grades_rank_by_grade_whoever_found_the_answer(source: Path, tmp_path: Path) -> None:
    """The reader's score of a passage that it decided is no grade."""
    grades = [
        {"query_id": row["query_id"], "docid": one["docid"], "grade": one["grade"]}
        for row in ROWS
        for one in (*row["positive_passages"], *row["negative_passages"])  # type: ignore[misc]
    ]
    (tmp_path / "grades.jsonl").write_text("".join(json.dumps(one) + "\n" for one in grades), encoding="utf-8")
    replay = {"judge": "replay", "responses": str(tmp_path / "grades.jsonl"), "min_answerable": 0.0}
    arhn_hf.refine(str(source), output=str(tmp_path / "alone"), **replay)
    # a band in which the reader believes itself everywhere: it finds all, the grades rank all
    found = {"cascade": "reader", "cascade_low": 0.0, "cascade_high": 0.000001}
    result = arhn_hf.refine(str(source), output=str(tmp_path / "out"), **replay, **found)
    assert result.judges["reader"]["decided"] > 0
    places = {item["docid"]: item["placements"] for item in evidence(tmp_path / "out")}
    for number in range(4):
        assert [one["rank"] for one in places[f"q{number}p"]] == [1]
        ranks = [places[f"q{number}n{i}"][0]["rank"] for i in range(4) if places[f"q{number}n{i}"]]
        relevant = [places[f"q{number}n{i}"][0]["rank"] for i in (1, 2) if places[f"q{number}n{i}"]]
        assert sorted(ranks)[: len(relevant)] == sorted(relevant)
    assert check(tmp_path / "out")["exit_code"] == 0


def test_try_shows_the_reads_of_both(source: Path) -> None:
    benches: list[Bench] = []
    report = try_row(RunConfig(source=str(source), **SETTINGS), 0, None, Monitor(), factory(benches))
    assert len(report["exchanges"]) == benches[0].reading.count + benches[0].strong.count
    assert [one["answer"]["judge"] for one in report["passages"]] == [LLM, READER, LLM, READER, LLM]
    assert report["judge"]["cascade"]["band"] == {"low": 0.1, "high": 0.9}


def test_a_plan_reads_a_sample_and_says_what_is_left(sample: Path, tmp_path: Path) -> None:
    config = RunConfig(source=str(sample), output=str(tmp_path / "out"), sample=4, **SETTINGS)
    found = plan(config, Monitor())["cascade"]
    assert found["read"] > 0
    assert 0 <= found["share"]["low"] <= found["share"]["mean"] <= found["share"]["high"] <= 1
    everything = RunConfig(source=str(sample), sample=4, **{**SETTINGS, "cascade_low": 0.0, "cascade_high": 1.0})
    assert plan(everything, Monitor())["cascade"]["share"]["mean"] == 1
    alone = {name: value for name, value in SETTINGS.items() if "cascade" not in name}
    assert plan(RunConfig(source=str(sample), sample=4, **alone), Monitor())["cascade"] is None
