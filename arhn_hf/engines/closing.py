"""Close an engine within bounds: one that hangs must not keep the run from ending, nor hide why it ended.

Closing waits for what runs, which is right for an engine that works and for ever for one that hangs.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from arhn_hf.engines.base import Engine
from arhn_hf.monitor import ABANDONED

AFTER_FAILURE = 6.0  # seconds: less than a run that was interrupted gets to end, so that the store is closed too
AT_END = 120.0


@contextmanager
def closing(*engines: Engine) -> Iterator[None]:
    """Close the engines at the end of the block. After an error they get little time, and what they raise then is dropped:
    the error says more."""
    try:
        yield
    except BaseException:
        for engine in engines:
            _close(engine, AFTER_FAILURE / len(engines))
        raise
    errors = [_close(engine, AT_END) for engine in engines]
    for error in errors:
        if error is not None:
            raise error


def _close(engine: Engine, limit: float) -> BaseException | None:
    """What closing raised, if anything; an engine that is not closed in time is left behind (`ABANDONED`)."""
    raised: list[BaseException] = []

    def work() -> None:
        try:
            engine.close()
        except BaseException as error:  # noqa: BLE001 - handed to the caller
            raised.append(error)

    thread = threading.Thread(target=work, name="arhn-close", daemon=True)
    thread.start()
    thread.join(limit)
    if thread.is_alive():
        ABANDONED.append("the engine")
    return raised[0] if raised else None
