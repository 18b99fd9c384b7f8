# SPDX-License-Identifier: BSD-2-Clause
"""
What hostile peers do: each function takes a random.Random and ends after a bounded time, whatever the other side does.
A refusal, a hang-up or silence is all right here; what happens to others is looked at by others.
"""

import os
import socket
import struct

from lib import damage
from proxy import abi
from proxy.frontend import Closed, FrontEnd, Memory, STATE, U64
from proxy.vmm_link import KIND, LINK_HEADER, Link

TIMEOUT = 5
SIZE = 4 << 20
REQUESTS = sorted(abi.FRONTEND)
RANDOM_SIZES = (0, 4, 8, 12, 40, 72, 264, 4096)


class FrontEndHere:
    """A front-end that has got as far as running rings, or not so far."""

    def __init__(self, path):
        self.rings = []
        self.memory = Memory(SIZE)
        try:
            self.fe = FrontEnd.connect(path, timeout=TIMEOUT)
        except OSError:
            self.memory.close()
            raise

    def start(self):
        """Running rings."""
        self.fe.negotiate()
        self.fe.set_mem_table([self.memory])
        self.rings = self.fe.start_net(self.memory, 64)

    def close(self):
        """Everything."""
        self.fe.close()
        for ring in self.rings:
            ring.close()
        self.memory.close()


def attempt(path, action, start=True):
    """action(front-end); whatever the peer does about it."""
    try:
        front = FrontEndHere(path)
    except OSError:
        return
    try:
        if start:
            front.start()
        action(front)
    except (OSError, Closed, AssertionError, struct.error, BufferError):
        pass
    finally:
        front.close()


def kick(ring):
    """A kick that does not wait when nobody reads them."""
    try:
        os.eventfd_write(ring.kick_fd, 1)
    except BlockingIOError:
        pass


def garble(rng, data):
    """Some bytes of it changed."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        if data:
            data[rng.randrange(len(data))] = rng.getrandbits(8)
    return bytes(data)


def messages(rng, path):
    """Messages that are wrong in all kinds of ways, with fds that are wrong, too."""
    def act(front):
        for _ in range(rng.randint(1, 12)):
            request = rng.choice(REQUESTS)
            payload = rng.choice((rng.randbytes(rng.choice(RANDOM_SIZES)), U64.pack(rng.getrandbits(64)),
                                  STATE.pack(rng.randrange(4), rng.getrandbits(32)),
                                  front.fe.mem_table_payload([front.memory], rng.randrange(12))))
            data = front.fe.encode(request, payload)
            if rng.random() < 0.5:
                data = garble(rng, data)
            with open(os.devnull, "rb") as null:
                fds = [rng.choice((front.memory.fd, null.fileno())) for _ in range(rng.randrange(3))]
                front.fe.send_bytes(data, fds)
        front.fe.sock.shutdown(socket.SHUT_WR)
        front.fe.wait_closed()
    attempt(path, act, start=rng.random() < 0.5)


def rings(rng, path):
    """Rings that no driver has."""
    def act(front):
        for ring in front.rings:
            for _ in range(rng.randint(1, 8)):
                where = rng.choice((ring.desc, ring.avail, ring.used))
                front.memory.write(where + rng.randrange(600), rng.randbytes(rng.choice((1, 2, 8, 64))))
                if rng.random() < 0.5:
                    ring.set_avail_idx(rng.getrandbits(16))
                kick(ring)
        front.fe.get_u64("GET_FEATURES")
        if rng.random() < 0.5:
            for ring in front.rings:
                front.fe.stop_vring(ring)
    attempt(path, act)


def memory(rng, path):
    """Memory that goes away under the device."""
    def act(front):
        for ring in front.rings:
            kick(ring)
        if rng.random() < 0.5:
            os.ftruncate(front.memory.fd, rng.randrange(0, SIZE, 4096))
            # What is mapped here is gone as well: nothing but messages and kicks from now on.
            kick(front.rings[0])
            kick(front.rings[1])
            front.fe.get_u64("GET_FEATURES")
        else:
            for _ in range(rng.randint(1, 20)):
                damage.punch(front.memory.fd, 0, SIZE)
                kick(rng.choice(front.rings))
            front.fe.get_u64("GET_FEATURES")
    attempt(path, act)


def come_and_go(rng, path):
    """A front-end that leaves at some message of its start, or while its rings run."""
    steps = rng.randint(0, 12)

    def act(front):
        sent = 0

        def count(data, fds=(), send=front.fe.send_bytes):
            nonlocal sent
            sent += 1
            if sent > steps:
                raise Closed("enough")
            send(data, fds)
        front.fe.send_bytes = count
        front.start()
        kick(front.rings[1])
    attempt(path, act, start=False)


def link(rng, path):
    """A VMM that is none, at the link socket."""
    hello = Link.hello_body("nobody", magic=rng.choice((abi.C["LINK_MAGIC"], rng.getrandbits(32))), version=rng.choice((0, 1, 2, 3)),
                            flags=rng.getrandbits(3), session=rng.getrandbits(32))
    packets = [rng.randbytes(rng.choice((1, 15, 16, 17, 300, 4096))),
               LINK_HEADER.pack(rng.choice(sorted(KIND.values())), rng.getrandbits(4), rng.getrandbits(8), rng.getrandbits(3), 0)
               + rng.randbytes(rng.choice(RANDOM_SIZES)),
               LINK_HEADER.pack(KIND["HELLO"], 0, 0, 0, 0) + hello, LINK_HEADER.pack(KIND["HELLO"], 0, 0, 0, 0) + garble(rng, hello)]
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(TIMEOUT)
        try:
            sock.connect(str(path))
            for _ in range(rng.randint(1, 5)):
                sock.send(rng.choice(packets))
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(4096):
                pass
        except OSError:
            pass


def half_a_message(rng, path):
    """A message of which only a part comes."""
    def act(front):
        front.fe.send_bytes(front.fe.encode("SET_FEATURES", bytes(8))[:rng.randrange(1, 20)])
        front.fe.sock.shutdown(socket.SHUT_WR)
        front.fe.wait_closed()
    attempt(path, act, start=False)
