# SPDX-License-Identifier: BSD-2-Clause
"""
VM exits and wake-ups of vvu-vmm over a window.

Counted are returns from KVM_RUN to user space and KVM's own io_exits, mmio_exits, irq_injections and halt_exits (its "exits"
also counts host timer ticks), and voluntary context switches of all threads but the vCPUs.
"""

import pathlib
import time

HONEST = ("user_exits", "io_exits", "mmio_exits", "irq_injections", "halt_exits")


def _ticks(task):
    fields = (task / "stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def busiest_threads(pid, count):
    """Thread ids of the vCPUs: the ones that have burnt the most time."""
    return {task.name for task in sorted(pathlib.Path(f"/proc/{pid}/task").iterdir(), key=_ticks)[-count:]}


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


class Watch:
    """From now until values() is called."""

    def __init__(self, path):
        self.path = path
        self.vcpus = busiest_threads(path.vmm.pid, path.cpus)
        self.before = path.status("vmm")["exits"]
        # The status request itself wakes the main thread: read after the first has ended and before the second.
        time.sleep(0.05)
        self.woken = wakeups(path.vmm.pid, self.vcpus)

    def values(self):
        """{figure: count}."""
        woken = wakeups(self.path.vmm.pid, self.vcpus) - self.woken
        after = self.path.status("vmm")["exits"]
        counts = {key: after.get(key, 0) - self.before.get(key, 0) for key in HONEST}
        return {"exits": sum(counts.values()), "wakeups": woken, **counts}
