"""How long a person waits for `arhn-hf --help`, and which heavy libraries `import arhn_hf` drags in (none may).

python benchmarks/startup.py
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

HEAVY = ("vllm", "torch", "ray", "sentence_transformers", "onnxruntime")
LIMIT = 0.5  # seconds


def command() -> list[str]:
    """The installed script beside this Python, or the module behind it."""
    script = shutil.which("arhn-hf", path=str(Path(sys.executable).parent))
    return [script] if script else [sys.executable, "-m", "arhn_hf.cli.main"]


def seconds(line: list[str], runs: int) -> tuple[list[float], list[float]]:
    """Wall and CPU seconds of each run; the first, which reads everything from disk, is left out."""
    wall, cpu = [], []
    for number in range(runs + 1):
        before, start = os.times(), time.perf_counter()
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
        after, took = os.times(), time.perf_counter() - start
        if number:
            wall.append(took)
            cpu.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return wall, cpu


def heavy(statement: str) -> list[str]:
    """Which heavy libraries a fresh Python has loaded after a statement."""
    code = f"import sys; {statement}; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    bare, _ = seconds([sys.executable, "-c", "pass"], options.runs)
    wall, cpu = seconds([*command(), "--help"], options.runs)
    loaded = {name: heavy(name) for name in ("import arhn_hf", "import arhn_hf.cli.main", "from arhn_hf import refine")}
    found = {
        "help_seconds": round(statistics.median(wall), 3), "help_cpu_seconds": round(statistics.median(cpu), 3),
        "python_seconds": round(statistics.median(bare), 3), "limit": LIMIT, "heavy": loaded,
        "ok": statistics.median(wall) < LIMIT and not any(loaded.values()),
    }  # fmt: skip
    print(json.dumps(found, indent=1))
    return 0 if found["ok"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
