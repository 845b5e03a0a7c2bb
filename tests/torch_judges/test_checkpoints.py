"""Other people's checkpoints as engines: the same numbers as transformers gives, exact places, and clear refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_checkpoints import PLACES, bert, encoder, libraries, roberta, texts_of, xlm_roberta

from arhn_hf.engines.base import Request
from arhn_hf.engines.checkpoints import _limit, _windows
from arhn_hf.engines.cross_encoder import CrossEncoderEngine
from arhn_hf.engines.torch_reader import TorchReaderEngine
from arhn_hf.reader.fusion import Similarities
from arhn_hf.reader.model import EMPTY_MARGIN, SPAN_TOKENS, ReaderModel
from arhn_hf.records import UsageError

QUERY = "which planet has the shortest day"
SHORT = "Jupiter turns on its axis quicker than any other planet."
MAKERS = {"bert": (bert, "Bert"), "roberta": (roberta, "Roberta"), "xlm-roberta": (xlm_roberta, "Roberta")}


@pytest.fixture(scope="module")
def texts(sample: Path) -> list[str]:
    libraries()
    return texts_of(sample)


@pytest.fixture(scope="module", params=sorted(MAKERS))
def reader(request: pytest.FixtureRequest, texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a question-answering checkpoint."""
    make, name = MAKERS[request.param]
    return make(tmp_path_factory.mktemp("qa") / request.param, texts, f"{name}ForQuestionAnswering")


