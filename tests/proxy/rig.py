# SPDX-License-Identifier: BSD-2-Clause
"""
A proxy under test with scripted peers on both sides, all driven from one thread.

Each test leaves the proxy as it found it: alive, with as many open fds as before. Ports are used in turn, since lines about
a port are limited to ten a second.
"""

import json
import os
import signal
import socket
import sys
import unittest

from . import abi
from .frontend import FrontEnd, Memory, U64, STATE, Vring, new_eventfd
from .vmm_link import Link
from lib import paths, procs

PORTS = 256


def proxy_program():
    """The program under test: $VVU_PROXY, or the one of the build directory."""
    return os.environ.get("VVU_PROXY") or paths.program("vvu-proxy")


class Proxy:
    """A running vvu-proxy with `ports` ports named p0, p1, ..."""

    def __init__(self, session, ports=PORTS, options="hold=60", extra=(), name="proxy", specs=None):
        self.dir = session.dir
        self.link = session.dir / "link.sock"
        self.control_path = session.dir / "control.sock"
        self.control = None
        self.proc = session.start(name, self.argv(ports, options, specs) + list(extra))
        self.proc.wait_line("^ready$")
        self.baseline = self.settled_fds()

    def argv(self, ports, options="", specs=()):
        """The command line."""
        argv = [proxy_program(), "--link", self.link, "--control", self.control_path]
        for i in range(ports):
            argv += ["--port", f"p{i}={self.socket(i)}" + (f",{options}" if options else "")]
        for spec in specs or ():
            argv += ["--port", spec]
        return argv

    def socket(self, i):
        """Path of port i's socket."""
        return self.dir / f"p{i}.sock"

    def fds(self):
        """Number of open fds."""
        return len(os.listdir(f"/proc/{self.proc.pid}/fd"))

    def status(self):
        """
        The reply to a status request, sent when everything that was sent to the proxy before this call has been handled.

        Sockets that are ready at the same time are handled in one turn of the proxy's loop, in any order; so the first
        request sees the turn begin, and the second one sees it over. The connection stays open from call to call.
        """
        if not self.control:
            self.control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.control.settimeout(procs.LIMIT)
            self.control.connect(str(self.control_path))
            self.control_file = self.control.makefile("rwb")
        for _ in range(2):
            self.control_file.write(b'{"cmd":"status"}\n')
            self.control_file.flush()
            reply = json.loads(self.control_file.readline())
            assert reply["ok"], reply
        return reply

    def port(self, i):
        """The status of port i."""
        return self.status()["ports"][i]

    def settled_fds(self):
        """Open fds once the proxy has handled everything sent before: the reply to a request proves that."""
        self.status()
        return self.fds()

    def kill(self):
        """SIGKILL; sockets stay behind."""
        os.kill(self.proc.pid, signal.SIGKILL)
        self.proc.wait()
        self.close()

    def close(self):
        """Close the control connection."""
        if self.control:
            self.control_file.close()
            self.control.close()
            self.control = None


