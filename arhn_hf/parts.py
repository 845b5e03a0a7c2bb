"""The folders that `merge` is given: whether they are all the parts of one run, each once, and nothing else.

Whatever is wrong is said by name (which folder, which part, which option) before anything is written. Parts of one run differ in
nothing but their number: every setting that `arhn.json` records is compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arhn_hf.config import gate_names, option_fields
from arhn_hf.publishing.card_blocks import RANKING_OPTIONS
from arhn_hf.publishing.folder import folder_state, part_of
from arhn_hf.records import UsageError
from arhn_hf.rules import option_name
from arhn_hf.shards import Shard
from arhn_hf.stored import read_run

_JUDGE = {"kind": "--judge", "revision": "--model-revision", "prompts": "--prompts", "recorded": "--responses"}
_SHOWN = 60  # characters of a value in an error line, at most


@dataclass(frozen=True)
class Part:
    """A finished part of a run: its folder, its `arhn.json` and which part it is."""

    folder: Path
    lineage: dict[str, Any]
    shard: Shard

    @property
    def rows(self) -> int:
        """Source rows that it took."""
        return int(self.lineage["results"]["rows"]["sampled"])

    def report(self) -> dict[str, Any]:
        """The part as `--json` names it."""
        return {
            "folder": str(self.folder), **self.shard.lineage(), "run_id": self.lineage["run_id"], "rows": self.rows,
        }  # fmt: skip


def open_parts(folders: Sequence[Path], output: Path, own_limits: frozenset[str] = frozenset()) -> list[Part]:
    """All parts of one run, in order. `own_limits` are gates that the merge sets itself, so that the parts may differ in them.

    Raises `UsageError` for an output that is or holds a part, and for parts that are unfinished, given twice, missing, or of
    different runs.
    """
    seen: set[Path] = set()
    for folder in folders:
        if folder.resolve() == output.resolve():
            raise UsageError("is one of the parts: the result needs a folder of its own", where=f"--output {output}")
        if folder.resolve() in seen:
            raise UsageError("is given twice", where=str(folder))
        seen.add(folder.resolve())
    held = part_of(output)
    if held is not None:
        raise UsageError(f"holds {held.words}: the result needs a folder of its own", where=f"--output {output}")
    parts = [_open_part(folder) for folder in folders]
    first = parts[0]
    by_index: dict[int, Part] = {}
    for part in parts:
        if part.shard.count != first.shard.count:
            raise UsageError(
                f"holds {part.shard.words}, but {first.folder} holds {first.shard.words}", where=str(part.folder),
                hint="Merge the parts of one run: all of the same number",
            )  # fmt: skip
        if part.shard.index in by_index:
            other = by_index[part.shard.index].folder
            raise UsageError(
                f"holds {part.shard.words}, and so does {other}", where=str(part.folder), hint="Name one of them"
            )
        by_index[part.shard.index] = part
    for part in parts[1:]:
        _refuse_other_run(first, part, own_limits)
    missing = [i for i in range(1, first.shard.count + 1) if i not in by_index]
    if missing:
        raise UsageError(
            f"{_numbered(missing)} of {first.shard.count} {'is' if len(missing) == 1 else 'are'} missing",
            hint=f"Refine with --shard {missing[0]}/{first.shard.count}"
            + (" and so on" if missing[1:] else "")
            + ", then merge all of them",
        )
    return [by_index[i] for i in sorted(by_index)]


def _open_part(folder: Path) -> Part:
    lineage = read_run(folder)
    if folder_state(folder).get("status") == "running":
        raise UsageError(
            "holds an unfinished run", where=str(folder),
            hint="Run the same `arhn-hf refine` command again: it goes on where it stopped",
        )  # fmt: skip
    shard = part_of(folder)
    if shard is None:
        raise UsageError("holds a whole run, not a part of one", where=str(folder), hint="Parts are made with --shard")
    return Part(folder, lineage, shard)


def _numbered(numbers: list[int]) -> str:
    """`part 3`, or `parts 3, 5 to 9`."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and spans[-1][-1] == number - 1:
            spans[-1].append(number)
        else:
            spans.append([number])
    words = [str(span[0]) if len(span) == 1 else f"{span[0]} to {span[-1]}" for span in spans]
    return f"part{'s' if len(numbers) > 1 else ''} {', '.join(words)}"


def _refuse_other_run(first: Part, part: Part, own_limits: frozenset[str]) -> None:
    """Raise `UsageError` naming what `part` was made with that `first` was not."""
    if part.lineage["source"]["fingerprint"] != first.lineage["source"]["fingerprint"]:
        raise UsageError(
            f"{part.shard.words} was made from other data than part {first.shard.index} in {first.folder} "
            "(other source fingerprint)", where=str(part.folder), hint="Refine the parts of one unchanged source",
        )  # fmt: skip
    ours, theirs = dict(_settings(first.lineage)), dict(_settings(part.lineage))
    for name in [*ours, *(name for name in theirs if name not in ours)]:
        alone = name.startswith(("--criterion ", "--filter-only ")) and (name not in ours or name not in theirs)
        if alone or option_key(name) in own_limits or ours.get(name) == theirs.get(name):
            continue  # a subset that occurs in one part only
        raise UsageError(
            f"{part.shard.words} was made with another {name} ({_shown(theirs.get(name))}) than part {first.shard.index} in "
            f"{first.folder} ({_shown(ours.get(name))})",
            where=str(part.folder), hint="Parts of one run differ in nothing but --shard: refine one of the two again",
        )  # fmt: skip


def option_key(name: str) -> str:
    """The field of an option as it is spelled on the command line."""
    return name.removeprefix("--").replace("-", "_")


def _settings(lineage: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every setting that a merged run has once, by the option that sets it (or by its name, if none does)."""
    yield "version of arhn-hf", lineage["arhn_hf"]
    yield "method", lineage["method"]
    source, sample, form = lineage["source"], lineage["sample"] or {}, lineage["format"]
    for key in ("id", "name", "split", "revision", "format"):
        yield "source" if key == "id" else option_name(key), source[key]
    yield "--sample", sample.get("n")
    yield "--to", form["to"]
    yield "--negatives", form["negatives"]
    yield "--short-rows", form["short_rows"]
    yield "--variants", ",".join(lineage["variants"])
    for key, value in lineage["rules"].items():
        yield option_name(key), value
    for key, value in lineage["ranking"].items():
        yield option_name(RANKING_OPTIONS.get(key, key)), value
    known = option_fields()
    yield "--judge", ", ".join(lineage["judges"])
    for about in lineage["judges"].values():
        for key, value in about.items():
            yield _JUDGE.get(key, option_name(key) if key in known else key.replace("_", " ")), value
    for subset, about in lineage["criteria"].items():
        yield f"--criterion {subset or '(no subset)'}", about["criterion"]
        yield f"--filter-only {subset or '(no subset)'}", about["filter_only"]
    limits = {gate["name"]: gate["limit"] for gate in lineage["results"]["gates"]}
    for name in gate_names():
        yield option_name(name), limits.get(name)


def _shown(value: Any) -> str:
    text = " ".join(str(value).split()) if value is not None else "none"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
