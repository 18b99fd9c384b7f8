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
from lib import backend, qemu, scenario

SETS = {
    "off-on": (qemu.NO_OFFLOADS, ""),
    "off-off": (qemu.NO_OFFLOADS, qemu.NO_OFFLOADS),
    "csum-on": ("gso=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,host_tso4=off,host_tso6=off", ""),
    "no-mrg": ("mrg_rxbuf=off", ""),
    "legacy": ("disable-modern=on,disable-legacy=off", ""),
}


def check(run):
    """Both directions of one pair."""
    path = run.path(2)
    a, b = run.two_guests({"props": SETS[run.word][0]}, {"props": SETS[run.word][1]})
    run.ping(a, 1, count=20, size=1400)
    run.transfer(a, b, 1, mib=8)
    run.transfer(b, a, 0, mib=8)
    errors = [g.run("awk '/^Tcp: [0-9]/ { print $14 }' /proc/net/snmp").text for g in (a, b)]
    run.expect(errors == ["0", "0"], f"TCP segments with errors (InErrs): {errors}")
    if run.kind != "testpmd":
        software_work(run, path.counters())
    if run.word == "legacy":
        # Bit 32 of the negotiated features, lowest first.
        modern = a.run("cut -c33 /sys/bus/virtio/devices/virtio0/features").text
        run.expect(modern == "0", f"the guest has negotiated VERSION_1: {modern}")


def software_work(run, counters):
    """The switch did in software what port p0 had not negotiated, and nothing else."""
    cut = backend.port_counter(counters, 0, "tx_super_frames_cut")
    sums = backend.port_counter(counters, 0, "tx_csum_completed")
    segments = backend.port_counter(counters, 0, "tx_segments")
    run.note(f"towards port p0: {cut} super-frames cut into "
             f"{segments} segments, {sums} checksums completed")
    if run.word in ("off-on", "csum-on"):
        run.expect(cut, "no super-frame was cut for a guest without TSO")
    if run.word == "off-on":
        run.expect(sums, "no checksum was completed for a guest without GUEST_CSUM")
    if run.word == "off-off":
        run.expect(not cut and not sums, "work was done for guests that asked for none")


scenario.main(__doc__, check, choices=tuple(SETS))
