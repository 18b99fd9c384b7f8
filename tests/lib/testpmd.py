# SPDX-License-Identifier: BSD-2-Clause
"""
DPDK's testpmd: as front-end (net_virtio_user), and as the back-end to compare with (net_vhost, `io` forwarding).

It runs interactively with its commands on a pipe, so that traffic can be started, stopped and counted exactly, and
its counters can also be read while it runs, from its telemetry socket.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import socket
import subprocess
import time

from . import paths, procs
from .procs import Failure

HUGE = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB")


@contextlib.contextmanager
def hugepages(mib):
    """
    Reserve 2 MiB huge pages and give them back. Yields True when there are enough, False when testpmd must go without
    (not root, or no memory). What others have reserved or reserve meanwhile is left alone.
    """
    need = (mib + 1) // 2

    def read(name):
        return int((HUGE / name).read_text(encoding="ascii"))

    def change(delta):
        with open(paths.cache_dir() / "hugepages.lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = read("nr_hugepages")
            (HUGE / "nr_hugepages").write_text(str(before + delta), encoding="ascii")
            return read("nr_hugepages") - before

    added = 0
    try:
        try:
            added = change(need)
        except OSError:
            pass
        yield read("free_hugepages") >= need
    finally:
        if added:
            change(-added)


@dataclasses.dataclass
class Port:
    """One virtio_user (front-end) or vhost (back-end) port."""
    path: str
    mac: str = ""
    queues: int = 1
    queue_size: int = 1024
    server: bool = False
    options: str = ""           # e.g. packed_vq=1,in_order=1,mrg_rxbuf=0,vectorized=1

    def front_end(self, index):
        """--vdev of a front-end port."""
        text = f"net_virtio_user{index},path={self.path},queue_size={self.queue_size}"
        text += f",queues={self.queues}"
        if self.mac:
            text += f",mac={self.mac}"
        if self.server:
            text += ",server=1"
        return text + ("," + self.options if self.options else "")

    def back_end(self, index):
        """--vdev of a back-end port."""
        text = f"net_vhost{index},iface={self.path},queues={self.queues}"
        if self.server:
            text += ",client=1"
        return text + ("," + self.options if self.options else "")


def telemetry(prefix, request, timeout=procs.LIMIT):
    """Ask a DPDK process: request("/ethdev/stats,0")."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
        s.settimeout(timeout)
        s.connect(f"/var/run/dpdk/{prefix}/dpdk_telemetry.v2")
        s.recv(1024)
        s.send(request.encode())
        reply = json.loads(s.recv(65536))
    return reply[request.split(",")[0]]


