"""An OpenAI-compatible endpoint on loopback that answers as the scripted engine does, with faults to order.

The real client speaks to it over real HTTP; what a test orders are the statuses, pauses and replies that real servers give.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from scripted import scripted_reply

from arhn_hf.engines.base import Request

Fault = tuple[int, dict[str, str], Any]
"""Status, headers and JSON body of a reply that is not the scripted one."""


class FakeServer:
    """`faults` are given out first, one a request; then `always(body)` may give one; else the scripted reply follows."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.always: Callable[[dict[str, Any]], Fault | None] = lambda body: None
        self.pause = 0.0
        self.seen: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.keys: list[str | None] = []
        self.busiest = 0
        self._busy = 0
        self._lock = threading.Lock()
        self.port = 0

    @property
    def url(self) -> str:
        """The base URL of the API."""
        return f"http://127.0.0.1:{self.port}/v1"

    def answer(self, body: dict[str, Any], key: str | None) -> Fault:
        """What one request gets."""
        with self._lock:
            self.seen.append(body)
            self.times.append(time.monotonic())
            self.keys.append(key)
            self._busy += 1
            self.busiest = max(self.busiest, self._busy)
            fault = self.faults.pop(0) if self.faults else None
        try:
            fault = fault or self.always(body)  # which may take its time, while others are answered
            time.sleep(self.pause)
            return fault or (200, {}, completion(body))
        finally:
            with self._lock:
                self._busy -= 1

    @contextmanager
    def running(self, port: int = 0) -> Iterator[FakeServer]:
        """Serve on loopback until the block ends."""
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, headers, content = owner.answer(body, self.headers.get("Authorization"))
                data = json.dumps(content).encode()
                self.send_response(status)
                for name, value in {
                    **headers,
                    "Content-Type": "application/json",
                    "Content-Length": str(len(data)),
                }.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *words: Any) -> None:
                """Stay quiet."""

        class Server(ThreadingHTTPServer):
            allow_reuse_address = True
            daemon_threads = True
            request_queue_size = 256

        with Server(("127.0.0.1", port), Handler) as server:
            self.port = server.server_address[1]
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()


def completion(body: dict[str, Any], finish: str = "stop", text: str | None = None) -> dict[str, Any]:
    """A chat completion in OpenAI's shape."""
    shown = body["messages"][-1 if len(body["messages"]) == 1 else 1]["content"]
    if "<<passage " not in shown:
        text = "yes"
    ranks = shown.count("<<passage ") > 1
    payload = {"messages": body["messages"], "schema": {"minItems": shown.count("<<passage ")}}
    reply = text if text is not None else scripted_reply(Request("rank" if ranks else "answer", payload)).text
    return {
        "id": "x", "object": "chat.completion", "created": 0, "model": body["model"],
        "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": reply}}],
        "usage": {
            "prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14, "prompt_tokens_details": {"cached_tokens": 5},
        },
    }  # fmt: skip


def error(status: int, message: str = "no", **headers: str) -> Fault:
    """An error reply."""
    return status, {name.replace("_", "-"): value for name, value in headers.items()}, {"error": {"message": message}}
