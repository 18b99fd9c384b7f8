# SPDX-License-Identifier: BSD-2-Clause
"""
vvu-load, the front-end of the benchmarks (tests/perf/load, `vvu-load --help`): N virtio_user ports in one process.

    with procs.Session("x") as s, testpmd.hugepages(load.hugepages_mib(2)) as huge:
        path = backend.start(s, "vm", 2, cpu=0)
        path.wait_up()
        front = load.Load(s, "front", load.ports(path), cpu=1, huge=huge)
        front.wait_ready()
        front.window(seconds=1, size=1518, touch="seq,write,read")    # {"rx_mpps": ..., "lost": ..., ...}

It is not among the programs that `ninja` builds by itself: program() builds it, or says why it cannot.
"""

import fcntl
import os
import shutil
import subprocess

from . import building, paths, procs, testpmd
from .procs import Failure

TARGET = "tests/perf/load/vvu-load"
PACKAGE = "libdpdk-dev"

# virtio_user options by name. Its own default is in_order=1, which takes precedence over vectorized=1 on split rings; packed
# vectors want AVX-512. A back-end that does not offer what is asked for silently gets the next simpler layout.
LAYOUTS = {
    "split": "packed_vq=0,in_order=0",
    "split-small": "packed_vq=0,in_order=0,mrg_rxbuf=0",
    "split-vec": "packed_vq=0,in_order=0,mrg_rxbuf=0,vectorized=1",
    "split-inorder": "packed_vq=0,in_order=1,mrg_rxbuf=0",
    "split-inorder-mrg": "packed_vq=0,in_order=1",
    "packed": "packed_vq=1,in_order=0",
    "packed-inorder": "packed_vq=1,in_order=1",
    "packed-vec": "packed_vq=1,in_order=1,mrg_rxbuf=0,vectorized=1",
}


def why_not():
    """Why it cannot be built here, or None."""
    if not shutil.which("pkg-config") or subprocess.run(
            ["pkg-config", "--exists", "libdpdk >= 22.11"], check=False).returncode:
        return f"libdpdk is missing (Debian package {PACKAGE})"
    return None


def program():
    """Path of the program, built when need be."""
    reason = why_not()
    if reason:
        raise Failure(f"vvu-load: {reason}")
    build = paths.build_dir()
    with open(build / "load.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        building.setup(build)
        if TARGET not in (build / "build.ninja").read_text(encoding="utf-8"):
            # Set up before libdpdk was installed.
            subprocess.run(["meson", "setup", "--reconfigure", build, paths.ROOT], check=True,
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        building.ninja([TARGET], build)
    return build / TARGET


def mac(index):
    """Address of a port."""
    return f"02:00:00:00:00:{index + 1:02x}"


def ports(path, indices=None, layout="split", queues=1, queue_size=1024):
    """Front-end ports for (all) ports of a backend.Path."""
    indices = range(path.count) if indices is None else indices
    return [testpmd.Port(path.socket(i), mac(i), queues=queues, queue_size=queue_size,
                         server=path.modes[i] == "client", options=LAYOUTS.get(layout, layout))
            for i in indices]


def memory_mib(count, queues=1, queue_size=1024, max_size=1518, gso=False):
    """What a front-end of so many ports needs for its buffers, generously."""
    segment = 32768 + 128 if gso else min(max_size, 9014)
    pieces = 1 + -(-max_size // 32768) if gso else 1
    sent = (queue_size * pieces + 1024) * (max(segment, 256) + 512)
    received = (queue_size + 64) * (max(2048, min(max_size, 9014)) + 512) + 4096
    return 64 + int(count * queues * (sent + received) * 1.1) // (1 << 20)


def hugepages_mib(count, back_end=600, **kw):
    """For testpmd.hugepages(): a front-end's memory, and a testpmd back-end's."""
    return memory_mib(count, **kw) + back_end


class Load:
    """One vvu-load process. Commands are answered with dictionaries; see `vvu-load --help`."""

    def __init__(self, session, name, the_ports, cpu=None, huge=False, max_size=1518, gso=False, queue_size=1024,
                 options=(), memory=None, mode="flood"):
        self.name = name
        self.prefix = f"{session.dir.name}-{name}"
        self.ports = the_ports
        self.socket = session.dir / f"{name}.ctl"
        queues = the_ports[0].queues if the_ports else 1
        memory = memory or memory_mib(len(the_ports) or 2, queues, queue_size, max_size, gso)
        argv = [program(), "--lcores", f"0@(0-{(os.cpu_count() or 1) - 1})" if cpu is None else f"0@{cpu}", "--no-pci", "--no-telemetry",
                "--file-prefix", self.prefix, "-m", str(memory)]
        argv += ["--in-memory", "--single-file-segments"] if huge else ["--no-huge"]
        if any("vectorized=1" in port.options for port in the_ports):
            argv.append("--force-max-simd-bitwidth=512")
        for i, port in enumerate(the_ports):
            argv += ["--vdev", port.front_end(i)]
        argv += ["--", "--control", self.socket, "--mode", mode, "--queues", str(queues),
                 "--max-size", str(max_size), "--rxd", str(queue_size), "--txd", str(queue_size)]
        argv += ["--gso"] if gso else []
        self.proc = session.start(name, argv + list(options))
        session.add(self)

    def wait_ready(self, timeout=120):
        """Until it takes commands: all ports are connected then."""
        self.proc.wait_line(r"^ready$", timeout)
        return self

    def command(self, cmd, timeout=procs.LIMIT, **options):
        """Any command; Failure when it is refused."""
        try:
            answer = procs.control(self.socket, {"cmd": cmd, **options}, timeout)
        except OSError as error:
            raise Failure(f"{self.name}: {cmd}: {error}; its last lines:\n{self.proc.tail()}") from None
        if "error" in answer:
            raise Failure(f"{self.name}: {cmd}: {answer['error']}; its last lines:\n{self.proc.tail()}")
        return answer

    def window(self, seconds=1.0, **options):
        """Warm up, measure for so long, stop, wait for what is under way; all counters."""
        return self.command("window", seconds=seconds, timeout=seconds + 120, **options)

    def start(self, **options):
        """Begin a run without end."""
        return self.command("start", **options)

    def counters(self):
        """Of the run since its warm-up has ended."""
        return self.command("counters")

    def gaps(self):
        """Longest times without a frame since this was last asked (gap_ms, by port)."""
        return self.command("gaps")

    def halt(self):
        """End the run; counters like window()."""
        return self.command("stop", timeout=120)

    def info(self):
        """Ports and what was negotiated."""
        return self.command("info")

    def stop(self):
        """End the process."""
        self.proc.stop()
        testpmd.remove_runtime(self.prefix)


def ceiling(session, cpu=None, **options):
    """What the program itself costs per frame: one window over rings inside of it."""
    front = Load(session, "ceiling", [], cpu=cpu, mode="null", memory=256, max_size=options.get("size", 1518))
    front.wait_ready()
    result = front.window(mode="null", **options)
    front.stop()
    return result
