# SPDX-License-Identifier: BSD-2-Clause
"""
One round of a group: all its sides are started once, then take turns in short windows.

Only one side runs at any moment: the others' pollers are stopped by SIGSTOP, which neither DPDK, OVS nor KVM minds. So
neighbouring windows of different sides are a fraction of a second apart, and the distance of the two processors can be
probed between them while nothing polls.
"""

import dataclasses
import signal
import time

from lib import bench, procs

from . import exits, fronts, machine, peers
from .stats import Window

SETTLE = 0.08   # seconds of traffic before a window


class Part:
    """A directory of its own within a session, for programs that use the same names."""

    def __init__(self, session, name):
        self.session = session
        self.things = session.things
        # The last component names DPDK's files in /var/run, so it must be nobody else's.
        self.dir = session.dir / f"{session.dir.name.rpartition('-')[2]}-{name}"
        self.dir.mkdir()

    def add(self, thing):
        """As the session's."""
        return self.session.add(thing)

    def start(self, name, argv, **kw):
        """As the session's, with the log here."""
        return self.add(procs.Proc(name, argv, self.dir / f"{name}.log", **kw))


class Side:
    """A back-end and its front-end."""

    def __init__(self, session, side, spec):
        self.name = side.label
        self.spec = dataclasses.replace(spec, **side.spec)
        self.session = Part(session, side.label.replace(" ", "-"))
        self.path = peers.start(self.session, side, self.spec)
        self.front = None

    def connect(self):
        """Back-end up, front-end started."""
        self.path.wait_up(60)
        self.front = fronts.start(self.session, self.path, self.spec)

    def begin(self):
        """Some traffic, then paused."""
        self.front.wait_ready()
        self.session.add(self)      # before anything else ends, stopped processes must be able to
        self.front.start()
        self.pause()

    @property
    def processes(self):
        """All that poll."""
        return [p for p in (*self.path.processes, self.front.process) if p]

    def pause(self):
        """Front-end first, so that what it has sent is taken."""
        peers.signal_all(reversed(self.processes), signal.SIGSTOP)

    def resume(self):
        """Back-end first."""
        peers.signal_all(self.processes, signal.SIGCONT)

    stop = resume   # what the session calls at its end

    def window(self, seconds):
        """(figures, undisturbed) of one window; the side runs only meanwhile."""
        self.resume()
        time.sleep(SETTLE)
        before = self.path.busy()
        counted = exits.Watch(self.path) if self.spec.exits else None
        shares = bench.Shares(*[p.pid for p in self.processes])
        values = self.front.window(seconds)
        alone = shares.undisturbed()
        if counted:
            values.update(counted.values())
        after = self.path.busy()
        self.pause()
        if before and after and after[1] > before[1]:
            values["cycles"] = (after[0] - before[0]) / (after[1] - before[1])
        return values, alone

    def finish(self):
        """Frames in no counter; the side is quiet afterwards."""
        self.resume()
        sent, received = self.front.finish()
        lost = sent - received - self.path.dropped()
        self.pause()
        return lost


class Results:
    """Windows and losses of one group, over all its rounds."""

    def __init__(self):
        self.windows = {}       # side: [Window]
        self.loss = {}          # side: frames
        self.failed = {}        # side: why it could not be measured

    def of(self, side):
        """Windows of a side."""
        return self.windows.get(side, [])

    def add(self, window):
        """One more."""
        self.windows.setdefault(window.side, []).append(window)


def bring_up(session, chosen, spec, results):
    """Start the sides one by one, each paused before the next; those that fail are left out and said why."""
    sides = []
    for wanted in chosen:
        try:
            side = Side(session, wanted, spec)
            side.connect()
            side.begin()
            sides.append(side)
        except procs.Failure as error:
            results.failed[wanted.label] = str(error)
    return sides


def run(chosen, spec, seconds, clock, results, tick):
    """One round of about `seconds` of windows (after starting); tick(window) after each."""
    with procs.Session("perf") as session:
        sides = bring_up(session, chosen, spec, results)
        deadline = time.monotonic() + seconds
        probe = bench.probe()
        turn = 0
        while sides and (turn == 0 or time.monotonic() < deadline):
            # Each cycle starts elsewhere, so that no side always follows the same one.
            first = turn % len(sides)
            for side in sides[first:] + sides[:first]:
                values, alone = side.window(spec.window)
                after = bench.probe()
                placement = bench.placement(probe, after) if alone else "disturbed"
                if probe and after:
                    values["pingpong"] = (probe + after) / 2
                values["zero"] = 0
                window = Window(side.name, clock(), placement, values, (probe, after), machine.load())
                probe = after
                results.add(window)
                tick(window)
            turn += 1
        for side in sides:
            try:
                results.loss[side.name] = results.loss.get(side.name, 0) + side.finish()
            except procs.Failure as error:
                results.failed[side.name] = str(error)
