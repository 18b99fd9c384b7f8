#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
What vvu-load makes of frames that it did not send, among its own: those of others are strays, however short they are and whatever
frame lay in the buffer before; its own, cut short, are damaged.
"""

import pathlib
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import load, procs, scenario
from proxy.frontend import FrontEnd, Memory

FRAMES = 200
SIZE = 300
ARP = 42  # bytes of an ARP request: it ends where the mark of vvu-load begins
SHORTEST = 14
MARK_MAGIC = 0x7675  # tests/perf/load/frames.h


class Other:
    """A scripted front-end on a port of its own."""

    def __init__(self, path, port):
        self.memory = Memory(4 << 20)
        self.fe = FrontEnd.connect(path.socket(port))
        self.fe.negotiate()
        self.fe.set_mem_table([self.memory])
        self.rings = self.fe.start_net(self.memory)

    def send(self, frame):
        """One frame, as soon as there is room."""
        def attempt():
            try:
                self.rings[1].send_frame(frame)
            except BufferError:
                return False
            return True
        procs.wait_until(attempt, "a transmit buffer is free", 60, 0.001)

    def all_delivered(self):
        """Every frame is where it was to go."""
        while used := self.rings[1].pop_used():
            self.rings[1].free.append(used[0])
        return not self.rings[1].outstanding

    def close(self):
        """The connection, and all that was made for it."""
        self.fe.close()
        for ring in self.rings:
            ring.close()
        self.memory.close()


def more_frames(front):
    """Until every receive buffer has had a frame."""
    before = [p["rx"] for p in front.counters()["per_port"]]
    procs.wait_until(lambda: all(p["rx"] > was + 2000 for was, p in zip(before, front.counters()["per_port"])),
                     "every receive buffer has had a frame")


def traffic(front, act):
    """Counters of a run in whose middle act() comes, with traffic before and after it."""
    front.start(mode="flood", size=str(SIZE), touch="seq,write,read", rate=20000, burst=8, window=96, quiet=1)
    more_frames(front)
    act()
    more_frames(front)
    return front.halt()["whole"]


def disturb(other, frame):
    """Many such frames, and until they are there."""
    for _ in range(FRAMES):
        other.send(frame)
    procs.wait_until(other.all_delivered, "the frames arrive", interval=0.001)


def ours(length, run_number, cut):
    """What vvu-load sends from its first port to its second one, of so many bytes, cut short."""
    ethernet = bytes.fromhex((load.mac(1) + load.mac(0)).replace(":", "")) + b"\x08\x00"
    ip = struct.pack(">BBHHHBBHII", 0x45, 0, length - 14, 0, 0x4000, 64, 17, 0, 0x0a090001, 0x0a090002)
    udp = struct.pack(">HHHH", 1024, 9, length - 34, 0)
    mark = struct.pack("<IBBHQI", MARK_MAGIC << 16 | run_number, 0, 1, 0, 0, 1)
    return (ethernet + ip + udp + mark + bytes(length))[:cut]


def check(run):
    """See above."""
    path = run.path(3)
    front = load.Load(run.session, "load", load.ports(path, (0, 1)))
    front.wait_ready()
    other = Other(path, 2)
    everybody = b"\xff" * 6 + bytes.fromhex("020000000003") + b"\x08\x06" + bytes(ARP - SHORTEST)
    for number, (length, cut) in enumerate(((0, ARP), (0, SHORTEST), (SIZE, ARP), (SIZE, 100)), 1):
        frame = ours(length, number, cut) if length else everybody[:cut]
        whole = traffic(front, lambda data=frame: disturb(other, data))
        run.note(f"{'ours' if length else 'to everybody'}, {cut} bytes: {whole}")
        # (Where a ring is full for a moment some are dropped.)
        if length:
            run.expect(0 < whole["damaged"] <= FRAMES and whole["damaged_bytes"] == whole["damaged"] * cut and not whole["stray"],
                       f"{FRAMES} of ours were cut short, {whole['damaged']} are damaged, {whole['stray']} strays")
        else:
            run.expect(not whole["damaged"] and not whole["reordered"], "others' short frames count as ours")
            run.expect(0 < whole["stray"] <= 2 * FRAMES, f"{whole['stray']} strays of {2 * FRAMES}")
    front.stop()
    other.close()


if __name__ == "__main__":
    scenario.main(__doc__, check, needs=("load",))
