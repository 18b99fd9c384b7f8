# SPDX-License-Identifier: BSD-2-Clause
"""What the benchmarks share: medians with spread, tables, the placement probe."""

import os
import pathlib
import statistics
import subprocess
import sys
import time

from . import paths, platforms
from .procs import Failure

# Between these two a window is of no class, and left out of comparisons.
NEAR_BELOW = 250.0
FAR_FROM = 350.0


def probe(cpus=(0, 1)):
    """Cache-line round trip between two processors in nanoseconds, now; None with a single processor."""
    if (os.cpu_count() or 1) < 2:
        return None
    program = paths.build_dir() / "tests/perf/pingpong"
    done = subprocess.run([program, str(cpus[0]), str(cpus[1])], stdout=subprocess.PIPE, text=True,
                          timeout=60, check=True)
    return float(done.stdout)


def placement(before, after):
    """Class of a window between two probes: near, far or mixed."""
    if before is None or after is None:
        return "unknown"
    if max(before, after) < NEAR_BELOW:
        return "near"
    if min(before, after) >= FAR_FROM:
        return "far"
    return "mixed"


def waited_seconds(pid):
    """How long threads of a process were ready to run, and something else ran (proc_pid_schedstat)."""
    waited = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            waited += int((task / "schedstat").read_text().split()[1])
        except (FileNotFoundError, ProcessLookupError):
            pass    # it has ended
    return waited / 1e9


class Shares:
    """Whether processes had a processor each to themselves over a window, as far as they wanted one: some sleep."""

    def __init__(self, *pids):
        self.pids = pids
        self.start = time.monotonic(), [waited_seconds(pid) for pid in pids]

    def undisturbed(self, most=0.07):
        """False when one waited for its processor for more than a few per cent of the time."""
        seconds = time.monotonic() - self.start[0]
        return all((waited_seconds(pid) - before) / seconds <= most
                   for pid, before in zip(self.pids, self.start[1]))


def spread(values, digits=2):
    """`min/median/max (n)`."""
    if not values:
        return "-"
    return (f"{min(values):.{digits}f}/{statistics.median(values):.{digits}f}/"
            f"{max(values):.{digits}f} ({len(values)})")


def table(header, rows):
    """Print aligned columns."""
    rows = [header] + [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    for row in rows:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    sys.stdout.flush()


def begin(title, *programs):
    """Say what is measured where; Failure when something has not been built."""
    missing = paths.missing_programs(*programs)
    if missing:
        raise Failure(f"{', '.join(missing)} not built in {paths.build_dir()}: ninja -C build")
    if "vvu-vmm" in programs and platforms.why_no_kvm():
        raise Failure(platforms.why_no_kvm())
    print(f"{title}\non {platforms.DESCRIPTION[platforms.platform()]}, {os.cpu_count()} processors, "
          f"{os.path.relpath(paths.build_dir(), paths.ROOT)}", flush=True)


def front_end_ports(path):
    """The two virtio_user ports that every data-path measurement uses; frames go from each to the other."""
    from . import testpmd  # pylint: disable=import-outside-toplevel
    macs = ["02:00:00:00:00:01", "02:00:00:00:00:02"]
    return [testpmd.Port(path.socket(i), macs[i]) for i in (0, 1)], macs[::-1]
