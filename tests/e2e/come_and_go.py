#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
Front-ends come, talk and go, again and again, in every way there is to go; nothing of them stays.

  server  scripted front-ends connect to the port
  client  the port connects to them
  qemu    QEMU guests, to a port of each mode in turn: driver unbound and bound, link off and on, connection cut and made
          again, reset or reboot, then killed (in the middle of a transfer, too) or ended

Each scripted round is a front-end with rings of the next kind (KINDS) which exchanges frames with one that stays, and leaves in
the next way (Ways). From the end of the warm-up on, in which every kind has left in every way, no program may have more
files, mappings, memory, KVM slots, ioeventfds, irqfds or routes than then, each time all ports are free; memory of the guest
counts as its VMM's. Not one page more: so the programs run without malloc's cache per thread, with which the heap of a program
that has lost nothing goes on growing for thousands of rounds, ever more slowly, as its free pieces get mixed.
"""

import itertools
import os
import pathlib
import random
import signal
import socket
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import footprint, procs, scenario, traffic
from proxy import abi
from proxy import test_hosted as hosted
from proxy.frontend import F_IN_ORDER, F_RING_PACKED, FrontEnd, HEADER, Memory

LIMIT = 60  # seconds after which something hangs
ROUNDS = {"server": 500, "client": 150, "qemu": 1}
# Features of rings, queue pairs.
KINDS = list(itertools.product((0, F_RING_PACKED, F_IN_ORDER, F_RING_PACKED | F_IN_ORDER), (1, 2)))
FRAMES = 4
CHECKS = 5  # times that everything is counted after the warm-up
QEMU_WARM_UP = 2  # one round for each port
NONE_LEFT = ("session", "regions", "region_bytes", "records", "kicks", "calls")


class Programs:
    """Those under test, and what they have of the host."""

    def __init__(self, run, path, coming, counted=None, pages=True):
        self.run, self.path = run, path
        self.pages = pages  # whether pages of memory count
        self.coming = {path.name(i) for i in coming}  # ports that have to be free when counting
        self.before = None
        self.counted = counted or (lambda: {})  # of others

    def free(self):
        """Nobody is connected there, and the next one could come."""
        if self.path.kind == "host":
            return not any(p["connected"] for p in self.path.status("backend")["ports"] if p["name"] in self.coming)
        ports = [p for p in self.path.status("proxy")["ports"] if p["name"] in self.coming]
        devices = self.path.status("vmm")["devices"]
        return (all(not p["front_end"] and (p["back_end"] or {}).get("up") for p in ports) and
                not any(devices[name][key] for name in self.coming for key in NONE_LEFT))

    def count(self):
        """{(program, what): how much}."""
        found = {"vvu-" + name: footprint.of(getattr(self.path, name).pid)
                 for name in (("backend",) if self.path.kind == "host" else ("proxy", "vmm"))}
        if self.path.kind == "vm":
            found["vvu-vmm"].update({"KVM " + k: v for k, v in self.path.status("vmm")["kvm"].items()})
        found.update(self.counted())
        return {f"{program} {what}": value for program, kinds in found.items() for what, value in kinds.items()
                if self.pages or what not in footprint.KEYS.values()}

    def check(self, when):
        """
        All ports are free. The first time: that's the measure for those to come. What the kernel or another thread still has to
        give back it gets the time for; what has grown for good doesn't.
        """
        try:
            procs.wait_until(self.free, "all ports are free", LIMIT, 0.005)
        except procs.Failure as error:
            programs = ("backend",) if self.path.kind == "host" else ("proxy", "vmm")
            raise procs.Failure(f"{error}; {[self.path.status(p) for p in programs]}") from None
        if self.before is None:
            self.before = self.count()
            self.run.note(f"{when}: {shown(self.before)}")
            return
        try:
            procs.wait_until(lambda: not footprint.growth(self.before, self.count()), "nothing has grown", LIMIT, 0.02)
        except procs.Failure:
            raise procs.Failure(f"{when}: " + "; ".join(footprint.growth(self.before, self.count()))) from None
        # Our own questions may still have been open at first.
        self.before = {key: min(value, self.before[key]) for key, value in self.count().items() if key in self.before}
        self.run.note(f"{when}: nothing has grown")


def shown(counts):
    """For people."""
    return ", ".join(f"{what} {value}" for what, value in sorted(counts.items()))


class Ways:
    """Ways to go, each by name with a front-end whose rings run."""

    @staticmethod
    def closes(a):
        """Without a word."""

    @staticmethod
    def stops_rings(a):
        """As QEMU when its guest shuts down."""
        for _, tx in a.pairs:
            base = a.fe.stop_vring(tx)
            if base != tx.base:
                raise procs.Failure(f"GET_VRING_BASE of ring {tx.index}: {base:#x} instead of {tx.base:#x}")
        for rx, _ in a.pairs:
            a.fe.stop_vring(rx)

    @staticmethod
    def in_a_message(a):
        """With a file that came already."""
        message = a.fe.encode("ADD_MEM_REG", bytes(40))
        a.fe.send_bytes(message[:-1], [a.memory.fd])

    @staticmethod
    def in_a_header(a):
        """Before it can be told what it shall be."""
        a.fe.send_bytes(a.fe.encode("SET_MEM_TABLE")[:HEADER.size - 1], [a.memory.fd] * 8)

    @staticmethod
    def unread_replies(a):
        """The peer sees a reset (ECONNRESET) instead of an end."""
        for _ in range(4):
            a.fe.send("GET_FEATURES")

    @staticmethod
    def half_closes(a):
        """Waits for the other side to close."""
        a.fe.sock.shutdown(socket.SHUT_WR)
        a.fe.wait_closed()

    @staticmethod
    def shuts_down(a):
        """Both directions, the fd still open."""
        a.fe.sock.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def with_more_memory(a):
        """Regions added, one of them removed again, and a channel."""
        more = [Memory(1 << 20, guest_address=(i + 1) << 32) for i in range(3)]
        for m in more:
            a.fe.add_mem_reg(m)
        a.fe.rem_mem_reg(more[1])
        if a.fe.protocol & abi.pf("BACKEND_REQ"):
            a.fe.open_channel()
        for m in more:
            m.close()

    @staticmethod
    def sent_away(a):
        """For a message that breaks a rule."""
        a.fe.send("SET_VRING_NUM", struct.pack("<II", 0, 0))
        a.fe.wait_closed()


WAYS = [getattr(Ways, name) for name in vars(Ways) if not name.startswith("_")] + ["killed", "half set up"]
WARM_UP = len(KINDS) * len(WAYS)


class Rounds:
    """Front-ends of port 0, one after the other, and the one of port 1 that stays."""

    def __init__(self, run, path):
        self.run, self.path = run, path
        self.listener = None
        self.stayer = None

    def connect(self):
        """The next front-end."""
        if self.listener:
            return FrontEnd(self.listener.accept()[0], LIMIT)
        return FrontEnd.connect(self.path.socket(0), LIMIT)

    def stay(self):
        """The one that stays comes."""
        if self.path.modes[0] == "client":
            self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.listener.bind(self.path.socket(0))
            self.listener.listen(1)
            self.listener.settimeout(LIMIT)
        self.stayer = hosted.Guest(FrontEnd.connect(self.path.socket(1), LIMIT), F_RING_PACKED)

    def leave(self):
        """... and goes. Nobody listens any more either, or the port would soon be connected again."""
        self.stayer.close()
        if self.listener:
            self.listener.close()
            os.unlink(self.path.socket(0))

    def payloads(self, number):
        """Of a round's frames."""
        source = random.Random(number)
        return [source.randbytes(source.randrange(46, 1486)) for _ in range(FRAMES)]

    def expect(self, guest, data):
        """That's the frame that arrives next, byte by byte."""
        got = guest.recv(LIMIT)
        self.run.expect(got == data, f"{'nothing' if got is None else got[:64].hex()} instead of {data[:64].hex()}")

    def answer(self, data):
        """The one that stays gets a frame and sends another one."""
        self.expect(self.stayer, hosted.frame(0, 1, data))
        self.stayer.send(hosted.frame(1, 0, data[::-1]))

    def once(self, number):
        """A round."""
        rings, pairs = KINDS[number % len(KINDS)]
        way = WAYS[number // len(KINDS) % len(WAYS)]
        if way == "half set up":
            self.half_set_up(rings)
        elif way == "killed":
            self.killed(number, rings, pairs)
        else:
            a = hosted.Guest(self.connect(), rings, pairs, seal=bool(number & 1))
            for data in self.payloads(number):
                a.send(hosted.frame(0, 1, data))
                self.answer(data)
                self.expect(a, hosted.frame(1, 0, data[::-1]))
            way(a)
            a.close()

    def half_set_up(self, rings):
        """Goes before its rings run."""
        fe, memory = self.connect(), Memory(1 << 20)
        fe.negotiate(rings=rings)
        fe.set_mem_table([memory])
        kick = hosted.new_eventfd()
        fe.vring_fd("SET_VRING_CALL", 0, kick)
        fe.close()
        os.close(kick)
        memory.close()

    def killed(self, number, rings, pairs):
        """A process of its own, killed while its rings run."""
        theirs, ours = socket.socketpair()
        child = os.fork()
        if not child:
            try:
                ours.close()
                self.be_killed(theirs, number, rings, pairs)
            finally:
                os._exit(1)
        theirs.close()
        try:
            ours.settimeout(LIMIT)
            for data in self.payloads(number):
                self.answer(data)
            self.run.expect(ours.recv(1) == b"1", "the front-end that was to be killed has ended")
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            ours.close()

    def be_killed(self, sock, number, rings, pairs):
        """In that process."""
        a = hosted.Guest(self.connect(), rings, pairs)
        for data in self.payloads(number):
            a.send(hosted.frame(0, 1, data))
            self.expect(a, hosted.frame(1, 0, data[::-1]))
        sock.send(b"1")
        sock.recv(1)  # ends when we do

    def check(self, rounds):
        """Warm-up, rounds, and what has grown."""
        programs = Programs(self.run, self.path, (0, 1))
        checks = {WARM_UP + rounds * (i + 1) // CHECKS for i in range(CHECKS)} | {WARM_UP}
        self.stay()
        for number in range(WARM_UP + rounds):
            if number in checks:
                self.leave()
                programs.check(f"{number} rounds")
                self.stay()
            self.once(number)
        self.leave()
        programs.check(f"{WARM_UP + rounds} rounds")


def rebind(run, guest):
    """The driver lets go of the device and takes it again."""
    guest.run("d=$(basename $(readlink /sys/class/net/eth0/device)); cd /sys/bus/virtio/drivers/virtio_net; "
              "echo $d >unbind; [ ! -e /sys/class/net/eth0 ] || exit 1; echo $d >bind; "
              "until [ -e /sys/class/net/eth0 ]; do usleep 10000; done; "
              f"ip link set eth0 up; ip addr add {guest.address}/24 dev eth0")
    run.note(f"{guest.name}: driver unbound and bound")


def flap(run, guest):
    """The link goes down and up."""
    guest.flap()
    run.note(f"{guest.name}: link off and on")


def sockets(guest):
    """Those of its QEMU, by the kernel's numbers."""
    found = set()
    for entry in os.scandir(f"/proc/{guest.proc.pid}/fd"):
        try:
            found.add(os.readlink(entry.path))
        except FileNotFoundError:
            pass
    return {name for name in found if name.startswith("socket:")}


def reconnect(run, guest):
    """QEMU closes its connection, and comes again (or waits for us) by itself."""
    before = sockets(guest)
    guest.qmp("yank", instances=[{"type": "chardev", "id": "c0"}])
    procs.wait_until(lambda: sockets(guest) - before and len(sockets(guest)) == len(before), "QEMU has a connection again", LIMIT)
    run.note(f"{guest.name}: connection cut and made again")


def restart(run, guest, number):
    """Reset button or reboot."""
    guest.wait_ready(boots=guest.reboot() if number % 2 else guest.reset())
    run.note(f"{guest.name}: {'rebooted' if number % 2 else 'reset'}")


def end(run, guest, stayer, number):
    """Killed while it sends, killed while it is quiet, or ended."""
    if number % 3 == 0:
        sink = stayer.begin("nc -l -p 7000 >/dev/null")
        traffic.wait_listening(stayer, 7000)
        stayer.run("cat /sys/class/net/eth0/statistics/rx_bytes >/tmp/rx")
        guest.begin(f"nc {run.address(2)} 7000 </dev/zero")
        stayer.run("until [ $(cat /sys/class/net/eth0/statistics/rx_bytes) -gt $(($(cat /tmp/rx) + 2000000)) ]; "
                   "do usleep 10000; done")
        guest.kill()
        stayer.run("killall nc; rm /tmp/rx", check=False)
        sink.wait(LIMIT, check=False)
    elif number % 3 == 1:
        guest.qmp("quit")
        guest.proc.expected_alive = False
        guest.proc.wait(LIMIT)
    else:
        guest.kill()
    run.note(f"{guest.name}: {('killed while it sends', 'ended', 'killed')[number % 3]}")
    guest.discard()


def qemu_round(run, stayer, number):
    """A guest's life."""
    port = number % 2
    guest = run.guest(port, name=f"guest-{number}", reboot=True, reconnect=1)
    guest.address = run.address(port)
    for i, change in enumerate((None, rebind, flap, reconnect, lambda *_: restart(run, guest, number))):
        if change:
            change(run, guest)
        run.reach(guest, 2)
        run.ping(guest, 2, count=5)
        if (number + i) % 2:
            run.transfer(guest, stayer, 2, mib=1)
        else:
            run.transfer(stayer, guest, port, mib=1)
    end(run, guest, stayer, number)


def qemu(run, rounds):
    """
    The same with QEMU: one guest stays, others come and go on the two ports beside it. Pages do not count: a guest sends too
    few messages to have had every buffer of the device's queues touched once in the warm-up.
    """
    path = run.path(3, modes=["server", "client", "server"])
    stayer = run.guest(2, name="stays", reconnect=1)
    programs = Programs(run, path, (0, 1), lambda: {"qemu": footprint.fds(stayer.proc.pid)}, pages=False)
    for number in range(QEMU_WARM_UP + rounds):
        qemu_round(run, stayer, number)
        if number >= QEMU_WARM_UP - 1:
            programs.check(f"{number + 1} guests")


def check(run):
    """See above."""
    rounds = run.rounds or ROUNDS[run.word]
    os.environ["GLIBC_TUNABLES"] = "glibc.malloc.tcache_count=0"
    if run.word == "qemu":
        qemu(run, rounds)
    else:
        Rounds(run, run.path(2, modes=[run.word, "server"])).check(rounds)


if __name__ == "__main__":
    scenario.main(__doc__, check, needs=("qemu",) if "qemu" in sys.argv else (), choices=tuple(ROUNDS), rounds=True)
