# SPDX-License-Identifier: BSD-2-Clause
"""
What a back-end costs while its ports are quiet, and what one wake-up costs: scripted front-ends that are connected and do
nothing, or send one frame when the back-end sleeps.
"""

import collections
import os
import pathlib
import time

from proxy import test_hosted as hosted
from proxy.frontend import FrontEnd

from . import procs

EXITS = ("user_exits", "io_exits", "mmio_exits", "irq_injections", "halt_exits")


class FrontEnds:
    """A connected front-end with running rings, kick and call eventfds, on each port of a path."""

    def __init__(self, path):
        self.path = path
        self.guests = [hosted.Guest(FrontEnd.connect(path.socket(i))) for i in range(path.count)]
        for i in range(path.count):
            self.frame(i, (i + 1) % path.count)

    def frame(self, i, k):
        """One frame from port i to port k, waited for."""
        data = hosted.frame(i, k)
        self.guests[i].tx.send_frame(data)
        while (got := self.guests[k].rx.recv_frame()) != data:
            if got is None:
                raise procs.Failure(f"a frame from port {i} did not reach port {k}; counters: "
                                    f"{ {n: v for n, v in self.path.counters().items() if v} }")

    def close(self):
        """Hang up all."""
        for guest in self.guests:
            guest.close()


def sleeps(path):
    """How often the workers went to sleep."""
    return path.counters()["switch.sleeps"]


def wait_asleep(path):
    """Until the back-end sleeps and stays asleep: it goes round no more while nobody asks."""
    def asleep():
        before = path.counters()
        time.sleep(0.02)
        after = path.counters()
        # Asking vvu-backend wakes it; the VM's counters are read behind its back.
        return path.kind == "host" or after["switch.polls"] == before["switch.polls"]
    procs.wait_until(asleep, "the back-end goes to sleep", interval=0.001)


def wait_slept(path, more_than):
    """Until its workers have gone to sleep more often than that."""
    procs.wait_until(lambda: sleeps(path) > more_than, "the back-end goes to sleep", interval=0.001)


def programs(path):
    """(name, process) of what makes up the back-end."""
    if path.kind == "vm":
        return [("vvu-vmm", path.vmm), ("vvu-proxy", path.proxy)]
    return [("vvu-backend", path.process)]


def _seconds(task):
    """Processor time of a thread."""
    try:
        return int((task / "schedstat").read_text("ascii").split()[0]) / 1e9
    except FileNotFoundError:  # a kernel without; then in clock ticks
        fields = (task / "stat").read_text("ascii").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def threads(path):
    """{(program, thread, name): (seconds on a processor, voluntary context switches)}"""
    found = {}
    for name, proc in programs(path):
        for task in pathlib.Path(f"/proc/{proc.pid}/task").iterdir():
            try:
                seconds = _seconds(task)
                status = (task / "status").read_text("ascii")
                comm = (task / "comm").read_text("utf-8").strip()
            except (FileNotFoundError, ProcessLookupError):
                continue
            switches = int(status.split("voluntary_ctxt_switches:")[1].split()[0])
            found[name, task.name, comm] = (seconds, switches)
    return found


def exits(path):
    """KVM's counts, without those of host timer ticks."""
    counts = path.status("vmm")["exits"]
    return collections.Counter({k: counts.get(k, 0) for k in EXITS})


def idle(path, seconds):
    """
    Leave it alone. Returns (processor time as a share of one processor, [[thread, share, switches per second]], exits).
    """
    wait_asleep(path)
    exits_before = exits(path) if path.kind == "vm" else collections.Counter()
    before = threads(path)
    start = time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - start
    after = threads(path)
    rows = []
    total = 0.0
    for key, (on_cpu, switches) in after.items():
        was = before.get(key, (0.0, 0))
        total += on_cpu - was[0]
        rows.append([f"{key[0]} {key[2]}", f"{(on_cpu - was[0]) / passed * 100:.3f} %",
                     f"{(switches - was[1]) / passed:.1f}"])
    happened = exits(path) - exits_before if path.kind == "vm" else exits_before
    return total / passed, sorted(rows), happened


def wakes(path, front_ends, count, workers=0):
    """
    One frame from port 0 to port 1, each sent when the back-end sleeps: (exits, sleeps, seconds each took). workers: so many of a VM's
    go to sleep and halt for each of them, and are waited for. (That it does nothing for a while may also mean that it waits for a
    processor.)
    """
    taken = []
    wait_asleep(path)
    before = exits(path) if path.kind == "vm" else collections.Counter()
    slept = sleeps(path)

    def halted():
        due = workers * len(taken)
        return sleeps(path) - slept >= due and exits(path)["halt_exits"] - before["halt_exits"] >= due

    for _ in range(count):
        wait_asleep(path)
        start = time.perf_counter()
        front_ends.frame(0, 1)
        taken.append(time.perf_counter() - start)
        if workers and path.kind == "vm":
            procs.wait_until(halted, "all workers halt", interval=0.001)
    wait_asleep(path)
    after = exits(path) if path.kind == "vm" else collections.Counter()
    after.subtract(before)
    return after, sleeps(path) - slept, taken
