"""A push ends in a dataset that loads, in one commit, beside whatever a person keeps there; or it is refused in time.

Everything goes over HTTP by the real clients, to a Hub of this folder's own.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from conftest import refine_folder
from hub_push import (
    REPO,
    card_of,
    command,
    failure,
    head_of,
    held,
    holds_all_of,
    paths,
    publish,
    refine_into,
    refused,
    script,
    state,
    writes,
)
from hub_server import FINE_TOKEN, READ_TOKEN, TOKEN, TOKENS, HubServer

from arhn_hf.checks import check
from arhn_hf.pipeline import RefineResult
from arhn_hf.publishing.card_text import BEGIN, END
from arhn_hf.records import ArhnError

VARIANTS = ("combined", "relabel", "filter")
pytestmark = pytest.mark.usefixtures("slept")

# Loading back.

LOAD = """
import json, sys
from datasets import load_dataset
repo, folder, names, revisions = map(json.loads, sys.argv[1:])
def seen(*words, **options):
    found = load_dataset(*words, split="train", **options)
    return [repr(found.features), found.to_list()]
out = {}
for name in names:
    words = [name] if name else []
    local = seen(folder, *words)
    out[name] = [len(local[1])] + [seen(repo, *words, revision=one) == local for one in revisions]
print(json.dumps(out))
"""
LINES = """
import json, sys
from datasets import load_dataset
lines, evidence = map(json.loads, sys.argv[1:])
loaded = [eval(line) for line in lines]
local = load_dataset("parquet", data_files=evidence, split="train")
print(json.dumps([[found.num_rows for found in loaded], loaded[-1].to_list() == local.to_list()]))
"""


def loading_lines(card: str) -> list[str]:
    """What a card says to write."""
    return [line for line in card.splitlines() if line.startswith("load_dataset(")]


@pytest.mark.parametrize("to", [None, "flagembedding"])
def test_every_variant_loads_from_the_hub_as_from_the_folder(
    hub: HubServer, sample: Path, refined: Path, tmp_path: Path, to: str | None
) -> None:
    folder = refined if to is None else refine_folder(sample, tmp_path / "jsonl", to=to)
    done = publish(hub, folder, tag="v1")
    hub.commit(REPO, {"combined/train-00000-of-00001.parquet": b"", "relabel/x": b""}, title="Later, and broken")
    names = ["", *VARIANTS] if to else ["", *VARIANTS, "evidence"]
    found = script(hub, tmp_path, LOAD, REPO, str(folder), names, ["v1", done.commit])
    assert [values[1:] for values in found.values()] == [[True, True]] * len(names)
    assert all(values[0] > 0 for values in found.values())
    evidence = pq.read_table(folder / "evidence" / "train-00000-of-00001.parquet").num_rows
    assert to is not None or found["evidence"][0] == evidence


def test_every_line_of_the_card_loads(hub: HubServer, sample: Path, tmp_path: Path) -> None:
    folder = refine_folder(sample, tmp_path / "jsonl", to="flagembedding")
    publish(hub, folder)
    lines = loading_lines(card_of(hub))
    assert len(lines) == 4
    evidence = str(folder / "evidence" / "train-00000-of-00001.parquet")
    counts, same = script(hub, tmp_path, LINES, lines, evidence)
    assert (min(counts) > 0, same) == (True, True)
    done = publish(hub, folder, "my-org/data")
    assert all("my-org/data" in line for line in loading_lines(card_of(hub, "my-org/data")))
    assert done.url == f"{hub.url}/datasets/my-org/data"


def test_refine_pushes_what_it_wrote(hub: HubServer, sample: Path, tmp_path: Path) -> None:
    result, engine = refine_into(hub, sample, tmp_path / "out", tag="v1", commit_message="Words of mine")
    assert isinstance(result, RefineResult)
    assert (result.exit_code, engine.count > 0) == (0, True)
    assert result.push is not None
    assert result.push.commit == hub.branches(REPO)["main"] == hub.tags(REPO)["v1"]
    assert hub.history(REPO)[0].title == "Words of mine"
    assert holds_all_of(hub, tmp_path / "out")
    assert result.report["push"]["commit"] == result.push.commit


def test_the_command_line_refines_and_pushes(hub: HubServer, sample: Path, tmp_path: Path) -> None:
    words = ("refine", sample, "--sample", 3, "--output", tmp_path / "out", "--push", REPO, "--private", "--json")
    report = json.loads(command(hub, tmp_path, *words).stdout)
    assert report["push"]["commit"] == hub.branches(REPO)["main"]
    assert hub.memory.repos["dataset", REPO].private
    assert holds_all_of(hub, tmp_path / "out")
    again = command(hub, tmp_path, "push", tmp_path / "out", "my-org/data", "--tag", "v1")
    assert 'load_dataset("my-org/data", "combined", split="train")' in again.stdout
    assert hub.tags("my-org/data") == {"v1": hub.branches("my-org/data")["main"]}


def test_a_name_without_a_namespace_is_ones_own(hub: HubServer, refined: Path) -> None:
    assert publish(hub, refined, "data").repo_id == REPO
    assert holds_all_of(hub, refined)
    assert 'load_dataset("me/data", "relabel"' in card_of(hub)


# One commit.


def test_one_commit_holds_everything(hub: HubServer, refined: Path) -> None:
    done = publish(hub, refined)
    assert hub.asked("commit") == ["commit"]
    first, second = hub.history(REPO)
    assert (first.sha, first.parent) == (done.commit, second.sha)
    assert set(held(hub, revision=second.sha)) == set()
    assert {"README.md", "arhn.json", "negatives.svg", "evidence/train-00000-of-00001.parquet"} < set(held(hub))
    assert holds_all_of(hub, refined)
    run_id = json.loads((refined / "arhn.json").read_text())["run_id"]
    assert first.title == f"Add arhn-hf run {run_id} (combined, relabel, filter)"


def test_an_unchanged_folder_makes_no_second_commit(hub: HubServer, refined: Path) -> None:
    first = publish(hub, refined, tag="v1")
    sent = hub.lfs_bytes_received
    before = state(hub)
    assert publish(hub, refined, tag="v1").commit == first.commit
    assert (state(hub), hub.lfs_bytes_received) == (before, sent)


def test_files_of_an_older_run_go_and_those_of_a_person_stay(hub: HubServer, sample: Path, tmp_path: Path) -> None:
    folder = refine_folder(sample, tmp_path / "out")
    publish(hub, folder)
    mine = {"LICENSE": b"words", "notes.md": b"mine", "relabel/notes.md": b"mine", "extra/train-0.parquet": b"mine"}
    hub.commit(REPO, mine)
    refine_folder(sample, folder, variants="combined")
    commits = len(hub.history(REPO))
    publish(hub, folder)
    assert len(hub.history(REPO)) == commits + 1
    assert set(held(hub)) == paths(folder) | set(mine)
    assert not any(path.startswith(("filter/", "relabel/train")) for path in held(hub))
    assert {path: held(hub)[path] for path in mine} == mine
    assert [one["config_name"] for one in head_of(card_of(hub))["configs"]] == ["combined", "evidence"]


def test_shards_of_an_older_run_go(hub: HubServer, refined: Path) -> None:
    publish(hub, refined)
    hub.commit(REPO, {"combined/train-00000-of-00002.parquet": b"", "filter/train-00001-of-00002.jsonl": b"{}"})
    publish(hub, refined)
    assert holds_all_of(hub, refined)


def test_nothing_else_in_the_folder_is_uploaded(hub: HubServer, copied: Path) -> None:
    stray = (
        ".gitignore", ".DS_Store", "notes.txt", "combined/.DS_Store", "combined/notes.txt", "sub/arhn.json",
        "train-00000-of-00001.parquet", "combined/sub/train-00000-of-00001.parquet", ".git/config", "arhn.json.new",
    )  # fmt: skip
    for name in stray:
        (copied / name).parent.mkdir(exist_ok=True)
        (copied / name).write_bytes(b"a secret of mine")
    publish(hub, copied)
    assert set(held(hub)) == paths(copied) - set(stray)
    assert not any(path.startswith(".arhn") for path in held(hub))
    assert not any(b"a secret of mine" in one for one in [*held(hub).values(), *hub.memory.lfs.values()])


def test_large_cards_and_lineages_of_a_repository_that_keeps_them_as_lfs(hub: HubServer, refined: Path) -> None:
    hub.add_repo(REPO)
    lines = b"*.json filter=lfs diff=lfs merge=lfs -text\n*.md filter=lfs diff=lfs merge=lfs -text\n"
    hub.commit(REPO, {".gitattributes": hub.files(REPO)[".gitattributes"] + lines})
    publish(hub, refined)
    assert holds_all_of(hub, refined)


# Pull requests, branches and tags.


def test_a_pull_request_changes_nobodys_data(hub: HubServer, refined: Path, older: Path) -> None:
    publish(hub, older)
    before = hub.branches(REPO)
    done = publish(hub, refined, create_pr=True)
    assert (hub.branches(REPO), list(hub.pull_requests(REPO))) == (before, ["1"])
    assert done.pr == f"{hub.url}/datasets/{REPO}/discussions/1"
    assert holds_all_of(hub, refined, revision="refs/pr/1")
    assert holds_all_of(hub, older)


def test_a_pull_request_that_would_change_nothing_is_not_called_published(hub: HubServer, refined: Path) -> None:
    publish(hub, refined)
    error = failure(lambda: publish(hub, refined, create_pr=True))
    assert "nothing to propose" in str(error)
    assert hub.pull_requests(REPO) == {}


def test_a_pull_request_to_somebody_else(hub: HubServer, refined: Path) -> None:
    hub.add_repo("other/data", {"README.md": b"---\nconfigs:\n- config_name: own\n  data_files: own/*\n---\n"})
    publish(hub, refined, "other/data", create_pr=True)
    assert set(held(hub, "other/data")) == {"README.md"}
    assert holds_all_of(hub, refined, "other/data", "refs/pr/1")


def test_private_does_not_publish_where_everybody_reads(hub: HubServer, refined: Path) -> None:
    hub.add_repo(REPO)
    error = failure(lambda: publish(hub, refined, private=True))
    assert "is public already" in str(error)
    assert len(hub.history(REPO)) == 1
    hub.add_repo("me/hidden", private=True)
    assert publish(hub, refined, "me/hidden", private=True).commit


def test_what_was_published_is_no_source_to_audit(hub: HubServer, refined: Path, tmp_path: Path) -> None:
    publish(hub, refined)
    done = subprocess.run(
        [sys.executable, "-m", "arhn_hf.cli.main", "audit", REPO, "--grades", "grade"],
        cwd=tmp_path, env=hub.environment(tmp_path), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "is what arhn-hf published, not a source to judge" in done.stderr
    assert not (tmp_path / "audited").exists()


def test_a_branch_is_made_and_gets_the_commit(hub: HubServer, refined: Path, older: Path) -> None:
    first = publish(hub, older)
    done = publish(hub, refined, revision="side/one", tag="v1")
    assert hub.branches(REPO) == {"main": first.commit, "side/one": done.commit}
    assert hub.tags(REPO) == {"v1": done.commit}
    assert holds_all_of(hub, refined, revision="side/one")
    assert holds_all_of(hub, older)
    again = publish(hub, older, revision="side/one")
    assert hub.branches(REPO) == {"main": first.commit, "side/one": again.commit}
    assert [one.sha for one in hub.history(REPO, "side/one")][1] == done.commit


def test_a_branch_of_a_repository_that_is_not_there(hub: HubServer, refined: Path) -> None:
    done = publish(hub, refined, revision="side")
    assert hub.branches(REPO)["side"] == done.commit
    assert set(held(hub)) == set()


def test_a_tag_stands_at_the_commit(hub: HubServer, refined: Path, older: Path) -> None:
    first = publish(hub, older, tag="v1")
    second = publish(hub, refined, tag="v2")
    assert hub.tags(REPO) == {"v1": first.commit, "v2": second.commit}
    assert (first.tag, second.tag) == ("v1", "v2")


# The card.

WORDS = "# My own title\n\nWhat I think of it.\n"
LAST = "## Thanks\n\nTo everybody.\n"
KEYS = """# a comment of mine
license: mit  # checked by me
pretty_name: My data
configs:
- config_name: own
  data_files: own/*.parquet
size_categories:
- n>1T
tags:
- mine  # and only mine
# the last comment
dataset_info:
  splits: []
"""


def test_what_a_person_wrote_on_the_hub_survives_every_push(
    hub: HubServer, sample: Path, refined: Path, older: Path
) -> None:
    publish(hub, older)
    section = card_of(hub)[card_of(hub).index(BEGIN) : card_of(hub).index(END) + len(END)]
    hub.commit(REPO, {"README.md": f"---\n{KEYS}---\n{WORDS}\n{section}\n\n{LAST}".encode(), "own/a.parquet": b""})
    for folder in (refined, older, refined):
        publish(hub, folder)
        card, head = card_of(hub), head_of(card_of(hub))
        assert card.count(WORDS) == card.count(LAST) == card.count(BEGIN) == card.count(END) == 1
        assert card.index(WORDS) < card.index(BEGIN) < card.index(END) < card.index(LAST)
        for kept in ("# a comment of mine\n", "license: mit  # checked by me\n", "# the last comment\n"):
            assert kept in card
        assert (head["license"], head["pretty_name"], head["dataset_info"]) == ("mit", "My data", {"splits": []})
        assert head["tags"] == ["mine", "arhn-hf", "hard-negatives"]
        assert head["size_categories"] == ["n<1K"]
        names = [one["config_name"] for one in head["configs"]]
        assert names == ["combined", "relabel", "filter", "evidence", "own"]
        run_id = json.loads((folder / "arhn.json").read_text())["run_id"]
        assert f"run `{run_id}`" in card


def test_a_comment_inside_a_list_of_ours_survives(hub: HubServer, refined: Path, older: Path) -> None:
    publish(hub, older)
    hub.commit(REPO, {"README.md": card_of(hub).replace("- arhn-hf\n", "- arhn-hf  # keep me\n").encode()})
    publish(hub, refined)
    assert "# keep me" in card_of(hub)


def test_words_in_the_local_card_are_pushed_once(hub: HubServer, copied: Path, older: Path) -> None:
    publish(hub, older)
    hub.commit(REPO, {"README.md": card_of(hub).replace(BEGIN, f"{WORDS}\n{BEGIN}").encode()})
    local = (copied / "README.md").read_text()
    (copied / "README.md").write_text(local.replace(BEGIN, f"Local words.\n\n{BEGIN}") + f"\n{LAST}")
    for _ in range(3):
        publish(hub, copied)
        card = card_of(hub)
        assert [card.count(part.strip()) for part in (WORDS, "Local words.", LAST)] == [1, 1, 1]
        assert card.index("Local words.") < card.index(BEGIN) < card.index(END) < card.index(LAST)


def test_keys_of_the_local_card_are_pushed_where_the_hub_has_none(hub: HubServer, copied: Path, older: Path) -> None:
    publish(hub, older)
    hub.commit(REPO, {"README.md": card_of(hub).replace("---\n", "---\npretty_name: Theirs\n", 1).encode()})
    local = (copied / "README.md").read_text()
    (copied / "README.md").write_text(local.replace("---\n", "---\npretty_name: Ours\nmultilinguality: mono\n", 1))
    publish(hub, copied)
    head = head_of(card_of(hub))
    assert (head["pretty_name"], head["multilinguality"]) == ("Theirs", "mono")


def test_a_card_without_our_section_gets_it_and_keeps_its_words(hub: HubServer, refined: Path) -> None:
    hub.add_repo(REPO, {"README.md": f"---\nlicense: mit\n---\n{WORDS}".encode()})
    publish(hub, refined)
    card = card_of(hub)
    assert (card.count(WORDS), card.count(BEGIN), head_of(card)["license"]) == (1, 1, "mit")


def test_windows_line_ends_of_a_card_are_no_obstacle(hub: HubServer, refined: Path, older: Path) -> None:
    publish(hub, older)
    text = card_of(hub).replace("---\n", "---\npretty_name: Mine  # here\n", 1).replace("\n", "\r\n")
    hub.commit(REPO, {"README.md": text.encode()})
    publish(hub, refined)
    head = head_of(card_of(hub))
    assert (head["pretty_name"], len(head["configs"])) == ("Mine", 4)
    assert card_of(hub).count(BEGIN) == 1


def test_our_keys_follow_the_run(hub: HubServer, sample: Path, refined: Path, tmp_path: Path) -> None:
    publish(hub, refined)
    folder = refine_folder(sample, tmp_path / "out", variants="filter", to="flagembedding")
    publish(hub, folder)
    (one,) = head_of(card_of(hub))["configs"]
    assert (one["config_name"], one["default"]) == ("filter", True)
    assert one["data_files"] == [{"split": "train", "path": "filter/train-*.jsonl"}]
    assert holds_all_of(hub, folder)


# The licence.


def source_of(sample: Path, folder: Path, head: str | None) -> Path:
    """The sample with a card of its own."""
    folder.mkdir(parents=True)
    shutil.copy(sample / "train.jsonl", folder)
    if head is not None:
        (folder / "README.md").write_text(f"---\n{head}\n---\n")
    return folder


@pytest.mark.parametrize("head", ["license: cc-by-sa-4.0", "license: [cc-by-sa-4.0]"])
def test_the_licence_of_a_local_source_is_inherited(hub: HubServer, sample: Path, tmp_path: Path, head: str) -> None:
    source = source_of(sample, tmp_path / "source", head)
    result, _ = refine_into(hub, source, tmp_path / "out")
    assert isinstance(result, RefineResult)
    assert head_of(card_of(hub))["license"] == yaml.safe_load(head)["license"]


@pytest.mark.parametrize("head", [None, "language: en", "license: unknown", "license: ''", "license:"])
def test_an_unknown_licence_stops_a_push_until_it_is_named(
    hub: HubServer, sample: Path, tmp_path: Path, head: str | None
) -> None:
    folder = refine_folder(source_of(sample, tmp_path / "source", head), tmp_path / "out")
    line = refused(hub, lambda: publish(hub, folder))
    assert "--license" in line
    assert state(hub) is None
    publish(hub, folder, license="cc-by-4.0")
    assert head_of(card_of(hub))["license"] == "cc-by-4.0"
    publish(hub, folder)  # the Hub's card knows it now
    assert head_of(card_of(hub))["license"] == "cc-by-4.0"


@pytest.mark.parametrize(
    ("wrong", "near"), [("cc-by-sa-4", "cc-by-sa-4.0"), ("Apache2.0", "apache-2.0"), ("MIT", "mit")]
)
def test_a_licence_that_the_hub_does_not_know_is_refused_with_the_nearest(
    hub: HubServer, sample: Path, refined: Path, tmp_path: Path, wrong: str, near: str
) -> None:
    line = refused(hub, lambda: publish(hub, refined, license=wrong))
    assert {wrong in line, near in line} == {True}
    error, engine = refine_into(hub, sample, tmp_path / "out", license=wrong)
    assert (isinstance(error, ArhnError), engine.count, hub.requests) == (True, 0, [])


def test_a_source_with_a_licence_that_the_hub_does_not_know_is_refused(
    hub: HubServer, sample: Path, tmp_path: Path
) -> None:
    folder = refine_folder(source_of(sample, tmp_path / "source", "license: my-own-words"), tmp_path / "out")
    assert "my-own-words" in refused(hub, lambda: publish(hub, folder))
    publish(hub, folder, license="mit")
    assert head_of(card_of(hub))["license"] == "mit"


def test_other_needs_a_name_and_a_link(hub: HubServer, copied: Path) -> None:
    line = refused(hub, lambda: publish(hub, copied, license="other"))
    assert "license_name and license_link" in line
    text = (copied / "README.md").read_text()
    added = "license_name: mine\nlicense_link: LICENSE\n"
    (copied / "README.md").write_text(text.replace("---\n", f"---\n{added}", 1))
    publish(hub, copied, license="other")
    head = head_of(card_of(hub))
    assert (head["license"], head["license_name"], head["license_link"]) == ("other", "mine", "LICENSE")


def test_a_named_licence_wins_over_the_one_on_the_hub(hub: HubServer, refined: Path) -> None:
    publish(hub, refined)
    publish(hub, refined, license="cc0-1.0")
    assert head_of(card_of(hub))["license"] == "cc0-1.0"
    publish(hub, refined)
    assert head_of(card_of(hub))["license"] == "cc0-1.0"


# A source on the Hub.


@pytest.fixture
def source(hub: HubServer, sample: Path) -> str:
    """The sample as a Hub dataset."""
    files = {name: (sample / name).read_bytes() for name in ("README.md", "train.jsonl")}
    files["README.md"] = files["README.md"].replace(b"license: apache-2.0", b"license: cc-by-sa-3.0")
    return hub.add_repo("other/source", files)


def test_a_source_on_the_hub_is_checked_at_the_recorded_revision(
    hub: HubServer, sample: Path, source: str, tmp_path: Path
) -> None:
    words = ("refine", "other/source", "--sample", 3, "--output", tmp_path / "out", "--push", REPO, "--tag", "v1")
    command(hub, tmp_path, *words)
    lineage = json.loads(held(hub)["arhn.json"])
    assert lineage["source"]["revision"] == source
    head = head_of(card_of(hub))
    assert (head["license"], head["source_datasets"], head["language"]) == ("cc-by-sa-3.0", ["other/source"], ["en"])

    rows = (sample / "train.jsonl").read_text().splitlines()
    hub.commit("other/source", {"train.jsonl": "\n".join(rows[5:]).encode()}, title="Moved on")
    good = json.loads(command(hub, tmp_path, "check", REPO, "--json", token=None).stdout)
    assert (good["exit_code"], good["revision"]) == (0, hub.tags(REPO)["v1"])

    path = "combined/train-00000-of-00001.parquet"
    table = pq.read_table(tmp_path / "out" / path)
    pq.write_table(table.slice(1), tmp_path / "tampered.parquet")
    hub.commit(REPO, {path: (tmp_path / "tampered.parquet").read_bytes()}, title="Tampered with")
    bad = json.loads(command(hub, tmp_path, "check", REPO, "--json", token=None, code=3).stdout)
    broken = [one["name"] for one in bad["promises"] if one["ok"] is False]
    assert "combined_holds_every_passage_once" in broken
    command(hub, tmp_path, "check", REPO, "--revision", "v1", token=None)
    (tmp_path / "out" / path).write_bytes((tmp_path / "tampered.parquet").read_bytes())
    since = len(hub.requests)
    command(hub, tmp_path, "push", tmp_path / "out", REPO, code=3)
    assert writes(hub, since) == []


def test_check_of_what_is_not_there(hub: HubServer, refined: Path, tmp_path: Path) -> None:
    publish(hub, refined)
    hub.add_repo("me/empty", {"a.txt": b"a"})
    for words, said in (
        (("me/missing",), "me/missing"), ((REPO, "--revision", "v9"), "v9"), (("me/empty",), "arhn.json"),
        (("no id at all",), "no id at all"),
    ):  # fmt: skip
        done = command(hub, tmp_path, "check", *words, code=2)
        assert (done.stdout, said in done.stderr, len(done.stderr.splitlines())) == ("", True, 1), done.stderr


# What is refused, before anything is written or judged.


def foreign(*names: str, card: str | None = None) -> dict[str, bytes]:
    """Files of a person's own dataset."""
    files = dict.fromkeys(names or ("data/train.parquet",), b"theirs")
    return {**files, "README.md": card.encode()} if card is not None else files


CONFIGS = "---\nconfigs:\n- config_name: own\n  default: true\n  data_files: data/*.parquet\n---\n# Theirs\n"
BROKEN = "---\nlicense: [mit\nkey: : x\n---\n# Theirs\n"
Prepare = Callable[[HubServer], Any]
BAD: dict[str, tuple[Prepare, dict[str, Any], str]] = {
    "no id": (lambda hub: None, {"push": "not a repo"}, "repository id"),
    "three parts": (lambda hub: None, {"push": "a/b/c"}, "repository id"),
    "an empty id": (lambda hub: None, {"push": ""}, "repository id"),
    "a model": (lambda hub: hub.add_repo(REPO, type="model"), {}, "model"),
    "a space": (lambda hub: hub.add_repo(REPO, type="space"), {}, "space"),
    "somebody's dataset": (lambda hub: hub.add_repo(REPO, foreign(card=CONFIGS)), {}, "--into-existing"),
    "no configs": (lambda hub: hub.add_repo(REPO, foreign(card="# Theirs")), {"into_existing": True}, "configs"),
    "no card": (lambda hub: hub.add_repo(REPO, foreign()), {"into_existing": True}, "configs"),
    "a broken card": (lambda hub: hub.add_repo(REPO, foreign(card=BROKEN)), {"into_existing": True}, "YAML"),
    "a broken card alone": (lambda hub: hub.add_repo(REPO, {"README.md": BROKEN.encode()}), {}, "YAML"),
    "a broken card of ours": (
        lambda hub: hub.add_repo(REPO, {"arhn.json": b"{}", "README.md": BROKEN.encode()}), {}, "YAML",
    ),
    "a card of no mapping": (lambda hub: hub.add_repo(REPO, {"README.md": b"---\n- a\n---\n"}), {}, "mapping"),
    "a card that is not UTF-8": (lambda hub: hub.add_repo(REPO, {"README.md": b"\xff\xfe\0"}), {}, "UTF-8"),
    "a tag elsewhere": (
        lambda hub: (hub.add_repo(REPO), hub.api().create_tag(REPO, tag="v1", repo_type="dataset"),
                     hub.commit(REPO, {"README.md": b"# Words"})),
        {"tag": "v1"}, "v1",
    ),
    "no token": (lambda hub: None, {"token": None}, "token"),
    "a bad token": (lambda hub: None, {"token": "hf_bad"}, "token"),
    "a token that may only read": (lambda hub: None, {"token": READ_TOKEN}, "read"),
    "somebody's namespace": (lambda hub: None, {"push": "other/data"}, "other"),
    "somebody's repository": (lambda hub: hub.add_repo("other/data"), {"push": "other/data"}, "other"),
    "a fine-grained token of another place": (lambda hub: None, {"token": FINE_TOKEN}, REPO),
    "a pull request with a tag": (lambda hub: None, {"create_pr": True, "tag": "v1"}, "--tag"),
    "a pull request to nothing": (lambda hub: None, {"create_pr": True}, "pull request"),
    "an odd tag": (lambda hub: None, {"tag": "no tag at all"}, "tag"),
    "an odd branch": (lambda hub: None, {"push_revision": "refs/pr/1"}, "refs/pr/1"),
    "a tag for a branch": (
        lambda hub: (hub.add_repo(REPO), hub.api().create_tag(REPO, tag="v1", repo_type="dataset")),
        {"push_revision": "v1"}, "v1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_push_that_cannot_end_well_is_refused_before_it_writes(hub: HubServer, refined: Path, name: str) -> None:
    prepare, options, said = BAD[name]
    prepare(hub)
    before = state(hub)
    options = {"push": REPO, **options}
    revision = {"revision": options.pop("push_revision")} if "push_revision" in options else {}
    line = refused(hub, lambda: publish(hub, refined, options.pop("push"), **options, **revision))
    assert said in line
    assert state(hub) == before


@pytest.mark.parametrize("name", BAD)
def test_refine_with_such_a_push_is_refused_before_anything_is_judged(
    hub: HubServer, sample: Path, tmp_path: Path, name: str
) -> None:
    prepare, options, said = BAD[name]
    prepare(hub)
    since = len(hub.requests)
    error, engine = refine_into(hub, sample, tmp_path / "out", **options)
    assert isinstance(error, ArhnError)
    assert (error.exit_code, engine.count, writes(hub, since)) == (2, 0, [])
    assert said in str(error)
    assert "\n" not in str(error)


def test_refine_is_refused_before_anything_is_judged_where_the_licence_is_not_known(
    hub: HubServer, sample: Path, tmp_path: Path
) -> None:
    source = source_of(sample, tmp_path / "source", None)
    error, engine = refine_into(hub, source, tmp_path / "out")
    assert isinstance(error, ArhnError)
    assert (error.exit_code, engine.count, writes(hub), "--license" in str(error)) == (2, 0, [], True)


def test_refine_is_refused_before_anything_is_judged_where_a_file_has_our_name(
    hub: HubServer, sample: Path, tmp_path: Path
) -> None:
    hub.add_repo(REPO, foreign("negatives.svg", card=CONFIGS))
    error, engine = refine_into(hub, sample, tmp_path / "out", into_existing=True)
    assert isinstance(error, ArhnError)
    assert (error.exit_code, engine.count, writes(hub), "negatives.svg" in str(error)) == (2, 0, [], True)


def test_a_failed_gate_pushes_nothing(hub: HubServer, sample: Path, tmp_path: Path) -> None:
    result, _ = refine_into(hub, sample, tmp_path / "out", min_rows=1000)
    assert isinstance(result, RefineResult)
    assert (result.exit_code, result.push, writes(hub), state(hub)) == (3, None, [], None)
    assert "gate" in refused(hub, lambda: publish(hub, tmp_path / "out"), code=3)


@pytest.mark.parametrize("name", ["combined", "evidence", "filter"])
def test_a_folder_that_does_not_hold_its_promises_is_refused(hub: HubServer, copied: Path, name: str) -> None:
    (path,) = (copied / name).glob("train-*")
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    refused(hub, lambda: publish(hub, copied), code=3)
    assert state(hub) is None


def test_a_folder_that_is_not_finished_is_refused(hub: HubServer, copied: Path, tmp_path: Path) -> None:
    remembered = copied / ".arhn" / "state.json"
    remembered.write_text(remembered.read_text().replace('"finished"', '"running"'))
    assert "unfinished" in refused(hub, lambda: publish(hub, copied))
    (copied / "arhn.json").unlink()
    assert "unfinished" in refused(hub, lambda: publish(hub, copied))
    (tmp_path / "empty").mkdir()
    assert "arhn.json" in refused(hub, lambda: publish(hub, tmp_path / "empty"))


def test_a_fine_grained_token_suffices_for_its_own_place(hub: HubServer, refined: Path) -> None:
    publish(hub, refined, "me/allowed", token=FINE_TOKEN, tag="v1")
    assert holds_all_of(hub, refined, "me/allowed")


# Beside a person's own data.


def test_a_persons_dataset_keeps_its_own_files(hub: HubServer, refined: Path, older: Path, tmp_path: Path) -> None:
    pq.write_table(pq.read_table(refined / "combined" / "train-00000-of-00001.parquet"), tmp_path / "a.parquet")
    theirs = {**foreign(card=CONFIGS), "data/train.parquet": (tmp_path / "a.parquet").read_bytes(), "LICENSE": b"mit"}
    hub.add_repo(REPO, theirs)
    for folder in (older, refined):
        publish(hub, folder, into_existing=True, license="mit")
        assert set(held(hub)) == set(theirs) | paths(folder)
        assert {path: held(hub)[path] for path in theirs if path != "README.md"} == {
            path: data for path, data in theirs.items() if path != "README.md"
        }
    configs = {one["config_name"]: one for one in head_of(card_of(hub))["configs"]}
    assert set(configs) == {"combined", "relabel", "filter", "evidence", "own"}
    assert sum(bool(one.get("default")) for one in configs.values()) == 1
    assert "# Theirs" in card_of(hub)
    found = script(hub, tmp_path, LOAD, REPO, str(refined), ["relabel", "evidence"], ["main"])
    assert [values[1] for values in found.values()] == [True, True]


def test_what_a_person_loads_by_default_stays_the_default(hub: HubServer, refined: Path) -> None:
    hub.add_repo(REPO, foreign(card=CONFIGS))
    publish(hub, refined, into_existing=True, license="mit")
    default = [one["config_name"] for one in head_of(card_of(hub))["configs"] if one.get("default")]
    assert default == ["own"]


def test_a_persons_configuration_of_one_of_our_names_is_refused(hub: HubServer, refined: Path) -> None:
    card = CONFIGS.replace("config_name: own", "config_name: filter")
    hub.add_repo(REPO, foreign(card=card))
    assert "filter" in refused(hub, lambda: publish(hub, refined, into_existing=True, license="mit"))


@pytest.mark.parametrize("name", ["negatives.svg", "combined/train-00000-of-00001.parquet"])
def test_a_persons_file_of_one_of_our_names_is_refused(hub: HubServer, refined: Path, name: str) -> None:
    hub.add_repo(REPO, foreign(name, card=CONFIGS))
    before = state(hub)
    assert name in refused(hub, lambda: publish(hub, refined, into_existing=True, license="mit"))
    assert state(hub) == before


def test_a_gitignore_that_keeps_our_files_out_stops_the_push(hub: HubServer, refined: Path) -> None:
    hub.add_repo(REPO, {".gitignore": b"*.svg\n", "README.md": CONFIGS.encode()})
    before = state(hub)
    line = str(failure(lambda: publish(hub, refined, into_existing=True, license="mit")))
    assert ".gitignore keeps negatives.svg out" in line
    assert state(hub) == before
    hub.commit(REPO, {".gitignore": b"*.pyc\n"})
    publish(hub, refined, into_existing=True, license="mit")
    assert set(held(hub)) == paths(refined) | {".gitignore"}


# Two at a time.


def test_a_person_who_commits_in_between_stops_the_push(hub: HubServer, refined: Path, older: Path) -> None:
    publish(hub, older)
    words = card_of(hub).replace(BEGIN, f"{WORDS}\n{BEGIN}").encode()
    hub.before("commit", lambda: hub.commit(REPO, {"README.md": words}))
    line = str(failure(lambda: publish(hub, refined)))
    assert "in the meantime" in line
    assert [one.title for one in hub.history(REPO)][0] == "Meanwhile"
    assert holds_all_of(hub, older)
    publish(hub, refined)
    assert holds_all_of(hub, refined)
    assert WORDS in card_of(hub)


@pytest.mark.parametrize("there", [True, False])
def test_of_two_pushes_at_once_one_wins_whole(
    hub: HubServer, refined: Path, older: Path, tmp_path: Path, there: bool
) -> None:
    if there:
        hub.add_repo(REPO)
    hub.before("commit", lambda: command(hub, tmp_path, "push", older, REPO))
    line = str(failure(lambda: publish(hub, refined)))
    assert "in the meantime" in line
    assert holds_all_of(hub, older)
    done = publish(hub, refined)
    assert holds_all_of(hub, refined)
    assert [one.sha for one in hub.history(REPO)][0] == done.commit
    assert len(hub.history(REPO)) == 3


def test_two_equal_pushes_at_once_both_end_well(hub: HubServer, refined: Path, tmp_path: Path) -> None:
    hub.before("commit", lambda: command(hub, tmp_path, "push", refined, REPO))
    done = publish(hub, refined)
    assert done.commit == hub.branches(REPO)["main"]
    assert (holds_all_of(hub, refined), len(hub.history(REPO))) == (True, 2)


# Tokens.


def test_a_token_stands_nowhere(hub: HubServer, sample: Path, tmp_path: Path) -> None:
    result, _ = refine_into(hub, sample, tmp_path / "out", tag="v1")
    assert isinstance(result, RefineResult)
    command(hub, tmp_path, "push", tmp_path / "out", "my-org/data", "--verbose")  # looks at its streams
    command(hub, tmp_path, "push", tmp_path / "out", "other/data", "--verbose", code=None)
    secrets = [token.encode() for token in TOKENS]
    places = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    everything = [
        *(path.read_bytes() for path in places), *hub.files(REPO).values(), *hub.files("my-org/data").values(),
        json.dumps(result.report).encode(), hub.history(REPO)[0].title.encode(),
    ]  # fmt: skip
    assert len(places) > 8
    assert not any(secret in one for secret in secrets for one in everything)
    assert TOKEN in TOKENS


@pytest.mark.parametrize("token", [TOKEN, "hf_oauth_eyJhbGciOi.eyJzdWIiOi-_x.c2lnbmF0dXJl"])
def test_an_error_of_the_hub_that_quotes_the_token_does_not_pass_it_on(
    hub: HubServer, refined: Path, token: str
) -> None:
    hub.memory.tokens[token] = TOKENS[TOKEN]
    hub.fail("commit", status=403, body={"error": f"no\nto Bearer {token} see {hub.url}/tokens?a={token}"})
    line = str(failure(lambda: publish(hub, refined, token=token)))
    assert "refuses" in line
    assert token[-8:] not in line


def test_checking_the_folder_again_after_a_push_changes_nothing(hub: HubServer, copied: Path) -> None:
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    publish(hub, copied, license="mit")
    assert {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()} == before
    assert check(copied)["exit_code"] == 0
