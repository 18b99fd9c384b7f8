#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
Scripted front-ends against the hosted back-end, vvu-backend: traffic, and every way to misbehave towards it.

The same over every kind of ring, over several queue pairs (the last one misbehaves) and with several workers: KINDS.
"""

import itertools
import os
import pathlib
import select
import socket
import struct
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from lib import paths, procs  # noqa: E402
from proxy import abi  # noqa: E402
from proxy.frontend import F_IN_ORDER, F_RING_PACKED, FrontEnd, Memory, U64, new_eventfd  # noqa: E402

PORTS = 4
MEMORY = 4 << 20  # for each queue pair
BATCH = 16  # messages of a flood that are sent before their answers are read

# What a class of tests can be run with besides one pair of split rings and one worker.
KINDS = {
    "Packed": {"rings": F_RING_PACKED},
    "InOrder": {"rings": F_IN_ORDER},
    "PackedInOrder": {"rings": F_RING_PACKED | F_IN_ORDER},
    "Pairs": {"pairs": 4},
    "Smp": {"cpus": 4},
    "SmpPairs": {"cpus": 4, "pairs": 4},
    "SmpPackedPairs": {"cpus": 4, "pairs": 4, "rings": F_RING_PACKED | F_IN_ORDER},
}


def also(namespace, base, *kinds):
    """Adds to a module what it has as `base` once more for each of the kinds."""
    for kind in kinds:
        about = {"__module__": namespace["__name__"], "__doc__": f"{base.__name__}, {kind}."}
        namespace[kind + base.__name__] = type(kind + base.__name__, (base,), KINDS[kind] | about)


def program():
    """The program under test: $VVU_BACKEND, or the one of the build directory."""
    return os.environ.get("VVU_BACKEND") or paths.program("vvu-backend")


def mac(n):
    """The address of port n."""
    return bytes([2, 0, 0, 0, 0, n + 1])


def frame(src, dst=None, payload=b"payload"):
    """A frame from port src to port dst, or to all."""
    return (mac(dst) if dst is not None else b"\xff" * 6) + mac(src) + b"\x88\xb5" + payload.ljust(46, b".")


class Guest:
    """A connected front-end with its memory and rings; rx and tx are those of its last pair."""

    def __init__(self, fe, rings=0, pairs=1, **kw):
        self.fe = fe
        self.memory = Memory(MEMORY * pairs, **kw)
        fe.negotiate(rings=rings)
        if fe.features & rings != rings:
            raise procs.Failure(f"features {rings:#x} were asked for, {fe.features:#x} are offered")
        fe.set_mem_table([self.memory])
        self.pairs = fe.start_pairs(self.memory, pairs)
        self.rx, self.tx = self.pairs[-1]
        self.turns = itertools.cycle(tx for _, tx in self.pairs)

    def send(self, data):
        """A frame, through each of the pairs in turn."""
        next(self.turns).send_frame(data)

    def recv(self, timeout=60):
        """The next frame from any of the pairs; None: none came."""
        deadline = time.monotonic() + timeout
        calls = [rx.call_fd for rx, _ in self.pairs]
        while True:
            for rx, _ in self.pairs:
                data = rx.recv_frame(0)
                if data is not None:
                    return data
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            for fd in select.select(calls, [], [], left)[0]:
                os.eventfd_read(fd)

    def got(self):
        """All frames that are there."""
        return list(iter(lambda: self.recv(0), None))

    def close(self):
        """Everything of it."""
        self.fe.close()
        for ring in itertools.chain(*self.pairs):
            ring.close()
        self.memory.close()


class Backend(unittest.TestCase):
    """One vvu-backend per class."""

    words = ("switch",)
    rings = 0  # features of the rings of all guests
    pairs = 1  # of queues, of all guests
    cpus = 1

    @classmethod
    def setUpClass(cls):
        cls.session = procs.Session("hosted")
        cls.session.__enter__()
        cls.addClassCleanup(cls.session.__exit__, None, None, None)
        cls.dir = cls.session.dir
        argv = [program(), "--control", cls.dir / "control", "--cpus", str(cls.cpus)]
        for i in range(PORTS):
            argv += ["--port", f"p{i}={cls.dir}/p{i}"]
        cls.proc = cls.session.start("vvu-backend", argv + list(cls.words))
        cls.proc.wait_line("^ready$")
        cls.baseline = cls.fds()

    @classmethod
    def tearDownClass(cls):
        status = cls.proc.stop()
        assert status == 0, f"ended with {status}:\n{cls.proc.tail(40)}"
        assert not cls.proc.find_line("Sanitizer|runtime error"), cls.proc.tail(60)
        assert not list(cls.dir.glob("p[0-9]")), "sockets were left behind"

    @classmethod
    def status(cls):
        """Its status; the second request sees what the turn of the first one did."""
        procs.control(cls.dir / "control", {"cmd": "status"})
        return procs.control(cls.dir / "control", {"cmd": "status"})

    @classmethod
    def fds(cls):
        """Number of its open fds."""
        cls.status()
        return len(os.listdir(f"/proc/{cls.proc.pid}/fd"))

    @classmethod
    def socket(cls, i):
        """Path of port i's socket."""
        return cls.dir / f"p{i}"

    @classmethod
    def counters(cls):
        """All counters."""
        return cls.status()["counters"]

    @classmethod
    def busy(cls):
        """Ports that have a front-end."""
        return [p["name"] for p in cls.status()["ports"] if p["connected"]]

    def setUp(self):
        self.opened = []
        self.mark = self.proc.mark()

    def tearDown(self):
        for thing in reversed(self.opened):
            thing.close()
        self.assertTrue(self.proc.running(), self.proc.tail(40))
        procs.wait_until(lambda: not self.busy(), "all ports are free", interval=0.01)
        procs.wait_until(lambda: self.fds() <= self.baseline, "all fds are closed", interval=0.01)

    def keep(self, thing):
        """Close it at the end."""
        self.opened.append(thing)
        return thing

    def connect(self, i):
        """A front-end on port i that has said nothing yet."""
        return self.keep(FrontEnd.connect(self.socket(i)))

    def guest(self, i, **kw):
        """A front-end on port i with running rings."""
        return self.keep(Guest(FrontEnd.connect(self.socket(i)), self.rings, self.pairs, **kw))

    def counter(self, name):
        """One counter."""
        return self.counters()[name]

    def ended(self, i, pattern, fe=None):
        """The session of port i ends with a line about it."""
        if fe:
            fe.wait_closed()
        self.proc.wait_line(rf"p{i}: session ended: .*{pattern}", after=self.mark)


