"""Sources on the Hub, without a network: the two calls that reach it are replaced."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import datasets
import huggingface_hub
import pytest
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from source_helpers import ROW, Load, Make

from arhn_hf.records import ArhnError, UsageError
from arhn_hf.sources import load_source

SHA = "0123456789abcdef0123456789abcdef01234567"


ConnectError = type("ConnectError", (Exception,), {})  # of whatever HTTP library the Hub's client uses


def answer(status: int) -> Any:
    return SimpleNamespace(status_code=status, headers={}, request=None)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, make: Make) -> dict[str, Any]:
    """A Hub with one dataset, `me/data`, whose files are local; what was asked of it is kept."""
    seen: dict[str, Any] = {"error": None, "hash": SHA}
    folder = make({"train.jsonl": ROW * 2, "test.jsonl": ROW})
    build = datasets.load_dataset_builder

    def dataset_info(self: Any, repo_id: str, *, revision: str | None = None) -> SimpleNamespace:
        seen["asked"] = (repo_id, revision)
        if seen["error"] is not None:
            raise seen["error"]
        return SimpleNamespace(sha=SHA, card_data=None)

    def load_dataset_builder(path: str, revision: str, **options: Any) -> Any:
        seen["built"] = (path, revision)
        assert "trust_remote_code" not in options
        builder = build(str(folder), **options)
        builder.hash = seen["hash"]
        return builder

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
    monkeypatch.setattr(datasets, "load_dataset_builder", load_dataset_builder)
    return seen


def test_a_hub_dataset_is_pinned(hub: dict[str, Any], load: Load) -> None:
    source = load("me/data", revision="v1", split="test")
    assert hub["asked"] == ("me/data", "v1")
    assert hub["built"] == ("me/data", SHA)
    assert (source.kind, source.id, source.path, source.label) == ("hub", "me/data", None, "me/data")
    assert (source.revision, source.split, source.dataset.num_rows) == (SHA, "test", 1)
    with pytest.raises(UsageError, match=r"me/data: no split 'dev'\. It has train, test"):
        load("me/data", split="dev")


HUB_ERRORS = [
    (
        RepositoryNotFoundError("secret", response=answer(401)),
        2,
        "no such file, folder or Hub dataset. If it is private",
    ),
    (RevisionNotFoundError("secret", response=answer(404)), 2, "no revision 'v9' on the Hub"),
    (GatedRepoError("secret", response=answer(403)), 2, "a gated dataset. Ask for access"),
    (ConnectError("secret"), 1, "no such file or folder, and the Hub did not answer (ConnectError)"),
    (RuntimeError("secret"), 1, "no such file or folder, and the Hub did not answer (RuntimeError)"),
]


@pytest.mark.parametrize(("error", "code", "line"), HUB_ERRORS, ids=[type(e[0]).__name__ for e in HUB_ERRORS])
def test_hub_errors(hub: dict[str, Any], error: Exception, code: int, line: str, load: Load) -> None:
    hub["error"] = error
    with pytest.raises(ArhnError) as caught:
        load("me/data", revision="v9")
    assert caught.value.exit_code == code
    assert str(caught.value).startswith(f"me/data: {line}")
    assert "secret" not in str(caught.value)


def test_a_commit_from_the_cache_is_not_taken_for_another(hub: dict[str, Any], load: Load) -> None:
    hub["hash"] = "f" * 40
    with pytest.raises(ArhnError, match="the Hub did not answer"):
        load("me/data")


def test_an_impossible_id() -> None:
    with pytest.raises(UsageError, match="neither a file or folder here nor a Hub dataset id"):
        load_source("no spaces please")
