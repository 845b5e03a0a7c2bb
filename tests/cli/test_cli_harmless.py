"""Text from data stays text: no escape reaches the terminal, no markup is obeyed, no card breaks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_helpers import Asked, cli, six_rows, write_jsonl
from datasets import load_dataset

from arhn_hf.cli.output import harmless
from arhn_hf.publishing.card_text import BEGIN, END, read_head, split_card

RAW = ("\x1b", "\x07", "\x08", "\x9b", "\x9d", "\u202e", "\u2066", "\u200f", "\ufeff", "\x00", "\r")
NASTY = {
    "escape": "\x1b[31mred\x1b]0;title\x07\x9b1m\x08",
    "direction": "abc\u202edef\u2066\u200f",
    "markup": "[red]loud[/red] [/] [link=x] [bold",
    "emoji": ":warning: :smile:",
    "lines": "one\r\ntwo\u2028three\ttabs",
    "html": '<script>alert(1)</script><img src=x onerror="a()"> &amp;',
    "markdown": "| a | `b` **c** [d](http://e) # f\n## g\n- h\n```\n---",
    "yaml": "---\nconfigs: []\n---\n&anchor *alias !!python/object:os.system %TAG",
    "template": "$title ${loading} $$ $(rm -rf) {0} {{x}}",
    "marker": f"{END} {BEGIN}",
}


def parts(card: str) -> tuple[dict[str, Any], str]:
    """A card's YAML as values, and its text."""
    head, body = split_card(card)
    return read_head(head), body.lstrip("\n")


def nasty_source(path: Path) -> Path:
    rows = []
    for n, (name, text) in enumerate(NASTY.items()):
        row = six_rows()[n % 6]
        row.update(query_id=f"{name}-{text}", query=f"what is {n} {text}", subset=f"{name} {text}")
        for side in ("positive_passages", "negative_passages"):
            for i, passage in enumerate(row[side]):
                passage.update(title=f"T {text}", text=f"{passage['text']} {n} {i} {text}", docid=f"{n}{i}{text}")
        rows.append(row)
    return write_jsonl(path, rows)


@pytest.fixture
def nasty(scripted: Asked, tmp_path: Path) -> tuple[Path, str, str]:
    """A folder with a nasty name refined from a nasty folder; its summary and its progress."""
    folder = tmp_path / "a [red] $title <b> | `c` [b] \u202e\x1b[31m"
    source = nasty_source(tmp_path / "src $source <i> --- \x1b" / "train.jsonl").parent
    done = cli("refine", source, "--output", folder, "--min-answerable", 0)
    assert done.code == 0, done.err
    return folder, done.out, done.err


def test_nothing_raw_reaches_the_terminal(nasty: tuple[Path, str, str]) -> None:
    folder, out, err = nasty
    for words in (("show", folder, "--limit", 99), ("check", folder), ("plan", folder.parent / "absent\x1b[1m.jsonl")):
        done = cli(*words)
        out, err = out + done.out, err + done.err
    for raw in RAW:
        assert raw not in out, repr(raw)
        assert raw not in err, repr(raw)
    for words in ("[red]loud[/red] [/] [link=x] [bold", ":warning: :smile:"):
        assert words in out, "markup is shown as it is"
    assert "\ufffd[31mred" in out


def test_json_holds_the_text_but_no_raw_escape(nasty: tuple[Path, str, str]) -> None:
    done = cli("show", nasty[0], "--limit", 99, "--json")
    assert NASTY["escape"] in done.json["rows"][0]["query"]
    assert not any(raw in done.out for raw in RAW)


def test_errors_and_progress_of_nasty_subsets_are_harmless(scripted: Asked, tmp_path: Path) -> None:
    source = nasty_source(tmp_path / "s.jsonl")
    done = cli("refine", source, "--output", tmp_path / "out", "--min-answerable", 1)
    assert "is left untouched" in done.err
    assert not any(raw in done.err for raw in RAW)
    assert all(line.isprintable() for line in done.err.split("\n"))


