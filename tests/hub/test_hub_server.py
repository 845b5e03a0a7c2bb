"""The Hub of these tests answers the real clients as the real Hub does, and fails to order."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_calls import ROUTES
from hub_server import FINE_TOKEN, READ_TOKEN, TOKEN, HubServer
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

CARD = b"---\npretty_name: Small\n---\n# Small\n"
LARGE = bytes(range(256)) * 8
DATASET = {"repo_type": "dataset"}


def add(path: str, content: bytes) -> CommitOperationAdd:
    return CommitOperationAdd(path, content)


def upload(hub: HubServer, *operations: Any, token: str | None = TOKEN, **options: Any) -> Any:
    """One commit to `me/data`."""
    return hub.api(token).create_commit("me/data", operations, commit_message="Upload", **DATASET, **options)


def status(caught: pytest.ExceptionInfo[Any]) -> int:
    return caught.value.response.status_code


@pytest.fixture
def data(hub: HubServer) -> HubServer:
    """The Hub with an empty `me/data`."""
    hub.add_repo("me/data")
    return hub


# Uploading.


def test_an_upload(hub: HubServer) -> None:
    url = hub.api().create_repo("me/data", private=True, **DATASET)
    assert (url, url.repo_id, url.repo_type) == (f"{hub.url}/datasets/me/data", "me/data", "dataset")
    info = upload(hub, add("README.md", CARD), add("small/a.txt", b"text"), add("small/a.parquet", LARGE))
    assert info.oid == hub.history("me/data")[0].sha == hub.branches("me/data")["main"]
    assert [commit.title for commit in hub.history("me/data")] == ["Upload", "initial commit"]
    files = hub.files("me/data")
    assert files.pop(".gitattributes").startswith(b"*.7z filter=lfs")
    assert files == {"README.md": CARD, "small/a.txt": b"text", "small/a.parquet": LARGE}
    assert hub.lfs_bytes_received == len(LARGE)
    assert hub.asked() == [
        "create_repo", "validate_yaml", "preupload", "lfs_batch", "lfs_put", "lfs_verify", "commit",
    ]  # fmt: skip
    assert [(one.call, one.body_bytes) for one in hub.requests if not one.authenticated] == [("lfs_put", len(LARGE))]


def test_what_did_not_change_makes_no_commit(data: HubServer) -> None:
    files = (add("a.txt", b"text"), add("a.bin", LARGE), add("empty.bin", b""))
    first = upload(data, *files)
    again = upload(data, *(add(file.path_in_repo, file.path_or_fileobj) for file in files))
    assert again.oid == first.oid
    assert len(data.history("me/data")) == 2
    assert data.asked("commit") == ["commit"]


def test_a_commit_may_change_nothing(data: HubServer) -> None:
    first = upload(data, add("a/a.txt", b"text"))
    again = upload(data, CommitOperationDelete("a/"), add("a/a.txt", b"text"))
    assert again.oid != first.oid
    assert data.files("me/data", again.oid) == data.files("me/data", first.oid)


def test_a_multipart_upload(data: HubServer) -> None:
    data.memory.part_size = 1000
    upload(data, add("a.parquet", LARGE))
    assert data.files("me/data")["a.parquet"] == LARGE
    assert data.asked("lfs_put", "lfs_put_part", "lfs_complete") == ["lfs_put_part"] * 3 + ["lfs_complete"]
    assert data.lfs_bytes_received == len(LARGE)


def test_a_second_try_sends_no_bytes_again(data: HubServer) -> None:
    data.fail("commit", status=500)
    with pytest.raises(HfHubHTTPError) as caught:
        upload(data, add("a.parquet", LARGE))
    assert status(caught) == 500
    assert len(data.history("me/data")) == 1
    upload(data, add("a.parquet", LARGE))
    assert data.files("me/data")["a.parquet"] == LARGE
    assert data.lfs_bytes_received == len(LARGE)


def test_a_folder(data: HubServer, tmp_path: Path) -> None:
    for path, content in {"README.md": CARD, "a/a.txt": b"text", "a/é.txt": b"text", "a/a.parquet": LARGE}.items():
        (tmp_path / "up" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "up" / path).write_bytes(content)
    options = {"repo_id": "me/data", **DATASET}
    data.api().upload_folder(folder_path=tmp_path / "up", **options)
    down = data.api().snapshot_download(**options, cache_dir=tmp_path / "cache")
    for path in data.files("me/data"):
        assert (Path(down) / path).read_bytes() == data.files("me/data")[path]
    (tmp_path / "up" / "a" / "a.txt").unlink()
    data.api().upload_folder(folder_path=tmp_path / "up", delete_patterns="a/*.txt", **options)
    assert sorted(data.files("me/data")) == [".gitattributes", "README.md", "a/a.parquet", "a/é.txt"]


def test_deletes_and_copies(hub: HubServer) -> None:
    hub.add_repo("me/data", {"a/a.txt": b"a", "a/b/b.bin": LARGE, "c.txt": b"c"})
    upload(hub, CommitOperationCopy("a/b/b.bin", "b.bin"), CommitOperationCopy("a/a.txt", "d.txt"))
    upload(hub, CommitOperationDelete("a/"), CommitOperationDelete("c.txt"))
    files = {path: content for path, content in hub.files("me/data").items() if path != ".gitattributes"}
    assert files == {"b.bin": LARGE, "d.txt": b"a"}
    with pytest.raises(RemoteEntryNotFoundError, match="A file with this name doesn't exist"):
        upload(hub, CommitOperationDelete("c.txt"))


def test_a_stale_parent(data: HubServer) -> None:
    parent = data.branches("me/data")["main"]
    data.before("commit", lambda: data.commit("me/data", {"theirs.txt": b"theirs"}))
    with pytest.raises(HfHubHTTPError, match="A commit has happened since") as caught:
        upload(data, add("ours.txt", b"ours"), parent_commit=parent)
    assert status(caught) == 412
    assert "ours.txt" not in data.files("me/data")
    upload(data, add("ours.txt", b"ours"), parent_commit=data.branches("me/data")["main"][:7])
    assert {"ours.txt", "theirs.txt"} <= set(data.files("me/data"))


def test_a_commit_to_no_branch(data: HubServer) -> None:
    data.api().create_tag("me/data", tag="v1", **DATASET)
    for revision in ("nowhere", "v1"):
        with pytest.raises(RevisionNotFoundError):
            upload(data, add("a.txt", b"a"), revision=revision)


def test_a_card(data: HubServer) -> None:
    with pytest.warns(UserWarning, match="empty or missing yaml metadata"):
        upload(data, add("README.md", b"no metadata"))
    data.fail("validate_yaml", status=400, body={"errors": [{"message": "bad license"}], "warnings": []})
    with pytest.raises(ValueError, match="bad license"):
        upload(data, add("README.md", CARD))
    assert data.files("me/data")["README.md"] == b"no metadata"


# Pull requests, tags and branches.


def test_pull_requests(hub: HubServer) -> None:
    hub.add_repo("other/data")
    api = hub.api()
    start = hub.branches("other/data")["main"]
    hub.commit("other/data", {"theirs.txt": b"theirs"})
    options = {"repo_id": "other/data", "commit_message": "Propose", **DATASET}
    made = api.create_commit(operations=[add("a.bin", LARGE)], create_pr=True, parent_commit=start, **options)
    assert (made.pr_url, made.pr_num) == (f"{hub.url}/datasets/other/data/discussions/1", 1)
    assert "a.bin" not in hub.files("other/data")
    assert set(hub.files("other/data", "refs/pr/1")) == {".gitattributes", "a.bin"}
    api.create_commit(operations=[add("b.txt", b"b")], revision=made.pr_revision, **options)
    assert hub.history("other/data", "refs/pr/1")[1].sha == made.oid
    assert api.create_commit(operations=[add("c.txt", b"c")], create_pr=True, **options).pr_num == 2
    refs = api.list_repo_refs("other/data", include_pull_requests=True, **DATASET)
    assert {ref.ref: ref.target_commit for ref in refs.pull_requests} == {
        f"refs/pr/{number}": sha for number, sha in hub.pull_requests("other/data").items()
    }


def test_tags_and_branches(hub: HubServer) -> None:
    first = hub.add_repo("me/data", {"a.txt": b"1"})
    api = hub.api()
    api.create_tag("me/data", tag="v1", **DATASET)
    last = hub.commit("me/data", {"a.txt": b"2"}, title="Second")
    api.create_tag("me/data", tag="v2", revision=last, tag_message="later", **DATASET)
    assert hub.tags("me/data") == {"v1": first, "v2": last}
    with pytest.raises(HfHubHTTPError, match="Tag reference exists already") as caught:
        api.create_tag("me/data", tag="v1", **DATASET)
    assert status(caught) == 409
    api.create_tag("me/data", tag="v1", exist_ok=True, **DATASET)
    assert hub.tags("me/data")["v1"] == first
    with pytest.raises(RevisionNotFoundError):
        api.create_tag("me/data", tag="v3", revision="nowhere", **DATASET)
    api.delete_tag("me/data", tag="v2", **DATASET)
    with pytest.raises(RevisionNotFoundError):
        api.delete_tag("me/data", tag="v2", **DATASET)
    api.create_branch("me/data", branch="side/one", revision="v1", **DATASET)
    with pytest.raises(HfHubHTTPError, match="Reference already exists"):
        api.create_branch("me/data", branch="side/one", **DATASET)
    upload(hub, add("b.txt", b"b"), revision="side/one")
    assert set(hub.files("me/data", "side/one")) - set(hub.files("me/data")) == {"b.txt"}
    refs = api.list_repo_refs("me/data", **DATASET)
    assert {ref.name: ref.target_commit for ref in refs.tags} == hub.tags("me/data")
    assert {ref.name: ref.ref for ref in refs.branches} == {
        "main": "refs/heads/main",
        "side/one": "refs/heads/side/one",
    }
    api.delete_branch("me/data", branch="side/one", **DATASET)
    assert list(hub.branches("me/data")) == ["main"]
    listed = api.list_repo_commits("me/data", **DATASET)
    assert [(one.commit_id, one.title) for one in listed] == [(one.sha, one.title) for one in hub.history("me/data")]


# Who may do what.


def test_whoami(hub: HubServer) -> None:
    me = hub.api().whoami()
    assert (me["name"], [org["name"] for org in me["orgs"]]) == ("me", ["my-org"])
    roles = [hub.api(token).whoami()["auth"]["accessToken"]["role"] for token in (TOKEN, READ_TOKEN, FINE_TOKEN)]
    assert roles == ["write", "read", "fineGrained"]
    with pytest.raises(HfHubHTTPError, match="Invalid user token") as caught:
        hub.api("hf_unknown").whoami()
    assert status(caught) == 401


def test_create_repo(hub: HubServer) -> None:
    api = hub.api()
    api.create_repo("me/data", **DATASET)
    with pytest.raises(HfHubHTTPError, match="You already created this dataset repo") as caught:
        api.create_repo("me/data", **DATASET)
    assert status(caught) == 409
    assert api.create_repo("me/data", exist_ok=True, **DATASET).repo_id == "me/data"
    assert api.create_repo("my-org/data", private=True, **DATASET).repo_id == "my-org/data"
    assert api.create_repo("bare", **DATASET).repo_id == "me/bare"
    for token, repo_id in ((TOKEN, "other/data"), (READ_TOKEN, "me/new"), (FINE_TOKEN, "me/new")):
        with pytest.raises(HfHubHTTPError, match="You don't have the rights to create a dataset") as caught:
            hub.api(token).create_repo(repo_id, **DATASET)
        assert status(caught) == 403
    with pytest.raises(HfHubHTTPError) as caught:
        hub.api(None).create_repo("me/new", **DATASET)
    assert status(caught) == 401
    assert hub.api(FINE_TOKEN).create_repo("me/allowed", **DATASET).repo_id == "me/allowed"


def test_a_private_repo(hub: HubServer, tmp_path: Path) -> None:
    hub.add_repo("other/secret", {"a.txt": b"a"}, private=True)
    hub.add_repo("me/secret", {"a.txt": b"a"}, private=True)
    assert hub.api(READ_TOKEN).dataset_info("me/secret").private
    for token, repo_id, code in ((None, "me/secret", 401), (TOKEN, "other/secret", 404), (TOKEN, "me/missing", 404)):
        with pytest.raises(RepositoryNotFoundError) as caught:
            hub.api(token).dataset_info(repo_id)
        assert (status(caught), caught.value.response.headers["X-Error-Code"]) == (code, "RepoNotFound")
        with pytest.raises(RepositoryNotFoundError):
            hub.api(token).hf_hub_download(repo_id, "a.txt", cache_dir=tmp_path, **DATASET)
    with pytest.raises(HfHubHTTPError, match="Invalid credentials") as caught:
        hub.api("hf_unknown").dataset_info("me/secret")
    assert not isinstance(caught.value, RepositoryNotFoundError)


@pytest.mark.parametrize(
    ("token", "repo_id"), [(READ_TOKEN, "me/data"), (TOKEN, "other/data"), (FINE_TOKEN, "me/data")]
)
def test_without_the_right_to_write(hub: HubServer, token: str, repo_id: str) -> None:
    hub.add_repo(repo_id, {"a.txt": b"a"})
    api, before = hub.api(token), hub.history(repo_id)
    for act in (
        lambda: api.create_commit(repo_id, [add("b.bin", LARGE)], commit_message="No", **DATASET),
        lambda: api.create_commit(repo_id, [CommitOperationDelete("a.txt")], commit_message="No", **DATASET),
        lambda: api.create_tag(repo_id, tag="v1", **DATASET),
    ):
        with pytest.raises(HfHubHTTPError, match="403 Forbidden: Forbidden: you don't have the rights") as caught:
            act()
        assert status(caught) == 403
    assert (hub.history(repo_id), hub.tags(repo_id), hub.lfs_bytes_received) == (before, {}, 0)


def test_without_a_token(hub: HubServer) -> None:
    hub.add_repo("me/data", {"a.txt": b"a"})
    assert hub.api(None).dataset_info("me/data").id == "me/data"
    with pytest.raises(HfHubHTTPError) as caught:
        upload(hub, add("b.txt", b"b"), token=None)
    assert status(caught) == 401


# Reading.


def test_info(hub: HubServer) -> None:
    first = hub.add_repo("me/data", {"a.txt": b"a", "b/b.bin": LARGE})
    last = hub.commit("me/data", {"c.txt": b"c"})
    hub.add_repo("me/model", type="model")
    api = hub.api(None)
    assert api.dataset_info("me/data").sha == last
    info = api.dataset_info("me/data", revision=first, files_metadata=True)
    large = next(one for one in info.siblings if one.rfilename == "b/b.bin")
    assert (info.sha, large.size, large.lfs.sha256) == (first, len(LARGE), hashlib.sha256(LARGE).hexdigest())
    assert sorted(one.rfilename for one in info.siblings) == [".gitattributes", "a.txt", "b/b.bin"]
    assert api.model_info("me/model").id == "me/model"
    for act in (lambda: api.dataset_info("me/model"), lambda: api.model_info("me/data")):
        with pytest.raises(RepositoryNotFoundError):
            act()
    with pytest.raises(RevisionNotFoundError):
        api.dataset_info("me/data", revision="v9")


@pytest.mark.parametrize("page_size", [1000, 2])
def test_trees(hub: HubServer, page_size: int) -> None:
    hub.memory.page_size = page_size
    first = hub.add_repo("me/data", {"a.txt": b"a", "b/b.bin": LARGE, "b/c/c.txt": b"c"})
    hub.commit("me/data", {"a.txt": b"new"}, title="Second")
    api = hub.api(None)
    everything = [".gitattributes", "a.txt", "b", "b/b.bin", "b/c", "b/c/c.txt"]
    tree = list(api.list_repo_tree("me/data", recursive=True, expand=True, **DATASET))
    assert [one.path for one in tree] == everything
    assert [one.last_commit.title for one in tree] == ["initial commit", "Second"] + ["Add files"] * 4
    assert tree[3].lfs.sha256 == hashlib.sha256(LARGE).hexdigest()
    assert [one.path for one in api.list_repo_tree("me/data", **DATASET)] == everything[:3]
    assert [one.path for one in api.list_repo_tree("me/data", "b", revision=first, **DATASET)] == ["b/b.bin", "b/c"]
    assert [one.path for one in api.list_repo_tree("me/data", "b/c", **DATASET)] == ["b/c/c.txt"]
    with pytest.raises(EntryNotFoundError):
        list(api.list_repo_tree("me/data", "nothing", **DATASET))
    found = api.get_paths_info("me/data", ["a.txt", "b", "nothing"], expand=True, **DATASET)
    assert [(one.path, one.last_commit.title) for one in found] == [("a.txt", "Second"), ("b", "Add files")]
    assert api.list_repo_files("me/data", **DATASET) == [".gitattributes", "a.txt", "b/b.bin", "b/c/c.txt"]
    assert api.file_exists("me/data", "a.txt", **DATASET)
    assert not api.file_exists("me/data", "z.txt", **DATASET)


def test_downloads(hub: HubServer, tmp_path: Path) -> None:
    first = hub.add_repo("me/data", {"a b.txt": b"1", "b/b.bin": LARGE, "empty.txt": b""})
    hub.api().create_tag("me/data", tag="v1", **DATASET)
    last = hub.commit("me/data", {"a b.txt": b"2"})
    api = hub.api(None)
    for revision, content in ((None, b"2"), ("v1", b"1"), (first, b"1"), (last, b"2")):
        path = api.hf_hub_download("me/data", "a b.txt", revision=revision, cache_dir=tmp_path, **DATASET)
        assert Path(path).read_bytes() == content
    with pytest.raises(RemoteEntryNotFoundError) as caught:
        api.hf_hub_download("me/data", "z.txt", cache_dir=tmp_path, **DATASET)
    assert caught.value.response.headers["X-Repo-Commit"] == last
    with pytest.raises(RevisionNotFoundError):
        api.hf_hub_download("me/data", "a b.txt", revision="v9", cache_dir=tmp_path, **DATASET)
    folder = Path(api.snapshot_download("me/data", revision="v1", cache_dir=tmp_path, **DATASET))
    assert folder.name == first
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert files == hub.files("me/data", "v1")


def test_ranges(hub: HubServer) -> None:
    sha = hub.add_repo("me/data", {"a.bin": LARGE})
    url = f"{hub.url}/datasets/me/data/resolve/main/a.bin"
    oid = f'"{hashlib.sha256(LARGE).hexdigest()}"'
    with httpx2.Client(trust_env=False) as client:
        head = client.head(url)
        expected = {"X-Repo-Commit": sha, "ETag": oid, "X-Linked-ETag": oid, "X-Linked-Size": str(len(LARGE))}
        assert {name: head.headers[name] for name in expected} == expected
        assert (head.headers["Content-Length"], head.content) == (str(len(LARGE)), b"")
        for wanted, content in (("2-5", LARGE[2:6]), ("2000-", LARGE[2000:]), ("-3", LARGE[-3:]), ("0-99999", LARGE)):
            part = client.get(url, headers={"Range": f"bytes={wanted}"})
            assert (part.status_code, part.content) == (206, content)
        assert client.get(url, headers={"Range": f"bytes={len(LARGE)}-"}).status_code == 416
        assert client.get(url).content == LARGE


# What `datasets` does; it reads the endpoint at import, so in a process of its own.

CARD_WITH_CONFIGS = b"""---
configs:
- config_name: clean
  default: true
  data_files:
  - split: train
    path: clean/train-*
