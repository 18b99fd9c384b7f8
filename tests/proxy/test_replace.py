#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""VMMs that take a port over from another."""

import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from proxy import abi, rig  # noqa: E402
from proxy.frontend import STATE  # noqa: E402
from proxy.rig import state  # noqa: E402
from proxy.test_survival import NEGOTIATION, RING, of_rings  # noqa: E402
from proxy.test_survival import Case as Survival  # noqa: E402
from proxy.vmm_link import Link, Rejected  # noqa: E402

# Asked last, while the old one could still have the session back.
CONFIRM = "GET_FEATURES"
REPLAY = [*NEGOTIATION, "SET_OWNER", "SET_FEATURES", "SET_MEM_TABLE", "SET_INFLIGHT_FD"]


class Replacement(Survival):
    """The old one stops, the new one goes on."""

    ports = 64

    def successor(self, **kw):
        """The VMM that is to take over."""
        return self.keep(Link.replacement(self.proxy.link, self.name, **kw))

    def stop_rings(self, old, *bases):
        """The old back-end stops its rings there; all are asked for at once."""
        packets = [old.message("GET_VRING_BASE") for _ in bases]
        for i, (packet, base) in enumerate(zip(packets, bases)):
            self.assertEqual(STATE.unpack(packet.payload)[0], i)
            old.reply(packet, STATE.pack(i, base))

    def replaced(self, old):
        """The old VMM is let go."""
        old.expect("REPLACED")
        old.close()
        self.assertIsNone(self.proxy.port(self.i)["next_back_end"])

    def test_running_session(self):
        fe, old, _ = self.running(2)
        new = self.successor(up=False)
        self.works(fe, old)
        new.back_end_up()
        self.stop_rings(old, 11, 22)
        self.assertEqual(old.session_down(), "another VMM takes over")
        got = new.replay(*REPLAY, *of_rings(2), CONFIRM)
        self.assertEqual([STATE.unpack(packet.payload) for packet in got if packet.name == "SET_VRING_BASE"],
                         [(0, 11), (1, 22)])
        new.expect("SERVING")
        self.replaced(old)
        self.works(fe, new)
        self.assertEqual(self.proxy.port(self.i)["back_end"]["who"], "successor")

    def test_positions_come_from_the_answers(self):
        # Slots are zeroed: what the old one noted is older than what it said.
        fe, old, _ = self.running()
        new = self.successor()
        self.stop_rings(old, 5)
        old.session_down()
        new.replay(*REPLAY[:-1])
        packet = new.message("SET_INFLIGHT_FD")
        self.assertEqual(os.pread(packet.fds[0], 64, 0), bytes(64))
        packet.close()
        for name in [*RING, CONFIRM]:
            new.serve(name)
        new.expect("SERVING")
        self.works(fe, new)

    def test_front_end_is_not_read_meanwhile(self):
        fe, old, _ = self.running()
        new = self.successor()
        packet = old.message("GET_VRING_BASE")
        fe.send("GET_FEATURES")
        self.assertEqual(self.proxy.port(self.i)["state"], "stopping")
        old.reply(packet, STATE.pack(0, 1))
        old.session_down()
        new.replay(*REPLAY, *RING, CONFIRM)
        new.expect("SERVING")
        new.serve("GET_FEATURES")
        self.assertEqual(fe.recv().name, "GET_FEATURES")

    def test_unanswered_request_first(self):
        fe, old, _ = self.running()
        fe.send("GET_FEATURES")
        request = old.message("GET_FEATURES")
        new = self.successor()
        self.assertEqual(self.proxy.port(self.i)["state"], "stopping")
        old.reply_u64(request, 1)
        self.assertEqual(fe.recv().u64, 1)
        self.stop_rings(old, 3)
        old.session_down()
        new.replay(*REPLAY, *RING, CONFIRM)
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
        old.session_down()
        new.replay(*REPLAY, CONFIRM)
        new.expect("SERVING")
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
        new = self.successor()
        old.reply(old.message("GET_VRING_BASE"), STATE.pack(0, 9))
        new.expect("SILENT")
        # It is ended; the ring that it did not stop goes on where the region says.
        old.close()
        got = new.replay(*REPLAY, *of_rings(2))
        self.assertEqual([STATE.unpack(packet.payload) for packet in got if packet.name == "SET_VRING_BASE"],
                         [(0, 9), (1, 0)])
        new.expect("SERVING")
        self.works(fe, new)

    def test_late(self):
        fe, old, _ = self.running()
        new = self.successor()
        packet = old.message("GET_VRING_BASE")
        new.expect("SILENT")
        old.reply(packet, STATE.pack(0, 9))
        old.session_down()
        new.replay(*REPLAY, *RING, CONFIRM)
        new.expect("SERVING")
        self.replaced(old)
        self.works(fe, new)

    def test_successor_dies_while_rings_stop(self):
        fe, old, _ = self.running(2)
        new = self.successor()
        old.reply(old.message("GET_VRING_BASE"), STATE.pack(0, 9))
        old.message("GET_VRING_BASE")
        new.close()
        self.assertEqual(old.session_down(), "the VMM that was to take over is gone")
        got = old.replay(*REPLAY, *of_rings(2))
        self.assertEqual(STATE.unpack(got[8].payload), (0, 9))
        self.wait_up()
        self.works(fe, old)

    def test_successor_dies_in_the_replay(self):
        names = [*REPLAY, *of_rings(2)]
        for stop in [*range(0, len(names), 3), len(names)]:
            fe, old, _ = self.running(2)
            new = self.successor()
            self.stop_rings(old, 1, 2)
            old.session_down()
            new.replay(*names[:stop])
            new.close()
            old.replay(*names)
            self.wait_up()
            self.works(fe, old)
            self.assertEqual(self.proxy.port(self.i)["back_end"]["who"], "script")
            self.again()

    def test_front_end_leaves_meanwhile(self):
        fe, old, _ = self.running()
        new = self.successor()
        old.message("GET_VRING_BASE")
        fe.close()
        self.assertRegex(old.session_down(), "closed its connection")
        new.expect("SERVING")
        self.replaced(old)

    def test_back_end_goes_down_meanwhile(self):
        fe, old, _ = self.running()
        new = self.successor()
        old.message("GET_VRING_BASE")
        old.back_end_down()
        fe.wait_closed()
        new.expect("SERVING")
        self.replaced(old)

    def test_wrong_answers(self):
        for reply, pattern in ((lambda li, p: li.reply(p, STATE.pack(1, 0)), rig.rule("INDEX")),
                               (lambda li, p: li.reply(p, b""), rig.rule("SIZE")),
                               (lambda li, p: li.reply_u64(p, 0, request=1), rig.rule("REPLY"))):
            fe, old, _ = self.running()
            self.successor()
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
        self.stop_rings(old, 1)
        old.session_down()
        new.replay(*REPLAY, *RING, CONFIRM)
        new.expect("SERVING")
        old.expect("REPLACED")
        old.wait_closed()  # after a second
        self.works(fe, new)
        # And once more.
        newer = self.successor()
        self.stop_rings(new, 1)
        new.session_down()
        newer.replay(*REPLAY, *RING, CONFIRM)
        newer.expect("SERVING")
        self.works(fe, newer)

    def test_many(self):
        fe, old, _ = self.running(2)
        before = self.proxy.settled_fds()
        for n in range(50):
            new = self.successor()
            self.stop_rings(old, n, n)
            old.session_down()
            new.replay(*REPLAY, *of_rings(2), CONFIRM)
            new.expect("SERVING")
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


del Survival  # imported as a base only

if __name__ == "__main__":
    rig.main()
