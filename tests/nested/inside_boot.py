#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Run by nested.py inside the guest: /dev/kvm is real SVM, and vvu-vmm boots the appliance on it."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import paths, platforms, procs


def main():
    """The appliance without devices. (The kvm suite's guests are nested-kvm's.)"""
    print("platform inside:", platforms.platform(), flush=True)
    if platforms.platform() not in ("kvm-nested", "kvm-hardware"):
        print("FAIL: no hardware virtualisation inside the guest")
        return 1
    with procs.Session("boot") as session:
        image = paths.program("appliance.elf")
        vmm = session.start(image.stem, [paths.program("vvu-vmm"), "--kernel", image])
        vmm.wait_line("no virtio-vhost-user device", 300)
        status = vmm.wait(300)
        print(f"{image.name}: exit status {status}; its output:\n{vmm.tail()}", flush=True)
        if status != 0:
            return 1
    print("PASS inside_boot")
    return 0


if __name__ == "__main__":
    sys.exit(main())
