"""Checkpoints with a few thousand random weights, made here: what they say is noise, but the same noise each time.

Their tokenizers are real ones of the three kinds that matter: WordPiece with segments (BERT), byte-level BPE with
doubled separators and two places set aside (RoBERTa), and Unigram with white space inside tokens (XLM-RoBERTa).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from requiring import skip_or_fail

PLACES = 64
"""Tokens that the tiny models take at once: the sample's passages need several windows."""
_SIZE = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
    "initializer_range": 0.5,
}  # fmt: skip


def libraries() -> tuple[Any, Any]:
    """torch and transformers; skips where they are not installed."""
    try:
        import torch
        import transformers
    except ImportError:
        skip_or_fail("torch", "torch and transformers are not installed")
    return torch, transformers


def texts_of(sample: Path) -> list[str]:
    """All texts of a Tevatron folder."""
    rows = [json.loads(line) for line in (sample / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    return [
        text
        for row in rows
        for passage in [*row["positive_passages"], *row["negative_passages"]]
        for text in (row["query"], passage["title"], passage["text"])
    ]


def bert_tokenizer(texts: Sequence[str], **options: Any) -> Any:
    """A WordPiece tokenizer trained on the texts."""
    from tokenizers import BertWordPieceTokenizer
    from tokenizers.processors import TemplateProcessing

    _, transformers = libraries()
    made = BertWordPieceTokenizer()
    made.train_from_iterator(texts, vocab_size=800, show_progress=False)
    first, last = made.token_to_id("[CLS]"), made.token_to_id("[SEP]")
    made.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", first), ("[SEP]", last)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made._tokenizer, cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]",
        mask_token="[MASK]", **{"model_max_length": PLACES, **options},
    )  # fmt: skip


def roberta_tokenizer(texts: Sequence[str]) -> Any:
    """A byte-level BPE tokenizer trained on the texts; its words carry the white space before them."""
    from tokenizers import ByteLevelBPETokenizer
    from tokenizers.processors import TemplateProcessing

    _, transformers = libraries()
    made = ByteLevelBPETokenizer()
    made.train_from_iterator(
        texts, vocab_size=800, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"], show_progress=False
    )
    made.post_processor = TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made._tokenizer, cls_token="<s>", sep_token="</s>", pad_token="<pad>", unk_token="<unk>",
        mask_token="<mask>", model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip


def unigram_tokenizer(texts: Sequence[str]) -> Any:
    """A SentencePiece-like tokenizer trained on the texts: one word is whatever stands between white space."""
    from tokenizers import SentencePieceUnigramTokenizer
    from tokenizers.processors import TemplateProcessing

    _, transformers = libraries()
    made = SentencePieceUnigramTokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    made.train_from_iterator(texts, vocab_size=800, special_tokens=special, unk_token="<unk>", show_progress=False)
    made.post_processor = TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made._tokenizer, cls_token="<s>", sep_token="</s>", pad_token="<pad>", unk_token="<unk>",
        mask_token="<mask>", model_input_names=["input_ids", "attention_mask"], model_max_length=PLACES,
    )  # fmt: skip


def bert(folder: Path, texts: Sequence[str], architecture: str, seed: int = 1, **options: Any) -> Path:
    """Save a tiny BERT of this architecture, such as `BertForQuestionAnswering`; `options` are its configuration's."""
    torch, transformers = libraries()
    tokenizer = bert_tokenizer(texts)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), max_position_embeddings=PLACES, pad_token_id=tokenizer.pad_token_id,
        **{**_SIZE, **options},
    )  # fmt: skip
    torch.manual_seed(seed)
    getattr(transformers, architecture)(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def xlm_roberta(folder: Path, texts: Sequence[str], architecture: str) -> Path:
    """RoBERTa with the kind of tokenizer that multilingual checkpoints have."""
    return roberta(folder, texts, architecture, 4, unigram_tokenizer)


def roberta(
    folder: Path, texts: Sequence[str], architecture: str, seed: int = 2,
    make: Callable[[Sequence[str]], Any] = roberta_tokenizer,
) -> Path:  # fmt: skip
    """The same for RoBERTa, whose tokenizer does not say how much the model takes."""
    torch, transformers = libraries()
    tokenizer = make(texts)
    config = transformers.RobertaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=PLACES + 2, pad_token_id=1, bos_token_id=0, eos_token_id=2,
        type_vocab_size=1, num_labels=1 if architecture.endswith("Classification") else 2, **_SIZE,
    )  # fmt: skip
    torch.manual_seed(seed)
    getattr(transformers, architecture)(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def encoder(folder: Path, texts: Sequence[str], seed: int = 3) -> Path:
    """A tiny sentence-transformers encoder with prompts of its own; skips where the library is not installed."""
    try:
        import sentence_transformers
        from sentence_transformers.sentence_transformer import modules as models
    except ImportError:
        skip_or_fail("torch", "sentence-transformers is not installed")
    plain = bert(folder / "plain", texts, "BertModel", seed)
    words = models.Transformer(str(plain), max_seq_length=PLACES)
    whole = sentence_transformers.SentenceTransformer(
        modules=[words, models.Pooling(_SIZE["hidden_size"]), models.Normalize()],
        prompts={"query": "query: ", "document": "passage: "}, device="cpu",
    )  # fmt: skip
    whole.save(str(folder / "encoder"), create_model_card=False)
    return folder / "encoder"
