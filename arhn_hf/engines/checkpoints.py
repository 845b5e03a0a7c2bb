"""Checkpoints that people already use, run one input at a time: transformers models with a head, and encoders of
sentence-transformers.

Why it exists: torch, transformers and sentence-transformers are imported here and nowhere else, and three things go
wrong with other people's models that must not. A checkpoint without the head that is asked for gets a new one with
random weights and a mere warning, so it is refused here. Tokens are matched to characters in many ways, so passages
are cut and joined here, as the embedded reader does it. And an answer that depends on its batch cannot be stored, so
there are no batches: one unpadded input a thread, fp32, nothing drawn at random.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import threading
from abc import abstractmethod
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from arhn_hf.engines.base import Engine, Request, Response
from arhn_hf.engines.models import model_identity
from arhn_hf.reader.tokens import OVERLAP, TITLE_TOKENS, Field, PieceTokenizer, Tokens, Window
from arhn_hf.records import UsageError

HOW_TO_INSTALL = 'Install it with: pip install "arhn-hf[torch]"'
USUAL_LIMIT = 512
"""Tokens of one input, where neither tokenizer nor configuration says what the model takes."""
SMALLEST_LIMIT = 32
"""A model that takes fewer tokens at once is refused: nothing of a passage would be left beside the query."""
GPU_THREADS = 4
"""Threads that feed a GPU: while one waits for it the others cut passages into tokens."""
CACHED = 1024
"""Texts seen lately whose vectors an `Encoder` keeps."""

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
        self._torch = _imported("torch", where)
        transformers = _imported("transformers", where)
        known = model_identity(model, revision)
        source, pinned = _pinned(model, known["revision"])
        options = {"revision": pinned, "trust_remote_code": False}
        with _quiet(transformers), _one_line(where):
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
        self.device = _device(self._torch)
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
        self._tokenizer = _pieces(tokenizer)
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


class Encoder:
    """A sentence-transformers encoder, on a GPU if there is one; its own prompts for queries and documents are used.

    Threads may share it: they take turns, because its tokenizer cannot be used twice at once.

    Raises `UsageError`: an extra is missing, or the model is unknown or cannot be loaded.
    """

    identity: dict[str, Any]
    """`model` and `revision`."""

    def __init__(self, model: str) -> None:
        where = f"--similarity-model {model}"
        torch = _imported("torch", where)
        transformers = _imported("transformers", where)
        library = _imported("sentence_transformers", where)
        self.identity = _encoder_identity(model, where)
        source, pinned = _pinned(model, self.identity["revision"])
        self.device = _device(torch)
        with _quiet(transformers), _one_line(where):
            loaded = library.SentenceTransformer(source, revision=pinned, trust_remote_code=False, device=self.device)
            self._model = loaded.float().eval()
        self._tokenizer: PieceTokenizer | None = None
        if getattr(getattr(loaded, "tokenizer", None), "is_fast", False) and loaded.max_seq_length:
            self._tokenizer = _pieces(loaded.tokenizer)
            self._room = max(8, loaded.max_seq_length * 7 // 8)  # the rest: special tokens, and the model's prompt
        self._lock = threading.Lock()
        self._vectors = lru_cache(CACHED)(self._computed)

    def query(self, text: str) -> Floats:
        """Unit vector of a query, shape (1, width)."""
        return self._vectors(text, 1, True)

    def passage(self, title: str | None, text: str, most: int) -> Floats:
        """Unit vectors of a passage, shape (windows, width); the title stands before the text, windows do not overlap
        and `most` are looked at. No rows for a passage without a word."""
        return self._vectors(f"{title}\n{text}" if title else text, most, False)

    def _computed(self, text: str, most: int, asks: bool) -> Floats:
        text = text.encode("utf-8", "replace").decode()
        shown = [one for one in (self._cut(text, most) if not asks else [text]) if one.strip()]
        encode = self._model.encode_query if asks else self._model.encode_document
        with self._lock:
            rows = [
                encode([one], batch_size=1, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False)
                for one in shown
            ]
        vectors: Floats = np.concatenate(rows).astype(np.float32) if rows else np.zeros((0, 1), np.float32)
        if not np.isfinite(vectors).all():
            raise ArithmeticError("the encoder gives something that is no number")
        return vectors

    def _cut(self, text: str, most: int) -> list[str]:
        """The windows of `text`, as strings."""
        if self._tokenizer is None:
            return [text]
        places = self._tokenizer.tokens(text, most * self._room).places[: most * self._room]
        cuts = [places[at : at + self._room] for at in range(0, len(places), self._room)]
        return [text[one[0][0] : one[-1][1]] for one in cuts]


class CheckpointEngine(Engine):
    """An engine over checkpoints: as many threads as cores on a CPU, a few on a GPU, each with one request at a time.

    While it is open, torch computes with one thread an input on a CPU: many inputs side by side are faster than many
    threads on one, and the number of cores changes no bit.
    """

    def __init__(self, device: str, threads: int | None = None) -> None:
        self._single = _SINGLE if device == "cpu" else contextlib.nullcontext()
        self._single.__enter__()
        usual = (os.cpu_count() or 1) if device == "cpu" else GPU_THREADS
        self._pool = ThreadPoolExecutor(threads or usual, thread_name_prefix="arhn-torch")
        self._turn = threading.Lock()

    @abstractmethod
    def answer(self, payload: dict[str, Any]) -> dict[str, Any]:
        """The response to one request, as plain JSON. Raises `ArithmeticError` where the model fails on it."""

    def submit(self, request: Request) -> Future[Response]:
        """See `Engine.submit`."""
        return self._pool.submit(self._respond, request.payload)

    def _respond(self, payload: dict[str, Any]) -> Response:
        response = self._tried(payload)
        if response is None:  # here no traceback holds on to the tensors of the try that failed
            with self._turn:
                self._give_back()
                response = self._tried(payload)
        return response or Response("out of memory", "error")

    def _tried(self, payload: dict[str, Any]) -> Response | None:
        """The response; `None` if memory did not suffice, perhaps because of others."""
        try:
            return Response(json.dumps(self.answer(payload)))
        except ArithmeticError as error:
            return Response(str(error), "error")
        except (MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            return None

    def _give_back(self) -> None:
        """Give memory that torch keeps for later back to the GPU."""
        torch = _imported("torch", "--model")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def close(self) -> None:
        """See `Engine.close`."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._single.__exit__(None, None, None)
        self._single = contextlib.nullcontext()


