# SPDX-License-Identifier: BSD-2-Clause
"""
The back-end VM: one that `vvu run` starts again when it ends, and that `vvu replace` puts another in the place of. Which one it is
at the moment the pid file says. Every end of one that nobody asked for is a crash; `vvu run` has a line about each.
"""

import os
import pathlib
import signal
import subprocess
import sys

from lib import paths, procs

GUARD = pathlib.Path(__file__).resolve().parent / "guard.py"
ENDED = r"the VMM, pid (\d+), (.*) after [0-9.]+ s"


class Guard:
    """The process that ends VMMs when we have ended (guard.py)."""

    def __init__(self, directory):
        # By no Session: it is to outlive us.
        self.child = subprocess.Popen([sys.executable, GUARD, directory], stdin=subprocess.PIPE,  # pylint: disable=consider-using-with
                                      start_new_session=True)

    def stop(self):
        """Has it end them now."""
        self.child.stdin.close()
        self.child.wait(60)


def under_run(session):
    """The command that a VMM is started by, so that Vmms can look after it."""
    session.add(Guard(session.dir))
    return [paths.program("vvu"), "run", "--pid-file", session.dir / "vmm.pid", "--control", session.dir / "run.ctl",
            "--min-uptime", "0", "--"]


class Vmms:
    """Whichever VMM it is."""

    def __init__(self, world):
        self.world = world
        self.path = world.path
        self.pid_file = world.session.dir / "vmm.pid"
        self.mark = 0
        self.excused = set()        # pids of VMMs whose end is our doing
        self.panicking = 0          # pid of a VMM that was told to panic
        self.resetting = None       # pid of a VMM whose guest was told to reset, and its resets before
        self.replacement = None     # `vvu replace`, while it runs
        self.old = 0                # pid of the VMM that is to go
        self.disturbed = False      # it was: it may fail, and the old VMM serve on
        self.replacements = 0

    def pid(self):
        """Of the VMM that runs now; while one is replaced, of the new one."""
        def read():
            try:
                return int(self.pid_file.read_text(encoding="ascii"))
            except (FileNotFoundError, ValueError):
                return 0
        return procs.wait_until(read, f"a pid in {self.pid_file}", 60, 0.005)

    def ask(self, command, pid=None):
        """Its answer to a command, or None: there is none that would hear it now."""
        pid = pid or self.pid()
        if pid in self.world.stopped:
            return None
        try:
            argv = pathlib.Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").split("\0")
            return procs.control(argv[argv.index("--control") + 1], {"cmd": command})
        except (OSError, ValueError, procs.Failure):
            return None

    # --- faults ---

    def kill(self, old):
        """SIGKILL, of the old one if it is being replaced. `vvu run` starts another one right away, unless the other one serves."""
        pid = self.old if old and self.replacement else self.pid()
        self.world.stopped.pop(pid, None)
        self.excused.add(pid)
        self.disturbed = True
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.world.wait_for(lambda: self.pid() != pid)

    def panic(self):
        """An NMI, at which the appliance panics. False: it can't hear it."""
        pid = self.pid()
        if self.panicking == pid or not self.ask("nmi", pid):
            return False
        self.panicking = pid
        self.excused.add(pid)
        self.disturbed = True
        return True

    def reset(self):
        """Its reset button. False: it can't hear it."""
        pid = self.pid()
        status = self.ask("status", pid)
        if not status or not self.ask("reset", pid):
            return False
        self.resetting = pid, status["restarts"]
        return True

    def replace(self):
        """`vvu replace`. False: it is being done already."""
        if self.replacement:
            return False
        self.replacements += 1
        self.disturbed = False
        argv = [str(a) for a in self.path.vmm_argv()]
        # That of the old one is in use until the end.
        argv[argv.index("--control") + 1] += f".{self.replacements}"
        self.old = self.pid()
        self.excused.add(self.old)
        self.replacement = self.world.session.start(
            f"replace-{self.replacements}", [paths.program("vvu"), "replace", "--link", self.path.link, "--pid-file", self.pid_file,
                                             "--timeout", "120", "--", *argv])
        return True

    # --- what is looked at all the time ---

    def ripe(self):
        """Whether it will not lose sessions because of what it was told before, and can say what it has: its answer to status."""
        pid = self.pid()
        if self.replacement or pid in (self.panicking, *self.world.stopped):
            return None
        status = self.ask("status", pid)
        return status if status and self.resetting != (pid, status["restarts"]) else None

    def poll(self):
        """What has ended, and why."""
        while True:
            line, self.mark = self.path.vmm.find_line_at(ENDED, self.mark)
            if not line:
                break
            if int(line.group(1)) not in self.excused:
                self.world.crash(f"the VMM, pid {line.group(1)}, {line.group(2)}", self.path.vmm)
        if self.replacement and not self.replacement.running():
            proc, self.replacement = self.replacement, None
            proc.reader.join(0.1)
            status = proc.popen.returncode
            self.world.say(f"{proc.name} ended with {status}" + (f":\n{proc.tail()}" if status else ""))
            if status and not self.disturbed:
                self.world.crash(f"{proc.name} ended with {status}", proc)
