"""The promises as checks, made from the outside: from the folder, its evidence and the source, nothing else is believed.

Everything is derived again and compared value by value. A promise that cannot be seen from outside has `ok: None`.
"""

from __future__ import annotations

import glob
import hashlib
import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset, load_dataset

from arhn_hf.engines.base import canonical
from arhn_hf.monitor import Monitor, run_in_thread
from arhn_hf.pipeline import Judgement, decided
from arhn_hf.publishing.evidence import EVIDENCE, in_order, make_evidence
from arhn_hf.publishing.hub import download
from arhn_hf.publishing.report import row_facts, variant_facts
from arhn_hf.publishing.shaping import Shape
from arhn_hf.publishing.summary import Summary, gates
from arhn_hf.records import GROUNDED, UsageError
from arhn_hf.report_head import head
from arhn_hf.stages.maps import quiet_datasets
from arhn_hf.stages.tables import to_answers, to_row
from arhn_hf.stored import StoredRun, open_run, read_parquet

_EXAMPLES = 3
_BESIDE = ("evidence_version", "arhn_hf", "run_id", "file_type", "results")  # what `run_id` is not a hash of


@dataclass
class Promise:
    """One promise: how many things were checked, how many broke it, and examples in words."""

    name: str
    ok: bool | None = True
    checked: int = 0
    broken: int = 0
    examples: list[str] = field(default_factory=list)

    def fail(self, example: str, count: int = 1) -> None:
        """Note a breach."""
        self.ok = False
        self.broken += count
        if len(self.examples) < _EXAMPLES:
            self.examples.append(example)


def check(
    directory: str | Path,
    *,
    monitor: Monitor | None = None,
    revision: str | None = None,
    source: str | None = None,
    corpus: str | None = None,
    **limits: Any,
) -> dict[str, Any]:
    """Prove the promises and gates of a folder, or of a Hub dataset at a `revision`; returns the object that `--json` prints
    (`exit_code` 3 if one fails).

    `limits` are the options of the group "Gates". Raises `UsageError` if the folder is not a finished one or its source is not at
    hand.
    """
    monitor = monitor or Monitor()
    folder = Path(directory)
    on_hub = not folder.exists() and re.fullmatch(r"[\w.-]+/[\w.-]+", str(directory)) is not None
    if not on_hub and not folder.is_dir():
        raise UsageError(
            "no such folder", where=str(directory), hint="Name a folder, or a Hub dataset (namespace/name)"
        )
    if not on_hub and revision is not None:
        raise UsageError("a folder has no revision", where=str(directory), hint="Leave out --revision")

    def work() -> dict[str, Any]:
        with quiet_datasets(), tempfile.TemporaryDirectory(prefix="arhn-check-") as scratch:
            if not on_hub:
                return _check(folder, Path(scratch), monitor, source, corpus, limits)
            monitor.begin("downloading")
            copy = Path(scratch) / "published"
            commit = download(str(directory), revision, copy)
            try:
                report = _check(copy, Path(scratch), monitor, source, corpus, limits)
            except UsageError as error:
                if error.where is not None and error.where.startswith(str(copy)):  # a place that nobody knows
                    error.where = f"{directory}{error.where.removeprefix(str(copy))}"
                raise
            return {**report, "folder": str(directory), "revision": commit}

    return run_in_thread(work, monitor)


def _check(
    folder: Path, scratch: Path, monitor: Monitor, source: str | None, corpus: str | None, limits: dict[str, Any]
) -> dict[str, Any]:
    stored = open_run(folder, scratch / "evidence-cache")
    config = stored.config(
        source=str(Path(source).resolve()) if source and Path(source).exists() else source, corpus=corpus
    )
    criteria = stored.criteria()
    inputs = stored.open(config, criteria, monitor)
    maps = inputs.maps(scratch)
    rows, answers, rankings, treatments = stored.judgement(inputs, monitor, maps)
    judged = Judgement(
        rows, answers, rankings, treatments, int(stored.lineage["rules"]["orders"]), stored.judge_name,
        stored.lineage["judges"], stored.lineage["ranking"],
    )  # fmt: skip
    shape = decided(inputs, judged, config, monitor, maps)
    again = maps.map("evidence", shape.rows, make_evidence(stored.judge_name), EVIDENCE)
    summary = Summary.of(stored.evidence)
    variants = {name: _variant(stored, shape, name, scratch, monitor) for name in stored.lineage["variants"]}
    written = {name: promise.checked for name, promise in variants.items()}
    promises = [
        _failures(stored, summary),
        Promise("no_request_paid_twice", ok=None),
        _evidence(stored, again),
        _snippets(shape),
        *variants.values(),
        _lineage(stored, shape, summary, written, inputs.index.source_rows),
        Promise("one_commit", ok=None),
    ]
    recorded = {gate["name"]: gate["limit"] for gate in stored.lineage["results"]["gates"]}
    limits = {**recorded, **{key: value for key, value in limits.items() if value is not None}}
    tested = gates(summary, limits, written, whole=stored.shard is None)
    ok = all(p.ok is not False for p in promises) and all(gate["ok"] is not False for gate in tested)
    return {
        **head("check", "done" if ok else "gate", 0 if ok else 3),
        "folder": str(folder), "run_id": stored.lineage["run_id"], "promises": [vars(p) for p in promises], "gates": tested,
    }  # fmt: skip


