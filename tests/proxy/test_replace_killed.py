#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
The proxy is killed while one VMM takes over from another: after each packet that one of the two has taken since the rings are being
stopped, and some before, whereupon they link to the next proxy in either order. The VMMs are models of the real ones: they read what
a dead proxy has sent to its end, keep a session whose own record they have, and note ring positions in the region as back-ends do. No
ring may ever have two owners, and each start is where the ring was left.
"""

import contextlib
import os
import pathlib
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from lib import procs  # noqa: E402
from proxy import abi, rig  # noqa: E402
from proxy.frontend import STATE, U64, Closed  # noqa: E402
from proxy.test_recover import Base as Recover  # noqa: E402
from proxy.test_replace import Base as Replace  # noqa: E402
from proxy.vmm_link import KEPT, RECORD, Link, Rejected  # noqa: E402

RINGS = 2
SLOT = struct.Struct("<4I")
SLOT_BYTES = 4096
YOUNG_S = 5  # for so long a proxy waits for who may still come (host-proxy/claim.c)


class Rings:
    """Of one port: who serves which, and where it has got to."""

    def __init__(self):
        self.owner = [None] * RINGS
        self.at = [0] * RINGS

    def start(self, vmm, index, at):
        """A VMM starts one, and does some work, of which it keeps note."""
        assert self.owner[index] is None, f"ring {index} of {vmm.who} is {self.owner[index].who}'s"
        assert at == self.at[index], f"{vmm.who} starts ring {index} at {at}, not at {self.at[index]}"
        self.owner[index] = vmm
        self.at[index] += 3
        vmm.note(index, self.at[index])

    def stop(self, vmm, index=None):
        """A VMM stops one, or all that it has."""
        for i in range(RINGS) if index is None else [index]:
            if self.owner[i] is vmm:
                self.owner[i] = None


class Vmm:
    """A VMM's device for one port, and the back-end behind it."""

    def __init__(self, case, link, rings, who, replaces):
        self.case, self.link, self.rings, self.who, self.replaces = case, link, rings, who, replaces
        self.port = case.name
        self.base = [0] * RINGS
        self.wanted = []        # requests that want an answer, and the front-end is not known to have it
        self.asked = False      # to stop a ring
        self.replaced = False
        self.rejected = False

    def note(self, index, at):
        """In the region."""
        os.pwrite(self.link.inflight_fd, SLOT.pack(1, 16, at, at), index * SLOT_BYTES)

    def end(self):
        """The session ends."""
        self.rings.stop(self)
        self.link.drop_records()
        self.link.session = 0
        self.wanted = []

    def take(self):
        """One packet. False: there is none. Closed: nor will there be."""
        timeout = self.link.sock.gettimeout()
        self.link.sock.setblocking(False)
        try:
            packet = self.link.recv_any()
        except BlockingIOError:
            return False
        finally:
            self.link.sock.settimeout(timeout)
        kind = packet.kind_name
        if packet.session == self.link.session and kind == "RECORD":
            self.link.keep_record(packet)
            return True
        if kind == "SESSION_UP":
            if packet.session != self.link.session:
                self.end()
            self.link.session = packet.session
        elif packet.session == self.link.session and kind == "FRONTEND":
            self.front_end(packet)
        elif packet.session == self.link.session and kind == "ANSWERED":
            self.wanted = [seq for seq in self.wanted if seq > packet.seq]
        elif packet.session == self.link.session and kind == "SESSION_DOWN":
            self.end()
        elif kind == "REPLACED":
            self.end()
            self.link.sock.close()
            self.replaced = True
        elif kind == "SERVING":
            assert self.replaces, "SERVING comes twice"
            self.replaces = False
        packet.close()
        return True

    def front_end(self, packet):
        """A message of the front-end, or of the proxy."""
        self.link.received = packet.seq
        row = abi.FRONTEND[packet.name]
        if row["reply"] not in ("NONE", "ACK") or packet.msg_flags & abi.NEED_REPLY:
            self.wanted.append(packet.seq)
        if packet.name == "SET_INFLIGHT_FD":
            self.link.drop_inflight()
            self.link.inflight_fd = os.dup(packet.fds[0])
        elif packet.name == "SET_VRING_BASE":
            index, at = STATE.unpack(packet.payload)
            self.base[index] = at
        elif packet.name == "SET_VRING_KICK":
            index = U64.unpack(packet.payload)[0] & 0xff
            state, _, _, noted = SLOT.unpack(os.pread(self.link.inflight_fd, SLOT.size, index * SLOT_BYTES))
            self.rings.start(self, index, noted if state else self.base[index])
        try:
            if packet.name == "GET_VRING_BASE":
                self.asked = True
                index = STATE.unpack(packet.payload)[0]
                self.rings.stop(self, index)
                self.link.reply(packet, STATE.pack(index, self.rings.at[index]))
            else:
                self.link.answer(packet)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it stays unanswered

    def proxy_died(self):
        """What it has sent is carried out; then the session is kept, if it can be."""
        try:
            while not self.replaced and self.take():
                pass
            assert self.replaced, "the proxy is there"
        except Closed:
            pass
        self.link.sock.close()
        if (0, 0) not in self.link.records:
            self.end()

    def die(self):
        """The VMM is killed."""
        self.end()
        self.link.close()

    def link_again(self):
        """To the next proxy."""
        old = self.link
        self.link = self.case.keep(Link(self.case.proxy.link))
        self.link.session, self.link.received, self.link.records = old.session, old.received, old.records
        self.link.inflight_fd, old.inflight_fd, old.records = old.inflight_fd, -1, {}
        flags = abi.C["LINK_HELLO_KEPT"] if self.link.session else 0
        flags |= abi.C["LINK_HELLO_REPLACEMENT"] if self.replaces else 0
        self.link.hello(self.port, self.who, flags=flags, session=self.link.session)
        try:
            self.link.expect("WELCOME")
        except Rejected:
            self.rejected = True
            self.end()
            return
        if self.link.session:
            for (kind, index), (data, fds) in self.link.records.items():
                self.link.send_packet("RECORD", RECORD.pack(kind, index, len(data)) + data, session=self.link.session, fds=fds)
            self.link.send_packet("KEPT", KEPT.pack(self.link.received, 0, len(self.wanted), 0), session=self.link.session)
        self.link.back_end_up()
        self.case.proxy.status()
        self.case.linked_at = time.monotonic()


