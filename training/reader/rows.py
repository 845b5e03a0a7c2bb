"""Labelled candidates to fit and test the fusion with: SQuAD windows and TREC Deep Learning judgments.

Why it exists: `fuse.py` and `evaluate.py` must read the same thing. A candidate is a passage that a retriever found
for a query beside its labelled positive, and a truth about it: from SQuAD windows because the answer string is known,
from TREC because people graded it.
"""

from __future__ import annotations

import gzip
import json
import random
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from data import Bm25, Paragraph, load_squad, occurrences

from arhn_hf.reader.model import ReaderModel, Reading

TOP = 10
"""Candidates taken from each of BM25 and MiniLM."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """`grade`: 0-3 (TREC); windows have 3 where the answer stands and 0 elsewhere. `adjacent`: shares a sentence."""

    query: str
    text: str
    positive: str
    grade: int
    group: int
    adjacent: bool = False


@dataclass(frozen=True, slots=True)
class Signals:
    """What the model sees of candidates, as columns, and the truth beside it; `group` numbers the query."""

    margin: np.ndarray
    to_query: np.ndarray
    to_positive: np.ndarray
    positive_to_query: np.ndarray
    grade: np.ndarray
    group: np.ndarray
    adjacent: np.ndarray
    score: np.ndarray


def windows(paragraphs: Sequence[Paragraph]) -> list[tuple[int, int, int, str]]:
    """(paragraph, first sentence, last sentence, text) of every two consecutive sentences, stride one."""
    out = []
    for number, p in enumerate(paragraphs):
        for first in range(max(1, len(p.sentences) - 1)):
            last = min(first + 1, len(p.sentences) - 1)
            if p.sentences:
                out.append((number, first, last, p.context[p.sentences[first][0] : p.sentences[last][1]]))
    return out


def squad_candidates(path: Path, part: str, model: ReaderModel, questions: int, seed: int) -> list[Candidate]:
    """Retrieved windows for `questions` questions of a hash part, with the false negatives known.

    The labelled positive is a seeded choice among the windows of the question's paragraph that hold its first answer.
    False: same paragraph, holds that answer. A window of another paragraph that holds it is left out.
    """
    rng = random.Random(seed)
    paragraphs = load_squad(path, part)
    cut = windows(paragraphs)
    own = defaultdict(list)
    for i, (number, *_) in enumerate(cut):
        own[number].append(i)
    texts = [text for *_, text in cut]
    vectors = embed_all(model, texts)
    index = Bm25(texts)
    asked = [(n, q) for n, p in enumerate(paragraphs) for q in p.questions]
    out: list[Candidate] = []
    group = 0
    for n, question in rng.sample(asked, len(asked)):
        if group == questions:
            break
        holding = [i for i in own[n] if occurrences(texts[i], question.answers[0])]
        if not holding:
            continue
        positive = rng.choice(holding)
        near = np.argsort(-(vectors @ model.embed(None, question.text, 1)[0]), kind="stable")[: TOP + 1]
        found: dict[int, None] = {}
        for ranked in (index.top([question.text], TOP + 1)[0], near):
            found.update(dict.fromkeys([int(i) for i in ranked if i != positive][:TOP]))
        for i in found:
            holds = bool(occurrences(texts[i], question.answers[0]))
            if holds and cut[i][0] != n:
                continue
            adjacent = cut[i][0] == n and cut[i][1] <= cut[positive][2] and cut[positive][1] <= cut[i][2]
            out.append(Candidate(question.text, texts[i], texts[positive], 3 if holds else 0, group, adjacent))
        group += 1
    return out


def trec_pairs(path: Path, per_query: int, seed: int) -> list[Candidate]:
    """Judged passages of each query beside `per_query` seeded choices of a grade-3 passage as labelled positive."""
    rng = random.Random(seed)
    judged = defaultdict(list)
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            judged[row["qid"]].append(row)
    out = []
    for group, rows in enumerate(judged.values()):
        best = [r["text"] for r in rows if r["grade"] == 3]
        for positive in rng.sample(best, min(per_query, len(best))):
            out += [
                Candidate(r["query"], r["text"], positive, r["grade"], group) for r in rows if r["text"] != positive
            ]
    return out


def trec_rows(path: Path) -> list[Candidate]:
    """The graded negatives of Tevatron rows, beside their labelled positive."""
    out = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for group, line in enumerate(lines):
            row = json.loads(line)
            positive = row["positive_passages"][0]["text"]
            out += [Candidate(row["query"], n["text"], positive, n["grade"], group) for n in row["negative_passages"]]
    return out


def embed_all(model: ReaderModel, texts: Sequence[str], threads: int = 2) -> np.ndarray:
    """One vector per text (its first window), shape (texts, 384)."""
    with ThreadPoolExecutor(threads) as pool:
        return np.stack(list(pool.map(lambda text: model.embed(None, text, 1)[0], texts)))


def signals(model: ReaderModel, candidates: Sequence[Candidate], threads: int = 2) -> Signals:
    """Reads every candidate; one after another in `threads` threads."""

    def read_one(c: Candidate) -> Reading:
        return model.read(c.query, None, c.text, [(None, c.positive)])

    with ThreadPoolExecutor(threads) as pool:
        read = list(pool.map(read_one, candidates))
    return Signals(
        np.array([r.margin for r in read]),
        np.array([r.similarities.query for r in read]),
        np.array([r.similarities.positive for r in read], float),
        np.array([r.similarities.positive_query for r in read], float),
        np.array([c.grade for c in candidates]),
        np.array([c.group for c in candidates]),
        np.array([c.adjacent for c in candidates]),
        np.array([r.score for r in read]),
    )
