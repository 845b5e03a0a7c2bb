"""A worker process: builds an engine, takes groups of requests from a pipe, and sends back what comes, as it comes.

Why it exists apart from `processes`: this is what runs over there. It has a session of its own, so Ctrl-C in the
terminal does not reach it, and it ends itself, with every process its engine has started, when the pipe ends: whatever
becomes of the run that it works for, nothing stays behind on the GPU.

Messages are pickled tuples. In: the engine's factory; then lists of `(number, kind, payload, attempt)`, at last `None`.
Out: `("ready", Facts)` or `("refused", UsageError)`; then `("done", [(number, text, finish_reason, usage)])`; or
`("died", reason)`.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import threading
from concurrent.futures import Future
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from arhn_hf import __version__
from arhn_hf.engines.base import Engine, Request, Response
from arhn_hf.engines.worker import FITS, NO, YES, Facts
from arhn_hf.records import ArhnError, UsageError

_GROUP = 256  # responses a message, at most
_STOP = object()


def facts_of(engine: Engine) -> Facts:
    """What the fleet must know of an engine."""
    return Facts(
        engine.identity, getattr(engine, "about", None), getattr(engine, "context_tokens", None),
        type(engine).fits is not Engine.fits, __version__,
    )  # fmt: skip


def one_line(error: BaseException) -> str:
    """An error on one line: our own in their words, others with their class."""
    words = error.message if isinstance(error, ArhnError) else f"{error.__class__.__name__}: {error}"
    return " ".join(words.split())[:400]


def serve(descriptor: int) -> None:
    """The whole life of a worker process; `descriptor` is its end of the pipe. Never returns."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection: Connection[Any, Any] = Connection(descriptor)
    os.register_at_fork(after_in_child=partial(_close, descriptor))  # else a child's child keeps the pipe open
    out: queue.SimpleQueue[Any] = queue.SimpleQueue()
    try:
        build = pickle.loads(connection.recv_bytes())  # noqa: S301 - from the process that started this one
    except EOFError:
        _end_everything()
    except Exception as error:  # noqa: BLE001 - said over there, in the run that waits for it
        _say(connection, ("died", f"the engine cannot be built here ({one_line(error)})"))
        _end_everything()
    ready = threading.Event()
    held: list[Engine] = []
    threading.Thread(target=_read, args=(connection, ready, held, out), name="arhn-requests", daemon=True).start()
    try:
        engine = build()
        held.append(engine)
        first: tuple[str, Any] = ("ready", facts_of(engine))
    except UsageError as error:
        first = ("refused", error)
    except Exception as error:  # noqa: BLE001 - said over there, in the run that waits for it
        first = ("died", one_line(error))
    _say(connection, first)
    if first[0] == "ready":
        ready.set()
        _write(connection, out)
        with contextlib.suppress(Exception):  # it is over: what cannot be closed is killed
            engine.close()
    _end_everything()


def _write(connection: Connection[Any, Any], out: queue.SimpleQueue[Any]) -> None:
    """Send what is answered, in groups, until the engine is dead or the run is over."""
    while True:
        group = [out.get()]
        with contextlib.suppress(queue.Empty):
            while len(group) < _GROUP:
                group.append(out.get_nowait())
        done = [item for item in group if isinstance(item, tuple)]
        if done:
            _say(connection, ("done", done))
        for item in group:
            if isinstance(item, str):
                _say(connection, ("died", item))
            if not isinstance(item, tuple):
                return


def _read(
    connection: Connection[Any, Any], ready: threading.Event, held: list[Engine], out: queue.SimpleQueue[Any]
) -> None:
    """Hand requests to the engine. It listens before there is one: the run may end while a model is loaded."""
    while True:
        try:
            group = pickle.loads(connection.recv_bytes())  # noqa: S301 - from the process that started this one
        except (EOFError, OSError):
            _end_everything()
        if group is None:
            out.put(_STOP)
            if not ready.is_set():
                _end_everything()
            continue
        ready.wait()
        engine = held[0]
        for number, kind, payload, attempt in group:
            try:
                if kind == FITS:
                    fits = engine.fits(Request(payload["kind"], payload["payload"]))
                    out.put((number, YES if fits else NO, "stop", {}))
                else:
                    engine.submit(Request(kind, payload, attempt)).add_done_callback(partial(_answered, out, number))
            except Exception as error:  # noqa: BLE001 - whatever it is, the engine is of no more use
                out.put(one_line(error))
                break


def _answered(out: queue.SimpleQueue[Any], number: int, answered: Future[Response]) -> None:
    if answered.cancelled():  # the engine is being closed
        return
    error = answered.exception()
    if error is not None:
        out.put(one_line(error))
        return
    response = answered.result()
    out.put((number, response.text, response.finish_reason, response.usage))


def _say(connection: Connection[Any, Any], message: tuple[str, Any]) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more: `_read` hears of it too, and ends everything
        connection.send_bytes(pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL))


def _close(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        os.close(descriptor)


def _end_everything() -> None:
    """End this process and all that it has started: they are one process group."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)
