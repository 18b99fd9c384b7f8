#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
The pause that front-ends see when the back-end VM is killed, panics, is reset or replaced, and when the proxy is killed or upgraded.

It is the longest time without a frame, beside the same figure of windows in which nothing happens; both take turns. A window lasts from
the event until everything is up again, and --window seconds more. Two DPDK front-ends send each other numbered frames at a rate and
compare every byte. With --guests it is two QEMU guests (under TCG): one pings the other, and the pause is the longest time between two
replies; a TCP stream lasts from the first window to the last one, and is compared in the end. `vvu run` keeps the VM running.
"""

import argparse
import json
import os
import pathlib
import re
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from compare import report
from events import EVENTS, LIMIT, Subject, nothing
from lib import bench, guestimage, load, paths, platforms, procs, qemu, testpmd, traffic
from lib.procs import Failure

DOCS = paths.ROOT / "docs/failure.md"
BEGIN = "<!-- pauses: begin (written by tests/perf/pauses.py --docs) -->"
END = "<!-- pauses: end -->"
QUIET = 5  # seconds without a frame, then those on their way are lost: a busy machine makes them late
PING = 0.002  # seconds from one to the next
TCP_PORT = 7001
# Of /tmp/ping: longest time between replies, last number, numbers that came, replies.
SUMMARY = """sed -n 's/^\\([0-9.]*\\) .* seq=\\([0-9]*\\) .*/\\1 \\2/p' /tmp/ping | awk '{ if (n && $1 - t > g) g = $1 - t; t = $1; n++
if (!s[$2]++) u++; if ($2 > m) m = $2 } END { print g + 0, m + 0, u + 0, n + 0 }'"""
FRONT_ENDS = {"dpdk": "two DPDK front-ends", "guests": "ping between two QEMU guests"}
HEADER = ["front-ends", "event", "windows", "p50 ms", "p99 ms", "max ms", "without: p50", "p99", "max", "frames", "damaged", "lost",
          "twice or late"]


def options():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--event", choices=tuple(EVENTS), action="append", help="only this one (default: all)")
    parser.add_argument("--events", type=int, default=20, metavar="N", help="of each kind (default 20)")
    parser.add_argument("--guests", action="store_true", help="as a ping between QEMU guests sees it, too")
    parser.add_argument("--no-dpdk", action="store_true", help="without the DPDK front-ends")
    parser.add_argument("--window", type=float, default=0.3, metavar="S", help="of traffic behind each event (default 0.3)")
    parser.add_argument("--rate", type=float, default=50000, metavar="N", help="frames per second (default 50000)")
    parser.add_argument("--memory", default="32M", metavar="SIZE", help="of the VM (default 32M)")
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    parser.add_argument("--docs", action="store_true", help="write the table into docs/failure.md")
    return parser.parse_args()


