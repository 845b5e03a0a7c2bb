"""Blind sheets and the verdicts on them: what a sheet may tell, what is refused, and every figure computed by hand."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import ScriptedEngine, scripted_judge

from arhn_hf import pipeline
from arhn_hf.auditing.agreement import PUBLISHED_KAPPAS, _estimate, agreement
from arhn_hf.auditing.sheets import ACTIONS, COLUMNS, Decided, _safe, drawn, export_sheet, read_verdicts
from arhn_hf.config import RunConfig
from arhn_hf.monitor import Interrupted, Monitor
from arhn_hf.records import ArhnError, UsageError

Rows = list[dict[str, str]]

FORMULAS = ["=HYPERLINK(A1)", "+1", "-2 degrees", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1+1", "＝1", "\0=1"]
HAND = {
    "relabel": ["yes"] * 6 + ["partly"] * 2 + ["no"] * 2,
    "filter": ["yes"] * 2 + ["partly"] * 5 + ["no"] * 3,
    "keep": ["yes"] * 1 + ["partly"] * 2 + ["no"] * 7,
}
"""Verdicts on a sheet of ten passages of each action."""


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        cache = tmp_path_factory.mktemp("datasets-cache")
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
        patch.setenv("HF_DATASETS_CACHE", str(cache))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


def refine(source: Path, folder: Path, **options: Any) -> Path:
    config = RunConfig(source=str(source), output=str(folder), min_answerable=0.0, **options)
    assert pipeline.run_refine(config, Monitor(), scripted_judge(ScriptedEngine())).exit_code == 0
    return folder


@pytest.fixture(scope="module")
def refined(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole sample, decided by the scripted engine; not to be changed."""
    return refine(sample, tmp_path_factory.mktemp("refined") / "out")


