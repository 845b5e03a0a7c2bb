"""Look at a Hub repository before anything is pushed, or anything is judged for it: who we are, what is there, and whether it may
be changed. Nothing is changed here.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # exported, but not declared so

from arhn_hf.publishing.card_text import read_head, split_card
from arhn_hf.publishing.folder import PICTURE, TABLES
from arhn_hf.publishing.hub_calls import asking, limited, patiently
from arhn_hf.publishing.licenses import refuse_unknown
from arhn_hf.records import ArhnError, UsageError

OURS = re.compile(
    rf"(?:(?:{'|'.join(TABLES)})/train-\d{{5}}-of-\d{{5}}\.(?:parquet|jsonl)|arhn\.json|{re.escape(PICTURE)})"
)
"""Paths of the files that a push writes, the card apart."""
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
        for name, value in (("--tag", self.tag), ("--revision", self.revision)):
            if value is not None and not _is_ref_name(value):
                raise UsageError(f"{value!r} is no name that git takes", where=name)
        if self.revision is not None and self.revision.startswith("refs/"):
            raise UsageError(f"{self.revision!r} is no branch", where="--revision", hint="Name a branch, such as main")


@dataclass
class Target:
    """A repository as it was found. `head` is the commit to build on (`None`: there is no repository yet), `files` its paths, `card`
    its README.md; `branch_exists` says whether the branch asked for is there."""

    repo_id: str
    head: str | None = None
    files: frozenset[str] = frozenset()
    card: str | None = None
    ours: bool = False
    branch_exists: bool = True
    private: bool | None = None
    made: list[str] = field(default_factory=list)

    @property
    def card_head(self) -> dict[str, Any]:
        """The YAML of its card."""
        return read_head(split_card(self.card or "")[0])


def look(api: HfApi, repo_id: str, options: PushOptions) -> Target:
    """Who we are and what is there; changes nothing. Raises `UsageError` for whatever would stop the push at its end."""
    with asking("looking at the repository", repo_id), limited():
        validate_repo_id(repo_id)
        if (api.token or get_token()) in (None, False):
            raise UsageError("no token for the Hub", where=repo_id, hint="Log in: hf auth login, or set HF_TOKEN")
        user = patiently(api.whoami)
        target = Target(repo_id if "/" in repo_id else f"{user['name']}/{repo_id}")
        found = _find(api, target, options)
        _refuse_without_access(user, target, options, exists=found)
        if not found:
            if options.create_pr:
                raise UsageError("is not on the Hub: nothing to open a pull request against", where=target.repo_id)
            _refuse_other_type(api, target.repo_id)
            return target
        if options.private and target.private is False:
            raise UsageError(
                "is public already, and --private only concerns a new repository", where=target.repo_id,
                hint="Make it private in its settings, or leave --private out",
            )  # fmt: skip
        if "README.md" in target.files:
            target.card = _text(api, target, "README.md")
            try:
                target.card_head  # noqa: B018 - raises where it cannot be read
            except ArhnError as error:
                raise UsageError(error.message, where=f"{target.repo_id}, README.md", hint=error.hint) from error
        _refuse_foreign(target, options)
        _refuse_refs(api, target, options)
        return target


def _find(api: HfApi, target: Target, options: PushOptions) -> bool:
    """Fill in what is there; whether anything is."""
    try:
        try:
            info = patiently(lambda: api.dataset_info(target.repo_id, revision=options.revision))
        except RevisionNotFoundError:
            target.branch_exists = False
            info = patiently(lambda: api.dataset_info(target.repo_id))
    except RepositoryNotFoundError:
        return False
    target.head, target.private = info.sha, info.private
    target.files = frozenset(one.rfilename for one in info.siblings or ())
    target.ours = "arhn.json" in target.files
    return True


def _refuse_without_access(user: dict[str, Any], target: Target, options: PushOptions, *, exists: bool) -> None:
    """Raise `UsageError` for a token that may not write there, as far as the Hub says so."""
    token = (user.get("auth") or {}).get("accessToken") or {}
    if token.get("role") == "read":
        raise UsageError("the token may only read", where=target.repo_id, hint="Make one with write access")
    if exists and options.create_pr:  # anybody may propose
        return
    namespace = target.repo_id.split("/")[0]
    names = {user["name"], *(one.get("name") for one in user.get("orgs") or ())}
    if token.get("role") == "fineGrained":
        scoped = (token.get("fineGrained") or {}).get("scoped") or ()
        names = {
            (one.get("entity") or {}).get("name")
            for one in scoped
            if any("write" in str(permission) for permission in one.get("permissions") or ())
        }
    if namespace not in names and target.repo_id not in names:
        raise UsageError(
            f"the token may not write to {namespace!r}", where=target.repo_id,
            hint=f"It may to: {', '.join(sorted(str(name) for name in names))}",
        )  # fmt: skip


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
    if taken := sorted(path for path in others if OURS.fullmatch(path)):
        raise UsageError(f"holds a file of its own named {taken[0]}", where=target.repo_id, hint="Choose another id")
    configs = target.card_head.get("configs")
    if not configs:
        raise UsageError(
            "its card lists no configs: with ours in it, the data that is there would no longer load",
            where=target.repo_id, hint="List its own data under `configs:` in its card first",
        )  # fmt: skip
    names = {str(one.get("config_name")) for one in configs if isinstance(one, dict)}
    if taken := sorted(names & set(TABLES)):
        raise UsageError(f"has a config of its own named {taken[0]}", where=target.repo_id, hint="Choose another id")


def _refuse_refs(api: HfApi, target: Target, options: PushOptions) -> None:
    """Raise `UsageError` for a tag that is elsewhere already, or a branch name that is a tag."""
    if options.tag is None and options.revision is None:
        return
    refs = patiently(lambda: api.list_repo_refs(target.repo_id, repo_type="dataset"))
    there = next((one for one in refs.tags if one.name == options.tag), None)
    if there is not None and there.target_commit != target.head:
        raise UsageError(
            f"the tag {options.tag!r} exists ({there.target_commit[:12]})", where=target.repo_id,
            hint="Choose another --tag",
        )  # fmt: skip
    branches = {one.name for one in refs.branches}
    if options.revision is not None and target.branch_exists and options.revision not in branches:
        raise UsageError(f"{options.revision!r} is no branch", where="--revision", hint="Name a branch, such as main")


def _is_ref_name(name: str) -> bool:
    """Whether git takes a name for a tag or a branch (git-check-ref-format)."""
    wrong = re.search(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|//|@\{|\.lock(?:/|$)|(?:^|/)\.|\.$|^/|/$|^-|^@$", name)
    return bool(name) and wrong is None


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
