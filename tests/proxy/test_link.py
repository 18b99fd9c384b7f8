#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Links: who may have one, hellos, packets that are wrong, VMMs that die."""

import os
import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from proxy import abi, rig  # noqa: E402
from proxy.frontend import HEADER  # noqa: E402
from proxy.vmm_link import BACKEND_UP, KIND, LINK_HEADER, Link  # noqa: E402

NOBODY = 65534
# Run as another user: it connects and says what comes of it.
STRANGER = """
import os, socket, sys
os.setgroups([]); os.setgid({uid}); os.setuid({uid})
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.settimeout(60)
try:
    s.connect(sys.argv[1])
except PermissionError:
    print("no permission"); sys.exit()
try:
    s.send(bytes.fromhex(sys.argv[2]))
    data = s.recv(2000)
except (ConnectionResetError, BrokenPipeError):
    data = b""
print("kind", int.from_bytes(data[:2], "little") if data else "closed")
"""


class Refusals(rig.Case):
    """Base: links that are told why not."""

    def rejected(self, pattern, port=None, **kw):
        """A hello that is refused with a reason."""
        link = self.keep(Link(self.proxy.link))
        link.hello(self.name if port is None else port, "script", **kw)
        text = link.expect("REJECT").text
        self.assertRegex(text, pattern)
        self.assertEqual(link.wait_closed(), [])
        self.proxy.proc.wait_line(f"link: uid {os.getuid()} pid {os.getpid()}: refused: .*{pattern}", after=self.mark)
        self.mark = self.proxy.proc.mark()


class WrongHellos(Refusals):
    """Each with its own reason. (A proxy of their own: lines about links without a port are limited to ten a second.)"""

    ports = 1

    def test_wrong_hellos(self):
        self.rejected("no hello of a vvu link", magic=0)
        self.rejected(f"link version 99, this proxy speaks {abi.C['LINK_VERSION']}", version=99)
        self.rejected('no port is named "p9999"', port="p9999")
        self.rejected('no port is named ""', port="")
        self.rejected('no port is named "a.b"', port="a\x01b")
        self.rejected('no port is named "x{63}"', port="x" * 64)


class OtherFirstPackets(Refusals):
    """Any packet but a hello. (A proxy of their own, too.)"""

    ports = 1

    def test_other_first_packets(self):
        for kind in KIND:
            if kind in ("HELLO", "FRONTEND", "BACKEND"):
                continue
            link = self.keep(Link(self.proxy.link))
            sizes = {"REJECT": 256, "SESSION_DOWN": 256, "RESULT": 256, "BACKEND_UP": BACKEND_UP.size, "RECORD": 8,
                     "KEPT": 16}
            link.send_packet(kind, bytes(sizes.get(kind, 0)))
            self.assertRegex(link.expect("REJECT").text, "no hello")
            link.wait_closed()


class Hello(Refusals):
    """The first packet."""

    def test_hello_cut_at_every_byte(self):
        data = LINK_HEADER.pack(KIND["HELLO"], 0, 0, 0, 0) + Link.hello_body(self.name)
        for cut in range(1, len(data)):
            link = self.keep(Link(self.proxy.link))
            link.sock.send(data[:cut])
            self.assertEqual(link.wait_closed(), [])
        self.proxy.proc.wait_line("link: .*a packet of wrong kind, size, flags or fds", after=self.mark)

    def test_hello_with_flags_or_fds(self):
        fd = self.eventfd()
        for kw in ({"flags": 1}, {"reserved": 1}, {"fds": [fd]}, {"fds": [fd] * 9}):
            link = self.keep(Link(self.proxy.link))
            link.send_packet("HELLO", Link.hello_body(self.name), **kw)
            self.assertEqual(link.wait_closed(), [])

    def test_no_hello(self):
        link = self.keep(Link(self.proxy.link))
        self.assertEqual(link.wait_closed(), [])
        self.proxy.proc.wait_line("link: .*no hello within 5 s", after=self.mark)

    def test_taken_port(self):
        first = self.open_link(who="vvu-vmm 1")
        self.rejected(rf"port {self.name} is taken by vvu-vmm 1 \(pid {os.getpid()}\)")
        fe = self.connect()
        first.session_up()
        self.works(fe, first)
        # A VMM that was killed and started again at once is not refused.
        for _ in range(50):
            first.close()
            first = self.open_link(up=False)

    def test_many_that_say_nothing(self):
        silent = [self.keep(Link(self.proxy.link)) for _ in range(64)]
        self.proxy.status()
        self.keep(Link(self.proxy.link)).wait_closed()
        self.proxy.proc.wait_line("link: .* refused: 64 links wait for their hello", after=self.mark)
        silent[0].close()
        self.proxy.status()
        self.open_link()


