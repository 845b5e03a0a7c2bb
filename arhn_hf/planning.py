"""What a run would find and cost, said before anything is spent: no request is sent.

Counts are exact up to `EXACT_ROWS` judged rows; beyond that, tokens and requests are estimated from a seeded sample of rows and come
with their interval (`plan` says which).
"""

from __future__ import annotations

import hashlib
import math
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets import Dataset

from arhn_hf import foreseeing, probing
from arhn_hf.config import RunConfig
from arhn_hf.inputs import open_inputs
from arhn_hf.judges.opening import open_judge
from arhn_hf.monitor import Monitor, run_in_thread
from arhn_hf.pipeline import JudgeFactory, refuse_invalid
from arhn_hf.publishing.report import unique_pairs
from arhn_hf.report_head import head
from arhn_hf.stages.answers import wanted_passages
from arhn_hf.stages.maps import Maps, quiet_datasets
from arhn_hf.stages.prepare import make_prepare
from arhn_hf.stages.tables import ROWS, to_prepared, to_row
from arhn_hf.tokens import tokenizer

EXACT_ROWS = 20_000
SAMPLED_ROWS = 2_000
ANSWERED_SHARE = 0.38  # of negatives: ARHN's published 1.6 relabeled + 2.2 filtered of 10
_READER_WINDOW = 180  # tokens of passage that one more chunk of the reader adds


def plan(
    config: RunConfig, monitor: Monitor, probe: int | None = None, factory: JudgeFactory = open_judge
) -> dict[str, Any]:
    """The object that `plan --json` prints; with `probe` that many real requests are sent to time the judge.

    Raises `UsageError` for a source that cannot be refined.
    """

    def work() -> dict[str, Any]:
        with quiet_datasets(), tempfile.TemporaryDirectory(prefix="arhn-plan-") as scratch:
            return _plan(config, monitor, Path(scratch), probe, factory)

    return run_in_thread(work, monitor)


def _plan(
    config: RunConfig, monitor: Monitor, scratch: Path, probe: int | None, factory: JudgeFactory
) -> dict[str, Any]:
    inputs = open_inputs(config, monitor)
    index = inputs.index_rows()
    monitor.begin("finding duplicates", len(index))
    transform = make_prepare(
        inputs.dataset, inputs.form, inputs.index, config, inputs.criteria, english_only=_english_only(config),
        report=monitor.advance,
    )  # fmt: skip
    rows = Maps(scratch, "plan").map("rows", index, transform, ROWS)
    if config.strict:
        refuse_invalid(rows)
    counts = _count(rows, monitor)
    cost = _cost(rows, config, monitor)
    cascade = foreseeing.share_left(rows, config, monitor) if config.cascade else None
    monitor.begin("probing the judge")
    probed = probing.probe(rows, config, probe, monitor, factory) if probe else None
    return {
        **head("plan"),
        "source": inputs.source_lineage(),
        "columns": {name: str(feature) for name, feature in inputs.dataset.features.items()},
        "writes": {"format": (inputs.target or inputs.form).name, **inputs.format_lineage(), "variants": list(config.variant_names)},
        "rows": {"source": inputs.index.source_rows, "judged": len(rows), "invalid": counts["invalid"], "not_english": counts["not_english"]},
        "passages": {**{key: counts[key] for key in ("positives", "negatives")}, "unique_pairs": unique_pairs(rows)},
        "duplicates": counts["duplicates"], "near_duplicate_clusters": counts["clusters"], "invalid": counts["invalid_examples"],
        "subsets": {
            subset: {
                "rows": n, "criterion": inputs.criteria.criterion(subset), "filter_only": inputs.criteria.only_filters(subset),
            }
            for subset, n in sorted(counts["subsets"].items())
        },
        "judge": config.judge, **cost, "cascade": cascade, "probe": probed,
    }  # fmt: skip


