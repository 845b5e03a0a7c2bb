"""A fitted decision threshold as a `--config` file: the run that uses it records it, as it records every option."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from arhn_hf.records import UsageError


def save_threshold(path: Path, report: dict[str, Any]) -> None:
    """Write `answer_threshold` with where it comes from. Raises `UsageError` if the file exists already."""
    found, labels = report["threshold"], report["labels"]
    comment = [
        f"Fitted by arhn-hf audit for {found['target']} on {report['candidates']} negatives of {report['queries']} queries",
        f"(labels: {' '.join(str(labels['name']).split())}, run {report['run_id']}).",
        f"There: recall {found['recall']:.3f}, precision {_number(found['precision'])}, of the clean {_number(found['clean_touched'])}.",
    ]
    text = "".join(f"# {line}\n" for line in comment) + yaml.safe_dump({"answer_threshold": found["answer_threshold"]})
    write_new(path, text)


def write_new(path: Path, text: str) -> None:
    """Write a file that is not there yet. Raises `UsageError` if it is, or cannot be written."""
    refuse_existing(path)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"cannot be written ({error.strerror})", where=f"--save {path}") from error


def refuse_existing(path: Path) -> None:
    """Raise `UsageError` if the file exists: nothing a person wrote is overwritten."""
    if path.exists():
        raise UsageError("exists already", where=f"--save {path}", hint="Choose another name")


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
