#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
The back-end VM is killed a hundred times in a row under `vvu run`, at random moments of two DPDK front-ends' traffic, some of them
while it still boots or while sessions are replayed. The front-ends keep their sessions, every byte that arrives is compared, and
nothing is lost (unless the proxy says that it let one port send before the other one was back).

  split, packed  the rings of the front-ends
"""

import os
import pathlib
import random
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import load, paths, procs, scenario
from vm_killed import ALONE

KILLS = 100
YOUNG = 8  # one of so many is killed before it serves
SEED = 20261123
LIMIT = 60


class Killer:
    """Kills one VM after the other."""

    def __init__(self, run):
        self.pid_file = run.session.dir / "vmm.pid"
        self.run_ctl = run.session.dir / "run.ctl"
        under = [paths.program("vvu"), "run", "--pid-file", self.pid_file, "--control", self.run_ctl, "--min-uptime", "0", "--",
                 "setpriv", "--pdeathsig", "KILL"]
        self.path = run.path(2, under=under)
        self.rng = random.Random(SEED)
        self.kills = self.young = 0

    def replays(self):
        """How often the sessions have gone on, by port."""
        return [p["replays"] for p in self.path.status("proxy")["ports"]]

    def kill(self, front):
        """A kill, and until frames flow again, or only until the next VM has been started."""
        before = self.replays()
        os.kill(int(self.pid_file.read_text(encoding="ascii")), signal.SIGKILL)
        self.kills += 1
        procs.wait_until(lambda: procs.control(self.run_ctl, {"cmd": "status"})["restarts"] == self.kills, "the next VM", LIMIT, 0.002)
        if self.rng.randrange(YOUNG) == 0:
            self.young += 1
            time.sleep(self.rng.uniform(0, 0.1))  # anywhere in boot and replay
            return
        procs.wait_until(lambda: all(a > b for a, b in zip(self.replays(), before)), "the sessions go on", LIMIT, 0.005)
        self.flows(front)
        time.sleep(self.rng.uniform(0, 0.02))  # anywhere in the traffic

    @staticmethod
    def flows(front):
        """Until each port has got frames."""
        before = received(front)
        procs.wait_until(lambda: all(a > b for a, b in zip(received(front), before)), "frames", LIMIT, 0.002)


def received(front):
    """Frames by port."""
    return [p["rx"] for p in front.counters()["per_port"]]


def check(run):
    """See above."""
    killer = Killer(run)
    path = killer.path
    front = load.Load(run.session, "front", load.ports(path, layout=run.word), huge=run.huge)
    front.wait_ready()
    front.start(mode="flood", size="64,300,1000,1514", touch="seq,write,read", rate=50000, burst=8, window=96, quiet=15)
    killer.flows(front)
    for _ in range(run.rounds or KILLS):
        killer.kill(front)
    killer.flows(front)
    whole = front.halt()["whole"]
    run.note(f"killed {killer.kills} times in a row, {killer.young} of them before the VM served: {whole['rx']} frames, "
             f"{whole['damaged']} of them with wrong bytes, {whole['lost']} lost, {whole['reordered']} twice or late")
    for name in ("damaged", "stray"):
        run.expect(whole[name] == 0, f"{whole[name]} frames {name}")
    # As many as came twice hide as many that were lost: e2e/vm_killed.py looks at each.
    run.expect(whole["lost"] <= 0 or path.proxy.find_line(ALONE), f"{whole['lost']} frames lost")
    sessions = [p["sessions"] for p in path.status("proxy")["ports"]]
    run.expect(sessions == [1, 1], f"{sessions} sessions")
    status = procs.control(killer.run_ctl, {"cmd": "status"})
    run.expect(status["restarts"] == killer.kills, f"{status['restarts']} restarts")
    front.stop()
    run.expect(path.vmm.stop(20) == 0, "vvu run did not end cleanly")


if __name__ == "__main__":
    scenario.main(__doc__, check, needs=("dpdk", "load"), choices=("split", "packed"), rounds=True)
