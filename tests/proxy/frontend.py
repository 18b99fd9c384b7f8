# SPDX-License-Identifier: BSD-2-Clause
"""
A scripted vhost-user front-end: well-behaved by default, and able to send anything.

    fe = FrontEnd.connect("/run/vvu/a.sock")
    fe.negotiate()
    mem = Memory(16 << 20)
    fe.set_mem_table([mem])
    rx, tx = fe.start_net(mem)          # two split rings in mem, kicks and calls as eventfds
    tx.send_frame(frame); frame = rx.recv_frame(timeout=5)

Every call blocks for at most `timeout` seconds (socket.timeout). Nothing here retries or sleeps.

A process that runs only this looks to the back-end like any front-end; for hostile rings write to a Vring's desc, avail and
used areas in its Memory, or call write_desc() and publish() with what a driver should never say.
"""

import collections
import mmap
import os
import select
import socket
import struct
import time

from . import abi

HEADER = struct.Struct("<III")
U64 = struct.Struct("<Q")
STATE = struct.Struct("<II")
ADDR = struct.Struct("<IIQQQQ")
REGION = struct.Struct("<QQQQ")
INT_BYTES = 4
LIMIT = 60  # seconds after which something hangs


F_MRG_RXBUF = 1 << 15
F_EVENT_IDX = 1 << 29
F_RING_PACKED = 1 << 34
F_IN_ORDER = 1 << 35
# What has to be asked for, whatever is offered.
NOT_BY_ITSELF = F_RING_PACKED | F_IN_ORDER


class Closed(Exception):
    """The peer closed the connection."""


class Message:
    """One message as received."""

    def __init__(self, request, flags, payload, fds):
        self.request = request
        self.flags = flags
        self.payload = payload
        self.fds = fds

    @property
    def name(self):
        """The request's name in the specification."""
        return abi.frontend_name(self.request)

    @property
    def u64(self):
        """The payload as a number."""
        return U64.unpack(self.payload)[0]

    def close(self):
        """Close the fds that came along."""
        for fd in self.fds:
            os.close(fd)
        self.fds = []


class Memory:
    """
    Shared guest memory: a memfd, mapped here, with the guest-physical and the (opaque) user address it is announced
    under. Addresses in methods are guest-physical.
    """

    def __init__(self, size, guest_address=0, user_address=None, file_offset=0, seal=False):
        self.size = size
        self.guest_address = guest_address
        self.user_address = (0x7f0000000000 + guest_address if user_address is None
                             else user_address)
        self.file_offset = file_offset
        flags = os.MFD_CLOEXEC | (os.MFD_ALLOW_SEALING if seal else 0)
        self.fd = os.memfd_create("guest", flags)
        os.ftruncate(self.fd, file_offset + size)
        if seal:
            import fcntl
            fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        self.map = mmap.mmap(self.fd, file_offset + size)
        self._next = guest_address

    def region(self):
        """The region as it crosses the wire."""
        return REGION.pack(self.guest_address, self.size, self.user_address, self.file_offset)

    def to_user(self, address):
        """Guest-physical to user address."""
        return address - self.guest_address + self.user_address

    def alloc(self, size, align=64):
        """A piece of the memory; never freed. Returns its guest-physical address."""
        at = (self._next + align - 1) & ~(align - 1)
        if at + size > self.guest_address + self.size:
            raise MemoryError("guest memory is used up")
        self._next = at + size
        return at

    def read(self, address, size):
        """Bytes at a guest-physical address."""
        at = address - self.guest_address + self.file_offset
        return self.map[at:at + size]

    def write(self, address, data):
        """Store bytes at a guest-physical address."""
        at = address - self.guest_address + self.file_offset
        self.map[at:at + len(data)] = data

    def close(self):
        """Unmap and close."""
        self.map.close()
        os.close(self.fd)


