#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Front-ends that come early, twice, leave at any byte; back-ends that come and go."""

import os
import pathlib
import signal
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))


from lib import procs  # noqa: E402
from proxy import rig  # noqa: E402
from proxy.frontend import FrontEnd  # noqa: E402
from proxy.rig import state, u64  # noqa: E402
from proxy.test_messages import CARRIED, Messages  # noqa: E402
from proxy.vmm_link import Link  # noqa: E402


class Disconnects(Messages):
    """A front-end that hangs up at every byte of every message."""

    def test_every_byte_of_every_message(self):
        for name in CARRIED:
            with self.subTest(name=name):
                memory = self.memory()
                payload, fds = self.good(name, memory)
                data = FrontEnd.encode(name, payload)
                link = self.open_link()
                for cut in range(len(data) + 1):
                    fe = FrontEnd.connect(self.proxy.socket(self.i))
                    link.session_up()
                    if cut:
                        fe.send_bytes(data[:cut], fds)
                    fe.close()
                    packet = link.recv()
                    if cut == len(data) and packet.kind_name == "FRONTEND":
                        packet.close()
                        packet = link.recv()
                    self.assertEqual(packet.kind_name, "SESSION_DOWN")
                    if 0 < cut < len(data):
                        self.assertEqual(packet.text, "front-end: closed its connection inside a message")
                # Nothing of them is left, while the link lives on.
                self.assertLessEqual(self.proxy.settled_fds(), self.proxy.baseline + 1)
            self.again()

    def test_unread_reply(self):
        # The socket then has an error pending, which must be noticed also while nothing is read.
        fe, link, memory = self.with_memory()
        fe.send("GET_FEATURES")
        link.reply_u64(link.message("GET_FEATURES"), 0)
        fe.send("REM_MEM_REG", bytes(8) + memory.region(), need_reply=True)
        link.message("REM_MEM_REG")
        self.proxy.status()
        fe.close()
        self.assertEqual(link.session_down(), "front-end: closed its connection")

    def test_half_closed(self):
        fe, link = self.negotiated()
        fe.sock.shutdown(socket.SHUT_WR)
        self.ends(fe, link, "closed its connection")

    def test_gone_while_the_link_is_stalled(self):
        fe, link = self.negotiated()
        fe.sock.setblocking(False)
        with self.assertRaises(BlockingIOError):
            while True:
                fe.send("SEND_RARP", u64(0))
        fe.close()
        # The end reaches a VMM that reads on.
        packets = []
        while not packets or packets[-1].kind_name != "SESSION_DOWN":
            packets.append(link.recv())
        self.assertIsNone(self.proxy.port(self.i)["front_end"])

    def test_gone_while_the_link_stays_stalled(self):
        fe, link = self.negotiated()
        fe.sock.setblocking(False)
        with self.assertRaises(BlockingIOError):
            while True:
                fe.send("SEND_RARP", u64(0))
        fe.close()
        self.proxy.proc.wait_line(f"port {self.name}: link of .* ended: it did not take the end of a session",
                                  after=self.mark)
        link.wait_closed()


