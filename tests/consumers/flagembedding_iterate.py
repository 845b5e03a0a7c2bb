"""FlagEmbedding's own embedder dataset and collator read every row of jsonl files that we wrote.

Why: its loader reads jsonl only, looks into a folder but not below it, loads every file apart and then concatenates them,
and draws negatives in a way that dies on an empty list. And it pairs scores with passages by position alone, so a passage
that changed sides without its score would teach the student nonsense, silently.

    python flagembedding_iterate.py JSONL_OR_FOLDER [--source JSONL_OR_FOLDER] [--train-group-size 4]

With `pos_scores` and `neg_scores` in the data it iterates a second time with `knowledge_distillation=True`. `--source` is
the data before it was refined: every drawn passage must then still carry the score it had there for that query.

FlagEmbedding 1.4.2 imports beside transformers 5. Only the submodule is imported, all the same: the package's top level
pulls in every inference model, which is where earlier releases broke against a newer transformers.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from pathlib import Path

from consumer_common import report, require, write_vocabulary

INSTRUCTION = "Represent this query: "  # for rows without an instruction (`prompt`) of their own


def read_rows(path: Path) -> list[dict]:
    """The rows as they stand in the files, read without any library: what the loader is compared with."""
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    require(bool(files), f"there is no .jsonl file directly in {path.name}")
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines() if line]


def scores_of(row: dict) -> dict[str, list[float]]:
    """Each passage of a row with the scores it may carry (a text can stand there twice)."""
    require(len(row["pos"]) == len(row["pos_scores"]), "pos and pos_scores differ in length")
    require(len(row["neg"]) == len(row["neg_scores"]), "neg and neg_scores differ in length")
    scores: dict[str, list[float]] = {}
    for text, score in zip(row["pos"] + row["neg"], row["pos_scores"] + row["neg_scores"], strict=True):
        scores.setdefault(text, []).append(score)
    return scores


def comparable(row: dict, names: tuple[str, ...]) -> tuple:
    """A row as a value that can be counted; 1 and 1.0 are the same score to the loader and here."""
    return tuple(tuple(row[name]) if isinstance(row[name], list) else row[name] for name in names)


def iterate(path: Path, rows: list[dict], group_size: int, distil: bool, source: dict, scratch: Path) -> int:
    """Draw a group for every row, compare it with the row, then collate all of them. Returns the rows seen."""
    from FlagEmbedding.abc.finetune.embedder.AbsArguments import AbsEmbedderDataArguments
    from FlagEmbedding.abc.finetune.embedder.AbsDataset import AbsEmbedderCollator, AbsEmbedderTrainDataset
    from torch.utils.data import DataLoader
    from transformers import BertTokenizer

    texts = (text for row in rows for text in [row["query"], *row["pos"], *row["neg"]])
    tokenizer = BertTokenizer.from_pretrained(write_vocabulary(texts, scratch / "tokenizer"))
    args = AbsEmbedderDataArguments(
        train_data=[str(path)],
        cache_path=str(scratch / "cache"),
        train_group_size=group_size,
        query_instruction_for_retrieval=INSTRUCTION,
        knowledge_distillation=distil,
    )
    dataset = AbsEmbedderTrainDataset(args, tokenizer)
    names = ("query", "pos", "neg", "pos_scores", "neg_scores") if distil else ("query", "pos", "neg")
    loaded = Counter(comparable(row, names) for row in dataset.dataset)
    require(loaded == Counter(comparable(row, names) for row in rows), "the loader holds other rows than the files")

    for index, row in enumerate(dataset.dataset):
        query, passages, scores = dataset[index]
        prompt = row.get("prompt", INSTRUCTION)
        require(query == f"{prompt}{row['query']}" and prompt is not None, f"the query is read as {query!r}")
        require(passages[0] in row["pos"], "the first passage drawn is no positive of the row")
        require(all(passage in row["neg"] for passage in passages[1:]), "a passage drawn is no negative of the row")
        require(len(passages) == group_size, f"a group of {len(passages)} passages")
        if distil:
            known = scores_of(row)
            for passage, score in zip(passages, scores, strict=True):
                require(score in known[passage], f"drawn with the score {score} of another passage: {passage!r}")
                before = source.get((row["query"], passage), known[passage])
                require(score in before, f"the score is {score}, in the source {before}: {passage!r}")

    collator = AbsEmbedderCollator(
        tokenizer, query_max_len=args.query_max_len, passage_max_len=args.passage_max_len, return_tensors="pt"
    )
    seen = 0
    for batch in DataLoader(dataset, batch_size=4, collate_fn=collator):
        count = len(batch["queries"]["input_ids"])
        require(len(batch["passages"]["input_ids"]) == count * group_size, "the batch holds too few or many passages")
        require(
            not distil or len(batch["teacher_scores"]) == count * group_size, "scores and passages differ in number"
        )
        seen += count
    return seen


def check(path: Path, source_path: Path | None, group_size: int, scratch: Path) -> dict:
    """Iterate once, and once more with the teacher's scores where there are any."""
    rows = read_rows(path)
    source: dict[tuple[str, str], list[float]] = {}
    for row in read_rows(source_path) if source_path else []:
        for text, scores in scores_of(row).items():
            source.setdefault((row["query"], text), []).extend(scores)
    distil = any("pos_scores" in row or "neg_scores" in row for row in rows)
    for row in rows if distil else []:
        scores_of(row)  # of equal length: a surplus score would go unnoticed in the draws
    random.seed(0)  # the loader draws from the global generator
    seen = iterate(path, rows, group_size, False, source, scratch)
    return {
        "rows": seen,
        "rows_with_scores": iterate(path, rows, group_size, True, source, scratch) if distil else 0,
        "compared_with_source": bool(source),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--source", type=Path, help="the data before it was refined, to compare scores with")
    parser.add_argument("--train-group-size", type=int, default=4, help="one positive and this many less one negatives")
    args = parser.parse_args()
    source = args.source.resolve() if args.source else None
    report("FlagEmbedding", lambda scratch: check(args.data.resolve(), source, args.train_group_size, scratch))


if __name__ == "__main__":
    main()
