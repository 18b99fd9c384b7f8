#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Back-ends that die under a session: answers from the record, the replay to the next, and what ends a session after all."""

import os
import pathlib
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from proxy import abi, rig  # noqa: E402
from proxy.frontend import ADDR, REGION, STATE, U64, Vring  # noqa: E402
from proxy.rig import state, u64  # noqa: E402
from lib import procs  # noqa: E402

REPLY = abi.VERSION | abi.REPLY
SLOT = 4096  # bytes, abi/inflight.h
FEATURES = abi.F_VERSION_1 | abi.F_PROTOCOL_FEATURES
INFLIGHT = abi.pf("INFLIGHT_SHMFD")
NEGOTIATION = ["GET_FEATURES", "GET_PROTOCOL_FEATURES", "SET_PROTOCOL_FEATURES"]
RING = ["SET_VRING_NUM", "SET_VRING_BASE", "SET_VRING_ADDR", "SET_VRING_CALL", "SET_VRING_ERR", "SET_VRING_ENABLE",
        "SET_VRING_KICK"]


def of_rings(number):
    """The messages of a replay for running rings: all but the starts first."""
    return RING[:-1] * number + RING[-1:] * number


def same_file(a, b):
    """Both fds are of one file."""
    a, b = os.fstat(a), os.fstat(b)
    return (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)


def same_eventfd(a, b):
    """A signal to one is read from the other."""
    os.eventfd_write(a, 1)
    return os.eventfd_read(b) == 1


class Case(rig.Case):
    """A session with everything, and a back-end that goes."""

    def start_ring(self, fe, link, memory, index, base=0):
        """One running ring."""
        ring = self.keep(Vring(memory, index, 16, 64))
        self.serve(fe, link, "SET_VRING_NUM", state(index, ring.size))
        self.serve(fe, link, "SET_VRING_BASE", state(index, base))
        self.serve(fe, link, "SET_VRING_ADDR", ring.addr_payload())
        self.serve(fe, link, "SET_VRING_CALL", u64(index), [ring.call_fd])
        self.serve(fe, link, "SET_VRING_ERR", u64(index), [ring.err_fd])
        self.serve(fe, link, "SET_VRING_ENABLE", state(index, 1))
        self.serve(fe, link, "SET_VRING_KICK", u64(index), [ring.kick_fd])
        return ring

    def running(self, rings=1, **kw):
        """A pair with memory and running rings."""
        fe, link, memory = self.with_memory(**kw)
        self.rings = [self.start_ring(fe, link, memory, i) for i in range(rings)]
        return fe, link, memory

    def keeps_none(self):
        """A ring at a back-end that notes no position."""
        fe, link = self.pair(protocol=abi.CARRIED)
        self.serve(fe, link, "GET_FEATURES")
        self.serve(fe, link, "GET_PROTOCOL_FEATURES")
        self.assertEqual(U64.unpack(self.serve_packet(fe, link, "SET_PROTOCOL_FEATURES", u64(abi.CARRIED)))[0], abi.CARRIED)
        memory = self.memory()
        self.serve(fe, link, "SET_MEM_TABLE", fe.mem_table_payload([memory]), [memory.fd])
        self.start_ring(fe, link, memory, 0)
        return fe, link

    def serve_packet(self, fe, link, request, payload):
        """The payload as the back-end saw it."""
        fe.send(request, payload)
        return link.message(request).payload

    def wait_state(self, state):
        """Until the port is in that state; its status. (Lines about it are limited to ten a second.)"""
        procs.wait_until(lambda: self.proxy.port(self.i)["state"] == state, f"state {state}", interval=0.005)
        return self.proxy.port(self.i)

    def wait_away(self):
        """The proxy has noticed."""
        self.assertGreater(self.wait_state("away")["front_end"]["away_since_ns"], 0)

    def wait_up(self):
        """The replay is done."""
        self.assertEqual(self.wait_state("up")["front_end"]["away_since_ns"], 0)

    def lose(self, link):
        """The VMM dies."""
        link.close()
        self.wait_away()

    def ends_away(self, fe, pattern):
        """The session ends while no back-end has it."""
        replies = fe.wait_closed()
        self.assertRegex(self.proxy.port(self.i)["last_end"], pattern)
        return replies


