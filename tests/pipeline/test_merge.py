"""Parts of a run, merged: the bytes of one run, whatever looks past a row; and nothing judged twice."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from durability import assert_kept, evidence, go, made_rows, words, write_source
from scripted import ScriptedEngine, folder_bytes, passage_of, scripted_reply

import arhn_hf
from arhn_hf.checks import check
from arhn_hf.engines.base import Request, Response
from arhn_hf.merging import merge
from arhn_hf.monitor import Monitor


def parts_of(
    source: Path, folder: Path, count: int, engine: ScriptedEngine | None = None, **options: Any
) -> list[Path]:
    """The folders of all parts, refined one after the other."""
    folders = [folder / f"part-{i}" for i in range(1, count + 1)]
    for i, one in enumerate(folders, 1):
        assert go(source, one, engine or ScriptedEngine(), shard=f"{i}/{count}", **options).exit_code == 0
        engine = None if engine is None else ScriptedEngine(engine.reply)
    return folders


def assert_as_one_run(source: Path, folder: Path, count: int = 3, reply: Any = scripted_reply, **options: Any) -> Path:
    """Refine whole and in parts, merge them in a shuffled order, and compare to the byte; returns the merged folder."""
    one = go(source, folder / "one", ScriptedEngine(reply), **options)
    parts = parts_of(source, folder, count, ScriptedEngine(reply), **options)
    random.Random(count).shuffle(parts)
    result = merge(parts, folder / "merged")
    assert folder_bytes(folder / "merged") == folder_bytes(folder / "one")
    assert result.run_id == one.run_id
    assert result.exit_code == one.exit_code
    assert [part["index"] for part in result.parts] == list(range(1, count + 1))
    assert sum(part["rows"] for part in result.parts) == result.rows["sampled"]
    same = ("decisions", "failures", "variants", "gates", "rows", "passages", "answerable", "judges", "source", "shard")
    assert {key: result.report[key] for key in same} == {key: one.report[key] for key in same}
    assert_kept(folder / "merged")
    return folder / "merged"


def test_the_sample_with_the_reader(sample: Path, tmp_path: Path) -> None:
    one = arhn_hf.refine(str(sample), output=str(tmp_path / "one"), min_answerable=0.8)
    parts = [tmp_path / f"part-{i}" for i in (1, 2, 3)]
    for i, part in enumerate(parts, 1):
        arhn_hf.refine(str(sample), output=str(part), shard=f"{i}/3", min_answerable=0.8)
    monitor = Monitor()
    result = merge(parts, tmp_path / "merged", monitor=monitor)
    assert folder_bytes(tmp_path / "merged") == folder_bytes(tmp_path / "one")
    assert result.decisions == one.decisions
    assert one.rows["skipped"] > 0, "a subset is left untouched"
    assert [line for line in monitor.notices if "is left untouched" in line]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sample": 7},
        {"sample": 8, "seed": 5, "min_negatives": 6, "short_rows": "backfill"},
        {"min_negatives": 4, "short_rows": "backfill"},
        {"min_negatives": 4, "short_rows": "keep", "max_negatives": 3},
        {"to": "triplet"},
        {"to": "n-tuple", "negatives": 3},
        {"to": "flagembedding", "short_rows": "backfill", "min_negatives": 5},
        {"to": "labeled-pair", "variants": "combined,filter"},
        {"variants": "filter"},
        {"rank_candidates": "all", "window_size": 4, "window_positives": 1, "orders": 3},
        {"criterion": ("alpha=claim", "beta=skip"), "filter_only": ("alpha",)},
        {"max_failures": 0.5, "min_rows": 2},
    ],
    ids=str,
)
def test_rows_of_lists(options: dict[str, Any], tmp_path: Path) -> None:
    rows = made_rows(13, 5)
    for number in (3, 4, 9):  # one query in several rows: positives of one are found among the negatives of another
        rows[number]["query"] = f" {rows[0]['query'].upper()} "
        rows[number]["negative_passages"][1] = rows[0]["positive_passages"][0]
    rows[6]["query"] = ""  # cannot be judged
    assert_as_one_run(write_source(tmp_path / "source.jsonl", rows), tmp_path, **options)


def test_another_number_of_parts(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source.jsonl", made_rows(5, 3))
    for count in (1, 2, 8):  # 8 parts of 5 rows: some are empty
        folder = tmp_path / str(count)
        folder.mkdir()
        assert_as_one_run(source, folder, count)
        for i in range(1, count + 1):
            assert check(folder / f"part-{i}")["exit_code"] == 0


@pytest.mark.parametrize("schema", ["triplet", "n-tuple", "labeled-pair"])
def test_groups_whose_rows_are_scattered(schema: str, tmp_path: Path) -> None:
    chooser = random.Random(3)
    rows: list[dict[str, Any]] = []
    for query in range(9):
        text = words(chooser, 6) if query != 5 else rows[0]["anchor"].upper()
        positives, negatives = (
            [words(chooser, 20) for _ in range(2)],
            [words(chooser, 20) for _ in range(3 + query % 2)],
        )
        if schema == "triplet":
            rows += [{"anchor": text, "positive": p, "negative": n} for p in positives for n in negatives]
        elif schema == "n-tuple":
            rows += [{"anchor": text, "positive": p, "negative_1": negatives[0], "negative_2": negatives[i]} for i, p in enumerate(positives, 1)]  # fmt: skip
        else:
            rows += [{"anchor": text, "passage": t, "label": int(t in positives)} for t in (*positives, *negatives)]
    chooser.shuffle(rows)
    merged = assert_as_one_run(write_source(tmp_path / "source.jsonl", rows), tmp_path, short_rows="backfill")
    assert len({item["row"] for item in evidence(merged)}) == len(rows)


def by_word(request: Request) -> Response:
    """A passage answers if it says so; rankings put what is ranked in the order of a content hash."""
    if request.kind != "answer":
        return scripted_reply(request)
    text = passage_of(request)
    answer = " ".join(text.split()[-3:]) if "answers" in text else None
    return Response(json.dumps({"answer": answer}), "stop", {"prompt": 1, "completion": 1})


def test_subsets_untouched_in_the_whole_or_in_a_part(tmp_path: Path) -> None:
    """Of `alpha` half of the positives answer, all of them in the first part; of `beta` two thirds, few in the second part."""
    rows = made_rows(12, 3)
    answering = {"alpha": {0, 2, 4}, "beta": {6, 8, 10, 11}}
    for number, row in enumerate(rows):
        row["subset"] = "alpha" if number < 6 else "beta"
        for kind in ("positive_passages", "negative_passages"):
            for passage in row[kind]:
                if kind == "negative_passages" or number in answering[row["subset"]]:
                    passage["text"] += " answers it"
    source = write_source(tmp_path / "source.jsonl", rows)
    merged = assert_as_one_run(source, tmp_path, 2, by_word, min_answerable=0.6)
    recorded = json.loads((merged / "arhn.json").read_text())["criteria"]
    assert {name: about["untouched"] for name, about in recorded.items()} == {"alpha": True, "beta": False}
    shares = [
        {name: about["answerable"] for name, about in json.loads((tmp_path / part / "arhn.json").read_text())["criteria"].items()}
        for part in ("part-1", "part-2")
    ]  # fmt: skip
    assert shares == [{"alpha": 1.0, "beta": 1.0}, {"alpha": 0.0, "beta": 0.333333}]
    ranked = {item["row"] for item in evidence(tmp_path / "part-1") if item["rank_status"] != "not_ranked"}
    assert ranked == {0, 2, 4, 6, 8, 10}, "the part cannot know that alpha is left untouched"
    assert {item["row"] for item in evidence(merged) if item["rank_status"] != "not_ranked"} == {6, 8, 10, 11}
    assert not any(about["untouched"] for part in ("part-1", "part-2") for about in
                   json.loads((tmp_path / part / "arhn.json").read_text())["criteria"].values())  # fmt: skip


def test_the_parts_ask_what_one_run_asks_and_nothing_twice(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source.jsonl", made_rows(9, 4))
    one = ScriptedEngine()
    go(source, tmp_path / "one", one)
    engines = [ScriptedEngine() for _ in range(3)]
    for i, engine in enumerate(engines, 1):
        go(source, tmp_path / f"part-{i}", engine, shard=f"{i}/3")
    asked = [key for engine in engines for key in engine.keys]
    assert sorted(asked) == sorted(one.keys)
    assert len(asked) == len(set(asked)) > 0


def test_a_part_goes_on_and_keeps_its_folder(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source.jsonl", made_rows(6, 3))
    go(source, tmp_path / "part", shard="2/3")
    before = folder_bytes(tmp_path / "part")
    again = ScriptedEngine()
    go(source, tmp_path / "part", again, shard=" 2/3")
    assert again.count == 0
    assert folder_bytes(tmp_path / "part") == before
    for other, words_there in (("1/3", "holds part 2 of 3"), ("2/4", "holds part 2 of 3"), (None, "holds part 2 of 3")):
        with pytest.raises(arhn_hf.records.UsageError) as caught:
            go(source, tmp_path / "part", shard=other)
        assert words_there in str(caught.value)
        assert folder_bytes(tmp_path / "part") == before


def test_a_part_judges_no_gate_and_the_merge_does(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source.jsonl", made_rows(9, 4))
    one = go(source, tmp_path / "one", max_filter=0.0)
    assert one.exit_code == 3
    parts = parts_of(source, tmp_path, 3, max_filter=0.0)
    report = check(parts[0])
    assert report["exit_code"] == 0
    assert {gate["ok"] for gate in report["gates"]} == {None}
    result = merge(parts, tmp_path / "merged")
    assert result.exit_code == result.report["exit_code"] == 3
    assert result.report["status"] == "gate"
    assert folder_bytes(tmp_path / "merged") == folder_bytes(tmp_path / "one")
    assert merge(parts, tmp_path / "merged", max_filter=10.0).exit_code == 0


def test_failed_judgements_are_counted_over_the_whole(tmp_path: Path) -> None:
    rows = made_rows(8, 4)

    def failing(request: Request) -> Response:
        if request.kind == "answer" and rows[0]["negative_passages"][0]["text"] in passage_of(request):
            return Response("no JSON", "stop", {})
        return scripted_reply(request)

    source = write_source(tmp_path / "source.jsonl", rows)
    merged = assert_as_one_run(source, tmp_path, 4, failing, max_failures=0.02)
    failures = json.loads((merged / "arhn.json").read_text())["results"]["failures"]
    assert (failures["count"], failures["of"]) == (1, 32)


def test_merging_again_gives_the_same_folder(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source.jsonl", made_rows(7, 3))
    parts = parts_of(source, tmp_path, 3)
    merge(parts, tmp_path / "merged")
    before = folder_bytes(tmp_path / "merged")
    merge(parts[::-1], tmp_path / "merged")
    assert folder_bytes(tmp_path / "merged") == before
    merge([str(part) for part in parts], str(tmp_path / "other"))
    assert folder_bytes(tmp_path / "other") == before


def test_a_source_that_moved(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source.jsonl", made_rows(7, 3))
    go(source, tmp_path / "one")
    parts = parts_of(source, tmp_path, 2)
    (tmp_path / "new").mkdir()
    moved = source.rename(tmp_path / "new" / "source.jsonl")
    with pytest.raises(arhn_hf.records.UsageError) as caught:
        merge(parts, tmp_path / "merged")
    assert str(caught.value).endswith("the source 'source.jsonl' is not where it was. Name it with --source")
    merge(parts, tmp_path / "merged", source=str(moved))
    assert folder_bytes(tmp_path / "merged") == folder_bytes(tmp_path / "one")
