# SPDX-License-Identifier: BSD-2-Clause
"""Ping and TCP between two guests of lib/qemu.py, measured and verified."""

import dataclasses
import re

from .procs import Failure

PORT = 5001


@dataclasses.dataclass
class Ping:
    """What `ping` saw; times in microseconds."""
    sent: int
    received: int
    rtts: list
    last: int = -1  # number of the last request that is known to be answered

    @property
    def loss_percent(self):
        """Lost echo requests, in per cent."""
        return 100.0 * (self.sent - self.received) / self.sent

    def summary(self):
        """min, avg, p99 and max in microseconds (None without an answer)."""
        if not self.rtts:
            return {"min": None, "avg": None, "p99": None, "max": None}
        ordered = sorted(self.rtts)
        p99 = ordered[-(-99 * len(ordered) // 100) - 1]
        return {"min": round(ordered[0]), "avg": round(sum(ordered) / len(ordered)),
                "p99": round(p99), "max": round(ordered[-1])}


def ping_command(words):
    """
    `ping WORDS` for a guest, so that ping_result() can tell. busybox's ping has room for some twenty replies of the usual size, or five
    long ones: when the other guest has not had a processor for a while, they come all at once, and ping misses those that are too
    many. The guest's kernel counts each of them.
    """
    return f"grep ^Icmp: /proc/net/snmp; ping {words}; grep ^Icmp: /proc/net/snmp"


def ping_result(guest, text):
    """What came of a ping_command(); nobody else may have pinged from that guest meanwhile."""
    totals = re.search(r"(\d+) packets transmitted, (\d+) packets received(?:, (\d+) duplicates)?", text)
    icmp = [line.split() for line in text.splitlines() if line.startswith("Icmp:")]
    if not totals or len(icmp) != 4:
        raise Failure(f"{guest.name}: ping said:\n{text[-4000:]}")
    sent, received, twice = (int(n or 0) for n in totals.groups())
    at = icmp[0].index("InEchoReps")
    missed = int(icmp[3][at]) - int(icmp[1][at]) - received - twice
    rtts = [float(x) * 1000 for x in re.findall(r" time=([0-9.]+) ms", text)]
    last = max((int(n) for n in re.findall(r" seq=(\d+) ", text)), default=-1)
    return Ping(sent, min(sent, received + max(0, missed)), rtts, last)


def ping(guest, address, count=100, interval=0.02, size=56, patience=60, flags=""):
    """Send `count` echo requests from the guest and wait for the answers."""
    command = ping_command(f"-c {count} -i {interval} -s {size} -W {patience} {flags} {address}")
    return ping_result(guest, guest.run(command, timeout=count * interval + patience + 60, check=False).text)


def wait_path(guest, address, timeout=60):
    """Until the first echo request is answered (link state and address resolution are asynchronous)."""
    result = guest.run(f"ping -c 1000 -A -w {timeout} {address} | grep -m1 -q ' time=' && echo up",
                       timeout=timeout + 30, check=False)
    if "up" not in result.lines:
        raise Failure(f"{guest.name}: {address} does not answer within {timeout} s; "
                      + guest.run("ip -o link show eth0; ip neigh; "
                                  "cat /sys/class/net/eth0/statistics/tx_packets "
                                  "/sys/class/net/eth0/statistics/rx_packets").text)


@dataclasses.dataclass
class Transfer:
    """A finished TCP transfer."""
    mib: int
    seconds: float
    sent_hash: str
    received_hash: str

    @property
    def ok(self):
        """True when what arrived is what was sent."""
        return self.sent_hash == self.received_hash

    @property
    def mbit(self):
        """Megabits per second of payload."""
        return self.mib * 8.388608 / self.seconds


def wait_listening(guest, port):
    """Until somebody in the guest listens on a TCP port."""
    guest.run(f"until grep -q ':{port:04X} 0*:0000 0A' /proc/net/tcp /proc/net/tcp6; do usleep 10000; done")


def _hash(guest, path):
    return guest.run(f"sha256sum {path}", timeout=300).lines[-1].split()[0]


def transfer(sender, receiver, address, mib=64, timeout=600, note=lambda text: None):
    """
    Send `mib` MiB of random bytes over TCP and compare the SHA-256 of both sides. The time is the sender's, from connecting
    until the receiver has closed its end, which it does after the last byte.
    """
    note(f"{sender.name}: making {mib} MiB of random bytes")
    sender.run(f"dd if=/dev/urandom of=/tmp/out bs=65536 count={mib * 16} 2>/dev/null", timeout)
    sent_hash = _hash(sender, "/tmp/out")
    listener = receiver.begin(f"rm -f /tmp/in; nc -l -p {PORT} >/tmp/in")
    wait_listening(receiver, PORT)
    note(f"{sender.name} -> {receiver.name}: sending {mib} MiB")
    times = sender.run("read a _ </proc/uptime; "
                       f"nc {address} {PORT} </tmp/out || exit 1; "
                       "read b _ </proc/uptime; rm -f /tmp/out; echo $a $b", timeout).lines[-1].split()
    listener.wait(60)
    note(f"{receiver.name}: computing SHA-256")
    received_hash = _hash(receiver, "/tmp/in")
    receiver.run("rm -f /tmp/in")
    return Transfer(mib, max(0.01, float(times[1]) - float(times[0])), sent_hash, received_hash)
