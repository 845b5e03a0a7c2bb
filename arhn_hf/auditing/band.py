"""The band of a cascade, fitted on labels: between which scores of the reader the LLM must decide for a stated loss.

Needed: a folder that an LLM judged alone, labels of its negatives, and the reader's score of the same negatives, which
it reads here. A negative below the band stays, one above it leaves, inside it does what the LLM decided. Counted passage
by passage: that a near-duplicate follows its cluster is not counted again for the moved ones.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from arhn_hf.auditing.candidates import Audited
from arhn_hf.auditing.figures import Table, plain
from arhn_hf.auditing.measures import Bools, Floats, Ints, precision_recall
from arhn_hf.auditing.resampling import paired_difference
from arhn_hf.auditing.thresholds import write_new
from arhn_hf.config import option_fields
from arhn_hf.inputs import Inputs
from arhn_hf.judges.first_reads import first_reads
from arhn_hf.monitor import Monitor
from arhn_hf.records import GROUNDED, Cell, Row, UsageError
from arhn_hf.stages.maps import Maps
from arhn_hf.stages.prepare import make_prepare
from arhn_hf.stages.tables import ROWS, to_row

CUTS = 400  # scores tried for each end of the band
FOLDS = 5
_READERS = frozenset({"reader", "reader-checkpoint", "cross-encoder"})  # kinds in which a reader finds the answers


@dataclass(frozen=True)
class Fitted:
    """A band: negatives below `low` stay, those from `high` on leave. `high` of 1 and `low` of 0: never, as in `Band`."""

    low: float
    high: float

    def left(self, scores: Floats) -> Bools:
        """Which negatives the LLM decides; NaN is a negative that the reader does not decide in any band."""
        above = scores >= self.high if self.high < 1 else np.zeros(len(scores), dtype=bool)
        return np.isnan(scores) | ~((scores < self.low) | above)

    def leaves(self, scores: Floats, strong: Bools) -> Bools:
        """What leaves the negatives, given what leaves by the LLM alone."""
        return np.where(self.left(scores), strong, ~(scores < self.low))


def refuse_other_judges(judges: dict[str, Any]) -> None:
    """Raise `UsageError` for a folder that no LLM judged alone."""
    why = None
    if len(judges) > 1:
        why = "a cascade judged this folder: a band needs what the LLM decides by itself, everywhere"
    elif next(iter(judges.values()))["kind"] in _READERS:
        why = "the reader judged this folder: a band needs the decisions of the LLM behind it"
    if why:
        raise UsageError(why, where="--thresholds band", hint="Refine a labelled sample with the LLM first")


def fitted_band(audited: Audited, scores: Floats, loss: float, *, samples: int, seed: int) -> dict[str, Any]:
    """The narrowest band that loses at most `loss` of the precision and of the recall of "leaves the negatives"; `scores`
    are those of `reader_scores`.

    `share_left` is the share of the labelled negatives that the LLM still reads; `precision_lost` and `recall_lost` are
    figures against the LLM alone. `held_out` has the same for bands fitted on other queries (five parts, seeded): that is
    what to expect elsewhere.
    """
    table = Table.of(audited.candidates)
    strong = table.actions != "keep"
    band = fit(scores, strong, table.truth, loss)
    lost = partial(_lost, table, strong, samples=samples, seed=seed)
    elsewhere, left = strong.copy(), np.ones(len(scores), dtype=bool)
    for part in _parts(table.queries, seed):
        of_others = fit(scores[~part], strong[~part], table.truth[~part], loss)
        elsewhere[part] = of_others.leaves(scores[part], strong[part])
        left[part] = of_others.left(scores[part])
    found: dict[str, Any] = plain({
        "target": f"band={loss:g}", "share_left": float(band.left(scores).mean()),
        **lost(band.leaves(scores, strong)), "held_out": {"share_left": float(left.mean()), **lost(elsewhere)},
    })  # fmt: skip
    # Not rounded, as other figures are: a passage may stand on the border.
    return {**found, "cascade_low": band.low, "cascade_high": band.high}


def reader_scores(inputs: Inputs, audited: Audited, monitor: Monitor, scratch: Path) -> Floats:
    """The reader's score of every candidate; NaN for those that a cascade gives to the LLM whatever the band."""
    wanted = {one.cell for one in audited.candidates}
    prepare = make_prepare(
        inputs.dataset, inputs.form, inputs.index, inputs.config, inputs.criteria, english_only=False
    )
    rows = Maps(scratch, "band").map("band-rows", inputs.index_rows(), prepare, ROWS)
    asked: list[tuple[Row, str, list[int]]] = []
    for value in rows:
        row = to_row(value)
        chosen = [i for i, passage in enumerate(row.passages) if wanted & set(passage.cells)]
        if chosen:
            asked.append((row, value["criterion"], chosen))
    monitor.begin("reading with the embedded reader", len(asked))
    found: dict[Cell, float] = {}
    reads = first_reads(asked, max_chunks=option_fields()["max_chunks"].default, monitor=monitor)
    for (row, _, chosen), answers in zip(asked, reads, strict=True):
        for i, answer in zip(chosen, answers, strict=True):
            usable = answer.score is not None and answer.status in GROUNDED and not answer.truncated
            score = answer.score if usable and answer.score is not None else math.nan
            found.update(dict.fromkeys(row.passages[i].cells, score))
    return np.array([found[one.cell] for one in audited.candidates], dtype=np.float64)


