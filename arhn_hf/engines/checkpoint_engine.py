"""The engine around checkpoints: threads with one request each, on a CPU as many as cores.

Why it exists: torch shares one number of threads among all who use it, and keeps memory of a GPU to itself; both must be put right
around a judge, and given back when it closes.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from abc import abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from arhn_hf.engines.base import Engine, Request, Response
from arhn_hf.engines.torch_libraries import imported

GPU_THREADS = 4
"""Threads that feed a GPU: while one waits for it the others cut passages into tokens."""


class CheckpointEngine(Engine):
    """An engine over checkpoints: as many threads as cores on a CPU, a few on a GPU, each with one request at a time.

    While it is open, torch computes with one thread an input on a CPU: many inputs side by side are faster than many
    threads on one, and the number of cores changes no bit.
    """

    def __init__(self, device: str, threads: int | None = None) -> None:
        self._single = _SINGLE if device == "cpu" else contextlib.nullcontext()
        self._single.__enter__()
        usual = (os.cpu_count() or 1) if device == "cpu" else GPU_THREADS
        self._pool = ThreadPoolExecutor(threads or usual, thread_name_prefix="arhn-torch")
        self._turn = threading.Lock()

    @abstractmethod
    def answer(self, payload: dict[str, Any]) -> dict[str, Any]:
        """The response to one request, as plain JSON. Raises `ArithmeticError` where the model fails on it."""

    def submit(self, request: Request) -> Future[Response]:
        """See `Engine.submit`."""
        return self._pool.submit(self._respond, request.payload)

    def _respond(self, payload: dict[str, Any]) -> Response:
        response = self._tried(payload)
        if response is None:  # here no traceback holds on to the tensors of the try that failed
            with self._turn:
                self._give_back()
                response = self._tried(payload)
        return response or Response("out of memory", "error")

    def _tried(self, payload: dict[str, Any]) -> Response | None:
        """The response; `None` if memory did not suffice, perhaps because of others."""
        try:
            return Response(json.dumps(self.answer(payload)))
        except ArithmeticError as error:
            return Response(str(error), "error")
        except (MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            return None

    def _give_back(self) -> None:
        """Give memory that torch keeps for later back to the GPU."""
        torch = imported("torch", "--model")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def close(self) -> None:
        """See `Engine.close`."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._single.__exit__(None, None, None)
        self._single = contextlib.nullcontext()


def _out_of_memory(error: BaseException) -> bool:
    """Whether torch found no memory: it says so with an error of its own on a GPU, in words on a CPU and in cuBLAS."""
    words = str(error).lower()
    signs = ("out of memory", "allocate memory", "alloc_failed")
    return isinstance(error, MemoryError) or any(sign in words for sign in signs)


class _OneThread(contextlib.AbstractContextManager[None]):
    """While anybody is inside, torch computes on one thread; the last to leave gives it its threads back."""

    def __init__(self) -> None:
        self._lock, self._inside, self._before = threading.Lock(), 0, 1

    def __enter__(self) -> None:
        torch = imported("torch", "--model")
        with self._lock:
            if self._inside == 0:
                self._before = torch.get_num_threads()
                torch.set_num_threads(1)
            self._inside += 1

    def __exit__(self, *raised: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                imported("torch", "--model").set_num_threads(self._before)


_SINGLE = _OneThread()
