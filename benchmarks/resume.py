"""What a run that was killed costs to finish: the same command again, against a whole run.

    python benchmarks/resume.py --rows 100000 --at 0.5 0.9
    python benchmarks/resume.py --rows 20000 --at 0.5 0.9 --pace 1600

By default the engine answers at once (see `pipeline.py`): the worst case, as nothing hides what the pipeline does again, and all of
its time can be lost. With `--pace` it answers so many requests a second (1,600: our guess for eight large GPUs and a model of 8B parameters).
A run is killed with signal 9 after `--at` of the time of a whole one, and the folder it leaves is finished by the same command. Time is
CPU seconds of the process, which vary less than wall time on a busy machine; with a pace, wall time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pipeline import stage_seconds, write_source

PIPELINE = Path(__file__).with_name("pipeline.py")


def start(source: Path, output: Path, pace: float | None) -> subprocess.Popen[bytes]:
    """A whole run in a process of its own; the dataset's Arrow copy is cached as between two runs of a person."""
    command = [sys.executable, str(PIPELINE), "--refine", str(source), str(output)]
    command += [] if pace is None else ["--pace", str(pace)]
    environment = {**os.environ, "HF_DATASETS_CACHE": str(source.parent / "cache"), "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)


def finished(child: subprocess.Popen[bytes], pace: float | None) -> float:
    """Seconds that a run took that went to its end."""
    said, _ = child.communicate()
    if child.returncode:
        raise SystemExit("the run failed")
    return float(json.loads(said)["cpu_seconds" if pace is None else "seconds"])


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def stage(output: Path) -> str:
    """The last stage in the log of a run."""
    lines = (output / ".arhn" / "run.jsonl").read_text().rpartition("\n")[0].splitlines()
    return str([event["stage"] for event in map(json.loads, lines) if event["event"] == "stage"][-1])


def main() -> None:
    """Prints a row for each share."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--at", type=float, nargs="+", default=[0.5, 0.9], help="shares of a whole run's CPU time")
    parser.add_argument("--pace", type=float, help="requests that the engine answers a second [default: all at once]")
    parser.add_argument("--work", type=Path, help="keep sources and outputs here [default: a temporary folder]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.work or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        source, output = folder / f"source-{options.rows}", folder / "out"
        if not source.exists():
            write_source(source, options.rows)
        shutil.rmtree(output, ignore_errors=True)
        whole = finished(start(source, output, options.pace), options.pace)
        kind = "CPU seconds" if options.pace is None else "seconds"
        print(f"{options.rows:,} rows, a whole run: {whole:.1f} {kind}", flush=True)
        print(json.dumps(stage_seconds(output / ".arhn" / "run.jsonl")))
        print("| killed after | in the stage | seconds to finish | of a whole run |\n| --- | --- | --- | --- |")
        for share in options.at:
            shutil.rmtree(output)
            child, begun = start(source, output, options.pace), time.monotonic()
            while child.poll() is None:
                used = cpu_seconds(child.pid) if options.pace is None else time.monotonic() - begun
                if used >= share * whole:
                    break
                time.sleep(0.05)
            child.send_signal(signal.SIGKILL)
            child.wait()
            where = stage(output)
            rest = finished(start(source, output, options.pace), options.pace)
            print(f"| {share:.0%} | {where} | {rest:.1f} | {rest / whole:.1%} |", flush=True)


if __name__ == "__main__":
    main()
