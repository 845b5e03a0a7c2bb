"""`open_judge` builds the judge that a configuration names, with its engine; the store under it is given."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import yaml

from arhn_hf.config import RunConfig, option_fields
from arhn_hf.engines.base import Engine
from arhn_hf.engines.replay import ReplayEngine
from arhn_hf.engines.routed import RoutedEngine
from arhn_hf.judges.asking import Asker
from arhn_hf.judges.base import Judge
from arhn_hf.judges.cascade import Band, CascadeJudge
from arhn_hf.judges.cross_encoder import CrossEncoderJudge, RoutedAsker
from arhn_hf.judges.fleets import is_fleet, open_fleet, threads_each
from arhn_hf.judges.llm import ANSWER_TOKENS, LLMJudge
from arhn_hf.judges.reader import ReaderJudge
from arhn_hf.judges.replay import ReplayJudge
from arhn_hf.monitor import Monitor
from arhn_hf.prompts import check_folder
from arhn_hf.store import Store

THINKING_TOKENS = 8192


def open_judge(config: RunConfig, store: Store, monitor: Monitor) -> tuple[Judge, Asker]:
    """The judge `config.judge` names, behind the reader with `--cascade reader`. The caller closes the asker.

    Raises `UsageError` for what the engine refuses: a missing extra, an unknown model, an argument of the wrong kind.
    """
    if config.prompts:
        check_folder(config.prompts)
    judge, asker = _open_alone(config, store, monitor)
    return behind_reader(judge, asker, config, store, monitor) if config.cascade else (judge, asker)


def behind_reader(judge: Judge, asker: Asker, config: RunConfig, store: Store, monitor: Monitor) -> tuple[Judge, Asker]:
    """The cascade in front of a judge that is open. The reader has a line of its own over the same store: it is slower
    than an LLM that is kept busy, and its requests must not stand in that one's way."""
    from arhn_hf.engines.reader import ReaderEngine

    reading = Asker(ReaderEngine(), store, max_in_flight=config.max_in_flight, stop=monitor.stop)
    asker.beside.append(reading)
    reader = ReaderJudge(reading, threshold=0.0, max_chunks=config.max_chunks)
    return CascadeJudge(reader, judge, Band(config.cascade_low, config.cascade_high)), asker


def _open_alone(config: RunConfig, store: Store, monitor: Monitor) -> tuple[Judge, Asker]:
    if config.judge == "cross-encoder":
        return _open_cross_encoder(config, store, monitor)
    if config.judge == "replay":
        recorded = ReplayEngine(config.responses or "")
        replaying = Asker(recorded, store, max_in_flight=config.max_in_flight, stop=monitor.stop)
        return ReplayJudge(replaying, recorded), replaying
    engine = _open_engine(config, monitor)
    asker = Asker(engine, store, max_in_flight=config.max_in_flight, stop=monitor.stop)
    if config.judge == "reader":
        reads = _other_reader(monitor, config) if config.model or config.similarity_model else ReaderJudge
        limits = {"threshold": config.answer_threshold, "relabel_threshold": config.relabel_threshold}
        return reads(asker, **limits, max_chunks=config.max_chunks), asker
    judge = LLMJudge(
        asker, name=config.judge, about=engine.about, orders=config.orders, window_size=config.window_size,
        window_positives=config.window_positives, seed=config.seed, rank_input=config.rank_input,
        max_chunks=config.max_chunks, prompts=config.prompts, notice=monitor.notice,
        max_tokens=config.max_tokens or (THINKING_TOKENS if config.thinking else ANSWER_TOKENS),
    )  # fmt: skip
    return judge, asker


def _open_cross_encoder(config: RunConfig, store: Store, monitor: Monitor) -> tuple[Judge, Asker]:
    """The embedded reader answers, the cross-encoder ranks; the one that can be refused is opened first."""
    from arhn_hf.engines.cross_encoder import CrossEncoderEngine
    from arhn_hf.engines.reader import ReaderEngine

    ranker = CrossEncoderEngine(config.model or "", revision=config.model_revision)
    engine = RoutedEngine({"answer": ReaderEngine(), "rank": ranker})
    asker = RoutedAsker(engine, store, max_in_flight=config.max_in_flight, stop=monitor.stop)
    return CrossEncoderJudge(asker, threshold=config.answer_threshold, max_chunks=config.max_chunks), asker


def _other_reader(monitor: Monitor, config: RunConfig) -> type[ReaderJudge]:
    """The judge over models that are not the embedded ones; a threshold that was chosen for those is called that."""
    from arhn_hf.judges.torch_reader import TorchReaderJudge

    usual = option_fields()["answer_threshold"].default
    if config.answer_threshold == usual:
        monitor.notice(
            f"The threshold {usual} was chosen for the embedded reader, and this model's scores are on another scale: set "
            "--answer-threshold by `arhn-hf audit --thresholds`, and --relabel-threshold with it."
        )
    return TorchReaderJudge


def _open_engine(config: RunConfig, monitor: Monitor) -> Engine:
    """One engine here, or several elsewhere that act as one."""
    build = _engine(config, monitor)
    return open_fleet(config, build, monitor) if is_fleet(config) else build()


def _engine(config: RunConfig, monitor: Monitor) -> Callable[[], Engine]:
    """What makes the engine, here or in another process. Heavy libraries are imported by the engine that needs them."""
    if config.judge == "reader" and (config.model or config.similarity_model):
        from arhn_hf.engines.torch_reader import TorchReaderEngine

        return partial(
            TorchReaderEngine, config.model, revision=config.model_revision, similarity_model=config.similarity_model,
            threads=threads_each(config),
        )  # fmt: skip
    if config.judge == "reader":
        from arhn_hf.engines.reader import ReaderEngine

        return partial(ReaderEngine, threads=threads_each(config))
    model = config.model or ""
    if config.judge == "vllm":
        from arhn_hf.engines.vllm import VLLMEngine

        arguments = engine_arguments(config.engine_arg)
        if config.tensor_parallel > 1:
            arguments["tensor_parallel_size"] = config.tensor_parallel
        return partial(
            VLLMEngine, model, revision=config.model_revision, engine_args=arguments, thinking=config.thinking
        )
    from arhn_hf.engines.server import ServerEngine

    return partial(
        ServerEngine, config.base_url or "", model, revision=config.model_revision, timeout=config.request_timeout,
        patience=config.patience, concurrency=config.concurrency, thinking=config.thinking, notice=monitor.notice,
    )  # fmt: skip


def engine_arguments(items: tuple[str, ...]) -> dict[str, Any]:
    """`KEY=VALUE` strings as keyword arguments; values are read as YAML (numbers, true, null, JSON objects)."""
    pairs = (item.split("=", 1) for item in items)
    return {key.strip().lstrip("-").replace("-", "_"): yaml.safe_load(value) for key, value in pairs}
