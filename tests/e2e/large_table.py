#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
A front-end with much memory comes and goes while two others exchange frames: their session goes on and no frame is lost or late
beyond bounds.

  one       16 GiB in one region, of which nearly nothing is resident
  eight     the same in eight regions
  prefault  256 MiB that are populated and read before the front-end hears that its table was taken (vvu-vmm --prefault)

How long the table took and the longest wait of a frame are printed.
"""

import pathlib
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import backend, procs, scenario
from proxy import test_hosted as hosted
from proxy.frontend import FrontEnd, Memory

GIB = 1 << 30
FEW = 200           # frames that must have passed before and after
FRAME_TIMEOUT = 60  # a limit against hanging, not a measure


class Pump(threading.Thread):
    """Frames from port 0 to port 1, one at a time, until told to stop."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.sender, self.receiver = [hosted.Guest(FrontEnd.connect(path.socket(i))) for i in (0, 1)]
        self.times = []
        self.error = None
        self.stopping = False

    def run(self):
        try:
            while not self.stopping:
                frame = hosted.frame(0, 1, b"frame %d" % len(self.times))
                start = time.monotonic()
                self.sender.tx.send_frame(frame)
                got = self.receiver.rx.recv_frame(FRAME_TIMEOUT)
                if got != frame:
                    raise procs.Failure(f"frame {len(self.times)}: {'nothing' if got is None else 'another one'} came")
                self.times.append((start, time.monotonic() - start))
        except (OSError, procs.Failure) as error:
            self.error = error

    def passed(self):
        """Frames so far; Failure when it has ended."""
        if self.error:
            raise procs.Failure(f"ports 0 and 1: {self.error}")
        return len(self.times)

    def more(self, count):
        """Until so many more frames have passed."""
        target = self.passed() + count
        procs.wait_until(lambda: self.passed() >= target, f"{count} more frames from port 0 to 1", 240, 0.002)

    def end(self):
        """Stops it."""
        self.stopping = True
        self.join()
        self.passed()

    def longest(self, start, end):
        """Longest wait of a frame that was on its way between the two, in milliseconds."""
        return max((t for s, t in self.times if s + t >= start and s <= end), default=0) * 1000


def touched_kib(path):
    """Memory of port 2's front-ends that the appliance has read ahead."""
    return backend.port_counter(path.counters(), 2, "touched_kib")


def come_and_go(run, path, pump, sizes):
    """One life of the front-end with much memory, and what the others saw of it."""
    memories, at = [], 0
    for size in sizes:
        memories.append(Memory(size, guest_address=at))
        at += size
    touched = touched_kib(path)
    fe = FrontEnd.connect(path.socket(2), timeout=120)
    fe.negotiate()
    start = time.monotonic()
    fe.set_mem_table(memories)
    taken = time.monotonic()
    frames = sum(1 for s, _ in list(pump.times) if s >= start)
    rings = fe.start_net(memories[-1])
    rings[1].send_frame(hosted.frame(2, 0, b"from much memory"))
    got = pump.sender.rx.recv_frame(FRAME_TIMEOUT)
    run.expect(got == hosted.frame(2, 0, b"from much memory"), "no frame out of the new memory")
    pump.more(FEW)
    if run.word == "prefault":
        wanted = touched + (sum(sizes) >> 10)
        procs.wait_until(lambda: touched_kib(path) == wanted, "all of it has been read ahead", 60, 0.02)
        run.note("read ahead")
    gone = time.monotonic()
    fe.close()
    for ring in rings:
        ring.close()
    procs.wait_until(lambda: path.status("proxy")["ports"][2]["back_end"]["up"] and
                     not path.status("proxy")["ports"][2]["front_end"], "port 2 is free again", interval=0.01)
    pump.more(FEW)
    end = time.monotonic()
    run.note(f"table taken after {(taken - start) * 1000:.0f} ms, {frames} frames passed meanwhile; longest wait of a frame "
             f"{pump.longest(start, taken):.1f} ms then, {pump.longest(gone, end):.1f} ms when it left, "
             f"{pump.longest(0, start):.1f} ms before")
    for memory in memories:
        memory.close()


def check(run):
    """See above."""
    prefault = run.word == "prefault"
    sizes = {"one": [16 * GIB], "eight": [2 * GIB] * 8, "prefault": [GIB // 4]}[run.word]
    path = run.path(3, vmm_args=["--prefault"] if prefault else [])
    pump = Pump(path)
    sessions = [p["session"] for p in path.status("vmm")["devices"].values() if "session" in p][:2]
    pump.start()
    pump.more(FEW)
    for _ in range(3):
        come_and_go(run, path, pump, sizes)
    run.expect(prefault or touched_kib(path) == 0, "memory was read ahead that nobody asked for")
    pump.end()
    now = [p["session"] for p in path.status("vmm")["devices"].values() if "session" in p][:2]
    run.expect(now == sessions and all(sessions), f"sessions of ports 0 and 1: {sessions}, then {now}")
    run.note(f"{len(pump.times)} frames passed")
    pump.sender.close()
    pump.receiver.close()


if __name__ == "__main__":
    scenario.main(__doc__, check, needs=(), choices=("one", "eight", "prefault"))
