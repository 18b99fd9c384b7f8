#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Proxies that die: what VMMs are given to keep, and how the next proxy goes on, or does not."""

import os
import pathlib
import socket
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from proxy import abi, rig  # noqa: E402
from proxy.frontend import STATE, FrontEnd, Memory  # noqa: E402
from proxy.rig import state  # noqa: E402
from proxy.test_survival import NEGOTIATION, RING, of_rings, same_eventfd, same_file  # noqa: E402
from proxy.test_survival import Case as Survival  # noqa: E402
from proxy.vmm_link import Link  # noqa: E402

SESSION, REGION, RING_RECORD, MARK = range(4)
READING = 1


class Records(Survival):
    """What a VMM is given while a session is up."""

    ports = 32

    def last_mark(self, link):
        """(seq, flags) of the mark."""
        link.settle(self.proxy.status)
        return struct.unpack("<II", link.records[MARK, 0][0])

    def test_session(self):
        fe, link = self.pair()
        self.assertEqual(self.last_mark(link), (0, 0))
        self.assertEqual(sorted(link.records), [(SESSION, 0), (MARK, 0)])
        data, fds = link.records[SESSION, 0]
        self.assertEqual((len(data), len(fds)), (120, 1))
        # It is the front-end's socket.
        with socket.socket(fileno=os.dup(fds[0])) as copy:
            copy.send(b"x" * 12)
        self.assertEqual(fe.sock.recv(12), b"x" * 12)
        self.works(fe, link)

    def test_everything(self):
        fe, link, memory = self.running(2)
        self.assertEqual(self.last_mark(link), (link.received, 0))
        self.assertEqual(sorted(link.records), [(SESSION, 0), (REGION, 0), (RING_RECORD, 0), (RING_RECORD, 1), (MARK, 0)])
        self.assertTrue(same_file(link.records[REGION, 0][1][0], memory.fd))
        self.assertTrue(same_file(link.records[SESSION, 0][1][1], link.inflight_fd))
        for i, ring in enumerate(self.rings):
            for fd, ours in zip((ring.kick_fd, ring.call_fd, ring.err_fd), link.records[RING_RECORD, i][1]):
                self.assertTrue(same_eventfd(fd, ours))
        self.serve(fe, link, "GET_VRING_BASE", state(1, 0))
        self.assertEqual(self.last_mark(link), (link.received, 0))
        self.assertEqual(len(link.records[RING_RECORD, 1][1]), 2)
        self.assertEqual(link.answered, link.received)

    def test_regions_that_go(self):
        fe, link = self.negotiated()
        memories = [self.memory(1 << 16, guest_address=n << 20) for n in range(3)]
        for memory in memories:
            self.serve(fe, link, "ADD_MEM_REG", bytes(8) + memory.region(), [memory.fd])
        self.serve(fe, link, "REM_MEM_REG", bytes(8) + memories[0].region())
        self.last_mark(link)
        self.assertEqual([name for name in sorted(link.records) if name[0] == REGION], [(REGION, 0), (REGION, 1)])
        self.assertTrue(same_file(link.records[REGION, 0][1][0], memories[1].fd))

    def test_mark_while_reading(self):
        fe, link = self.negotiated()
        fe.send_bytes(FrontEnd.encode("GET_FEATURES")[:5])
        self.assertEqual(self.last_mark(link)[1], READING)
        fe.send_bytes(FrontEnd.encode("GET_FEATURES")[5:])
        link.serve("GET_FEATURES")
        fe.recv()
        self.assertEqual(self.last_mark(link), (link.received, 0))

    def test_answered_when_the_front_end_has_it(self):
        fe, link = self.negotiated()
        before = link.answered
        fe.send("GET_FEATURES")
        packet = link.message("GET_FEATURES")
        self.last_mark(link)
        self.assertLess(link.answered, packet.seq)
        link.reply_u64(packet, 0)
        fe.recv()
        self.last_mark(link)
        self.assertEqual(link.answered, packet.seq)
        self.assertGreater(link.answered, before)

    def test_after_a_replay(self):
        fe, link, _ = self.running(2)
        old = dict(link.records)
        self.lose(link)
        link = self.open_link()
        link.replay(*NEGOTIATION, "SET_OWNER", "SET_FEATURES", "SET_MEM_TABLE", "SET_INFLIGHT_FD", *of_rings(2))
        self.wait_up()
        self.assertEqual(self.last_mark(link), (link.received, 0))
        self.assertEqual(sorted(link.records), sorted(old))
        self.works(fe, link)


