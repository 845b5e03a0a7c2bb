"""Whether a row is probably English: the embedded reader reads nothing else, and must say so instead of guessing."""

from __future__ import annotations

import unicodedata
from functools import cache

from arhn_hf.records import Row

_SAMPLE = 1500  # code points looked at
_LATIN_SHARE = 0.5
_MARGIN = 10.0  # nats by which another language must beat English


def probably_english(row: Row) -> bool:
    """Look at the script of the query, then at the language of the query with the beginnings of the passages.

    Short queries alone say too little for a language identifier, so they are read together with passages (py3langid). Our choice.
    """
    letters = [c for c in row.query if c.isalpha()]
    if letters and sum(_latin(c) for c in letters) < _LATIN_SHARE * len(letters):
        return False
    passages = row.passages
    share = max(100, _SAMPLE // max(1, min(len(passages), 6)))
    text = " ".join([row.query, *(p.text[:share] for p in passages[:6])])
    letters = [c for c in text if c.isalpha()]
    if len(letters) < 20:
        return True
    if sum(_latin(c) for c in letters) < _LATIN_SHARE * len(letters):
        return False
    import py3langid

    ranked = py3langid.rank(text)
    best, english = ranked[0][1], dict(ranked)["en"]
    return bool(best - english < _MARGIN)


@cache
def _latin(char: str) -> bool:
    return char.isascii() or "LATIN" in unicodedata.name(char, "")
