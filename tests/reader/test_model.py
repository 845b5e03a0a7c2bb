"""The embedded reader: the same bits in any company, offsets into the original string, bounded work, plain sense.

Why it exists: stored answers are found again by the reader's identity, and promise 5 says that its answers depend on
nothing but the pair. No accelerator, no download, no data outside the repository.
"""

from __future__ import annotations

import dataclasses
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import arhn_hf.reader
from arhn_hf.reader.cache import Cache
from arhn_hf.reader.fusion import Similarities
from arhn_hf.reader.model import EMPTY_MARGIN, FILES, ReaderModel, Reading
from arhn_hf.reader.tokens import OVERLAP, WINDOW, PieceTokenizer, reader_windows

WEIGHTS = Path(arhn_hf.reader.__file__).parent / "weights"

TEA = "Black tea should be steeped for three to five minutes in water just off the boil."
PAIRS = [
    (
        "how long should black tea be steeped",
        TEA,
        "Black tea is grown in India, Sri Lanka and Kenya, and sold by weight at auctions.",
    ),
    (
        "who designed the lighthouse on Gull Rock",
        "The lighthouse on Gull Rock was designed by the engineer Ada Whitcombe and lit in 1868.",
        "The lighthouse on Gull Rock stands forty metres tall and can be seen from the harbour.",
    ),
    (
        "what year did the old mill burn down",
        "After a dry summer the old mill burned down in 1911 and was never rebuilt.",
        "The old mill had two water wheels and ground barley for the whole valley.",
    ),
    (
        "where do emperor penguins breed",
        "Emperor penguins breed on the sea ice of Antarctica during the winter.",
        "Emperor penguins are the tallest of all penguins and feed mainly on fish and squid.",
    ),
    (
        "what is the boiling point of ethanol",
        "Ethanol boils at 78.4 degrees Celsius at normal pressure.",
        "Ethanol is used as a solvent, as a fuel and in the making of perfumes.",
    ),
]


@pytest.fixture(scope="module")
def model() -> ReaderModel:
    return ReaderModel()


def slice_of(reading: Reading, title: str | None, text: str) -> str:
    assert reading.field is not None
    return ((title or "") if reading.field == "title" else text)[reading.start : reading.end]


@pytest.mark.parametrize(("query", "answers", "other"), PAIRS)
def test_an_answer_scores_above_a_passage_on_the_same_thing(
    model: ReaderModel, query: str, answers: str, other: str
) -> None:
    for positives in ([], [(None, answers + " So it is known.")]):
        assert model.read(query, None, answers, positives).score > model.read(query, None, other, positives).score


def test_the_span_is_the_answer(model: ReaderModel) -> None:
    reading = model.read("how long should black tea be steeped", "Brewing", TEA, [])
    assert "three to five minutes" in slice_of(reading, "Brewing", TEA)
    assert reading.similarities.positive is None
    assert (reading.chunks, reading.truncated) == (1, False)


def test_the_same_bits_alone_in_company_in_threads_and_repeated() -> None:
    jobs = [(q, None, text, [(None, a)]) for q, a, b in PAIRS for text in (a, b, f"{a} {b} {a}")]
    alone = [ReaderModel().read(*job) for job in jobs[:3]]
    model = ReaderModel()
    first = [model.read(*job) for job in jobs]
    backwards = [model.read(*job) for job in reversed(jobs)][::-1]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda job: model.read(*job), jobs * 3))
    assert first[:3] == alone  # dataclass equality: every float has the same bits
    assert first == backwards
    assert together == first * 3


def test_padding_changes_no_bit(model: ReaderModel) -> None:
    """The networks take one input without a batch dimension, so nothing can be padded but the texts themselves."""
    for q, a, b in PAIRS:
        padded = model.read(f"{q}   ", None, f"{b}{' ' * 400}", [(None, f"{a}\n\n")])
        assert padded == model.read(q, None, b, [(None, a)])


def test_bits_do_not_depend_on_what_the_cache_still_holds(model: ReaderModel, monkeypatch: pytest.MonkeyPatch) -> None:
    before = [model.read(q, None, b, [(None, a)]) for q, a, b in PAIRS]
    monkeypatch.setattr(model, "_read_lately", Cache(0, lambda one: 1))
    assert [model.read(q, None, b, [(None, a)]) for q, a, b in PAIRS] == before


