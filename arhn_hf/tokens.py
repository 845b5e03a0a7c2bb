"""Count tokens without a model download: the tokenizer of the embedded reader (BERT WordPiece, 30,522 entries)."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@cache
def tokenizer() -> Tokenizer:
    """The shipped tokenizer, without truncation or padding."""
    from tokenizers import Tokenizer

    loaded = Tokenizer.from_file(str(Path(__file__).parent / "reader" / "weights" / "tokenizer.json"))
    loaded.no_truncation()
    loaded.no_padding()
    return loaded


def count_tokens(text: str) -> int:
    """Tokens of a text, without special ones."""
    return len(tokenizer().encode(text, add_special_tokens=False).ids)