@unittest.skipUnless(os.geteuid() == 0, "needs root to become another user")
class Users(rig.Case):
    """Base: links from other users."""

    ports = 4

    def as_user(self, uid):
        """What becomes of a link from another user."""
        data = LINK_HEADER.pack(KIND["HELLO"], 0, 0, 0, 0) + Link.hello_body(self.name)
        os.chmod(self.session.dir, 0o711)
        done = subprocess.run([sys.executable, "-c", STRANGER.format(uid=uid), str(self.proxy.link),
                               data.hex()], stdout=subprocess.PIPE, check=True, text=True)
        return done.stdout.strip()

    def refused_by_credentials(self, uid):
        """The socket's mode would let them in."""
        os.chmod(self.proxy.link, 0o666)
        try:
            self.assertEqual(self.as_user(uid), "kind closed")
        finally:
            os.chmod(self.proxy.link, 0o600)
        self.proxy.proc.wait_line(rf"link: uid {uid} pid \d+ refused: links are for uid 0", after=self.mark)


class Strangers(Users):
    """Links are for our own user."""

    def test_socket_is_private(self):
        self.assertEqual(os.stat(self.proxy.link).st_mode & 0o777, 0o600)
        self.assertEqual(self.as_user(NOBODY), "no permission")

    def test_credentials_are_looked_at(self):
        self.refused_by_credentials(NOBODY)
        self.open_link()


class LinkUid(Users):
    """--link-uid lets one more user in."""

    extra = ("--link-uid", str(NOBODY))

    def test_one_more_user(self):
        info = os.stat(self.proxy.link)
        self.assertEqual((info.st_mode & 0o777, info.st_uid), (0o600, NOBODY))
        self.assertEqual(self.as_user(NOBODY), f"kind {KIND['WELCOME']}")
        self.assertEqual(self.as_user(NOBODY - 1), "no permission")
        self.refused_by_credentials(NOBODY - 1)
        self.open_link()


