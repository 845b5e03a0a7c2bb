"""Build the environments of the consumer checks, or say whether they are up to date.

    python environments.py DIR            build DIR/trainers and DIR/tevatron, where missing or out of date
    python environments.py DIR --check    build nothing; exit 1 and name what is missing or out of date

Why two: Tevatron 0.1.0 needs transformers 4, everyone else is on 5. Why a stamp: a build takes minutes and more than a
gigabyte, so an environment made from the same requirements is kept; a half-built one has no stamp and is made again.

The pinned torch is all that is big. Where pip finds a CPU build of that version it takes it; on a machine that knows PyPI
alone, set PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu, or gigabytes of CUDA libraries come with it.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAMES = ("trainers", "tevatron")
STAMP = "requirements.sha256"


def fingerprint(name: str) -> str:
    return hashlib.sha256((HERE / f"requirements-{name}.txt").read_bytes()).hexdigest()


def up_to_date(name: str, folder: Path) -> bool:
    stamp = folder / name / STAMP
    return stamp.is_file() and stamp.read_text() == fingerprint(name)


def build(name: str, folder: Path) -> None:
    """Make the environment anew; the stamp comes last."""
    environment = folder / name
    subprocess.run([sys.executable, "-m", "venv", "--clear", environment], check=True)
    pip = [environment / "bin" / "python", "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    subprocess.run([*pip, "--requirement", HERE / f"requirements-{name}.txt"], check=True)
    (environment / STAMP).write_text(fingerprint(name))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", action="store_true", help="build nothing")
    args = parser.parse_args()
    folder = args.folder.resolve()
    stale = [name for name in NAMES if not up_to_date(name, folder)]
    if args.check:
        if stale:
            print(f"missing or not built from the present requirements: {', '.join(stale)}")
        return 1 if stale else 0
    for name in NAMES:
        if name in stale:
            build(name, folder)
        print(f"{name}: {'built' if name in stale else 'up to date'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