class Replay(Case):
    """What the next back-end is told."""

    def test_everything(self):
        fe, link = self.negotiated()
        self.serve(fe, link, "GET_QUEUE_NUM")
        self.serve(fe, link, "NET_SET_MTU", u64(1400))
        need_ack, fe.protocol = fe.protocol, 0
        fe.open_channel()
        fe.protocol = need_ack
        link.serve("SET_BACKEND_REQ_FD")
        memories = [self.memory(guest_address=n << 30) for n in range(2)]
        self.serve(fe, link, "SET_MEM_TABLE", fe.mem_table_payload(memories), [m.fd for m in memories])
        rings = [self.start_ring(fe, link, memories[1], 0, 3), self.start_ring(fe, link, memories[1], 5, 9)]
        self.serve(fe, link, "SET_STATUS", u64(7))
        first, inflight = link.session, os.dup(link.inflight_fd)
        link.close()
        self.wait_away()
        link = self.open_link()
        got = link.replay(*NEGOTIATION, "GET_QUEUE_NUM", "SET_OWNER", "SET_FEATURES", "NET_SET_MTU", "SET_BACKEND_REQ_FD",
                          "SET_MEM_TABLE", "SET_INFLIGHT_FD", *of_rings(2), "SET_STATUS", fds=True)
        by_name = {packet.name: packet for packet in got}
        self.assertNotEqual(link.session, first)
        self.assertEqual(U64.unpack(by_name["SET_PROTOCOL_FEATURES"].payload)[0], abi.CARRIED | INFLIGHT)
        self.assertEqual(U64.unpack(by_name["SET_FEATURES"].payload)[0], FEATURES)
        self.assertEqual(by_name["NET_SET_MTU"].payload, u64(1400))
        self.assertEqual(by_name["SET_STATUS"].payload, u64(7))
        self.assertEqual(by_name["SET_BACKEND_REQ_FD"].fds, [])
        table = by_name["SET_MEM_TABLE"]
        self.assertEqual(STATE.unpack_from(table.payload)[0], 2)
        for n, memory in enumerate(memories):
            self.assertEqual(REGION.unpack_from(table.payload, 8 + 32 * n),
                             (memory.guest_address, memory.size, memory.guest_address, 0))
            self.assertTrue(same_file(table.fds[n], memory.fd))
        self.assertTrue(same_file(by_name["SET_INFLIGHT_FD"].fds[0], inflight))
        os.close(inflight)
        self.check_rings([p for p in got if p.name in RING], rings, (3, 9))
        for packet in got:
            packet.close()
        self.wait_up()
        self.works(fe, link)
        link.request("CONFIG_CHANGE_MSG")
        self.assertEqual(fe.channel.recv().request, abi.BACKEND["CONFIG_CHANGE_MSG"]["id"])
        port = self.proxy.port(self.i)
        self.assertEqual((port["back_ends_lost"], port["replays"], port["sessions"]), (1, 1, 1))
        self.assertEqual(port["front_end"]["replays"], 1)

    def check_rings(self, packets, rings, bases):
        """The seven messages of each; the starts come last."""
        kicks = packets[6 * len(rings):]
        for ring, base in zip(rings, bases):
            num, at, addr, call, err, enable, kick = *packets[:6], kicks.pop(0)
            del packets[:6]
            self.assertEqual(STATE.unpack(num.payload), (ring.index, ring.size))
            self.assertEqual(STATE.unpack(at.payload), (ring.index, base))
            self.assertEqual(ADDR.unpack(addr.payload), (ring.index, 0, ring.desc, ring.used, ring.avail, 0))
            self.assertEqual(STATE.unpack(enable.payload), (ring.index, 1))
            for packet, fd in ((call, ring.call_fd), (err, ring.err_fd), (kick, ring.kick_fd)):
                self.assertEqual(packet.payload, u64(ring.index))
                self.assertTrue(same_eventfd(packet.fds[0], fd))

    def test_nothing_yet(self):
        fe, link = self.pair()
        self.lose(link)
        link = self.open_link()
        link.replay("GET_FEATURES")
        self.wait_up()
        self.works(fe, link)

    def test_rings_without_eventfds(self):
        fe, link, _, ring = self.with_ring()
        for name in ("CALL", "KICK"):
            self.serve(fe, link, f"SET_VRING_{name}", u64(0 | abi.NOFD))
        self.lose(link)
        link = self.open_link()
        got = link.replay(*NEGOTIATION, "SET_OWNER", "SET_FEATURES", "SET_MEM_TABLE", "SET_INFLIGHT_FD", "SET_VRING_ADDR",
                          "SET_VRING_CALL", "SET_VRING_KICK")
        self.assertEqual([packet.payload for packet in got[-2:]], [u64(abi.NOFD)] * 2)
        self.assertEqual(ADDR.unpack(got[-3].payload)[2], ring.desc)
        self.wait_up()

    def test_more_regions_than_a_table_holds(self):
        fe, link = self.negotiated()
        memories = [self.memory(1 << 16, guest_address=n << 20) for n in range(11)]
        for memory in memories:
            self.serve(fe, link, "ADD_MEM_REG", bytes(8) + memory.region(), [memory.fd])
        self.serve(fe, link, "REM_MEM_REG", bytes(8) + memories[3].region())
        del memories[3]
        self.lose(link)
        link = self.open_link()
        got = link.replay(*NEGOTIATION, "SET_OWNER", "SET_FEATURES", *["ADD_MEM_REG"] * 10, "SET_INFLIGHT_FD", fds=True)
        for packet, memory in zip(got[5:], memories):
            self.assertEqual(REGION.unpack_from(packet.payload, 8)[0], memory.guest_address)
            self.assertTrue(same_file(packet.fds[0], memory.fd))
        for packet in got:
            packet.close()
        self.wait_up()

    def test_stopped_ring_is_not_started(self):
        fe, link, _ = self.running(2)
        self.serve(fe, link, "GET_VRING_BASE", state(1, 0))
        self.lose(link)
        link = self.open_link()
        got = link.replay(*NEGOTIATION, "SET_OWNER", "SET_FEATURES", "SET_MEM_TABLE", "SET_INFLIGHT_FD", *RING[:-1] * 2, RING[-1])
        self.assertEqual(STATE.unpack(got[-6].payload), (1, 7))  # as GET_VRING_BASE said
        self.wait_up()

    def test_back_end_lost_and_up_on_the_same_link(self):
        fe, link, _ = self.running()
        link.send_packet("BACKEND_LOST")
        self.wait_away()
        self.assertEqual(self.proxy.port(self.i)["front_end"]["unanswered"], 0)
        link.back_end_up()
        link.replay(*NEGOTIATION, "SET_OWNER", "SET_FEATURES", "SET_MEM_TABLE", "SET_INFLIGHT_FD", *RING)
        self.wait_up()
        self.works(fe, link)

    def test_lost_at_every_message_of_a_replay(self):
        fe, link, _ = self.running(2)
        names = [*NEGOTIATION, "SET_OWNER", "SET_FEATURES", "SET_MEM_TABLE", "SET_INFLIGHT_FD", *of_rings(2)]
        self.lose(link)
        for stop in range(len(names)):
            link = self.open_link()
            link.replay(*names[:stop])
            self.lose(link)
        link = self.open_link()
        link.replay(*names)
        self.wait_up()
        self.works(fe, link)

    def test_front_end_leaves(self):
        fe, link, _ = self.running()
        self.lose(link)
        fe.close()
        self.wait_state("no VMM")
        self.assertEqual(self.proxy.port(self.i)["last_end"], "front-end: closed its connection")
        fe, link, _ = self.running()
        self.lose(link)
        link = self.open_link()
        link.replay("GET_FEATURES")
        fe.close()
        self.assertRegex(link.wait_closed_session(), "closed its connection")

    def test_back_end_down_ends_a_replay(self):
        fe, link, _ = self.running()
        self.lose(link)
        link = self.open_link()
        link.session_up()
        link.back_end_down()
        fe.wait_closed()

    def test_kill_and_replay_many_times(self):
        fe, link, _ = self.running(2)
        names = [*NEGOTIATION, "SET_OWNER", "SET_FEATURES", "SET_MEM_TABLE", "SET_INFLIGHT_FD", *of_rings(2)]
        before = self.proxy.settled_fds()
        for _ in range(200):
            link.close()
            link = self.open_link()
            link.replay(*names)
        self.works(fe, link)
        self.assertEqual(self.proxy.settled_fds(), before)
        self.assertEqual(self.proxy.port(self.i)["replays"], 200)


