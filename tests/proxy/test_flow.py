#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Back-pressure in all directions, pipelining, and the back-end channel."""

import os
import pathlib
import select
import socket
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from proxy import abi, rig  # noqa: E402
from proxy.frontend import FrontEnd, LIMIT, U64  # noqa: E402
from proxy.rig import rule, u64  # noqa: E402

REPLY = abi.VERSION | abi.REPLY


class Pressure(rig.Case):
    """Who does not read stops who sends; nothing is lost, nothing piles up."""

    def test_vmm_that_does_not_read(self):
        fe, link = self.negotiated()
        fe.sock.setblocking(False)
        sent, backlog = 0, b""
        try:
            while True:
                backlog = FrontEnd.encode("SEND_RARP", u64(sent))
                backlog = backlog[fe.sock.send(backlog):]
                sent += 1
                if backlog:
                    break
        except BlockingIOError:
            backlog = b""
        fe.sock.settimeout(LIMIT)
        self.assertGreater(sent, 20)
        self.assertLessEqual(self.proxy.port(self.i)["back_end"]["queued_packets"], 1)
        # Hardly anything is under way: a device can read ahead to the end of the session.
        self.assertLess(self.proxy.port(self.i)["messages"]["requests"]["SEND_RARP"], 24)
        for n in range(sent):
            self.assertEqual(U64.unpack(link.message("SEND_RARP").payload)[0], n)
            if backlog:
                fe.sock.sendall(backlog)
                backlog = b""
        self.works(fe, link)

    def test_front_end_that_does_not_read(self):
        fe, link = self.negotiated()
        sent, answered = self.fill(fe, link)
        self.assertLess(sent, 20000)
        # Others are served meanwhile.
        stalled = self.i, self.name
        self.next_port()
        other, other_link = self.negotiated()
        self.works(other, other_link)
        self.i, self.name = stalled
        for n in range(answered):
            self.assertEqual(fe.recv().u64, n)
        for n in range(answered, sent):
            link.reply_u64(link.message("GET_FEATURES"), n)
            self.assertEqual(fe.recv().u64, n)
        self.works(fe, link)

    def test_front_end_that_does_not_read_and_leaves(self):
        fe, link = self.negotiated()
        self.fill(fe, link)
        fe.close()
        self.assertRegex(link.session_down(), "closed its connection")

    def test_pipelining(self):
        fe, link = self.negotiated()
        names = ["GET_FEATURES" if n % 2 else "GET_STATUS" for n in range(100)]
        fe.send_bytes(b"".join(FrontEnd.encode(name) for name in names))
        packets = [link.message(name) for name in names[:32]]
        self.assertEqual(self.proxy.port(self.i)["front_end"]["unanswered"], 32)
        link.sock.setblocking(False)
        with self.assertRaises(BlockingIOError):
            link.recv()
        link.sock.settimeout(LIMIT)
        for n, name in enumerate(names):
            link.reply_u64(packets.pop(0), n)
            if n + 32 < len(names):
                packets.append(link.message(names[n + 32]))
        for n, name in enumerate(names):
            reply = fe.recv()
            self.assertEqual((reply.name, reply.u64), (name, n))
        self.works(fe, link)

    def test_many_messages_in_one_write(self):
        fe, link = self.negotiated()
        fe.send_bytes(b"".join(FrontEnd.encode("SEND_RARP", u64(n)) for n in range(200)))
        for n in range(200):
            self.assertEqual(U64.unpack(link.message("SEND_RARP").payload)[0], n)

    def test_messages_byte_by_byte(self):
        fe, link = self.negotiated()
        fd = self.eventfd()
        data = FrontEnd.encode("SET_VRING_CALL", u64(0))
        for at in range(len(data)):
            for n in range(len(data)):
                fe.send_bytes(data[n:n + 1], [fd] if n == at else ())
            packet = link.message("SET_VRING_CALL")
            self.assertEqual(len(packet.fds), 1)
            packet.close()


class Patience(rig.Case):
    """A back-end that is alive and silent."""

    ports = 2

    def test_request_that_is_never_answered(self):
        other, other_link = self.negotiated()
        quiet = self.i, self.name
        self.next_port()
        fe, link = self.negotiated()
        fe.send("GET_FEATURES")
        fe.send("GET_STATUS")
        link.message("GET_FEATURES")
        link.message("GET_STATUS")
        self.assertEqual(fe.wait_closed(), [])
        self.assertEqual(link.session_down(), "back-end: GET_FEATURES: no answer for 30 s")
        # A session without an unanswered request has no such limit.
        self.i, self.name = quiet
        self.works(other, other_link)