def _out_of_memory(error: BaseException) -> bool:
    """Whether torch found no memory: it says so with an error of its own on a GPU, in words on a CPU and in cuBLAS."""
    words = str(error).lower()
    signs = ("out of memory", "allocate memory", "alloc_failed")
    return isinstance(error, MemoryError) or any(sign in words for sign in signs)


class _OneThread(contextlib.AbstractContextManager[None]):
    """While anybody is inside, torch computes on one thread; the last to leave gives it its threads back."""

    def __init__(self) -> None:
        self._lock, self._inside, self._before = threading.Lock(), 0, 1

    def __enter__(self) -> None:
        torch = _imported("torch", "--model")
        with self._lock:
            if self._inside == 0:
                self._before = torch.get_num_threads()
                torch.set_num_threads(1)
            self._inside += 1

    def __exit__(self, *raised: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                _imported("torch", "--model").set_num_threads(self._before)


_SINGLE = _OneThread()


def _imported(name: str, where: str) -> Any:
    try:
        if name == "torch":
            import torch

            return torch
        if name == "transformers":
            import transformers

            return transformers
        import sentence_transformers

        return sentence_transformers
    except ImportError as error:
        raise UsageError(f"{name.replace('_', '-')} is not installed", where=where, hint=HOW_TO_INSTALL) from error


def _device(torch: Any) -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _pinned(model: str, revision: str) -> tuple[str, str | None]:
    """What to load: a folder as it is, a Hub model at the very commit that its identity names."""
    folder = Path(model).expanduser()
    return (str(folder), None) if folder.is_dir() else (model, revision)


def _pieces(tokenizer: Any) -> PieceTokenizer:
    """A tokenizer of transformers as one that tells places, and takes special tokens in a text for text."""
    with tempfile.TemporaryDirectory(prefix="arhn-tokenizer-") as scratch:
        path = Path(scratch) / "tokenizer.json"
        tokenizer.backend_tokenizer.save(str(path))
        return PieceTokenizer(path)


def _encoder_identity(model: str, where: str) -> dict[str, Any]:
    """`model_identity`; of a folder the sub-folders count too, where sentence-transformers keeps modules."""
    try:
        known = model_identity(model, None)
        folder = Path(model).expanduser()
        inner = sorted(one for one in folder.iterdir() if one.is_dir()) if folder.is_dir() else []
        total = hashlib.sha256(known["revision"].encode())
        for one in inner:
            with contextlib.suppress(UsageError):  # a module without files, such as a normalisation
                total.update(f"\0{one.name}\0{model_identity(str(one), None)['revision']}".encode())
    except UsageError as error:
        raise UsageError(error.message, where=where, hint="Check the id, or give a local folder") from error
    return {**known, "revision": f"sha256:{total.hexdigest()}"} if inner else known


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


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """What transformers says and draws while it loads is not for the person who runs us."""
    log = transformers.utils.logging
    level, drawn = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if drawn:
            log.enable_progress_bar()


@contextlib.contextmanager
def _one_line(where: str) -> Iterator[None]:
    """Whatever a library says of a checkpoint that it cannot load, on one line."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        said = " ".join(f"{error.__class__.__name__}: {error}".split())
        raise UsageError(f"cannot be loaded ({said[:300]})", where=where) from error
