"""An engine that dies, refuses, or talks nonsense: nothing is lost, and no failure is taken for clean."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from durability import assert_kept, command_line, evidence, go, made_rows, stored_keys, write_source
from scripted import ScriptedEngine, folder_bytes, passage_of, scripted_reply

from arhn_hf.engines.base import EngineError, Request, Response
from arhn_hf.records import ArhnError

IN_FLIGHT = 4


def is_answer(request: Request, *marks: str) -> bool:
    """Whether this asks for an answer from a passage that holds one of the marks."""
    return request.kind == "answer" and any(mark in passage_of(request) for mark in marks)


def marked(marks: dict[str, str | None]) -> list[dict[str, Any]]:
    """One row whose negatives hold these marks, and some rows without any."""
    rows = made_rows(4, len(marks))
    for passage, mark in zip(rows[0]["negative_passages"], marks, strict=True):
        passage["text"] = f"{mark} {passage['text']}"
        passage["docid"] = mark
    return rows


@pytest.mark.parametrize("how", ["future", "submit", "surprise"])
def test_a_dead_engine_ends_the_run_and_loses_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    source, output = write_source(tmp_path / "source.jsonl", made_rows(8, 4)), tmp_path / "out"
    undisturbed = ScriptedEngine()
    go(source, tmp_path / "whole", undisturbed)

    class Dying(ScriptedEngine):
        def submit(self, request: Request) -> Any:
            if how == "submit" and self.count == 25:
                raise EngineError("the GPU is gone")
            return super().submit(request)

        def _answer(self, request: Request) -> Response:
            if how != "submit" and self.count >= 25:
                raise EngineError("the GPU is gone") if how == "future" else RuntimeError("the GPU is gone")
            return super()._answer(request)

    dying = Dying(delay=0.001)
    with pytest.raises(ArhnError, match="the GPU is gone") as failure:
        go(source, output, dying, max_in_flight=IN_FLIGHT)
    assert failure.value.exit_code == 1
    assert not (output / "arhn.json").exists()
    kept = stored_keys(output / ".arhn" / "store.sqlite")
    assert len(kept) >= 25 - 2 * IN_FLIGHT

    arguments = [
        "refine", str(source), "--output", str(output), "--min-answerable", "0", "--max-in-flight", str(IN_FLIGHT),
    ]  # fmt: skip
    still = Dying(delay=0.001)
    still.count = 25
    said = command_line(still, capsys, *arguments)
    assert said.code == 1
    said.assert_one_line("the GPU is gone")
    assert not kept & set(still.keys)

    kept = stored_keys(output / ".arhn" / "store.sqlite")
    rest = ScriptedEngine()
    assert command_line(rest, capsys, *arguments).code == 0
    assert set(rest.keys) == set(undisturbed.keys) - kept
    assert len(dying.keys) + len(rest.keys) <= len(undisturbed.keys) + IN_FLIGHT
    assert folder_bytes(output) == folder_bytes(tmp_path / "whole")


def test_one_failed_request_is_marked_and_the_run_goes_on(tmp_path: Path) -> None:
    source, output = write_source(tmp_path / "source.jsonl", marked({"BROKEN": None})), tmp_path / "out"

    def reply(request: Request) -> Response:
        return Response("overloaded", "error") if is_answer(request, "BROKEN") else scripted_reply(request)

    result = go(source, output, ScriptedEngine(reply), max_failures=1.0)
    assert result.exit_code == 0
    (broken,) = [item for item in evidence(output) if item["docid"] == "BROKEN"]
    assert broken["answer_status"] == "engine_error"
    assert (broken["action"], broken["reason"]) == ("undecided", "answer_failed")
    assert [broken[f"in_{name}"] for name in ("combined", "relabel", "filter")] == ["negative"] * 3
    assert result.failures["count"] == 1
    assert result.failures["by_status"] == {"engine_error": 1}
    assert result.decisions["undecided"] == 1
    assert_kept(output)
    again = ScriptedEngine()
    go(source, output, again)
    assert sum(1 for item in evidence(output) if item["answer_status"] == "engine_error") == 0
    assert again.count >= 1


def test_many_failures_fail_the_gate_and_are_asked_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = made_rows(8, 5)
    source, output = write_source(tmp_path / "source.jsonl", rows), tmp_path / "out"
    negatives = {passage["text"] for row in rows for passage in row["negative_passages"]}
    go(source, tmp_path / "whole")
    failed: set[str] = set()

    class Flaky(ScriptedEngine):
        def _answer(self, request: Request) -> Response:
            text = passage_of(request).split("\n", 1)[-1] if request.kind == "answer" else ""
            if text in negatives and hashlib.sha256(text.encode()).digest()[1] % 3 == 0:
                failed.add(self._keymaker.key(request).hex())
                return Response("", "error")
            return super()._answer(request)

    arguments = ("refine", str(source), "--output", str(output), "--min-answerable", "0", "--json")
    said = command_line(Flaky(), capsys, *arguments)
    report = json.loads(said.out)
    assert said.code == 3
    assert report["status"] == "gate"
    assert len(failed) > 3
    assert report["failures"]["count"] == len(failed)
    assert report["failures"]["by_status"] == {"engine_error": len(failed)}
    assert [gate["ok"] for gate in report["gates"] if gate["name"] == "max_failures"] == [False]
    undecided = [item for item in evidence(output) if item["answer_status"] == "engine_error"]
    assert len(undecided) == len(failed)
    for item in undecided:
        assert item["action"] == "undecided"
        assert {item[f"in_{name}"] for name in ("combined", "relabel", "filter")} == {"negative"}
    assert_kept(output)

    asked: set[str] = set()

    class Healthy(ScriptedEngine):
        def submit(self, request: Request) -> Any:
            if request.kind == "answer":
                asked.add(self._keymaker.key(request).hex())
            return super().submit(request)

    assert command_line(Healthy(), capsys, *arguments).code == 0
    assert asked == failed
    assert folder_bytes(output) == folder_bytes(tmp_path / "whole")


def test_failed_judgements_leave_under_undecided_remove(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source.jsonl", marked({"BROKEN": None, "FINE": None}))

    def reply(request: Request) -> Response:
        return Response("", "error") if is_answer(request, "BROKEN") else scripted_reply(request)

    go(source, tmp_path / "out", ScriptedEngine(reply), max_failures=1.0, undecided="remove")
    (broken,) = [item for item in evidence(tmp_path / "out") if item["docid"] == "BROKEN"]
    assert {broken[f"in_{name}"] for name in ("combined", "relabel", "filter")} == {"removed"}
    assert_kept(tmp_path / "out")


def answer(value: Any) -> str:
    return json.dumps({"answer": value})


# mark: (first reply, reply to the second attempt or None if there must be none, the status in the evidence)
REPLIES: dict[str, tuple[Callable[[str], Response], Callable[[str], Response] | None, str]] = {
    "CUT": (lambda text: Response('{"answer": "half a', "length"), None, "cut_off"),
    "CUTWHOLE": (lambda text: Response(answer(None), "length"), None, "cut_off"),
    "REFUSED": (lambda text: Response("I cannot", "refused"), None, "refused"),
    "CENSORED": (lambda text: Response("", "content_filter"), None, "refused"),
    "EMPTY": (lambda text: Response(""), lambda text: Response(""), "malformed"),
    "PROSE": (lambda text: Response("I do not know."), lambda text: Response("Truly not."), "malformed"),
    "NUMBER": (lambda text: Response(answer(5)), lambda text: Response(answer([text])), "malformed"),
    "LIST": (lambda text: Response("[1, 2]"), lambda text: Response("null"), "malformed"),
    "DEEP": (lambda text: Response("[" * 20_000), lambda text: Response("{" * 20_000), "malformed"),
    "LATE": (lambda text: Response("Well"), lambda text: Response(answer(text[-9:])), "answered"),
    "SAIDNONE": (lambda text: Response(answer("")), lambda text: Response(answer(None)), "no_answer"),
    "MENDED": (lambda text: Response(answer("not in there")), lambda text: Response(answer(text[-9:])), "answered"),
    "INVENTED": (lambda text: Response(answer("not in it")), lambda text: Response(answer("nor here")), "ungrounded"),
    "SECONDCUT": (lambda text: Response(answer("not in there")), lambda text: Response("{", "length"), "cut_off"),
    "SECONDERROR": (lambda text: Response(answer("not in there")), lambda text: Response("", "error"), "engine_error"),
    "FENCED": (lambda text: Response(f"Here:\n```json\n{answer(text[-9:])}\n```"), None, "answered"),
    "TITLED": (lambda text: Response(answer(text.split(chr(10))[0].removeprefix("Title: "))), None, "answered"),
    "SURROGATE": (lambda text: Response('{"answer": "\\ud83d"}'), lambda text: Response(answer(None)), "no_answer"),
    "RAWSURROGATE": (lambda text: Response("\ud83d"), lambda text: Response("\ud83d again"), "malformed"),
}


def test_every_kind_of_reply_gets_its_status(tmp_path: Path) -> None:
    marks = dict.fromkeys(f"<{mark}>" for mark in REPLIES)
    source = write_source(tmp_path / "source.jsonl", marked(marks))
    asked: Counter[str] = Counter()

    def reply(request: Request) -> Response:
        for mark, (first, second, _) in REPLIES.items():
            if is_answer(request, f"<{mark}>"):
                asked[mark] += 1
                assert request.attempt == asked[mark]
                assert request.attempt == 1 or second is not None, mark
                return (first if request.attempt == 1 or second is None else second)(passage_of(request))
        return scripted_reply(request)

    output = tmp_path / "out"
    result = go(source, output, ScriptedEngine(reply, threads=1), max_failures=1.0, max_ungrounded=1.0)
    found = {item["docid"]: item for item in evidence(output)}
    wanted = {mark: status for mark, (_, _, status) in REPLIES.items()}
    assert {mark: found[f"<{mark}>"]["answer_status"] for mark in REPLIES} == wanted
    failed = Counter(status for status in wanted.values() if status not in ("answered", "no_answer"))
    report = result.failures
    assert report["by_status"] == dict(failed)
    assert report["ungrounded"] == failed["ungrounded"] == 1
    assert report["count"] == sum(failed.values()) - 1
    assert report["of"] == 4 * len(REPLIES)
    assert result.requests["retried"] == sum(second is not None for _, second, _ in REPLIES.values())
    for mark, status in wanted.items():
        item = found[f"<{mark}>"]
        if status in failed:
            assert (item["action"], item["reason"]) == ("undecided", "answer_failed")
            assert {item[f"in_{name}"] for name in ("combined", "relabel", "filter")} == {"negative"}
            assert item["snippet"] is None
    assert found["<TITLED>"]["snippet_field"] == "title"
    assert_kept(output)

    asked.clear()
    before = folder_bytes(output)
    asked.update({"SECONDERROR": 1})  # only what failed is asked again, from its second attempt on
    again = ScriptedEngine(reply, threads=1)
    go(source, output, again, max_failures=1.0, max_ungrounded=1.0)
    assert again.count == 1
    assert folder_bytes(output) == before


@pytest.mark.parametrize(
    ("text", "reason", "statuses"),
    [
        ("nothing", "stop", {"malformed"}), ("[2, 1", "length", {"cut_off"}), ("", "refused", {"refused"}),
        ("", "error", {"engine_error"}), ("[1, 1, 1]", "stop", {"malformed"}), ("[2, 1]", "stop", {"partial"}),
        ('{"ranking": "2 > 1"}', "stop", {"partial"}), ("[99, 98]", "stop", {"malformed"}),
    ],
)  # fmt: skip
def test_rankings_that_are_none_leave_their_candidates_undecided(
    tmp_path: Path, text: str, reason: str, statuses: set[str]
) -> None:
    source, output = write_source(tmp_path / "source.jsonl"), tmp_path / "out"

    def reply(request: Request) -> Response:
        if request.kind == "answer":
            return Response(answer(" ".join(passage_of(request).split()[-4:])))
        return Response(text, reason)

    result = go(source, output, ScriptedEngine(reply), max_failures=1.0, min_negatives=0)
    items = [item for item in evidence(output) if item["label"] == "negative"]
    assert {item["rank_status"] for item in items} == statuses
    unranked = [item for item in items if item["rank_status"] != "ranked"]
    assert unranked
    assert (
        result.failures["count"]
        == result.failures["by_status"]["ranking_failed"]
        == sum(item["reason"] == "ranking_failed" for item in items)
    )
    for item in unranked:
        assert (item["action"], item["reason"]) == ("undecided", "ranking_failed")
        assert [item[f"in_{name}"] for name in ("combined", "relabel", "filter")] == ["negative", "negative", "removed"]
    assert_kept(output)


WRONG: list[Any] = [
    None, Response(None), Response("{}", "stop", {"prompt": None}), Response("{}", "stop", {"prompt": {1}}),  # type: ignore
    Response("{}", "stop", None),  # type: ignore[arg-type]
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_an_engine_that_breaks_its_contract_ends_the_run(tmp_path: Path, wrong: Any) -> None:
    """No hang: whoever waits hears of it."""
    source = write_source(tmp_path / "source.jsonl")
    with pytest.raises(ArhnError, match="the engine"):
        go(source, tmp_path / "out", ScriptedEngine(lambda request: wrong))


@pytest.mark.parametrize("rows", [1, 3])
def test_an_engine_that_dies_while_many_small_batches_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """Requests that stood in line behind the one that failed are heard of as well."""

    class Dying(ScriptedEngine):
        def submit(self, request: Request) -> Any:
            if self.count == 7:
                raise EngineError("the GPU is gone")
            return super().submit(request)

    monkeypatch.setattr("arhn_hf.pipeline.ASKING_BATCH", rows)
    engine = Dying(delay=0.01)
    with pytest.raises(ArhnError, match="the GPU is gone"):
        go(write_source(tmp_path / "source.jsonl", made_rows(12, 4)), tmp_path / "out", engine)
    assert engine.count == 7
