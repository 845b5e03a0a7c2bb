"""Judges that are other people's checkpoints, through the whole pipeline: folder, evidence, store, bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from scripted import folder_bytes
from tiny_checkpoints import bert, encoder, libraries, texts_of

import arhn_hf
from arhn_hf.checks import check
from arhn_hf.cli.main import run
from arhn_hf.config import RunConfig
from arhn_hf.deriving import derive
from arhn_hf.engines.base import Request
from arhn_hf.engines.cross_encoder import CrossEncoderEngine
from arhn_hf.judges.opening import open_judge
from arhn_hf.monitor import Monitor
from arhn_hf.pipeline import run_refine
from arhn_hf.records import UsageError
from arhn_hf.store import Store
from arhn_hf.stored import open_run
from arhn_hf.trying import row_of_texts, try_row

ROWS = 6
OPEN = {"min_answerable": 0.0, "max_failures": 1.0}
GERMAN = {
    "query": "wer hat die Nachtwache gemalt",
    "pos": ["Rembrandt malte Die Nachtwache im Jahr 1642 für eine Kompanie der Amsterdamer Bürgerwehr."],
    "neg": ["Das Rijksmuseum öffnet jeden Tag um neun Uhr und schließt am Nachmittag um fünf."],
}


@pytest.fixture(scope="module")
def source(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first rows of the sample."""
    libraries()
    lines = (sample / "train.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    file = tmp_path_factory.mktemp("source") / "train.jsonl"
    file.write_text("".join(lines[:ROWS]), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def reader(sample: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(bert(tmp_path_factory.mktemp("qa") / "tiny-qa", texts_of(sample), "BertForQuestionAnswering"))


@pytest.fixture(scope="module")
def ranker(sample: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("ce") / "tiny-ce"
    return str(bert(folder, texts_of(sample), "BertForSequenceClassification", num_labels=1))


def evidence(folder: Path) -> list[dict[str, Any]]:
    files = sorted((folder / "evidence").glob("*.parquet"))
    return [item for file in files for item in pq.read_table(file).to_pylist()]


def lineage(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "arhn.json").read_text(encoding="utf-8"))
    return loaded


def exit_code(*words: str) -> int:
    """Run `arhn-hf WORDS…` in this process."""
    with pytest.raises(SystemExit) as end:
        run(list(words))
    return int(end.value.code or 0)


def passages(source: Path) -> dict[tuple[int, str, int], dict[str, str]]:
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    return {
        (number, label, position): passage
        for number, row in enumerate(rows)
        for label in ("positive", "negative")
        for position, passage in enumerate(row[f"{label}_passages"])
    }


def test_a_reader_checkpoint_judges(source: Path, reader: str, tmp_path: Path) -> None:
    said: list[str] = []
    monitor = Monitor()
    monitor.notice = said.append  # type: ignore[method-assign]
    config = RunConfig(source=str(source), output=str(tmp_path / "out"), judge="reader", model=reader, **OPEN)
    result = run_refine(config, monitor)
    assert result.exit_code == 0
    assert any("audit --thresholds" in line for line in said)
    assert check(tmp_path / "out")["exit_code"] == 0
    texts, items = passages(source), evidence(tmp_path / "out")
    read = [item for item in items if item["answer_status"] in ("answered", "no_answer")]
    answered = [item for item in read if item["answer_status"] == "answered"]
    assert answered
    assert len(answered) < len(read)
    for item in answered:
        original = texts[item["row"], item["label"], item["position"]][
            "title" if item["snippet_field"] == "title" else "text"
        ]
        assert original[item["snippet_start"] : item["snippet_end"]] == item["snippet"]
    about = lineage(tmp_path / "out")["judges"]["reader"]
    assert about["kind"] == "reader-checkpoint"
    assert (about["model"], about["dtype"]) == ("tiny-qa", "float32")
    assert about["revision"].startswith("sha256:")
    assert reader not in (tmp_path / "out" / "arhn.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("judge", ["reader", "cross-encoder"])
def test_two_runs_are_the_same_bytes(judge: str, source: Path, reader: str, ranker: str, tmp_path: Path) -> None:
    options = {**OPEN, "judge": judge, "model": reader if judge == "reader" else ranker}
    store = str(tmp_path / "one.sqlite")
    first = arhn_hf.refine(str(source), output=str(tmp_path / "out"), store=store, **options)
    before = folder_bytes(tmp_path / "out")
    other = str(tmp_path / "two.sqlite")
    second = arhn_hf.refine(str(source), output=str(tmp_path / "out"), store=other, fresh=True, **options)
    assert first.requests["sent"] == second.requests["sent"] > 0
    assert folder_bytes(tmp_path / "out") == before
    again = arhn_hf.refine(str(source), output=str(tmp_path / "again"), store=store, **options)
    assert again.requests["sent"] == 0
    assert folder_bytes(tmp_path / "again") == before


def test_a_cross_encoder_ranks_what_the_embedded_reader_answers(source: Path, ranker: str, tmp_path: Path) -> None:
    store = str(tmp_path / "store.sqlite")
    plain = arhn_hf.refine(str(source), output=str(tmp_path / "plain"), store=store, **OPEN)
    result = arhn_hf.refine(
        str(source), output=str(tmp_path / "out"), store=store, judge="cross-encoder", model=ranker, **OPEN
    )
    assert result.exit_code == 0
    assert check(tmp_path / "out")["exit_code"] == 0
    assert result.requests["answers"] == plain.requests["sent"] == result.requests["from_store"]
    assert result.requests["rankings"] == result.requests["sent"] > 0
    one, two = evidence(tmp_path / "plain"), evidence(tmp_path / "out")
    for name in ("answer_status", "snippet", "snippet_start", "snippet_end", "answer_score"):
        assert [item[name] for item in one] == [item[name] for item in two]
    assert [item["rank"] for item in one] != [item["rank"] for item in two]
    about = lineage(tmp_path / "out")["judges"]["cross-encoder"]
    assert (about["kind"], about["model"]) == ("cross-encoder", "tiny-ce")
    assert about["answers_by"]["model"] == "arhn-hf reader"
    assert about["answers_by"]["revision"] == lineage(tmp_path / "plain")["judges"]["reader"]["revision"]


def test_ranks_follow_the_cross_encoders_scores(ranker: str, tmp_path: Path, source: Path) -> None:
    typed = row_of_texts(
        "who painted the night watch", ["Rembrandt painted it in 1642."],
        ["The Night Watch is a work by Rembrandt.", "It was painted by Rembrandt van Rijn.", "Vermeer painted a maid."],
    )  # fmt: skip
    config = RunConfig(judge="cross-encoder", model=ranker, rank_candidates="all", **OPEN)
    report = try_row(config, None, typed, Monitor())
    scores = {
        one["request"]["text"]: json.loads(one["response"])["score"]
        for one in report["exchanges"]
        if one["kind"] == "rank"
    }
    assert len(scores) == 4
    ranks = {one["text"]: one["ranking"]["placements"][0]["rank"] for one in report["passages"]}
    assert sorted(ranks, key=ranks.__getitem__) == sorted(scores, key=scores.__getitem__, reverse=True)


def test_only_the_embedded_reader_is_english_only(reader: str, ranker: str, tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text(json.dumps(GERMAN) + "\n", encoding="utf-8")
    for judge, model, english in (("reader", None, True), ("reader", reader, False), ("cross-encoder", ranker, True)):
        out = tmp_path / f"{judge}-{model is None}"
        arhn_hf.refine(str(data), output=str(out), judge=judge, model=model, **OPEN)
        assert ({"not_judged"} == {item["answer_status"] for item in evidence(out)}) is english
        assert open_run(out, tmp_path / "work").english_only is english
        assert check(out)["exit_code"] == 0


def test_a_finished_folder_is_derived_from_without_the_checkpoint(source: Path, ranker: str, tmp_path: Path) -> None:
    arhn_hf.refine(str(source), output=str(tmp_path / "out"), judge="cross-encoder", model=ranker, **OPEN)
    derived = derive(tmp_path / "out", tmp_path / "strict", max_new_positives=0)
    assert derived.exit_code == 0
    assert check(tmp_path / "strict")["exit_code"] == 0


def test_a_similarity_model_is_named_in_the_lineage(sample: Path, source: Path, reader: str, tmp_path: Path) -> None:
    folder = encoder(tmp_path / "st", texts_of(sample))
    for model, kind in ((reader, "reader-checkpoint"), (None, "reader")):
        out = tmp_path / kind
        arhn_hf.refine(str(source), output=str(out), model=model, similarity_model=str(folder), **OPEN)
        about = lineage(out)["judges"]["reader"]
        assert (about["kind"], about["similarity_model"]) == (kind, "encoder")
        assert about["similarity_revision"].startswith("sha256:")
        assert check(out)["exit_code"] == 0


def test_a_wrong_checkpoint_leaves_no_answers_behind(sample: Path, source: Path, ranker: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no question-answering head"):
        arhn_hf.refine(str(source), output=str(tmp_path / "out"), judge="reader", model=ranker)
    assert not (tmp_path / "out" / "evidence").exists()
    config = RunConfig(judge="cross-encoder", model=str(bert(tmp_path / "plain", texts_of(sample), "BertModel")))
    store = Store(tmp_path / "s.sqlite")
    with pytest.raises(UsageError, match="has no classification head"):
        open_judge(config, store, Monitor())
    store.close()


def test_a_cross_encoder_is_measured_among_the_baselines(
    source: Path, ranker: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, gold = tmp_path / "out", tmp_path / "gold.jsonl"
    arhn_hf.refine(str(source), output=str(out), **OPEN)
    rows = [item for item in evidence(out) if item["label"] == "negative"]
    labels = [
        {"query_id": item["query_id"], "docid": item["docid"], "grade": 2 * (number % 2)}
        for number, item in enumerate(rows)
    ]
    gold.write_text("".join(json.dumps(one) + "\n" for one in labels), encoding="utf-8")
    command = ["audit", str(out), "--gold", str(gold), "--draws", "100", "--json"]
    assert exit_code(*command, "--cross-encoder", ranker) == 0
    found = json.loads(capsys.readouterr().out)["baselines"]["cross-encoder tiny-ce"]
    engine = CrossEncoderEngine(ranker)
    try:
        texts = passages(source)
        scores, truth = [], []
        for item, label in zip(rows, labels, strict=True):
            if item["action"] in ("relabel", "filter", "keep"):
                row = json.loads(source.read_text(encoding="utf-8").splitlines()[item["row"]])
                text = texts[item["row"], "negative", item["position"]]
                asked = {"query": row["query"], "title": text["title"], "text": text["text"], "max_chunks": 32}
                scores.append(json.loads(engine.submit(Request("rank", asked)).result().text)["score"])
                truth.append(label["grade"] >= 2)
    finally:
        engine.close()
    above = [(a > b) + (a == b) / 2 for a, t in zip(scores, truth, strict=True) if t
             for b, u in zip(scores, truth, strict=True) if not u]  # fmt: skip
    assert found["ranking"]["auroc"]["value"] == pytest.approx(sum(above) / len(above))
    refusals = {
        "--no-baselines": [*command, "--no-baselines", "--cross-encoder", ranker],
        "--cross-encoder /nowhere/x": [*command, "--cross-encoder", "/nowhere/x"],
        "--cross-encoder-revision": [*command, "--cross-encoder-revision", "v1"],
    }
    for said, wrong in refusals.items():
        assert exit_code(*wrong) == 2
        error = json.loads(capsys.readouterr().out)["error"]
        assert said in f"{error['where']} {error['message']}"
