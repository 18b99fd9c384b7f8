#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
DPDK's testpmd as front-end of two ports, full speed both ways, in several ring layouts. Every frame that was sent was
received or is in a counter of the switch.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import backend, scenario

LAYOUTS = {
    "split": "packed_vq=0",
    "split-small": "packed_vq=0,mrg_rxbuf=0",
    "split-inorder": "in_order=1,mrg_rxbuf=0",
}


def dropped_frames(path):
    """All frames that the switch says it dropped."""
    return sum(backend.switched_and_dropped(path.counters())[1].values())


def check(run):
    """Each frame size over the layout."""
    path = run.path(2)
    for size in (64, 1518):
        front = run.front_end([0, 1], f"front-end-{size}", options=LAYOUTS[run.word], frame=size)
        before = dropped_frames(path)
        front.start()
        rate = front.window(2)
        front.halt()
        front.drain()
        sent, received = front.total("opackets"), front.total("ipackets")
        dropped = dropped_frames(path) - before
        run.note(f"{run.word}, {size} B: {rate / 1e6:.2f} M frames/s; {sent} sent, {received} received, "
                 f"{dropped} counted as dropped")
        run.expect(received > 1000, "hardly a frame came through")
        run.expect(sent == received + dropped,
                   f"{sent - received - dropped} frames are missing from every counter")
        stats = front.stats()
        run.expect(all(s["ipackets"] for s in stats), f"one direction is dead: {stats}")
        front.stop()


scenario.main(__doc__, check, needs=("dpdk",), choices=tuple(LAYOUTS))
