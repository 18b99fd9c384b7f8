# SPDX-License-Identifier: BSD-2-Clause
"""
Back-ends, ours and the peers', with one interface beyond that of lib/backend.py:

  processes       what to stop and continue (SIGSTOP, SIGCONT) so that only one side runs at a time
  busy()          (TSC cycles spent on rounds that found frames, frames taken), or None
  dropped()       frames that its counters say it dropped

Every poller runs on processor 0.
"""

import os
import re

from lib import backend, testpmd

from . import ovs

CPU = 0
# What 64 MiB of buffers and the rings take, per process.
MEMORY_MIB = 256
MEMORY_JUMBO_MIB = 512


def mbuf_options(size):
    """testpmd options for frames that do not fit the usual buffer; super-frames go in chains of usual ones."""
    return [f"--mbuf-size={size + 512}"] if 1518 < size <= 9014 else []


class Vm(backend.VmPath):
    """Proxy and back-end VM."""

    def __init__(self, session, spec, app=("switch",)):
        super().__init__(session, spec.ports, app=app, cpu=CPU)

    @property
    def processes(self):
        """The VMM; the proxy is asleep while traffic flows."""
        return [self.vmm]

    def busy(self):
        """From the appliance's counters."""
        return ours_busy(self.counters())

    def dropped(self):
        """All its drop counters."""
        return sum(backend.switched_and_dropped(self.counters())[1].values())


class Host(backend.HostPath):
    """vvu-backend."""

    def __init__(self, session, spec, app=("switch",)):
        super().__init__(session, spec.ports, app=app, cpu=CPU)

    @property
    def processes(self):
        """The one."""
        return [self.backend]

    def busy(self):
        """From the same counters as the appliance's."""
        return ours_busy(self.counters())

    def dropped(self):
        """All its drop counters."""
        return sum(backend.switched_and_dropped(self.counters())[1].values())


def ours_busy(counters):
    """(busy cycles, frames taken) out of our counters, or None when they are not there."""
    if "switch.busy_cycles" not in counters:
        return None
    frames = counters.get("switch.frames_polled")
    if frames is None:
        frames = sum(v for k, v in counters.items() if re.fullmatch(r"port\..*\.rx_frames", k))
    return counters["switch.busy_cycles"], frames


class Dpdk(backend.Path):
    """DPDK's host switch: testpmd with vhost ports. One port forwards to itself, more by pairs."""

    def __init__(self, session, spec, forward):
        super().__init__(session, f"dpdk-{forward}", spec.ports)
        ports = [testpmd.Port(self.socket(i), queues=spec.queues, options="tso=1" if spec.gso else "")
                 for i in range(spec.ports)]
        extra = ["--record-core-cycles", f"--rxq={spec.queues}", f"--txq={spec.queues}", *mbuf_options(spec.size)]
        if spec.ports == 1:
            extra.append("--port-topology=loop")
        self.backend = testpmd.Testpmd(
            session, f"be-{self.kind}", ports, role="back-end", cpu=CPU, huge=spec.huge, forward=forward, extra=extra,
            memory=MEMORY_JUMBO_MIB if spec.size > 1518 else MEMORY_MIB)
        self.process = self.backend.proc

    @property
    def processes(self):
        """The one."""
        return [self.process]

    def wait_up(self, timeout=60):
        """Until it forwards."""
        self.backend.wait_ready(timeout)
        self.backend.start()

    def busy(self):
        """From its own record of core cycles (it prints none before the first frame)."""
        mark = self.process.mark()
        self.backend.command("show fwd stats all")
        line = self.process.wait_line(r"CPU cycles/packet=\S+ \(total cycles=(\d+) / total \w+ packets=(\d+)\)", 10,
                                      after=mark)
        return int(line.group(1)), int(line.group(2))

    def dropped(self):
        """What it received and could not send."""
        return self.backend.total("ipackets") - self.backend.total("opackets")


class Ovs(backend.Path):
    """OVS-DPDK with vhost-user ports in one bridge."""

    def __init__(self, session, spec, rule):
        # Its ports are clients, the kind its manual recommends; the other kind has no statistics.
        super().__init__(session, f"ovs-{rule}", spec.ports, ["client"] * spec.ports)
        self.switch = ovs.Switch(session, spec.ports, rule, cpu=CPU, mtu=spec.size if spec.size > 1518 else None,
                                 name=f"ovs-{rule}")
        self.process = self.switch.daemon

    @property
    def processes(self):
        """The database server sleeps."""
        return [self.process]

    def wait_up(self, timeout=60):
        """Until the ports are there."""
        self.switch.configure(timeout)

    def busy(self):
        """From its poll-mode thread's statistics."""
        return self.switch.busy()

    def dropped(self):
        """What it received and sent to no port."""
        return self.switch.dropped()


SIDES = {
    "vm": lambda s, spec: Vm(s, spec),
    "vm-always": lambda s, spec: Vm(s, spec, ("switch", "poll=always")),
    "host": lambda s, spec: Host(s, spec),
    "dpdk-io": lambda s, spec: Dpdk(s, spec, "io"),
    "dpdk-macswap": lambda s, spec: Dpdk(s, spec, "macswap"),
    "ovs-normal": lambda s, spec: Ovs(s, spec, "normal"),
    "ovs-flows": lambda s, spec: Ovs(s, spec, "flows"),
    "vm-echo": lambda s, spec: Vm(s, spec, ("echo",)),
    "vm-echo-always": lambda s, spec: Vm(s, spec, ("echo", "poll=always")),
    "host-echo": lambda s, spec: Host(s, spec, ("echo",)),
}

class Nothing:
    """No back-end: the front-end is all there is."""

    processes = ()

    def __init__(self, kind):
        self.kind = kind

    def wait_up(self, timeout=0):
        """It is."""

    def busy(self):
        """It is not."""

    def dropped(self):
        """Nothing."""
        return 0


def start(session, side, spec):
    """Start the back-end of a matrix.Side; does not wait."""
    path = SIDES[side.kind](session, spec) if side.kind in SIDES else Nothing(side.kind)
    path.side = side.label
    return path


def signal_all(processes, number):
    """To the processes only: none of them has children that poll."""
    for process in processes:
        if process and process.running():
            os.kill(process.pid, number)
