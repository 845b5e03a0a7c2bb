"""Checkpoints that people already use, run one input at a time: transformers models with a head.

Why it exists: three things go wrong with other people's models that must not. A checkpoint without the head that is asked for gets a new one with
random weights and a mere warning, so it is refused here. Tokens are matched to characters in many ways, so passages
are cut and joined here, as the embedded reader does it. And an answer that depends on its batch cannot be stored, so
there are no batches: one unpadded input a thread, fp32, nothing drawn at random.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from arhn_hf.engines.models import model_identity
from arhn_hf.engines.torch_libraries import device_of, imported, one_line, pieces_of, pinned_at, quiet
from arhn_hf.reader.tokens import OVERLAP, TITLE_TOKENS, Field, Tokens, Window
from arhn_hf.records import UsageError

USUAL_LIMIT = 512
"""Tokens of one input, where neither tokenizer nor configuration says what the model takes."""
SMALLEST_LIMIT = 32
"""A model that takes fewer tokens at once is refused: nothing of a passage would be left beside the query."""

Floats = NDArray[np.float32]


class Head(NamedTuple):
    """What a checkpoint must end in: its loader and architecture in transformers, its words for a person, how many
    numbers it gives and under which names."""

    architecture: str
    words: str
    labels: int
    outputs: tuple[str, ...]


QUESTION_ANSWERING = Head("ForQuestionAnswering", "question-answering", 2, ("start_logits", "end_logits"))
CLASSIFICATION = Head("ForSequenceClassification", "classification", 1, ("logits",))


@dataclass(frozen=True, slots=True)
class Part:
    """Tokens [first, last) of one field, the first of which stands at index `at` of the input."""

    field: Field
    tokens: Tokens
    first: int
    last: int
    at: int


@dataclass(frozen=True, slots=True)
class Input:
    """One window as the model takes it: token ids, their segments, and which of them are the passage's."""

    ids: list[int]
    kinds: list[int]
    parts: list[Part]


