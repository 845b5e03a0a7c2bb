"""`arhn.json`: the machine-readable lineage of a run, enough to repeat its decisions and to say where every label came from.

It holds no local paths, timings, host names, request or token counts, so that equal answers give equal bytes.
"""

from __future__ import annotations

import hashlib
from dataclasses import fields
from typing import Any

from arhn_hf import __version__
from arhn_hf.engines.base import canonical
from arhn_hf.publishing.evidence import EVIDENCE_VERSION
from arhn_hf.rules import Rules
from arhn_hf.shards import Shard


def rules_in_force(rules: Rules, *, orders: int, short_rows: str) -> dict[str, Any]:
    """Every rule's value, with what the judge and the format settled."""
    values = {item.name: getattr(rules, item.name) for item in fields(Rules)}
    return {**values, "orders": orders, "short_rows": short_rows}


def lineage(
    *,
    source: dict[str, Any],
    sample: dict[str, Any] | None,
    form: dict[str, Any],
    rules: dict[str, Any],
    criteria: dict[str, Any],
    ranking: dict[str, Any],
    judges: dict[str, Any],
    variants: tuple[str, ...],
    shard: Shard | None = None,
) -> dict[str, Any]:
    """The settings of a run under its `run_id`, a hash of all of them (and of the source's content). Only a part's has a `shard`."""
    settings = {
        "method": "arhn", "source": source, "sample": sample, "format": form, "variants": list(variants), "rules": rules,
        "criteria": criteria, "ranking": ranking, "judges": judges,
    }  # fmt: skip
    if shard is not None:
        settings["shard"] = shard.lineage()
    run_id = hashlib.sha256(canonical(settings)).hexdigest()[:16]
    return {"evidence_version": EVIDENCE_VERSION, "arhn_hf": __version__, "run_id": run_id, **settings}
