"""The vLLM judge on real generation: vLLM's CPU backend and a tiny model that knows a dozen rows of the sample by heart."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_model
from requiring import skip_or_fail

from arhn_hf.checks import check
from arhn_hf.config import RunConfig
from arhn_hf.engines.base import EngineError, Request
from arhn_hf.judges.asking import Asker
from arhn_hf.judges.llm import LLMJudge
from arhn_hf.monitor import Monitor
from arhn_hf.pipeline import RefineResult, run_refine
from arhn_hf.records import UsageError
from arhn_hf.store import Store
from arhn_hf.trying import Recorder

ENGINE_ARGS = {"max_model_len": 4096, "max_num_seqs": 32}


@pytest.fixture(scope="session")
def tiny() -> Path:
    """The folder of the tiny model; built once, then cached."""
    try:
        import vllm  # noqa: F401
    except ImportError:
        skip_or_fail("vllm", "vLLM is not installed")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    return tiny_model.cached()


@pytest.fixture(scope="session")
def engine(tiny: Path) -> Iterator[Any]:
    """One engine for the whole session: a start takes half a minute."""
    from arhn_hf.engines.vllm import VLLMEngine

    opened = VLLMEngine(str(tiny), revision=None, engine_args=ENGINE_ARGS)
    yield opened
    opened.close()


class Kept(Recorder):
    """Records what is sent, and leaves the engine open for the next test."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.about = inner.about

    def close(self) -> None:
        """The session closes it."""


def judged(source: Path, output: Path, engine: Any, monitor: Monitor | None = None, **options: Any) -> RefineResult:
    """A run judged by this engine."""

    def factory(config: RunConfig, store: Store, monitor: Monitor) -> tuple[LLMJudge, Asker]:
        asker = Asker(engine, store, max_in_flight=config.max_in_flight, stop=monitor.stop)
        judge = LLMJudge(
            asker, name="vllm", about=engine.about, orders=config.orders, window_size=config.window_size,
            window_positives=config.window_positives, seed=config.seed, rank_input=config.rank_input,
            max_chunks=config.max_chunks, notice=monitor.notice,
        )  # fmt: skip
        return judge, asker

    config = RunConfig(source=str(source), output=str(output), **{"min_answerable": 0.0, **options})
    return run_refine(config, monitor or Monitor(), factory)


def test_decisions_on_real_generation_are_the_samples_gold(tiny: Path, engine: Any, tmp_path: Path) -> None:
    expected = json.loads((tiny / "expected.json").read_text(encoding="utf-8"))
    kept = Kept(engine)
    result = judged(tiny / "source", tmp_path / "out", kept)
    assert result.exit_code == 0
    evidence = _evidence(tmp_path / "out")
    wanted = {(one["query_id"], one["docid"]): one["outcome"] for one in expected["decisions"]}
    found = {(one["query_id"], one["docid"]): one["action"] for one in evidence if one["label"] == "negative"}
    agreeing = sum(found[key] == action for key, action in wanted.items())
    assert agreeing >= 0.95 * len(wanted) > 0
    assert check(tmp_path / "out")["exit_code"] == 0
    assert result.tokens["prefix_cached"] > 0.2 * result.tokens["prompt"]
    again = judged(tiny / "source", tmp_path / "out", Kept(engine))
    assert again.requests["sent"] == 0


