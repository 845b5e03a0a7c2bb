"""Any OpenAI-compatible endpoint as an engine: `vllm serve` (also with `--data-parallel-size 8`), SGLang, llama.cpp, hosted ones.

Transport trouble is handled here and nowhere else: 429, 5xx, time-outs and refused connections are tried again with back-off and
jitter, `Retry-After` is honoured, and only a server that stays away for `patience` seconds ends the run. A request that fails again
and again while the server answers others is at fault itself (too large for its memory, say): it is marked, and the run goes on. The API
key comes from the environment (`OPENAI_API_KEY`) and is never printed.
"""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from arhn_hf.engines.base import Engine, EngineError, Request, Response
from arhn_hf.records import UsageError

HOW_TO_INSTALL = 'Install it with: pip install "arhn-hf[server]"'
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0  # seconds
_LONGEST_WAIT = 600.0  # seconds, of what a server asks for
_AT_FAULT = 8  # failures of one request, each beside an answer to another one, after which the fault is its own
_AT_FAULT_LONG = 3  # the same for tries that ran out of time
_PROBE_FROM = 2  # failures after which, with no other answer to compare with, the server is asked something small
_PROBE_TIMEOUT = 30.0  # seconds
_OVERLOADED = (408, 409, 429, 503)  # said of the server, never of one request
_SMALL = Request("probe", {"messages": [{"role": "user", "content": "Say yes."}], "max_tokens": 1})
_NEVER_ARRIVED = ("ConnectError", "ConnectTimeout", "PoolTimeout")
_DROPPABLE = {
    "schema": (("response_format", "json_schema", "schema", "guided"), "The server takes no JSON schema: going on without structured output."),
    "template_arguments": (("chat_template_kwargs", "extra"), "The server takes no chat_template_kwargs: a model that thinks by default will think."),
    "max_tokens": (("max_completion_tokens",), "The server wants max_completion_tokens instead of max_tokens: it gets them."),
}  # fmt: skip
"""What a request can do without: the words by which a server names it when it refuses it, and what the person is told."""
_TOO_LONG = (
    "context length",
    "context_length",
    "context size",
    "context window",
    "too many tokens",
    "maximum input length",
)


