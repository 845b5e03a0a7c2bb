"""What this package costs on top of vLLM: a whole `refine` with real generation against vLLM called directly.

Every arm is a process of its own with an engine of its own; arms take turns. Ours goes first in every round and writes
down each request as it was sent (token ids and sampling parameters), and the other arms send exactly those.

    python benchmarks/vllm_throughput.py both-stages    # ours ÷ one LLM.generate call over all requests
    python benchmarks/vllm_throughput.py uneven         # the same with uneven lengths, and ÷ Dataset.map around generate
    python benchmarks/vllm_throughput.py prefix         # prefix cache: our order of a prompt against passage first

On a GPU, at the speed of a real model and without its weights (they are made up, see `vllm_workload.py`):

    python benchmarks/vllm_throughput.py both-stages --shape qwen3-8b --rows 4000 --words 75 --max-tokens 48 \\
        --max-num-seqs 512 --max-num-batched-tokens 8192

On a CPU vLLM caches prefixes in blocks of 128 tokens, on a GPU of 16: `--engine-arg block_size=32`, the smallest that the
CPU backend takes, comes nearer to a GPU's hit rate.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from vllm_workload import SHAPES, ScriptedText, passage_first, random_model, shaped_model, uneven, write_source

NAIVE = (64, 1000)  # rows a batch; 1,000 is the default of `datasets`
ARMS = {
    "both-stages": ["ours", "raw"],
    "uneven": ["ours", *(f"naive-{size}" for size in NAIVE), "raw"],
    "prefix": ["query-first", "passage-first"],
}
DEFAULTS: dict[str, dict[str, int]] = {
    "both-stages": {"rows": 350, "words": 50, "rounds": 2, "max_tokens": 24},
    "uneven": {"rows": 400, "words": 15, "rounds": 1, "max_tokens": 24},  # max_tokens is drawn for each request
    "prefix": {"rows": 120, "words": 50, "rounds": 2, "max_tokens": 16},
}
GIB = 1  # of KV cache on a CPU, unless VLLM_CPU_KVCACHE_SPACE says otherwise


def ours(spec: dict[str, Any]) -> dict[str, Any]:
    """A whole `refine` through `VLLMEngine`; the requests it sent go to `spec["requests"]`."""
    from arhn_hf.config import RunConfig
    from arhn_hf.engines.vllm import VLLMEngine
    from arhn_hf.judges.asking import Asker
    from arhn_hf.judges.llm import LLMJudge
    from arhn_hf.monitor import Monitor
    from arhn_hf.pipeline import run_refine
    from arhn_hf.store import Store

    arguments = dict(spec["engine"])
    vllm_engine = VLLMEngine(arguments.pop("model"), revision=None, engine_args=arguments)
    engine = ScriptedText(vllm_engine, uneven if spec["uneven"] else lambda request: request)
    begun: dict[str, tuple[float, float]] = {}

    class Timed(Monitor):
        """Also keeps when each stage began, by the clock and by the process's CPU time."""

        def begin(self, stage: str, total: int | None = None) -> None:
            begun[stage] = (time.perf_counter(), time.process_time())
            super().begin(stage, total)

    def factory(config: RunConfig, store: Store, monitor: Monitor) -> tuple[LLMJudge, Asker]:
        asker = Asker(engine, store, max_in_flight=config.max_in_flight, stop=monitor.stop)
        judge = LLMJudge(
            asker, name="vllm", about=engine.about, orders=config.orders, window_size=config.window_size,
            window_positives=config.window_positives, seed=config.seed, rank_input=config.rank_input,
            max_chunks=config.max_chunks, max_tokens=spec["max_tokens"], notice=monitor.notice,
        )  # fmt: skip
        return judge, asker

    options = {"max_in_flight": spec["max_in_flight"]} if spec["max_in_flight"] else {}
    config = RunConfig(source=spec["source"], output=spec["output"], **options)
    started = time.perf_counter()
    result = run_refine(config, Timed(), factory)
    whole = time.perf_counter() - started
    limits = _limits(vllm_engine._engine.vllm_config)
    found = {
        **_tokens([
            (one.kind, usage["prompt"], usage["completion"], usage["prefix_cached"])
            for one, usage in zip(engine.requests, engine.usage, strict=True)
        ]),
        "seconds": begun["deciding"][0] - engine.sent[0], "whole_seconds": whole,
        "to_last_response": max(engine.answered) - engine.sent[0],
        "cpu_seconds": begun["deciding"][1] - begun["reading passages"][1],
        "stage_seconds": {
            "reading passages": begun["ranking"][0] - engine.sent[0],
            "ranking": begun["deciding"][0] - begun["ranking"][0],
        },
        "starved_seconds": engine.starved(limits["max_num_seqs"]), "limits": limits, "exit_code": result.exit_code,
        "rows": result.report["rows"]["source"], "decisions": result.report["decisions"],
    }  # fmt: skip
    Path(spec["requests"]).write_bytes(pickle.dumps(engine.rendered()))
    vllm_engine.close()
    return found


