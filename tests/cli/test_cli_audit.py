"""`arhn-hf audit`: a finished folder or a source in, figures out; a threshold, a picture and the card's section to
keep; and what cannot be measured is one line and exit 2."""

from __future__ import annotations

import gzip
import json
import shutil
import struct
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml
from cli_helpers import Asked, Outcome, cli, write_jsonl
from requiring import skip_or_fail
from scripted import ScriptedEngine, folder_bytes, scripted_judge, scripted_reply

from arhn_hf import pipeline
from arhn_hf.config import RunConfig
from arhn_hf.engines.base import Request, Response
from arhn_hf.monitor import Monitor
from arhn_hf.publishing.card import merge_cards
from arhn_hf.publishing.card_text import AUDIT, BEGIN, END, section_of, split_card

QUICK = ("--no-baselines", "--draws", "100")
ROWS = 12


@pytest.fixture(autouse=True, scope="module")
def _no_count_at_the_hub() -> Any:
    """Without it every load of a file asks the Hub, and waits where there is no network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_UPDATE_DOWNLOAD_COUNTS", False)
        yield


@pytest.fixture(scope="session")
def gold(sample: Path) -> Path:
    """The labels of the sample."""
    return sample.parent / "hard-negatives.gold.jsonl"


@pytest.fixture(scope="module")
def read(sample: Path, gold: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """The example of the help: the shipped sample, read and measured; the folder is not to be changed."""
    folder = tmp_path_factory.mktemp("read") / "audited"
    done = cli("audit", sample, "--gold", gold, "--sample", ROWS, "--output", folder, "--draws", 100, "--json")
    return folder, done


@pytest.fixture
def folder(read: tuple[Path, Outcome], tmp_path: Path) -> Path:
    """A copy of the audited folder to change."""
    return Path(shutil.copytree(read[0], tmp_path / "folder"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """`arhn-hf audit SOURCE` asks scripted engines instead of the reader."""
    return scripted_by(monkeypatch, scripted_reply)


def scripted_by(monkeypatch: pytest.MonkeyPatch, reply: Any) -> Asked:
    original, found = pipeline.run_refine, Asked()

    def run(config: RunConfig, monitor: Monitor, *more: Any, **named: Any) -> pipeline.RefineResult:
        found.engines.append(ScriptedEngine(reply))
        return original(config, monitor, scripted_judge(found.engines[-1]), **named)

    monkeypatch.setattr(pipeline, "run_refine", run)
    return found


def card_of(folder: Path) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


# A source, judged first


def test_the_example_of_the_help_judges_the_sample_and_measures_the_reader(read: tuple[Path, Outcome]) -> None:
    folder, done = read
    assert done.code == 0, done.err
    found = done.json
    assert (found["command"], found["status"], found["folder"]) == ("audit", "done", str(folder))
    assert (found["labels"]["kind"], found["labels"]["name"]) == ("file", "hard-negatives.gold.jsonl")
    assert next(iter(found["judges"])) == "reader"
    assert found["queries"] <= ROWS
    assert found["candidates"] == found["relevant"] + found["ambiguous"] + found["clean"] > 50
    assert found["candidates"] == sum(one["negatives"] for one in found["grades"])
    assert (found["scored_by"], found["threshold"]) == ("score", None)
    assert len(found["baselines"]) == 6
    auroc = found["ranking"]["auroc"]
    assert 0 <= auroc["low"] <= auroc["value"] <= auroc["high"] <= 1
    assert found["reliability"]
    lineage = json.loads((folder / "arhn.json").read_text())
    assert (lineage["run_id"], lineage["sample"]["n"]) == (found["run_id"], ROWS)


def test_a_source_is_judged_into_audited_unless_told_otherwise(
    asked: Asked, sample: Path, gold: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli("audit", sample, "--gold", gold, "--sample", 6, "--min-answerable", 0, *QUICK, "--json")
    assert done.json["folder"] == "audited"
    assert (tmp_path / "audited" / "arhn.json").is_file()
    assert asked.count > 0
    again = cli("audit", "audited", "--gold", gold, *QUICK, "--json")
    assert again.json == done.json
    assert len(asked.engines) == 1


def test_judging_goes_on_where_an_audit_stopped(asked: Asked, sample: Path, gold: Path, tmp_path: Path) -> None:
    words = (
        "audit",
        sample,
        "--gold",
        gold,
        "--sample",
        6,
        "--min-answerable",
        0,
        "--output",
        tmp_path / "out",
        *QUICK,
    )
    first = cli(*words, "--json")
    second = cli(*words, "--json")
    assert second.json == first.json
    assert asked.engines[1].count == 0


def test_a_bad_judge_is_measured_too(monkeypatch: pytest.MonkeyPatch, sample: Path, gold: Path, tmp_path: Path) -> None:
    """No gate stops an audit: that a judge fails is what it is to find."""

    def reply(request: Request) -> Response:
        if request.kind == "answer" and "the" not in request.payload["messages"][1]["content"].split()[-12:]:
            return Response("nonsense", "stop", {"prompt": 1, "completion": 1})
        return scripted_reply(request)

    scripted_by(monkeypatch, reply)
    done = cli(
        "audit",
        sample,
        "--gold",
        gold,
        "--sample",
        20,
        "--min-answerable",
        0,
        "--output",
        tmp_path / "out",
        *QUICK,
        "--json",
    )
    assert done.code == 0
    assert done.json["left_out"]["undecided: answer_failed"] > 50


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--gold", "GOLD", "--grades", "grade"),
        ("--gold", "GOLD", "--save", "new.yaml"),
        ("--gold", "GOLD", "--thresholds", "recall=0.5", "--save", "there.yaml"),
        ("--gold", "GOLD", "--thresholds", "much"),
        ("--gold", "GOLD", "--png", "audit.png"),
        ("--gold", "absent.jsonl"),
    ],
    ids=lambda words: " ".join(words) or "no labels",
)
def test_what_can_be_refused_is_refused_before_anything_is_judged(
    asked: Asked, sample: Path, gold: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    (tmp_path / "there.yaml").write_text("answer_threshold: 0.4\n")
    told = [gold if word == "GOLD" else word for word in words]
    done = cli("audit", sample, "--sample", 4, "--min-answerable", 0, "--draws", 100, "--no-baselines", *told)
    assert done.code == 2
    assert done.error
    assert asked.count == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there.yaml"]


def test_a_source_that_is_not_there_is_one_line(gold: Path, tmp_path: Path) -> None:
    done = cli("audit", tmp_path / "absent", "--gold", gold, "--output", tmp_path / "out")
    assert done.code == 2
    assert "no such file or folder" in done.error
    assert not (tmp_path / "out").exists()


# A finished folder


def test_a_person_reads_tables(folder: Path, gold: Path) -> None:
    done = cli("audit", folder, "--gold", gold, "--draws", 100)
    assert done.code == 0, done.err
    for words in (
        "labelled negatives of",
        "95 % intervals over queries",
        "Decisions",
        "relabeled",
        "filtered",
        "either",
        "Kappa:",
        "By grade",
        "Is it a false negative? (the judge ranked by its score)",
        "this judge",
        "flag everything",
        "By subset",
        "TopK-MarginPos 0.05: precision",
    ):
        assert words in done.out, words
    assert "nan" not in done.out.casefold().split()


def test_quiet_says_nothing_and_json_is_one_object(folder: Path, gold: Path) -> None:
    quiet = cli("audit", folder, "--gold", gold, *QUICK, "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
    assert cli("audit", folder, "--gold", gold, *QUICK, "--json").json["baselines"] == {}


def test_the_folder_stays_as_it_was(folder: Path, gold: Path) -> None:
    before = folder_bytes(folder)
    assert cli("audit", folder, "--gold", gold, *QUICK, "--thresholds", "recall=0.5").code == 0
    assert folder_bytes(folder) == before


def test_a_judge_without_scores_is_ranked_by_its_decisions(refined: Path, gold: Path) -> None:
    done = cli("audit", refined, "--gold", gold, *QUICK, "--json").json
    assert done["scored_by"] == "decision"
    assert done["labels"]["unjoined"] == 0
    human = cli("audit", refined, "--gold", gold, *QUICK)
    assert "the judge ranked by its decision" in human.out


def test_labels_by_a_second_dataset_and_by_a_compressed_file(
    refined: Path, sample: Path, gold: Path, tmp_path: Path
) -> None:
    (tmp_path / "gold.jsonl.gz").write_bytes(gzip.compress(gold.read_bytes()))
    plain = cli("audit", refined, "--gold", gold, *QUICK, "--json").json
    packed = cli("audit", refined, "--gold", tmp_path / "gold.jsonl.gz", *QUICK, "--json").json
    assert packed["ranking"] == plain["ranking"]
    grades = {(one["query_id"], one["docid"]): one["gold"] for one in map(json.loads, gold.read_text().splitlines())}
    rows = [json.loads(line) for line in (sample / "train.jsonl").read_text().splitlines()]
    for row in rows:
        negatives = row["negative_passages"]
        kinds = {"false_negative": [], "clean": []}
        for one in negatives:
            kinds.get(grades[row["query_id"], one["docid"]], []).append(one)
        row["positive_passages"] += kinds["false_negative"]
        row["negative_passages"] = kinds["clean"]
    moved = cli("audit", refined, "--labels", write_jsonl(tmp_path / "moved.jsonl", rows), *QUICK, "--json").json
    assert (moved["relevant"], moved["clean"], moved["ambiguous"]) == (plain["relevant"], plain["clean"], 0)
    assert moved["ranking"]["auroc"]["value"] == plain["ranking"]["auroc_without_ambiguous"]["value"]


def test_the_seed_draws_other_queries(folder: Path, gold: Path) -> None:
    one, other = (cli("audit", folder, "--gold", gold, *QUICK, "--seed", seed, "--json").json for seed in (1, 2))
    assert one["ranking"]["auroc"]["value"] == other["ranking"]["auroc"]["value"]
    assert one["ranking"]["auroc"] != other["ranking"]["auroc"]


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("--judge", "vllm"), "--judge"),
        (("--answer-threshold", "0.3"), "--answer-threshold"),
        (("--sample", "3"), "--sample"),
        (("--split", "test"), "--split"),
        (("--no-relabel",), "--relabel"),
    ],
)
def test_judging_options_beside_a_finished_folder_are_refused(
    read: tuple[Path, Outcome], gold: Path, words: tuple[str, ...], option: str
) -> None:
    done = cli("audit", read[0], "--gold", gold, *words)
    assert done.code == 2
    assert f"{option}: has been judged already: the option would change nothing" in done.error
    assert "give the source instead of the folder" in done.error


def test_judging_options_of_a_config_file_are_refused_there_too(
    read: tuple[Path, Outcome], gold: Path, tmp_path: Path
) -> None:
    (tmp_path / "run.yaml").write_text("answer_threshold: 0.3\n")
    done = cli("audit", read[0], "--gold", gold, "--config", tmp_path / "run.yaml")
    assert done.code == 2
    assert "--answer-threshold: has been judged already" in done.error


# What can be kept


def test_a_fitted_threshold_is_a_config_of_refine_and_is_recorded(
    folder: Path, sample: Path, gold: Path, tmp_path: Path
) -> None:
    path = tmp_path / "threshold.yaml"
    done = cli("audit", folder, "--gold", gold, *QUICK, "--thresholds", "recall=0.5", "--save", path, "--json").json
    fitted = done["threshold"]
    assert yaml.safe_load(path.read_text()) == {"answer_threshold": fitted["answer_threshold"]}
    store = folder / ".arhn" / "store.sqlite"
    again = cli(
        "refine", sample, "--sample", ROWS, "--config", path, "--store", store, "--output", tmp_path / "again", "--json"
    )  # fmt: skip
    assert again.code == 0, again.out
    lineage = json.loads((tmp_path / "again" / "arhn.json").read_text())
    assert lineage["judges"]["reader"]["answer_threshold"] == fitted["answer_threshold"]
    said = cli("audit", folder, "--gold", gold, *QUICK, "--thresholds", "recall=0.5")
    assert f"--answer-threshold {fitted['answer_threshold']:.4f}" in said.out


def test_a_saved_threshold_is_never_overwritten(folder: Path, gold: Path, tmp_path: Path) -> None:
    path = tmp_path / "threshold.yaml"
    path.write_text("mine: 1\n")
    before = card_of(folder)
    done = cli("audit", folder, "--gold", gold, *QUICK, "--card", "--thresholds", "recall=0.5", "--save", path)
    assert done.code == 2
    assert f"--save {path}: exists already. Choose another name" in done.error
    assert path.read_text() == "mine: 1\n"
    assert card_of(folder) == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--save", "new.yaml"), "--save: needs --thresholds"),
        (("--thresholds", "f1=0.5"), "--thresholds: 'f1=0.5' is not recall, precision, max_clean or band"),
        (("--thresholds", "recall=2"), "--thresholds: 'recall=2' is not recall, precision, max_clean or band"),
        (("--thresholds", "precision=1"), "--thresholds: precision 1.0 cannot be reached: the best is"),
    ],
)
def test_thresholds_that_cannot_be(
    folder: Path, gold: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if "precision=1" in words:  # the surest candidate is not relevant
        found = cli("audit", folder, "--gold", gold, *QUICK, "--thresholds", "max_clean=1", "--json").json
        assert found["threshold"]["recall"] == 1
        gold = flipped(folder, gold, tmp_path)
    done = cli("audit", folder, "--gold", gold, *QUICK, *words)
    assert done.code == 2
    assert says in done.error
    assert not (tmp_path / "new.yaml").exists()


def flipped(folder: Path, gold: Path, tmp_path: Path) -> Path:
    """Labels by which the passages with the highest scores are clean."""
    import pyarrow.parquet as pq

    [evidence] = (folder / "evidence").glob("*.parquet")
    rows = [
        one
        for one in pq.read_table(evidence).to_pylist()
        if one["label"] == "negative" and one["answer_score"] is not None
    ]
    rows.sort(key=lambda one: -one["answer_score"])
    labels = [
        {"query_id": one["query_id"], "docid": one["docid"], "gold": 0 if i < len(rows) / 2 else 2}
        for i, one in enumerate(rows)
    ]
    return write_jsonl(tmp_path / "flipped.jsonl", labels)


def test_a_threshold_for_a_judge_without_scores_is_refused(refined: Path, gold: Path) -> None:
    done = cli("audit", refined, "--gold", gold, *QUICK, "--thresholds", "recall=0.5")
    assert done.code == 2
    assert "--thresholds: this judge gives no score to set a threshold on" in done.error


def test_the_card_gets_a_section_and_keeps_everything_else(folder: Path, gold: Path) -> None:
    text = card_of(folder).replace(BEGIN, f"# My data\n\nWritten by hand.\n\n{BEGIN}") + "\nLast words.\n"
    (folder / "README.md").write_text(text, encoding="utf-8")
    others = {name: data for name, data in folder_bytes(folder).items() if name != "README.md"}
    report = cli("audit", folder, "--gold", gold, *QUICK, "--card", "--json").json
    first = card_of(folder)
    section = section_of(first, AUDIT)
    assert f"{report['candidates']} negatives of {report['queries']} queries" in section
    assert "## How good the judge is" in section
    assert section_of(first) == section_of(text)
    assert split_card(first)[0] == split_card(text)[0]
    places = [first.index(words) for words in ("Written by hand.", BEGIN, END, AUDIT[0], AUDIT[1], "Last words.")]
    assert places == sorted(places)
    assert {name: data for name, data in folder_bytes(folder).items() if name != "README.md"} == others
    assert cli("audit", folder, "--gold", gold, *QUICK, "--card").code == 0
    assert card_of(folder) == first
    assert cli("audit", folder, "--gold", gold, "--draws", 100, "--card").code == 0
    later = card_of(folder)
    assert "| flag everything |" in section_of(later, AUDIT)
    assert later.replace(section_of(later, AUDIT), section) == first
    assert cli("check", folder).code == 0


def test_the_section_survives_another_refine_and_a_push_once(folder: Path, sample: Path, gold: Path) -> None:
    assert cli("audit", folder, "--gold", gold, *QUICK, "--card").code == 0
    section = section_of(card_of(folder), AUDIT)
    done = cli("refine", sample, "--sample", ROWS, "--output", folder)
    assert done.code == 0, done.err
    local = card_of(folder)
    assert section_of(local, AUDIT) == section
    pushed = merge_cards(local, None, repo_id="me/data", license=None)
    stranger = f"---\nlicense: mit\n---\n\n# Theirs\n\n{AUDIT[0]}\nold figures\n{AUDIT[1]}\n"
    beside = merge_cards(local, stranger, repo_id="me/data", license=None)
    twice = merge_cards(
        local, merge_cards(local, pushed, repo_id="me/data", license=None), repo_id="me/data", license=None
    )
    for text in (local, pushed, beside, twice):
        assert text.count("## How good the judge is") == 1
        assert [text.count(mark) for mark in (BEGIN, END, *AUDIT)] == [1, 1, 1, 1]
        assert section in text
    assert "old figures" not in beside
    assert "# Theirs" in beside
    assert twice == pushed


def test_the_section_goes_when_the_folder_holds_another_run(folder: Path, sample: Path, gold: Path) -> None:
    assert cli("audit", folder, "--gold", gold, *QUICK, "--card").code == 0
    measured = card_of(folder)
    assert cli("refine", sample, "--sample", ROWS, "--max-new-positives", 1, "--output", folder).code == 0
    local = card_of(folder)
    assert section_of(local, AUDIT) == ""
    run_id = json.loads((folder / "arhn.json").read_text(encoding="utf-8"))["run_id"]
    pushed = merge_cards(local, measured, repo_id="me/data", license=None, run_id=run_id)
    assert "How good the judge is" not in pushed


def test_a_picture_is_a_png(folder: Path, gold: Path, tmp_path: Path) -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        skip_or_fail("audit", "matplotlib is not installed")
    path = tmp_path / "audit.png"
    assert cli("audit", folder, "--gold", gold, *QUICK, "--png", path, "--quiet").code == 0
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (1650, 570)
    done = cli("audit", folder, "--gold", gold, *QUICK, "--png", tmp_path / "absent" / "audit.png")
    assert done.code == 2
    assert "its folder does not exist" in done.error


def test_without_matplotlib_one_line_names_the_extra(
    folder: Path, gold: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = cli("audit", folder, "--gold", gold, *QUICK, "--png", tmp_path / "audit.png")
    assert done.code == 2
    assert '--png: matplotlib is not installed. Install it with: pip install "arhn-hf[audit]"' in done.error
    assert not (tmp_path / "audit.png").exists()


# Bad input


def line(query: str = "facts-01", docid: str = "facts-01-n1", gold: Any = 2) -> dict[str, Any]:
    return {"query_id": query, "docid": docid, "gold": gold}


BAD = {
    "joins to nothing": (
        [line("fact-01"), line("fact-02", "x")],
        "none of 2 labels belongs to a passage of the judged source, such as fact-01, facts-01-n1",
    ),
    "one class, relevant": (
        [line(docid="facts-01-n6", gold="relevant")],
        "only relevant passages among the 1 labelled negatives",
    ),
    "one class, clean": (
        [line(gold="clean"), line(docid="facts-01-n2", gold=0)],
        "no relevant passage among the 2 labelled negatives",
    ),
    "unknown word": (
        [line(), line(docid="facts-01-n2", gold="mabye")],
        "line 2: unknown label 'mabye'. Known: numbers, false_negative",
    ),
    "not a number": (['{"query_id": "facts-01", "docid": "facts-01-n1", "gold": NaN}'], "line 1: nan is no grade"),
    "two grades": ([line(), line(gold=0)], "line 2: query facts-01 and passage facts-01-n1 have two grades, 2 and 0"),
    "no ids": ([line(), {"query": "x", "gold": 2}], "line 2: needs query_id, docid and gold or grade"),
    "no grade": ([{"query_id": "facts-01", "docid": "facts-01-n1"}], "line 1: needs query_id, docid and gold or grade"),
    "a table": (["query_id,docid,gold"], "line 1: is not JSON"),
    "a list": (["[1, 2]"], "line 1: is not an object"),
    "empty": ([], "labels"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_a_gold_file_that_cannot_be_used_is_one_line(refined: Path, tmp_path: Path, name: str) -> None:
    lines, says = BAD[name]
    path = tmp_path / "gold.jsonl"
    path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in lines))
    done = cli("audit", refined, "--gold", path, *QUICK)
    assert done.code == 2, done.err
    assert says in done.error
    told = cli("audit", refined, "--gold", path, *QUICK, "--json")
    assert (told.code, told.err) == (2, "")
    error = told.json["error"]
    assert "\n" not in error["message"]
    assert error["message"] in done.error


@pytest.mark.parametrize("name", ["absent.jsonl", "folder", "plain.jsonl.gz", "cut.jsonl.gz", "latin.jsonl"])
def test_a_gold_file_that_cannot_be_read_is_one_line(refined: Path, gold: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "plain.jsonl.gz").write_text("{}\n")
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(gold.read_bytes())[:-50])
    (tmp_path / "latin.jsonl").write_bytes('{"query_id": "ü"}\n'.encode("latin-1"))
    done = cli("audit", refined, "--gold", tmp_path / name, *QUICK)
    assert done.code == 2, done.err
    assert f"{tmp_path / name}: cannot be read" in done.error


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "needs labels, from one place. Give one of --grades, --gold, --labels"),
        (("--grades", "grade", "--gold", "x.jsonl"), "needs labels, from one place"),
        (("--grades", "grade", "--labels", "x.jsonl"), "needs labels, from one place"),
        (("--grades", "grade"), "--grades: the negatives have no field 'grade'. The columns are"),
        (("--grades", "subset"), "--grades: 'subset' is a column of the rows, not a field of the negatives"),
        (("--labels", "absent.jsonl"), "no such file or folder"),
        (("--gold", "x.jsonl", "--draws", "3"), "--draws: 3 is not in the range x>=100"),
    ],
)
def test_labels_that_are_not_there_are_one_line(refined: Path, words: tuple[str, ...], says: str) -> None:
    done = cli("audit", refined, *words)
    assert done.code == 2
    assert says in done.error


@pytest.fixture(scope="module")
def triplets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Triplets in which one negative of a query stands twice with different grades beside it, judged by the script."""
    folder = tmp_path_factory.mktemp("triplets")
    texts = [f"Note {n} on wheat says {' '.join(f'word{n}{k}' for k in range(8))}." for n in range(4)]
    rows = [
        {"anchor": "what is known of wheat", "positive": texts[p], "negative": texts[n], "negative_grade": g}
        for p, n, g in ((0, 2, 2), (0, 3, 0), (1, 2, 0), (1, 3, 0))
    ]
    config = RunConfig(
        source=str(write_jsonl(folder / "t.jsonl", rows)), output=str(folder / "out"), min_answerable=0.0
    )
    assert pipeline.run_refine(config, Monitor(), scripted_judge(ScriptedEngine())).exit_code == 0
    return folder / "out"


def test_one_passage_of_a_query_with_two_grades_in_two_triplets_is_one_line(triplets: Path) -> None:
    done = cli("audit", triplets, "--grades", "grade", *QUICK)
    assert done.code == 2, done.err
    assert "row 2, negative 0: the same passage of one query has two grades, 2 and 0" in done.error


def test_gold_for_triplets_without_query_ids_says_what_labels_are_joined_on(triplets: Path, tmp_path: Path) -> None:
    done = cli("audit", triplets, "--gold", write_jsonl(tmp_path / "gold.jsonl", [line()]), *QUICK)
    assert done.code == 2
    assert "none of 1 labels belongs to a passage" in done.error
    assert "joined on query_id and docid" in done.error


def test_a_source_that_is_gone_is_one_line(folder: Path, gold: Path, tmp_path: Path, sample: Path) -> None:
    state = folder / ".arhn" / "state.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "source_path": str(tmp_path / "gone")}))
    done = cli("audit", folder, "--gold", gold, *QUICK)
    assert done.code == 2
    assert "is not where it was. Name it with --source" in done.error
    assert cli("audit", folder, "--gold", gold, *QUICK, "--source", sample).code == 0
