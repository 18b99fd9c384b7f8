#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
The back-end VM is killed while two guests talk. The proxy and the guests live on; a front-end that reconnects is held until the
next back-end VM is there, and traffic goes on.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import scenario


def check(run):
    """Kill vvu-vmm, start another."""
    if run.kind != "vm":
        raise scenario.Skip("only with a back-end VM")
    path = run.path(2)
    a, b = run.two_guests({"reconnect": 1}, {"reconnect": 1})
    run.ping(a, 1, count=20)
    path.vmm.kill()
    run.note("back-end VM killed")
    path.start_vmm()
    path.wait_up()
    run.note(f"another one up after {path.boot_ms:.0f} ms")
    run.reach(a, 1)
    run.ping(a, 1, count=20)
    run.transfer(a, b, 1, mib=4)
    run.transfer(b, a, 0, mib=4)


scenario.main(__doc__, check)
