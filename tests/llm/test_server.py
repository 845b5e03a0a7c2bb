"""The server judge over real HTTP with the real client: faults, retries, degradation, and what is never printed."""

from __future__ import annotations

import threading
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from fake_server import FakeServer, Fault, completion, error

import arhn_hf
from arhn_hf.engines import server as engine_module
from arhn_hf.engines.base import EngineError
from arhn_hf.monitor import Monitor
from arhn_hf.pipeline import RefineResult


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "_FIRST_PAUSE", 0.02)
    monkeypatch.setattr(engine_module, "_LONGEST_PAUSE", 0.2)


def go(fake: FakeServer, source: Path, output: Path, **options: Any) -> RefineResult:
    values = {"base_url": fake.url, "model": "me/model", "min_answerable": 0.0, "sample": 5, **options}
    return arhn_hf.refine(str(source), output=str(output), judge="server", **values)


def test_a_server_judges_with_structured_output_and_bounded_concurrency(sample: Path, tmp_path: Path) -> None:
    with FakeServer().running() as fake:
        fake.pause = 0.01
        result = go(fake, sample, tmp_path / "out", concurrency=3, variants="combined,filter")
    assert result.exit_code == 0
    assert 1 < fake.busiest <= 3
    assert len(fake.seen) == result.requests["sent"]
    assert all(body["response_format"]["type"] == "json_schema" for body in fake.seen)
    assert all(body["temperature"] == 0 and body["max_tokens"] > 0 for body in fake.seen)
    assert all(body["chat_template_kwargs"] == {"enable_thinking": False} for body in fake.seen)
    assert result.tokens == {
        "prompt": 11 * len(fake.seen), "completion": 3 * len(fake.seen), "prefix_cached": 5 * len(fake.seen),
    }  # fmt: skip


def test_the_models_identity_is_unverified_unless_the_person_names_it(sample: Path, tmp_path: Path) -> None:
    with FakeServer().running() as fake:
        plain = go(fake, sample, tmp_path / "a")
        named = go(fake, sample, tmp_path / "b", model_revision="abc123")
    assert plain.judges["server"]["revision"] == "unverified"
    assert "unverified" in (tmp_path / "a" / "README.md").read_text(encoding="utf-8")
    assert named.judges["server"]["revision"] == "abc123"


def test_passing_trouble_is_tried_again_and_retry_after_is_honoured(sample: Path, tmp_path: Path) -> None:
    with FakeServer().running() as fake:
        fake.faults = [error(429, retry_after="0.7"), error(500), error(503), error(429), error(502)]
        started = time.monotonic()
        result = go(fake, sample, tmp_path / "out", concurrency=1)
    assert result.exit_code == 0
    assert result.failures["count"] == 0
    assert len(fake.seen) == result.requests["sent"] + 5
    assert fake.times[1] - fake.times[0] >= 0.65
    assert time.monotonic() - started < 60


def test_retry_after_may_be_a_date(sample: Path, tmp_path: Path) -> None:
    when = formatdate(time.time() + 3, usegmt=True)  # whole seconds
    with FakeServer().running() as fake:
        fake.faults = [error(503, retry_after=when)]
        result = go(fake, sample, tmp_path / "out", concurrency=1)
    assert result.exit_code == 0
    assert fake.times[1] - fake.times[0] >= 1.5


def test_a_storm_of_429_ends_when_the_server_recovers(sample: Path, tmp_path: Path) -> None:
    with FakeServer().running() as fake:
        until = time.monotonic() + 1.5
        fake.always = lambda body: error(429) if time.monotonic() < until else None
        result = go(fake, sample, tmp_path / "out")
    assert result.exit_code == 0
    assert result.failures["count"] == 0


