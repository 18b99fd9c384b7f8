#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
What the programs have given up once they are ready, as the kernel tells it: capabilities, users, namespaces, the file
system, limits, and a filter in every thread. Started by root, by root with --user, and by nobody in particular.
"""

import os
import pathlib
import shutil
import socket
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from lib import paths, procs  # noqa: E402

NOBODY = 65534
KVM = os.access("/dev/kvm", os.R_OK | os.W_OK)
ROOT = os.geteuid() == 0
PROGRAMS = ("vvu-proxy", "vvu-backend", "vvu-vmm") if KVM else ("vvu-proxy", "vvu-backend")
KINDS = {"vvu-proxy": {"main": 1}, "vvu-backend": {"main": 1, "worker": 1}, "vvu-vmm": {"main": 1, "vCPU": 2}}


def proc_status(pid, tid=None):
    """/proc/PID/task/TID/status as a dictionary."""
    text = pathlib.Path(f"/proc/{pid}/task/{tid or pid}/status").read_text(encoding="ascii")
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}


def threads(pid):
    """The thread IDs of a process, without those that KVM makes in its name."""
    return [int(tid) for tid in os.listdir(f"/proc/{pid}/task") if not proc_status(pid, tid)["Name"].startswith("kvm-")]


def namespace(pid, name):
    """Which namespace a process is in."""
    return os.readlink(f"/proc/{pid}/ns/{name}")


def visible(pid, path="/"):
    """What a process finds in a directory."""
    return sorted(os.listdir(f"/proc/{pid}/root{path}"))


class Confined(unittest.TestCase):
    """Each test starts the programs it looks at."""

    def setUp(self):
        self.session = procs.Session("confined")
        self.session.__enter__()
        self.addCleanup(self.session.__exit__, None, None, None)
        self.dir = self.session.dir
        self.state = self.dir / "state"  # where sockets are
        self.state.mkdir()
        (self.dir / "secret").write_text("x")
        # Others need not be able to enter the build directory.
        self.image = self.dir / "appliance.elf"
        shutil.copy(paths.program("appliance.elf"), self.image)
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.notify.close)
        self.notify.bind(str(self.dir / "notify"))
        self.notify.settimeout(60)
        for path, mode in ((self.dir, 0o755), (self.image, 0o644), (self.dir / "notify", 0o666)):
            os.chmod(path, mode)

    def arguments(self, program):
        """A command line."""
        control = ["--control", self.state / f"{program}.ctl"]
        if program == "vvu-proxy":
            return ["--link", self.state / "link", "--port", f"a={self.state}/a", *control]
        if program == "vvu-backend":
            return ["--port", f"b={self.state}/b", "--cpus", 2, *control]
        return ["--kernel", self.image, "--cpus", 2, "--memory", "64M", "--serial", "none", "--pid-file",
                self.state / "pid", "--vvu", f"link={self.state}/link,port=a", *control]

    def start(self, program, *more, prefix=()):
        """Started and ready: (process, what its status says of the sandbox)."""
        copy = self.dir / program
        if not copy.exists():
            shutil.copy(paths.program(program), copy)
            os.chmod(copy, 0o755)
        env = {**os.environ, "NOTIFY_SOCKET": str(self.dir / "notify")}
        # The working directory would be visible, too.
        proc = self.session.start(program, ["env", "-C", self.dir, *prefix, copy, *map(str, self.arguments(program)), *more], env=env)
        proc.wait_line("^ready$", 60)
        self.assertEqual(self.notify.recv(100), b"READY=1")
        status = procs.control(self.state / f"{program}.ctl", {"cmd": "status"}, 60)
        return proc, status["sandbox"]

    def stop(self, proc):
        """It ends well, and leaves nothing behind."""
        self.assertEqual(proc.stop(60), 0, proc.tail())
        self.assertEqual(os.listdir(self.state), [])

    def check_threads(self, program, proc):
        """Every thread is filtered, without capabilities, and can't get any."""
        # A thread may still be on its way to its filter, which comes before all else that it does.
        procs.wait_until(lambda: all(proc_status(proc.pid, t)["Seccomp"] == "2" for t in threads(proc.pid)),
                         f"{program}: a thread is not confined", 60)
        tids = threads(proc.pid)
        self.assertEqual(len(tids), sum(KINDS[program].values()))
        for tid in tids:
            status = proc_status(proc.pid, tid)
            for caps in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
                self.assertEqual(int(status[caps], 16), 0, caps)
            self.assertEqual(status["NoNewPrivs"], "1")
            self.assertEqual(status["Seccomp"], "2")

    def check_limits(self, program, proc):
        """No core, no further process. (KVM makes threads later.)"""
        limits = pathlib.Path(f"/proc/{proc.pid}/limits").read_text(encoding="ascii")
        self.assertRegex(limits, r"Max core file size +0 +0 ")
        if program != "vvu-vmm":
            self.assertRegex(limits, r"Max processes +0 +0 ")

    def check_root(self, program, proc):
        """The file system is what the program was told to use, and its own /proc."""
        self.assertEqual(visible(proc.pid), ["proc", "tmp"])
        self.assertEqual(visible(proc.pid, "/proc"), sorted([str(proc.pid), "self"]))
        self.assertEqual(visible(proc.pid, "/tmp"), [self.dir.name])
        seen = ["state"] + (["appliance.elf"] if program == "vvu-vmm" else [])
        self.assertEqual(visible(proc.pid, self.dir), sorted(seen))
        self.assertEqual(visible(proc.pid, self.state), sorted(os.listdir(self.state)))
        # ".." of a place leads to the new root, not out of it.
        self.assertEqual(visible(proc.pid, f"{self.state}/../../.."), ["proc", "tmp"])

    def check_namespaces(self, proc):
        """Others than ours."""
        for name in ("mnt", "net", "ipc", "uts"):
            self.assertNotEqual(namespace(proc.pid, name), namespace("self", name), name)

    @unittest.skipUnless(ROOT, "needs root")
    def test_root(self):
        for program in PROGRAMS:
            with self.subTest(program=program):
                proc, said = self.start(program)
                self.check_threads(program, proc)
                self.assertEqual(int(proc_status(proc.pid)["CapBnd"], 16), 0)
                self.check_limits(program, proc)
                self.check_namespaces(proc)
                self.check_root(program, proc)
                self.assertEqual((said["mode"], said["own_root"], said["namespaces"], said["user_namespace"]),
                                 ("on", True, True, False))
                self.assertEqual(set(said["system_calls"]), set(KINDS[program]))
                print(f"{program}: system calls allowed: {said['system_calls']}")
                self.stop(proc)

    @unittest.skipUnless(ROOT, "needs root to become another user")
    def test_user(self):
        os.chown(self.state, NOBODY, NOBODY)
        for program in PROGRAMS:
            with self.subTest(program=program):
                proc, said = self.start(program, "--user", "nobody" if program == "vvu-backend" else str(NOBODY))
                status = proc_status(proc.pid)
                self.assertEqual(status["Uid"].split(), [str(NOBODY)] * 4)
                self.assertEqual(status["Gid"].split(), [str(NOBODY)] * 4)
                self.assertNotIn("0", status["Groups"].split())
                self.assertEqual(said["user"], NOBODY)
                self.check_threads(program, proc)
                self.assertEqual(int(status["CapBnd"], 16), 0)
                self.check_namespaces(proc)
                self.check_root(program, proc)
                for path in self.state.iterdir():
                    self.assertEqual(path.stat().st_uid, NOBODY, path)
                self.stop(proc)

    @unittest.skipUnless(ROOT, "needs root to start something as nobody")
    def test_unprivileged(self):
        os.chown(self.state, NOBODY, NOBODY)
        for program in PROGRAMS:
            with self.subTest(program=program):
                groups = f"--groups={os.stat('/dev/kvm').st_gid}" if KVM else "--clear-groups"
                proc, said = self.start(program, prefix=["setpriv", "--reuid", NOBODY, "--regid", NOBODY, groups])
                self.check_threads(program, proc)
                self.check_limits(program, proc)
                # Who tells users apart stays where their numbers mean something.
                self.assertEqual(said["user_namespace"], said["namespaces"])
                if program == "vvu-proxy":
                    self.assertFalse(said["namespaces"])
                elif said["namespaces"]:
                    self.check_namespaces(proc)
                    if said["own_root"]:
                        self.check_root(program, proc)
                print(f"{program}, unprivileged: namespaces {said['namespaces']}, root of its own {said['own_root']}")
                self.stop(proc)

    def test_off(self):
        for program in PROGRAMS:
            with self.subTest(program=program):
                proc, said = self.start(program, "--sandbox", "off")
                self.assertEqual(said["mode"], "off")
                status = proc_status(proc.pid)
                self.assertEqual((status["Seccomp"], status["NoNewPrivs"]),
                                 (proc_status(os.getpid())["Seccomp"], proc_status(os.getpid())["NoNewPrivs"]))
                self.assertEqual(namespace(proc.pid, "mnt"), namespace("self", "mnt"))
                self.stop(proc)

    def test_log(self):
        for program in PROGRAMS:
            with self.subTest(program=program):
                proc, said = self.start(program, "--sandbox", "log")
                self.assertEqual(said["mode"], "log")
                self.check_threads(program, proc)
                self.stop(proc)

    def test_usage(self):
        for program in PROGRAMS:
            cases = [("--sandbox", "no"), ("--user", "no-such-user-here")]
            for option in cases if ROOT else cases[:1]:
                with self.subTest(program=program, option=option):
                    done = subprocess.run([paths.program(program), *map(str, self.arguments(program)), *option],
                                          capture_output=True, text=True, check=False, timeout=60)
                    self.assertIn(done.returncode, (1, 2))
                    self.assertIn(option[0], done.stderr)
                    self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)

    @unittest.skipUnless(ROOT, "needs root to start something as nobody")
    def test_only_root_becomes_another(self):
        done = subprocess.run(["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups",
                               *self.copy("vvu-proxy"), *map(str, self.arguments("vvu-proxy")), "--user", "root"],
                              capture_output=True, text=True, check=False, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn("--user root: only root can become another user", done.stderr)

    def copy(self, program):
        """A program where everybody can run it."""
        to = self.dir / program
        shutil.copy(paths.program(program), to)
        os.chmod(to, 0o755)
        return [str(to)]

    def test_relative_paths(self):
        # In the working directory, and after all of that is hidden, still there.
        copy = self.copy("vvu-proxy")[0]
        proc = self.session.start("relative", ["env", "-C", self.state, copy, "--link", "link", "--port", "a=./a",
                                               "--control", "../state/ctl"])
        proc.wait_line("^ready$", 60)
        self.assertTrue(procs.control(self.state / "ctl", {"cmd": "status"}, 60)["ok"])
        self.stop(proc)


if __name__ == "__main__":
    procs.die_on_signals()
    unittest.main(argv=[sys.argv[0], *sys.argv[1:]], verbosity=2)
