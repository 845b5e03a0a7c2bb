"""What the tests of publishing share: pushing with a real client, what a repository holds, and how a refusal looks."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from hub_calls import card_head
from hub_server import TOKEN, TOKENS, HubServer
from scripted import ScriptedEngine, scripted_judge

from arhn_hf.config import RunConfig
from arhn_hf.monitor import Monitor
from arhn_hf.pipeline import RefineResult
from arhn_hf.publishing.folder import read_lineage
from arhn_hf.publishing.hub import Publisher, PushResult
from arhn_hf.publishing.hub_target import PushOptions
from arhn_hf.pushing import push, refine_and_push
from arhn_hf.records import ArhnError

REPO = "me/data"
READING = frozenset(
    {"whoami", "validate_yaml", "info", "refs", "commits", "tree", "paths_info", "resolve_head", "resolve_get"}
)


def publish(
    hub: HubServer, folder: Path, repo_id: str = REPO, *, token: str | None = TOKEN, **options: Any
) -> PushResult:
    """`push` by a real client of this Hub."""
    return push(folder, repo_id, api=hub.api(token), **options)


def send(hub: HubServer, folder: Path, repo_id: str = REPO, **options: Any) -> PushResult:
    """What `push` asks of the Hub, without proving the folder first: for hundreds of faults."""
    publisher = Publisher(PushOptions(**options), api=hub.api())
    return publisher.push(folder, publisher.look(repo_id), read_lineage(folder))


def refine_into(
    hub: HubServer, source: Path | str, output: Path, *, token: str | None = TOKEN, **options: Any
) -> tuple[RefineResult | ArhnError, ScriptedEngine]:
    """`refine … push=` by a real client of this Hub and a scripted engine: its result or its error, and the engine."""
    engine = ScriptedEngine()
    values = {"min_answerable": 0.0, "sample": 4, "push": REPO, **options}
    try:
        config = RunConfig.from_mapping({"source": str(source), "output": str(output), **values})
        return refine_and_push(config, Monitor(), scripted_judge(engine), api=hub.api(token)), engine
    except ArhnError as error:
        return error, engine


def paths(folder: Path) -> set[str]:
    """What a folder publishes: the outputs of a run, and the card."""
    names = ("README.md", "arhn.json", "negatives.svg", "*/train-*")
    return {path.relative_to(folder).as_posix() for name in names for path in folder.glob(name)}


def held(hub: HubServer, repo_id: str = REPO, revision: str = "main") -> dict[str, bytes]:
    """The files of a repository, without the Hub's own."""
    return {path: data for path, data in hub.files(repo_id, revision).items() if path != ".gitattributes"}


def holds_all_of(hub: HubServer, folder: Path, repo_id: str = REPO, revision: str = "main") -> bool:
    """Whether a revision holds just what a folder publishes; only the card may differ, which names the repository."""
    files = held(hub, repo_id, revision)
    same = all(files.get(path) == (folder / path).read_bytes() for path in paths(folder) - {"README.md"})
    return same and set(files) == paths(folder)


def state(hub: HubServer, repo_id: str = REPO) -> Any:
    """All that can be seen of a repository: its names with their histories and files; `None` if there is none."""
    if ("dataset", repo_id) not in hub.memory.repos:
        return None
    refs = (hub.branches(repo_id), hub.tags(repo_id), hub.pull_requests(repo_id))
    shas = {sha for named in refs for sha in named.values()}
    return refs, {sha: (hub.files(repo_id, sha), [one.sha for one in hub.history(repo_id, sha)]) for sha in shas}


def card_of(hub: HubServer, repo_id: str = REPO, revision: str = "main") -> str:
    """The card of a repository."""
    return hub.files(repo_id, revision)["README.md"].decode()


def head_of(card: str) -> dict[str, Any]:
    """The YAML of a card."""
    return yaml.safe_load(card_head(card) or "") or {}


def writes(hub: HubServer, since: int = 0) -> list[str]:
    """The calls that came and are not for reading only."""
    return [one.call for one in hub.requests[since:] if one.call not in READING]


def failure(act: Callable[[], Any]) -> ArhnError:
    """The one error of ours that `act` raises: one line, without a token or an address."""
    try:
        done = act()
    except ArhnError as error:
        line = str(error)
        assert "\n" not in line, line
        assert 10 < len(line) < 600, line
        assert not any(token in line for token in TOKENS), line
        assert not re.search(r"https?://", line), line
        assert not re.search("Traceback|HTTPError|RuntimeError", line), line
        return error
    raise AssertionError(f"nothing was refused: {done!r}")


def refused(hub: HubServer, act: Callable[[], Any], code: int = 2) -> str:
    """The line that refuses `act`, with this exit code and without a request that writes."""
    since = len(hub.requests)
    error = failure(act)
    assert writes(hub, since) == [], str(error)
    assert error.exit_code == code, str(error)
    return str(error)


def command(
    hub: HubServer, home: Path, *words: Any, token: str | None = TOKEN, code: int | None = 0
) -> subprocess.CompletedProcess[str]:
    """`arhn-hf WORDS…` in a process of its own."""
    words = (sys.executable, "-m", "arhn_hf.cli.main", *(str(word) for word in words))
    environment = hub.environment(home, token)
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code or code is None, (done.returncode, done.stdout, done.stderr)
    assert TOKEN not in done.stdout + done.stderr
    return done


def script(hub: HubServer, home: Path, text: str, *words: Any, token: str | None = TOKEN) -> Any:
    """What a script prints last, as JSON; `words` are its JSON arguments."""
    arguments = [sys.executable, "-c", text, *(json.dumps(word) for word in words)]
    done = subprocess.run(
        arguments, env=hub.environment(home, token), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