def direct(spec: dict[str, Any]) -> dict[str, Any]:
    """The same requests through `vllm.LLM`: one call of `generate`, or `Dataset.map` around it, stage by stage."""
    from vllm import LLM
    from vllm.sampling_params import RequestOutputKind

    requests = _stage_1(spec) if spec["arm"] in ARMS["prefix"] else pickle.loads(Path(spec["requests"]).read_bytes())
    llm = LLM(**spec["engine"])
    for _, _, parameters in requests:
        parameters.output_kind = RequestOutputKind.FINAL_ONLY
    size = int(spec["arm"].split("-")[1]) if spec["arm"].startswith("naive") else None
    started, cpu = time.perf_counter(), time.process_time()
    outputs = _generate(llm, requests) if size is None else _generate_by_map(llm, requests, size, spec)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    return {
        **_tokens([
            (kind, len(ids), len(output.outputs[0].token_ids), output.num_cached_tokens or 0)
            for (kind, ids, _), output in zip(requests, outputs, strict=True)
        ]),
        "seconds": seconds, "cpu_seconds": cpu, "limits": _limits(llm.llm_engine.vllm_config),
    }  # fmt: skip


def _generate(llm: Any, requests: list[tuple[str, list[int], Any]]) -> list[Any]:
    prompts = [{"prompt_token_ids": ids} for _, ids, _ in requests]
    return list(llm.generate(prompts, [parameters for _, _, parameters in requests], use_tqdm=False))


def _generate_by_map(
    llm: Any, requests: list[tuple[str, list[int], Any]], size: int, spec: dict[str, Any]
) -> list[Any]:
    """As one would write it first: a map over each stage, `size` rows a batch, and the batch waits for its slowest."""
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    outputs: dict[int, Any] = {}

    def ask(batch: dict[str, list[int]]) -> dict[str, list[str]]:
        made = _generate(llm, [requests[number] for number in batch["number"]])
        outputs.update(zip(batch["number"], made, strict=True))
        return {"text": [output.outputs[0].text for output in made]}

    for kind in ("answer", "rank"):
        numbers = [number for number, request in enumerate(requests) if request[0] == kind]
        Dataset.from_dict({"number": numbers}).map(
            ask, batched=True, batch_size=size, load_from_cache_file=False, new_fingerprint=f"{spec['arm']}-{kind}",
            cache_file_name=f"{spec['output']}-{kind}.arrow",
        )  # fmt: skip
    return [outputs[number] for number in range(len(requests))]


