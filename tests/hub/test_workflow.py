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


class Failed(Exception):
    """A step that ended with another code than 0."""


def inputs_of(job: str, **values: str) -> dict[str, str]:
    """The action's inputs as a job gives them, `${{ … }}` filled from `values`."""
    (step,) = [one for one in WORKFLOW["jobs"][job]["steps"] if one.get("uses", "").startswith("./")]
    given = {name: re.sub(r"\$\{\{ ([\w.]+) \}\}", lambda m: values[m[1]], str(v)) for name, v in step["with"].items()}
    assert given.keys() <= ACTION["inputs"].keys()
    return {**{name: one.get("default", "") for name, one in ACTION["inputs"].items()}, **given}


def run_action(inputs: dict[str, str], folder: Path, environment: dict[str, str]) -> list[str]:
    """Every shell step but the installation, each in a shell as the runner starts it; their outputs."""
    outputs = []
    for step in ACTION["runs"]["steps"]:
        if "run" not in step or step["name"] == "Install":
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
        if done.returncode:
            raise Failed(step["name"], done.stdout + done.stderr)
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
    ) | {"options": "--sample 12", "gates": "--min-rows 5\n--max-relabel 4"}
    outputs = run_action(inputs, folder, environment)
    assert {"README.md", "arhn.json", "combined/train-00000-of-00001.parquet"} <= hub.files("me/refined").keys()
    assert hub.tags("me/refined").keys() == {"data-v1"}
    assert TOKEN not in "".join(outputs)


def test_a_gate_on_any_line_that_fails_publishes_nothing(place: tuple[Path, dict[str, str]], hub: HubServer) -> None:
    folder, environment = place
    values = {"vars.ARHN_REPO_ID": "me/refined", "github.ref_name": "data-v1", "secrets.HF_TOKEN": TOKEN}
    inputs = inputs_of("publish", **values) | {"options": "--sample 12", "gates": "--max-relabel 4\n--min-rows 5000\n"}
    with pytest.raises(Failed, match="Refine"):
        run_action(inputs, folder, environment)
    assert not hub.asked("create_repo", "commit")


def test_a_wrong_token_costs_nothing(place: tuple[Path, dict[str, str]], hub: HubServer) -> None:
    folder, environment = place
    values = {"vars.ARHN_REPO_ID": "me/refined", "github.ref_name": "data-v1", "secrets.HF_TOKEN": "hf_wrong"}
    with pytest.raises(Failed, match="does not accept the token"):
        run_action(inputs_of("publish", **values) | {"options": "--sample 12"}, folder, environment)
    assert not (folder / "refined").exists()


def test_a_tag_needs_a_place_to_publish_to_and_the_same_gates_as_a_pull_request() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert inputs_of("sample")["token"] == ""
    assert WORKFLOW["jobs"]["publish"]["if"] == "${{ startsWith(github.ref, 'refs/tags/') }}"
    steps = {job: WORKFLOW["jobs"][job]["steps"] for job in ("sample", "publish")}
    gates = {one["with"]["gates"] for many in steps.values() for one in many if "gates" in one.get("with", {})}
    assert len(gates) == 1
    first = steps["publish"][0]
    assert (first["if"], "exit 1" in first["run"]) == ("${{ vars.ARHN_REPO_ID == '' }}", True)
