"""Fine-tunes MiniLM-L6 into the extractive reader that is its own encoder.

Why it exists: the reader must say where the answer stands, whether there is one, and how near the passage is to the query
and to the labelled positives, in one pass. The first two come from one loss: cross entropy of the start and the end
position, where the first token ([CLS]) stands for "no answer". The vectors are distilled from all-MiniLM-L6-v2, which
reads the query and the passage alone. See README.md for the command.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from data import TRAIN, Pair, load_squad, training_pairs
from net import Net, load_minilm, rounded
from tokenizers import Encoding, Tokenizer
from torch import Tensor
from torch.nn import functional as F

QUERY_TOKENS, TITLE_TOKENS, WINDOW = 64, 64, 256
CLS, SEP, MASK = 101, 102, 103


@dataclass(frozen=True, slots=True)
class Example:
    """`[CLS] question [SEP] title [SEP] text [SEP]`; `asked` tokens before the passage; start = end = 0: no answer."""

    ids: list[int]
    asked: int
    start: int
    end: int


def encode(pairs: list[Pair], tokenizer: Tokenizer) -> list[Example]:
    """Examples of pairs, without `title [SEP]` if there is no title; the end is the last token of the answer.

    A pair whose answer falls behind the window is left out.
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
        out.append(Example(ids, asked, start, end))
    return out


def _tokens_of(encoding: Encoding, span: tuple[int, int]) -> tuple[int, int] | None:
    inside = [i for i, (a, b) in enumerate(encoding.offsets) if a < span[1] and span[0] < b]
    return (inside[0], inside[-1]) if inside else None


def batches(groups: Iterator[list[Pair]], tokenizer: Tokenizer, size: int, rng: random.Random) -> Iterator[list]:
    """Batches of similar length in a random order: sorted by length within each group of pairs."""
    for pairs in groups:
        group = sorted(encode(pairs, tokenizer), key=lambda e: len(e.ids))
        cuts = [group[i : i + size] for i in range(0, len(group), size)]
        rng.shuffle(cuts)
        yield from cuts


