#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Who may be a port's front-end: uid= and gid= of --port, in both modes."""

import contextlib
import os
import pathlib
import socket
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from lib import procs  # noqa: E402
from proxy import rig  # noqa: E402
from proxy.frontend import FrontEnd  # noqa: E402
from proxy.vmm_link import Link  # noqa: E402

ALICE, BOB, STAFF, GUESTS = 12001, 12002, 12100, 12200
LISTS = ":".join(str(n) for n in range(14))
RULES = {
    "open": "",
    "user": f",uid={ALICE}",
    "users": f",uid={LISTS}:{ALICE},uid={BOB}",
    "group": f",gid={STAFF}",
    "both": f",uid={ALICE}:{BOB},gid={STAFF}",
}


@contextlib.contextmanager
def somebody(uid, gid):
    """What connects or listens meanwhile does so as this user: the kernel notes the effective IDs."""
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@unittest.skipUnless(os.geteuid() == 0, "needs root to become other users")
class Access(unittest.TestCase):
    """A proxy for each test, since lines about a port are limited to ten a second; a port for each rule."""

    def setUp(self):
        self.session = procs.Session("proxy")
        self.session.__enter__()
        self.addCleanup(self.session.__exit__, None, None, None)
        # Permissions let everybody in, so that only the rule keeps anybody out.
        os.chmod(self.session.dir, 0o777)
        mask = os.umask(0)
        specs = [f"{name}={self.session.dir}/{name}{rule}" for name, rule in RULES.items()]
        specs += [f"client={self.session.dir}/client,mode=client,uid={ALICE}"]
        self.proxy = rig.Proxy(self.session, ports=0, specs=specs)
        os.umask(mask)
        self.addCleanup(self.proxy.close)
        self.names = [*RULES, "client"]

    def status(self, port):
        """Status of a port, by name."""
        return self.proxy.port(self.names.index(port))

    def connect(self, port, uid, gid):
        """A front-end of that user."""
        with somebody(uid, gid):
            fe = FrontEnd.connect(self.session.dir / port)
        self.addCleanup(fe.close)
        return fe

    def admitted(self, port, uid, gid):
        """It gets in, and is held until a back-end comes."""
        fe = self.connect(port, uid, gid)
        procs.wait_until(lambda: self.status(port)["state"] == "held", "front-end held")
        self.assertEqual(self.status(port)["front_end"]["uid"], uid)
        fe.close()
        procs.wait_until(lambda: self.status(port)["state"] == "no VMM", "front-end gone")

    def refused(self, port, uid, gid, rule):
        """It is closed at once, with one line and one count."""
        before, mark = self.status(port)["denied"], self.proxy.proc.mark()
        fe = self.connect(port, uid, gid)
        self.assertEqual(fe.wait_closed(), [])
        self.proxy.proc.wait_line(rf"port {port}: front-end refused: pid {os.getpid()} of uid {uid} "
                                  rf"and gid {gid}, the port is for {rule}$", 10, mark)
        status = self.status(port)
        self.assertEqual((status["denied"], status["state"]), (before + 1, "no VMM"))

    def test_no_rule(self):
        self.admitted("open", ALICE, GUESTS)
        self.admitted("open", BOB, STAFF)

    def test_user(self):
        self.admitted("user", ALICE, GUESTS)
        self.refused("user", BOB, GUESTS, f"uid={ALICE}")
        # Not even root, nor who has the number as group.
        self.refused("user", 0, 0, f"uid={ALICE}")
        self.refused("user", BOB, ALICE, f"uid={ALICE}")
        self.admitted("user", ALICE, STAFF)

    def test_list(self):
        self.admitted("users", ALICE, GUESTS)
        self.admitted("users", BOB, GUESTS)
        self.admitted("users", 13, GUESTS)
        self.refused("users", 14, GUESTS, f"uid={LISTS}:{ALICE}:{BOB}")

    def test_group(self):
        self.admitted("group", BOB, STAFF)
        self.refused("group", BOB, GUESTS, f"gid={STAFF}")

    def test_both_must_hold(self):
        self.admitted("both", BOB, STAFF)
        self.refused("both", ALICE, GUESTS, f"gid={STAFF}")
        self.refused("both", 14, STAFF, f"uid={ALICE}:{BOB}")

    def test_a_refused_one_does_not_disturb_a_session(self):
        fe = self.connect("user", ALICE, GUESTS)
        link = Link.open(self.proxy.link, "user")
        link.session_up()
        stranger = self.connect("user", BOB, GUESTS)
        self.assertEqual(stranger.wait_closed(), [])
        fe.send("GET_FEATURES")
        link.serve("GET_FEATURES")
        self.assertIsNotNone(fe.recv())
        fe.close()
        link.close()
        procs.wait_until(lambda: self.status("user")["state"] == "no VMM", "all gone")

    def listen(self, uid):
        """A front-end of that user that the proxy connects to."""
        path = self.session.dir / "client"
        path.unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.addCleanup(sock.close)
        sock.settimeout(60)
        with somebody(uid, GUESTS):
            sock.bind(str(path))
            os.chmod(path, 0o666)
            sock.listen()
        return sock

    def test_client_mode(self):
        mark = self.proxy.proc.mark()
        listener = self.listen(BOB)
        link = Link.open(self.proxy.link, "client")
        self.addCleanup(link.close)
        wrong = FrontEnd(listener.accept()[0])
        self.addCleanup(wrong.close)
        self.assertEqual(wrong.wait_closed(), [])
        self.proxy.proc.wait_line(rf"port client: front-end refused: pid {os.getpid()} of uid {BOB} "
                                  rf"and gid {GUESTS}, the port is for uid={ALICE}$", 60, mark)
        self.assertGreaterEqual(self.status("client")["denied"], 1)
        # It goes on trying, as when nobody listens there.
        listener.close()
        fe = FrontEnd(self.listen(ALICE).accept()[0])
        self.addCleanup(fe.close)
        link.session_up()
        fe.send("GET_FEATURES")
        link.serve("GET_FEATURES")
        self.assertIsNotNone(fe.recv())


if __name__ == "__main__":
    rig.main()
