#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The command `vvu`: run and replace, with scripts for VMMs."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from lib import paths, procs  # noqa: E402

FAKE = pathlib.Path(__file__).resolve().parent / "fake_vmm.py"
LIMIT = 120


class Case(unittest.TestCase):
    """One directory and everything started in it."""

    def setUp(self):
        self.session = procs.Session("command")
        self.session.__enter__()
        self.addCleanup(self.session.__exit__, None, None, None)
        self.addCleanup(self.end_vmms)
        self.dir = self.session.dir
        self.program = os.environ.get("VVU_COMMAND") or paths.program("vvu")
        self.pid_file = self.dir / "vmm.pid"

    def end_vmms(self):
        """VMMs outlive vvu replace; not the test."""
        pids = self.dir / "pids"
        for pid in map(int, pids.read_text().split() if pids.exists() else ()):
            command = pathlib.Path(f"/proc/{pid}/cmdline")
            try:
                if os.fsencode(FAKE) in command.read_bytes():
                    os.kill(pid, signal.SIGKILL)
            except (OSError, ProcessLookupError):
                pass

    def vmm(self, name, *plan, vvu="link=/l,port=p0"):
        """The command line of a VMM that does as planned."""
        (self.dir / name).write_text(" ".join(plan))
        return [sys.executable, FAKE, "--dir", self.dir, "--plan", name, "--vvu", vvu]

    def run_it(self, *argv, **kw):
        """Run to the end: (status, standard output, standard error)."""
        done = subprocess.run([self.program, *[str(a) for a in argv]], capture_output=True, text=True, check=False,
                              timeout=LIMIT, stdin=subprocess.DEVNULL, **kw)
        return done.returncode, done.stdout, done.stderr

    def start(self, name, *argv, **kw):
        """Start vvu."""
        return self.session.start(name, [self.program, *argv], **kw)

    def start_run(self, vmm, *options):
        """vvu run with a pid file; its VMM's pid when it is up."""
        proc = self.start("run", "run", "--pid-file", self.pid_file, *options, "--", *vmm)
        return proc, self.wait_up(proc, vmm[5], 1)

    def wait_up(self, proc, name, number):
        """The pid of that start of that VMM, which runs."""
        return int(proc.wait_line(rf"^{name} {number} (\d+) up$", LIMIT)[1])

    def start_replace(self, vmm, *options):
        """vvu replace."""
        return self.start("replace", "replace", "--link", "/l", "--pid-file", self.pid_file, *options, "--", *vmm)

    def ended(self, proc):
        """The exit status."""
        return proc.popen.wait(LIMIT)

    def pid(self):
        """What the pid file says."""
        return int(self.pid_file.read_text())


class Usage(Case):
    """Wrong command lines."""

    def test_nonsense(self):
        link = ("--link", "/l")
        pid = ("--pid-file", f"{self.dir}/x")
        cases = (
            ((), "vvu --help"),
            (("walk",), "unknown verb 'walk'"),
            (("run",), "which VMM?"),
            (("run", "--nope", "--", "x"), "unknown option --nope"),
            (("run", "--pid-file"), "--pid-file needs a value"),
            (("run", "--max-restarts", "x", "--", "y"), "--max-restarts x"),
            (("run", "--min-uptime", "-1", "--", "y"), "--min-uptime -1"),
            (("run", "--log-level", "loud", "--", "y"), "--log-level loud"),
            (("replace", *pid, "--", "x"), "--link is missing"),
            (("replace", *link, "--", "x"), "--pid-file is missing"),
            (("replace", *link, *pid), "with what?"),
            (("replace", *link, *pid, "--timeout", "0", "--", "x"), "--timeout 0"),
            (("replace", *link, *pid, "--", "x", "--vvu", "link=/other,port=p"), "has link=/l"),
            (("replace", *link, *pid, "--", "x", "--vvu", "link=/l2,port=p"), "has link=/l"),
        )
        for argv, text in cases:
            with self.subTest(argv=argv):
                status, out, err = self.run_it(*argv)
                self.assertEqual((status, out), (2, ""), err)
                self.assertEqual(len(err.splitlines()), 1, err)
                self.assertIn(text, err)

    def test_help_and_version(self):
        for argv, words in ((("--help",), ("run", "replace")), (("run", "--help"), ("--max-restarts", "--control")),
                            (("replace", "--help"), ("--timeout", "--link")), (("--version",), ("vvu ",))):
            status, out, err = self.run_it(*argv)
            self.assertEqual((status, err), (0, ""))
            for word in words:
                self.assertIn(word, out)


