"""Publish a finished folder: look at the repository, prove the folder, then one commit. `refine --push` is the two in one.

The repository is looked at before anything is judged, so that a wrong id, a missing token or somebody else's data costs nothing.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi

from arhn_hf.checks import check
from arhn_hf.config import RunConfig
from arhn_hf.inputs import Inputs
from arhn_hf.judges.opening import open_judge
from arhn_hf.monitor import Monitor, run_in_thread
from arhn_hf.pipeline import JudgeFactory, RefineResult, run_refine
from arhn_hf.publishing.folder import folder_state, read_lineage, refuse_part
from arhn_hf.publishing.hub import Publisher, PushResult
from arhn_hf.publishing.hub_card import refuse_license_early
from arhn_hf.publishing.hub_target import PushOptions
from arhn_hf.records import ArhnError, GateError, UsageError


def refine(
    source: str, *, monitor: Monitor | None = None, judge: JudgeFactory | str = "reader", **options: Any
) -> RefineResult:
    """Refine a dataset; the options are those of `arhn-hf refine` (dashes become underscores), `push` among them.

    Returns a `RefineResult`; a failed gate has `exit_code` 3 and the folder is written all the same. Raises `UsageError` (nothing
    was spent) or `ArhnError` (the work failed; what was judged is kept, and the same call goes on).
    """
    if isinstance(judge, str):
        options["judge"] = judge
    config = RunConfig.from_mapping({"source": source, **options})
    return refine_and_push(config, monitor or Monitor(), open_judge if isinstance(judge, str) else judge)


def push(
    directory: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    create_pr: bool = False,
    revision: str | None = None,
    tag: str | None = None,
    commit_message: str | None = None,
    license: str | None = None,
    into_existing: bool = False,
    source: str | None = None,
    corpus: str | None = None,
    monitor: Monitor | None = None,
    api: HfApi | None = None,
) -> PushResult:
    """Publish a folder that `refine` or `derive` wrote, as one commit, after proving it (`arhn-hf check`).

    The options are those of `arhn-hf push`; `source` and `corpus` say where the source is now, if it moved; `api` is the client to
    use (its token, its endpoint). Returns a `PushResult`. Raises `UsageError` (nothing was sent), `GateError` (the folder's promises
    or gates fail) or `ArhnError` (the Hub failed: unless the error says that the commit was made, the repository is as it was, and the same
    call goes on).
    """
    options = PushOptions(
        private=private, create_pr=create_pr, revision=revision, tag=tag, commit_message=commit_message, license=license,
        into_existing=into_existing,
    )  # fmt: skip
    monitor = monitor or Monitor()
    folder = Path(directory)
    publisher = Publisher(options, api=api, say=monitor.begin)
    lineage = read_lineage(folder)
    refuse_part(folder, "push the result")
    if folder_state(folder).get("status") == "running":
        raise UsageError(
            "holds an unfinished run", where=str(directory), hint="Run the same `arhn-hf refine` command again first"
        )
    target = run_in_thread(lambda: publisher.look(repo_id), monitor)
    report = check(folder, monitor=monitor, source=source, corpus=corpus)
    if report["exit_code"]:
        raise GateError(_first_failure(report), where=str(directory), hint="See `arhn-hf check`; nothing was published")
    try:
        return run_in_thread(lambda: publisher.push(folder, target, lineage), monitor)
    except KeyboardInterrupt as error:
        left = publisher.interrupted(target)
        if left is not None:
            error.add_note(left)  # the command line says it
        raise


def refine_and_push(
    config: RunConfig, monitor: Monitor, factory: JudgeFactory = open_judge, *, api: HfApi | None = None
) -> RefineResult:
    """`run_refine`, and then `push` if the configuration names a repository; a failed gate pushes nothing.

    Raises what the two raise. When only the push failed, its error says how to go on without judging again.
    """
    if config.push is None:
        return run_refine(config, monitor, factory)
    try:
        return _refine_and_push(config, config.push, monitor, factory, api)
    except UsageError as error:
        if error.where == "--revision":  # as `arhn-hf push` calls it
            error.where = "--push-revision"
        raise


def _refine_and_push(
    config: RunConfig, repo_id: str, monitor: Monitor, factory: JudgeFactory, api: HfApi | None
) -> RefineResult:
    options = PushOptions(
        private=config.private, create_pr=config.create_pr, revision=config.push_revision, tag=config.tag,
        commit_message=config.commit_message, license=config.license, into_existing=config.into_existing,
    )  # fmt: skip
    publisher = Publisher(options, api=api, say=monitor.begin)

    target = run_in_thread(lambda: publisher.look(repo_id), monitor)

    def ready(inputs: Inputs) -> None:
        refuse_license_early(Path(config.output), target, options, inputs.source.card)

    result = run_refine(config, monitor, factory, ready)
    if result.exit_code:
        monitor.notice("A gate failed: nothing was pushed.")
        return result
    try:
        done = push(result.output, repo_id, monitor=monitor, api=api, **vars(options))
    except ArhnError as error:
        error.hint = (
            f"{error.hint or 'The folder is written'}. `arhn-hf push {result.output} {repo_id}` does just this part"
        )
        raise
    return replace(result, report={**result.report, "push": done.report()}, push=done)


def _first_failure(report: dict[str, Any]) -> str:
    for promise in report["promises"]:
        if promise["ok"] is False:
            example = f": {promise['examples'][0]}" if promise["examples"] else ""
            return f"a promise does not hold ({promise['name'].replace('_', ' ')}{example})"
    gate = next(gate for gate in report["gates"] if gate["ok"] is False)
    return f"a gate failed ({gate['name']} is {gate['value']:.4g}, limit {gate['limit']:.4g})"