class Checkpoint:
    """A transformers model with `head`, on a GPU if there is one.

    `revision` is a branch, tag or commit of a Hub model. Threads may share it. Code that comes with a checkpoint is
    never run.

    Raises `UsageError`: an extra is missing, the model is unknown or cannot be loaded, it has no such head or one of
    another width, or its tokenizer does not say where its tokens are.
    """

    identity: dict[str, Any]
    """`model`, `revision` (commit, or hash of a folder's files) and `dtype`."""

    def __init__(self, model: str, revision: str | None, head: Head) -> None:
        where = f"--model {model}"
        self._torch = imported("torch", where)
        transformers = imported("transformers", where)
        known = model_identity(model, revision)
        source, pinned = pinned_at(model, known["revision"])
        options = {"revision": pinned, "trust_remote_code": False}
        with quiet(transformers), one_line(where):
            config = transformers.AutoConfig.from_pretrained(source, **options)
            _refuse_other_head(config, head, where)
            tokenizer = transformers.AutoTokenizer.from_pretrained(source, **options)
            loader = getattr(transformers, f"AutoModel{head.architecture}")
            loaded, found = loader.from_pretrained(
                source, dtype=self._torch.float32, output_loading_info=True, **options
            )
        if missing := sorted(found["missing_keys"]):
            raise _no_head(head, f"the weights lack {', '.join(missing[:2])}", where)
        self._read_layout(tokenizer, where)
        self._limit = _limit(tokenizer.model_max_length, config)
        if self._limit < SMALLEST_LIMIT:
            raise UsageError(f"takes only {self._limit} tokens at once, fewer than {SMALLEST_LIMIT}", where=where)
        self._outputs = head.outputs
        self.device = device_of(self._torch)
        self._model = loaded.eval().requires_grad_(False).to(self.device)
        self.identity = {**known, "dtype": "float32"}

    def _read_layout(self, tokenizer: Any, where: str) -> None:
        """Which special tokens stand before, between and after query and passage, read off a pair."""
        if not tokenizer.is_fast:
            raise UsageError("its tokenizer does not say where its tokens are", where=where)
        pair = tokenizer("a", "b").encodings[0]
        of = pair.sequence_ids
        if 0 not in of or 1 not in of:
            raise UsageError("its tokenizer takes no pair of texts", where=where)
        special = list(zip(pair.ids, pair.type_ids, strict=True))
        query, passage = of.index(0), of.index(1)
        after = len(of) - of[::-1].index(1)
        self._before, self._after = special[:query], special[after:]
        self._between = [
            one for one, whose in zip(special[query:passage], of[query:passage], strict=True) if whose is None
        ]
        self._query_kind, self._passage_kind = pair.type_ids[query], pair.type_ids[passage]
        self._segments = "token_type_ids" in tokenizer.model_input_names
        self._nothing: int | None = tokenizer.cls_token_id
        self._tokenizer = pieces_of(tokenizer)
        apart = self._tokenizer.tokens("a").ids + self._tokenizer.tokens("b").ids
        self._break = "" if self._tokenizer.tokens("a\nb").ids == apart else "\n"  # many see no line breaks

    def inputs(self, query: str, title: str | None, text: str, most: int) -> tuple[list[Input], bool]:
        """The windows of a passage, at most `most`, and whether they show all of it; at least one, if an empty one.

        The title stands before the text in every window, a line break between them. Half of a window is the query's
        at most; neighbouring windows overlap.
        """
        asked = self._tokenizer.tokens(query, self._limit).ids[: self._limit // 2]
        room = self._limit - len(asked) - len(self._before) - len(self._between) - len(self._after)
        enough = most * self._limit
        titled = self._tokenizer.tokens(f"{title}{self._break}" if title else "", enough)
        body = self._tokenizer.tokens(text, enough)
        windows, covered = _windows(len(titled.ids), len(body.ids), room, most)
        shown = [self._input(asked, titled, body, one) for one in windows or [Window(0, 0, 0, 0)]]
        return shown, covered and titled.complete and body.complete

    def _input(self, asked: list[int], title: Tokens, text: Tokens, window: Window) -> Input:
        pairs = [*self._before, *((one, self._query_kind) for one in asked), *self._between]
        places: list[tuple[Field, Tokens, int, int]] = [
            ("title", title, window.title_from, window.title_to), ("text", text, window.text_from, window.text_to),
        ]  # fmt: skip
        parts = []
        for field, tokens, first, last in places:
            if last > first:
                parts.append(Part(field, tokens, first, last, len(pairs)))
                pairs += [(one, self._passage_kind) for one in tokens.ids[first:last]]
        pairs += self._after
        return Input([one for one, _ in pairs], [kind for _, kind in pairs], parts)

    def nothing_at(self, window: Input) -> int:
        """The index of the token that stands for "no answer"."""
        return window.ids.index(self._nothing) if self._nothing in window.ids else 0

    def __call__(self, window: Input) -> Floats:
        """Logits, shape (tokens, 2) of a question-answering head, (1, 1) of a classification head.

        Raises `ArithmeticError` where the model gives something that is no number.
        """
        torch = self._torch
        with torch.inference_mode():
            given = {"input_ids": torch.tensor([window.ids], device=self.device)}
            given["attention_mask"] = torch.ones_like(given["input_ids"])
            if self._segments:
                given["token_type_ids"] = torch.tensor([window.kinds], device=self.device)
            made = self._model(**given)
            logits: Floats = torch.stack([made[name][0] for name in self._outputs], dim=-1).cpu().numpy()
        if not np.isfinite(logits).all():
            raise ArithmeticError("the model gives something that is no number")
        return logits


def _refuse_other_head(config: Any, head: Head, where: str) -> None:
    """Raise `UsageError`, before any weight is read, for a checkpoint whose configuration names another head."""
    named = config.architectures or []
    if named and not any(head.architecture in one for one in named):
        raise _no_head(head, f"it is a {named[0]}", where)
    if config.num_labels != head.labels:
        raise UsageError(
            f"its {head.words} head has {config.num_labels} labels, not {head.labels}", where=where, hint=_HINTS[head]
        )


def _no_head(head: Head, reason: str, where: str) -> UsageError:
    return UsageError(f"has no {head.words} head ({reason})", where=where, hint=_HINTS[head])


_HINTS = {
    QUESTION_ANSWERING: "Name a checkpoint made for extractive question answering, such as deepset/roberta-base-squad2",
    CLASSIFICATION: "Name a cross-encoder that gives one score, such as BAAI/bge-reranker-v2-m3",
}


def _limit(declared: int, config: Any) -> int:
    """Tokens of one input: what the tokenizer declares, or what the model has places for (two may be set aside)."""
    places = getattr(config, "max_position_embeddings", None) or 0
    if places > 0:
        return int(declared if declared <= places else places - 2)
    return int(declared) if declared < 1_000_000 else USUAL_LIMIT


def _windows(title: int, text: int, room: int, most: int) -> tuple[list[Window], bool]:
    """Windows over a title and a text of so many tokens, as `reader.tokens.reader_windows` has them, for any `room`."""
    shown = min(title, TITLE_TOKENS, room // 4)
    out: list[Window] = []
    if title > shown:
        out += [Window(a, b, 0, 0) for a, b in _cuts(title, room)]
    elif title and not text:
        out.append(Window(0, title, 0, 0))
    if text:
        out += [Window(0, shown, a, b) for a, b in _cuts(text, room - shown)]
    return out[:most], len(out) <= most


def _cuts(length: int, room: int) -> list[tuple[int, int]]:
    step = room - min(OVERLAP, room // 2)
    count = 1 if length <= room else 1 + -(-(length - room) // step)
    return [(i * step, min(i * step + room, length)) for i in range(count)]
