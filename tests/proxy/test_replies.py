#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Answers: a back-end that gets them wrong, failures that are acknowledged, and exactly one for each request."""

import os
import pathlib
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from proxy import abi, rig  # noqa: E402
from proxy.rig import rule, state, u64  # noqa: E402

REPLY = abi.VERSION | abi.REPLY


class WrongReplies(rig.Case):
    """The session ends with a line that names the back-end; the link stays."""

    def wrong(self, request, payload, answer, pattern):
        """Send `request`, let answer(link, packet) do its worst."""
        with self.subTest(request=request, pattern=pattern):
            fe, link = self.negotiated()
            fe.send(request, payload)
            packet = link.message(request)
            answer(link, packet)
            self.assertEqual(self.ends(fe, link, pattern, by="back-end"), [])
            # The link is still good for another session.
            fe = self.connect()
            link.session_up()
            self.works(fe, link)
        self.again()

    def test_sequence_number(self):
        for delta in (-1, 1, 1000):
            self.wrong("GET_FEATURES", b"", lambda li, p, d=delta: li.reply_u64(p, 0, seq=p.seq + d),
                       f"reply to GET_FEATURES: {rule('REPLY')}")

    def test_other_request(self):
        for other in ("GET_QUEUE_NUM", "GET_PROTOCOL_FEATURES"):
            self.wrong("GET_FEATURES", b"",
                       lambda li, p, o=other: li.reply_u64(p, 0, request=abi.frontend_id(o)),
                       f"reply to {other}: {rule('REPLY')}")
        self.wrong("GET_FEATURES", b"", lambda li, p: li.reply_u64(p, 0, request=4711), rule("REPLY"))

    def test_sizes(self):
        for size in (0, 1, 7, 9, 16, abi.C["VHOST_USER_PAYLOAD_MAX"]):
            self.wrong("GET_FEATURES", b"", lambda li, p, n=size: li.reply(p, bytes(n)),
                       f"reply to GET_FEATURES: {rule('SIZE')}")
        for size in (0, 4, 16):
            self.wrong("GET_VRING_BASE", state(0, 0), lambda li, p, n=size: li.reply(p, bytes(n)),
                       f"reply to GET_VRING_BASE: {rule('SIZE')}")

    def test_flags(self):
        for flags in (abi.REPLY, abi.REPLY | 2, abi.REPLY | 3):
            self.wrong("GET_FEATURES", b"", lambda li, p, f=flags: li.reply(p, u64(0), flags=f),
                       f"reply to GET_FEATURES: {rule('VERSION')}")
        self.wrong("GET_FEATURES", b"", lambda li, p: li.reply(p, u64(0), flags=REPLY | 0x40),
                   f"reply to GET_FEATURES: {rule('FLAGS')}")

    def test_other_ring(self):
        self.wrong("GET_VRING_BASE", state(2, 0), lambda li, p: li.reply(p, state(3, 0)),
                   f"reply to GET_VRING_BASE: {rule('INDEX')}")
        self.wrong("GET_VRING_BASE", state(2, 0), lambda li, p: li.reply(p, state(0xffffffff, 0)),
                   f"reply to GET_VRING_BASE: {rule('INDEX')}")

    def test_other_part_of_config(self):
        ask = struct.pack("<III", 0, 8, 0) + bytes(8)
        for reply in (struct.pack("<III", 0, 16, 0) + bytes(16), struct.pack("<III", 0, 4, 0) + bytes(4)):
            self.wrong("GET_CONFIG", ask, lambda li, p, r=reply: li.reply(p, r),
                       f"reply to GET_CONFIG: {rule('SIZE')}")
        self.wrong("GET_CONFIG", ask, lambda li, p: li.reply(p, struct.pack("<III", 0, 9, 0) + bytes(8)),
                   f"reply to GET_CONFIG: {rule('SIZE')}")

    def test_config_that_could_not_be_read(self):
        fe, link = self.negotiated()
        fe.send("GET_CONFIG", struct.pack("<III", 0, 8, 0) + bytes(8))
        link.reply(link.message("GET_CONFIG"), b"")
        self.assertEqual(fe.recv().payload, b"")
        self.works(fe, link)

    def test_reply_that_nobody_asked_for(self):
        fe, link = self.negotiated()
        link.send_packet("BACKEND", struct.pack("<IIIQ", 1, REPLY, 8, 0), 0, link.session)
        self.ends(fe, link, f"reply to GET_FEATURES: {rule('REPLY')}", by="back-end")

    def test_second_reply(self):
        fe, link = self.negotiated()
        fe.send("GET_FEATURES")
        packet = link.message("GET_FEATURES")
        link.reply_u64(packet, 1)
        link.reply_u64(packet, 1)
        self.assertEqual(len(self.ends(fe, link, rule("REPLY"), by="back-end")), 1)

    def test_acknowledgement_that_was_not_asked_for(self):
        fe, link = self.negotiated()
        fe.send("SET_OWNER")
        link.reply_u64(link.message("SET_OWNER"), 0)
        self.ends(fe, link, f"reply to SET_OWNER: {rule('REPLY')}", by="back-end")

    def test_replies_out_of_order(self):
        fe, link = self.negotiated()
        fe.send("GET_FEATURES")
        fe.send("GET_STATUS")
        link.message("GET_FEATURES")
        link.reply_u64(link.message("GET_STATUS"), 0)
        self.assertEqual(self.ends(fe, link, rule("REPLY"), by="back-end"), [])

    def test_packets_of_sessions_that_are_over_are_dropped(self):
        fe, link = self.negotiated()
        old = link.session
        fe.close()
        link.session_down()
        fe = self.connect()
        link.session_up()
        self.assertGreater(link.session, old)
        for session in (0, old, link.session + 1):
            link.send_packet("BACKEND", struct.pack("<IIIQ", 1, REPLY, 8, 0), 1, session)
            link.send_text("RESULT", "late", 1, session)
            link.send_text("SESSION_DOWN", "late", 0, session)
        self.works(fe, link)
        self.assertGreaterEqual(self.proxy.port(self.i)["late_packets"], 9)


