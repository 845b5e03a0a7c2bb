"""Options from YAML, the environment and the command line: each of them, their order, and files that are wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import Field
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_helpers import cli

from arhn_hf.config import RunConfig, option_fields
from arhn_hf.rules import option_name

FIELDS = option_fields()
SPECIAL = {
    "variants": "filter",
    "criterion": ("facts=claim", "a=b=skip"),
    "filter_only": ("facts", "howto"),
    "engine_arg": ("a=1", "b=x"),
    "base_url": "http://localhost:8000/v1",
    "gpus": "2",
    "shard": "2/8",
}
# Options that a value of another one cannot do without.
VLLM, SERVER = ["--judge", "vllm", "--model", "m"], ["--judge", "server", "--model", "m", "--base-url", "http://h/v1"]
COMPANIONS = {
    "judge": ["--responses", "recorded.jsonl"], "responses": ["--judge", "replay"], "engine_arg": VLLM, "thinking": VLLM,
    "max_tokens": VLLM, "prompts": VLLM, "base_url": [*SERVER[:4]], "request_timeout": SERVER, "patience": SERVER,
    "concurrency": SERVER, "cascade": SERVER, "cascade_low": [*SERVER, "--cascade", "reader"],
    "cascade_high": [*SERVER, "--cascade", "reader"], "gpus": VLLM, "tensor_parallel": VLLM,
    "ray_address": ["--executor", "ray"],
    **{name: ["--push", "me/x"] for name in ("private", "create_pr", "push_revision", "tag", "commit_message", "into_existing")},
}  # fmt: skip
Captured = Callable[[], RunConfig]


def another_value(item: Field[Any]) -> Any:
    """A valid value that is not the default."""
    meta = item.metadata
    if item.name in SPECIAL:
        return SPECIAL[item.name]
    if meta["choices"]:
        others = [choice for choice in meta["choices"] if choice != item.default]
        return others[-1] if others else item.default
    if meta["kind"] is bool:
        return not item.default
    if meta["kind"] is int:
        return int((meta["minimum"] or 0) + 9)
    if meta["kind"] is float:
        return 0.75 if (meta["minimum"] or 0) < 0.75 else float(meta["minimum"] + 9)
    return "something"


def write(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def flags(name: str, value: Any) -> list[str]:
    """The command-line spelling."""
    flag = option_name(name)
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    return [word for one in (value if isinstance(value, tuple) else [value]) for word in (flag, str(one))]


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_every_option_in_every_place(name: str, captured: Captured, tmp_path: Path) -> None:
    value = another_value(FIELDS[name])
    plain = list(value) if isinstance(value, tuple) else value
    more = COMPANIONS.get(name, [])
    for key in {name, name.replace("_", "-")}:
        done = cli("refine", "x", "--config", write(tmp_path, {key: plain}), *more)
        assert done.code == 0, done.err
        assert getattr(captured(), name) == value
    text = " ".join(value) if isinstance(value, tuple) else str(value)
    assert cli("refine", "x", *more, env={f"ARHN_{name.upper()}": text}).code == 0
    assert getattr(captured(), name) == value
    assert cli("refine", "x", *more, *flags(name, value)).code == 0
    assert getattr(captured(), name) == value


def test_later_places_win(captured: Captured, tmp_path: Path) -> None:
    file = write(tmp_path, {"sample": 3, "seed": 7, "relabel": False, "source": "from-yaml"})
    cli("refine", "--config", file)
    assert (captured().sample, captured().seed, captured().relabel, captured().source) == (3, 7, False, "from-yaml")
    cli("refine", "--config", file, env={"ARHN_SAMPLE": "4"})
    assert (captured().sample, captured().seed) == (4, 7)
    cli(
        "refine", "given", "--config", file, "--sample", "5", "--relabel", env={"ARHN_SAMPLE": "4", "ARHN_RELABEL": "0"}
    )
    assert (captured().sample, captured().seed, captured().relabel, captured().source) == (5, 7, True, "given")
    cli("refine", "x", env={"ARHN_CONFIG": str(file)})
    assert captured().sample == 3
    cli("refine", "x", env={"ARHN_SAMPLE": ""})
    assert captured().sample is None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("criterion: {facts: claim, how to: skip}", ("facts=claim", "how to=skip")),
        ("criterion: facts=claim", ("facts=claim",)),
        ("criterion: [facts=claim, yesno=skip]", ("facts=claim", "yesno=skip")),
        ("criterion: {'': claim}", ("=claim",)),
        ("criterion:", ()),
    ],
)
def test_a_criterion_is_a_mapping_a_list_or_one(
    content: str, expected: tuple[str, ...], captured: Captured, tmp_path: Path
) -> None:
    done = cli("refine", "x", "--config", write(tmp_path, content))
    assert done.code == 0, done.err
    assert captured().criterion == expected


def test_lists_and_numbers_where_people_write_them(captured: Captured, tmp_path: Path) -> None:
    cli(
        "refine",
        "x",
        "--config",
        write(tmp_path, "variants: [filter, combined]\nfilter-only: [1, two]\nmax-failures: 0"),
    )
    assert captured().variant_names == ("combined", "filter")
    assert captured().filter_only == ("1", "two")
    assert captured().max_failures == 0


def test_an_empty_file_is_no_options(captured: Captured, tmp_path: Path) -> None:
    assert cli("refine", "x", "--config", write(tmp_path, "# nothing\n")).code == 0
    assert captured() == RunConfig(source="x")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("sampel: 3", "{file}: unknown key 'sampel'; did you mean 'sample'?"),
        ("max-failure: 3", "{file}: unknown key 'max-failure'; did you mean 'max_failures'?"),
        ("no-relabel: true", "{file}: unknown key 'no-relabel'; did you mean 'relabel: false'?"),
        ("zzz: 3", "{file}: unknown key 'zzz'"),
        ("config: other.yaml", "{file}: unknown key 'config'"),
        ("sample: 1.5", "{file}, sample: 1.5 is not a whole number"),
        ("sample: many", "{file}, sample: 'many' is not a whole number"),
        ("sample: true", "{file}, sample: True is not a whole number"),
        ("sample: [1]", "{file}, sample: [1] is not a whole number"),
        ("max-failures: low", "{file}, max-failures: 'low' is not a number"),
        ("max-failures: true", "{file}, max-failures: True is not a number"),
        ("relabel: 5", "{file}, relabel: 5 is not true or false"),
        ("fresh: perhaps", "{file}, fresh: 'perhaps' is not true or false"),
        ("split: 5", "{file}, split: 5 is not text"),
        ("name: {a: 1}", "{file}, name: {{'a': 1}} is not text"),
        ("source: 5", "{file}, source: 5 is not text"),
        ("undecided: no", "{file}, undecided: False is not text"),
        ("sample: 0", "{file}, sample: 0 is not in the range"),
        ("orders: 99", "{file}, orders: 99 is not in the range"),
        ("max_failures: .nan", "--max-failures: nan is out of range"),
        ("undecided: perhaps", "{file}, undecided: 'perhaps' is not one of"),
        ("criterion: {facts: maybe}", "--criterion: 'facts=maybe' is not SUBSET=question, claim or skip"),
        ("criterion: 5", "--criterion: '5' is not SUBSET=question, claim or skip"),
        ("split:", "--split: needs a value"),
        ("variants: best", "--variants: 'best': choose from combined, relabel, filter"),
        ("window_positives: 20", "--window-positives: leaves no room for candidates"),
        ("sample: 3\nb: c: d\n", "{file}:2: not valid YAML"),
        ("sample: [1\n", "{file}:2: not valid YAML"),
        ("sample: \x00", "{file}: not valid YAML"),
        ("- sample", "{file}: must hold options as `key: value` lines"),
        ("just words", "{file}: must hold options as `key: value` lines"),
    ],
)
def test_wrong_files(content: str, message: str, captured: Captured, tmp_path: Path) -> None:
    file = write(tmp_path, content)
    done = cli("refine", "x", "--config", file)
    assert done.code == 2, done.out
    assert message.format(file=file) in done.error
    assert done.err.count("\n") == 1


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    for path in (tmp_path / "absent.yaml", tmp_path, tmp_path / "latin.yaml"):
        done = cli("refine", "x", "--config", path)
        assert done.code == 2
        assert f"{path}: cannot be read" in done.error


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ARHN_SAMPLE", "x", "Error: ARHN_SAMPLE: 'x' is not a valid integer"),
        ("ARHN_RELABEL", "perhaps", "Error: ARHN_RELABEL: 'perhaps' is not a valid boolean"),
        ("ARHN_TO", "csv", "Error: ARHN_TO: 'csv' is not one of"),
        ("ARHN_CONFIG", "/nowhere.yaml", "Error: /nowhere.yaml: cannot be read"),
    ],
)
def test_wrong_environment(name: str, value: str, message: str) -> None:
    done = cli("refine", "x", env={name: value})
    assert done.code == 2
    assert done.error.startswith(message)


def limits() -> list[tuple[str, str]]:
    """Each option with values just out of its range."""
    found = []
    for name, item in FIELDS.items():
        step = 1 if item.metadata["kind"] is int else 0.001
        for limit, sign in ((item.metadata["minimum"], -1), (item.metadata["maximum"], 1)):
            if limit is not None:
                found.append((name, str(limit + sign * step)))
        if item.metadata["choices"]:
            found.append((name, "nonsense"))
        if item.metadata["kind"] in (int, float):
            found += [(name, "nonsense"), (name, "1,5")]
        if item.metadata["kind"] is float:
            found.append((name, "nan"))
    return found


@pytest.mark.parametrize(("name", "value"), limits())
def test_options_out_of_range(name: str, value: str) -> None:
    done = cli("refine", "x", f"{option_name(name)}={value}", "--json")
    assert done.code == 2
    assert done.json["error"]["where"] == option_name(name)


def test_options_of_other_commands_may_stand_in_one_file(refined: Path, tmp_path: Path) -> None:
    file = write(tmp_path, {"sample": 4, "min-rows": 1000, "orders": 4})
    assert cli("check", refined, "--config", file).code == 3
    assert cli("check", refined, "--config", file, "--min-rows", "1").code == 0