def padded(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Ids and mask, shape (rows, tokens), padded to a multiple of 16 tokens."""
    n = -(-max(map(len, rows)) // 16) * 16
    ids = np.zeros((len(rows), n), np.int64)
    for row, tokens in enumerate(rows):
        ids[row, : len(tokens)] = tokens
    lengths = np.array([len(tokens) for tokens in rows])
    return torch.from_numpy(ids), torch.from_numpy(np.arange(n) < lengths[:, None])


def collate(batch: list[Example]) -> tuple[Tensor, ...]:
    """ids, kinds, mask, allowed (batch, tokens), pool (batch, 2, tokens), start, end (batch)."""
    ids, mask = padded([e.ids for e in batch])
    at = torch.arange(ids.shape[1])
    asked = torch.tensor([[e.asked] for e in batch])
    last = torch.tensor([[len(e.ids) - 1] for e in batch])
    query, passage = (at >= 1) & (at < asked - 1), (at >= asked) & (at < last)
    pool = torch.stack([query, passage], 1).float()
    pool = pool / pool.sum(-1, keepdim=True).clamp(min=1)
    kinds = ((at >= asked) & mask).long()
    start, end = (torch.tensor([getattr(e, name) for e in batch]) for name in ("start", "end"))
    return ids, kinds, mask, passage | (at == 0), pool, start, end


def hidden(ids: Tensor, start: Tensor, end: Tensor, share: float) -> Tensor:
    """`ids` with a share of the word pieces outside the answer replaced by [MASK], so that none is learned by heart."""
    at = torch.arange(ids.shape[1])
    answer = (at >= start[:, None]) & (at <= end[:, None])
    hide = (torch.rand(ids.shape) < share) & ~answer & (ids != CLS) & (ids != SEP) & (ids != 0)
    return ids.masked_fill(hide, MASK)


def teach(teacher: Net, batch: list[Example], bf16: bool) -> Tensor:
    """What all-MiniLM-L6-v2 says of query and passage, each alone: shape (batch, 2, 384)."""
    queries = [e.ids[: e.asked] for e in batch]
    passages = [[CLS, *(i for i in e.ids[e.asked :] if i != SEP), SEP] for e in batch]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        return torch.stack([teacher.embed(*padded(rows)) for rows in (queries, passages)], 1)


def distilled(vectors: Tensor, target: Tensor) -> Tensor:
    """How far the vectors are from the teacher's: by angle, and by the angles between those of the batch."""
    away = 1 - (vectors * target).sum(-1).mean()
    ours, theirs = (torch.einsum("aid,bjd->aibj", v, v) for v in (vectors, target))
    return 10 * away + 20 * (ours - theirs).square().mean()


def main() -> None:
    """Trains for `--minutes`, printing the losses and saving a checkpoint every `--every` minutes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--squad", type=Path, required=True, help="train-v1.1.jsonl.gz")
    parser.add_argument("--minilm", type=Path, required=True, help="folder with all-MiniLM-L6-v2's model.safetensors")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints")
    parser.add_argument("--minutes", type=float, default=95, help="the learning rate falls to zero over this time")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=2.5e-4)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bf16", action="store_true", help="bfloat16 matrix products (CPUs with AVX512-BF16 or AMX)")
    parser.add_argument("--every", type=float, default=5, help="minutes between checkpoints")
    parser.add_argument("--resume", type=Path, help="a checkpoint to go on from, its minutes counted")
    parser.add_argument(
        "--round-from",
        type=float,
        default=0.6,
        help="share of the time after which weights are rounded as the package has them",
    )
    parser.add_argument("--answerable", type=float, default=0.6, help="share of the pairs that hold the answer")
    parser.add_argument("--longer", type=float, default=0.0, help="share of those with a window of another paragraph")
    parser.add_argument(
        "--hide", type=float, default=0.0, help="share of word pieces masked where no vectors are learned"
    )
    parser.add_argument("--teach-every", type=int, default=2, help="batches between those that learn vectors too")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    torch.set_flush_denormal(True)

    tokenizer = Tokenizer.from_file(str(args.minilm / "tokenizer.json"))
    tokenizer.no_padding()  # the published file pads and truncates to 128 tokens
    tokenizer.no_truncation()
    net, teacher = load_minilm(args.minilm, args.dropout).train(), load_minilm(args.minilm).eval()
    net.word.weight.data = rounded(net.word.weight.data)  # the package keeps them so, and training leaves them alone
    net.word.weight.requires_grad_(False)
    earlier, rounds = {"pairs": 0, "minutes": 0.0}, False
    if args.resume:
        saved_net = torch.load(args.resume, weights_only=True)
        earlier = saved_net["facts"]
        net.load_state_dict({**saved_net["net"], "word.weight": net.word.weight})
    weights = [p for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in weights if p.dim() > 1], "weight_decay": 0.01},
            {"params": [p for p in weights if p.dim() == 1], "weight_decay": 0.0},
        ],
        lr=args.lr,
        fused=True,
    )
    groups = training_pairs(load_squad(args.squad, TRAIN), args.seed + earlier["pairs"], args.answerable, args.longer)
    began = saved = time.monotonic()
    spans, away, seen, step, done = 0.0, 0.0, earlier["pairs"], 0, False
    for batch in batches(groups, tokenizer, args.batch, random.Random(args.seed)):
        now = time.monotonic()
        passed = (earlier["minutes"] + (now - began) / 60) / args.minutes
        done = passed >= 1
        if passed >= args.round_from and not rounds:
            net.round_weights()
            rounds = True
        if not done:
            for part in optimizer.param_groups:
                part["lr"] = args.lr * min((step + 1) / 300, 1 - passed)
            step, seen = step + 1, seen + len(batch)
            ids, kinds, mask, allowed, pool, start, end = collate(batch)
            teaches = step % args.teach_every == 0
            if args.hide and not teaches:
                ids = hidden(ids, start, end, args.hide)
            with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
                logits, vectors = net(ids, kinds, mask, pool)
            logits = logits.float().masked_fill(~allowed[..., None], -1e4)
            loss = (F.cross_entropy(logits[..., 0], start) + F.cross_entropy(logits[..., 1], end)) / 2
            spans += (loss.item() - spans) * max(0.01, 1 / step)
            if teaches:
                more = distilled(vectors, teach(teacher, batch, args.bf16))
                away += (more.item() - away) * max(0.01, args.teach_every / step)
                loss = loss + more
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if step % 50 == 0:
                speed = (seen - earlier["pairs"]) / (time.monotonic() - began)
                print(
                    f"step {step}, {passed:.3f}: spans {spans:.3f} vectors {away:.4f} {speed:.1f} pairs/s", flush=True
                )
        if done or now - saved > args.every * 60:
            facts = {
                "pairs": seen,
                "rounded": rounds,
                "minutes": round(earlier["minutes"] + (now - began) / 60, 1),
                "loss": spans,
                "vector_loss": away,
            }
            facts |= {name: getattr(args, name) for name in ("lr", "batch", "dropout", "seed", "bf16")}
            facts |= {name: getattr(args, name) for name in ("teach_every", "answerable", "longer", "hide")}
            torch.save({"net": net.state_dict(), "facts": facts}, args.out / "last.tmp")
            (args.out / "last.tmp").replace(args.out / "last.pt")
            (args.out / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")
            saved = now
        if done:
            break


if __name__ == "__main__":
    main()
