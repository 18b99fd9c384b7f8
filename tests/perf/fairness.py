#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
What a modest pair of ports keeps of its throughput while another port floods: with frames, kicks, messages, connections; and what
arrives of a modest port's frames at a receiver that another port floods.

Windows alternate: the modest ones beside a process that only spins, then beside the flooder, which gets the same part of the
processor that all front-ends share; so what is compared is what the back-end does. Shown are medians of the windows. The fairness
index is that of two floods, of short and of long frames, in one process with the switch (bench_switch --beside).

The receiver (`--only receiver`) is a scripted one: it gives 32 of its 256 buffers back in each of its turns, in which the modest port
sends 8 frames, and the flooder 128, and which ends when the switch has decided about them. The ratio is that of the parts of the modest
port's frames that arrived, so it does not depend on how long a turn takes.
"""

import argparse
import collections
import json
import os
import pathlib
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import backend, bench, load, paths, procs, scarce
from lib.procs import Failure
from proxy.frontend import Closed, FrontEnd, Memory, new_eventfd

FLOOD_PORT = 2
COUNTERS = ("turn_waits", "kick_floods", "control_waits", "messages", "sessions")


class Spinner:
    """Takes its part of the processor and does nothing."""

    def __init__(self, cpu, path):
        self.cpu, self.path = cpu, path
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.done = 0

    def __enter__(self):
        self.begin()
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.stop.set()
        self.thread.join()
        self.end()

    def run(self):
        """Until stopped."""
        os.sched_setaffinity(0, {self.cpu})
        while not self.stop.is_set():
            self.once()
            self.done += 1

    def begin(self):
        """What is not part of the flood."""

    def once(self):
        """One unit of it."""

    def end(self):
        """Tidy up."""


class Connected(Spinner):
    """A front-end with running rings."""

    def begin(self):
        self.memory = Memory(4 << 20)
        self.front_end = FrontEnd.connect(self.path.socket(FLOOD_PORT))
        self.front_end.sock.settimeout(60)
        self.front_end.negotiate()
        self.front_end.set_mem_table([self.memory])
        self.rings = self.front_end.start_net(self.memory)
        self.fds = [new_eventfd(), new_eventfd()]

    def end(self):
        self.front_end.close()
        for ring in self.rings:
            ring.close()
        for fd in self.fds:
            os.close(fd)
        self.memory.close()


class Kicks(Connected):
    """Signals its kick eventfd in a loop."""

    def once(self):
        for _ in range(100):
            os.eventfd_write(self.rings[1].kick_fd, 1)


class Requests(Connected):
    """Messages that are answered, one after the other."""

    def once(self):
        self.front_end.get_u64("GET_FEATURES")


class CallFds(Connected):
    """Gives another call eventfd all the time."""

    def once(self):
        self.front_end.vring_fd("SET_VRING_CALL", 1, self.fds[self.done & 1])


class Tables(Connected):
    """Shares its memory again and again."""

    def once(self):
        self.front_end.set_mem_table([self.memory])
        self.front_end.get_u64("GET_FEATURES")


class Connections(Spinner):
    """Comes and goes."""

    def once(self):
        try:
            front_end = FrontEnd.connect(self.path.socket(FLOOD_PORT))
            front_end.sock.settimeout(60)
            front_end.negotiate()
            front_end.close()
        except (Closed, OSError):
            pass


FLOODS = {"kicks": Kicks, "requests": Requests, "call-fds": CallFds, "tables": Tables, "connections": Connections}
ROWS = ["receiver", *FLOODS, "frames"]


def flood_counters(path):
    """Counters of the flooding port."""
    now = path.counters()
    return {name: now.get(f"port.{path.label(FLOOD_PORT)}.{name}", 0) for name in COUNTERS}


def window(args, modest, path, flooder):
    """(rate of the modest ports, what the flooder's counters did)."""
    with flooder(args.cpu, path):
        before = flood_counters(path)
        rate = modest.window(seconds=args.seconds, rate=args.rate, size=args.size)["rx_mpps"]
        after = flood_counters(path)
    return rate, {name: after[name] - before[name] for name in COUNTERS if after[name] != before[name]}


def beside(args, modest, path, flooder):
    """A row of figures: alternating windows with and without the flooder."""
    solo, flooded, counted = [], [], {}
    for _ in range(args.rounds):
        solo.append(window(args, modest, path, Spinner)[0])
        rate, counts = window(args, modest, path, flooder)
        flooded.append(rate)
        for name, n in counts.items():
            counted[name] = counted.get(name, 0) + n
    return {"solo_mpps": statistics.median(solo), "beside_mpps": statistics.median(flooded),
            "ratio": statistics.median(f / s for f, s in zip(flooded, solo)), "counters": counted}


class Frames(Spinner):
    """Another process sends long frames on four queue pairs of two ports, as many as go."""

    front = None

    def begin(self):
        self.front.start(size="1514", flows=64)

    def once(self):
        self.stop.wait()

    def end(self):
        self.front.halt()


TURN = {"flood": 128, "modest": 8, "buffers": 32}
WARM_UP, TURNS = 60, 120  # of a window; in the first ones it becomes known who wants how much


class Scarce:
    """Three scripted front-ends: a receiver that has few buffers, and two that send to it."""

    def __init__(self, path):
        self.to = scarce.Receiver(path, 3, size=256)
        self.flooder, self.modest = scarce.Sender(path, FLOOD_PORT, self.to), scarce.Sender(path, 4, self.to)

    def turns(self, number, flood):
        """(buffers by port, seconds)."""
        got, begin = collections.Counter(), time.monotonic()
        for _ in range(number):
            if flood:
                self.flooder.send(TURN["flood"])
            self.modest.send(TURN["modest"])
            self.to.settle()
            got += self.to.take(TURN["buffers"])
        return got, time.monotonic() - begin

    def window(self, flood):
        """(part of the modest port's frames that arrived, how many a second, buffers the flooder got)."""
        self.turns(WARM_UP, flood)
        got, seconds = self.turns(TURNS, flood)
        modest = got[self.modest.port]
        self.to.take()
        return modest / (TURN["modest"] * TURNS), modest / seconds, got[FLOOD_PORT]

    def close(self):
        """All three."""
        for member in (self.flooder, self.modest, self.to):
            member.close()


def receiver(args, path):
    """As beside(), for a receiver with too few buffers."""
    front_ends = Scarce(path)
    solo, flooded = [], []
    for _ in range(args.rounds):
        solo.append(front_ends.window(False))
        flooded.append(front_ends.window(True))
    front_ends.close()
    return {"solo_mpps": statistics.median(s[1] for s in solo) / 1e6, "beside_mpps": statistics.median(f[1] for f in flooded) / 1e6,
            "ratio": statistics.median(f[0] / s[0] for f, s in zip(flooded, solo)),
            "counters": {"flooder_got": sum(f[2] for f in flooded)}}


def fairness_index():
    """Jain's, of the shares of the switch's time that short and long frames get: 1 when both get the same."""
    done = subprocess.run([paths.build_dir() / "tests/perf/bench_switch", "--alone", "--ports", "4", "--beside", "1514", "--rounds", "101"],
                          stdout=subprocess.PIPE, text=True, timeout=120, check=True)
    print(done.stdout.strip())
    return float(done.stdout.rsplit("index ", 1)[1])


def pairs(session, args, path, wanted, rows):
    """The rows of a modest pair of ports."""
    modest = load.Load(session, "modest", load.ports(path, (0, 1)), cpu=args.cpu)
    modest.wait_ready()
    for name, flooder in FLOODS.items():
        if name in wanted:
            rows[name] = beside(args, modest, path, flooder)
            report(name, rows[name])
    if "frames" in wanted:
        Frames.front = load.Load(session, "flood", load.ports(path, (2, 3), queues=4), cpu=args.cpu)
        Frames.front.wait_ready()
        rows["frames"] = beside(args, modest, path, Frames)
        report("frames", rows["frames"])
        Frames.front.stop()
    modest.stop()


def measure(session, args):
    """All rows."""
    path = backend.start(session, args.kind, 5, app=("switch", f"poll={args.poll}"), cpu=0)
    path.label = (lambda i: f"p{i:02}") if args.kind == "vm" else (lambda i: f"p{i}")
    path.wait_up()
    rows = {}
    figures = {"kind": args.kind, "rate": args.rate, "size": args.size, "rows": rows}
    wanted = args.only or ROWS
    if "receiver" in wanted:
        rows["receiver"] = receiver(args, path)
        report("receiver", rows["receiver"])
    if set(wanted) != {"receiver"}:
        pairs(session, args, path, wanted, rows)
        figures["fairness_index"] = fairness_index()
    return figures


def report(name, row):
    """As it comes."""
    print(f"{name:12} solo {row['solo_mpps']:.4f}  beside {row['beside_mpps']:.4f} M frames/s  ratio {row['ratio']:.3f}  "
          f"{row['counters']}", flush=True)


def main():
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--kind", choices=("vm", "host"), default="vm")
    parser.add_argument("--poll", default="adaptive", help="poll= of the application (default adaptive)")
    parser.add_argument("--rate", type=int, default=200000, metavar="N",
                        help="frames a second of the modest ports together; 0: all that go")
    parser.add_argument("--size", default="64", metavar="BYTES")
    parser.add_argument("--seconds", type=float, default=0.5, metavar="S", help="length of a window (not of `receiver`)")
    parser.add_argument("--rounds", type=int, default=7, metavar="N")
    parser.add_argument("--cpu", type=int, default=(os.cpu_count() or 1) - 1, metavar="N", help="of all front-ends")
    parser.add_argument("--only", action="append", choices=ROWS)
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    args = parser.parse_args()
    procs.die_on_signals()
    try:
        needs = {"vm": ("vvu-vmm", "vvu-proxy", "appliance.elf"), "host": ("vvu-backend",)}
        bench.begin("a modest pair of ports beside a flooding port", *needs[args.kind])
        with procs.Session("fairness") as session:
            figures = measure(session, args)
    except Failure as error:
        print(f"fairness: {error}")
        return 1
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
