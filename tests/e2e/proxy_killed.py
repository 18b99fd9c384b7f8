#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
The proxy is killed while two guests talk. The back-end VM lives on and shows no front-end's memory any more; it links to the
next proxy, the front-ends reconnect, and traffic goes on.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import scenario


def check(run):
    """Kill vvu-proxy, start another."""
    if run.kind != "vm":
        raise scenario.Skip("only with a proxy")
    path = run.path(2)
    a, b = run.two_guests({"reconnect": 1}, {"reconnect": 1})
    run.ping(a, 1, count=20)
    mark = path.vmm.mark()
    path.proxy.kill()
    for _ in range(path.count):
        _, mark = path.vmm.wait_line_at(r"session \d+ ended", 30, mark)
    shown = [port["session"] for port in path.status("vmm")["devices"].values()]
    run.expect(shown == [0, 0], f"sessions {shown} live on without a proxy")
    run.note("proxy killed, both sessions over, the back-end VM is there")
    path.start_proxy()
    path.proxy_mark = 0
    path.wait_up()
    run.note("the back-end VM has linked to the next proxy")
    run.reach(a, 1)
    run.ping(a, 1, count=20)
    run.transfer(a, b, 1, mib=4)
    run.transfer(b, a, 0, mib=4)
    run.expect(path.vmm.running(), "the back-end VM has ended")


scenario.main(__doc__, check)