class Testpmd:
    """A testpmd process with its ports; forwarding is stopped until start()."""

    def __init__(self, session, name, ports, role="front-end", cpu=None, huge=False,
                 forward="flowgen", frame=64, peers=(), extra_eal=(), extra=(), memory=512):
        self.name = name
        self.prefix = f"{session.dir.name}-{name}"
        self.ports = ports
        self.on_stop = []
        lcore = "(0,1)" if cpu is None else f"(0,1)@{cpu}"
        argv = ["stdbuf", "-oL", "dpdk-testpmd", "--lcores", lcore, "--no-pci",
                "--file-prefix", self.prefix, "-m", str(memory), "--single-file-segments"]
        argv += ["--huge-dir", str(huge_dir(session))] if huge else ["--no-huge"]
        argv += list(extra_eal)
        for i, port in enumerate(ports):
            argv += ["--vdev", port.front_end(i) if role == "front-end" else port.back_end(i)]
        mbufs = 16384 if memory >= 256 else 8192
        argv += ["--", "-i", "--nb-cores=1", f"--forward-mode={forward}",
                 f"--total-num-mbufs={mbufs}", "--rxd=1024", "--txd=1024",
                 "--no-lsc-interrupt", "--disable-link-check"]
        if forward in ("flowgen", "txonly"):
            argv.append(f"--txpkts={frame}")
        argv += [f"--eth-peer={i},{mac}" for i, mac in enumerate(peers)]
        argv += list(extra)
        stdin, self.stdin = os.pipe()
        try:
            self.proc = session.start(name, argv, stdin=stdin)
        finally:
            os.close(stdin)
        session.add(self)

    def wait_ready(self, timeout=120):
        """Until it takes commands."""
        self.proc.wait_line(r"^(Done|testpmd> ?)", timeout)
        return self

    def command(self, text, expect=None, timeout=procs.LIMIT):
        """Send a line to its prompt; wait for an answer that matches `expect`."""
        mark = self.proc.mark()
        try:
            os.write(self.stdin, text.encode() + b"\n")
        except BrokenPipeError:
            raise Failure(f"{self.name} has ended; its last lines:\n{self.proc.tail()}") from None
        if expect:
            return self.proc.wait_line(expect, timeout, after=mark)
        return None

    def start(self):
        """Start forwarding."""
        self.command("start", r"packet forwarding - ports=|packet forwarding packets/burst")

    def halt(self):
        """Stop forwarding; returns once no frame is sent any more."""
        self.command("stop", r"^Done\.|Packet forwarding not started")

    def forward(self, mode):
        """Change the forwarding mode (while stopped)."""
        self.command(f"set fwd {mode}", r"Set .* packet forwarding mode")

    def stats(self):
        """Counters per port: ipackets, opackets, ibytes, obytes, imissed, ierrors, oerrors, rx_nombuf."""
        return [telemetry(self.prefix, f"/ethdev/stats,{i}") for i in range(len(self.ports))]

    def total(self, key):
        """Sum of one counter over all ports."""
        return sum(s[key] for s in self.stats())

    def missing(self, dropped):
        """Frames that were sent, have not come, and are not among those that dropped() says were dropped."""
        return self.total("opackets") - self.total("ipackets") - dropped()

    def drain(self, dropped, limit=procs.LIMIT):
        """
        Receive without sending until nothing is missing, then stop; how many are missing then. (The last frames, and the
        counters of those that were dropped, take as long as the machine is busy: `limit` is for switches that do not count all.)
        """
        self.forward("rxonly")
        self.start()
        try:
            procs.wait_until(lambda: self.missing(dropped) == 0, "nothing is missing", limit)
        except Failure:
            pass  # it is for the caller to say what
        self.halt()
        return self.missing(dropped)

    def window(self, seconds=1.0):
        """Frames received per second, all ports, over one window; forwarding must be on."""
        a, t0 = self.total("ipackets"), time.monotonic()
        time.sleep(seconds)
        b, t1 = self.total("ipackets"), time.monotonic()
        return (b - a) / (t1 - t0)

    def stop(self):
        """Let it quit; the session stops it if it does not."""
        if self.stdin is None:
            return
        if self.proc.running():
            try:
                os.write(self.stdin, b"quit\n")
                self.proc.popen.wait(5)
            except (OSError, subprocess.TimeoutExpired):
                pass
        os.close(self.stdin)
        self.stdin = None
        self.proc.stop()
        remove_runtime(self.prefix)


def remove_runtime(prefix):
    """testpmd leaves its runtime directory behind."""
    base = pathlib.Path("/var/run/dpdk") / prefix
    if base.is_dir():
        for entry in base.iterdir():
            entry.unlink(missing_ok=True)
        base.rmdir()


def huge_dir(session):
    """A hugetlbfs mount of the session's own (EAL wants a directory to make its files in)."""
    where = session.dir / "huge"
    if not where.is_dir():
        where.mkdir()
        subprocess.run(["mount", "-t", "hugetlbfs", "-o", "pagesize=2M", "none", where], check=True)

        class Unmount:
            """Undo."""
            def stop(self):
                """Unmount; whatever is left in it is gone with it."""
                subprocess.run(["umount", "-l", where], check=False)
        session.things.insert(0, Unmount())
    return where