class Vring:
    """
    The driver's side of a split virtqueue (virtio 1.2 §2.7) in a Memory, plus its eventfds.

    desc, avail and used are guest-physical; tests may write to them at will to make a ring hostile.
    """

    F_NEXT, F_WRITE, F_INDIRECT = 1, 2, 4
    FIRST_BASE = 0

    def __init__(self, memory, index, size=256, buffer_size=2048, hdr_size=12, event_idx=False, mergeable=False,
                 in_order=False):
        self.memory = memory
        self.in_order = in_order
        self.outstanding = collections.deque()  # in order: buffers the device has, as they were published
        self.batch = collections.deque()  # in order: used, not popped yet
        self.event_idx = event_idx
        self.mergeable = mergeable
        self.index = index
        self.size = size
        self.buffer_size = buffer_size
        self.hdr_size = hdr_size
        self.desc = memory.alloc(16 * size, 4096)
        self.avail = memory.alloc(6 + 2 * size, 4096)
        self.used = memory.alloc(6 + 8 * size, 4096)
        self.buffers = memory.alloc(size * buffer_size, 4096)
        self.avail_idx = 0
        self.used_idx = 0
        self._kicked = 0
        self.free = list(range(size))
        self.kick_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.call_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.err_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def close(self):
        """Close the eventfds."""
        for fd in (self.kick_fd, self.call_fd, self.err_fd):
            os.close(fd)

    def addr_payload(self):
        """Payload of SET_VRING_ADDR."""
        m = self.memory
        return ADDR.pack(self.index, 0, m.to_user(self.desc), m.to_user(self.used),
                         m.to_user(self.avail), 0)

    def buffer(self, i):
        """Guest-physical address of the buffer that belongs to descriptor i."""
        return self.buffers + i * self.buffer_size

    def write_desc(self, i, address, length, flags=0, following=0):
        """Fill in one descriptor."""
        self.memory.write(self.desc + 16 * i, struct.pack("<QIHH", address, length, flags, following))

    def publish(self, head):
        """Make a chain available."""
        self.outstanding.append(head)
        slot = self.avail + 4 + 2 * (self.avail_idx % self.size)
        self.memory.write(slot, struct.pack("<H", head))
        self.avail_idx = (self.avail_idx + 1) & 0xffff
        self.set_avail_idx(self.avail_idx)

    def set_avail_idx(self, value):
        """Write the available index, right or wrong."""
        self.memory.write(self.avail + 2, struct.pack("<H", value & 0xffff))

    @property
    def base(self):
        """What GET_VRING_BASE says when everything has been taken."""
        return self.avail_idx

    def damage(self):
        """Make the ring one that no driver has; the words for it."""
        self.set_avail_idx(self.avail_idx + 1000)
        return "avail idx jumped"

    def repair(self):
        """Take the damage back."""
        self.set_avail_idx(self.avail_idx)

    def kick(self):
        """Notify the back-end, unless it asked not to be (virtio 1.2 §2.7.10)."""
        if self.event_idx:
            at = self.used + 4 + 8 * self.size
            event = struct.unpack("<H", self.memory.read(at, 2))[0]
            wanted = (self.avail_idx - event - 1) & 0xffff < (self.avail_idx - self._kicked) & 0xffff
        else:
            wanted = not struct.unpack("<H", self.memory.read(self.used, 2))[0] & 1
        self._kicked = self.avail_idx
        if wanted:
            os.eventfd_write(self.kick_fd, 1)

    def want_call(self):
        """Ask for a call at the next used element (virtio 1.2 §2.7.7)."""
        if self.event_idx:
            self.memory.write(self.avail + 4 + 2 * self.size, struct.pack("<H", self.used_idx & 0xffff))

    def post_receive_buffers(self, count=None):
        """Give the device `count` (default: all free) buffers to fill."""
        for _ in range(len(self.free) if count is None else count):
            i = self.free.pop(0)
            self.write_desc(i, self.buffer(i), self.buffer_size, self.F_WRITE)
            self.publish(i)

    def look_used(self):
        """(descriptor, length) of the used element where the driver looks next, or None."""
        idx = struct.unpack("<H", self.memory.read(self.used + 2, 2))[0]
        if idx == self.used_idx & 0xffff:
            return None
        at = self.used + 4 + 8 * (self.used_idx % self.size)
        return struct.unpack("<II", self.memory.read(at, 8))

    def spoil_buffers(self, flags):
        """Rewrites the descriptors the device has, with these flags; the ring must stand."""
        for i in self.outstanding:
            self.write_desc(i, self.buffer(i), self.buffer_size, flags)

    def pop_used(self):
        """(descriptor, length) of the next used buffer, or None."""
        used = None if self.batch else self.look_used()
        if used:
            self._take_batch(*used)
        return self.batch.popleft() if self.batch else None

    def _take_batch(self, last, length):
        """
        Buffers that one used element stands for: in order it may be the last one of several, and those before it are
        used as well, with nothing in them (virtio 1.2 §2.7.9, §2.8.8).
        """
        if not self.in_order:
            self.outstanding.remove(last)
            self.batch.append((last, length))
        elif last not in self.outstanding:
            raise ValueError(f"ring {self.index}: buffer {last} was used and is not outstanding")
        else:
            while not self.batch or self.batch[-1][0] != last:
                i = self.outstanding.popleft()
                self.batch.append((i, length if i == last else 0))
        self.used_idx += len(self.batch)

    def wait_used(self, timeout=LIMIT):
        """The next used element; waits for the call eventfd. None when nothing comes in time."""
        deadline = time.monotonic() + timeout
        while True:
            used = self.pop_used()
            if not used:
                self.want_call()
                used = self.pop_used()
            if used:
                return used
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.call_fd], [], [], left)[0]:
                return self.pop_used()
            os.eventfd_read(self.call_fd)

    def send_frame(self, frame, net_hdr=None, kick=True):
        """Transmit one frame (not waiting for its return); without kick=True kick() has to follow some time."""
        while True:
            used = self.pop_used()
            if not used:
                break
            self.free.append(used[0])
        if not self.free:
            raise BufferError("no free transmit buffer")
        i = self.free.pop(0)
        data = (bytes(self.hdr_size) if net_hdr is None else net_hdr) + frame
        self.memory.write(self.buffer(i), data)
        self.write_desc(i, self.buffer(i), len(data))
        self.publish(i)
        if kick:
            self.kick()

    def recv_frame(self, timeout=LIMIT):
        """The next received frame without its header; its buffers go back to the device. None: none came."""
        got = self.recv_frame_with_header(timeout)
        return got[1] if got else None

    def recv_frame_with_header(self, timeout=LIMIT):
        """(virtio_net_hdr, frame), or None."""
        data = self._take_buffer(timeout)
        if data is None:
            return None
        if self.mergeable:
            for _ in range(struct.unpack_from("<H", data, 10)[0] - 1):
                data += self._take_buffer(timeout)
        self.kick()
        return data[:self.hdr_size], data[self.hdr_size:]

    def _take_buffer(self, timeout):
        used = self.wait_used(timeout)
        if not used:
            return None
        i, length = used
        data = self.memory.read(self.buffer(i), length)
        self.write_desc(i, self.buffer(i), self.buffer_size, self.F_WRITE)
        self.publish(i)
        return data


