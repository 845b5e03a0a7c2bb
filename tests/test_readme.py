"""What the README shows is run here, word for word."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Code blocks of one language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the examples and `my-data`, eight rows of the sample."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "examples", folder / "examples")
    (folder / "my-data").mkdir()
    lines = (ROOT / "examples/hard-negatives/train.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "my-data/train.jsonl").write_text("".join(lines[:8]), encoding="utf-8")
    return folder


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False)


def test_the_two_commands_are_one_line_each_and_install_first() -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("python3 -m venv")]
    assert len(lines) == 2
    assert "arhn-hf refine examples/hard-negatives --output refined" in lines[0]
    assert lines[1].endswith("-m pytest")


def test_the_commands_for_own_data_run_as_written(place: Path) -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("arhn-hf ")]
    assert len(lines) >= 6
    for line in lines:
        words = shlex.split(line, comments=True)
        done = run(["-m", "arhn_hf.cli.main", *words[1:]], place)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"


def test_the_python_examples_run_as_written(place: Path) -> None:
    found = blocks("python")
    assert len(found) >= 2
    for block in reversed(found):  # the last one refines, the first one loads
        done = run(["-c", block], place)
        assert done.returncode == 0, f"{block}\n{done.stderr}"


def test_every_file_the_readme_links_to_exists() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
