"""A small Hub on loopback that `huggingface_hub` and `datasets` speak to over real HTTP, with faults to order.

Publishing cannot be tested against the real Hub: not its races, not its failures half way. `hub_repos.py` is what this one
remembers, `hub_calls.py` what it answers; here are the HTTP around them, the faults, and what tests use.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from hub_calls import ANSWERS, CALLS, Ask, Reply, reply, route
from hub_repos import Commit, HubError, Memory, Repo, Token, stored

TOKEN = "hf_write000000000000000000000000000000"
READ_TOKEN = "hf_read0000000000000000000000000000000"
FINE_TOKEN = "hf_fine0000000000000000000000000000000"
TOKENS = {
    TOKEN: Token("me", "write", orgs=("my-org",)),
    READ_TOKEN: Token("me", "read", orgs=("my-org",)),
    FINE_TOKEN: Token("me", "fineGrained", scopes=("me/allowed",)),
}
HOWS = ("status", "reset", "after_effect", "lost", "stall")


class Asked(NamedTuple):
    """A request that came: `call` is its name in `CALLS`, or empty where no route knows it; `path` is as sent."""

    call: str
    method: str
    path: str
    authenticated: bool
    body_bytes: int


@dataclass
class Fault:
    """What `HubServer.fail` orders."""

    how: str
    status: int
    times: float
    after: int
    seconds: float
    headers: Mapping[str, str]
    body: Any

    def reply(self) -> Reply:
        """The answer that tells of it."""
        if isinstance(self.body, bytes):
            return Reply(self.status, self.body, {"Content-Type": "text/html", **self.headers})
        message = {"error": HTTPStatus(self.status).phrase}
        return reply(message if self.body is None else self.body, self.status, self.headers)


@dataclass
class Hook:
    """What `HubServer.before` orders."""

    act: Callable[[], Any]
    times: float


class HubServer:
    """Serves a fresh, empty Hub inside `running()`; the token `TOKEN` is user `me`, who may write to `me/` and `my-org/`.

    `requests` are all that came; `unknown` those that no route knows; `errors` the tracebacks of what is wrong here.
    """

    calls = CALLS

    def __init__(self) -> None:
        self.memory = Memory(tokens=dict(TOKENS))
        self.requests: list[Asked] = []
        self.unknown: list[tuple[str, str]] = []
        self.errors: list[str] = []
        self.lfs_bytes_received = 0
        self.url = ""
        self._faults: dict[str, list[Fault]] = {}
        self._hooks: dict[str, list[Hook]] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    # What tests order.

    def fail(
        self,
        call: str,
        status: int = 500,
        times: float = 1,
        after: int = 0,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        how: str = "status",
        seconds: float = 1.0,
    ) -> None:
        """Let `times` calls fail, once `after` calls have gone through.

        `how`: `status` answers without doing anything; `reset` closes the connection instead; `after_effect` does what was
        asked and then answers with the status; `lost` does it and closes the connection; `stall` waits `seconds` and then
        answers as always. The body is JSON, or bytes to be sent as HTML.
        """
        assert call in CALLS, f"no call {call!r}"
        assert how in HOWS, f"no fault {how!r}"
        self._faults.setdefault(call, []).append(Fault(how, status, times, after, seconds, headers or {}, body))

    def before(self, call: str, act: Callable[[], Any], times: float = 1) -> None:
        """Run something just before each of the next `times` calls is handled: to commit in between, for one."""
        assert call in CALLS, f"no call {call!r}"
        self._hooks.setdefault(call, []).append(Hook(act, times))

    def add_repo(
        self, repo_id: str, files: Mapping[str, bytes] | None = None, type: str = "dataset", private: bool = False
    ) -> str:
        """Create a repository, with the files in a second commit; returns the hash of the last commit."""
        with self._lock:
            repo = self.memory.create(repo_id, type, private, repo_id.split("/")[0])
        return self.commit(repo_id, files, title="Add files", type=type) if files else repo.refs["refs/heads/main"]

    def commit(
        self,
        repo_id: str,
        files: Mapping[str, bytes] | None = None,
        delete: tuple[str, ...] = (),
        title: str = "Meanwhile",
        revision: str = "main",
        type: str = "dataset",
    ) -> str:
        """Commit without a request, as somebody else would; returns the hash."""
        with self._lock:
            repo = self._repo(repo_id, type)
            ref = repo.movable(revision)
            base = repo.commits[repo.refs[ref]]
            changed = {path: stored(path, data) for path, data in (files or {}).items()}
            self.memory.lfs.update({blob.sha256: blob.data for blob in changed.values() if blob.lfs})
            kept = {path: blob for path, blob in base.files.items() if path not in delete}
            return repo.add(ref, base.sha, {**kept, **changed}, title, "somebody").sha

    # What tests look at.

    def files(self, repo_id: str, revision: str = "main", type: str = "dataset") -> dict[str, bytes]:
        """All files at a revision, `.gitattributes` too."""
        commit = self._repo(repo_id, type).resolve(revision)
        return {path: blob.data for path, blob in commit.files.items()}

    def history(self, repo_id: str, revision: str = "main", type: str = "dataset") -> list[Commit]:
        """The commits, newest first; the last is the Hub's own, of `.gitattributes`."""
        return self._repo(repo_id, type).history(revision)

    def branches(self, repo_id: str, type: str = "dataset") -> dict[str, str]:
        """Names to hashes."""
        return self._repo(repo_id, type).named("refs/heads/")

    def tags(self, repo_id: str, type: str = "dataset") -> dict[str, str]:
        """Names to hashes."""
        return self._repo(repo_id, type).named("refs/tags/")

    def pull_requests(self, repo_id: str, type: str = "dataset") -> dict[str, str]:
        """Numbers to hashes."""
        return self._repo(repo_id, type).named("refs/pr/")

    def asked(self, *calls: str) -> list[str]:
        """The names of the calls that came, in order: all, or those named."""
        return [one.call for one in self.requests if not calls or one.call in calls]

    # How clients get here.

    def environment(self, folder: Path, token: str | None = TOKEN) -> dict[str, str]:
        """The environment of a subprocess whose client asks this server, with a cache of its own below `folder`."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING_FACE_"))}
        ours = {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(folder / "hf-home"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        return {**kept, **ours, **({"HF_TOKEN": token} if token else {})}

    def api(self, token: str | None = TOKEN) -> Any:
        """A real client in this process; give its downloads a `cache_dir`."""
        from huggingface_hub import HfApi

        return HfApi(endpoint=self.url, token=token or False)

    # How requests are answered.

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Reply | None:
        """What one request gets; None is a connection closed without an answer."""
        split = urlsplit(target)
        call, args = route(method, split.path) or ("", {})
        bearer = (headers.get("Authorization") or "").removeprefix("Bearer ")
        with self._lock:
            self.requests.append(Asked(call, method, target, bearer in self.memory.tokens, len(body)))
            self.lfs_bytes_received += len(body) if call in ("lfs_put", "lfs_put_part") else 0
            if not call:
                self.unknown.append((method, unquote(target)))
            hooks = [hook for hook in self._hooks.get(call, []) if hook.times > 0]
            for hook in hooks:
                hook.times -= 1
            fault = self._next_fault(call)
        try:
            for hook in hooks:
                hook.act()
            if fault is not None and fault.how == "stall":
                self._stopping.wait(fault.seconds)
            if fault is not None and fault.how in ("status", "reset"):
                return fault.reply() if fault.how == "status" else None
            token = self.memory.tokens.get(bearer)
            ask = Ask(self.url, split.path, args, dict(parse_qsl(split.query)), headers, body, token)
            done = self._handle(call, ask)
            if fault is not None and fault.how in ("after_effect", "lost"):
                return fault.reply() if fault.how == "after_effect" else None
            return done
        except Exception:  # noqa: BLE001
            self.errors.append(traceback.format_exc())
            return reply({"error": "the test server is wrong: see its errors"}, 500)

    def _handle(self, call: str, ask: Ask) -> Reply:
        """Do what was asked."""
        try:
            if not call:
                raise HubError(404, "Sorry, we can't find the page you are looking for.")
            if ask.token is None and ask.headers.get("Authorization"):
                raise HubError(401, "Invalid credentials in Authorization header")
            with self._lock:
                return ANSWERS[call](self.memory, ask)
        except HubError as error:
            return reply({"error": str(error)}, error.status, error.headers)

    def _next_fault(self, call: str) -> Fault | None:
        """The fault that a call meets; counts it."""
        for fault in self._faults.get(call, []):
            if fault.after > 0:
                fault.after -= 1
            elif fault.times > 0:
                fault.times -= 1
                return fault
        return None

    def _repo(self, repo_id: str, kind: str) -> Repo:
        """A repository, whoever may see it."""
        return self.memory.repos[kind, repo_id]

    @contextmanager
    def running(self) -> Iterator[HubServer]:
        """Serve on loopback until the block ends."""
        with Listener(self) as listener:
            self.url = f"http://127.0.0.1:{listener.server_address[1]}"
            threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
            try:
                yield self
            finally:
                self._stopping.set()
                listener.shutdown()
                listener.drop_connections()


class Listener(ThreadingHTTPServer):
    """Accepts connections; at the end it drops those still open, lest a client reuse one for the next server's port."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, hub: HubServer):
        self.hub = hub
        self.open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is not an error of the server."""
        if not isinstance(sys.exception(), OSError):
            self.hub.errors.append(traceback.format_exc())

    def drop_connections(self) -> None:
        for connection in list(self.open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Handler(BaseHTTPRequestHandler):
    """Reads a request whole, and writes the answer."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Listener

    def serve(self) -> None:
        body = self.read_body()
        answer = self.server.hub.answer(self.command, self.path, self.headers, body)
        if answer is None:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
            self.send_header(name, value.encode("ascii", "replace").decode())
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = serve

    def read_body(self) -> bytes:
        """All of it; a client that goes away in between has asked nothing."""
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.read(int(self.headers.get("Content-Length", "0")))
        chunks = []
        while (size := int(self.rfile.readline() or b"0", 16)) > 0:
            chunks.append(self.read(size))
            self.rfile.readline()
        if not self.rfile.readline():
            raise ConnectionAbortedError
        return b"".join(chunks)

    def read(self, size: int) -> bytes:
        """So many bytes, not fewer."""
        data = self.rfile.read(size)
        if len(data) < size:
            raise ConnectionAbortedError
        return data

    def log_message(self, *words: Any) -> None:
        """Stay quiet."""
