#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
DPDK's testpmd as front-end of two ports, full speed both ways, in several ring layouts. Every frame that was sent was
received or is in a counter of the switch. What testpmd says about its receive and transmit functions proves that the layout was
really in use.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import scenario

# name: options of net_virtio_user, its receive function, its transmit function
LAYOUTS = {
    "split": ("packed_vq=0,in_order=0", "mergeable buffer", "standard"),
    "split-small": ("packed_vq=0,in_order=0,mrg_rxbuf=0", "standard", "standard"),
    "split-vector": ("packed_vq=0,in_order=0,mrg_rxbuf=0,vectorized=1", "vectorized", "standard"),
    "split-inorder": ("in_order=1,mrg_rxbuf=0", "inorder", "inorder"),
    "split-inorder-mrg": ("in_order=1", "inorder", "inorder"),
    "packed": ("packed_vq=1,in_order=0", "packed ring mergeable buffer", "packed ring standard"),
    "packed-small": ("packed_vq=1,in_order=0,mrg_rxbuf=0", "packed ring standard", "packed ring standard"),
    "packed-inorder": ("packed_vq=1,in_order=1", "packed ring mergeable buffer", "packed ring standard"),
    "packed-vector": ("packed_vq=1,in_order=1,mrg_rxbuf=0,vectorized=1", "packed ring vectorized",
                      "packed ring vectorized"),
}
EAL = ("--log-level=pmd.net.virtio.*:info", "--force-max-simd-bitwidth=512")


def lacks_vectors(layout):
    """DPDK's vectorised packed rings want AVX-512."""
    return layout == "packed-vector" and " avx512f " not in pathlib.Path("/proc/cpuinfo").read_text(encoding="ascii")


def check(run):
    """Each frame size over the layout."""
    if lacks_vectors(run.word):
        raise scenario.Skip("this CPU has no AVX-512")
    options, rx, tx = LAYOUTS[run.word]
    path = run.path(2)
    for size in (64, 1518):
        front = run.front_end([0, 1], f"front-end-{size}", options=options, frame=size, extra_eal=EAL)
        front.proc.wait_line(f"virtio: using {rx} Rx path on port 1")
        front.proc.wait_line(f"virtio: using {tx} Tx path on port 1")
        before = path.dropped()
        front.start()
        rate = front.window(2)
        front.halt()
        missing = front.drain(lambda since=before: path.dropped() - since)
        sent, received = front.total("opackets"), front.total("ipackets")
        dropped = path.dropped() - before
        run.note(f"{run.word}, {size} B: {rate / 1e6:.2f} M frames/s; {sent} sent, {received} received, "
                 f"{dropped} counted as dropped")
        run.expect(received > 1000, "hardly a frame came through")
        run.expect(missing == 0, f"{missing} frames are missing from every counter")
        stats = front.stats()
        run.expect(all(s["ipackets"] for s in stats), f"one direction is dead: {stats}")
        front.stop()


scenario.main(__doc__, check, needs=("dpdk",), choices=tuple(LAYOUTS))
