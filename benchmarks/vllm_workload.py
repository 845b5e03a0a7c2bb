"""What `vllm_throughput.py` works on: a seeded source of real words, scripted replies, and models that need no download.

The models have random weights, so what they say is noise and would never lead to a ranking. `ScriptedText` therefore lets
vLLM generate every request in full and replaces only the text that is handed back: the work is real, the run takes the
course of one over real data.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

from arhn_hf.engines.base import Engine, Request, Response, canonical

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "examples" / "hard-negatives" / "train.jsonl"
SEED = 7
NEGATIVES = 4
ANSWERING = 0.4  # share of the negatives that hold an answer
MARK = "It was settled"  # how the answer sentence of a passage begins
SENTENCE = 12  # words
LONG_SHARE = 0.1  # of the requests with uneven lengths
SHORT, LONG = (8, 16), (128, 512)  # their tokens, from and to
SHAPES: dict[str, dict[str, Any]] = {
    "qwen3-8b": {
        "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151_936, "max_position_embeddings": 40_960,
        "rope_theta": 1_000_000, "tie_word_embeddings": False,
    },
}  # fmt: skip
ANSWER_SCHEMA = {
    "type": "object", "properties": {"answer": {"type": ["string", "null"]}}, "required": ["answer"],
    "additionalProperties": False,
}  # fmt: skip


def write_source(path: Path, rows: int, words: int) -> None:
    """A Tevatron-style JSONL file of `rows` rows: one positive and `NEGATIVES` negatives of about `words` words each.

    Words are drawn from the sample dataset, as often as they stand there, so that a prompt has about as many tokens a word
    as real text; no two passages are alike. Positives and `ANSWERING` of the negatives hold an answer sentence.
    """
    said = [
        word
        for line in SAMPLE.read_text(encoding="utf-8").splitlines()
        for side in ("positive_passages", "negative_passages")
        for passage in json.loads(line)[side]
        for word in passage["text"].replace(".", "").split()
    ]
    chance = random.Random(SEED)

    def text(answers: bool) -> str:
        drawn = chance.choices(said, k=words)
        sentences = [" ".join(drawn[start : start + SENTENCE]).capitalize() for start in range(0, words, SENTENCE)]
        if answers:
            place = min(2, len(sentences) - 1)
            sentences[place] = f"{MARK} by {sentences[place].lower()}"
        return ". ".join(sentences) + "."

    with path.open("w", encoding="utf-8") as file:
        for row in range(rows):
            passages = [
                {"docid": f"d{row}-{i}", "title": f"{chance.choice(said)} {row}",
                 "text": text(i == 0 or chance.random() < ANSWERING)}
                for i in range(NEGATIVES + 1)
            ]  # fmt: skip
            item = {
                "query_id": f"q{row}", "query": f"what {' '.join(chance.choices(said, k=8))} {row}",
                "positive_passages": passages[:1], "negative_passages": passages[1:],
            }  # fmt: skip
            file.write(json.dumps(item, ensure_ascii=False) + "\n")


def scripted_text(request: Request) -> str:
    """The marked sentence of a passage, or null; a ranking in the order of the passages' own fence marks."""
    shown = request.payload["messages"][1]["content"]
    if request.kind == "answer":
        start = shown.find(MARK)
        return json.dumps({"answer": None if start < 0 else shown[start : shown.find(".", start)]})
    marks = [part[:16] for part in shown.split("<<passage ")[1:]]
    return str(sorted(range(1, len(marks) + 1), key=lambda i: marks[i - 1]))


def uneven(request: Request) -> Request:
    """The same request with a length drawn by its own hash: mostly `SHORT`, `LONG_SHARE` of them `LONG`.

    A ranking gets the schema of an answer, as its own would end after a few tokens whatever is drawn.
    """
    digest = hashlib.sha256(canonical(request.payload)).digest()
    which, where = (int.from_bytes(digest[start : start + 8], "big") / 2**64 for start in (0, 8))
    low, high = LONG if which < LONG_SHARE else SHORT
    tokens = round(math.exp(math.log(low) + where * (math.log(high) - math.log(low))))
    return replace(request, payload={**request.payload, "schema": ANSWER_SCHEMA, "max_tokens": tokens})


