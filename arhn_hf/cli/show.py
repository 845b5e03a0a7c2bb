"""`arhn-hf show`: see a change of labels before you trust it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from arhn_hf.cli.options import GroupedCommand, output_options
from arhn_hf.cli.output import Output, harmless

ACTIONS = ("reference", "positive", "relabel", "filter", "keep", "duplicate", "undecided", "skipped")
STYLES = {"relabel": "green", "filter": "yellow", "duplicate": "magenta", "undecided": "red"}
EXAMPLES = """
arhn-hf show refined --action relabel
arhn-hf show refined --row 12
"""


@output_options
@click.command("show", cls=GroupedCommand, examples=EXAMPLES)
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--row", type=click.IntRange(0), help="Only this source row.")
@click.option("--action", type=click.Choice(ACTIONS), help="Only rows in which a passage got this action.")
@click.option("--reason", help="Only rows in which a passage got this reason.")
@click.option("--limit", type=click.IntRange(1), default=5, show_default=True, help="Rows to print, at most.")
@click.option("--source", help="Where the source is now, if it moved.")
@click.option("--corpus", help="Where the corpus is now, if it moved.")
def command(
    directory: Path, row: int | None, action: str | None, reason: str | None, limit: int, source: str | None,
    corpus: str | None, as_json: bool, quiet: bool, verbose: bool,
) -> int:  # fmt: skip
    """Print rows of DIRECTORY with what was decided on each passage, and the snippet highlighted in it."""
    from rich.text import Text

    from arhn_hf.report_head import head
    from arhn_hf.showing import Wanted, show

    output = Output("json" if as_json else "quiet" if quiet else "human", verbose)
    rows = show(directory, Wanted(row, action, reason, limit), source=source, corpus=corpus)
    parts: list[Any] = []
    for one in rows:
        subset = f" [{harmless(one['subset'])}]" if one["subset"] else ""
        parts.append(Text(f"Row {one['row']}{subset}: {harmless(one['query'])}", style="bold"))
        parts += [_passage(passage, bool(action or reason), action, reason) for passage in one["passages"]]
        parts.append(Text(""))
    output.result({**head("show"), "rows": rows}, [part for part in parts if part is not None])
    return 0


def _passage(passage: dict[str, Any], filtered: bool, action: str | None, reason: str | None) -> Any:
    """One passage; with a filter on, only matching negatives and the positives are printed."""
    from rich.text import Text

    did = passage.get("action", "no evidence")
    matches = action in (None, did) and reason in (None, passage.get("reason"))
    if filtered and not matches and passage.get("label") != "positive":
        return None
    text = Text("  ")
    text.append(f"{did}", style=STYLES.get(did, "cyan" if passage.get("label") == "positive" else ""))
    score = passage.get("answer_score")
    about = [str(passage.get("reason")), str(passage.get("answer_status"))] + (
        [f"score {score:.2f}"] if score is not None else []
    )
    text.append(f" ({', '.join(about)}; {passage.get('label')} {passage.get('position')}) ", style="dim")
    for field in ("title", "text"):
        value = passage.get(field) or ""
        if not value:
            continue
        if passage.get("snippet_field") == field:
            start, end = passage["snippet_start"], passage["snippet_end"]
            text.append(harmless(value[:start]))
            text.append("«" + harmless(value[start:end]) + "»", style="bold reverse")
            text.append(harmless(value[end:]))
        else:
            text.append(harmless(value))
        text.append(" | " if field == "title" else "")
    return text
