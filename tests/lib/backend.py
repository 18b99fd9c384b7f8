# SPDX-License-Identifier: BSD-2-Clause
"""
What stands between front-ends, in three kinds with one interface:

  vm       vvu-proxy and a back-end VM: vvu-vmm running the appliance (what the project is about)
  host     vvu-backend: the same device logic as a host process
  testpmd  DPDK's testpmd with vhost ports, forwarding between pairs of ports: the peer to compare with

    with procs.Session("x") as s:
        path = backend.start(s, "vm", 2)
        path.wait_up()
        path.socket(0), path.socket(1)
"""

import re
import time

from . import paths, procs, testpmd
from .procs import Failure

KINDS = ("vm", "host", "testpmd")


class Path:
    """Base of the three kinds."""

    def __init__(self, session, kind, count, modes=None):
        self.session = session
        self.kind = kind
        self.count = count
        self.modes = modes or ["server"] * count
        self.boot_ms = None
        self.process = None  # the one that does the work

    def name(self, index):
        """Name of a port."""
        return f"p{index}"

    def socket(self, index):
        """Path of a port's vhost-user socket."""
        return str(self.session.dir / f"p{index}.sock")

    def control(self, program):
        """Path of a program's control socket."""
        return self.session.dir / f"{program}.ctl"

    def status(self, program):
        """A program's answer to the status command."""
        return procs.control(self.control(program), {"cmd": "status"})

    def dropped(self):
        """All frames that it says it dropped. (The appliance brings its counters up to date a few times a second, or when it sleeps.)"""
        return sum(switched_and_dropped(self.counters())[1].values())

    def _port_args(self):
        args = []
        for i in range(self.count):
            mode = "" if self.modes[i] == "server" else f",mode={self.modes[i]}"
            args += ["--port", f"{self.name(i)}={self.socket(i)}{mode}"]
        return args


class VmPath(Path):
    """Proxy and back-end VM."""

    def __init__(self, session, count, app=("switch",), modes=None, memory=None, cpus=1,
                 cpu=None, shm=None, hold=None, vmm=True, vmm_args=(), under=()):
        super().__init__(session, "vm", count, modes)
        self.app = list(app)
        self.memory = memory or ("32M" if cpus == 1 else "64M")
        self.cpus = cpus
        self.cpu = cpu
        self.shm = shm
        self.hold = hold
        self.vmm_args = list(vmm_args)
        self.under = list(under)
        self.link = session.dir / "link"
        self.proxy = None
        self.vmm = None
        self.kernel = paths.program("appliance.elf")
        self.start_proxy()
        if vmm:
            self.start_vmm()

    def proxy_argv(self):
        """The command line of vvu-proxy."""
        argv = [paths.program("vvu-proxy"), "--link", self.link, "--control", self.control("proxy")]
        args = self._port_args()
        if self.hold is not None:
            args = [a + f",hold={self.hold}" if "=" in a else a for a in args]
        return argv + args

    def start_proxy(self):
        """Start vvu-proxy and wait until it serves."""
        self.proxy = self.session.start("vvu-proxy", self.proxy_argv())
        self.proxy.wait_line(r"^ready$")

    def upgrade_proxy(self):
        """
        Start another vvu-proxy that takes over from the one that runs; wait until it serves and the old one has ended. For the
        main thread: a program ends with the thread that started it.
        """
        old = self.proxy
        old.expected_alive = False
        new = self.session.start("vvu-proxy", [*self.proxy_argv(), "--takeover", self.control("proxy")])
        new.wait_line(r"^ready$", 60)
        status = old.wait(60)
        if status != 0:
            raise Failure(f"the proxy that was taken over from ended with {status}:\n{old.tail()}")
        self.proxy = new
        self.proxy_mark = 0

    def vmm_argv(self):
        """vvu-vmm with the appliance (or another kernel)."""
        argv = [paths.program("vvu-vmm"), "--kernel", self.kernel,
                "--cmdline", " ".join(self.app), "--memory", self.memory, "--cpus", self.cpus,
                "--serial", "stdio", "--control", self.control("vmm"), *self.vmm_args]
        for i in range(self.count):
            shm = f",shm={self.shm}" if self.shm else ""
            argv += ["--vvu", f"link={self.link},port={self.name(i)}{shm}"]
        return argv

    def start_vmm(self):
        """Start it, by the command `under` if there is one; does not wait."""
        self.proxy_mark = self.proxy.mark()
        self.vmm_start = time.monotonic()
        self.vmm = self.process = self.session.start("vvu-vmm", [*self.under, *self.vmm_argv()], cpus=self.cpu)

    def wait_up(self, timeout=procs.LIMIT):
        """Until the proxy has seen back-end-up on every port."""
        waiting = {self.name(i) for i in range(self.count)}
        deadline = time.monotonic() + timeout
        after = self.proxy_mark
        while waiting:
            try:
                line, after = self.proxy.wait_line_at(r"port (\S+): back-end up",
                                                      deadline - time.monotonic(), after)
            except Failure as error:
                raise Failure(f"back-end VM: not up on {', '.join(sorted(waiting))} within "
                              f"{timeout:g} s; vvu-vmm said:\n{self.vmm.tail()}\n{error}") from None
            waiting.discard(line.group(1))
        up = self.status("proxy")["backend_up_ns"]
        self.boot_ms = up / 1e6 - self.vmm_start * 1e3

    def counters(self):
        """Counters of the device logic, {name: value}."""
        return self.status("vmm").get("counters", {})