- config_name: dropped
  data_files:
  - split: train
    path: dropped/train-*
---
"""


def run(hub: HubServer, folder: Path, script: str, token: str | None = TOKEN) -> Any:
    """What a script prints last, as JSON."""
    environment = hub.environment(folder, token)
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def parquet(*texts: str) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": list(texts)}), sink)
    return sink.getvalue().to_pybytes()


LOAD = """
import json, sys
from datasets import get_dataset_config_names, load_dataset
def texts(*names, **options):
    return load_dataset("me/data", *names, split="train", **options)["text"][:]
print(json.dumps([
    texts(), texts("dropped"), texts(revision="v1"), texts(revision="SHA"), get_dataset_config_names("me/data")
]))
"""


def test_load_dataset(hub: HubServer, tmp_path: Path) -> None:
    names = ("clean/train-00000.parquet", "dropped/train-00000.parquet")
    files = {names[0]: parquet("a", "b"), names[1]: parquet("b"), "README.md": CARD_WITH_CONFIGS}
    sha = hub.add_repo("me/data", files, private=True)
    hub.api().create_tag("me/data", tag="v1", **DATASET)
    hub.commit("me/data", {names[0]: parquet("c")})
    loaded = run(hub, tmp_path, LOAD.replace("SHA", sha), READ_TOKEN)
    assert loaded == [["c"], ["b"], ["a", "b"], ["a", "b"], ["clean", "dropped"]]
    assert {one.method for one in hub.requests[1:]} <= {"HEAD", "GET", "POST"}
    assert not set(hub.asked()[1:]) & {"commit", "preupload", "create_repo"}


PUSH = """
import json
from datasets import Dataset, load_dataset
for name, rows in (("clean", ["a", "b"]), ("dropped", ["b"]), ("clean", ["c"])):
    Dataset.from_dict({"text": rows}).push_to_hub("me/data", name, private=True)
