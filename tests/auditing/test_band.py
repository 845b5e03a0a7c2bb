"""A cascade's band, fitted on labels: it keeps its word on them, is the narrowest, and is a config that a run takes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arhn_hf.auditing.audit import LabelSource, audit
from arhn_hf.auditing.band import Fitted, fit, refuse_other_judges, save_band
from arhn_hf.auditing.measures import precision_recall
from arhn_hf.config import RunConfig
from arhn_hf.config_file import read_yaml
from arhn_hf.records import UsageError

FIELD = LabelSource(grades="grade")


def arrays(items: list[tuple[float | None, bool, bool]]) -> tuple[Any, Any, Any]:
    """Scores (None: never read first), what leaves by the LLM, what is relevant."""
    scores = np.array([np.nan if score is None else score for score, _, _ in items])
    return scores, np.array([one[1] for one in items]), np.array([one[2] for one in items])


ITEMS = st.lists(
    st.tuples(st.one_of(st.none(), st.integers(0, 10).map(lambda n: n / 10)), st.booleans(), st.booleans()),
    min_size=2, max_size=14,
).filter(lambda items: any(one[2] for one in items) and not all(one[2] for one in items))  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(ITEMS, st.sampled_from([0.0, 0.02, 0.1, 0.5]))
def test_a_fitted_band_keeps_its_word_and_no_narrower_one_does(
    items: list[tuple[float | None, bool, bool]], loss: float
) -> None:
    scores, strong, truth = arrays(items)
    wanted = precision_recall(strong, truth)

    def fits(band: Fitted) -> bool:
        got = precision_recall(band.leaves(scores, strong), truth)
        kept = [np.isnan(before) or after >= before - loss - 1e-9 for before, after in zip(wanted, got, strict=True)]
        return all(kept)

    found = fit(scores, strong, truth, loss)
    assert fits(found) or (found.low, found.high) == (0.0, 1.0)
    read = sorted({float(score) for score in scores if not np.isnan(score)})
    every = [
        Fitted(low, high)
        for low in [0.0, *(one for one in read if one > 0)]
        for high in [*(one for one in read if one < 1), 1.0]
        if low <= high
    ]
    fewest = min(band.left(scores).sum() for band in every if fits(band) or (band.low, band.high) == (0.0, 1.0))
    assert found.left(scores).sum() == fewest


def test_below_stays_above_leaves_and_between_the_llm_decides() -> None:
    scores, strong, _ = arrays([(0.1, True, True), (0.2, False, True), (0.8, False, True), (None, True, True)])
    band = Fitted(0.2, 0.8)
    assert band.left(scores).tolist() == [False, True, False, True]
    assert band.leaves(scores, strong).tolist() == [False, False, True, True]
    assert Fitted(0.0, 1.0).left(np.array([0.0, 1.0])).tolist() == [True, True]


def test_a_reader_that_knows_nothing_decides_nothing() -> None:
    scores, strong, truth = arrays([(0.5, True, True), (0.5, False, False), (0.5, True, True), (0.5, False, False)])
    assert fit(scores, strong, truth, 0.0) == Fitted(0.0, 1.0)


def test_a_reader_that_is_always_right_decides_everything() -> None:
    scores, strong, truth = arrays([(0.9, True, True), (0.1, False, False), (0.8, True, True), (0.2, False, False)])
    found = fit(scores, strong, truth, 0.0)
    assert found.left(scores).sum() == 0
    assert found.leaves(scores, strong).tolist() == truth.tolist()


WORDS = (
    "The lighthouse at the mouth of the river was built in 1857 by the engineer Alan Stevenson and his brother",
    "The keeper of the harbour lights climbed the tower every evening and lit the lamp by hand until the war",
    "A good bread needs flour and water and salt and a little patience on the part of the baker",
    "Most of the farmers in this valley sow their wheat late in the autumn and wait for the snow",
)
VERDICTS = (("relabel", 2), ("filter", 2), ("keep", 0), ("keep", 0))


def english_rows() -> list[dict[str, Any]]:
    """Four queries that the reader may read; half of the negatives are about something else."""
    return [
        {
            "query_id": f"q{q}", "query": f"who built the lighthouse at the mouth of the river in {1857 + q}",
            "positive_passages": [
                {"docid": f"q{q}p", "title": "", "text": f"It was built by Alan Stevenson in {1857 + q} verdict positive 0.9", "grade": 3}
            ],
            "negative_passages": [
                {"docid": f"q{q}n{i}", "title": "", "text": f"{words} number {q} verdict {verdict} 0.5", "grade": grade}
                for i, (words, (verdict, grade)) in enumerate(zip(WORDS, VERDICTS, strict=True))
            ],
        }
        for q in range(4)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def by_llm(tmp_path_factory: pytest.TempPathFactory, desk: SimpleNamespace) -> Path:
    folder: Path = desk.run(tmp_path_factory.mktemp("band"), english_rows(), scores=False)
    return folder


def test_an_audit_fits_a_band_and_a_run_takes_it(by_llm: Path, tmp_path: Path) -> None:
    report = audit(by_llm, FIELD, with_baselines=False, samples=100, thresholds="band=0.5")
    found = report["band"]
    assert found.keys() == {
        "target", "share_left", "precision_lost", "recall_lost", "held_out", "cascade_low", "cascade_high",
    }  # fmt: skip
    assert report["threshold"] is None
    assert report["candidates"] == 16
    assert found["precision_lost"]["value"] <= 0.5
    assert found["recall_lost"]["value"] <= 0.5
    assert 0 <= found["share_left"] < 1
    assert found["held_out"].keys() == {"share_left", "precision_lost", "recall_lost"}
    json.dumps(report, allow_nan=False)
    path = tmp_path / "band.yaml"
    save_band(path, report)
    values = read_yaml(str(path))
    assert values == {"cascade": "reader", **{name: found[name] for name in ("cascade_low", "cascade_high")}}
    config = RunConfig.from_mapping({"source": "x", "judge": "vllm", "model": "m", **values})
    assert (config.cascade_low, config.cascade_high) == (found["cascade_low"], found["cascade_high"])
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# Fitted by arhn-hf audit for band=0.5 on 16 negatives of 4 queries")
    assert report["run_id"] in text
    with pytest.raises(UsageError, match="exists already"):
        save_band(path, report)


def test_a_band_that_saves_nothing_is_not_saved(tmp_path: Path) -> None:
    report = {"band": {"target": "band=0", "cascade_low": 0.0, "cascade_high": 1.0}, "labels": {"name": "x"}}
    with pytest.raises(UsageError, match="no band saves anything"):
        save_band(tmp_path / "band.yaml", report)
    assert not (tmp_path / "band.yaml").exists()


@pytest.mark.parametrize(
    ("judges", "says"),
    [
        ({"reader": {"kind": "reader"}}, "the reader judged this folder"),
        ({"cross-encoder": {"kind": "cross-encoder"}}, "the reader judged this folder"),
        ({"vllm": {"kind": "vllm"}, "reader": {"kind": "reader"}}, "a cascade judged this folder"),
    ],
)
def test_a_folder_that_no_llm_judged_alone_is_refused(judges: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        refuse_other_judges(judges)
    refuse_other_judges({"vllm": {"kind": "vllm"}})


def test_the_refusal_comes_before_anything_is_read(by_llm: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    shutil.copytree(by_llm, folder)
    lineage = json.loads((folder / "arhn.json").read_text(encoding="utf-8"))
    [about] = lineage["judges"].values()
    about["kind"] = "reader"
    (folder / "arhn.json").write_text(json.dumps(lineage), encoding="utf-8")
    with pytest.raises(UsageError, match="the reader judged this folder"):
        audit(folder, LabelSource(gold=str(folder / "arhn.json")), thresholds="band=0.02")
