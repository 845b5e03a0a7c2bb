"""One publication, one commit: everything is looked at first, then bytes are stored, then one commit makes them visible.

Until that commit a reader of the repository sees nothing of it, and afterwards all of it. Only files that arhn-hf writes are ever
added, replaced or removed; the card is merged with the one that is there.
"""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import (
    EntryNotFoundError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile

from arhn_hf.publishing.folder import PICTURE, TABLES
from arhn_hf.publishing.hub_calls import AGAIN, asking, limited, may_pass, patiently
from arhn_hf.publishing.hub_card import card_to_push
from arhn_hf.publishing.hub_target import OURS, PushOptions, Target, look
from arhn_hf.records import ArhnError, UsageError

_UNDO = 10.0  # seconds in which a branch is taken back after an interruption


@dataclass(frozen=True)
class PushResult:
    """What a push did: `commit` is the SHA, `pr` the pull request's address if one was asked for, `tag` the tag set, `revision` the
    branch asked for (`None`: main)."""

    repo_id: str
    commit: str
    url: str
    pr: str | None = None
    tag: str | None = None
    variants: tuple[str, ...] = ()
    revision: str | None = None

    def report(self) -> dict[str, Any]:
        """The `push` object of `--json`."""
        return {"repo_id": self.repo_id, "commit": self.commit, "url": self.url, "pr": self.pr, "tag": self.tag}


class Publisher:
    """Pushes folders with one client. `say` gets what is being done, in words."""

    def __init__(
        self, options: PushOptions, *, api: HfApi | None = None, say: Callable[[str], None] = lambda line: None
    ):
        self.options, self.api, self.say = options, api or HfApi(), say
        self._committing = False
        self._commit: str | None = None

    def look(self, repo_id: str) -> Target:
        """See `hub_target.look`."""
        return look(self.api, repo_id, self.options)

    def push(self, folder: Path, target: Target, lineage: dict[str, Any]) -> PushResult:
        """Publish a finished folder. Raises `ArhnError`, which says whether the commit was made before something failed."""
        additions = _additions(folder, card_to_push(folder, target, self.options, lineage["run_id"]))
        deletions = self._deletions(target, additions)
        commit: str | None = None
        with limited():
            try:
                self._prepare(target)
                commit, pr = self._publish(target, additions, deletions, lineage)
                self._commit = commit
                self.say("verifying")
                with asking("verifying", target.repo_id):
                    self._verify(target, commit, additions, deletions)
                tag = self._tag(target, commit)
            except ArhnError as error:
                if commit is None:
                    self._undo_branch(target)
                    error.hint = ". ".join(part for part in (error.hint, *target.made) if part)
                else:
                    error.message = f"published as commit {commit[:12]}, but {error.message}"
                raise
        url = f"{self.api.endpoint}/datasets/{target.repo_id}"
        return PushResult(target.repo_id, commit, url, pr, tag, tuple(lineage["variants"]), self.options.revision)

    def interrupted(self, target: Target) -> str | None:
        """After an interruption of `push`, wherever that was: take back a branch made for it, as far as the Hub answers
        within seconds, and say what is left on the Hub, if anything."""
        if self._commit is not None:
            return f"{target.repo_id} holds the run as commit {self._commit[:12]}"
        if self._committing:
            return f"The commit was under way: look whether {target.repo_id} holds the run"
        if not target.branch_exists and self.options.revision is not None:
            undoing = threading.Thread(target=self._undo_branch, args=(target,), name="arhn-undo", daemon=True)
            undoing.start()
            undoing.join(_UNDO)
            name = self.options.revision
            if undoing.is_alive() or any(name in line for line in target.made):
                target.made[:] = [line for line in target.made if name not in line]
                target.made.append(
                    f"The branch {name} of {target.repo_id} may be left behind: "
                    f"`hf repos branch delete {target.repo_id} {name} --repo-type dataset` removes it"
                )
        return ". ".join(target.made) or None

    def _deletions(self, target: Target, additions: Sequence[CommitOperationAdd]) -> list[CommitOperationDelete]:
        """Files of an older run of ours that this one does not replace."""
        kept = {one.path_in_repo for one in additions}
        old = sorted(path for path in target.files - kept if OURS.fullmatch(path)) if target.ours else []
        return [CommitOperationDelete(path_in_repo=path) for path in old]

    def _prepare(self, target: Target) -> None:
        """Make the repository and the branch, where they are missing."""
        if target.head is None:
            self.say(f"creating {target.repo_id}")
            with asking("creating the repository", target.repo_id):
                patiently(
                    lambda: self.api.create_repo(
                        target.repo_id, repo_type="dataset", private=self.options.private or None, exist_ok=True
                    )
                )
                target.made.append(f"{target.repo_id} was created and is empty")
                found = patiently(lambda: self.api.dataset_info(target.repo_id))
                target.head, target.branch_exists = found.sha, self.options.revision in (None, "main")
        if not target.branch_exists and self.options.revision is not None:
            name = self.options.revision
            with asking(f"creating branch {name}", target.repo_id):
                patiently(
                    lambda: self.api.create_branch(
                        target.repo_id, branch=name, revision=target.head, repo_type="dataset", exist_ok=True
                    )
                )

    def _undo_branch(self, target: Target) -> None:
        """After a failure: a branch made a moment ago, and still where it was made, goes again; else it is named."""
        name = self.options.revision
        if target.branch_exists or name is None:
            return
        try:
            if self.api.dataset_info(target.repo_id, revision=name).sha == target.head:
                self.api.delete_branch(target.repo_id, branch=name, repo_type="dataset")
        except RevisionNotFoundError:
            return
        except Exception as error:  # noqa: BLE001 - the push has failed already, and that is what is told
            target.made.append(f"The branch {name} may have been left behind ({type(error).__name__})")

    def _publish(
        self,
        target: Target,
        additions: list[CommitOperationAdd],
        deletions: list[CommitOperationDelete],
        lineage: dict[str, Any],
    ) -> tuple[str, str | None]:
        """Store the bytes, then commit. Returns the commit's SHA and the pull request's address."""
        options, repo_id = self.options, target.repo_id
        message = options.commit_message or f"Add arhn-hf run {lineage['run_id']} ({', '.join(lineage['variants'])})"
        self.say(f"uploading {sum(one.upload_info.size for one in additions) / 1e6:,.1f} MB")
        with asking("uploading", repo_id):
            self.api.preupload_lfs_files(
                repo_id,
                additions,
                repo_type="dataset",
                revision=options.revision,
                create_pr=options.create_pr or None,
                free_memory=False,
            )
            if kept_out := [one.path_in_repo for one in additions if one._should_ignore]:
                raise ArhnError(
                    f"the repository's .gitignore keeps {kept_out[0]} out", where=repo_id, hint="Remove that line there"
                )
        self.say("committing")
        self._committing = True
        with asking("committing", repo_id):

            def commit() -> tuple[str, str | None]:
                try:
                    done = self.api.create_commit(
                        repo_id, [*additions, *deletions], commit_message=message, repo_type="dataset",
                        revision=options.revision, create_pr=options.create_pr or None, parent_commit=target.head,
                    )  # fmt: skip
                except Exception as error:
                    if options.create_pr and may_pass(error):
                        raise ArhnError(
                            "the Hub did not say whether the pull request was opened", where=repo_id,
                            hint="Look at its Community tab before you try again",
                        ) from error  # fmt: skip
                    landed = self._landed(target, additions, deletions)
                    if landed is None:
                        raise
                    return landed, None
                if options.create_pr and done.pr_url is None:  # the client makes no empty commit
                    raise UsageError("holds this run already: there is nothing to propose", where=repo_id)
                return str(done.oid), done.pr_url

            return patiently(commit)

    def _landed(
        self, target: Target, additions: Sequence[CommitOperationAdd], deletions: Sequence[CommitOperationDelete]
    ) -> str | None:
        """The SHA of our commit, if it was made although the answer got lost: the first one after the commit we built on."""
        commits = self.api.list_repo_commits(target.repo_id, repo_type="dataset", revision=self.options.revision)
        newer = []
        for one in commits:
            if one.commit_id == target.head:
                break
            newer.append(one.commit_id)
        if newer and self._wrong(target, newer[-1], additions, deletions) is None:
            return str(newer[-1])
        return None

    def _verify(
        self,
        target: Target,
        commit: str,
        additions: Sequence[CommitOperationAdd],
        deletions: Sequence[CommitOperationDelete],
    ) -> None:
        """What the commit holds is what was sent: every file's hash, and the small ones byte by byte past every cache."""
        if wrong := self._wrong(target, commit, additions, deletions):
            raise ArhnError(f"the Hub does not hold what was sent ({wrong})", where=target.repo_id, hint=AGAIN)
        with tempfile.TemporaryDirectory(prefix="arhn-verify-") as cache:
            for one in additions:
                if one.path_in_repo in ("README.md", "arhn.json"):
                    path = patiently(
                        lambda name=one.path_in_repo: self.api.hf_hub_download(  # type: ignore[misc]
                            target.repo_id, name, repo_type="dataset", revision=commit, cache_dir=cache
                        )
                    )
                    with one.as_file() as sent:
                        if Path(path).read_bytes() != sent.read():
                            raise ArhnError(
                                f"the Hub gives other bytes than were sent ({one.path_in_repo})",
                                where=target.repo_id,
                                hint=AGAIN,
                            )

    def _wrong(
        self,
        target: Target,
        commit: str,
        additions: Sequence[CommitOperationAdd],
        deletions: Sequence[CommitOperationDelete],
    ) -> str | None:
        """The first path that this commit does not hold as sent, or still holds although removed."""
        tree = self.api.list_repo_tree(target.repo_id, recursive=True, revision=commit, repo_type="dataset")
        there = {one.path: one for one in tree if isinstance(one, RepoFile)}
        for addition in additions:
            found = there.get(addition.path_in_repo)
            if found is None or not _same(found, addition):
                return str(addition.path_in_repo)
        return next((one.path_in_repo for one in deletions if one.path_in_repo in there), None)

    def _tag(self, target: Target, commit: str) -> str | None:
        name = self.options.tag
        if name is None:
            return None
        self.say(f"tagging {name}")
        with asking(f"setting the tag {name}", target.repo_id):
            refs = patiently(lambda: self.api.list_repo_refs(target.repo_id, repo_type="dataset"))
            if not any(one.name == name and one.target_commit == commit for one in refs.tags):
                patiently(lambda: self._make_tag(target, name, commit))
        return name

    def _make_tag(self, target: Target, name: str, commit: str) -> None:
        """A tag whose answer got lost is found by the next try, not made twice."""
        try:
            self.api.create_tag(target.repo_id, tag=name, revision=commit, repo_type="dataset")
        except Exception:
            refs = self.api.list_repo_refs(target.repo_id, repo_type="dataset")
            if not any(one.name == name and one.target_commit == commit for one in refs.tags):
                raise


def is_published(source: str) -> bool:
    """Whether a source is a Hub dataset that arhn-hf wrote."""
    if Path(source).expanduser().exists():
        return False
    with asking("looking at the repository", source, "Try again later"), limited():
        return bool(patiently(lambda: HfApi().file_exists(source, "arhn.json", repo_type="dataset")))


def download(repo_id: str, revision: str | None, folder: Path, *, api: HfApi | None = None) -> str:
    """Fetch what arhn-hf published in a repository into `folder`, past every cache; returns the commit's SHA.

    Raises `UsageError` for a repository or revision that is not there, `ArhnError` when the Hub fails.
    """
    api = api or HfApi()
    with asking("reading the repository", repo_id, "Try again later"), limited():
        try:
            sha = patiently(lambda: api.dataset_info(repo_id, revision=revision)).sha
            patiently(
                lambda: api.snapshot_download(
                    repo_id,
                    repo_type="dataset",
                    revision=sha,
                    local_dir=folder,
                    allow_patterns=["README.md", "arhn.json", PICTURE, *(f"{name}/train-*" for name in TABLES)],
                )
            )
        except RevisionNotFoundError as error:
            raise UsageError(f"no revision {revision!r} on the Hub", where=repo_id) from error
        except LocalEntryNotFoundError:  # how the client puts it when the Hub fails
            raise
        except (RepositoryNotFoundError, EntryNotFoundError) as error:
            raise UsageError(
                "no such folder, and no such dataset on the Hub",
                where=repo_id,
                hint="If it is private, log in (hf auth login)",
            ) from error
    return str(sha)


def _additions(folder: Path, card: str) -> list[CommitOperationAdd]:
    """The files of a finished folder that are published: ours by name, whatever else lies there."""
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return [
        *(
            CommitOperationAdd(path_in_repo=path, path_or_fileobj=folder / path)
            for path in paths
            if OURS.fullmatch(path)
        ),
        CommitOperationAdd(path_in_repo="README.md", path_or_fileobj=card.encode()),
    ]


def _same(found: RepoFile, sent: CommitOperationAdd) -> bool:
    if found.size != sent.upload_info.size:
        return False
    if found.lfs is not None:
        return str(found.lfs.sha256) == sent.upload_info.sha256.hex()
    with sent.as_file() as file:
        content = file.read()
    git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
    return str(found.blob_id) == git.hexdigest()