class ServerEngine(Engine):
    """Chat completions at `base_url`.

    `revision` is what the person says the model is; without it the card calls the model's identity unverified. `timeout` is the limit of
    one request and `patience` how long the server may stay away, both in seconds. `notice` gets lines for the person.
    """

    def __init__(
        self, base_url: str, model: str, *, revision: str | None = None, timeout: float = 300.0, patience: float = 300.0,
        concurrency: int = 64, thinking: bool = False, notice: Callable[[str], None] = lambda line: None,
    ) -> None:  # fmt: skip
        try:
            import openai
        except ImportError as error:
            raise UsageError(
                "the openai client is not installed", where="--judge server", hint=HOW_TO_INSTALL
            ) from error
        self._openai = openai
        self._model, self._patience, self._thinking, self._notice = model, patience, thinking, notice
        self._client = openai.AsyncOpenAI(
            base_url=base_url, api_key=os.environ.get("OPENAI_API_KEY", "none"), timeout=timeout, max_retries=0
        )
        self._dropped: set[str] = set()
        self._away_since: float | None = None
        self._answers = 0
        self._silent_at = float("-inf")  # when that was last tried in vain, on the clock of `time.monotonic`
        self._timeout = timeout
        sampling: dict[str, Any] = {} if thinking else {"temperature": 0.0}
        self._sampling = sampling
        self.identity = {
            "engine": "server", "model": model, "revision": revision, "sampling": sampling, "thinking": thinking,
        }  # fmt: skip
        self.about = {
            "kind": "server", "model": model, "revision": revision or "unverified", "sampling": sampling, "thinking": thinking,
        }  # fmt: skip
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="arhn-server", daemon=True)
        self._thread.start()
        self._places, self._probing = asyncio.Semaphore(concurrency), asyncio.Lock()

    def submit(self, request: Request) -> Future[Response]:
        """See `Engine.submit`. The payload holds `messages`, `schema` and `max_tokens`."""
        return asyncio.run_coroutine_threadsafe(self._answer(request), self._loop)

    def hangs_at(self, request: Request) -> str:
        """See `Engine.hangs_at`: the endpoint, without what may stand before its host."""
        url = self._client.base_url
        return f"{url.scheme}://{url.host}{f':{url.port}' if url.port else ''}{url.path.rstrip('/')} ({self._model})"

    def is_away(self) -> bool:
        """See `Engine.is_away`: from the first try that failed until the next one that is answered."""
        return self._away_since is not None

    def close(self) -> None:
        """See `Engine.close`."""

        async def stop() -> None:
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._client.close()

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result(timeout=10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)

    async def _answer(self, request: Request) -> Response:
        async with self._places:
            attempt = against = 0
            answers = self._answers
            while True:
                try:
                    return await self._once(request)
                except _Again as again:
                    attempt += 1
                    if again.own:
                        late = self._away_since is not None and time.monotonic() - self._away_since > self._patience
                        lonely = self._answers == answers
                        if lonely and (late or attempt >= _PROBE_FROM):
                            lonely = not await self._works(answers)
                        against += not lonely and attempt > 1
                        if against >= (_AT_FAULT_LONG if again.long else _AT_FAULT):
                            return Response(f"{again.what}, {attempt} times, while others were answered", "error")
                    self._lose_patience(again)
                    answers = self._answers
                    await asyncio.sleep(self._pause(attempt, again))

    async def _works(self, answers: int) -> bool:
        """Whether the server answers at all; `answers`: how many it had given at the last look."""
        async with self._probing:
            if self._answers > answers:
                return True
            if time.monotonic() - self._silent_at < _PROBE_TIMEOUT:
                return False
            try:
                limit = min(self._timeout, _PROBE_TIMEOUT)
                await self._client.chat.completions.create(
                    **self._arguments(_SMALL, frozenset({*self._dropped, "schema"})), timeout=limit
                )
            except self._openai.APIError:
                self._silent_at = time.monotonic()
                return False
            self._answers += 1
            self._away_since = None
            return True

    def _lose_patience(self, again: _Again) -> None:
        """Raise `EngineError` if nothing has been answered for `patience` seconds."""
        if again.what is None:
            return
        now = time.monotonic()
        self._away_since = self._away_since or now
        if now - self._away_since > self._patience:
            raise EngineError(
                f"the server has been away for {self._patience:.0f} s ({again.what})", where="--base-url",
                hint="Run the same command again when it is back: finished requests are kept",
            ) from None  # fmt: skip

    async def _once(self, request: Request) -> Response:
        """One try. Raises `_Again` for what may pass, `EngineError` for what will not, however long one waits."""
        openai = self._openai
        without = frozenset(self._dropped)
        try:
            done = await self._client.chat.completions.create(**self._arguments(request, without))
        except openai.APIStatusError as error:
            return self._refused(error, without)
        except (openai.APITimeoutError, openai.APIConnectionError) as error:
            arrived = error.__cause__ is not None and error.__cause__.__class__.__name__ not in _NEVER_ARRIVED
            long = isinstance(error, openai.APITimeoutError)
            raise _Again(None, error.__class__.__name__, own=arrived, long=long) from error
        self._away_since = None
        self._answers += 1
        if not done.choices:
            return Response("the server gave no choice", "error")
        choice = done.choices[0]
        finish = {"stop": "stop", "length": "length", "content_filter": "refused"}.get(
            choice.finish_reason or "stop", "error"
        )
        if getattr(choice.message, "refusal", None):
            finish = "refused"
        return Response(choice.message.content or "", finish, _usage(done.usage))

    def _arguments(self, request: Request, without: frozenset[str]) -> dict[str, Any]:
        limit = "max_completion_tokens" if "max_tokens" in without else "max_tokens"
        arguments: dict[str, Any] = {
            "model": self._model, "messages": request.payload["messages"], limit: request.payload["max_tokens"],
            **self._sampling,
        }  # fmt: skip
        if "schema" not in without:
            schema = {"name": request.kind, "schema": request.payload["schema"]}
            arguments["response_format"] = {"type": "json_schema", "json_schema": schema}
        if "template_arguments" not in without:
            arguments["extra_body"] = {"chat_template_kwargs": {"enable_thinking": self._thinking}}
        return arguments

    def _refused(self, error: Any, without: frozenset[str]) -> Response:
        """What an HTTP status means: try again, give up, do without something, or this one request is at fault."""
        status = int(error.status_code)
        if status in (408, 409, 429) or status >= 500:
            wait = _seconds(error.response.headers.get("retry-after"))
            raise _Again(wait, f"status {status}", own=status not in _OVERLOADED) from error
        self._away_since = None
        if status in (401, 403):
            raise EngineError("the server refuses the API key", where="--base-url", hint="Set OPENAI_API_KEY") from None
        if status == 404:
            raise EngineError(
                f"the server does not know the model {self._model!r}, or not this address", where="--model",
                hint="Check the name, and that --base-url ends as the server's does, mostly in /v1",
            ) from None  # fmt: skip
        reason = " ".join(str(getattr(error, "message", "")).split())[:300]
        named = f"{reason} {getattr(error, 'param', None) or ''} {getattr(error, 'code', None) or ''}".lower()
        if any(words in named for words in _TOO_LONG):
            return Response(reason, "too_long")
        if "temperature" in named and not self._thinking:
            raise EngineError(
                f"the model takes no temperature 0 ({reason})", where="--model",
                hint="--thinking leaves sampling to the server",
            ) from None  # fmt: skip
        self._do_without(named, without)
        return Response(reason, "error")

    def _do_without(self, named: str, without: frozenset[str]) -> None:
        """Drop what the server refuses by name, say so once, and raise `_Again`; nothing if it names nothing of the kind."""
        if self._dropped - without:  # another request has just found out
            raise _Again(0.0)
        for what, (words, notice) in _DROPPABLE.items():
            if what not in without and any(word in named for word in words):
                self._dropped.add(what)
                self._notice(notice)
                raise _Again(0.0)

    @staticmethod
    def _pause(attempt: int, again: _Again) -> float:
        """Seconds to wait before the next try."""
        if again.wait is not None:  # as asked, and a little later: not everybody at the same moment
            return min(again.wait, _LONGEST_WAIT) + random.uniform(0.0, _FIRST_PAUSE if again.wait else 0.0)
        pause: float = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(attempt, 10))
        return pause * random.uniform(0.5, 1.5)


class _Again(Exception):
    """Try once more, after `wait` seconds if the server said so. `what` went wrong with the server (nothing, if the
    request was only put in another form), perhaps by the request's `own` fault, and after a `long` time."""

    def __init__(self, wait: float | None, what: str | None = None, *, own: bool = False, long: bool = False) -> None:
        super().__init__(wait)
        self.wait, self.what, self.own, self.long = wait, what, own, long


def _seconds(retry_after: str | None) -> float | None:
    """`Retry-After` in seconds: a number of them, or a date."""
    if not retry_after:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def _usage(usage: Any) -> dict[str, int]:
    if usage is None:
        return {}
    details = getattr(usage, "prompt_tokens_details", None)
    cached = getattr(details, "cached_tokens", None) or 0
    return {"prompt": usage.prompt_tokens or 0, "completion": usage.completion_tokens or 0, "prefix_cached": cached}