class Traffic(Backend):
    """What should work."""

    def exchange(self, a, b, i, k, word=b""):
        """A frame each way between guests a and b on ports i and k."""
        a.send(frame(i, k, b"there" + word))
        self.assertEqual(b.recv(), frame(i, k, b"there" + word))
        b.send(frame(k, i, b"back" + word))
        self.assertEqual(a.recv(), frame(k, i, b"back" + word))

    def test_switches(self):
        """Floods, learns, forwards."""
        guests = [self.guest(i) for i in range(PORTS)]
        guests[0].send(frame(0))
        for g in guests[1:]:
            self.assertEqual(g.recv(), frame(0))
        # Nobody has heard of port 1 yet, so this one goes to all; from then on everybody is known.
        guests[0].send(frame(0, 1))
        for g in guests[1:]:
            self.assertEqual(g.recv(), frame(0, 1))
        guests[1].send(frame(1, 0))
        self.assertEqual(guests[0].recv(), frame(1, 0))
        if self.cpus > 1:
            # A worker tells the others of an address; they have heard when it has gone once round its rings.
            for _ in range(2 * self.pairs):
                self.exchange(guests[0], guests[1], 0, 1)
        for _ in range(20):
            self.exchange(guests[0], guests[1], 0, 1, b" alone")
        for g in guests[2:]:
            got = g.got()
            self.assertFalse([data for data in got if b" alone" in data or self.cpus == 1], got)

    def test_without_kick_fd(self):
        """A ring without a kick eventfd is looked at all the same."""
        a, b = self.guest(0), self.guest(1)
        a.fe.vring_fd("SET_VRING_KICK", a.tx.index, None)
        a.fe.get_u64("GET_FEATURES")
        for _ in a.pairs:
            self.exchange(a, b, 0, 1)

    def test_restart_of_a_ring(self):
        """GET_VRING_BASE says where it stands, and it goes on from there."""
        a, b = self.guest(0), self.guest(1)
        for _ in a.pairs:
            self.exchange(a, b, 0, 1)
        base = a.fe.stop_vring(a.tx)
        self.assertEqual(base, a.tx.base)
        a.fe.start_vring(a.tx, base=base)
        for _ in a.pairs:
            self.exchange(a, b, 0, 1)

    def test_memory_slots(self):
        """Memory added and removed while rings run."""
        a, b = self.guest(0), self.guest(1)
        more = self.keep(Memory(1 << 20, guest_address=1 << 32))
        a.fe.add_mem_reg(more)
        at = more.alloc(2048)
        more.write(at, bytes(12) + frame(0, 1, b"from the new region"))
        a.tx.write_desc(200, at, 12 + 60)
        a.tx.publish(200)
        a.tx.kick()
        self.assertEqual(b.recv(), frame(0, 1, b"from the new region"))
        a.tx.wait_used()
        a.fe.rem_mem_reg(more)
        for _ in a.pairs:
            self.exchange(a, b, 0, 1)

    def test_reconnect(self):
        """A front-end that comes again finds a fresh port; the others don't notice."""
        b = self.guest(1)
        for _ in range(5):
            a = Guest(FrontEnd.connect(self.socket(0)), self.rings, self.pairs)
            for _ in a.pairs:
                self.exchange(a, b, 0, 1)
            a.close()
            procs.wait_until(lambda: "p0" not in self.busy(), "p0 is free again", interval=0.01)


