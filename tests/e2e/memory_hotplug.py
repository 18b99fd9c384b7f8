#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
Memory is plugged into a QEMU guest and taken out again amid pings and a transfer. The session goes on: the region comes with
ADD_MEM_REG and goes with REM_MEM_REG. The last time the memory stays, as one that the guest's kernel prefers for its own, frames
among it.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import procs, scenario, traffic

ROUNDS = 2
MIB = 128
BLOCKS = "/sys/devices/system/memory/memory*"


def regions(path):
    """Regions of port 0 in the window of the back-end VM."""
    return path.status("vmm")["devices"]["p0"]["regions"]


def total_kib(guest):
    """Memory that the guest's kernel has."""
    return int(guest.run("grep MemTotal /proc/meminfo").text.split()[1])


def plug(run, guest, number, how):
    """One DIMM more, in use."""
    before = total_kib(guest)
    guest.qmp("object-add", **{"qom-type": "memory-backend-memfd", "id": f"more{number}", "size": MIB << 20, "share": True})
    guest.qmp("device_add", driver="pc-dimm", id=f"dimm{number}", memdev=f"more{number}")
    guest.run(f"until grep -q offline {BLOCKS}/state; do usleep 20000; done")
    guest.run(f"for b in {BLOCKS}; do grep -q offline $b/state && echo {how} >$b/state; done; true")
    run.expect(total_kib(guest) > before, "the guest has not got more memory")


def unplug(guest, number):
    """It goes again."""
    guest.qmp("device_del", id=f"dimm{number}")
    procs.wait_until(lambda: f"dimm{number}" not in [d["data"]["id"] for d in guest.qmp("query-memory-devices")],
                     "the guest gives the memory back", 60, 0.1)
    guest.qmp("object-del", id=f"more{number}")


def check(run):
    """Plug, use, unplug."""
    if run.kind != "vm":
        raise scenario.Skip("only with a proxy")
    path = run.path(2)
    a, b = run.two_guests({"extra": ("-m", "256M,slots=4,maxmem=1G")})
    procs.wait_until(lambda: path.status("vmm")["devices"]["p0"]["session"], "port 0 has its session")
    session = path.status("vmm")["devices"]["p0"]["session"]
    pings = b.begin(traffic.ping_command(f"-c 100000 -i 0.02 -W 60 {run.address(0)}"))
    pings.wait_lines(5)
    before = regions(path)
    for number in range(ROUNDS + 1):
        stays = number == ROUNDS
        plug(run, a, number, "online_kernel" if stays else "online_movable")
        procs.wait_until(lambda: regions(path) > before, "the region of the new memory", interval=0.02)
        run.note(f"plugged: {before} regions, then {regions(path)}; the guest has {total_kib(a) >> 10} MiB")
        run.transfer(a, b, 1, mib=8)
        run.transfer(b, a, 0, mib=8)
        if stays:
            break
        unplug(a, number)
        procs.wait_until(lambda: regions(path) == before, "the region goes", interval=0.02)
        run.note(f"unplugged: {regions(path)} regions")
    b.run("killall -INT ping")
    result = traffic.ping_result(b, pings.wait(120, check=False).text)
    # What is under way when ping is told to end is neither here nor there.
    run.expect(result.received > result.last > 0, f"{result.received} of the first {result.last + 1} pings came back")
    now = path.status("vmm")["devices"]["p0"]["session"]
    run.expect(now == session, f"session {session}, then {now}")
    for name in ("ADD_MEM_REG", "REM_MEM_REG", "SET_MEM_TABLE"):
        run.note(f"{name}: {path.status('proxy')['ports'][0]['messages']['requests'].get(name, 0)}")


scenario.main(__doc__, check)
