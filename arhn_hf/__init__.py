"""arhn-hf: clean the hard negatives of retrieval training sets, with evidence for every passage.

`refine` and `push` do in Python what `arhn-hf refine` and `arhn-hf push` do on the command line; importing this package loads no heavy library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from arhn_hf.pipeline import RefineResult as RefineResult
    from arhn_hf.publishing.hub import PushResult as PushResult
    from arhn_hf.pushing import push as push
    from arhn_hf.pushing import refine as refine

_WHERE = {
    "refine": "pushing", "push": "pushing", "RefineResult": "pipeline", "PushResult": "publishing.hub",
}  # fmt: skip

__all__ = ["PushResult", "RefineResult", "__version__", "push", "refine"]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(f"arhn_hf.{_WHERE[name]}"), name)
    raise AttributeError(f"module 'arhn_hf' has no attribute {name!r}")