class PackedVring(Vring):
    """
    The driver's side of a packed virtqueue (virtio 1.2 §2.8): avail is the driver's event area, used the device's. Every
    buffer is one descriptor.
    """

    F_AVAIL, F_USED = 1 << 7, 1 << 15
    DESC = struct.Struct("<QIHH")
    FIRST_BASE = 0x80008000  # both wrap counters are 1

    def __init__(self, *args, **kw):
        super().__init__(*args, **kw)
        self.filled = {}

    def _lap(self, position):
        """The wrap counter there: 1 at first."""
        return 1 - position // self.size % 2

    @property
    def base(self):
        """What GET_VRING_BASE says when everything has been used (vhost-user §Packed virtqueue)."""
        half = self.avail_idx % self.size | self._lap(self.avail_idx) << 15
        return half | half << 16

    def write_desc(self, i, address, length, flags=0, following=0):
        """Remember what buffer i is; publish() writes it where the ring is."""
        self.filled[i] = (address, length, flags)

    def _write(self, position, i, lap):
        address, length, flags = self.filled[i]
        at = self.desc + 16 * (position % self.size)
        flags |= self.F_AVAIL if lap else self.F_USED
        self.memory.write(at, self.DESC.pack(address, length, i, 0)[:14])
        self.memory.write(at + 14, struct.pack("<H", flags))

    def spoil_buffers(self, flags):
        """As there."""
        super().spoil_buffers(flags)
        for position, i in enumerate(self.outstanding, self.avail_idx - len(self.outstanding)):
            self._write(position, i, self._lap(position))

    def publish(self, head):
        """Make a buffer available."""
        self.outstanding.append(head)
        self._write(self.avail_idx, head, self._lap(self.avail_idx))
        self.avail_idx += 1

    def damage(self):
        """Make something available that breaks the ring; the words for it."""
        self.filled[0xffff] = (1 << 60, 64, 0)
        self._write(self.avail_idx, 0xffff, self._lap(self.avail_idx))
        return "buffer outside the memory table"

    def repair(self):
        """Take the damage back."""
        self._write(self.avail_idx, 0xffff, 1 - self._lap(self.avail_idx))

    def kick(self):
        """Notify the back-end, unless it asked not to be (virtio 1.2 §2.8.10)."""
        event, flags = struct.unpack("<HH", self.memory.read(self.used, 4))
        if flags == 2:
            event = (event & 0x7fff) + (self.size if event >> 15 != self._lap(self.avail_idx) else 0)
            event = self.avail_idx - self.avail_idx % self.size + (event if event < self.size else event - 2 * self.size)
        wanted = flags == 0 or flags == 2 and self._kicked <= event < self.avail_idx
        self._kicked = self.avail_idx
        if wanted:
            os.eventfd_write(self.kick_fd, 1)

    def want_call(self):
        """Calls are never asked off."""

    def look_used(self):
        """(buffer, length) of the used descriptor where the driver looks next, or None."""
        at = self.desc + 16 * (self.used_idx % self.size)
        _, length, i, flags = self.DESC.unpack(self.memory.read(at, 16))
        lap = bool(self._lap(self.used_idx))
        if bool(flags & self.F_AVAIL) != lap or bool(flags & self.F_USED) != lap:
            return None
        return i, length


