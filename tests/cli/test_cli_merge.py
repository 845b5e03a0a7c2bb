"""`arhn-hf merge`: what it says of parts that are not all the parts of one run, and what other commands say of a part."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from cli_helpers import TOPICS, Outcome, cli, parquet_of, tevatron_row, texts, use_reply, write_jsonl
from scripted import ScriptedEngine, folder_bytes, scripted_judge

from arhn_hf.config import RunConfig
from arhn_hf.monitor import Monitor
from arhn_hf.pipeline import run_refine
from arhn_hf.publishing.folder import OURS

COUNT = 3


def refine(source: Path, output: Path, **options: Any) -> None:
    values = {"source": str(source), "output": str(output), "min_answerable": 0.0, **options}
    assert run_refine(RunConfig.from_mapping(values), Monitor(), scripted_judge(ScriptedEngine())).exit_code == 0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source of seven rows in two subsets, refined whole (`one`) and in three parts (`1`, `2`, `3`); not to be changed."""
    folder = tmp_path_factory.mktemp("made")
    rows = [
        tevatron_row(n, f"what is known about {t}", texts(t, 1, "pos"), texts(t, 3, "neg"), subset=("x", "y")[n % 2])
        for n, t in enumerate((*TOPICS, "stone bridges"))
    ]
    source = write_jsonl(folder / "source.jsonl", rows)
    refine(source, folder / "one")
    for i in range(1, COUNT + 1):
        refine(source, folder / str(i), shard=f"{i}/{COUNT}")
    return folder


