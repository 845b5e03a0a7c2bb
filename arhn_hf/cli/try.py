"""`arhn-hf try`: one row through a judge, to choose a model and write a prompt."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import click

from arhn_hf.cli.options import GroupedCommand, given, output_options, with_config
from arhn_hf.cli.output import Output, harmless
from arhn_hf.config import RunConfig
from arhn_hf.rules import Rules

OPTIONS = (
    *(item.name for item in fields(Rules)), "name", "split", "revision", "format", "corpus", "judge", "model", "model_revision",
    "similarity_model", "responses",
    "engine_arg", "base_url", "thinking", "max_tokens", "cascade", "cascade_low", "cascade_high", "prompts", "request_timeout", "patience", "answer_threshold",
    "relabel_threshold",
    "max_chunks", "criterion", "rank_candidates", "rank_input", "window_size", "window_positives",
)  # fmt: skip
EXAMPLES = """
arhn-hf try examples/hard-negatives --row 3
arhn-hf try --query "who painted the night watch" --passage "Rembrandt did." --passage "It hangs in Amsterdam."
arhn-hf try my-data --row 12 --judge server --base-url http://localhost:8000/v1 --model me/model --prompts my-prompts
"""


@output_options
@with_config(OPTIONS)
@click.command("try", cls=GroupedCommand, examples=EXAMPLES)
@click.argument("source", required=False)
@click.option("--row", type=click.IntRange(0), help="Row of SOURCE.")
@click.option("--query", help="A query of your own, instead of SOURCE.")
@click.option("--positive", multiple=True, help="A passage that answers it. [default: the first --passage]")
@click.option("--passage", multiple=True, help="A passage to judge.")
@click.pass_context
def command(
    ctx: click.Context, /, source: str | None, row: int | None, query: str | None, positive: tuple[str, ...],
    passage: tuple[str, ...], as_json: bool, quiet: bool, verbose: bool, **values: Any,
) -> int:  # fmt: skip
    """Send one row of SOURCE through a judge and print prompts, raw responses, answers, orders, votes and decisions."""
    from arhn_hf.monitor import Monitor
    from arhn_hf.trying import row_of_texts, try_row

    if (query is None) == (source is None) or (source is not None and row is None):
        raise click.UsageError("give SOURCE and --row, or --query and --passage", ctx)
    output = Output("json" if as_json else "quiet" if quiet else "human", verbose)
    typed = row_of_texts(query, positive, passage) if query is not None else None
    config = RunConfig.from_mapping({**given(ctx, values), **({"source": source} if source else {})})
    report = try_row(config, row, typed, Monitor())
    output.result(report, _parts(report))
    return 0


def _parts(report: dict[str, Any]) -> list[Any]:
    from rich.text import Text

    parts: list[Any] = []
    for i, one in enumerate(report["exchanges"], start=1):
        again = f", attempt {one['attempt']}" if one["attempt"] > 1 else ""
        parts.append(Text(f"{i}. {one['kind']}{again}", style="bold"))
        request = one["request"]
        for message in request.get("messages", []):
            parts.append(Text(f"{message['role']}:", style="dim"))
            parts.append(Text(_lines(message["content"])))
        if "messages" not in request:
            parts.append(Text("\n".join(f"{name}: {harmless(value)}" for name, value in request.items())))
        parts.append(Text(f"reply ({one['finish_reason']}):", style="dim"))
        parts.append(Text(_lines(one["response"]), style="green"))
        parts.append(Text(""))
    parts.append(
        Text(f"Decisions ({report['criterion']}, {report['orders']} orders): {harmless(report['query'])}", style="bold")
    )
    return parts + [Text(_decision(passage)) for passage in report["passages"]]


def _lines(text: str) -> str:
    """Text of several lines, each made harmless."""
    return "\n".join(harmless(line) for line in text.splitlines())


def _decision(passage: dict[str, Any]) -> str:
    answer, ranking, decision = passage["answer"], passage["ranking"], passage["decision"]
    parts = [
        f"{passage['label']} {passage['position']}: {decision['action']} ({decision['reason']}), {answer['status']}"
    ]
    if answer["snippet"]:
        parts.append(f"«{harmless(answer['snippet'])}»")
    if answer["score"] is not None:
        parts.append(f"score {answer['score']:.2f}")
    if ranking["placements"]:
        places = ", ".join(f"{p['rank']} (window {p['window']}, order {p['order']})" for p in ranking["placements"])
        parts.append(f"places {places}")
    if decision["votes"]:
        parts.append(f"above the reference in {decision['votes_above']} of {decision['votes']}")
    return "; ".join(parts)
