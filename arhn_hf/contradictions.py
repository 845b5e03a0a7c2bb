"""Options that say two things at once, or that could only be ignored: refused by name before anything is spent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from arhn_hf.records import UsageError
from arhn_hf.rules import option_name

if TYPE_CHECKING:
    from arhn_hf.config import RunConfig

_LLMS = ("vllm", "server")
_ONLY_FOR = {
    "engine_arg": ("vllm",), "base_url": ("server",), "request_timeout": ("server",), "patience": ("server",),
    "concurrency": ("server",), "thinking": _LLMS, "max_tokens": _LLMS, "prompts": _LLMS, "similarity_model": ("reader",),
    "responses": ("replay",), "relabel_threshold": ("reader",), "cascade": (*_LLMS, "replay"),
    "gpus": ("vllm",), "tensor_parallel": ("vllm",), "executor": ("reader", "vllm"),
    "workers": ("reader", "vllm"), "ray_address": ("reader", "vllm"),
}  # fmt: skip
"""Options that mean something to these judges alone: elsewhere they could only be ignored."""
_WITHOUT_PUSH = ("push", "license", "card_template")
"""Options of publishing that mean something to a folder that is not pushed."""


def refuse_contradictions(config: RunConfig, options: Mapping[str, Any]) -> None:
    """Raise `UsageError` naming the first option that does not go with the others; `options` are the fields by name."""
    if config.part is not None and config.push is not None:
        raise UsageError(
            "goes with the whole, not with --shard",
            where="--push",
            hint="Merge the parts, then `arhn-hf push` the result",
        )
    for item in config.criterion:
        value = item.rpartition("=")[2]
        if "=" not in item or value not in ("question", "claim", "skip"):
            raise UsageError(f"{item!r} is not SUBSET=question, claim or skip", where="--criterion")
    if config.judge == "replay" and config.responses is None:
        raise UsageError("--judge replay needs a file", where="--responses")
    if config.judge not in ("reader", "replay") and not config.model:
        raise UsageError(f"--judge {config.judge} needs a model", where="--model")
    for name, judges in _ONLY_FOR.items():
        if config.judge not in judges and getattr(config, name) != options[name].default:
            raise UsageError(f"goes with --judge {' or '.join(judges)} only", where=option_name(name))
    for name in ("cascade_low", "cascade_high"):
        if config.cascade is None and getattr(config, name) != options[name].default:
            raise UsageError("goes with --cascade reader", where=option_name(name))
    if config.cascade_low > config.cascade_high:
        raise UsageError("must not be above --cascade-high", where="--cascade-low")
    if config.judge == "server" and not config.base_url:
        raise UsageError(
            "--judge server needs the endpoint", where="--base-url", hint="Such as http://localhost:8000/v1"
        )
    if config.base_url is not None and not _is_address(config.base_url):
        raise UsageError(
            f"{config.base_url!r} is no address", where="--base-url", hint="Such as http://localhost:8000/v1"
        )
    for item in config.engine_arg:
        if "=" not in item:
            raise UsageError(f"{item!r} is not KEY=VALUE", where="--engine-arg")
    _refuse_mixed_engines(config)
    publishing = options["push"].metadata["group"]
    for name, item in options.items():
        concerned = item.metadata["group"] == publishing and name not in _WITHOUT_PUSH
        if concerned and getattr(config, name) and config.push is None:
            raise UsageError("goes with --push", where=option_name(name))
    if config.create_pr and (config.tag or config.push_revision):
        other = "--tag" if config.tag else "--push-revision"
        raise UsageError(f"goes with no pull request: leave out {other}", where="--create-pr")
    if config.window_positives >= config.window_size:
        raise UsageError(
            "leaves no room for candidates: it must be smaller than --window-size", where="--window-positives"
        )


def _refuse_mixed_engines(config: RunConfig) -> None:
    """Options for several engines that say two things at once, or nothing."""
    if config.gpus is not None and config.gpus != "auto" and not (config.gpus.isdigit() and int(config.gpus) > 0):
        raise UsageError(f"{config.gpus!r} is neither a number nor auto", where="--gpus")
    if config.ray_address is not None and config.executor != "ray":
        raise UsageError("goes with --executor ray", where="--ray-address")
    if config.gpus is not None and config.executor == "ray":
        raise UsageError("goes with --executor local", where="--gpus", hint="On Ray it is --workers")
    if config.gpus is not None and config.workers is not None:
        raise UsageError("does not go with --gpus: there is one for each of them", where="--workers")
    ours = {"tensor_parallel_size": config.tensor_parallel > 1, "data_parallel_size": config.gpus or config.workers}
    for item in config.engine_arg:
        name = item.split("=", 1)[0].strip().lstrip("-").replace("-", "_")
        if ours.get(name) or (name == "tensor_parallel_size" and (config.gpus or config.executor == "ray")):
            raise UsageError(
                f"{name} does not go with several engines", where="--engine-arg",
                hint="--tensor-parallel N splits a model, --gpus or --workers repeat it",
            )  # fmt: skip


def _is_address(url: str) -> bool:
    """Whether a URL names a host to speak HTTP with."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port or an IPv6 address that is none
        return False
