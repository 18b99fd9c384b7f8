#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Proxies that take over from one that runs: nobody notices, or nothing has happened."""

import json
import os
import pathlib
import socket
import struct
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from lib import procs  # noqa: E402
from proxy import abi, rig  # noqa: E402
from proxy.frontend import STATE, FrontEnd, Memory  # noqa: E402
from proxy.rig import state, u64  # noqa: E402
from proxy.test_survival import NEGOTIATION, RING, of_rings, same_file  # noqa: E402
from proxy.test_survival import Case as Survival  # noqa: E402
from proxy.vmm_link import Link  # noqa: E402

REPLAY = [*NEGOTIATION, "SET_OWNER", "SET_FEATURES", "SET_MEM_TABLE", "SET_INFLIGHT_FD"]
VERSION = 2
PROXY, PORT, SOCKETS, LINK, PACKET, RECORD, SESSION, END, NOT_TAKEN, READY, FAILED, GO, DONE = range(1, 14)
HEADER = struct.Struct("<IIII")
# What it said is lost where it ends before the other one has said all.
NO_SOCKETS = "(not all sockets can be opened|it is gone)"


class Script:
    """A peer that asks to take over, and does as it is told."""

    def __init__(self, path, request=None):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(procs.LIMIT)
        self.sock.connect(str(path))
        self.sock.sendall(json.dumps(request or {"cmd": "takeover", "version": VERSION}).encode() + b"\n")

    def read(self, count, fds=None):
        """So many bytes; the fds that come along are added to fds, or closed."""
        data = b""
        while len(data) < count:
            part, control, _, _ = self.sock.recvmsg(count - len(data), socket.CMSG_SPACE(64 * 4))
            for _, _, value in control:
                for fd in struct.unpack(f"{len(value) // 4}i", value):
                    if fds is None:
                        os.close(fd)
                    else:
                        fds.append(fd)
            if not part:
                raise EOFError(f"{len(data)} of {count} bytes")
            data += part
        return data

    def line(self):
        """The reply to the request."""
        line = b""
        while not line.endswith(b"\n"):
            line += self.read(1)
        return json.loads(line)

    def block(self):
        """(kind, index, body) of the next block."""
        kind, index, size, _ = HEADER.unpack(self.read(HEADER.size))
        return kind, index, self.read(size)

    def whole(self):
        """(kind, index, body, fds) of the next block; the fds are the caller's."""
        fds = []
        kind, index, size, num = HEADER.unpack(self.read(HEADER.size, fds))
        assert num == len(fds)
        return kind, index, self.read(size), fds

    def until(self, kind):
        """Blocks up to one of that kind."""
        got = [self.block()]
        while got[-1][0] != kind:
            got.append(self.block())
        return got

    def send(self, kind, body=b"", index=0):
        """One block."""
        self.sock.sendall(HEADER.pack(kind, index, len(body), 0) + body)

    def close(self):
        """Hang up."""
        self.sock.close()


class Base(Survival):
    """A proxy, and others that take over."""

    ports = 32
    turns = 0

    def argv(self, **kw):
        """The command line of a proxy that takes over."""
        kw = {"ports": self.ports, "options": self.options, **kw}
        return [*self.proxy.argv(**kw), "--takeover", self.proxy.control_path]

    def take_over(self, argv=None):
        """Another proxy takes over."""
        cls, old = type(self), self.proxy
        cls.turns += 1
        new = self.session.start(f"proxy{cls.turns}", argv or self.argv())
        new.wait_line("^ready$", 60)
        old.close()
        self.assertEqual(old.proc.wait(60), 0, old.proc.tail())
        self.assertFalse(old.proc.find_line("Sanitizer|runtime error"), old.proc.tail(60))
        cls.proxy = rig.Proxy.__new__(rig.Proxy)
        cls.proxy.__dict__ = {**old.__dict__, "proc": new, "control": None}
        self.mark = 0

    def refused(self, argv, pattern):
        """Another proxy says why it can't take over; this one goes on."""
        done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=False, timeout=60,
                              stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertRegex(done.stderr.splitlines()[-1], pattern)
        self.assertFalse("Sanitizer" in done.stderr, done.stderr)
        self.assertTrue(self.proxy.proc.running())
        return done.stderr

    def front_end(self):
        """What the status says of it."""
        return self.proxy.port(self.i)["front_end"]

    def works_after(self, fe, link, fds=True):
        """Take over, and see that the session is the same and works."""
        before, old_fds = self.front_end(), self.proxy.settled_fds()
        self.take_over()
        self.assertEqual(self.front_end(), before)
        if fds:
            self.assertEqual(self.proxy.settled_fds(), old_fds)
        self.works(fe, link)


