"""The dataset card: generated between two marker lines, so that what a person wrote around them stays.

The YAML head lists every variant under `configs:`; without it the folder would load as one heap. Values from data are escaped.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from pathlib import Path
from string import Template
from typing import Any

import yaml

from arhn_hf import __version__
from arhn_hf.publishing.summary import Summary
from arhn_hf.records import ArhnError, UsageError
from arhn_hf.resources import resource_folder

_SAID = {
    "revision": "revision", "vllm": "vLLM", "dtype": "dtype", "quantization": "quantisation", "template": "chat template",
    "sampling": "sampling",
}  # fmt: skip
BEGIN, END = "<!-- arhn-hf: generated from here -->", "<!-- arhn-hf: generated to here -->"


def render_card(document: dict[str, Any], summary: Summary, folder: Path) -> str:
    """`README.md` of the folder: our section and our YAML keys replaced, everything else of an existing card kept.

    Raises `ArhnError` if the existing card's YAML cannot be read (it is left as it is).
    """
    existing = folder / "README.md"
    head, body = split_card(existing.read_text(encoding="utf-8")) if existing.is_file() else ({}, "")
    head = {**head, **_yaml_head(document, head, folder / ".arhn" / "new")}
    section = f"{BEGIN}\n{_section(document, summary)}\n{END}"
    before, begun, rest = body.partition(BEGIN)
    if begun and END in rest:
        body = before + section + rest.split(END, 1)[1]
    else:
        body = f"{section}\n\n{body}" if body.strip() else f"{section}\n"
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n\n{body.lstrip()}"


def refuse_broken_card(folder: Path) -> None:
    """Raise `UsageError` now, before anything is judged, for what `render_card` would raise at the end."""
    existing = folder / "README.md"
    if not existing.is_file():
        return
    try:
        split_card(existing.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise UsageError("is not UTF-8", where=str(existing), hint="Repair it or move it away") from error
    except ArhnError as error:
        raise UsageError(error.message, where=str(existing), hint=error.hint) from error


def split_card(text: str) -> tuple[dict[str, Any], str]:
    """YAML head and body of a card. Raises `ArhnError` for YAML that cannot be read."""
    match = re.match(r"\A---\s*\n(.*?)\n---\s*(?:\n|\Z)", text, re.DOTALL)
    if match is None:
        return {}, text
    try:
        head = yaml.safe_load(match.group(1)) or {}
    except yaml.YAMLError as error:
        raise ArhnError(
            "the card's YAML cannot be read", where="README.md", hint="Repair it or move it away"
        ) from error
    if not isinstance(head, dict):
        raise ArhnError("the card's YAML is not a mapping", where="README.md", hint="Repair it or move it away")
    return head, text[match.end() :]


def escaped(value: Any) -> str:
    """Data as plain text in Markdown: no markup, HTML, table cells or control characters of its own, on one line."""
    text = " ".join(str(value).split())
    text = "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c != "\u200d" else c for c in text)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]()#+!|~$])", r"\\\1", text)


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


def _yaml_head(document: dict[str, Any], existing: dict[str, Any], files: Path) -> dict[str, Any]:
    kind = document["file_type"]
    configs: list[dict[str, Any]] = []
    for i, variant in enumerate(document["variants"]):
        one: dict[str, Any] = {
            "config_name": variant,
            "data_files": [{"split": "train", "path": f"{variant}/train-*.{kind}"}],
        }
        if i == 0:  # the variants stand in the order combined, relabel, filter
            one["default"] = True
        configs.append(one)
    if (
        kind == "parquet"
    ):  # `datasets` reads all configurations of a folder by one builder: none for parquet beside jsonl
        files_of = [{"split": "train", "path": "evidence/train-*.parquet"}]
        configs.append({"config_name": "evidence", "data_files": files_of})
    for one in configs:
        one["description"] = _content(files / one["config_name"])
    ours = {"combined", "relabel", "filter", "evidence"}
    theirs = [
        item for item in existing.get("configs") or [] if isinstance(item, dict) and item.get("config_name") not in ours
    ]
    tags = list(dict.fromkeys([*(existing.get("tags") or []), "arhn-hf", "hard-negatives"]))
    head: dict[str, Any] = {"task_categories": existing.get("task_categories") or ["text-retrieval"], "tags": tags}
    return {**head, "configs": [*configs, *theirs]}


def _section(document: dict[str, Any], summary: Summary) -> str:
    results = document["results"]
    judges = document["judges"]
    by_reader = all(about["kind"] == "reader" for about in judges.values())
    names = ", ".join(_judge(one) for one in judges.values())
    judged_by = (
        "**No LLM judged this dataset**: the small embedded reader of arhn-hf did, which is meant for trials and as a first pass."
        if by_reader
        else f"Judged by {names}."
    )
    folder_name = "path/to/this/folder"
    loading = "\n".join(
        [
            "from datasets import load_dataset",
            *(f'load_dataset("{folder_name}", "{v}", split="train")' for v in document["variants"]),
        ]
    )
    if document["file_type"] == "parquet":
        loading += f'\nload_dataset("{folder_name}", "evidence", split="train")'
    else:
        loading += f'\nload_dataset("parquet", data_files="{folder_name}/evidence/*.parquet", split="train")'
    source = document["source"]
    template = Template((resource_folder("dataset_cards") / "card.md").read_text(encoding="utf-8"))
    try:
        return template.substitute(
            title=f"{escaped(source['id'])}, refined", judged_by=judged_by, source=escaped(source["id"]), version=__version__,
            loading=loading, table=_table(summary), relabel=results["per_10_negatives"]["relabel"],
            filter=results["per_10_negatives"]["filter"], failed=results["failures"]["count"],
            meant=results["failures"]["of"], limit=results["failures"]["limit"], rules=_rules(document), run_id=document["run_id"],
        ).rstrip()  # fmt: skip
    except (KeyError, ValueError) as error:
        raise ArhnError(f"the template names an unknown value ({error})", where="dataset_cards/card.md") from error


def _judge(about: dict[str, Any]) -> str:
    """A judge's model, and everything known that changes what it says (its prompts apart)."""
    said = [f"{name} {escaped(_plain(about[key]))}" for key, name in _SAID.items() if key in about]
    said += ["thinking on"] if about.get("thinking") else []
    return f"{escaped(about['model'])} ({', '.join(said)})"


def _plain(value: Any) -> Any:
    """`{"temperature": 0.0}` as `temperature 0.0`, nothing as `none`."""
    if isinstance(value, dict):
        return " ".join(f"{key} {one}" for key, one in value.items()) or "the server's own"
    return "none" if value is None else value


def _table(summary: Summary) -> str:
    lines = [
        "| subset | positives | negatives | relabeled | filtered | duplicates | undecided | kept | skipped |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for one in summary.before_after():
        keys = ("positives", "negatives", "relabel", "filter", "duplicate", "undecided", "keep", "skipped")
        cells = " | ".join(f"{one[key]:,}" for key in keys)
        lines.append(f"| {escaped(one['subset'] or '(all)')} | {cells} |")
    return "\n".join(lines)


def _rules(document: dict[str, Any]) -> str:
    lines = [f"- `{name}`: {escaped(value)}" for name, value in document["rules"].items()]
    for subset, about in document["criteria"].items():
        extra = ", filter only" if about["filter_only"] else ""
        extra += ", left untouched" if about["untouched"] else ""
        lines.append(f"- subset {escaped(subset or '(all)')}: {about['criterion']}{extra}")
    return "\n".join(lines)
