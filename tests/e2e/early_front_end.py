#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Front-ends that come before the back-end VM are held and served as soon as it is up."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import backend, scenario


def check(run):
    """Guests first, VM second."""
    if run.kind != "vm":
        raise scenario.Skip("only with a back-end VM")
    path = run.the_path = backend.VmPath(run.session, 2, hold=120, vmm=False)
    guests = [run.guest(0, wait=False), run.guest(1, wait=False)]
    for name in ("p0", "p1"):
        path.proxy.wait_line(rf"port {name}: front-end .* waits", 60)
    run.note("both front-ends are connected, no back-end VM yet")
    path.start_vmm()
    path.wait_up()
    for guest in guests:
        guest.wait_ready()
    run.reach(guests[0], 1)
    run.ping(guests[0], 1, count=20)
    run.transfer(guests[0], guests[1], 1, mib=4)


scenario.main(__doc__, check)
