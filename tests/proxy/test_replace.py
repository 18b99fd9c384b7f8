#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""VMMs that take a port over from another."""

import os
import pathlib
import select
import socket
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from proxy import abi, rig  # noqa: E402
from proxy.frontend import STATE  # noqa: E402
from proxy.rig import state  # noqa: E402
from proxy.test_survival import FEATURES, NEGOTIATION, RING, of_rings  # noqa: E402
from proxy.test_survival import Case as Survival  # noqa: E402
from proxy.vmm_link import Link, Rejected  # noqa: E402

ASK = "GET_FEATURES"
WAIT = 0.1  # seconds: for an old VMM to stop its rings, for other sessions
REPLAY = [*NEGOTIATION, "SET_OWNER", "SET_FEATURES", "SET_MEM_TABLE", "SET_INFLIGHT_FD"]


def of_another_process(path, number):
    """So many sockets that another process has connected."""
    socks = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(number)]
    pid = os.fork()
    if not pid:
        for sock in socks:
            sock.connect(str(path))
        os._exit(0)
    os.waitpid(pid, 0)
    return socks


class Base(Survival):
    """The old one stops, the new one goes on."""

    ports = 64

    def successor(self, patient=True, **kw):
        """The VMM that is to take over."""
        link = self.keep(Link.replacement(self.proxy.link, self.name, **kw))
        link.patient = patient
        return link

    @staticmethod
    def preparation(rings):
        """What the new one is told while the old one serves on."""
        return [*REPLAY, *RING[:-1] * rings, ASK]

    def prepare(self, new, rings=1):
        """The new one has all but the start of the rings."""
        new.replay(*self.preparation(rings))

    def stop_rings(self, old, *bases):
        """The old back-end stops its rings there: first those that it reads, all at once, then the others."""
        for parity in (1, 0):
            of = [i for i in range(len(bases)) if i % 2 == parity]
            packets = [old.message("GET_VRING_BASE") for _ in of]
            for i, packet in zip(of, packets):
                self.assertEqual(STATE.unpack(packet.payload)[0], i)
                old.reply(packet, STATE.pack(i, bases[i]))

    def start(self, new, *bases):
        """They start there at the new one."""
        got = [STATE.unpack(new.serve("SET_VRING_BASE").payload) for _ in bases]
        self.assertEqual(got, list(enumerate(bases)))
        order = [*range(0, len(bases), 2), *range(1, len(bases), 2)]
        self.assertEqual([new.serve(RING[-1]).payload[0] for _ in bases], order)
        new.serve(ASK)

    def move(self, old, new, *bases):
        """All of it."""
        self.prepare(new, len(bases))
        self.stop_rings(old, *bases)
        self.start(new, *bases)
        new.expect("SERVING")

    def replaced(self, old):
        """The old VMM is let go."""
        old.expect("REPLACED")
        old.close()
        self.assertIsNone(self.proxy.port(self.i)["next_back_end"])


