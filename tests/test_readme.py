"""What the README shows is run here, word for word; what it publishes goes to a Hub on loopback."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "hub"))
from hub_server import HubServer

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


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Where `me` is logged in to a Hub of our own."""
    with HubServer().running() as hub:
        yield hub.environment(tmp_path_factory.mktemp("home"))


def run(words: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_two_commands_are_one_line_each_and_install_first() -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("python3 -m venv")]
    assert len(lines) == 2
    assert "arhn-hf refine examples/hard-negatives --output refined" in lines[0]
    assert lines[1].endswith("-m pytest")


def test_the_commands_for_own_data_run_as_written(place: Path, environment: dict[str, str]) -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("arhn-hf ")]
    assert len(lines) >= 6
    for line in lines:
        words = shlex.split(line, comments=True)
        done = run(["-m", "arhn_hf.cli.main", *words[1:]], place, environment)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"


def test_the_python_examples_run_as_written(place: Path, environment: dict[str, str]) -> None:
    found = blocks("python")
    assert len(found) >= 2
    for block in reversed(found):  # the last one refines, the first one loads
        done = run(["-c", block], place, environment)
        assert done.returncode == 0, f"{block}\n{done.stderr}"


def test_every_file_the_readme_links_to_exists() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
