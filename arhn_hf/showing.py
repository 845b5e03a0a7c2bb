"""Pick decided rows of a folder and lay them out: query, then every passage with its action and its snippet's place."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arhn_hf.monitor import Monitor, run_in_thread
from arhn_hf.records import UsageError
from arhn_hf.stages.maps import Maps, quiet_datasets
from arhn_hf.stages.prepare import make_prepare
from arhn_hf.stages.tables import ROWS
from arhn_hf.stored import open_run


@dataclass
class Wanted:
    """Which rows to show: source row `row`, rows with an `action` or `reason` among their negatives, at most `limit`."""

    row: int | None = None
    action: str | None = None
    reason: str | None = None
    limit: int = 5


def show(
    directory: Path, wanted: Wanted, *, source: str | None = None, corpus: str | None = None
) -> list[dict[str, Any]]:
    """Rows as dicts `{row, query, subset, passages: [{label, title, text, evidence…}]}`.

    Raises `UsageError` if the row is not in the folder or nothing matches.
    """

    def work() -> list[dict[str, Any]]:
        with quiet_datasets(), tempfile.TemporaryDirectory(prefix="arhn-show-") as scratch:
            return list(_show(directory, wanted, source, corpus, Path(scratch)))

    found = run_in_thread(work, Monitor())
    if not found:
        what = (
            f"row {wanted.row}"
            if wanted.row is not None
            else f"action {wanted.action}"
            if wanted.action
            else f"reason {wanted.reason}"
        )
        raise UsageError(f"nothing to show for {what}", where=str(directory))
    return found


def _show(
    directory: Path, wanted: Wanted, source: str | None, corpus: str | None, scratch: Path
) -> Iterator[dict[str, Any]]:
    stored = open_run(directory, scratch / "evidence-cache")
    config = stored.config(
        source=str(Path(source).resolve()) if source and Path(source).exists() else source, corpus=corpus
    )
    inputs = stored.open(config, stored.criteria(), Monitor())
    numbers: list[int] = []
    for batch in stored.evidence.select_columns(["row", "action", "reason"]).with_format("arrow").iter(10_000):
        for item in batch.to_pylist():
            fits = (
                (wanted.row is None or item["row"] == wanted.row)
                and (wanted.action is None or item["action"] == wanted.action)
                and (wanted.reason is None or item["reason"] == wanted.reason)
            )
            if fits and item["row"] not in numbers[-1:]:
                numbers.append(item["row"])
    chosen, seen = [], set(numbers)
    for number in inputs.chosen:
        if seen & set(inputs.index.rows(number)):
            chosen.append(number)
        if len(chosen) == wanted.limit:
            break
    prepare = make_prepare(inputs.dataset, inputs.form, inputs.index, config, inputs.criteria, english_only=False)
    rows = Maps(scratch, "show").map("rows", inputs.index.dataset(chosen), prepare, ROWS)
    evidence = stored.lookup()
    for value in rows:
        passages = []
        for one, about in zip((*value["positives"], *value["negatives"]), evidence.of_row(value), strict=True):
            passages.append({"title": one["title"], "text": one["text"], **(about or {})})
        yield {
            "row": value["rows"][0], "query": value["query"], "subset": value["subset"], "query_id": value["query_id"],
            "passages": passages,
        }  # fmt: skip
