# SPDX-License-Identifier: BSD-2-Clause
"""A scripted VMM: one link to the proxy, with a back-end behind it that does as it is told."""

import os
import socket
import struct

from . import abi
from .frontend import HEADER, LIMIT, STATE, U64, Closed, INT_BYTES

LINK_HEADER = struct.Struct("<HHIII")
BACKEND_UP = struct.Struct("<QII")
RECORD = struct.Struct("<HHI")
KEPT = struct.Struct("<IIII")
KIND = {name[len("LINK_"):]: abi.C[name] for name in
        ("LINK_HELLO", "LINK_WELCOME", "LINK_REJECT", "LINK_BACKEND_UP", "LINK_BACKEND_DOWN", "LINK_SESSION_UP",
         "LINK_SESSION_DOWN", "LINK_FRONTEND", "LINK_BACKEND", "LINK_RESULT", "LINK_BACKEND_LOST", "LINK_RECORD",
         "LINK_ANSWERED", "LINK_KEPT", "LINK_SILENT", "LINK_REPLACED", "LINK_SERVING")}
KIND_NAME = {number: name for name, number in KIND.items()}


class Rejected(Exception):
    """The proxy refused the link; the text says why."""


class Packet:
    """One packet as received."""

    def __init__(self, data, fds):
        self.kind, self.flags, self.seq, self.session, self.reserved = LINK_HEADER.unpack_from(data)
        self.body = data[LINK_HEADER.size:]
        self.fds = fds

    @property
    def kind_name(self):
        """HELLO, FRONTEND, ..."""
        return KIND_NAME.get(self.kind, f"kind {self.kind}")

    @property
    def text(self):
        """The text of REJECT, SESSION_DOWN and RESULT."""
        return self.body.split(b"\0", 1)[0].decode()

    @property
    def request(self):
        """Number of the vhost-user request."""
        return HEADER.unpack_from(self.body)[0]

    @property
    def name(self):
        """Name of the vhost-user request."""
        return abi.frontend_name(self.request)

    @property
    def msg_flags(self):
        """Flags of the vhost-user message."""
        return HEADER.unpack_from(self.body)[1]

    @property
    def payload(self):
        """Payload of the vhost-user message."""
        return self.body[HEADER.size:]

    def close(self):
        """Close the fds that came along."""
        for fd in self.fds:
            os.close(fd)
        self.fds = []


