"""Writes the mean of two checkpoints of the same training, which are then one network that is better than either.

Why it exists: the second stage of the training gains on questions like those it saw and loses a little elsewhere; half way back to where it
began it keeps most of the one and all of the other (README.md has the figures; the idea is weight averaging, Wortsman et al. 2022).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch


def main() -> None:
    """Averages the weights; the word vectors are the same in both and stay as they are, to the bit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--share", type=float, default=0.5, help="weight of the first one")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    first, second = (torch.load(path, weights_only=True) for path in (args.first, args.second))
    if not torch.equal(first["net"]["word.weight"], second["net"]["word.weight"]):
        raise SystemExit("the word vectors differ: these are not two stages of one training")
    mean = {
        name: args.share * first["net"][name].float() + (1 - args.share) * value.float()
        for name, value in second["net"].items()
    }
    mean["word.weight"] = second["net"]["word.weight"]
    torch.save({"net": mean, "facts": second["facts"] | {"averaged": args.share}}, args.out)


if __name__ == "__main__":
    main()
