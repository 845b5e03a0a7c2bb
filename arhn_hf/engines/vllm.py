"""vLLM in process as an engine: its own thread and event loop, fed continuously, one request at a time in and out.

There are no batch barriers: a finished request makes room for the next at once, so uneven lengths leave no bubbles. vLLM's core runs
in a process of its own (`AsyncLLM`), so rendering, storing and parsing here cost it nothing. Imported only when it is asked for.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
from concurrent.futures import Future
from typing import Any

from arhn_hf.engines.base import Engine, EngineError, Request, Response
from arhn_hf.engines.chat import ChatTemplate, surely_fits
from arhn_hf.engines.models import model_identity
from arhn_hf.records import UsageError

HOW_TO_INSTALL = 'Install it with: pip install "arhn-hf[vllm]"'


class VLLMEngine(Engine):
    """Chat messages in, text out, by one vLLM engine (tensor parallel through `engine_args`).

    `engine_args` go to vLLM as they are; what vLLM refuses comes back as `UsageError` with vLLM's own reason. With `thinking` the
    model's recommended sampling replaces greedy decoding, and a reasoning parser keeps the grammar away from `<think>`.
    """

    def __init__(
        self, model: str, *, revision: str | None, engine_args: dict[str, Any], thinking: bool = False
    ) -> None:
        if thinking and "reasoning_parser" not in engine_args:
            raise UsageError(
                "needs the model's reasoning parser, or the grammar would forbid it to think", where="--thinking",
                hint="For Qwen3 add --engine-arg reasoning_parser=qwen3",
            )  # fmt: skip
        # vLLM logs to stdout by default, where `--json` promises one object and nothing else; its processes inherit this.
        os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        try:
            import vllm
        except ImportError as error:
            raise UsageError("vLLM is not installed", where="--judge vllm", hint=HOW_TO_INSTALL) from error
        self._thinking = thinking
        self._numbers = itertools.count()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="arhn-vllm", daemon=True)
        self._thread.start()
        known = model_identity(model, revision)
        arguments = {
            "model": model, "revision": revision, "tokenizer_revision": revision, "enable_prefix_caching": True,
            "trust_remote_code": False, **engine_args,
        }  # fmt: skip
        try:
            self._engine = asyncio.run_coroutine_threadsafe(self._start(arguments), self._loop).result()
            self._describe(model, known, vllm.__version__)
        except UsageError:
            self.close()
            raise
        except Exception as error:
            self.close()
            raise UsageError(f"vLLM refuses: {_reason(error)}", where="--judge vllm") from error

    def _describe(self, model: str, known: dict[str, Any], version: str) -> None:
        """Identity (what changes answers) and what the card says, once the engine knows its own configuration."""
        config = self._engine.model_config
        self.context_tokens = int(config.max_model_len)
        self._template = ChatTemplate(self._engine.get_tokenizer(), model, thinking=self._thinking)
        self._sampling = dict(config.get_diff_sampling_param()) if self._thinking else {"temperature": 0.0}
        self.identity = {
            "engine": "vllm", **known, "dtype": str(config.dtype), "quantization": config.quantization,
            "template": self._template.digest, "sampling": self._sampling, "thinking": self._thinking,
        }  # fmt: skip
        self.about = {
            "kind": "vllm",
            **{k: v for k, v in self.identity.items() if k != "engine"},
            "vllm": version,
        }

    async def _start(self, arguments: dict[str, Any]) -> Any:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.async_llm import AsyncLLM

        # The limits of `vllm.LLM` (1,024 sequences on an H100), not the far lower ones of an engine without a context.
        return AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments), usage_context=UsageContext.LLM_CLASS)

    def submit(self, request: Request) -> Future[Response]:
        """See `Engine.submit`. The payload holds `messages`, `schema` and `max_tokens`."""
        return asyncio.run_coroutine_threadsafe(self._generate(request), self._loop)

    def fits(self, request: Request) -> bool:
        """See `Engine.fits`."""
        if surely_fits(request.payload, self.context_tokens):
            return True
        wanted = int(request.payload["max_tokens"])
        return len(self._template.tokens(request.payload["messages"])) + wanted <= self.context_tokens

    def close(self) -> None:
        """See `Engine.close`."""
        engine, self._engine = getattr(self, "_engine", None), None
        if engine is not None:
            asyncio.run_coroutine_threadsafe(_shut_down(engine), self._loop).result(timeout=60)
            del engine  # its finaliser must run now, not when half of the interpreter is gone
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)

    async def _generate(self, request: Request) -> Response:
        from vllm.exceptions import VLLMClientError
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        prompt = self._template.tokens(request.payload["messages"])
        wanted = int(request.payload["max_tokens"])
        if len(prompt) + wanted > self.context_tokens:
            return Response(f"{len(prompt)} prompt tokens do not fit into {self.context_tokens}", "too_long")
        last = None
        try:
            async for output in self._engine.generate(
                {"prompt_token_ids": prompt}, self._parameters(request), f"arhn-{next(self._numbers)}"
            ):
                last = output
        except EngineDeadError as error:
            raise EngineError(
                "vLLM's engine died", hint="Run the same command again: finished requests are kept"
            ) from error
        except EngineGenerateError as error:  # of this one request, says vLLM, and the next one may be answered
            return Response(_reason(error.__cause__ or error), "error")
        except (VLLMClientError, ValueError) as error:
            return Response(_reason(error), "error")
        if last is None:
            return Response("vLLM gave no output", "error")
        done = last.outputs[0]
        usage = {
            "prompt": len(prompt), "completion": len(done.token_ids), "prefix_cached": last.num_cached_tokens or 0,
        }  # fmt: skip
        return Response(done.text, _FINISH.get(done.finish_reason or "stop", "error"), usage)

    def _parameters(self, request: Request) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        # The marks around a thought may be special tokens: left out of the text, they would leave the thought in it.
        return SamplingParams(
            **self._sampling, max_tokens=int(request.payload["max_tokens"]), output_kind=RequestOutputKind.FINAL_ONLY,
            structured_outputs=StructuredOutputsParams(json=request.payload["schema"], disable_any_whitespace=True),
            skip_special_tokens=not self._thinking,
        )  # fmt: skip


async def _shut_down(engine: Any) -> None:
    """In the engine's own loop: first the task that waits for output, which would take the end for a death, then the engine."""
    handler = getattr(engine, "output_handler", None)
    if handler is not None:
        handler.cancel()
        await asyncio.gather(handler, return_exceptions=True)
    engine.shutdown(timeout=5)


_FINISH = {"stop": "stop", "length": "length", "abort": "error", "error": "error"}


def _reason(error: BaseException) -> str:
    """An error of vLLM's on one line."""
    return " ".join(f"{error.__class__.__name__}: {error}".split())[:400]
