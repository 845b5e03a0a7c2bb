"""What was computed lately, for threads that ask for the same thing at once.

Why it exists: the negatives of a row are read by several threads, and all of them need the same positive. The first one
computes it, the others wait for it instead of computing it again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Cache(Generic[Value]):
    """At most `capacity` rows of values seen lately; `rows` says how many rows a value has, and each counts one more.

    A value that is alone larger than the capacity is given but not kept.
    """

    def __init__(self, capacity: int, rows: Callable[[Value], int]) -> None:
        self._capacity, self._rows_of, self._rows = capacity, rows, 0
        self._items: OrderedDict[bytes, Future[Value]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: bytes, make: Callable[[], Value]) -> Value:
        """The value under `key`, made if it is not here. Raises what `make` raises, to all who waited for it."""
        with self._lock:
            found = self._items.get(key)
            if found is not None:
                self._items.move_to_end(key)
            else:
                mine: Future[Value] = Future()
                self._items[key] = mine
        if found is not None:
            return found.result()
        try:
            value = make()
        except BaseException as error:
            with self._lock:
                del self._items[key]
            mine.set_exception(error)
            raise
        mine.set_result(value)
        with self._lock:
            self._rows += 1 + self._rows_of(value)
            if self._rows > self._capacity:
                self._forget()
        return value

    def _forget(self) -> None:
        """Drops what was not asked for longest, until the rest fits; what is being computed stays."""
        for key in [key for key, one in self._items.items() if one.done()]:
            self._rows -= 1 + self._rows_of(self._items.pop(key).result())
            if self._rows <= self._capacity:
                return
