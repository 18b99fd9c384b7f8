#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
A front-end damages its memory while the back-end VM works on it and two others exchange frames. Where the memory can't be had
any more its session ends, with a line that says why, and its port serves the next one; otherwise it reads zeros. The others
notice nothing but a pause, which is printed.

  truncate  the file becomes shorter
  small     holes in a file of a tmpfs that is full
  huge      holes in a file on huge pages, of which the host has none left
  punch     holes in a memfd, of whose pages there are enough
  storm     the same again and again
"""

import mmap
import os
import pathlib
import re
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from large_table import FEW, Pump
from lib import damage, procs, scenario
from proxy import test_hosted as hosted
from proxy.frontend import FrontEnd, Memory

SIZE = 4 << 20
STORM = 64 << 20
ROUNDS = 3
SECONDS = 3


class FileMemory(Memory):
    """Memory in a given file."""

    def __init__(self, fd, size):  # pylint: disable=super-init-not-called
        self.fd, self.size = fd, size
        self.guest_address, self.user_address, self.file_offset = 0, 0x7f0000000000, 0
        self.map = mmap.mmap(fd, size)
        self._next = 0


class Victim:
    """The front-end on port 2, with its rings in use."""

    def __init__(self, path, memory):
        self.path = path
        self.memory = memory
        self.fe = FrontEnd.connect(path.socket(2), timeout=60)
        self.fe.negotiate()
        self.fe.set_mem_table([memory])
        self.rx, self.tx = self.fe.start_net(memory)

    def works(self, pump, text):
        """A frame of its arrives at port 0."""
        self.tx.send_frame(hosted.frame(2, 0, text))
        if pump.sender.rx.recv_frame(20) != hosted.frame(2, 0, text):
            raise procs.Failure(f"no frame from port 2 ({text.decode()})")

    def kick(self):
        """Has the appliance look at both rings."""
        for ring in (self.rx, self.tx):
            try:
                os.eventfd_write(ring.kick_fd, 1)
            except BlockingIOError:
                pass

    def expect_end(self, why):
        """Its session ends, and the proxy says why."""
        ended = threading.Event()

        def wait():
            self.fe.wait_closed()
            ended.set()
        waiter = threading.Thread(target=wait, daemon=True)
        waiter.start()
        while not ended.wait(0.01):
            self.kick()
            if not waiter.is_alive() and not ended.is_set():
                raise procs.Failure("the session of port 2 did not end")
        last = self.path.status("proxy")["ports"][2]["last_end"]
        if not re.search(f"memory at 0x0 of the front-end is gone: {why}", last):
            raise procs.Failure(f"the session of port 2 ended: {last}")

    def close(self):
        """All of it."""
        self.fe.close()
        self.rx.close()
        self.tx.close()
        self.memory.close()


def is_free(path):
    """Nobody is on port 2, and its back-end is up."""
    port = path.status("proxy")["ports"][2]
    return not port["front_end"] and port["back_end"]["up"]


def next_one(path, pump):
    """Port 2 serves the next front-end."""
    procs.wait_until(lambda: is_free(path), "port 2 is free again", interval=0.01)
    victim = Victim(path, Memory(SIZE))
    victim.works(pump, b"another front-end")
    victim.close()
    procs.wait_until(lambda: is_free(path), "port 2 is free again", interval=0.01)


def truncate(_run, path, pump):
    """The end of the session by the length of its file."""
    victim = Victim(path, Memory(SIZE))
    victim.works(pump, b"before")
    os.ftruncate(victim.memory.fd, SIZE - 4096)
    victim.expect_end("its file was truncated")
    victim.close()


def starve(run, path, pump):
    """The end of the session by a lack of pages."""
    try:
        fs = damage.Filesystem(run.word, SIZE + (2 << 20))
    except damage.Unavailable as error:
        raise scenario.Skip(str(error)) from None
    try:
        victim = Victim(path, FileMemory(fs.file("memory", SIZE), SIZE))
        victim.works(pump, b"before")
        fs.starve(victim.memory.fd)
        victim.expect_end("a page of its file is missing")
        victim.close()
    finally:
        fs.close()


def punch(run, path, pump):
    """Zeros, and the session is still there."""
    victim = Victim(path, Memory(SIZE, seal=True))
    victim.works(pump, b"before")
    damage.punch(victim.memory.fd, 0, SIZE)
    victim.kick()
    pump.more(FEW)
    run.expect(victim.fe.get_u64("GET_FEATURES") != 0, "the session of port 2 does not answer")
    victim.close()


def storm(run, path, pump):
    """As fast as the front-end can."""
    victim = Victim(path, Memory(STORM, seal=True))
    victim.works(pump, b"before")
    end = time.monotonic() + SECONDS
    count = 0
    while time.monotonic() < end:
        damage.punch(victim.memory.fd, 0, STORM)
        victim.memory.map[:1 << 20] = b"\xff" * (1 << 20)
        victim.kick()
        count += 1
    run.note(f"{count} holes of {STORM >> 20} MiB")
    victim.close()


def check(run):
    """See above."""
    path = run.path(3)
    pump = Pump(path)
    pump.start()
    pump.more(FEW)
    before = pump.longest(0, time.monotonic())
    sessions = [path.status("vmm")["devices"][f"p{i}"]["session"] for i in (0, 1)]
    how = {"truncate": truncate, "small": starve, "huge": starve, "punch": punch, "storm": storm}[run.word]
    for _ in range(1 if run.word == "storm" else ROUNDS):
        start = time.monotonic()
        how(run, path, pump)
        pump.more(FEW)
        run.note(f"longest wait of a frame between the others: {pump.longest(start, time.monotonic()):.1f} ms, "
                 f"{before:.1f} ms before")
        next_one(path, pump)
    pump.end()
    now = [path.status("vmm")["devices"][f"p{i}"]["session"] for i in (0, 1)]
    run.expect(now == sessions and all(sessions), f"sessions of ports 0 and 1: {sessions}, then {now}")
    run.note(f"{len(pump.times)} frames passed")
    pump.sender.close()
    pump.receiver.close()


if __name__ == "__main__":
    scenario.main(__doc__, check, needs=(), choices=("truncate", "small", "huge", "punch", "storm"))
