"""Labelled data in, the truth about a judge out: a finished folder's evidence beside labels that people gave.

A folder's judge is measured as it decided; nothing is judged again.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from arhn_hf.auditing.band import fitted_band, reader_scores, refuse_other_judges
from arhn_hf.auditing.baselines import Embed, baselines
from arhn_hf.auditing.candidates import Audited, gather, ids_of
from arhn_hf.auditing.figures import Table, difference, figures, flagged, plain, ranked, with_interval
from arhn_hf.auditing.labels import Labels, from_dataset, from_field, from_gold
from arhn_hf.auditing.measures import threshold_for
from arhn_hf.engines.base import Engine
from arhn_hf.inputs import Inputs
from arhn_hf.monitor import Monitor, run_in_thread
from arhn_hf.records import UsageError
from arhn_hf.report_head import head
from arhn_hf.stages.maps import quiet_datasets
from arhn_hf.stored import open_run

TARGETS = ("recall", "precision", "max_clean", "band")


@dataclass(frozen=True, kw_only=True)
class LabelSource:
    """Where the labels are; exactly one of the three. `grades` is a field of the passages, `gold` a jsonl file, `labels` a second
    dataset over the same rows, with its `labels_split` and `labels_revision`."""

    grades: str | None = None
    gold: str | None = None
    labels: str | None = None
    labels_split: str = "train"
    labels_revision: str | None = None

    def __post_init__(self) -> None:
        if sum(one is not None for one in (self.grades, self.gold, self.labels)) != 1:
            raise UsageError("needs labels, from one place", hint="Give one of --grades, --gold, --labels")
        if self.gold is not None and not Path(self.gold).expanduser().is_file():
            raise UsageError("cannot be read (it is no file)", where=self.gold)

    def read(self, inputs: Inputs) -> Labels:
        """The labels by source cell. Raises `UsageError` for what cannot be read or joined."""
        if self.grades is not None:
            return from_field(inputs.dataset, self.grades)
        ids = ids_of(inputs)
        if self.gold is not None:
            return from_gold(self.gold, ids)
        return from_dataset(self.labels or "", ids, split=self.labels_split, revision=self.labels_revision)


def audit(
    directory: str | Path,
    labels: LabelSource,
    *,
    monitor: Monitor | None = None,
    source: str | None = None,
    corpus: str | None = None,
    with_baselines: bool = True,
    cross_encoder: Engine | None = None,
    thresholds: str | None = None,
    samples: int = 1000,
    seed: int = 42,
) -> dict[str, Any]:
    """Measure the judge of a finished folder; returns the object that `arhn-hf audit --json` prints.

    `samples` draws of the queries make each 95 % interval. `thresholds` such as `recall=0.5` fits a decision threshold on these
    labels, `band=0.02` the band of a cascade. `cross_encoder` is measured among the baselines (`opened`). Raises `UsageError` if
    the folder is not finished, its source not at hand, or the labels cannot be used.
    """
    monitor = monitor or Monitor()

    def work() -> dict[str, Any]:
        with quiet_datasets(), tempfile.TemporaryDirectory(prefix="arhn-audit-") as scratch:
            stored = open_run(Path(directory), Path(scratch))
            if thresholds is not None and target_of(thresholds)[0] == "band":
                refuse_other_judges(stored.lineage["judges"])
            config = stored.config(source=_resolved(source), corpus=corpus)
            inputs = stored.open(config, stored.criteria(), monitor)
            monitor.begin("joining labels")
            found = labels.read(inputs)
            audited = gather(stored, inputs, found)
            monitor.begin("measuring")
            report = {
                **head("audit", "done", 0), "folder": str(directory), "run_id": stored.lineage["run_id"],
                "judges": stored.lineage["judges"],
                "labels": {
                    "kind": found.kind, "name": found.name, "labels": len(found.grades), "unjoined": found.unjoined, "set_aside": found.set_aside,
                    "examples": found.examples,
                },
                **figures(audited, samples=samples, seed=seed), "baselines": {}, "threshold": None, "band": None,
            }  # fmt: skip
            if thresholds is not None and (wanted := target_of(thresholds))[0] == "band":
                scores = reader_scores(inputs, audited, monitor, Path(scratch))
                report["band"] = fitted_band(audited, scores, wanted[1], samples=samples, seed=seed)
            elif thresholds is not None:
                report["threshold"] = fitted(audited, thresholds, report["scored_by"])
            if with_baselines:
                monitor.begin("measuring baselines")
                report["baselines"] = beside_baselines(audited, samples=samples, seed=seed, cross_encoder=cross_encoder)
            return report

    return run_in_thread(work, monitor)


def opened(cross_encoder: str | None, revision: str | None, with_baselines: bool = True) -> Engine | None:
    """The cross-encoder (a Hub id or a folder) to measure among the baselines, if one is named; whoever opens it closes it.

    Raises `UsageError` if it cannot be loaded, or would not be used.
    """
    if cross_encoder is None:
        if revision is not None:
            raise UsageError("needs --cross-encoder", where="--cross-encoder-revision")
        return None
    if not with_baselines:
        raise UsageError("does not go with --no-baselines: it is one of them", where="--cross-encoder")
    from arhn_hf.engines.cross_encoder import CrossEncoderEngine

    try:
        return CrossEncoderEngine(cross_encoder, revision=revision)
    except UsageError as error:
        hint = error.hint and error.hint.replace("--model", "--cross-encoder")
        raise UsageError(error.message, where=f"--cross-encoder {cross_encoder}", hint=hint) from error


def beside_baselines(
    audited: Audited, *, samples: int, seed: int, embed: Embed | None = None, cross_encoder: Engine | None = None
) -> dict[str, Any]:
    """The baselines' figures on the same candidates, each with the judge's AUROC minus its own."""
    if embed is None:
        from arhn_hf.reader.model import ReaderModel

        embed = ReaderModel().embed
    table = Table.of(audited.candidates)

    def interval(statistic: Any, queries: Any, arrays: Any) -> dict[str, Any]:
        return with_interval(statistic, queries, arrays, samples=samples, seed=seed)

    found: dict[str, Any] = {}
    for name, (scores, flags) in baselines(audited, embed, cross_encoder).items():
        found[name] = {
            "ranking": ranked(scores, table, interval),
            "leaves": None if flags is None else flagged(flags, table, interval),
            "auroc_judge_minus_this": difference(table.scores, scores, table, samples=samples, seed=seed),
        }
    values: dict[str, Any] = plain(found)
    return values


def fitted(audited: Audited, wanted: str, scored_by: str) -> dict[str, Any]:
    """The decision threshold that reaches `recall=X`, `precision=X` or `max_clean=X` on these labels.

    Evidence keeps scores in 32 bits, the judge compares in 64: the threshold is the next lower number of 32 bits, so that the
    passage on the border is on its right side.
    """
    name, number = target_of(wanted)
    if scored_by != "score":
        raise UsageError("this judge gives no score to set a threshold on", where="--thresholds")
    table = Table.of(audited.candidates)
    try:
        exact = threshold_for(table.scores, table.truth, table.clean, **{name: number})
    except ValueError as error:
        raise UsageError(str(error), where="--thresholds") from error
    threshold = max(0.0, float(np.nextafter(np.float32(exact), np.float32(-np.inf))))
    if not 0 <= exact <= 1:
        raise UsageError("this judge's scores are no probabilities to set --answer-threshold by", where="--thresholds")
    flags = table.scores >= threshold
    return {
        "target": wanted, "answer_threshold": threshold, "recall": float(flags[table.truth].mean()),
        "precision": float(table.truth[flags].mean()) if flags.any() else None,
        "clean_touched": float(flags[table.clean].mean()) if table.clean.any() else None,
    }  # fmt: skip


def target_of(wanted: str) -> tuple[str, float]:
    """`recall=0.5` or `band=0.02` as a name and a share. Raises `UsageError` for anything else."""
    name, _, value = wanted.partition("=")
    name = name.strip().replace("-", "_")
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if name not in TARGETS or not 0 <= number <= 1:
        raise UsageError(
            f"{wanted!r} is not recall, precision, max_clean or band = a share",
            where="--thresholds",
            hint="Such as recall=0.5",
        )
    return name, number


def _resolved(source: str | None) -> str | None:
    return str(Path(source).resolve()) if source and Path(source).exists() else source
