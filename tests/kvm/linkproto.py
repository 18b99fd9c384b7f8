# SPDX-License-Identifier: BSD-2-Clause
"""The link's bytes (guest-driver/include/abi/link.h) and the vhost-user messages in it, as far as the peers need them."""

import enum
import socket
import struct

HEADER = struct.Struct("<HHIII")
HELLO = struct.Struct("<IIII64s64s")
BACKEND_UP = struct.Struct("<QII")
MESSAGE = struct.Struct("<III")
MAGIC = 0x6b6c7676
VERSION = 2
TEXT_BYTES = 256
PACKET_MAX = 1024
FDS_MAX = 8

REPLY = 0x4
NEED_REPLY = 0x8
NOFD = 0x100


class Kind(enum.IntEnum):
    """link_kind"""
    HELLO = 1
    WELCOME = 2
    REJECT = 3
    BACKEND_UP = 4
    BACKEND_DOWN = 5
    SESSION_UP = 6
    SESSION_DOWN = 7
    FRONTEND = 8
    BACKEND = 9
    RESULT = 10
    BACKEND_LOST = 11
    RECORD = 12
    ANSWERED = 13
    KEPT = 14
    SILENT = 15
    REPLACED = 16
    SERVING = 17


class Request(enum.IntEnum):
    """Messages of the front-end that the peers send."""
    GET_FEATURES = 1
    SET_MEM_TABLE = 5
    SET_VRING_BASE = 10
    SET_VRING_KICK = 12
    SET_VRING_CALL = 13
    SET_VRING_ERR = 14


class Packet:
    """One packet of the link, taken apart."""

    def __init__(self, data):
        self.kind, self.flags, self.seq, self.session, _ = HEADER.unpack_from(data)
        self.body = data[HEADER.size:]

    @property
    def request(self):
        """Number of the vhost-user message in it."""
        return MESSAGE.unpack_from(self.body)[0]

    @property
    def u64(self):
        """Payload of a vhost-user message that has a u64."""
        return struct.unpack_from("<Q", self.body, MESSAGE.size)[0]

    @property
    def text(self):
        """Reason of a SESSION_DOWN, RESULT, REJECT."""
        return self.body.split(b"\0", 1)[0].decode("utf-8", "replace")

    def __str__(self):
        return f"{Kind(self.kind).name} session {self.session} seq {self.seq}"


def packet(kind, session=0, seq=0, body=b""):
    """The bytes of one."""
    return HEADER.pack(kind, 0, seq, session, 0) + body


def message(request, payload=b"", flags=0):
    """The bytes of a vhost-user message."""
    return MESSAGE.pack(request, 1 | flags, len(payload)) + payload


def region(gpa, size, user, offset):
    """One region of a memory table."""
    return struct.pack("<QQQQ", gpa, size, user, offset)


def text(reason):
    """struct link_text"""
    return reason.encode().ljust(TEXT_BYTES, b"\0")


def receive(sock):
    """The next packet, or None at the end. Fds never come this way."""
    data, fds, _, _ = socket.recv_fds(sock, PACKET_MAX + 1, FDS_MAX)
    if fds:
        raise ValueError("fds from the VMM")
    return Packet(data) if data else None
