"""SQuAD as the reader needs it: hash parts, sentences, and the pairs it is trained on.

Why it exists: every number about the reader depends on which articles it has seen. The article title alone decides, by
the first hex digit of its sha256: 0-9 train the reader, a-c fit the fusion, d-f test. This file is the only place that
reads SQuAD, so that nothing can slip from one part into another.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

TRAIN, FIT, TEST = "0123456789", "abc", "def"
_BREAK = re.compile(r"(?<=[.!?])[\"')\]”’]*\s+(?=[\"'(\[“‘]?[A-Z0-9])")
_ABBREVIATION = re.compile(r"\b(?:[A-Z]|Mr|Mrs|Ms|Dr|St|Jr|Sr|vs|No|Vol|Prof|Gen|Col|Lt|Capt|Rev|Inc|Ltd|c|ca|cf)\.$")
_FUNCTION_WORDS = (
    "a an the of in on at to for by with from and or is are was were be been do does did has have had what which who "
    "whom whose when where why how that this it its as"
)
_FUNCTION = frozenset(_FUNCTION_WORDS.split())


@dataclass(frozen=True, slots=True)
class Question:
    """A question and its gold answer strings (SQuAD's file here has no offsets)."""

    text: str
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph, its article's title, its sentences as (start, end) in `context`, and its questions."""

    title: str
    context: str
    sentences: tuple[tuple[int, int], ...]
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """One training example; `span` is (start, end) in code points of the field `where`, None where nothing answers."""

    question: str
    title: str | None
    text: str
    span: tuple[int, int] | None
    where: str = "text"


def part(title: str) -> str:
    """First hex digit of sha256(title): the part an article belongs to."""
    return hashlib.sha256(title.encode()).hexdigest()[0]


def split_sentences(text: str) -> tuple[tuple[int, int], ...]:
    """Sentences of `text` as (start, end); a rough rule that knows initials and a few abbreviations."""
    spans, start = [], 0
    for gap in _BREAK.finditer(text):
        if _ABBREVIATION.search(text[start : gap.start()]):
            continue
        spans.append((start, len(text[: gap.end()].rstrip())))
        start = gap.end()
    if text[start:].strip():
        spans.append((start, len(text.rstrip())))
    return tuple(spans)


def load_squad(path: Path, digits: str) -> list[Paragraph]:
    """Paragraphs of the articles whose part is one of `digits`, in file order; titles with spaces for underscores."""
    out = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if part(row["title"]) not in digits:
                continue
            questions = tuple(
                Question(q["question"].strip(), tuple(dict.fromkeys(a.strip() for a in q["answers"] if a.strip())))
                for q in row["qas"]
                if q["answers"]
            )
            context = row["context"]
            out.append(Paragraph(row["title"].replace("_", " "), context, split_sentences(context), questions))
    return out


def occurrences(text: str, answer: str) -> list[tuple[int, int]]:
    """Places where `answer` stands in `text` as whole words, case ignored."""
    return [m.span() for m in re.finditer(rf"(?<!\w){re.escape(answer)}(?!\w)", text, re.IGNORECASE)]


def words(text: str) -> list[str]:
    """Lower-case word tokens."""
    return re.findall(r"\w+", text.lower())


def _overlap(question: str, text: str) -> int:
    return len((set(words(question)) - _FUNCTION) & set(words(text)))


def gold_place(paragraph: Paragraph, question: Question) -> tuple[int, int] | None:
    """The occurrence of the first answer in the sentence that shares most words with the question."""
    places = occurrences(paragraph.context, question.answers[0])
    if not places:
        return None

    def shared(place: tuple[int, int]) -> int:
        around = [s for s in paragraph.sentences if s[0] < place[1] and place[0] < s[1]]
        return _overlap(question.text, paragraph.context[around[0][0] : around[-1][1]]) if around else 0

    return max(places, key=lambda p: (shared(p), -p[0]))


class Bm25:
    """BM25 over a fixed list of texts (bm25s, English stop words, no stemming)."""

    def __init__(self, texts: Sequence[str]) -> None:
        import bm25s

        self._bm25s = bm25s
        self._index = bm25s.BM25()
        self._index.index(bm25s.tokenize(list(texts), stopwords="en", show_progress=False), show_progress=False)

    def top(self, queries: Sequence[str], k: int) -> np.ndarray:
        """Indices of the best `k` texts for each query, shape (len(queries), k)."""
        tokens = self._bm25s.tokenize(list(queries), stopwords="en", show_progress=False)
        return self._index.retrieve(tokens, k=k, show_progress=False).documents


def _size(rng: random.Random) -> int:
    return rng.choices((1, 2, 3, 4, 6, 99), (0.09, 0.21, 0.20, 0.14, 0.12, 0.24))[0]


def _cut(sentences: Sequence[tuple[int, int]], keep: tuple[int, int], size: int, rng: random.Random) -> tuple[int, int]:
    """A run of about `size` sentences that covers the characters `keep`, as (start, end)."""
    inside = [i for i, s in enumerate(sentences) if s[0] < keep[1] and keep[0] < s[1]]
    first, last = (inside[0], inside[-1]) if inside else (0, len(sentences) - 1)
    more = max(0, size - (last - first + 1))
    before = first if size > len(sentences) else rng.randint(0, min(more, first))
    after = min(len(sentences) - 1, last + more - before)
    return sentences[first - before][0], sentences[after][1]


def _ask(question: str, rng: random.Random) -> str:
    """The question, sometimes as people type it: no question mark, or key words only."""
    if rng.random() < 0.5:
        question = question.rstrip("? ")
    if rng.random() < 0.1:
        left = [w for w in question.rstrip("? ").split() if w.lower() not in _FUNCTION]
        question = " ".join(left) if len(left) >= 2 else question
    return question


def _titled(question: str, title: str, text: str, span: tuple[int, int] | None, rng: random.Random) -> Pair:
    """Shows the title in 40 % of the pairs."""
    return Pair(question, title if rng.random() < 0.4 else None, text, span)


def _positive(paragraph: Paragraph, question: Question, rng: random.Random) -> Pair | None:
    place = gold_place(paragraph, question)
    if place is None:
        return None
    start, end = _cut(paragraph.sentences, place, _size(rng), rng)
    start, end = min(start, place[0]), max(end, place[1])
    text, span = paragraph.context[start:end], (place[0] - start, place[1] - start)
    return _titled(_ask(question.text, rng), paragraph.title, text, span, rng)


def _longer(pair: Pair, paragraph: Paragraph, others: Sequence[Paragraph], rng: random.Random) -> Pair:
    """`pair` with a window of another paragraph of its article, which holds no answer, before or behind its text."""
    other = rng.choice(others)
    more = _window_near(pair.question, other, rng) if other is not paragraph and other.sentences else ""
    if pair.span is None or not more.strip() or occurrences(more, pair.text[slice(*pair.span)]):
        return pair
    if rng.random() < 0.5:
        return Pair(pair.question, pair.title, f"{pair.text} {more}", pair.span)
    start, end = pair.span
    return Pair(pair.question, pair.title, f"{more} {pair.text}", (start + len(more) + 1, end + len(more) + 1))


def _window_near(question: str, paragraph: Paragraph, rng: random.Random) -> str:
    """A window of another paragraph around the sentence that shares most words with the question."""
    best = max(paragraph.sentences, key=lambda s: _overlap(question, paragraph.context[s[0] : s[1]]))
    start, end = _cut(paragraph.sentences, best, _size(rng), rng)
    return paragraph.context[start:end]


def _negative(
    own: Paragraph, question: Question, near: Iterable[int], paragraphs: Sequence[Paragraph], rng: random.Random
) -> Pair | None:
    def clean(text: str) -> bool:
        return bool(text.strip()) and not any(occurrences(text, answer) for answer in question.answers)

    kind = rng.random()
    if kind < 0.35:  # the same paragraph without the sentences that hold an answer
        left = [own.context[a:b] for a, b in own.sentences if clean(own.context[a:b])]
        if left:
            size = min(_size(rng), len(left))
            first = rng.randint(0, len(left) - size)
            text = " ".join(left[first : first + size])
            return _titled(_ask(question.text, rng), own.title, text, None, rng) if clean(text) else None
    if kind < 0.85:  # what BM25 finds
        pool = [paragraphs[i] for i in near if paragraphs[i] is not own and paragraphs[i].sentences]
        rng.shuffle(pool)
    else:
        pool = [rng.choice(paragraphs) for _ in range(3)]
    for other in pool:
        text = _window_near(question.text, other, rng)
        if clean(text):
            return _titled(_ask(question.text, rng), other.title, text, None, rng)
    return None


def training_pairs(
    paragraphs: Sequence[Paragraph], seed: int, answerable: float = 0.6, longer: float = 0.0, group: int = 8192
) -> Iterator[list[Pair]]:
    """Groups of `group` pairs without end, in a seeded order; a share `answerable` of them holds the answer.

    Negatives: 35 % the same paragraph without its answer sentences, 50 % what BM25 finds nearest to the question and
    that holds no gold answer, 15 % random. Windows of one sentence to the whole paragraph, drawn alike for both
    kinds, so that length says nothing. One pair in seventeen has its first sentence as the title, so that a title
    may hold the answer too. A share `longer` of the answerable ones goes on with a window of another paragraph of the
    same article: the same answer among other sentences when its question comes again. Every question comes once before any comes again, in each kind.
    """
    rng = random.Random(seed)
    asked = [(p, q) for p in paragraphs for q in p.questions if p.sentences]
    index = Bm25([p.context for p in paragraphs])
    articles: dict[str, list[Paragraph]] = {}
    for paragraph in paragraphs:
        articles.setdefault(paragraph.title, []).append(paragraph)
    left: dict[bool, list[int]] = {True: [], False: []}
    while True:
        out: list[Pair] = []
        kinds = [rng.random() < answerable for _ in range(group)]
        for kind in (True, False):
            while len(left[kind]) < group:
                left[kind] = rng.sample(range(len(asked)), len(asked)) + left[kind]
        takes = [(kind, left[kind].pop()) for kind in kinds]
        searched = [i for kind, i in takes if not kind]
        near = dict(zip(searched, index.top([asked[i][1].text for i in searched], 12), strict=True))
        for kind, i in takes:
            paragraph, question = asked[i]
            pair = (
                _positive(paragraph, question, rng)
                if kind
                else _negative(paragraph, question, near[i], paragraphs, rng)
            )
            if pair and kind and rng.random() < longer:
                pair = _longer(pair, paragraph, articles[paragraph.title], rng)
            if pair:
                out.append(_first_sentence_as_title(pair) if rng.random() < 0.06 else pair)
        yield out


def _first_sentence_as_title(pair: Pair) -> Pair:
    spans = split_sentences(pair.text)
    if len(spans) < 2:
        return pair
    (_, end), (start, _) = spans[0], spans[1]
    if pair.span is None or pair.span[0] >= start:
        span = None if pair.span is None else (pair.span[0] - start, pair.span[1] - start)
        return Pair(pair.question, pair.text[:end], pair.text[start:], span)
    if pair.span[1] <= end:
        return Pair(pair.question, pair.text[:end], pair.text[start:], pair.span, "title")
    return pair