class Sessions(Base):
    """In whatever state they are."""

    def test_up(self):
        fe, link, _ = self.running(3)
        self.works_after(fe, link)
        self.serve(fe, link, "GET_VRING_BASE", state(0, 0))
        self.assertFalse(self.front_end()["rings"][0]["running"])
        # What the VMM has kept is as good for the next proxy as ever.
        link.settle(self.proxy.status)
        self.assertEqual(struct.unpack("<II", link.records[3, 0][0]), (link.received, 0))
        # Numbers are not used again.
        number = link.session
        fe.close()
        link.session_down()
        self.connect()
        self.assertGreater(link.session_up(), number)

    def test_again_and_again(self):
        fe, link, _ = self.running()
        for _ in range(8):
            self.works_after(fe, link)
            memory = self.memory(1 << 16, guest_address=1 << 40)
            self.serve(fe, link, "ADD_MEM_REG", bytes(8) + memory.region(), [memory.fd])
            self.serve(fe, link, "REM_MEM_REG", bytes(8) + memory.region())

    def test_many_ports(self):
        pairs = []
        for _ in range(6):
            pairs.append((self.i, self.name, *self.running(2)))
            self.next_port()
        before = self.proxy.status()["ports"]
        self.take_over()
        self.assertEqual(self.proxy.status()["ports"], before)
        for self.i, self.name, fe, link, _ in pairs:
            self.works(fe, link)

    def test_then_killed(self):
        # Recovery from the VMMs still works.
        fe, link, _ = self.running()
        self.take_over()
        self.works(fe, link)
        link.settle(self.proxy.status)
        self.proxy.kill()
        type(self).turns += 1
        type(self).proxy = rig.Proxy(self.session, self.ports, self.options, name=f"proxy{self.turns}")
        old, link = link, self.keep(Link.reopen(self.proxy.link, self.name, link))
        link.session_up()
        old.close()
        self.works(fe, link)

    def test_held(self):
        fe = self.connect()
        self.assertEqual(self.proxy.port(self.i)["state"], "held")
        before = self.front_end()
        self.take_over()
        self.assertEqual(self.front_end(), before)
        link = self.open_link()
        link.session_up()
        self.works(fe, link)

    def test_nobody(self):
        fe, link = self.negotiated()
        fe.close()
        link.session_down()
        link.close()
        self.wait_state("no VMM")
        self.take_over()
        # What the back-end offered answers for the next.
        fe = self.connect()
        fe.send("GET_FEATURES")
        fe.recv()
        self.assertEqual(self.proxy.port(self.i)["state"], "away")

    def test_away(self):
        fe, link, memory = self.running(2)
        self.lose(link)
        before = self.front_end()
        self.take_over()
        self.assertEqual(self.front_end(), before)
        self.assertEqual(fe.get_u64("GET_PROTOCOL_FEATURES"), abi.CARRIED)
        link = self.open_link()
        got = link.replay(*REPLAY, *of_rings(2), fds=True)
        self.assertTrue(same_file(got[5].fds[0], memory.fd))
        for packet in got:
            packet.close()
        self.wait_up()
        self.works(fe, link)

    def test_away_with_a_request_for_the_next_back_end(self):
        fe, link, _ = self.running()
        self.lose(link)
        fe.send("GET_VRING_BASE", state(0, 0))
        procs.wait_until(lambda: self.front_end()["unanswered"] == 1, "the request is read", interval=0.01)
        self.take_over()
        link = self.open_link()
        link.replay(*REPLAY, *RING)
        packet = link.message("GET_VRING_BASE")
        link.reply(packet, STATE.pack(0, 7))
        self.assertEqual(STATE.unpack(fe.recv().payload), (0, 7))
        self.works(fe, link)

    def test_half_a_message(self):
        fe, link = self.negotiated()
        memory = self.memory()
        data = FrontEnd.encode("SET_MEM_TABLE", fe.mem_table_payload([memory]), abi.VERSION | abi.NEED_REPLY)
        for part in (data[:5], data[5:30], data[30:]):
            fe.send_bytes(part, [memory.fd] if part == data[:5] else ())
            self.take_over()
        packet = link.serve("SET_MEM_TABLE", fds=True)
        self.assertTrue(same_file(packet.fds[0], memory.fd))
        packet.close()
        self.assertEqual(fe.recv().u64, 0)
        self.works(fe, link)

    def test_unanswered(self):
        fe, link, _ = self.running()
        for name in ("GET_FEATURES", "GET_STATUS"):
            fe.send(name)
        packets = [link.message(name) for name in ("GET_FEATURES", "GET_STATUS")]
        self.take_over()
        self.assertEqual(self.front_end()["unanswered"], 2)
        for number, packet in enumerate(packets):
            link.reply_u64(packet, number)
            self.assertEqual(fe.recv().u64, number)
        self.works(fe, link)

    def test_change_of_memory_unanswered(self):
        for failure in (0, 1):
            fe, link, memory = self.with_memory()
            new = [self.memory(guest_address=n << 30) for n in (1, 2)]
            fe.send("SET_MEM_TABLE", fe.mem_table_payload(new), [m.fd for m in new], need_reply=True)
            packet = link.message("SET_MEM_TABLE")
            self.take_over()
            link.reply_u64(packet, failure)
            packet.close()
            self.assertEqual(fe.recv().u64, failure)
            regions = [r["guest_address"] for r in self.front_end()["regions"]]
            self.assertEqual(regions, [0] if failure else [1 << 30, 2 << 30])
            # The next back-end is given what holds.
            self.lose(link)
            link = self.open_link()
            got = link.replay(*REPLAY, fds=True)
            self.assertTrue(same_file(got[5].fds[0], (memory if failure else new[0]).fd))
            for packet in got:
                packet.close()
            self.wait_up()
            self.again()

    def test_channel(self):
        fe, link, _ = self.running()
        need_ack, fe.protocol = fe.protocol, 0
        fe.open_channel()
        fe.protocol = need_ack
        link.serve("SET_BACKEND_REQ_FD")
        link.request("CONFIG_CHANGE_MSG", need_reply=True)
        message = fe.channel.recv()
        # Half an answer.
        answer = FrontEnd.encode(message.request, u64(0), abi.VERSION | abi.REPLY)
        fe.channel.send_bytes(answer[:7])
        self.take_over()
        fe.channel.send_bytes(answer[7:])
        packet = link.expect("FRONTEND")
        self.assertEqual(packet.request, message.request)
        self.assertTrue(packet.msg_flags & abi.REPLY)
        link.request("CONFIG_CHANGE_MSG")
        fe.channel.recv()

    def test_replay(self):
        fe, link, _ = self.running(2)
        self.lose(link)
        link = self.open_link()
        link.session_up()
        for name in [*REPLAY, *of_rings(2)]:
            packet = link.message(name)
            if name in ("GET_FEATURES", "SET_MEM_TABLE"):
                self.take_over()
            link.answer(packet)
            packet.close()
        self.wait_up()
        self.works(fe, link)

    def test_replacement(self):
        # Not in the middle of it: it waits.
        fe, old, _ = self.running(2)
        new = self.keep(Link.replacement(self.proxy.link, self.name))
        new.patient = True
        new.session_up()
        waiting = self.keep(Script(self.proxy.control_path))
        self.proxy.status()
        self.assertRegex(self.keep(Script(self.proxy.control_path)).line()["error"], "another proxy is taking over")
        for name in [*REPLAY, *RING[:-1] * 2, "GET_FEATURES"]:
            new.serve(name)
        for i in (1, 0):
            old.reply(old.message("GET_VRING_BASE"), STATE.pack(i, 10 + i))
        for name in [*["SET_VRING_BASE"] * 2, *RING[-1:] * 2, "GET_FEATURES"]:
            new.serve(name)
        new.expect("SERVING")
        old.expect("REPLACED")
        self.assertTrue(waiting.line()["ok"])
        waiting.until(END)
        waiting.close()
        self.take_over()
        self.works(fe, new)

    def test_front_end_that_does_not_read(self):
        fe, link = self.negotiated()
        sent, answered = self.fill(fe, link)
        self.assertLess(sent, 20000)
        self.take_over()
        for n in range(answered):
            self.assertEqual(fe.recv().u64, n)
        for n in range(answered, sent):
            link.reply_u64(link.message("GET_FEATURES"), n)
            self.assertEqual(fe.recv().u64, n)
        self.works(fe, link)

    def test_vmm_that_does_not_read(self):
        fe, link = self.negotiated()
        fe.sock.setblocking(False)
        sent, rest = 0, b""
        try:
            while not rest:
                data = FrontEnd.encode("SET_VRING_CALL", u64(0))
                fd = os.eventfd(0, os.EFD_CLOEXEC)
                rest = data[fe.sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", fd))]):]
                os.close(fd)
                sent += 1
        except BlockingIOError:
            os.close(fd)
        fe.sock.settimeout(procs.LIMIT)
        procs.wait_until(lambda: self.proxy.port(self.i)["back_end"]["queued_packets"] == 1, "a packet is queued", interval=0.01)
        self.take_over()
        self.assertEqual(self.proxy.port(self.i)["back_end"]["queued_packets"], 1)
        for _ in range(sent):
            packet = link.message("SET_VRING_CALL")
            self.assertEqual(len(packet.fds), 1)
            packet.close()
            if rest:
                fe.sock.sendall(rest)
                rest = b""
        self.works(fe, link)


class Hold(Base):
    """The time that a front-end waits goes on."""

    options = "hold=5"
    ports = 4

    def test_held_for_too_long(self):
        fe = self.connect()
        self.assertEqual(self.proxy.port(self.i)["state"], "held")
        self.take_over()
        self.assertEqual(fe.wait_closed(), [])
        self.assertRegex(self.proxy.port(self.i)["last_end"], "no back-end within 5 s")


class Client(Base):
    """Ports that connect."""

    options = "mode=client"
    ports = 4

    def test_client_mode(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.settimeout(procs.LIMIT)
            listener.bind(str(self.proxy.socket(self.i)))
            listener.listen()
            link = self.open_link()
            fe = self.keep(FrontEnd(listener.accept()[0]))
            link.session_up()
            self.works_after(fe, link)
            fe.close()
            link.session_down()
            self.take_over()
            fe = self.keep(FrontEnd(listener.accept()[0]))
            link.session_up()
            self.works(fe, link)


class Links(Base):
    """Links without a session."""

    def test_new(self):
        link = self.keep(Link(self.proxy.link))
        self.proxy.status()
        self.take_over()
        link.hello(self.name)
        link.expect("WELCOME")
        link.back_end_up()
        fe = self.connect()
        link.session_up()
        self.works(fe, link)

    def test_back_end_not_up(self):
        link = self.open_link(up=False)
        self.take_over()
        self.assertEqual(self.proxy.port(self.i)["state"], "no back-end")
        link.back_end_up()
        fe = self.connect()
        link.session_up()
        self.works(fe, link)

    def test_waiting_to_be_read(self):
        # What is in the sockets is for the next proxy.
        link = self.open_link()
        link.settle(self.proxy.status)
        os.kill(self.proxy.proc.pid, 19)
        fe = self.connect()
        other = self.keep(Link(self.proxy.link))
        other.hello(f"p{self.ports - 1}")
        argv = self.argv()
        os.kill(self.proxy.proc.pid, 18)
        self.take_over(argv)
        link.session_up()
        self.works(fe, link)
        other.expect("WELCOME")

    def recovered(self):
        """A link on which a session of a killed proxy is kept."""
        fe, link, _ = self.running()
        link.settle(self.proxy.status)
        self.proxy.kill()
        type(self).turns += 1
        type(self).proxy = rig.Proxy(self.session, self.ports, self.options, name=f"proxy{self.turns}")
        link.wait_closed()
        return fe, link

    def test_kept_and_not_up(self):
        fe, old = self.recovered()
        link = self.keep(Link.reopen(self.proxy.link, self.name, old, up=False))
        self.wait_state("away")
        self.take_over()
        link.back_end_up()
        self.assertEqual(link.session_up(), old.session)
        old.close()
        self.works(fe, link)

    def test_giving_records_back(self):
        # Half of them are with the old proxy: the VMM gives them again.
        fe, old = self.recovered()
        link = self.keep(Link.reopen(self.proxy.link, self.name, old, up=False, end=False))
        self.proxy.status()
        self.take_over()
        link.wait_closed()
        link = self.keep(Link.reopen(self.proxy.link, self.name, old))
        self.assertEqual(link.session_up(), old.session)
        old.close()
        self.works(fe, link)


class Sockets(Base):
    """What listens."""

    ports = 4

    def test_ports_come_and_go(self):
        gone_fe, gone, _ = self.running()
        gone_name, gone_i = self.name, self.i
        self.next_port()
        fe, link, _ = self.running()
        options = [f"{self.proxy.dir}/p{i}.sock" for i in range(4)]
        specs = [f"p{i}={path},{self.options}" for i, path in enumerate(options) if i != gone_i] + [f"new={self.proxy.dir}/new.sock"]
        old = self.proxy.proc
        self.take_over(self.argv(ports=0, specs=specs))
        self.works(fe, link)
        self.assertEqual([p["name"] for p in self.proxy.status()["ports"]],
                         [f"p{i}" for i in range(4) if i != gone_i] + ["new"])
        self.assertRegex(gone.session_down(), "proxy: ")
        gone.wait_closed()
        gone_fe.wait_closed()
        old.wait_line(f"port {gone_name}: is no port of the next proxy")
        self.proxy.proc.wait_line(f"takeover: port {gone_name} is ours no more")
        self.assertFalse(os.path.exists(options[gone_i]))
        new = self.keep(FrontEnd.connect(self.proxy.dir / "new.sock"))
        with self.assertRaises(Exception):
            Link.open(self.proxy.link, gone_name)
        new_link = self.keep(Link.open(self.proxy.link, "new"))
        new_link.session_up()
        self.works(new, new_link)
        self.close_all()
        # Back to what there was, for the other tests.
        self.take_over()
        self.assertFalse(os.path.exists(self.proxy.dir / "new.sock"))

    def test_other_path(self):
        fe, link, _ = self.running()
        elsewhere = self.proxy.dir / "elsewhere.sock"
        specs = [f"p{i}={elsewhere if i == self.i else self.proxy.socket(i)},{self.options}" for i in range(4)]
        self.take_over(self.argv(ports=0, specs=specs))
        self.works(fe, link)
        self.assertFalse(self.proxy.socket(self.i).exists())
        fe.close()
        link.session_down()
        fe = self.keep(FrontEnd.connect(elsewhere))
        link.session_up()
        self.works(fe, link)
        self.take_over()
        self.assertFalse(elsewhere.exists())
        self.works(fe, link)

    def test_link_and_control_elsewhere(self):
        fe, link, _ = self.running()
        other = self.argv()
        other[other.index("--link") + 1] = self.proxy.dir / "other-link.sock"
        other[other.index("--control") + 1] = self.proxy.dir / "other-control.sock"
        self.take_over(other)
        self.assertFalse(self.proxy.link.exists())
        self.assertFalse(self.proxy.control_path.exists())
        self.proxy.link, self.proxy.control_path = self.proxy.dir / "other-link.sock", self.proxy.dir / "other-control.sock"
        self.works(fe, link)
        back = self.argv()
        back[back.index("--link") + 1] = self.proxy.dir / "link.sock"
        back[back.index("--control") + 1] = self.proxy.dir / "control.sock"
        self.take_over(back)
        self.proxy.link, self.proxy.control_path = self.proxy.dir / "link.sock", self.proxy.dir / "control.sock"
        self.works(fe, link)
        self.assertEqual([p.name for p in self.proxy.dir.glob("other*")], [])

    def test_files_are_removed_at_the_end(self):
        with procs.Session("takeover") as session:
            one = rig.Proxy(session, 2)
            two = session.start("two", [*one.argv(2), "--takeover", one.control_path])
            two.wait_line("^ready$", 60)
            one.close()
            self.assertEqual(one.proc.wait(60), 0)
            self.assertEqual(len(list(session.dir.glob("*.sock"))), 4)
            self.assertEqual(two.stop(), 0)
            self.assertEqual(list(session.dir.glob("*.sock")), [])


class Failures(Base):
    """The running proxy goes on."""

    ports = 4

    def setUp(self):
        super().setUp()
        self.fe, self.link, _ = self.running()

    def goes_on(self, pattern=None):
        """It does."""
        if pattern:
            self.proxy.proc.wait_line(f"takeover: pid .* does not take over: {pattern}.*; this proxy goes on", 60, self.mark)
        self.mark = self.proxy.proc.mark()
        self.works(self.fe, self.link)

    def script(self, **kw):
        """A peer that asks."""
        return self.keep(Script(self.proxy.control_path, **kw))

    def test_other_version(self):
        for version in (0, 1, "x", None):
            peer = self.script(request={"cmd": "takeover", "version": version})
            self.assertRegex(peer.line()["error"], "it hands over as version 2, this one takes version")
        self.goes_on()

    def test_gone_in_the_middle(self):
        fds = self.proxy.settled_fds()
        peer = self.script()
        peer.line()
        size = sum(HEADER.size + len(body) for _, _, body in peer.until(END))
        peer.close()
        self.goes_on("it is gone")
        for part in (0, 1, 16, 17, 300, size // 2, size - 1, size):
            peer = self.script()
            peer.line()
            peer.read(part)
            peer.close()
            self.goes_on("it is gone")
        procs.wait_until(lambda: self.proxy.settled_fds() == fds, "all fds are closed", interval=0.01)

    def test_gone_without_reading_a_byte(self):
        self.script().close()
        self.goes_on("it is gone")

    def test_gone_when_ready(self):
        peer = self.script()
        peer.line()
        peer.until(END)
        peer.send(READY)
        peer.close()
        self.goes_on("it is gone")

    def test_gone_before_it_serves(self):
        peer = self.script()
        peer.line()
        peer.until(END)
        peer.send(READY)
        self.assertEqual(peer.block()[0], GO)
        peer.close()
        self.goes_on("it is gone")

    def test_fails(self):
        peer = self.script()
        peer.line()
        peer.until(SOCKETS)
        peer.send(FAILED, b"no luck".ljust(abi.C["sizeof_link_text"], b"\0"))
        peer.until(END)
        self.goes_on("no luck")

    def test_nonsense(self):
        for blocks in ([(99, b"")], [(READY, b"x")], [(GO, b"")], [(NOT_TAKEN, struct.pack("<I", 9))],
                       [(NOT_TAKEN, struct.pack("<I", 0), 77)]):
            peer = self.script()
            peer.line()
            peer.until(END)
            for block in blocks:
                peer.send(*block)
            self.goes_on("it does not speak as a proxy that takes over")
            peer.close()

    def test_silent(self):
        peer = self.script()
        peer.line()
        peer.until(END)
        self.goes_on("it is silent")
        with self.assertRaises((EOFError, ConnectionResetError)):
            peer.block()

    def test_new_one_can_not_open_its_sockets(self):
        argv = [*self.argv(), "--port", f"x={self.proxy.dir}/x.sock", "--port", f"y={self.proxy.dir}/nowhere/y.sock"]
        self.refused(argv, "not all sockets can be opened; the proxy that runs goes on")
        self.goes_on(NO_SOCKETS)
        self.assertFalse((self.proxy.dir / "x.sock").exists())

    def test_ports_that_change_places(self):
        specs = [f"p{(i + 1) % 4}={self.proxy.socket(i)}" for i in range(4)]
        err = self.refused(self.argv(ports=0, specs=specs), "not all sockets can be opened")
        self.assertIn("another program listens there", err)
        self.goes_on(NO_SOCKETS)

    def test_nobody_to_take_over_from(self):
        argv = self.argv()
        argv[-1] = self.proxy.dir / "nowhere"
        self.refused(argv, "--takeover .*/nowhere: no proxy to take over from: No such file")
        argv[-1] = self.proxy.socket(3)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
            path = self.proxy.dir / "other"
            other.bind(str(path))
            other.listen()
            for reply, pattern in ((b"", "it has ended, or given up"), (b"hello\n", "no proxy's control socket"),
                                   (b'{"ok":false,"error":"unknown command"}\n', "refuses: unknown command"),
                                   (b'{"ok":true}\nabcdefghijklmnopqrstuvwxyz', "it does not speak as a proxy")):
                argv[-1] = path
                proc = self.session.start("other", argv)
                peer, _ = other.accept()
                peer.recv(1000)
                peer.sendall(reply)
                peer.shutdown(socket.SHUT_WR)
                self.assertEqual(proc.wait(60), 1)
                self.assertTrue(proc.find_line(pattern), proc.tail())
                peer.close()
            path.unlink()
        self.goes_on()

    def test_silent_when_told_to_go(self):
        # Two must not serve: the old one can't know, and ends.
        with procs.Session("takeover") as session:
            one = rig.Proxy(session, 2)
            peer = Script(one.control_path)
            peer.line()
            peer.until(END)
            peer.send(READY)
            self.assertEqual(peer.block()[0], GO)
            one.close()
            self.assertEqual(one.proc.wait(60), 0)
            self.assertTrue(one.proc.find_line("does not say that it serves"))
            peer.close()

    def test_other_user(self):
        if os.geteuid() != 0:
            self.skipTest("needs root to become another user")
        os.chmod(self.proxy.dir, 0o755)
        os.chmod(self.proxy.control_path, 0o666)
        code = ("import os,socket,sys; s=socket.socket(socket.AF_UNIX); os.setgid(65534); os.setuid(65534); "
                "s.connect(sys.argv[1]); s.sendall(b'{\"cmd\":\"takeover\",\"version\":2}\\n'); "
                "print(s.makefile().readline())")
        done = subprocess.run([sys.executable, "-c", code, str(self.proxy.control_path)], capture_output=True, text=True,
                              check=True, timeout=60)
        self.assertIn("only the proxy's own user, or root, may take over", done.stdout)
        os.chmod(self.proxy.control_path, 0o600)
        self.goes_on()


class Damage(Base):
    """What the running proxy says does not arrive as it was said: the new one ends, the old one goes on."""

    ports = 4

    def relay(self, edit):
        """
        A new proxy, with this test between the two. edit(number, kind, body) returns what is passed on, (kind, body) or None to
        hang up; after the last block the new one is hung up on, too. Its log lines.
        """
        path = self.proxy.dir / "relay"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(path))
            listener.listen()
            type(self).turns += 1
            argv = self.argv()
            argv[-1] = path
            new = self.session.start(f"proxy{self.turns}", argv)
            peer, _ = listener.accept()
        path.unlink()
        old = Script(self.proxy.control_path)
        peer.recv(1000)
        self.assertTrue(old.line()["ok"])
        peer.sendall(b'{"ok":true}\n')
        try:
            self.pass_on(old, peer, edit)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has seen enough
        peer.close()
        self.assertEqual(new.wait(60), 1, new.tail())
        self.assertFalse(new.find_line("Sanitizer|runtime error"), new.tail(60))
        old.close()
        return new

    @staticmethod
    def pass_on(old, peer, edit):
        """The blocks."""
        number, kind = 0, None
        while kind != END:
            kind, index, body, fds = old.whole()
            out = edit(number, kind, body)
            if out:
                size = len(out[1])
                control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))] if fds else []
                data = HEADER.pack(out[0], index, size, len(fds)) + out[1]
                sent = peer.sendmsg([data], control)
                peer.sendall(data[sent:])
            for fd in fds:
                os.close(fd)
            if not out:
                return
            number += 1

    def goes_on(self, fe, link):
        """The old one does."""
        self.proxy.proc.wait_line("takeover: pid .* does not take over: .*; this proxy goes on", 60, self.mark)
        self.mark = self.proxy.proc.mark()
        self.works(fe, link)

    def test_cut_off_after_each_block(self):
        fe, link, _ = self.running(2)
        blocks = []
        self.relay(lambda number, kind, body: blocks.append(kind) or (kind, body))
        self.goes_on(fe, link)
        self.assertEqual(blocks, [PROXY] + [PORT] * 4 + [SOCKETS, LINK] + [RECORD] * 4 + [SESSION, END])
        for cut in range(len(blocks)):
            new = self.relay(lambda number, kind, body, cut=cut: (kind, body) if number < cut else None)
            self.assertTrue(new.find_line("it has ended, or given up"), new.tail())
            self.goes_on(fe, link)

    def test_blocks_that_make_no_sense(self):
        fe, link, _ = self.running(2)
        need_ack, fe.protocol = fe.protocol, 0
        fe.open_channel()
        fe.protocol = need_ack
        link.serve("SET_BACKEND_REQ_FD")
        longest = b"x" * 4096

        def changed(kind, at, value):
            """Blocks of that kind have these bytes there."""
            return lambda _, k, body: (k, body[:at] + value + body[at + len(value):] if k == kind else body)

        def record(which, at, value):
            """The same for one of the records: session, region, rings."""
            return lambda n, k, body: (k, body[:at] + value + body[at + len(value):] if n == 7 + which else body)

        def other(kind, to, body=None):
            """Blocks of that kind are something else."""
            return lambda _, k, b: (to, b if body is None else body) if k == kind else (k, b)

        cases = [
            ("no sense", changed(PROXY, 0, struct.pack("<I", 0))),
            ("no sense", changed(PROXY, 0, struct.pack("<I", 1025))),
            ("no sense", changed(PROXY, 16, longest[:108])),
            ("no sense", changed(PORT, 0, longest[:64])),
            ("no sense", changed(PORT, 64, longest[:108])),
            ("no sense", changed(PORT, 172, struct.pack("<I", 0))),  # does not listen, with an fd
            ("what a port offers", changed(PORT, 176, struct.pack("<I", 0))),  # it would try again without a pause
            ("what a port offers", changed(PORT, 440, b"\2")),
            ("what a port offers", changed(PORT, 484, struct.pack("<I", 257))),  # bytes of configuration space
            ("what a port offers", changed(PORT, 760, struct.pack("<I", 257))),  # rings
            ("does not speak", other(PROXY, PORT)),
            ("does not speak", other(PORT, 77)),
            ("does not speak", other(SOCKETS, END)),
            ("does not speak", other(PORT, PORT, b"short")),
            ("ports are missing", changed(PROXY, 0, struct.pack("<I", 5))),
            ("does not speak", changed(PROXY, 0, struct.pack("<I", 3))),
            ("no state that there is", changed(LINK, 0, struct.pack("<I", 9))),
            ("what a link's back-end offers", changed(LINK, 40, struct.pack("<I", 0))),
            ("a link makes no sense", changed(LINK, 20, struct.pack("<I", 9))),
            ("has not told all", changed(LINK, 20, struct.pack("<I", 1))),
            ("its session makes no sense|another version", changed(RECORD, 8, struct.pack("<I", 77))),
            ("unknown kind or size", changed(RECORD, 0, struct.pack("<H", 9))),
            ("unknown size", changed(RECORD, 4, struct.pack("<I", 480))),
            ("a region makes no sense", record(1, 8 + 36, b"x")),
            ("a ring makes no sense", record(2, 8 + 12, b"x")),
            ("unknown kind or size", record(3, 0, b"x")),
            ("its state", changed(SESSION, 0, struct.pack("<I", 5))),
            ("a front-end that waits makes no sense", changed(SESSION, 0, struct.pack("<I", 0))),
            ("a session's state", changed(SESSION, 64, b"\2")),
            ("a session's state", changed(SESSION, 144, b"\2")),
            ("a session's requests", changed(SESSION, 20, struct.pack("<I", 34))),
            ("a session's requests", changed(SESSION, 24, struct.pack("<I", 17))),
            ("a session's requests", changed(SESSION, 28, struct.pack("<I", 17))),
            ("has not told all", other(SESSION, END, b"")),
        ]
        for pattern, edit in cases:
            with self.subTest(pattern=pattern):
                new = self.relay(edit)
                self.assertTrue(new.find_line(f"error: takeover: .*({pattern})"), new.tail())
                self.goes_on(fe, link)
                link.request("CONFIG_CHANGE_MSG")
                fe.channel.recv()


if __name__ == "__main__":
    rig.main()