@pytest.fixture(scope="module")
def other(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample under another rule: another run."""
    return refine(sample, tmp_path_factory.mktemp("other") / "out", undecided="remove")


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts that are hard on a CSV file; every query stands in two rows, with a repeated passage in and across them."""
    source = tmp_path_factory.mktemp("odd") / "odd.jsonl"
    with source.open("w", encoding="utf-8") as file:
        for number in range(24):
            texts = [f"{one} passage {i} of the odd query {number}" for i, one in enumerate(FORMULAS)]
            texts += [f'two lines, "quoted";\nthe second of {number} 🦉', f"{number} " + "long text " * 4000]
            item = {
                "query": f"=odd query {number // 2}", "pos": [f"the positive passage of query {number // 2}"],
                "neg": [*texts, texts[3], f"+shared by the rows of {number // 2}"],
                "prompt": "find what answers the query",
            }  # fmt: skip
            file.write(json.dumps(item) + "\n")
    return refine(source, source.parent / "out", near_duplicate=1.0)


@pytest.fixture(scope="module")
def thirty(refined: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sheet of ten passages of each action."""
    path = tmp_path_factory.mktemp("thirty") / "sheet.csv"
    assert export_sheet(refined, path, count=30) == 30
    return path


def lineage(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "arhn.json").read_text(encoding="utf-8"))
    return found


def evidence(folder: Path) -> list[dict[str, Any]]:
    return [
        item for file in sorted((folder / "evidence").glob("*.parquet")) for item in pq.read_table(file).to_pylist()
    ]


def by_id(folder: Path) -> dict[str, dict[str, Any]]:
    """Every decided negative of the evidence by its id on a sheet, the hash written out once more."""
    run_id = lineage(folder)["run_id"]
    found = {}
    for item in evidence(folder):
        if item["label"] == "negative" and item["action"] in ACTIONS:
            key = f"{run_id}\0{item['row']}\0{item['position']}"
            found[f"{run_id[:8]}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"] = item
    return found


def rows_of(path: Path) -> Rows:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def save(path: Path, rows: Rows, *, columns: tuple[str, ...] = COLUMNS, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding=options.pop("encoding", "utf-8"), newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", **options)
        writer.writeheader()
        writer.writerows(rows)
    return path


def fill(sheet: Path, path: Path, verdict: Callable[[dict[str, str]], str], **options: Any) -> Path:
    """A person's copy of a sheet."""
    return save(path, [{**row, "verdict": verdict(row)} for row in rows_of(sheet)], **options)


def fill_by_hand(folder: Path, sheet: Path, path: Path, verdicts: dict[str, list[str]]) -> Path:
    """A copy in which the passages of an action get these verdicts, in turn; empty where there are no more."""
    left, about = {action: iter(many) for action, many in verdicts.items()}, by_id(folder)
    return fill(sheet, path, lambda row: next(left.get(about[row["id"]]["action"], iter(())), ""))


def refused(call: Callable[[], Any]) -> UsageError:
    with pytest.raises(UsageError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return caught.value


# The sheet.


def test_a_sheet_is_a_csv_file_for_spreadsheets(thirty: Path) -> None:
    data = thirty.read_bytes()
    assert data.startswith(b"\xef\xbb\xbf")
    assert data.decode("utf-8-sig").splitlines()[0] == ",".join(f'"{name}"' for name in COLUMNS)
    rows = rows_of(thirty)
    assert len(rows) == len({row["id"] for row in rows}) == 30
    assert all(row["verdict"] == row["remark"] == "" for row in rows)


def test_a_sheet_holds_the_texts_of_the_source_and_the_snippet_of_the_judge(
    refined: Path, thirty: Path, sample: Path
) -> None:
    source = [json.loads(line) for line in (sample / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    about = by_id(refined)
    for row in rows_of(thirty):
        item = about[row["id"]]
        passage = source[item["row"]]["negative_passages"][item["position"]]
        texts = [source[item["row"]]["query"], passage["title"], passage["text"], item["snippet"] or ""]
        assert [row[name] for name in ("query", "title", "passage", "snippet")] == texts


def test_a_sheet_tells_nothing_but_texts(refined: Path, thirty: Path) -> None:
    about, run_id = by_id(refined), lineage(refined)["run_id"]
    assert COLUMNS == ("id", "query", "title", "passage", "snippet", "verdict", "remark")
    for row in rows_of(thirty):
        item = about[row["id"]]
        assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{12}", row["id"])
        cells = {row[name] for name in COLUMNS if name not in ("query", "title", "passage", "snippet", "id")}
        assert cells == {""}
        for told in (item["docid"], item["query_id"], item["action"], item["reason"], item["text_sha256"][:12]):
            assert told not in row["id"]
        assert row["id"].startswith(run_id[:8])
    head = thirty.read_text(encoding="utf-8-sig").splitlines()[0]
    for word in ("relabel", "filter", "keep", "action", "reason", "score", "rank", "label", "docid", "row", "position"):
        assert word not in head


def test_the_order_tells_neither_the_decision_nor_the_place(refined: Path, tmp_path: Path) -> None:
    about = by_id(refined)
    places: dict[str, list[float]] = {action: [] for action in ACTIONS}
    for seed in range(8):
        path = tmp_path / f"{seed}.csv"
        export_sheet(refined, path, count=60, seed=seed)
        items = [about[row["id"]] for row in rows_of(path)]
        numbers = [item["row"] for item in items]
        assert numbers != sorted(numbers)
        assert abs(np.corrcoef(numbers, range(60))[0, 1]) < 0.4
        for place, item in enumerate(items):
            places[item["action"]].append(place)
    # 160 places of each action, of standard error 17.3 / √160 = 1.4 around the middle, 29.5.
    assert all(abs(float(np.mean(many)) - 29.5) < 4.2 for many in places.values())


def test_a_sheet_follows_from_the_seed(refined: Path, thirty: Path, tmp_path: Path) -> None:
    export_sheet(str(refined), str(tmp_path / "again.csv"), count=30)
    export_sheet(refined, tmp_path / "other.csv", count=30, seed=7)
    assert (tmp_path / "again.csv").read_bytes() == thirty.read_bytes()
    ids = {row["id"] for row in rows_of(tmp_path / "other.csv")}
    assert ids != {row["id"] for row in rows_of(thirty)}
    assert ids <= by_id(refined).keys()


def test_a_sheet_is_stratified(refined: Path, thirty: Path, tmp_path: Path) -> None:
    about = by_id(refined)
    assert Counter(about[row["id"]]["action"] for row in rows_of(thirty)) == dict.fromkeys(ACTIONS, 10)
    counts = Counter(item["action"] for item in about.values())
    export_sheet(refined, tmp_path / "more.csv", count=201)
    found = Counter(about[row["id"]]["action"] for row in rows_of(tmp_path / "more.csv"))
    assert counts["relabel"] < 67  # or the sample has changed
    assert found == {"relabel": counts["relabel"], "filter": (201 - counts["relabel"]) // 2, "keep": found["keep"]}
    assert found.total() == 201
    assert export_sheet(refined, tmp_path / "all.csv", count=10_000) == len(about)


@pytest.mark.parametrize(
    ("sizes", "count", "expected"),
    [
        ((50, 50, 50), 30, (10, 10, 10)),
        ((50, 60, 70), 100, (33, 33, 34)),
        ((5, 60, 70), 100, (5, 47, 48)),
        ((0, 0, 70), 100, (0, 0, 70)),
        ((0, 8, 70), 40, (0, 8, 32)),
        ((70, 0, 1), 2, (1, 0, 1)),
        ((3, 3, 3), 1, (0, 0, 1)),
        ((2, 2, 2), 6, (2, 2, 2)),
    ],
)
def test_shares_of_the_actions(sizes: tuple[int, ...], count: int, expected: tuple[int, ...]) -> None:
    assert drawn_counts(sizes, count) == expected


@given(st.tuples(*[st.integers(0, 12)] * 3), st.integers(1, 40))
@settings(max_examples=150, deadline=None, database=None)
def test_shares_are_as_equal_as_possible(sizes: tuple[int, ...], count: int) -> None:
    found = drawn_counts(sizes, count)
    assert sum(found) == min(count, sum(sizes))
    for few, size in zip(found, sizes, strict=True):
        assert few == size or few >= max(found) - 1


def drawn_counts(sizes: tuple[int, ...], count: int) -> tuple[int, ...]:
    one_each = [Decided(i, i, 0, action, i) for action, size in zip(ACTIONS, sizes, strict=True) for i in range(size)]
    found = drawn(one_each, count, 42)
    assert len(set(found)) == len(found)
    counts = Counter(one.action for one in found)
    return tuple(counts[action] for action in ACTIONS)


def test_a_passage_of_a_query_is_on_a_sheet_once(odd: Path, tmp_path: Path) -> None:
    about = by_id(odd)
    pairs = {(item["row"] // 2, item["text_sha256"]) for item in about.values()}
    assert len(pairs) < len(about)
    assert export_sheet(odd, tmp_path / "all.csv", count=10_000) == len(pairs)
    items = [about[row["id"]] for row in rows_of(tmp_path / "all.csv")]
    assert {(item["row"] // 2, item["text_sha256"]) for item in items} == pairs


def test_no_cell_is_a_formula_and_no_text_is_lost(odd: Path, tmp_path: Path) -> None:
    export_sheet(odd, tmp_path / "all.csv", count=10_000)
    rows = rows_of(tmp_path / "all.csv")
    for row in rows:
        for cell in row.values():
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "\0"))
            assert not cell.lstrip().startswith(("=", "+", "-", "@", "＝"))
            assert len(cell.encode("utf-16-le")) // 2 < 32_767
    passages = [row["passage"] for row in rows]
    for start in FORMULAS:
        assert any(one.startswith(f"'{start} passage") for one in passages)
    assert any(one.startswith('two lines, "quoted";\nthe second of') and one.endswith("🦉") for one in passages)
    assert sum(one.endswith(" […]") for one in passages) == 24
    assert all(row["query"].startswith("find what answers the query\n=odd query") for row in rows)


def test_safe_cells() -> None:
    assert [_safe(text) for text in FORMULAS] == [f"'{text}" for text in FORMULAS]
    for text in ("", " ", "a=1", "'quoted'", "3 - 2", "日本", "— a dash"):
        assert _safe(text) == text
    assert _safe("a" * 32_000) == "a" * 32_000
    assert _safe("a" * 32_001) == "a" * 32_000 + " […]"
    assert _safe("a" + "🦉" * 16_000) == "a" + "🦉" * 15_999 + " […]"  # an owl is two units and is not cut in half


def test_nothing_is_overwritten(refined: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sheet.csv"
    path.write_text("verdicts of a week", encoding="utf-8")
    error = refused(lambda: export_sheet(refined, path))
    assert error.message == "exists already"
    assert error.where == str(path)
    # Nor one that was made while the folder was read.
    checks = iter([False])
    monkeypatch.setattr(Path, "exists", lambda self, real=Path.exists: next(checks, None) is None and real(self))
    assert refused(lambda: export_sheet(refined, path)).message == "exists already"
    assert path.read_text(encoding="utf-8") == "verdicts of a week"


def test_a_full_disk_leaves_no_half_sheet(refined: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sheet.csv"
    real = Path.open

    def opened(self: Path, *args: Any, **options: Any) -> Any:
        file = real(self, *args, **options)
        if self == path:

            def write(text: str) -> int:
                raise OSError(errno.ENOSPC, "No space left on device")

            file.write = write
        return file

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(ArhnError, match="the disk is full"):
        export_sheet(refined, path)
    assert not path.exists()


def test_what_cannot_be_a_sheet(refined: Path, sample: Path, tmp_path: Path) -> None:
    assert "does not exist" in refused(lambda: export_sheet(refined, tmp_path / "no" / "sheet.csv")).message
    assert refused(lambda: export_sheet(refined, tmp_path / "sheet.csv", count=0)).where == "--size"
    assert refused(lambda: export_sheet(sample, tmp_path / "sheet.csv")).where is not None
    assert "source" in refused(lambda: export_sheet(refined, tmp_path / "s.csv", source=str(tmp_path / "gone"))).message
    refused(lambda: export_sheet(refined, tmp_path / "s.csv", corpus=str(tmp_path / "gone.jsonl")))
    assert not list(tmp_path.iterdir())


def test_a_run_without_decisions_has_no_sheet(sample: Path, tmp_path: Path) -> None:
    names = {item["subset"] for item in map(json.loads, (sample / "train.jsonl").read_text("utf-8").splitlines())}
    folder = refine(sample, tmp_path / "out", criterion=tuple(f"{name}=skip" for name in sorted(names)))
    error = refused(lambda: export_sheet(folder, tmp_path / "sheet.csv"))
    assert error.message == "no negative was relabeled, filtered or kept"
    assert not (tmp_path / "sheet.csv").exists()


def test_the_source_may_have_moved(sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = tmp_path / "before.jsonl", tmp_path / "after.jsonl"
    lines = (sample / "train.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    before.write_text("".join(lines[:8]), encoding="utf-8")
    folder = refine(before, tmp_path / "out")
    before.rename(after)
    assert "is not where it was" in refused(lambda: export_sheet(folder, tmp_path / "sheet.csv")).message
    monkeypatch.chdir(tmp_path)
    assert export_sheet(folder, "sheet.csv", count=9, source="after.jsonl") == 9
    done = fill(tmp_path / "sheet.csv", tmp_path / "anna.csv", lambda row: "no")
    assert agreement(folder, [done], samples=20, source="after.jsonl")["annotators"]["anna.csv"]["judged"] == 9


def test_a_person_can_stop_it(refined: Path, tmp_path: Path) -> None:
    monitor = Monitor()
    monitor.interrupt()
    with pytest.raises(Interrupted):
        export_sheet(refined, tmp_path / "sheet.csv", monitor=monitor)
    assert not (tmp_path / "sheet.csv").exists()


# Reading.


def test_round_trip(refined: Path, thirty: Path, tmp_path: Path) -> None:
    ids = [row["id"] for row in rows_of(thirty)]
    wanted = {name: ("yes", "partly", "no")[i % 3] for i, name in enumerate(ids) if i % 5}
    first = fill(thirty, tmp_path / "a.csv", lambda row: wanted.get(row["id"], ""))
    second = fill(thirty, tmp_path / "b.csv", lambda row: "no" if row["id"] == ids[0] else "  ")
    assert read_verdicts([first, str(second)], refined) == [wanted, {ids[0]: "no"}]
    assert read_verdicts(first, str(refined)) == [wanted]


@pytest.mark.parametrize(
    ("written", "verdict"),
    [
        ("yes", "yes"), ("Y", "yes"), (" YES ", "yes"), ("Relevant", "yes"), ("2", "yes"), ("2.0", "yes"),
        ("partly", "partly"), ("P", "partly"), ("partial", "partly"), ("1", "partly"), ("1.0", "partly"),
        ("no", "no"), ("N", "no"), ("Not  Relevant", "no"), ("not relevant\n", "no"), ("0", "no"), ("0.0", "no"),
    ],
)  # fmt: skip
def test_ways_to_write_a_verdict(refined: Path, thirty: Path, tmp_path: Path, written: str, verdict: str) -> None:
    path = fill(thirty, tmp_path / "a.csv", lambda row: written)
    assert set(read_verdicts([path], refined)[0].values()) == {verdict}


@pytest.mark.parametrize(
    "options",
    [
        {"delimiter": ";"},
        {"delimiter": "\t"},
        {"lineterminator": "\n"},
        {"lineterminator": "\r", "columns": ("id", "verdict")},
        {"quoting": csv.QUOTE_ALL},
        {"encoding": "utf-8-sig"},
        {"encoding": "cp1252", "columns": ("id", "verdict", "remark")},
        {"columns": ("remark", "verdict", "id")},
    ],
)
def test_what_spreadsheets_make_of_a_sheet_is_read(
    refined: Path, thirty: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    rows = [{**row, "verdict": "yes", "remark": "naïve; a, “b”"} for row in rows_of(thirty)]
    blank = dict.fromkeys(COLUMNS, "")
    path = save(tmp_path / "a.csv", [blank, *reversed(rows), blank], **options)
    assert read_verdicts([path], refined) == [dict.fromkeys([row["id"] for row in rows], "yes")]


def test_upper_case_column_names_and_short_rows_are_read(refined: Path, thirty: Path, tmp_path: Path) -> None:
    first, second = (row["id"] for row in rows_of(thirty)[:2])
    (tmp_path / "a.csv").write_text(f"ID, Verdict ,\n{first},yes,more,cells\n{second}\n", encoding="utf-8")
    assert read_verdicts([tmp_path / "a.csv"], refined) == [{first: "yes"}]


def changed(sheet: Path, path: Path, number: int, **cells: str) -> Path:
    """A sheet full of verdicts with other cells in one row."""
    rows = [{**row, "verdict": "yes"} for row in rows_of(sheet)]
    rows[number].update(cells)
    return save(path, rows)


def test_what_is_wrong_on_a_line_is_said_with_the_line(refined: Path, thirty: Path, tmp_path: Path) -> None:
    first = rows_of(thirty)[0]["id"]
    run = lineage(refined)["run_id"][:8]
    # A row of several lines before it: the line is that of a text editor, the first of the row.
    rows = [
        {**row, "verdict": "yes", "remark": "two\nlines" if i in (1, 4) else ""}
        for i, row in enumerate(rows_of(thirty))
    ]
    rows[4]["verdict"] = "maybe"
    path = save(tmp_path / "a.csv", rows)
    error = refused(lambda: read_verdicts([path], refined))
    assert (error.message, error.where) == (f"unknown verdict 'maybe' (id {rows[4]['id']})", f"{path}, line 7")
    assert path.read_text(encoding="utf-8").splitlines()[6].startswith(rows[4]["id"])
    for cells, message in (
        ({"id": first}, f"the id {first!r} stands twice"),
        ({"id": f"{run}-000000000000"}, f"unknown id '{run}-000000000000'"),
        ({"id": ""}, "unknown id ''"),
        ({"id": "12"}, "unknown id '12'"),
        ({"id": f"{run}-000000000000", "verdict": ""}, f"unknown id '{run}-000000000000'"),
        ({"id": "00000000-000000000000"}, f"verdicts for another run (00000000…, this is {run}…)"),
        ({"verdict": "yes?"}, f"unknown verdict 'yes?' (id {rows[3]['id']})"),
        ({"verdict": "-"}, f"unknown verdict '-' (id {rows[3]['id']})"),
    ):
        path = changed(thirty, tmp_path / "a.csv", 3, **cells)
        for error in (refused(partial(read_verdicts, [path], refined)), refused(partial(agreement, refined, [path]))):
            assert (error.message, error.where) == (message, f"{path}, line 5")


def test_a_sheet_of_another_run_is_refused(other: Path, refined: Path, thirty: Path, tmp_path: Path) -> None:
    path = fill(thirty, tmp_path / "a.csv", lambda row: "yes")
    for call in (lambda: read_verdicts([path], other), lambda: agreement(other, [path])):
        error = refused(call)
        assert error.message.startswith("verdicts for another run (")
        assert error.where == f"{path}, line 2"
        assert error.hint


def test_files_that_are_no_sheets(refined: Path, thirty: Path, tmp_path: Path) -> None:
    def error(text: str | bytes) -> UsageError:
        path = tmp_path / "a.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        found = refused(lambda: read_verdicts([path], refined))
        assert found.where is not None
        assert found.where.startswith(str(path))
        return found

    first = rows_of(thirty)[0]["id"]
    assert error("").message == "lacks the columns id and verdict"
    assert error("id,remark\n1,2\n").message == "lacks the column verdict"
    assert error("verdict\nyes\n").message == "lacks the column id"
    assert error(f"id,verdict\n{first},yes\n".encode("utf-16")).message == "lacks the columns id and verdict"
    assert error(f"id,verdict,verdict\n{first},yes,no\n").message == "has the column verdict twice"
    assert error("id,verdict\n").message == "has no verdict"
    assert error(thirty.read_bytes()).message == "has no verdict"
    assert error(f'id,verdict\n{first},"{"x" * 200_000}\n').message.startswith("is not CSV")
    gone = refused(lambda: read_verdicts([tmp_path / "gone.csv"], refined))
    assert (gone.message, gone.where) == ("cannot be read (FileNotFoundError)", str(tmp_path / "gone.csv"))
    assert refused(lambda: read_verdicts([], refined)).message == "no sheet given"
    done = fill(thirty, tmp_path / "a.csv", lambda row: "yes")
    assert (
        refused(lambda: agreement(refined, [done, f"{tmp_path}/../{tmp_path.name}/a.csv"])).message == "is given twice"
    )


# The figures.


def test_one_persons_figures_by_hand(refined: Path, thirty: Path, tmp_path: Path) -> None:
    path = fill_by_hand(refined, thirty, tmp_path / "anna.csv", HAND)
    report = agreement(refined, [path], samples=50)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    anna = report["annotators"]["anna.csv"]
    assert list(report["annotators"]) == ["anna.csv"]
    counts = {f"{action}_{verdict}": many.count(verdict) for action, many in HAND.items() for verdict in set(many)}
    assert {key: anna[key] for key in counts} == counts
    assert (anna["judged"], anna["not_judged"]) == (30, 0)
    rows = {by_id(refined)[row["id"]]["query_id"] for row in rows_of(thirty)}
    assert anna["queries"] == len(rows)
    # Leaves 20, relevant 18, both 15, neither 7: (22/30 − 480/900) / (1 − 480/900); of yes alone 9, 8 and 9.
    by_hand = {
        "relabel_precision_yes": 0.6, "relabel_precision_yes_or_partly": 0.8, "filter_precision_yes": 0.2,
        "filter_precision_yes_or_partly": 0.7, "missed_yes": 0.1, "missed_yes_or_partly": 0.3,
        "kappa_yes_or_partly": 3 / 7, "kappa_yes": 4 / 17,
    }  # fmt: skip
    for name, value in by_hand.items():
        assert anna[name]["value"] == pytest.approx(value, abs=1e-6)
        assert anna[name]["low"] <= value <= anna[name]["high"]
    # The whole run, as counts: every action's rate on the sheet times how many the run has.
    counts = Counter(item["action"] for item in by_id(refined).values())
    decided = counts.total()
    for name, (of_relabel, of_filter, of_keep) in {"yes": (0.6, 0.2, 0.1), "yes_or_partly": (0.8, 0.7, 0.3)}.items():
        left, kept = counts["relabel"] * of_relabel + counts["filter"] * of_filter, counts["keep"] * of_keep
        leaving = counts["relabel"] + counts["filter"]
        same = (left + counts["keep"] - kept) / decided
        chance = (leaving * (left + kept) + counts["keep"] * (decided - left - kept)) / decided**2
        estimates = {
            "relevant": (left + kept) / decided, "precision": left / leaving, "recall": left / (left + kept),
            "kappa": (same - chance) / (1 - chance),
        }  # fmt: skip
        for figure, value in estimates.items():
            assert anna[f"estimated_{figure}_{name}"]["value"] == pytest.approx(value, abs=1e-6)
    assert report["decided"] == decided
    assert report["shares"] == {a: pytest.approx(counts[a] / decided, abs=1e-6) for a in ACTIONS}
    assert (report["pairs"], report["majority"]) == ([], None)
    assert report["run_id"] == lineage(refined)["run_id"]
    assert report["judges"] == lineage(refined)["judges"]


def test_estimates_by_hand() -> None:
    shares = {"relabel": 0.1, "filter": 0.3, "keep": 0.6}
    actions = np.array([action for action, many in HAND.items() for _ in many])
    relevant = np.array([verdict != "no" for many in HAND.values() for verdict in many])

    def estimate(figure: str, shares: dict[str, float] = shares, of: Any = slice(None)) -> float:
        return _estimate(figure, shares, actions[of], relevant[of])

    # 0.1 × 0.8 + 0.3 × 0.7 = 0.29 of the run leaves rightly, 0.6 × 0.3 = 0.18 is missed.
    assert estimate("relevant") == pytest.approx(0.47)
    assert estimate("precision") == pytest.approx(0.29 / 0.4)
    assert estimate("recall") == pytest.approx(0.29 / 0.47)
    assert estimate("kappa") == pytest.approx((0.71 - 0.506) / (1 - 0.506))
    # Where an action has no verdict nothing rests on it; one that the run lacks is no matter.
    kept, left = actions == "keep", actions != "keep"
    assert estimate("precision", of=left) == pytest.approx(0.29 / 0.4)
    assert math.isnan(estimate("recall", of=left))
    assert math.isnan(estimate("precision", of=kept))
    assert estimate("precision", {"relabel": 0.0, "filter": 0.5, "keep": 0.5}, actions != "relabel") == pytest.approx(
        0.7
    )
    none_left = {"relabel": 0.0, "filter": 0.0, "keep": 1.0}
    assert math.isnan(estimate("precision", none_left, kept))
    assert estimate("recall", none_left, kept) == 0
    # All leave and all are relevant: kappa is undefined, not a rounding error.
    all_left = {"relabel": 0.1, "filter": 0.9, "keep": 0.0}
    every = np.ones(20, dtype=bool)
    assert math.isnan(_estimate("kappa", all_left, actions[left], every))
    assert math.isnan(_estimate("recall", shares, actions, np.zeros(30, dtype=bool)))


def test_a_judge_who_is_right(refined: Path, thirty: Path, tmp_path: Path) -> None:
    about = by_id(refined)
    words = {"relabel": "yes", "filter": "partly", "keep": "no"}
    path = fill(thirty, tmp_path / "a.csv", lambda row: words[about[row["id"]]["action"]])
    found = agreement(refined, [path], samples=50)["annotators"]["a.csv"]
    whole = {"value": 1, "low": 1, "high": 1}
    for name in (
        "relabel_precision",
        "filter_precision",
        "kappa",
        *(f"estimated_{f}" for f in ("precision", "recall")),
    ):
        assert found[f"{name}_yes_or_partly"] == whole
    assert found["missed_yes"] == {"value": 0, "low": 0, "high": 0}
    assert found["relabel_precision_yes"] == whole
    assert found["kappa_yes"]["value"] == pytest.approx((20 / 30 - 400 / 900) / (1 - 400 / 900), abs=1e-6)


def test_what_was_not_judged_is_not_counted(refined: Path, thirty: Path, tmp_path: Path) -> None:
    path = fill_by_hand(refined, thirty, tmp_path / "a.csv", {"relabel": ["yes", "no", "no", "partly"]})
    found = agreement(refined, [path], samples=50)["annotators"]["a.csv"]
    assert (found["judged"], found["not_judged"]) == (4, 26)
    assert found["relabel_precision_yes"]["value"] == 0.25
    nothing = {"value": None, "low": None, "high": None}
    for name in ("filter_precision_yes", "missed_yes", "estimated_recall_yes", "estimated_precision_yes"):
        assert found[name] == nothing
    assert found["kappa_yes"]["value"] == 0  # all leave: what is left is chance


def test_two_people_by_hand(refined: Path, thirty: Path, tmp_path: Path) -> None:
    ids = [row["id"] for row in rows_of(thirty)]
    #  10 passages that both judged; two more that one did.
    a = ["yes", "yes", "yes", "yes", "partly", "partly", "no", "no", "no", "no", "yes", ""]
    b = ["yes", "yes", "partly", "no", "partly", "yes", "no", "no", "no", "yes", "", "no"]
    anna, ben = dict(zip(ids, a, strict=False)), dict(zip(ids, b, strict=False))
    first = fill(thirty, tmp_path / "anna.csv", lambda row: anna.get(row["id"], ""))
    second = fill(thirty, tmp_path / "ben.csv", lambda row: ben.get(row["id"], ""))
    report = agreement(refined, [first, second], samples=50)
    [pair] = report["pairs"]
    assert (pair["first"], pair["second"], pair["both"]) == ("anna.csv", "ben.csv", 10)
    # Three verdicts: the same on 6; yes 4 and 4, partly 2 and 2, no 4 and 4: chance 36/100.
    assert pair["kappa"]["value"] == pytest.approx((0.6 - 0.36) / 0.64, abs=1e-6)
    # Relevant: the same on 8, 6 and 6 relevant: chance 52/100. Yes alone: the same on 6, 4 and 4: also 52/100.
    assert pair["kappa_yes_or_partly"]["value"] == pytest.approx((0.8 - 0.52) / 0.48, abs=1e-6)
    assert pair["kappa_yes"]["value"] == pytest.approx((0.6 - 0.52) / 0.48, abs=1e-6)
    assert {name: one["judged"] for name, one in report["annotators"].items()} == {"anna.csv": 11, "ben.csv": 11}
    majority = report["majority"]
    assert (majority["judged"], majority["no_majority"], majority["judged_by_one"]) == (6, 4, 2)
    swapped = agreement(refined, [second, first], samples=50)
    assert swapped["majority"] == majority
    assert swapped["pairs"][0]["kappa"] == pair["kappa"]
    alone = agreement(refined, [first], samples=50)["annotators"]["anna.csv"]
    assert report["annotators"]["anna.csv"] == alone


def test_the_majority_of_three(refined: Path, thirty: Path, tmp_path: Path) -> None:
    about = by_id(refined)
    ids = [row["id"] for row in rows_of(thirty) if about[row["id"]]["action"] == "relabel"][:5]
    said = [("yes", "yes", "no"), ("yes", "partly", "no"), ("no", "no", "no"), ("yes", "yes", ""), ("no", "yes", "")]
    files = []
    for i in range(3):
        words = {name: one[i] for name, one in zip(ids, said, strict=True)}
        files.append(fill(thirty, tmp_path / f"{i}.csv", lambda row, words=words: words.get(row["id"], "")))
    report = agreement(refined, files, samples=20)
    found = report["majority"]
    assert {key: found[key] for key in ("judged", "relabel_yes", "relabel_no", "no_majority", "judged_by_one")} == {
        "judged": 3, "relabel_yes": 2, "relabel_no": 1, "no_majority": 2, "judged_by_one": 0,
    }  # fmt: skip
    assert found["relabel_precision_yes"]["value"] == pytest.approx(2 / 3, abs=1e-6)
    assert [(one["first"], one["second"], one["both"]) for one in report["pairs"]] == [
        ("0.csv", "1.csv", 5), ("0.csv", "2.csv", 3), ("1.csv", "2.csv", 3),
    ]  # fmt: skip


def test_people_who_judged_nothing_in_common(refined: Path, thirty: Path, tmp_path: Path) -> None:
    first, second = (row["id"] for row in rows_of(thirty)[:2])
    files = [
        fill(thirty, tmp_path / f"{i}" / "sheet.csv", lambda row, name=name: "yes" if row["id"] == name else "")
        for i, name in enumerate((first, second))
    ]
    report = agreement(refined, files, samples=20)
    assert list(report["annotators"]) == [str(file) for file in files]  # one file name, two people
    assert report["pairs"][0]["both"] == 0
    assert report["pairs"][0]["kappa"] == {"value": None, "low": None, "high": None}
    assert (report["majority"]["judged"], report["majority"]["judged_by_one"]) == (0, 2)


def test_intervals_follow_from_the_seed_and_stand_on_queries(refined: Path, tmp_path: Path) -> None:
    export_sheet(refined, tmp_path / "sheet.csv", count=90)
    path = fill(tmp_path / "sheet.csv", tmp_path / "a.csv", lambda row: "yes" if row["id"][-1] in "02468ace" else "no")
    once = agreement(refined, [path], samples=200)
    assert agreement(refined, [path], samples=200) == once
    figure = once["annotators"]["a.csv"]["estimated_precision_yes"]
    other = agreement(refined, [path], samples=200, seed=7)["annotators"]["a.csv"]["estimated_precision_yes"]
    assert figure["value"] == other["value"]
    assert (figure["low"], figure["high"]) != (other["low"], other["high"])
    assert figure["low"] < figure["value"] < figure["high"]


def test_one_query_in_two_rows_is_one_query(odd: Path, tmp_path: Path) -> None:
    export_sheet(odd, tmp_path / "sheet.csv", count=10_000)
    path = fill(tmp_path / "sheet.csv", tmp_path / "a.csv", lambda row: "no")
    report = agreement(odd, [path], samples=20)
    assert report["annotators"]["a.csv"]["queries"] == 12
    assert report["annotators"]["a.csv"]["judged"] == report["decided"] == len(rows_of(path))


def test_published_kappas_have_their_sources(refined: Path, thirty: Path, tmp_path: Path) -> None:
    path = fill(thirty, tmp_path / "a.csv", lambda row: "no")
    found = agreement(refined, [path], samples=20)["published_kappas"]
    assert found == list(PUBLISHED_KAPPAS)
    assert [(one["name"], one["low"], one["high"], one["source"]) for one in found] == [
        ("ARHN", 0.373, 0.373, "arXiv 2604.11092"), ("RLHN", 0.32, 0.39, "arXiv 2505.16967"),
    ]  # fmt: skip
