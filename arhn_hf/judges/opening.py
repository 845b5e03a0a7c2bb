"""`open_judge` builds the judge that a configuration names, with its engine; the store under it is given."""

from __future__ import annotations

from arhn_hf.config import RunConfig
from arhn_hf.judges.asking import Asker
from arhn_hf.judges.base import Judge
from arhn_hf.monitor import Monitor
from arhn_hf.store import Store


def open_judge(config: RunConfig, store: Store, monitor: Monitor) -> tuple[Judge, Asker]:
    """The judge `config.judge` names. The caller closes `asker.engine`."""
    from arhn_hf.engines.reader import ReaderEngine
    from arhn_hf.judges.reader import ReaderJudge

    asker = Asker(ReaderEngine(), store, max_in_flight=config.max_in_flight, stop=monitor.stop)
    return ReaderJudge(asker, threshold=config.answer_threshold, max_chunks=config.max_chunks), asker
