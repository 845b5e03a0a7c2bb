"""The workflow that people copy: its action's own shell steps, run as written against the test Hub."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hub_server import TOKEN, HubServer

ROOT = Path(__file__).parent.parent.parent
ACTION = yaml.safe_load((ROOT / ".github/actions/refine/action.yml").read_text(encoding="utf-8"))
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/refine-and-publish.yml").read_text(encoding="utf-8"))


def inputs_of(job: str, **values: str) -> dict[str, str]:
    """The action's inputs as a job gives them, `${{ … }}` filled from `values`."""
    (step,) = [one for one in WORKFLOW["jobs"][job]["steps"] if one["uses"].startswith("./")]
    given = {name: re.sub(r"\$\{\{ ([\w.]+) \}\}", lambda m: values[m[1]], str(v)) for name, v in step["with"].items()}
    assert given.keys() <= ACTION["inputs"].keys()
    return {**{name: one.get("default", "") for name, one in ACTION["inputs"].items()}, **given}


def run_action(inputs: dict[str, str], folder: Path, environment: dict[str, str]) -> list[str]:
    """Every shell step but the installation, each in a shell as the runner starts it; their outputs."""
    outputs = []
    for step in ACTION["runs"]["steps"]:
        if "run" not in step or step["name"] == "Install":
            continue
        if "if" in step:
            assert step["if"] == "inputs.push != ''"
            if not inputs["push"]:
                continue
        given = {
            name: re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda m: inputs[m[1]], value)
            for name, value in step["env"].items()
        }
        assert "${{" not in step["run"], "an input in the script itself could run as shell"
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]], cwd=folder, env={**environment, **given},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        outputs.append(done.stdout + done.stderr)
    return outputs


@pytest.fixture
def place(tmp_path: Path, hub: HubServer) -> tuple[Path, dict[str, str]]:
    """A checkout with the sample, and an environment whose `arhn-hf` is this one."""
    shutil.copytree(ROOT / "examples", tmp_path / "work" / "examples")
    card = tmp_path / "work" / "examples" / "hard-negatives" / "README.md"
    assert "license:" in card.read_text(encoding="utf-8"), "the sample's licence is what the result inherits"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return tmp_path / "work", {**hub.environment(tmp_path, token=None), "PATH": path}


def test_a_pull_request_refines_a_sample_and_publishes_nothing(
    place: tuple[Path, dict[str, str]], hub: HubServer
) -> None:
    folder, environment = place
    inputs = inputs_of("sample") | {"options": "--sample 12", "gates": "--min-rows 5"}
    outputs = run_action(inputs, folder, environment)
    assert (folder / "refined" / "README.md").is_file()
    assert "promises and gates" in outputs[-1]
    assert hub.requests == []


def test_a_tag_publishes_with_the_secret_token_which_nobody_sees(
    place: tuple[Path, dict[str, str]], hub: HubServer
) -> None:
    folder, environment = place
    inputs = inputs_of(
        "publish", **{"vars.ARHN_REPO_ID": "me/refined", "github.ref_name": "data-v1", "secrets.HF_TOKEN": TOKEN}
    ) | {"options": "--sample 12"}
    outputs = run_action(inputs, folder, environment)
    assert {"README.md", "arhn.json", "combined/train-00000-of-00001.parquet"} <= hub.files("me/refined").keys()
    assert hub.tags("me/refined").keys() == {"data-v1"}
    assert TOKEN not in "".join(outputs)


def test_only_a_tag_of_a_repository_that_names_its_target_publishes() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert "token" not in inputs_of("sample") or inputs_of("sample")["token"] == ""
    assert WORKFLOW["jobs"]["publish"]["if"].startswith("${{ startsWith(github.ref, 'refs/tags/')")
