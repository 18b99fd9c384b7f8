#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
What quiet ports and single wake-ups cost: processor time of all threads of vvu-vmm and vvu-proxy (or of vvu-backend) while
connected front-ends do nothing; then exits, and the time until the frame is there, for frames sent while the back-end sleeps.
"""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
import json
import statistics

from lib import backend, bench, procs, quiet
from lib.procs import Failure


def measure(session, args):
    """{figure: value}, and the threads' rows."""
    path = backend.start(session, args.kind, args.ports, app=("switch", f"poll={args.poll}"))
    path.wait_up()
    front_ends = quiet.FrontEnds(path)
    share, rows, exits = quiet.idle(path, args.seconds)
    figures = {"kind": args.kind, "ports": args.ports, "poll": args.poll, "seconds": args.seconds,
               "processor_percent": share * 100, "idle_exits": dict(exits)}
    exits, sleeps, taken = quiet.wakes(path, front_ends, args.wakes)
    figures.update(wakes=args.wakes, wake_sleeps=sleeps, wake_exits={k: v / args.wakes for k, v in exits.items()},
                   wake_us=[round(t * 1e6, 1) for t in statistics.quantiles(taken, n=20)[::9]])
    front_ends.close()
    return figures, rows


def main():
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10, metavar="S")
    parser.add_argument("--ports", type=int, default=8, metavar="N")
    parser.add_argument("--wakes", type=int, default=200, metavar="N")
    parser.add_argument("--kind", choices=("vm", "host"), default="vm")
    parser.add_argument("--poll", default="adaptive", help="poll= of the application (default adaptive, which is adaptive:50)")
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    args = parser.parse_args()
    procs.die_on_signals()
    try:
        needs = {"vm": ("vvu-vmm", "vvu-proxy", "appliance.elf"), "host": ("vvu-backend",)}
        bench.begin(f"{args.ports} quiet ports, poll={args.poll}", *needs[args.kind])
        with procs.Session("idle") as session:
            figures, rows = measure(session, args)
    except Failure as error:
        print(f"idle: {error}")
        return 1
    bench.table(["thread", "of a processor", "switches/s"], rows)
    print(f"together {figures['processor_percent']:.3f} % of a processor in {args.seconds:g} s; exits: "
          f"{figures['idle_exits'] or 'none'}")
    print(f"{args.wakes} single frames to a sleeping back-end, {figures['wake_sleeps']} sleeps; exits per frame: "
          f"{figures['wake_exits']}")
    print("sender to receiver p5/p50/p95 {} us, with the scripted front-end's own time".format(
        "/".join(str(t) for t in figures["wake_us"])))
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