class Positions(Case):
    """The region in which a back-end notes its positions."""

    REPLAY = [*NEGOTIATION, "SET_OWNER", "SET_FEATURES", "SET_MEM_TABLE", "SET_INFLIGHT_FD"]

    def slots(self, link):
        """The region's slots, as numbers at their beginning."""
        data = os.pread(link.inflight_fd, SLOT * 8, 0)
        return [struct.unpack_from("<I", data, SLOT * i)[0] for i in range(8)]

    def fill(self, link):
        """A back-end notes something for each ring."""
        for i in range(8):
            os.pwrite(link.inflight_fd, struct.pack("<4I", 1, 16, i, i), SLOT * i)

    def next_link(self):
        """Another back-end, that has been told all but the rings."""
        link = self.open_link()
        link.replay(*self.REPLAY[:-1])
        packet = link.message("SET_INFLIGHT_FD")
        link.inflight_fd = packet.fds[0]
        return link

    @staticmethod
    def rings_told(link):
        """The rest of a replay with two rings."""
        return [link.serve(name) for name in of_rings(2)]

    def test_message(self):
        _, link, _ = self.running()
        size, offset, queues, queue_size, _ = struct.unpack("<QQHHI", link.inflight)
        self.assertEqual((size, offset, queues, queue_size), (SLOT * 8, 0, 8, 0))
        with self.assertRaises(PermissionError):
            os.ftruncate(link.inflight_fd, 0)

    def test_front_ends_never_see_it(self):
        fe, link = self.pair()
        self.serve(fe, link, "GET_FEATURES")
        self.assertEqual(self.serve(fe, link, "GET_PROTOCOL_FEATURES").u64, abi.CARRIED)
        fe.send("SET_PROTOCOL_FEATURES", u64(abi.CARRIED | INFLIGHT))
        self.ends(fe, link, "SET_PROTOCOL_FEATURES: ")

    def test_slots_of_running_rings_stay(self):
        fe, link, _ = self.running(3)
        self.serve(fe, link, "GET_VRING_BASE", state(1, 0))
        self.fill(link)
        self.lose(link)
        self.assertEqual(self.slots(self.next_link()), [1, 0, 1, 0, 0, 0, 0, 0])

    def test_stopped_and_lost_with_the_answer(self):
        # The back-end has carried GET_VRING_BASE out, which nobody knows: the next one finds what it noted.
        fe, link, _ = self.running(2)
        fe.send("GET_VRING_BASE", state(1, 0))
        for _ in range(2):
            self.fill(link)
            link.message("GET_VRING_BASE")
            self.lose(link)
            link = self.next_link()
            self.assertEqual(self.slots(link), [1, 1, 0, 0, 0, 0, 0, 0])
            self.rings_told(link)
        link.reply(link.message("GET_VRING_BASE"), STATE.pack(1, 12))
        self.assertEqual(STATE.unpack(fe.recv().payload), (1, 12))
        # Now it is known. What begins next begins where the front-end says, whoever gets to see it.
        self.fill(link)
        fe.send("SET_VRING_BASE", state(1, 3))
        fe.send("SET_VRING_KICK", u64(1), [self.rings[1].kick_fd])
        link.message("SET_VRING_BASE")
        self.assertEqual(self.proxy.port(self.i)["front_end"]["rings"][1]["running"], True)
        self.lose(link)
        link = self.next_link()
        self.assertEqual(self.slots(link), [1, 0, 0, 0, 0, 0, 0, 0])
        self.assertEqual(STATE.unpack(self.rings_told(link)[7].payload), (1, 3))
        # A kick for a ring that runs begins nothing.
        self.fill(link)
        fe.send("SET_VRING_KICK", u64(1), [self.rings[1].kick_fd])
        link.message("SET_VRING_KICK").close()
        self.assertEqual(self.slots(link), [1] * 8)

    def test_reset_and_start_while_away(self):
        # The position of the first run says nothing about the second.
        fe, link, memory = self.running(2)
        self.fill(link)
        self.lose(link)
        fe.send("SET_STATUS", u64(0))
        fe.send("SET_VRING_BASE", state(0, 4))
        fe.send("SET_VRING_KICK", u64(0), [self.rings[0].kick_fd])
        self.assertEqual(fe.call("GET_FEATURES").name, "GET_FEATURES")
        self.assertEqual(self.slots(self.next_link()), [0, 1, 0, 0, 0, 0, 0, 0])

    def reset_unheard(self, name, payload=b""):
        """Two rings, reset, and nobody has asked where they stopped before the VMM dies; then it is asked for the second."""
        fe, link, _ = self.running(2)
        self.fill(link)
        fe.send(name, payload)
        link.message(name)
        link.reply_u64(link.message("GET_FEATURES"), FEATURES)
        fe.send("GET_VRING_BASE", state(1, 0))
        link.message("GET_VRING_BASE")
        self.lose(link)
        self.assertFalse(self.proxy.port(self.i)["front_end"]["rings"][1]["running"])
        return fe

    def asked_again(self, fe, rings=RING[:-1]):
        """The next one finds what was noted, and no ring to start; nor does the one after it. It answers."""
        for last in (False, True):
            link = self.next_link()
            self.assertEqual(self.slots(link), [1, 1, 0, 0, 0, 0, 0, 0])
            for message in rings * 2:
                link.serve(message)
            packet = link.message("GET_VRING_BASE")
            if not last:
                self.lose(link)
        link.reply(packet, STATE.pack(1, 12))
        self.assertEqual(STATE.unpack(fe.recv().payload), (1, 12))
        return link

    def test_reset_and_lost_with_the_position(self):
        # QEMU stops a device so: status 0 first, then it asks where the rings were, and starts them there again.
        for name, payload in (("SET_STATUS", u64(0)), ("RESET_DEVICE", b""), ("RESET_OWNER", b"")):
            fe = self.reset_unheard(name, payload)
            rings = RING[:-1] if name == "SET_STATUS" else RING[:-2]
            link = self.asked_again(fe, rings)
            # The other ring is asked for when there is nobody; what is known already is said at once.
            self.lose(link)
            self.assertEqual(STATE.unpack(fe.call("GET_VRING_BASE", state(1, 0)).payload), (1, 12))
            fe.send("GET_VRING_BASE", state(0, 0))
            link = self.next_link()
            self.assertEqual(self.slots(link), [1, 0, 0, 0, 0, 0, 0, 0])
            got = [STATE.unpack(p.payload) for p in map(link.serve, rings * 2) if p.name == "SET_VRING_BASE"]
            self.assertEqual(got, [(0, 0), (1, 12)])
            link.reply(link.message("GET_VRING_BASE"), STATE.pack(0, 7))
            self.assertEqual(STATE.unpack(fe.recv().payload), (0, 7))
            self.works(fe, link)
            self.again()

    def test_reset_while_away(self):
        fe, link, _ = self.running(2)
        self.fill(link)
        self.lose(link)
        fe.send("SET_STATUS", u64(0))
        fe.send("GET_VRING_BASE", state(1, 0))
        self.works(fe, self.asked_again(fe))

    def test_reset_and_told_where_to_start(self):
        # At the next back-end, which has not run them: what it finds there is void.
        fe = self.reset_unheard("SET_STATUS", u64(0))
        link = self.asked_again(fe)
        self.assertEqual(self.slots(link), [1, 1, 0, 0, 0, 0, 0, 0])
        self.serve(fe, link, "SET_VRING_BASE", state(0, 3))
        self.assertEqual(self.slots(link), [0, 1, 0, 0, 0, 0, 0, 0])
        self.serve(fe, link, "SET_VRING_BASE", state(1, 12))
        self.serve(fe, link, "SET_VRING_KICK", u64(1), [self.rings[1].kick_fd])
        self.assertEqual(self.slots(link), [0] * 8)
        self.lose(link)
        # Known, and a status that would stop what runs by now is not told.
        self.assertEqual(STATE.unpack(fe.call("GET_VRING_BASE", state(0, 0)).payload), (0, 3))
        link = self.next_link()
        for name in [*RING[:-1] * 2, RING[-1]]:
            link.serve(name)
        self.wait_up()
        self.works(fe, link)

    def test_reset_that_may_not_have_been_carried_out(self):
        fe, link, _ = self.running()
        self.fill(link)
        for name, payload in (("SET_STATUS", u64(0)), ("RESET_DEVICE", b""), ("RESET_OWNER", b"")):
            fe.send(name, payload)
            fe.send("SET_VRING_KICK", u64(0), [self.rings[0].kick_fd])
            link.message(name)
            # Nothing is read until the back-end has answered the proxy.
            barrier = link.message("GET_FEATURES")
            self.assertEqual(len(self.proxy.port(self.i)["front_end"]["rings"]), 1)
            self.assertFalse(self.proxy.port(self.i)["front_end"]["rings"][0]["running"])
            link.reply_u64(barrier, FEATURES)
            link.message("SET_VRING_KICK").close()
            self.assertTrue(self.proxy.port(self.i)["front_end"]["rings"][0]["running"])
        self.fill(link)
        fe.send("SET_STATUS", u64(0))
        link.message("SET_STATUS")
        self.proxy.status()
        self.lose(link)
        self.assertEqual(fe.call("GET_FEATURES").u64 & FEATURES, FEATURES)
        link = self.next_link()
        self.assertEqual(self.slots(link), [1, 0, 0, 0, 0, 0, 0, 0])
        # If it is started now, then where the front-end says.
        for name in RING[:-2]:  # RESET_OWNER has disabled it
            link.serve(name)
        self.wait_up()
        self.serve(fe, link, "SET_VRING_KICK", u64(0), [self.rings[0].kick_fd])
        self.assertEqual(self.slots(link), [0] * 8)

    def test_back_end_that_keeps_none(self):
        for reset in (False, True):
            fe, link = self.keeps_none()
            if reset:
                fe.send("SET_STATUS", u64(0))
                link.message("SET_STATUS")
                self.proxy.status()
            link.close()
            self.ends_away(fe, "back-end: .*it kept no ring positions")
            self.again()

    def test_next_back_end_keeps_none(self):
        fe, link, _ = self.running()
        self.lose(link)
        link = self.open_link(protocol=abi.CARRIED)
        link.replay("GET_FEATURES", "GET_PROTOCOL_FEATURES")
        self.assertRegex(link.session_down(), "keeps no ring positions")
        fe.wait_closed()

    def test_rings_started_while_away_need_none(self):
        fe, link, memory = self.with_memory(protocol=abi.CARRIED)
        self.lose(link)
        ring = self.keep(Vring(memory, 0, 16, 64))
        fe.send("SET_VRING_ADDR", ring.addr_payload())
        fe.send("SET_VRING_KICK", u64(0), [ring.kick_fd])
        self.assertEqual(STATE.unpack(fe.call("GET_VRING_BASE", state(0, 0)).payload), (0, 0))
        fe.send("SET_VRING_KICK", u64(0), [ring.kick_fd])
        fe.call("GET_FEATURES")
        link = self.open_link(protocol=abi.CARRIED)
        link.replay(*self.REPLAY[:-1], "SET_VRING_BASE", "SET_VRING_ADDR", "SET_VRING_KICK")
        self.wait_up()


