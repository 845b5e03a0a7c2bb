"""What threads share of the reader's work: made once, given to all, forgotten in order, and errors are kept by nobody."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from arhn_hf.reader.cache import Cache


def test_threads_that_ask_at_once_wait_for_one_computation() -> None:
    cache: Cache[str] = Cache(10, len)
    made: list[int] = []
    ready = threading.Barrier(4)

    def make() -> str:
        made.append(1)
        time.sleep(0.05)
        return "value"

    def ask(_: int) -> str:
        ready.wait()
        return cache.get(b"key", make)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(4))) == ["value"] * 4
    assert made == [1]


def test_what_was_not_asked_for_longest_is_forgotten_first() -> None:
    cache: Cache[str] = Cache(6, len)
    made: list[str] = []

    def get(key: str) -> str:
        def make() -> str:
            made.append(key)
            return key * 2  # 2 rows, and one for the value itself

        return cache.get(key.encode(), make)

    for key in "abac":
        get(key)
    assert made == ["a", "b", "c"]
    assert get("a") == "aa"
    assert made == ["a", "b", "c"]
    assert get("b") == "bb"
    assert made == ["a", "b", "c", "b"]


def test_a_value_larger_than_the_cache_is_given_and_not_kept() -> None:
    cache: Cache[str] = Cache(3, len)
    for _ in range(2):
        assert cache.get(b"long", lambda: "abcdef") == "abcdef"
    assert cache.get(b"long", lambda: "other") == "other"


def test_an_error_goes_to_all_who_waited_and_is_not_kept() -> None:
    cache: Cache[str] = Cache(10, len)
    began = threading.Event()

    def fail() -> str:
        began.set()
        time.sleep(0.05)
        raise ArithmeticError("no number")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.get, b"key", fail)
        began.wait()
        second = pool.submit(cache.get, b"key", lambda: "never")
        for one in (first, second):
            with pytest.raises(ArithmeticError, match="no number"):
                one.result()
    assert cache.get(b"key", lambda: "value") == "value"
