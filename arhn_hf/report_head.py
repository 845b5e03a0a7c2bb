"""The head of every `--json` object, apart from the heavy modules so that a usage error needs none of them."""

from __future__ import annotations

from typing import Any

SCHEMA = "arhn-hf/1"


def head(command: str, status: str = "done", exit_code: int = 0, error: dict[str, Any] | None = None) -> dict[str, Any]:
    """`schema, command, status (done, failed, usage, gate), exit_code, error`."""
    return {"schema": SCHEMA, "command": command, "status": status, "exit_code": exit_code, "error": error}
