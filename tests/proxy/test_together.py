#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Ports that were lost with one VM, and come back together: none sends before all can receive."""

import os
import pathlib
import select
import socket
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from proxy import rig  # noqa: E402
from proxy.test_survival import FEATURES, NEGOTIATION, RING  # noqa: E402
from proxy.test_survival import Case as Survival  # noqa: E402
from proxy.vmm_link import Link  # noqa: E402

ASK = "GET_FEATURES"
KICK = RING[-1]
PREPARATION = [*NEGOTIATION, "SET_OWNER", "SET_FEATURES", "SET_MEM_TABLE", "SET_INFLIGHT_FD", *RING[:-1] * 2]
WAIT = 0.1  # seconds, at most


def other_vm(path, name):
    """A link that another process has opened."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if not pid:
        link = Link.open(path, name)
        socket.send_fds(theirs, [b"x"], [link.sock.fileno()])
        os._exit(0)
    fds = socket.recv_fds(ours, 1, 1)[1]
    os.waitpid(pid, 0)
    ours.close()
    theirs.close()
    return Link(None, sock=socket.socket(fileno=fds[0]))


class Together(Survival):
    """A VM with some ports, lost and started again."""

    ports = 96

    def start(self, number):
        """Running sessions on so many ports: lists of numbers, front-ends, links."""
        self.of, self.fe, self.link = [], [], []
        for n in range(number):
            if n:
                self.next_port()
            fe, link, _ = self.running(2)
            self.of.append((self.i, self.name))
            self.fe.append(fe)
            self.link.append(link)

    def at(self, n):
        """Port n is the current one."""
        self.i, self.name = self.of[n]

    def lose_all(self):
        """The VM dies."""
        for link in self.link:
            link.close()
        for n in range(len(self.of)):
            self.at(n)
            self.wait_away()

    def prepare(self, n, link=None):
        """The next VM has port n, up to the receiver's start."""
        self.at(n)
        self.link[n] = link or self.open_link()
        self.link[n].replay(*PREPARATION)
        self.assertEqual(self.kick(n), 0)

    def kick(self, n):
        """The ring that is started."""
        return struct.unpack("<Q", self.link[n].serve(KICK).payload)[0] & 0xff

    def go_ahead(self, n):
        """The receiver of port n is there."""
        self.link[n].reply_u64(self.asked[n], FEATURES)

    def waits(self, n, since):
        """Nothing comes to link n, or only after the wait."""
        self.proxy.status()
        if select.select([self.link[n].sock], [], [], 0)[0]:
            self.assertGreaterEqual(time.monotonic() - since, WAIT)

    def finish(self, n):
        """The sender's start, and the session goes on."""
        self.at(n)
        self.assertEqual(self.kick(n), 1)
        self.wait_up()
        self.works(self.fe[n], self.link[n])

    def test_receivers_first(self):
        self.start(3)
        self.lose_all()
        for n in range(3):
            self.prepare(n)
        self.asked = [link.message(ASK) for link in self.link]
        begin = time.monotonic()
        for n in range(2):
            self.go_ahead(n)
            self.waits(n, begin)
        self.waits(0, begin)
        self.go_ahead(2)
        for n in range(3):
            self.finish(n)

    def test_one_that_never_comes(self):
        self.start(2)
        self.lose_all()
        self.prepare(0)
        begin = time.monotonic()
        self.link[0].serve(ASK)
        self.finish(0)
        self.assertGreaterEqual(time.monotonic() - begin, WAIT)
        # Once is enough: the late one waits for nobody.
        self.prepare(1)
        self.finish(1)

    def test_one_whose_front_end_leaves(self):
        self.start(2)
        self.lose_all()
        self.prepare(0)
        self.fe[1].close()
        self.wait_for_kick(0)

    def wait_for_kick(self, n):
        """With or without the question before it: it may have been asked while there was somebody to wait for."""
        packet = self.link[n].expect("FRONTEND")
        if packet.name == ASK:
            self.link[n].reply_u64(packet, FEATURES)
            packet = self.link[n].expect("FRONTEND")
        self.assertEqual(packet.name, KICK)
        packet.close()
        self.at(n)
        self.wait_up()
        self.works(self.fe[n], self.link[n])

    def test_next_vm_dies_in_it(self):
        self.start(2)
        for stop in range(3):
            self.lose_all()
            for n in range(2):
                self.prepare(n)
            for n in range(stop):
                self.link[n].serve(ASK)
        self.lose_all()
        for n in range(2):
            self.prepare(n)
        for n in range(2):
            self.link[n].serve(ASK)
        for n in range(2):
            self.finish(n)

    def test_lost_at_different_times(self):
        # One that is lost while another is away already is still of the same VM.
        self.start(2)
        self.link[0].close()
        self.at(0)
        self.wait_away()
        self.prepare(0)
        self.assertEqual(self.kick(0), 1)
        self.wait_up()
        self.lose_all()
        for n in range(2):
            self.prepare(n)
        for n in range(2):
            self.link[n].serve(ASK)
        for n in range(2):
            self.finish(n)

    def test_two_vms(self):
        # They have nothing to say to each other, and don't wait.
        self.start(2)
        self.lose_all()
        self.at(1)
        self.prepare(1, self.keep(other_vm(self.proxy.link, self.name)))
        self.link[1].message(ASK)
        self.prepare(0)
        self.link[0].serve(ASK)
        self.assertEqual(self.kick(0), 1)
        self.at(0)
        self.wait_up()

    def test_reset(self):
        # The guest was reset: each device says so by itself.
        self.start(2)
        for n in range(2):
            self.link[n].send_packet("BACKEND_LOST")
        for n in range(2):
            self.at(n)
            self.wait_away()
            self.link[n].drop_records()
        for n in range(2):
            self.link[n].back_end_up()
        for n in range(2):
            self.link[n].replay(*PREPARATION)
            self.assertEqual(self.kick(n), 0)
        for n in range(2):
            self.link[n].serve(ASK)
        for n in range(2):
            self.finish(n)


del Survival  # imported as a base only

if __name__ == "__main__":
    rig.main()
