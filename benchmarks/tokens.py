"""What each lever saves: tokens that an LLM computes per row, against the plainest reading of the method *with* prefix caching.

The plain reading: every passage of every row is asked, then all of a row's passages are ranked as one list in two orders (or by a sliding
window of 20 with a step of 10, from the end, once, as RankGPT has it); nothing is recognised as asked before. Prompts are ours in every
arm, so that only what is sent differs. Our arms are whole `refine` runs.

    python benchmarks/tokens.py ../shared/data
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from token_counting import Cost, answer_reply, ranking_reply, rendered, run

from arhn_hf.prompts import instructions, listed_part, passage_part, shared_part

SLIDING, STEP = 20, 10
POSITIVE = (
    2.5  # the grade of a labelled positive in the RLHN logs: below what its judge preferred, above the merely relevant
)


@dataclass
class Data:
    """Rows in Tevatron's schema, with a grade for every (query, text)."""

    name: str
    rows: list[dict[str, Any]]
    grades: dict[tuple[str, str], float]

    @property
    def positives(self) -> frozenset[tuple[str, str]]:
        """(query, text) of the labelled positives."""
        return frozenset((row["query"], one["text"]) for row in self.rows for one in row["positive_passages"])


def shown(passage: dict[str, Any]) -> str:
    """A passage as the prompts show it."""
    return f"Title: {passage['title']}\n{passage['text']}" if passage.get("title") else str(passage["text"])


def trec(folder: Path) -> Data:
    """TREC-DL 2019, graded by NIST's assessors."""
    with gzip.open(folder / "trec-dl-2019" / "hard_negatives.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    grades = {
        (row["query"], shown(one)): float(one["grade"])
        for row in rows
        for one in (*row["positive_passages"], *row["negative_passages"])
    }
    return Data("TREC-DL 2019", rows, grades)


def rlhn(folder: Path) -> Data:
    """RLHN's first stage on FiQA and MS MARCO: what gpt-4o-mini preferred answers best, what it called relevant answers too."""
    rows: list[dict[str, Any]] = []
    grades: dict[tuple[str, str], float] = {}
    for name in ("fiqa", "msmarco_passage"):
        for line in (folder / "rlhn-logs" / f"{name}.stage_1.gpt-4o-mini.jsonl").read_text("utf-8").splitlines():
            row = json.loads(line)
            verdict = row["response"].rpartition("<verdict>")[2]
            better, worse = (
                {
                    int(n)
                    for n in re.findall(r"Doc \((\d+)\)", "".join(re.findall(f"<{tag}>(.*?)</{tag}>", verdict, re.S)))
                }
                for tag in ("better", "worse")
            )
            for number, one in enumerate(row["negative_passages"], start=1):
                grades[row["query"], shown(one)] = 3.0 if number in better else 2.0 if number in worse else 0.0
            for one in row["positive_passages"]:
                grades[row["query"], shown(one)] = POSITIVE
            rows.append({key: row[key] for key in ("query_id", "query", "positive_passages", "negative_passages")})
    return Data("RLHN logs", rows, grades)


def triplets(data: Data) -> list[dict[str, str]]:
    """The same rows as triplets, rows of one query one after the other: the layout that favours the plain reading."""
    return [
        {"anchor": row["query"], "positive": positive["text"], "negative": negative["text"]}
        for row in data.rows
        for positive in row["positive_passages"]
        for negative in row["negative_passages"]
    ]


def asked(query: str, text: str, *, query_last: bool = False) -> str:
    """An answer request; `query_last` shows the passage first, so that nothing but the instructions is shared."""
    parts = [shared_part("question", query, None), passage_part(None, text)]
    body = "\n".join(reversed(parts)) if query_last else "".join(parts)
    return rendered(
        [{"role": "system", "content": instructions("answer", "question")}, {"role": "user", "content": body}]
    )


def ranked(query: str, texts: list[str]) -> str:
    """A ranking request."""
    body = shared_part("question", query, None) + listed_part(texts)
    system = instructions("ranking", "question", len(texts))
    return rendered([{"role": "system", "content": system}, {"role": "user", "content": body}])


