"""One validated configuration of a run. Values come from YAML, then the environment, then the command line (the last wins).

Every field is an option: the command line, the YAML keys (`--config`), the environment variables (`ARHN_…`) and the reference
in `docs/cli.md` are generated from these fields, so that they cannot drift apart.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from arhn_hf.contradictions import refuse_contradictions
from arhn_hf.records import VARIANTS, UsageError
from arhn_hf.rules import Rules, option, option_name, validate
from arhn_hf.shards import Shard, parse_shard

SOURCE, OUTPUT, JUDGE, CRITERIA, RANKING, GATES = "Source", "Output", "Judge", "Criteria", "Ranking", "Gates"
PUBLISHING, EXECUTION = "Publishing", "Several engines"
TARGET_NAMES = ("tevatron", "flagembedding", "triplet", "n-tuple", "labeled-pair")
RELABEL_THRESHOLD = 0.85  # chosen on TREC-DL 2021 and 2019: training/reader/README.md
JUDGES = ("reader", "cross-encoder", "vllm", "server", "replay")


@dataclass(frozen=True, kw_only=True)
class RunConfig(Rules):
    """Everything `refine` can be told, validated. Raises `UsageError` naming the option at fault."""

    source: str = ""
    name: str | None = option(None, "Configuration of the source dataset, as `load_dataset` has it.", group=SOURCE)
    split: str = option("train", "Split of the source dataset.", group=SOURCE)
    revision: str | None = option(None, "Branch, tag or commit of a Hub dataset.", group=SOURCE)
    format: str | None = option(
        None, "Schema of the source, where its columns fit several.", group=SOURCE,
        choices=("tevatron", "tevatron-ids", "flagembedding", "triplet", "n-tuple", "labeled-pair"),
    )  # fmt: skip
    corpus: str | None = option(
        None, "Where the passages are, for a dataset that holds only their ids: Hub id, folder or file.",
        group=SOURCE, metavar="SOURCE",
    )  # fmt: skip
    sample: int | None = option(
        None, "Refine only this many queries, chosen by the seed.", group=SOURCE, kind=int, minimum=1
    )
    shard: str | None = option(
        None, "Refine only part I of N, from 1/N to N/N, into a folder of its own; `arhn-hf merge` joins them.",
        group=SOURCE, metavar="I/N",
    )  # fmt: skip
    output: str = option("refined", "Folder to write: it is a Hub dataset repository.", group=OUTPUT, metavar="DIR")
    variants: str = option("combined,relabel,filter", "Variants to write, a comma list.", group=OUTPUT, metavar="LIST")
    to: str | None = option(None, "Write another schema than the source's.", group=OUTPUT, choices=TARGET_NAMES)
    negatives: int | None = option(
        None,
        "Negatives per row of an n-tuple. [default: the source's; 7 when converting]",
        group=OUTPUT,
        kind=int,
        minimum=1,
    )
    store: str | None = option(
        None, "File that keeps every raw response. [default: DIR/.arhn/store.sqlite]", group=OUTPUT, metavar="PATH"
    )
    fresh: bool = option(False, "Rebuild all outputs; stored answers are kept.", group=OUTPUT, kind=bool)
    strict: bool = option(
        False, "Stop at rows that cannot be judged instead of passing them through.", group=OUTPUT, kind=bool
    )
    judge: str = option(
        "reader", "What judges: the embedded reader needs no GPU and no download.", group=JUDGE, choices=JUDGES
    )
    model: str | None = option(
        None, "Model of the judge: Hub id or local folder (server: its name there; reader: a question-answering "
        "checkpoint instead of the embedded one; cross-encoder: the one that ranks).", group=JUDGE,
    )  # fmt: skip
    model_revision: str | None = option(None, "Branch, tag or commit of the model.", group=JUDGE)
    similarity_model: str | None = option(
        None, "Encoder of sentence-transformers with which --judge reader compares passages, not the embedded one.",
        group=JUDGE, metavar="MODEL",
    )  # fmt: skip
    responses: str | None = option(
        None, "Recorded answers of --judge replay: a jsonl file of grades, raw replies or rankings.",
        group=JUDGE, metavar="FILE",
    )  # fmt: skip
    engine_arg: tuple[str, ...] = option(
        (), "Passed on to vLLM, such as max_model_len=8192 or quantization=fp8.",
        group=JUDGE, multiple=True, metavar="KEY=VALUE",
    )  # fmt: skip
    base_url: str | None = option(None, "OpenAI-compatible endpoint of --judge server.", group=JUDGE, metavar="URL")
    thinking: bool = option(False, "Let the model think first, with its recommended sampling.", group=JUDGE, kind=bool)
    max_tokens: int | None = option(
        None, "Tokens of a reply, at most. [default: 512, with --thinking 8192]", group=JUDGE, kind=int, minimum=16
    )
    prompts: str | None = option(
        None, "Folder with your own answer.txt, ranking.txt, again.txt.", group=JUDGE, metavar="DIR"
    )
    request_timeout: float = option(
        300.0, "Seconds one request to a server may take.", group=JUDGE, kind=float, minimum=1
    )
    patience: float = option(
        300.0, "Seconds a server may stay away before the run ends.", group=JUDGE, kind=float, minimum=0
    )
    concurrency: int = option(64, "Requests a server gets at once.", group=JUDGE, kind=int, minimum=1)
    answer_threshold: float = option(
        0.4, "Calibrated score from which the reader says that a passage answers; other models need another one.",
        group=JUDGE, kind=float, minimum=0, maximum=1,
    )  # fmt: skip
    relabel_threshold: float = option(
        RELABEL_THRESHOLD, "Score from which the reader may rank a negative above a labelled positive.",
        group=JUDGE, kind=float, minimum=0, maximum=1,
    )  # fmt: skip
    cascade: str | None = option(
        None, "Let the embedded reader read the negatives first: only those it is unsure of go to the judge.",
        group=JUDGE, choices=("reader",),
    )  # fmt: skip
    cascade_low: float = option(
        0.02, "Score of the reader below which a negative holds no answer; 0 trusts it nowhere.",
        group=JUDGE, kind=float, minimum=0, maximum=1,
    )  # fmt: skip
    cascade_high: float = option(
        1.0, "Score of the reader from which a negative answers; 1 trusts it nowhere.",
        group=JUDGE, kind=float, minimum=0, maximum=1,
    )  # fmt: skip
    max_chunks: int = option(
        32, "Overlapping chunks of a long passage that are read, at most.", group=JUDGE, kind=int, minimum=1
    )
    max_in_flight: int = option(
        2048, "Requests sent and not yet stored, at most: what a crash can cost.", group=JUDGE, kind=int, minimum=1
    )
    stall_timeout: float | None = option(
        None, "Seconds without any finished request after which a judge counts as hung and the run ends; 0 waits for ever. "
        "[default: 1800, twice --request-timeout if that is longer]", group=JUDGE, kind=float, minimum=0,
    )  # fmt: skip
    executor: str = option(
        "local", "Where engines run: on this machine, or on the machines of a Ray cluster.", group=EXECUTION,
        choices=("local", "ray"),
    )  # fmt: skip
    gpus: str | None = option(
        None, "GPUs of this machine to use, a process each: a number, or auto for all of them. [default: one engine]",
        group=EXECUTION, metavar="N|auto",
    )  # fmt: skip
    tensor_parallel: int = option(
        1, "GPUs that one engine is split over: for a model that is too large for one.",
        group=EXECUTION, kind=int, minimum=1,
    )  # fmt: skip
    workers: int | None = option(
        None, "Engines: on Ray [default: all that the cluster has GPUs for, or CPUs], or of a machine without GPUs.",
        group=EXECUTION, kind=int, minimum=1,
    )  # fmt: skip
    ray_address: str | None = option(
        None, "Head of the Ray cluster. [default: the one this machine belongs to, else a new one]",
        group=EXECUTION, metavar="HOST:PORT",
    )  # fmt: skip
    criterion: tuple[str, ...] = option(
        (), "What makes a passage of SUBSET relevant: question (answers it), claim (supports or refutes it) or skip. "
        "An empty SUBSET means rows without one.",
        group=CRITERIA, multiple=True, metavar="SUBSET=CRITERION",
    )  # fmt: skip
    filter_only: tuple[str, ...] = option(
        (), "Never relabel in SUBSET, only filter.", group=CRITERIA, multiple=True, metavar="SUBSET"
    )
    rank_candidates: str = option(
        "answered", "Rank only passages with an answer snippet, or all.", group=RANKING, choices=("answered", "all")
    )
    rank_input: str = option(
        "passage",
        "What the ranking judge is shown of each passage.",
        group=RANKING,
        choices=("passage", "snippet", "both"),
    )
    window_size: int = option(20, "Passages shown in one ranking request, at most.", group=RANKING, kind=int, minimum=2)
    window_positives: int = option(
        5,
        "Original positives in every ranking request, at most (lowest position first).",
        group=RANKING,
        kind=int,
        minimum=1,
    )
    max_failures: float = option(
        0.02, "Failed judgements, as a share of those meant, above which the run fails (exit 3).",
        group=GATES, kind=float, minimum=0, maximum=1,
    )  # fmt: skip
    max_ungrounded: float = option(
        0.2, "The same for answers that are not in their passage.", group=GATES, kind=float, minimum=0, maximum=1
    )
    min_relabel: float | None = option(
        None, "Relabeled of 10 negatives, at least.", group=GATES, kind=float, minimum=0, maximum=10
    )
    max_relabel: float | None = option(
        None, "Relabeled of 10 negatives, at most.", group=GATES, kind=float, minimum=0, maximum=10
    )
    min_filter: float | None = option(
        None, "Filtered of 10 negatives, at least.", group=GATES, kind=float, minimum=0, maximum=10
    )
    max_filter: float | None = option(
        None, "Filtered of 10 negatives, at most.", group=GATES, kind=float, minimum=0, maximum=10
    )
    min_rows: int | None = option(
        None, "Rows that every variant must hold, at least.", group=GATES, kind=int, minimum=0
    )

    push: str | None = option(
        None, "Publish the result to this Hub dataset, as one commit.", group=PUBLISHING, metavar="REPO_ID"
    )
    private: bool = option(False, "Create the repository as a private one.", group=PUBLISHING, kind=bool)
    create_pr: bool = option(False, "Open a pull request instead of committing.", group=PUBLISHING, kind=bool)
    push_revision: str | None = option(
        None, "Branch to commit to (made if it does not exist). [default: main]", group=PUBLISHING, metavar="BRANCH"
    )
    tag: str | None = option(None, "Tag the commit.", group=PUBLISHING)
    commit_message: str | None = option(
        None, "First line of the commit's message. [default: the run and its variants]", group=PUBLISHING
    )
    license: str | None = option(
        None, "Licence of the result, by the Hub's identifier. [default: the source's; unknown stops a push]",
        group=PUBLISHING, metavar="ID",
    )  # fmt: skip
    into_existing: bool = option(
        False, "Add to a repository that holds other data; only our files change.", group=PUBLISHING, kind=bool
    )
    card_template: str | None = option(
        None, "Your own template of the card's generated section.", group=PUBLISHING, metavar="FILE.md"
    )

    def __post_init__(self) -> None:
        for name in ("criterion", "filter_only", "engine_arg"):
            value = getattr(self, name)
            if isinstance(value, Mapping):
                value = [f"{key}={one}" for key, one in value.items()]
            if isinstance(value, str) or value is None:
                value = [] if value is None else [value]
            if not isinstance(value, (list, tuple)):
                raise UsageError(f"{value!r} is not a list", where=option_name(name))
            object.__setattr__(self, name, tuple(value))
        validate(self)
        self.variant_names  # noqa: B018 - raises when the list is wrong
        self.part  # noqa: B018 - raises when --shard is wrong
        refuse_contradictions(self, option_fields())

    @property
    def variant_names(self) -> tuple[str, ...]:
        """The variants to write, in the fixed order combined, relabel, filter."""
        chosen = [part.strip() for part in self.variants.split(",") if part.strip()]
        unknown = [part for part in chosen if part not in VARIANTS]
        if unknown or not chosen:
            raise UsageError(f"{self.variants!r}: choose from {', '.join(VARIANTS)}", where="--variants")
        return tuple(name for name in VARIANTS if name in chosen)

    @property
    def part(self) -> Shard | None:
        """The part that `--shard` names, or `None` for the whole."""
        return None if self.shard is None else parse_shard(self.shard)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> RunConfig:
        """Build from keyword options; an unknown one raises `UsageError` that suggests the nearest."""
        known = option_fields()
        for key in values:
            if key != "source" and key not in known:
                raise UsageError(f"unknown option {key!r}{suggestion(key, known)}")
        return cls(**values)


def option_fields(record: type = RunConfig) -> dict[str, Any]:
    """Name → dataclass field, for every field of `record` that is an option."""
    return {item.name: item for item in fields(record) if "help" in item.metadata}


def gate_names() -> tuple[str, ...]:
    """Names of the options that are quality gates."""
    return tuple(name for name, item in option_fields().items() if item.metadata["group"] == GATES)


def publishing_names() -> tuple[str, ...]:
    """Names of the options that concern the card and the push, and change nothing of what is decided."""
    return tuple(name for name, item in option_fields().items() if item.metadata["group"] == PUBLISHING)


def execution_names() -> tuple[str, ...]:
    """Names of the options that say where engines run, and change nothing of what is decided."""
    return tuple(name for name, item in option_fields().items() if item.metadata["group"] == EXECUTION)


def suggestion(key: str, known: Mapping[str, Any]) -> str:
    """`; did you mean 'x'?` for the nearest known name, or nothing."""
    name = key.replace("-", "_")
    if name.startswith("no_") and name[3:] in known:
        return f"; did you mean '{name[3:]}: false'?"
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