def _stage_1(spec: dict[str, Any]) -> list[tuple[str, list[int], Any]]:
    """The answer requests of the source, as a judge over an engine that only listens sends them, in the order of the arm."""
    from concurrent.futures import Future

    from transformers import AutoTokenizer
    from vllm import SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    from arhn_hf.config import RunConfig
    from arhn_hf.engines.base import Engine, Request, Response
    from arhn_hf.engines.chat import ChatTemplate
    from arhn_hf.judges.asking import Asker
    from arhn_hf.judges.llm import LLMJudge
    from arhn_hf.monitor import Monitor
    from arhn_hf.pipeline import run_refine
    from arhn_hf.store import Store

    heard: list[Request] = []

    class Listening(Engine):
        """Finds no answer anywhere."""

        identity = {"engine": "listening"}

        def submit(self, request: Request) -> Future[Response]:
            heard.append(request)
            future: Future[Response] = Future()
            future.set_result(Response('{"answer": null}'))
            return future

    def factory(config: RunConfig, store: Store, monitor: Monitor) -> tuple[LLMJudge, Asker]:
        asker = Asker(Listening(), store, max_in_flight=config.max_in_flight, stop=monitor.stop)
        judge = LLMJudge(
            asker, name="listening", about={"kind": "listening", "model": "listening", "revision": None},
            orders=config.orders, window_size=config.window_size, window_positives=config.window_positives,
            seed=config.seed, rank_input=config.rank_input, max_chunks=config.max_chunks, max_tokens=spec["max_tokens"],
        )  # fmt: skip
        return judge, asker

    config = RunConfig(source=spec["source"], output=spec["output"], min_answerable=0.0)
    run_refine(config, Monitor(), factory)
    template = ChatTemplate(AutoTokenizer.from_pretrained(spec["engine"]["model"]), "model", thinking=False)
    order = passage_first if spec["arm"] == "passage-first" else lambda messages: messages
    return [
        (
            one.kind,
            template.tokens(order(one.payload["messages"])),
            SamplingParams(
                temperature=0.0, max_tokens=one.payload["max_tokens"],
                structured_outputs=StructuredOutputsParams(json=one.payload["schema"], disable_any_whitespace=True),
            ),
        )
        for one in heard
    ]  # fmt: skip


def _tokens(requests: list[tuple[str, int, int, int]]) -> dict[str, Any]:
    """Counts over (kind, prompt tokens, generated tokens, cached prompt tokens) of every request."""
    lengths = sorted(generated for _, _, generated, _ in requests)
    prompt, cached = sum(one[1] for one in requests), sum(one[3] for one in requests)
    return {
        "requests": len(requests), "answers": sum(one[0] == "answer" for one in requests),
        "rankings": sum(one[0] == "rank" for one in requests), "prompt_tokens": prompt, "generated_tokens": sum(lengths),
        "cached_tokens": cached, "hit_rate": cached / prompt,
        "lengths": {
            "mean": statistics.fmean(lengths), "median": statistics.median(lengths),
            "p95": lengths[int(0.95 * len(lengths))], "most": lengths[-1],
        },
    }  # fmt: skip


def _limits(config: Any) -> dict[str, Any]:
    """What bounds a step of the engine: it must be the same in every arm."""
    scheduler = config.scheduler_config
    return {
        "max_num_seqs": scheduler.max_num_seqs, "max_num_batched_tokens": scheduler.max_num_batched_tokens,
        "max_model_len": config.model_config.max_model_len, "block_size": config.cache_config.block_size,
        "prefix_caching": config.cache_config.enable_prefix_caching, "async_scheduling": scheduler.async_scheduling,
    }  # fmt: skip