class FrontEnd:
    """One connection to a vhost-user back-end (the proxy's port)."""

    def __init__(self, sock, timeout=LIMIT):
        self.sock = sock
        self.sock.settimeout(timeout)
        self.protocol = 0
        self.features = 0
        self.channel = None

    @classmethod
    def connect(cls, path, timeout=LIMIT):
        """Connect to a listening socket."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(str(path))
        except BaseException:
            sock.close()
            raise
        return cls(sock, timeout)

    def close(self):
        """Hang up."""
        self.sock.close()
        if self.channel:
            self.channel.close()
            self.channel = None

    # --- messages ---

    @staticmethod
    def encode(request, payload=b"", flags=abi.VERSION, size=None):
        """The bytes of a message; request is a name or any number, size may lie."""
        number = abi.frontend_id(request) if isinstance(request, str) else request
        return HEADER.pack(number, flags, len(payload) if size is None else size) + payload

    def send_bytes(self, data, fds=()):
        """Any bytes, any fds."""
        if fds:
            control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))]
            sent = self.sock.sendmsg([data], control)
            if sent < len(data):
                self.sock.sendall(data[sent:])
        else:
            self.sock.sendall(data)

    def send(self, request, payload=b"", fds=(), flags=abi.VERSION, need_reply=False, size=None):
        """One message."""
        if need_reply:
            flags |= abi.NEED_REPLY
        self.send_bytes(self.encode(request, payload, flags, size), fds)

    def _read(self, count, fds):
        data = b""
        while len(data) < count:
            part, control, _, _ = self.sock.recvmsg(count - len(data),
                                                    socket.CMSG_SPACE(64 * INT_BYTES))
            for level, kind, value in control:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    fds.extend(struct.unpack(f"{len(value) // INT_BYTES}i", value))
            if not part:
                raise Closed("closed by the peer")
            data += part
        return data

    def recv(self):
        """The next message; Closed when the peer hung up."""
        fds = []
        try:
            request, flags, size = HEADER.unpack(self._read(HEADER.size, fds))
            return Message(request, flags, self._read(size, fds) if size else b"", fds)
        except ConnectionResetError:
            raise Closed("reset by the peer") from None

    def wait_closed(self):
        """Wait for the peer to hang up; returns the messages that came before."""
        messages = []
        try:
            while True:
                messages.append(self.recv())
        except Closed:
            return messages

    def call(self, request, payload=b"", fds=(), need_reply=False):
        """Send a request and wait for its reply."""
        self.send(request, payload, fds, need_reply=need_reply)
        reply = self.recv()
        if reply.request != abi.frontend_id(request) or not reply.flags & abi.REPLY:
            raise AssertionError(f"{request}: answered by {reply.name}, flags {reply.flags:#x}")
        return reply

    def get_u64(self, request):
        """A request whose reply is a number."""
        return self.call(request).u64

    def set_u64(self, request, value, **kw):
        """A request whose payload is a number; with REPLY_ACK it waits for success."""
        self.acked(request, U64.pack(value), **kw)

    def acked(self, request, payload=b"", fds=()):
        """A request that has no reply of its own: waits for its acknowledgement where REPLY_ACK was negotiated."""
        if self.protocol & abi.pf("REPLY_ACK"):
            status = self.call(request, payload, fds, need_reply=True).u64
            if status:
                raise AssertionError(f"{request}: refused with {status}")
        else:
            self.send(request, payload, fds)

    # --- a session, as QEMU would do it ---

    def negotiate(self, features=None, protocol=None, rings=0):
        """
        Features up to SET_FEATURES. features: mask of what is wanted (default: all offered), protocol likewise. rings:
        features of rings beyond those of a split one.
        """
        offered = self.get_u64("GET_FEATURES")
        if offered & abi.F_PROTOCOL_FEATURES and protocol != 0:
            can = self.get_u64("GET_PROTOCOL_FEATURES")
            want = can if protocol is None else can & protocol
            self.send("SET_PROTOCOL_FEATURES", U64.pack(want))
            self.protocol = want
        self.acked("SET_OWNER")
        offered &= ~NOT_BY_ITSELF | rings
        self.features = offered if features is None else offered & features
        if protocol == 0:
            self.features &= ~abi.F_PROTOCOL_FEATURES
        self.set_u64("SET_FEATURES", self.features)

    @staticmethod
    def mem_table_payload(memories, num=None):
        """Payload of SET_MEM_TABLE."""
        return (STATE.pack(len(memories) if num is None else num, 0) +
                b"".join(m.region() for m in memories))

    def set_mem_table(self, memories):
        """SET_MEM_TABLE with the fds of all memories."""
        self.acked("SET_MEM_TABLE", self.mem_table_payload(memories), [m.fd for m in memories])

    def add_mem_reg(self, memory):
        """ADD_MEM_REG."""
        self.acked("ADD_MEM_REG", bytes(8) + memory.region(), [memory.fd])

    def rem_mem_reg(self, memory):
        """REM_MEM_REG."""
        self.acked("REM_MEM_REG", bytes(8) + memory.region())

    def vring_state(self, request, index, num):
        """SET_VRING_NUM, SET_VRING_BASE, SET_VRING_ENABLE."""
        self.acked(request, STATE.pack(index, num))

    def vring_fd(self, request, index, fd):
        """SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR; fd None: none."""
        if fd is None:
            self.acked(request, U64.pack(index | abi.NOFD))
        else:
            self.acked(request, U64.pack(index), [fd])

    def start_vring(self, ring, enable=True, base=None):
        """Everything one ring needs, in QEMU's order; then one kick for back-ends that wait for it."""
        self.vring_fd("SET_VRING_CALL", ring.index, ring.call_fd)
        self.vring_fd("SET_VRING_ERR", ring.index, ring.err_fd)
        self.vring_state("SET_VRING_NUM", ring.index, ring.size)
        self.vring_state("SET_VRING_BASE", ring.index, ring.FIRST_BASE if base is None else base)
        self.acked("SET_VRING_ADDR", ring.addr_payload())
        self.vring_fd("SET_VRING_KICK", ring.index, ring.kick_fd)
        if enable and self.features & abi.F_PROTOCOL_FEATURES:
            self.vring_state("SET_VRING_ENABLE", ring.index, 1)
        os.eventfd_write(ring.kick_fd, 1)

    def stop_vring(self, ring):
        """GET_VRING_BASE; returns the base."""
        reply = self.call("GET_VRING_BASE", STATE.pack(ring.index, 0))
        return STATE.unpack(reply.payload)[1]

    def start_net(self, memory, size=256, hdr_size=None):
        """Receive and transmit ring of a net device, started, the receive ring full of buffers."""
        return self.start_pairs(memory, 1, size, hdr_size)[0]

    def start_pairs(self, memory, pairs, size=256, hdr_size=None):
        """The same for several queue pairs: [(receive ring, transmit ring)]."""
        if hdr_size is None:
            hdr_size = 12 if self.features & (abi.F_VERSION_1 | F_MRG_RXBUF) else 10
        kw = {"hdr_size": hdr_size, "event_idx": bool(self.features & F_EVENT_IDX),
              "mergeable": bool(self.features & F_MRG_RXBUF), "in_order": bool(self.features & F_IN_ORDER)}
        kind = PackedVring if self.features & F_RING_PACKED else Vring
        rings = [(kind(memory, 2 * i, size, **kw), kind(memory, 2 * i + 1, size, **kw)) for i in range(pairs)]
        for rx, tx in rings:
            rx.post_receive_buffers()
            self.start_vring(rx)
            self.start_vring(tx)
        return rings

    def open_channel(self):
        """SET_BACKEND_REQ_FD; self.channel is our end."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            self.channel = FrontEnd(ours)
            self.acked("SET_BACKEND_REQ_FD", b"", [theirs.fileno()])
        return self.channel


def new_eventfd():
    """An eventfd as VMMs make them."""
    return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
