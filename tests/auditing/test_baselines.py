"""The baselines against their definitions, written out the slow way, on vectors of a stub whose cosines are known."""

from __future__ import annotations

import json
import math
import re
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from arhn_hf.auditing.audit import beside_baselines
from arhn_hf.auditing.baselines import MARGIN_POS, PERC_POS, baselines, bm25_ratio, similarities
from arhn_hf.auditing.candidates import Audited, Candidate
from arhn_hf.engines.base import Engine, Request, Response
from arhn_hf.records import ArhnError, Cell, Document

NAMES = [
    "BM25, ratio to the positive", "cosine to the query", "TopK-PercPos 0.95", "TopK-MarginPos 0.05",
    "cosine to the labelled positive", "flag everything",
]  # fmt: skip


def audited(queries: dict[str, tuple[list[str], list[tuple[str, float]]]]) -> Audited:
    """Query text → (texts of its positives, texts of its negatives with their grades)."""
    found = Audited()
    for number, (query, (positives, negatives)) in enumerate(queries.items()):
        found.queries.append(query)
        found.positives.append([Document(None, None, text) for text in positives])
        found.candidates += [
            Candidate(number, None, Cell(number, "negative", i), Document(None, None, text), grade, 0.5, "keep", None)
            for i, (text, grade) in enumerate(negatives)
        ]
    return found


def embed(title: str | None, text: str) -> Any:
    """A text such as `30` or `30|-80`: one unit vector of the plane at that angle a window."""
    angles = np.radians([float(one) for one in text.split("|")])
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def cos(degrees: float) -> float:
    return math.cos(math.radians(degrees))


ANGLES = audited(
    {
        "0": (["60"], [("20", 2), ("65", 0), ("59", 0), ("62", 0), ("170", 0)]),
        "10": (["130", "110"], [("112", 0), ("116", 0), ("105", 2), ("150|20", 2), ("190", 0)]),
    }
)
"""Two queries; the second one's best positive is at 100°, a negative cosine."""


def test_cosines_to_the_query_and_to_the_nearest_positive_over_all_windows() -> None:
    to_query, positive, to_positive = similarities(ANGLES, embed)
    assert to_query == pytest.approx(list(map(cos, [20, 65, 59, 62, 170, 102, 106, 95, 10, 180])), abs=1e-6)
    assert positive == pytest.approx([cos(60)] * 5 + [cos(100)] * 5, abs=1e-6)
    assert to_positive == pytest.approx(list(map(cos, [40, 5, 1, 2, 110, 2, 6, 5, 20, 60])), abs=1e-6)


def test_a_query_without_a_positive_has_nothing_as_similar_as_a_passage_to_itself() -> None:
    _, positive, to_positive = similarities(audited({"0": ([], [("0", 2), ("90", 0)])}), embed)
    assert positive.tolist() == [1.0, 1.0]
    assert to_positive.tolist() == [0.0, 0.0]


def test_the_positive_aware_rules_flag_what_mining_would_drop() -> None:
    """`TopK-PercPos`: at most 5 % of the positive's similarity below it, of its size where it is negative."""
    found = baselines(ANGLES, embed)
    angles = [
        (20, 60),
        (65, 60),
        (59, 60),
        (62, 60),
        (170, 60),
        (102, 100),
        (106, 100),
        (95, 100),
        (10, 100),
        (180, 100),
    ]
    percent = [cos(mine) >= cos(best) - (1 - PERC_POS) * abs(cos(best)) for mine, best in angles]
    margin = [cos(mine) >= cos(best) - MARGIN_POS for mine, best in angles]
    assert percent == [True, False, True, False, False, False, False, True, True, False]
    assert margin == [True, False, True, True, False, True, False, True, True, False]
    assert found["TopK-PercPos 0.95"][1].tolist() == percent
    assert found["TopK-MarginPos 0.05"][1].tolist() == margin
    apart = [cos(mine) - cos(best) for mine, best in angles]
    shares = [gap / abs(cos(best)) for gap, (_, best) in zip(apart, angles, strict=True)]
    assert found["TopK-MarginPos 0.05"][0] == pytest.approx(apart, abs=1e-6)
    assert found["TopK-PercPos 0.95"][0] == pytest.approx(shares, abs=1e-5)
    assert [score >= PERC_POS - 1 for score in shares] == percent


def test_a_candidate_just_below_a_positive_of_negative_similarity_is_still_within_its_percent() -> None:
    one = audited({"0": (["100"], [("100.2", 2), ("101", 0)])})
    assert baselines(one, embed)["TopK-PercPos 0.95"][1].tolist() == [
        True,
        False,
    ]  # .95 × a negative number is above it


def test_the_names_and_which_of_them_flag() -> None:
    found = baselines(ANGLES, embed)
    assert list(found) == NAMES
    assert [name for name, (_, flags) in found.items() if flags is not None] == [NAMES[2], NAMES[3], NAMES[5]]
    assert all(len(scores) == len(ANGLES.candidates) for scores, _ in found.values())
    scores, flags = found["flag everything"]
    assert (set(scores.tolist()), flags.all()) == ({0.0}, True)


