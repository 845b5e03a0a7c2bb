"""Writes the trained reader and the encoder as int8 ONNX, without a tracer.

Why it exists: the graphs are built node by node so that they have no batch dimension, no mask and no padding, and so that
every large product of matrices is one of integers. Weights have eight bits and one scale an output channel; the reader was
trained with them rounded so. Activations of eight bits would change one snippet in twenty, so they have two digits of seven
bits each and one scale an input, and every product is made twice. Seven, because then the sum of two products fits the 16 bits
in which older x86 CPUs add them: all sums are exact, and therefore equal, on every CPU. Both graphs take word vectors from
one shared table, which training leaves as it was.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import torch
from net import HEADS, LAYERS, WIDTH, Net, load_minilm, rounded
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer

LINEARS = ("qkv", "out", "up", "down")
DIGIT, ZERO = 63, 64  # a digit is -63..63, kept as 1..127
Stored = tuple[np.ndarray, np.ndarray]
"""int8 values and fp32 scales of a matrix."""


def quantise(matrix: np.ndarray) -> Stored:
    """int8 values and fp32 scales (kept dims) of `matrix`, symmetric, one scale a row; as `net.rounded` rounds."""
    scale = (np.maximum(np.abs(matrix).max(axis=1, keepdims=True), 1e-12) / 127).astype(np.float32)
    return np.clip(np.rint(matrix / scale), -127, 127).astype(np.int8), scale


class Graph:
    """Collects nodes and initialisers; every method returns the name of a tensor."""

    def __init__(self) -> None:
        self.nodes, self.constants, self._count = [], [], 0

    def op(self, kind: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes) -> str | list[str]:
        """Adds a node."""
        self._count += 1
        names = [f"{kind.lower()}{self._count}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, domain=domain, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, value: np.ndarray) -> str:
        """Adds an initialiser."""
        self._count += 1
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), f"c{self._count}"))
        return f"c{self._count}"

    def linear(self, x: str, weight: np.ndarray, bias: np.ndarray, whole: bool) -> str:
        """x @ weight.T + bias, `weight` of shape (out, in); `whole`: in integers."""
        if not whole:
            return self.op("Add", self.op("MatMul", x, self.constant(weight.T)), self.constant(bias))
        values, widths = quantise(weight)
        largest = self.op("ReduceMax", self.op("Abs", x), keepdims=0)
        largest = self.op("Max", largest, self.constant(np.float32(1e-6)))
        zero, matrix = self.constant(np.array(ZERO, np.uint8)), self.constant(values.T)
        scales = self.constant(widths[:, 0])

        def product(digit: str, step: str, *bias: str) -> str:
            inputs = (digit, matrix, step, scales, zero, *(("", *bias) if bias else ()))
            return self.op("MatMulIntegerToFloat", *inputs, domain="com.microsoft")

        coarse, fine = (
            self.op("Mul", largest, self.constant(np.float32(step))) for step in (1 / DIGIT, 1 / (2 * DIGIT * DIGIT))
        )
        first = self.op("QuantizeLinear", x, coarse, zero)
        left = self.op("Sub", x, self.op("DequantizeLinear", first, coarse, zero))
        second = self.op("QuantizeLinear", left, fine, zero)
        return self.op("Add", product(first, coarse), product(second, fine, self.constant(bias)))

    def norm(self, x: str, weight: np.ndarray, bias: np.ndarray) -> str:
        """Layer norm over the last axis."""
        return self.op("LayerNormalization", x, self.constant(weight), self.constant(bias), axis=-1, epsilon=1e-12)

    def unit(self, x: str) -> str:
        """Rows of length one."""
        squares = self.op("ReduceSum", self.op("Mul", x, x), self.constant(np.array([-1], np.int64)), keepdims=1)
        return self.op("Div", x, self.op("Sqrt", squares))


def build(net: Net, reader: bool, whole: bool = True) -> onnx.ModelProto:
    """ONNX of `net`: words (tokens, 384), kinds (tokens), pool (vectors, tokens) to vectors (vectors, 384) of length one.

    A reader also gives span logits (tokens, 2), and turns its two vectors by its two heads. `whole`: in integers.
    """
    w = {name: value.detach().float().numpy().copy() for name, value in net.state_dict().items()}
    g = Graph()

    def ints(*values: int) -> str:
        return g.constant(np.array(values, np.int64))

    def linear(x: str, name: str) -> str:
        return g.linear(x, w[f"{name}.weight"], w[f"{name}.bias"], whole)

    length = g.op("Shape", "words", start=0, end=1)
    position = g.op("Slice", g.constant(w["position.weight"]), ints(0), length, ints(0))
    x = g.op("Add", g.op("Add", "words", position), g.op("Gather", g.constant(w["kind.weight"]), "kinds", axis=0))
    x = g.norm(x, w["norm.weight"], w["norm.bias"])
    root = g.constant(np.float32((WIDTH // HEADS) ** -0.5))
    for p in (f"layers.{i}" for i in range(LAYERS)):
        qkv = g.op("Reshape", linear(x, f"{p}.qkv"), ints(0, 3, HEADS, WIDTH // HEADS))
        q, k, v = g.op("Split", qkv, outputs=3, axis=1, num_outputs=3)
        q, v = (g.op("Transpose", g.op("Squeeze", t, ints(1)), perm=[1, 0, 2]) for t in (q, v))
        k = g.op("Transpose", g.op("Squeeze", k, ints(1)), perm=[1, 2, 0])
        mixed = g.op("MatMul", g.op("Softmax", g.op("MatMul", g.op("Mul", q, root), k), axis=-1), v)
        mixed = g.op("Reshape", g.op("Transpose", mixed, perm=[1, 0, 2]), ints(0, WIDTH))
        x = g.norm(g.op("Add", x, linear(mixed, f"{p}.out")), w[f"{p}.norm1.weight"], w[f"{p}.norm1.bias"])
        inner = g.op("Gelu", linear(x, f"{p}.up"))
        x = g.norm(g.op("Add", x, linear(inner, f"{p}.down")), w[f"{p}.norm2.weight"], w[f"{p}.norm2.bias"])
    means = g.op("MatMul", "pool", x)
    made = {}
    if reader:
        query, passage = g.op("Split", means, outputs=2, axis=0, num_outputs=2)
        turned = [
            g.linear(one, w[f"{name}.weight"], w[f"{name}.bias"], False)
            for one, name in ((query, "query_vector"), (passage, "passage_vector"))
        ]
        means = g.op("Concat", *turned, axis=0)
        made["logits"] = g.linear(x, w["head.weight"], w["head.bias"], False), ["tokens", 2]
    made["vectors"] = g.unit(means), ["vectors", WIDTH]
    for name, (tensor, _) in made.items():
        g.nodes.append(helper.make_node("Identity", [tensor], [name]))
    inputs = [
        helper.make_tensor_value_info("words", TensorProto.FLOAT, ["tokens", WIDTH]),
        helper.make_tensor_value_info("kinds", TensorProto.INT64, ["tokens"]),
        helper.make_tensor_value_info("pool", TensorProto.FLOAT, ["vectors", "tokens"]),
    ]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, (_, shape) in made.items()]
    graph = helper.make_graph(g.nodes, "reader" if reader else "encoder", inputs, outputs, g.constants)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def main() -> None:
    """Writes reader.onnx, encoder.onnx, words.npy, word_scales.npy, tokenizer.json and training.json to a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="last.pt of train.py")
    parser.add_argument("--minilm", type=Path, required=True, help="folder with all-MiniLM-L6-v2's model.safetensors")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--fp32", action="store_true", help="keep everything fp32 (to measure what integers cost)")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    saved = torch.load(args.checkpoint, weights_only=True)
    reader, encoder = Net(), load_minilm(args.minilm)
    reader.load_state_dict(saved["net"])
    values, widths = quantise(encoder.word.weight.detach().numpy())
    if not np.allclose(reader.word.weight.detach().numpy(), values * widths, atol=1e-6):
        raise SystemExit(f"{args.checkpoint}: word vectors differ from {args.minilm}; both networks share one table")
    tokenizer = Tokenizer.from_file(str(args.minilm / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if args.fp32:  # what training computed with
        for linear in (getattr(layer, name) for layer in reader.layers for name in LINEARS):
            linear.weight.data = rounded(linear.weight.data) if saved["facts"]["rounded"] else linear.weight.data
    onnx.save(build(reader, True, not args.fp32), args.out / "reader.onnx")
    onnx.save(build(encoder, False, not args.fp32), args.out / "encoder.onnx")
    np.save(args.out / "words.npy", values)
    np.save(args.out / "word_scales.npy", widths[:, 0])
    tokenizer.save(str(args.out / "tokenizer.json"), pretty=False)
    (args.out / "training.json").write_text(json.dumps(saved["facts"], indent=1) + "\n")
    notice = Path(__file__).parent / "NOTICE.md"
    if notice.exists():
        shutil.copy(notice, args.out / "NOTICE.md")


if __name__ == "__main__":
    main()
