#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
A port that floods a receiver with too few buffers, and a modest port that sends to it, too: the modest one's frames arrive; then two
ports that flood it: each has half of the buffers.

Frames are counted, and the receiver gives its buffers back when all have been decided about: nothing depends on how fast anything is.
The flooder's frames always come first, and are many more than there are buffers.
"""

import collections
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import backend, scarce, scenario
from proxy.frontend import F_IN_ORDER, F_RING_PACKED

# rings: of all front-ends; pairs: of the receiver; cpus: of the back-end (with four, each ring has its own).
KINDS = {
    "split": {},
    "packed": {"rings": F_RING_PACKED},
    "in-order": {"rings": F_IN_ORDER},
    "packed-in-order": {"rings": F_RING_PACKED | F_IN_ORDER},
    "pairs": {"pairs": 4},
    "smp": {"cpus": 4, "pairs": 2},
    "smp-packed": {"cpus": 2, "rings": F_RING_PACKED},
}
WARM_UP, ROUNDS = 8, 16


def rounds(number, turns):
    """Everybody sends so much in turn, then the receiver takes it; buffers by port."""
    got = collections.Counter()
    for _ in range(number):
        for sender, frames in turns:
            sender.send(frames)
            sender.to.settle()
        got += sender.to.take()
    return got


def measure(run, what, turns):
    """The same after a while in which everybody's needs become known."""
    rounds(WARM_UP, turns)
    got = rounds(ROUNDS, turns)
    text = ", ".join(f"{got[sender.port]} of {frames * ROUNDS} of port {sender.port}" for sender, frames in turns)
    run.note(f"{what}: {text} arrived, for {turns[0][0].to.buffers * ROUNDS} buffers")
    return got


def check(run):
    """See above."""
    kind = KINDS[run.word]
    rings = kind.get("rings", 0)
    path = run.path(3, cpus=kind.get("cpus", 1))
    to = scarce.Receiver(path, 2, pairs=kind.get("pairs", 1), rings=rings)
    flooder, modest = scarce.Sender(path, 0, to, rings=rings), scarce.Sender(path, 1, to, rings=rings)
    half = to.buffers * ROUNDS // 2
    flood, little = 3 * to.buffers, to.buffers // 4

    alone = rounds(ROUNDS, [(modest, little)])
    run.expect(alone[1] == little * ROUNDS, f"{alone[1]} of {little * ROUNDS} of the modest port arrived though it was alone")
    got = measure(run, "a flooder and a modest one", [(flooder, flood), (modest, little)])
    run.expect(got[1] >= 0.95 * little * ROUNDS, f"{got[1]} of {little * ROUNDS} of the modest port arrived")
    run.expect(got[0] >= 0.9 * half, f"the flooder got {got[0]} buffers, its share is {half}")
    got = measure(run, "two flooders", [(flooder, flood), (modest, flood)])
    for port in (0, 1):
        run.expect(got[port] >= 0.8 * half, f"port {port} got {got[port]} buffers, its share is {half}")
    dropped = backend.switched_and_dropped(path.counters())[1]
    run.expect(set(dropped) == {"no_buffers", "no_port"} and dropped["no_port"] == 1,  # the receiver's first frame
               f"dropped: {dropped}")
    for member in (flooder, modest, to):
        member.close()


if __name__ == "__main__":
    scenario.main(__doc__, check, needs=(), choices=tuple(KINDS))