class Base(Survival):
    """Proxies that are killed, and VMMs that link to the next."""

    ports = 64

    def next_proxy(self):
        """The proxy is killed, and there is another."""
        cls = type(self)
        self.proxy.kill()
        cls.restarts = getattr(cls, "restarts", 0) + 1
        cls.proxy = rig.Proxy(self.session, self.ports, self.options, name=f"proxy{cls.restarts}")

    def survivors(self, rings=2):
        """A session whose proxy has died."""
        fe, link, memory = self.running(rings)
        link.settle(self.proxy.status)
        self.next_proxy()
        link.wait_closed()
        return fe, link, memory

    def reopen(self, old, **kw):
        """Its VMM links again."""
        return self.keep(Link.reopen(self.proxy.link, self.name, old, **kw))

    def refused(self, link, pattern):
        """The session ends."""
        self.assertRegex(link.session_down(), pattern)


class Recovery(Base):
    """The next proxy."""

    def test_goes_on(self):
        fe, link, _ = self.running(2)
        link.settle(self.proxy.status)
        before = self.proxy.port(self.i)["front_end"]
        self.next_proxy()
        link.wait_closed()
        old, link = link, self.reopen(link)
        self.assertEqual(link.session_up(), old.session)
        self.assertEqual(self.proxy.port(self.i)["front_end"], before)
        old.close()
        self.works(fe, link)
        self.serve(fe, link, "GET_VRING_BASE", state(0, 0))
        self.assertEqual(self.proxy.port(self.i)["front_end"]["rings"][0]["running"], False)
        # Numbers are not used again.
        fe.close()
        link.session_down()
        self.connect()
        self.assertGreater(link.session_up(), before["session"])

    def test_back_end_dies_too(self):
        """Then nobody has the session any more. The port serves the next front-end."""
        fe, old, _ = self.survivors()
        old.close()
        fe.wait_closed()
        link = self.open_link()
        self.connect()
        link.session_up()

    def test_many_proxies(self):
        fe, link, _ = self.running()
        for _ in range(5):
            link.settle(self.proxy.status)
            self.next_proxy()
            link.wait_closed()
            old, link = link, self.reopen(link)
            link.session_up()
            old.close()
            self.works(fe, link)
            memory = self.memory(1 << 16, guest_address=1 << 40)
            self.serve(fe, link, "ADD_MEM_REG", bytes(8) + memory.region(), [memory.fd])
            self.serve(fe, link, "REM_MEM_REG", bytes(8) + memory.region())

    def test_then_the_back_end_dies(self):
        fe, old, memory = self.survivors()
        link = self.reopen(old)
        link.session_up()
        old.close()
        self.lose(link)
        self.assertEqual(fe.get_u64("GET_PROTOCOL_FEATURES"), abi.CARRIED)
        link = self.open_link()
        got = link.replay(*NEGOTIATION, "SET_OWNER", "SET_FEATURES", "SET_MEM_TABLE", "SET_INFLIGHT_FD", *of_rings(2),
                          fds=True)
        self.assertTrue(same_file(got[5].fds[0], memory.fd))
        for packet in got:
            packet.close()
        self.wait_up()
        self.works(fe, link)

    def test_then_the_back_end_dies_over_a_reset(self):
        """Where rings have stopped that a reset stopped before the proxy died is for the next back-end to say."""
        fe, link, _ = self.running(2)
        fe.send("SET_STATUS", bytes(8))
        link.message("SET_STATUS")
        link.serve("GET_FEATURES")
        link.settle(self.proxy.status)
        self.next_proxy()
        old, link = link, self.reopen(link)
        link.session_up()
        self.assertEqual([ring["running"] for ring in self.proxy.port(self.i)["front_end"]["rings"]], [False] * 2)
        old.close()
        self.lose(link)
        fe.send("GET_VRING_BASE", state(1, 0))
        link = self.open_link()
        link.replay(*NEGOTIATION, "SET_OWNER", "SET_FEATURES", "SET_MEM_TABLE", "SET_INFLIGHT_FD", *RING[:-1] * 2)
        link.reply(link.message("GET_VRING_BASE"), STATE.pack(1, 12))
        self.assertEqual(STATE.unpack(fe.recv().payload), (1, 12))
        self.works(fe, link)

    def test_channel(self):
        fe, link, _ = self.running()
        need_ack, fe.protocol = fe.protocol, 0
        fe.open_channel()
        fe.protocol = need_ack
        link.serve("SET_BACKEND_REQ_FD")
        link.settle(self.proxy.status)
        self.next_proxy()
        old, link = link, self.reopen(link)
        link.session_up()
        old.close()
        link.request("CONFIG_CHANGE_MSG")
        self.assertEqual(fe.channel.recv().request, abi.BACKEND["CONFIG_CHANGE_MSG"]["id"])

    def test_messages_that_wait_are_read(self):
        fe, link, _ = self.running()
        link.settle(self.proxy.status)
        self.next_proxy()
        fe.send("GET_FEATURES")
        old, link = link, self.reopen(link, up=False)
        self.assertEqual(self.proxy.port(self.i)["state"], "away")
        old.close()
        link.back_end_up()
        link.session_up()
        link.serve("GET_FEATURES")
        fe.recv()

    def test_unanswered(self):
        fe, link, _ = self.running()
        fe.send("GET_FEATURES")
        link.message("GET_FEATURES")
        link.settle(self.proxy.status)
        self.next_proxy()
        old, link = link, self.reopen(link, unanswered=1)
        self.refused(link, "a request was left unanswered")
        old.close()
        fe.wait_closed()
        self.connect()
        link.session_up()

    def test_half_a_message(self):
        fe, link, _ = self.running()
        fe.send_bytes(FrontEnd.encode("GET_FEATURES")[:3])
        link.settle(self.proxy.status)
        self.next_proxy()
        old, link = link, self.reopen(link)
        self.refused(link, "was reading a message")
        old.close()
        fe.wait_closed()

    def test_message_that_the_records_do_not_know(self):
        fe, old, _ = self.survivors()
        link = self.reopen(old, received=old.received + 1)
        self.refused(link, "died over a message")
        fe.wait_closed()

    def test_front_end_leaves_before_the_back_end_is_up(self):
        fe, old, _ = self.survivors()
        link = self.reopen(old, up=False)
        self.assertEqual(self.proxy.port(self.i)["state"], "away")
        fe.close()
        self.assertEqual(link.session_down(), "front-end: closed its connection")

    def test_link_lost_before_the_back_end_is_up(self):
        fe, old, _ = self.survivors()
        link = self.reopen(old, up=False)
        self.assertEqual(self.proxy.port(self.i)["state"], "away")
        link.close()
        old.close()
        link = self.open_link()
        link.replay(*NEGOTIATION, "SET_OWNER", "SET_FEATURES", "SET_MEM_TABLE", "SET_INFLIGHT_FD", *of_rings(2))
        self.wait_up()
        self.works(fe, link)

    def test_vmm_ends_it_before_the_back_end_is_up(self):
        fe, old, _ = self.survivors()
        link = self.reopen(old, up=False)
        self.assertEqual(self.proxy.port(self.i)["state"], "away")
        link.send_text("SESSION_DOWN", "memory is gone")
        fe.wait_closed()
        self.assertEqual(self.proxy.port(self.i)["last_end"], "back-end: memory is gone")

    def test_second_front_end_was_faster(self):
        fe, old, _ = self.survivors()
        second = self.connect()
        self.assertEqual(self.proxy.port(self.i)["state"], "held")
        link = self.reopen(old)
        link.session_up()
        self.assertEqual(second.wait_closed(), [])
        self.works(fe, link)
        self.assertEqual(self.proxy.port(self.i)["refused"], 1)

    def test_proxy_that_has_the_session_itself(self):
        # Only the link was lost. The VMM's copy ends; the front-end's session goes to it by a replay.
        fe, link, _ = self.running()
        link.settle(self.proxy.status)
        link.sock.close()
        self.wait_away()
        old, link = link, self.reopen(link)
        self.refused(link, "has another session by now")
        old.close()
        link.replay(*NEGOTIATION, "SET_OWNER", "SET_FEATURES", "SET_MEM_TABLE", "SET_INFLIGHT_FD", *RING)
        self.wait_up()
        self.works(fe, link)


