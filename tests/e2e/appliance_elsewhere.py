#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The appliance boots on a machine that is not ours (QEMU, PVH), finds no device of ours, says so and powers off."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import paths, scenario


def check(run):
    """Three machine types, the newest processor QEMU has and the plainest."""
    def boot(name, *words):
        return run.session.start(name, ["qemu-system-x86_64", *words, "-m", "64", "-nodefaults",
                                        "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
                                        "-kernel", paths.program("appliance.elf")])
    for machine, cpu in (("q35", "max"), ("microvm", "max"), ("pc", "qemu64")):
        qemu = boot(f"qemu-{machine}", "-M", f"{machine},accel=tcg", "-cpu", cpu)
        qemu.wait_line("no virtio-vhost-user device found", 60)
        status = qemu.wait(60)
        run.note(f"{machine}, {cpu}: says so, and ends with {status}")
        run.expect(status == 0, f"{machine}, {cpu}: exit status {status}:\n{qemu.tail()}")


scenario.main(__doc__, check)
