"""Calls to the Hub: with a time limit, tried again where that may help, and every error as one line for a person.

Their texts can hold addresses and request ids, over many lines; the server's own reason is kept, everything else is not. A token
never gets this far: it travels in a header that no error prints.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from huggingface_hub import set_client_factory
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import _http
from huggingface_hub.utils import logging as hub_logging
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from arhn_hf.records import ArhnError, UsageError

T = TypeVar("T")
PAUSES = (1.0, 2.0, 4.0, 8.0)  # seconds between tries
TIMEOUT = 300.0  # seconds without a byte; the client itself would wait for ever
_LONGEST_WAIT = 120.0  # seconds, of what `Retry-After` may ask for
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
AGAIN = "Run the same command again: what was uploaded is not sent twice"


def patiently(call: Callable[[], T]) -> T:
    """The call's result; what may pass is tried again, since the client does not do so for every call."""
    for pause in PAUSES:
        try:
            return call()
        except Exception as error:
            if not may_pass(error):
                raise
            time.sleep(max(pause, _asked_for(error)))
    return call()


def may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed later: an overloaded or absent Hub, a broken connection. What we have put into words
    ourselves has been settled."""
    if isinstance(error, ArhnError):
        return False
    status = status_of(error)
    if status is not None:
        return status in _PASSING
    return any(_is_network(one) or _is_not_json(one) for one in (error, error.__cause__) if one is not None)


def status_of(error: BaseException) -> int | None:
    """The HTTP status behind an error, or behind its cause (the client wraps failed uploads)."""
    for one in (error, error.__cause__):
        if isinstance(one, HfHubHTTPError):
            return int(one.response.status_code)
    return None


def explained(error: Exception, doing: str, where: str, again: str = AGAIN) -> ArhnError:
    """An error of the client as one of ours. `doing` says what was attempted, `where` to which repository."""
    if isinstance(error, ArhnError):
        return error
    if isinstance(error, UnicodeEncodeError):
        return UsageError("the token holds characters that no token has", where="HF_TOKEN")
    if isinstance(error, HFValidationError):
        return UsageError("is no repository id", where=where, hint="Such as my-name/my-dataset")
    status = status_of(error)
    reason = _reason(error)
    if status in (413, 507) or "quota" in reason.lower() or "storage limit" in reason.lower():
        return ArhnError(
            f"the Hub has no room for it{reason}", where=where, hint="Free some storage, then run it again"
        )
    if status == 401:
        return UsageError(
            "the Hub does not accept the token", where=where, hint="Log in: hf auth login, or set HF_TOKEN"
        )
    if status == 403:
        return ArhnError(
            f"the Hub refuses {doing}{reason}", where=where, hint="The token needs write access to that namespace"
        )
    if status == 412:
        return ArhnError("somebody else committed in the meantime; nothing was published", where=where, hint=again)
    if status is not None:
        return ArhnError(f"{doing} failed with status {status}{reason}", where=where, hint=again)
    if may_pass(error):
        cause = error if _is_network(error) else error.__cause__ or error
        return ArhnError(f"{doing} failed: the Hub did not answer ({type(cause).__name__})", where=where, hint=again)
    return ArhnError(f"{doing} failed ({type(error).__name__}: {_one_line(error)})", where=where, hint=again)


def _reason(error: BaseException) -> str:
    """What the server said, in parentheses, or nothing."""
    for one in (error, error.__cause__):
        said = getattr(one, "server_message", None)
        if said:
            return f" ({_one_line(said)})"
    return ""


def _one_line(value: Any) -> str:
    text = re.sub(r"https?://\S+", "(address)", " ".join(str(value).split()))
    return re.sub(r"hf_[\w.-]{8,}", "hf_…", text)[:300]


def _asked_for(error: BaseException) -> float:
    """Seconds of a `Retry-After` header, at most two minutes."""
    response = getattr(error, "response", None)
    value = response.headers.get("retry-after", "") if response is not None else ""
    return min(float(value), _LONGEST_WAIT) if value.isdigit() else 0.0


def _is_network(error: BaseException) -> bool:
    """An error of the HTTP library itself: no answer came, or only part of one."""
    return type(error).__module__.split(".")[0].startswith("httpx")


def _is_not_json(error: BaseException) -> bool:
    """A proxy's page in HTML, where the client expects JSON."""
    return type(error).__name__ == "JSONDecodeError"


@contextmanager
def asking(doing: str, repo_id: str, again: str = AGAIN) -> Iterator[None]:
    """Whatever the client raises inside leaves as one line."""
    try:
        yield
    except (ArhnError, KeyboardInterrupt):
        raise
    except Exception as error:
        raise explained(error, doing, repo_id, again) from error


@contextmanager
def limited() -> Iterator[None]:
    """A time limit for the shared client, which has none, and none of its progress bars and remarks.

    Some calls switch the limit off by themselves and a lost connection makes a new client, hence a factory with a hook.
    """
    factory = _http._GLOBAL_CLIENT_FACTORY  # there is a way to set it, and none to ask for it
    verbosity, quiet = hub_logging.get_verbosity(), are_progress_bars_disabled()

    def impatient() -> Any:
        client = factory()
        hooks = client.event_hooks
        client.event_hooks = {**hooks, "request": [*hooks.get("request", []), _limit]}
        client.timeout = TIMEOUT
        return client

    set_client_factory(impatient)
    hub_logging.set_verbosity(logging.CRITICAL)
    disable_progress_bars()
    try:
        yield
    finally:
        set_client_factory(factory)
        hub_logging.set_verbosity(verbosity)
        if not quiet:
            enable_progress_bars()


def _limit(request: Any) -> None:
    """The limit for a request that has none."""
    given = request.extensions.get("timeout") or {}
    request.extensions["timeout"] = {
        name: TIMEOUT if given.get(name) is None else given[name] for name in ("connect", "read", "write", "pool")
    }