class AlwaysPolling(Traffic):
    """The same without ever sleeping."""
    words = ("switch", "poll=always")


class NeverPolling(Traffic):
    """The same with kicks only."""
    words = ("switch", "poll=never", "offload=off")


class Echo(Backend):
    """The other application."""
    words = ("echo",)

    def test_echo(self):
        """The frame comes back with its addresses swapped."""
        a = self.guest(0)
        for _ in a.pairs:
            a.send(frame(0, 1, b"hello"))
            self.assertEqual(a.recv(), frame(1, 0, b"hello"))


class Misbehaviour(Backend):
    """What must cost a front-end its session, and nobody else anything."""

    def setUp(self):
        super().setUp()
        self.b, self.c = self.guest(2), self.guest(3)

    def tearDown(self):
        # The bystanders still talk. What came before was flooded to them.
        try:
            for _ in self.b.pairs:
                self.b.send(frame(2, 3, b"still here"))
                while (got := self.c.recv()) != frame(2, 3, b"still here"):
                    self.assertIsNotNone(got)
        finally:
            super().tearDown()

    def test_wrong_messages(self):
        """Each ends the session with a line that names the message."""
        table = FrontEnd.mem_table_payload
        memory = self.keep(Memory(1 << 20))
        other = self.keep(Memory(1 << 20, guest_address=1 << 19))
        plain = self.keep(os.fdopen(os.open(__file__, os.O_RDONLY), "rb")).fileno()
        event = new_eventfd()
        cases = [
            ("SET_OWNER", b"12345678", []),
            ("SET_FEATURES", U64.pack(1 << 33), []),
            ("SET_PROTOCOL_FEATURES", U64.pack(1 << 8), []),
            ("SET_VRING_NUM", struct.pack("<II", 0, 0), []),
            ("SET_VRING_NUM", struct.pack("<II", 16, 256), []),
            ("SET_VRING_ADDR", bytes(40), []),
            ("SET_VRING_KICK", U64.pack(0), [event]),
            ("SET_VRING_CALL", U64.pack(0), []),
            ("SET_VRING_CALL", U64.pack(0), [plain]),
            ("SET_VRING_CALL", U64.pack(0), [event, event]),
            ("SET_VRING_ERR", U64.pack(0), [plain]),
            ("SET_MEM_TABLE", table([memory]), []),
            ("SET_MEM_TABLE", table([memory]), [plain]),
            ("SET_MEM_TABLE", table([memory, other]), [memory.fd, other.fd]),
            ("SET_MEM_TABLE", table([], 9), []),
            ("POSTCOPY_LISTEN", b"", []),
            ("SET_LOG_BASE", bytes(16), [memory.fd]),
            ("SET_BACKEND_REQ_FD", b"", [plain]),
            # What proxy, device and driver say among themselves.
            ("SET_PROTOCOL_FEATURES", U64.pack(1 << 12), []),
            ("SET_INFLIGHT_FD", struct.pack("<QQHH4x", 4096, 0, 1, 0), [memory.fd]),
        ]
        for name, payload, fds in cases:
            with self.subTest(name):
                fe = FrontEnd.connect(self.socket(0))
                fe.negotiate()
                self.mark = self.proc.mark()
                fe.send(name, payload, fds)
                fe.wait_closed()
                fe.close()
        os.close(event)
        self.assertGreaterEqual(self.counter("port.p0.session_errors"), len(cases) - 2)

    def test_wrong_headers(self):
        """Version, flags, size, and requests that do not exist."""
        for data in (struct.pack("<III", 1, 0, 0), struct.pack("<III", 1, 0x11, 0), struct.pack("<III", 1, 5, 0),
                     struct.pack("<III", 5, 1, 1 << 31), struct.pack("<III", 999, 1, 0),
                     struct.pack("<III", 0, 1, 0)):
            with self.subTest(data.hex()):
                fe = FrontEnd.connect(self.socket(0))
                fe.send_bytes(data)
                fe.wait_closed()
                fe.close()

    def test_hang_up_at_every_byte(self):
        """The start of a session, cut off after each of its bytes."""
        memory = self.keep(Memory(1 << 20))
        start = [(FrontEnd.encode("GET_FEATURES"), []), (FrontEnd.encode("SET_OWNER"), []),
                 (FrontEnd.encode("SET_FEATURES", U64.pack(abi.F_VERSION_1)), []),
                 (FrontEnd.encode("SET_MEM_TABLE", FrontEnd.mem_table_payload([memory])), [memory.fd])]
        for last, (data, fds) in enumerate(start):
            for cut in range(1, len(data)):
                fe = FrontEnd.connect(self.socket(0))
                for whole, whole_fds in start[:last]:
                    fe.send_bytes(whole, whole_fds)
                fe.send_bytes(data[:cut], fds)
                fe.close()
                # The port is free for the next one when it has noticed.
                procs.wait_until(lambda: "p0" not in self.busy(), "p0 is free again", interval=0.001)

    def test_second_front_end(self):
        """It is closed at once; the first goes on."""
        a = self.guest(0)
        second = self.connect(0)
        self.assertEqual(second.wait_closed(), [])
        self.proc.wait_line("p0: has a front-end already", after=self.mark)
        a.fe.get_u64("GET_FEATURES")

    def test_memory_taken_away(self):
        """The file behind a region is cut short while the ring in it is polled."""
        a = self.guest(0)
        a.tx.send_frame(frame(0, 2))
        self.assertEqual(self.b.recv(), frame(0, 2))
        os.ftruncate(a.memory.fd, 0)
        os.eventfd_write(a.tx.kick_fd, 1)
        self.ended(0, "took memory away", a.fe)

    def test_call_that_blocks(self):
        """A call eventfd that is full and blocks must not hold up the others."""
        a = self.guest(0)
        blocking = os.eventfd(0, os.EFD_CLOEXEC)
        os.eventfd_write(blocking, 0xfffffffffffffffe)
        for rx, _ in a.pairs:
            a.fe.vring_fd("SET_VRING_CALL", rx.index, blocking)
            rx.want_call()
        self.b.send(frame(2))
        self.ended(0, "call eventfd blocks", a.fe)
        self.assertEqual(self.c.recv(), frame(2))
        os.close(blocking)

    def test_broken_ring(self):
        """Only the ring stops; its err eventfd says so; it can be started again."""
        break_and_heal(self, self.guest(0), self.b, 1)

    def test_broken_rings(self):
        """All transmit rings at once."""
        break_and_heal(self, self.guest(0), self.b, self.pairs)

    def test_bad_receive_buffers(self):
        """Buffers that are not for writing: the rings that are used stop, and go on with better ones."""
        a = self.guest(0)
        for rx, _ in a.pairs:
            base = a.fe.stop_vring(rx)
            rx.spoil_buffers(0)
            a.fe.start_vring(rx, base=base)
        self.b.send(frame(2))
        self.assertEqual(self.c.recv(), frame(2))
        why = "readable descriptor after a writable one"
        line = self.proc.wait_line(rf"p0: ring (\d+): stopped, broken: {why}", 60, self.mark)
        rx = a.pairs[int(line.group(1)) // 2][0]
        self.assertTrue(select.select([rx.err_fd], [], [], 60)[0])
        for rx, _ in a.pairs:
            base = a.fe.stop_vring(rx)
            rx.spoil_buffers(rx.F_WRITE)
            a.fe.start_vring(rx, base=base)
        self.b.send(frame(2, 0, b"healed"))
        self.assertEqual(a.recv(), frame(2, 0, b"healed"))


def break_and_heal(case, a, b, num):
    """Damages the last transmit rings of guest a on port 0: they stop and say so, the others work on; they heal."""
    broken = [tx for _, tx in a.pairs[-num:]]
    for tx in broken:
        why = tx.damage()
        os.eventfd_write(tx.kick_fd, 1)
    for tx in broken:
        case.assertTrue(select.select([tx.err_fd], [], [], 60)[0])
        case.assertEqual(os.eventfd_read(tx.err_fd), 1)
        case.proc.wait_line(f"p0: ring {tx.index}: stopped, broken: {why}", 60, case.mark)
    for _, tx in a.pairs[:-num]:
        tx.send_frame(frame(0, 2, b"not broken"))
        case.assertEqual(b.recv(), frame(0, 2, b"not broken"))
    for tx in broken:
        tx.repair()
        base = a.fe.stop_vring(tx)
        a.fe.start_vring(tx, base=base)
        tx.send_frame(frame(0, 2, b"healed"))
        case.assertEqual(b.recv(), frame(0, 2, b"healed"))


also(globals(), Traffic, *KINDS)
also(globals(), NeverPolling, "Packed", "SmpPackedPairs")
also(globals(), Echo, "SmpPackedPairs")
also(globals(), Misbehaviour, *KINDS)


class Floods(Backend):
    """A port that does something all the time, beside two that go on working. Counters say that it was noticed."""
    # What is traced, or runs under ThreadSanitizer or valgrind, is slower than what the port may send.
    waits = "port.p0.messages" if os.environ.get("VVU_TRACED") else "port.p0.control_waits"

    def setUp(self):
        super().setUp()
        self.a, self.b = self.guest(1), self.guest(2)
        self.exchange(self.a, self.b, 1, 2)  # both are known from now on, and nothing is flooded

    def while_flooding(self, flood, counter):
        """Calls flood() again and again until the counter has grown; meanwhile frames pass between others."""
        stop = threading.Event()
        errors = []

        def run():
            try:
                while not stop.is_set():
                    flood()
            except Exception as error:  # pylint: disable=broad-except
                errors.append(error)
        before = self.counter(counter)
        thread = threading.Thread(target=run)
        thread.start()
        try:
            procs.wait_until(lambda: errors or self.counter(counter) > before, f"{counter} counts", 2 * procs.LIMIT, 0.02)
            for k in range(20):
                self.exchange(self.a, self.b, 1, 2, k)
        finally:
            stop.set()
            thread.join()
        self.assertEqual(errors, [])

    def exchange(self, a, b, i, k, n=0):
        """A frame each way between two guests."""
        a.tx.send_frame(frame(i, k, b"there %d" % n))
        self.assertEqual(b.rx.recv_frame(), frame(i, k, b"there %d" % n))
        b.tx.send_frame(frame(k, i, b"back %d" % n))
        self.assertEqual(a.rx.recv_frame(), frame(k, i, b"back %d" % n))

    def test_kicks(self):
        """Its kicks are held off; it is served all the same, then and later, and so is the next front-end."""
        flooder = self.guest(0)
        self.while_flooding(lambda: os.eventfd_write(flooder.tx.kick_fd, 1), "port.p0.kick_floods")
        self.proc.wait_line("p0: kicks in vain", after=self.mark)
        for k in range(20):
            self.exchange(flooder, self.a, 0, 1, k)
        self.opened.remove(flooder)
        flooder.close()
        procs.wait_until(lambda: "p0" not in self.busy(), "p0 is free again", interval=0.01)
        self.exchange(self.guest(0), self.a, 0, 1)

    def test_messages(self):
        """They wait for their turn, none is lost."""
        flooder = self.guest(0)
        fds = [new_eventfd() for _ in range(2)]
        number = iter(range(1 << 30))
        acked = bool(flooder.fe.protocol & abi.pf("REPLY_ACK"))

        def swap():
            # Many at a time: how often a process gets a processor must not decide how many there are in a second.
            for _ in range(BATCH):
                flooder.fe.send("SET_VRING_CALL", U64.pack(1), [fds[next(number) & 1]], need_reply=acked)
            for _ in range(BATCH if acked else 0):
                reply = flooder.fe.recv()
                self.assertEqual((reply.name, reply.u64), ("SET_VRING_CALL", 0))
        self.while_flooding(swap, self.waits)
        flooder.fe.get_u64("GET_FEATURES")
        flooder.fe.vring_fd("SET_VRING_CALL", 1, flooder.tx.call_fd)
        self.exchange(flooder, self.a, 0, 1)
        for fd in fds:
            os.close(fd)


class PollingFloods(Floods):
    """The same where nobody ever sleeps."""
    words = ("switch", "poll=always")


class Limited(Backend):
    """A rate limit: later, but all, and in order."""
    words = ("switch", "poll=never", "port.p0.pps=200", "port.p1.rate=1M")

    def test_frames_wait(self):
        """More than may be sent at once."""
        guests = [self.guest(i) for i in range(3)]
        guests[2].tx.send_frame(frame(2))
        for g in guests[:2]:
            self.assertEqual(g.rx.recv_frame(), frame(2))
        for i in range(2):
            sent = [frame(i, 2, b"%03d" % k + bytes(1000)) for k in range(40)]
            for f in sent:
                guests[i].tx.send_frame(f, kick=False)
            guests[i].tx.kick()
            for f in sent:
                self.assertEqual(guests[2].rx.recv_frame(), f)
            self.assertGreater(self.counter(f"port.p{i}.rate_waits"), 0)
        self.assertEqual(self.counter("switch.frames_dropped"), 0)


class Client(unittest.TestCase):
    """mode=client: we listen, it connects."""

    def test_connects_again(self):
        """As often as the connection is lost."""
        with procs.Session("hosted") as session:
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            proc = session.start("vvu-backend", [program(), "--port", f"p0={session.dir}/s,mode=client"])
            proc.wait_line("^ready$")
            listener.bind(str(session.dir / "s"))
            listener.listen()
            listener.settimeout(procs.LIMIT)
            for _ in range(3):
                fe = FrontEnd(listener.accept()[0])
                fe.get_u64("GET_FEATURES")
                fe.close()
            listener.close()
            self.assertEqual(proc.stop(), 0)


class CommandLine(unittest.TestCase):
    """Nonsense is refused in one line with status 2."""

    def run_it(self, *words):
        """Status and standard error."""
        done = subprocess.run([program(), *words], capture_output=True, text=True, timeout=2 * procs.LIMIT, check=False)
        return done.returncode, done.stderr, done.stdout

    def test_nonsense(self):
        """Each word on its own."""
        for words in ([], ["--port"], ["--port", "a"], ["--port", "a="], ["--port", "=x"], ["--port", "-a=/tmp/x"],
                      ["--port", "a=/tmp/x,mode=both"], ["--port", "a=/tmp/x,what=1"], ["--nonsense"],
                      ["--port", "a=/tmp/x", "--port", "a=/tmp/y"], ["--port", "a=/tmp/x", "--port", "b=/tmp/x"],
                      ["--port", "a=/tmp/x", "--log-level", "loud"], ["--port", "a=/tmp/x", "route"],
                      ["--port", "a=/tmp/x", "switch", "poll=now"], ["--port", "a=/tmp/x", "switch", "names=a"],
                      ["--port", "a=/tmp/x", "switch", "port.b.mac=02:00:00:00:00:01"],
                      [w for i in range(33) for w in ("--port", f"p{i}=/tmp/x{i}")]):
            status, err, _ = self.run_it(*words)
            self.assertEqual(status, 2, (words, err))
            self.assertIn("vvu-backend", err)

    def test_cannot_listen(self):
        """A run-time failure is status 1 and names the path."""
        status, err, _ = self.run_it("--port", "a=/nonexistent/x")
        self.assertEqual(status, 1)
        self.assertIn("/nonexistent/x", err)

    def test_help_and_version(self):
        """They go to standard output."""
        self.assertIn("--port", self.run_it("--help")[2])
        self.assertRegex(self.run_it("--version")[2], r"^vvu-backend \d")


if __name__ == "__main__":
    procs.die_on_signals()
    unittest.main(verbosity=2)
