"""The parts of the card's generated section, each a Markdown block made from the lineage and the counts of one run.

Data and prompts are untrusted text: in prose they are escaped, in code blocks the fence is longer than any in the text.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from dataclasses import fields
from typing import Any

from arhn_hf.config import option_fields
from arhn_hf.criteria import Criteria
from arhn_hf.prompts import template
from arhn_hf.publishing.folder import PICTURE
from arhn_hf.publishing.summary import Summary
from arhn_hf.rules import Rules, option_name

LLMS = frozenset({"vllm", "server"})  # kinds of judges that are one
_SAID = {
    "revision": "revision", "vllm": "vLLM", "dtype": "dtype", "quantization": "quantisation", "template": "chat template",
    "sampling": "sampling", "similarity_model": "compared by",
}  # fmt: skip
_COUNTS = ("positives", "negatives", "relabel", "filter", "duplicate", "undecided", "keep", "skipped")
_READING = {name: option_fields()[name].default for name in ("answer_threshold", "relabel_threshold", "max_chunks")}
RANKING_OPTIONS = {
    "candidates": "rank_candidates",
    "input": "rank_input",
    "window_size": "window_size",
    "window_positives": "window_positives",
}
"""The lineage's names of the ranking's options → the options'."""


def blocks(document: dict[str, Any], summary: Summary, place: str) -> dict[str, Any]:
    """Name → Markdown for the card's template; `place` is what `load_dataset` is called with."""
    results, source = document["results"], document["source"]
    failures = results["failures"]
    return {
        "judged_by": decided_by(document["judges"], summary), "source": source_name(source), "picture": f"![What became of the hard negatives]({PICTURE})",
        "loading": loading(document, place), "table": table(summary), "histogram": histogram(results),
        "relabel": f"{results['per_10_negatives']['relabel']:.2f}", "filter": f"{results['per_10_negatives']['filter']:.2f}",
        "considered": f"{summary.considered():,}", "failed": failures["count"], "meant": failures["of"], "limit": failures["limit"], "failures": failures_in_words(failures),
        "variants": variants(results), "criteria": criteria(document["criteria"]), "gates": gates(results["gates"]),
        "rules": rules(document), "prompts": prompts(document["judges"]), "command": code(command(document), "sh"),
        "run_id": document["run_id"], "fingerprint": source["fingerprint"],
    }  # fmt: skip


def escaped(value: Any) -> str:
    """Data as plain text in Markdown: no markup, HTML, table cells or control characters of its own, on one line."""
    text = " ".join(str(value).split())
    text = "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c != "\u200d" else c for c in text)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]()#+!|~$])", r"\\\1", text)