def _failures(stored: StoredRun, summary: Summary) -> Promise:
    """Promise 1: every failed judgement is marked undecided, stayed as it was, and is counted in `arhn.json`."""
    promise = Promise("failures_are_never_clean", checked=sum(summary.by.values()))
    found, recorded = summary.failures(), stored.lineage["results"]["failures"]
    for name in ("count", "of", "ungrounded", "by_status"):
        if found[name] != recorded[name]:
            promise.fail(f"arhn.json says failures.{name} is {recorded[name]}, the evidence {found[name]}")
    if summary.decisions() != stored.lineage["results"]["decisions"]:
        promise.fail(f"arhn.json counts {stored.lineage['results']['decisions']}, the evidence {summary.decisions()}")
    failed = {"malformed", "cut_off", "refused", "engine_error", "ungrounded"}
    clean = summary.count(label="negative", action="keep", answer_status=failed)
    if clean:
        promise.fail(f"{clean} negatives are kept as clean although their judgement failed", clean)
    return promise


def _lineage(stored: StoredRun, shape: Shape, summary: Summary, written: dict[str, int], source_rows: int) -> Promise:
    """`arhn.json` tells the truth: its settings are those of its `run_id`, its results those that evidence and files give."""
    promise = Promise("lineage_is_true")
    results = stored.lineage["results"]
    settings = {key: value for key, value in stored.lineage.items() if key not in _BESIDE}
    limits = {gate["name"]: gate["limit"] for gate in results["gates"]}
    facts = {
        "run_id": (stored.lineage["run_id"], hashlib.sha256(canonical(settings)).hexdigest()[:16]),
        "results.rows": (results["rows"], row_facts(shape.rows, source_rows)["rows"]),
        "results.variants": (results["variants"], variant_facts(shape, written, tuple(written))),
        "results.per_10_negatives": (results["per_10_negatives"], summary.per_10_negatives()),
        "results.gates": (results["gates"], gates(summary, limits, written, whole=stored.shard is None)),
    }
    for name, (said, found) in facts.items():
        promise.checked += 1
        if said != found:
            promise.fail(f"arhn.json says {name} is {said}, should be {found}")
    return promise


def _evidence(stored: StoredRun, again: Dataset) -> Promise:
    """Promises 3 and 5: one evidence row per source passage, with the decision that follows from what was judged."""
    promise = Promise("decisions_follow_from_evidence")
    keys = ("row", "label", "position")
    expected, found = (
        _stream(in_order(again), EVIDENCE),
        _stream(stored.evidence.with_format("arrow").iter(4000), EVIDENCE),
    )
    for table, other in _side_by_side(expected, found):
        promise.checked += table.num_rows
        if table.num_rows != other.num_rows:
            more = other.num_rows - table.num_rows
            promise.fail(f"the evidence has {abs(more)} rows too {'many' if more > 0 else 'few'}", abs(more))
            break
        if table.equals(other):
            continue
        for a, b in zip(table.to_pylist(), other.to_pylist(), strict=True):
            wrong = [name for name in EVIDENCE.names if a[name] != b[name]]
            if wrong:
                where = ", ".join(f"{key} {b[key]}" for key in keys)
                promise.fail(f"{where}: {wrong[0]} is {b[wrong[0]]!r}, should be {a[wrong[0]]!r}")
    return promise