WORDS = audited(
    {
        "When was the bridge at Fara built?": (
            ["The bridge at Fara was built in 1911.", "A bridge."],
            [("Fara has a bridge, built of stone: the bridge was new.", 2), ("Wheat is sown in autumn.", 0), ("", 0)],
        ),
        "winter wheat": (["Winter wheat is sown in autumn."], [("winter WHEAT wheat", 2), ("A bridge at Fara.", 0)]),
    }
)


def bm25(query: str, text: str, every: list[str]) -> float:
    """As Lucene has it (k1 .9, b .4), each different word of the query once."""
    split = [re.findall(r"\w+", one.lower()) for one in every]
    mean = sum(len(one) for one in split) / len(split)
    words, total = re.findall(r"\w+", text.lower()), 0.0
    for word in set(re.findall(r"\w+", query.lower())):
        holding = sum(word in one for one in split)
        idf = math.log(1 + (len(split) - holding + 0.5) / (holding + 0.5))
        total += idf * words.count(word) / (words.count(word) + 0.9 * (1 - 0.4 + 0.4 * len(words) / mean))
    return total


def test_bm25_against_its_definition() -> None:
    every = [one.document.text or "" for one in WORDS.candidates]
    every += [one.text or "" for many in WORDS.positives for one in many]
    wanted = []
    for one in WORDS.candidates:
        query = WORDS.queries[one.query]
        best = max(bm25(query, positive.text or "", every) for positive in WORDS.positives[one.query])
        wanted.append(bm25(query, one.document.text or "", every) / best)
    found = bm25_ratio(WORDS)
    assert found == pytest.approx(wanted)
    assert found[2] == 0


def test_bm25_reads_titles() -> None:
    plain = audited({"wheat": (["wheat"], [("sown in autumn", 2)])})
    titled = audited({"wheat": (["wheat"], [("", 2)])})
    titled.candidates[0] = titled.candidates[0]._replace(document=Document(None, "Wheat", "sown in autumn"))
    assert bm25_ratio(plain)[0] == 0
    assert bm25_ratio(titled)[0] > 0


def test_bm25_is_finite_where_the_positive_shares_no_word_or_there_is_none_or_nothing_is_written() -> None:
    for query, positives in (("wheat", ["stone"]), ("wheat", []), ("", [""]), ("?!", ["stone"])):
        found = bm25_ratio(audited({query: (positives, [("wheat", 2), ("stone", 0), ("", 0)])}))
        assert np.isfinite(found).all()
        assert found[0] >= found[1]


def test_the_figures_of_each_baseline_and_by_how_much_the_judge_beats_it() -> None:
    judged = audited({"0": (["60"], [("20", 2), ("50", 0)]), "10": (["70"], [("30", 0), ("160", 2)])})
    judged.candidates = [one._replace(score=0.9 if one.grade else 0.1) for one in judged.candidates]  # a perfect judge
    found = beside_baselines(judged, samples=100, seed=42, embed=embed)
    assert list(found) == NAMES
    cosine = found["cosine to the query"]  # relevant .94 and −.87, others .64 and .94 (the same as the first)
    assert cosine["ranking"]["auroc"]["value"] == pytest.approx(1.5 / 4)
    assert cosine["auroc_judge_minus_this"]["value"] == pytest.approx(1 - 1.5 / 4)
    assert cosine["leaves"] is None
    percent = found["TopK-PercPos 0.95"]["leaves"]  # everything but the last
    assert (percent["flagged"], percent["recall"]["value"], percent["clean_touched"]["value"]) == (3, 0.5, 1.0)
    everything = found["flag everything"]
    assert everything["ranking"]["auroc"]["value"] == 0.5
    leaves = {name: one["value"] for name, one in everything["leaves"].items() if name != "flagged"}
    assert leaves == {"precision": 0.5, "recall": 1.0, "clean_touched": 1.0}


class PairScores(Engine):
    """A cross-encoder whose score is the passage's angle; it fails on passages named `nan`."""

    identity = {"engine": "cross-encoder", "model": "angles"}

    def submit(self, request: Request) -> Future[Response]:
        future: Future[Response] = Future()
        text = request.payload["text"]
        given = Response("no number", "error") if text == "nan" else Response(json.dumps({"score": float(text)}))
        future.set_result(given)
        return future


def test_a_cross_encoder_stands_among_the_baselines() -> None:
    rows = audited({"0": (["1"], [("20", 2), ("65", 0)]), "1": (["2"], [("5", 2), ("-4", 0)])})
    found = baselines(rows, embed, PairScores())
    scores, flags = found["cross-encoder angles"]
    assert (scores.tolist(), flags) == ([20.0, 65.0, 5.0, -4.0], None)
    report = beside_baselines(rows, samples=100, seed=1, embed=embed, cross_encoder=PairScores())
    assert report["cross-encoder angles"]["ranking"]["auroc"]["value"] == 0.5


def test_a_cross_encoder_that_fails_on_a_passage_ends_the_audit() -> None:
    rows = audited({"0": (["1"], [("20", 2), ("nan", 0)])})
    with pytest.raises(ArhnError, match="cross-encoder angles, row 0"):
        baselines(rows, lambda title, text: embed(title, "0"), PairScores())
