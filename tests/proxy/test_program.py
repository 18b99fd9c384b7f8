#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The program itself: command line, exit status, sockets, readiness, limits, status requests."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from lib import procs  # noqa: E402
from proxy import rig  # noqa: E402
from proxy.frontend import FrontEnd  # noqa: E402

# valgrind keeps some files, and the limit as it is, to itself.
FILES = unittest.skipIf(os.environ.get("VVU_PROXY", "").endswith("under_valgrind"), "files cannot be counted under valgrind")


class Program(unittest.TestCase):
    """Each test starts its own proxy."""

    def setUp(self):
        self.session = procs.Session("proxy")
        self.session.__enter__()
        self.addCleanup(self.session.__exit__, None, None, None)
        self.dir = self.session.dir

    def run_it(self, *argv):
        """Run to the end: (status, standard output, standard error)."""
        done = subprocess.run([rig.proxy_program(), *[str(a) for a in argv]], capture_output=True, text=True,
                              check=False, timeout=2 * procs.LIMIT, stdin=subprocess.DEVNULL)
        return done.returncode, done.stdout, done.stderr

    def args(self, *more):
        """A command line that works."""
        return ["--link", self.dir / "link", "--port", f"a={self.dir}/a", *more]

    def start(self, *argv, name="proxy", **kw):
        """Start and wait for readiness."""
        proc = self.session.start(name, [rig.proxy_program(), *argv], **kw)
        proc.wait_line("^ready$")
        return proc

    def test_nonsense(self):
        link, port = ("--link", f"{self.dir}/l"), ("--port", f"a={self.dir}/a")
        cases = (
            ((), "--link PATH is missing"),
            (link, "--port NAME=SOCKET is missing"),
            (port, "--link PATH is missing"),
            ((*link, *port, "extra"), "unexpected argument: extra"),
            ((*link, *port, "--nope"), "no such option: --nope"),
            ((*link, *port, "-x"), "no such option: -x"),
            ((*link, *port, "--link"), "--link needs a value"),
            ((*link, "--port"), "--port needs a value"),
            (("--link", "", *port), "--link: the path of the socket is empty"),
            (("--link", "/" + "x" * 107, *port), "--link: a socket's path has at most 107 bytes"),
            ((*link, "--port", "a"), "expected NAME=SOCKET"),
            ((*link, "--port", ""), "expected NAME=SOCKET"),
            ((*link, "--port", "=x"), "expected NAME=SOCKET"),
            ((*link, "--port", "a b=x"), "expected NAME=SOCKET"),
            ((*link, "--port", "-a=x"), "expected NAME=SOCKET"),
            ((*link, "--port", "a" * 64 + "=x"), "expected NAME=SOCKET"),
            ((*link, "--port", "a="), "--port: the path of the socket is empty"),
            ((*link, "--port", "a=" + "x" * 108), "--port: a socket's path has at most 107 bytes"),
            ((*link, "--port", "a=" + "x" * 9000), "--port: too long"),
            ((*link, "--port", "a=x,mode"), "--port a: mode is server or client"),
            ((*link, "--port", "a=x,mode=both"), "--port a: mode is server or client"),
            ((*link, "--port", "a=x,hold"), "--port a: hold is a number of seconds"),
            ((*link, "--port", "a=x,hold=-1"), "--port a: hold is a number of seconds"),
            ((*link, "--port", "a=x,hold=1.5"), "--port a: hold is a number of seconds"),
            ((*link, "--port", "a=x,hold=99999"), "--port a: hold is a number of seconds"),
            ((*link, "--port", "a=x,hold=99999999999999999999"), "--port a: hold is a number of seconds"),
            ((*link, "--port", "a=x,uid"), "--port a: uid is a number, or several with ':' between them"),
            ((*link, "--port", "a=x,uid="), "--port a: uid is a number"),
            ((*link, "--port", "a=x,uid=root"), "--port a: uid is a number"),
            ((*link, "--port", "a=x,uid=1:"), "--port a: uid is a number"),
            ((*link, "--port", "a=x,uid=4294967295"), "--port a: uid is a number"),
            ((*link, "--port", "a=x,gid=-1"), "--port a: gid is a number"),
            ((*link, "--port", "a=x,gid=1:2:x"), "--port a: gid is a number"),
            ((*link, "--port", "a=x,gid=" + ":".join(["7"] * 17)), "--port a: more than 16 values of gid"),
            ((*link, "--port", "a=x" + ",uid=7" * 17), "--port a: more than 16 values of uid"),
            ((*link, "--port", "a=x,"), "--port a: no such option: "),
            ((*link, "--port", "a=x,colour=red"), "--port a: no such option: colour"),
            ((*link, *port, *port), "--port a is given twice"),
            ((*link, *port, "--port", f"b={self.dir}/a"), "ports a and b have the same socket"),
            ((*link, "--port", f"a={self.dir}/l"), "--port a: its socket is that of --link or --control"),
            ((*link, *port, "--control", f"{self.dir}/l"), "--control and --link name the same socket"),
            ((*link, *port, "--control", f"{self.dir}/a"), "its socket is that of --link or --control"),
            ((*link, *port, "--link-uid", "root"), "--link-uid: not a user ID: root"),
            ((*link, *port, "--link-uid", "4294967295"), "--link-uid: not a user ID"),
            ((*link, *port, "--link-uid", ""), "--link-uid: not a user ID"),
            ((*link, *port, "--log-level", "loud"), "--log-level is error, warn, info, debug or trace"),
            ((*link, *port, "--log-level", ""), "--log-level is error, warn, info, debug or trace"),
        )
        for argv, text in cases:
            with self.subTest(argv=argv):
                status, out, err = self.run_it(*argv)
                self.assertEqual((status, out), (2, ""))
                self.assertEqual(len(err.splitlines()), 1, err)
                self.assertIn(text, err)
                self.assertTrue(err.startswith("vvu-proxy: error: "))
        self.assertEqual(list(self.dir.iterdir()), [])

    def test_help_and_version(self):
        status, out, err = self.run_it("--help")
        self.assertEqual((status, err), (0, ""))
        for option in ("--link", "--link-uid", "--port", "--control", "--log-level", "hold", "mode"):
            self.assertIn(option, out)
        status, out, err = self.run_it("--version")
        self.assertEqual((status, err), (0, ""))
        self.assertRegex(out, r"^vvu-proxy \d+\.\d+\.\d+\n$")

    def test_set_up_that_fails(self):
        (self.dir / "file").write_text("x")
        live = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.addCleanup(live.close)
        live.bind(str(self.dir / "live"))
        live.listen()
        good_link, good_port = f"{self.dir}/l", f"a={self.dir}/a"
        for bad, text in (("nowhere/x", "does its directory exist"), ("file", "a file that is no socket is in the way"),
                          ("live", "another program listens there")):
            path = f"{self.dir}/{bad}"
            for argv in (("--link", path, "--port", good_port), ("--link", good_link, "--port", f"a={path}"),
                         ("--link", good_link, "--port", good_port, "--control", path)):
                with self.subTest(argv=argv):
                    status, _, err = self.run_it(*argv)
                    self.assertEqual(status, 1)
                    self.assertEqual(len(err.splitlines()), 1, err)
                    self.assertIn(f"{path}: ", err)
                    self.assertIn(text, err)
        # Nothing of ours is left behind, nothing of others is touched.
        self.assertEqual(sorted(p.name for p in self.dir.iterdir()), ["file", "live"])
        self.assertEqual((self.dir / "file").read_text(), "x")

    @unittest.skipUnless(os.geteuid() == 0, "needs root to become another user")
    def test_link_uid_without_the_right_to_give(self):
        os.chmod(self.dir, 0o777)
        # The build directory need not be open to that user: it gets the program as an open file.
        with open(rig.proxy_program(), "rb") as program:
            done = subprocess.run([f"/proc/self/fd/{program.fileno()}", *map(str, self.args("--link-uid", "0"))],
                                  pass_fds=[program.fileno()], user=65534, group=65534, extra_groups=[],
                                  capture_output=True, text=True, check=False, timeout=2 * procs.LIMIT)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("cannot give the socket to user 0, as --link-uid needs", done.stderr)

    def test_sockets_and_signals(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            old_mask = os.umask(0o007)
            proc = self.start(*self.args("--control", self.dir / "c"), name=f"proxy{number}")
            os.umask(old_mask)
            modes = {p.name: p.stat().st_mode & 0o777 for p in self.dir.iterdir() if p.is_socket()}
            # Links and control are for us alone; who may use a port is for the umask to say.
            self.assertEqual(modes, {"link": 0o600, "c": 0o600, "a": 0o660})
            proc.popen.send_signal(number)
            self.assertEqual(proc.wait(), 0)
            self.assertEqual([p.name for p in self.dir.iterdir() if p.is_socket()], [])

    def test_stale_sockets_are_replaced(self):
        for name, kind in (("link", socket.SOCK_SEQPACKET), ("a", socket.SOCK_STREAM)):
            with socket.socket(socket.AF_UNIX, kind) as stale:
                stale.bind(str(self.dir / name))
                stale.listen()
        proc = self.start(*self.args())
        FrontEnd.connect(self.dir / "a").close()
        self.assertEqual(proc.stop(), 0)

    def test_second_proxy(self):
        self.start(*self.args())
        status, _, err = self.run_it(*self.args())
        self.assertEqual(status, 1)
        self.assertIn("another program listens there", err)
        FrontEnd.connect(self.dir / "a").close()  # the first one's sockets are still there

    def test_notify(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(str(self.dir / "notify"))
            notify.settimeout(procs.LIMIT)
            self.start(*self.args(), env={**os.environ, "NOTIFY_SOCKET": str(self.dir / "notify")})
            self.assertEqual(notify.recv(100), b"READY=1")

    @FILES
    def test_too_few_files(self):
        proc = self.session.start("proxy", ["prlimit", "--nofile=64:64", rig.proxy_program(), *self.args(
            "--port", f"b={self.dir}/b")])
        proc.wait_line("^ready$")
        proc.wait_line("64 open files carry about 0 ports, not 2: raise the hard limit")
        # It refuses what it has no fds for, says so, and goes on.
        peers = [FrontEnd.connect(self.dir / "a")]
        self.assertTrue(proc.running())
        for peer in peers:
            peer.close()
        self.assertEqual(proc.stop(), 0)

    @FILES
    def test_out_of_files(self):
        # Front-ends beyond the limit wait in the backlog, with a line; they are served when others leave.
        ports = [x for n in range(30) for x in ("--port", f"p{n}={self.dir}/p{n},hold=600")]
        proc = self.session.start("proxy", ["prlimit", "--nofile=56:56", rig.proxy_program(), "--link",
                                            self.dir / "link", "--control", self.dir / "c", *ports])
        proc.wait_line("^ready$")
        fes = [FrontEnd.connect(self.dir / f"p{n}") for n in range(30)]
        proc.wait_line("accept: Too many open files; no connection for 100 ms .raise the limit of open files.")
        for fe in fes[:20]:
            fe.close()
        for n in range(20, 30):
            proc.wait_line(rf"port p{n}: front-end .* waits for the back-end")
        status = procs.control(self.dir / "c", {"cmd": "status"})
        self.assertEqual([p["state"] for p in status["ports"][20:]], ["held"] * 10)
        for fe in fes[20:]:
            fe.close()
        self.assertEqual(proc.stop(), 0)

    @FILES
    def test_soft_limit_is_raised(self):
        ports = [x for n in range(40) for x in ("--port", f"p{n}={self.dir}/p{n}")]
        proc = self.session.start("proxy", ["prlimit", "--nofile=20:4096", rig.proxy_program(), "--link",
                                            self.dir / "link", *ports])
        proc.wait_line("^ready$")
        self.assertIsNone(proc.find_line("raise the hard limit"))

    def test_status(self):
        self.start(*self.args("--control", self.dir / "c", "--port", f"b={self.dir}/b,mode=client,hold=3"))
        status = procs.control(self.dir / "c", {"cmd": "status"})
        self.assertTrue(status["ok"])
        self.assertEqual([p["name"] for p in status["ports"]], ["a", "b"])
        self.assertEqual([p["mode"] for p in status["ports"]], ["server", "client"])
        self.assertEqual([p["hold_s"] for p in status["ports"]], [10, 3])
        self.assertEqual([p["state"] for p in status["ports"]], ["no VMM", "no VMM"])
        self.assertEqual((status["control_messages"], status["sessions_up"], status["backend_up_ns"]), (0, 0, None))
        for request in ({"cmd": "nope"}, {"cmd": 1}, {}, []):
            self.assertFalse(procs.control(self.dir / "c", request)["ok"])

    def test_control_clients_that_misbehave(self):
        self.start(*self.args("--control", self.dir / "c"))
        clients = []
        for _ in range(20):  # four too many
            client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            client.settimeout(procs.LIMIT)
            client.connect(str(self.dir / "c"))
            clients.append(client)
        for client in clients[16:]:
            self.assertEqual(client.recv(10), b"")
        clients[0].sendall(b"x" * 5000)
        with self.assertRaises((ConnectionResetError, BrokenPipeError)):
            if clients[0].recv(10) == b"":
                raise ConnectionResetError
        # One that never reads its replies does not make us store them without end.
        clients[1].setblocking(False)
        with self.assertRaises(BlockingIOError):
            while True:
                clients[1].send(b'{"cmd":"status"}\n' * 100)
        for client in clients:
            client.close()
        self.assertTrue(procs.control(self.dir / "c", {"cmd": "status"})["ok"])


if __name__ == "__main__":
    rig.main()
