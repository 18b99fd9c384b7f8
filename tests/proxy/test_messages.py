#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Each message of the front-end: what passes and how, and every way in which it can be wrong."""

import os
import pathlib
import socket
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from proxy import abi, rig  # noqa: E402
from proxy.frontend import ADDR, REGION, Vring  # noqa: E402
from proxy.rig import rule, state, u64  # noqa: E402

PAYLOAD_MAX = abi.C["VHOST_USER_PAYLOAD_MAX"]
# What proxy, device and driver say among themselves is no front-end's business.
REFUSED = [name for name, row in abi.FRONTEND.items() if row["relay"] == "REFUSE" or abi.internal(row["gate"])]
CARRIED = [name for name in abi.FRONTEND if name not in REFUSED]


class Messages(rig.Case):
    """Correct messages, and sessions that are ready for them."""

    def good(self, name, memory):
        """(payload, fds) of a correct message `name`."""
        row = abi.FRONTEND[name]
        payloads = {
            "NONE": b"", "U64": u64(0), "STATE": state(0, 1),
            "ADDR": ADDR.pack(0, 0, memory.user_address, memory.user_address + 4096,
                              memory.user_address + 8192, 0),
            "MEM_TABLE": struct.pack("<II", 1, 0) + memory.region(),
            "MEM_REG": bytes(8) + memory.region(),
            "CONFIG": struct.pack("<III", 0, 8, 0) + bytes(8),
        }
        fds = {
            "NONE": [], "PER_REGION": [memory.fd], "ONE_MEMORY": [memory.fd], "OPTIONAL_MEMORY": [],
        }.get(row["fds"])
        if row["fds"] == "VRING":
            fds = [self.eventfd()]
        if row["fds"] == "ONE_SOCKET":
            a, b = socket.socketpair()
            self.keep(a)
            self.keep(b)
            fds = [b.fileno()]
        return payloads[row["payload"]], fds

    def prepared(self, name):
        """A pair in the state that `name` needs, and its correct payload and fds."""
        fe, link, memory, _ = self.with_ring()
        if name == "ADD_MEM_REG":
            memory = self.memory(guest_address=1 << 30)
        payload, fds = self.good(name, memory)
        if name == "SET_FEATURES":
            payload = u64(abi.F_VERSION_1 | abi.F_PROTOCOL_FEATURES)
        if name == "SET_PROTOCOL_FEATURES":
            payload = u64(fe.protocol)
        return fe, link, payload, fds


