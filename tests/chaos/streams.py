# SPDX-License-Identifier: BSD-2-Clause
"""
What flows between front-ends while things break: scripted ones (pair.py), DPDK's (vvu-load) and QEMU guests (the one that is broken
itself: visitor.py). Each kind of stream says of its ports what has been lost, what was wrong, and when nothing came for long.
"""

import dataclasses
import json
import os
import pathlib
import signal
import sys
import time

from lib import load, qemu, traffic
from lib.procs import Failure

HERE = pathlib.Path(__file__).resolve().parent
LONG_MS = 20  # a gap that is remembered
FINISH_S = 120


@dataclasses.dataclass
class Gap:
    """A time in which a receiver got nothing; seconds of the monotonic clock."""
    stream: str
    start: float
    end: float

    @property
    def ms(self):
        """Its length."""
        return (self.end - self.start) * 1000


class Stream:
    """Base of all kinds."""

    def __init__(self, world, name, ports):
        self.world, self.name, self.ports = world, name, ports
        self.gaps = []
        self.losses = []    # why sessions were lost
        self.wrong = 0      # bytes: of damaged frames, of TCP streams with another hash
        self.counts = {}    # more figures
        self.expendable = False

    def lose(self, text):
        """A session that should not have been lost."""
        self.losses.append(f"{self.name}: {text}")
        self.world.say(f"LOST {self.name}: {text}")

    def established(self):
        """Whether its sessions have to be there now."""
        return True

    def pids(self):
        """Its processes that may be stopped for a while."""
        return []

    def give_up(self):
        """Ends what is left of it after a loss, lest it floods others."""
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def poll(self):
        """Looks what is new; called often."""


class Pair(Stream):
    """Two scripted front-ends in a process."""

    def __init__(self, world, name, ports, per_second=400, expendable=False):
        super().__init__(world, name, ports)
        self.per_second = per_second
        self.expendable = expendable
        self.proc = None
        self.mark = 0
        self.stats = {}
        self.dying = False  # it was us
        self.begin()

    def begin(self):
        """A process; after the end of another one only when the ports are free."""
        sockets = [self.world.path.socket(p) for p in self.ports]
        self.proc = self.world.session.start(self.name, [sys.executable, HERE / "pair.py", *sockets, self.ports[0], self.per_second])
        self.mark = 0
        self.dying = False

    def wait_ready(self):
        """Until both are connected."""
        self.proc.wait_line("^ready$", 60)

    def established(self):
        return self.proc.running() and bool(self.proc.find_line("^ready$"))

    def pids(self):
        return [self.proc.pid]

    def poll(self, last=False):
        while True:
            line, self.mark = self.proc.find_line_at(r"^(GAP|MISSED|STATS|WRONG|LOST) (.*)$", self.mark)
            if not line:
                break
            kind, text = line.groups()
            if kind == "GAP":
                port, start, end = map(int, text.split())
                self.gaps.append(Gap(f"{self.name} port {port}", start / 1e9, end / 1e9))
            elif kind == "MISSED":
                port, number, at = map(int, text.split())
                self.world.say(f"{self.name}: {number} frames did not come to port {port}, {at / 1e9 - self.world.begin:.3f} s")
            elif kind == "STATS":
                self.stats = json.loads(text)
            elif kind == "WRONG":
                self.wrong += int(text.split()[0])
                self.world.say(f"WRONG {self.name}: {text}")
            elif self.expendable and text.startswith("while connecting") and "timed out" not in text:
                self.dying = True  # its start met a fault
            elif not self.dying:
                self.lose(text)
        if not self.proc.running() and not self.dying:
            self.proc.reader.join(5)
            if not self.losses:
                self.lose(f"the process has ended:\n{self.proc.tail()}")
            self.dying = True
        if not last and not self.proc.running() and self.world.free(self.ports):
            self.mark = 0
            self.add_up()
            self.begin()

    def add_up(self):
        """Figures of a process that has ended."""
        for key in ("twice", "missing", "arrived"):
            self.counts[key] = self.counts.get(key, 0) + self.stats.get(key, 0)
        self.stats = {}

    def kill(self):
        """SIGKILL: its sessions end, and that is right."""
        self.dying = True
        self.proc.kill()

    def arrived(self):
        """How many frames have come to each side of the running process, or None."""
        self.poll()
        return self.stats.get("arrived_each")

    def finish(self):
        """Ends it in good order."""
        self.proc.popen.terminate()
        self.dying = True
        self.proc.wait(60)
        self.poll(last=True)
        self.add_up()