class Replacement(Base):
    """One port."""

    def test_running_session(self):
        fe, old, _ = self.running(2)
        new = self.successor(up=False)
        self.works(fe, old)
        new.back_end_up()
        self.move(old, new, 11, 22)
        self.replaced(old)
        self.works(fe, new)
        self.assertEqual(self.proxy.port(self.i)["back_end"]["who"], "successor")

    def test_odd_rings(self):
        fe, old, memory = self.running(3)
        self.start_ring(fe, old, memory, 3)
        new = self.successor()
        self.move(old, new, 1, 2, 3, 4)
        self.replaced(old)
        self.works(fe, new)

    def test_positions_come_from_the_answers(self):
        # Slots of rings that run stay; those that were stopped are zeroed, whatever the old one notes after its answer.
        fe, old, _ = self.running()
        note = struct.pack("<4I", 1, 16, 9, 9)
        os.pwrite(old.inflight_fd, note, 0)
        new = self.successor()
        new.replay(*REPLAY[:-1])
        packet = new.message("SET_INFLIGHT_FD")
        self.assertEqual(os.pread(packet.fds[0], 16, 0), note)
        for name in [*RING[:-1], ASK]:
            new.serve(name)
        self.stop_rings(old, 5)
        self.assertEqual(STATE.unpack(new.serve("SET_VRING_BASE").payload), (0, 5))
        self.assertEqual(os.pread(packet.fds[0], 64, 0), bytes(64))
        packet.close()
        for name in [RING[-1], ASK]:
            new.serve(name)
        new.expect("SERVING")
        self.works(fe, new)

    def test_front_end_is_not_read_meanwhile(self):
        fe, old, _ = self.running()
        new = self.successor()
        self.assertEqual(self.proxy.port(self.i)["state"], "moving")
        fe.send("GET_FEATURES")
        self.prepare(new)
        packet = old.message("GET_VRING_BASE")
        self.assertEqual(self.proxy.port(self.i)["state"], "stopping")
        old.reply(packet, STATE.pack(0, 1))
        self.start(new, 1)
        new.expect("SERVING")
        new.serve("GET_FEATURES")
        self.assertEqual(fe.recv().name, "GET_FEATURES")

    def reset(self, rings=2):
        """A front-end has reset its device, and not asked where the rings have stopped."""
        fe, old, _ = self.running(rings)
        fe.send("SET_STATUS", bytes(8))
        old.message("SET_STATUS")
        old.serve("GET_FEATURES")
        self.proxy.status()
        return fe, old

    def asks(self, fe, link, *bases):
        """The front-end asks now, and a good back-end says what it was told."""
        for i, base in enumerate(bases):
            fe.send("GET_VRING_BASE", state(i, 0))
            link.reply(link.message("GET_VRING_BASE"), STATE.pack(i, base))
            self.assertEqual(STATE.unpack(fe.recv().payload), (i, base))
        self.works(fe, link)

    def test_rings_that_a_reset_has_stopped(self):
        # The new one is told where, and does not start them.
        fe, old = self.reset()
        new = self.successor()
        new.replay(*REPLAY[:-1])
        new.inflight_fd = new.message("SET_INFLIGHT_FD").fds[0]
        for name in [*RING[:-1] * 2, ASK]:
            new.serve(name)
        os.pwrite(old.inflight_fd, struct.pack("<4I", 1, 16, 9, 9), 0)
        self.stop_rings(old, 11, 22)
        got = [STATE.unpack(new.serve("SET_VRING_BASE").payload) for _ in range(2)]
        self.assertEqual(got, [(0, 11), (1, 22)])
        self.assertEqual(os.pread(new.inflight_fd, 64, 0), bytes(64))
        new.serve(ASK)
        new.expect("SERVING")
        self.replaced(old)
        self.asks(fe, new, 11, 22)

    def test_rings_that_a_reset_has_stopped_and_the_old_one_dies(self):
        # Where the first one is, is in the region.
        fe, old = self.reset()
        os.pwrite(old.inflight_fd, struct.pack("<4I", 1, 16, 9, 9), 0)
        new = self.successor()
        self.prepare(new, 2)
        old.reply(old.message("GET_VRING_BASE"), STATE.pack(1, 22))
        old.message("GET_VRING_BASE")
        old.close()
        self.assertRegex(new.session_down(), "its VMM's link ended")
        new.replay(*REPLAY[:-1])
        new.inflight_fd = new.message("SET_INFLIGHT_FD").fds[0]
        self.assertEqual(struct.unpack("<4I", os.pread(new.inflight_fd, 16, 0)), (1, 16, 9, 9))
        got = [new.serve(name) for name in RING[:-1] * 2]
        self.assertEqual([STATE.unpack(packet.payload) for packet in got if packet.name == "SET_VRING_BASE"],
                         [(0, 0), (1, 22)])
        new.expect("SERVING")
        self.asks(fe, new, 11, 22)

    def test_rings_that_a_reset_has_stopped_and_the_new_one_dies(self):
        for stop in range(4):
            fe, old = self.reset()
            new = self.successor()
            self.prepare(new, 2)
            self.stop_rings(old, 11, 22)
            for name in ["SET_VRING_BASE", "SET_VRING_BASE", ASK][:stop]:
                new.serve(name)
            if stop < 3:
                new.close()
                self.assertRegex(old.session_down(), "its VMM's link ended|will not")
                got = old.replay(*REPLAY, *RING[:-1] * 2)
                self.assertEqual([STATE.unpack(packet.payload) for packet in got if packet.name == "SET_VRING_BASE"],
                                 [(0, 11), (1, 22)])
                self.wait_up()
            else:
                new.expect("SERVING")
                old = new
            self.asks(fe, old, 11, 22)
            self.again()

    def test_unanswered_request_first(self):
        fe, old, _ = self.running()
        fe.send("GET_FEATURES")
        request = old.message("GET_FEATURES")
        new = self.successor()
        new.session_up()
        self.assertEqual(self.proxy.port(self.i)["state"], "moving")
        old.reply_u64(request, 1)
        self.assertEqual(fe.recv().u64, 1)
        for name in self.preparation(1):
            new.serve(name)
        self.stop_rings(old, 3)
        self.start(new, 3)
        new.expect("SERVING")

    def test_no_session(self):
        old = self.open_link()
        new = self.successor()
        new.expect("SERVING")
        self.replaced(old)
        fe = self.connect()
        new.session_up()
        self.works(fe, new)

    def test_session_without_running_rings(self):
        fe, old, _ = self.with_memory()
        new = self.successor()
        self.move(old, new)
        self.replaced(old)
        self.works(fe, new)

    def test_nobody_to_replace(self):
        new = self.successor()
        new.expect("SERVING")
        fe = self.connect()
        new.session_up()
        self.works(fe, new)

    def test_back_end_is_away(self):
        fe, old, _ = self.running()
        self.lose(old)
        new = self.successor()
        new.replay(*REPLAY, *RING)
        new.expect("SERVING")
        self.works(fe, new)

    def test_silent(self):
        fe, old, _ = self.running(2)
        new = self.successor(patient=False)
        self.prepare(new, 2)
        old.reply(old.message("GET_VRING_BASE"), STATE.pack(1, 9))
        new.expect("SILENT")
        # It is ended; the ring that it did not stop goes on where the region says.
        old.close()
        self.assertRegex(new.session_down(), "its VMM's link ended")
        got = new.replay(*REPLAY, *of_rings(2))
        self.assertEqual([STATE.unpack(packet.payload) for packet in got if packet.name == "SET_VRING_BASE"],
                         [(0, 0), (1, 9)])
        new.expect("SERVING")
        self.works(fe, new)

    def test_late(self):
        fe, old, _ = self.running()
        new = self.successor(patient=False)
        self.prepare(new)
        packet = old.message("GET_VRING_BASE")
        new.expect("SILENT")
        old.reply(packet, STATE.pack(0, 9))
        self.start(new, 9)
        new.expect("SERVING")
        self.replaced(old)

    def test_old_one_dies_while_the_new_one_is_told(self):
        fe, old, _ = self.running()
        new = self.successor()
        new.replay(*REPLAY)
        old.close()
        packet = new.recv()
        while packet.kind_name != "SESSION_DOWN":
            packet.close()
            packet = new.recv()
        new.replay(*REPLAY, *RING)
        new.expect("SERVING")
        self.works(fe, new)

    def test_successor_dies_in_the_preparation(self):
        names = self.preparation(2)
        for stop in range(0, len(names), 4):
            fe, old, _ = self.running(2)
            new = self.successor()
            new.replay(*names[:stop])
            new.close()
            # Nothing has happened.
            self.works(fe, old)
            old.settle(self.proxy.status)
            self.again()

    def test_successor_dies_while_rings_stop(self):
        fe, old, _ = self.running(2)
        new = self.successor()
        self.prepare(new, 2)
        old.reply(old.message("GET_VRING_BASE"), STATE.pack(1, 9))
        old.message("GET_VRING_BASE")
        new.close()
        self.assertEqual(old.session_down(), "the VMM that was to take over will not")
        got = old.replay(*REPLAY, *of_rings(2))
        self.assertEqual(STATE.unpack(got[14].payload), (1, 9))
        self.wait_up()
        self.works(fe, old)

    def test_successor_dies_in_the_start(self):
        names = ["SET_VRING_BASE"] * 2 + RING[-1:] * 2 + [ASK]
        for stop in range(len(names)):
            fe, old, _ = self.running(2)
            new = self.successor()
            self.prepare(new, 2)
            self.stop_rings(old, 1, 2)
            for name in names[:stop]:
                new.serve(name)
            new.close()
            self.assertRegex(old.session_down(), "its VMM's link ended|will not")
            old.replay(*REPLAY, *of_rings(2))
            self.wait_up()
            self.works(fe, old)
            self.assertEqual(self.proxy.port(self.i)["back_end"]["who"], "script")
            self.again()

    def started(self):
        """The new one has all rings, and is to say so."""
        fe, old, _ = self.running(2)
        new = self.successor()
        self.prepare(new, 2)
        self.stop_rings(old, 1, 2)
        for name in ["SET_VRING_BASE"] * 2 + RING[-1:] * 2:
            new.serve(name)
        return fe, old, new

    def test_successor_fails_in_the_start(self):
        for fail in (lambda li, p: li.reply(p, b""), lambda li, p: li.send_text("RESULT", "no", p.seq),
                     lambda li, p: li.send_text("SESSION_DOWN", "no"), lambda li, p: li.send_packet("BACKEND_LOST"),
                     lambda li, p: li.send_packet("BACKEND_DOWN")):
            fe, old, new = self.started()
            fail(new, new.message(ASK))
            old.session_down()
            old.replay(*REPLAY, *of_rings(2))
            self.wait_up()
            self.works(fe, old)
            if self.proxy.port(self.i)["back_ends_lost"] == 0:  # it has not said so itself
                new.session_down()
            new.settle(self.proxy.status)
            self.again()

    def test_successor_fails_in_the_start_without_positions(self):
        for fail in (lambda li, p: li.close(), lambda li, p: li.reply(p, b""), lambda li, p: li.send_packet("BACKEND_LOST")):
            fe, old = self.keeps_none()
            new = self.successor(protocol=abi.CARRIED)
            new.replay(*NEGOTIATION, "SET_MEM_TABLE", *RING[:-1], ASK, protocol=abi.CARRIED)
            self.stop_rings(old, 7)
            for name in ("SET_VRING_BASE", RING[-1]):
                new.serve(name)
            fail(new, new.message(ASK))
            # Nobody knows where the ring is by now.
            fe.wait_closed()
            old.session_down()
            fe = self.connect()
            old.session_up()
            self.serve(fe, old, "GET_FEATURES")
            self.again()

    def test_successor_fails_in_the_start_and_the_old_one_dies(self):
        for fail in (lambda li, p: li.reply(p, b""), lambda li, p: li.send_packet("BACKEND_DOWN")):
            fe, old, new = self.started()
            packet = new.message(ASK)
            with self.proxy.proc.stopped():  # it sees both at once
                fail(new, packet)
                old.close()
            fe.wait_closed()
            self.assertRegex(self.proxy.port(self.i)["last_end"], "back-end: .*, and the old one is gone")
            self.again()

    def test_successor_offers_less(self):
        for kw, pattern in (({"features": 0}, "lacks features"), ({"protocol": 0}, "lacks features 0, protocol")):
            fe, old, _ = self.running()
            new = self.successor()
            new.replay(*NEGOTIATION[:2], **kw)
            self.assertEqual(new.session_down(), "the VMM that was to take over will not")
            self.proxy.proc.wait_line(f"port {self.name}: successor cannot take over: .*{pattern}", after=self.mark)
            self.works(fe, old)
            # And is not tried again.
            new.settle(self.proxy.status)
            self.again()

    def test_successor_answers_wrong(self):
        for reply in (lambda li, p: li.reply(p, b""), lambda li, p: li.reply_u64(p, 0, request=2),
                      lambda li, p: li.send_text("RESULT", "no", p.seq), lambda li, p: li.send_text("SESSION_DOWN", "no"),
                      lambda li, p: li.send_packet("BACKEND_LOST"), lambda li, p: li.send_packet("BACKEND_DOWN")):
            fe, old, _ = self.running()
            new = self.successor()
            new.session_up()
            reply(new, new.message("GET_FEATURES"))
            self.wait_up()
            self.works(fe, old)
            self.again()

    def test_front_end_leaves_meanwhile(self):
        fe, old, _ = self.running()
        new = self.successor()
        self.prepare(new)
        old.message("GET_VRING_BASE")
        fe.close()
        self.assertRegex(old.session_down(), "closed its connection")
        self.assertRegex(new.session_down(), "closed its connection")
        new.expect("SERVING")
        self.replaced(old)

    def test_back_end_goes_down_meanwhile(self):
        fe, old, _ = self.running()
        new = self.successor()
        self.prepare(new)
        old.message("GET_VRING_BASE")
        old.back_end_down()
        fe.wait_closed()
        self.assertRegex(new.session_down(), "the back-end went down")
        new.expect("SERVING")
        self.replaced(old)

    def test_wrong_answers(self):
        for reply, pattern in ((lambda li, p: li.reply(p, STATE.pack(1, 0)), rig.rule("INDEX")),
                               (lambda li, p: li.reply(p, b""), rig.rule("SIZE")),
                               (lambda li, p: li.reply_u64(p, 0, request=1), rig.rule("REPLY"))):
            fe, old, _ = self.running()
            self.prepare(self.successor())
            reply(old, old.message("GET_VRING_BASE"))
            self.assertRegex(old.wait_closed_session(), f"back-end: reply to .*{pattern}")
            fe.wait_closed()
            self.again()

    def test_one_at_a_time(self):
        self.running()
        self.successor(up=False)
        with self.assertRaisesRegex(Rejected, "has a replacement already"):
            self.successor(up=False)
        with self.assertRaisesRegex(Rejected, "has a replacement already"):
            self.open_link()

    def test_old_one_that_stays(self):
        fe, old, _ = self.running()
        new = self.successor()
        self.move(old, new, 1)
        old.expect("REPLACED")
        old.wait_closed()  # after a second
        self.works(fe, new)
        # And once more.
        newer = self.successor()
        self.move(new, newer, 1)
        self.works(fe, newer)

    def test_many(self):
        fe, old, _ = self.running(2)
        before = self.proxy.settled_fds()
        for n in range(50):
            new = self.successor()
            self.move(old, new, n, n)
            self.replaced(old)
            old = new
        self.assertEqual(STATE.unpack(self.serve(fe, old, "GET_VRING_BASE", state(0, 0)).payload)[0], 0)
        fe.send("SET_VRING_KICK", (0).to_bytes(8, "little"), [self.rings[0].kick_fd])
        old.serve("SET_VRING_KICK")
        old.settle(self.proxy.status)
        self.assertEqual(self.proxy.settled_fds(), before)

    def test_kept_session_of_a_replacement(self):
        self.open_link()
        link = self.keep(Link(self.proxy.link))
        link.hello(self.name, flags=abi.C["LINK_HELLO_REPLACEMENT"] | abi.C["LINK_HELLO_KEPT"], session=9)
        link.expect("WELCOME")
        link.session = 9
        link.send_packet("KEPT", bytes(16), session=9)
        self.assertRegex(link.session_down(), "the port is another VMM's")


