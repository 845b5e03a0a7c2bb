"""The wheel holds everything a run needs: installed elsewhere, without the checkout, it refines and checks."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the checkout and unpacked into a folder of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-q",
        "-w",
        str(folder),
        str(ROOT),
    ]
    subprocess.run(build, check=True)
    (wheel,) = folder.glob("arhn_hf-*.whl")
    target = folder / "installed"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target), str(wheel)], check=True
    )
    return target


def test_the_wheel_holds_cards_configurations_prompts_weights_and_types(installed: Path) -> None:
    (wheel,) = installed.parent.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for wanted in (
        "arhn_hf/py.typed",
        "arhn_hf/_resources/configs/subsets.yaml",
        "arhn_hf/_resources/dataset_cards/card.md",
        "arhn_hf/prompts/answer.txt",
        "arhn_hf/reader/weights/fusion.json",
        "arhn_hf/reader/weights/NOTICE.md",
    ):
        assert wanted in names
    assert not any(name.startswith(("tests/", "training/", "examples/")) for name in names)


def test_the_installed_wheel_refines_and_checks(installed: Path, sample: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    where = subprocess.run(
        [sys.executable, "-c", "import arhn_hf; print(arhn_hf.__file__)"],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert Path(where.stdout.strip()).is_relative_to(installed)
    command = [sys.executable, "-m", "arhn_hf.cli.main"]
    for words in (["refine", str(sample), "--sample", "3", "--output", "out"], ["check", "out"]):
        done = subprocess.run(
            [*command, *words], check=False, env=environment, cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
