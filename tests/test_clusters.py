"""The recipes of docs/clusters.md are run here, word for word, with the embedded reader in place of a large model."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from scripted import folder_bytes

import arhn_hf
from arhn_hf.config import RunConfig
from arhn_hf.config_file import read_yaml

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Code blocks of one language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `my-data`, ten rows of the sample, that run refined whole as `one`, and `arhn-hf` in `bin`."""
    folder = tmp_path_factory.mktemp("clusters")
    (folder / "my-data").mkdir()
    lines = (ROOT / "examples/hard-negatives/train.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "my-data/train.jsonl").write_text("".join(lines[:10]), encoding="utf-8")
    (folder / "bin").mkdir()
    tool = folder / "bin" / "arhn-hf"
    tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m arhn_hf.cli.main "$@"\n')
    tool.chmod(0o755)
    (folder / "run.yaml").write_text("judge: reader\n")
    arhn_hf.refine(str(folder / "my-data"), output=str(folder / "one"))
    return folder


def bash(script: str, folder: Path, **variables: str) -> None:
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", **variables}
    done = subprocess.run(
        ["bash", "-e", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_parts_by_hand_and_the_slurm_array(place: Path) -> None:
    by_hand, refine, merge = blocks("bash")
    bash(by_hand, place)
    assert folder_bytes(place / "refined") == folder_bytes(place / "one")
    shutil.rmtree(place / "parts")
    shutil.rmtree(place / "refined")
    (first, last) = re.findall(r"--array=(\d+)-(\d+)", refine)[0]
    assert f'--shard "$SLURM_ARRAY_TASK_ID/{last}"' in refine
    for task in range(int(first), int(last) + 1):
        bash(refine, place, SLURM_ARRAY_TASK_ID=str(task))
    bash(merge, place)
    assert folder_bytes(place / "refined") == folder_bytes(place / "one")


def test_the_run_file_holds_options(tmp_path: Path) -> None:
    (text,) = blocks("yaml")
    (tmp_path / "run.yaml").write_text(text)
    config = RunConfig.from_mapping({"source": "my-data", **read_yaml(str(tmp_path / "run.yaml"))})
    assert (config.judge, config.model) == ("vllm", "Qwen/Qwen3-32B")


def test_the_job_script(place: Path, tmp_path: Path) -> None:
    (script,) = blocks("python")
    head = re.search(r"^# /// script$\n((?:^#.*$\n)+)^# ///$", script, re.MULTILINE)
    assert head is not None
    declared = tomllib.loads("\n".join(line[2:] for line in head[1].splitlines()))
    assert declared == {"requires-python": ">=3.11", "dependencies": ["arhn-hf[vllm]"]}
    names: dict[str, Any] = {"__name__": "part"}
    exec(compile(script, "part.py", "exec"), names)
    names.update(SOURCE=str(place / "my-data"), OPTIONS={"judge": "reader"})
    for attempt in ("first", "second"):  # the second finds its folder and goes on
        for index in "12":
            names["main"](index, "2", tmp_path / "parts", tmp_path / f"{attempt}-{index}")
    reports = [tmp_path / "parts" / index for index in "12"]
    from arhn_hf.merging import merge

    merge(reports, tmp_path / "refined")
    assert folder_bytes(tmp_path / "refined") == folder_bytes(place / "one")


def test_a_job_that_fails_keeps_what_it_has(place: Path, tmp_path: Path) -> None:
    (script,) = blocks("python")
    names: dict[str, Any] = {"__name__": "part"}
    exec(compile(script, "part.py", "exec"), names)

    def fail(source: str, **options: Any) -> None:
        arhn_hf.refine(source, **options)
        raise RuntimeError("the engine died")

    names.update(SOURCE=str(place / "my-data"), OPTIONS={"judge": "reader"})
    names["arhn_hf"] = type("broken", (), {"refine": staticmethod(fail)})
    with pytest.raises(RuntimeError, match="the engine died"):
        names["main"]("1", "2", tmp_path / "parts", tmp_path / "work")
    assert (tmp_path / "parts/1/.arhn/store.sqlite").is_file()


def test_the_line_that_submits_a_job(tmp_path: Path) -> None:
    tool = Path(sys.executable).with_name("hf")
    if not tool.is_file():
        pytest.skip("the environment has no `hf` beside its Python")
    (line,) = re.findall(r"^  hf (jobs uv run .*)$", PAGE, re.MULTILINE)
    (tmp_path / "part.py").write_text(blocks("python")[0])
    words = line.replace("$i", "1").split()
    done = subprocess.run(
        [str(tool), *words[:3], "--dry-run", *words[3:]], cwd=tmp_path, capture_output=True, text=True, timeout=60,
        check=False, env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_TOKEN": "hf_none"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "(dry run) Job not submitted." in done.stdout + done.stderr
