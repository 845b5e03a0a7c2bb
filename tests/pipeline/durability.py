"""What the durability tests share: made-up sources, whole runs with a scripted engine, looks from outside."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from scripted import ScriptedEngine, folder_bytes, scripted_judge

from arhn_hf.checks import check
from arhn_hf.config import RunConfig
from arhn_hf.monitor import Monitor
from arhn_hf.pipeline import RefineResult, run_refine

ROOT = Path(__file__).parent.parent.parent
DEADLINE = 120.0  # seconds: only a run that hangs reaches it


def words(chooser: random.Random, count: int) -> str:
    """Words of no language, different enough that no two texts are near-duplicates."""
    return " ".join("".join(chooser.choices("bdfglmnprst", k=2)) + chooser.choice("aeiou") for _ in range(count))


def made_rows(rows: int = 6, negatives: int = 4, *, seed: int = 0, length: int = 24) -> list[dict[str, Any]]:
    """Rows of the Tevatron schema, equal for equal arguments."""
    chooser = random.Random(f"rows\0{seed}")

    def passage(name: str) -> dict[str, str]:
        return {"docid": name, "title": words(chooser, 2), "text": words(chooser, length)}

    return [
        {
            "query_id": f"q{i}", "query": words(chooser, 6), "positive_passages": [passage(f"q{i}-p")],
            "negative_passages": [passage(f"q{i}-n{j}") for j in range(negatives)], "subset": ("alpha", "beta")[i % 2],
        }
        for i in range(rows)
    ]  # fmt: skip


def write_source(path: Path, rows: list[dict[str, Any]] | None = None) -> Path:
    """A jsonl file of these rows."""
    lines = [json.dumps(row, ensure_ascii=False) for row in (made_rows() if rows is None else rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def go(
    source: Path, output: Path, engine: ScriptedEngine | None = None, monitor: Monitor | None = None, **options: Any
) -> RefineResult:
    """A whole run in this process, judged by `engine`."""
    config = RunConfig.from_mapping({"source": str(source), "output": str(output), "min_answerable": 0.0, **options})
    return run_refine(config, monitor or Monitor(), scripted_judge(engine or ScriptedEngine()))


def evidence(folder: Path) -> list[dict[str, Any]]:
    """The evidence of a finished folder."""
    files = sorted((folder / "evidence").glob("*.parquet"))
    return [item for file in files for item in pq.read_table(file).to_pylist()]


def assert_kept(folder: Path) -> None:
    """Every promise that can be seen from outside holds."""
    report = check(folder, max_failures=1.0, max_ungrounded=1.0)
    assert report["exit_code"] == 0, report


def stored_keys(store: Path) -> set[str]:
    """Keys committed in a store, read from a copy: opening the file itself would tidy it up.

    A connection that ends while the two files are copied makes a copy of neither state: then it is copied again.
    """
    for _ in range(5):
        try:
            return _copied_keys(store)
        except sqlite3.DatabaseError:
            time.sleep(0.2)
    return _copied_keys(store)


def _copied_keys(store: Path) -> set[str]:
    if not store.exists():
        return set()
    with tempfile.TemporaryDirectory() as scratch:
        for name in (store.name, f"{store.name}-wal"):
            if store.with_name(name).exists():
                shutil.copy(store.with_name(name), Path(scratch) / name)
        connection = sqlite3.connect(Path(scratch) / store.name)
        try:
            return {key.hex() for (key,) in connection.execute("SELECT key FROM responses")}
        except sqlite3.OperationalError:  # killed before the table was there
            return set()
        finally:
            connection.close()


def lines(path: Path) -> list[str]:
    """Complete lines of a file that another process may be writing."""
    return path.read_text().rpartition("\n")[0].splitlines() if path.exists() else []


def stages(output: Path, since: int = 0) -> list[str]:
    """Stages in the log of a run, from its `since`-th event on."""
    events = [json.loads(line) for line in lines(output / ".arhn" / "run.jsonl")[since:]]
    return [event["stage"] for event in events if event["event"] == "stage"]


def start(*command: str) -> subprocess.Popen[str]:
    """This Python on `command`, from the project's root. Ctrl-C reaches it even where these tests run in the background of a
    shell, which has its children ignore it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, before)


def start_scripted(source: Path, output: Path, calls: Path, **options: Any) -> subprocess.Popen[str]:
    """`scripted.py` in a process of its own."""
    settings = {"min_answerable": 0.0, **options}
    told = [f"{name}={json.dumps(value)}" for name, value in settings.items()]
    return start(str(ROOT / "tests" / "scripted.py"), str(source), str(output), str(calls), *told)


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    """Until `ready`, or until the process has ended."""
    end = time.monotonic() + DEADLINE
    while not ready():
        if process is not None and process.poll() is not None:
            return
        if time.monotonic() > end:
            if process is not None:
                process.kill()
            pytest.fail("waited too long")
        time.sleep(0.002)


def kill(process: subprocess.Popen[str]) -> bool:
    """SIGKILL; whether the process had not ended by itself."""
    process.kill()
    process.communicate(timeout=DEADLINE)
    return process.returncode == -signal.SIGKILL


def assert_not_half_finished(output: Path, whole: dict[str, bytes]) -> None:
    """A folder with an `arhn.json` is the finished one, to the byte, and passes `check`."""
    if (output / "arhn.json").exists():
        assert folder_bytes(output) == whole
        assert_kept(output)


@dataclass
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """Lines that begin with `Error:`."""
        return [line for line in self.err.splitlines() if line.startswith("Error:")]

    def assert_one_line(self, *parts: str) -> None:
        """One error line that holds these parts, and no traceback."""
        assert "Traceback" not in self.err
        assert len(self.errors) == 1, self.err
        for part in parts:
            assert part in self.errors[0], self.errors


def command_line(engine: ScriptedEngine, capsys: pytest.CaptureFixture[str], *arguments: str) -> Said:
    """`arhn-hf ARGUMENTS` in this process, with a scripted engine in place of the judge's."""
    from arhn_hf import pushing
    from arhn_hf.cli.main import run

    before = signal.getsignal(signal.SIGTERM)
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            pushing, "run_refine", lambda config, monitor, *_: run_refine(config, monitor, scripted_judge(engine))
        )
        try:
            with pytest.raises(SystemExit) as ended:
                run(list(arguments))
        finally:
            signal.signal(signal.SIGTERM, before)
    out, err = capsys.readouterr()
    return Said(int(ended.value.code or 0), out, err)
