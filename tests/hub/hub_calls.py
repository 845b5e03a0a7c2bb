"""What a small Hub answers to each call that `huggingface_hub` and `datasets` make, from the state in `hub_repos.py`.

One function a call, named as in `ROUTES`; statuses, headers and shapes are the Hub's, as far as its clients look at them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode

import yaml
from hub_repos import Blob, Commit, HubError, Memory, Repo, Token, below, folders, is_large, listed_in

LFS_MEDIA_TYPE = "application/vnd.git-lfs+json"
LICENSES = ("apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "odc-by", "other", "unknown")
"""Some of the identifiers that the Hub knows."""

ROUTES = (
    ("GET", "/api/whoami-v2", "whoami"),
    ("POST", "/api/repos/create", "create_repo"),
    ("POST", "/api/validate-yaml", "validate_yaml"),
    ("GET", "/api/{kind}/{repo}", "info"),
    ("GET", "/api/{kind}/{repo}/revision/{revision}", "info"),
    ("POST", "/api/{kind}/{repo}/preupload/{revision}", "preupload"),
    ("POST", "{git}.git/info/lfs/objects/batch", "lfs_batch"),
    ("PUT", "/storage/{oid}", "lfs_put"),
    ("PUT", "/storage/{oid}/{part}", "lfs_put_part"),
    ("POST", "/storage/{oid}/complete", "lfs_complete"),
    ("POST", "/storage/{oid}/verify", "lfs_verify"),
    ("POST", "/api/{kind}/{repo}/commit/{revision}", "commit"),
    ("POST", "/api/{kind}/{repo}/tag/{revision}", "tag"),
    ("DELETE", "/api/{kind}/{repo}/tag/{revision}", "delete_tag"),
    ("POST", "/api/{kind}/{repo}/branch/{revision}", "branch"),
    ("DELETE", "/api/{kind}/{repo}/branch/{revision}", "delete_branch"),
    ("GET", "/api/{kind}/{repo}/refs", "refs"),
    ("GET", "/api/{kind}/{repo}/commits/{revision}", "commits"),
    ("GET", "/api/{kind}/{repo}/tree/{revision}", "tree"),
    ("GET", "/api/{kind}/{repo}/tree/{revision}/{path}", "tree"),
    ("POST", "/api/{kind}/{repo}/paths-info/{revision}", "paths_info"),
    ("HEAD", "{git}/resolve/{revision}/{path}", "resolve_head"),
    ("GET", "{git}/resolve/{revision}/{path}", "resolve_get"),
)
CALLS = tuple(dict.fromkeys(name for _, _, name in ROUTES))

PIECES = {
    "{kind}": r"(?P<kind>datasets|models|spaces)",
    "{git}": r"(?:/(?P<kind>datasets|spaces))?/(?P<repo>[^/]+/[^/]+)",
    "{repo}": r"(?P<repo>[^/]+/[^/]+)",
    "{revision}": r"(?P<revision>[^/]+)",
    "{oid}": r"(?P<oid>[0-9a-f]{64})",
    "{part}": r"(?P<part>\d+)",
    "{path}": r"(?P<path>.+)",
}


def pattern(template: str) -> re.Pattern[str]:
    """The regular expression of a route."""
    return re.compile("".join(PIECES.get(piece, re.escape(piece)) for piece in re.split(r"(\{\w+\})", template)))


PATTERNS = [(method, pattern(template), name) for method, template, name in ROUTES]


@dataclass(frozen=True)
class Ask:
    """A request: what its path says, and who asks."""

    url: str
    path: str
    args: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    token: Token | None

    @property
    def kind(self) -> str:
        """`dataset`, `model` or `space`."""
        return self.args.get("kind", "models").removesuffix("s")

    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)

    def link(self, repo: Repo) -> str:
        """The web address of a repository."""
        return f"{self.url}/{'' if repo.kind == 'model' else repo.kind + 's/'}{repo.id}"


@dataclass(frozen=True)
class Reply:
    """An answer."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Call = Callable[[Memory, Ask], Reply]


def route(method: str, path: str) -> tuple[str, dict[str, str]] | None:
    """The name of a call and what its path says; the path is still quoted, so that a revision may hold a slash."""
    for wanted, regex, name in PATTERNS:
        if method == wanted and (match := regex.fullmatch(path)):
            return name, {key: unquote(value) for key, value in match.groupdict().items() if value is not None}
    return None


