# SPDX-License-Identifier: BSD-2-Clause
"""What pauses.py lets happen: a proxy, and a back-end VM under `vvu run`, that are killed, replaced and the like."""

import os
import signal
import time

from lib import backend, paths, procs

LIMIT = 60


def _milliseconds(since, until):
    return (until - since) / 1e6


class Subject:
    """What it is done to. Each event returns {step: milliseconds} when everything is up again."""

    def __init__(self, session, memory="32M"):
        self.session = session
        self.pid_file = session.dir / "vmm.pid"
        self.run_ctl = session.dir / "run.ctl"
        # If we are killed, so is `vvu run`, and with it the VM.
        under = [paths.program("vvu"), "run", "--pid-file", self.pid_file, "--control", self.run_ctl, "--min-uptime", "0", "--",
                 "setpriv", "--pdeathsig", "KILL"]
        self.path = backend.VmPath(session, 2, memory=memory, under=under)
        self.path.wait_up(LIMIT)
        self.control = self.path.control("vmm")  # of the VM that serves now

    def _ports(self):
        return self.path.status("proxy")["ports"]

    def _pid(self):
        return int(self.pid_file.read_text(encoding="ascii"))

    def _replayed(self, cause):
        """Once `cause` has been done and the sessions have gone on: the steps that every end of a VM has."""
        before = [p["replays"] for p in self._ports()]
        begin = time.monotonic_ns()
        cause()
        procs.wait_until(lambda: all(p["replays"] > b for p, b in zip(self._ports(), before)), "the sessions go on", LIMIT, 0.002)
        return begin, self.path.status("proxy")["backend_up_ns"]

    def _ended(self, cause):
        begin, up = self._replayed(cause)
        run = procs.control(self.run_ctl, {"cmd": "status"})
        return {"end": _milliseconds(begin, run["ended_ns"]), "start": _milliseconds(run["ended_ns"], run["since_ns"]),
                "boot": _milliseconds(run["since_ns"], up)}

    def _ask(self, command):
        procs.control(self.control, {"cmd": command})

    def kill(self):
        """SIGKILL to the VM."""
        pid = self._pid()
        return self._ended(lambda: os.kill(pid, signal.SIGKILL))

    def panic(self):
        """An NMI, at which the guest panics."""
        return self._ended(lambda: self._ask("nmi"))

    def reset(self):
        """The VM's reset button."""
        begin, up = self._replayed(lambda: self._ask("reset"))
        return {"boot": _milliseconds(begin, up)}

    def replace(self):
        """`vvu replace` by one of the same kind. The old one has its control socket still, so the next one has another."""
        argv = [str(a) for a in self.path.vmm_argv()]
        at = argv.index("--control") + 1
        if str(self.control) == argv[at]:
            argv[at] += ".2"
        begin = time.monotonic_ns()
        proc = self.session.start("replace", [paths.program("vvu"), "replace", "--link", self.path.link, "--pid-file", self.pid_file,
                                              "--", *argv])
        self.session.things.remove(proc)
        if proc.popen.wait(LIMIT):  # the next VM has the end of the pipe that its output goes to
            raise procs.Failure(f"vvu replace failed:\n{proc.tail()}")
        self.control = argv[at]
        return {"whole": _milliseconds(begin, time.monotonic_ns())}

    def proxy_kill(self):
        """SIGKILL to the proxy, and the next one at once."""
        begin = time.monotonic_ns()
        self.path.proxy.kill()
        self.session.things.remove(self.path.proxy)
        self.path.start_proxy()
        self._sessions_up()
        return {"whole": _milliseconds(begin, time.monotonic_ns())}

    def proxy_upgrade(self):
        """`vvu-proxy --takeover`."""
        begin, old = time.monotonic_ns(), self.path.proxy
        self.path.upgrade_proxy()
        self.session.things.remove(old)
        self._sessions_up()
        return {"whole": _milliseconds(begin, time.monotonic_ns())}

    def _sessions_up(self):
        procs.wait_until(lambda: self.path.status("proxy")["sessions_up"] == self.path.count, "both sessions are up", LIMIT, 0.002)


EVENTS = {"kill": Subject.kill, "panic": Subject.panic, "reset": Subject.reset, "replace": Subject.replace,
          "proxy-kill": Subject.proxy_kill, "proxy-upgrade": Subject.proxy_upgrade}


def nothing(_subject):
    """What the other windows are compared with."""
    return {}
