#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Two guests with offloads exchange TCP super-frames of up to 64 KiB, and the switch does not segment them."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import backend, scenario


def received(guest):
    """(frames, bytes) that the guest's card has received."""
    return [int(x) for x in guest.run("cat /sys/class/net/eth0/statistics/rx_packets "
                                      "/sys/class/net/eth0/statistics/rx_bytes").lines]


def check(run):
    """Mean size of received frames while bulk data flows."""
    path = run.path(2)
    a, b = run.two_guests()
    for sender, receiver, index in ((a, b, 1), (b, a, 0)):
        before = received(receiver)
        run.transfer(sender, receiver, index, mib=32)
        after = received(receiver)
        mean = (after[1] - before[1]) / (after[0] - before[0])
        run.note(f"mean received frame: {mean:.0f} bytes")
        run.expect(mean > 4 * 1514, f"super-frames do not pass: the mean frame has {mean:.0f} bytes")
    counters = path.counters()
    cut = {k: v for k, v in counters.items() if k.endswith("tx_super_frames_cut") and v}
    run.expect(not cut, f"the switch segmented: {cut}")
    passed = sum(v for k, v in counters.items() if k.endswith(".tx_super_frames"))
    run.note(f"{passed} super-frames passed whole; dropped: "
             f"{backend.switched_and_dropped(counters)[1] or 'none'}")
    run.expect(run.kind == "testpmd" or passed, "the switch counted no super-frame")


scenario.main(__doc__, check)