class Sessions(rig.Case):
    """Who meets whom, and when."""

    def test_front_end_first(self):
        fe = self.connect()
        fe.send("GET_FEATURES")  # stays unread
        self.assertEqual(self.proxy.port(self.i)["state"], "held")
        link = self.open_link(up=False)
        self.assertEqual(self.proxy.port(self.i)["state"], "held")
        link.back_end_up()
        link.session_up()
        link.serve("GET_FEATURES")
        self.assertEqual(fe.recv().name, "GET_FEATURES")
        self.assertEqual(self.proxy.port(self.i)["state"], "up")

    def test_held_front_end_leaves(self):
        for chatty in (False, True):
            fe = self.connect()
            if chatty:
                fe.send("GET_FEATURES")
            self.assertEqual(self.proxy.port(self.i)["state"], "held")
            fe.close()
            self.proxy.proc.wait_line(f"port {self.name}: waiting pid .*closed its connection", after=self.mark)
            self.assertEqual(self.proxy.port(self.i)["state"], "no VMM")
            self.again()

    def test_second_front_end(self):
        fe, link = self.negotiated()
        started = time.monotonic()
        for _ in range(4):
            self.connect().wait_closed()
        # Refusals are 100 ms apart: three pauses. Each is counted from the event loop's cached clock, which is in the past by as
        # long as the proxy has just waited for a processor; and without them all four are over in a few milliseconds.
        self.assertGreaterEqual(time.monotonic() - started, 0.1)
        self.proxy.proc.wait_line(f"port {self.name}: second front-end .* refused", after=self.mark)
        self.assertEqual(self.proxy.port(self.i)["refused"], 4)
        self.works(fe, link)

    def test_second_front_end_while_the_first_is_held(self):
        fe = self.connect()
        self.connect().wait_closed()
        link = self.open_link()
        link.session_up()
        self.works(fe, link)

    def test_front_end_that_follows_at_once(self):
        link = self.open_link()
        for _ in range(50):
            fe = FrontEnd.connect(self.proxy.socket(self.i))
            link.session_up()
            fe.close()
            fe = FrontEnd.connect(self.proxy.socket(self.i))
            self.assertEqual(link.session_down(), "front-end: closed its connection")
            link.session_up()
            fe.close()
            link.session_down()
        self.assertEqual(self.proxy.port(self.i)["refused"], 0)
        self.assertEqual(self.proxy.port(self.i)["sessions"], 100)

    def test_back_end_down_and_up(self):
        fe, link = self.negotiated()
        link.back_end_down()
        fe.wait_closed()
        self.proxy.proc.wait_line(f"port {self.name}: session .* ended: back-end: the back-end went down",
                                  after=self.mark)
        self.assertEqual(self.proxy.port(self.i)["state"], "no back-end")
        fe = self.connect()
        self.assertEqual(self.proxy.port(self.i)["state"], "away")
        link.back_end_up()
        link.replay("GET_FEATURES")
        self.works(fe, link)

    def test_vmm_ends_the_session(self):
        fe, link, memory, ring = self.with_ring()
        self.serve(fe, link, "SET_VRING_KICK", u64(0), [ring.kick_fd])
        link.send_text("SESSION_DOWN", "the front-end truncated\nits memory")
        self.assertEqual(fe.wait_closed(), [])
        last_end = self.proxy.port(self.i)["last_end"]
        self.assertEqual(last_end, "back-end: the front-end truncated?its memory")
        # No echo: the next packet is of the next session.
        fe = self.connect()
        link.session_up()
        self.works(fe, link)

    def test_fds_go_with_the_session(self):
        fe, link, memory, ring = self.with_ring()
        for name, fd in (("KICK", ring.kick_fd), ("CALL", ring.call_fd), ("ERR", ring.err_fd)):
            self.serve(fe, link, f"SET_VRING_{name}", u64(0), [fd])
        # Link, front-end, three eventfds, memory, ring positions.
        self.assertEqual(self.proxy.settled_fds(), self.proxy.baseline + 7)
        fe.send(0)
        link.session_down()
        self.assertEqual(self.proxy.settled_fds(), self.proxy.baseline + 1)

    def test_other_ports_go_on(self):
        fe, link = self.negotiated()
        mark = self.i
        for _ in range(3):
            self.next_port()
            other, other_link = self.negotiated()
            other.send(0xdead)
            other_link.session_down()
        self.i, self.name = mark, f"p{mark}"
        self.works(fe, link)


class Hold(rig.Case):
    """How long a front-end waits, and what it is told."""

    options = "hold=1"
    ports = 4

    def test_no_vmm(self):
        self.assertEqual(self.connect().wait_closed(), [])
        self.proxy.proc.wait_line(
            rf"port {self.name}: waiting .*no back-end within 1 s: no VMM is linked "
            rf"\(vvu-vmm --vvu link={self.proxy.link},port={self.name}\)", after=self.mark)
        self.assertEqual(self.proxy.port(self.i)["held_in_vain"], 1)

    def test_vmm_without_driver(self):
        link = self.open_link(up=False, who="vvu-vmm 4711")
        self.assertEqual(self.connect().wait_closed(), [])
        self.proxy.proc.wait_line(
            rf"port {self.name}: waiting .*vvu-vmm 4711 is linked, but its guest has not set back-end-up",
            after=self.mark)
        link.back_end_up()
        fe = self.connect()
        link.session_up()
        self.works(fe, link)

    def test_a_session_has_no_such_limit(self):
        fe, link = self.negotiated()
        other = self.i
        self.next_port()
        self.connect().wait_closed()  # as long as the limit
        self.i, self.name = other, f"p{other}"
        self.works(fe, link)


class HoldNothing(rig.Case):
    """hold=0"""

    options = "hold=0"
    ports = 2

    def test_closed_at_once_or_served(self):
        self.assertEqual(self.connect().wait_closed(), [])
        link = self.open_link()
        fe = self.connect()
        link.session_up()
        self.works(fe, link)


