"""The dataset card: what was changed and why, generated from the run's own lineage and counts.

The YAML head lists every variant under `configs:`; without it the folder would load as one heap. What a person wrote outside our
section, and their YAML keys, stay (see `card_text`).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from string import Template
from typing import Any

from arhn_hf import __version__
from arhn_hf.publishing.card_blocks import blocks, escaped, part
from arhn_hf.publishing.card_text import (
    AUDIT,
    BEGIN,
    END,
    edit_head,
    join_card,
    outside,
    read_head,
    section_of,
    split_card,
    with_audit,
    with_section,
    without_audit,
    without_stale_audit,
)
from arhn_hf.publishing.licenses import known
from arhn_hf.publishing.summary import Summary
from arhn_hf.records import VARIANTS, ArhnError, UsageError
from arhn_hf.resources import resource_folder

PLACE = "path/to/this/folder"  # what the card says to load, until a push knows the repository's name
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10**7, "1M<n<10M"),
          (10**8, "10M<n<100M"), (10**9, "100M<n<1B"), (10**10, "1B<n<10B"))  # fmt: skip
_OWN = ("configs", "size_categories")  # keys that are ours alone; of the others a person's value stays
_LISTS = ("tags", "source_datasets")  # to these we add


def render_card(
    document: dict[str, Any], summary: Summary, folder: Path, *, source_card: dict[str, Any], license: str | None = None,
    template: str | None = None,
) -> str:  # fmt: skip
    """`README.md` of the folder: our section and our YAML keys replaced, everything else of an existing card kept.

    `source_card` holds `license` and `language` of the source where it names them; `license` is what `--license` says. `template` is
    a person's own template. Raises `ArhnError` if the existing card's YAML cannot be read (it is left as it is).
    """
    existing = folder / "README.md"
    head, body = split_card(existing.read_text(encoding="utf-8")) if existing.is_file() else ("", "")
    values = head_values(document, read_head(head), folder / ".arhn" / "new", source_card, license)
    section = f"{BEGIN}\n{_section(document, summary, template)}\n{END}"
    body = without_stale_audit(with_section(body, section), document["run_id"])
    return join_card(edit_head(head, values), body)


def merge_cards(
    local: str, remote: str | None, *, repo_id: str, license: str | None, run_id: str | None = None, ours: bool = True
) -> str:
    """The card to push: the one that is there already, with the section and the keys of ours from the local one.

    What a person wrote into either stays; where both say something of their own in the YAML head, the one on the Hub wins. `run_id` is the
    run that is pushed: an audit of another one is left out. `ours` is false for a repository that holds a person's own data: then their configuration stays the default one.
    """
    local_head, local_body = split_card(local)
    mine = read_head(local_head)
    section = section_of(local_body)
    section = section.replace(f'data_files="{PLACE}', f'data_files="hf://datasets/{repo_id}').replace(
        f'"{PLACE}', f'"{repo_id}'
    )
    if remote is None:
        head, body = local_head, local_body
    else:
        head, body = split_card(remote)
    theirs = read_head(head)
    values = {key: value for key, value in mine.items() if key in _OWN or key not in theirs}
    for key in _LISTS:
        values[key] = _union(theirs.get(key), mine.get(key))
    values["configs"] = _configs(mine.get("configs") or [], theirs if ours else _defaulted(theirs))
    if not known(theirs.get("license")) and known(mine.get("license")):
        values["license"] = mine["license"]
    if license is not None:
        values["license"] = license
    values = {key: value for key, value in values.items() if value}
    stale = ("license_name", "license_link") if license not in (None, "other") else ()
    body = with_section(body, section)
    if remote is not None:
        body = _with_local_words(body, outside(without_audit(local_body)))
    if audit := section_of(local_body, AUDIT):
        body = with_audit(body, audit)
    if run_id is not None:
        body = without_stale_audit(body, run_id)
    return join_card(edit_head(head, values, without=stale), body)


def _with_local_words(body: str, local: tuple[str, str] | None) -> str:
    """Words around the local section that the other card does not hold yet: nobody's are lost."""
    before, after = (part.strip("\n") for part in local or ("", ""))
    if not _holds(body, before):
        body = f"{before}\n\n{body.lstrip()}"
    if not _holds(body, after):
        body = f"{body.rstrip()}\n\n{after}\n"
    return body


def _holds(body: str, words: str) -> bool:
    """Whether the lines of `words` stand in the text, one after the other."""
    wanted, there = words.strip("\n").splitlines(), body.splitlines()
    return not words.strip() or any(
        there[at : at + len(wanted)] == wanted for at in range(len(there) - len(wanted) + 1)
    )


