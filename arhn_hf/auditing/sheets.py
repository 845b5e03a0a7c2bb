"""Sheets for people: decided negatives out as a CSV file without the decision, people's verdicts in again.

Why it exists: where nobody has labelled the data, a hundred verdicts are the only measure of a judge, and they count only if the person
did not know what the judge had decided. So a sheet holds texts and an opaque id, and nothing else. The judge's snippet is on it, since
people find an answer faster where it is quoted. That hints, because a kept negative has none: agreement on such a sheet is, if anything,
too high, and a sheet can be made without snippets.
"""

from __future__ import annotations

import csv
import hashlib
import io
import random
import re
import tempfile
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from arhn_hf.inputs import Inputs
from arhn_hf.monitor import Monitor, run_in_thread
from arhn_hf.records import UsageError
from arhn_hf.stages.maps import quiet_datasets
from arhn_hf.stored import StoredRun, open_run

ACTIONS = ("relabel", "filter", "keep")
COLUMNS = ("id", "query", "title", "passage", "snippet", "verdict", "remark")
VERDICTS = ("yes", "partly", "no")
WORDS = {
    "yes": "yes", "y": "yes", "relevant": "yes", "2": "yes", "2.0": "yes",
    "partly": "partly", "p": "partly", "partial": "partly", "1": "partly", "1.0": "partly",
    "no": "no", "n": "no", "notrelevant": "no", "0": "no", "0.0": "no",
}  # fmt: skip
"""What people write, without spaces and in lower case, as verdicts; `2.0` is what tables of numbers make of 2."""
_ID = re.compile(r"([0-9a-f]{8})-[0-9a-f]{12}")
_CELL = 32_000  # UTF-16 units; Excel's cells hold 32,767, and longer ones break the rows of a CSV file
_CUT = " […]"
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
_CONTROL = ("\t", "\r", "\n", "\0")


class Decided(NamedTuple):
    """A distinct decided negative: `query` is a code, equal for equal queries; `row` and `position` its first cell in
    the source, `at` the index of that cell in the evidence."""

    query: int
    row: int
    position: int
    action: str
    at: int


class Sheet(NamedTuple):
    """A filled-in sheet: verdicts by id, the line each id is on, and how many rows are not judged."""

    path: Path
    verdicts: dict[str, str]
    lines: dict[str, int]
    empty: int


def export_sheet(
    directory: str | Path,
    path: str | Path,
    *,
    count: int = 100,
    seed: int = 42,
    snippets: bool = True,
    source: str | None = None,
    corpus: str | None = None,
    monitor: Monitor | None = None,
) -> int:
    """Write a blind CSV sheet for people to fill in, of `count` negatives of a finished folder; returns how many.

    Drawn are distinct passages of a query that were relabeled, filtered or kept, as equally many of each as there are,
    at random by `seed`; their order is random too. All of them, if there are no more than `count`. A person writes
    `yes`, `partly` or `no` into the column `verdict`, and anything into `remark`. A task instruction stands above its
    query, as the judge read it. Only the folder can resolve an `id`. Without `snippets` that column is empty.

    Made for spreadsheets (our choice): UTF-8 with a byte-order mark, an apostrophe before text that would be a formula
    (OWASP, CSV injection), texts cut after 32,000 characters. Raises `UsageError` if `path` exists (what people wrote
    is never lost) or its folder does not, for a `count` below 1, if nothing was decided, and as `StoredRun.open`.
    """
    monitor, target = monitor or Monitor(), Path(path)
    refuse_target(target)
    if count < 1:
        raise UsageError(f"{count} negatives are no sheet", where="--size", hint="Give 1 or more")

    def work() -> int:
        with opened(directory, source, corpus, monitor) as (stored, inputs):
            found = drawn(distinct(stored, inputs, monitor), count, seed)
            if not found:
                raise UsageError("no negative was relabeled, filtered or kept", where=str(directory))
            monitor.begin("writing the sheet")
            _write(target, _rows(stored, inputs, found, snippets=snippets))
            return len(found)

    return run_in_thread(work, monitor)


def read_verdicts(paths: Sequence[str | Path], directory: str | Path) -> list[dict[str, str]]:
    """People's verdicts on sheets of this folder: per file, id → `yes`, `partly` or `no`; what is empty is left out.

    Also read: `y, p, n`, `relevant, partial, not relevant` and `2, 1, 0`, in any case; commas, semicolons or tabs
    between the columns; columns and rows in any order. Raises `UsageError` with file and line for an unknown verdict or
    id, an id that stands twice and a sheet of another run, and with the file for one that cannot be read, lacks a
    column or has no verdict.
    """
    sheets = read_sheets(paths)

    def work() -> list[dict[str, str]]:
        with quiet_datasets(), tempfile.TemporaryDirectory(prefix="arhn-audit-") as scratch:
            stored = open_run(Path(directory), Path(scratch))
            run_id = stored.lineage["run_id"]
            refuse_unknown(
                sheets, run_id, {sheet_id(run_id, row, position) for _, row, position, *_ in decided_cells(stored)}
            )
        return [sheet.verdicts for sheet in sheets]

    return run_in_thread(work, Monitor())


