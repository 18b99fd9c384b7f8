#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
VM exits and wake-ups of vvu-vmm while traffic flows and both sides poll.

Counted are returns from KVM_RUN to user space and KVM's own io_exits, mmio_exits, irq_injections and halt_exits (its "exits"
also counts host timer ticks and is shown apart), and voluntary context switches of all threads but the vCPUs.
"""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
import time

from lib import backend, bench, procs, testpmd
from lib.procs import Failure

HONEST = ("user_exits", "io_exits", "mmio_exits", "irq_injections", "halt_exits")


def wakeups(pid, vcpu_threads):
    """Voluntary context switches of threads that are not vCPUs."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        if task.name in vcpu_threads:
            continue
        for line in (task / "status").read_text(encoding="ascii").splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                total += int(line.split()[1])
    return total


def busiest_threads(pid, count):
    """Thread ids of the vCPUs: the ones that have burnt the most time."""
    def ticks(task):
        fields = (task / "stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])
    tasks = sorted(pathlib.Path(f"/proc/{pid}/task").iterdir(), key=ticks)
    return {task.name for task in tasks[-count:]}


def measure(session, args, huge):
    """Rows of the table."""
    path = backend.VmPath(session, 2, app=("switch", f"poll={args.poll}"), cpu=0)
    path.wait_up()
    ports, peers = bench.front_end_ports(path)
    front = testpmd.Testpmd(session, "front-end", ports, cpu=1, huge=huge, frame=args.size, peers=peers)
    front.wait_ready()
    front.start()
    front.window(1)
    vcpus = busiest_threads(path.vmm.pid, 1)
    before = path.status("vmm")["exits"]
    # The status request itself wakes the main thread, so wake-ups are read from outside, between the two requests.
    time.sleep(0.2)
    woken = wakeups(path.vmm.pid, vcpus)
    rate = front.window(args.seconds)
    woken = wakeups(path.vmm.pid, vcpus) - woken
    after = path.status("vmm")["exits"]
    front.halt()
    front.drain()
    rows = [[key, after.get(key, 0) - before.get(key, 0)] for key in HONEST]
    rows.append(["wake-ups of other threads", woken])
    rows.append(["(exits, with host ticks)", after.get("exits", 0) - before.get("exits", 0)])
    rows.append(["frames delivered per second", f"{rate / 1e6:.2f} M"])
    return rows


def main():
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10, metavar="S")
    parser.add_argument("--size", type=int, default=64, metavar="BYTES")
    parser.add_argument("--poll", default="always", help="the appliance's poll= (default always)")
    args = parser.parse_args()
    procs.die_on_signals()
    try:
        bench.begin(f"VM exits and wake-ups in {args.seconds:g} s of traffic, poll={args.poll}",
                    "vvu-vmm", "vvu-proxy", "appliance.elf")
        with procs.Session("exits") as session, testpmd.hugepages(600) as huge:
            rows = measure(session, args, huge)
        bench.table(["what", "in the window"], rows)
    except Failure as error:
        print(f"exits: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
