"""The prompts, ours word for word (ARHN's are unpublished), and how they are put together.

Order matters for speed: instructions, then query, then passage, so that all requests of a query share their beginning and the
engine's prefix cache saves it. Passages are data from strangers: each stands between marker lines that carry a hash of its own
content, so no text can contain its own closing line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from string import Template

_WORDS = {
    "question": {
        "kind": "question", "test": "answers it", "shows": "answers the question", "verb": "answer the question",
        "verbs": "answers",
    },
    "claim": {
        "kind": "claim", "test": "holds evidence that supports or refutes it", "shows": "supports or refutes the claim",
        "verb": "support or refute the claim", "verbs": "decides it",
    },
}  # fmt: skip


@cache
def template(name: str) -> Template:
    """The template `answer`, `ranking` or `again`."""
    return Template((Path(__file__).parent / f"{name}.txt").read_text(encoding="utf-8"))


@cache
def instructions(name: str, criterion: str, count: int = 0) -> str:
    """The instructions of one stage under one criterion."""
    return template(name).substitute(_WORDS[criterion], count=count)


def fenced(kind: str, text: str) -> str:
    """Text between two marker lines that it cannot contain: they carry a hash of the text itself."""
    mark = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"<<{kind} {mark}>>\n{text}\n<<end {mark}>>"


def shared_part(criterion: str, query: str, instruction: str | None) -> str:
    """What all requests of a row begin with after the instructions."""
    task = f"Task the retriever is trained for:\n{fenced('task', instruction)}\n" if instruction else ""
    return f"{task}{_WORDS[criterion]['kind'].capitalize()}:\n{fenced('query', query)}\n"


def passage_part(title: str | None, text: str) -> str:
    """One passage as the judge sees it: title and text."""
    return f"Passage:\n{fenced('passage', f'Title: {title}{chr(10)}{text}' if title else text)}"


def listed_part(texts: Sequence[str]) -> str:
    """Numbered passages of a ranking request."""
    return "\n".join(f"[{i}]\n{fenced('passage', text)}" for i, text in enumerate(texts, start=1))
