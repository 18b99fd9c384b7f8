#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Listening sockets that somebody else has opened: sd_listen_fds(3), as systemd's socket units give them."""

import os
import pathlib
import re
import socket
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from lib import procs  # noqa: E402
from proxy import rig  # noqa: E402
from proxy.frontend import FrontEnd  # noqa: E402
from proxy.vmm_link import Link  # noqa: E402

# As systemd: fds from 3 on, and the variables. Arguments: whose PID (or "self"), how many, names, fds, the program and its own.
LAUNCH = """
import fcntl, os, sys
pid, num, names, fds = sys.argv[1:5]
high = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 100) for fd in fds.split()]
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i)
    os.close(fd)
env = dict(os.environ, LISTEN_PID=str(os.getpid()) if pid == "self" else pid, LISTEN_FDS=num)
if names != "-":
    env["LISTEN_FDNAMES"] = names
os.execve(sys.argv[5], sys.argv[5:], env)
"""
CLOEXEC = 0o2000000


class Activation(unittest.TestCase):
    """Each test starts its own proxy."""

    def setUp(self):
        self.session = procs.Session("activation")
        self.session.__enter__()
        self.addCleanup(self.session.__exit__, None, None, None)
        self.dir = self.session.dir

    def listen(self, name, kind=socket.SOCK_STREAM, listen=True, family=socket.AF_UNIX):
        """A socket, as a socket unit opens it."""
        sock = socket.socket(family, kind)
        self.addCleanup(sock.close)
        sock.bind(str(self.dir / name) if family == socket.AF_UNIX else ("127.0.0.1", 0))
        if listen:
            sock.listen()
        return sock

    def args(self, *more):
        """A command line for these."""
        return ["--link", self.dir / "link", "--port", f"a={self.dir}/a", "--port", f"b={self.dir}/b",
                "--control", self.dir / "control", *more]

    def launch(self, sockets, args=None, pid="self", num=None, names=None):
        """Start it with [(name, socket)]."""
        fds = [sock.fileno() for _, sock in sockets]
        argv = [sys.executable, "-c", LAUNCH, pid, len(fds) if num is None else num,
                ":".join(name for name, _ in sockets) if names is None else names, " ".join(map(str, fds)),
                rig.proxy_program(), *(self.args() if args is None else args)]
        return self.session.start("proxy", argv, pass_fds=fds)

    def all_sockets(self):
        """The four of args()."""
        return [("control", self.listen("control")), ("a", self.listen("a")),
                ("link", self.listen("link", socket.SOCK_SEQPACKET)), ("b", self.listen("b"))]

    def stop(self, proc, *left):
        """It ends well, and leaves these files behind."""
        self.assertEqual(proc.stop(), 0, proc.tail())
        self.assertFalse(proc.find_line("Sanitizer|runtime error"), proc.tail(60))
        self.assertEqual(sorted(p.name for p in self.dir.iterdir() if not p.name.endswith(".log")), sorted(left))

    def serves(self, name):
        """A session on that port."""
        link = Link.open(self.dir / "link", name)
        fe = FrontEnd.connect(self.dir / name)
        link.session_up()
        self.assertGreater(fe_features(fe, link), 0)
        fe.close()
        link.close()

    def test_all(self):
        sockets = self.all_sockets()
        # Who comes before the proxy waits for it.
        early = FrontEnd.connect(self.dir / "b")
        proc = self.launch(sockets)
        proc.wait_line("^ready$")
        link = Link.open(self.dir / "link", "b")
        link.session_up()
        self.assertGreater(fe_features(early, link), 0)
        early.close()
        link.close()
        self.serves("a")
        self.assertEqual(procs.control(self.dir / "control", {"cmd": "status"})["ports"][0]["name"], "a")
        for fd in range(3, 7):
            flags = int(re.search(r"flags:\s*(\d+)", pathlib.Path(f"/proc/{proc.pid}/fdinfo/{fd}").read_text())[1], 8)
            self.assertEqual(flags & (CLOEXEC | os.O_NONBLOCK), CLOEXEC | os.O_NONBLOCK)
        self.stop(proc, "a", "b", "link", "control")

    def test_some(self):
        proc = self.launch([("b", self.listen("b"))])
        proc.wait_line("^ready$")
        self.serves("a")
        self.serves("b")
        self.stop(proc, "b")

    def test_elsewhere(self):
        # The socket unit's path counts.
        proc = self.launch([("a", self.listen("elsewhere"))])
        proc.wait_line("^ready$")
        fe = FrontEnd.connect(self.dir / "elsewhere")
        link = Link.open(self.dir / "link", "a")
        link.session_up()
        self.assertGreater(fe_features(fe, link), 0)
        fe.close()
        link.close()
        self.stop(proc, "elsewhere")

    def test_ports_called_as_our_own_sockets(self):
        args = ["--link", self.dir / "l", "--port", f"link={self.dir}/p1", "--port", f"control={self.dir}/p2",
                "--control", self.dir / "c"]
        proc = self.launch([("control", self.listen("c"))], args)
        proc.wait_line("^ready$")
        self.assertEqual(len(procs.control(self.dir / "c", {"cmd": "status"})["ports"]), 2)
        self.stop(proc, "c")

    def test_for_another_process(self):
        proc = self.launch([("nonsense", self.listen("nonsense"))], pid="1")
        proc.wait_line("^ready$")
        self.serves("a")
        self.stop(proc, "nonsense")

    def test_none(self):
        for num in ("0", ""):
            proc = self.launch([], num=num, pid="self" if num else "x")
            proc.wait_line("^ready$")
            self.stop(proc)

    def test_wrong(self):
        stream, seqpacket = self.listen("s"), self.listen("q", socket.SOCK_SEQPACKET)
        quiet, inet = self.listen("n", listen=False), self.listen("i", family=socket.AF_INET)
        one, two = socket.socketpair()
        for sock in (one, two):
            self.addCleanup(sock.close)
        cases = [
            ({"sockets": [("a", seqpacket)]}, 'fd 3, called "a", is of the wrong type: .* ListenStream='),
            ({"sockets": [("link", stream)]}, 'fd 3, called "link", is of the wrong type: .* ListenSequentialPacket='),
            ({"sockets": [("control", seqpacket)]}, 'fd 3, called "control", is of the wrong type'),
            ({"sockets": [("a", stream), ("b", quiet)]}, 'fd 4, called "b", does not listen: .* Accept=no'),
            ({"sockets": [("a", one)]}, 'fd 3, called "a", does not listen'),
            ({"sockets": [("a", inet)]}, 'fd 3, called "a", is no UNIX socket'),
            ({"sockets": [("a", stream), ("a", stream)]}, 'fd 4, called "a", is there twice: .* FileDescriptorName='),
            ({"sockets": [("c", stream)]}, 'nothing uses "c": FileDescriptorName= is the name of a --port'),
            ({"sockets": [("a", stream)], "names": "-"}, 'fd 3, called "", has no name of ours: .* FileDescriptorName='),
            ({"sockets": [("a", stream)], "names": "a b"}, 'fd 3, called "a b", has no name of ours'),
            ({"sockets": [("a", stream)], "num": "2"}, 'fd 4, called "", is not open'),
            ({"sockets": [("a", stream)], "num": "x"}, "LISTEN_FDS is 0 to 1026, not x"),
            ({"sockets": [("a", stream)], "num": "-1"}, "LISTEN_FDS is 0 to 1026, not -1"),
            ({"sockets": [("a", stream)], "args": ["--link", self.dir / "link", "--port", f"a={self.dir}/a,mode=client"]},
             'nothing uses "a": .* in server mode'),
            ({"sockets": [("control", stream)], "args": ["--link", self.dir / "link", "--port", f"a={self.dir}/a"]},
             'nothing uses "control": .* with --control'),
        ]
        for kw, pattern in cases:
            with self.subTest(pattern=pattern):
                proc = self.launch(**kw)
                self.assertEqual(proc.wait(60), 1, proc.tail())
                self.assertTrue(proc.find_line("error: socket activation: " + pattern), proc.tail())
                self.assertFalse(proc.find_line("Sanitizer"), proc.tail(60))
        self.assertEqual(sorted(p.name for p in self.dir.iterdir() if not p.name.endswith(".log")), ["n", "q", "s"])

    def test_upgrade(self):
        # The files stay systemd's.
        old = self.launch(self.all_sockets())
        old.wait_line("^ready$")
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(notify.close)
        notify.bind(str(self.dir / "notify"))
        notify.settimeout(60)
        env = {**os.environ, "NOTIFY_SOCKET": str(self.dir / "notify")}
        new = self.session.start("new", [rig.proxy_program(), *self.args("--takeover", self.dir / "control")], env=env)
        # Whom systemd is to watch, before the old one ends.
        self.assertEqual(notify.recv(100), f"MAINPID={new.pid}".encode())
        self.assertEqual(notify.recv(100), b"READY=1")
        new.wait_line("^ready$", 60)
        self.assertEqual(old.wait(60), 0)
        self.serves("a")
        self.stop(new, "a", "b", "link", "control", "notify")


def fe_features(fe, link):
    """Ask for the features, through the proxy."""
    fe.send("GET_FEATURES")
    link.serve("GET_FEATURES")
    return fe.recv().u64


if __name__ == "__main__":
    rig.main()
