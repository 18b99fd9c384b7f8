# SPDX-License-Identifier: BSD-2-Clause
"""
Two QEMU guests (TCG) that have both: a vhost-user card on our switch and a TAP card on a Linux bridge.

The same two guests send the same file over either link by turns. Bridge and TAPs are in a network namespace of their own,
so no interface of the host is touched. Both cards have offloads on, so 64 KiB super-frames pass, and neither has MSI-X,
which Debian 12's QEMU does not survive on vhost-user cards under TCG. Nothing is pinned: three processes share what there is.
"""

import os
import subprocess
import time

from lib import backend, bench, procs, qemu, traffic
from lib.procs import Failure

from . import machine, peers
from .stats import Window

MIB = 48
PORT = 5002
LINKS = {"vm": "10.9.0", "bridge": "10.9.1"}


class Net:
    """A network namespace with a bridge and TAPs, as long as the session."""

    def __init__(self, session, taps):
        self.holder = session.start("netns", ["unshare", "--net", "--", "sleep", "infinity"])
        own = f"/proc/{self.holder.pid}/ns/net"
        procs.wait_until(lambda: _link(own) != _link("/proc/self/ns/net"), "a network namespace", 10, 0.01)
        self.enter = ["nsenter", "-t", str(self.holder.pid), "--net", "--"]
        self._ip("link", "add", "br0", "type", "bridge")
        self._ip("link", "set", "br0", "up")
        for tap in taps:
            self._ip("tuntap", "add", tap, "mode", "tap", "vnet_hdr")
            self._ip("link", "set", tap, "master", "br0", "up")

    def _ip(self, *words):
        done = subprocess.run([*self.enter, "ip", *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            raise Failure(f"ip {' '.join(words)}: {done.stdout}")


def _link(path):
    try:
        return os.readlink(path)
    except OSError:
        return os.readlink("/proc/self/ns/net")


def boot(session, path, net):
    """Both guests, up and reachable over both links."""
    guests = []
    for i in (0, 1):
        tap = ["-netdev", f"tap,id=n1,ifname=tap{i},script=no,downscript=no",
               "-device", f"virtio-net-pci,netdev=n1,mac=52:54:00:00:01:0{i + 1},romfile=,vectors=0"]
        guests.append(qemu.Guest(session, f"guest-{'ab'[i]}", qemu.Nic(path.socket(i), f"52:54:00:00:00:0{i + 1}"),
                                 address=f"{LINKS['vm']}.{i + 1}", wrap=net.enter, extra=tap))
    for i, guest in enumerate(guests):
        guest.wait_ready()
        guest.run(f"echo 1 >/proc/sys/net/ipv6/conf/eth1/disable_ipv6; ip link set eth1 up; "
                  f"ip addr add {LINKS['bridge']}.{i + 1}/24 dev eth1")
        guest.run(f"dd if=/dev/zero of=/tmp/out bs=65536 count={MIB * 16} 2>/dev/null")
    for prefix in LINKS.values():
        traffic.wait_path(guests[0], f"{prefix}.2")
    return guests


def send(sender, receiver, address):
    """Seconds that the file takes over TCP."""
    listener = receiver.begin(f"nc -l -p {PORT} >/dev/null")
    receiver.run(f"until grep -q ':{PORT:04X} 0*:0000 0A' /proc/net/tcp /proc/net/tcp6; do usleep 10000; done")
    times = sender.run(f"read a _ </proc/uptime; nc {address} {PORT} </tmp/out || exit 1; read b _ </proc/uptime; "
                       "echo $a $b", 300).lines[-1].split()
    listener.wait(60)
    return max(0.01, float(times[1]) - float(times[0]))


def window(kind, guests, path, turn):
    """Figures of one transfer; the direction changes every cycle."""
    before = peers.ours_busy(path.counters())
    sender, receiver = (0, 1) if turn % 2 == 0 else (1, 0)
    seconds = send(guests[sender], guests[receiver], f"{LINKS[kind]}.{receiver + 1}")
    values = {"gbit": MIB * 8.388608e-3 / seconds, "none": 0}
    after = peers.ours_busy(path.counters())
    if kind == "vm" and before and after:
        values["cycles64k"] = (after[0] - before[0]) / (MIB * 16)
        if after[1] > before[1]:
            values["bytes_per_frame"] = MIB * (1 << 20) / (after[1] - before[1])
    return values


def lost(guests, path):
    """Frames that the switch took from one guest, did not count as dropped, and the other did not receive."""
    def count():
        received = sum(int(g.run("cat /sys/class/net/eth0/statistics/rx_packets").lines[-1]) for g in guests)
        counters = path.counters()
        dropped = backend.switched_and_dropped(counters)[1]
        return sum(backend.port_counter(counters, i, "rx_frames") for i in (0, 1)) - received - sum(dropped.values())
    try:
        procs.wait_until(lambda: count() == 0, "all frames accounted for", 3)
    except Failure:
        pass
    return count()


def run(chosen, spec, seconds, clock, results, tick):
    """Like rounds.run."""
    with procs.Session("perf-guests") as session:
        path = backend.VmPath(session, 2)
        path.wait_up()
        guests = boot(session, path, Net(session, ["tap0", "tap1"]))
        deadline = time.monotonic() + seconds
        turn = 0
        while turn == 0 or time.monotonic() < deadline:
            for side in chosen:
                probe = bench.probe()
                values = window(side.kind, guests, path, turn)
                after = bench.probe()
                done = Window(side.label, clock(), bench.placement(probe, after), values, (probe, after), machine.load())
                results.add(done)
                tick(done)
            turn += 1
        for side in chosen:
            check = traffic.transfer(guests[0], guests[1], f"{LINKS[side.kind]}.2", 4)
            if not check.ok:
                raise Failure(f"guests: 4 MiB arrived damaged over {side.label}")
        results.loss["vm"] = results.loss.get("vm", 0) + lost(guests, path)