class Packets(rig.Case):
    """Packets that a VMM may not send end its link, and the session with it."""

    def broken(self, pattern, send, up=True):
        """send(link) breaks the protocol."""
        with self.subTest(pattern=pattern):
            link = self.open_link(up=up)
            fe = self.connect()
            if up:
                link.session_up()
            send(link)
            self.assertEqual([p.kind_name for p in link.wait_closed()], [])
            self.proxy.proc.wait_line(f"port {self.name}: link of script .* ended: {pattern}", after=self.mark)
            self.assertEqual(self.proxy.port(self.i)["state"], "away" if up else "held")
            fe.close()
        self.again()

    def test_kinds_that_are_not_its_to_send(self):
        text = bytes(256)
        message = HEADER.pack(1, abi.VERSION | abi.REPLY, 8) + bytes(8)
        for kind, body in (("HELLO", Link.hello_body("p0")), ("WELCOME", b""), ("REJECT", text),
                           ("SESSION_UP", b""), ("FRONTEND", message)):
            for up in (True, False):
                self.broken(f"a packet of kind {KIND[kind]} is not a VMM's to send",
                            lambda li, k=kind, b=body: li.send_packet(k, b, session=li.session), up)

    def test_wrong_forms(self):
        message = HEADER.pack(1, abi.VERSION | abi.REPLY, 8) + bytes(8)
        fd = os.eventfd(0, os.EFD_CLOEXEC)
        cases = (
            lambda li: li.send_packet(0),
            lambda li: li.send_packet(99),
            lambda li: li.send_packet(0xffff),
            lambda li: li.send_packet("BACKEND_DOWN", flags=0x8000),
            lambda li: li.send_packet("BACKEND_DOWN", reserved=1),
            lambda li: li.send_packet("BACKEND_DOWN", b"x"),
            lambda li: li.send_packet("BACKEND", message[:-1]),
            lambda li: li.send_packet("BACKEND", message + b"x"),
            lambda li: li.send_packet("BACKEND", HEADER.pack(1, 5, 0xffffffff)),
            lambda li: li.send_packet("BACKEND", b""),
            lambda li: li.send_packet("RESULT", bytes(255)),
            lambda li: li.sock.send(b"x" * 5000),
            lambda li: li.send_packet("BACKEND", message, fds=[fd]),
            lambda li: li.send_packet("BACKEND_DOWN", fds=[fd] * 8),
            lambda li: li.send_packet("BACKEND_DOWN", fds=[fd] * 9),
        )
        for send in cases:
            for up in (True, False):
                self.broken("a packet of wrong kind, size, flags or fds", send, up)
        os.close(fd)

    def test_back_end_up(self):
        self.broken("BACKEND_UP while the back-end is up", lambda li: li.back_end_up())
        for queues, slots in ((0, 8), (257, 8), (0xffffffff, 8), (8, 0)):
            self.broken(f"BACKEND_UP with {queues} queues and {slots} memory slots",
                        lambda li, q=queues, s=slots: li.back_end_up(queues=q, slots=s), up=False)

    def test_back_end_down_twice_is_nothing(self):
        link = self.open_link(up=False)
        link.back_end_down()
        link.back_end_up()
        link.back_end_down()
        link.back_end_down()
        link.back_end_up()
        fe = self.connect()
        link.session_up()
        self.works(fe, link)

    def test_largest_number_of_queues(self):
        fe, link = self.negotiated(queues=256)
        fd = self.eventfd()
        fe.send("SET_VRING_CALL", (255).to_bytes(8, "little"), [fd])
        link.serve("SET_VRING_CALL")
        self.works(fe, link)

    def test_killed_at_any_time(self):
        def stages(fe, link):
            yield lambda: link.hello(self.name)
            yield lambda: link.expect("WELCOME")
            yield lambda: link.back_end_up()
            yield lambda: fe.append(self.connect())
            yield link.session_up
            yield lambda: fe[0].send("GET_FEATURES")
            yield lambda: link.reply_u64(link.message("GET_FEATURES"), 0)
            yield lambda: link.reply_u64(link.recv(), 0)

        for stop in range(8):
            fe, link = [], self.keep(Link(self.proxy.link))
            for n, stage in enumerate(stages(fe, link)):
                if n == stop:
                    break
                stage()
            link.close()
            if stop > 4:
                self.proxy.proc.wait_line(f"port {self.name}: session .* waits for the next back-end", after=self.mark)
            self.again()
            self.assertIn(self.proxy.port(self.i)["state"], ("no VMM",))

    def test_up_time(self):
        before = self.proxy.status()
        self.assertIsNone(before["backend_up_ns"])
        link = self.open_link()
        first = self.proxy.port(self.i)["back_end"]["up_ns"]
        self.assertGreater(first, before["started_ns"])
        link.back_end_down()
        link.back_end_up()
        self.assertGreater(self.proxy.port(self.i)["back_end"]["up_ns"], first)


class AllUp(rig.Case):
    """backend_up_ns is that of the last port."""

    ports = 3

    def test_last_port(self):
        links = []
        for n in range(3):
            self.assertIsNone(self.proxy.status()["backend_up_ns"])
            self.i, self.name = n, f"p{n}"
            links.append(self.open_link())
        status = self.proxy.status()
        self.assertEqual(status["backend_up_ns"], max(p["back_end"]["up_ns"] for p in status["ports"]))
        self.assertEqual(status["back_ends_up"], 3)


if __name__ == "__main__":
    rig.main()
