"""Pure text helpers: what counts as the same passage, a near-duplicate, a passage's fingerprint.

They are apart from the rules that use them because the duplicates search, the grounding of snippets and the checks must
all mean the same by "equal".
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence

_WORD = re.compile(r"\w+")
_ASCII_GAPS = {code: " " for code in range(128) if not re.match(r"\w", chr(code))}


def normalised(text: str | None) -> str:
    """NFKC, case-folded, white space folded to single spaces; `None` is empty (evidence contract, rule 1)."""
    if not text:
        return ""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def passage_key(title: str | None, text: str | None) -> tuple[str, str]:
    """What two equal passages share: normalised title and normalised text."""
    return normalised(title), normalised(text)


def text_sha256(title: str | None, text: str | None) -> str:
    """Lower-case hex of sha256 over UTF-8 title, NUL, text, as they are; no title is empty (evidence contract)."""
    return hashlib.sha256(f"{title or ''}\0{text or ''}".encode("utf-8", "surrogatepass")).hexdigest()


def token_set(key: tuple[str, str]) -> frozenset[str]:
    r"""The set of `\w+` tokens of a normalised (title, text) pair."""
    joined = f"{key[0]} {key[1]}"
    if joined.isascii():  # the same words, without the regular expression, in a fifth of the time
        return frozenset(joined.translate(_ASCII_GAPS).split())
    return frozenset(_WORD.findall(joined))


def near_duplicate_clusters(sets: Sequence[frozenset[str]], threshold: float) -> list[int]:
    """Connected components of Jaccard similarity ≥ `threshold` among token sets.

    Returns one component number per set: the index of the component's first member. Empty sets are like nothing.
    Pairs are skipped without an intersection when their sizes alone rule the threshold out.
    """
    parent = list(range(len(sets)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    by_size = sorted((len(s), i) for i, s in enumerate(sets) if s)
    for a, (small, i) in enumerate(by_size):
        for large, j in by_size[a + 1 :]:
            if small / large < threshold:
                break
            shared = len(sets[i] & sets[j])
            if shared / (small + large - shared) >= threshold:
                first, second = root(i), root(j)
                parent[max(first, second)] = min(first, second)
    return [root(i) for i in range(len(sets))]