@pytest.mark.parametrize(
    "text",
    [
        "Ça va: le café de Zoë est à Köln, naïve façade.",
        "Cafe\u0301 Zoe\u0308 opens at nine o'clock.",
        "🎉🎉 The party 👩‍👩‍👧 starts at nine 🕘 o'clock 🇩🇪.",
        "החנות נפתחת בשעה תשע בבוקר the shop opens at nine.",
        "يفتح المتجر في التاسعة صباحا",
        "店は九時に開きます。 The shop opens at nine.",
        "tabs\tand\x00controls\x07 opens\u200bat\u00a0nine\ufeff now",
        "lone \ud83d surrogate opens at nine",
        "[SEP] [CLS] opens at nine [MASK] ##ing",
        "ﬁne ligatures ﬃ İstanbul ẞtraße opens at nine",
    ],
)
def test_spans_are_code_points_of_the_original(model: ReaderModel, text: str) -> None:
    reading = model.read("when does the shop open", text, f"{text} Nothing else.", [(text, text)])
    assert reading.field is not None
    assert reading.start is not None
    assert reading.end is not None
    source = text if reading.field == "title" else f"{text} Nothing else."
    assert 0 <= reading.start < reading.end <= len(source)
    span = source[reading.start : reading.end]
    assert span == span.strip()


@pytest.mark.parametrize(
    "text", ["Ångström naïve 🎉café", "e\u0301te\u0301 是好 x\u0300y", "👩‍👩‍👧 ab ﬃ cd", "a\ud800b c\x00d"]
)
def test_token_places_cover_what_they_were_made_from(text: str) -> None:
    tokens = PieceTokenizer(WEIGHTS / "tokenizer.json").tokens(text)
    assert all(0 <= a < b <= len(text) for a, b in tokens.places)
    assert tokens.places == sorted(tokens.places)
    covered = {i for a, b in tokens.places for i in range(a, b)}
    assert {i for i, c in enumerate(text) if c.isalnum()} <= covered


def test_offsets_after_wide_characters_are_exact(model: ReaderModel) -> None:
    text = "🎉 Zoë's café naïvely 👩‍👩‍👧 advertises: the shop was founded in 1911 by Åsa."
    reading = model.read("when was the shop founded", None, text, [])
    assert slice_of(reading, None, text).endswith("1911")


@pytest.mark.parametrize("text", ["", " ", "\n\t ", "\x00\x01", "\u200b", "\ufeff"])
def test_nothing_to_read(model: ReaderModel, text: str) -> None:
    reading = model.read("who was it", None, text, [(None, "It was Ada.")])
    assert reading == Reading(0.0, EMPTY_MARGIN, None, None, None, Similarities(0.0), 0, False)


def test_empty_query_title_and_positives_are_read(model: ReaderModel) -> None:
    assert model.read("", "", "Some text.", [(None, "")]).similarities.positive is None
    only_title = model.read("who wrote it", "Written by Ada", "", [])
    assert (only_title.field, only_title.chunks) == ("title", 1)
    assert model.read("", None, "Some text.", []).field == "text"
    assert model.read("q", None, "Some text.", []) == model.read("q", "", "Some text.", [])


def test_max_chunks_below_one_is_refused(model: ReaderModel) -> None:
    with pytest.raises(ValueError, match="max_chunks"):
        model.read("q", None, "text", [], max_chunks=0)


def test_a_long_passage_is_read_in_windows(model: ReaderModel) -> None:
    filler = "The village market sells bread, cheese and apples every week. " * 40
    question, fact = "who designed the lighthouse", "The lighthouse was designed by Ada Whitcombe."
    text = f"{filler}{fact} {filler}"
    reading = model.read(question, None, text, [])
    assert reading.chunks > 3
    assert not reading.truncated
    assert "Ada Whitcombe" in slice_of(reading, None, text)
    cut = model.read(question, None, text, [], max_chunks=2)
    assert (cut.chunks, cut.truncated) == (2, True)
    assert cut.score < reading.score