class Base(Recover, Replace):
    """A replacement, packet by packet."""

    ports = 8

    def begin(self, count):
        """Running sessions on so many ports, and their VMM's successor."""
        self.fe, self.old, self.new = [], [], []
        for n in range(count):
            if n:
                self.next_port()
            fe, link, _ = self.running(RINGS)
            link.settle(self.proxy.status)
            old = Vmm(self, link, Rings(), "script", False)
            for index in range(RINGS):
                old.rings.start(old, index, 0)
            self.fe.append(fe)
            self.old.append(old)
        for old in self.old:
            self.name = old.port
            link = self.keep(Link.replacement(self.proxy.link, self.name))
            self.new.append(Vmm(self, link, old.rings, "successor", True))

    def linked(self):
        """Those that are linked."""
        return [vmm for vmm in self.old + self.new if not vmm.replaced and not vmm.rejected and vmm.link.sock.fileno() >= 0]

    def go(self, limit=None):
        """Takes packets, one after the other, up to so many, until no more come; how many there were."""
        taken, idle = 0, 0
        while idle < 2 and taken != limit:
            self.proxy.status()
            idle += 1
            for vmm in self.linked():
                if vmm.take():
                    taken, idle = taken + 1, 0
                    break
        return taken

    @contextlib.contextmanager
    def in_time(self):
        """What is so if all VMMs come while the next proxy waits for them. A machine that is too slow for that is another case."""
        self.linked_at = None
        try:
            yield
        except AssertionError:
            if (self.linked_at or time.monotonic()) - self.killed_at < YOUNG_S:
                raise
            print(f"the VMMs came too late: {self.linked_at - self.killed_at if self.linked_at else '?'} s")

    def kill(self, *vmms):
        """The proxy, and these."""
        self.proxy.status()
        self.killed_at = time.monotonic()
        self.next_proxy()
        for vmm in self.linked():
            if vmm in vmms:
                vmm.die()
            else:
                vmm.proxy_died()

    def works_at(self, vmms):
        """Sessions there, with their rings."""
        for fe, vmm in zip(self.fe, vmms):
            self.assertEqual(vmm.rings.owner, [vmm] * RINGS)
            fe.send("GET_FEATURES")
            self.go()
            self.assertEqual(fe.recv().name, "GET_FEATURES")

    def wait(self, done, what):
        """Go on until that is so: it may take the time in which a VMM may still come."""
        procs.wait_until(lambda: (self.go(), done())[1], what, interval=0.05)


