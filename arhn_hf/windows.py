"""Cut a row's candidates into independent ranking windows, in several seeded orders. Pure.

Only each candidate's side of the reference positive matters, so a long list needs no sequential sliding window (as RankGPT has):
every window holds the same original positives and a few candidates, and all can be in flight at once. Our choice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from arhn_hf.records import Row


@dataclass(frozen=True, slots=True)
class Window:
    """One ranking request: the passages (indices into `row.passages`) in the order they are shown."""

    window: int
    order: int
    items: tuple[int, ...]


def cut(
    row: Row, positives: Sequence[int], candidates: Sequence[int], *, size: int, orders: int, seed: int
) -> list[Window]:
    """Windows of at most `size` passages, each in `orders` orders.

    Order 0 is a seeded hash of the row's *content*, order 1 its reverse, orders 2 and 3 the next hash and its reverse, …:
    reversals cancel position bias, and nothing depends on where a passage stood in the source. Candidates are cut into windows
    by the same hash. No candidates: no windows. Raises `ValueError` if the positives leave no room.
    """
    room = size - len(positives)
    if room < 1:
        raise ValueError(f"{len(positives)} positives leave no room in a window of {size}")
    passages = row.passages

    def content(salt: str, items: Sequence[int]) -> list[int]:
        def key(i: int) -> tuple[bytes, int]:
            passage = passages[i]
            text = f"{seed}\0{salt}\0{row.query}\0{passage.title or ''}\0{passage.text}"
            return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest(), i

        return sorted(items, key=key)

    ordered = content("windows", candidates) if len(candidates) > room else list(candidates)
    windows = []
    for number, start in enumerate(range(0, len(ordered), room)):
        items = [*positives, *ordered[start : start + room]]
        for order in range(orders):
            if order % 2 == 0:
                shown = content(f"order{order // 2}", items)
            windows.append(Window(number, order, tuple(shown if order % 2 == 0 else reversed(shown))))
    return windows