class Case(unittest.TestCase):
    """Base of the test cases: one proxy per class, ports in turn."""

    options = "hold=60"  # as long as anything may take here; where that time is what is tested, there is another
    ports = PORTS
    extra = ()

    @classmethod
    def setUpClass(cls):
        cls.session = procs.Session("proxy")
        cls.session.__enter__()
        cls.addClassCleanup(cls.session.__exit__, None, None, None)
        cls.proxy = Proxy(cls.session, cls.ports, cls.options, cls.extra)
        cls.turn = 0

    @classmethod
    def tearDownClass(cls):
        cls.proxy.close()
        status = cls.proxy.proc.stop()
        assert status == 0, f"the proxy ended with {status}:\n{cls.proxy.proc.tail()}"
        bad = cls.proxy.proc.find_line("Sanitizer|runtime error")
        assert not bad, cls.proxy.proc.tail(60)

    def setUp(self):
        self.opened = []
        self.next_port()

    def next_port(self):
        """Move on to another port."""
        cls = type(self)
        self.i = cls.turn % cls.ports
        cls.turn += 1
        self.mark = self.proxy.proc.mark()
        self.name = f"p{self.i}"

    def tearDown(self):
        self.close_all()
        self.assertTrue(self.proxy.proc.running(), self.proxy.proc.tail(40))
        self.check_fds()

    def check_fds(self):
        """Every fd of what has ended is closed: the proxy closes before it tells anyone, so nothing is left to wait for."""
        procs.wait_until(lambda: self.proxy.settled_fds() <= self.proxy.baseline,
                         f"{self.proxy.fds()} fds open, {self.proxy.baseline} at the start", interval=0.01)

    def again(self):
        """Between the cases of one test: everything closed, nothing left over, the next port."""
        self.close_all()
        self.check_fds()
        self.next_port()

    def close_all(self):
        """Hang up everywhere."""
        for thing in reversed(self.opened):
            thing.close()
        self.opened = []

    def keep(self, thing):
        """Close it at the end of the test."""
        self.opened.append(thing)
        return thing

    # --- peers ---

    def connect(self):
        """A front-end on the current port."""
        return self.keep(FrontEnd.connect(self.proxy.socket(self.i)))

    def open_link(self, **kw):
        """A VMM on the current port."""
        return self.keep(Link.open(self.proxy.link, self.name, **kw))

    def pair(self, **kw):
        """A link with a back-end that is up and a front-end whose session it knows."""
        link = self.open_link(**kw)
        fe = self.connect()
        link.session_up()
        return fe, link

    def serve(self, fe, link, request, payload=b"", fds=(), need_reply=False, **kw):
        """A request through the proxy, answered by a good back-end; the reply or None."""
        fe.send(request, payload, fds, need_reply=need_reply)
        packet = link.serve(request, **kw)
        if abi.FRONTEND[request]["reply"] != "ACK" or packet.msg_flags & abi.NEED_REPLY:
            return fe.recv()
        return None

    def negotiated(self, protocol=abi.CARRIED, **kw):
        """A pair that has negotiated all that is carried, and has an owner and features."""
        fe, link = self.pair(**kw)
        self.serve(fe, link, "GET_FEATURES")
        offered = self.serve(fe, link, "GET_PROTOCOL_FEATURES").u64
        fe.protocol = offered & protocol
        self.serve(fe, link, "SET_PROTOCOL_FEATURES", U64.pack(fe.protocol))
        self.serve(fe, link, "SET_OWNER")
        self.serve(fe, link, "SET_FEATURES", U64.pack(abi.F_VERSION_1 | abi.F_PROTOCOL_FEATURES))
        return fe, link

    def memory(self, size=1 << 20, **kw):
        """Guest memory."""
        return self.keep(Memory(size, **kw))

    def with_memory(self, **kw):
        """A negotiated pair with one region."""
        fe, link = self.negotiated(**kw)
        memory = self.memory()
        self.serve(fe, link, "SET_MEM_TABLE", fe.mem_table_payload([memory]), [memory.fd])
        return fe, link, memory

    def with_ring(self, index=0, **kw):
        """A pair with memory and the address of one ring."""
        fe, link, memory = self.with_memory(**kw)
        ring = self.keep(Vring(memory, index, 16, 64))
        self.serve(fe, link, "SET_VRING_ADDR", ring.addr_payload())
        return fe, link, memory, ring

    def eventfd(self):
        """An eventfd, closed at the end."""
        fd = new_eventfd()
        self.keep(_Fd(fd))
        return fd

    def next_request(self, link, name):
        """
        The front-end's next message at the link, which is `name`; None when none will come because the proxy has stopped reading.
        A look now and then whether it has is no verdict: what counts is that it had handled everything and sent nothing.
        """
        limit = link.sock.gettimeout()
        try:
            link.sock.settimeout(0.2)
            try:
                return link.message(name)
            except TimeoutError:
                self.proxy.status()
                link.sock.setblocking(False)
                return link.message(name)
        except BlockingIOError:
            return None
        finally:
            link.sock.settimeout(limit)

    def fill(self, fe, link, most=20000):
        """Requests that are answered, until the front-end's socket is full of replies: how many were sent, and answered."""
        for answered in range(most):
            fe.send("GET_FEATURES")
            packet = self.next_request(link, "GET_FEATURES")
            if not packet:
                return answered + 1, answered
            link.reply_u64(packet, answered)
        return most, most

    # --- verdicts ---

    def ends(self, fe, link, pattern, by="front-end"):
        """The session ends with one line, for everybody."""
        text = link.session_down()
        replies = fe.wait_closed()
        self.assertRegex(text, pattern)
        self.assertTrue(text.startswith(by + ": "), text)
        self.proxy.proc.wait_line(rf"port {self.name}: session \d+ of pid \d+ ended: {by}: .*{pattern}",
                                  after=self.mark)
        self.assertEqual(self.proxy.port(self.i)["last_end"], text)
        return replies

    def works(self, fe, link):
        """The session still relays."""
        self.assertIsNotNone(self.serve(fe, link, "GET_FEATURES"))


class _Fd:
    """An fd with a close method."""

    def __init__(self, fd):
        self.fd = fd

    def close(self):
        """Close it."""
        os.close(self.fd)


def state(index, num):
    """Payload of the vring state messages."""
    return STATE.pack(index, num)


def u64(value):
    """Payload of the u64 messages."""
    return U64.pack(value)


def rule(name):
    """The text of a rule, as a pattern."""
    import re
    return re.escape(abi.RULES[name])


def main():
    """Run the tests of the calling file."""
    procs.die_on_signals()
    unittest.main(argv=[sys.argv[0], *sys.argv[1:]], verbosity=2)
