#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
The proxy is upgraded again and again while frames and messages flow: each time another one takes over from the one that runs. No
session ends, no connection is closed, every frame arrives once and in order, every message is answered; and another front-end
comes and goes all the while, at whichever proxy is there.

  split, packed  scripted front-ends with such rings
  guests         QEMU guests, which ping and transfer files meanwhile
"""

import pathlib
import select
import socket
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import procs, scenario
from proxy.frontend import FrontEnd
from vvu_run import RINGS, Side

ROUNDS = 20
ROUNDS_OF_GUESTS = 8
FRAMES = 20


class Traffic(threading.Thread):
    """Something that is done over and over, until it is told to stop."""

    def __init__(self, function):
        super().__init__(daemon=True)
        self.function = function
        self.error = None
        self.stopping = False
        self.rounds = 0
        self.start()

    def run(self):
        try:
            while not self.stopping:
                self.function()
                self.rounds += 1
        except BaseException as error:  # pylint: disable=broad-except
            self.error = error

    def stop(self):
        """Until the last round is over; all must have gone well."""
        self.stopping = True
        self.join(240)
        if self.error:
            raise self.error
        if self.is_alive():
            raise procs.Failure("the traffic stands still")


def upgrade(path, traffic, rounds=ROUNDS):
    """One upgrade after another, in the middle of traffic. (Programs must be started by the main thread: they end with theirs.)"""
    for number in range(rounds):
        path.upgrade_proxy()
        procs.wait_until(lambda want=traffic.rounds + number % 2: traffic.rounds >= want or traffic.error, "the traffic goes on",
                         240)
        if traffic.error:
            break
    traffic.stop()


def sessions(path):
    """[(session number, front-ends so far, back-ends lost)] of the two ports."""
    ports = path.status("proxy")["ports"][:2]
    return [(p["front_end"] and p["front_end"]["session"], p["sessions"], p["back_ends_lost"]) for p in ports]


def come_and_go(path):
    """A front-end that is served, and hangs up."""
    fe = FrontEnd.connect(path.socket(2), timeout=60)
    fe.negotiate()
    fe.sock.shutdown(socket.SHUT_RDWR)  # a process that is being started may have a duplicate for a moment
    fe.close()


def scripted(run):
    """Scripted front-ends."""
    path = run.path(3)
    sides = [Side(path, i, RINGS[run.word]) for i in (0, 1)]
    before = sessions(path)

    def flow():
        for receiver, sender in (sides, sides[::-1]):
            receiver.pass_frames(sender, FRAMES)
        for side in sides:
            side.guest.fe.sock.settimeout(60)
            side.guest.fe.get_u64("GET_FEATURES")
        come_and_go(path)

    traffic = Traffic(flow)
    upgrade(path, traffic)
    flow()
    closed = select.select([s.guest.fe.sock for s in sides], [], [], 0)[0]
    run.expect(not closed, f"{len(closed)} connections are closed")
    run.expect(sessions(path) == before, f"sessions {sessions(path)}, before {before}")
    run.note(f"{ROUNDS} upgrades; {sum(s.sent for s in sides)} frames, {2 * traffic.rounds} messages, {traffic.rounds} visits "
             "meanwhile")


def guests(run):
    """QEMU guests."""
    path = run.path(3)
    a, b = run.two_guests()
    run.ping(a, 1, count=20)
    before = sessions(path)

    def flow():
        run.ping(a, 1, count=30)
        run.transfer(a, b, 1, mib=1)

    upgrade(path, Traffic(flow), ROUNDS_OF_GUESTS)
    run.ping(b, 0, count=20)
    run.expect(sessions(path) == before, f"sessions {sessions(path)}, before {before}")


def check(run):
    """See above."""
    if run.kind != "vm":
        raise scenario.Skip("only with a proxy")
    if run.word == "guests":
        guests(run)
    else:
        scripted(run)
    run.expect(run.the_path.vmm.running(), "the back-end VM has ended")


if __name__ == "__main__":
    scenario.main(__doc__, check, needs=("qemu",) if "guests" in sys.argv else (), choices=("split", "packed", "guests"))