def refuse_broken_card(folder: Path) -> None:
    """Raise `UsageError` now, before anything is judged, for what `render_card` would raise at the end."""
    existing = folder / "README.md"
    if not existing.is_file():
        return
    try:
        read_head(split_card(existing.read_text(encoding="utf-8"))[0])
    except UnicodeDecodeError as error:
        raise UsageError("is not UTF-8", where=str(existing), hint="Repair it or move it away") from error
    except ArhnError as error:
        raise UsageError(error.message, where=str(existing), hint=error.hint) from error


def card_template(path: str | None) -> Template:
    """Our template, or a person's own (`--card-template`).

    Raises `UsageError` for one that cannot be read or names a value that there is not.
    """
    if path is None:
        return Template((resource_folder("dataset_cards") / "card.md").read_text(encoding="utf-8"))
    try:
        found = Template(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot be read ({error.__class__.__name__})", where=f"--card-template {path}") from error
    if not found.is_valid():
        raise UsageError("has a $ that begins no value", where=f"--card-template {path}", hint="Write $$ for a dollar")
    values = set(card_template(None).get_identifiers())
    if unknown := sorted(set(found.get_identifiers()) - values):
        known_ones = ", ".join(f"${name}" for name in sorted(values))
        raise UsageError(f"unknown value ${unknown[0]}", where=f"--card-template {path}", hint=f"Known: {known_ones}")
    return found


def head_values(
    document: dict[str, Any], existing: dict[str, Any], files: Path, source_card: dict[str, Any], license: str | None
) -> dict[str, Any]:
    """The YAML keys that a run sets, under those that are there: a person's licence, language and tasks stay."""
    source = document["source"]
    rows = document["results"]["variants"][document["variants"][0]]["rows"]
    values: dict[str, Any] = {
        "license": existing.get("license") or source_card.get("license"),
        "language": existing.get("language") or source_card.get("language"),
        "task_categories": existing.get("task_categories") or ["text-retrieval"],
        "annotations_creators": existing.get("annotations_creators") or ["machine-generated"],
        "source_datasets": _union(existing.get("source_datasets"), [source["id"]] if source["kind"] == "hub" else []),
        "size_categories": [next((name for limit, name in _SIZES if rows < limit), "n>1T")],
        "tags": _union(existing.get("tags"), ["arhn-hf", "hard-negatives"]),
        "configs": _configs(_our_configs(document, files), existing),
    }
    if license is not None:
        values["license"] = license
    return {key: value for key, value in values.items() if value}


def _union(first: Any, second: Any) -> list[Any]:
    many = [*(first if isinstance(first, list) else [first] if first else []), *(second or [])]
    return [one for i, one in enumerate(many) if one not in many[:i]]


def _our_configs(document: dict[str, Any], files: Path) -> list[dict[str, Any]]:
    """One configuration per variant, the first of them the default, and one for the evidence."""
    kind = document["file_type"]
    names = list(document["variants"])
    if kind == "parquet":  # `datasets` reads all configurations of a folder by one builder: no parquet beside jsonl
        names.append("evidence")
    configs = []
    for i, name in enumerate(names):
        one: dict[str, Any] = {
            "config_name": name,
            "data_files": [{"split": "train", "path": f"{name}/train-*.{kind}"}],
        }
        if i == 0:  # the variants stand in the order combined, relabel, filter
            one["default"] = True
        one["description"] = _content(files / name)
        configs.append(one)
    return configs


def _configs(ours: list[Any], existing: dict[str, Any]) -> list[Any]:
    """Ours, then those of a person under other names. One default is enough: theirs, if they chose one."""
    names = {*VARIANTS, "evidence"}
    there = existing.get("configs") or []
    theirs = [one for one in there if isinstance(one, dict) and one.get("config_name") not in names]
    if any(one.get("default") for one in theirs):
        ours = [{key: value for key, value in one.items() if key != "default"} for one in ours]
    return [*ours, *theirs]


def _defaulted(existing: dict[str, Any]) -> dict[str, Any]:
    """A person's card with the default that `datasets` takes said out loud: the only configuration, or the one named so."""
    there = [one for one in existing.get("configs") or [] if isinstance(one, dict)]
    if any(one.get("default") for one in there):
        return existing
    chosen = there[0] if len(there) == 1 else next((one for one in there if one.get("config_name") == "default"), None)
    marked = [{**one, "default": True} if one is chosen else one for one in there]
    return {**existing, "configs": marked}


def _content(folder: Path) -> str:
    """A digest of a variant's files.

    `datasets` caches a local folder by its name and its card's `configs` alone: without it a folder written again would load
    as it was.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.glob("train-*")):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"content {digest.hexdigest()[:16]}"


def _section(document: dict[str, Any], summary: Summary, template: str | None) -> str:
    values = blocks(document, summary, PLACE)
    values.update(title=f"{escaped(document['source']['id'])}, refined", version=__version__)
    return (part(document) + card_template(template).substitute(values)).replace(BEGIN, "").replace(END, "").rstrip()
