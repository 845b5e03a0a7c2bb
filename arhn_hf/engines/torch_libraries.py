"""torch, transformers and sentence-transformers: imported here and nowhere else, when a judge that needs them is opened.

Why it exists: they are an extra, they take seconds to load, and what they say and draw while they load a model is not for the
person who runs us.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from arhn_hf.reader.tokens import PieceTokenizer
from arhn_hf.records import UsageError

HOW_TO_INSTALL = 'Install it with: pip install "arhn-hf[torch]"'


def imported(name: str, where: str) -> Any:
    """The library of this name, or `UsageError` with what to install."""
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


def device_of(torch: Any) -> str:
    """Where models compute: `cuda` or `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def pinned_at(model: str, revision: str) -> tuple[str, str | None]:
    """What to load: a folder as it is, a Hub model at the very commit that its identity names."""
    folder = Path(model).expanduser()
    return (str(folder), None) if folder.is_dir() else (model, revision)


def pieces_of(tokenizer: Any) -> PieceTokenizer:
    """A tokenizer of transformers as one that tells places, and takes special tokens in a text for text."""
    with tempfile.TemporaryDirectory(prefix="arhn-tokenizer-") as scratch:
        path = Path(scratch) / "tokenizer.json"
        tokenizer.backend_tokenizer.save(str(path))
        return PieceTokenizer(path)


@contextlib.contextmanager
def quiet(transformers: Any) -> Iterator[None]:
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
def one_line(where: str) -> Iterator[None]:
    """Whatever a library says of a checkpoint that it cannot load, on one line."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        said = " ".join(f"{error.__class__.__name__}: {error}".split())
        raise UsageError(f"cannot be loaded ({said[:300]})", where=where) from error