class Run(Case):
    """vvu run by itself."""

    def test_restarts(self):
        control = self.dir / "control"
        vmm = self.vmm("a", "die", "exit=1", "exit=77", "serve")
        proc = self.start("run", "run", "--pid-file", self.pid_file, "--control", control, "--", *vmm)
        pid = self.wait_up(proc, "a", 4)
        self.assertEqual(self.pid(), pid)
        for text in (r"was killed by signal 9 .*", "restarting it in 0 ms", "exited with status 1 after",
                     "restarting it in 100 ms", "exited with status 77", "restarting it in 200 ms"):
            proc.wait_line(text, LIMIT)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.connect(str(control))
            s.sendall(b'{"cmd":"status"}\n')
            reply = json.loads(s.makefile().readline())
        self.assertEqual((reply["state"], reply["pid"], reply["restarts"]), ("running", pid, 3))
        self.assertEqual(reply["last_end"], "exited with status 77")
        self.assertEqual(reply["command"], [str(a) for a in vmm])
        os.kill(proc.pid, signal.SIGTERM)
        proc.wait_line(f"^a 4 {pid} SIGTERM", LIMIT)
        self.assertEqual(self.ended(proc), 0)
        self.assertFalse(self.pid_file.exists())

    def test_ends_that_are_no_deaths(self):
        for status in (0, 2):
            vmm = self.vmm(f"e{status}", f"exit={status}")
            self.assertEqual(self.run_it("run", "--pid-file", self.pid_file, "--", *vmm)[0], status)
            self.assertEqual((self.dir / f"e{status}.starts").read_text(), "1")
            self.assertFalse(self.pid_file.exists())

    def test_gives_up(self):
        status, _, err = self.run_it("run", "--max-restarts", "2", "--", *self.vmm("a", "exit=1"))
        self.assertEqual(status, 1)
        self.assertIn("giving up", err)
        self.assertEqual((self.dir / "a.starts").read_text(), "3")

    def test_no_pause(self):
        proc = self.start("run", "run", "--min-uptime", "0", "--max-restarts", "1", "--",
                          *self.vmm("a", "die", "die", "die", "serve"))
        self.wait_up(proc, "a", 4)
        self.assertFalse(proc.find_line("restarting it in [1-9]"))
        os.kill(proc.pid, signal.SIGTERM)
        self.assertEqual(self.ended(proc), 0)

    def test_cannot_start(self):
        status, _, err = self.run_it("run", "--", f"{self.dir}/nothing")
        self.assertEqual(status, 1)
        self.assertIn("No such file", err)
        status, _, err = self.run_it("run", "--pid-file", f"{self.dir}/no/pid", "--", *self.vmm("a", "serve"))
        self.assertEqual(status, 1)
        self.assertIn("--pid-file", err)
        self.assertFalse((self.dir / "a.starts").exists())

    def test_signals(self):
        proc, pid = self.start_run(self.vmm("a", "deaf"))
        for sig in (signal.SIGHUP, signal.SIGUSR1):
            os.kill(proc.pid, sig)
            proc.wait_line(f"^a 1 {pid} {sig.name}", LIMIT)
        # One that does not stop is killed when asked again.
        os.kill(proc.pid, signal.SIGTERM)
        proc.wait_line(f"^a 1 {pid} SIGTERM", LIMIT)
        self.assertIsNone(proc.popen.poll())
        os.kill(proc.pid, signal.SIGINT)
        self.assertEqual(self.ended(proc), 1)

    def test_notices_are_passed_on(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.bind(str(self.dir / "notify"))
            s.settimeout(LIMIT)
            self.start("run", "run", "--", *self.vmm("a", "serve"), env=dict(os.environ, NOTIFY_SOCKET=str(self.dir / "notify")))
            self.assertEqual(s.recv(100), b"READY=1")

    def test_takes_up_a_vmm_that_was_left(self):
        vmm = self.vmm("a", "serve")
        proc, pid = self.start_run(vmm)
        os.kill(proc.pid, signal.SIGKILL)
        self.ended(proc)
        again = self.start("again", "run", "--pid-file", self.pid_file, "--", *vmm)
        again.wait_line(f"pid {pid} has taken over", LIMIT)
        os.kill(again.pid, signal.SIGTERM)
        self.assertEqual(self.ended(again), 0)
        self.assertEqual((self.dir / "a.starts").read_text(), "1")


class Replace(Case):
    """vvu replace, under vvu run and without."""

    def test_old_one_ends(self):
        run, old = self.start_run(self.vmm("a", "serve"))
        replace = self.start_replace(self.vmm("b", "boot"))
        new = self.wait_up(replace, "b", 1)
        os.kill(old, signal.SIGUSR2)
        run.wait_line(f"pid {old}, exited with status 0", LIMIT)
        # Nobody restarts anything before it is clear who serves.
        self.assertIsNone(run.popen.poll())
        os.kill(new, signal.SIGUSR1)
        self.assertEqual(self.ended(replace), 0)
        run.wait_line(f"pid {new} has taken over", LIMIT)
        self.assertEqual(self.pid(), new)
        os.kill(run.pid, signal.SIGTERM)
        self.assertEqual(self.ended(run), 0)
        self.assertFalse(self.pid_file.exists())
        self.assertEqual((self.dir / "a.starts").read_text(), "1")

    def test_old_one_is_asked(self):
        run, old = self.start_run(self.vmm("a", "serve"))
        replace = self.start_replace(self.vmm("b", "serve"))
        run.wait_line(f"^a 1 {old} SIGTERM", LIMIT)
        self.assertEqual(self.ended(replace), 0)
        run.wait_line("has taken over", LIMIT)

    def test_silent_one_is_killed(self):
        run, old = self.start_run(self.vmm("a", "deaf"))
        replace = self.start_replace(self.vmm("b", "silent", "serve", vvu="shm=2M,link=/l,replace=off,port=p0"))
        new = self.wait_up(replace, "b", 1)
        run.wait_line(f"pid {old}, was killed by signal 9", LIMIT)
        with open(f"/proc/{new}/cmdline", encoding="ascii") as f:
            self.assertIn("\0shm=2M,link=/l,port=p0,replace=on\0", f.read())
        os.kill(new, signal.SIGUSR1)
        self.assertEqual(self.ended(replace), 0)
        # From now on the new one is kept running, as it was started.
        run.wait_line(f"pid {new} has taken over", LIMIT)
        os.kill(new, signal.SIGKILL)
        third = self.wait_up(run, "b", 2)
        self.assertEqual(self.pid(), third)
        with open(f"/proc/{third}/cmdline", encoding="ascii") as f:
            self.assertIn("\0shm=2M,link=/l,port=p0\0", f.read())

    def test_ports(self):
        run, old = self.start_run(self.vmm("a", "serve", vvu="link=/l,port=p1"))
        for vvu in ("link=/l,port=p0", "port=p11,link=/l", "link=/l,replace=on"):
            replace = self.start_replace(self.vmm("b", "serve", vvu=vvu))
            replace.wait_line(f"port p1 of the old VMM, pid {old}, is not among the new one's", LIMIT)
            self.assertEqual(self.ended(replace), 1)
        self.assertIsNone(run.popen.poll())
        replace = self.start_replace([*self.vmm("b", "serve"), "--vvu", "queues=2,port=p1,link=/l"])
        self.assertEqual(self.ended(replace), 0)

    def test_new_one_dies(self):
        run, old = self.start_run(self.vmm("a", "serve"))
        replace = self.start_replace(self.vmm("b", "exit=1"))
        replace.wait_line("the new VMM exited with status 1; the old one serves on", LIMIT)
        self.assertEqual(self.ended(replace), 1)
        self.assertEqual(self.pid(), old)
        self.assertIsNone(run.popen.poll())
        # And it still can be.
        replace = self.start_replace(self.vmm("c", "serve"))
        self.assertEqual(self.ended(replace), 0)

    def test_both_die(self):
        run, old = self.start_run(self.vmm("a", "serve", "serve"))
        replace = self.start_replace(self.vmm("b", "boot"))
        new = self.wait_up(replace, "b", 1)
        os.kill(old, signal.SIGUSR2)
        run.wait_line(f"pid {old}, exited with status 0", LIMIT)
        os.kill(new, signal.SIGKILL)
        self.assertEqual(self.ended(replace), 1)
        self.wait_up(run, "a", 2)

    def test_new_one_takes_too_long(self):
        _, old = self.start_run(self.vmm("a", "serve"))
        replace = self.start_replace(self.vmm("b", "boot"), "--timeout", "1")
        replace.wait_line(f"not ready after 1 s; pid {old} serves on", LIMIT)
        self.assertEqual(self.ended(replace), 1)
        self.assertEqual(self.pid(), old)

    def test_stopped_meanwhile(self):
        """Who stops vvu run in the middle stops what comes out of it."""
        run, old = self.start_run(self.vmm("a", "serve"))
        replace = self.start_replace(self.vmm("b", "boot"))
        new = self.wait_up(replace, "b", 1)
        os.kill(run.pid, signal.SIGTERM)
        run.wait_line(f"^a 1 {old} SIGTERM", LIMIT)
        os.kill(new, signal.SIGUSR1)
        self.assertEqual(self.ended(replace), 0)
        self.assertEqual(self.ended(run), 0)
        replace.wait_line(f"^b 1 {new} SIGTERM", LIMIT)

    def test_without_run(self):
        old = self.session.start("old", self.vmm("a", "serve"))
        pid = self.wait_up(old, "a", 1)
        self.pid_file.write_text(f"{pid}\n")
        replace = self.start_replace(self.vmm("b", "serve"))
        self.assertEqual(self.ended(replace), 0)
        self.assertEqual(self.ended(old), 0)
        self.assertNotEqual(self.pid(), pid)

    def test_two_at_once(self):
        self.start_run(self.vmm("a", "serve"))
        first = self.start_replace(self.vmm("b", "boot"))
        new = self.wait_up(first, "b", 1)
        status, _, err = self.run_it("replace", "--link", "/l", "--pid-file", self.pid_file, "--", *self.vmm("c", "serve"))
        self.assertEqual(status, 1)
        self.assertIn("another vvu has it", err)
        os.kill(new, signal.SIGUSR1)
        self.assertEqual(self.ended(first), 0)

    def test_nothing_to_replace(self):
        def refused(text):
            status, _, err = self.run_it("replace", "--link", "/l", "--pid-file", self.pid_file, "--", *vmm)
            self.assertEqual(status, 1)
            self.assertIn(text, err)
            self.assertFalse((self.dir / "b.starts").exists())

        vmm = self.vmm("b", "serve")
        refused("No such file")
        self.pid_file.write_text("")
        refused("no process ID")
        other = self.session.start("other", ["sleep", "600"])
        other_vmm = self.session.start("other_vmm", self.vmm("o", "serve", vvu="link=/elsewhere,port=p0"))
        self.wait_up(other_vmm, "o", 1)
        for proc in (other, other_vmm):
            self.pid_file.write_text(f"{proc.pid}\n")
            refused("is no VMM with --vvu link=/l")
            self.assertIsNone(proc.popen.poll())
        other.kill()
        self.ended(other)
        self.pid_file.write_text(f"{other.pid}\n")
        refused("nothing to replace")


if __name__ == "__main__":
    unittest.main()