loaded = [load_dataset("me/data", name, split="train")["text"][:] for name in ("clean", "dropped")]
print(json.dumps(loaded))
"""


def test_push_to_hub(hub: HubServer, tmp_path: Path) -> None:
    assert run(hub, tmp_path, PUSH) == [["c"], ["b"]]
    names = {"clean/train-00000-of-00001.parquet", "dropped/train-00000-of-00001.parquet"}
    assert set(hub.files("me/data")) == {".gitattributes", "README.md", *names}
    assert hub.memory.repos["dataset", "me/data"].private


# Faults.


PIECES = {"kind": "datasets", "repo": "me/data", "git": "/datasets/me/data", "revision": "main", "path": "a/b.txt"}


@pytest.mark.parametrize(("method", "template", "call"), ROUTES)
def test_every_call_can_fail(hub: HubServer, method: str, template: str, call: str) -> None:
    hub.fail(call, status=418, headers={"X-Ordered": "yes"})
    with httpx2.Client(trust_env=False) as client:
        answer = client.request(method, hub.url + template.format(**PIECES, oid="0" * 64, part=1))
    assert (answer.status_code, answer.headers["X-Ordered"]) == (418, "yes")
    assert [(one.call, one.authenticated) for one in hub.requests] == [(call, False)]
    assert call in HubServer.calls


def test_an_order_that_makes_no_sense(hub: HubServer) -> None:
    for order in (lambda: hub.fail("comit"), lambda: hub.fail("commit", how="no"), lambda: hub.before("comit", int)):
        with pytest.raises(AssertionError):
            order()


def test_a_status(data: HubServer) -> None:
    data.fail("info", status=429, headers={"Retry-After": "7"}, times=2, after=1)
    api = data.api()
    answers = []
    for _ in range(4):
        try:
            answers.append(api.dataset_info("me/data").id)
        except HfHubHTTPError as error:
            answers.append((error.response.status_code, error.response.headers["Retry-After"]))
    assert answers == ["me/data", (429, "7"), (429, "7"), "me/data"]


def test_a_page_instead_of_json(data: HubServer) -> None:
    data.fail("info", status=502, body=b"<html>Bad gateway</html>")
    with pytest.raises(HfHubHTTPError) as caught:
        data.api().dataset_info("me/data")
    assert (status(caught), caught.value.response.text) == (502, "<html>Bad gateway</html>")


def test_a_reset(data: HubServer) -> None:
    data.fail("commit", how="reset")
    with pytest.raises(httpx2.RemoteProtocolError):
        upload(data, add("a.txt", b"a"))
    assert len(data.history("me/data")) == 1


@pytest.mark.parametrize(("how", "error"), [("after_effect", HfHubHTTPError), ("lost", httpx2.RemoteProtocolError)])
def test_a_commit_that_landed(data: HubServer, how: str, error: type[Exception]) -> None:
    data.fail("commit", how=how)
    with pytest.raises(error):
        upload(data, add("a.txt", b"a"))
    assert data.history("me/data")[0].title == "Upload"
    assert data.files("me/data")["a.txt"] == b"a"


def test_a_stall(data: HubServer) -> None:
    data.fail("info", how="stall", seconds=0.3)
    start = time.monotonic()
    assert data.api().dataset_info("me/data").id == "me/data"
    assert time.monotonic() - start >= 0.3
    data.fail("info", how="stall", seconds=60)
    with pytest.raises(httpx2.ReadTimeout):
        data.api().dataset_info("me/data", timeout=0.2)


@pytest.mark.parametrize("call", ["preupload", "lfs_batch", "lfs_put", "lfs_verify"])
@pytest.mark.parametrize("how", ["status", "reset"])
def test_what_the_client_tries_again(data: HubServer, call: str, how: str) -> None:
    data.fail(call, status=503, how=how)
    upload(data, add("a.parquet", LARGE))
    assert data.files("me/data")["a.parquet"] == LARGE
    assert len(data.asked(call)) == 2


@pytest.mark.parametrize("call", ["whoami", "create_repo", "info", "commit", "tag", "refs", "paths_info"])
def test_what_the_client_does_not_try_again(data: HubServer, call: str) -> None:
    api = data.api()
    acts = {
        "whoami": api.whoami,
        "create_repo": lambda: api.create_repo("me/new", **DATASET),
        "info": lambda: api.dataset_info("me/data"),
        "commit": lambda: upload(data, add("a.txt", b"a")),
        "tag": lambda: api.create_tag("me/data", tag="v1", **DATASET),
        "refs": lambda: api.list_repo_refs("me/data", **DATASET),
        "paths_info": lambda: api.get_paths_info("me/data", "a.txt", **DATASET),
    }
    data.fail(call, status=503)
    with pytest.raises(HfHubHTTPError) as caught:
        acts[call]()
    assert (status(caught), data.asked(call)) == (503, [call])


def test_a_head_that_fails_gives_the_old_file(hub: HubServer, tmp_path: Path) -> None:
    hub.add_repo("me/data", {"a.txt": b"old"})
    api = hub.api()
    download = {"repo_id": "me/data", "filename": "a.txt", "cache_dir": tmp_path, **DATASET}
    api.hf_hub_download(**download)
    hub.commit("me/data", {"a.txt": b"new"})
    hub.fail("resolve_head", status=503)
    assert Path(api.hf_hub_download(**download)).read_bytes() == b"old"
    heads = len(hub.asked("resolve_head"))
    hub.fail("resolve_head", status=503)
    fresh = api.hf_hub_download(**{**download, "cache_dir": tmp_path / "fresh"})
    assert (Path(fresh).read_bytes(), len(hub.asked("resolve_head"))) == (b"new", heads + 2)
    assert Path(api.hf_hub_download(**download)).read_bytes() == b"new"


@pytest.mark.parametrize("length", ["Content-Length: 9\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"])
def test_a_client_that_goes_away_has_asked_nothing(data: HubServer, length: str) -> None:
    with socket.create_connection(("127.0.0.1", int(data.url.rsplit(":", 1)[1]))) as client:
        client.sendall(f"POST /api/datasets/me/data/commit/main HTTP/1.1\r\nHost: hub\r\n{length}".encode())
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b""
    assert data.requests == []


def test_what_is_not_known_is_remembered(hub: HubServer) -> None:
    with pytest.raises(HfHubHTTPError) as caught:
        hub.api().delete_repo("me/data", **DATASET)
    assert status(caught) == 404
    assert hub.unknown == [("DELETE", "/api/repos/delete")]
    hub.unknown.clear()


def test_an_error_of_the_server_is_remembered(hub: HubServer) -> None:
    hub.before("whoami", lambda: 1 / 0)
    with pytest.raises(HfHubHTTPError) as caught:
        hub.api().whoami()
    assert status(caught) == 500
    assert "ZeroDivisionError" in hub.errors.pop()
