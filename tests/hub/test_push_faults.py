"""Whatever fails on the way to the Hub, whenever and however: what passes is outlived, and what stays ends in one line.

After a failure the repository is as it was, or, where the Hub failed after the commit, it holds all of it and the line
names the commit; the same command then goes on and sends no byte twice.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hub_push import REPO, failure, held, holds_all_of, refine_into, send, state, writes
from hub_server import HubServer
from huggingface_hub import close_session

from arhn_hf.publishing.hub import download
from arhn_hf.records import ArhnError, UsageError

EXISTING = {"revision": "side", "tag": "v1"}
"""Onto a repository that is there: to a branch that is not, with a tag."""
NEW = {"tag": "v1"}
CALLS = {
    "existing": (
        "whoami", "info", "resolve_head", "resolve_get", "refs", "branch", "validate_yaml", "preupload", "lfs_batch",
        "lfs_put", "lfs_verify", "commit", "tree", "tag",
    ),
    "new": ("whoami", "info", "create_repo", "validate_yaml", "preupload", "lfs_batch", "lfs_put", "lfs_verify",
            "commit", "tree", "resolve_head", "resolve_get", "refs", "tag"),
}  # fmt: skip
OPTIONS = {"existing": EXISTING, "new": NEW}
FILLING = frozenset({"create_repo", "preupload", "lfs_batch", "lfs_put", "commit"})
"""Calls that may find the storage full."""
PASSING: dict[str, dict[str, Any]] = {
    "a status of 500": {"status": 500},
    "a page of HTML": {"status": 502, "body": b"<html><body>Bad gateway</body></html>"},
    "too many requests": {"status": 429, "headers": {"Retry-After": "1"}},
    "a reset": {"how": "reset"},
    "a failure after the effect": {"how": "after_effect", "status": 500},
    "a lost answer": {"how": "lost"},
}
STAYING: dict[str, dict[str, Any]] = {
    "unavailable": {"status": 503},
    "forbidden": {"status": 403, "body": {"error": "no\nway, see http://hub/why and hf_abcdefghijklmnop"}},
    "no room": {"status": 413, "body": {"error": "storage limit reached"}},
    "resets": {"how": "reset"},
}
CASES = [(scene, call) for scene in ("existing", "new") for call in CALLS[scene]]
ONCE = [*((("existing", call)) for call in CALLS["existing"]), ("new", "create_repo"), ("new", "info")]

pytestmark = pytest.mark.usefixtures("slept")


def stage(hub: HubServer, scene: str, older: Path) -> Any:
    """The repository before the push, with the store of large files emptied so that all bytes are to be sent."""
    if scene == "existing" and ("dataset", REPO) not in hub.memory.repos:
        send(hub, older)
    hub.memory.lfs.clear()
    hub.lfs_bytes_received = 0
    return state(hub)


def clear(hub: HubServer) -> None:
    """Forget a push, and what was ordered."""
    hub.memory.repos.pop(("dataset", REPO), None)
    hub._faults.clear()
    hub.requests.clear()


def revision_of(scene: str) -> str:
    return OPTIONS[scene].get("revision", "main")


@pytest.fixture(scope="session")
def asked(refined: Path, older: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Counter[str]]:
    """How often each call comes in a push in which nothing fails."""
    found = {}
    for scene in CALLS:
        with HubServer().running() as hub:
            stage(hub, scene, older)
            hub.requests.clear()
            send(hub, refined, **OPTIONS[scene])
            found[scene] = Counter(hub.asked())
    return found


@pytest.mark.parametrize("scene", CALLS)
def test_every_call_of_a_push_is_failed_here(asked: dict[str, Counter[str]], scene: str) -> None:
    assert set(asked[scene]) == set(CALLS[scene])


@pytest.mark.parametrize("fault", PASSING)
@pytest.mark.parametrize(("scene", "call"), ONCE)
def test_what_passes_is_outlived(
    hub: HubServer, refined: Path, older: Path, asked: dict[str, Counter[str]], scene: str, call: str, fault: str
) -> None:
    for n in range(asked[scene][call]):
        stage(hub, scene, older)
        hub.requests.clear()
        hub.fail(call, after=n, **PASSING[fault])
        done = send(hub, refined, **OPTIONS[scene])
        assert hub.branches(REPO)[revision_of(scene)] == done.commit
        assert hub.tags(REPO) == {"v1": done.commit}
        assert holds_all_of(hub, refined, revision=revision_of(scene))
        assert len(hub.history(REPO, done.commit)) == (3 if scene == "existing" else 2)
        assert hub.asked()[-1] in ("tag", "refs")
        clear(hub)


def test_the_pause_that_the_hub_asks_for_is_kept(hub: HubServer, refined: Path, slept: list[float]) -> None:
    hub.fail("commit", status=429, headers={"Retry-After": "17"})
    hub.fail("whoami", status=503, headers={"Retry-After": "99999"})
    send(hub, refined)
    assert slept[-1] >= 17
    assert 60 <= slept[0] <= 300


@pytest.mark.parametrize(
    ("scene", "call", "fault"),
    [(*case, fault) for case in CASES for fault in STAYING if fault != "no room" or case[1] in FILLING],
)
def test_what_stays_ends_in_one_line_and_changes_nothing(
    hub: HubServer, refined: Path, older: Path, asked: dict[str, Counter[str]], scene: str, call: str, fault: str
) -> None:
    for n in range(asked[scene][call]):
        before = stage(hub, scene, older)
        hub.requests.clear()
        hub.fail(call, times=10**6, after=n, **STAYING[fault])
        line = str(failure(lambda: send(hub, refined, **OPTIONS[scene])))
        assert REPO in line
        hub._faults.clear()
        as_before_or_published(hub, scene, refined, before, line)
        there, since = set(hub.memory.lfs), len(hub.requests)
        done = send(hub, refined, **OPTIONS[scene])
        assert holds_all_of(hub, refined, revision=revision_of(scene))
        assert hub.tags(REPO) == {"v1": done.commit}
        assert len(hub.history(REPO, done.commit)) == (3 if scene == "existing" else 2)
        assert not any(one.path.rsplit("/", 1)[-1] in there for one in hub.requests[since:] if one.call == "lfs_put")
        clear(hub)


def as_before_or_published(hub: HubServer, scene: str, refined: Path, before: Any, line: str) -> None:
    """After a failure: as it was, or new, empty and named, or holding all of it, and the line names the commit."""
    now = state(hub)
    if "commit" in hub.asked() and now != before and revision_of(scene) in hub.branches(REPO):
        sha = hub.branches(REPO)[revision_of(scene)]
        if holds_all_of(hub, refined, revision=sha):
            assert sha[:12] in line, f"published, and not said: {line}"
            return
    if before is None and now is not None:
        assert (set(held(hub)), hub.tags(REPO), list(hub.branches(REPO))) == (set(), {}, ["main"])
        assert f"{REPO} was created" in line
        return
    assert now == before
    assert "was created" not in line


def test_a_quota_is_named_as_such(hub: HubServer, refined: Path) -> None:
    for status, call in ((403, "lfs_batch"), (413, "lfs_put"), (403, "commit"), (507, "preupload")):
        body = {"error": "Private repository storage limit reached, please upgrade your plan"}
        hub.fail(call, status=status, body=body, times=100)
        line = str(failure(lambda: send(hub, refined)))
        assert "no room" in line, (call, line)
        clear(hub)


def test_a_commit_that_is_stale_without_anybody_having_committed(hub: HubServer, refined: Path, older: Path) -> None:
    before = stage(hub, "existing", older)
    hub.fail("commit", status=412)
    line = str(failure(lambda: send(hub, refined, **EXISTING)))
    assert "in the meantime" in line
    assert state(hub) == before
    send(hub, refined, **EXISTING)
    assert holds_all_of(hub, refined, revision="side")


@pytest.mark.parametrize("how", ["lost", "after_effect", "reset"])
def test_a_pull_request_of_which_nothing_is_known_is_not_opened_twice(
    hub: HubServer, refined: Path, older: Path, how: str
) -> None:
    send(hub, older)
    hub.fail("commit", how=how)
    line = str(failure(lambda: send(hub, refined, create_pr=True)))
    assert "pull request" in line
    assert len(hub.pull_requests(REPO)) == (0 if how == "reset" else 1)
    assert holds_all_of(hub, older)


@pytest.mark.parametrize("call", ["info", "preupload", "lfs_batch", "lfs_put", "tree"])
def test_a_fault_of_a_pull_request_that_passes_is_outlived(
    hub: HubServer, refined: Path, older: Path, call: str
) -> None:
    send(hub, older)
    hub.fail(call, status=500)
    send(hub, refined, create_pr=True)
    assert holds_all_of(hub, refined, revision="refs/pr/1")
    assert list(hub.pull_requests(REPO)) == ["1"]


def test_a_commit_whose_answer_was_lost_is_found_below_a_later_one(hub: HubServer, refined: Path, older: Path) -> None:
    send(hub, older)
    hub.fail("commit", how="lost")
    hub.before("commits", lambda: hub.commit(REPO, {"notes.md": b"theirs"}))
    done = send(hub, refined, tag="v1")
    newest, ours, *_ = hub.history(REPO)
    assert (newest.title, done.commit, hub.tags(REPO)) == ("Meanwhile", ours.sha, {"v1": ours.sha})


def test_bytes_that_arrived_are_not_sent_again(hub: HubServer, refined: Path) -> None:
    hub.fail("commit", status=403, times=100)
    failure(lambda: send(hub, refined))
    sent = hub.lfs_bytes_received
    assert sent >= sum(path.stat().st_size for path in refined.glob("*/train-*"))
    hub._faults.clear()
    send(hub, refined)
    assert hub.lfs_bytes_received == sent


def test_large_files_go_in_parts_and_a_part_may_fail(hub: HubServer, refined: Path) -> None:
    hub.memory.part_size = 5000
    hub.fail("lfs_put_part", status=500, after=1)
    hub.fail("lfs_complete", status=500)
    send(hub, refined)
    assert holds_all_of(hub, refined)
    assert hub.asked("lfs_put_part")


def test_a_branch_that_was_there_stays_after_a_failure(hub: HubServer, refined: Path, older: Path) -> None:
    send(hub, older, revision="side")
    before = state(hub)
    hub.fail("commit", status=403, times=100)
    failure(lambda: send(hub, refined, revision="side"))
    assert state(hub) == before


def test_a_file_that_the_hub_changed_on_the_way_is_noticed(hub: HubServer, refined: Path) -> None:
    def spoil() -> None:
        for oid in hub.memory.lfs:
            hub.memory.lfs[oid] = b"spoilt"

    hub.before("commit", spoil)
    line = str(failure(lambda: send(hub, refined)))
    assert "does not hold what was sent" in line
    assert hub.branches(REPO)["main"][:12] in line


# Nobody answers.


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("scene", "call"), [case for case in ONCE if case[1] != "lfs_put"])
def test_an_answer_that_does_not_come_is_not_waited_for(
    hub: HubServer, refined: Path, older: Path, scene: str, call: str
) -> None:
    stage(hub, scene, older)
    hub.fail(call, how="stall", seconds=4)
    start = time.monotonic()
    done = send(hub, refined, **OPTIONS[scene])
    assert time.monotonic() - start < 3.5
    assert hub.tags(REPO) == {"v1": done.commit}
    assert holds_all_of(hub, refined, revision=revision_of(scene))


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("call", ["info", "whoami", "commit", "tag"])
def test_a_hub_that_never_answers_ends_in_one_line(hub: HubServer, refined: Path, older: Path, call: str) -> None:
    before = stage(hub, "existing", older)
    hub.fail(call, how="stall", seconds=6, times=100)
    start = time.monotonic()
    line = str(failure(lambda: send(hub, refined, **EXISTING)))
    assert time.monotonic() - start < 5.5
    assert "did not answer" in line
    hub._faults.clear()
    as_before_or_published(hub, "existing", refined, before, line)


@pytest.mark.usefixtures("impatient")
def test_a_hub_that_falls_silent_while_a_branch_is_taken_back_is_not_waited_for(
    hub: HubServer, refined: Path, older: Path
) -> None:
    stage(hub, "existing", older)

    def silence() -> None:
        for call in ("info", "delete_branch"):
            hub.fail(call, how="stall", seconds=6, times=100)

    hub.before("commit", silence)
    hub.fail("commit", status=403, times=100)
    start = time.monotonic()
    line = str(failure(lambda: send(hub, refined, **EXISTING)))
    assert time.monotonic() - start < 5.5
    assert re.search(r"branch.*side", line), f"the branch is left behind, and not said: {line}"


def test_a_hub_that_is_not_there_ends_in_one_line(refined: Path) -> None:
    with HubServer().running() as gone:
        pass
    line = str(failure(lambda: send(gone, refined)))
    assert "did not answer" in line


@pytest.mark.usefixtures("impatient")
def test_the_time_limit_outlives_a_connection_that_is_refused(hub: HubServer, refined: Path) -> None:
    hub.before("whoami", close_session)  # as the client does when it cannot connect
    hub.fail("preupload", how="stall", seconds=4)
    start = time.monotonic()
    send(hub, refined)
    assert time.monotonic() - start < 3.5


# Refining, and looking at what is published.


def test_a_push_that_fails_after_refining_says_how_to_go_on(hub: HubServer, sample: Path, tmp_path: Path) -> None:
    hub.fail("commit", status=403, times=100)
    error, engine = refine_into(hub, sample, tmp_path / "out")
    assert isinstance(error, ArhnError)
    assert f"arhn-hf push {tmp_path / 'out'} {REPO}" in str(error)
    assert engine.count > 0
    hub._faults.clear()
    send(hub, tmp_path / "out")
    assert holds_all_of(hub, tmp_path / "out")


def test_a_hub_that_fails_at_the_first_look_costs_no_judging(hub: HubServer, sample: Path, tmp_path: Path) -> None:
    for call in ("whoami", "info"):
        hub.fail(call, status=503, times=100)
        error, engine = refine_into(hub, sample, tmp_path / "out")
        assert (isinstance(error, ArhnError), engine.count, writes(hub)) == (True, 0, [])
        clear(hub)


@pytest.mark.parametrize("call", ["info", "tree", "resolve_head", "resolve_get"])
@pytest.mark.parametrize("fault", ["a status of 500", "a reset"])
def test_a_download_outlives_what_passes(hub: HubServer, refined: Path, tmp_path: Path, call: str, fault: str) -> None:
    done = send(hub, refined)
    hub.fail(call, **PASSING[fault])
    assert download(REPO, None, tmp_path / "down", api=hub.api()) == done.commit
    files = {path.relative_to(tmp_path / "down").as_posix() for path in (tmp_path / "down").glob("*/train-*")}
    assert files == {path for path in held(hub) if "/train-" in path}


@pytest.mark.parametrize("call", ["info", "tree", "resolve_head", "resolve_get"])
def test_a_download_from_a_hub_that_fails_does_not_say_that_nothing_is_there(
    hub: HubServer, refined: Path, tmp_path: Path, call: str
) -> None:
    send(hub, refined)
    hub.fail(call, status=503, times=10**6)
    error = failure(lambda: download(REPO, None, tmp_path / "down", api=hub.api()))
    assert not isinstance(error, UsageError), str(error)
    assert "no such" not in str(error)