class Midway(Base):
    """All of them live on."""

    def link_all(self, order):
        """Those that are left, in that order."""
        for name in order:
            for vmm in getattr(self, name):
                if not vmm.replaced:
                    vmm.link_again()
            self.go()

    def packets_before(self, count):
        """How many packets there are before a ring is stopped."""
        self.begin(count)
        taken = 0
        while not self.old[0].asked:
            taken += self.go(1)
        self.again()
        return taken

    def whole(self, count, order, first=0, stride=1):
        """A replacement with a kill after each packet, or some; then everything has to be with the new one."""
        prepared = self.packets_before(count)
        points = iter([0, prepared // 2, *range(prepared - 1 + first, 10000, stride)])
        done = False
        while not done:
            after = next(points)
            with self.subTest(ports=count, order=order, after=after):
                self.begin(count)
                done = self.go(after) < after
                self.kill()
                with self.in_time():
                    self.link_all(order)
                    self.works_at(self.new)
                    self.assertFalse([vmm.port for vmm in self.new if vmm.replaces])
                    self.assertFalse([vmm.port for vmm in self.old if not vmm.replaced and not vmm.rejected])
            self.again()

    def test_old_one_first(self):
        self.whole(1, ("old", "new"))

    def test_new_one_first(self):
        self.whole(1, ("new", "old"))

    def test_ports_old_one_first(self):
        self.whole(2, ("old", "new"), 0, 3)

    def test_ports_new_one_first(self):
        self.whole(2, ("new", "old"), 1, 3)


class Alone(Base):
    """One of the two does not come, or late."""

    def until(self, check):
        """As many packets as that takes."""
        while not check():
            self.assertTrue(self.go(1), "the replacement stands still")

    def started(self):
        """The new one has all rings, and is not known to."""
        self.begin(1)
        self.until(lambda: all(owner is self.new[0] for owner in self.old[0].rings.owner))

    def stopped(self):
        """Nobody has any."""
        self.begin(1)
        self.until(lambda: not any(self.old[0].rings.owner))

    def only_old(self):
        """The new one is dead."""
        self.kill(self.new[0])
        self.old[0].link_again()
        self.wait(lambda: self.old[0].rings.owner[RINGS - 1], "the old VMM has its rings back")
        self.works_at(self.old)

    def test_new_one_dies_too_before(self):
        self.begin(1)
        self.only_old()

    def test_new_one_dies_too_while_rings_are_stopped(self):
        self.stopped()
        self.only_old()

    def test_new_one_dies_too_when_rings_have_started(self):
        self.started()
        self.only_old()

    def test_old_one_dies_too_when_rings_have_started(self):
        self.started()
        self.kill(self.old[0])
        self.new[0].link_again()
        self.go()
        self.works_at(self.new)

    def test_old_one_is_late(self):
        """Then it has lost its port, and the session."""
        self.begin(1)
        self.kill()
        self.new[0].link_again()
        self.wait(lambda: not self.new[0].replaces, "the new VMM is told that it serves")
        self.old[0].link_again()
        self.assertTrue(self.old[0].rejected)
        self.fe[0].wait_closed()
        fe = self.connect()
        self.go()
        fe.send("GET_FEATURES")
        self.go()
        self.assertEqual(fe.recv().name, "GET_FEATURES")

    def test_front_end_that_comes_between(self):
        """It waits, as nobody knows yet whether there is another one."""
        for order in ("old", "new"), ("new", "old"):
            self.stopped()
            self.kill()
            with self.in_time():
                getattr(self, order[0])[0].link_again()
                second = self.connect()
                self.go()
                getattr(self, order[1])[0].link_again()
                self.go()
                self.assertEqual(self.proxy.port(self.i)["refused"], 1)
                self.assertEqual(second.wait_closed(), [])
                self.works_at(self.new)
            self.again()


del Recover, Replace  # imported as bases only

if __name__ == "__main__":
    rig.main()
