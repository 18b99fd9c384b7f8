#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
Guests whose network cards have different offloads: whatever a receiver did not negotiate, the switch completes the
checksum and segments in software, and TCP data arrives intact.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import qemu, scenario

SETS = {
    "off-on": (qemu.NO_OFFLOADS, ""),
    "off-off": (qemu.NO_OFFLOADS, qemu.NO_OFFLOADS),
    "csum-on": ("gso=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,host_tso4=off,host_tso6=off", ""),
    "no-mrg": ("mrg_rxbuf=off", ""),
    "legacy": ("disable-modern=on,disable-legacy=off", ""),
}


def check(run):
    """Both directions of one pair."""
    run.path(2)
    a, b = run.two_guests({"props": SETS[run.word][0]}, {"props": SETS[run.word][1]})
    run.ping(a, 1, count=20, size=1400)
    run.transfer(a, b, 1, mib=8)
    run.transfer(b, a, 0, mib=8)
    errors = [g.run("grep -v -i -E 'ip:|^Udp' /proc/net/snmp | grep -E '^Tcp' | tail -n1 "
                    "| awk '{print $14}'").text for g in (a, b)]
    run.expect(errors == ["0", "0"], f"TCP segments with errors (InErrs): {errors}")


scenario.main(__doc__, check, choices=tuple(SETS))
