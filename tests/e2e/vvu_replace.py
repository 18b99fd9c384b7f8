#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
`vvu replace` puts one back-end VM after another in place, in the middle of two scripted front-ends' traffic, under `vvu run`. The
front-ends keep their connections, frames arrive whole and in order, and none is lost.

  answers  the old VM hands its ports over and ends by itself
  silent   the old VM is stopped (SIGSTOP): it is killed, its successor goes on from the ring positions
  dies     the new VM is killed when it has been told of a session: the old one has all ports, still or again
  proxy    the proxy is killed somewhere between; frames of the last burst may come twice, but for those before rings are stopped
"""

import os
import pathlib
import select
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import paths, procs, scenario
from vm_killed import alone
from vvu_run import Side

ROUNDS = 6
KILL_AFTER = (0, 1, 2, 4, 7, 12)  # turns from the first session at the new VM on; 0: the replacement has just begun


def successor(path, number):
    """The command line of the next VM: as that of the first, but for its control socket, which the first one has."""
    argv = [str(a) for a in path.vmm_argv()]
    argv[argv.index("--control") + 1] += f".{number}"
    return argv


def replace_once(run, path, sides, number):
    """One replacement under traffic: `vvu replace`, that has ended."""
    a, b = sides
    pid_file, killed, turns = run.session.dir / "vmm.pid", False, 0
    if run.word == "silent":
        os.kill(int(pid_file.read_text()), signal.SIGSTOP)
    replace = run.session.start(f"replace-{number}", [paths.program("vvu"), "replace", "--link", path.link, "--pid-file",
                                                      pid_file, "--", *successor(path, number)])
    while replace.running():
        # At most as many as a ring has room for, though nobody may serve it.
        if a.sent - b.expected < 100 and b.sent - a.expected < 100:
            a.send()
            b.send()
        b.receive(a, 0.001)
        a.receive(b, 0.001)
        if run.word == "dies" and not killed and replace.find_line("front-end is up"):
            os.kill(int(pid_file.read_text()), signal.SIGKILL)
            killed = True
        turns += bool(replace.find_line("front-end is up"))
        if run.word == "proxy" and not killed and turns >= KILL_AFTER[number]:
            path.proxy.kill()
            path.start_proxy()
            killed = True
    return replace


def check(run):
    """See above."""
    pid_file = run.session.dir / "vmm.pid"
    path = run.path(2, under=[paths.program("vvu"), "run", "--pid-file", pid_file, "--"])
    a, b = sides = [Side(path, i, 0) for i in (0, 1)]
    for number in range(ROUNDS):
        b.catch_up(a)
        a.catch_up(b)
        twice = a.twice + b.twice
        old = int(pid_file.read_text())
        replace = replace_once(run, path, sides, number)
        status = replace.popen.wait()
        new = int(pid_file.read_text())
        if run.word == "dies":
            # Unless it had all ports by then.
            if status:
                replace.wait_line("the old one serves on|is gone, too")
            continue
        run.expect(status == 0, f"vvu replace ended with status {status}: {replace.tail()}")
        run.expect(new != old, "the pid file has the old pid")
        b.catch_up(a)
        a.catch_up(b)
        if twice != a.twice + b.twice and run.word != "proxy":  # on a busy machine it may not stop in time, and is killed
            replace.wait_line("does not stop serving")
        path.vmm.wait_line(f"pid {new} has taken over")
    b.catch_up(a)
    a.catch_up(b)
    run.expect(not a.missing + b.missing or run.word == "proxy" or alone(path), f"{a.missing + b.missing} frames were lost")
    ports = path.status("proxy")["ports"]
    # A proxy counts those that it knows: the last one has been told of each once.
    run.expect([p["sessions"] for p in ports] == [1, 1], f"{[p['sessions'] for p in ports]} sessions")
    closed = select.select([s.guest.fe.sock for s in sides], [], [], 0)[0]
    run.expect(not closed, f"{len(closed)} connections are closed")
    run.note(f"replaced {ROUNDS} times, {a.sent + b.sent} frames, {a.missing + b.missing} lost, {a.twice + b.twice} twice")
    run.expect(path.vmm.stop(20) == 0, "vvu run did not end cleanly")
    procs.wait_until(lambda: not pathlib.Path(f"/proc/{new}").exists(), "the last VM has ended")


if __name__ == "__main__":
    scenario.main(__doc__, check, needs=(), choices=("answers", "silent", "dies", "proxy"))