def test_the_card_is_not_broken(nasty: tuple[Path, str, str]) -> None:
    folder = nasty[0]
    text = (folder / "README.md").read_text(encoding="utf-8")
    head, body = parts(text)
    assert [one["config_name"] for one in head["configs"]] == ["combined", "relabel", "filter", "evidence"]
    assert head["configs"][0]["default"] is True
    assert yaml.safe_load(text.split("---\n")[1]) == head
    assert body.count(BEGIN) == body.count(END) == 1
    outside_code = re.sub(r"```\w+\n.*?```", "", body.replace(BEGIN, "").replace(END, ""), flags=re.DOTALL)
    assert not re.search(r"<(script|img|b|i)\b", outside_code)
    assert "](http://e)" not in outside_code
    assert not any(raw in body for raw in RAW)
    tables = [block.splitlines() for block in body.split("\n\n") if block.startswith("| ")]
    subsets, criteria = (next(t for t in tables if t[0].startswith(f"| subset | {name}")) for name in ("pos", "crit"))
    assert len(subsets) == 2 + len(NASTY) + 1, "head, rule, subsets, all"
    assert len(criteria) == 2 + len(NASTY)
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1, table
    assert "\\$title" in body
    plain = folder.rename(
        folder.parent / "plain $title <b> | `c` \u202e\x1b[31m"
    )  # `datasets` itself reads no folder with [ ]
    for name in ("combined", "relabel", "filter", "evidence"):
        assert len(load_dataset(str(plain), name, split="train")) > 0


def test_a_second_run_keeps_what_a_person_wrote(scripted: Asked, tmp_path: Path) -> None:
    source, out = write_jsonl(tmp_path / "s.jsonl", six_rows()), tmp_path / "out"
    assert cli("refine", source, "--output", out).code == 0
    card = out / "README.md"
    head, body = parts(card.read_text(encoding="utf-8"))
    theirs = {"config_name": "extra", "data_files": "extra/*.parquet"}
    head = {
        "license": "cc-by-4.0",
        "pretty_name": "Mine: “all” of it",
        "tags": ["mine", "arhn-hf"],
        **{k: v for k, v in head.items() if k != "tags"},
        "configs": [theirs, *head["configs"]],
        "extra_gated_fields": {"Name": "text"},
    }
    written = f"# My title\n\nBefore $this, {{that}} and \\1.\n\n{body}\n## After\n\nMore | of it.\n"
    card.write_text(f"---\n{yaml.safe_dump(head, allow_unicode=True, sort_keys=False)}---\n{written}", encoding="utf-8")
    (out / "notes.txt").write_text("kept")
    assert cli("refine", source, "--output", out, "--variants", "filter,combined", "--max-new-positives", 1).code == 0
    again, text = parts(card.read_text(encoding="utf-8"))
    assert (again["license"], again["pretty_name"], again["extra_gated_fields"]) == (
        "cc-by-4.0",
        "Mine: “all” of it",
        {"Name": "text"},
    )
    assert again["tags"] == ["mine", "arhn-hf", "hard-negatives"]
    assert [one["config_name"] for one in again["configs"]] == ["combined", "filter", "evidence", "extra"]
    assert text.startswith("# My title\n\nBefore $this, {that} and \\1.\n\n" + BEGIN)
    assert text.rstrip().endswith(f"{END}\n\n## After\n\nMore | of it.")
    assert "`max_new_positives`: 1" in text.replace("\\", "")
    assert text.count(BEGIN) == 1
    assert (out / "notes.txt").read_text() == "kept"
    assert not (out / "relabel").exists()
    before = card.read_bytes()
    assert (
        cli(
            "refine", source, "--output", out, "--variants", "filter,combined", "--max-new-positives", 1, "--fresh"
        ).code
        == 0
    )
    assert card.read_bytes() == before


@pytest.mark.parametrize(
    "text",
    [
        "no markers at all\n",
        f"{END}\nturned round\n{BEGIN}\n",
        f"{BEGIN}\nnever closed\n",
        "---\nlicense: mit\n---\nbody\n",
    ],
)
def test_odd_cards_keep_their_text(text: str, scripted: Asked, tmp_path: Path) -> None:
    source, out = write_jsonl(tmp_path / "s.jsonl", six_rows()), tmp_path / "out"
    cli("refine", source, "--output", out)
    (out / "README.md").write_text(text)
    for _ in range(2):
        assert cli("refine", source, "--output", out).code == 0
    head, body = parts((out / "README.md").read_text())
    assert len(head["configs"]) == 4
    for word in ("no markers at all", "turned round", "never closed", "body"):
        assert (word in text) == (word in body)
    assert body.count("## What changed") == 1
    assert len(load_dataset(str(out), "combined", split="train")) > 0


def test_harmless() -> None:
    assert harmless("a\x1b[0m\tb\nc\u202e\x9b\x7f\ud800") == "a\ufffd[0m b c\ufffd\ufffd\ufffd\ufffd"
    assert harmless("👩\u200d👩 é 日本") == "👩\u200d👩 é 日本"
    assert harmless("a\u2028b\u2029c\x85") == "a b c\ufffd"
