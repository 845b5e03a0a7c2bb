"""A store that is broken, cut short or none at all: moved aside, said, and what still reads is not asked for again."""

from __future__ import annotations

import random
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from durability import assert_kept, command_line, go, made_rows, stored_keys, write_source
from scripted import ScriptedEngine, folder_bytes

from arhn_hf.monitor import Monitor
from arhn_hf.records import ArhnError


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, int]:
    """A source, a finished folder, and how many answers its store holds."""
    folder = tmp_path_factory.mktemp("finished")
    source = write_source(folder / "source.jsonl", made_rows(24, 9))
    engine = ScriptedEngine()
    go(source, folder / "out", engine)
    return source, folder / "out", len(set(engine.keys))


def over_the_header(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[:100] = random.Random(1).randbytes(100)
    path.write_bytes(content)


def in_the_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 6000] = random.Random(2).randbytes(6000)
    path.write_bytes(content)


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def another_file(path: Path) -> None:
    path.write_text("this is a shopping list\n" * 400)


def another_database(path: Path) -> None:
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE songs (title TEXT)")
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("damage", "salvages"),
    [
        (over_the_header, False), (in_the_middle, True), (cut_in_half, True), (emptied, False), (another_file, False),
        (another_database, False),
    ],
)  # fmt: skip
def test_a_damaged_store_is_moved_aside_and_salvaged(
    finished: tuple[Path, Path, int], tmp_path: Path, damage: Callable[[Path], None], salvages: bool
) -> None:
    source, whole, count = finished
    output = tmp_path / "out"
    shutil.copytree(whole, output)
    store = output / ".arhn" / "store.sqlite"
    damage(store)
    broken = store.read_bytes()
    engine, monitor = ScriptedEngine(), Monitor()
    result = go(source, output, engine, monitor)
    (line,) = [line for line in monitor.notices if "damaged" in line]
    salvaged = int(re.search(r"(\d+) responses salvaged", line).group(1))  # type: ignore[union-attr]
    assert "store.sqlite.damaged-1" in line
    assert (store.parent / "store.sqlite.damaged-1").read_bytes() == broken
    assert salvaged > 0 if salvages else salvaged == 0
    assert engine.count == result.requests["sent"] == count - salvaged
    assert len(stored_keys(store)) == count
    assert folder_bytes(output) == folder_bytes(whole)
    assert_kept(output)

    quiet, monitor = ScriptedEngine(), Monitor()
    go(source, output, quiet, monitor)
    assert quiet.count == 0
    assert not [line for line in monitor.notices if "damaged" in line]
    store.write_bytes(b"broken again" * 1000)
    go(source, output, ScriptedEngine())
    assert (store.parent / "store.sqlite.damaged-2").exists()
    assert folder_bytes(output) == folder_bytes(whole)


def test_one_changed_letter_in_a_stored_answer_is_never_believed(
    finished: tuple[Path, Path, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """SQLite's own check cannot see it: the run stops, and the next one asks for that answer again."""
    source, whole, count = finished
    output = tmp_path / "out"
    shutil.copytree(whole, output)
    store = output / ".arhn" / "store.sqlite"
    content = store.read_bytes()
    at = content.index(b'{"answer": "') + len(b'{"answer": "')
    store.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    arguments = ("refine", str(source), "--output", str(output), "--min-answerable", "0")
    engine = ScriptedEngine()
    said = command_line(engine, capsys, *arguments)
    assert said.code == 1
    said.assert_one_line("damaged", str(store), "Run again")
    engine = ScriptedEngine()
    said = command_line(engine, capsys, *arguments)
    assert said.code == 0
    assert f"{count - 1} responses salvaged" in said.err
    assert engine.count == 1
    assert folder_bytes(output) == folder_bytes(whole)


def test_a_store_that_cannot_be_opened_is_said_and_left_alone(
    finished: tuple[Path, Path, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, _, _ = finished
    store = tmp_path / "folder"
    store.mkdir()
    engine = ScriptedEngine()
    with pytest.raises(ArhnError) as failure:
        go(source, tmp_path / "out", engine, store=str(store))
    assert failure.value.exit_code in (1, 2)
    assert str(store) in str(failure.value)
    assert engine.count == 0
    assert store.is_dir()
