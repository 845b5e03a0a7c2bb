"""Encoders of sentence-transformers that people already use, run one text at a time.

Why it exists: a vector that depends on its batch cannot be stored, so there are no batches. Long passages are cut here, as the
embedded reader does it.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arhn_hf.engines.models import model_identity
from arhn_hf.engines.torch_libraries import device_of, imported, one_line, pieces_of, pinned_at, quiet
from arhn_hf.reader.tokens import PieceTokenizer
from arhn_hf.records import UsageError

CACHED = 1024
"""Texts seen lately whose vectors an `Encoder` keeps."""

Floats = NDArray[np.float32]


class Encoder:
    """A sentence-transformers encoder, on a GPU if there is one; its own prompts for queries and documents are used.

    Threads may share it: they take turns, because its tokenizer cannot be used twice at once.

    Raises `UsageError`: an extra is missing, or the model is unknown or cannot be loaded.
    """

    identity: dict[str, Any]
    """`model` and `revision`."""

    def __init__(self, model: str) -> None:
        where = f"--similarity-model {model}"
        torch = imported("torch", where)
        transformers = imported("transformers", where)
        library = imported("sentence_transformers", where)
        self.identity = _encoder_identity(model, where)
        source, pinned = pinned_at(model, self.identity["revision"])
        self.device = device_of(torch)
        with quiet(transformers), one_line(where):
            loaded = library.SentenceTransformer(source, revision=pinned, trust_remote_code=False, device=self.device)
            self._model = loaded.float().eval()
        self._tokenizer: PieceTokenizer | None = None
        if getattr(getattr(loaded, "tokenizer", None), "is_fast", False) and loaded.max_seq_length:
            self._tokenizer = pieces_of(loaded.tokenizer)
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
