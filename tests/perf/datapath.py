#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
Frames per second between two front-end ports through three kinds of back-end, alternating in one run:

  vm       our switch in the back-end VM
  host     the same device logic as a host process (vvu-backend)
  testpmd  DPDK's host switch: two net_vhost ports, `io` forwarding

The front-end is one DPDK testpmd with two virtio_user ports on one processor (flowgen, both ways); the back-end has the other
processor and polls. Before and after each window the distance of the two processors is probed; windows are compared only
within one class of distance, and not at all when something else took processor time from either side (`disturbed`).
"""

import argparse
import collections
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
import statistics

from lib import backend, bench, procs, testpmd
from lib.procs import Failure


def start_path(session, kind, huge):
    """A back-end of that kind on processor 0."""
    if kind == "testpmd":
        return backend.start(session, kind, 2, cpu=0, huge=huge)
    return backend.start(session, kind, 2, app=("switch", "poll=always"), cpu=0)


def visit(kind, size, args, huge, options):
    """Start one kind, measure some windows; yields (class, probe, Mpps), then checks the counters."""
    with procs.Session(f"perf-{kind}") as session:
        path = start_path(session, kind, huge)
        path.wait_up()
        ports, peers = bench.front_end_ports(path)
        for port in ports:
            port.options = options
        front = testpmd.Testpmd(session, "front-end", ports, cpu=1, huge=huge, frame=size, peers=peers,
                                extra_eal=["--force-max-simd-bitwidth=512"] if "vectorized" in options else [])
        front.wait_ready()
        for _ in range(args.windows):
            before = bench.probe()
            front.start()
            front.window(0.2)
            shares = bench.Shares(path.process.pid, front.proc.pid)
            rate = front.window(args.seconds) / 1e6
            alone = shares.undisturbed()
            front.halt()
            after = bench.probe()
            yield bench.placement(before, after) if alone else "disturbed", before, rate
        front.drain()
        sent, received = front.total("opackets"), front.total("ipackets")
        dropped = sum(backend.switched_and_dropped(path.counters())[1].values())
        yield "loss", sent, sent - received - dropped


def measure(size, args, huge):
    """All rounds for one frame size: {(kind, class): [Mpps]}, {(kind, round, class): [Mpps]}."""
    rates = collections.defaultdict(list)
    rounds = collections.defaultdict(list)
    for number in range(args.rounds):
        for kind in args.kinds:
            seen = []
            for what, value, rate in visit(kind, size, args, huge, args.options):
                if what == "loss":
                    seen.append(f"{rate} of {value} frames in no counter")
                    continue
                rates[kind, what].append(rate)
                rounds[kind, number, what].append(rate)
                seen.append(f"{rate:.2f} ({what}, {value:.0f} ns)")
            print(f"  {size} B, round {number + 1}, {kind}: " + ", ".join(seen), flush=True)
    return rates, rounds


def report(size, args, rates, rounds):
    """Medians, spread, ratios per class."""
    print(f"\n{size} B frames, M frames/s received, min/median/max (windows of {args.seconds:g} s)")
    classes = [c for c in ("near", "far", "mixed", "disturbed", "unknown") if any((k, c) in rates for k in args.kinds)]
    bench.table(["kind"] + classes, [[kind] + [bench.spread(rates[kind, c]) for c in classes]
                                     for kind in args.kinds])
    for peer in args.kinds:
        if peer == "vm" or "vm" not in args.kinds:
            continue
        for cls in ("near", "far"):
            ratios = [statistics.median(rounds["vm", n, cls]) / statistics.median(rounds[peer, n, cls])
                      for n in range(args.rounds) if ("vm", n, cls) in rounds and (peer, n, cls) in rounds]
            if ratios:
                print(f"  vm / {peer}, {cls}: {bench.spread(ratios)} over rounds; of all medians "
                      f"{statistics.median(rates['vm', cls]) / statistics.median(rates[peer, cls]):.2f}")
    print(flush=True)


def main():
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--windows", type=int, default=3, metavar="N", help="windows per kind and round")
    parser.add_argument("--seconds", type=float, default=1.0, metavar="S", help="length of a window")
    parser.add_argument("--size", type=int, action="append", metavar="BYTES",
                        help="frame size, may be repeated (default: 64 and 1518)")
    parser.add_argument("--kinds", nargs="+", choices=backend.KINDS, default=["vm", "host", "testpmd"])
    parser.add_argument("--options", default="", metavar="LIST",
                        help="virtio_user options of both ports, e.g. in_order=1,mrg_rxbuf=0")
    args = parser.parse_args()
    procs.die_on_signals()
    try:
        needs = {"vm": ["vvu-vmm", "vvu-proxy", "appliance.elf"], "host": ["vvu-backend"], "testpmd": []}
        bench.begin("data path with DPDK front-ends", *[p for k in args.kinds for p in needs[k]])
        with testpmd.hugepages(1200) as huge:
            if not huge:
                print("no huge pages to be had: testpmd runs on 4 KiB pages")
            for size in args.size or [64, 1518]:
                report(size, args, *measure(size, args, huge))
    except Failure as error:
        print(f"datapath: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
