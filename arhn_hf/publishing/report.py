"""Close a run: count, test the gates, write card and lineage, put everything in place, and return what `--json`
prints."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
from datasets import Dataset

from arhn_hf.config import gate_names
from arhn_hf.inputs import Inputs
from arhn_hf.monitor import Counts, Monitor
from arhn_hf.publishing.card import render_card
from arhn_hf.publishing.folder import PICTURE, OutputFolder
from arhn_hf.publishing.picture import render_picture
from arhn_hf.publishing.shaping import Shape
from arhn_hf.publishing.summary import Summary, gates
from arhn_hf.report_head import head
from arhn_hf.stages.flat import flat_passages
from arhn_hf.stages.ondisk import Column, in_blocks, mapped
from arhn_hf.stages.treat import Treatments

Digests = npt.NDArray[np.uint64]

_BATCH = 1000
_DIGEST = np.dtype(np.uint64)
_WHOLE_ROW = ("criterion_skip", "subset_untouched", "row_left")


def finish(
    *, inputs: Inputs, shape: Shape, evidence: Dataset, written: dict[str, int], document: dict[str, Any],
    treatments: Treatments, folder: OutputFolder, monitor: Monitor, seconds: float, command: str = "refine",
) -> dict[str, Any]:  # fmt: skip
    """Count the run, write `README.md` and `arhn.json`, move the outputs into place and mark the run as finished."""
    monitor.begin("closing")
    summary = Summary.of(evidence)
    config = inputs.config
    limits = {name: getattr(config, name) for name in gate_names()}
    tested = gates(summary, limits, written, whole=config.shard is None)
    variants = variant_facts(shape, written, inputs.config.variant_names)
    facts = row_facts(shape.rows, inputs.index.source_rows)
    results = {
        "decisions": summary.decisions(), "per_10_negatives": summary.per_10_negatives(),
        "failures": {**summary.failures(), "limit": config.max_failures}, "rows": facts["rows"], "variants": variants,
        "gates": tested,
    }  # fmt: skip
    document = {**document, "file_type": shape.file_type, "results": results}
    for name, rows in written.items():
        if rows == 0 and config.shard is None:
            monitor.notice(
                f"Variant {name} has no rows left, and `load_dataset` refuses an empty one: look at the rules."
            )
    passages = {
        "positives": summary.count(label="positive"), "negatives": summary.count(label="negative"),
        "unique_pairs": facts["unique_pairs"], "truncated": summary.count(truncated=True),
    }  # fmt: skip
    ok = all(gate["ok"] is not False for gate in tested)
    counts = monitor.counts or Counts()
    report = {
        **head(command, "done" if ok else "gate", 0 if ok else 3),
        "output": str(folder.path), "run_id": document["run_id"], "method": document["method"],
        "shard": document.get("shard"),
        "source": {
            key: document["source"][key] for key in ("id", "revision", "name", "split", "format", "fingerprint")
        },
        "judges": judges_of(document["judges"], summary),
        "rows": facts["rows"], "passages": passages,
        "requests": {
            "answers": counts.by_kind.get("answer", 0), "rankings": counts.by_kind.get("rank", 0),
            "from_store": counts.from_store, "sent": counts.sent, "retried": counts.retried,
        },
        "tokens": {name: counts.tokens.get(name, 0) for name in ("prompt", "completion", "prefix_cached")},
        **{key: results[key] for key in ("decisions", "per_10_negatives", "failures")},
        "answerable": {name: share for name, share in treatments.all_subsets.items() if share is not None},
        "variants": {
            name: {key: one[key] for key in ("rows", "rows_changed", "rows_dropped", "positives", "negatives")}
            for name, one in variants.items()
        },
        "gates": tested, "push": None, "seconds": round(seconds, 3),
    }  # fmt: skip
    card = render_card(
        document, summary, folder.path, source_card=inputs.source.card, license=config.license,
        template=config.card_template,
    )  # fmt: skip
    picture = render_picture(
        summary.before_after(), title=f"{document['source']['id']}: what became of the hard negatives"
    )
    folder.publish(card, document, {PICTURE: picture})
    folder.remember(**{**folder.state(), "status": "finished"})
    monitor.record("finished", exit_code=report["exit_code"])
    report["histogram"] = {name: one["negatives_left"] for name, one in variants.items()}
    report["subsets"] = summary.before_after()
    return report


def judges_of(judges: dict[str, Any], summary: Summary) -> dict[str, dict[str, Any]]:
    """By name kind, model and revision; of a cascade also how many negatives each `decided`, and the first one's `band`."""
    found = {name: {key: about.get(key) for key in ("kind", "model", "revision")} for name, about in judges.items()}
    if len(judges) > 1:
        for name, about in judges.items():
            found[name]["decided"] = summary.count(label="negative", judge=name)
            found[name].update({"band": about["band"]} if "band" in about else {})
    return found


