"""What a small Hub remembers: repositories with commits, branches, tags and pull requests, stored objects, tokens.

It knows nothing of requests. `hub_calls.py` answers from it, `hub_server.py` serves it; tests look at it afterwards.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from functools import cached_property
from types import MappingProxyType

LFS_EXTENSIONS = (
    "7z", "arrow", "bin", "bz2", "flac", "gif", "gz", "h5", "jpeg", "jpg", "lz4", "mp3", "mp4", "msgpack", "npy", "npz",
    "onnx", "parquet", "pickle", "pkl", "png", "pt", "safetensors", "tar", "tgz", "wav", "webp", "xz", "zip", "zst",
)  # fmt: skip
REGULAR_LIMIT = 10 * 1024 * 1024
"""Bytes above which a file is stored as a large one whatever its name."""

GIT_ATTRIBUTES = "".join(
    f"*.{extension} filter=lfs diff=lfs merge=lfs -text\n" for extension in LFS_EXTENSIONS
).encode()
START = datetime(2026, 1, 1, tzinfo=UTC)


class HubError(Exception):
    """An answer that is an error: its status, the Hub's message and `X-Error-Code`, and headers beside them."""

    def __init__(self, status: int, message: str, code: str | None = None, headers: Mapping[str, str] | None = None):
        super().__init__(message)
        self.status = status
        self.headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **(headers or {})}


@dataclass(frozen=True)
class Token:
    """Whose a token is, its role (`read`, `write` or `fineGrained`), and the user's organisations.

    A fine-grained token reads and writes what `scopes` names: namespaces or repositories.
    """

    user: str
    role: str = "write"
    orgs: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()

    def may_read(self, repo_id: str) -> bool:
        """Whether it opens a private repository."""
        within = self.scopes if self.role == "fineGrained" else (self.user, *self.orgs)
        return repo_id in within or repo_id.split("/")[0] in within

    def may_write(self, repo_id: str) -> bool:
        """Whether it may commit there."""
        return self.role != "read" and self.may_read(repo_id)

    def may_propose(self, repo_id: str) -> bool:
        """Whether it may open a pull request there: on a repository of others too."""
        return self.role == "write" or self.may_write(repo_id)


@dataclass(frozen=True)
class Blob:
    """A file's bytes, and whether git holds them or a pointer to them."""

    data: bytes
    lfs: bool

    @cached_property
    def sha256(self) -> str:
        """The key in the store of large files."""
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def pointer(self) -> bytes:
        """What git holds in place of a large file."""
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.data)}\n".encode()

    @cached_property
    def oid(self) -> str:
        """The id of the git object."""
        held = self.pointer if self.lfs else self.data
        return hashlib.sha1(b"blob %d\0" % len(held) + held).hexdigest()

    @property
    def etag(self) -> str:
        """What tells two contents apart, also to the client before it uploads."""
        return self.sha256 if self.lfs else self.oid


@dataclass(frozen=True)
class Commit:
    """A state of a repository that never changes."""

    sha: str
    parent: str | None
    title: str
    message: str
    author: str
    date: str
    files: Mapping[str, Blob]