def test_a_server_that_is_gone_for_a_while_is_waited_for(sample: Path, tmp_path: Path) -> None:
    fake = FakeServer()
    with fake.running():
        port = fake.port
    outcome: dict[str, Any] = {}

    def work() -> None:
        outcome["result"] = go(fake, sample, tmp_path / "out")

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(1.5)
    with fake.running(port):
        thread.join(60)
    assert outcome["result"].exit_code == 0


def test_a_server_that_stays_away_ends_the_run_and_keeps_what_is_finished(sample: Path, tmp_path: Path) -> None:
    fake = FakeServer()
    with fake.running():
        fake.always = lambda body: error(503) if len(fake.seen) > 20 else None
        with pytest.raises(EngineError, match="away"):
            go(fake, sample, tmp_path / "out", patience=0.5, concurrency=1)
        fake.always = lambda body: None
        before = len(fake.seen)
        result = go(fake, sample, tmp_path / "out", concurrency=1)
    assert result.exit_code == 0
    assert result.requests["from_store"] == 20
    assert len(fake.seen) - before == result.requests["sent"]


def test_a_time_out_is_tried_again(sample: Path, tmp_path: Path) -> None:
    with FakeServer().running() as fake:
        first = threading.Event()

        def slow_once(body: dict[str, Any]) -> None:
            if not first.is_set():
                first.set()
                time.sleep(1.6)

        fake.always = slow_once
        result = go(fake, sample, tmp_path / "out", request_timeout=1.0, concurrency=2)
    assert result.exit_code == 0
    assert result.failures["count"] == 0


@pytest.mark.parametrize(
    ("refused", "message", "said"),
    [
        ("response_format", "response_format is not supported", "structured output"),
        ("chat_template_kwargs", "Unknown parameter: 'chat_template_kwargs'.", "chat_template_kwargs"),
        ("max_tokens", "'max_tokens' is not supported with this model. Use 'max_completion_tokens'.", "max_completion"),
    ],
)
def test_what_a_server_does_not_take_is_left_out_once_and_said(
    sample: Path, tmp_path: Path, refused: str, message: str, said: str
) -> None:
    others = {"response_format", "chat_template_kwargs", "max_tokens"} - {refused}
    with FakeServer().running() as fake:
        fake.always = lambda body: error(400, message) if refused in body else None
        monitor = Monitor()
        result = go(fake, sample, tmp_path / "out", monitor=monitor)
    assert result.exit_code == 0
    assert result.failures["count"] == 0
    assert sum(said in line for line in monitor.notices) == 1
    assert others <= fake.seen[-1].keys(), "only what was refused is left out"
    assert fake.seen[-1].get("max_tokens") or fake.seen[-1]["max_completion_tokens"] > 0


def test_a_model_that_takes_no_temperature_is_refused_with_a_way_out(sample: Path, tmp_path: Path) -> None:
    """Dropping it in silence would sample where the card says greedy."""
    with FakeServer().running() as fake:
        fake.always = lambda body: error(400, "Unsupported value: 'temperature'") if "temperature" in body else None
        with pytest.raises(EngineError, match="temperature") as caught:
            go(fake, sample, tmp_path / "out")
        assert "--thinking" in str(caught.value.hint)
        result = go(fake, sample, tmp_path / "out", thinking=True)
    assert result.exit_code == 0
    assert result.judges["server"]["kind"] == "server"


def test_windows_shrink_to_what_the_server_can_hold(sample: Path, tmp_path: Path) -> None:
    def small(body: dict[str, Any]) -> Fault | None:
        too_many = body["messages"][1]["content"].count("<<passage ") > 2
        return error(400, "This model's maximum context length is 900 tokens.") if too_many else None

    with FakeServer().running() as fake:
        fake.always = small
        monitor = Monitor()
        result = go(fake, sample, tmp_path / "out", monitor=monitor, window_positives=1)
    assert result.exit_code == 0
    assert result.failures["count"] == 0
    assert sum("shrink" in line for line in monitor.notices) == 1