class Answers(Case):
    """What a front-end hears while there is no back-end."""

    def test_from_the_record(self):
        fe, link = self.negotiated()
        for name in ("GET_QUEUE_NUM", "GET_MAX_MEM_SLOTS"):
            self.serve(fe, link, name)
        self.serve(fe, link, "GET_CONFIG", struct.pack("<III", 4, 8, 0) + b"01234567")
        self.lose(link)
        self.assertEqual(fe.get_u64("GET_FEATURES"), FEATURES | 1 << 15)
        self.assertEqual(fe.get_u64("GET_PROTOCOL_FEATURES"), abi.CARRIED)
        self.assertEqual(fe.get_u64("GET_QUEUE_NUM"), 4)
        self.assertEqual(fe.get_u64("GET_MAX_MEM_SLOTS"), 32)
        self.assertEqual(fe.get_u64("GET_STATUS"), 0)
        fe.set_u64("SET_STATUS", 15)
        self.assertEqual(fe.get_u64("GET_STATUS"), 15)
        got = fe.call("GET_CONFIG", struct.pack("<III", 6, 4, 0) + bytes(4)).payload
        self.assertEqual(got, struct.pack("<III", 6, 4, 0) + b"2345")
        memory = self.memory()
        fe.set_mem_table([memory])
        ring = self.keep(Vring(memory, 2, 16, 64))
        fe.start_vring(ring, base=5)
        self.assertEqual(fe.stop_vring(ring), 5)
        fe.set_u64("NET_SET_MTU", 1300)
        link = self.open_link()
        got = link.replay(*NEGOTIATION, "GET_QUEUE_NUM", "SET_OWNER", "SET_FEATURES", "NET_SET_MTU", "SET_MEM_TABLE",
                          "SET_INFLIGHT_FD", *RING[:4], "SET_VRING_ERR", "SET_STATUS")
        self.assertEqual(got[-1].payload, u64(15))
        self.wait_up()
        self.works(fe, link)

    def test_new_front_end(self):
        fe, link = self.negotiated()
        fe.close()
        link.session_down()
        link.close()
        fe = self.connect()
        fe.negotiate()
        self.assertEqual(fe.protocol, abi.CARRIED)
        self.assertEqual(self.proxy.port(self.i)["state"], "away")
        memory = self.memory()
        fe.set_mem_table([memory])
        fe.start_vring(self.keep(Vring(memory, 0, 16, 64)))
        link = self.open_link()
        link.replay(*NEGOTIATION, "SET_OWNER", "SET_FEATURES", "SET_MEM_TABLE", "SET_INFLIGHT_FD", *RING)
        self.wait_up()
        self.works(fe, link)

    def test_wrong_messages_end_it_as_ever(self):
        fe, link = self.negotiated()
        self.lose(link)
        fe.send("SET_VRING_ADDR", bytes(40))
        self.ends_away(fe, "front-end: SET_VRING_ADDR: ")

    def test_unanswered_requests(self):
        fe, link, memory = self.running()
        fe.send("GET_FEATURES")
        fe.send("SET_VRING_NUM", state(0, 32), need_reply=True)
        fe.send("GET_VRING_BASE", state(0, 0))
        for name in ("GET_FEATURES", "SET_VRING_NUM", "GET_VRING_BASE"):
            link.message(name)
        self.lose(link)
        # The first two are answered here; the third by the next back-end, and only once.
        self.assertEqual(fe.recv().u64, FEATURES | 1 << 15)
        reply = fe.recv()
        self.assertEqual((reply.name, reply.u64), ("SET_VRING_NUM", 0))
        link = self.open_link()
        link.replay(*NEGOTIATION, "SET_OWNER", "SET_FEATURES", "SET_MEM_TABLE", "SET_INFLIGHT_FD", *RING)
        link.reply(link.message("GET_VRING_BASE"), STATE.pack(0, 12))
        self.assertEqual(STATE.unpack(fe.recv().payload), (0, 12))
        self.assertFalse(self.proxy.port(self.i)["front_end"]["rings"][0]["running"])
        self.works(fe, link)

    def test_unanswered_change_of_memory(self):
        fe, link = self.negotiated()
        memory = self.memory()
        fe.send("SET_MEM_TABLE", fe.mem_table_payload([memory]), [memory.fd], need_reply=True)
        link.message("SET_MEM_TABLE").close()
        self.lose(link)
        self.assertEqual(fe.recv().u64, 0)
        link = self.open_link()
        link.replay(*NEGOTIATION, "SET_OWNER", "SET_FEATURES", "SET_MEM_TABLE", "SET_INFLIGHT_FD")
        self.wait_up()

    def test_deferred_in_order(self):
        fe, link, _ = self.running()
        self.lose(link)
        fe.send("SEND_RARP", u64(0x1234))
        fe.send("GET_VRING_BASE", state(0, 0))
        fe.send("GET_FEATURES")
        link = self.open_link()
        link.replay(*NEGOTIATION, "SET_OWNER", "SET_FEATURES", "SET_MEM_TABLE", "SET_INFLIGHT_FD", *RING, "SEND_RARP",
                    "GET_VRING_BASE", "GET_FEATURES")
        self.assertEqual([fe.recv().name for _ in range(2)], ["GET_VRING_BASE", "GET_FEATURES"])

    def test_answers_of_the_channel_are_for_who_asked(self):
        fe, link = self.negotiated()
        need_ack, fe.protocol = fe.protocol, 0
        channel = fe.open_channel()
        fe.protocol = need_ack
        link.serve("SET_BACKEND_REQ_FD")
        link.request("CONFIG_CHANGE_MSG", need_reply=True, seq=5)
        request = channel.recv().request
        self.lose(link)
        link = self.open_link()
        link.replay(*NEGOTIATION, "SET_OWNER", "SET_FEATURES", "SET_BACKEND_REQ_FD", "SET_INFLIGHT_FD")
        link.request("CONFIG_CHANGE_MSG", need_reply=True, seq=6)
        channel.recv()
        channel.send(request, u64(0), flags=REPLY)
        channel.send(request, u64(0), flags=REPLY)
        self.assertEqual(link.expect("FRONTEND").seq, 6)
        self.works(fe, link)


