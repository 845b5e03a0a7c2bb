"""What is known about a row before any judge reads it: duplicates, near-duplicate clusters, and the cap on negatives.

Rule 1 of the decision rules, pure. It runs first so that no request is spent on a negative that leaves anyway.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from arhn_hf.records import Passage, Row
from arhn_hf.rules import Rules
from arhn_hf.text import near_duplicate_clusters, passage_key, text_sha256, token_set


@dataclass(slots=True)
class Prepared:
    """Per negative, in order: `outcome` is a (action, reason) pair already settled, or `None` if it must be judged.

    `cluster` numbers near-duplicate clusters among the negatives that are still to be judged (-1 for the settled ones).
    """

    outcome: list[tuple[str, str] | None]
    cluster: list[int]


def prepare(row: Row, rules: Rules, elsewhere: Callable[[Passage], bool] | None = None) -> Prepared:
    """Settle duplicates and the cap on negatives of one valid row.

    `elsewhere` says whether a passage is a positive in another row of the same normalised query and instruction.
    """
    positive_keys = [passage_key(p.title, p.text) for p in row.positives]
    negative_keys = [passage_key(p.title, p.text) for p in row.negatives]
    own = set(positive_keys)
    outcome: list[tuple[str, str] | None] = [None] * len(row.negatives)
    for i, key in enumerate(negative_keys):
        if key in own:
            outcome[i] = ("duplicate", "equals_positive")
        elif elsewhere is not None and elsewhere(row.negatives[i]):
            outcome[i] = ("duplicate", "equals_positive_elsewhere")

    sets = [token_set(key) for key in positive_keys + negative_keys]
    components = near_duplicate_clusters(sets, rules.near_duplicate)
    first_negative = len(positive_keys)
    with_positive = set(components[:first_negative])
    for i in range(len(row.negatives)):
        if outcome[i] is None and components[first_negative + i] in with_positive:
            outcome[i] = ("duplicate", "near_positive")

    open_ones = [i for i, settled in enumerate(outcome) if settled is None]
    if rules.max_negatives is not None and len(open_ones) > rules.max_negatives:
        content = sorted((text_sha256(row.negatives[i].title, row.negatives[i].text), i) for i in open_ones)
        chooser = random.Random(f"{rules.seed}\0{row.query}\0{','.join(digest for digest, _ in content)}")
        kept = {i for _, i in chooser.sample(content, rules.max_negatives)}
        for i in open_ones:
            if i not in kept:
                outcome[i] = ("skipped", "max_negatives")

    cluster = [
        -1 if settled is not None else components[first_negative + i] - first_negative
        for i, settled in enumerate(outcome)
    ]
    return Prepared(outcome, _named_by_first(cluster))


def _named_by_first(cluster: list[int]) -> list[int]:
    """Rename each cluster to the index of its first judged member."""
    names: dict[int, int] = {}
    return [-1 if c == -1 else names.setdefault(c, i) for i, c in enumerate(cluster)]
