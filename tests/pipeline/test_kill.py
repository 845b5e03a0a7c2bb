"""kill -9 costs at most the requests in flight, whenever it comes, and no unfinished folder looks finished after it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from durability import (
    assert_kept,
    assert_not_half_finished,
    go,
    kill,
    lines,
    made_rows,
    stages,
    start,
    start_scripted,
    stored_keys,
    wait_until,
    write_source,
)
from scripted import ScriptedEngine, folder_bytes

from arhn_hf.publishing import folder as folder_module

IN_FLIGHT = 16


def test_kill_9_at_many_moments(sample: Path, tmp_path: Path) -> None:
    undisturbed = ScriptedEngine()
    go(sample, tmp_path / "whole", undisturbed)
    whole, distinct = folder_bytes(tmp_path / "whole"), len(set(undisturbed.keys))

    chooser = random.Random(7)
    shares = sorted(chooser.uniform(0.01, 0.99) for _ in range(6))
    moments: list[Any] = [int(share * distinct) for share in shares]
    moments = ["loading the source", *moments, "writing relabel", "closing"]
    output, calls, store = tmp_path / "out", tmp_path / "calls", tmp_path / "out" / ".arhn" / "store.sqlite"
    kills = 0
    for moment in moments:
        committed, asked, logged = stored_keys(store), len(lines(calls)), len(lines(output / ".arhn" / "run.jsonl"))
        process = start_scripted(sample, output, calls, delay=0.004, max_in_flight=IN_FLIGHT)
        if isinstance(moment, str):
            wait_until(lambda m=moment, n=logged: m in stages(output, n), process)
        else:
            wait_until(lambda m=moment: len(lines(calls)) >= m, process)
        kills += kill(process)
        again = lines(calls)[asked:]
        assert not committed & set(again), "a committed request was sent again"
        assert stored_keys(store) >= committed
        assert len(again) - len(stored_keys(store) - committed) <= IN_FLIGHT
        assert_not_half_finished(output, whole)
    assert kills >= 8

    committed, asked = stored_keys(store), len(lines(calls))
    process = start_scripted(sample, output, calls, delay=0.0, max_in_flight=IN_FLIGHT)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    assert not committed & set(lines(calls)[asked:])
    assert set(lines(calls)) == set(undisturbed.keys)
    assert len(lines(calls)) <= distinct + kills * IN_FLIGHT
    assert folder_bytes(output) == whole
    assert_kept(output)


class Killed(BaseException):
    """Stands for SIGKILL: nothing is cleaned up after it."""


def test_killed_at_every_step_of_publishing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`publish` stopped before each of its changes to the disk, over a finished run of other settings."""
    source = write_source(tmp_path / "source.jsonl")
    go(source, tmp_path / "old", min_negatives=3)
    go(source, tmp_path / "whole")
    old, whole = folder_bytes(tmp_path / "old"), folder_bytes(tmp_path / "whole")
    assert old != whole
    steps = {"left": 0}

    def counted(real: Any) -> Any:
        def step(*arguments: Any, **options: Any) -> Any:
            if steps["left"] == 0:
                raise Killed
            steps["left"] -= 1
            return real(*arguments, **options)

        return step

    publish = folder_module.OutputFolder.publish

    def publish_until_killed(self: folder_module.OutputFolder, *arguments: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("rename", "replace", "unlink", "write_text"):
                patch.setattr(Path, name, counted(getattr(Path, name)))
            patch.setattr(folder_module.shutil, "rmtree", counted(folder_module.shutil.rmtree))
            publish(self, *arguments)

    output = tmp_path / "out"
    store = str(tmp_path / "shared.sqlite")
    go(source, output, min_negatives=3, store=store)
    monkeypatch.setattr(folder_module.OutputFolder, "publish", publish_until_killed)
    killed = 0
    for number in range(40):
        steps["left"] = number
        try:
            go(source, output, store=store)
        except Killed:
            killed += 1
            if (output / "arhn.json").exists():
                assert folder_bytes(output) in (old, whole), number
        else:
            break
    assert killed > 8
    assert folder_bytes(output) == whole
    assert_kept(output)


def test_kill_9_with_the_reader(sample: Path, tmp_path: Path) -> None:
    """The command line with its own judge: a resumed run sends only the rest."""

    def refine(output: Path) -> Any:
        return start(
            "-m", "arhn_hf.cli.main", "refine", str(sample), "--sample", "8", "--output", str(output),
            "--max-in-flight", "4", "--json",
        )  # fmt: skip

    process = refine(tmp_path / "whole")
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    keys = stored_keys(tmp_path / "whole" / ".arhn" / "store.sqlite")

    output, store = tmp_path / "out", tmp_path / "out" / ".arhn" / "store.sqlite"
    for share in (0.2, 0.7):
        process = refine(output)
        wait_until(lambda s=share: store.exists() and len(stored_keys(store)) >= s * len(keys), process)
        assert kill(process), "the run ended before it could be killed"
        assert not (output / "arhn.json").exists()
    committed = stored_keys(store)
    assert 0.7 * len(keys) <= len(committed) <= len(keys)
    process = refine(output)
    answer, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    assert f'"sent": {len(keys) - len(committed)},' in answer
    assert f'"from_store": {len(committed)},' in answer
    assert stored_keys(store) == keys
    assert folder_bytes(output) == folder_bytes(tmp_path / "whole")
    assert_kept(output)


def test_a_kill_in_the_middle_of_a_commit_leaves_all_or_nothing(tmp_path: Path) -> None:
    """What SQLite's log holds after a cut is a beginning of what was committed, and the run goes on from there."""
    source = write_source(tmp_path / "source.jsonl", made_rows(4, 3))
    undisturbed = ScriptedEngine()
    go(source, tmp_path / "whole", undisturbed)
    output, calls = tmp_path / "out", tmp_path / "calls"
    process = start_scripted(source, output, calls, delay=0.02, max_in_flight=2)
    wait_until(lambda: len(lines(calls)) >= 14, process)
    assert kill(process)
    log = output / ".arhn" / "store.sqlite-wal"
    content = log.read_bytes()
    before = len(stored_keys(output / ".arhn" / "store.sqlite"))
    log.write_bytes(content[: len(content) * 3 // 4])
    left = stored_keys(output / ".arhn" / "store.sqlite")
    assert len(left) <= before
    engine = ScriptedEngine()
    go(source, output, engine)
    assert set(engine.keys) == set(undisturbed.keys) - left
    assert folder_bytes(output) == folder_bytes(tmp_path / "whole")