def sheet_id(run_id: str, row: int, position: int) -> str:
    """The opaque name of a negative on a sheet: 8 digits of the run's id, then 12 of a hash over run and cell."""
    cell = hashlib.sha256(f"{run_id}\0{row}\0{position}".encode()).hexdigest()
    return f"{run_id[:8]}-{cell[:12]}"


def distinct(stored: StoredRun, inputs: Inputs, monitor: Monitor) -> list[Decided]:
    """The decided negatives of a run, each passage of a query once: its first decided cell stands for all."""
    queries = query_codes(inputs, monitor)
    monitor.begin("reading the evidence")
    seen: set[tuple[int, str]] = set()
    found = []
    for at, row, position, action, text in decided_cells(stored):
        query = queries[row]
        if (query, text) not in seen:
            seen.add((query, text))
            found.append(Decided(query, row, position, action, at))
    return found


def drawn(found: Sequence[Decided], count: int, seed: int) -> list[Decided]:
    """`count` of them in random order, as equally many of each action as there are: a rare action gives all it has, and
    the common ones share what is left."""
    by_action = {action: [one for one in found if one.action == action] for action in ACTIONS}
    rng = random.Random(seed)
    picked: list[Decided] = []
    for i, action in enumerate(sorted(ACTIONS, key=lambda action: len(by_action[action]))):
        quota = (count - len(picked)) // (len(ACTIONS) - i)
        picked += rng.sample(by_action[action], min(quota, len(by_action[action])))
    rng.shuffle(picked)
    return picked


def decided_cells(stored: StoredRun) -> Iterator[tuple[int, int, int, str, str]]:
    """Every decided negative, repeated ones too: index in the evidence, row, position, action, hash of the text."""
    at = 0
    fields = ["row", "label", "position", "text_sha256", "action"]
    for batch in stored.evidence.select_columns(fields).with_format("arrow").iter(10_000):
        for item in batch.to_pylist():
            if item["label"] == "negative" and item["action"] in ACTIONS:
                yield at, item["row"], item["position"], item["action"], item["text_sha256"]
            at += 1


def query_codes(inputs: Inputs, monitor: Monitor) -> list[int]:
    """One code a source row, equal where query and instruction are."""
    codes: list[int] = []
    numbers: dict[bytes, int] = {}
    monitor.begin("reading the source", len(inputs.dataset))
    for batch in inputs.dataset.with_format("arrow").iter(1000):
        rows = inputs.form.read(batch)
        for row in rows:
            key = hashlib.sha256(f"{row.instruction or ''}\0{row.query or ''}".encode()).digest()
            codes.append(numbers.setdefault(key, len(numbers)))
        monitor.advance(len(rows))
    return codes


@contextmanager
def opened(
    directory: str | Path, source: str | None, corpus: str | None, monitor: Monitor
) -> Iterator[tuple[StoredRun, Inputs]]:
    """A finished folder and its source; a relative `source` is one of here."""
    with quiet_datasets(), tempfile.TemporaryDirectory(prefix="arhn-audit-") as scratch:
        stored = open_run(Path(directory), Path(scratch))
        here = str(Path(source).resolve()) if source and Path(source).exists() else source
        yield stored, stored.open(stored.config(source=here, corpus=corpus), stored.criteria(), monitor)


def _rows(stored: StoredRun, inputs: Inputs, found: Sequence[Decided], *, snippets: bool) -> list[list[str]]:
    """The sheet's rows, safe for spreadsheets."""
    run_id = stored.lineage["run_id"]
    sources = inputs.form.read(inputs.dataset.with_format("arrow")[[one.row for one in found]])
    quoted = stored.evidence.select_columns(["snippet"])[[one.at for one in found]]["snippet"]
    rows = []
    for one, source, snippet in zip(found, sources, quoted, strict=True):
        document = source.negatives[one.position]
        query = "\n".join(part for part in (source.instruction, source.query) if part)
        texts = (query, document.title, document.text, snippet if snippets else None)
        rows.append([sheet_id(run_id, one.row, one.position), *(_safe(text or "") for text in texts), "", ""])
    return rows