class Hold(Base):
    """A session waits for its back-end for so long."""

    options = "hold=1"
    ports = 4

    def test_back_end_never_comes_up(self):
        fe, old, _ = self.survivors()
        link = self.reopen(old, up=False)
        link.wait_closed()  # after the hold time
        old.close()
        link.close()
        link = self.open_link()
        link.replay(*NEGOTIATION, "SET_OWNER", "SET_FEATURES", "SET_MEM_TABLE", "SET_INFLIGHT_FD", *of_rings(2))
        self.wait_up()
        self.works(fe, link)


class Hostile(Base):
    """Records are a peer's bytes."""

    def test_wrong_order(self):
        for send, pattern in ((lambda li: li.send_packet("RECORD", bytes(8)), "records that nobody asked for"),
                              (lambda li: li.send_packet("KEPT", bytes(16)), "records that nobody asked for")):
            link = self.open_link()
            send(link)
            link.wait_closed()
            self.proxy.proc.wait_line(f"port {self.name}: link of script .* ended: {pattern}")
            self.next_port()
        _, old, _ = self.survivors()
        link = self.reopen(old, end=False)
        link.wait_closed()
        self.proxy.proc.wait_line(f"port {self.name}: link of script .* ended: BACKEND_UP before KEPT")

    def test_wrong_records(self):
        fe, old, memory = self.survivors()
        session, region, ring, mark = ((SESSION, 0), (REGION, 0), (RING_RECORD, 0), (MARK, 0))
        good = {name: (data, list(fds)) for name, (data, fds) in old.records.items()}
        event, short = self.eventfd(), self.keep(Memory(4096))
        again = self.eventfd()

        def changed(name, at=None, value=0, fds=None, fmt="<I", to=None):
            """The records with one of them changed, or under another name."""
            data, own = good[name]
            if at is not None:
                data = bytearray(data)
                struct.pack_into(fmt, data, at, value)
            out = dict(good)
            del out[name]
            out[to or name] = bytes(data), own if fds is None else fds
            return list(out.items())

        def without(name):
            return [item for item in good.items() if item[0] != name]

        socket_fd = good[session][1][0]
        cases = [
            ("records are missing", without(session)),
            ("records are missing", without(mark)),
            ("records are missing", []),
            ("its session comes twice", [(session, good[session])] * 2),
            ("another version", changed(session, 0, 2)),
            ("its session makes no sense", changed(session, 4, 1 << 31 | struct.unpack_from("<I", good[session][0], 4)[0])),
            ("its session makes no sense", changed(session, 104, 0)),
            ("its session makes no sense", changed(session, 104, 257)),
            ("its session makes no sense", changed(session, 108, 0)),
            ("its session makes no sense", changed(session, 116, 1)),
            ("has not as many fds as it says", changed(session, fds=[socket_fd])),
            ("has not as many fds as it says", changed(session, fds=[])),
            ("front-end is no UNIX stream socket", changed(session, fds=[event, good[session][1][1]])),
            ("ring positions are no memory", changed(session, fds=[socket_fd, event])),
            ("more rings than it says", changed(session, 104, 1)),
            ("a region makes no sense", changed(region, fds=[])),
            ("a region makes no sense", changed(region, 32, 256)),
            ("a region makes no sense", changed(region, to=(REGION, 32))),
            ("a region makes no sense", [(session, good[session])] + [(region, good[region])] * 2),
            ("a region is missing", changed(region, to=(REGION, 1))),
            ("no memory that holds it", changed(region, fds=[event])),
            ("no memory that holds it", changed(region, fds=[short.fd])),
            ("no memory that holds it", changed(region, 8, (1 << 64) - 4096, fmt="<Q")),
            ("no table of memory", changed(region, 0, 1, fmt="<Q")),
            ("a ring makes no sense", changed(ring, 0, 1 << 11)),
            ("a ring makes no sense", changed(ring, fds=good[ring][1][:2])),
            ("a ring makes no sense", changed(ring, 12, 1)),
            ("a ring makes no sense", changed(ring, 16, 1)),
            ("a ring makes no sense", changed(ring, to=(RING_RECORD, 300))),
            ("a ring makes no sense", changed(ring, to=(RING_RECORD, 2))),
            ("no eventfd", changed(ring, fds=[memory.fd, event, again])),
            ("more than one place", changed(ring, fds=[event, event, again])),
            ("more than one place", changed(ring, fds=[good[RING_RECORD, 1][1][0], event, again])),
            ("runs without address or kick", changed(ring, 0, 0x20, fds=[])),
            ("its mark makes no sense", changed(mark, 4, 6)),
            ("its mark makes no sense", changed(mark, 4, 8)),
            ("its mark makes no sense", [(mark, good[mark])] * 2),
            ("unknown kind or size", changed(mark, to=(MARK, 1))),
            ("unknown kind or size", changed(mark, to=(4, 0))),
            ("unknown kind or size", [*good.items(), ((MARK, 7), (b"", []))]),
            ("unknown size", [*good.items(), ((MARK, 0), (bytes(480), [event]))]),
        ]
        before = self.proxy.settled_fds()
        for pattern, records in cases:
            with self.subTest(pattern=pattern):
                link = Link.reopen(self.proxy.link, self.name, old, records=records, up=False)
                self.refused(link, pattern)
                link.close()
        self.assertEqual(self.proxy.settled_fds(), before)
        # Nothing of it has hurt the port.
        old.close()
        fe.close()
        fe, link = self.negotiated()
        self.works(fe, link)

    def test_no_number(self):
        link = self.keep(Link(self.proxy.link))
        link.hello(self.name, flags=abi.C["LINK_HELLO_KEPT"], session=0)
        link.expect("WELCOME")
        link.send_packet("KEPT", bytes(16))
        self.refused(link, "no number 0")

    def test_features_that_no_front_end_may_set(self):
        fe, old, _ = self.survivors()
        data = bytearray(old.records[SESSION, 0][0])
        for at in range(8, 40, 8):
            struct.pack_into("<Q", data, at, (1 << 64) - 1)
        records = dict(old.records)
        records[SESSION, 0] = bytes(data), records[SESSION, 0][1]
        link = self.reopen(old, records=list(records.items()))
        link.session_up()
        old.close()
        front = self.proxy.port(self.i)["front_end"]
        self.assertEqual(front["features"] & (abi.F_LOG_ALL | abi.F_ACCESS_PLATFORM), 0)
        self.assertEqual(front["protocol_features"], abi.CARRIED)
        self.works(fe, link)

    def test_links_that_leave_in_between(self):
        _, old, _ = self.survivors()
        before = self.proxy.settled_fds()
        items = list(old.records.items())
        for n in range(len(items) + 1):
            link = Link.reopen(self.proxy.link, self.name, old, records=items[:n], up=False, end=False)
            link.close()
        self.assertLessEqual(self.proxy.settled_fds(), before)


del Survival  # imported as a base only

if __name__ == "__main__":
    rig.main()
