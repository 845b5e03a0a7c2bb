"""Apply other rules to stored evidence: the same decisions, places and variants as `refine`, without a judge."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from arhn_hf.monitor import Monitor, run_in_thread
from arhn_hf.pipeline import Judgement, RefineResult, refuse_wrong_words, write_out
from arhn_hf.publishing.folder import OutputFolder, refuse_other_part, refuse_part
from arhn_hf.records import UsageError
from arhn_hf.stages.maps import beside, quiet_datasets
from arhn_hf.stored import open_run, refuse_other_criteria, refuse_unjudged


def derive(
    directory: str | Path, output: str | Path, *, monitor: Monitor | None = None, **options: Any
) -> RefineResult:
    """Write a new folder from the evidence of `directory` under other rules.

    `options` are decision rules, `variants`, `to`, `criterion`, `filter_only`, `source`. Raises `UsageError` when they need a
    judgement that was never made.
    """
    monitor = monitor or Monitor()
    folder, target = Path(directory), Path(output)
    if target.resolve() == folder.resolve():
        raise UsageError("must be another folder than the one derived from", where="--output")
    refuse_part(folder, "derive from the result")
    refuse_other_part(target, None)

    def work() -> RefineResult:
        started = time.monotonic()
        with quiet_datasets(), OutputFolder(target) as opened:
            for line in opened.notices:
                monitor.notice(line)
            stored = open_run(folder, opened.work / "evidence-cache")
            config = stored.config(**{**options, "output": str(target)})
            criteria = stored.criteria(config.criterion, config.filter_only)
            refuse_wrong_words(config)
            refuse_other_criteria(stored.lineage["criteria"], criteria)
            inputs = stored.open(config, criteria, monitor)
            maps = inputs.maps(opened.work)
            rows, answers, rankings, treatments = stored.judgement(inputs, monitor, maps)
            refuse_unjudged(beside(rows, answers, rankings), treatments, config)
            judged = Judgement(
                rows, answers, rankings, treatments, int(stored.lineage["rules"]["orders"]), stored.judge_name,
                stored.lineage["judges"], stored.lineage["ranking"],
            )  # fmt: skip
            local = Path(config.source)
            opened.remember(
                settings={"derived": True, "corpus": config.corpus}, status="running",
                source_path=str(local.resolve()) if local.exists() else None,
            )  # fmt: skip
            return write_out(inputs, judged, monitor, opened, started, command="derive")

    return run_in_thread(work, monitor)