class Correct(Messages):
    """A front-end that does everything right."""

    def test_every_message_passes_and_is_answered_once(self):
        for name in CARRIED:
            for need_reply in (False, True):
                with self.subTest(name=name, need_reply=need_reply):
                    fe, link, payload, fds = self.prepared(name)
                    fe.send(name, payload, fds, need_reply=need_reply)
                    packet = link.message(name)
                    self.assertEqual(bool(packet.msg_flags & abi.NEED_REPLY), need_reply)
                    expected = 0 if abi.FRONTEND[name]["fds"] == "ONE_SOCKET" else len(fds)
                    self.assertEqual(len(packet.fds), expected)
                    for ours, theirs in zip(fds, packet.fds):
                        self.assertTrue(os.path.sameopenfile(ours, theirs))
                    packet.close()
                    answer = abi.FRONTEND[name]["reply"]
                    if answer == "U64":
                        link.reply_u64(packet, 3)
                    elif answer == "STATE":
                        link.reply(packet, state(0, 9))
                    elif answer == "CONFIG":
                        link.reply(packet, packet.payload)
                    elif need_reply:
                        link.reply_u64(packet, 0)
                    if answer != "ACK" or need_reply:
                        reply = fe.recv()
                        self.assertEqual(reply.name, name)
                        self.assertEqual(reply.flags, abi.VERSION | abi.REPLY)
                    # Exactly one answer: the next thing to come is that of the next request.
                    self.works(fe, link)
                self.again()

    def test_need_reply_means_nothing_without_reply_ack(self):
        fe, link = self.negotiated(protocol=abi.CARRIED & ~abi.pf("REPLY_ACK"))
        fe.send("SET_OWNER", need_reply=True)
        packet = link.message("SET_OWNER")
        self.assertEqual(packet.msg_flags, abi.VERSION)
        self.works(fe, link)

    def test_user_addresses_become_guest_physical(self):
        fe, link = self.negotiated()
        a = self.memory(1 << 20, guest_address=0x100000, user_address=0x7f12_3456_7000)
        b = self.memory(1 << 20, guest_address=0x4000_0000, user_address=0x7e00_0000_0123)
        fe.send("SET_MEM_TABLE", fe.mem_table_payload([a, b]), [a.fd, b.fd])
        packet = link.message("SET_MEM_TABLE")
        packet.close()
        want = (struct.pack("<II", 2, 0) +
                REGION.pack(a.guest_address, a.size, a.guest_address, 0) +
                REGION.pack(b.guest_address, b.size, b.guest_address, 0))
        self.assertEqual(packet.payload, want)
        fe.send("SET_VRING_ADDR", ADDR.pack(1, 0, a.user_address, b.user_address + 0x1000,
                                            b.user_address + b.size - 1, 0x55))
        packet = link.message("SET_VRING_ADDR")
        self.assertEqual(packet.payload, ADDR.pack(1, 0, a.guest_address, b.guest_address + 0x1000,
                                                   b.guest_address + b.size - 1, 0x55))
        c = self.memory(1 << 20, guest_address=0x8000_0000, user_address=0x5500_0000_0000,
                        file_offset=8192)
        for name, fds in (("ADD_MEM_REG", [c.fd]), ("REM_MEM_REG", []), ("ADD_MEM_REG", [c.fd]),
                          ("REM_MEM_REG", [c.fd])):
            fe.send(name, bytes(8) + c.region(), fds)
            packet = link.message(name)
            self.assertEqual(packet.payload, bytes(8) + REGION.pack(c.guest_address, c.size,
                                                                    c.guest_address, 8192))
            self.assertEqual(len(packet.fds), 1 if name == "ADD_MEM_REG" else 0)
            packet.close()

    def test_ring_addresses_outside_every_region_reach_nobody(self):
        fe, link, memory = self.with_memory()
        user = memory.user_address
        for wrong in (0, user - 1, user + memory.size, (1 << 64) - 1):
            fe.send("SET_VRING_ADDR", ADDR.pack(0, 0, wrong, user, user, 0))
            packet = link.message("SET_VRING_ADDR")
            self.assertEqual(packet.payload, ADDR.pack(0, 0, (1 << 64) - 1, 0, 0, 0))
        self.works(fe, link)

    def test_table_of_full_struct_size_is_trimmed(self):
        fe, link = self.negotiated()
        memory = self.memory()
        payload = fe.mem_table_payload([memory]).ljust(abi.C["sizeof_vhost_user_mem_table"], b"\xaa")
        fe.send("SET_MEM_TABLE", payload, [memory.fd])
        packet = link.message("SET_MEM_TABLE")
        packet.close()
        self.assertEqual(len(packet.payload), 8 + 32)
        self.works(fe, link)

    def test_offers_are_filtered(self):
        everything = (1 << 64) - 1
        fe, link = self.pair(protocol=everything & ~abi.pf("CONFIG"), queues=6, slots=12)
        got = self.serve(fe, link, "GET_FEATURES", features=everything).u64
        self.assertEqual(got, everything & ~abi.F_LOG_ALL & ~abi.F_ACCESS_PLATFORM)
        got = self.serve(fe, link, "GET_PROTOCOL_FEATURES", protocol=everything).u64
        self.assertEqual(got, abi.CARRIED & ~abi.pf("CONFIG"))
        self.serve(fe, link, "SET_PROTOCOL_FEATURES", u64(got))
        for name, offered, limit in (("GET_QUEUE_NUM", 4, 4), ("GET_QUEUE_NUM", 7, 6),
                                     ("GET_QUEUE_NUM", everything, 6), ("GET_MAX_MEM_SLOTS", 3, 3),
                                     ("GET_MAX_MEM_SLOTS", everything, 12)):
            fe.send(name)
            link.reply_u64(link.message(name), offered)
            self.assertEqual(fe.recv().u64, limit, name)

    def test_slots_are_at_most_what_is_carried(self):
        fe, link = self.negotiated(slots=4000)
        fe.send("GET_MAX_MEM_SLOTS")
        link.reply_u64(link.message("GET_MAX_MEM_SLOTS"), 509)
        self.assertEqual(fe.recv().u64, abi.C["VHOST_USER_MEM_SLOTS_MAX"])

    def test_status_shows_the_record(self):
        fe, link, memory, ring = self.with_ring(index=1)
        fe.vring_fd = lambda name, fd: self.serve(fe, link, name, u64(1), [fd])
        fe.vring_fd("SET_VRING_CALL", ring.call_fd)
        fe.vring_fd("SET_VRING_KICK", ring.kick_fd)
        self.serve(fe, link, "SET_VRING_ENABLE", state(1, 1))
        port = self.proxy.port(self.i)
        self.assertEqual(port["state"], "up")
        front = port["front_end"]
        self.assertEqual(front["pid"], os.getpid())
        self.assertEqual(front["protocol_features"], abi.CARRIED)
        self.assertEqual(front["features"], abi.F_VERSION_1 | abi.F_PROTOCOL_FEATURES)
        self.assertEqual(front["regions"], [{"guest_address": memory.guest_address,
                                             "bytes": memory.size, "file_offset": 0}])
        self.assertEqual(front["rings"], [{"index": 1, "address": True, "enabled": True, "running": True, "kick": True,
                                           "call": True, "err": False}])
        self.assertEqual(port["messages"]["requests"]["SET_VRING_KICK"], 1)
        # Stopped: the kick has no place any more, the call has.
        self.serve(fe, link, "GET_VRING_BASE", state(1, 0))
        ring_now = self.proxy.port(self.i)["front_end"]["rings"][0]
        self.assertEqual((ring_now["kick"], ring_now["call"]), (False, True))
        # Fds taken back.
        self.serve(fe, link, "SET_VRING_CALL", u64(1 | abi.NOFD))
        self.assertFalse(self.proxy.port(self.i)["front_end"]["rings"][0]["call"])

    def test_early_messages_of_real_front_ends(self):
        # Before the memory table, even before SET_FEATURES (QEMU, DPDK).
        fe, link = self.pair()
        self.serve(fe, link, "SET_VRING_CALL", u64(0), [self.eventfd()])
        self.serve(fe, link, "SET_VRING_ERR", u64(0), [self.eventfd()])
        self.serve(fe, link, "SET_VRING_NUM", state(0, 256))
        self.serve(fe, link, "SET_VRING_BASE", state(0, 0))
        self.serve(fe, link, "SET_VRING_ENABLE", state(0, 1))
        self.works(fe, link)


