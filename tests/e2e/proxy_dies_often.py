#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
The proxy is killed again and again in the middle of two scripted front-ends' traffic, and so is, every few rounds, the back-end VM
when the next proxy has just taken the sessions over. The front-ends keep their connections. Without a proxy no frame is late: all
arrive, once and in order, before there is another one. The last proxy lacks a port.

  split, packed  the rings of the front-ends
"""

import os
import pathlib
import select
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import paths, procs, scenario
from vvu_run import RINGS, Side

ROUNDS = 20
FRAMES = 30
VM_EVERY = 4


def pass_all(sides):
    """Frames both ways, none of them lost or doubled."""
    for receiver, sender in (sides, sides[::-1]):
        receiver.pass_frames(sender, FRAMES)


def taken_over(path):
    """The VMM's sessions are the proxy's again, which has all that it needs of them."""
    ports = path.status("vmm")["devices"]
    return (not any(ports[path.name(i)]["proxy_away"] for i in range(path.count)) and
            path.status("proxy")["sessions_up"] == path.count)


def all_answered(path):
    """No request is between front-end and back-end: a proxy that is killed with one in hand loses the session."""
    ports = path.status("vmm")["devices"]
    return not any(ports[path.name(i)]["unanswered"] for i in range(path.count))


def one_port_less(path, sides):
    """The next proxy has no port p1: its session ends at once, not when nobody has come for it in 30 s. The other one goes on."""
    procs.wait_until(lambda: all_answered(path), "every request is answered", 60)
    mark = path.vmm.mark()
    path.proxy.kill()
    path.count = 1
    path.start_proxy()
    path.vmm.wait_line(r"port p1: session \d+ ended: the next proxy refuses its link", 60, mark)
    if not select.select([sides[1].guest.fe.sock], [], [], 60)[0]:
        raise procs.Failure("the front-end of the port that is gone is not hung up on")
    procs.wait_until(lambda: taken_over(path), "the other session is taken over", 60)
    sides[0].guest.fe.get_u64("GET_FEATURES")


def check(run):
    """See above."""
    pid_file = run.session.dir / "vmm.pid"
    path = run.path(2, under=[paths.program("vvu"), "run", "--pid-file", pid_file, "--min-uptime", "0", "--"])
    sides = [Side(path, i, RINGS[run.word]) for i in (0, 1)]
    pass_all(sides)
    for number in range(ROUNDS):
        procs.wait_until(lambda: all_answered(path), "every request is answered", 60)
        path.proxy.kill()
        pass_all(sides)
        path.start_proxy()
        procs.wait_until(lambda: taken_over(path), "the sessions are taken over", 60)
        pass_all(sides)
        if number % VM_EVERY:
            continue
        os.kill(int(pid_file.read_text()), signal.SIGKILL)
        procs.wait_until(lambda: min(p["replays"] for p in path.status("proxy")["ports"]) > 0, "the sessions are replayed", 60)
        for receiver, sender in (sides, sides[::-1]):
            receiver.catch_up(sender)
    closed = select.select([s.guest.fe.sock for s in sides], [], [], 0)[0]
    run.expect(not closed, f"{len(closed)} connections are closed")
    one_port_less(path, sides)
    run.note(f"proxy killed {ROUNDS} times, VM {len(range(0, ROUNDS, VM_EVERY))} times, {sum(s.sent for s in sides)} frames")
    run.expect(path.vmm.stop(20) == 0, "vvu run did not end cleanly")


if __name__ == "__main__":
    scenario.main(__doc__, check, needs=(), choices=("split", "packed"))
