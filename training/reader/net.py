"""The reader's network in plain torch: six BERT layers, two span logits per token, and two sentence vectors.

Why it exists: a hand-written encoder keeps attention eager (faster backward on a CPU), has one matrix for query,
key and value, and has exactly the operations that `export.py` writes as ONNX, so nothing is left to a tracer.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

LAYERS, HEADS, WIDTH, INNER = 6, 12, 384, 1536


def rounded(weight: Tensor) -> Tensor:
    """`weight` (out, in) as the package keeps it: 255 values and one scale a row; gradients pass as if nothing was done."""
    scale = weight.detach().abs().amax(-1, keepdim=True).clamp(min=1e-12) / 127
    return weight + (torch.round(weight.detach() / scale) * scale - weight.detach())


class Linear(nn.Linear):
    """A linear layer that can compute with rounded weights, so that rounding them later changes nothing."""

    rounds = False

    def forward(self, x: Tensor) -> Tensor:
        """See `nn.Linear.forward`."""
        return F.linear(x, rounded(self.weight) if self.rounds else self.weight, self.bias)


class Layer(nn.Module):
    """One post-norm transformer layer."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.qkv = Linear(WIDTH, 3 * WIDTH)
        self.out = Linear(WIDTH, WIDTH)
        self.norm1 = nn.LayerNorm(WIDTH, eps=1e-12)
        self.up = Linear(WIDTH, INNER)
        self.down = Linear(INNER, WIDTH)
        self.norm2 = nn.LayerNorm(WIDTH, eps=1e-12)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """`x` (batch, tokens, 384), `mask` (batch, 1, 1, tokens): 0 where a token is, very negative on padding."""
        b, n, _ = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        attention = torch.softmax(q @ k.transpose(-1, -2) * (WIDTH // HEADS) ** -0.5 + mask, -1)
        mixed = (attention @ v).transpose(1, 2).reshape(b, n, WIDTH)
        x = self.norm1(x + self.dropout(self.out(mixed)))
        return self.norm2(x + self.dropout(self.down(F.gelu(self.up(x)))))


class Net(nn.Module):
    """Encoder with three heads on one pass over a query and a passage.

    `head` gives span logits; `query_vector` and `passage_vector` turn the mean of the query's and of the passage's token
    vectors into what all-MiniLM-L6-v2 says of each alone. The teacher itself is a `Net` whose heads are not used.
    """

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        self.word = nn.Embedding(30522, WIDTH)
        self.position = nn.Embedding(512, WIDTH)
        self.kind = nn.Embedding(2, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(Layer(dropout) for _ in range(LAYERS))
        self.head = nn.Linear(WIDTH, 2)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        self.query_vector, self.passage_vector = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        for linear in (self.query_vector, self.passage_vector):  # at first the mean itself, which is the teacher's way
            nn.init.eye_(linear.weight)
            nn.init.zeros_(linear.bias)

    def encode(self, ids: Tensor, kinds: Tensor, mask: Tensor) -> Tensor:
        """Token vectors, shape (batch, tokens, 384); `mask` is (batch, tokens), True on tokens."""
        x = self.word(ids) + self.position.weight[: ids.shape[1]] + self.kind(kinds)
        x = self.dropout(self.norm(x))
        bias = torch.zeros(mask.shape, dtype=x.dtype).masked_fill(~mask, -1e4)[:, None, None, :]
        for layer in self.layers:
            x = layer(x, bias)
        return x

    def forward(self, ids: Tensor, kinds: Tensor, mask: Tensor, pool: Tensor) -> tuple[Tensor, Tensor]:
        """Start and end logits, shape (batch, tokens, 2), and vectors of query and passage, (batch, 2, 384).

        `pool` (batch, 2, tokens) holds the weights of the two means; the vectors have length one.
        """
        x = self.encode(ids, kinds, mask)
        query, passage = (pool.to(x.dtype) @ x).unbind(1)
        vectors = torch.stack([self.query_vector(query), self.passage_vector(passage)], 1)
        return self.head(x), F.normalize(vectors.float(), dim=-1)

    def round_weights(self) -> None:
        """From now on the layers compute with rounded weights; the weights themselves stay as they are."""
        for layer in self.layers:
            for linear in (layer.qkv, layer.out, layer.up, layer.down):
                linear.rounds = True

    def embed(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Vectors as all-MiniLM-L6-v2 makes them, of length one, shape (batch, 384): the mean over all tokens."""
        x = self.encode(ids, torch.zeros_like(ids), mask).float() * mask[..., None]
        return F.normalize(x.sum(1), dim=-1)


def load_minilm(folder: Path, dropout: float = 0.1) -> Net:
    """A `Net` with the weights of all-MiniLM-L6-v2 (`model.safetensors` in `folder`) and a fresh head."""
    theirs = load_file(folder / "model.safetensors")
    net, ours = Net(dropout), {}
    for mine, name in (("word", "word"), ("position", "position"), ("kind", "token_type")):
        ours[f"{mine}.weight"] = theirs[f"embeddings.{name}_embeddings.weight"]
    for end in ("weight", "bias"):
        ours[f"norm.{end}"] = theirs[f"embeddings.LayerNorm.{end}"]
        ours[f"head.{end}"] = net.state_dict()[f"head.{end}"]
        for name in ("query_vector", "passage_vector"):
            ours[f"{name}.{end}"] = net.state_dict()[f"{name}.{end}"]
        for i in range(LAYERS):
            old, new = f"encoder.layer.{i}", f"layers.{i}"
            ours[f"{new}.qkv.{end}"] = torch.cat(
                [theirs[f"{old}.attention.self.{part}.{end}"] for part in ("query", "key", "value")]
            )
            ours[f"{new}.out.{end}"] = theirs[f"{old}.attention.output.dense.{end}"]
            ours[f"{new}.norm1.{end}"] = theirs[f"{old}.attention.output.LayerNorm.{end}"]
            ours[f"{new}.up.{end}"] = theirs[f"{old}.intermediate.dense.{end}"]
            ours[f"{new}.down.{end}"] = theirs[f"{old}.output.dense.{end}"]
            ours[f"{new}.norm2.{end}"] = theirs[f"{old}.output.LayerNorm.{end}"]
    net.load_state_dict(ours)
    return net
