#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
Jumbo frames: an MTU of 9000 on both guests, unfragmented, set by the guests themselves or by the device (VIRTIO_NET_F_MTU and
NET_SET_MTU); and after that 1500 again.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import scenario


def check(run):
    """Pings that need the whole MTU, then bulk data."""
    run.path(2)
    how = {"guest": {"mtu": 9000}, "device": {"props": "host_mtu=9000"}}[run.word]
    a, b = run.two_guests(dict(how), dict(how))
    for guest in (a, b):
        mtu = guest.run("cat /sys/class/net/eth0/mtu").text
        run.expect(mtu == "9000", f"{guest.name}: MTU {mtu}")
    run.ping(a, 1, count=20, size=8972)
    run.ping(b, 0, count=20, size=8972)
    run.transfer(a, b, 1, mib=8)
    for guest in (a, b):
        guest.run("ip link set eth0 mtu 1500")
    run.ping(a, 1, count=20, size=1472)
    run.transfer(b, a, 0, mib=8)


scenario.main(__doc__, check, choices=("guest", "device"))
