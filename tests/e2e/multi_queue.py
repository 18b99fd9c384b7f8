#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Guests with two processors and two queue pairs each: the pairs are set up, and several flows arrive intact."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import backend, scenario


def check(run):
    """Both ways, and two pings beside a transfer."""
    path = run.path(2)
    a, b = run.two_guests({"queues": 2, "smp": 2}, {"queues": 2, "smp": 2})
    for guest in (a, b):
        pairs = guest.run("ls -d /sys/class/net/eth0/queues/rx-* | wc -l").text.strip()
        run.expect(pairs == "2", f"{guest.name} has {pairs} queue pairs")
    beside = [g.begin(f"ping -q -c 100 -i 0.02 -s {size} {address} | grep 'packets received'")
              for g, size, address in ((a, 56, "10.9.0.2"), (a, 1200, "10.9.0.2"), (b, 500, "10.9.0.1"))]
    run.transfer(a, b, 1, mib=8)
    run.transfer(b, a, 0, mib=8)
    lost = 0
    for pending in beside:
        text = pending.wait(120).text
        run.note(text)
        lost += 100 - int(text.split("transmitted, ")[1].split()[0])
    # Beside bulk data a receiver may run out of buffers, and that is counted.
    dropped = backend.switched_and_dropped(path.counters())[1]
    run.note(f"dropped: {dropped or 'none'}")
    run.expect(lost <= sum(dropped.values()), f"{lost} pings lost, but only {dropped} counted")


scenario.main(__doc__, check)
