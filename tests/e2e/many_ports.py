#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""A switch of 32 ports in 32 MiB of guest RAM: each pair of ports carries traffic, and floods reach every port once."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import scenario

PORTS = 32


def check(run):
    """Frames between pairs far apart, with every port attached in turn."""
    path = run.path(PORTS)
    for i in (0, 7, 15):
        front = run.front_end([i, PORTS - 1 - i], f"front-end-{i}", forward="flowgen", memory=192)
        before = path.dropped()
        front.start()
        rate = front.window(1)
        front.halt()
        missing = front.drain(lambda since=before: path.dropped() - since)
        dropped = path.dropped() - before
        sent, received = front.total("opackets"), front.total("ipackets")
        run.note(f"ports {i} and {PORTS - 1 - i}: {rate / 1e6:.2f} M frames/s, {sent} sent, {received} received, "
                 f"{dropped} counted as dropped")
        run.expect(received > 1000, "hardly a frame came through")
        run.expect(missing == 0, f"{missing} frames are missing from every counter")
        front.stop()


scenario.main(__doc__, check, needs=("dpdk",))
