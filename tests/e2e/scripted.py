#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
The scripted front-ends of tests/proxy/test_hosted.py against the back-end VM: through the proxy, the device and the appliance.
"""

import os
import pathlib
import select
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
        cls.path = backend.start(cls.session, "vm", hosted.PORTS, app=(*cls.words, f"names={names}"))
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


class Packed(Vm, hosted.Packed):
    """Packed rings."""


class PackedNeverPolling(Vm, hosted.PackedNeverPolling):
    """Packed rings, with kicks only."""


class Echo(Vm, hosted.Echo):
    """The other application."""


class Misbehaviour(Vm, hosted.Backend):
    """What gets as far as the appliance."""

    words = ("switch",)

    def setUp(self):
        super().setUp()
        self.b = self.guest(2)

    def test_broken_ring(self):
        """The appliance rings the err doorbell; the ring heals."""
        a = self.guest(0)
        why = a.tx.damage()
        os.eventfd_write(a.tx.kick_fd, 1)
        self.assertTrue(select.select([a.tx.err_fd], [], [], 10)[0])
        self.proc.wait_line(f"p0: ring 1: stopped, broken: {why}", 5, self.mark)
        a.tx.repair()
        base = a.fe.stop_vring(a.tx)
        a.fe.start_vring(a.tx, base=base)
        a.tx.send_frame(hosted.frame(0, 2, b"healed"))
        self.assertEqual(self.b.rx.recv_frame(), hosted.frame(0, 2, b"healed"))

    def test_session_ended_by_the_appliance(self):
        """A ring number that the device has and the appliance has not: its session ends, and the next one works."""
        for _ in range(3):
            fe = self.connect(0)
            fe.negotiate()
            fe.send("SET_VRING_NUM", state(100, 256))
            fe.wait_closed()
            procs.wait_until(lambda: "p0" not in self.busy(), "p0 is free again", 10, 0.01)
        self.proc.wait_line("p0: session ended: SET_VRING_NUM: ", 5, self.mark)
        a = self.guest(0)
        a.tx.send_frame(hosted.frame(0, 2, b"fine"))
        self.assertEqual(self.b.rx.recv_frame(), hosted.frame(0, 2, b"fine"))

    def test_front_end_gone_while_polled(self):
        """Its memory turns to zeros under the polling appliance, which lets go of it."""
        for _ in range(3):
            a = hosted.Guest(hosted.FrontEnd.connect(self.socket(0)), self.rings)
            a.tx.send_frame(hosted.frame(0, 2, b"last words"))
            self.assertEqual(self.b.rx.recv_frame(), hosted.frame(0, 2, b"last words"))
            a.close()
            procs.wait_until(lambda: "p0" not in self.busy(), "p0 is free again", 10, 0.01)


class PackedMisbehaviour(Misbehaviour):
    """The same with packed rings."""
    rings = hosted.F_RING_PACKED


if __name__ == "__main__":
    procs.die_on_signals()
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        print("SKIP scripted: no access to /dev/kvm")
        sys.exit(77)
    unittest.main(verbosity=2)
