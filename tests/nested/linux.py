#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
Linux under vvu-vmm: Debian's kernel as a bzImage with an initramfs and two VVU devices, on nested SVM (where a stock
kernel can run). It boots twice: the first time it restarts itself. inside_linux.py judges what it says.
"""

import pathlib
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import guestimage, procs, scenario
from lib.procs import Failure
import nested

INIT = r"""#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
echo "LINUX cmdline $(cat /proc/cmdline)"
echo "LINUX clock $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
for d in /sys/bus/pci/devices/*; do
	echo "LINUX pci ${d##*/} $(cat $d/vendor) $(cat $d/device)"
done
echo "LINUX restarts"
reboot -f
"""


def main():
    """Entry point."""
    procs.die_on_signals()
    if not shutil.which("qemu-system-x86_64"):
        print("skip: qemu-system-x86_64 is missing (Debian package qemu-system-x86)")
        return scenario.SKIP
    try:
        kernel = guestimage.kernel(print)
        initrd = guestimage.store_initrd("nested-linux", guestimage.base_entries(INIT))
        script = pathlib.Path(__file__).resolve().parent / "inside_linux.py"
        return nested.run(script, [str(kernel.image), str(initrd)], 2000,
                          files=[kernel.image, initrd])
    except Failure as error:
        print(f"FAIL nested-linux: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
