#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""A QEMU is killed in the middle of a transfer and started again on the same port; the other guest goes on."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import scenario


def check(run):
    """Kill, start, compare."""
    run.path(2)
    a, b = run.two_guests()
    run.transfer(a, b, 1, mib=4)
    sink = b.begin("nc -l -p 7000 >/dev/null")
    b.run("until grep -q ':1B58 0*:0000 0A' /proc/net/tcp /proc/net/tcp6; do usleep 10000; done")
    a.begin("nc 10.9.0.2 7000 </dev/zero")
    b.run("until [ $(cat /sys/class/net/eth0/statistics/rx_bytes) -gt 8000000 ]; do usleep 10000; done")
    a.kill()
    run.note(f"{a.name} killed in mid-transfer")
    run.expect(sink.status is None, "the transfer was over before the kill")
    b.run("killall nc", check=False)
    b.run("true")
    again = run.guest(0, name="guest-a-again")
    run.reach(b, 0)
    run.ping(b, 0)
    run.transfer(again, b, 1, mib=4)
    run.transfer(b, again, 0, mib=4)


scenario.main(__doc__, check)
