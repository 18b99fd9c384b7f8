#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The echo application: each frame comes back to its port with the MAC addresses swapped."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import procs, scenario


def check(run):
    """A burst looked at frame by frame, then full speed."""
    if run.kind == "testpmd":
        raise scenario.Skip("testpmd has no echo application")
    path = run.path(1, app=("echo",))
    mac = "02:00:00:00:00:01"
    front = run.front_end([0], macs=[mac], peers=["02:00:00:00:00:99"], forward="rxonly", frame=64)
    front.command("set verbose 1")
    front.command("set txpkts 64")
    front.command("start tx_first 1", "src=02:00:00:00:00:99 - dst=02:00:00:00:00:01")
    run.note("a frame came back with its addresses swapped")
    # Those of the burst that come later would be too many for the counters of what follows.
    procs.wait_until(lambda: front.total("ipackets") == front.total("opackets"), "the whole burst comes back")
    front.halt()
    front.command("set verbose 0")
    front.forward("flowgen")
    front.command("clear port stats all", "statistics for port 0 cleared")
    before = path.dropped()
    front.start()
    rate = front.window(2)
    front.halt()
    missing = front.drain(lambda: path.dropped() - before)
    dropped = path.dropped() - before
    sent, received = front.total("opackets"), front.total("ipackets")
    run.note(f"{rate / 1e6:.2f} M frames/s; {sent} sent, {received} received, {dropped} counted as dropped")
    run.expect(received > 1000, "hardly a frame came back")
    run.expect(missing == 0, f"{missing} frames are missing from every counter")


scenario.main(__doc__, check, needs=("dpdk",))
