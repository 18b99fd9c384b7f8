#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The appliance boots on a machine that is not ours (QEMU, PVH), finds no device of ours, says so and powers off."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import paths, scenario


def check(run):
    """Two machine types, and a processor that is too old."""
    def boot(name, *words):
        return run.session.start(name, ["qemu-system-x86_64", *words, "-m", "64", "-nodefaults",
                                        "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
                                        "-kernel", paths.program("appliance.elf")])
    for machine in ("q35", "microvm"):
        qemu = boot(f"qemu-{machine}", "-M", f"{machine},accel=tcg", "-cpu", "max")
        qemu.wait_line("no virtio-vhost-user device found", 60)
        status = qemu.wait(60)
        run.note(f"{machine}: says so, and ends with {status}")
        run.expect(status == 0, f"{machine}: exit status {status}:\n{qemu.tail()}")
    old = boot("qemu-old", "-M", "q35,accel=tcg", "-cpu", "qemu64")
    old.wait_line("x86-64-v2", 60)
    run.note("an old processor is refused by name")


scenario.main(__doc__, check)
