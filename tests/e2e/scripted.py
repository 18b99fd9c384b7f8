#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
The scripted front-ends of tests/proxy/test_hosted.py against the back-end VM: through the proxy, the device and the appliance.
"""

import os
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import backend, procs
from proxy import test_hosted as hosted
from proxy.rig import state


class Vm:
    """Replaces the host process of hosted.Backend by the VM. What it logs comes over its serial port."""

    @classmethod
    def setUpClass(cls):
        """Proxy and VM."""
        cls.session = procs.Session("scripted")
        cls.session.__enter__()
        cls.addClassCleanup(cls.session.__exit__, None, None, None)
        names = ",".join(f"p{i}" for i in range(hosted.PORTS))
        cls.path = backend.start(cls.session, "vm", hosted.PORTS, app=(*cls.words, f"names={names}"), cpus=cls.cpus)
        cls.path.wait_up()
        cls.proc = cls.path.vmm
        cls.baseline = cls.fds()

    @classmethod
    def tearDownClass(cls):
        """Both end cleanly."""
        assert cls.path.vmm.stop() == 0, cls.path.vmm.tail(40)
        assert cls.path.proxy.stop() == 0, cls.path.proxy.tail(40)

    @classmethod
    def socket(cls, i):
        """Path of port i's socket."""
        return cls.path.socket(i)

    @classmethod
    def counters(cls):
        """All counters."""
        return cls.path.counters()

    @classmethod
    def busy(cls):
        """Ports that have a front-end, or whose back-end has not come back yet."""
        ports = cls.path.status("proxy")["ports"]
        return [p["name"] for p in ports if p["front_end"] or not (p["back_end"] or {}).get("up")]

    @classmethod
    def fds(cls):
        """Open fds of proxy and VMM."""
        return sum(len(os.listdir(f"/proc/{p.pid}/fd")) for p in (cls.path.vmm, cls.path.proxy))


class Traffic(Vm, hosted.Traffic):
    """Default polling."""


class AlwaysPolling(Vm, hosted.AlwaysPolling):
    """Never asleep."""


class NeverPolling(Vm, hosted.NeverPolling):
    """Woken by kicks only."""


class Echo(Vm, hosted.Echo):
    """The other application."""


class Floods(Vm, hosted.Floods):
    """Kicks and messages without end."""
    waits = "port.p0.messages"  # on a slow machine proxy and VMM are slower than what the port may send


class PollingFloods(Vm, hosted.PollingFloods):
    """The same under the eyes of an appliance that never sleeps."""
    waits = Floods.waits


class Limited(Vm, hosted.Limited):
    """Rate limits."""


class Misbehaviour(Vm, hosted.Backend):
    """What gets as far as the appliance."""

    words = ("switch",)

    def setUp(self):
        super().setUp()
        self.b = self.guest(2)

    def test_broken_ring(self):
        """The appliance rings the err doorbell; the ring heals."""
        hosted.break_and_heal(self, self.guest(0), self.b, 1)

    def test_broken_rings(self):
        """All transmit rings at once."""
        hosted.break_and_heal(self, self.guest(0), self.b, self.pairs)

    def test_session_ended_by_the_appliance(self):
        """A ring number that the device has and the appliance has not: its session ends, and the next one works."""
        for _ in range(3):
            fe = self.connect(0)
            fe.negotiate()
            fe.send("SET_VRING_NUM", state(100, 256))
            fe.wait_closed()
            procs.wait_until(lambda: "p0" not in self.busy(), "p0 is free again", interval=0.01)
        self.proc.wait_line("p0: session ended: SET_VRING_NUM: ", after=self.mark)
        a = self.guest(0)
        for _ in a.pairs:
            a.send(hosted.frame(0, 2, b"fine"))
            self.assertEqual(self.b.recv(), hosted.frame(0, 2, b"fine"))

    def test_front_end_gone_while_polled(self):
        """Its memory turns to zeros under the polling appliance, which lets go of it."""
        for _ in range(3):
            a = hosted.Guest(hosted.FrontEnd.connect(self.socket(0)), self.rings, self.pairs)
            for _ in a.pairs:
                a.send(hosted.frame(0, 2, b"last words"))
                self.assertEqual(self.b.recv(), hosted.frame(0, 2, b"last words"))
            a.close()
            procs.wait_until(lambda: "p0" not in self.busy(), "p0 is free again", interval=0.01)


# A VM each: few that have everything between them.
hosted.also(globals(), Traffic, "Packed", "InOrder", "SmpPackedPairs")
hosted.also(globals(), NeverPolling, "Packed", "SmpPairs")
hosted.also(globals(), Misbehaviour, "Packed", "InOrder", "Pairs", "SmpPackedPairs")


if __name__ == "__main__":
    procs.die_on_signals()
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        print("SKIP scripted: no access to /dev/kvm")
        sys.exit(77)
    unittest.main(verbosity=2)
