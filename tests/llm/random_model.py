"""A Qwen3-architecture model with random weights: for throughput tests, where only the work counts and not what is
said.

    python tests/llm/random_model.py FOLDER [50M|tiny]

Its tokenizer is made as the tiny model's is (see `tiny_model.py`), from the requests of the whole sample, so that
prompts have a real number of tokens. What it says is noise: run it with `--max-failures 1`.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from tiny_model import choose_rows, make_config, make_lessons, make_tokenizer, save, seeded

SIZES = {
    "tiny": {"hidden": 128, "inner": 256, "layers": 2},
    "50M": {"hidden": 512, "inner": 2048, "layers": 11},
}


def build_random(folder: Path, parameters: str = "50M", seed: int = 1) -> Path:
    """Write a model of one of the `SIZES` to `folder`, which must not exist; the same seed gives the same weights.

    `50M` has about 50 million parameters, the embedding (tied to the output layer) among them. Returns `folder`; raises
    `KeyError` for another size.
    """
    from transformers import Qwen3ForCausalLM

    folder, size = Path(folder), SIZES[parameters]
    tokenizer = make_tokenizer(make_lessons(choose_rows(None, seed))[0])
    with seeded(seed):
        model = Qwen3ForCausalLM(make_config(tokenizer, **size))
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        save(model, tokenizer, unfinished)
        unfinished.chmod(0o755)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def main() -> None:
    """Build into the folder given."""
    print(build_random(Path(sys.argv[1]), *sys.argv[2:3]))


if __name__ == "__main__":
    main()