def _snippets(shape: Shape) -> Promise:
    """Every snippet stands in its field, word for word, where the evidence says."""
    promise = Promise("snippets_are_verbatim")
    for batch in (
        shape.rows.select_columns(
            ["rows", "query_id", "subset", "query", "instruction", "invalid", "positives", "negatives", "answers"]
        )
        .with_format("arrow")
        .iter(200)
    ):
        for value in batch.to_pylist():
            for passage, answer in zip(to_row(value).passages, to_answers(value), strict=True):
                if answer.status not in GROUNDED:
                    continue
                promise.checked += 1
                text = passage.title if answer.field == "title" else passage.text
                if not answer.snippet or (text or "")[answer.start : answer.end] != answer.snippet:
                    promise.fail(
                        f"row {passage.cells[0].row}, {passage.label} {passage.position}: not the passage's words"
                    )
    return promise


def _variant(stored: StoredRun, shape: Shape, variant: str, scratch: Path, monitor: Monitor) -> Promise:
    """Promise 3: every passage is where the evidence says, and the variant's files hold exactly that."""
    monitor.begin(f"checking {variant}")
    promise = Promise(f"{variant}_holds_every_passage_once")
    files = sorted((stored.folder / variant).glob(f"train-*.{shape.file_type}"))
    if not files:
        promise.fail(f"{variant}/ has no files")
        return promise
    schema = shape.features().arrow_schema
    try:
        found = _read_variant(files, shape, scratch / f"cache-{variant}")
        if found.features.arrow_schema.remove_metadata() != schema.remove_metadata():
            promise.fail(f"{variant}: the schema is {found.features}, should be {shape.features()}")
            return promise
    except UsageError as error:
        promise.fail(str(error))
        return promise
    for table, other in _side_by_side(
        _stream(shape.tables(variant), schema), _stream(found.with_format("arrow").iter(1000), schema)
    ):
        start = promise.checked
        promise.checked += table.num_rows
        if table.num_rows != other.num_rows:
            more = other.num_rows - table.num_rows
            promise.fail(
                f"{variant} has {abs(more)} rows too {'many' if more > 0 else 'few'} from row {start}", abs(more)
            )
            break
        if not table.equals(other):
            for i, (a, b) in enumerate(zip(table.to_pylist(), other.to_pylist(), strict=True)):
                if _plain(a) != _plain(b):
                    promise.fail(f"{variant}, row {start + i}: not what source and evidence give")
    return promise


def _read_variant(files: list[Path], shape: Shape, cache: Path) -> Dataset:
    if shape.file_type == "parquet":
        return read_parquet(files, cache)
    if not any(f.stat().st_size for f in files):
        return Dataset(shape.features().arrow_schema.empty_table())
    try:
        return load_dataset(
            "json", data_files=[glob.escape(str(f)) for f in files], split="train", cache_dir=str(cache),
            features=shape.features(),
        )  # fmt: skip
    except Exception as error:
        raise UsageError(f"cannot be read ({' '.join(str(error).split())[:200]})", where=str(files[0])) from error


def _plain(item: dict[str, Any]) -> str:
    """A row as text, so that NaN equals NaN."""
    return json.dumps(item, default=repr, sort_keys=True)


def _stream(tables: Iterator[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    plain = schema.remove_metadata()
    for table in tables:
        extra = [name for name in table.column_names if name not in plain.names]
        yield table.drop_columns(extra).replace_schema_metadata(None).cast(plain)


def _side_by_side(first: Iterator[pa.Table], second: Iterator[pa.Table]) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Pairs of tables of equal length, until one stream ends; then one last pair of unequal length, if it does."""
    a: pa.Table | None = None
    b: pa.Table | None = None
    while True:
        a = a if a is not None and a.num_rows else next(first, None)
        b = b if b is not None and b.num_rows else next(second, None)
        if a is None or b is None:
            break
        size = min(a.num_rows, b.num_rows)
        yield a.slice(0, size), b.slice(0, size)
        a, b = a.slice(size), b.slice(size)
    rest_a = ([a] if a is not None else []) + list(first)
    rest_b = ([b] if b is not None else []) + list(second)
    if sum(t.num_rows for t in rest_a) or sum(t.num_rows for t in rest_b):
        some = (rest_a + rest_b)[0]
        empty = some.slice(0, 0)
        yield pa.concat_tables([empty, *rest_a]), pa.concat_tables([empty, *rest_b])
