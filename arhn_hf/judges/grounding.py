"""Find a judge's snippet in its passage: exactly, then after folding typography, then by a fuzzy alignment.

A snippet that is nowhere in the passage is not evidence, whatever the judge says. Offsets always speak of the *original* field, in
code points, end exclusive. The steps and the cut-off of the fuzzy one are our choice.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from rapidfuzz import fuzz

_QUOTES = dict.fromkeys(map(ord, "‘’‚‛′`´"), "'") | dict.fromkeys(map(ord, "“”„‟″«»"), '"')
_HYPHENS = dict.fromkeys(map(ord, "‐‑‒–—―−"), "-")
_TABLE = _QUOTES | _HYPHENS
FUZZY_CUTOFF = 90.0  # percent of rapidfuzz's partial ratio
FUZZY_MINIMUM = 12  # code points: shorter strings align with anything


@dataclass(frozen=True, slots=True)
class Grounded:
    """A snippet found: `status` is `answered` (exact or folded) or `approximate` (fuzzy)."""

    status: str
    field: str
    start: int
    end: int


def ground(snippet: str, title: str | None, text: str) -> Grounded | None:
    """Where `snippet` stands in the passage (the text first, then the title), or `None` if nowhere."""
    if not snippet.strip():
        return None
    fields = [("text", text), *([("title", title)] if title else [])]
    for field, value in fields:
        start = value.find(snippet)
        if start >= 0:
            return Grounded("answered", field, start, start + len(snippet))
    wanted = _fold(snippet)[0].strip()
    if not wanted:
        return None
    folded = [(field, *_fold(value)) for field, value in fields]
    for field, value, origin in folded:
        start = value.find(wanted)
        if start >= 0:
            return Grounded("answered", field, origin[start][0], origin[start + len(wanted) - 1][1])
    if len(wanted) >= FUZZY_MINIMUM:
        for field, value, origin in folded:
            if len(value) < len(wanted):
                continue
            found = fuzz.partial_ratio_alignment(wanted, value, score_cutoff=FUZZY_CUTOFF)
            if found is not None and found.dest_end > found.dest_start:
                return Grounded("approximate", field, origin[found.dest_start][0], origin[found.dest_end - 1][1])
    return None


def _joins(before: str, char: str) -> bool:
    """Whether NFKC may merge `char` with what stands before it: combining marks, Hangul letters, two-part vowels."""
    if char < "\u0300":
        return False
    alone, together = (unicodedata.normalize("NFKC", one) for one in (char, before + char))
    return bool(unicodedata.combining(alone[0])) or len(together) < len(unicodedata.normalize("NFKC", before)) + len(
        alone
    )


def _fold(text: str) -> tuple[str, list[tuple[int, int]]]:
    """Text after NFKC, case, quote, hyphen and white-space folding, and for each of its characters the source span."""
    out: list[str] = []
    origin: list[tuple[int, int]] = []
    space = True
    i = 0
    while i < len(text):
        end = i + 1
        while end < len(text) and _joins(text[max(i, end - 2) : end], text[end]):
            end += 1
        piece = unicodedata.normalize("NFKC", text[i:end].translate(_TABLE)).casefold().translate(_TABLE)
        for char in piece:
            if char.isspace():
                if space:
                    continue
                char = " "
            space = char == " "
            out.append(char)
            origin.append((i, end))
        i = end
    return "".join(out), origin