class Failures(rig.Case):
    """A failure that the front-end can hear of is acknowledged, once; else the session ends."""

    def test_device_fails_and_the_front_end_hears(self):
        for name in ("SET_VRING_ENABLE", "SET_OWNER"):
            with self.subTest(name=name):
                fe, link = self.negotiated()
                fe.send(name, state(0, 1) if name == "SET_VRING_ENABLE" else b"", need_reply=True)
                packet = link.message(name)
                link.send_text("RESULT", "no room", packet.seq)
                reply = fe.recv()
                self.assertEqual((reply.name, reply.u64), (name, 1))
                self.proxy.proc.wait_line(f"port {self.name}: session .*{name} failed: no room", after=self.mark)
                self.works(fe, link)
            self.again()

    def test_failed_memory_changes_are_undone(self):
        fe, link, memory = self.with_memory()
        before = self.proxy.port(self.i)["front_end"]["regions"]
        other = self.memory(1 << 20, guest_address=1 << 30)
        both = fe.mem_table_payload([memory, other])
        for name, payload, fds in (("SET_MEM_TABLE", both, [memory.fd, other.fd]),
                                   ("ADD_MEM_REG", bytes(8) + other.region(), [other.fd]),
                                   ("REM_MEM_REG", bytes(8) + memory.region(), [])):
            for by_device in (True, False):
                with self.subTest(name=name, by_device=by_device):
                    fe.send(name, payload, fds, need_reply=True)
                    packet = link.message(name)
                    packet.close()
                    if by_device:
                        link.send_text("RESULT", "does not fit, see shm=", packet.seq)
                    else:
                        link.reply_u64(packet, 5)
                    self.assertEqual(fe.recv().u64, 1 if by_device else 5)
                    self.assertEqual(self.proxy.port(self.i)["front_end"]["regions"], before)
        self.serve(fe, link, "ADD_MEM_REG", bytes(8) + other.region(), [other.fd], need_reply=True)
        self.assertEqual(len(self.proxy.port(self.i)["front_end"]["regions"]), 2)

    def test_nothing_is_read_behind_an_unacknowledged_memory_change(self):
        fe, link, memory = self.with_memory()
        fe.send("REM_MEM_REG", bytes(8) + memory.region(), need_reply=True)
        fe.send("GET_FEATURES")
        packet = link.message("REM_MEM_REG")
        self.assertEqual(self.proxy.port(self.i)["messages"]["requests"]["GET_FEATURES"], 1)
        link.reply_u64(packet, 0)
        self.assertEqual(fe.recv().name, "REM_MEM_REG")
        link.reply_u64(link.message("GET_FEATURES"), 0)
        self.assertEqual(fe.recv().name, "GET_FEATURES")

    def test_device_fails_and_nobody_could_hear(self):
        fe, link, memory = self.with_memory()
        fe.send("SET_MEM_TABLE", fe.mem_table_payload([memory]), [memory.fd])
        packet = link.message("SET_MEM_TABLE")
        packet.close()
        link.send_text("RESULT", "SET_MEM_TABLE does not fit", packet.seq)
        self.ends(fe, link, "SET_MEM_TABLE does not fit", by="back-end")
        self.again()
        # An answer that is more than yes or no cannot be made up.
        fe, link = self.negotiated()
        fe.send("GET_FEATURES")
        link.send_text("RESULT", "GET_FEATURES lost", link.message("GET_FEATURES").seq)
        self.ends(fe, link, "GET_FEATURES lost", by="back-end")
        self.again()
        fe, link = self.negotiated()
        link.send_text("RESULT", "of no request", 12345)
        self.ends(fe, link, "of no request", by="back-end")

    def test_failure_waits_for_its_turn(self):
        fe, link = self.negotiated()
        fe.send("GET_FEATURES")
        fe.send("SET_OWNER", need_reply=True)
        fe.send("GET_STATUS")
        first = link.message("GET_FEATURES")
        second = link.message("SET_OWNER")
        third = link.message("GET_STATUS")
        link.send_text("RESULT", "failed early", second.seq)
        link.reply_u64(first, 0)
        link.reply_u64(third, 7)
        replies = [fe.recv() for _ in range(3)]
        self.assertEqual([r.name for r in replies], ["GET_FEATURES", "SET_OWNER", "GET_STATUS"])
        self.assertEqual([r.u64 for r in replies], [0, 1, 7])
        self.works(fe, link)

    def test_second_failure_of_one_request(self):
        fe, link = self.negotiated()
        fe.send("GET_FEATURES")
        fe.send("SET_OWNER", need_reply=True)
        link.message("GET_FEATURES")
        packet = link.message("SET_OWNER")
        link.send_text("RESULT", "failed", packet.seq)
        link.send_text("RESULT", "failed again", packet.seq)
        self.assertEqual(self.ends(fe, link, "failed again", by="back-end"), [])

    def test_own_failures_are_acknowledged_before_the_end(self):
        pipe = os.pipe()
        try:
            for need_reply in (True, False):
                fe, link, _, _ = self.with_ring()
                fe.send("SET_VRING_KICK", u64(0), [pipe[0]], need_reply=need_reply)
                replies = self.ends(fe, link, f"SET_VRING_KICK: {rule('FD_KIND')}")
                self.assertEqual([r.u64 for r in replies], [1] if need_reply else [])
                self.again()
            # Not before the answer of an earlier request.
            fe, link, _, _ = self.with_ring()
            fe.send("GET_FEATURES")
            fe.send("SET_VRING_KICK", u64(0), [pipe[0]], need_reply=True)
            link.message("GET_FEATURES")
            self.assertEqual(self.ends(fe, link, rule("FD_KIND")), [])
        finally:
            os.close(pipe[0])
            os.close(pipe[1])


if __name__ == "__main__":
    rig.main()