class ScriptedText(Engine):
    """vLLM generates every request (after `change`), a scripted reply takes the place of its text.

    It keeps every request as it was sent, when it was sent and answered, and what it cost; it leaves the engine open.
    """

    def __init__(self, inner: Any, change: Callable[[Request], Request] = lambda request: request) -> None:
        self.inner, self.change = inner, change
        self.identity, self.about = inner.identity, inner.about
        self.requests: list[Request] = []
        self.sent: list[float] = []
        self.answered: list[float] = []
        self.usage: list[dict[str, int]] = []

    def submit(self, request: Request) -> Future[Response]:
        """See `Engine.submit`."""
        number, wanted = len(self.requests), self.change(request)
        self.requests.append(wanted)
        self.sent.append(time.perf_counter())
        self.answered.append(math.nan)
        self.usage.append({})
        outer: Future[Response] = Future()

        def done(inner: Future[Response]) -> None:
            self.answered[number] = time.perf_counter()
            try:
                response = inner.result()
            except BaseException as error:  # noqa: BLE001 - handed on
                outer.set_exception(error)
                return
            if response.finish_reason == "error":
                outer.set_exception(RuntimeError(response.text))
                return
            self.usage[number] = response.usage
            outer.set_result(Response(scripted_text(request), "stop", response.usage))

        self.inner.submit(wanted).add_done_callback(done)
        return outer

    def fits(self, request: Request) -> bool:
        """See `Engine.fits`."""
        return self.inner.fits(request)

    def rendered(self) -> list[tuple[str, list[int], Any]]:
        """Kind, token ids and sampling parameters of every request, in the order they were sent."""
        return [
            (one.kind, self.inner._template.tokens(one.payload["messages"]), self.inner._parameters(one))
            for one in self.requests
        ]

    def starved(self, full: int) -> float:
        """Seconds between the first request and the last response in which the engine had less than `full` requests."""
        events = sorted([(moment, 1) for moment in self.sent] + [(moment, -1) for moment in self.answered])
        held, seconds = 0, 0.0
        for (here, change), (after, _) in zip(events, events[1:], strict=False):
            held += change
            if held < full:
                seconds += after - here
        return seconds


def passage_first(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """The words of a stage 1 request in the order that shares nothing: passage, query, instructions, in one message."""
    start = messages[1]["content"].index("Passage:\n")
    shared, passage = messages[1]["content"][:start], messages[1]["content"][start:]
    return [{"role": "user", "content": f"{passage}\n{shared}{messages[0]['content']}"}]


def random_model(folder: Path) -> Path:
    """The random model of 50 million parameters that the tests use; built if it is not there."""
    if not folder.exists():
        sys.path.insert(0, str(ROOT / "tests" / "llm"))
        from random_model import build_random

        build_random(folder, "50M")
    return folder


def shaped_model(folder: Path, shape: str, tokenizer: Path) -> Path:
    """A folder with the configuration of one of the `SHAPES`, the tokenizer of another model, and no weights.

    For `load_format=dummy`: vLLM makes up the weights, and works as fast as with real ones.
    """
    from transformers import AutoConfig, Qwen3Config

    held = AutoConfig.from_pretrained(tokenizer)
    shutil.copytree(tokenizer, folder, ignore=shutil.ignore_patterns("*.safetensors"), dirs_exist_ok=True)
    config = Qwen3Config(
        **SHAPES[shape], architectures=["Qwen3ForCausalLM"], dtype="bfloat16", eos_token_id=held.eos_token_id,
        pad_token_id=held.pad_token_id,
    )  # fmt: skip
    config.save_pretrained(folder)
    return folder
