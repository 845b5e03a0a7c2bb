"""The two ONNX networks and the word vectors they share.

Why it exists: the reader must give the same bits for a pair whatever else is read. So there is no batch dimension at
all: a network takes the tokens of one input, unpadded, on one thread, in sequential execution. Products of matrices are
those of small integers, whose sums are exact (see `training/reader/export.py`); what is left in floats gives the same bits
on one kind of CPU and one version of ONNX Runtime, not across them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

Floats = NDArray[np.float32]

CLS, SEP = 101, 102


class WordVectors:
    """The input embeddings of the vocabulary: int8 rows with one scale each, mapped from disk."""

    def __init__(self, folder: Path) -> None:
        self._rows = np.load(folder / "words.npy", mmap_mode="r")
        self._scales = np.load(folder / "word_scales.npy")

    def __call__(self, ids: Sequence[int]) -> Floats:
        """Vectors of the tokens, shape (len(ids), 384)."""
        index = np.asarray(ids, dtype=np.int64)
        vectors: Floats = self._rows[index].astype(np.float32) * self._scales[index, None]
        return vectors


class Network:
    """One ONNX file, run on one input at a time; safe to call from several threads at once."""

    def __init__(self, path: Path, words: WordVectors) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.use_deterministic_compute = True
        options.enable_mem_pattern = False  # every input has a length of its own
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._words = words

    def __call__(self, ids: Sequence[int], asked: int, pool: Floats) -> list[Floats]:
        """Outputs for the tokens `ids`, of which the first `asked` are segment 0 and the others segment 1.

        `pool` (vectors, tokens) holds the weights of the means that become vectors of length one. Reader: start and end
        logits, shape (tokens, 2), and the vectors of query and passage, (2, 384). Encoder: vectors, (vectors, 384).
        """
        kinds = np.ones(len(ids), dtype=np.int64)
        kinds[:asked] = 0
        outputs: list[Floats] = self._session.run(None, {"words": self._words(ids), "kinds": kinds, "pool": pool})
        return outputs
