"""The dataset schemas arhn-hf reads and writes, and how it recognises them from the columns.

One file a schema. `FORMATS` are read (and written back in their own schema), `TARGETS` are what `--to` converts to.
"""

from __future__ import annotations

from datasets import Dataset, Features

from arhn_hf.formats.base import Format, Target
from arhn_hf.formats.columns import describe
from arhn_hf.formats.corpus import Corpus
from arhn_hf.formats.flagembedding import FlagEmbedding, FlagEmbeddingTarget
from arhn_hf.formats.labeled_pair import LabeledPair, LabeledPairTarget
from arhn_hf.formats.n_tuple import NTuple, NTupleTarget
from arhn_hf.formats.tevatron import Tevatron, TevatronTarget
from arhn_hf.formats.tevatron_ids import TevatronIds
from arhn_hf.formats.triplet import Triplet, TripletTarget
from arhn_hf.records import UsageError

FORMATS: dict[str, type[Format]] = {
    f.name: f for f in (Tevatron, TevatronIds, FlagEmbedding, Triplet, NTuple, LabeledPair)
}
TARGETS: dict[str, type[Target]] = {
    t.name: t for t in (TevatronTarget, FlagEmbeddingTarget, TripletTarget, NTupleTarget, LabeledPairTarget)
}

__all__ = ["FORMATS", "TARGETS", "Corpus", "Format", "Target", "detect"]


def detect(features: Features, corpus: Corpus | Dataset | None = None, name: str | None = None) -> Format:
    """The format of a dataset with these features.

    Args:
        features: the source's features.
        corpus: the documents of an id-based dataset.
        name: a key of `FORMATS`, to decide where the columns fit several.

    Raises:
        UsageError: no schema fits, several fit, the named one is unknown or does not fit, or ids come without a corpus.
    """
    if name is not None and name not in FORMATS:
        raise UsageError(f"unknown format {name!r}", hint=f"Known: {', '.join(FORMATS)}")
    candidates = [FORMATS[name]] if name is not None else list(FORMATS.values())
    found = [bound for candidate in candidates if (bound := candidate.detect(features)) is not None]
    if not found:
        raise _unknown(features, candidates)
    if len(found) > 1:
        fits = " and ".join(bound.name for bound in found)
        raise UsageError(
            f"the columns ({_columns(features)}) fit {fits}",
            hint="Remove the columns of one, or choose one with --format",
        )
    bound = found[0]
    if not isinstance(bound, TevatronIds):
        return bound
    if corpus is None:
        raise UsageError(
            f"the columns ({_columns(features)}) hold document ids without texts",
            hint="Name the dataset, folder or file of the documents with --corpus",
        )
    return bound.with_corpus(corpus if isinstance(corpus, Corpus) else Corpus(corpus))


def _columns(features: Features) -> str:
    return ", ".join(f"{name}: {describe(feature)}" for name, feature in features.items())


def _unknown(features: Features, candidates: list[type[Format]]) -> UsageError:
    if {"document_ids", "scores"} <= features.keys() and len(candidates) > 1:
        return UsageError(
            f"the columns ({_columns(features)}) look like PyLate's distillation form, whose document_ids"
            " have scores but no labels of positive and negative",
            hint="Turn them into positive_document_ids and negative_document_ids first",
        )
    known = "; ".join(f"{candidate.name}: {candidate.columns}" for candidate in candidates)
    return UsageError(f"no known schema has the columns ({_columns(features)})", hint=f"Known: {known}")