class HostPath(Path):
    """vvu-backend."""

    def __init__(self, session, count, app=("switch",), modes=None, cpu=None, cpus=1):
        super().__init__(session, "host", count, modes)
        self.start_time = time.monotonic()
        self.backend = self.process = session.start(
            "vvu-backend", [paths.program("vvu-backend"), "--control", self.control("backend"),
                            "--cpus", cpus, *self._port_args(), *app], cpus=cpu)

    def wait_up(self, timeout=procs.LIMIT):
        """Until it serves."""
        self.backend.wait_line(r"^ready$", timeout)
        self.boot_ms = (time.monotonic() - self.start_time) * 1000

    def counters(self):
        """Counters of the device logic, {name: value}."""
        return self.status("backend").get("counters", {})


class TestpmdPath(Path):
    """DPDK's host switch: ports 0 and 1, 2 and 3, ... are wired together."""

    def __init__(self, session, count, cpu=0, huge=False, modes=None):
        super().__init__(session, "testpmd", count, modes)
        self.start_time = time.monotonic()
        ports = [testpmd.Port(self.socket(i), server=self.modes[i] == "client")
                 for i in range(count)]
        self.backend = testpmd.Testpmd(session, "testpmd", ports, role="back-end", cpu=cpu,
                                       huge=huge, forward="io")
        self.process = self.backend.proc

    def wait_up(self, timeout=procs.LIMIT):
        """Until it serves."""
        self.backend.wait_ready(timeout)
        self.backend.start()
        self.boot_ms = (time.monotonic() - self.start_time) * 1000

    def counters(self):
        """Frames forwarded, and those a port could not take."""
        return {"switched": self.backend.total("opackets"),
                "port.drop_no_buffers": self.backend.total("ipackets") - self.backend.total("opackets")}


def start(session, kind, count, **kw):
    """Start one; see the classes for options."""
    if kind == "vm":
        return VmPath(session, count, **kw)
    if kind == "host":
        return HostPath(session, count, **kw)
    if kind == "testpmd":
        kw.pop("app", None)
        return TestpmdPath(session, count, **kw)
    raise Failure(f"unknown kind of back-end: {kind}")


def port_counter(counters, index, name):
    """One counter of one port. (The appliance does not know the proxy's port names and calls its ports p00, p01, ...)"""
    for key in (f"port.p{index}.{name}", f"port.p{index:02d}.{name}"):
        if key in counters:
            return counters[key]
    raise Failure(f"no counter {name} of port {index} among {len(counters)} counters")


def switched_and_dropped(counters):
    """(frames delivered, {reason: frames dropped}) out of {counter: value}, over all ports."""
    switched = 0
    dropped = {}
    for name, value in counters.items():
        if name == "switched" or re.fullmatch(r"port\..*\.tx_frames", name):
            switched += value
        match = re.search(r"\.drop_(\w+)$", name)
        if match and value:
            dropped[match.group(1)] = dropped.get(match.group(1), 0) + value
    return switched, dropped