def reply(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """An answer in JSON."""
    kept = {"Content-Type": "application/json; charset=utf-8", **(headers or {})}
    return Reply(status, json.dumps(content).encode(), kept)


def readable(memory: Memory, ask: Ask) -> Repo:
    """The repository that a call is about."""
    return memory.repo(ask.args["repo"], ask.kind, ask.token)


def writable(memory: Memory, ask: Ask, proposal: bool = False) -> Repo:
    """The repository that a call changes; a pull request needs less."""
    repo = readable(memory, ask)
    token = signed_in(ask)
    if not (token.may_propose(repo.id) if proposal else token.may_write(repo.id)):
        raise HubError(403, "Forbidden: you don't have the rights to write to this repo with this token")
    return repo


def signed_in(ask: Ask) -> Token:
    """Who asks."""
    if ask.token is None:
        raise HubError(401, "Invalid username or password.")
    return ask.token


def is_proposal(ask: Ask) -> bool:
    """Whether a call is about a pull request, new or open."""
    return ask.query.get("create_pr") == "1" or ask.args["revision"].startswith("refs/pr/")


def whoami(memory: Memory, ask: Ask) -> Reply:
    token = signed_in(ask)
    access: dict[str, Any] = {"displayName": "test", "role": token.role, "createdAt": "2026-01-01T00:00:00.000Z"}
    if token.role == "fineGrained":
        allowed = ["repo.content.read", "repo.write"]
        scoped = [
            {
                "entity": {"_id": name, "type": "dataset" if "/" in name else "user", "name": name},
                "permissions": allowed,
            }
            for name in token.scopes
        ]
        access["fineGrained"] = {"canReadGatedRepos": False, "global": [], "scoped": scoped}
    orgs = [{"type": "org", "name": name, "fullname": name, "roleInOrg": "write"} for name in token.orgs]
    auth = {"type": "access_token", "accessToken": access}
    return reply(
        {"type": "user", "id": token.user, "name": token.user, "fullname": token.user, "orgs": orgs, "auth": auth}
    )


def create_repo(memory: Memory, ask: Ask) -> Reply:
    token, wanted = signed_in(ask), ask.json()
    kind, namespace = wanted.get("type", "model"), wanted.get("organization") or token.user
    repo_id = f"{namespace}/{wanted['name']}"
    if not token.may_write(repo_id):
        raise HubError(403, f'You don\'t have the rights to create a {kind} under the namespace "{namespace}"')
    try:
        repo = memory.create(
            repo_id, kind, wanted.get("visibility") == "private" or bool(wanted.get("private")), token.user
        )
    except HubError as error:
        return reply({"error": str(error), "url": ask.link(memory.repos[kind, repo_id])}, error.status, error.headers)
    return reply({"url": ask.link(repo), "name": repo.id, "id": repo.id})


def validate_yaml(memory: Memory, ask: Ask) -> Reply:
    head = card_head(ask.json()["content"])
    if head is None:
        return reply({"errors": [], "warnings": [{"message": "empty or missing yaml metadata in repo card"}]})
    try:
        data = yaml.safe_load(head) or {}
    except yaml.YAMLError:
        return reply({"errors": [{"message": "YAML syntax error"}], "warnings": []}, 400)
    said = data.get("license") or []
    wrong = [one for one in (said if isinstance(said, list) else [said]) if one not in LICENSES]
    errors = [{"message": f'"license" must be one of [{", ".join(LICENSES)}, ...]'}] if wrong else []
    return reply({"errors": errors, "warnings": []}, 400 if errors else 200)


def card_head(text: str) -> str | None:
    """The YAML between a card's first two lines of dashes, if there is any."""
    match = re.match(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*$", text, re.DOTALL | re.MULTILINE)
    return match.group(1) if match else None


def card_data(commit: Commit) -> dict[str, Any]:
    """`cardData` of an answer: what the card's YAML says, as JSON can say it."""
    card = commit.files.get("README.md")
    head = card_head(card.data.decode("utf-8", "replace")) if card else None
    try:
        data = yaml.safe_load(head) if head else None
    except yaml.YAMLError:
        return {}
    return {"cardData": json.loads(json.dumps(data, default=str))} if isinstance(data, dict) else {}


def info(memory: Memory, ask: Ask) -> Reply:
    repo = readable(memory, ask)
    commit = repo.resolve(ask.args.get("revision", "main"))
    siblings = []
    for path, blob in sorted(commit.files.items()):
        large = {"sha256": blob.sha256, "size": len(blob.data), "pointerSize": len(blob.pointer)}
        detail = {"size": len(blob.data), "blobId": blob.oid, **({"lfs": large} if blob.lfs else {})}
        siblings.append({"rfilename": path, **(detail if ask.query.get("blobs", "").lower() == "true" else {})})
    return reply(
        {
            "_id": hashlib.sha1(repo.id.encode()).hexdigest()[:24], "id": repo.id, "author": repo.id.split("/")[0],
            "sha": commit.sha, "lastModified": commit.date, "createdAt": repo.history("main")[-1].date,
            "private": repo.private, "gated": False, "disabled": False, "tags": [], "downloads": 0, "likes": 0,
            "siblings": siblings, **card_data(commit),
        }
    )  # fmt: skip


def preupload(memory: Memory, ask: Ask) -> Reply:
    commit, asked = writable(memory, ask, is_proposal(ask)).resolve(ask.args["revision"]), ask.json()
    held = {name: commit.files[name].data.decode() for name in (".gitignore", ".gitattributes") if name in commit.files}
    ignored = asked.get("gitIgnore", held.get(".gitignore", "")).splitlines()
    tracked = [line.split()[0] for line in held.get(".gitattributes", "").splitlines() if "filter=lfs" in line]
    answers = []
    for wanted in asked["files"]:
        large = is_large(wanted["path"], wanted["size"], base64.b64decode(wanted["sample"]))
        large = large or (wanted["size"] > 0 and listed_in(tracked, wanted["path"]))
        there = commit.files.get(wanted["path"])
        answers.append(
            {
                "path": wanted["path"],
                "uploadMode": "lfs" if large else "regular",
                "shouldIgnore": listed_in(ignored, wanted["path"]),
                **({"oid": there.etag} if there else {}),
            }
        )
    return reply({"files": answers})


def lfs_batch(memory: Memory, ask: Ask) -> Reply:
    writable(memory, ask, proposal=True)
    if ask.headers.get("Content-Type") != LFS_MEDIA_TYPE:
        raise HubError(415, f"The content type must be {LFS_MEDIA_TYPE}")
    objects = []
    for wanted in ask.json()["objects"]:
        oid, size = wanted["oid"], wanted["size"]
        href, verify = f"{ask.url}/storage/{oid}", {"href": f"{ask.url}/storage/{oid}/verify"}
        upload: dict[str, Any] = {"href": href}
        if size > memory.part_size:
            parts = {f"{number:05}": f"{href}/{number}" for number in range(1, -(-size // memory.part_size) + 1)}
            upload = {"href": f"{href}/complete", "header": {"chunk_size": str(memory.part_size), **parts}}
        missing = {} if oid in memory.lfs else {"actions": {"upload": upload, "verify": verify}}
        objects.append({"oid": oid, "size": size, "authenticated": True, **missing})
    return reply({"transfer": "basic", "objects": objects}, headers={"Content-Type": LFS_MEDIA_TYPE})


def lfs_put(memory: Memory, ask: Ask) -> Reply:
    store(memory, ask.args["oid"], ask.body)
    return Reply(headers={"ETag": f'"{hashlib.md5(ask.body).hexdigest()}"'})


def lfs_put_part(memory: Memory, ask: Ask) -> Reply:
    memory.parts.setdefault(ask.args["oid"], {})[int(ask.args["part"])] = ask.body
    return Reply(headers={"ETag": f'"{hashlib.md5(ask.body).hexdigest()}"'})


def lfs_complete(memory: Memory, ask: Ask) -> Reply:
    parts = memory.parts.get(ask.args["oid"], {})
    for wanted in ask.json()["parts"]:
        if wanted["etag"] != f'"{hashlib.md5(parts.get(wanted["partNumber"], b"")).hexdigest()}"':
            raise HubError(400, f"Part {wanted['partNumber']} is not what was uploaded")
    store(memory, ask.args["oid"], b"".join(parts[number] for number in sorted(parts)))
    del memory.parts[ask.args["oid"]]
    return reply({})


def store(memory: Memory, oid: str, data: bytes) -> None:
    """Keep an object, if it is what its name says."""
    if hashlib.sha256(data).hexdigest() != oid:
        raise HubError(400, "The content does not match its SHA-256")
    memory.lfs[oid] = data


def lfs_verify(memory: Memory, ask: Ask) -> Reply:
    wanted = ask.json()
    if len(memory.lfs.get(ask.args["oid"], b"")) != wanted["size"] or wanted["oid"] != ask.args["oid"]:
        raise HubError(404, "The object is not there")
    return reply({})


def commit(memory: Memory, ask: Ask) -> Reply:
    repo = writable(memory, ask, is_proposal(ask))
    lines = [json.loads(line) for line in ask.body.split(b"\n") if line]
    header = next(line["value"] for line in lines if line["key"] == "header")
    ref = repo.movable(ask.args["revision"])
    base, wanted, answer = repo.refs[ref], header.get("parentCommit"), {}
    if ask.query.get("create_pr") == "1":
        base = repo.resolve(wanted).sha if wanted else base
        number = len(repo.named("refs/pr/")) + 1
        ref, answer = f"refs/pr/{number}", {"pullRequestUrl": f"{ask.link(repo)}/discussions/{number}"}
    elif wanted and not base.startswith(wanted.lower()):
        raise HubError(412, "A commit has happened since. Please refresh and try again.")
    files = dict(repo.commits[base].files)
    for line in lines:
        change(memory, files, line["key"], line["value"])
    made = repo.add(ref, base, files, header["summary"], signed_in(ask).user, header.get("description", ""))
    url = f"{ask.link(repo)}/commit/{made.sha}"
    return reply({"success": True, "commitOid": made.sha, "commitUrl": url, "hookOutput": "", **answer})


def change(memory: Memory, files: dict[str, Blob], key: str, value: dict[str, Any]) -> None:
    """Make one change of a commit."""
    if key == "file":
        content = value["content"]
        data = base64.b64decode(content) if value.get("encoding") == "base64" else content.encode()
        files[value["path"]] = Blob(data, lfs=False)
    elif key == "lfsFile":
        if value["oid"] not in memory.lfs:
            raise HubError(400, f"LFS pointer pointed to a file that does not exist: {value['path']}")
        files[value["path"]] = Blob(memory.lfs[value["oid"]], lfs=True)
    elif key in ("deletedFile", "deletedFolder"):
        gone = below(files, value["path"].rstrip("/"))
        gone = gone if key == "deletedFolder" else {path: oid for path, oid in gone.items() if path == value["path"]}
        if not gone:
            raise HubError(404, "A file with this name doesn't exist", "EntryNotFound")
        for path in gone:
            del files[path]
    elif key != "header":
        raise HubError(400, f"Unknown operation {key}")


def tag(memory: Memory, ask: Ask) -> Reply:
    repo = writable(memory, ask)
    return new_ref(repo, f"refs/tags/{ask.json()['tag']}", ask.args["revision"], "Tag reference exists already")


def branch(memory: Memory, ask: Ask) -> Reply:
    repo, name = writable(memory, ask), ask.args["revision"]
    start = ask.json().get("startingPoint", "main")
    return new_ref(repo, f"refs/heads/{name}", start, f"Reference already exists: refs/heads/{name}")


def new_ref(repo: Repo, ref: str, revision: str, taken: str) -> Reply:
    """Give a commit a name that is not yet given, and that git takes."""
    if re.search(r"[\s~^:?*\[\\]|\.\.|^refs/heads/refs/", ref):
        raise HubError(400, f"Invalid reference name: {ref}")
    if ref in repo.refs:
        raise HubError(409, taken)
    repo.refs[ref] = repo.resolve(revision).sha
    return reply({})


def delete_tag(memory: Memory, ask: Ask) -> Reply:
    return drop_ref(writable(memory, ask), f"refs/tags/{ask.args['revision']}")


def delete_branch(memory: Memory, ask: Ask) -> Reply:
    if ask.args["revision"] == "main":
        raise HubError(403, "Cannot delete the main branch")
    return drop_ref(writable(memory, ask), f"refs/heads/{ask.args['revision']}")


def drop_ref(repo: Repo, ref: str) -> Reply:
    """Take a name away."""
    if ref not in repo.refs:
        raise HubError(404, f"Reference does not exist: {ref}", "RevisionNotFound")
    del repo.refs[ref]
    return reply({})


def refs(memory: Memory, ask: Ask) -> Reply:
    repo = readable(memory, ask)

    def listed(prefix: str, cut: str) -> list[dict[str, str]]:
        full = {ref: sha for ref, sha in repo.refs.items() if ref.startswith(prefix)}
        return [{"name": ref.removeprefix(cut), "ref": ref, "targetCommit": sha} for ref, sha in full.items()]

    asked = {"pullRequests": listed("refs/pr/", "")} if ask.query.get("include_prs") else {}
    branches, tags = listed("refs/heads/", "refs/heads/"), listed("refs/tags/", "refs/tags/")
    return reply({"branches": branches, "tags": tags, "converts": [], **asked})


def commits(memory: Memory, ask: Ask) -> Reply:
    history = readable(memory, ask).history(ask.args["revision"])
    items = [
        {"id": one.sha, "title": one.title, "message": one.message, "date": one.date, "authors": [{"user": one.author}]}
        for one in history
    ]
    return page(memory, ask, items)


def page(memory: Memory, ask: Ask, items: list[Any]) -> Reply:
    """One page of a list, with a link to the next."""
    start = int(ask.query.get("cursor", "0"))
    end = start + memory.page_size
    query = urlencode({**ask.query, "cursor": end})
    link = {"Link": f'<{ask.url}{ask.path}?{query}>; rel="next"'} if end < len(items) else {}
    return reply(items[start:end], headers=link)


def entry(repo: Repo, commit: Commit, path: str, expand: bool) -> dict[str, Any]:
    """A file or a folder as a listing shows it."""
    blob, changed = commit.files.get(path), repo.last_change(commit, path) if expand else None
    found: dict[str, Any] = {"type": "directory", "oid": tree_oid(commit, path), "size": 0, "path": path}
    if blob is not None:
        found = {"type": "file", "oid": blob.oid, "size": len(blob.data), "path": path}
        if blob.lfs:
            found["lfs"] = {"oid": blob.sha256, "size": len(blob.data), "pointerSize": len(blob.pointer)}
    if changed is not None:
        found["lastCommit"] = {"id": changed.sha, "title": changed.title, "date": changed.date}
    return found


def tree_oid(commit: Commit, path: str) -> str:
    """An id that changes when a folder does."""
    return hashlib.sha1(json.dumps(sorted(below(commit.files, path).items())).encode()).hexdigest()


def tree(memory: Memory, ask: Ask) -> Reply:
    repo = readable(memory, ask)
    commit, folder = repo.resolve(ask.args["revision"]), ask.args.get("path", "").strip("/")
    prefix = f"{folder}/" if folder else ""
    paths = [path for path in sorted([*commit.files, *folders(commit.files)]) if path.startswith(prefix)]
    if folder and not paths:
        raise HubError(404, f'{folder} does not exist on "{ask.args["revision"]}"', "EntryNotFound")
    if ask.query.get("recursive", "").lower() != "true":
        paths = [path for path in paths if "/" not in path[len(prefix) :]]
    expand = ask.query.get("expand", "").lower() == "true"
    return page(memory, ask, [entry(repo, commit, path, expand) for path in paths])


def paths_info(memory: Memory, ask: Ask) -> Reply:
    repo = readable(memory, ask)
    commit, form = repo.resolve(ask.args["revision"]), parse_qs(ask.body.decode())
    known, expand = {*commit.files, *folders(commit.files)}, form.get("expand", [""])[0].lower() == "true"
    wanted = [path.strip("/") for path in form.get("paths", [])]
    return reply([entry(repo, commit, path, expand) for path in wanted if path in known])


def resolve_head(memory: Memory, ask: Ask) -> Reply:
    commit, path = readable(memory, ask).resolve(ask.args["revision"]), ask.args["path"]
    where = {"X-Repo-Commit": commit.sha}
    if path not in commit.files:
        raise HubError(404, "Entry not found", "EntryNotFound", where)
    blob = commit.files[path]
    headers = {
        **where, "ETag": f'"{blob.etag}"', "Accept-Ranges": "bytes",
        "Content-Type": "application/octet-stream" if blob.lfs else "text/plain; charset=utf-8",
        **({"X-Linked-ETag": f'"{blob.etag}"', "X-Linked-Size": str(len(blob.data))} if blob.lfs else {}),
    }  # fmt: skip
    return ranged(blob.data, ask.headers.get("Range"), headers)


def resolve_get(memory: Memory, ask: Ask) -> Reply:
    return resolve_head(memory, ask)


def ranged(data: bytes, wanted: str | None, headers: Mapping[str, str]) -> Reply:
    """All bytes, or those that a `Range` of one span asks for."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted or "")
    if match is None or match.groups() == ("", ""):
        return Reply(200, data, headers)
    first, last = match.groups()
    start = int(first) if first else max(0, len(data) - int(last))
    end = min(int(last) + 1, len(data)) if first and last else len(data)
    if start >= end:
        raise HubError(416, "Range not satisfiable", headers={"Content-Range": f"bytes */{len(data)}"})
    return Reply(206, data[start:end], {**headers, "Content-Range": f"bytes {start}-{end - 1}/{len(data)}"})


ANSWERS: dict[str, Call] = {name: globals()[name] for name in CALLS}
