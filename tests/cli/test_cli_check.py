"""`arhn-hf check`: nothing is broken in a good folder, and every kind of tampering is found."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_helpers import (
    Asked,
    cli,
    edit_rows,
    evidence,
    parquet_of,
    promises,
    six_rows,
    sources_of_every_schema,
    use_reply,
    write_jsonl,
)
from scripted import scripted_reply

from arhn_hf.engines.base import Request, Response

Rows = list[dict[str, Any]]
EVIDENCE, SNIPPETS, FAILURES, LINEAGE = (
    "decisions_follow_from_evidence",
    "snippets_are_verbatim",
    "failures_are_never_clean",
    "lineage_is_true",
)


def broken(folder: Path, *words: Any) -> dict[str, list[str]]:
    """The promises that `check` finds broken, with their examples; the exit code must say so."""
    done = cli("check", folder, "--json", *words)
    assert done.code in (0, 3), done.out
    found = {name: one["examples"] for name, one in promises(done.json).items() if one["ok"] is False}
    assert bool(found) == (done.code == 3)
    for one in done.json["promises"]:
        assert (one["ok"] is False) == bool(one["broken"]), one
    return found


def variant(name: str) -> str:
    return f"{name}_holds_every_passage_once"


def test_a_good_copy_is_good_wherever_it_lies(copied: Path) -> None:
    assert broken(copied) == {}


def edit_value(rows: Rows) -> None:
    rows[7]["query"] += "!"


def edit_passage(rows: Rows) -> None:
    rows[0]["negative_passages"][0]["text"] += " more"


def swap_passages(rows: Rows) -> None:
    rows[0]["negative_passages"].reverse()


def drop(rows: Rows) -> Rows:
    return rows[:3] + rows[4:]


def reorder(rows: Rows) -> Rows:
    return rows[::-1]


def double(rows: Rows) -> Rows:
    return [*rows, rows[-1]]


def lose_passage(rows: Rows) -> None:
    rows[5]["negative_passages"].pop()


@pytest.mark.parametrize("change", [edit_value, edit_passage, swap_passages, drop, reorder, double, lose_passage])
def test_a_changed_variant(change: Callable[[Rows], Any], copied: Path) -> None:
    name = "filter" if change in (drop, edit_value) else "combined"
    edit_rows(copied, name, change)
    found = broken(copied)
    assert found.keys() >= {variant(name)}
    assert found.keys() <= {variant(name), LINEAGE}
    assert found[variant(name)][0].startswith(name)


def test_a_lost_variant(copied: Path) -> None:
    shutil.rmtree(copied / "relabel")
    assert broken(copied)[variant("relabel")] == ["relabel/ has no files"]
    table = cli("check", copied)
    assert table.code == 3
    assert "BROKEN" in table.out


def test_a_variant_of_other_columns(copied: Path) -> None:
    import pyarrow.parquet as pq

    path = parquet_of(copied, "combined")
    table = pq.read_table(path)
    pq.write_table(table.append_column("more", table["query_id"]), path)
    assert "schema" in broken(copied)[variant("combined")][0]
    pq.write_table(table.drop_columns(["subset"]), path)
    assert variant("combined") in broken(copied)
    path.write_bytes(b"PAR1")
    assert "cannot be read" in broken(copied)[variant("combined")][0]


def test_a_second_shard_is_seen(copied: Path) -> None:
    path = parquet_of(copied, "combined")
    shutil.copy(path, path.with_name("train-00001-of-00001.parquet"))
    assert "66 rows too many" in broken(copied)[variant("combined")][0]


def test_a_variant_for_another(copied: Path) -> None:
    shutil.copy(parquet_of(copied, "filter"), parquet_of(copied, "combined"))
    assert variant("combined") in broken(copied)


def first(rows: Rows, **wanted: Any) -> dict[str, Any]:
    return next(row for row in rows if all(row[key] == value for key, value in wanted.items()))


def relabel_to_keep(rows: Rows) -> None:
    first(rows, action="relabel").update(action="keep", reason="no_answer")


def keep_to_filter(rows: Rows) -> None:
    first(rows, action="keep").update(action="filter", reason="below_reference", in_combined="removed")


def other_reason(rows: Rows) -> None:
    first(rows, action="filter")["reason"] = (
        "orders_disagree" if first(rows, action="filter")["reason"] != "orders_disagree" else "over_cap"
    )


def other_place(rows: Rows) -> None:
    first(rows, action="keep")["in_filter"] = "removed"


def other_vote(rows: Rows) -> None:
    first(rows, action="relabel")["votes_above"] -= 1


def other_digest(rows: Rows) -> None:
    rows[0]["text_sha256"] = "0" * 64


def other_docid(rows: Rows) -> None:
    rows[0]["docid"] = "x"


def other_judge(rows: Rows) -> None:
    first(rows, answer_status="answered")["judge"] = "gpt"


@pytest.mark.parametrize(
    "change",
    [
        relabel_to_keep,
        keep_to_filter,
        other_reason,
        other_place,
        other_vote,
        other_digest,
        other_docid,
        other_judge,
        drop,
        reorder,
        double,
    ],
)
def test_changed_evidence(change: Callable[[Rows], Any], copied: Path) -> None:
    edit_rows(copied, "evidence", change)
    assert EVIDENCE in broken(copied)


def test_an_example_names_the_cell(copied: Path) -> None:
    row = first(evidence(copied), action="relabel")
    edit_rows(copied, "evidence", relabel_to_keep)
    example = broken(copied)[EVIDENCE][0]
    assert (
        example
        == f"row {row['row']}, label negative, position {row['position']}: action is 'keep', should be 'relabel'"
    )


def test_a_moved_snippet(copied: Path) -> None:
    def move(rows: Rows) -> None:
        row = first(rows, answer_status="answered", label="negative")
        row["snippet_start"] -= 1
        row["snippet_end"] -= 1

    edit_rows(copied, "evidence", move)
    found = broken(copied)
    assert SNIPPETS in found
    assert "not the passage's words" in found[SNIPPETS][0]


def test_an_invented_snippet(copied: Path) -> None:
    edit_rows(copied, "evidence", lambda rows: first(rows, answer_status="answered").update(snippet="invented"))
    assert SNIPPETS in broken(copied)


def test_a_failure_passed_for_clean(copied: Path) -> None:
    edit_rows(copied, "evidence", lambda rows: first(rows, action="keep").update(answer_status="engine_error"))
    assert broken(copied).keys() >= {FAILURES, EVIDENCE}


def test_a_changed_judgement_changes_the_decision(copied: Path) -> None:
    edit_rows(
        copied,
        "evidence",
        lambda rows: first(rows, action="filter").update(
            answer_status="no_answer", snippet=None, snippet_field=None, snippet_start=None, snippet_end=None
        ),
    )
    assert EVIDENCE in broken(copied)


@pytest.mark.parametrize(
    ("path", "value", "promise"),
    [
        (("results", "decisions", "relabel"), 1, FAILURES),
        (("results", "failures", "count"), 1, FAILURES),
        (("results", "failures", "of"), 1, FAILURES),
        (("results", "rows", "judged"), 1, LINEAGE),
        (("results", "variants", "combined", "rows"), 1, LINEAGE),
        (("results", "variants", "combined", "negatives_left"), {}, LINEAGE),
        (("results", "per_10_negatives", "relabel"), 9, LINEAGE),
        (("results", "gates", 0, "value"), 0.5, LINEAGE),
        (("run_id",), "0" * 16, LINEAGE),
        (("rules", "undecided"), "remove", LINEAGE),
        (("rules", "max_new_positives"), 0, EVIDENCE),
        (("judges", "scripted", "model"), "another", LINEAGE),
        (("criteria", "facts", "criterion"), "skip", EVIDENCE),
        (("format", "short_rows"), "backfill", LINEAGE),
    ],
)
def test_changed_lineage(path: tuple[Any, ...], value: Any, promise: str, copied: Path) -> None:
    file = copied / "arhn.json"
    document = json.loads(file.read_text())
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    assert inner[path[-1]] != value
    inner[path[-1]] = value
    file.write_text(json.dumps(document))
    assert promise in broken(copied)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "arhn.json").unlink(), "holds an unfinished run"),
        (lambda folder: (folder / "arhn.json").write_text("{"), "is not valid JSON"),
        (lambda folder: (folder / "arhn.json").write_text("[]"), "is not a lineage of arhn-hf"),
        (lambda folder: (folder / "arhn.json").write_text('{"evidence_version": 1}'), "lacks run_id, source"),
        (lambda folder: (folder / "arhn.json").write_text('{"evidence_version": 2}'), "holds evidence of version 2"),
        (lambda folder: shutil.rmtree(folder / "evidence"), "has no evidence"),
        (lambda folder: parquet_of(folder, "evidence").write_bytes(b"no"), "cannot be read"),
        (
            lambda folder: shutil.copy(parquet_of(folder, "combined"), parquet_of(folder, "evidence")),
            "the evidence lacks the columns row",
        ),
    ],
)
@pytest.mark.parametrize("command", ["check", "show", "derive"])
def test_folders_that_cannot_be_opened(
    command: str, change: Callable[[Path], Any], message: str, copied: Path, tmp_path: Path
) -> None:
    change(copied)
    more = ["--output", tmp_path / "derived"] if command == "derive" else []
    done = cli(command, copied, *more)
    assert done.code == 2, done.out + done.err
    assert message in done.error


def test_extra_evidence_columns_are_tolerated(copied: Path) -> None:
    import pyarrow.parquet as pq

    path = parquet_of(copied, "evidence")
    table = pq.read_table(path)
    pq.write_table(table.append_column("verdict", table["action"]), path)
    assert broken(copied) == {}


@pytest.fixture
def own(scripted: Asked, tmp_path: Path) -> tuple[Path, Path]:
    """A source of our own, and the folder refined from it."""
    source = write_jsonl(tmp_path / "data" / "train.jsonl", six_rows())
    assert cli("refine", source, "--output", tmp_path / "out", "--min-answerable", 0).code == 0
    return source, tmp_path / "out"


@pytest.mark.parametrize("command", ["check", "show", "derive"])
def test_the_source_moves_away(command: str, own: tuple[Path, Path], tmp_path: Path) -> None:
    source, out = own
    moved = source.rename(tmp_path / "moved.jsonl")
    more = ["--output", tmp_path / "derived"] if command == "derive" else []
    done = cli(command, out, *more)
    assert done.code == 2
    assert "the source 'train.jsonl' is not where it was. Name it with --source" in done.error
    assert cli(command, out, "--source", moved, *more).code == 0
    done = cli(command, out, "--source", tmp_path / "nowhere.jsonl", *more)
    assert done.code == 2
    assert "Name it with --source" in done.error


@pytest.mark.parametrize("command", ["check", "show", "derive"])
def test_another_source(command: str, own: tuple[Path, Path], tmp_path: Path) -> None:
    source, out = own
    rows = six_rows()
    rows[3]["query"] += "?"
    write_jsonl(source, rows)
    more = ["--output", tmp_path / "derived"] if command == "derive" else []
    done = cli(command, out, *more)
    assert done.code == 2
    assert "the source has changed since this folder was made (other fingerprint)" in done.error
    assert not (tmp_path / "derived" / "arhn.json").exists()


def test_a_published_copy_has_no_memory_and_asks_for_the_source(own: tuple[Path, Path], tmp_path: Path) -> None:
    source, out = own
    published = shutil.copytree(out, tmp_path / "published", ignore=shutil.ignore_patterns(".arhn"))
    assert cli("check", published).code == 2
    assert broken(published, "--source", source) == {}


def test_the_corpus_counts_too(scripted: Asked, tmp_path: Path) -> None:
    source, corpus = sources_of_every_schema(tmp_path)["tevatron-ids"]
    out = tmp_path / "out"
    assert corpus is not None
    assert cli("refine", source, "--corpus", corpus, "--output", out, "--min-answerable", 0).code == 0
    assert broken(out) == {}
    lines = corpus.read_text().splitlines()
    changed = [json.loads(line) for line in lines]
    changed[1]["text"] += " changed"
    write_jsonl(tmp_path / "other.jsonl", changed)
    assert EVIDENCE in broken(out, "--corpus", tmp_path / "other.jsonl")
    corpus.rename(tmp_path / "gone.jsonl")
    assert cli("check", out).code == 2
    assert broken(out, "--corpus", tmp_path / "gone.jsonl") == {}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (
            [
                "--min-relabel",
                0.5,
                "--max-relabel",
                1,
                "--min-filter",
                3,
                "--max-filter",
                4,
                "--min-rows",
                66,
                "--max-failures",
                0,
            ],
            0,
        ),
        (["--min-relabel", 1], 3),
        (["--max-relabel", 0.5], 3),
        (["--min-filter", 4], 3),
        (["--max-filter", 3], 3),
        (["--min-rows", 67], 3),
        (["--max-failures", 2], 2),
        (["--min-rows", -1], 2),
    ],
)
def test_gates(words: list[Any], code: int, refined: Path) -> None:
    done = cli("check", refined, *words, "--json")
    assert done.code == code
    if code == 3:
        failed = [gate for gate in done.json["gates"] if not gate["ok"]]
        assert [gate["name"] for gate in failed] == [str(words[0])[2:].replace("-", "_")]
        assert all(one["ok"] is not False for one in done.json["promises"])


def test_failures_past_the_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def sometimes(request: Request) -> Response:
        if request.kind == "answer" and "neg1 on" in str(request.payload):
            return Response("not json", "stop", {})
        return scripted_reply(request)

    use_reply(monkeypatch, sometimes)
    source = write_jsonl(tmp_path / "s.jsonl", six_rows())
    done = cli("refine", source, "--output", tmp_path / "out", "--min-answerable", 0, "--short-rows", "keep", "--json")
    assert done.code == 3
    report = done.json
    assert (report["failures"]["count"], report["failures"]["of"], report["failures"]["limit"]) == (6, 30, 0.02)
    assert report["failures"]["by_status"] == {"malformed": 6}
    rows = [row for row in evidence(tmp_path / "out") if row["answer_status"] == "malformed"]
    assert {(row["action"], row["reason"], row["in_combined"], row["in_filter"]) for row in rows} == {
        ("undecided", "answer_failed", "negative", "negative")
    }
    assert cli("check", tmp_path / "out").code == 3
    assert cli("check", tmp_path / "out", "--max-failures", 0.2).code == 0
    removed = cli(
        "derive",
        tmp_path / "out",
        "--output",
        tmp_path / "strict",
        "--undecided",
        "remove",
        "--max-failures",
        0.2,
        "--json",
    )
    assert removed.code == 0
    rows = [row for row in evidence(tmp_path / "strict") if row["answer_status"] == "malformed"]
    assert {(row["action"], row["in_combined"], row["in_relabel"], row["in_filter"]) for row in rows} == {
        ("undecided",) + ("removed",) * 3
    }