class Wrong(Messages):
    """Every way in which one message can be wrong. Each ends the session with its rule, and nothing else."""

    def wrong(self, name, payload, fds, pattern, flags=abi.VERSION, size=None):
        """Send it in a session that is ready for the correct message."""
        with self.subTest(name=name, pattern=pattern, size=len(payload) if size is None else size,
                          fds=len(fds)):
            fe, link, _, _ = self.prepared(name) if isinstance(name, str) else (*self.negotiated(), 0, 0)
            fe.send(name, payload, fds, flags=flags, size=size)
            label = name if isinstance(name, str) else f"request {name}"
            self.ends(fe, link, f"{label}: {pattern}")
        self.again()

    def each(self, names=None):
        """(name, correct payload, correct fds) of each carried message."""
        for name in names or CARRIED:
            memory = self.memory(guest_address=1 << 30 if name == "ADD_MEM_REG" else 0)
            opened, self.opened = self.opened, []
            payload, fds = self.good(name, memory)
            yield name, payload, [os.dup(fd) for fd in fds]
            self.opened = opened + self.opened
            self.close_all()

    def for_each(self, fn, names=None):
        """Call fn with duplicates of the correct fds, which outlive the peers of a case."""
        for name, payload, fds in self.each(names):
            opened, self.opened = self.opened, []
            try:
                fn(name, payload, fds)
            finally:
                for fd in fds:
                    os.close(fd)
                self.opened = opened

    def test_unknown_requests(self):
        for number in (0, 46, 255, 0x80000001, 0xffffffff):
            self.wrong(number, b"", [], rule("UNKNOWN"))

    def test_version_and_flags(self):
        for name in ("GET_FEATURES", "SET_MEM_TABLE", "SET_VRING_KICK"):
            def case(name, payload, fds):
                for flags in (0, 2, 3):
                    self.wrong(name, payload, fds, rule("VERSION"), flags=flags)
                for flags in (abi.VERSION | abi.REPLY, abi.VERSION | 0x10, abi.VERSION | 0x80000000):
                    self.wrong(name, payload, fds, rule("FLAGS"), flags=flags)
            self.for_each(case, [name])

    def test_sizes(self):
        def case(name, payload, fds):
            right = len(payload)
            whole = payload.ljust(PAYLOAD_MAX, b"\0")
            for size in {0, 1, 7, right - 1, right + 1, right + 8, PAYLOAD_MAX} - {right, -1}:
                if size >= 0:
                    self.wrong(name, whole[:size], fds, f"({rule('SIZE')}|{rule('VALUE')})")
        self.for_each(case)

    def test_sizes_that_no_message_has(self):
        # Told as soon as the header is there: the bytes it promises never come.
        def case(name, payload, fds):
            for size in (PAYLOAD_MAX + 1, 0x10000, 0xffffffff):
                self.wrong(name, b"", [], rule("SIZE"), size=size)
        self.for_each(case)

    def test_numbers_of_fds(self):
        def case(name, payload, fds):
            kind = abi.FRONTEND[name]["fds"]
            extra = os.eventfd(0, os.EFD_CLOEXEC)
            try:
                right = len(fds)
                wrong = {right + 1, abi.C["LINK_FDS_MAX"], abi.C["LINK_FDS_MAX"] + 1}
                if kind in ("ONE_MEMORY", "PER_REGION", "VRING", "ONE_SOCKET"):
                    wrong.add(0)
                if kind == "OPTIONAL_MEMORY":
                    wrong.discard(1)
                for count in wrong:
                    sent = (fds + [extra] * count)[:count]
                    self.wrong(name, payload, sent, rule("FDS"))
            finally:
                os.close(extra)
        self.for_each(case, [n for n in CARRIED])

    def test_vring_fd_with_nofd_flag(self):
        def case(name, payload, fds):
            self.wrong(name, u64(abi.NOFD), fds, rule("FDS"))
        self.for_each(case, ["SET_VRING_KICK", "SET_VRING_CALL", "SET_VRING_ERR"])

    def test_kinds_of_fds(self):
        regular = os.open("/proc/self/exe", os.O_RDONLY | os.O_CLOEXEC)
        pipe = os.pipe()
        memfd = os.memfd_create("m", os.MFD_CLOEXEC)
        os.ftruncate(memfd, 1 << 20)
        readonly = os.open(f"/proc/self/fd/{memfd}", os.O_RDONLY | os.O_CLOEXEC)
        event = os.eventfd(0, os.EFD_CLOEXEC)
        seqpacket = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        inet = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock = seqpacket[0].fileno()
        not_memory = [regular, pipe[0], readonly, event, sock]
        not_event = [regular, pipe[1], memfd, sock]
        not_stream = [regular, pipe[0], memfd, event, sock, inet.fileno()]

        def case(name, payload, fds):
            kind = abi.FRONTEND[name]["fds"]
            for fd in {"PER_REGION": not_memory, "ONE_MEMORY": not_memory, "VRING": not_event,
                       "ONE_SOCKET": not_stream}[kind]:
                self.wrong(name, payload, [fd], rule("FD_KIND"))
        try:
            self.for_each(case, [n for n in CARRIED if abi.FRONTEND[n]["fds"] in
                                 ("PER_REGION", "ONE_MEMORY", "VRING", "ONE_SOCKET")])
        finally:
            for fd in (regular, *pipe, memfd, readonly, event):
                os.close(fd)
            for s in (*seqpacket, inet):
                s.close()

    def test_refused_messages(self):
        self.assertIn("SET_INFLIGHT_FD", REFUSED)
        for name in REFUSED:
            row = abi.FRONTEND[name]
            with self.subTest(name=name):
                fe, link = self.negotiated()
                fds = {"ONE_SOCKET": 1, "ONE_MEMORY": 1, "ONE_EVENT": 1}.get(row["fds"], 0)
                sizes = {"NONE": 0, "U64": 8, "STATE": 8, "LOG": 16, "INFLIGHT": 24, "OPAQUE": 16}
                fe.send(name, bytes(sizes[row["payload"]]), [self.eventfd()] * fds)
                self.ends(fe, link, f"{name}: ({rule('REFUSED')}|{rule('GATE')})")
            self.again()

    def test_features_that_were_not_negotiated(self):
        for name in CARRIED:
            if abi.FRONTEND[name]["gate"] == 255:
                continue
            with self.subTest(name=name):
                fe, link = self.negotiated(protocol=0)
                payload, fds = self.good(name, self.memory())
                fe.send(name, payload, fds)
                self.ends(fe, link, f"{name}: {rule('GATE')}")
            self.again()

    def test_features_that_were_not_offered(self):
        for bit in (1, 2, 10, 11, 12, 17, 19, 21, 63):
            if abi.CARRIED & 1 << bit:
                continue
            self.wrong("SET_PROTOCOL_FEATURES", u64(abi.CARRIED | 1 << bit), [], rule("FEATURES"))
        # Carried, but the device said no.
        fe, link = self.negotiated(protocol=abi.CARRIED)
        self.again()
        link = self.open_link(protocol=abi.CARRIED & ~abi.pf("CONFIGURE_MEM_SLOTS"))
        fe = self.connect()
        link.session_up()
        self.serve(fe, link, "GET_PROTOCOL_FEATURES")
        fe.send("SET_PROTOCOL_FEATURES", u64(abi.CARRIED))
        self.ends(fe, link, rule("FEATURES"))
        self.again()
        for bit in (abi.F_LOG_ALL, abi.F_ACCESS_PLATFORM):
            self.wrong("SET_FEATURES", u64(abi.F_VERSION_1 | bit), [], rule("FEATURES"))

    def test_indices_out_of_range(self):
        for index in (8, 9, 255, 0x7fffffff, 0xffffffff):
            for name in ("SET_VRING_NUM", "SET_VRING_BASE", "GET_VRING_BASE", "SET_VRING_ENABLE"):
                self.wrong(name, state(index, 1), [], rule("INDEX"))
            self.wrong("SET_VRING_ADDR", ADDR.pack(index, 0, 0, 0, 0, 0), [], rule("INDEX"))
        for index in (8, 255):
            def case(name, payload, fds, index=index):
                self.wrong(name, u64(index), fds, rule("INDEX"))
                self.wrong(name, u64(index | abi.NOFD), [], rule("INDEX"))
            self.for_each(case, ["SET_VRING_KICK", "SET_VRING_CALL", "SET_VRING_ERR"])

    def test_values(self):
        for num in (0, 32769, 0xffffffff):
            self.wrong("SET_VRING_NUM", state(0, num), [], rule("VALUE"))
        self.wrong("SET_VRING_ENABLE", state(0, 2), [], rule("VALUE"))
        self.wrong("SET_VRING_ADDR", ADDR.pack(0, 2, 0, 0, 0, 0), [], rule("VALUE"))
        self.wrong("NET_SET_MTU", u64(1 << 16), [], rule("VALUE"))
        self.wrong("SET_STATUS", u64(256), [], rule("VALUE"))
        self.wrong("GET_CONFIG", struct.pack("<III", 250, 8, 0) + bytes(8), [], rule("VALUE"))
        self.wrong("GET_CONFIG", struct.pack("<III", 0xffffffff, 8, 0) + bytes(8), [], rule("VALUE"))
        for value in (0x200, 1 << 63):
            self.wrong("SET_VRING_CALL", u64(value), [], f"({rule('VALUE')}|{rule('FDS')})")

    def test_order(self):
        with self.subTest("ADDR before memory"):
            fe, link = self.negotiated()
            fe.send("SET_VRING_ADDR", ADDR.pack(0, 0, 0, 0, 0, 0))
            self.ends(fe, link, f"SET_VRING_ADDR: {rule('ORDER')}")
        self.again()
        with self.subTest("KICK before ADDR"):
            fe, link, _, _ = self.with_ring(index=0)
            fe.send("SET_VRING_KICK", u64(1), [self.eventfd()])
            self.ends(fe, link, f"SET_VRING_KICK: {rule('ORDER')}")
        self.again()
        with self.subTest("REM_MEM_REG before memory"):
            fe, link = self.negotiated()
            fe.send("REM_MEM_REG", bytes(8) + self.memory().region())
            self.ends(fe, link, f"REM_MEM_REG: {rule('ORDER')}")
        self.again()
        with self.subTest("ADDR after the last region went"):
            fe, link, memory = self.with_memory()
            self.serve(fe, link, "REM_MEM_REG", bytes(8) + memory.region())
            fe.send("SET_VRING_ADDR", ADDR.pack(0, 0, 0, 0, 0, 0))
            self.ends(fe, link, f"SET_VRING_ADDR: {rule('ORDER')}")

    def regions(self, regions, pattern, sizes=None, num=None):
        """A SET_MEM_TABLE with these (guest, size, user, offset), and again the single ones by ADD_MEM_REG."""
        fds = []
        for i, _ in enumerate(regions):
            fd = os.memfd_create("r", os.MFD_CLOEXEC)
            os.ftruncate(fd, sizes[i] if sizes else 1 << 20)
            fds.append(fd)
        try:
            payload = struct.pack("<II", len(regions) if num is None else num, 0)
            payload += b"".join(REGION.pack(*r) for r in regions)
            self.wrong("SET_MEM_TABLE", payload, fds, pattern)
            if len(regions) == 1:
                self.wrong("ADD_MEM_REG", bytes(8) + payload[8:], fds, pattern)
        finally:
            for fd in fds:
                os.close(fd)

    def test_regions(self):
        page, top, far = 4096, (1 << 64) - 4096, 1 << 40
        for region in ((far, 0, 0, 0), (far + 1, page, 0, 0), (far, page + 1, 0, 0), (far, page, 0, 1),
                       (top, 2 * page, 0, 0), (far, 2 * page, top, 0), (far, 2 * page, 0, top),
                       (top, page, 0, 0), (far, top, far, far), (far, 1 << 63, far, 1 << 63)):
            self.regions([region], rule("REGION"))
        for other in ((far, page, 1 << 50, 0), (far + page, page, 1 << 50, 0),
                      (far - page, 2 * page, 1 << 50, 0), (far - page, 4 * page, 1 << 50, 0),
                      (2 * far, page, 0, 0), (2 * far, page, page + 1, 0)):
            self.regions([(far, 2 * page, 0, 0), other], rule("OVERLAP"))

    def test_regions_beyond_their_file(self):
        for size, offset in ((2 << 20, 0), ((1 << 20) + 4096, 0), (4096, 1 << 20), (1 << 20, 4096),
                             (1 << 46, 1 << 46)):
            self.regions([(1 << 40, size, 1 << 50, offset)], rule("FD_LENGTH"))

    def test_numbers_of_regions(self):
        self.wrong("SET_MEM_TABLE", struct.pack("<II", 0, 0), [], rule("REGIONS"))
        self.wrong("SET_MEM_TABLE", struct.pack("<II", 9, 0) + bytes(256), [], rule("REGIONS"))
        self.wrong("SET_MEM_TABLE", struct.pack("<II", 0xffffffff, 0) + bytes(256), [], rule("REGIONS"))

    def test_more_regions_than_there_are_slots(self):
        for slots in (3, 100):
            limit = min(slots, abi.C["VHOST_USER_MEM_SLOTS_MAX"])
            with self.subTest(slots=slots):
                fe, link = self.negotiated(slots=slots)
                for n in range(limit):
                    memory = self.memory(4096, guest_address=n << 20)
                    self.serve(fe, link, "ADD_MEM_REG", bytes(8) + memory.region(), [memory.fd])
                memory = self.memory(4096, guest_address=1 << 40)
                fe.send("ADD_MEM_REG", bytes(8) + memory.region(), [memory.fd])
                self.ends(fe, link, f"ADD_MEM_REG: {rule('SPACE')}")
            self.again()
        fe, link = self.negotiated(slots=2)
        memories = [self.memory(4096, guest_address=n << 20) for n in range(3)]
        fe.send("SET_MEM_TABLE", fe.mem_table_payload(memories), [m.fd for m in memories])
        self.ends(fe, link, f"SET_MEM_TABLE: {rule('SPACE')}")

    def test_added_region_overlaps_an_old_one(self):
        fe, link, memory = self.with_memory()
        other = self.memory(4096, guest_address=memory.size - 4096, user_address=1 << 50)
        fe.send("ADD_MEM_REG", bytes(8) + other.region(), [other.fd])
        self.ends(fe, link, f"ADD_MEM_REG: {rule('OVERLAP')}")

    def test_removed_region_is_not_there(self):
        fe, link, memory = self.with_memory()
        wrong = REGION.pack(memory.guest_address, memory.size, memory.user_address + 4096, 0)
        fe.send("REM_MEM_REG", bytes(8) + wrong)
        self.ends(fe, link, f"REM_MEM_REG: {rule('ADDRESS')}")

    def test_same_eventfd_twice(self):
        names = ("SET_VRING_KICK", "SET_VRING_CALL", "SET_VRING_ERR")
        for first in names:
            for second in names:
                with self.subTest(first=first, second=second):
                    fe, link, memory, _ = self.with_ring()
                    ring = self.keep(Vring(memory, 1, 16, 64))
                    self.serve(fe, link, "SET_VRING_ADDR", ring.addr_payload())
                    fd = self.eventfd()
                    self.serve(fe, link, first, u64(0), [fd])
                    self.serve(fe, link, first, u64(0), [fd])  # the same place again is fine
                    fe.send(second, u64(1), [fd])
                    self.ends(fe, link, f"{second}: {rule('DUPLICATE')}")
                self.again()

    def test_same_eventfd_on_two_ports(self):
        fd = self.eventfd()
        fe, link, _, _ = self.with_ring()
        self.serve(fe, link, "SET_VRING_KICK", u64(0), [fd])
        first = self.i, self.name, self.mark
        self.next_port()
        fe2, link2, _, _ = self.with_ring()
        fe2.send("SET_VRING_CALL", u64(0), [fd])
        self.ends(fe2, link2, f"SET_VRING_CALL: {rule('DUPLICATE')}")
        self.i, self.name, self.mark = first
        self.works(fe, link)
        # Free again when its place is.
        fe.send("SET_VRING_KICK", u64(abi.NOFD))
        link.serve("SET_VRING_KICK")
        self.next_port()
        fe3, link3, _, _ = self.with_ring()
        self.serve(fe3, link3, "SET_VRING_KICK", u64(0), [fd])
        self.works(fe3, link3)

    def test_second_channel(self):
        fe, link = self.negotiated()
        fe.protocol = 0
        fe.open_channel()
        link.serve("SET_BACKEND_REQ_FD")
        fe.channel.close()
        fe.open_channel()
        self.ends(fe, link, f"SET_BACKEND_REQ_FD: {rule('DUPLICATE')}")


if __name__ == "__main__":
    rig.main()
