#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
How fast the back-end VM is there, and what it weighs.

Time: from exec of vvu-vmm until the proxy sees back-end-up on the last port. Memory: RssAnon + RssFile of vvu-vmm then (guest RAM
is shared memory and not in it); the guest has 32 MiB.
"""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import backend, bench, procs
from lib.procs import Failure


def once(ports, memory):
    """One start; (milliseconds, RssAnon + RssFile, RssShmem in KiB)."""
    with procs.Session("boot") as session:
        path = backend.VmPath(session, ports, memory=memory)
        path.wait_up()
        anon, file, shmem = path.vmm.rss_kib()
        return path.boot_ms, anon + file, shmem


def main():
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--runs", type=int, default=15, metavar="N")
    parser.add_argument("--ports", type=int, action="append", metavar="N",
                        help="may be repeated (default: 2 and 32)")
    parser.add_argument("--memory", default="32M", metavar="SIZE", help="guest RAM (default 32M)")
    args = parser.parse_args()
    procs.die_on_signals()
    try:
        bench.begin("boot time and memory of the back-end VM", "vvu-vmm", "vvu-proxy", "appliance.elf")
        rows = []
        for ports in args.ports or [2, 32]:
            once(ports, args.memory)  # the first one pays for cold caches
            runs = [once(ports, args.memory) for _ in range(args.runs)]
            times, rss, shmem = zip(*runs)
            rows.append([ports, bench.spread(times, 1), bench.spread([r / 1024 for r in rss], 1),
                         bench.spread([r / 1024 for r in shmem], 1)])
        bench.table(["ports", "exec to back-end-up, ms", "RssAnon + RssFile, MiB", "RssShmem, MiB"], rows)
        print("  min/median/max (runs)")
    except Failure as error:
        print(f"boot: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
