"""A scripted engine: real requests in, deterministic responses out, every call counted in a file that survives kill -9.

It stands where vLLM stands, so that the promises are tested through the real rendering, store, parsing and rules. Run as a script it
refines a source in a process of its own: `python scripted.py SOURCE OUTPUT CALLS [OPTION=VALUE…]`.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from arhn_hf.config import RunConfig
from arhn_hf.engines.base import Engine, KeyMaker, Request, Response
from arhn_hf.judges.asking import Asker
from arhn_hf.judges.llm import LLMJudge
from arhn_hf.monitor import Monitor
from arhn_hf.store import Store


def passage_of(request: Request) -> str:
    """The passage's text as it stands between the markers of an answer request."""
    content = request.payload["messages"][1]["content"]
    return content.split("<<passage ")[1].split("\n", 1)[1].rsplit("\n<<end", 1)[0]


def scripted_reply(request: Request) -> Response:
    """Deterministic in the request alone: about 4 of 10 passages answer with their first words; rankings follow a content hash."""
    usage = {"prompt": 10, "completion": 2}
    if request.kind == "answer":
        text = passage_of(request)
        answers = hashlib.sha256(text.encode()).digest()[0] % 10 < 4
        return Response(json.dumps({"answer": " ".join(text.split()[-6:]) if answers else None}), "stop", usage)
    count = request.payload["schema"]["minItems"]
    parts = request.payload["messages"][1]["content"].split("<<passage ")[1:]
    order = sorted(range(count), key=lambda i: hashlib.sha256(parts[i].split(" ")[0].encode()).digest())
    return Response(json.dumps([i + 1 for i in order]), "stop", usage)


class ScriptedEngine(Engine):
    """`reply` makes the response; `delay` seconds later it arrives, from one of `threads` threads. `calls` appends a line per call."""

    def __init__(
        self, reply: Any = scripted_reply, *, delay: float = 0.0, threads: int = 8, calls: Path | None = None
    ) -> None:
        self.identity = {"engine": "scripted"}
        self.reply, self.delay = reply, delay
        self.count = 0
        self.keys: list[str] = []
        self._keymaker = KeyMaker(self.identity)
        self._lock = threading.Lock()
        self._calls = os.open(calls, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if calls else None
        self._pool = ThreadPoolExecutor(threads)

    def submit(self, request: Request) -> Future[Response]:
        key = self._keymaker.key(request).hex()
        with self._lock:
            self.count += 1
            self.keys.append(key)
        if self._calls is not None:
            os.write(self._calls, f"{key}\n".encode())
        return self._pool.submit(self._answer, request)

    def _answer(self, request: Request) -> Response:
        if self.delay:
            time.sleep(self.delay)
        return self.reply(request)

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


def scripted_judge(engine: ScriptedEngine) -> Any:
    """A judge factory for `run_refine` over this engine."""

    def factory(config: RunConfig, store: Store, monitor: Monitor) -> tuple[LLMJudge, Asker]:
        asker = Asker(engine, store, max_in_flight=config.max_in_flight, stop=monitor.stop)
        judge = LLMJudge(
            asker, name="scripted", about={"kind": "scripted", "model": "scripted", "revision": None}, orders=config.orders,
            window_size=config.window_size, window_positives=config.window_positives, seed=config.seed,
            rank_input=config.rank_input, max_chunks=config.max_chunks, prompts=config.prompts,
        )  # fmt: skip
        return judge, asker

    return factory


def folder_bytes(folder: Path) -> dict[str, bytes]:
    """Every published file of an output folder, by relative path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".arhn" not in path.parts
    }


def main() -> None:
    """Refine in this process (for tests that kill it)."""
    from arhn_hf.pipeline import run_refine

    source, output, calls, *options = sys.argv[1:]
    values: dict[str, Any] = {key: json.loads(value) for key, value in (item.split("=", 1) for item in options)}
    delay = values.pop("delay", 0.002)
    engine = ScriptedEngine(delay=delay, calls=Path(calls))
    run_refine(
        RunConfig.from_mapping({"source": source, "output": output, **values}), Monitor(), scripted_judge(engine)
    )


if __name__ == "__main__":
    main()
