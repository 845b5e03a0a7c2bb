"""What leaves a command: one JSON object or a summary on stdout, all else on stderr, and the promised exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_helpers import HEAD, cli, process, six_rows, write_jsonl

REFINE = HEAD | {
    "output",
    "run_id",
    "method",
    "source",
    "judges",
    "rows",
    "passages",
    "requests",
    "tokens",
    "decisions",
    "per_10_negatives",
    "failures",
    "answerable",
    "variants",
    "gates",
    "push",
    "seconds",
    "shard",
}
INNER = {
    "source": {"id", "revision", "name", "split", "format", "fingerprint"},
    "rows": {"source", "sampled", "judged", "skipped", "invalid"},
    "passages": {"positives", "negatives", "unique_pairs", "truncated"},
    "requests": {"answers", "rankings", "from_store", "sent", "retried"},
    "tokens": {"prompt", "completion", "prefix_cached"},
    "decisions": {"relabel", "filter", "keep", "duplicate", "undecided"},
    "per_10_negatives": {"relabel", "filter"},
    "failures": {"count", "of", "rate", "limit", "by_status"},
}
VARIANT = {"rows", "rows_changed", "rows_dropped", "positives", "negatives"}


def test_refine_with_the_reader_in_a_process(sample: Path, tmp_path: Path) -> None:
    done = process("refine", sample, "--sample", 4, "--output", tmp_path / "out", "--json", "--min-answerable", 0)
    report = done.json
    assert done.code == 0
    assert done.err == ""
    assert report.keys() == REFINE
    assert report["command"] == "refine"
    for key, names in INNER.items():
        assert report[key].keys() >= names, key
    assert report["judges"]["reader"].keys() == {"kind", "model", "revision"}
    assert report["judges"]["reader"]["kind"] == "reader"
    assert report["variants"].keys() == {"combined", "relabel", "filter"}
    assert all(one.keys() == VARIANT for one in report["variants"].values())
    assert report["gates"]
    assert all(gate.keys() == {"name", "limit", "value", "ok"} for gate in report["gates"])
    assert report["push"] is None
    assert report["rows"]["sampled"] == 4
    assert report["requests"]["sent"] > 0
    again = cli("check", tmp_path / "out", "--json")
    assert again.code == 0, again.out


def test_refine_prints_its_summary_to_stdout_and_progress_to_stderr(
    scripted: object, sample: Path, tmp_path: Path
) -> None:
    done = cli("refine", sample, "--output", tmp_path / "out")
    assert done.code == 0
    assert "What became of the negatives" in done.out
    assert "Negatives left per row (combined)" in done.out
    assert f'load_dataset("{tmp_path / "out"}", "combined", split="train")' in done.out.replace("\n", "")
    assert re.search(r"^[a-z ]+: .*66 rows", done.err, re.MULTILINE), "which short stages are seen is a matter of time"
    assert "Subset 'facts' is left untouched" in done.err
    assert "What became" not in done.err
    per_row = re.search(
        r"Tokens per row: (\d+) of prompts computed, 0 from the prefix cache,\s+(\d+) generated", done.out
    )
    assert per_row is not None
    assert int(per_row[1]) == pytest.approx(5 * int(per_row[2]), abs=3), "ten and two tokens a request"
    for subset in ("claims", "definitions", "facts", "howto", "numbers", "yesno"):
        assert subset in done.out


def test_quiet_says_nothing(scripted: object, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "source.jsonl", six_rows())
    for words in (
        ("refine", source, "--output", tmp_path / "out", "--quiet"),
        ("plan", source, "-q"),
        ("check", tmp_path / "out", "-q"),
        ("derive", tmp_path / "out", "--output", tmp_path / "derived", "-q"),
    ):
        done = cli(*words)
        assert (done.code, done.out, done.err) == (0, "", ""), words
    bad = cli("check", tmp_path / "absent", "--quiet")
    assert bad.code == 2
    assert (
        bad.error == f"Error: {tmp_path / 'absent'}: no such folder. Name a folder, or a Hub dataset (namespace/name)"
    )


def test_json_wins_over_quiet(refined: Path) -> None:
    assert cli("check", refined, "--json", "--quiet").json["command"] == "check"


def test_check_object(refined: Path) -> None:
    done = cli("check", refined, "--json")
    report = done.json
    assert report.keys() == HEAD | {"folder", "run_id", "promises", "gates"}
    assert all(one.keys() == {"name", "ok", "checked", "broken", "examples"} for one in report["promises"])
    assert {one["name"]: one["ok"] for one in report["promises"]} == {
        "failures_are_never_clean": True,
        "no_request_paid_twice": None,
        "decisions_follow_from_evidence": True,
        "snippets_are_verbatim": True,
        "combined_holds_every_passage_once": True,
        "relabel_holds_every_passage_once": True,
        "filter_holds_every_passage_once": True,
        "lineage_is_true": True,
        "one_commit": None,
    }
    assert done.err == ""


def test_check_table(refined: Path) -> None:
    done = cli("check", refined)
    assert done.code == 0
    assert "decisions follow from evidence" in done.out
    assert "not visible from outside" in done.out
    assert "gate max_failures 0.02" in done.out
    assert "Plan for" not in done.err


def test_derive_object(refined: Path, tmp_path: Path) -> None:
    report = cli("derive", refined, "--output", tmp_path / "out", "--json").json
    assert report.keys() == REFINE
    assert report["command"] == "derive"
    assert report["requests"] == {"answers": 0, "rankings": 0, "from_store": 0, "sent": 0, "retried": 0}


def test_plan_object(sample: Path) -> None:
    done = cli("plan", sample, "--json")
    report = done.json
    assert done.err == ""
    assert report.keys() >= HEAD | {
        "source",
        "columns",
        "writes",
        "rows",
        "passages",
        "duplicates",
        "near_duplicate_clusters",
        "invalid",
        "subsets",
        "judge",
        "stage_1",
        "stage_2",
        "truncated",
    }
    assert report["source"]["format"] == "tevatron"
    assert report["rows"] == {"source": 66, "judged": 66, "invalid": 0, "not_english": 0}
    assert report["passages"] == {"positives": 82, "negatives": 655, "unique_pairs": 731}
    assert report["stage_1"]["exact"] is True
    assert report["stage_1"]["requests"] == {"total": 718, "low": None, "high": None}
    assert report["stage_1"]["tokens"]["total"] > 20_000
    assert report["subsets"]["claims"] == {"rows": 11, "criterion": "claim", "filter_only": False}


def test_plan_table(sample: Path) -> None:
    done = cli("plan", sample, "--criterion", "yesno=skip", "--filter-only", "howto")
    assert done.code == 0
    for words in (
        "82 positives, 655 negatives",
        "different requests",
        "left as it is",
        "filter only, no relabeling",
        "tevatron",
    ):
        assert words in done.out, words
    assert "Plan for" not in done.err


def test_show_object(refined: Path) -> None:
    report = cli("show", refined, "--row", 3, "--json").json
    assert report.keys() == HEAD | {"rows"}
    (row,) = report["rows"]
    assert row.keys() == {"row", "query", "subset", "query_id", "passages"}
    assert row["row"] == 3
    for passage in row["passages"]:
        assert passage.keys() >= {"title", "text", "label", "position", "action", "reason", "answer_status", "snippet"}
        if passage["snippet"]:
            field = passage[passage["snippet_field"]]
            assert field[passage["snippet_start"] : passage["snippet_end"]] == passage["snippet"]


@pytest.mark.parametrize(
    ("words", "command", "code", "message", "where", "hint"),
    [
        (["--json"], "arhn-hf", 2, "No such option '--json'", None, "arhn-hf --help"),
        (["nope", "--json"], "arhn-hf", 2, "No such command 'nope'", None, "arhn-hf --help"),
        (["refine", "--json"], "refine", 2, "no source given", None, "Name a Hub dataset"),
        (["refine", "--sampel", "3", "--json"], "refine", 2, "No such option '--sampel'", None, "refine --help"),
        (["refine", "x", "--sample", "0", "--json"], "refine", 2, "0 is not in the range", "--sample", "refine --help"),
        (["plan", "x", "--no-relabel=3", "--json"], "plan", 2, "does not take a value", None, "plan --help"),
        (
            ["plan", "x", "--variants", "best", "--json"],
            "plan",
            2,
            "choose from combined, relabel, filter",
            "--variants",
            None,
        ),
        (["plan", "/nowhere.jsonl", "--json"], "plan", 2, "no such file or folder", "/nowhere.jsonl", None),
        (["check", "/nowhere", "--json"], "check", 2, "no such folder", "/nowhere", "Name a folder"),
        (["derive", "/", "--json"], "derive", 2, "Missing option '--output'", None, "derive --help"),
        (["show", "/", "--json", "--limit", "0"], "show", 2, "not in the range", "--limit", "show --help"),
        (["completion", "tcsh", "--json"], "completion", 2, "No such option", None, "completion --help"),
    ],
)
def test_errors_as_one_object(
    words: list[str],
    command: str,
    code: int,
    message: str,
    where: str | None,
    hint: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli(*words)
    report = done.json
    assert report.keys() == HEAD
    assert (report["command"], done.code) == (command, code)
    assert report["error"].keys() == {"message", "where", "hint"}
    assert message in report["error"]["message"]
    assert report["error"]["where"] == where
    assert (hint is None) == (report["error"]["hint"] is None)
    assert hint is None or hint in report["error"]["hint"]
    assert done.err == ""
    assert list(tmp_path.iterdir()) == [], "a mistyped command leaves nothing behind"


def test_the_bare_command_shows_its_help() -> None:
    done = process()
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("Usage: arhn-hf")
    assert "\nCommands:\n" in done.err


def test_exit_codes_of_a_process(refined: Path, tmp_path: Path) -> None:
    usage = process("check", tmp_path)
    assert usage.code == 2
    assert usage.error == f"Error: {tmp_path}: is not a folder that arhn-hf wrote (no arhn.json)"
    gate = process("check", refined, "--min-rows", 1000, "--json")
    assert gate.code == 3
    assert gate.json["error"] is None


def test_a_broken_gate_still_writes_the_folder(scripted: object, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "source.jsonl", six_rows())
    done = cli("refine", source, "--output", tmp_path / "out", "--min-answerable", 0, "--min-relabel", 9.5)
    assert done.code == 3
    assert "Gate failed: min_relabel is" in done.out
    assert (tmp_path / "out" / "arhn.json").is_file()
    assert cli("check", tmp_path / "out").code == 3, "the recorded limit is tested again"
    assert cli("check", tmp_path / "out", "--min-relabel", 0).code == 0


def test_an_unexpected_failure_is_one_line_and_exit_1(refined: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*words: object, **more: object) -> None:
        raise RuntimeError("two\nlines \x1b[31m")

    monkeypatch.setattr("arhn_hf.checks.check", broken)
    done = cli("check", refined)
    assert done.code == 1
    assert done.err.count("\n") == 1
    assert "unexpected RuntimeError: two lines" in done.error
    assert "\x1b" not in done.err
    assert "Traceback" in cli("check", refined, "-v").err
    assert cli("check", refined, "--json").json["status"] == "failed"


def test_a_full_disk_is_exit_1_and_says_what_to_do(refined: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*words: object, **more: object) -> None:
        raise OSError(28, "No space left on device", "/somewhere/file")

    monkeypatch.setattr("arhn_hf.checks.check", full)
    done = cli("check", refined)
    assert done.code == 1
    assert "/somewhere/file: the disk is full. Free some space and run the same command again" in done.error


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_stop_a_run_and_say_how_to_go_on(number: int, code: int, sample: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "arhn_hf.cli.main",
        "refine",
        str(sample),
        "--output",
        str(tmp_path / "out"),
        "--json",
    ]
    log = tmp_path / "out" / ".arhn" / "run.jsonl"
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509 - no thread runs here
    ) as running:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (log.is_file() and "reading passages" in log.read_text()):
            time.sleep(0.05)
        running.send_signal(number)
        stopped = time.monotonic()
        out, _ = running.communicate(timeout=30)
    assert time.monotonic() - stopped < 15
    assert running.returncode == code
    report = json.loads(out)
    assert report["exit_code"] == code
    assert report["error"]["message"] == "interrupted"
    assert "it goes on where it stopped" in report["error"]["hint"]


def test_output_that_nobody_reads_is_no_traceback(refined: Path) -> None:
    command = f"{sys.executable} -m arhn_hf.cli.main show {refined} --limit 60 | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith("Row 0")
    assert "Traceback" not in done.stderr


def test_a_terminal_without_unicode_gets_the_result(refined: Path) -> None:
    done = process("show", refined, "--row", "3", env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert done.code == 0, done.err
    assert "Row 3" in done.out
