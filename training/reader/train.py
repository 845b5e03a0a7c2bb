"""Fine-tunes MiniLM-L6 into the extractive reader.

Why it exists: the reader must say where the answer stands and whether there is one. Both come from one loss: cross
entropy of the start and the end position, where the first token ([CLS]) stands for "no answer". About half an hour
on two cores; see README.md for the command.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from data import TRAIN, Pair, load_squad, training_pairs
from net import Net, load_minilm
from tokenizers import Encoding, Tokenizer
from torch.nn import functional as F

QUERY_TOKENS, TITLE_TOKENS, WINDOW = 64, 64, 256
CLS, SEP = 101, 102


def encode(pairs: list[Pair], tokenizer: Tokenizer) -> list[tuple[list[int], int, int, int]]:
    """(token ids, length of the question part, start, end) per pair; start = end = 0 where nothing answers.

    The input is `[CLS] question [SEP] title [SEP] text [SEP]`, without `title [SEP]` if there is no title; the end
    position is the last token of the answer. A pair whose answer falls behind the window is left out.
    """
    questions = tokenizer.encode_batch([p.question for p in pairs], add_special_tokens=False)
    titles = tokenizer.encode_batch([p.title or "" for p in pairs], add_special_tokens=False)
    texts = tokenizer.encode_batch([p.text for p in pairs], add_special_tokens=False)
    out = []
    for pair, question, title, text in zip(pairs, questions, titles, texts, strict=True):
        ids = [CLS, *question.ids[:QUERY_TOKENS], SEP]
        asked, title_at = len(ids), len(ids)
        if title.ids:
            ids += [*title.ids[:TITLE_TOKENS], SEP]
        text_at = len(ids)
        ids = [*ids, *text.ids][: WINDOW - 1] + [SEP]
        start = end = 0
        if pair.span:
            place = _tokens_of(title if pair.where == "title" else text, pair.span)
            at = title_at if pair.where == "title" else text_at
            if place is None or at + place[1] >= (text_at if pair.where == "title" else WINDOW) - 1:
                continue
            start, end = at + place[0], at + place[1]
        out.append((ids, asked, start, end))
    return out


def _tokens_of(encoding: Encoding, span: tuple[int, int]) -> tuple[int, int] | None:
    inside = [i for i, (a, b) in enumerate(encoding.offsets) if a < span[1] and span[0] < b]
    return (inside[0], inside[-1]) if inside else None


def batches(examples: list, size: int, rng: random.Random) -> Iterator[list]:
    """Batches of similar length in a random order: shuffled, sorted by length within groups of 64 batches."""
    examples = rng.sample(examples, len(examples))
    for at in range(0, len(examples), 64 * size):
        group = sorted(examples[at : at + 64 * size], key=lambda e: len(e[0]))
        cuts = [group[i : i + size] for i in range(0, len(group), size)]
        rng.shuffle(cuts)
        yield from cuts


def collate(batch: list) -> tuple[torch.Tensor, ...]:
    """ids, kinds, mask, allowed (batch, tokens), start, end (batch); padded to a multiple of 16 tokens."""
    n = -(-max(len(ids) for ids, *_ in batch) // 16) * 16
    ids = np.zeros((len(batch), n), np.int64)
    kinds, mask, allowed = np.zeros_like(ids), np.zeros(ids.shape, bool), np.zeros(ids.shape, bool)
    for row, (tokens, asked, _, _) in enumerate(batch):
        ids[row, : len(tokens)] = tokens
        kinds[row, asked : len(tokens)] = 1
        mask[row, : len(tokens)] = True
        allowed[row, asked : len(tokens) - 1] = True
        allowed[row, 0] = True
    places = torch.tensor([[s, e] for _, _, s, e in batch])
    return *(torch.from_numpy(a) for a in (ids, kinds, mask, allowed)), places[:, 0], places[:, 1]


def loss_of(net: Net, batch: list, bf16: bool) -> torch.Tensor:
    """Mean cross entropy of start and end over the allowed positions."""
    ids, kinds, mask, allowed, start, end = collate(batch)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits = net(ids, kinds, mask)
    logits = logits.float().masked_fill(~allowed[..., None], -1e4)
    return (F.cross_entropy(logits[..., 0], start) + F.cross_entropy(logits[..., 1], end)) / 2


def main() -> None:
    """Trains, printing the loss and saving a checkpoint every `--every` minutes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--squad", type=Path, required=True, help="train-v1.1.jsonl.gz")
    parser.add_argument("--minilm", type=Path, required=True, help="folder with all-MiniLM-L6-v2's model.safetensors")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints")
    parser.add_argument("--pairs", type=int, default=72_000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bf16", action="store_true", help="bfloat16 matrix products (CPUs with AVX512-BF16 or AMX)")
    parser.add_argument("--every", type=float, default=4, help="minutes between checkpoints")
    parser.add_argument("--stop", type=int, default=0, help="stop after so many steps (to time a step)")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    pairs = training_pairs(load_squad(args.squad, TRAIN), args.pairs, args.seed)
    tokenizer = Tokenizer.from_file(str(args.minilm / "tokenizer.json"))
    tokenizer.no_padding()  # the published file pads and truncates to 128 tokens
    tokenizer.no_truncation()
    examples = encode(pairs, tokenizer)
    net = load_minilm(args.minilm)
    net.word.weight.requires_grad_(False)  # shared with the encoder in the package: one table for both
    weights = [p for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in weights if p.dim() > 1], "weight_decay": 0.01},
            {"params": [p for p in weights if p.dim() == 1], "weight_decay": 0.0},
        ],
        lr=args.lr,
        fused=True,
    )
    steps = math.ceil(len(examples) / args.batch)
    warm = max(1, steps // 16)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: min((i + 1) / warm, max(0.0, (steps - i) / (steps - warm)))
    )
    began = saved = time.monotonic()
    running, net = 0.0, net.train()
    for step, batch in enumerate(batches(examples, args.batch, random.Random(args.seed)), 1):
        loss = loss_of(net, batch, args.bf16)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        running += (loss.item() - running) * max(0.02, 1 / step)
        now = time.monotonic()
        if step % 25 == 0:
            print(f"step {step}/{steps} loss {running:.3f} {step * args.batch / (now - began):.1f} pairs/s", flush=True)
        if now - saved > args.every * 60 or step in (steps, args.stop):
            facts = {"pairs": min(step * args.batch, len(examples)), "of": len(examples)}
            facts |= {
                "loss": running,
                "seconds": now - began,
                "lr": args.lr,
                "batch": args.batch,
                "seed": args.seed,
                "bf16": args.bf16,
            }
            torch.save({"net": net.state_dict(), "facts": facts}, args.out / "last.tmp")
            (args.out / "last.tmp").replace(args.out / "last.pt")
            (args.out / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")
            saved = now
        if step == args.stop:
            break


if __name__ == "__main__":
    main()