def quantile(values, share):
    """The value below or at which that share of all lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, -int(-share * len(ordered) // 1) - 1)]


def quantiles(values):
    """Those that are shown."""
    return {k: round(quantile(values, q), 2) for k, q in (("p50", 0.5), ("p99", 0.99), ("max", 1))}


class Dpdk:
    """Two DPDK front-ends with traffic between them."""

    def __init__(self, session, args, path, huge):
        self.args = args
        self.front = load.Load(session, "front", load.ports(path), huge=huge)
        self.front.wait_ready()
        self.front.start(mode="flood", size="64,300,1518", touch="seq,write,read", rate=args.rate, burst=8, window=256, quiet=QUIET)

    def _received(self):
        return [p["rx"] for p in self.front.counters()["per_port"]]

    def window(self, event):
        """(longest gap of both ports in ms, steps of the event)."""
        self.front.gaps()
        steps = event()
        before = self._received()
        procs.wait_until(lambda: all(a > b for a, b in zip(self._received(), before)), "frames after the event", LIMIT, 0.005)
        time.sleep(self.args.window)
        return max(self.front.gaps()["gap_ms"]), steps

    def finish(self):
        """What was wrong."""
        whole = self.front.halt()["whole"]
        self.front.stop()
        return {"frames": whole["rx"], "damaged": whole["damaged"], "lost": whole["lost"], "twice": whole["reordered"]}


class Guests:
    """Two QEMU guests: pings, and a TCP stream from one to the other."""

    def __init__(self, session, args, path, _huge):
        self.args = args
        guestimage.kernel(print)
        self.addresses = ["10.9.0.1", "10.9.0.2"]
        self.guests = [qemu.Guest(session, f"guest-{i}", qemu.Nic(path.socket(i), f"52:54:00:00:00:{i + 1:02x}"), address=a)
                       for i, a in enumerate(self.addresses)]
        for guest in self.guests:
            guest.wait_ready(180)
        traffic.wait_path(self.guests[0], self.addresses[1], LIMIT)
        self.sent = self.lost = self.twice = 0
        a, b = self.guests
        self.sink = b.begin(f"nc -l -p {TCP_PORT} | sha256sum")
        b.run(f"until grep -q ':{TCP_PORT:04X} 0*:0000 0A' /proc/net/tcp /proc/net/tcp6; do usleep 10000; done")
        # As the receiver sees them: data goes one way, acknowledgements the other.
        self.source = a.begin(
            "mkfifo /tmp/tap; sha256sum </tmp/tap >/tmp/sum & while [ ! -e /tmp/stop ]; do "
            "dd if=/dev/urandom bs=16384 count=1 2>/dev/null; usleep 50000; done | "
            f"tee /tmp/tap | nc {self.addresses[1]} {TCP_PORT}; wait; cat /tmp/sum")

    def window(self, event):
        """(longest time between replies in ms, steps of the event)."""
        guest = self.guests[0]
        ping = guest.begin(f"ping -i {PING} -W {LIMIT} {self.addresses[1]} | ts %.s >/tmp/ping & echo up; wait")
        ping.wait_lines(1)
        guest.run("until [ $(wc -l </tmp/ping) -gt 20 ]; do usleep 10000; done")
        steps = event()
        # As many replies as the pings that follow now have, and those before them.
        guest.run(f"n=$(wc -l </tmp/ping); until [ $(wc -l </tmp/ping) -gt $((n + {int(self.args.window / PING)})) ]; do usleep 10000; "
                  "done", timeout=LIMIT + 60)
        # All replies of a pause come at once; busybox's ping has room for some twenty.
        overflow = guest.run("awk 'NR > 1 { n += $NF } END { print n + 0 }' /proc/net/raw; killall -INT ping").lines[0]
        ping.wait(LIMIT)
        gap, last, numbers, replies = guest.run(SUMMARY, timeout=120).lines[-1].split()
        self.sent += int(last) + 1
        self.lost += int(last) + 1 - int(numbers) - int(overflow)
        self.twice += int(replies) - int(numbers)
        return float(gap) * 1e3, steps

    def finish(self):
        """What was wrong."""
        self.guests[0].run("touch /tmp/stop")
        sent, came = [p.wait(LIMIT).lines[-1].split()[0] for p in (self.source, self.sink)]
        for guest in self.guests:
            guest.stop()
        return {"frames": self.sent, "damaged": int(sent != came), "lost": self.lost, "twice": self.twice,
                "tcp_survives": sent == came}


def measure(args, front_ends, event):
    """Figures of one kind of event."""
    mib = load.hugepages_mib(2) if front_ends == "dpdk" else 0
    with procs.Session("pauses") as session, testpmd.hugepages(mib) as huge:
        subject = Subject(session, args.memory)
        front = (Dpdk if front_ends == "dpdk" else Guests)(session, args, subject.path, huge)
        front.window(lambda: nothing(subject))
        with_it, without, steps = [], [], {}
        for _ in range(args.events):
            without.append(front.window(lambda: nothing(subject))[0])
            pause, took = front.window(lambda: EVENTS[event](subject))
            with_it.append(pause)
            for step, ms in took.items():
                steps.setdefault(step, []).append(ms)
        checked = front.finish()
    return {"front_ends": front_ends, "event": event, "windows": args.events, "with": quantiles(with_it),
            "without": quantiles(without), "steps_ms": {k: quantiles(v) for k, v in steps.items()}, **checked}


def row(r):
    """A line of the table."""
    return [FRONT_ENDS[r["front_ends"]], r["event"], r["windows"], *r["with"].values(), *r["without"].values(), r["frames"],
            r["damaged"], r["lost"], r["twice"]]


def boots(results):
    """[(event, p50, p99, max)] of the VM's boot alone."""
    return [(f"{r['event']}, {r['front_ends']}", *r["steps_ms"]["boot"].values()) for r in results if "boot" in r["steps_ms"]]


def markdown(results, args):
    """The part of docs/failure.md between the markers."""
    lines = ["", f"Measured on {time.strftime('%Y-%m-%d')} on {platforms.DESCRIPTION[platforms.platform()]}, {os.cpu_count()} processors; "
             f"load average before {args.load_average:.1f}. All times in milliseconds; `damaged` of guests: the TCP stream.", "",
             "| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    lines += ["| " + " | ".join(map(str, row(r))) + " |" for r in results]
    lines += ["", "Of these, from exec of the VM (for a reset: from the request) to back-end-up:", "", "| event | p50 | p99 | max |",
              "|---|---|---|---|"]
    lines += ["| " + " | ".join(map(str, b)) + " |" for b in boots(results)]
    return "\n".join(lines + [""])


def print_steps(r):
    """Where the time of an event goes, as it comes."""
    steps = "; ".join(f"{name} {v['p50']:.1f}/{v['max']:.1f}" for name, v in r["steps_ms"].items())
    print(f"{r['front_ends']}, {r['event']}: pause {r['with']['p50']}/{r['with']['max']}; steps, p50/max ms: {steps}", flush=True)


def main():
    """Entry point."""
    args = options()
    args.load_average = os.getloadavg()[0]
    procs.die_on_signals()
    kinds = ([] if args.no_dpdk else ["dpdk"]) + (["guests"] if args.guests else [])
    results = []
    try:
        bench.begin("Pauses that front-ends see", "vvu", "vvu-proxy", "vvu-vmm", "appliance.elf")
        for kind in kinds:
            for event in args.event or EVENTS:
                results.append(measure(args, kind, event))
                print_steps(results[-1])
        if args.docs:
            report.between(DOCS, BEGIN, END, markdown(results, args))
    except Failure as error:
        print(f"FAIL pauses: {error}")
        return 1
    bench.table(HEADER, [row(r) for r in results])
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps({"load_average": args.load_average, "results": results}, indent=2) + "\n",
                                           encoding="utf-8")
    return 1 if any(r["damaged"] for r in results) else 0


if __name__ == "__main__":
    sys.exit(main())
