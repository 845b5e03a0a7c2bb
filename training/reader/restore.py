"""Turns the shipped reader back into a checkpoint that `train.py --resume` goes on from.

Why it exists: whoever wants a better reader need not begin at the beginning, and the checkpoints themselves are not kept. The
weights come back as they are shipped, rounded; the learning rate starts anew.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
import torch
from export import build, quantise
from net import Net
from onnx import numpy_helper


def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Initialisers by name."""
    return {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}


def restored(shipped: onnx.ModelProto, words: np.ndarray) -> dict[str, torch.Tensor]:
    """The state of the `Net` that `shipped` was built from; `words` are its word vectors, which the file does not hold.

    The same code gives the same constant the same name. So a net of random numbers is built, too, and where one of its
    parameters turns up there is that parameter of the shipped one here. Raises `KeyError` for one that turns up nowhere.
    """
    twin = Net()
    state = {name: torch.randn_like(value) for name, value in twin.state_dict().items()}
    twin.load_state_dict(state)
    theirs, found = constants(shipped), {}
    places = {
        (array.dtype.name, array.shape, array.tobytes()): name for name, array in constants(build(twin, True)).items()
    }

    def there(array: np.ndarray) -> np.ndarray | None:
        array = np.ascontiguousarray(array)
        name = places.get((array.dtype.name, array.shape, array.tobytes()))
        return None if name is None else theirs[name]

    for name, value in state.items():
        array = value.numpy()
        if name == "word.weight":
            found[name] = words
        elif (whole := there(array)) is not None:
            found[name] = whole
        elif (turned := there(array.T)) is not None:
            found[name] = turned.T
        else:
            values, scale = quantise(array)
            kept, widths = there(values.T), there(scale[:, 0])
            if kept is None or widths is None:
                raise KeyError(name)
            found[name] = kept.T.astype(np.float32) * widths[:, None]
    return {name: torch.from_numpy(np.ascontiguousarray(array).copy()) for name, array in found.items()}


def main() -> None:
    """Writes a checkpoint of the shipped weights, and proves that it exports to the same file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="folder that export.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="the checkpoint")
    args = parser.parse_args()
    shipped = onnx.load(args.weights / "reader.onnx")
    words = np.load(args.weights / "words.npy") * np.load(args.weights / "word_scales.npy")[:, None]
    net = Net()
    net.load_state_dict(restored(shipped, words))
    ours, theirs = constants(build(net, True)), constants(shipped)
    if any(ours[name].dtype == np.int8 and not np.array_equal(ours[name], theirs[name]) for name in theirs):
        raise SystemExit("the restored weights export to another file")
    torch.save({"net": net.state_dict(), "facts": {"pairs": 0, "minutes": 0.0, "rounded": True}}, args.out)


if __name__ == "__main__":
    main()