def _safe(text: str) -> str:
    """A text as a cell: never a formula, never longer than a cell can be."""
    units = text.encode("utf-16-le")
    if len(units) > 2 * _CELL:
        text = units[: 2 * _CELL].decode("utf-16-le", "ignore") + _CUT
    return f"'{text}" if text.startswith(_CONTROL) or text.lstrip().startswith(_FORMULA) else text


def refuse_target(target: Path) -> None:
    """Raise `UsageError` for a sheet that exists already, or has no folder to stand in."""
    if target.exists():
        raise UsageError("exists already", where=str(target), hint="Name a new file: verdicts are never overwritten")
    if not target.parent.is_dir():
        raise UsageError("is in a folder that does not exist", where=str(target))


def _write(target: Path, rows: Sequence[Sequence[str]]) -> None:
    """A new file or none: half a sheet is removed."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    try:
        file = target.open("x", encoding="utf-8-sig", newline="")
    except FileExistsError:
        refuse_target(target)
        raise
    try:
        with file:
            file.write(text.getvalue())
    except OSError:
        target.unlink(missing_ok=True)
        raise


def read_sheets(paths: Sequence[str | Path]) -> list[Sheet]:
    """The files, read. Raises `UsageError` for none and for one given twice."""
    files = [Path(path) for path in ([paths] if isinstance(paths, (str, Path)) else paths)]
    if not files:
        raise UsageError("no sheet given", where="--verdicts")
    for path, times in Counter(file.resolve() for file in files).items():
        if times > 1:
            raise UsageError("is given twice", where=str(path), hint="Every person fills in a file of their own")
    return [_read(file) for file in files]


def _read(path: Path) -> Sheet:
    """One sheet; whether its ids are of the folder is not looked at here. A line is the first of its row."""
    try:
        text = path.read_bytes().decode("utf-8-sig", errors="replace")  # ids and verdicts are ASCII in every encoding
    except OSError as error:
        raise UsageError(f"cannot be read ({error.__class__.__name__})", where=str(path)) from error
    verdicts: dict[str, str] = {}
    lines: dict[str, int] = {}
    for line, name, word in _entries(path, text):
        where = f"{path}, line {line}"
        if name in lines:
            raise UsageError(f"the id {name!r} stands twice", where=where, hint=f"First on line {lines[name]}")
        lines[name] = line
        if word and word not in WORDS:
            raise UsageError(f"unknown verdict {word!r} (id {name})", where=where, hint=f"Write {', '.join(VERDICTS)}")
        if word:
            verdicts[name] = WORDS[word]
    if not verdicts:
        raise UsageError("has no verdict", where=str(path), hint=f"Write {', '.join(VERDICTS)} into the column verdict")
    return Sheet(path, verdicts, lines, len(lines) - len(verdicts))


def _entries(path: Path, text: str) -> Iterator[tuple[int, str, str]]:
    """Line, id and what was written as the verdict, lower case and without spaces, of every row that is not empty."""
    head = io.StringIO(text, newline="").readline()
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count))
    try:
        names = [name.strip().casefold() for name in next(reader, [])]
        if missing := [name for name in ("id", "verdict") if name not in names]:
            columns = f"lacks the column{'s'[: len(missing) - 1]} {' and '.join(missing)}"
            raise UsageError(columns, where=str(path), hint="Save the sheet as CSV in UTF-8, with its first line")
        if twice := [name for name in ("id", "verdict") if names.count(name) > 1]:
            raise UsageError(f"has the column {twice[0]} twice", where=str(path), hint="Every person fills in a file")
        start = reader.line_num
        for cells in reader:
            line, start = start + 1, reader.line_num
            if any(cell.strip() for cell in cells):
                row = dict(zip(names, cells, strict=False))
                yield line, row.get("id", "").strip(), "".join(row.get("verdict", "").split()).casefold()
    except csv.Error as error:
        raise UsageError(f"is not CSV ({error})", where=f"{path}, line {reader.line_num}") from error


def refuse_unknown(sheets: Sequence[Sheet], run_id: str, known: Container[str]) -> None:
    """Raise `UsageError` for the first id that is not a decided negative of this run."""
    for sheet in sheets:
        for name, line in sheet.lines.items():
            where = f"{sheet.path}, line {line}"
            of_run = _ID.fullmatch(name)
            if of_run and of_run[1] != run_id[:8]:
                raise UsageError(
                    f"verdicts for another run ({of_run[1]}…, this is {run_id[:8]}…)", where=where,
                    hint="Name the folder that the sheet was exported from",
                )  # fmt: skip
            if name not in known:
                raise UsageError(f"unknown id {name!r}", where=where, hint="Leave the column id as it was exported")


def names_of(paths: Sequence[Path]) -> list[str]:
    """File names, with their folders where names are the same."""
    times = Counter(path.name for path in paths)
    return [path.name if times[path.name] == 1 else str(path) for path in paths]
