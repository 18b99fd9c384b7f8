# SPDX-License-Identifier: BSD-2-Clause
"""Connect times, measured by tests/perf/connect.py; here its runs become windows."""

import json
import pathlib
import subprocess
import sys

from lib import bench, procs
from lib.procs import Failure

from . import machine
from .stats import Window

SCRIPT = pathlib.Path(__file__).resolve().parents[1] / "connect.py"
PER_RUN = 0.15      # seconds that one run of one kind takes, roughly


def run(chosen, spec, seconds, clock, results, tick):
    """Like rounds.run; sides are called KIND MEMORY."""
    kinds = sorted({s.kind for s in chosen})
    memories = sorted({s.label.split()[1] for s in chosen})
    runs = max(3, int(seconds / PER_RUN / len(chosen)))
    with procs.Session("perf-connect") as session:
        out = session.dir / "connect.json"
        argv = [sys.executable, "-B", SCRIPT, "--json", out, "--runs", str(runs)]
        argv += [word for k in kinds for word in ("--backend", k)] + [word for m in memories for word in ("--memory", m)]
        probe = bench.probe()
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False, timeout=300 + 10 * seconds)
        if done.returncode:
            raise Failure(f"connect.py: {done.stdout[-2000:]}")
        after = bench.probe()
        rows = json.loads(out.read_text(encoding="utf-8"))
    begin = clock()
    for row in rows:
        side = f"{row['peer']} {row['work'].rpartition(' ')[2]}"
        for i, value in enumerate(row["values"]):
            # The kinds took turns, so the n-th runs of all belong together.
            window = Window(side, begin + 100 * i, bench.placement(probe, after), {"ms": value}, (probe, after), machine.load())
            results.add(window)
            tick(window)
