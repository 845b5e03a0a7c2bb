"""`open_judge` builds the judge that a configuration names, with its engine; the store under it is given."""

from __future__ import annotations

from typing import Any

import yaml

from arhn_hf.config import RunConfig
from arhn_hf.engines.base import Engine
from arhn_hf.judges.asking import Asker
from arhn_hf.judges.base import Judge
from arhn_hf.judges.llm import ANSWER_TOKENS, LLMJudge
from arhn_hf.judges.reader import ReaderJudge
from arhn_hf.monitor import Monitor
from arhn_hf.prompts import check_folder
from arhn_hf.store import Store

THINKING_TOKENS = 8192


def open_judge(config: RunConfig, store: Store, monitor: Monitor) -> tuple[Judge, Asker]:
    """The judge `config.judge` names. The caller closes `asker.engine`.

    Raises `UsageError` for what the engine refuses: a missing extra, an unknown model, an argument of the wrong kind.
    """
    if config.prompts:
        check_folder(config.prompts)
    engine = _open_engine(config, monitor)
    asker = Asker(engine, store, max_in_flight=config.max_in_flight, stop=monitor.stop)
    if config.judge == "reader":
        return ReaderJudge(asker, threshold=config.answer_threshold, max_chunks=config.max_chunks), asker
    judge = LLMJudge(
        asker, name=config.judge, about=engine.about, orders=config.orders, window_size=config.window_size,
        window_positives=config.window_positives, seed=config.seed, rank_input=config.rank_input,
        max_chunks=config.max_chunks, prompts=config.prompts, notice=monitor.notice,
        max_tokens=config.max_tokens or (THINKING_TOKENS if config.thinking else ANSWER_TOKENS),
    )  # fmt: skip
    return judge, asker


def _open_engine(config: RunConfig, monitor: Monitor) -> Engine:
    """Heavy libraries are imported by the engine that needs them."""
    if config.judge == "reader":
        from arhn_hf.engines.reader import ReaderEngine

        return ReaderEngine()
    model = config.model or ""
    if config.judge == "vllm":
        from arhn_hf.engines.vllm import VLLMEngine

        return VLLMEngine(
            model,
            revision=config.model_revision,
            engine_args=engine_arguments(config.engine_arg),
            thinking=config.thinking,
        )
    from arhn_hf.engines.server import ServerEngine

    return ServerEngine(
        config.base_url or "", model, revision=config.model_revision, timeout=config.request_timeout,
        patience=config.patience, concurrency=config.concurrency, thinking=config.thinking, notice=monitor.notice,
    )  # fmt: skip


def engine_arguments(items: tuple[str, ...]) -> dict[str, Any]:
    """`KEY=VALUE` strings as keyword arguments; values are read as YAML (numbers, true, null, JSON objects)."""
    pairs = (item.split("=", 1) for item in items)
    return {key.strip().lstrip("-").replace("-", "_"): yaml.safe_load(value) for key, value in pairs}
