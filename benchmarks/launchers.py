"""A sweep of smoke rows by each launcher, by turns: what Ray and submitit cost beside processes of one machine.

    python -m benchmarks.launchers --json FILE                           # 20 rows, by all launchers that are installed
    python -m benchmarks.launchers --rows 'ticket-0.[1-3]-*' --rounds 1   # fewer rows

The sweep is `shapes_sparsity --smoke`, on the processor, two rows at once. `slurm` is submitit's local executor, and
`ray` starts a cluster on loopback each time; its start and its end count.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.result_file import head, publish, ratio
from lth_deploy import storage
from lth_deploy.run.sweep_record import load_sweep_record

SCHEMA = "lth-launchers/1"
SWEEP, JOBS = "shapes_sparsity", 2
LAUNCHERS = {
    "local": (),
    "slurm": ("--launcher", "slurm", "--launcher-option", "cluster=local"),
    "ray": ("--launcher", "ray"),
}
PACKAGES = {"slurm": "submitit", "ray": "ray"}


def swept(launcher: str, rows: list[str]) -> dict[str, Any]:
    """One sweep in a folder of its own: its seconds, and how many rows it finished."""
    with storage.scratch("sweep") as folder:
        out = folder / "out"
        command = [sys.executable, "-m", "lth_deploy", "sweep", SWEEP, "--smoke", "--device", "cpu", "--out", str(out)]
        command += ["--jobs", str(JOBS), *LAUNCHERS[launcher], *(part for row in rows for part in ("--rows", row))]
        began = time.perf_counter()
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        seconds = time.perf_counter() - began
        if done.returncode:
            raise SystemExit(f"{launcher}: exit code {done.returncode}\n{done.stderr[-2000:]}")
        record, _ = load_sweep_record(out / "sweep.json")
    finished = [row.seconds for row in record.rows if row.state == "finished"]
    return {"launcher": launcher, "rows": len(finished), "seconds": seconds, "seconds_of_rows": finished}


def measured(launchers: list[str], rows: list[str], rounds: int) -> dict[str, Any]:
    """All launchers by turns."""
    report = head(SCHEMA, "benchmarks.launchers")
    report["load_average_before"] = os.getloadavg()
    report["sweeps"] = [swept(launcher, rows) for _ in range(rounds) for launcher in launchers]
    seconds = {
        launcher: [one["seconds"] for one in report["sweeps"] if one["launcher"] == launcher] for launcher in launchers
    }
    report["times_of_local"] = {
        launcher: 1 / ratio(seconds["local"], own) for launcher, own in seconds.items() if launcher != "local"
    }
    for launcher, own in seconds.items():
        times = report["times_of_local"].get(launcher, 1.0)
        print(f"{launcher:6} {statistics.median(own):7.1f} s, {times:.3f} times local", file=sys.stderr)
    return report


def main() -> None:
    """Parse, measure, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    installed = [name for name in LAUNCHERS if find_spec(PACKAGES.get(name, "lth_deploy"))]
    parser.add_argument("--launchers", nargs="+", choices=list(LAUNCHERS), default=installed, metavar="NAME")
    parser.add_argument("--rows", action="append", default=[], help="as `lth-deploy sweep` takes it; default all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    others = [name for name in options.launchers if name != "local"]
    report = measured(["local", *others], options.rows, options.rounds)
    publish(report, options.json)


if __name__ == "__main__":
    main()
