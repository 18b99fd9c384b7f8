#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
Eight connected, quiet ports: under 1 % of a processor. One frame to a sleeping back-end VM: one interrupt and one halt for each
worker that it passes.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import quiet, scenario

PORTS = 8
SECONDS = 4
WAKES = 50
SHARE = 0.01
# Windows at most: processes are charged for the time in which the machine's own host does something else.
ATTEMPTS = 5


def check(run):
    """Quiet first, then wake-ups with long pauses."""
    workers = 2 if run.word == "workers" else 1
    path = run.path(PORTS, cpus=workers)
    front_ends = quiet.FrontEnds(path)
    shares = []
    while not shares or min(shares) >= SHARE and len(shares) < ATTEMPTS:
        share, rows, exits = quiet.idle(path, SECONDS)
        shares.append(share)
        for row in rows:
            run.note("  ".join(row) + " switches/s")
        run.note(f"quiet for {SECONDS} s: {share * 100:.3f} % of a processor, {dict(exits)}")
        run.expect(rows, "no thread was seen")
    run.expect(min(shares) < SHARE, f"{min(shares) * 100:.2f} % of a processor for {PORTS} quiet ports")
    exits, sleeps, _ = quiet.wakes(path, front_ends, WAKES, workers)
    run.note(f"{WAKES} frames to a sleeping back-end: {sleeps} sleeps, {dict(exits)}")
    if path.kind == "vm":
        # One halt each: interrupts are off until the next sleep, so a second one would end that and cost a second halt. Injections
        # are at least as many: on a busy host two are counted now and then for one kick, one sleep and one halt. (KVM
        # injects again when the host gives up the entry into the guest to run something else.)
        run.expect(exits["halt_exits"] == workers * WAKES, f"{exits['halt_exits']} halts for {WAKES} wake-ups")
        run.expect(exits["irq_injections"] >= workers * WAKES, f"{exits['irq_injections']} injections for {WAKES} wake-ups")
        run.expect(sleeps == workers * WAKES, f"{sleeps} sleeps for {WAKES} wake-ups")
        for what in ("user_exits", "io_exits"):
            run.expect(exits[what] == 0, f"{exits[what]} {what} in {WAKES} wake-ups")
    front_ends.close()


scenario.main(__doc__, check, needs=(), choices=("one", "workers"))
