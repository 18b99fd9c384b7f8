#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
The proxy is killed while two guests talk. Nobody notices: frames pass without a proxy, and the next one goes on with the sessions
that the VMM has kept.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import procs, scenario


def sessions(path, program):
    """Session numbers, by port."""
    status = path.status(program)
    if program == "vmm":
        return [port["session"] for port in status["devices"].values()]
    return [port["front_end"] and port["front_end"]["session"] for port in status["ports"]]


def check(run):
    """Kill vvu-proxy, start another."""
    if run.kind != "vm":
        raise scenario.Skip("only with a proxy")
    path = run.path(2)
    a, b = run.two_guests({"reconnect": 1}, {"reconnect": 1})
    run.ping(a, 1, count=20)
    before = sessions(path, "proxy")
    path.proxy.kill()
    run.ping(a, 1, count=20)
    run.transfer(a, b, 1, mib=4)
    run.expect(sessions(path, "vmm") == before, "the VMM has other sessions without a proxy")
    run.note("proxy killed, traffic goes on without one")
    path.start_proxy()
    path.proxy_mark = 0
    path.wait_up()
    procs.wait_until(lambda: path.status("proxy")["sessions_up"] == 2, "both sessions are up again")
    run.expect(sessions(path, "proxy") == before, "the next proxy has other sessions")
    run.note("the next proxy has both sessions")
    run.ping(a, 1, count=20)
    run.transfer(a, b, 1, mib=4)
    run.transfer(b, a, 0, mib=4)
    run.expect(path.vmm.running(), "the back-end VM has ended")


scenario.main(__doc__, check)