def fit(scores: Floats, strong: Bools, truth: Bools, loss: float) -> Fitted:
    """The band with the fewest negatives in it whose precision and recall are at most `loss` below those of `strong`.

    Every pair of up to `CUTS` scores is tried; of equally narrow bands the one with the better precision and recall is
    taken. A band from 0 to 1 means that the reader can decide nothing.
    """
    precision, recall = precision_recall(strong, truth)
    read = ~np.isnan(scores)
    order = np.argsort(scores[read], kind="stable")
    sorted_scores = scores[read][order]
    unique = np.unique(sorted_scores)
    if len(unique) > CUTS:
        unique = np.unique(unique[np.linspace(0, len(unique) - 1, CUTS).round().astype(int)])
    lows, highs = np.concatenate([[0.0], unique[unique > 0]]), np.concatenate([unique[unique < 1], [1.0]])
    n = len(sorted_scores)
    i = np.searchsorted(sorted_scores, lows)[:, None]
    j = np.append(np.searchsorted(sorted_scores, highs[:-1]), n)[None, :]

    def before(flags: Bools) -> Ints:
        return np.concatenate([[0], np.cumsum(flags[read][order])])

    both, flagged, relevant = before(strong & truth), before(strong), before(truth)
    hits = both[j] - both[i] + relevant[n] - relevant[j] + int((strong & truth)[~read].sum())
    chosen = flagged[j] - flagged[i] + n - j + int(strong[~read].sum())
    with np.errstate(invalid="ignore", divide="ignore"):
        precisions, recalls = hits / chosen, hits / truth.sum()
    rounding = 1e-12
    fits = (lows[:, None] <= highs[None, :]) & (recalls >= recall - loss - rounding)
    if not math.isnan(precision):
        fits &= precisions >= precision - loss - rounding  # NaN is not: nothing leaves any more
    fits[0, -1] = True  # everything to the LLM loses nothing
    cost = np.where(fits, (j - i) - 1e-3 * np.nan_to_num(precisions + recalls), np.inf)
    a, b = np.unravel_index(int(np.argmin(cost)), cost.shape)
    return Fitted(float(lows[a]), float(highs[b]))


def save_band(path: Path, report: dict[str, Any]) -> None:
    """Write the band as a `--config` file with where it comes from. Raises `UsageError` if the file exists already, or
    the band leaves everything to the LLM."""
    found, labels = report["band"], report["labels"]
    if (found["cascade_low"], found["cascade_high"]) == (0.0, 1.0):
        raise UsageError(
            "no band saves anything at this loss: the LLM would read every negative", where=f"--save {path}",
            hint="Allow a larger one, or run without --cascade",
        )  # fmt: skip
    held = found["held_out"]
    comment = [
        f"Fitted by arhn-hf audit for {found['target']} on {report['candidates']} negatives of {report['queries']} queries",
        f"(labels: {' '.join(str(labels['name']).split())}, run {report['run_id']}).",
        f"There {found['share_left']:.0%} of the negatives go to the LLM; with bands of other queries {held['share_left']:.0%},",
        f"for {_points(held['precision_lost'])} of precision and {_points(held['recall_lost'])} of recall lost.",
    ]
    values = {"cascade": "reader", "cascade_low": found["cascade_low"], "cascade_high": found["cascade_high"]}
    write_new(path, "".join(f"# {line}\n" for line in comment) + yaml.safe_dump(values, sort_keys=False))


def _points(figure: dict[str, Any]) -> str:
    return "an unknown part" if figure["value"] is None else f"{100 * figure['value']:.1f} points"


def _lost(table: Table, strong: Bools, flags: Bools, *, samples: int, seed: int) -> dict[str, dict[str, Any]]:
    """Precision and recall of `strong` minus those of `flags`, with intervals over queries."""
    found = {}
    for name, which in (("precision_lost", 0), ("recall_lost", 1)):

        def figure(flags: Bools, truth: Bools, which: int = which) -> float:
            return precision_recall(flags, truth)[which]

        of_strong, of_flags = (strong, table.truth), (flags, table.truth)
        interval = paired_difference(figure, table.queries, of_strong, of_flags, samples=samples, seed=seed)
        found[name] = {"value": figure(*of_strong) - figure(*of_flags), "low": interval.low, "high": interval.high}
    return found


def _parts(queries: Ints, seed: int) -> list[Bools]:
    """The candidates of up to `FOLDS` seeded parts of the queries."""
    names = sorted(set(queries.tolist()))
    random.Random(f"band\0{seed}").shuffle(names)
    return [np.isin(queries, names[k::FOLDS]) for k in range(min(FOLDS, len(names)))]
