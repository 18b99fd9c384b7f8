#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
The back-end VM is killed again and again under `vvu run`, in the middle of traffic. Two scripted front-ends keep their
connections, and frames go on without their doing anything: whole, in order, at the right port.

A frame may come twice when the VM died with it in hand. None is lost, unless the proxy says that it did not wait any longer for the
other port; these the next VM counts.

  split, packed, inorder  the rings of the front-ends
"""

import os
import pathlib
import re
import select
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import backend, paths, procs, scenario
from vm_killed import alone
from proxy import test_hosted as hosted
from proxy.frontend import F_IN_ORDER, F_RING_PACKED, FrontEnd

ROUNDS = 25
FRAMES = 40  # of each side in a round; the VM is killed after some of them
RINGS = {"split": 0, "packed": F_RING_PACKED, "inorder": F_IN_ORDER}
PERIOD = 0.2  # between frames sent to see whether the next VM serves both sides
ATTEMPTS = 300


class Side:
    """One front-end: what it has sent, and what of the other's has come."""

    def __init__(self, path, index, rings):
        self.index = index
        self.guest = hosted.Guest(FrontEnd.connect(path.socket(index)), rings)
        self.sent = 0      # the number of its next frame
        self.expected = 0  # the number of the other's that comes next
        self.missing = self.twice = 0

    def frame(self, number):
        """What it sends as that number."""
        return hosted.frame(self.index, 1 - self.index, b"%d of %d;" % (number, self.index))

    def send(self):
        """The next one."""
        self.guest.tx.send_frame(self.frame(self.sent))
        self.sent += 1

    def receive(self, other, timeout):
        """The other's next one, if one comes in time; False: none did."""
        got = self.guest.recv(timeout)
        if got is None:
            return False
        text = re.match(rb".{14}(\d+) of ", got, re.S)
        number = int(text[1]) if text else -1
        if number < 0 or number >= other.sent or got != other.frame(number):
            raise procs.Failure(f"port {self.index}: {got[:40]!r} came after frame {self.expected - 1}")
        if number < self.expected:
            self.twice += 1
            return True
        self.missing += number - self.expected
        self.expected = number + 1
        return True

    def pass_frames(self, other, frames):
        """As many new ones of the other, none of them lost or doubled."""
        missing, twice = self.missing, self.twice
        for _ in range(frames):
            other.send()
        while self.expected < other.sent:
            if not self.receive(other, 60):
                raise procs.Failure(f"port {self.index}: frame {self.expected} did not come")
        if (missing, twice) != (self.missing, self.twice):
            raise procs.Failure(f"port {self.index}: frames were lost or doubled")

    def catch_up(self, other):
        """Until frames that the other sends now come; whatever has not come by then is lost."""
        first = other.sent
        for _ in range(ATTEMPTS):
            other.send()
            if self.receive(other, PERIOD):
                while self.receive(other, 0):
                    pass
            if self.expected > first:
                return
        raise procs.Failure(f"port {self.index}: no frame after {self.expected - 1} came, {other.sent} were sent")


def not_there(path):
    """Frames that this VM had no receiver for, as it says."""
    counters = path.counters()
    return sum(backend.port_counter(counters, i, name) for i in (0, 1) for name in ("drop_no_port", "drop_receiver_down"))


def check(run):
    """See above."""
    pid_file = run.session.dir / "vmm.pid"
    command = [paths.program("vvu"), "run", "--pid-file", pid_file, "--control", run.session.dir / "run.ctl",
               "--min-uptime", "0", "--"]
    path = run.path(2, under=command)
    a, b = sides = [Side(path, i, RINGS[run.word]) for i in (0, 1)]
    for number in range(ROUNDS):
        lost = [s.missing for s in sides]
        for i in range(FRAMES):
            if i == (number * 7) % FRAMES:
                os.kill(int(pid_file.read_text()), signal.SIGKILL)
            a.send()
            b.send()
        procs.wait_until(lambda want=number + 1: min(p["replays"] for p in path.status("proxy")["ports"]) == want,
                         "both sessions go on", 60)
        b.catch_up(a)
        a.catch_up(b)
        for i, receiver in enumerate((b, a)):
            new = receiver.missing - lost[receiver.index]
            # The appliance brings its counters up to date a few times a second.
            procs.wait_until(lambda want=new: not_there(path) >= want,
                             f"round {number}: {new} frames of port {i} that had no port to go to")
    run.expect(not a.missing + b.missing or alone(path), f"{a.missing + b.missing} frames were lost, though both ports came back together")
    ports = path.status("proxy")["ports"]
    run.expect([p["sessions"] for p in ports] == [1, 1], f"{[p['sessions'] for p in ports]} sessions")
    closed = select.select([s.guest.fe.sock for s in sides], [], [], 0)[0]
    run.expect(not closed, f"{len(closed)} connections are closed")
    status = procs.control(run.session.dir / "run.ctl", {"cmd": "status"})
    run.expect(status["restarts"] == ROUNDS, f"{status['restarts']} restarts")
    run.note(f"killed {ROUNDS} times, {a.sent + b.sent} frames, {a.missing + b.missing} of them for a port that was not there "
             f"yet, {a.twice + b.twice} twice")
    run.expect(path.vmm.stop(20) == 0, "vvu run did not end cleanly")
    run.expect(not pid_file.exists(), "the pid file is left")


if __name__ == "__main__":
    scenario.main(__doc__, check, needs=(), choices=tuple(RINGS))