class Channel(rig.Case):
    """Requests of the back-end, on the socket that the front-end gives away."""

    def channel(self, protocol=abi.CARRIED):
        """A pair with a channel."""
        fe, link = self.negotiated(protocol=protocol)
        ack = fe.protocol
        fe.protocol = 0
        channel = fe.open_channel()
        fe.protocol = ack
        packet = link.message("SET_BACKEND_REQ_FD")
        self.assertEqual(packet.fds, [])
        self.keep(channel)
        return fe, link, channel

    def test_request(self):
        fe, link, channel = self.channel()
        link.request("CONFIG_CHANGE_MSG")
        message = channel.recv()
        self.assertEqual((message.request, message.flags, message.payload),
                         (abi.BACKEND["CONFIG_CHANGE_MSG"]["id"], abi.VERSION, b""))
        self.works(fe, link)
        self.assertEqual(self.proxy.port(self.i)["messages"]["back_end_requests"], {"CONFIG_CHANGE_MSG": 1})

    def test_request_with_answer(self):
        fe, link, channel = self.channel()
        for n in range(3):
            link.request("CONFIG_CHANGE_MSG", need_reply=True, seq=100 + n)
            message = channel.recv()
            self.assertEqual(message.flags, abi.VERSION | abi.NEED_REPLY)
            channel.send(message.request, u64(n), flags=REPLY)
            packet = link.expect("FRONTEND")
            self.assertEqual((packet.seq, packet.session, packet.request, packet.msg_flags, packet.payload),
                             (100 + n, link.session, message.request, REPLY, u64(n)))
        self.works(fe, link)

    def test_need_reply_means_nothing_without_reply_ack(self):
        fe, link, channel = self.channel(protocol=abi.CARRIED & ~abi.pf("REPLY_ACK"))
        link.request("CONFIG_CHANGE_MSG", need_reply=True)
        self.assertEqual(channel.recv().flags, abi.VERSION)
        self.works(fe, link)

    def test_answers_during_a_request(self):
        # The front-end waits for a reply on its main socket and looks at the channel later.
        fe, link, channel = self.channel()
        fe.send("GET_FEATURES")
        packet = link.message("GET_FEATURES")
        link.request("CONFIG_CHANGE_MSG", need_reply=True, seq=7)
        link.reply_u64(packet, 3)
        self.assertEqual(fe.recv().u64, 3)
        channel.send(channel.recv().request, u64(0), flags=REPLY)
        self.assertEqual(link.expect("FRONTEND").seq, 7)

    def test_requests_that_are_refused(self):
        for name, row in abi.BACKEND.items():
            if row["relay"] != "REFUSE":
                continue
            with self.subTest(name=name):
                fe, link, _ = self.channel()
                link.request(name, bytes(8))
                self.ends(fe, link, f"request {name}: ({rule('REFUSED')}|{rule('GATE')})", by="back-end")
            self.again()

    def test_requests_that_are_wrong(self):
        change = abi.BACKEND["CONFIG_CHANGE_MSG"]["id"]
        for number, payload, flags, what in ((0, b"", abi.VERSION, "UNKNOWN"), (99, b"", abi.VERSION, "UNKNOWN"),
                                             (change, b"x", abi.VERSION, "SIZE"), (change, b"", 2, "VERSION"),
                                             (change, b"", abi.VERSION | 0x20, "FLAGS")):
            with self.subTest(number=number, what=what):
                fe, link, _ = self.channel()
                link.request(number, payload, flags=flags)
                self.ends(fe, link, rule(what), by="back-end")
            self.again()

    def test_no_channel(self):
        fe, link = self.negotiated()
        link.request("CONFIG_CHANGE_MSG")
        self.ends(fe, link, f"request CONFIG_CHANGE_MSG: {rule('ORDER')}", by="back-end")

    def test_not_negotiated(self):
        fe, link, _ = self.channel(protocol=abi.CARRIED & ~abi.pf("CONFIG"))
        link.request("CONFIG_CHANGE_MSG")
        self.ends(fe, link, f"request CONFIG_CHANGE_MSG: {rule('GATE')}", by="back-end")

    def test_front_end_closes_the_channel(self):
        fe, link, channel = self.channel()
        link.request("CONFIG_CHANGE_MSG", need_reply=True, seq=1)
        link.request("CONFIG_CHANGE_MSG", need_reply=True, seq=2)
        channel.recv()
        channel.close()
        # Both fail; later ones too; those that don't ask are dropped.
        self.assertEqual({link.expect("FRONTEND").seq for _ in range(2)}, {1, 2})
        link.request("CONFIG_CHANGE_MSG")
        link.request("CONFIG_CHANGE_MSG", need_reply=True, seq=3)
        packet = link.expect("FRONTEND")
        self.assertEqual((packet.seq, packet.payload), (3, u64(1)))
        self.works(fe, link)

    def test_wrong_answers(self):
        change = abi.BACKEND["CONFIG_CHANGE_MSG"]["id"]
        fd = os.eventfd(0, os.EFD_CLOEXEC)
        for send, pattern in (
                (lambda c: c.send(change + 1, u64(0), flags=REPLY), rule("REPLY")),
                (lambda c: c.send(change, b"", flags=REPLY), rule("REPLY")),
                (lambda c: c.send(change, bytes(16), flags=REPLY), rule("REPLY")),
                (lambda c: c.send(change, u64(0), flags=abi.VERSION), rule("FLAGS")),
                (lambda c: c.send(change, u64(0), flags=abi.REPLY), rule("VERSION")),
                (lambda c: c.send(change, u64(0), [fd], flags=REPLY), rule("REPLY")),
                (lambda c: c.send(change, u64(0), [fd] * 9, flags=REPLY), rule("FDS")),
                (lambda c: c.send(change, b"", flags=REPLY, size=0xffffffff), rule("SIZE")),
                (lambda c: (c.send(change, u64(0), flags=REPLY), c.send(change, u64(0), flags=REPLY)),
                 rule("REPLY"))):
            with self.subTest(pattern=pattern):
                fe, link, channel = self.channel()
                link.request("CONFIG_CHANGE_MSG", need_reply=True)
                channel.recv()
                send(channel)
                fe.wait_closed()
                packets = link.wait_closed_session()
                self.assertRegex(packets, f"front-end: back-end channel: .*{pattern}")
            self.again()
        os.close(fd)

    def test_answer_that_nobody_asked_for(self):
        fe, link, channel = self.channel()
        channel.send(2, u64(0), flags=REPLY)
        self.ends(fe, link, f"back-end channel: CONFIG_CHANGE_MSG: {rule('REPLY')}")

    def test_disconnect_at_every_byte_of_an_answer(self):
        data = FrontEnd.encode(abi.BACKEND["CONFIG_CHANGE_MSG"]["id"], u64(0), REPLY)
        for cut in range(len(data)):
            fe, link, channel = self.channel()
            link.request("CONFIG_CHANGE_MSG", need_reply=True, seq=9)
            channel.recv()
            channel.send_bytes(data[:cut])
            channel.close()
            packet = link.expect("FRONTEND")
            self.assertEqual((packet.seq, packet.payload), (9, u64(1)))
            self.works(fe, link)
            self.again()

    def test_requests_that_are_left_alone(self):
        fe, link, _ = self.channel()
        for n in range(17):
            link.request("CONFIG_CHANGE_MSG", need_reply=True, seq=n)
        self.ends(fe, link, "leaves 16 requests on its back-end channel")
        self.again()
        # Without answers: until the channel's socket is full.
        fe, link, channel = self.channel()
        link.settle(self.proxy.status)
        while not select.select([link.sock], [], [], 0)[0]:
            link.request("CONFIG_CHANGE_MSG")
        self.ends(fe, link, "leaves 16 requests on its back-end channel")

    def test_channel_goes_with_the_session(self):
        fe, link, channel = self.channel()
        link.send_text("SESSION_DOWN", "over")
        self.assertEqual(channel.wait_closed(), [])
        fe.wait_closed()

    def test_socket_types(self):
        fe, link = self.negotiated()
        a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with a, b:
            fe.send("SET_BACKEND_REQ_FD", b"", [b.fileno()])
            self.ends(fe, link, f"SET_BACKEND_REQ_FD: {rule('FD_KIND')}")


if __name__ == "__main__":
    rig.main()
