"""Word pieces of a passage with their places in the original string, and the windows in which they are read.

Why it exists: offsets are where an extractive reader goes wrong. Everything that turns characters into tokens and back,
and that decides how much of a long passage is looked at, is here and nowhere else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tokenizers import Tokenizer

Field = Literal["title", "text"]

WINDOW = 256
"""Tokens of one reader input, special tokens included; the length the reader was trained on."""
OVERLAP = 64
"""Tokens that two neighbouring windows share: twice the longest span, so each span is whole in some window."""
QUERY_TOKENS = 64
"""Tokens of the query that the reader sees; the rest of a longer query is cut off."""
TITLE_TOKENS = 64
"""A title up to this length is shown in every window; a longer one is first read in windows of its own."""

_PIECE = 8192
_SURROGATE = re.compile("[\ud800-\udfff]")
_LAST_SPACE = re.compile(r"\s\S*\Z")


@dataclass(frozen=True, slots=True)
class Tokens:
    """Word pieces of the beginning of one string.

    `ids[i]` is the vocabulary entry, `places[i]` its (start, end) in code points of the original string, end
    exclusive, and `words[i]` the number of the word it belongs to. `complete`: the whole string was tokenised.
    """

    ids: list[int]
    places: list[tuple[int, int]]
    words: list[int]
    complete: bool


@dataclass(frozen=True, slots=True)
class Window:
    """One reader input after the query: tokens [title_from, title_to) and [text_from, text_to) of the two fields."""

    title_from: int
    title_to: int
    text_from: int
    text_to: int


class PieceTokenizer:
    """The uncased word-piece tokenizer of MiniLM, reading no further than it is asked to; safe to share by threads."""

    def __init__(self, path: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(path))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokenizer.encode_special_tokens = True  # "[SEP]" inside a passage is text

    def tokens(self, text: str, limit: int | None = None) -> Tokens:
        """Tokens of `text`, stopping soon after `limit` of them; a cut falls on white space where there is any.

        Lone surrogates, which UTF-8 cannot hold, count as one unreadable character each.
        """
        text = _SURROGATE.sub("\ufffd", text)
        ids: list[int] = []
        places: list[tuple[int, int]] = []
        words: list[int] = []
        at = 0
        while at < len(text) and (limit is None or len(ids) < limit):
            cut = at + _PIECE
            if cut < len(text) and (space := _LAST_SPACE.search(text, at + 1, cut)):
                cut = space.start()
            encoding = self._tokenizer.encode(text[at:cut], add_special_tokens=False)
            first_word = words[-1] + 1 if words else 0
            ids += encoding.ids
            places += [(a + at, b + at) for a, b in encoding.offsets]
            words += [first_word + (w or 0) for w in encoding.word_ids]
            at = min(cut, len(text))
        return Tokens(ids, places, words, at >= len(text))


def reader_windows(query: int, title: int, text: int, most: int) -> tuple[list[Window], bool]:
    """Windows for a query, title and text of so many tokens, at most `most`, and whether that covers everything.

    `query` is at most QUERY_TOKENS. A passage that fits into one window gives one; without any token, none.
    """
    out: list[Window] = []
    shown = min(title, TITLE_TOKENS)
    if title > TITLE_TOKENS:
        out += [Window(a, b, 0, 0) for a, b in _cuts(title, WINDOW - query - 3)]
    elif title and not text:
        out.append(Window(0, title, 0, 0))
    if text:
        room = WINDOW - query - 3 - (shown + 1 if shown else 0)
        out += [Window(0, shown, a, b) for a, b in _cuts(text, room)]
    return out[:most], len(out) <= most


def _cuts(length: int, room: int) -> list[tuple[int, int]]:
    step = room - OVERLAP
    count = 1 if length <= room else 1 + -(-(length - room) // step)
    return [(i * step, min(i * step + room, length)) for i in range(count)]
