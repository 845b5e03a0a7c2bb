"""A run that broke off begins again at the stage where it stopped, and only if it is the very same run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from durability import assert_kept, go, made_rows, write_source
from scripted import ScriptedEngine, folder_bytes, scripted_reply

from arhn_hf.config import RunConfig
from arhn_hf.deriving import derive
from arhn_hf.engines.base import Request, Response
from arhn_hf.monitor import Monitor
from arhn_hf.pipeline import run_refine
from arhn_hf.publishing.folder import OutputFolder
from arhn_hf.records import ArhnError, UsageError
from arhn_hf.stages import finished
from arhn_hf.stages.maps import Maps


class Killed(BaseException):
    """What no code of ours catches."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_source(tmp_path / "source.jsonl", made_rows(9, 4))


@pytest.fixture
def mapped(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The maps that really ran, by name."""
    ran: list[str] = []
    real = Maps._together

    def counted(self: Maps, rows: int, batch: int) -> int:
        ran.append("map")
        return real(self, rows, batch)

    monkeypatch.setattr(Maps, "_together", counted)
    return ran


def break_off(source: Path, output: Path, at: str, error: BaseException, **options: Any) -> None:
    """A run that ends when it begins the stage `at`."""

    class Ending(Monitor):
        def begin(self, stage: str, total: int | None = None, *, then: str | None = None) -> None:
            super().begin(stage, total, then=then)
            if stage == at:
                raise error

    with pytest.raises(ArhnError if isinstance(error, OSError) else type(error)):
        go(source, output, monitor=Ending(), **options)
    assert not (output / "arhn.json").exists()


@pytest.mark.parametrize(
    ("at", "left"),
    [("reading passages", 5), ("ranking", 4), ("deciding", 3), ("placing", 2), ("writing filter", 0), ("closing", 0)],
)
def test_only_what_was_not_finished_is_done(
    source: Path, tmp_path: Path, mapped: list[str], at: str, left: int
) -> None:
    whole = go(source, tmp_path / "whole")
    break_off(source, tmp_path / "out", at, Killed())
    mapped.clear()
    engine, monitor = ScriptedEngine(), Monitor()
    result = go(source, tmp_path / "out", engine, monitor)
    assert len(mapped) == left
    assert folder_bytes(tmp_path / "out") == folder_bytes(tmp_path / "whole")
    assert_kept(tmp_path / "out")
    assert any("is taken as it is: rows" in line for line in monitor.notices)
    if at not in ("reading passages", "ranking"):
        assert engine.count == 0
    before, after = whole.requests, result.requests
    assert (after["answers"], after["rankings"]) == (before["answers"], before["rankings"])
    assert after["from_store"] + after["sent"] == before["from_store"] + before["sent"]
    assert after["sent"] == engine.count
    assert not (tmp_path / "out" / ".arhn" / "work").exists()


def test_other_settings_take_nothing(source: Path, tmp_path: Path, mapped: list[str]) -> None:
    go(source, tmp_path / "whole", min_negatives=3)
    break_off(source, tmp_path / "out", "closing", Killed())
    mapped.clear()
    monitor = Monitor()
    go(source, tmp_path / "out", monitor=monitor, min_negatives=3)
    assert len(mapped) == 6
    assert not any("taken as it is" in line for line in monitor.notices)
    assert folder_bytes(tmp_path / "out") == folder_bytes(tmp_path / "whole")


def test_another_source_under_the_same_name_takes_nothing(source: Path, tmp_path: Path, mapped: list[str]) -> None:
    break_off(source, tmp_path / "out", "closing", Killed())
    write_source(source, made_rows(9, 4, seed=1))
    mapped.clear()
    go(source, tmp_path / "out")
    assert len(mapped) == 6
    go(source, tmp_path / "whole")
    assert folder_bytes(tmp_path / "out") == folder_bytes(tmp_path / "whole")


def test_changed_code_takes_nothing(
    source: Path, tmp_path: Path, mapped: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    break_off(source, tmp_path / "out", "closing", Killed())
    monkeypatch.setattr(finished, "_code", lambda: "repaired")
    mapped.clear()
    go(source, tmp_path / "out")
    assert len(mapped) == 6


def test_fresh_takes_nothing(source: Path, tmp_path: Path, mapped: list[str]) -> None:
    break_off(source, tmp_path / "out", "closing", Killed())
    mapped.clear()
    go(source, tmp_path / "out", fresh=True)
    assert len(mapped) == 6


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": 1}', '{"marks": {"rows": {}}}'])
def test_marks_that_cannot_be_read_are_none(source: Path, tmp_path: Path, mapped: list[str], text: str) -> None:
    break_off(source, tmp_path / "out", "closing", Killed())
    (tmp_path / "out" / ".arhn" / "work" / "finished.json").write_text(text)
    mapped.clear()
    go(source, tmp_path / "out")
    assert len(mapped) == 6
    assert_kept(tmp_path / "out")


@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda file: file.write_bytes(b"no Arrow"), lambda file: file.write_bytes(b"")]
)
def test_a_work_file_that_is_gone_or_damaged_is_made_again(
    source: Path, tmp_path: Path, mapped: list[str], damage: Any
) -> None:
    break_off(source, tmp_path / "out", "closing", Killed())
    damage(tmp_path / "out" / ".arhn" / "work" / "answers.arrow")
    mapped.clear()
    go(source, tmp_path / "out")
    assert len(mapped) == 1
    go(source, tmp_path / "whole")
    assert folder_bytes(tmp_path / "out") == folder_bytes(tmp_path / "whole")


def test_a_judge_that_does_not_open_costs_nothing_that_was_finished(
    source: Path, tmp_path: Path, mapped: list[str]
) -> None:
    break_off(source, tmp_path / "out", "closing", Killed())

    def refusing(*_: object) -> Any:
        raise UsageError("no such model")

    config = RunConfig.from_mapping({"source": str(source), "output": str(tmp_path / "out"), "min_answerable": 0.0})
    with pytest.raises(UsageError):
        run_refine(config, Monitor(), refusing)
    mapped.clear()
    go(source, tmp_path / "out")
    assert mapped == []


def test_a_judgement_that_failed_is_asked_again(source: Path, tmp_path: Path) -> None:
    failing = {"on": True}

    def reply(request: Request) -> Response:
        return Response("", "error") if failing["on"] and "rank" not in request.kind else scripted_reply(request)

    class Ending(Monitor):
        def begin(self, stage: str, total: int | None = None, *, then: str | None = None) -> None:
            super().begin(stage, total, then=then)
            if stage == "closing":
                raise Killed

    with pytest.raises(Killed):
        go(source, tmp_path / "out", ScriptedEngine(reply), Ending())
    marks = json.loads((tmp_path / "out" / ".arhn" / "work" / "finished.json").read_text())["marks"]
    assert list(marks) == ["rows"]
    failing["on"] = False
    again = ScriptedEngine(reply)
    go(source, tmp_path / "out", again)
    assert again.count > 0
    go(source, tmp_path / "whole")
    assert folder_bytes(tmp_path / "out") == folder_bytes(tmp_path / "whole")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), UsageError("cannot be")])
def test_a_full_disk_and_a_refusal_leave_no_work_behind(source: Path, tmp_path: Path, error: Exception) -> None:
    break_off(source, tmp_path / "out", "closing", error)
    assert not (tmp_path / "out" / ".arhn" / "work").exists()
    assert not (tmp_path / "out" / ".arhn" / "new").exists()


def test_deriving_into_it_takes_nothing(source: Path, tmp_path: Path) -> None:
    go(source, tmp_path / "whole")
    break_off(source, tmp_path / "out", "closing", Killed())
    derive(tmp_path / "whole", tmp_path / "out", min_negatives=3)
    assert_kept(tmp_path / "out")
    with OutputFolder(tmp_path / "out"):
        assert not list((tmp_path / "out" / ".arhn" / "work").iterdir())
