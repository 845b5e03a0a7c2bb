"""Ctrl-C in the middle of a push: a branch made for it is taken back, or else named with the command that removes it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hub_push import REPO
from hub_server import TOKEN, HubServer

from arhn_hf.publishing import hub as hub_module
from arhn_hf.publishing.hub import Publisher
from arhn_hf.publishing.hub_target import PushOptions


def interrupted_push(hub: HubServer, folder: Path, home: Path, call: str, *options: str) -> tuple[int, str]:
    """Exit code and error line of `arhn-hf push`, interrupted when `call` has reached the Hub."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background would have it ignored
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "arhn_hf.cli.main", "push", str(folder), REPO, "--license", "cc0-1.0", *options],
            env=hub.environment(home, TOKEN), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, before)
    end = time.monotonic() + 120
    while call not in hub.asked() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    lines = [line for line in err.splitlines() if line.startswith("Error:")]
    assert len(lines) == 1, err
    assert "Traceback" not in err
    return process.returncode, lines[0]


def test_a_branch_made_for_an_interrupted_push_is_taken_back(hub: HubServer, refined: Path, tmp_path: Path) -> None:
    hub.add_repo(REPO)
    hub.fail("preupload", how="stall", seconds=40)
    code, line = interrupted_push(hub, refined, tmp_path, "preupload", "--revision", "side")
    assert code == 130
    assert line == "Error: interrupted"
    assert "branch" in hub.asked(), "it had been made"
    assert list(hub.branches(REPO)) == ["main"]


def test_a_commit_that_was_under_way_is_not_taken_back(hub: HubServer, refined: Path, tmp_path: Path) -> None:
    hub.add_repo(REPO)
    hub.fail("commit", how="stall", seconds=40)
    code, line = interrupted_push(hub, refined, tmp_path, "commit", "--revision", "side")
    assert code == 130
    assert f"look whether {REPO} holds the run" in line
    assert "side" in hub.branches(REPO)


def test_a_branch_that_cannot_be_taken_back_is_named(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Hub has fallen silent meanwhile."""
    monkeypatch.setattr(hub_module, "_UNDO", 0.5)
    hub.add_repo(REPO)
    publisher = Publisher(PushOptions(revision="side"), api=hub.api())
    target = publisher.look(REPO)
    publisher._prepare(target)
    hub.fail("info", how="stall", seconds=3, times=10)
    began = time.monotonic()
    line = publisher.interrupted(target)
    assert time.monotonic() - began < 3
    assert line is not None
    assert f"hf repos branch delete {REPO} side --repo-type dataset" in line


def test_nothing_is_said_where_nothing_was_made(hub: HubServer) -> None:
    hub.add_repo(REPO)
    publisher = Publisher(PushOptions(), api=hub.api())
    assert publisher.interrupted(publisher.look(REPO)) is None


def test_an_empty_repository_that_was_made_is_named(hub: HubServer) -> None:
    publisher = Publisher(PushOptions(), api=hub.api())
    target = publisher.look(REPO)
    publisher._prepare(target)
    line = publisher.interrupted(target)
    assert line is not None
    assert "was created and is empty" in line
