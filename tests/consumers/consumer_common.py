"""What the three consumer scripts share: one JSON line on stdout, and a tokenizer made from the data itself.

Each script runs under another environment's python, so this file may import nothing but the standard library at the top.
It is found because python puts the folder of a script first on its path.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path

# Nothing here may reach the network: a consumer that wanted a model or a dataset from the Hub has to fail, not to wait.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def report(library: str, check: Callable[[Path], dict]) -> None:
    """Run `check` in a scratch folder and print its verdict as the only line on stdout; exit 0 or 1.

    A library's own chatter goes to stderr. A failure is printed too, with the type of the exception and whether it came
    up through the library, so that a test can tell a crash there from a complaint of ours or a script that never started.
    """
    head = {"library": library, "version": version(library)}
    with tempfile.TemporaryDirectory(prefix="consumer-") as scratch, contextlib.redirect_stdout(sys.stderr):
        try:
            verdict = {"ok": True, **head, **check(Path(scratch))}
        except Exception as error:  # noqa: BLE001 - whatever the library dies of is the verdict
            traceback.print_exc()
            packages = {
                frame.f_globals["__name__"].partition(".")[0] for frame, _ in traceback.walk_tb(error.__traceback__)
            }
            verdict = {
                "ok": False,
                **head,
                "error": type(error).__name__,
                "message": str(error)[:500],
                "inside_library": library.replace("-", "_") in packages,
            }
    print(json.dumps(verdict))
    sys.exit(0 if verdict["ok"] else 1)


def require(condition: bool, message: str) -> None:
    """Like assert, but alive under `python -O` and with a message that names what is wrong."""
    if not condition:
        raise ValueError(message)


def write_vocabulary(texts: Iterable[str], folder: Path, size: int = 5000) -> Path:
    """Write the `vocab.txt` of a tiny lower-case BERT tokenizer for these texts: no download, and few unknown words.

    Load it with `BertTokenizer.from_pretrained(folder)`, which works in transformers 4 and 5 alike. In 5 the constructor
    takes `vocab=` and silently ignores `vocab_file=`: every word is then unknown.
    """
    words = Counter(word for text in texts for word in re.findall(r"\w+|[^\w\s]", text.lower()))
    require(bool(words), "the data holds no text at all")
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = SPECIAL_TOKENS + [word for word, _ in words.most_common(size)]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    return folder
