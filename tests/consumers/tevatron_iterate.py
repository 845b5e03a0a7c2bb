"""Tevatron 0.1.0, the release on PyPI, reads every row of a dataset in its passage schema.

Why: it is the schema of most public hard-negative sets, and its loader is strict where nobody looks: the title may be
missing but not null, one negative is drawn again and again, no negative at all is a crash. It needs transformers 4
(its tokenizer calls are gone from 5), hence an environment of its own.

    python tevatron_iterate.py FOLDER_OR_FILE [--config NAME] [--train-n-passages 4]

The data takes the road of `tevatron.driver.train`: HFTrainDataset, its preprocessor, TrainDataset, QPCollator. Only the
trainer is a stand-in, of which the dataset reads no more than the epoch and the seed.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from types import SimpleNamespace

from consumer_common import report, require, write_vocabulary

EPOCHS = 2  # the positive is drawn by epoch


def locate(path: Path, config: str | None) -> tuple[str, list[str] | None]:
    """The `--dataset_name` of Tevatron's command line, and the files for a bare parquet or jsonl file.

    Tevatron splits the name at slashes and takes the third part for the split, so an absolute path can be torn apart:
    the script goes to the parent folder and says `./name`. After a colon stands the config, without which it asks for
    one named `default`, which a folder with `configs:` need not have.
    """
    from datasets import get_dataset_default_config_name

    if path.is_dir():
        os.chdir(path.parent)
        name = f"./{path.name}"
        return f"{name}:{config or get_dataset_default_config_name(name)}", None
    return ("parquet" if path.suffix == ".parquet" else "json"), [str(path)]


def passage_text(passage: dict) -> str:
    """As Tevatron joins them: a title, where the schema has one, then a space."""
    return f"{passage['title']} {passage['text']}" if "title" in passage else passage["text"]


def check(path: Path, config: str | None, group_size: int, scratch: Path) -> dict:
    """Draw a group for every row in every epoch, compare it with the row, then collate all of them."""
    import tevatron.datasets.dataset as tevatron_datasets
    from datasets import load_dataset
    from tevatron.arguments import DataArguments
    from tevatron.data import QPCollator, TrainDataset
    from torch.utils.data import DataLoader
    from transformers import BertTokenizer

    name, files = locate(path, config)
    args = DataArguments(dataset_name=name, train_n_passages=group_size, dataset_proc_num=None)
    args.train_path = files  # its `train_dir` lists json files only
    # Tevatron expects tokens, not text, in what it calls "json": as for any other dataset, the text is what we write.
    tevatron_datasets.PROCESSOR_INFO.pop("json", None)

    cache = str(scratch / "cache")
    rows = load_dataset(
        args.dataset_name,
        args.dataset_language,
        data_files={"train": files} if files else None,
        split="train",
        cache_dir=cache,
    )
    require(len(rows) > 0, "the dataset has no rows")
    texts = [row["query"] for row in rows]
    texts += [passage_text(p) for row in rows for p in row["positive_passages"] + row["negative_passages"]]
    # the slow tokenizer, as Tevatron's driver loads it: the fast one takes no token ids, which the dataset hands it
    tokenizer = BertTokenizer.from_pretrained(write_vocabulary(texts, scratch / "tokenizer"))

    trainer = SimpleNamespace(state=SimpleNamespace(epoch=0), args=SimpleNamespace(seed=42))
    processed = tevatron_datasets.HFTrainDataset(tokenizer, args, cache).process()
    dataset = TrainDataset(args, processed, tokenizer, trainer)
    collator = QPCollator(tokenizer, max_q_len=args.q_max_len, max_p_len=args.p_max_len)

    def encoded(passages: list[dict]) -> list[list[int]]:
        return [tokenizer.encode(passage_text(p), truncation=True, max_length=args.p_max_len) for p in passages]

    seen = 0
    for trainer.state.epoch in range(EPOCHS):
        for index, row in enumerate(rows):
            query, passages = dataset[index]
            ids = [passage["input_ids"] for passage in passages]
            expected = tokenizer.encode(row["query"], truncation=True, max_length=args.q_max_len)
            require(query["input_ids"] == expected, f"another query than {row['query']!r}")
            require(len(ids) == group_size, f"a group of {len(ids)} passages")
            require(ids[0] in encoded(row["positive_passages"]), "the first passage drawn is no positive of the row")
            negatives = encoded(row["negative_passages"])
            require(all(passage in negatives for passage in ids[1:]), "a passage drawn is no negative of the row")
        for queries, passages in DataLoader(dataset, batch_size=4, collate_fn=collator):
            count = len(queries["input_ids"])
            require(len(passages["input_ids"]) == count * group_size, "the batch holds too few or too many passages")
            seen += count
    return {"rows": seen // EPOCHS, "epochs": EPOCHS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--config", help="of a folder with `configs:`; without it, the default one")
    parser.add_argument("--train-n-passages", type=int, default=4, help="one positive and this many less one negatives")
    args = parser.parse_args()
    report("tevatron", lambda scratch: check(args.data.resolve(), args.config, args.train_n_passages, scratch))


if __name__ == "__main__":
    main()