def _evidence(folder: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    return [
        item for file in sorted((folder / "evidence").glob("*.parquet")) for item in pq.read_table(file).to_pylist()
    ]


def test_the_card_and_the_lineage_say_which_model_and_how(tiny: Path, engine: Any, tmp_path: Path) -> None:
    judged(tiny / "source", tmp_path / "out", Kept(engine))
    about = json.loads((tmp_path / "out" / "arhn.json").read_text(encoding="utf-8"))["judges"]["vllm"]
    assert about["revision"].startswith("sha256:")
    assert {"vllm", "dtype", "quantization", "template", "sampling", "prompts"} <= about.keys()
    assert str(tiny) not in (tmp_path / "out" / "arhn.json").read_text(encoding="utf-8")


def test_a_request_that_is_too_long_is_marked_and_the_engine_goes_on(engine: Any) -> None:
    def request(words: int) -> Request:
        messages = [{"role": "system", "content": "x"}, {"role": "user", "content": "river " * words}]
        return Request("answer", {"messages": messages, "schema": {"type": "object"}, "max_tokens": 8})

    assert not engine.fits(request(9000))
    assert engine.submit(request(9000)).result(60).finish_reason == "error"
    assert engine.submit(request(3)).result(60).finish_reason in ("stop", "length")


def test_windows_shrink_to_the_context_and_say_so(tiny: Path, engine: Any, tmp_path: Path) -> None:
    class Small(Kept):
        """The same engine with room for half as much."""

        def fits(self, request: Request) -> bool:
            return request.kind != "rank" or request.payload["schema"]["minItems"] <= 3

    monitor = Monitor()
    judged(tiny / "source", tmp_path / "out", Small(engine), monitor, max_failures=1.0, max_ungrounded=1.0)
    assert sum("shrink" in line for line in monitor.notices) == 1


def test_an_engine_argument_that_vllm_refuses_comes_back_with_its_reason(tiny: Path) -> None:
    from arhn_hf.engines.vllm import VLLMEngine

    with pytest.raises(UsageError, match="no_such_argument"):
        VLLMEngine(str(tiny), revision=None, engine_args={"no_such_argument": 1})


def test_a_chat_template_without_system_role_gets_the_instructions_in_the_first_turn(tiny: Path) -> None:
    from transformers import AutoTokenizer

    from arhn_hf.engines.chat import ChatTemplate

    messages = [{"role": "system", "content": "INSTRUCTIONS"}, {"role": "user", "content": "QUESTION"}]
    refusing = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}{{ messages[0].content }}"
    )
    for template in (refusing, "{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}"):
        tokenizer = AutoTokenizer.from_pretrained(tiny)
        tokenizer.chat_template = template
        text = tokenizer.decode(ChatTemplate(tokenizer, "me/model", thinking=False).tokens(messages))
        assert text.index("INSTRUCTIONS") < text.index("QUESTION")


def test_a_tokenizer_without_chat_template_is_refused(tiny: Path) -> None:
    from transformers import AutoTokenizer

    from arhn_hf.engines.chat import ChatTemplate

    tokenizer = AutoTokenizer.from_pretrained(tiny)
    tokenizer.chat_template = None
    with pytest.raises(UsageError, match="no chat template"):
        ChatTemplate(tokenizer, "me/model", thinking=False)


def test_the_command_line_prints_one_object_and_nothing_else(tiny: Path, tmp_path: Path) -> None:
    words = ["refine", str(tiny / "source"), "--judge", "vllm", "--model", str(tiny), "--json", "--output", "out"]
    more = [word for key, value in ENGINE_ARGS.items() for word in ("--engine-arg", f"{key}={value}")]
    done = subprocess.run(
        [sys.executable, "-m", "arhn_hf.cli.main", *words, *more, "--min-answerable", "0"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout)
    assert report["judges"]["vllm"]["kind"] == "vllm"
    assert report["requests"]["sent"] > 20


def test_an_engine_killed_in_mid_run_ends_it_and_keeps_what_is_finished(
    tiny: Path, engine: Any, tmp_path: Path
) -> None:
    """Its own engine, killed by the process id of its core; then the session's engine goes on where it stopped."""
    from arhn_hf.engines.vllm import VLLMEngine

    before = _core_processes()
    own = VLLMEngine(str(tiny), revision=None, engine_args=ENGINE_ARGS)
    cores = _core_processes() - before
    assert cores
    monitor = Monitor()

    def kill() -> None:
        while monitor.counts is None or monitor.counts.sent < 20:
            time.sleep(0.01)
        for pid in cores:
            os.kill(pid, signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    with pytest.raises(EngineError, match="died"):
        judged(tiny / "source", tmp_path / "out", own, monitor, max_in_flight=4)
    own.close()
    result = judged(tiny / "source", tmp_path / "out", Kept(engine))
    assert result.exit_code == 0
    assert result.requests["from_store"] > 0


def _core_processes() -> set[int]:
    """Process ids of vLLM's engine cores below this process."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if b"VLLM::EngineCore" in command or b"EngineCore" in command:
            found.add(int(folder.name))
    return found
