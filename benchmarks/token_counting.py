"""An LLM that only counts: real prompts in, replies from known grades out, tokens and a prefix cache on the way.

`tokens.py` and `cascade.py` stand on it. Tokens are those of the embedded reader's WordPiece tokenizer (BERT, uncased, 30,522 entries),
since no LLM's tokenizer is shipped: absolute numbers differ from an LLM's by some per cent, shares hardly. Messages are rendered as role,
line break, content, without a chat template's special tokens.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from arhn_hf.config import RunConfig
from arhn_hf.engines.base import Engine, Request, Response
from arhn_hf.judges.asking import Asker
from arhn_hf.judges.llm import LLMJudge
from arhn_hf.judges.opening import behind_reader
from arhn_hf.monitor import Monitor
from arhn_hf.pipeline import RefineResult, run_refine
from arhn_hf.store import Store
from arhn_hf.tokens import tokenizer

BLOCK = 16  # tokens, vLLM's usual block on a GPU
CAPACITY = 65_536  # tokens the simulated cache holds
RELEVANT = 2.0  # the grade from which a passage answers
_FENCED = re.compile(r"<<(query|passage) [0-9a-f]{16}>>\n(.*?)\n<<end [0-9a-f]{16}>>", re.DOTALL)

Grades = Mapping[tuple[str, str], float]
"""(query, text of the passage) → its grade."""


class PrefixCache:
    """Blocks of prompts seen before, least recently used out first; a block is found only behind all blocks before it.

    Requests are computed one after the other in the order of submission, so everything computed is there for the next one.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._room, self._blocks = capacity // BLOCK, OrderedDict[bytes, None]()

    def cached(self, ids: list[int]) -> int:
        """How many tokens of this prompt are in the cache (never all: the last one is computed); then it is put there."""
        name, found, hit = b"", 0, True
        for start in range(0, len(ids) - BLOCK + 1, BLOCK):
            content = np.asarray(ids[start : start + BLOCK], dtype=np.uint32).tobytes()
            name = hashlib.blake2b(name + content, digest_size=16).digest()
            hit = hit and name in self._blocks
            found += BLOCK * hit
            self._blocks[name] = None
            self._blocks.move_to_end(name)
            if len(self._blocks) > self._room:
                self._blocks.popitem(last=False)
        return min(found, (len(ids) - 1) // BLOCK * BLOCK)


@dataclass
class Cost:
    """Requests by kind, and tokens of prompts, of these found in the cache, and generated."""

    cache: PrefixCache = field(default_factory=PrefixCache)
    requests: Counter[str] = field(default_factory=Counter)
    prompt: int = 0
    cached: int = 0
    generated: int = 0

    def add(self, kind: str, prompt: str, reply: str) -> None:
        """Count one request with its reply."""
        ids, said = (one.ids for one in tokenizer().encode_batch([prompt, reply], add_special_tokens=False))
        self.requests[kind] += 1
        self.prompt += len(ids)
        self.cached += self.cache.cached(ids)
        self.generated += len(said)

    @property
    def paid(self) -> int:
        """Prompt tokens that are computed, and generated ones."""
        return self.prompt - self.cached + self.generated


def rendered(messages: Iterable[Mapping[str, str]]) -> str:
    """Messages as one text."""
    return "".join(f"{one['role']}\n{one['content']}\n" for one in messages) + "assistant\n"


def answer_reply(text: str, grade: float) -> str:
    """What an LLM would say of a passage of this grade: its first sentence, or null."""
    first = re.split(r"(?<=[.!?])\s", text.strip())[0]
    return json.dumps({"answer": first if grade >= RELEVANT else None}, ensure_ascii=False)


def ranking_reply(grades: list[float], positive: list[bool]) -> str:
    """Best grade first; equal ones leave the labelled positives in front."""
    order = sorted(range(len(grades)), key=lambda i: (-grades[i], not positive[i], i))
    return json.dumps([i + 1 for i in order])


class CountingEngine(Engine):
    """Answers our own prompts from grades, and counts what an LLM would compute. A pair without a grade is an error of that request.
    `positives` are the (query, text) of labelled positives; `name` tells its answers in a shared store from another one's."""

    def __init__(self, grades: Grades, positives: frozenset[tuple[str, str]], name: str = "") -> None:
        self.identity = {"engine": "counting", "name": name}
        self.about = {"kind": "vllm", "model": "recorded grades", "revision": None}
        self.cost = Cost()
        self._grades, self._positives = grades, positives

    def submit(self, request: Request) -> Future[Response]:
        """See `Engine.submit`."""
        future: Future[Response] = Future()
        messages = request.payload["messages"]
        parts = _FENCED.findall(messages[1]["content"])
        query, texts = parts[0][1], [text for kind, text in parts if kind == "passage"]
        grades = [self._grades.get((query, text)) for text in texts]
        if any(grade is None for grade in grades):
            future.set_result(Response("no grade", "error"))
            return future
        known = [grade for grade in grades if grade is not None]
        labelled = [(query, text) in self._positives for text in texts]
        reply = answer_reply(texts[0], known[0]) if request.kind == "answer" else ranking_reply(known, labelled)
        self.cost.add(request.kind, rendered(messages), reply)
        future.set_result(Response(reply))
        return future


def run(
    source: str, output: Path, grades: Grades, positives: frozenset[tuple[str, str]], **options: Any
) -> tuple[RefineResult, Cost]:
    """A whole `refine` of a source with a counting engine in the LLM's place: its result, and what the LLM would have cost. With a
    `store` that runs of several outputs share, only the embedded reader's work is taken from it."""
    engine = CountingEngine(grades, positives, output.name)

    def factory(config: RunConfig, store: Store, monitor: Monitor) -> Any:
        asker = Asker(engine, store, max_in_flight=config.max_in_flight, stop=monitor.stop)
        judge = LLMJudge(
            asker, name=config.judge, about=engine.about, orders=config.orders, window_size=config.window_size,
            window_positives=config.window_positives, seed=config.seed, rank_input=config.rank_input,
            max_chunks=config.max_chunks,
        )  # fmt: skip
        return behind_reader(judge, asker, config, store, monitor) if config.cascade else (judge, asker)

    shared = {"judge": "vllm", "model": "counting", "min_answerable": 0.0, "max_failures": 1.0}
    config = RunConfig.from_mapping({"source": source, "output": str(output), **shared, **options})
    return run_refine(config, Monitor(), factory), engine.cost