def run_arm(spec: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One arm in a process of its own; what it found, with rates."""
    for leftover in (Path(spec["output"]), folder / "cache"):
        shutil.rmtree(leftover, ignore_errors=True)
    order, answer = folder / "arm.json", folder / "result.json"
    order.write_text(json.dumps(spec))
    answer.unlink(missing_ok=True)
    environment = {
        "VLLM_CPU_KVCACHE_SPACE": str(GIB), "HF_HUB_OFFLINE": "1", "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_LOGGING_STREAM": "ext://sys.stderr", **os.environ, "HF_DATASETS_CACHE": str(folder / "cache"),
    }  # fmt: skip
    load = os.getloadavg()[0]
    command = [sys.executable, str(Path(__file__).resolve()), "arm", str(order), str(answer)]
    subprocess.run(command, env=environment, check=True)
    found: dict[str, Any] = json.loads(answer.read_text())
    tokens = found["prompt_tokens"] + found["generated_tokens"]
    found |= {
        "arm": spec["arm"], "round": spec["round"], "load_before": round(load, 2),
        "requests_per_second": found["requests"] / found["seconds"], "tokens_per_second": tokens / found["seconds"],
    }  # fmt: skip
    if "rows" in found:
        found["rows_per_hour"] = 3600 * found["rows"] / found["seconds"]
        found["whole_requests_per_second"] = found["requests"] / found["whole_seconds"]
    print(f"{spec['arm']}, round {spec['round']}: {found['requests_per_second']:.1f} requests/s", file=sys.stderr)
    return found


def summary(measurement: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the rounds of every arm, and the first arm ÷ each of the others."""
    arms = ARMS[measurement]
    keys = ["seconds", "requests_per_second", "tokens_per_second", "cpu_seconds", "hit_rate", "generated_tokens"]
    first = ["whole_seconds", "whole_requests_per_second", "rows_per_hour", "starved_seconds"]
    medians = {
        arm: {
            key: statistics.median(run[key] for run in runs if run["arm"] == arm)
            for key in [*keys, *(first if arm == "ours" else [])]
        }
        for arm in arms
    }
    rate = "requests_per_second"
    found: dict[str, Any] = {
        "medians": medians,
        "ratios": {f"{arms[0]} ÷ {arm}": medians[arms[0]][rate] / medians[arm][rate] for arm in arms[1:]},
    }
    if arms[0] == "ours":
        found["whole_run_ratios"] = {
            f"ours ÷ {arm}": medians["ours"][f"whole_{rate}"] / medians[arm][rate] for arm in arms[1:]
        }
    return found


def table(runs: list[dict[str, Any]]) -> str:
    """The runs side by side, in Markdown."""
    lines = [
        ["", *(f"{run['arm']} {run['round']}" for run in runs)],
        ["---"] * (len(runs) + 1),
        ["requests (answers + rankings)", *(f"{run['answers']:,} + {run['rankings']:,}" for run in runs)],
        ["prompt tokens", *(f"{run['prompt_tokens']:,}" for run in runs)],
        ["– from the prefix cache", *(f"{run['hit_rate']:.1%}" for run in runs)],
        ["generated tokens", *(f"{run['generated_tokens']:,}" for run in runs)],
        ["– a request: mean, p95, most", *("{mean:.1f}, {p95}, {most}".format(**run["lengths"]) for run in runs)],
        ["seconds", *(f"{run['seconds']:.1f}" for run in runs)],
        ["requests/s", *(f"{run['requests_per_second']:.2f}" for run in runs)],
        ["tokens/s, prompt and generated", *(f"{run['tokens_per_second']:,.0f}" for run in runs)],
        ["CPU seconds of the process that asks", *(f"{run['cpu_seconds']:.1f}" for run in runs)],
    ]
    if any("rows" in run for run in runs):
        own = [
            ("whole run, seconds", "whole_seconds", "{:.1f}"),
            ("whole run, requests/s", "whole_requests_per_second", "{:.2f}"),
            ("rows/hour, both stages", "rows_per_hour", "{:,.0f}"),
            ("seconds with fewer requests than max_num_seqs", "starved_seconds", "{:.1f}"),
        ]
        lines += [[name, *(form.format(run[key]) if key in run else "" for run in runs)] for name, key, form in own]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def model_folder(options: argparse.Namespace, folder: Path) -> tuple[Path, dict[str, Any]]:
    """The model to run and the engine arguments it needs."""
    if options.model:
        return options.model, {}
    made = random_model(folder / "random-50M")
    if not options.shape:
        return made, {}
    return shaped_model(folder / options.shape, options.shape, made), {"load_format": "dummy"}


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All rounds of one measurement."""
    model, needed = model_folder(options, folder)
    source = folder / f"source-{options.rows}-{options.words}.jsonl"
    if not source.exists():
        write_source(source, options.rows, options.words)
    engine = {
        "model": str(model), "enable_prefix_caching": True, "trust_remote_code": False,
        "max_model_len": options.max_model_len, "max_num_seqs": options.max_num_seqs,
        "max_num_batched_tokens": options.max_num_batched_tokens, **needed,
        **{key: yaml.safe_load(value) for key, value in (one.split("=", 1) for one in options.engine_arg)},
    }  # fmt: skip
    arms = [arm for arm in ARMS[options.measurement] if not options.arms or arm in options.arms]
    runs = [
        run_arm(
            {"arm": arm, "round": number, "engine": engine, "source": str(source), "output": str(folder / "out"),
             "requests": str(folder / "requests.pickle"), "max_tokens": options.max_tokens,
             "max_in_flight": options.max_in_flight, "uneven": options.measurement == "uneven"},
            folder,
        )
        for number in range(1, options.rounds + 1)
        for arm in arms
    ]  # fmt: skip
    if len({json.dumps(run["limits"], sort_keys=True) for run in runs}) > 1:
        print("The engines of the arms differ in their limits: see `limits`. The ratios mean nothing.", file=sys.stderr)
    machine = {"cpus": os.cpu_count(), "python": platform.python_version()}
    found = {"measurement": options.measurement, "machine": machine, "engine": engine, "runs": runs}
    return found | (summary(options.measurement, runs) if arms == ARMS[options.measurement] else {})


def arm(order: Path, answer: Path) -> None:
    """In an arm's process: do it and write down what it found."""
    spec = json.loads(order.read_text())
    answer.write_text(json.dumps((ours if spec["arm"] == "ours" else direct)(spec)))


def parse(words: list[str]) -> argparse.Namespace:
    """The options, with the defaults of the measurement asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measurement", choices=list(ARMS))
    parser.add_argument("--rows", type=int, help="rows of the source: 5 answers each, then 1.7 rankings")
    parser.add_argument("--words", type=int, help="words of a passage")
    parser.add_argument("--rounds", type=int, help="times that every arm runs")
    parser.add_argument("--max-tokens", type=int, help="tokens of an answer, at most")
    parser.add_argument("--max-num-seqs", type=int, default=64, help="[default: 64]")
    parser.add_argument("--max-num-batched-tokens", type=int, default=2048, help="[default: 2048]")
    parser.add_argument("--max-model-len", type=int, default=4096, help="[default: 4096]")
    parser.add_argument("--max-in-flight", type=int, help="of our arm [default: that of refine]")
    parser.add_argument("--engine-arg", action="append", default=[], metavar="KEY=VALUE", help="to vLLM, in every arm")
    parser.add_argument("--arms", nargs="+", metavar="ARM", help="only these arms")
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--model", type=Path, help="a model folder [default: the random model of the tests]")
    model.add_argument("--shape", choices=list(SHAPES), help="a model of this shape with made-up weights, for a GPU")
    parser.add_argument(
        "--work", type=Path, help="keep the model, sources and outputs here [default: a temporary folder]"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured here")
    options = parser.parse_args(words)
    for name, value in DEFAULTS[options.measurement].items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def main() -> None:
    if sys.argv[1:2] == ["arm"]:
        arm(*map(Path, sys.argv[2:]))
        return
    options = parse(sys.argv[1:])
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.work or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        found = measure(options, folder)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(table(found["runs"]))
    for name in ("ratios", "whole_run_ratios"):
        for what, ratio in found.get(name, {}).items():
            print(f"{'whole run: ' if name.startswith('whole') else ''}{what}: {ratio:.3f} (medians, requests/s)")


if __name__ == "__main__":
    main()
