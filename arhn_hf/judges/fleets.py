"""The workers that a configuration asks for: a process for each GPU, for some of the cores, or an actor each on Ray.

`engines.fleet` makes one engine of them. What cannot be had is refused before a model is loaded.
"""

from __future__ import annotations

import os

from arhn_hf.config import RunConfig
from arhn_hf.engines.base import Engine
from arhn_hf.engines.fleet import Fleet
from arhn_hf.engines.gpus import shares, visible_gpus
from arhn_hf.engines.processes import ProcessWorker
from arhn_hf.engines.worker import Build, Worker
from arhn_hf.monitor import Monitor
from arhn_hf.records import UsageError


def is_fleet(config: RunConfig) -> bool:
    """Whether the configuration asks for engines in processes of their own."""
    return config.executor == "ray" or config.gpus is not None or config.workers is not None


def open_fleet(config: RunConfig, build: Build, monitor: Monitor) -> Engine:
    """The engines that `build` makes, as one.

    Raises `UsageError` for GPUs, cores or a cluster that are not there, and for what an engine refuses.
    """
    if config.executor == "ray":
        from arhn_hf.engines.ray import Cluster

        cluster = Cluster(config.ray_address)
        try:
            workers: list[Worker] = cluster.workers(
                build, config.workers, gpus=config.tensor_parallel if config.judge == "vllm" else 0, stop=monitor.stop
            )
        except BaseException:
            cluster.close()
            raise
        on_close = cluster.close
    else:
        workers, on_close = list(local_workers(config, build)), _nothing
    return Fleet(
        workers, max_in_flight=config.max_in_flight, notice=monitor.notice, stop=monitor.stop, on_close=on_close
    )


def threads_each(config: RunConfig) -> int | None:
    """Threads of a reader that runs on the CPU: its share of the cores here, one for each of Ray's CPUs; None for all."""
    if not is_fleet(config):
        return None
    return 1 if config.executor == "ray" else max(1, _cores() // (config.workers or 1))


def local_workers(config: RunConfig, build: Build) -> list[ProcessWorker]:
    """A process for each share of the GPUs, or of the cores."""
    if config.gpus is not None:
        given = shares(config.gpus, config.tensor_parallel)
        return [
            ProcessWorker(
                f"worker {number} (GPU {', '.join(gpus)})", build,
                {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(gpus)},
            )
            for number, gpus in enumerate(given, start=1)
        ]  # fmt: skip
    count, cores = config.workers or 1, _cores()
    if config.judge == "vllm" and visible_gpus():
        raise UsageError(
            "shares out the cores of a machine without GPUs", where="--workers", hint="With GPUs it is --gpus N"
        )
    if config.tensor_parallel > 1:
        raise UsageError("splits a model over GPUs: it does not go with --workers here", where="--tensor-parallel")
    if count > cores:
        raise UsageError(f"this machine has {cores} cores", where=f"--workers {count}")
    return [
        ProcessWorker(f"worker {number + 1}", build, _cpu_share(config, number, cores // count))
        for number in range(count)
    ]


def _cpu_share(config: RunConfig, number: int, size: int) -> dict[str, str]:
    """Cores of its own for vLLM's CPU backend, which else binds every engine to the same ones."""
    if config.judge != "vllm" or os.environ.get("VLLM_CPU_OMP_THREADS_BIND"):
        return {}
    mine = sorted(os.sched_getaffinity(0))[number * size : (number + 1) * size]
    return {"VLLM_CPU_OMP_THREADS_BIND": ",".join(str(core) for core in mine)}


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _nothing() -> None:
    """A fleet of processes has nothing else to close."""
