"""One real training step of sentence-transformers on a dataset we wrote, without touching the data on the way.

Why: "ready to train on" is a claim about somebody else's trainer. So the data goes through `load_dataset` and into
`SentenceTransformerTrainer` as it is, and the step has to give a finite loss and to move the weights. The columns are
checked as well, because this trainer takes *every* column that is no label as an input, in column order: a stray id
column or a swapped pair trains without a word of complaint.

    python sentence_transformers_step.py PARQUET_OR_FOLDER --kind triplet|n-tuple|labeled-pair [--config NAME]
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from consumer_common import report, require, write_vocabulary

LABELS = ("label", "labels", "score", "scores")  # the names that the library's own collator takes as labels


def load(path: Path, config: str | None, cache: Path):
    """Load a folder by its `configs:` (the default one unless named), or a single parquet or jsonl file."""
    from datasets import load_dataset

    if path.is_dir():
        return load_dataset(str(path), config, split="train", cache_dir=str(cache))
    builder = "parquet" if path.suffix == ".parquet" else "json"
    return load_dataset(builder, data_files=str(path), split="train", cache_dir=str(cache))


def input_columns(dataset, kind: str) -> list[str]:
    """The columns that become inputs, after checking that they are what this kind of dataset promises."""
    inputs = [name for name in dataset.column_names if name not in LABELS]
    expected = {"triplet": len(inputs) == 3, "n-tuple": len(inputs) >= 4, "labeled-pair": len(inputs) == 2}[kind]
    require(expected, f"{kind}: the columns {inputs} would all become inputs")
    for name in inputs:
        require(dataset.features[name].dtype == "string", f"{kind}: the input column {name!r} does not hold strings")
    if kind == "labeled-pair":
        require("label" in dataset.column_names, "labeled-pair: there is no column named 'label'")
    return inputs


def tiny_model(texts: list[str], folder: Path):
    """A one-layer BERT with random weights and mean pooling: enough for gradients to flow from the loss to the words."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizer

    tokenizer = BertTokenizer.from_pretrained(write_vocabulary(texts, folder))
    tokenizer.save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    BertModel(config).save_pretrained(folder)
    transformer = Transformer(str(folder))
    transformer.max_seq_length = 128
    return SentenceTransformer(modules=[transformer, Pooling(config.hidden_size, "mean")], device="cpu")


def loss_for(kind: str, labels: list, model):
    """The loss that the library's documentation names for these columns."""
    from sentence_transformers.sentence_transformer import losses

    if kind != "labeled-pair":
        return losses.MultipleNegativesRankingLoss(model)
    return losses.ContrastiveLoss(model) if set(labels) <= {0, 1} else losses.CoSENTLoss(model)


def step(path: Path, kind: str, config: str | None, scratch: Path) -> dict:
    """Load, build, collate every row, train for exactly one step, compare the weights before and after."""
    import torch
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.training_args import BatchSamplers

    torch.manual_seed(0)
    dataset = load(path, config, scratch / "cache")
    require(len(dataset) > 0, "the dataset has no rows")
    inputs = input_columns(dataset, kind)
    texts = [text for name in inputs for text in dataset[name] if text is not None]  # a null is the trainer's affair
    model = tiny_model(texts, scratch / "model")
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(scratch / "run"),
            max_steps=1,
            per_device_train_batch_size=min(len(dataset), 8),
            # the same passage twice in a batch would be its own false negative
            batch_sampler=BatchSamplers.BATCH_SAMPLER if kind == "labeled-pair" else BatchSamplers.NO_DUPLICATES,
            learning_rate=1e-2,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            logging_steps=1,
            disable_tqdm=True,
        ),
        train_dataset=dataset,
        loss=loss_for(kind, dataset["label"] if kind == "labeled-pair" else [], model),
    )
    for start in range(0, len(dataset), 64):  # a step sees a single batch: the collator has to take every row
        trainer.data_collator(dataset.select(range(start, min(start + 64, len(dataset)))).to_list())
    loss = trainer.train().training_loss
    changed = sum(not torch.equal(before[name], weight.detach()) for name, weight in model.named_parameters())
    require(trainer.state.global_step == 1, f"{trainer.state.global_step} steps were made instead of 1")
    require(math.isfinite(loss), f"the loss is {loss}")
    require(changed > 0, "the step left every weight as it was")
    return {
        "kind": kind,
        "columns": dataset.column_names,
        "rows": len(dataset),
        "loss": round(loss, 4),
        "weights_changed": changed,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--kind", required=True, choices=["triplet", "n-tuple", "labeled-pair"])
    parser.add_argument("--config", help="of a folder with `configs:`; without it, the default one")
    args = parser.parse_args()
    report("sentence-transformers", lambda scratch: step(args.data.resolve(), args.kind, args.config, scratch))


if __name__ == "__main__":
    main()
