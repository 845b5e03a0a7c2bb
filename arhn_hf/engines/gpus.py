"""Which GPUs this process may use, found without torch: that would take half a gigabyte and a CUDA context in the parent.

`CUDA_VISIBLE_DEVICES` says it, as for every CUDA program; else the driver's own tool, else its device files (containers
often lack the tool).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from arhn_hf.records import UsageError

_PATIENCE = 30  # seconds: nvidia-smi takes a few where nothing keeps the driver awake
_HINT = "Leave it out to run on the CPU; on a GPU machine check that nvidia-smi lists it"


def visible_gpus() -> list[str]:
    """The GPUs as `CUDA_VISIBLE_DEVICES` names them: indices in PCI order, or UUIDs where the person gave those."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        names = [name.strip() for name in given.split(",")]
        end = next((i for i, name in enumerate(names) if name in ("", "-1")), len(names))  # CUDA stops there too
        return names[:end]
    tool = shutil.which("nvidia-smi")
    if tool is not None:
        try:
            listed = subprocess.run(
                [tool, "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, check=True,
                timeout=_PATIENCE,
            ).stdout  # fmt: skip
        except (OSError, subprocess.SubprocessError):  # no driver, or one of another version: the files say more
            listed = ""
        found = [line.strip() for line in listed.splitlines() if line.strip().isdigit()]
        if found:
            return found
    files = [re.fullmatch(r"nvidia(\d+)", path.name) for path in Path("/dev").glob("nvidia*")]
    return [str(number) for number in sorted(int(match[1]) for match in files if match)]


def shares(gpus: str, each: int) -> list[list[str]]:
    """The GPUs of each engine: `gpus` of the visible ones (a number, or `auto` for all), `each` at a time.

    Raises `UsageError` where there are too few, or a number that does not divide.
    """
    found, where = visible_gpus(), f"--gpus {gpus}"
    wanted = len(found) // each * each if gpus == "auto" else int(gpus)
    if not found:
        raise UsageError("this machine has no visible GPU", where=where, hint=_HINT)
    if wanted > len(found):
        raise UsageError(f"only {len(found)} GPUs are visible ({', '.join(found)})", where=where)
    if wanted < each or wanted % each:
        raise UsageError(
            f"{wanted or len(found)} GPUs cannot be given to engines of {each}", where=where,
            hint="--gpus must be a multiple of --tensor-parallel",
        )  # fmt: skip
    return [found[start : start + each] for start in range(0, wanted, each)]
