#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
Two scripted front-ends, in a process that can be stopped and killed, that send numbered frames to each other and look at every byte.

    pair.py SOCKET SOCKET FIRST PER_SECOND      FIRST: number of the first port, of which their addresses are made

What it prints:
    ready
    GAP PORT START END    nothing came between these two times (nanoseconds of the monotonic clock), which is long
    STATS {...}           every second, and at the end (SIGTERM)
    MISSED PORT NUMBER TIME  so many frames have been left out, at that time
    WRONG BYTES TEXT      a frame of so many bytes that nobody sent
    LOST TEXT             the back-end hung up; the end

A frame that comes twice is counted (`twice`), one that doesn't come as well (`missing`). It sleeps on its eventfds and looks
at a ring when told to, so that a lost wake-up is a stream that stands still.
"""

import json
import os
import pathlib
import random
import select
import signal
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from proxy.frontend import Closed, FrontEnd, Memory

GAP_NS = 20_000_000
WINDOW = 64  # frames under way from each side
PROBE_NS = 20_000_000  # so often a frame beyond the window, as many as the ring takes: those under way may all have been lost
SETTLE_S = 20
CONTENT = random.Random(1).randbytes(65536 + 2048)
HEADER = struct.Struct("!6s6sHHIQ")  # addresses, Ethernet type, length, stream, sequence number
ETHERTYPE = 0x88b5


def mac(port):
    """Address of the front-end on a port."""
    return bytes([2, 0, 0, 1, 0, port])


def frame(src, dst, stream, seq):
    """A stream's frame of that number."""
    at = (stream * 7919 + seq * 104729) % 65521
    content = CONTENT[at:at + 40 + at % 1400]
    return HEADER.pack(mac(dst), mac(src), ETHERTYPE, len(content), stream, seq) + content


class Stream:
    """Frames from one side to the other."""

    def __init__(self, src, dst, number):
        self.src, self.dst, self.number = src, dst, number
        self.sent = self.arrived = self.twice = 0
        self.missing = set()
        self.highest = -1
        self.last = time.monotonic_ns()
        self.probed = self.last

    def may_send(self, now):
        """Whether one more may go."""
        under_way = self.sent - self.arrived - len(self.missing)
        if under_way >= WINDOW and now - self.probed < PROBE_NS:
            return False
        self.probed = now
        return True

    def arrive(self, seq):
        """It is there."""
        now = time.monotonic_ns()
        if self.arrived and now - self.last > GAP_NS:
            print(f"GAP {self.dst} {self.last} {now}", flush=True)
        self.last = now
        if seq in self.missing:
            self.missing.discard(seq)
        elif seq <= self.highest:
            self.twice += 1
            return
        else:
            if seq > self.highest + 1:
                print(f"MISSED {self.dst} {seq - self.highest - 1} {now}", flush=True)
            self.missing.update(range(self.highest + 1, seq))
            self.highest = seq
        self.arrived += 1


class Side:
    """One front-end."""

    def __init__(self, path, port):
        self.port = port
        self.memory = Memory(4 << 20)
        self.fe = FrontEnd.connect(path, timeout=60)
        self.fe.negotiate()
        self.fe.set_mem_table([self.memory])
        self.rx, self.tx = self.fe.start_net(self.memory)
        self.out = self.in_ = None

    def receive(self, wrong):
        """Everything that has come."""
        while self.rx.look_used():
            data = self.rx.recv_frame(0)
            if len(data) >= HEADER.size and data[:6] == mac(self.port):
                self._look(data, wrong)
        self.rx.want_call()
        return self.rx.look_used()

    def _look(self, data, wrong):
        _, _, kind, _, stream, seq = HEADER.unpack_from(data)
        good = kind == ETHERTYPE and stream == self.in_.number and seq < self.in_.sent
        if not good or data != frame(self.in_.src, self.in_.dst, stream, seq):
            wrong(f"{len(data)} port {self.port}: {data[:64].hex()}")
        else:
            self.in_.arrive(seq)

    def send(self, now):
        """The next frame, if it may go. Takes back what was sent before."""
        if not self.out.may_send(now):
            return
        try:
            self.tx.send_frame(frame(self.out.src, self.out.dst, self.out.number, self.out.sent))
        except BufferError:
            return
        self.out.sent += 1


class Pair:
    """Both, and what runs them."""

    def __init__(self, paths, first, per_second):
        self.sides = [Side(path, first + i) for i, path in enumerate(paths)]
        self.streams = [Stream(first, first + 1, os.getpid()), Stream(first + 1, first, os.getpid() + 1)]
        for i, side in enumerate(self.sides):
            side.out, side.in_ = self.streams[i], self.streams[1 - i]
        self.interval = 10 ** 9 // per_second
        self.wrong = 0
        self.ending = False
        signal.signal(signal.SIGTERM, self._end)

    def _end(self, _number, _frame):
        self.ending = True

    def say_wrong(self, text):
        """A frame that nobody sent."""
        self.wrong += 1
        print(f"WRONG {text}", flush=True)

    def stats(self):
        """What has been counted so far."""
        under_way = [s.sent - s.arrived - len(s.missing) for s in self.streams]
        print("STATS " + json.dumps({
            "sent": sum(s.sent for s in self.streams), "arrived": sum(s.arrived for s in self.streams),
            "arrived_each": [s.arrived for s in self.streams], "wrong": self.wrong,
            "twice": sum(s.twice for s in self.streams), "missing": sum(len(s.missing) for s in self.streams),
            "under_way": sum(under_way)}), flush=True)

    def run(self):
        """Until told to end, or hung up on."""
        fds = {side.rx.call_fd: side for side in self.sides}
        socks = [side.fe.sock for side in self.sides]
        next_send = next_stats = time.monotonic_ns()
        end = None
        while True:
            now = time.monotonic_ns()
            if self.ending and end is None:
                end = now + SETTLE_S * 10 ** 9
            if end is not None and (now > end or all(s.arrived == s.sent for s in self.streams)):
                return
            if now >= next_send and end is None:
                next_send = max(next_send + self.interval, now - 10 * self.interval)
                for side in self.sides:
                    side.send(now)
            if now >= next_stats:
                next_stats = now + 10 ** 9
                self.stats()
            wait = max(0, (next_send if end is None else next_stats) - time.monotonic_ns()) / 1e9
            for fd in select.select([*fds, *socks], [], [], min(wait, 0.2))[0]:
                if fd in socks:
                    self.hung_up(socks.index(fd))
                os.eventfd_read(fd)
                while fds[fd].receive(self.say_wrong):
                    pass

    def hung_up(self, index):
        """There is nothing that a back-end would say of its own accord."""
        self.sides[index].fe.recv()
        raise Closed("a message nobody asked for")


def main():
    """Entry point."""
    paths, first, per_second = sys.argv[1:3], int(sys.argv[3]), int(sys.argv[4])
    try:
        pair = Pair(paths, first, per_second)
    except (OSError, Closed) as error:
        print(f"LOST while connecting: {error}", flush=True)
        return 1
    print("ready", flush=True)
    try:
        # What came before the first look.
        for side in pair.sides:
            side.receive(pair.say_wrong)
        pair.run()
    except (OSError, Closed) as error:
        print(f"LOST {error}", flush=True)
        return 1
    finally:
        pair.stats()
    return 0


if __name__ == "__main__":
    sys.exit(main())