class Group(Base):
    """Two ports of one VMM."""

    def begin(self, up=True, successors=2, socks=None):
        """Running sessions; the next VMM is linked, by these sockets if given."""
        self.of, self.fe, self.old, self.new = [], [], [], []
        for n in range(2):
            if n:
                self.next_port()
            fe, old, _ = self.running(2)
            self.of.append((self.i, self.name))
            self.fe.append(fe)
            self.old.append(old)
        for n in range(successors):
            self.at(n)
            self.new.append(self.successor(up=False, sock=socks and socks[n]))
        for new in self.new if up else ():
            new.back_end_up()

    def at(self, n):
        """Port n is the current one."""
        self.i, self.name = self.of[n]

    def quiet(self, link):
        """Nothing comes there."""
        link.settle(self.proxy.status)

    def stop_one(self, n, index):
        """The old one stops a ring."""
        packet = self.old[n].message("GET_VRING_BASE")
        self.assertEqual(STATE.unpack(packet.payload)[0], index)
        self.old[n].reply(packet, STATE.pack(index, 10 + index))

    def start_receiver(self, n):
        """Positions, and the first of the two rings."""
        self.assertEqual([STATE.unpack(self.new[n].serve("SET_VRING_BASE").payload) for _ in range(2)], [(0, 10), (1, 11)])
        self.kick(n, 0)

    def kick(self, n, index):
        """The new one starts a ring."""
        self.assertEqual(self.new[n].serve(RING[-1]).payload[0], index)

    def works_at(self, links):
        """Both ports."""
        for n, link in enumerate(links):
            self.at(n)
            self.wait_up()
            self.works(self.fe[n], link)

    def test_step_by_step(self):
        self.begin(up=False)
        self.new[0].back_end_up()
        self.quiet(self.new[0])
        self.works_at(self.old)
        self.new[1].back_end_up()
        for n in range(2):
            self.quiet(self.old[n])
            self.prepare(self.new[n], 2)
        for index in (1, 0):
            self.stop_one(0, index)
            self.quiet(self.old[0])
            self.stop_one(1, index)
        for n in range(2):
            self.start_receiver(n)
        for new in self.new:
            new.serve(ASK)
        self.kick(0, 1)
        self.kick(1, 1)
        self.new[0].serve(ASK)
        self.quiet(self.new[0])
        self.quiet(self.old[0])
        self.new[1].serve(ASK)
        for n in range(2):
            self.new[n].expect("SERVING")
            self.old[n].expect("REPLACED")
        self.works_at(self.new)

    def stop_all(self):
        """All is ready at the new VMM, all rings have stopped at the old one, the receivers' start is on its way."""
        for new in self.new:
            self.prepare(new, 2)
        for index in (1, 0):
            for n in range(2):
                self.stop_one(n, index)
        for n in range(2):
            self.start_receiver(n)

    def test_receiver_starts_late(self):
        # However slow the machine is: nothing is sent to a port that has stopped here and not started there.
        self.begin()
        self.stop_all()
        self.new[0].serve(ASK)
        self.assertEqual(select.select([self.new[0].sock], [], [], 3 * WAIT)[0], [])
        self.new[1].serve(ASK)
        for n in range(2):
            self.kick(n, 1)
        for new in self.new:
            new.serve(ASK)
        for new in self.new:
            new.expect("SERVING")
        self.works_at(self.new)

    def test_receiver_ends_instead(self):
        self.begin()
        self.stop_all()
        self.new[0].serve(ASK)
        self.fe[1].close()
        self.kick(0, 1)
        self.new[0].serve(ASK)
        self.new[0].expect("SERVING")
        self.works_at(self.new[:1])

    def test_each_half_has_its_time(self):
        # Port 0 has stopped its first ring when the time is over.
        self.begin()
        for new in self.new:
            self.prepare(new, 2)
            new.patient = False
        self.stop_one(0, 1)
        packet = self.old[1].message("GET_VRING_BASE")
        self.new[1].expect("SILENT")
        self.old[1].reply(packet, STATE.pack(1, 11))
        for old in self.old:
            old.message("GET_VRING_BASE")
        self.new[0].expect("SILENT")

    def returned(self):
        """Both are with the old VMM, whose successor has one link left."""
        for n in range(2):
            self.old[n].session_down()
            self.old[n].session_up()
        for old in self.old:
            for name in [*REPLAY, *RING[:-1] * 2, RING[-1]]:
                old.serve(name)
        for old in self.old:
            old.serve(ASK)
        for old in self.old:
            old.serve(RING[-1])
        self.works_at(self.old)
        self.left_out()

    def left_out(self):
        """The other one is told, and not tried again."""
        packet = self.new[0].recv()
        while packet.kind_name != "SESSION_DOWN":
            packet.close()
            packet = self.new[0].recv()
        self.quiet(self.new[0])

    def test_one_link_dies_in_the_preparation(self):
        for stop in (0, 3, 10):
            self.begin()
            self.prepare(self.new[0], 2)
            self.new[1].replay(*self.preparation(2)[:stop])
            self.new[1].close()
            self.works_at(self.old)
            self.left_out()
            self.again()

    def test_one_link_dies_while_rings_stop(self):
        for stops in ([], [(0, 1)], [(0, 1), (1, 1), (1, 0)]):
            self.begin()
            for new in self.new:
                self.prepare(new, 2)
            for n, index in stops:
                self.stop_one(n, index)
            for n in range(2):
                if (n, 1) not in stops:
                    self.old[n].message("GET_VRING_BASE")
            if len(stops) == 3:
                self.old[0].message("GET_VRING_BASE")
            self.new[1].close()
            self.returned()
            self.again()

    def test_one_link_dies_in_the_start(self):
        for stop in range(3):
            self.begin()
            self.stop_all()
            for n in range(2 if stop else 0):
                self.new[n].serve(ASK)
            if stop == 2:
                self.kick(0, 1)
                self.new[0].serve(ASK)
            self.new[1].close()
            self.returned()
            self.again()

    def test_one_session_cannot_go(self):
        self.begin()
        self.prepare(self.new[0], 2)
        self.new[1].replay(*NEGOTIATION[:2], features=0)
        self.works_at(self.old)
        for n in range(2):
            self.assertEqual(self.new[n].session_down(), "the VMM that was to take over will not")
            self.quiet(self.new[n])

    def test_old_one_dies_while_rings_stop(self):
        self.begin()
        for new in self.new:
            self.prepare(new, 2)
        self.stop_one(0, 1)
        for old in self.old:
            old.close()
        for new in self.new:
            new.session_down()
            new.replay(*REPLAY, *RING[:-1] * 2, RING[-1])
        for new in self.new:
            new.serve(ASK)
        for n in range(2):
            self.kick(n, 1)
            self.new[n].expect("SERVING")
        self.works_at(self.new)

    def test_one_port_of_the_old_one_dies_while_rings_stop(self):
        self.begin(socks=of_another_process(self.proxy.link, 2))
        for new in self.new:
            self.prepare(new, 2)
        self.stop_one(0, 1)
        self.old[1].close()
        self.stop_one(0, 0)
        self.start_receiver(0)
        # It waits for the other one, whose session comes anew.
        packet = self.new[0].message(ASK)
        self.new[1].session_down()
        self.new[1].replay(*REPLAY, *RING[:-1] * 2, RING[-1])
        self.new[0].reply_u64(packet, FEATURES)
        self.new[1].serve(ASK)
        for n in range(2):
            self.kick(n, 1)
        self.new[0].serve(ASK)
        for new in self.new:
            new.expect("SERVING")
        self.replaced_at(0)
        self.works_at(self.new)

    def test_one_that_comes_anew_is_late(self):
        # Its replay may take long: the other one waits as after any end of a VMM.
        self.begin(socks=of_another_process(self.proxy.link, 2))
        for new in self.new:
            self.prepare(new, 2)
        self.old[1].close()
        for index in (1, 0):
            self.stop_one(0, index)
        self.start_receiver(0)
        self.new[0].serve(ASK)
        self.kick(0, 1)
        self.new[1].session_down()
        self.new[1].replay(*REPLAY, *RING[:-1] * 2, *RING[-1:] * 2)
        self.new[0].serve(ASK)
        for new in self.new:
            new.expect("SERVING")
        self.works_at(self.new)

    def replaced_at(self, n):
        """The old VMM is let go there."""
        self.at(n)
        self.replaced(self.old[n])

    def test_fewer_ports(self):
        self.begin(successors=1)
        self.at(0)
        self.move(self.old[0], self.new[0], 3, 4)
        self.replaced(self.old[0])
        self.proxy.proc.wait_line(f"port {self.of[1][1]}: stays with script: pid {os.getpid()} takes over others")
        self.works_at([self.new[0], self.old[1]])

    def test_front_end_that_comes_meanwhile(self):
        self.begin(up=False)
        self.at(1)
        self.fe[1].close()
        self.old[1].session_down()
        for new in self.new:
            new.back_end_up()
        self.new[0].session_up()
        fe = self.connect()
        self.assertEqual(self.proxy.port(self.i)["state"], "held")
        for name in self.preparation(2):
            self.new[0].serve(name)
        self.stop_rings(self.old[0], 5, 6)
        self.start(self.new[0], 5, 6)
        for n in range(2):
            self.new[n].expect("SERVING")
            self.old[n].expect("REPLACED")
        self.new[1].session_up()
        self.works(fe, self.new[1])


del Survival  # imported as a base only

if __name__ == "__main__":
    rig.main()
