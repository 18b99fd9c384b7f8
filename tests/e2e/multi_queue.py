#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
Guests with two processors and two queue pairs each: the pairs are set up, and several flows arrive intact; also with a CPU
of the back-end for each pair.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import backend, procs, scenario


def check(run):
    """Both ways, and two pings beside a transfer."""
    path = run.path(2, cpus=4 if run.word == "smp" else 1)
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
    accounts(run, path, (a, b), lost)


def accounts(run, path, guests, lost):
    """
    What the switch delivered, the guests have received; what it took and did not deliver is in a counter. Then a ping that is
    lost beside bulk data was lost inside a busy guest, and is only noted.
    """
    said = []

    def received(guest):
        return int(guest.run("cat /sys/class/net/eth0/statistics/rx_packets").text)

    def add_up():
        before = [received(g) for g in guests]
        counters = path.counters()
        after = [received(g) for g in guests]
        took = [backend.port_counter(counters, i, "rx_frames") for i in (0, 1)]
        gave = [backend.port_counter(counters, i, "tx_frames") for i in (0, 1)]
        dropped = backend.switched_and_dropped(counters)[1]
        said[:] = [f"{lost} pings lost; switch took {took}, delivered {gave}, dropped {dropped or 'none'}; guests received {after}"]
        return all(before[i] <= gave[i] <= after[i] for i in (0, 1)) and sum(took) <= sum(gave) + sum(dropped.values())

    # Nothing is sent any more; what was delivered last a busy guest still has to take, and the counters are a moment old.
    try:
        procs.wait_until(add_up, "the counters of switch and guests add up")
    except procs.Failure as error:
        raise procs.Failure(f"{error}; {said[0]}") from None
    run.note(said[0])


scenario.main(__doc__, check, choices=("one", "smp"))
