"""Help, completion, start-up time, and the reference pages, which must follow the code."""

from __future__ import annotations

import copy
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pytest
from cli_helpers import cli, process

from arhn_hf.cli.main import COMMANDS, main
from arhn_hf.publishing.evidence import EVIDENCE, EVIDENCE_VERSION
from arhn_hf.records import ANSWER_STATUSES, RANK_STATUSES
from arhn_hf.variants import PLACES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
HEAVY = ("vllm", "torch", "ray", "sentence_transformers", "onnxruntime")


def command(name: str) -> Any:
    found = main.get_command(click.Context(main), name)
    assert found is not None
    return found


def tables(heading: str) -> list[list[str]]:
    """Cells of the first table after a heading of docs/evidence.md, without its head, code marks removed."""
    part = (DOCS / "evidence.md").read_text(encoding="utf-8").split(f"{heading}\n", 1)[1]
    lines = re.search(r"(?:^\|.*\n)+", part, re.MULTILINE)
    assert lines is not None
    return [[cell.strip().strip("`") for cell in line.strip("| \n").split(" | ")] for line in lines[0].splitlines()[2:]]


def test_the_command_line_reference_is_current() -> None:
    done = subprocess.run(
        [sys.executable, DOCS / "generate_cli.py", "--check"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_stale_reference_is_noticed(tmp_path: Path) -> None:
    script = tmp_path / "generate_cli.py"
    script.write_text((DOCS / "generate_cli.py").read_text())
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, "docs/cli.md is stale: run `python docs/generate_cli.py`\n")
    (tmp_path / "cli.md").write_text("older")
    assert (
        subprocess.run([sys.executable, script, "--check"], capture_output=True, timeout=60, check=False).returncode
        == 1
    )
    assert subprocess.run([sys.executable, script], timeout=60, check=False).returncode == 0
    assert subprocess.run([sys.executable, script, "--check"], timeout=60, check=False).returncode == 0


def test_the_evidence_page_has_every_column() -> None:
    page = (DOCS / "evidence.md").read_text(encoding="utf-8")
    assert f"Version {EVIDENCE_VERSION} " in page
    written = [(name, kind) for name, kind, _ in tables("## The evidence")]
    assert written == [(field.name, re.sub("(element|item): ", "", str(field.type))) for field in EVIDENCE]


def test_the_evidence_page_has_the_closed_table() -> None:
    names = {"as labelled": "as_labelled", "·": None}
    written = {
        (a, r): tuple(names.get(place, place) for place in places)
        for a, r, *places in tables("### Actions and reasons")
    }
    assert written == PLACES
    assert list(written) == list(PLACES)


@pytest.mark.parametrize(("column", "statuses"), [("answer_status", ANSWER_STATUSES), ("rank_status", RANK_STATUSES)])
def test_the_evidence_page_has_every_status(column: str, statuses: tuple[str, ...]) -> None:
    page = (DOCS / "evidence.md").read_text(encoding="utf-8")
    paragraph = page.split(f"**`{column}`**: ", 1)[1].split("\n\n", 1)[0]
    assert tuple(re.findall(r"`(\w+)`", paragraph)) == statuses


def test_the_evidence_page_has_every_key(refined: Path, sample: Path, tmp_path: Path) -> None:
    page = (DOCS / "evidence.md").read_text(encoding="utf-8")
    lineage, objects = page.split("## arhn.json", 1)[1].split("## The `--json` objects", 1)
    document = json.loads((refined / "arhn.json").read_text())
    assert [row[0] for row in tables("## arhn.json")] == list(document)
    words = set(re.findall(r"\w+", lineage))
    for key in ("source", "format", "ranking", "results"):
        assert words >= set(document[key]), key
    assert words >= set(document["criteria"]["facts"])
    words = set(re.findall(r"\w+", objects))
    named = ("source", "rows", "passages", "requests", "tokens", "decisions", "per_10_negatives", "failures")
    for done in (
        cli("derive", refined, "--output", tmp_path / "out", "--json"),
        cli("check", refined, "--json"),
        cli("plan", sample, "--json"),
        cli("show", refined, "--row", 0, "--json"),
    ):
        report = done.json
        assert words >= set(report), report["command"]
        inner = [value for key, value in report.items() if isinstance(value, dict) and key in named]
        inner += [one for key in ("judges", "variants") for one in report.get(key, {}).values()]
        inner += [
            value[0] for value in report.values() if isinstance(value, list) and value and isinstance(value[0], dict)
        ]
        for one in inner:
            assert words >= set(one), (report["command"], set(one) - words)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples_that_parse(name: str) -> None:
    done = cli(name, "--help")
    assert done.code == 0
    assert done.err == ""
    assert "\nExamples:\n" in done.out
    found = command(name)
    examples = found.examples.strip().splitlines()
    assert len(examples) >= 1
    for example in examples:
        assert f"  {example.strip()}\n" in done.out
        words = shlex.split(re.sub(r'^eval "\$\((.*)\)"$', r"\1", example.strip()))
        assert words[:2] == ["arhn-hf", name]
        rest = words[2:]
        if "--config" in rest:  # the file of the example does not exist
            at = rest.index("--config")
            del rest[at : at + 2]
        _without_paths(found).make_context(name, rest)


def _without_paths(found: Any) -> Any:
    """A copy of a command that accepts folders which do not exist."""
    found = copy.copy(found)
    found.params = [copy.copy(one) for one in found.params]
    for one in found.params:
        if isinstance(one.type, click.Path):
            one.type = click.STRING
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_does(name: str) -> None:
    for parameter in command(name).params:
        if isinstance(parameter, click.Option):
            assert parameter.help is not None
            assert re.fullmatch(r"[A-Z].+(\.|\.? \[default: .+\])", parameter.help), parameter.help
            assert not parameter.hidden


def test_help_lists_every_command() -> None:
    done = cli("--help")
    assert done.code == 0
    for name, about in COMMANDS.items():
        assert name in done.out
        assert about.split()[0] in done.out
    assert cli("-h").out == done.out
    assert re.fullmatch(r"arhn-hf, version \S+\n", cli("--version").out)


@pytest.mark.parametrize(
    ("shell", "mark"),
    [("bash", "complete -o nosort -F"), ("zsh", "#compdef arhn-hf"), ("fish", "complete --no-files --command arhn-hf")],
)
def test_completion_scripts(shell: str, mark: str) -> None:
    done = cli("completion", shell)
    assert done.code == 0
    assert mark in done.out
    assert f"_ARHN_HF_COMPLETE={shell}_complete" in done.out.replace("env ", "")


def test_completion_completes() -> None:
    for words, expected in (
        ("arhn-hf ", {"refine", "plan", "check"}),
        ("arhn-hf refine --max-f", {"--max-failures", "--max-filter"}),
    ):
        env = {
            **os.environ,
            "_ARHN_HF_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(words.count(" ")),
        }
        done = process(env=env)
        assert done.code == 0, done.err
        assert expected <= {line.split(",")[1] for line in done.out.splitlines()}


def test_help_is_quick() -> None:
    script = Path(sys.executable).with_name("arhn-hf")
    start = [str(script)] if script.exists() else [sys.executable, "-m", "arhn_hf.cli.main"]
    times = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([*start, "--help"], stdout=subprocess.DEVNULL, timeout=60, check=True)
        times.append(time.perf_counter() - began)
    assert statistics.median(times) < 1.0, times


@pytest.mark.parametrize(
    "statement",
    ["import arhn_hf", "from arhn_hf.cli.main import main; main(['refine', '--help'], standalone_mode=False)"],
)
def test_nothing_heavy_is_imported(statement: str) -> None:
    code = f"{statement}\nimport sys\nprint('loaded:', [name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.endswith("loaded: []\n")


def test_the_public_functions_load_nothing_heavy_either() -> None:
    code = "import sys, arhn_hf\n[getattr(arhn_hf, name) for name in arhn_hf.__all__]\n"
    code += f"print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