def _count(rows: Dataset, monitor: Monitor) -> dict[str, Any]:
    counts: dict[str, Any] = {
        "invalid": 0, "not_english": 0, "positives": 0, "negatives": 0, "clusters": 0, "duplicates": {}, "subsets": {},
        "invalid_examples": [],
    }  # fmt: skip
    for value in _values(rows):
        monitor.check()
        size = len(value["rows"])
        counts["subsets"][value["subset"] or ""] = counts["subsets"].get(value["subset"] or "", 0) + size
        counts["positives"] += len(value["positives"])
        counts["negatives"] += len(value["negatives"])
        counts["not_english"] += size * value["not_english"]
        if value["invalid"] is not None:
            counts["invalid"] += size
            if len(counts["invalid_examples"]) < 3:
                counts["invalid_examples"].append(f"row {value['rows'][0]}: {value['invalid']}")
        for settled in value["settled"]:
            if settled is not None:
                reason = settled.split("/")[1]
                counts["duplicates"][reason] = counts["duplicates"].get(reason, 0) + 1
        named = [c for c in value["cluster"] if c >= 0]
        counts["clusters"] += len({c for c in named if named.count(c) > 1})
    return counts


def _cost(rows: Dataset, config: RunConfig, monitor: Monitor) -> dict[str, Any]:
    """Stage 1 exactly or from a sample; stage 2 as an estimate; passages that will not be wholly seen."""
    exact = len(rows) <= EXACT_ROWS
    chosen = (
        range(len(rows))
        if exact
        else sorted(random.Random(f"plan\0{config.seed}").sample(range(len(rows)), SAMPLED_ROWS))
    )
    monitor.begin("counting tokens", len(chosen))
    seen: set[bytes] = set()
    requests, tokens, rankings = [], [], []
    truncated = 0
    for value in _values(rows if exact else rows.select(chosen)):
        row, prepared = to_row(value), to_prepared(value)
        wanted = wanted_passages(row, prepared, not_english=value["not_english"], criterion=value["criterion"])
        texts = []
        for i in wanted:
            passage = row.passages[i]
            key = hashlib.blake2b(
                repr(
                    (
                        row.query,
                        row.instruction,
                        value["criterion"],
                        passage.title,
                        passage.text,
                        passage.label == "positive",
                    )
                ).encode("utf-8", "surrogatepass"),
                digest_size=16,
            ).digest()
            if exact and key in seen:
                continue
            seen.add(key)
            texts.append(f"{row.query} {passage.title or ''} {passage.text}")
        lengths = [len(one.ids) for one in tokenizer().encode_batch(texts, add_special_tokens=False)] if texts else []
        truncated += sum(n > _READER_WINDOW * config.max_chunks for n in lengths)
        requests.append(len(lengths))
        tokens.append(sum(lengths))
        open_ones = len(wanted) - len(row.positives)
        rankings.append(_ranking_requests(config, len(wanted)) if open_ones > 0 else 0)
        monitor.advance(1)
    factor = 1 if exact else len(rows) / max(1, len(chosen))
    return {
        "stage_1": {
            "requests": _estimate(requests, factor), "tokens": _estimate(tokens, factor), "exact": exact,
            "sampled_rows": None if exact else len(chosen), "tokenizer": "WordPiece of the embedded reader",
        },
        "stage_2": {
            "requests": _estimate(rankings, factor), "exact": False,
            "note": "the reader ranks by its scores and sends nothing" if config.judge == "reader"
            else f"at most; about {ANSWERED_SHARE:.0%} of negatives answered in the published run",
        },
        "truncated": round(truncated * factor),
    }  # fmt: skip


def _estimate(values: list[int], factor: float) -> dict[str, Any]:
    """A total, with a 95 % interval (normal approximation over rows) where it is scaled up from a sample."""
    total = sum(values)
    if factor == 1 or len(values) < 2:
        return {"total": round(total * factor), "low": None, "high": None}
    mean = total / len(values)
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values))
    rows = len(values) * factor
    return {
        "total": round(mean * rows),
        "low": round((mean - 1.96 * spread) * rows),
        "high": round((mean + 1.96 * spread) * rows),
    }


def _values(rows: Dataset) -> Iterator[dict[str, Any]]:
    for batch in rows.with_format("arrow").iter(200):
        yield from batch.to_pylist()


def _english_only(config: RunConfig) -> bool:
    """Whether the embedded reader looks for the answers: it reads nothing else."""
    return config.judge == "cross-encoder" or (config.judge == "reader" and not config.model)


def _ranking_requests(config: RunConfig, passages: int) -> int:
    """Requests that rank one row whose `passages` were read, at most: readers send none, a cross-encoder one a passage."""
    if config.judge in ("reader", "replay"):
        return int(config.judge == "replay")
    return passages if config.judge == "cross-encoder" else config.orders
