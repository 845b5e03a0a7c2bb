"""Writes the trained reader and the encoder as int8-weights ONNX, without a tracer.

Why it exists: the graph is built node by node so that it has no batch dimension, no mask and no padding, and so that
weights are stored as int8 and computed with as fp32 (Cast and Mul in front of each MatMul, folded when the session
loads). Both graphs take word vectors from one shared table, which training leaves as it was.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import torch
from net import HEADS, LAYERS, WIDTH, Net, load_minilm
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer


def quantise(matrix: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """int8 values and fp32 scales (kept dims) of `matrix`, symmetric, one scale per index along the other axis."""
    scale = np.maximum(np.abs(matrix).max(axis=axis, keepdims=True), 1e-12) / 127
    return np.clip(np.rint(matrix / scale), -127, 127).astype(np.int8), scale.astype(np.float32)


class Graph:
    """Collects nodes and initialisers; every method returns the name of a tensor."""

    def __init__(self, int8: bool) -> None:
        self.nodes, self.constants, self._int8, self._count = [], [], int8, 0

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes) -> str | list[str]:
        """Adds a node."""
        self._count += 1
        names = [f"{kind.lower()}{self._count}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, value: np.ndarray) -> str:
        """Adds an initialiser."""
        self._count += 1
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), f"c{self._count}"))
        return f"c{self._count}"

    def linear(self, x: str, weight: np.ndarray, bias: np.ndarray) -> str:
        """x @ weight.T + bias, `weight` of shape (out, in)."""
        if self._int8:
            values, scale = quantise(weight.T, axis=0)
            cast = self.op("Cast", self.constant(values), to=TensorProto.FLOAT)
            matrix = self.op("Mul", cast, self.constant(scale))
        else:
            matrix = self.constant(weight.T)
        return self.op("Add", self.op("MatMul", x, matrix), self.constant(bias))

    def norm(self, x: str, weight: np.ndarray, bias: np.ndarray) -> str:
        """Layer norm over the last axis."""
        return self.op("LayerNormalization", x, self.constant(weight), self.constant(bias), axis=-1, epsilon=1e-12)


def build(net: Net, pooled: bool, int8: bool = True) -> onnx.ModelProto:
    """ONNX of `net`: words (tokens, 384) and kinds (tokens) to span logits (tokens, 2) or, `pooled`, a unit vector."""
    w = {name: value.detach().float().numpy().copy() for name, value in net.state_dict().items()}
    g = Graph(int8)

    def ints(*values: int) -> str:
        return g.constant(np.array(values, np.int64))

    length = g.op("Shape", "words", start=0, end=1)
    position = g.op("Slice", g.constant(w["position.weight"]), ints(0), length, ints(0))
    x = g.op("Add", g.op("Add", "words", position), g.op("Gather", g.constant(w["kind.weight"]), "kinds", axis=0))
    x = g.norm(x, w["norm.weight"], w["norm.bias"])
    for i in range(LAYERS):
        p = {name.removeprefix(f"layers.{i}."): v for name, v in w.items() if name.startswith(f"layers.{i}.")}
        p["qkv.weight"][:WIDTH] *= (WIDTH // HEADS) ** -0.5
        p["qkv.bias"][:WIDTH] *= (WIDTH // HEADS) ** -0.5
        qkv = g.op("Reshape", g.linear(x, p["qkv.weight"], p["qkv.bias"]), ints(0, 3, HEADS, WIDTH // HEADS))
        q, k, v = g.op("Split", qkv, outputs=3, axis=1, num_outputs=3)
        q, v = (g.op("Transpose", g.op("Squeeze", t, ints(1)), perm=[1, 0, 2]) for t in (q, v))
        k = g.op("Transpose", g.op("Squeeze", k, ints(1)), perm=[1, 2, 0])
        mixed = g.op("MatMul", g.op("Softmax", g.op("MatMul", q, k), axis=-1), v)
        mixed = g.op("Reshape", g.op("Transpose", mixed, perm=[1, 0, 2]), ints(0, WIDTH))
        x = g.norm(g.op("Add", x, g.linear(mixed, p["out.weight"], p["out.bias"])), p["norm1.weight"], p["norm1.bias"])
        inner = g.op("Gelu", g.linear(x, p["up.weight"], p["up.bias"]))
        x = g.norm(
            g.op("Add", x, g.linear(inner, p["down.weight"], p["down.bias"])), p["norm2.weight"], p["norm2.bias"]
        )
    if pooled:
        mean = g.op("ReduceMean", x, ints(0), keepdims=0)
        size = g.op("Sqrt", g.op("ReduceSum", g.op("Mul", mean, mean), ints(0), keepdims=1))
        out, shape = g.op("Div", mean, size), [WIDTH]
    else:
        out = g.op("Add", g.op("MatMul", x, g.constant(w["head.weight"].T)), g.constant(w["head.bias"]))
        shape = ["tokens", 2]
    inputs = [
        helper.make_tensor_value_info("words", TensorProto.FLOAT, ["tokens", WIDTH]),
        helper.make_tensor_value_info("kinds", TensorProto.INT64, ["tokens"]),
    ]
    g.nodes.append(helper.make_node("Identity", [out], ["output"]))
    outputs = [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)]
    graph = helper.make_graph(g.nodes, "encoder" if pooled else "reader", inputs, outputs, g.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def main() -> None:
    """Writes reader.onnx, encoder.onnx, words.npy, word_scales.npy, tokenizer.json and training.json to a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="last.pt of train.py")
    parser.add_argument("--minilm", type=Path, required=True, help="folder with all-MiniLM-L6-v2's model.safetensors")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--fp32", action="store_true", help="store fp32 matrices (to measure what int8 costs)")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    saved = torch.load(args.checkpoint, weights_only=True)
    reader, encoder = Net(), load_minilm(args.minilm)
    reader.load_state_dict(saved["net"])
    if not torch.equal(reader.word.weight, encoder.word.weight):
        raise SystemExit(f"{args.checkpoint}: word vectors differ from {args.minilm}; both networks share one table")
    onnx.save(build(reader, pooled=False, int8=not args.fp32), args.out / "reader.onnx")
    onnx.save(build(encoder, pooled=True, int8=not args.fp32), args.out / "encoder.onnx")
    table = encoder.word.weight.detach().numpy()
    rows, scales = (table, np.ones((len(table), 1), np.float32)) if args.fp32 else quantise(table, axis=1)
    np.save(args.out / "words.npy", rows)
    np.save(args.out / "word_scales.npy", scales[:, 0])
    tokenizer = Tokenizer.from_file(str(args.minilm / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(args.out / "tokenizer.json"), pretty=False)
    (args.out / "training.json").write_text(json.dumps(saved["facts"], indent=1) + "\n")
    notice = Path(__file__).parent / "NOTICE.md"
    if notice.exists():
        shutil.copy(notice, args.out / "NOTICE.md")


if __name__ == "__main__":
    main()
