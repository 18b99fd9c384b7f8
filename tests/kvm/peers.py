# SPDX-License-Identifier: BSD-2-Clause
"""
Link peers: they play the proxy, and the front-end behind it, for one guest.

The guest leads. It prints `PEER COMMAND WORDS`; the peer carries that out and, when it is done, sends GET_FEATURES, whose answer it
awaits. Everything is event-driven; the time limits only end what hangs.
"""

import mmap
import os
import select
import socket
import struct
import time

import linkproto as lp
from lib import damage
from linkproto import Kind, Request

LIMIT = 60  # seconds
PAGE = 4096
MASK64 = (1 << 64) - 1


class PeerError(Exception):
    """The VMM or the guest did something else than the script says."""


def _pattern(region, page):
    return (0x5a00000000000000 + (region << 48) + page) & MASK64


class BackendDown(PeerError):
    """The driver went away, which is the end of the session."""


class LinkClosed(PeerError):
    """The VMM has gone, as it does when the guest is done."""


class Region:
    """A region of a memory table: a memfd whose pages carry the pattern."""

    def __init__(self, number):
        self.number = number
        self.size = (1 + number % 3) * (1 << 20) + number * PAGE
        # Odd places in the file and in the front-end's address space, congruent or not.
        self.offset = number * 3 * PAGE
        self.gpa = number << 32 if number else 0x100000
        self.user = 0x7f0000000000 + (number << 36) + self.offset
        self.fd = self._file(self.offset + self.size)
        self.map = mmap.mmap(self.fd, self.offset + self.size)
        for page in range(self.size // PAGE):
            struct.pack_into("<Q", self.map, self.offset + page * PAGE, _pattern(number, page))

    def _file(self, size):
        fd = os.memfd_create(f"region{self.number}", os.MFD_CLOEXEC)
        os.ftruncate(fd, size)
        return fd

    def check(self, mask):
        """Each page carries the pattern, or (mask) what the guest made of it."""
        for page in range(self.size // PAGE):
            word, = struct.unpack_from("<Q", self.map, self.offset + page * PAGE)
            if word != _pattern(self.number, page) ^ mask:
                raise PeerError(f"region {self.number}, page {page}: the guest wrote {word:#x}")

    def wire(self):
        """As in the message. The proxy has rewritten user addresses to guest-physical ones."""
        return lp.region(self.gpa, self.size, self.gpa, self.offset)

    def close(self):
        """Unmaps and closes."""
        self.map.close()
        os.close(self.fd)


class SealedRegion(Region):
    """As QEMU has them."""

    def _file(self, size):
        return damage.sealed(size)


class LimitedRegion(Region):
    """A region of whole huge pages, in a file system of ours."""

    def __init__(self, number, fs):
        self.fs = fs
        super().__init__(number)

    def _file(self, size):
        self.offset, self.size = 0, 2 * damage.HUGE_PAGE
        self.user = self.gpa
        return self.fs.file(f"region{self.number}", self.size)


class Link:
    """The listening socket and the one connection of the VMM."""

    def __init__(self, path):
        self.path = path
        self.listener = None
        self.sock = None
        self.seq = 0
        self.session = 0  # number of the last session
        self.up = False  # whether the VMM has said that the back-end is up
        self.listen()

    def listen(self):
        """Listens at the path, anew if need be."""
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(self.path)
        self.listener.listen(4)
        self.listener.settimeout(LIMIT)

    def accept(self):
        """Takes the VMM's connection and welcomes it."""
        self.sock, _ = self.listener.accept()
        self.sock.settimeout(LIMIT)
        hello = self.receive()
        if hello.kind != Kind.HELLO or len(hello.body) != lp.HELLO.size:
            raise PeerError(f"no hello: {hello}")
        magic, version, _, _, port, _ = lp.HELLO.unpack(hello.body)
        if (magic, version, port.rstrip(b"\0")) != (lp.MAGIC, lp.VERSION, b"p0"):
            raise PeerError(f"hello: {magic:#x} {version} {port}")
        self.send(Kind.WELCOME)

    def drop(self):
        """Closes connection and listener, as a proxy that dies."""
        self.up = False
        for s in (self.sock, self.listener):
            if s:
                s.close()
        self.sock = self.listener = None

    def receive(self):
        """The next packet, which must come."""
        try:
            packet = lp.receive(self.sock)
        except TimeoutError:
            raise PeerError("no packet came from the VMM") from None
        except ConnectionError as error:
            raise LinkClosed(f"link: {error}") from None
        if packet is None:
            raise LinkClosed("the VMM closed the link")
        if packet.kind == Kind.BACKEND_UP and len(packet.body) != lp.BACKEND_UP.size:
            raise PeerError(f"{packet}: {len(packet.body)} bytes")
        if packet.kind in (Kind.BACKEND_UP, Kind.BACKEND_DOWN, Kind.BACKEND_LOST):
            self.up = packet.kind == Kind.BACKEND_UP
        return packet

    def send(self, kind, body=b"", fds=(), seq=0):
        """Sends a packet of the current session (of none, where the kind belongs to none)."""
        session = self.session if kind in (Kind.SESSION_UP, Kind.SESSION_DOWN, Kind.FRONTEND) else 0
        try:
            socket.send_fds(self.sock, [lp.packet(kind, session, seq, body)], list(fds))
        except ConnectionError as error:
            raise LinkClosed(f"link: {error}") from None

    def request(self, request, payload=b"", fds=(), flags=0):
        """Sends a message of the front-end; returns its sequence number."""
        self.seq += 1
        self.send(Kind.FRONTEND, lp.message(request, payload, flags), fds, self.seq)
        return self.seq

    def await_backend_up(self):
        """Waits until the driver is there; the guest may have ended the last session meanwhile."""
        while not self.up:
            self.receive()

    def await_backend_down(self):
        """Waits until the driver has gone."""
        while self.up:
            self.receive()

    def await_reply(self, seq):
        """The back-end's answer to request seq. BackendDown when the driver goes away instead."""
        while True:
            packet = self.receive()
            if packet.kind in (Kind.BACKEND_DOWN, Kind.BACKEND_LOST):
                raise BackendDown
            if packet.session == self.session and packet.kind in (Kind.SESSION_DOWN, Kind.RESULT):
                raise PeerError(f"{packet}: {packet.text}")
            if packet.kind == Kind.BACKEND and (packet.session, packet.seq) == (self.session, seq):
                return packet


class Peer:
    """Commands of the guest, by name: `kick-new` is do_kick_new()."""

    FEATURES = 0x142345678

    def __init__(self, path):
        self.link = Link(path)
        self.vmm = None
        self.regions = []
        self.fds = {}  # (what, queue): eventfd
        self.swapped = []
        self.stopping = False
        self.fs = None

    def close(self):
        """Closes everything."""
        self.link.drop()
        for region in self.regions:
            region.close()
        for fd in list(self.fds.values()) + self.swapped:
            os.close(fd)
        if self.fs:
            self.fs.close()

    def run(self, vmm):
        """Carries out what the guest says until the VMM ends."""
        self.vmm = vmm
        self.link.accept()
        at = 0
        while True:
            line, at = vmm.next_line(at)
            if line is None:
                return
            if not line.startswith("PEER "):
                continue
            try:
                self.carry_out(line.split()[1:])
            except LinkClosed:
                return  # the guest's verdict says whether that was right

    def carry_out(self, words):
        """One command."""
        name, args = words[0], [int(w) if w.isdigit() else w for w in words[1:]]
        if getattr(self, "do_" + name.replace("-", "_"))(*args) is not False:
            try:
                self.done()
            except BackendDown:
                pass  # the guest ended the session instead

    def done(self):
        """Tells the guest so, and has its answer."""
        seq = self.link.request(Request.GET_FEATURES)
        reply = self.link.await_reply(seq)
        if reply.request != Request.GET_FEATURES or reply.u64 != self.FEATURES:
            raise PeerError(f"GET_FEATURES was answered by {reply.request}, {reply.u64:#x}")

    # --- sessions ---

    def do_up(self):
        """A front-end connects."""
        self._open_session()

    def _open_session(self):
        self.link.await_backend_up()
        self.link.session += 1
        self.link.send(Kind.SESSION_UP)

    def do_session_number(self):
        """Tells the guest the number of its session, which it cannot know."""
        self.link.request(Request.SET_VRING_BASE, struct.pack("<II", 0, self.link.session))

    def do_await_down(self):
        """The guest ended the session by clearing BACKEND_UP or by a reset."""
        self.link.await_backend_down()
        return False

    def do_down(self):
        """The front-end leaves."""
        self.link.send(Kind.SESSION_DOWN, lp.text("the front-end has gone"))
        return False

    def do_message(self):
        """One message, for a device that cannot deliver it."""
        self.link.request(Request.SET_VRING_BASE, struct.pack("<II", 0, 0))
        return False

    def do_restart(self):
        """The proxy dies and another one comes."""
        self.link.drop()
        self.link.listen()
        self.link.accept()
        return False

    # --- memory ---

    def do_table(self, count):
        """A memory table of that many regions."""
        self._set_table([Region(i) for i in range(count)])

    def do_table_of(self, kind, count):
        """The same of another kind of memory."""
        if kind == "sealed":
            self._set_table([SealedRegion(i) for i in range(count)])
        else:
            self.fs = damage.Filesystem(kind, (count * 2 + 1) * damage.HUGE_PAGE)
            self._set_table([LimitedRegion(i, self.fs) for i in range(count)])

    def _set_table(self, regions):
        count = len(regions)
        old, self.regions = self.regions, regions
        payload = struct.pack("<II", count, 0) + b"".join(r.wire() for r in self.regions)
        self.link.request(Request.SET_MEM_TABLE, payload, [r.fd for r in self.regions])
        for region in old:
            region.close()

    def do_check(self, number):
        """The guest wrote the complement to each page."""
        self.regions[number].check(MASK64)

    def do_check_pattern(self, number):
        """The guest wrote nothing."""
        self.regions[number].check(0)

    def do_truncate(self, number):
        """The front-end takes its memory away."""
        os.ftruncate(self.regions[number].fd, 0)
        return self._expect_end()

    def do_punch(self, number):
        """The front-end punches a hole as large as its memory."""
        region = self.regions[number]
        damage.punch(region.fd, region.offset, region.size)

    def do_starve(self, number):
        """The same, and there are no pages to fill it again."""
        self.fs.starve(self.regions[number].fd)
        return self._expect_end()

    def _expect_end(self):
        packet = self.link.receive()
        while packet.kind == Kind.BACKEND:
            packet = self.link.receive()
        if packet.kind != Kind.SESSION_DOWN or "memory" not in packet.text:
            raise PeerError(f"after the damage: {packet}")
        return False

    # --- eventfds ---

    def _new_fd(self, what, queue, request):
        old = self.fds.pop((what, queue), None)
        fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.fds[what, queue] = fd
        self.link.request(request, struct.pack("<Q", queue), [fd])
        if old is not None:
            os.close(old)

    def do_kick_new(self, queue):
        """SET_VRING_KICK with a new eventfd."""
        self._new_fd("kick", queue, Request.SET_VRING_KICK)

    def do_call_new(self, queue):
        """SET_VRING_CALL with a new eventfd."""
        self._new_fd("call", queue, Request.SET_VRING_CALL)

    def do_err_new(self, queue):
        """SET_VRING_ERR with a new eventfd."""
        self._new_fd("err", queue, Request.SET_VRING_ERR)

    def do_call_none(self, queue):
        """SET_VRING_CALL without an eventfd; the old one stays to be looked at."""
        self.link.request(Request.SET_VRING_CALL, struct.pack("<Q", queue | lp.NOFD))

    def do_kick(self, queue, count=1):
        """Kicks the guest."""
        for _ in range(count):
            os.eventfd_write(self.fds["kick", queue], 1)

    def do_kick_only(self, queue):
        """Kicks the guest and says nothing else."""
        self.do_kick(queue)
        return False

    def do_storm(self, queue, count):
        """Many kicks, with the guest given time to see some of them."""
        for i in range(count):
            os.eventfd_write(self.fds["kick", queue], 1)
            if i % 64 == 0:
                time.sleep(0)

    def _expect(self, what, queue, count):
        fd = self.fds[what, queue]
        got = 0
        deadline = time.monotonic() + LIMIT
        while got < count:
            ready, _, _ = select.select([fd], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise PeerError(f"{what} of queue {queue}: {got} signals, not {count}")
            got += os.eventfd_read(fd)
        # What the guest did before it asked has arrived: a doorbell signals before the guest's next instruction.
        if select.select([fd], [], [], 0)[0] or got != count:
            raise PeerError(f"{what} of queue {queue}: more than {count} signals")

    def do_expect_call(self, queue, count):
        """The guest has rung that often."""
        self._expect("call", queue, count)

    def do_expect_err(self, queue, count):
        """The guest has rung the err doorbell that often."""
        self._expect("err", queue, count)

    def do_swap(self, queue, count):
        """Changes the call eventfd again and again, and keeps the old ones."""
        for _ in range(count):
            self.swapped.append(os.dup(self.fds["call", queue]))
            self.do_call_new(queue)
        self.swapped.append(os.dup(self.fds["call", queue]))

    def do_expect_swapped(self, count):
        """Together the eventfds were signalled as often as the guest rang."""
        got = sum(os.eventfd_read(fd) for fd in self.swapped if select.select([fd], [], [], 0)[0])
        if got != count:
            raise PeerError(f"{got} of {count} calls arrived")

    # --- traffic ---

    def do_flood(self, sessions):
        """
        So many sessions, one after the other whenever the back-end is up, and in each what an active front-end would send,
        until the back-end goes down.
        """
        for _ in range(sessions):
            try:
                self._flood_session()
            except BackendDown:
                pass
        return False

    def _flood_session(self):
        self._open_session()
        number = 0
        waiting = 0
        while True:
            # At most a few requests are unanswered; other messages go along unasked.
            for _ in range(4):
                self.link.request(Request.SET_VRING_BASE, struct.pack("<II", 0, number))
                number += 1
            if number % 32 == 0:
                self._flood_resources()
            self.link.request(Request.GET_FEATURES)
            waiting += 1
            while waiting > 8 or select.select([self.link.sock], [], [], 0)[0]:
                waiting -= self._flood_packet()

    def _flood_resources(self):
        self.do_table(2)
        self.do_kick_new(0)
        self.do_kick(0, 3)
        self.do_call_new(0)

    def _flood_packet(self):
        """Reads one packet; returns the number of requests that it answers."""
        packet = self.link.receive()
        if packet.kind in (Kind.BACKEND_DOWN, Kind.BACKEND_LOST):
            raise BackendDown
        if packet.kind != Kind.BACKEND:
            raise PeerError(f"in mid-traffic: {packet}: {packet.text}")
        return packet.request == Request.GET_FEATURES


def start(name, path):
    """The peer of that name, listening at path."""
    return {"lead": Peer}[name](path)