class Link:
    """A link, from HELLO on. Methods that receive check what they receive."""

    def __init__(self, path, timeout=LIMIT, sock=None):
        self.sock = sock or socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(timeout)
        try:
            if not sock:
                self.sock.connect(str(path))
        except BaseException:
            self.sock.close()
            raise
        self.session = 0
        self.records = {}  # (kind, index): (data, fds), as the proxy told; a VMM keeps them for the next one
        self.notices = 0  # RECORD and ANSWERED
        self.answered = 0
        self.received = 0  # number of the last request
        self.inflight = None  # payload of the last SET_INFLIGHT_FD
        self.inflight_fd = -1
        self.patient = False  # takes no notice of SILENT: scripts may be slow

    @classmethod
    def open(cls, path, port, who="script", up=True, **kw):
        """Connect, say hello, be welcomed, and (up) say that the back-end is up."""
        link = cls(path)
        try:
            link.hello(port, who)
            link.expect("WELCOME")
            if up:
                link.back_end_up(**kw)
        except BaseException:
            link.close()
            raise
        return link

    def close(self):
        """Hang up."""
        self.sock.close()
        self.drop_inflight()
        self.drop_records()

    def drop_records(self):
        """The session is over."""
        for _, fds in self.records.values():
            for fd in fds:
                os.close(fd)
        self.records = {}

    def drop_inflight(self):
        """Close the in-flight region."""
        if self.inflight_fd >= 0:
            os.close(self.inflight_fd)
            self.inflight_fd = -1

    def send_packet(self, kind, body=b"", seq=0, session=0, flags=0, reserved=0, fds=()):
        """Any packet."""
        data = LINK_HEADER.pack(KIND[kind] if isinstance(kind, str) else kind, flags, seq, session,
                                reserved) + body
        control = []
        if fds:
            control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))]
        self.sock.sendmsg([data], control)

    def send_text(self, kind, text, seq=0, session=None):
        """RESULT or SESSION_DOWN."""
        body = text.encode().ljust(abi.C["sizeof_link_text"], b"\0")
        self.send_packet(kind, body, seq, self.session if session is None else session)

    @classmethod
    def replacement(cls, path, port, who="successor", up=True, sock=None, **kw):
        """A VMM that is to take the port over; by a socket that is connected if given."""
        link = cls(path, sock=sock)
        try:
            link.hello(port, who, flags=abi.C["LINK_HELLO_REPLACEMENT"])
            link.expect("WELCOME")
            if up:
                link.back_end_up(**kw)
        except BaseException:
            link.close()
            raise
        return link

    @classmethod
    def reopen(cls, path, port, old, records=None, up=True, end=True, **kept):
        """
        Connect again with the session and the records of the link `old` (or with other records), as to a proxy that knows
        nothing of them. up: say that the back-end is up; end: say KEPT.
        """
        link = cls(path)
        link.hello(port, flags=abi.C["LINK_HELLO_KEPT"], session=old.session)
        link.expect("WELCOME")
        link.session, link.received = old.session, old.received
        for (kind, index), (data, fds) in (old.records.items() if records is None else records):
            link.send_packet("RECORD", RECORD.pack(kind, index, len(data)) + data, session=old.session, fds=fds)
        if end:
            body = KEPT.pack(kept.get("received", old.received), kept.get("answered", old.answered),
                             kept.get("unanswered", 0), 0)
            link.send_packet("KEPT", body, session=old.session)
        if up:
            link.back_end_up()
        if records is None:
            link.records = {name: (data, [os.dup(fd) for fd in fds]) for name, (data, fds) in old.records.items()}
        return link

    @staticmethod
    def hello_body(port, who="script", magic=abi.C["LINK_MAGIC"], version=abi.C["LINK_VERSION"], flags=0, session=0):
        """Body of HELLO."""
        size = abi.C["LINK_PORT_NAME_MAX"] + 1
        return struct.pack(f"<IIII{size}s{size}s", magic, version, flags, session, port.encode(), who.encode())

    def hello(self, port, who="script", **kw):
        """The first packet."""
        self.send_packet("HELLO", self.hello_body(port, who, **kw))

    def back_end_up(self, protocol=(1 << 64) - 1, queues=8, slots=32):
        """The guest's driver has set back-end-up."""
        self.send_packet("BACKEND_UP", BACKEND_UP.pack(protocol, queues, slots))

    def back_end_down(self):
        """The guest's driver has cleared it."""
        self.send_packet("BACKEND_DOWN")
        self.session = 0

    def recv(self):
        """The next packet; Closed when the proxy hung up. RECORD and ANSWERED are noted on the way."""
        while True:
            packet = self.recv_any()
            if packet.kind_name == "FRONTEND" and not packet.msg_flags & abi.REPLY:
                self.received = packet.seq
            if packet.kind_name == "SILENT" and self.patient:
                continue
            if packet.kind_name not in ("RECORD", "ANSWERED"):
                return packet
            self.notices += 1
            if packet.session != self.session:  # it was sent before the end was read
                packet.close()
            elif packet.kind_name == "RECORD":
                self.keep_record(packet)
            else:
                self.answered = packet.seq

    def settle(self, sync):
        """Take RECORD and ANSWERED until the proxy, that has handled everything after sync(), has no more of them."""
        before = None
        timeout = self.sock.gettimeout()
        while before != self.notices:
            before = self.notices
            sync()
            self.sock.setblocking(False)
            try:
                raise AssertionError(f"{self.recv().kind_name}: no other packet was due")
            except BlockingIOError:
                self.sock.settimeout(timeout)

    def keep_record(self, packet):
        """As a VMM does."""
        kind, index, size = RECORD.unpack_from(packet.body)
        assert len(packet.body) == RECORD.size + size
        for fd in self.records.pop((kind, index), (b"", []))[1]:
            os.close(fd)
        if size or packet.fds:
            self.records[kind, index] = packet.body[RECORD.size:], packet.fds

    def recv_any(self):
        """The next packet of whatever kind."""
        try:
            data, control, flags, _ = self.sock.recvmsg(abi.C["LINK_PACKET_MAX"] + 1,
                                                        socket.CMSG_SPACE(64 * INT_BYTES))
        except ConnectionResetError:
            raise Closed("reset by the proxy") from None
        fds = []
        for level, kind, value in control:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.extend(struct.unpack(f"{len(value) // INT_BYTES}i", value))
        if not data:
            raise Closed("closed by the proxy")
        assert not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC)
        return Packet(data, fds)

    def expect(self, kind):
        """The next packet, which must be of this kind."""
        packet = self.recv()
        if packet.kind_name == "REJECT" and kind != "REJECT":
            raise Rejected(packet.text)
        assert packet.kind_name == kind, f"{packet.kind_name} instead of {kind}"
        if kind == "SESSION_UP":
            self.session = packet.session
        return packet

    def session_up(self):
        """A front-end is there."""
        packet = self.expect("SESSION_UP")
        assert packet.session != 0
        return packet.session

    def session_down(self):
        """The session is over; the text."""
        packet = self.expect("SESSION_DOWN")
        assert packet.session == self.session, (packet.session, self.session)
        self.drop_records()
        self.session = 0
        return packet.text

    def wait_closed_session(self):
        """Read on until the session is over; the text."""
        while True:
            packet = self.recv()
            packet.close()
            if packet.kind_name == "SESSION_DOWN":
                self.drop_records()
                self.session = 0
                return packet.text

    def message(self, name):
        """
        The next message of the front-end, which must be `name`. Its fds are the caller's. A SET_INFLIGHT_FD before it, which
        is the proxy's own, is kept.
        """
        packet = self.expect("FRONTEND")
        if packet.name == "SET_INFLIGHT_FD" and name != packet.name:
            self.drop_inflight()
            self.inflight, (self.inflight_fd,) = packet.payload, packet.fds
            packet = self.expect("FRONTEND")
        assert packet.session == self.session
        assert packet.name == name, f"{packet.name} instead of {name}"
        return packet

    def wait_closed(self):
        """Wait for the proxy to hang up; returns the packets that came before."""
        packets = []
        try:
            while True:
                packets.append(self.recv())
        except Closed:
            return packets

    def replay(self, *names, **kw):
        """
        The session that another back-end had: SESSION_UP, and these messages of the proxy, answered as a good back-end would.
        Returns them, fds closed but for fds=True.
        """
        self.session_up()
        return [self.serve(name, **kw) for name in names]

    # --- the back-end's answers ---

    def reply(self, packet, payload, seq=None, session=None, flags=abi.VERSION | abi.REPLY, request=None):
        """Answer a message of the front-end."""
        number = packet.request if request is None else request
        self.send_packet("BACKEND", HEADER.pack(number, flags, len(payload)) + payload,
                         packet.seq if seq is None else seq,
                         self.session if session is None else session)

    def reply_u64(self, packet, value, **kw):
        """Answer with a number."""
        self.reply(packet, U64.pack(value), **kw)

    def request(self, name, payload=b"", need_reply=False, seq=0, flags=abi.VERSION):
        """A request on the back-end channel; name of the table or a number."""
        number = abi.BACKEND[name]["id"] if isinstance(name, str) else name
        if need_reply:
            flags |= abi.NEED_REPLY
        self.send_packet("BACKEND", HEADER.pack(number, flags, len(payload)) + payload, seq,
                         self.session)

    def serve(self, name, features=abi.F_VERSION_1 | abi.F_PROTOCOL_FEATURES | 1 << 15,
              protocol=(1 << 64) - 1, queues=4, fds=False):
        """Take the message `name` and answer it as a good back-end would. Returns it, its fds closed but for fds=True."""
        packet = self.message(name)
        if not fds:
            packet.close()
        self.answer(packet, features, protocol, queues)
        return packet

    def answer(self, packet, features=abi.F_VERSION_1 | abi.F_PROTOCOL_FEATURES | 1 << 15, protocol=(1 << 64) - 1, queues=4):
        """Answer a message as a good back-end would."""
        name = packet.name
        row = abi.FRONTEND[name]
        values = {"GET_FEATURES": features, "GET_PROTOCOL_FEATURES": protocol, "GET_QUEUE_NUM": queues,
                  "GET_MAX_MEM_SLOTS": 32}
        if row["reply"] == "U64":
            self.reply_u64(packet, values.get(name, 0))
        elif row["reply"] == "STATE":
            self.reply(packet, STATE.pack(STATE.unpack(packet.payload)[0], 7))
        elif row["reply"] == "CONFIG":
            self.reply(packet, packet.payload)
        elif packet.msg_flags & abi.NEED_REPLY:
            self.reply_u64(packet, 0)