def plain(
    data: Data, lists: list[tuple[str, list[str]]], *, sliding: bool = False, query_last: bool = False, once: bool = False
) -> Cost:  # fmt: skip
    """The plain reading over `lists` of (query, all its passages); `once`: a pair that was asked before is not asked again."""
    cost, positives = Cost(), data.positives
    seen: set[tuple[str, str]] = set()
    for query, texts in lists:
        for text in texts:
            if once and (query, text) in seen:
                continue
            seen.add((query, text))
            reply = answer_reply(text, data.grades[query, text])
            cost.add("answer", asked(query, text, query_last=query_last), reply)
        for window in slid(query, texts, data) if sliding else (texts, texts[::-1]):
            grades = [data.grades[query, text] for text in window]
            labelled = [(query, text) in positives for text in window]
            cost.add("rank", ranked(query, window), ranking_reply(grades, labelled))
    return cost


def slid(query: str, texts: list[str], data: Data) -> Iterator[list[str]]:
    """The windows of one sliding pass, each sorted by grade before the next one is cut."""
    order = list(texts)
    end = len(order)
    while True:
        start = max(0, end - SLIDING)
        window = order[start:end]
        yield window
        order[start:end] = sorted(window, key=lambda text: -data.grades[query, text])
        if start == 0:
            return
        end -= STEP


def table(title: str, arms: list[tuple[str, Cost]], rows: int) -> None:
    """Tokens per row of each arm; saved is against the first."""
    print(f"\n{title}\n")
    print("| | answers | rankings | prompt computed | from the cache | generated | computed + generated | saved |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    first = arms[0][1].paid
    for name, cost in arms:
        numbers = (cost.prompt - cost.cached, cost.cached, cost.generated, cost.paid)
        cells = " | ".join(f"{n / rows:,.0f}" for n in numbers)
        saved = f"{1 - cost.paid / first:.0%}".replace("-", "−")
        counts = f"{cost.requests['answer'] / rows:.1f} | {cost.requests['rank'] / rows:.1f}"
        print(f"| {name} | {counts} | {cells} | {saved} |", flush=True)


def measure(data: Data, scratch: Path) -> None:
    """All arms on one set."""
    lists = [
        (row["query"], [shown(one) for one in (*row["positive_passages"], *row["negative_passages"])])
        for row in data.rows
    ]
    source = scratch / f"{data.name}.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in data.rows), encoding="utf-8")
    ours = {
        "ours, `--rank-candidates all`": {"rank_candidates": "all"},
        "**ours** (only answering passages are ranked)": {},
        "ours, `--orders 1`": {"orders": 1},
        "ours, `--variants filter` (no ranking)": {"variants": "filter"},
    }
    arms = [
        ("plain: everything asked, whole lists ranked in two orders", plain(data, lists)),
        ("plain, sliding window 20/10, one pass", plain(data, lists, sliding=True)),
        ("plain, passage shown before the query", plain(data, lists, query_last=True)),
    ]
    for number, (name, options) in enumerate(ours.items()):
        output = scratch / f"{data.name}-{number}"
        arms.append((name, run(str(source), output, data.grades, data.positives, **options)[1]))
    count = sum(len(texts) for _, texts in lists)
    table(f"{data.name}: {len(lists)} rows, {count / len(lists):.1f} passages a row", arms, len(lists))


def measure_triplets(data: Data, scratch: Path) -> None:
    """The same pairs, laid out one a row."""
    items = triplets(data)
    source = scratch / "triplets.jsonl"
    source.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    lists = [(item["anchor"], [item["positive"], item["negative"]]) for item in items]
    arms = [
        ("plain: each triplet by itself", plain(data, lists)),
        ("plain, each pair asked once", plain(data, lists, once=True)),
        ("**ours** (rows of a query together, each pair asked once)",
         run(str(source), scratch / "triplets", data.grades, data.positives)[1]),
    ]  # fmt: skip
    table(f"{data.name} as {len(items)} triplets; figures per query", arms, len(data.rows))


def main() -> None:
    """Print a table for each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with trec-dl-2019/ and rlhn-logs/")
    folder: Path = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        measure(trec(folder), scratch)
        measure_triplets(trec(folder), scratch)
        measure(rlhn(folder), scratch)


if __name__ == "__main__":
    main()
