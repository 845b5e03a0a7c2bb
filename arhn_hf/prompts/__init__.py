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

from arhn_hf.records import UsageError

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


# What a template must use, and what it may.
_NEEDED = {"answer": {"kind", "test"}, "ranking": {"kind", "test", "count"}, "again": {"problem"}}
_KNOWN = {"answer": set(_WORDS["question"]), "ranking": {*_WORDS["question"], "count"}, "again": {"problem"}}


@cache
def template(name: str, folder: str | None = None) -> Template:
    """The template `answer`, `ranking` or `again`: ours, or the one in the person's own folder (`--prompts`).

    A folder may hold only some of them. Raises `UsageError` for a variable that is missing or unknown.
    """
    own = Path(folder) / f"{name}.txt" if folder else None
    if own is None or not own.is_file():
        return Template((Path(__file__).parent / f"{name}.txt").read_text(encoding="utf-8"))
    found = Template(own.read_text(encoding="utf-8"))
    if not found.is_valid():
        raise UsageError("has a $ that begins no variable", where=str(own), hint="Write $$ for a dollar sign")
    names = set(found.get_identifiers())
    for wrong, what in ((names - _KNOWN[name], "unknown"), (_NEEDED[name] - names, "missing")):
        if wrong:
            known = ", ".join(f"${one}" for one in sorted(_KNOWN[name]))
            raise UsageError(f"{what} variable ${min(wrong)}", where=str(own), hint=f"Known: {known}")
    return found


def check_folder(folder: str) -> None:
    """Look over a folder of templates before anything is asked. Raises `UsageError` if it holds none, or a wrong one."""
    if not any((Path(folder) / f"{name}.txt").is_file() for name in _NEEDED):
        raise UsageError("holds none of answer.txt, ranking.txt, again.txt", where=folder)
    for name in _NEEDED:
        template(name, folder)


@cache
def instructions(name: str, criterion: str, count: int = 0, folder: str | None = None) -> str:
    """The instructions of one stage under one criterion."""
    values = {**_WORDS[criterion], "count": str(count)} if name == "ranking" else _WORDS[criterion]
    return template(name, folder).substitute(values)


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
