#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
A front-end adds and removes memory while its frames go on out of other memory: no frame is lost, its session goes on, and nothing
of the removed memory is left in proxy or VMM.

  add    by ADD_MEM_REG and REM_MEM_REG
  table  by new tables, in which the memory of the rings is where it was
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from large_table import FEW, Pump
from lib import procs, scenario
from proxy.frontend import Memory

ROUNDS = 300
MIB = 1 << 20


def add(fe, _memory, more):
    """One after the other, and away again in another order."""
    for m in more:
        fe.add_mem_reg(m)
    for m in more[1:] + more[:1]:
        fe.rem_mem_reg(m)


def table(fe, memory, more):
    """All at once."""
    fe.set_mem_table([*more, memory])
    fe.set_mem_table([memory])


def check(run):
    """See above."""
    path = run.path(2)
    pump = Pump(path)
    device = lambda: path.status("vmm")["devices"]["p0"]  # noqa: E731
    pump.start()
    pump.more(FEW)
    session, regions = device()["session"], device()["regions"]
    held = len(path.vmm.holds("memfd:guest"))
    for _ in range(ROUNDS):
        more = [Memory((1 + i) * MIB, guest_address=(1 + i) << 32) for i in range(3)]
        {"add": add, "table": table}[run.word](pump.sender.fe, pump.sender.memory, more)
        for m in more:
            m.close()
        pump.passed()
    pump.more(FEW)
    pump.end()
    run.expect(device()["session"] == session, "the session has ended")
    run.expect(device()["regions"] == regions, f"{device()['regions']} regions, {regions} before")
    procs.wait_until(lambda: len(path.vmm.holds("memfd:guest")) == held, f"vvu-vmm has {held} files of memory open or mapped, as before")
    run.note(f"{ROUNDS} times 3 regions, {len(pump.times)} frames meanwhile, longest wait "
             f"{max(t for _, t in pump.times) * 1000:.1f} ms")
    pump.sender.close()
    pump.receiver.close()


if __name__ == "__main__":
    scenario.main(__doc__, check, needs=(), choices=("add", "table"))