def public(report: dict[str, Any]) -> dict[str, Any]:
    """The object `--json` prints: the contract's keys, without the details that only the summary on the terminal
    uses."""
    return {key: value for key, value in report.items() if key not in ("histogram", "subsets")}


def variant_facts(shape: Shape, written: dict[str, int], variants: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Per variant: rows written, judged rows changed and dropped, passages per place, and how many rows keep n
    negatives."""
    facts = {}
    for variant in variants:
        changed = dropped = positives = negatives = 0
        left: Counter[int] = Counter()
        columns = [variant, f"{variant}_donors", "positives"]
        for batch in shape.rows.select_columns(columns).with_format("arrow").iter(1000):
            originals = pc.list_value_length(batch["positives"]).to_pylist()
            donors = pc.list_value_length(batch[f"{variant}_donors"]).to_pylist()
            for where, count, extra in zip(batch[variant].to_pylist(), originals, donors, strict=True):
                if "row_dropped" in where:
                    dropped += 1
                    continue
                positives += where.count("positive")
                kept = where.count("negative")
                negatives += kept + extra
                changed += bool(extra) or where.count("positive") != count or kept != len(where) - count
                left[kept + extra] += 1
        facts[variant] = {
            "rows": written[variant], "rows_changed": changed, "rows_dropped": dropped, "positives": positives,
            "negatives": negatives, "negatives_left": {str(n): left[n] for n in sorted(left)},
        }  # fmt: skip
    return facts


def row_facts(rows: Dataset, source_rows: int) -> dict[str, Any]:
    """Source rows by what happened to them, and how many different (query, passage) pairs there are."""
    sampled = invalid = skipped = 0
    for batch in rows.select_columns(["rows", "invalid", "decisions"]).with_format("arrow").iter(_BATCH):
        sizes = pc.list_value_length(batch["rows"]).to_pylist()
        reasons, decided = batch["invalid"].to_pylist(), batch["decisions"].to_pylist()
        for size, reason, decisions in zip(sizes, reasons, decided, strict=True):
            sampled += size
            if reason is not None:
                invalid += size
            elif decisions[0]["reason"] in _WHOLE_ROW:
                skipped += size
    judged = sampled - invalid - skipped
    return {
        "rows": {"source": source_rows, "sampled": sampled, "judged": judged, "skipped": skipped, "invalid": invalid},
        "unique_pairs": unique_pairs(rows),
    }  # fmt: skip


def unique_pairs(rows: Dataset) -> int:
    """How many different (query, passage) pairs there are. Only rows that share their query can share a pair: the
    digests of the others' pairs are counted batch by batch and forgotten."""
    view = rows.with_format("arrow")
    asked = mapped((_digests(one["query"].to_pylist()) for one in view.select_columns(["query"]).iter(_BATCH)), _DIGEST)
    queries = mapped((block for _, block in in_blocks(asked)), _DIGEST)
    queries.sort()
    repeated = mapped((block[same] for block, same in _neighbours(queries)), _DIGEST)
    count = start = 0
    with Column(_DIGEST) as shared:
        for batch in view.select_columns(["rows", "query", "positives", "negatives"]).iter(_BATCH):
            passages = flat_passages(batch)
            query = batch["query"].to_pylist()
            texts = zip(passages.owner.tolist(), passages.title.to_pylist(), passages.text.to_pylist(), strict=True)
            pairs = _digests([f"{query[owner]}\0{title or ''}\0{text}" for owner, title, text in texts])
            again = _among(asked[start : start + len(batch)], repeated)[passages.owner]
            count += len(np.unique(pairs[~again]))
            shared.append(pairs[again])
            start += len(batch)
        left = shared.mapped()
    left.sort()
    return count + sum(int(np.count_nonzero(~same)) for _, same in _neighbours(left))


def _neighbours(ordered: Digests) -> Iterator[tuple[Digests, npt.NDArray[np.bool_]]]:
    """Sorted digests in blocks, and of each whether it equals the one before it."""
    for at, block in in_blocks(ordered):
        before = ordered[at - 1 : at] if at else ~block[:1]
        yield block, block == np.concatenate([before, block[:-1]])


def _among(some: Digests, ordered: Digests) -> npt.NDArray[np.bool_]:
    """Whether each of some digests is one of the sorted ones."""
    if not len(ordered):
        return np.zeros(len(some), dtype=bool)
    return np.asarray(ordered[np.minimum(np.searchsorted(ordered, some), len(ordered) - 1)] == some)


def _digests(texts: list[str]) -> Digests:
    """64 bits of each text."""
    joined = b"".join(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest() for text in texts)
    return np.frombuffer(joined, dtype=_DIGEST)