@pytest.mark.parametrize("text", ["word " * 60_000, "x" * 300_000, "漢" * 300_000, " " * 300_000, "a.b," * 75_000])
def test_three_hundred_thousand_characters(model: ReaderModel, text: str) -> None:
    began = time.monotonic()
    reading = model.read("what is it", "A title", text, [], max_chunks=4)
    assert reading.chunks <= 4
    assert time.monotonic() - began < 20


def test_a_long_title_is_read_wholly(model: ReaderModel) -> None:
    title = "the village market sells bread and cheese " * 60 + "and the lighthouse was designed by Ada Whitcombe"
    reading = model.read("who designed the lighthouse", title, "Bread is sold on Mondays.", [])
    assert reading.field == "title"
    assert "Ada Whitcombe" in slice_of(reading, title, "")


@pytest.mark.parametrize("query", [0, 12, 64])
@pytest.mark.parametrize("title", [0, 5, 64, 65, 700])
@pytest.mark.parametrize("text", [0, 1, 100, 185, 186, 187, 1000])
def test_windows_cover_everything_and_fit(query: int, title: int, text: int) -> None:
    windows, covered = reader_windows(query, title, text, 999)
    assert covered
    for w in windows:
        fields = (w.title_to > w.title_from) + (w.text_to > w.text_from)
        assert query + 2 + (w.title_to - w.title_from) + (w.text_to - w.text_from) + fields <= WINDOW
    assert {i for w in windows for i in range(w.title_from, w.title_to)} == set(range(title))
    assert {i for w in windows for i in range(w.text_from, w.text_to)} == set(range(text))
    texts = [w for w in windows if w.text_to]
    assert all(b.text_from == a.text_to - OVERLAP for a, b in zip(texts, texts[1:], strict=False))


def test_pieces_of_a_long_text_tokenise_like_the_whole() -> None:
    tokenizer = PieceTokenizer(WEIGHTS / "tokenizer.json")
    text = " ".join(f"Señor {i}, naïve-{i * 7919} 🎉" for i in range(3000))
    whole = tokenizer._tokenizer.encode(text, add_special_tokens=False)
    tokens = tokenizer.tokens(text)
    assert tokens.complete
    assert tokens.ids == whole.ids
    assert tokens.places == whole.offsets
    some = tokenizer.tokens(text, 100)
    assert not some.complete
    assert some.ids == whole.ids[: len(some.ids)]
    assert len(some.ids) >= 100


def test_the_closest_positive_counts(model: ReaderModel) -> None:
    query, answers, other = PAIRS[0]
    one = model.read(query, None, answers, [(None, other)])
    both = model.read(query, None, answers, [(None, "Trains run hourly."), (None, other)])
    assert one.similarities.positive == both.similarities.positive
    assert model.read(query, None, answers, [(None, answers)]).similarities.positive == pytest.approx(1, abs=1e-5)


def test_count_tokens(model: ReaderModel) -> None:
    assert model.count_tokens("") == 0
    assert model.count_tokens("one two three") == 3
    assert model.count_tokens("one [SEP]") == 4


def test_weights_are_small_and_named() -> None:
    assert sum(f.stat().st_size for f in WEIGHTS.iterdir()) <= 50_000_000
    assert {*FILES, "NOTICE.md"} <= {f.name for f in WEIGHTS.iterdir()}


def test_identity_changes_with_the_weights(tmp_path: Path, model: ReaderModel) -> None:
    assert len(model.identity) == 64
    for name in FILES:
        (tmp_path / name).write_bytes((WEIGHTS / name).read_bytes())
    assert ReaderModel(tmp_path).identity == model.identity
    (tmp_path / "fusion.json").write_bytes((WEIGHTS / "fusion.json").read_bytes() + b"\n")
    assert ReaderModel(tmp_path).identity != model.identity


def test_scores_are_probabilities(model: ReaderModel) -> None:
    for query, answers, _ in PAIRS:
        reading = model.read(query, None, answers, [])
        assert 0 <= reading.score <= 1
        assert all(isinstance(v, float | int | str | bool | tuple | None) for v in dataclasses.astuple(reading))
