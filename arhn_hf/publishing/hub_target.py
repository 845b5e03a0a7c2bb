"""Look at a Hub repository before anything is pushed, or anything is judged for it: who we are, what is there, and whether it may
be changed. Nothing is changed here.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # exported, but not declared so

from arhn_hf.publishing.card_text import read_head, split_card
from arhn_hf.publishing.hub_calls import asking, limited, patiently
from arhn_hf.publishing.licenses import refuse_unknown
from arhn_hf.records import UsageError

_SEEDS = frozenset({".gitattributes", "README.md"})  # what a new repository may hold


@dataclass(frozen=True, kw_only=True)
class PushOptions:
    """How to push; the options of `arhn-hf push` of the same names. `revision` is a branch, made if it does not exist."""

    private: bool = False
    create_pr: bool = False
    revision: str | None = None
    tag: str | None = None
    commit_message: str | None = None
    license: str | None = None
    into_existing: bool = False

    def __post_init__(self) -> None:
        if self.license is not None:
            refuse_unknown(self.license)
        if self.create_pr and (self.tag or self.revision):
            other = "--tag" if self.tag else "--revision"
            raise UsageError(f"goes with no pull request: leave out {other}", where="--create-pr")


@dataclass
class Target:
    """A repository as it was found. `head` is the commit to build on (`None`: there is no repository yet), `files` its paths;
    `branch_exists` says whether the branch asked for is there."""

    repo_id: str
    head: str | None = None
    files: frozenset[str] = frozenset()
    card: str | None = None
    ours: bool = False
    branch_exists: bool = True
    made: list[str] = field(default_factory=list)


def look(api: HfApi, repo_id: str, options: PushOptions) -> Target:
    """Who we are and what is there; changes nothing. Raises `UsageError` for whatever would stop the push at its end."""
    with asking("looking at the repository", repo_id), limited():
        target = Target(_full_name(api, repo_id))
        revision = options.revision
        try:
            info = patiently(lambda: api.dataset_info(target.repo_id, revision=revision))
        except RevisionNotFoundError:
            target.branch_exists = False
            info = patiently(lambda: api.dataset_info(target.repo_id))
        except RepositoryNotFoundError:
            _refuse_other_type(api, target.repo_id)
            return target
        target.head = info.sha
        target.files = frozenset(one.rfilename for one in info.siblings or ())
        target.ours = "arhn.json" in target.files
        if "README.md" in target.files:
            target.card = _text(api, target, "README.md")
        _refuse_foreign(target, options)
        _refuse_tag(api, target, options)
        return target


def _full_name(api: HfApi, repo_id: str) -> str:
    """The id with its namespace. Raises `UsageError` for no id, no token or one that may only read."""
    validate_repo_id(repo_id)
    if (api.token or get_token()) in (None, False):
        raise UsageError("no token for the Hub", where=repo_id, hint="Log in: hf auth login, or set HF_TOKEN")
    user = patiently(api.whoami)
    role = ((user.get("auth") or {}).get("accessToken") or {}).get("role")
    if role == "read":
        raise UsageError("the token may only read", where=repo_id, hint="Make one with write access")
    return repo_id if "/" in repo_id else f"{user['name']}/{repo_id}"


def _refuse_other_type(api: HfApi, repo_id: str) -> None:
    for kind, find in (("model", api.model_info), ("space", api.space_info)):
        try:
            patiently(lambda find=find: find(repo_id))  # type: ignore[misc]
        except RepositoryNotFoundError:
            continue
        raise UsageError(f"is a {kind} on the Hub, not a dataset", where=repo_id, hint="Choose another id")


def _refuse_foreign(target: Target, options: PushOptions) -> None:
    others = sorted(target.files - _SEEDS)
    if target.ours or not others:
        return
    if not options.into_existing:
        raise UsageError(
            f"holds data that arhn-hf did not write ({others[0]})", where=target.repo_id,
            hint="Choose another id, or add to it with --into-existing",
        )  # fmt: skip
    if not read_head(split_card(target.card or "")[0]).get("configs"):
        raise UsageError(
            "its card lists no configs: with ours in it, the data that is there would no longer load",
            where=target.repo_id, hint="List its own data under `configs:` in its card first",
        )  # fmt: skip


def _refuse_tag(api: HfApi, target: Target, options: PushOptions) -> None:
    if options.tag is None:
        return
    refs = patiently(lambda: api.list_repo_refs(target.repo_id, repo_type="dataset"))
    there = next((one for one in refs.tags if one.name == options.tag), None)
    if there is not None and there.target_commit != target.head:
        raise UsageError(
            f"the tag {options.tag!r} exists ({there.target_commit[:12]})", where=target.repo_id,
            hint="Choose another --tag",
        )  # fmt: skip


def _text(api: HfApi, target: Target, name: str) -> str:
    """A file of the repository at the commit looked at, past every cache."""
    with tempfile.TemporaryDirectory(prefix="arhn-push-") as cache:
        path = patiently(
            lambda: api.hf_hub_download(
                target.repo_id, name, repo_type="dataset", revision=target.head, cache_dir=cache
            )
        )
        try:
            return Path(path).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UsageError("its card is not UTF-8", where=target.repo_id, hint="Repair it on the Hub") from error