def code(text: str, language: str = "text") -> str:
    """A code block whose fence the text cannot close, without control characters."""
    clean = "".join(c if c == "\n" or unicodedata.category(c) not in ("Cc", "Cf", "Cs") else "\ufffd" for c in text)
    longest = max((len(run) for run in re.findall(r"`+", clean)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{clean.rstrip()}\n{fence}"


def part(document: dict[str, Any]) -> str:
    """What stands above everything else on the card of one part of a run; nothing on that of a whole one."""
    shard = document.get("shard")
    if shard is None:
        return ""
    return (
        f"> **This is part {shard['index']} of {shard['count']} of a run, and provisional**: what looks past a row (subsets left "
        "untouched, short rows, gates) is decided when `arhn-hf merge` joins the parts. Do not train on it.\n\n"
    )


def judged_by(judges: dict[str, Any]) -> str:
    """What judged, in the card's first lines; that no LLM did is said plainly."""
    kinds = {about["kind"] for about in judges.values()}
    names = ", ".join(_judge(one) for one in judges.values())
    if kinds == {"reader"} and not any("similarity_model" in about for about in judges.values()):
        return (
            "**No LLM judged this dataset**: the small embedded reader of arhn-hf did, which is meant for trials and as a "
            "first pass."
        )
    if kinds == {"replay"}:
        recorded = ", ".join(escaped(one["recorded"]) for one in judges.values())
        return f"Judged by recorded {recorded}, not by a model of this run: {names}."
    return f"Judged by {names}." if kinds & LLMS else f"**No LLM judged this dataset**: {names} did."


def decided_by(judges: dict[str, Any], summary: Summary) -> str:
    """The same; of a cascade also who decided how many negatives, and by which scores the first judge did."""
    first = next((name for name, about in judges.items() if "band" in about), None)
    if first is None:
        return judged_by(judges)
    strong = judged_by({name: about for name, about in judges.items() if name != first}).rstrip(".")
    decided = {name: summary.count(label="negative", judge=name) for name in judges}
    low, high = judges[first]["band"]["low"], judges[first]["band"]["high"]
    without = f"no answer below a score of {low:g}" if low else ""
    found = f"an answer from {high:g} on" if high < 1 else ""
    said = " and ".join(part for part in (without, found) if part) or "nothing by itself"
    return (
        f"{strong}, behind a first reader: **{decided[first]:,} of {sum(decided.values()):,} negatives were decided by the "
        f"small embedded reader of arhn-hf** ({said}), the others and every labelled positive by that judge, which also "
        "ranked. The evidence names who decided each passage."
    )


def _judge(about: dict[str, Any]) -> str:
    """A judge's model, and everything known that changes what it says (its prompts apart)."""
    said = [f"{name} {escaped(_plain(about[key]))}" for key, name in _SAID.items() if key in about]
    said += ["thinking on"] if about.get("thinking") else []
    said += [f"answers found by {escaped(about['answers_by']['model'])}"] if "answers_by" in about else []
    return f"{escaped(about['model'])} ({', '.join(said)})"


def _plain(value: Any) -> Any:
    """`{"temperature": 0.0}` as `temperature 0.0`, nothing as `none`."""
    if isinstance(value, dict):
        return " ".join(f"{key} {one}" for key, one in value.items()) or "the engine's own"
    return "none" if value is None else value


def source_name(source: dict[str, Any]) -> str:
    """The source, with a link and its commit where it is on the Hub."""
    name = escaped(source["id"])
    if source["kind"] != "hub":
        return f"the local dataset {name} (split {escaped(source['split'])})"
    link = f"[{name}](https://huggingface.co/datasets/{source['id']}/tree/{source['revision']})"
    part = f", configuration {escaped(source['name'])}" if source["name"] else ""
    return f"{link} (split {escaped(source['split'])}{part}, revision `{source['revision'][:12]}`)"


def loading(document: dict[str, Any], place: str) -> str:
    """The lines that load every variant and the evidence."""
    lines = ["from datasets import load_dataset", ""]
    lines += [f'load_dataset("{place}", "{name}", split="train")' for name in document["variants"]]
    if document["file_type"] == "parquet":
        lines.append(f'load_dataset("{place}", "evidence", split="train")')
    else:
        lines.append(f'load_dataset("parquet", data_files="{place}/evidence/*.parquet", split="train")')
    return "\n".join(lines)


def table(summary: Summary) -> str:
    """Before and after, per subset."""
    lines = [
        "| subset | positives | negatives | relabeled | filtered | duplicates | undecided | kept | skipped |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    rows = summary.before_after()
    for one in rows:
        cells = " | ".join(f"{one[key]:,}" for key in _COUNTS)
        lines.append(f"| {escaped(one['subset'] or '(all)')} | {cells} |")
    if len(rows) > 1:
        cells = " | ".join(f"**{sum(one[key] for one in rows):,}**" for key in _COUNTS)
        lines.append(f"| **all** | {cells} |")
    return "\n".join(lines)


def variants(results: dict[str, Any]) -> str:
    """Rows and passages of each variant."""
    lines = [
        "| variant | rows | changed | dropped | positives | negatives |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, one in results["variants"].items():
        keys = ("rows", "rows_changed", "rows_dropped", "positives", "negatives")
        lines.append(f"| `{name}` | {' | '.join(f'{one[key]:,}' for key in keys)} |")
    return "\n".join(lines)


def histogram(results: dict[str, Any]) -> str:
    """How many rows keep how many negatives, per variant."""
    found = {name: one["negatives_left"] for name, one in results["variants"].items()}
    numbers = sorted({int(number) for left in found.values() for number in left})
    lines = [
        f"| negatives left | {' | '.join(f'rows of `{name}`' for name in found)} |",
        f"| ---: |{' ---: |' * len(found)}",
    ]
    lines += [f"| {n} | {' | '.join(f'{left.get(str(n), 0):,}' for left in found.values())} |" for n in numbers]
    return "\n".join(lines)


def failures_in_words(failures: dict[str, Any]) -> str:
    """Failed judgements by status, or that there were none."""
    parts = [f"{count:,} {escaped(name.replace('_', ' '))}" for name, count in failures["by_status"].items()]
    return f"Undecided negatives: {', '.join(parts)}." if parts else "No negative is undecided."


def criteria(found: dict[str, Any]) -> str:
    """What made a passage of each subset relevant, and how many of its positives hold an answer."""
    lines = ["| subset | criterion | only filtered | positives with an answer |", "| --- | --- | --- | ---: |"]
    for subset, about in found.items():
        share = "" if about["answerable"] is None else f"{about['answerable']:.0%}"
        share += " (left untouched)" if about["untouched"] else ""
        only = "yes" if about["filter_only"] else "no"
        lines.append(f"| {escaped(subset or '(all)')} | {about['criterion']} | {only} | {share} |")
    return "\n".join(lines)


_GATE = {True: "held", False: "**failed**", None: "not judged in a part"}


def gates(tested: list[dict[str, Any]]) -> str:
    """Every gate with its limit and value."""
    lines = ["| gate | limit | value | |", "| --- | ---: | ---: | --- |"]
    lines += [
        f"| `{gate['name']}` | {gate['limit']:g} | {gate['value']:.4g} | {_GATE[gate['ok']]} |" for gate in tested
    ]
    return "\n".join(lines)


def rules(document: dict[str, Any]) -> str:
    """Every rule's value."""
    reading = {
        f"{name} of judge {judge}": _plain(about[name])
        for judge, about in document["judges"].items()
        for name in (*_READING, "band")
        if name in about
    }
    ranking = {f"ranking {key.replace('_', ' ')}": value for key, value in document["ranking"].items()}
    return "\n".join(
        [
            *(f"- `{name}`: {escaped(_word(value))}" for name, value in document["rules"].items()),
            *(f"- {name}: {escaped(_word(value))}" for name, value in {**reading, **ranking}.items()),
        ]
    )


def _word(value: Any) -> Any:
    """Values as people write them in options and YAML."""
    return {True: "yes", False: "no", None: "none"}[value] if value is None or isinstance(value, bool) else value


def _own_prompt(name: str, text: str) -> bool:
    """Whether a prompt is not the one of this version."""
    return text != template(name).template


def prompts(judges: dict[str, Any]) -> str:
    """The prompts, word for word."""
    parts = []
    for about in judges.values():
        for name, text in (about.get("prompts") or {}).items():
            parts.append(f"`{name}`\n\n{code(text)}")
    return "\n\n".join(parts) or "This judge has none."


def _shard(document: dict[str, Any]) -> str | None:
    shard = document.get("shard")
    return None if shard is None else f"{shard['index']}/{shard['count']}"


def command(document: dict[str, Any]) -> str:
    """The command that makes the same decisions again; local paths are known by their last component only."""
    source, form = document["source"], document["format"]
    words = ["arhn-hf", "refine", str(source["id"])]
    pairs: list[tuple[str, Any]] = [
        ("revision", source["revision"]), ("name", source["name"]),
        ("split", None if source["split"] == "train" else source["split"]),
        ("sample", document["sample"] and document["sample"]["n"]), ("shard", _shard(document)), ("to", form["to"]),
        ("negatives", form["negatives"] if form["to"] else None),
        ("variants", None if len(document["variants"]) == 3 else ",".join(document["variants"])),
    ]  # fmt: skip
    for about in document["judges"].values():
        if band := about.get("band"):
            pairs += [("cascade", about["kind"]), *((f"cascade_{side}", band[side]) for side in ("low", "high"))]
        pairs += [(name, about[name]) for name in _READING if about.get(name, _READING[name]) != _READING[name]]
        pairs += (
            [("prompts", "DIR")]
            if any(_own_prompt(name, text) for name, text in (about.get("prompts") or {}).items())
            else []
        )
        pairs.append(("similarity_model", about.get("similarity_model")))
        if about["kind"] == "replay":
            pairs += [("judge", "replay"), ("responses", about["model"])]
        elif about["kind"] != "reader":
            revision = about["revision"]
            named = None if revision == "unverified" or str(revision).startswith("sha256:") else revision
            judge = "reader" if about["kind"] == "reader-checkpoint" else about["kind"]
            pairs += [("judge", judge), ("model", about["model"]), ("model_revision", named)]
            pairs += [("thinking", True)] if about.get("thinking") else []
            pairs += [("base_url", "URL")] if about["kind"] == "server" else []
    one_order = not LLMS & {about["kind"] for about in document["judges"].values()}
    for item in fields(Rules):
        value = document["rules"][item.name]
        settled = item.name == "short_rows" or (item.name == "orders" and one_order)
        if value != item.default and not settled:
            pairs.append(
                (item.name if value is not False else f"no_{item.name}", value if value is not False else True)
            )
    pairs += [
        (RANKING_OPTIONS[key], value)
        for key, value in document["ranking"].items()
        if value != option_fields()[RANKING_OPTIONS[key]].default
    ]
    usual = Criteria()
    for subset, about in document["criteria"].items():
        if about["criterion"] != usual.criterion(subset):
            pairs.append(("criterion", f"{subset}={about['criterion']}"))
        if about["filter_only"] and not usual.only_filters(subset):
            pairs.append(("filter_only", subset))
    for name, value in pairs:
        if value is True:
            words.append(option_name(name))
        elif value is not None:
            words += [option_name(name), str(value)]
    return " ".join(shlex.quote(" ".join(word.split())) for word in [*words, "--output", "refined"])