class Repo:
    """The commits of a repository, and `refs`: full names of branches, tags and pull requests to commits."""

    def __init__(self, repo_id: str, kind: str, private: bool, author: str):
        self.id = repo_id
        self.kind = kind
        self.private = private
        self.commits: dict[str, Commit] = {}
        self.refs: dict[str, str] = {}
        self.add(
            "refs/heads/main",
            None,
            {".gitattributes": stored(".gitattributes", GIT_ATTRIBUTES)},
            "initial commit",
            author,
        )

    def add(
        self, ref: str, parent: str | None, files: Mapping[str, Blob], title: str, author: str, message: str = ""
    ) -> Commit:
        """A new commit that the ref then names."""
        place = len(self.commits)
        seen = [str(place), parent or "", title, *(f"{path} {files[path].oid}" for path in sorted(files))]
        sha = hashlib.sha1("\n".join([self.kind, self.id, *seen]).encode()).hexdigest()
        date = (START + timedelta(seconds=place)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self.commits[sha] = Commit(sha, parent, title, message, author, date, MappingProxyType(dict(files)))
        self.refs[ref] = sha
        return self.commits[sha]

    def resolve(self, revision: str) -> Commit:
        """The commit that a branch, a tag, a pull request or a full hash names."""
        for ref in (f"refs/heads/{revision}", f"refs/tags/{revision}", revision):
            if ref in self.refs:
                return self.commits[self.refs[ref]]
        if revision in self.commits:
            return self.commits[revision]
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def movable(self, revision: str) -> str:
        """The full name of a branch or a pull request, which commits may move."""
        for ref in (f"refs/heads/{revision}", revision):
            if ref in self.refs and not ref.startswith("refs/tags/"):
                return ref
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def named(self, prefix: str) -> dict[str, str]:
        """The refs below a prefix, by their names without it."""
        return {ref.removeprefix(prefix): sha for ref, sha in self.refs.items() if ref.startswith(prefix)}

    def history(self, revision: str) -> list[Commit]:
        """The commit and those before it, newest first."""
        commits = [self.resolve(revision)]
        while (parent := commits[-1].parent) is not None:
            commits.append(self.commits[parent])
        return commits

    def last_change(self, commit: Commit, path: str) -> Commit:
        """The commit that last changed a file or a folder."""
        while commit.parent is not None:
            before = self.commits[commit.parent]
            if below(before.files, path) != below(commit.files, path):
                break
            commit = before
        return commit


@dataclass
class Memory:
    """All of it; `parts` are those of unfinished multipart uploads."""

    repos: dict[tuple[str, str], Repo] = field(default_factory=dict)
    lfs: dict[str, bytes] = field(default_factory=dict)
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    part_size: int = 100 * 1024 * 1024
    page_size: int = 1000

    def create(self, repo_id: str, kind: str, private: bool, author: str) -> Repo:
        """A new repository; a 409 where there is one."""
        if (kind, repo_id) in self.repos:
            raise HubError(409, f"You already created this {kind} repo")
        self.repos[kind, repo_id] = Repo(repo_id, kind, private, author)
        return self.repos[kind, repo_id]

    def repo(self, repo_id: str, kind: str, token: Token | None) -> Repo:
        """A repository that the token may read; a private one is not told from a missing one."""
        repo = self.repos.get((kind, repo_id))
        if repo is not None and (not repo.private or (token is not None and token.may_read(repo_id))):
            return repo
        if token is None:
            raise HubError(401, "Invalid username or password.", "RepoNotFound")
        raise HubError(404, "Repository not found", "RepoNotFound")


def is_large(path: str, size: int, sample: bytes) -> bool:
    """Whether the Hub keeps a file as a large one: by its ending, its size, or because it is not text."""
    extension = path.rsplit("/", 1)[-1].rpartition(".")[2]
    return size > 0 and (extension in LFS_EXTENSIONS or size > REGULAR_LIMIT or b"\0" in sample)


def listed_in(patterns: Iterable[str], path: str) -> bool:
    """Whether these lines of a `.gitignore` or `.gitattributes` speak of a path; of git's patterns the plain ones."""
    places = [path, *(path[:at] for at, letter in enumerate(path) if letter == "/")]
    names = [*places, *(place.rsplit("/", 1)[-1] for place in places)]
    kept = [line.strip().strip("/") for line in patterns if line.strip() and not line.startswith("#")]
    return any(fnmatchcase(name, pattern) for pattern in kept for name in names)


def stored(path: str, data: bytes) -> Blob:
    """A file as the Hub keeps it."""
    return Blob(data, is_large(path, len(data), data[:512]))


def below(files: Mapping[str, Blob], path: str) -> dict[str, str]:
    """The object ids of a file, or of all files of a folder."""
    return {name: blob.oid for name, blob in files.items() if name == path or name.startswith(f"{path}/")}


def folders(paths: Iterable[str]) -> list[str]:
    """All folders above the files, once each."""
    return sorted({path[:at] for path in paths for at, letter in enumerate(path) if letter == "/"})