class Less(Case):
    """A back-end that offers less than was acknowledged."""

    def less(self, pattern, names, up=None, **kw):
        """The next back-end answers `names` so, and the session ends."""
        fe, link, _ = self.running()
        self.serve(fe, link, "GET_QUEUE_NUM")
        self.lose(link)
        link = self.open_link(**(up or {}))
        link.replay(*names, **kw)
        self.assertRegex(link.session_down(), pattern)
        fe.wait_closed()
        self.assertRegex(self.proxy.port(self.i)["last_end"], "back-end: .*" + pattern)

    def test_features(self):
        self.less("lacks features 0x100000000, protocol features 0", NEGOTIATION[:2],
                  features=abi.F_PROTOCOL_FEATURES | 1 << 15)

    def test_protocol_features(self):
        self.less("lacks features 0, protocol features 0x10", NEGOTIATION[:2], protocol=~abi.pf("MTU") & (1 << 64) - 1)

    def test_queues(self):
        self.less("offers 2 queues, not 4", [*NEGOTIATION, "GET_QUEUE_NUM"], queues=2)

    def test_virtqueues(self):
        fe, link, memory = self.running()
        self.start_ring(fe, link, memory, 6)
        self.lose(link)
        link = self.open_link(queues=6)
        link.replay(*NEGOTIATION[:2])
        self.assertRegex(link.session_down(), "has 6 queues, 7 are in use")

    def test_memory_slots(self):
        fe, link = self.negotiated()
        for n in range(3):
            memory = self.memory(1 << 16, guest_address=n << 20)
            self.serve(fe, link, "ADD_MEM_REG", bytes(8) + memory.region(), [memory.fd])
        self.lose(link)
        link = self.open_link(slots=2)
        link.replay(*NEGOTIATION[:2])
        self.assertRegex(link.session_down(), "has 2 memory slots, 3 are in use")

    def test_wrong_replies(self):
        for reply in (lambda li, p: li.reply_u64(p, 0, seq=p.seq + 1), lambda li, p: li.reply(p, b""),
                      lambda li, p: li.reply_u64(p, 0, request=2)):
            fe, link, _ = self.running()
            self.lose(link)
            link = self.open_link()
            link.session_up()
            reply(link, link.message("GET_FEATURES"))
            self.assertRegex(link.wait_closed_session(), "back-end: reply to ")
            fe.wait_closed()
            self.again()

    def test_failure_in_a_replay(self):
        fe, link, _ = self.running()
        self.lose(link)
        link = self.open_link()
        link.replay(*NEGOTIATION, "SET_OWNER", "SET_FEATURES")
        link.send_text("RESULT", "no slot is free", link.message("SET_MEM_TABLE").seq)
        self.assertRegex(link.wait_closed_session(), "no slot is free")
        fe.wait_closed()


class Hold(Case):
    """What only a back-end can answer does not wait for ever."""

    options = "hold=1"
    ports = 4

    def test_deferred(self):
        fe, link, _ = self.running()
        self.lose(link)
        fe.send("GET_VRING_BASE", state(0, 0))
        self.assertEqual(self.ends_away(fe, "proxy: GET_VRING_BASE: no back-end within 1 s"), [])

    def test_back_ends_that_come_and_go(self):
        fe, link, _ = self.running()
        self.lose(link)
        fe.send("GET_VRING_BASE", state(0, 0))
        while self.proxy.port(self.i)["front_end"]:
            link = self.open_link()
            link.close()
        self.ends_away(fe, "proxy: GET_VRING_BASE: no back-end within 1 s")

    def test_nothing_deferred(self):
        fe, link, _ = self.running()
        self.lose(link)
        other = self.i, self.name
        self.next_port()
        self.connect().wait_closed()  # as long as the limit
        self.i, self.name = other
        self.assertEqual(fe.get_u64("GET_STATUS"), 0)


if __name__ == "__main__":
    rig.main()