class Client(rig.Case):
    """Ports in client mode: the front-end listens."""

    options = "mode=client"
    ports = 8

    def listen(self):
        """A front-end that waits for us."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(procs.LIMIT)
        path = self.proxy.socket(self.i)
        if path.exists():
            path.unlink()
        sock.bind(str(path))
        sock.listen()
        return self.keep(sock)

    def accept(self, listener):
        """The proxy's connection."""
        return self.keep(FrontEnd(listener.accept()[0]))

    def test_connects_when_the_back_end_is_up(self):
        listener = self.listen()
        link = self.open_link(up=False)
        listener.setblocking(False)
        self.assertEqual(self.proxy.port(self.i)["state"], "no back-end")
        with self.assertRaises(BlockingIOError):
            listener.accept()
        listener.settimeout(procs.LIMIT)
        link.back_end_up()
        fe = self.accept(listener)
        link.session_up()
        self.works(fe, link)

    def test_reconnects(self):
        listener = self.listen()
        link = self.open_link()
        for _ in range(4):
            fe = self.accept(listener)
            link.session_up()
            self.works(fe, link)
            fe.close()
            link.session_down()
        fe = self.accept(listener)
        link.session_up()
        # Also after the back-end went away and came back, not before.
        link.back_end_down()
        fe.wait_closed()
        link.back_end_up()
        fe = self.accept(listener)
        link.session_up()
        self.works(fe, link)

    def test_backs_off_until_somebody_listens(self):
        link = self.open_link()
        for delay in (100, 200, 400, 800):
            self.proxy.proc.wait_line(f"port {self.name}: no front-end listens at .*next attempt in {delay} ms",
                                      after=self.mark)
        listener = self.listen()
        fe = self.accept(listener)
        link.session_up()
        self.works(fe, link)

    def test_front_end_that_never_says_anything_slows_us_down(self):
        listener = self.listen()
        link = self.open_link()
        times = []
        for _ in range(4):
            fe = self.accept(listener)
            times.append(time.monotonic())
            link.session_up()
            fe.close()
            link.session_down()
        # 100, 200, 400 ms, counted from a clock that is a little in the past. They would be 300 ms if they did not grow.
        self.assertGreaterEqual(times[-1] - times[0], 0.4)


class Stop(rig.Case):
    """The end of the proxy itself."""

    ports = 3

    def tearDown(self):
        self.close_all()

    @classmethod
    def tearDownClass(cls):
        cls.proxy.close()
        bad = cls.proxy.proc.find_line("Sanitizer|runtime error")
        assert not bad, cls.proxy.proc.tail(60)

    def test_sigterm_with_everything_open(self):
        fe, link, _, ring = self.with_ring()
        self.serve(fe, link, "SET_VRING_KICK", u64(0), [ring.kick_fd])
        fe.protocol = 0
        fe.open_channel()
        link.serve("SET_BACKEND_REQ_FD")
        self.next_port()
        held = self.connect()
        self.next_port()
        ready = self.open_link(up=False)
        fresh = self.keep(Link(self.proxy.link))
        self.proxy.status()
        self.proxy.proc.popen.send_signal(signal.SIGTERM)
        self.assertEqual(link.session_down(), "proxy: the proxy stops")
        for peer in (fe, link, held, ready, fresh, fe.channel):
            self.assertEqual(peer.wait_closed(), [])
        self.assertEqual(self.proxy.proc.wait(), 0)
        left = [p.name for p in self.session.dir.iterdir() if p.suffix == ".sock"]
        self.assertEqual(left, [])


class Killed(Stop):
    """SIGKILL: peers see a hang-up; a new proxy takes the stale sockets over."""

    def test_sigterm_with_everything_open(self):
        fe, link = self.negotiated()
        os.kill(self.proxy.proc.pid, signal.SIGKILL)
        self.assertEqual(link.wait_closed(), [])
        link.close()  # and with it the duplicate of the front-end's socket that a VMM has (test_recover.py)
        self.assertEqual(fe.wait_closed(), [])
        self.proxy.proc.wait()
        self.proxy.close()
        type(self).proxy = rig.Proxy(self.session, self.ports, name="second")
        fe, link = self.negotiated()
        self.works(fe, link)
        self.assertEqual(self.serve(fe, link, "GET_VRING_BASE", state(0, 0)).name, "GET_VRING_BASE")
        self.assertEqual(self.proxy.proc.stop(), 0)


del Messages  # imported as a base only

if __name__ == "__main__":

    rig.main()