class Load(Stream):
    """Two DPDK front-ends that fill, send, receive and compare whole frames."""

    def __init__(self, world, name, ports, rate=20000):
        super().__init__(world, name, ports)
        path = world.path
        self.load = load.Load(world.session, name, load.ports(path, ports))
        self.load.wait_ready()
        self.rate = rate
        self.load.start(mode="flood", size="64,300,1518", touch="seq,write,read", rate=rate, burst=8, window=96, warmup=0.1, quiet=1)
        self.received = None

    def pids(self):
        return [self.load.proc.pid]

    def poll(self):
        if not self.load.proc.running():
            if not self.losses:
                self.lose(f"vvu-load has ended:\n{self.load.proc.tail()}")
            return
        if self.load.proc.pid in self.world.stopped:
            return  # it would not answer
        now = time.monotonic()
        for port, ms in zip(self.ports, self.load.gaps()["gap_ms"]):
            if ms < LONG_MS:
                continue
            gap = Gap(f"{self.name} port {port}", now - ms / 1000, now)
            same = [g for g in self.gaps[-4:] if g.stream == gap.stream and abs(g.start - gap.start) < 0.01 + (gap.end - g.end) * 0.01]
            if same:
                same[0].end = gap.end
            else:
                self.gaps.append(gap)

    def arrived(self):
        """How many frames have come to each port, or None."""
        if self.load.proc.pid in self.world.stopped:
            return None
        return [p["rx"] for p in self.load.counters()["per_port"]]

    def finish(self):
        """Ends it and compares."""
        whole = self.load.halt()["whole"]
        self.wrong += whole["damaged_bytes"]
        self.counts = {"arrived": whole["rx"], "missing": max(0, whole["lost"]), "twice or late": whole["reordered"],
                       "stray": whole["stray"]}
        self.load.stop()


class Guests(Stream):
    """Two QEMU guests: a TCP stream each way that lasts as long as everything else, both sides of it hashed, and pings."""

    def __init__(self, world, name, ports):
        super().__init__(world, name, ports)
        self.addresses = [f"10.9.0.{p + 1}" for p in ports]
        self.guests = [qemu.Guest(world.session, f"{name}-{p}", qemu.Nic(world.path.socket(p), f"52:54:00:00:00:{p:02x}"), address=a)
                       for p, a in zip(ports, self.addresses)]
        self.transfers = []
        self.pings = None

    def wait_ready(self):
        """Until they are up and reach each other; then the streams begin."""
        for guest in self.guests:
            guest.wait_ready(180)
        traffic.wait_path(self.guests[0], self.addresses[1], 60)
        self.flaps = [self._flaps(g) for g in self.guests]
        for i, (src, dst) in enumerate(((0, 1), (1, 0))):
            port = 7001 + i
            sink = self.guests[dst].begin(f"nc -l -p {port} | sha256sum")
            traffic.wait_listening(self.guests[dst], port)
            source = self.guests[src].begin(
                f"mkfifo /tmp/f{port}; sha256sum </tmp/f{port} >/tmp/s{port} & while [ ! -e /tmp/stop ]; do "
                "dd if=/dev/urandom bs=16384 count=4 2>/dev/null; usleep 50000; done | "
                f"tee /tmp/f{port} | nc {self.addresses[dst]} {port}; wait; cat /tmp/s{port}")
            self.transfers.append((source, sink))
        self.pings = self.guests[0].begin(f"ping -i 0.1 -W 60 {self.addresses[1]}")

    @staticmethod
    def _flaps(guest):
        return int(guest.run("cat /sys/class/net/eth0/carrier_down_count", timeout=120).text)

    def pids(self):
        return [guest.proc.pid for guest in self.guests]

    def poll(self):
        for guest in self.guests:
            if not guest.proc.running() and not self.losses:
                self.lose(f"{guest.name} has ended:\n{guest.proc.tail()}")

    def arrived(self):
        """Bytes each has received."""
        return [int(g.run("cat /sys/class/net/eth0/statistics/rx_bytes", timeout=120).text) for g in self.guests]

    def finish(self):
        """Ends the streams, and compares what was sent with what came."""
        for guest in self.guests:
            guest.run("touch /tmp/stop", timeout=FINISH_S)
        for i, (source, sink) in enumerate(self.transfers):
            try:
                sent, came = [p.wait(FINISH_S).lines[-1].split()[0] for p in (source, sink)]
            except (Failure, IndexError) as error:
                self.lose(f"TCP stream {i} did not end: {error}")
                continue
            if sent != came:
                self.wrong += max(1, self.arrived()[i ^ 1])
                self.world.say(f"WRONG {self.name}: TCP stream {i}: SHA-256 {sent} sent, {came} received")
        for i, (guest, before) in enumerate(zip(self.guests, self.flaps)):
            if self._flaps(guest) != before:
                self.lose(f"the link of {guest.name} went down {self._flaps(guest) - before} times")
            self.counts[f"MiB received by {i}"] = self.arrived()[i] >> 20
        self._finish_pings()

    def _finish_pings(self):
        self.guests[0].run("killall -INT ping", check=False)
        text = self.pings.wait(60, check=False).text
        times = [float(word.split()[0]) for word in text.split("time=")[1:]]
        self.counts["pings"] = len(times)
        self.counts["longest ping, ms"] = max(times, default=0)
