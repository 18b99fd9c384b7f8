# SPDX-License-Identifier: BSD-2-Clause
"""
A scripted receiver that has few buffers and gives them back at a word only, and scripted front-ends that send to it: who got how many
of them, counted.

    to = scarce.Receiver(path, 2)
    flooder, modest = scarce.Sender(path, 0, to), scarce.Sender(path, 1, to)
    flooder.send(1000)
    modest.send(10)
    to.settle()         # the switch has decided about all of them
    to.take()           # Counter({0: 118, 1: 10}): buffers by sending port; they are the switch's again
"""

import collections
import itertools
import re
import struct

from proxy.frontend import FrontEnd, Memory

from . import procs
from .procs import Failure

LIMIT = 60  # seconds after which something hangs
BUFFERS = 128  # of each receive ring
FLOWS = 64  # of each sender, so that all receive rings get some
HEADER = 12  # struct virtio_net_hdr
SOURCE = HEADER + 11  # the byte of the source address that says which port


def mac(port):
    """Address of the front-end on a port."""
    return bytes([2, 0, 0, 0, 0, port + 1])


def frame(src, dst, flow):
    """One of 60 bytes, of a UDP flow between two ports."""
    ip = struct.pack(">BBHHHBBH4B4B", 0x45, 0, 46, 0, 0, 64, 17, 0, 10, 9, 0, src + 1, 10, 9, 0, dst + 1)
    return mac(dst) + mac(src) + b"\x08\x00" + ip + struct.pack(">HHHH", 1024 + flow, 4789, 26, 0) + bytes(18)


class Member:
    """A front-end on a port with running queue pairs. rings: F_RING_PACKED, F_IN_ORDER."""

    def __init__(self, path, port, pairs=1, rings=0, size=256):
        self.path, self.port = path, port
        self.fe = FrontEnd.connect(path.socket(port), LIMIT)
        self.fe.negotiate(rings=rings)
        if self.fe.features & rings != rings:
            raise Failure(f"features {rings:#x} were asked for, {self.fe.features:#x} are offered")
        self.memory = Memory((2 << 20) * pairs)
        self.fe.set_mem_table([self.memory])
        self.rx, self.tx = zip(*self.fe.start_pairs(self.memory, pairs, size, HEADER))

    def close(self):
        """Hangs up."""
        self.fe.close()
        for ring in self.rx + self.tx:
            ring.close()
        self.memory.close()


class Sender(Member):
    """Sends frames to a receiver, through its first pair."""

    def __init__(self, path, port, to, **kw):
        super().__init__(path, port, **kw)
        self.to = to
        self.frames = itertools.cycle([frame(port, to.port, flow) for flow in range(FLOWS)])

    def send(self, number):
        """As soon as there is room for them in the ring."""
        tx = self.tx[0]
        for _ in range(number):
            while not tx.free:
                used = tx.wait_used(LIMIT)
                if not used:
                    raise Failure(f"port {self.port}: a transmitted frame has not been taken within {LIMIT} s")
                tx.free.append(used[0])
            tx.send_frame(next(self.frames))
        self.to.sent += number


class Receiver(Member):
    """Takes what is there when it is told to."""

    def __init__(self, path, port, size=BUFFERS, **kw):
        super().__init__(path, port, size=size, **kw)
        self.buffers = size * len(self.rx)
        # From now on its address is known. All counters of frames for it are its own.
        self.tx[0].send_frame(b"\xff" * 6 + mac(port) + b"\x88\xb5" + bytes(46))
        self.tx[0].wait_used(LIMIT)
        self.sent = self.decided()  # to it, with those of an earlier front-end

    def decided(self):
        """Frames for it that the switch has delivered or dropped."""
        ours = re.compile(rf"port\.p0?{self.port}\.(tx_frames|drop_(no_buffers|worker_busy))")
        return sum(n for name, n in self.path.counters().items() if ours.fullmatch(name))

    def settle(self):
        """Until the switch has decided about all frames that were sent to it."""
        procs.wait_until(lambda: self.decided() == self.sent, f"all frames for port {self.port} are counted", LIMIT, 0.002)

    def take(self, limit=None):
        """Looks who sent what is there, in at most so many buffers of each ring, and gives them back."""
        got = collections.Counter()
        for rx in self.rx:
            for _ in range(rx.size if limit is None else limit):
                used = rx.pop_used()
                if not used:
                    break
                got[rx.memory.read(rx.buffer(used[0]), HEADER + 14)[SOURCE] - 1] += 1
                rx.write_desc(used[0], rx.buffer(used[0]), rx.buffer_size, rx.F_WRITE)
                rx.publish(used[0])
        return got
