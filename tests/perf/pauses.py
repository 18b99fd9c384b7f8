#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
The pause that two DPDK front-ends see when the back-end VM, or the proxy, is killed and the next one started.

It is the longest time without a frame, beside the same figure of windows in which nothing happens; both take turns. A window lasts from
the event until everything is up again, and --window seconds more. The front-ends send numbered frames to each other at a rate and
compare every byte. The next one is started as soon as the old one is dead, as `vvu run` does it.
"""

import argparse
import json
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import backend, bench, load, procs, testpmd
from lib.procs import Failure

EVENTS = ("kill", "proxy-kill")
LIMIT = 60


def options():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--event", choices=EVENTS, action="append", help="only this one (default: all)")
    parser.add_argument("--kills", type=int, default=20, metavar="N", help="events of each kind (default 20)")
    parser.add_argument("--window", type=float, default=0.3, metavar="S", help="of traffic behind each event (default 0.3)")
    parser.add_argument("--rate", type=float, default=50000, metavar="N", help="frames per second (default 50000)")
    parser.add_argument("--memory", default="32M", metavar="SIZE", help="of the VM (default 32M)")
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    return parser.parse_args()


def quantile(values, share):
    """The value below or at which that share of all lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, -int(-share * len(ordered) // 1) - 1)]


class Bench:
    """A back-end VM and two front-ends with traffic between them."""

    def __init__(self, session, args, huge):
        self.session, self.args = session, args
        self.path = backend.VmPath(session, 2, memory=args.memory)
        self.path.wait_up()
        self.front = load.Load(session, "front", load.ports(self.path), huge=huge)
        self.front.wait_ready()
        self.front.start(mode="flood", size="64,300,1518", touch="seq,write,read", rate=args.rate, burst=8, window=256, quiet=0.01)
        self.window(lambda: None)

    def received(self):
        """Frames by port."""
        return [p["rx"] for p in self.front.counters()["per_port"]]

    def window(self, event):
        """Longest gap of both ports, in ms, with that event in it."""
        self.front.gaps()
        event()
        before = self.received()
        procs.wait_until(lambda: all(a > b for a, b in zip(self.received(), before)), "frames after the event", LIMIT, 0.005)
        time.sleep(self.args.window)
        return max(self.front.gaps()["gap_ms"])

    def kill(self):
        """SIGKILL and the next one."""
        self.path.vmm.kill()
        self.session.things.remove(self.path.vmm)
        self.path.start_vmm()
        self.path.wait_up(LIMIT)

    def proxy_kill(self):
        """The same with the proxy."""
        self.path.proxy.kill()
        self.session.things.remove(self.path.proxy)
        self.path.proxy_mark = 0
        self.path.start_proxy()
        self.path.wait_up(LIMIT)

    def finish(self):
        """What was wrong."""
        return self.front.halt()["whole"]


def measure(session, args, huge, event):
    """Rows and figures of one kind of event."""
    b = Bench(session, args, huge)
    with_it, without, boots = [], [], []
    for _ in range(args.kills):
        without.append(b.window(lambda: None))
        with_it.append(b.window(getattr(b, event.replace("-", "_"))))
        boots.append(b.path.boot_ms)
    whole = b.finish()
    b.front.stop()
    rows, figures = [], {"events": args.kills, "frames": whole["rx"], "damaged": whole["damaged"], "lost": whole["lost"],
                         "twice": whole["reordered"]}
    for name, values in ((event, with_it), ("without", without)):
        stats = {k: round(quantile(values, q), 2) for k, q in (("p50", 0.5), ("p99", 0.99), ("max", 1))}
        figures["with" if name == event else name] = stats
        rows.append([name, len(values), *stats.values(), whole["rx"], whole["damaged"], whole["lost"], whole["reordered"]])
    if event == "kill":
        figures["boot_ms"] = {"p50": round(quantile(boots, 0.5), 1), "max": round(max(boots), 1)}
        print(f"from exec to back-end-up of the VM: p50 {figures['boot_ms']['p50']} ms, max {figures['boot_ms']['max']} ms")
    return rows, figures


def main():
    """Entry point."""
    args = options()
    procs.die_on_signals()
    results, rows = {}, []
    try:
        bench.begin("Pauses at two DPDK front-ends", "vvu-proxy", "vvu-vmm", "appliance.elf")
        for event in args.event or EVENTS:
            with procs.Session("pauses") as session, testpmd.hugepages(load.hugepages_mib(2)) as huge:
                more, results[event] = measure(session, args, huge, event)
                rows += more
    except Failure as error:
        print(f"FAIL pauses: {error}")
        return 1
    bench.table(["event", "windows", "p50 ms", "p99 ms", "max ms", "frames", "damaged", "lost", "twice or late"], rows)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 1 if any(r["damaged"] for r in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
