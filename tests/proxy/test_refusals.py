#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
What is not carried yet: the log of dirty pages (live migration), post-copy, an IOMMU of the front-end's guest, guest-physical ring
addresses. Its feature bits are not offered, whatever the back-end offers; who acknowledges one of them all the same, or sends
one of its messages, is told so by a failed acknowledgement, and the log has the reason. No other port notices.
"""

import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from proxy import abi  # noqa: E402
from proxy.frontend import ADDR, U64  # noqa: E402
from proxy.rig import Case, rule  # noqa: E402

EVERYTHING = (1 << 64) - 1
NOT_CARRIED = {
    "LOG_SHMFD": 1, "PAGEFAULT": 8, "GPA_ADDRESSES": 21,
}
MESSAGES = {
    "SET_LOG_BASE": (bytes(16), 1), "SET_LOG_FD": (b"", 1),
    "POSTCOPY_ADVISE": (b"", 0), "POSTCOPY_LISTEN": (b"", 0), "POSTCOPY_END": (b"", 0),
    "IOTLB_MSG": (bytes(40), 0),
}


class Refusals(Case):
    """One proxy, a back-end that offers everything."""

    def setUp(self):
        super().setUp()
        # Somebody else, all the time.
        self.other = self.negotiated()
        self.next_port()

    def again(self):
        """The next case, with the other port as before."""
        self.works(*self.other)
        super().again()
        self.other = self.negotiated()
        self.next_port()

    def tearDown(self):
        self.works(*self.other)
        super().tearDown()

    def told(self, fe, link, name, reason):
        """A failed acknowledgement, then the end, with the reason."""
        replies = self.ends(fe, link, f"{name}: {reason}")
        self.assertEqual([(r.name, r.flags & abi.REPLY != 0, r.u64 != 0) for r in replies], [(name, True, True)])

    def test_offers(self):
        """The bits are not there."""
        fe, link = self.pair(protocol=EVERYTHING)
        features = self.serve(fe, link, "GET_FEATURES", features=EVERYTHING).u64
        protocol = self.serve(fe, link, "GET_PROTOCOL_FEATURES", protocol=EVERYTHING).u64
        for name, bit in NOT_CARRIED.items():
            self.assertFalse(protocol & 1 << bit, name)
        self.assertFalse(features & abi.F_LOG_ALL, "LOG_ALL")
        self.assertFalse(features & abi.F_ACCESS_PLATFORM, "ACCESS_PLATFORM")

    def test_features(self):
        """Acknowledged although nobody offered it."""
        for bit in (abi.F_LOG_ALL, abi.F_ACCESS_PLATFORM):
            with self.subTest(bit=bit):
                fe, link = self.negotiated()
                fe.send("SET_FEATURES", U64.pack(abi.F_VERSION_1 | abi.F_PROTOCOL_FEATURES | bit), need_reply=True)
                self.told(fe, link, "SET_FEATURES", rule("FEATURES"))
            self.again()

    def test_protocol_features(self):
        """The same of vhost-user's own."""
        for name, bit in NOT_CARRIED.items():
            with self.subTest(name=name):
                fe, link = self.negotiated()
                fe.send("SET_PROTOCOL_FEATURES", U64.pack(abi.CARRIED | 1 << bit), need_reply=True)
                self.told(fe, link, "SET_PROTOCOL_FEATURES", rule("FEATURES"))
            self.again()

    def test_messages(self):
        """Its messages."""
        for name, (payload, fds) in MESSAGES.items():
            with self.subTest(name=name):
                fe, link = self.negotiated()
                memory = self.memory()
                fe.send(name, payload, [memory.fd] * fds, need_reply=True)
                reason = f"({rule('REFUSED')}|{rule('GATE')})"
                if abi.FRONTEND[name]["reply"] == "ACK":
                    self.told(fe, link, name, reason)
                else:
                    self.ends(fe, link, f"{name}: {reason}")
            self.again()

    def test_a_ring_that_is_to_be_logged(self):
        """VHOST_VRING_F_LOG, without the feature."""
        fe, link, _, ring = self.with_ring(index=0)
        log_flag = 1
        _, _, desc, used, avail, log = ADDR.unpack(ring.addr_payload())
        fe.send("SET_VRING_ADDR", ADDR.pack(0, log_flag, desc, used, avail, log), need_reply=True)
        self.told(fe, link, "SET_VRING_ADDR", rule("VALUE"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
