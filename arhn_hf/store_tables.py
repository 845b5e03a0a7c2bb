"""How the store lays responses out in its SQLite file, and how it finds them again.

Keys are hashes, so an index over all of them takes each new one on another page: a random write per response, which is what a large
store would wait for. Rows therefore only ever go to the end of their table, and their places stand in three small-to-large tables:
those of the last commits in `fresh`, which moves into `recent` when it is full, of which one slice of the keys after the other
moves on into `settled`. What moves is sorted and dense, so that a page is written for many responses.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Any

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS responses (id INTEGER PRIMARY KEY, key BLOB NOT NULL, text TEXT NOT NULL, "
    "finish_reason TEXT NOT NULL, usage TEXT NOT NULL, crc INTEGER NOT NULL)"
)
_LEVELS = ("settled", "recent", "fresh")  # where the places are: those of older responses first
_PLACES = "CREATE TABLE IF NOT EXISTS {} (prefix INTEGER, id INTEGER, PRIMARY KEY (prefix, id)) WITHOUT ROWID"
_META = "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)"
_INTO = " INTO responses (key, text, finish_reason, usage, crc) VALUES "
_VALUES = "(?, ?, ?, ?, ?)"
FRESH = 65_536  # responses whose places stand in `fresh`, about: some 400 pages, of which every commit writes most
_SLICES = 32  # of the keys in `recent`, one of which moves on at a time: it holds the places of some million responses
_STATEMENT = 256  # responses a statement, at most: SQLite runs each without Python's lock


def create(connection: sqlite3.Connection) -> None:
    """Make the tables that are missing, in one commit."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(_SCHEMA)
    if is_leveled(connection):
        for level in _LEVELS:
            connection.execute(_PLACES.format(level))
    connection.execute(_META)
    connection.commit()


def is_leveled(connection: sqlite3.Connection) -> bool:
    """Whether places stand in levels: in files of before one index over all keys holds them, and goes on doing so."""
    ((sql,),) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'responses'").fetchall()
    return "UNIQUE" not in sql


def prefix_of(key: bytes) -> int:
    """What a key is found by: as good as unique, and a quarter of its size."""
    return int.from_bytes(key[:8], "big", signed=True)


def look_up(count: int, leveled: bool) -> str:
    """The query for `count` keys, or for their prefixes, which are looked up in the order they are given in."""
    columns = "SELECT responses.id, key, text, finish_reason, usage, crc FROM"
    if not leveled:
        return f"{columns} responses WHERE key IN ({', '.join('?' * count)})"
    places = " UNION ALL ".join(f"SELECT id FROM asked CROSS JOIN {level} USING (prefix)" for level in _LEVELS)  # noqa: S608
    asked = ", ".join(["(?)"] * count)
    return f"WITH asked(prefix) AS (VALUES {asked}) {columns} ({places}) CROSS JOIN responses USING (id)"


def insert_rows(connection: sqlite3.Connection, rows: Sequence[tuple[Any, ...]], leveled: bool) -> int:
    """Many responses a statement: `executemany` would take Python's lock back after every one of them, and wait for it.

    Their numbers are powers of two, since SQLite keeps every statement it has prepared. Returns the id of the last one.
    """
    insert = ("INSERT" if leveled else "INSERT OR IGNORE") + _INTO  # the index of a file of before holds a key once
    start = last = 0
    while start < len(rows):
        count = min(_STATEMENT, 1 << ((len(rows) - start).bit_length() - 1))
        group = rows[start : start + count]
        values = list(chain.from_iterable(group))
        last = connection.execute(insert + ", ".join([_VALUES] * count), values).lastrowid or 0
        if leveled:
            first = last - count + 1
            places = list(chain.from_iterable((prefix_of(row[0]), first + at) for at, row in enumerate(group)))
            connection.execute("INSERT INTO fresh VALUES " + ", ".join(["(?, ?)"] * count), places)  # noqa: S608
        start += count
    return last


def move_on(connection: sqlite3.Connection, turn: int) -> None:
    """Move the places of one slice of the keys from `recent` to `settled`, and all those in `fresh` to `recent`.

    Look-ups read all levels, so that it does not matter when this happens, nor whether it was missed once.
    """
    width = (1 << 64) // _SLICES
    low = turn % _SLICES * width - (1 << 63)
    slice_ = (low, low + width - 1)
    connection.execute(
        "INSERT OR IGNORE INTO settled SELECT prefix, id FROM recent WHERE prefix BETWEEN ? AND ?", slice_
    )
    connection.execute("DELETE FROM recent WHERE prefix BETWEEN ? AND ?", slice_)
    connection.execute("INSERT OR IGNORE INTO recent SELECT prefix, id FROM fresh")
    connection.execute("DELETE FROM fresh")
