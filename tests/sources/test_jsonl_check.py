"""Finding the line of a JSON file that is refused, and the reason."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from arhn_hf.jsonl_check import first_fault, read_otherwise

GOOD = b'{"query": "q", "pos": ["p"], "n": 1, "b": true, "x": null, "o": {"t": "a"}}\n'

FAULTS = {
    "lone surrogate": (rb'{"query": "\ud800"}', "query holds a lone surrogate"),
    "lone low surrogate, nested": (rb'{"o": {"t": "a\udc00"}}', "o.t holds a lone surrogate"),
    "surrogate in a key": (rb'{"\ud800": 1}', "a key holds a lone surrogate"),
    "number for a string": (b'{"query": 5}', "mixed types: query is a number, but a string in line 1"),
    "string for a list": (b'{"pos": "p"}', "mixed types: pos is a string, but a list in line 1"),
    "number in a list of strings": (b'{"pos": ["p", 3]}', "mixed types: pos[] is a number, but a string in line 1"),
    "truth value for a number": (b'{"n": true}', "mixed types: n is a truth value, but a number in line 1"),
    "string for an object": (b'{"o": "t"}', "mixed types: o is a string, but an object in line 1"),
    "mixed in one line": (b'{"x": ["a", 1]}', "mixed types: x[] is a number, but a string in line 3"),
    "cut off in a list": (
        b'{"query": "q", "pos": ["p"',
        "JSON that is cut off (expecting ',' delimiter at character 27)",
    ),
    "cut off in a string": (b'{"query": "q', "JSON that is cut off (unterminated string"),
    "no JSON": (b"query,pos,neg", "not JSON (expecting value at character 1)"),
    "two objects": (b'{"query": "a"} {"query": "b"}', "not JSON (extra data at character 16)"),
    "a list": (b"[1, 2]", "a list instead of an object"),
    "a string": (b'"query"', "a string instead of an object"),
    "null": (b"null", "null instead of an object"),
    "not UTF-8": (b'{"query": "\xff"}', "not UTF-8 (byte 0xff at byte 12)"),
    "a repeated key": (b'{"query": "a", "query": "b"}', "the key 'query' appears twice in one object"),
}


@pytest.mark.parametrize(("line", "why"), FAULTS.values(), ids=list(FAULTS))
def test_faults(line: bytes, why: str, tmp_path: Path) -> None:
    content = GOOD + b"\n" + line + b"\n" + GOOD
    (tmp_path / "a.jsonl").write_bytes(content)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(content))
    for name in ("a.jsonl", "a.jsonl.gz"):
        fault = first_fault(tmp_path / name)
        assert fault is not None
        assert fault.why.startswith(why)
        assert (fault.line, fault.unit) == (3, "line")


FINE = {
    "nulls and empty lists": GOOD + b'{"query": null, "pos": [], "n": 1.5, "x": "now a string"}\n',
    "other keys, other order": GOOD + b'{"new": 1, "pos": [null], "query": "q"}\n',
    "blank lines and no end": b"\n" + GOOD + b"  \n" + GOOD.strip(),
    "a byte order mark": b"\xef\xbb\xbf" + GOOD,
    "whole surrogate pairs": rb'{"query": "\ud83d\ude00"}',
    "CRLF": GOOD.replace(b"\n", b"\r\n") * 2,
    "a list of objects": b'[\n{"query": "a"},\n{"query": null}\n]',
}


@pytest.mark.parametrize("content", FINE.values(), ids=list(FINE))
def test_fine_files(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    assert first_fault(tmp_path / "a.jsonl") is None


def test_items_of_a_list(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"query": "a"}, {"query": 1}]))
    fault = first_fault(path)
    assert fault is not None
    assert (fault.line, fault.unit) == (2, "item")
    path.write_text('[{"query": "a"},\n{"query": ]')
    fault = first_fault(path)
    assert fault is not None
    assert "character 11 of line 2" in fault.why


@pytest.mark.parametrize(
    ("content", "otherwise"),
    [(GOOD, True), (b"\n" + GOOD + b"\n\n", True), (GOOD * 2, False), (b" [\n{}\n]", True), (b"", True)],
)
def test_files_that_go_another_way(content: bytes, otherwise: bool, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    assert read_otherwise(tmp_path / "a.jsonl") is otherwise
