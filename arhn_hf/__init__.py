"""arhn-hf: clean the hard negatives of retrieval training sets, with evidence for every passage.

`refine` does in Python what `arhn-hf refine` does on the command line; importing this package loads no heavy library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from arhn_hf.pipeline import RefineResult as RefineResult
    from arhn_hf.pipeline import refine as refine

__all__ = ["RefineResult", "__version__", "refine"]


def __getattr__(name: str) -> Any:
    if name in ("refine", "RefineResult"):
        from arhn_hf import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module 'arhn_hf' has no attribute {name!r}")