@pytest.fixture(scope="module", params=sorted(MAKERS))
def ranker(request: pytest.FixtureRequest, texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a cross-encoder."""
    make, name = MAKERS[request.param]
    options = {"num_labels": 1} if request.param == "bert" else {}
    return make(tmp_path_factory.mktemp("ce") / request.param, texts, f"{name}ForSequenceClassification", **options)


def payload(text: str, title: str = "", query: str = QUERY, positives: Any = (), most: int = 32) -> dict[str, Any]:
    return {"query": query, "title": title, "text": text, "positives": list(positives), "max_chunks": most}


def transformers_best(folder: Path, query: str, text: str) -> tuple[float, int, int]:
    """Margin and place of the best span of one window, by transformers' own tokenizer and a plain search."""
    torch, transformers = libraries()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForQuestionAnswering.from_pretrained(folder).eval()
    given = tokenizer(query, text, return_tensors="pt", return_offsets_mapping=True)
    places = given.pop("offset_mapping")[0].tolist()
    with torch.no_grad():
        out = model(**given)
    starts, ends = out.start_logits[0].double(), out.end_logits[0].double()
    whose = given.encodings[0].sequence_ids
    inside = [i for i, (start, end) in enumerate(places) if whose[i] == 1 and text[start:end].strip()]
    score, i, j = max((float(starts[i] + ends[j]), i, j) for i in inside for j in inside if 0 <= j - i < SPAN_TOKENS)
    words = text[places[i][0] : places[j][1]]
    start = places[i][0] + len(words) - len(words.lstrip())
    return score - float(starts[0] + ends[0]), start, start + len(words.strip())


def test_span_and_margin_are_those_of_transformers(reader: Path) -> None:
    engine = TorchReaderEngine(str(reader))
    for text in (SHORT, "Saturn: ten and a half hours. Žluťoučký kůň 🎉 naïve!", "Venus"):
        found = engine.answer(payload(text))
        margin, start, end = transformers_best(reader, QUERY, text)
        assert found["margin"] == pytest.approx(margin, abs=1e-5)
        assert (found["field"], found["start"], found["end"]) == ("text", start, end)
        assert found["snippet"] == text[start:end]
    engine.close()


def test_the_score_is_the_embedded_readers_fusion(reader: Path) -> None:
    engine = TorchReaderEngine(str(reader))
    embedded = ReaderModel()
    positive = ["Jupiter", "Its day takes less than ten hours."]
    found = engine.answer(payload(SHORT, positives=[positive]))
    asked, read, other = (embedded.embed(*one) for one in ((None, QUERY), ("", SHORT), positive))
    near = Similarities(float((read @ asked.T).max()), float((read @ other.T).max()), float((other @ asked.T).max()))
    assert found["score"] == pytest.approx(embedded.fusion.score(found["margin"], near), abs=1e-6)
    alone = embedded.fusion.score(found["margin"], Similarities(near.query))
    assert engine.answer(payload(SHORT))["score"] == pytest.approx(alone, abs=1e-6)
    engine.close()


@pytest.mark.parametrize(
    "text",
    [
        "Ça va: le café de Zoë est à Köln, naïve façade.", "🎉🎉 The party 👩‍👩‍👧 starts at nine 🕘 o'clock 🇩🇪.",
        "店は九時に開きます。 The shop opens at nine.", "lone \ud83d surrogate opens at nine", "tabs\tand\x00controls\x07",
        "[SEP] [CLS] </s><s> opens at nine [MASK] <pad><pad>", "  spaces   around \n\n lines  ", "word " * 300,
    ],
)  # fmt: skip
def test_places_are_code_points_of_the_original(reader: Path, text: str) -> None:
    engine = TorchReaderEngine(str(reader))
    for title in ("", text, "A title"):
        found = engine.answer(payload(text, title))
        source = title if found["field"] == "title" else text
        assert 0 <= found["start"] < found["end"] <= len(source)
        assert found["snippet"] == source[found["start"] : found["end"]] == found["snippet"].strip()
        assert len(text) > 1000 or not found["truncated"]
    engine.close()


def test_an_answer_may_lie_in_the_title_and_never_across(reader: Path, texts: list[str]) -> None:
    engine = TorchReaderEngine(str(reader))
    seen = {engine.answer(payload(text, title))["field"] for title, text in zip(texts[:40], texts[20:60], strict=True)}
    assert seen == {"title", "text"}
    alone = engine.answer(payload("", "Jupiter's fast spin"))
    assert alone["field"] == "title"
    engine.close()


def test_a_long_passage_is_read_in_windows_and_cut_where_it_is_said(reader: Path, texts: list[str]) -> None:
    engine = TorchReaderEngine(str(reader))
    text = " ".join(texts[:60])
    whole, cut = engine.answer(payload(text)), engine.answer(payload(text, most=2))
    assert cut["truncated"]
    assert cut["margin"] <= engine.answer(payload(text, most=500))["margin"]
    assert whole["margin"] >= cut["margin"]
    assert engine.answer(payload("x " * 50_000, most=2))["truncated"]
    engine.close()


@pytest.mark.parametrize("text", ["", " ", "\n\t "])
def test_nothing_to_read(reader: Path, text: str) -> None:
    engine = TorchReaderEngine(str(reader))
    found = engine.answer(payload(text))
    assert (found["score"], found["margin"], found["field"]) == (0.0, EMPTY_MARGIN, None)
    engine.close()


def test_the_same_bits_alone_and_in_company(reader: Path, ranker: Path, texts: list[str]) -> None:
    jobs = [Request("answer", payload(text, title)) for title, text in zip(texts[:24], texts[24:48], strict=True)]
    for make in (TorchReaderEngine, CrossEncoderEngine):
        engine = make(str(reader if make is TorchReaderEngine else ranker), threads=4)
        alone = [engine.submit(job).result() for job in jobs]
        together = [one.result() for one in [engine.submit(job) for job in jobs[::-1]]][::-1]
        engine.close()
        assert alone == together


def test_a_pairs_score_is_transformers_own(ranker: Path) -> None:
    torch, transformers = libraries()
    engine = CrossEncoderEngine(str(ranker))
    tokenizer = transformers.AutoTokenizer.from_pretrained(ranker)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(ranker).eval()
    for title, text in (("", SHORT), ("Jupiter", SHORT)):
        with torch.no_grad():
            given = tokenizer(QUERY, f"{title}\n{text}" if title else text, return_tensors="pt")
            expected = float(model(**given).logits[0, 0])
        assert engine.answer(payload(text, title))["score"] == pytest.approx(expected, abs=1e-5)
    engine.close()


def test_a_long_passage_counts_as_its_best_window(ranker: Path, texts: list[str]) -> None:
    engine = CrossEncoderEngine(str(ranker))
    text = " ".join(texts[:60])
    scores = [engine.answer(payload(text, most=most)) for most in (1, 2, 8, 500)]
    assert [one["truncated"] for one in scores] == [True, True, True, False]
    values = [one["score"] for one in scores]
    assert values == sorted(values)
    assert isinstance(engine.answer(payload(""))["score"], float)
    engine.close()


def test_torch_gets_its_threads_back(ranker: Path) -> None:
    torch, _ = libraries()
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    one, two = CrossEncoderEngine(str(ranker)), CrossEncoderEngine(str(ranker))
    assert torch.get_num_threads() == 1
    one.close()
    one.close()
    assert torch.get_num_threads() == 1
    two.close()
    assert torch.get_num_threads() == 3
    torch.set_num_threads(before)


def test_a_model_that_gives_no_number_is_an_error_not_an_answer(texts: list[str], tmp_path: Path) -> None:
    torch, transformers = libraries()
    folder = bert(tmp_path / "nan", texts, "BertForSequenceClassification", num_labels=1)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    torch.nn.init.constant_(model.classifier.bias, float("nan"))
    model.save_pretrained(folder)
    engine = CrossEncoderEngine(str(folder))
    assert engine.submit(Request("rank", payload(SHORT))).result().finish_reason == "error"
    engine.close()


def refusal(make: Any, *args: Any, **options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        make(*args, **options)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_a_checkpoint_without_the_head_is_refused(texts: list[str], tmp_path: Path) -> None:
    plain = bert(tmp_path / "plain", texts, "BertModel")
    masked = bert(tmp_path / "masked", texts, "BertForMaskedLM")
    for folder, named in ((plain, "BertModel"), (masked, "BertForMaskedLM")):
        line = refusal(TorchReaderEngine, str(folder))
        assert f"has no question-answering head (it is a {named})" in line
        assert str(folder) in line
        assert f"has no classification head (it is a {named})" in refusal(CrossEncoderEngine, str(folder))


def test_a_head_that_is_only_promised_is_refused(texts: list[str], tmp_path: Path) -> None:
    """The configuration names the head or names nothing, and the weights lack it: transformers would make one up."""
    folder = bert(tmp_path / "promised", texts, "BertModel", num_labels=1)
    for promise in (["BertForQuestionAnswering"], None):
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        (folder / "config.json").write_text(
            json.dumps({**config, "architectures": promise, "id2label": {"0": "A", "1": "B"}}), encoding="utf-8"
        )
        assert "has no question-answering head (the weights lack qa_outputs" in refusal(TorchReaderEngine, str(folder))
    (folder / "config.json").write_text(
        json.dumps({**config, "architectures": None, "id2label": {"0": "A"}}), encoding="utf-8"
    )
    assert "has no classification head (the weights lack classifier" in refusal(CrossEncoderEngine, str(folder))


@pytest.mark.parametrize("labels", [2, 3])
def test_a_classifier_with_more_than_one_label_is_refused(texts: list[str], tmp_path: Path, labels: int) -> None:
    folder = bert(tmp_path / "many", texts, "BertForSequenceClassification", num_labels=labels)
    assert f"its classification head has {labels} labels, not 1" in refusal(CrossEncoderEngine, str(folder))


def test_folders_that_are_no_checkpoint_are_refused(texts: list[str], tmp_path: Path, reader: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no model" in refusal(TorchReaderEngine, str(tmp_path / "empty"))
    shutil.copytree(reader, tmp_path / "broken")
    (tmp_path / "broken" / "model.safetensors").write_bytes(b"not weights")
    assert "cannot be loaded" in refusal(TorchReaderEngine, str(tmp_path / "broken"))
    assert "neither a folder nor a Hub model id" in refusal(TorchReaderEngine, str(tmp_path / "none" / "of" / "it"))


def test_code_that_comes_with_a_checkpoint_is_not_run(tmp_path: Path, reader: Path) -> None:
    shutil.copytree(reader, tmp_path / "custom")
    config = json.loads((reader / "config.json").read_text(encoding="utf-8"))
    config |= {
        "model_type": "mine",
        "auto_map": {"AutoConfig": "evil.Config", "AutoModelForQuestionAnswering": "evil.M"},
    }
    (tmp_path / "custom" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "custom" / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n", encoding="utf-8")
    assert "cannot be loaded" in refusal(TorchReaderEngine, str(tmp_path / "custom"))
    assert not (tmp_path / "ran").exists()


def test_identity_changes_with_the_weights(texts: list[str], tmp_path: Path) -> None:
    one = TorchReaderEngine(str(bert(tmp_path / "a" / "same", texts, "BertForQuestionAnswering", seed=1)))
    two = TorchReaderEngine(str(bert(tmp_path / "b" / "same", texts, "BertForQuestionAnswering", seed=9)))
    assert one.identity["model"] == two.identity["model"] == "same"
    assert one.identity["revision"] != two.identity["revision"]
    assert one.identity["revision"].startswith("sha256:")
    assert one.identity["dtype"] == "float32"
    one.close()
    two.close()


def test_another_encoder_compares_passages(reader: Path, texts: list[str], tmp_path: Path) -> None:
    folder = encoder(tmp_path, texts)
    import sentence_transformers

    engine = TorchReaderEngine(str(reader), similarity_model=str(folder))
    direct = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    positive = ["Jupiter", "Its day takes less than ten hours."]
    found = engine.answer(payload(SHORT, positives=[positive]))
    asked = direct.encode_query([QUERY], normalize_embeddings=True)
    read = direct.encode_document([SHORT], normalize_embeddings=True)
    other = direct.encode_document(["\n".join(positive)], normalize_embeddings=True)
    near = Similarities(float((read @ asked.T).max()), float((read @ other.T).max()), float((other @ asked.T).max()))
    expected = ReaderModel().fusion.score(found["margin"], near)
    assert found["score"] == pytest.approx(expected, abs=1e-5)
    assert engine.identity["similarity_model"] == "encoder"
    long = engine.answer(payload(" ".join(texts[:60]), positives=[[None, " ".join(texts[:60])]]))
    assert 0 <= long["score"] <= 1
    assert engine.answer(payload(SHORT, query="")) == engine.answer(payload(SHORT, query=""))
    engine.close()
    alone = TorchReaderEngine(None, similarity_model=str(folder))
    embedded = alone.answer(payload(SHORT, positives=[positive]))
    reading = ReaderModel().read(QUERY, "", SHORT, [])
    assert (embedded["start"], embedded["end"], embedded["margin"]) == (reading.start, reading.end, reading.margin)
    assert alone.identity["model"] == "arhn-hf reader"
    alone.close()


def test_the_files_of_an_encoders_modules_are_part_of_its_identity(texts: list[str], tmp_path: Path) -> None:
    folder = encoder(tmp_path, texts)
    before = TorchReaderEngine(None, similarity_model=str(folder))
    inner = sorted(folder.glob("*_Pooling/config.json"))[0]
    inner.write_text(inner.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    after = TorchReaderEngine(None, similarity_model=str(folder))
    assert before.identity["similarity_revision"] != after.identity["similarity_revision"]
    before.close()
    after.close()
    (tmp_path / "empty").mkdir()
    line = refusal(TorchReaderEngine, None, similarity_model=str(tmp_path / "empty"))
    assert line.startswith("--similarity-model")


class _Config:
    def __init__(self, places: int | None) -> None:
        self.max_position_embeddings = places


@pytest.mark.parametrize(
    ("declared", "places", "limit"),
    [(512, 512, 512), (512, 514, 512), (10**30, 514, 512), (10**30, None, 512), (8192, None, 8192), (10**30, -1, 512)],
)
def test_the_limit_is_what_the_model_takes(declared: int, places: int | None, limit: int) -> None:
    assert _limit(declared, _Config(places)) == limit


@pytest.mark.parametrize("title", [0, 5, 64, 65, 700])
@pytest.mark.parametrize("text", [0, 1, 100, 185, 1000])
@pytest.mark.parametrize("room", [12, 28, 40, 300])
def test_windows_cover_everything_and_fit(title: int, text: int, room: int) -> None:
    windows, covered = _windows(title, text, room, 9999)
    assert covered
    assert all(w.title_to - w.title_from + w.text_to - w.text_from <= room for w in windows)
    assert {i for w in windows for i in range(w.title_from, w.title_to)} == set(range(title))
    assert {i for w in windows for i in range(w.text_from, w.text_to)} == set(range(text))
    assert bool(windows) == bool(title or text)
    assert _windows(title, text, room, 1) == (windows[:1], len(windows) <= 1)


def test_no_window_is_longer_than_the_model_takes(reader: Path, texts: list[str]) -> None:
    engine = TorchReaderEngine(str(reader))
    assert engine._checkpoint is not None
    for query in ("", QUERY, " ".join(texts[:30])):
        windows, _ = engine._checkpoint.inputs(query, " ".join(texts[3:6]), " ".join(texts[:20]), 99)
        assert max(len(one.ids) for one in windows) == PLACES
        assert all(one.parts for one in windows)
    engine.close()