@pytest.fixture
def parts(made: Path, tmp_path: Path) -> list[Path]:
    """A copy of the parts to tamper with."""
    return [Path(shutil.copytree(made / str(i), tmp_path / f"part-{i}")) for i in range(1, COUNT + 1)]


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Rewrite the lineage of a folder."""
    file = folder / "arhn.json"
    lineage = json.loads(file.read_text())
    change(lineage)
    file.write_text(json.dumps(lineage))


def refused(*words: Any, output: Path, code: int = 2) -> str:
    """The one line that a merge ends with, in which nothing is written."""
    before = folder_bytes(output) if output.is_dir() else output.exists()
    done = cli("merge", *words, "--output", output)
    assert done.code == code
    assert (folder_bytes(output) if output.is_dir() else output.exists()) == before
    assert done.err.count("Error:") == 1
    return done.error


def test_the_report(made: Path, tmp_path: Path) -> None:
    report = cli("merge", made / "2", made / "3", made / "1", "--output", tmp_path / "out", "--json").json
    one = json.loads((made / "one" / "arhn.json").read_text())
    assert (report["command"], report["status"], report["output"]) == ("merge", "done", str(tmp_path / "out"))
    assert report["run_id"] == one["run_id"]
    assert report["shard"] is None
    assert [
        {"folder": str(made / str(i)), "index": i, "count": 3, "rows": rows} for i, rows in ((1, 3), (2, 2), (3, 2))
    ] == [{key: value for key, value in part.items() if key != "run_id"} for part in report["parts"]]
    assert len({part["run_id"] for part in report["parts"]} | {one["run_id"]}) == 4
    assert report["decisions"] == one["results"]["decisions"]
    assert report["gates"] == one["results"]["gates"]
    assert folder_bytes(tmp_path / "out") == folder_bytes(made / "one")
    human = cli("merge", made / "1", made / "2", made / "3", "--output", tmp_path / "out")
    assert human.code == 0
    assert "What became of the negatives" in human.out
    assert "Part " not in human.out


def test_a_missing_part(made: Path, tmp_path: Path) -> None:
    line = refused(made / "1", made / "3", output=tmp_path / "out")
    assert line == "Error: part 2 of 3 is missing. Refine with --shard 2/3, then merge all of them"
    line = refused(made / "2", output=tmp_path / "out")
    assert line == "Error: parts 1, 3 of 3 are missing. Refine with --shard 1/3 and so on, then merge all of them"
    done = cli("merge", made / "1", made / "3", "--output", tmp_path / "out", "--json")
    assert done.code == 2
    assert done.json["error"]["message"] == "part 2 of 3 is missing"


def test_many_missing_parts_are_named_in_spans(parts: list[Path], tmp_path: Path) -> None:
    for part, index in zip(parts, (1, 3, 8), strict=True):
        edit(part, lambda lineage, index=index: lineage.update(shard={"index": index, "count": 9}))  # type: ignore[misc]
    assert refused(*parts, output=tmp_path / "out").startswith("Error: parts 2, 4 to 7, 9 of 9 are missing.")


def test_a_part_given_twice(made: Path, parts: list[Path], tmp_path: Path) -> None:
    again = made / "2" / ".." / "2"
    assert refused(made / "1", made / "2", again, output=tmp_path / "out") == f"Error: {again}: is given twice"
    link = tmp_path / "link"
    link.symlink_to(made / "2")
    assert refused(made / "2", link, output=tmp_path / "out") == f"Error: {link}: is given twice"
    line = refused(made / "1", made / "2", parts[1], output=tmp_path / "out")
    assert line == f"Error: {parts[1]}: holds part 2 of 3, and so does {made / '2'}. Name one of them"


def test_parts_of_another_number(made: Path, tmp_path: Path) -> None:
    refine(made / "source.jsonl", tmp_path / "half", shard="2/2")
    line = refused(made / "1", tmp_path / "half", made / "3", output=tmp_path / "out")
    assert line == (
        f"Error: {tmp_path / 'half'}: holds part 2 of 2, but {made / '1'} holds part 1 of 3. "
        "Merge the parts of one run: all of the same number"
    )


def test_folders_that_are_no_parts(made: Path, parts: list[Path], tmp_path: Path) -> None:
    line = refused(made / "1", made / "one", output=tmp_path / "out")
    assert line == f"Error: {made / 'one'}: holds a whole run, not a part of one. Parts are made with --shard"
    (tmp_path / "empty").mkdir()
    line = refused(made / "1", tmp_path / "empty", output=tmp_path / "out")
    assert line == f"Error: {tmp_path / 'empty'}: is not a folder that arhn-hf wrote (no arhn.json)"
    assert "does not exist" in refused(made / "1", tmp_path / "absent", output=tmp_path / "out")
    (parts[2] / "arhn.json").write_text("{")
    assert f"{parts[2] / 'arhn.json'}: is not valid JSON" in refused(*parts, output=tmp_path / "out")


@pytest.mark.parametrize("fault", ["never finished", "running again"])
def test_an_unfinished_part(fault: str, parts: list[Path], tmp_path: Path) -> None:
    if fault == "never finished":
        for name in OURS:
            path = parts[1] / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    else:
        state = parts[1] / ".arhn" / "state.json"
        state.write_text(json.dumps({**json.loads(state.read_text()), "status": "running"}))
    line = refused(*parts, output=tmp_path / "out")
    assert line.startswith(f"Error: {parts[1]}: holds an unfinished run. Run the same `arhn-hf refine` command again")


OTHERS: list[tuple[str, list[str], Any, str]] = [
    ("--model", ["judges", "scripted", "model"], "other", "another --model (other) than part 1 in {first} (scripted)"),
    ("--model-revision", ["judges", "scripted", "revision"], "abc", "another --model-revision (abc) than part 1 in {first} (none)"),
    ("--judge", ["judges", "scripted", "kind"], "vllm", "another --judge (vllm) than part 1 in {first} (scripted)"),
    ("dtype", ["judges", "scripted", "dtype"], "float16", "another dtype (float16) than part 1 in {first} (none)"),
    ("--prompts", ["judges", "scripted", "prompts", "answer"], "x" * 200, "another --prompts ({'answer': 'xxx"),
    ("--seed", ["rules", "seed"], 7, "another --seed (7) than part 1 in {first} (42)"),
    ("--relabel", ["rules", "relabel"], False, "another --relabel (False) than part 1 in {first} (True)"),
    ("--window-size", ["ranking", "window_size"], 9, "another --window-size (9) than part 1 in {first} (20)"),
    ("--rank-candidates", ["ranking", "candidates"], "all", "another --rank-candidates (all) than part 1 in {first} (answered)"),
    ("--sample", ["sample"], {"n": 5, "seed": 42}, "another --sample (5) than part 1 in {first} (none)"),
    ("--variants", ["variants"], ["filter"], "another --variants (filter) than part 1 in {first} (combined,relabel,filter)"),
    ("--to", ["format", "to"], "triplet", "another --to (triplet) than part 1 in {first} (none)"),
    ("--criterion", ["criteria", "x", "criterion"], "claim", "another --criterion x (claim) than part 1 in {first} (question)"),
    ("--filter-only", ["criteria", "y", "filter_only"], True, "another --filter-only y (True) than part 1 in {first} (False)"),
    ("source", ["source", "id"], "me/data", "another source (me/data) than part 1 in {first} (source.jsonl)"),
    ("version", ["arhn_hf"], "0.0.1", "another version of arhn-hf (0.0.1) than part 1 in {first} ("),
    ("--max-failures", ["results", "gates"], [{"name": "max_failures", "limit": 0.5}], "another --max-failures (0.5) than part 1 in {first} (0.02)"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "says"), [one[1:] for one in OTHERS], ids=[one[0] for one in OTHERS])
def test_parts_of_different_runs(path: list[str], value: Any, says: str, parts: list[Path], tmp_path: Path) -> None:
    def change(lineage: dict[str, Any]) -> None:
        for key in path[:-1]:
            lineage = lineage[key]
        lineage[path[-1]] = value

    edit(parts[2], change)
    line = refused(*parts, output=tmp_path / "out")
    assert line.startswith(f"Error: {parts[2]}: part 3 of 3 was made with {says.replace('{first}', str(parts[0]))}")
    assert line.endswith(". Parts of one run differ in nothing but --shard: refine one of the two again")


def test_limits_of_the_merge_replace_those_of_the_parts(made: Path, tmp_path: Path) -> None:
    refine(made / "source.jsonl", tmp_path / "part", shard="3/3", max_filter=1.0)
    assert "another --max-filter (1.0)" in refused(made / "1", made / "2", tmp_path / "part", output=tmp_path / "out")
    done = cli(
        "merge", made / "1", made / "2", tmp_path / "part", "--output", tmp_path / "out", "--max-filter", 0, "--json"
    )
    assert done.code == 3
    assert {gate["name"]: gate["ok"] for gate in done.json["gates"]}["max_filter"] is False


def test_another_judge_in_earnest(made: Path, tmp_path: Path) -> None:
    words = ("refine", made / "source.jsonl", "--output", tmp_path / "part", "--shard", "3/3", "--min-answerable", 0)
    assert cli(*words).code == 0
    line = refused(made / "1", made / "2", tmp_path / "part", output=tmp_path / "out")
    assert f"another --orders (1) than part 1 in {made / '1'} (2)" in line or "another --judge (reader)" in line


def test_a_part_of_another_source(made: Path, tmp_path: Path) -> None:
    changed = tmp_path / "source.jsonl"
    changed.write_text((made / "source.jsonl").read_text().replace("copper", "golden"))
    refine(changed, tmp_path / "part", shard="2/3")
    line = refused(made / "1", tmp_path / "part", made / "3", output=tmp_path / "out")
    assert line == (
        f"Error: {tmp_path / 'part'}: part 2 of 3 was made from other data than part 1 in {made / '1'} (other source "
        "fingerprint). Refine the parts of one unchanged source"
    )


def test_a_source_that_changed_since(made: Path, tmp_path: Path) -> None:
    changed = tmp_path / "source.jsonl"
    changed.write_text((made / "source.jsonl").read_text().replace("copper", "golden"))
    done = cli("merge", made / "1", made / "2", made / "3", "--output", tmp_path / "out", "--source", changed)
    assert done.code == 2
    assert done.error.startswith(f"Error: {changed}: the source has changed since this folder was made")
    assert not (tmp_path / "out" / "arhn.json").exists()


def test_an_output_that_is_not_for_it(made: Path, parts: list[Path], tmp_path: Path) -> None:
    line = refused(*parts, output=parts[1])
    assert line == f"Error: --output {parts[1]}: is one of the parts: the result needs a folder of its own"
    line = refused(made / "1", made / "2", made / "3", output=parts[1])
    assert line == f"Error: --output {parts[1]}: holds part 2 of 3: the result needs a folder of its own"
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    line = refused(*parts, output=mine)
    assert line == f"Error: {mine}: is not empty and was not written by arhn-hf. Choose another --output"
    assert (mine / "notes.txt").read_text() == "mine"
    line = refused(*parts, output=mine / "notes.txt")
    assert line == f"Error: {mine / 'notes.txt'}: is a file, not a folder. Choose another --output"


def test_evidence_with_a_gap_or_too_much(made: Path, parts: list[Path], tmp_path: Path) -> None:
    file = parts[1] / "evidence" / parquet_of(parts[1], "evidence").name
    table = pq.read_table(file)
    pq.write_table(table.slice(0, table.num_rows - 1), file)
    done = cli("merge", *parts, "--output", tmp_path / "out")
    assert done.code == 2
    assert done.error == (
        f"Error: {parts[1]}: part 2 of 3 has no evidence of row 4, which is its own. Refine that part again"
    )
    more = pq.read_table(parquet_of(made / "one", "evidence"))
    pq.write_table(more, file)
    done = cli("merge", *parts, "--output", tmp_path / "out")
    assert done.code == 2
    assert done.error == (
        f"Error: {parts[1]}: part 2 of 3 holds evidence of 28 passages, its rows have 8. Refine that part again"
    )
    file.unlink()
    done = cli("merge", *parts, "--output", tmp_path / "out")
    assert done.error == f"Error: {parts[1]}: has no evidence. Refine again"
    assert not (tmp_path / "out" / "arhn.json").exists()


def test_evidence_without_a_ranking(parts: list[Path], tmp_path: Path) -> None:
    file = parquet_of(parts[0], "evidence")
    table = pq.read_table(file)
    rows = table.to_pylist()
    assert {"ranked"} < {row["rank_status"] for row in rows}
    bare = [{**row, "rank_status": "not_ranked", "placements": []} for row in rows]
    pq.write_table(table.from_pylist(bare, schema=table.schema), file)
    done = cli("merge", *parts, "--output", tmp_path / "out")
    assert done.code == 2
    assert f"{parts[0]}: part 1 of 3 has no ranking of row " in done.error


# ---- a part by itself


def said(done: Outcome) -> str:
    assert done.code == 2
    return done.error


def test_a_part_says_that_it_is_one(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lineage = json.loads((made / "2" / "arhn.json").read_text())
    assert lineage["shard"] == {"index": 2, "count": 3}
    assert {gate["ok"] for gate in lineage["results"]["gates"]} == {None}
    card = (made / "2" / "README.md").read_text()
    assert "**This is part 2 of 3 of a run, and provisional**" in card
    assert "--shard 2/3" in card
    assert "not judged in a part" in card
    assert "shard" not in json.loads((made / "one" / "arhn.json").read_text())
    assert "provisional" not in (made / "one" / "README.md").read_text()
    use_reply(monkeypatch)
    words = ("refine", made / "source.jsonl", "--shard", "2/3", "--output", tmp_path / "part", "--min-answerable", 0)
    done = cli(*words, "--max-filter", 0)
    assert done.code == 0, "a part judges no gate"
    assert "Part 2 of 3: provisional, and no gate is judged, until `arhn-hf merge` joins the parts." in done.out
    report = cli(*words, "--max-filter", 0, "--json").json
    assert report["shard"] == {"index": 2, "count": 3}
    assert {gate["ok"] for gate in report["gates"]} == {None}


def test_other_commands_on_a_part(made: Path, tmp_path: Path) -> None:
    part = made / "2"
    line = said(cli("push", part, "me/data"))
    assert (
        line
        == f"Error: {part}: holds part 2 of 3 of a run only. Join the parts with `arhn-hf merge`, then push the result"
    )
    line = said(cli("derive", part, "--output", tmp_path / "out"))
    assert line.endswith(
        "holds part 2 of 3 of a run only. Join the parts with `arhn-hf merge`, then derive from the result"
    )
    assert not (tmp_path / "out").exists()
    copy = shutil.copytree(part, tmp_path / "copy")
    assert "holds part 2 of 3" in said(cli("derive", made / "one", "--output", copy))
    checked = cli("check", part, "--max-filter", 0, "--json")
    assert checked.code == 0
    assert {promise["checked"] for promise in checked.json["promises"] if "holds_every" in promise["name"]} == {2}
    assert "not judged: a part" in cli("check", part).out
    assert [row["row"] for row in cli("show", part, "--json").json["rows"]] == [1, 4]
    assert "nothing to show for row 0" in said(cli("show", part, "--row", 0))
    planned = cli("plan", made / "source.jsonl", "--shard", "2/3", "--json").json
    assert planned["rows"]["judged"] == 2


def test_a_broken_part_fails_its_check(parts: list[Path]) -> None:
    file = parquet_of(parts[1], "combined")
    table = pq.read_table(file)
    pq.write_table(table.slice(1), file)
    assert cli("check", parts[1]).code == 3


def test_an_audit_of_a_part(sample: Path, tmp_path: Path) -> None:
    refine(sample, tmp_path / "part", shard="1/4")
    report = cli("audit", tmp_path / "part", "--gold", f"{sample}.gold.jsonl", "--no-baselines", "--json").json
    assert 0 < report["candidates"] < 300


def test_a_run_is_not_pushed_in_parts(made: Path, tmp_path: Path) -> None:
    words = ("refine", made / "source.jsonl", "--output", tmp_path / "out", "--shard", "1/3", "--push", "me/data")
    assert said(cli(*words)).startswith("Error: --push: goes with the whole, not with --shard.")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["0/3", "4/3", "three"])
def test_a_wrong_shard(text: str, made: Path, tmp_path: Path) -> None:
    done = cli("refine", made / "source.jsonl", "--output", tmp_path / "out", "--shard", text)
    assert said(done).startswith(
        f"Error: --shard: {text!r} is not I/N" if text == "three" else f"Error: --shard: {text} is out of range"
    )
    assert not (tmp_path / "out").exists()