@pytest.mark.parametrize(("status", "match"), [(401, "API key"), (403, "API key"), (404, "does not know")])
def test_what_will_not_pass_ends_the_run_at_once(sample: Path, tmp_path: Path, status: int, match: str) -> None:
    with FakeServer().running() as fake:
        fake.always = lambda body: error(status, "secret-key-123 is wrong")
        with pytest.raises(EngineError, match=match) as caught:
            go(fake, sample, tmp_path / "out")
    assert "secret" not in str(caught.value)


def test_the_api_key_is_sent_and_never_written(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    with FakeServer().running() as fake:
        result = go(fake, sample, tmp_path / "out")
    assert set(fake.keys) == {"Bearer sk-very-secret"}
    printed = "".join(capfd.readouterr())
    files = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert "sk-very-secret" not in printed + str(result.report)
    assert b"sk-very-secret" not in files


def test_one_bad_request_is_marked_and_the_run_goes_on(sample: Path, tmp_path: Path) -> None:
    with FakeServer().running() as fake:
        fake.faults = [error(400, "this prompt is too long")]
        result = go(fake, sample, tmp_path / "out", max_failures=1.0, concurrency=1)
    assert result.exit_code == 0
    assert result.requests["sent"] > 20


@pytest.mark.parametrize(
    ("finish", "text", "status"),
    [
        ("length", '{"answer": "half', "cut_off"),
        ("content_filter", "", "refused"),
        ("stop", "", "malformed"),
        ("stop", '{"answer": "half', "malformed"),
        ("stop", "I would rather not say.", "malformed"),
        ("stop", '{"answer": 7}', "malformed"),
        ("stop", '{"answer": "words that stand nowhere in it"}', "ungrounded"),
    ],
)
def test_replies_that_are_no_answer_are_named(
    sample: Path, tmp_path: Path, finish: str, text: str, status: str
) -> None:
    with FakeServer().running() as fake:
        fake.always = lambda body: (200, {}, completion(body, finish, text))
        result = go(fake, sample, tmp_path / "out", sample=2)
    assert result.exit_code == 3
    assert set(result.failures["by_status"]) == {status}


@pytest.mark.parametrize(
    ("finish", "text", "statuses"),
    [
        ("length", "[2, 1", {"cut_off"}),
        ("stop", "", {"malformed"}),
        ("stop", "[2, 1", {"malformed"}),
        ("stop", "The second one.", {"malformed"}),
        ("stop", "[1, 1]", {"malformed"}),
        ("stop", "[97, 98, 99]", {"malformed"}),
        ("stop", "[1, 2]", {"ranked", "partial"}),
    ],
    ids=["cut off", "empty", "half JSON", "no JSON", "repeated", "invented", "missing"],
)
def test_rankings_that_are_not_whole_are_named_and_decide_nothing(
    sample: Path, tmp_path: Path, finish: str, text: str, statuses: set[str]
) -> None:
    def only_rankings(body: dict[str, Any]) -> Fault | None:
        ranks = body["messages"][1]["content"].count("<<passage ") > 2  # two passages are ranked by [1, 2] in whole
        return (200, {}, completion(body, finish, text)) if ranks else None

    with FakeServer().running() as fake:
        fake.always = only_rankings
        go(fake, sample, tmp_path / "out", sample=12, max_failures=1.0)
    evidence = pq.read_table(next((tmp_path / "out" / "evidence").glob("*.parquet"))).to_pylist()
    by_row: dict[int, list[dict[str, Any]]] = {}
    for one in evidence:
        by_row.setdefault(one["row"], []).append(one)
    ranked_rows = [[one for one in row if one["rank_status"] != "not_ranked"] for row in by_row.values()]
    large = [row for row in ranked_rows if len(row) > 2]
    assert large
    assert {one["rank_status"] for row in large for one in row} == statuses
    for row in large:
        for one in row:
            if one["label"] == "negative" and one["rank_status"] != "ranked":
                assert (one["action"], one["reason"]) == ("undecided", "ranking_failed")
