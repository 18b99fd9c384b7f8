#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""A guest reboots, by itself and by the reset button, and traffic goes on; the other guest notices nothing else."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import scenario


def check(run):
    """Reboot twice."""
    run.path(2)
    a, b = run.two_guests(a={"reboot": True})
    run.ping(b, 0, count=20)
    for how in ("by itself", "by the reset button"):
        boots = a.readies + 1
        if how == "by itself":
            a.begin("reboot -f")
        else:
            a.reset()
        a.wait_ready(boots=boots)
        run.note(f"{a.name} has rebooted {how}")
        run.reach(b, 0)
        run.ping(b, 0, count=20)
        run.transfer(b, a, 0, mib=4)
        run.transfer(a, b, 1, mib=4)


scenario.main(__doc__, check)
