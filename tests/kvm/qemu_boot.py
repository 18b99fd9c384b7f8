#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
A test guest in QEMU instead of vvu-vmm: the image is a PVH kernel like any other, whoever starts it.

    qemu_boot.py MACHINE[:CPUS] GUEST [CMDLINE]      in the build directory $VVU_BUILD

Needs qemu-system-x86_64, no KVM. Exit status 0, 1, 77 as run.py.
"""

import os
import pathlib
import shutil
import subprocess
import sys

LIMIT = 240  # seconds; against hanging


def main():
    machine, guest = sys.argv[1:3]
    machine, _, cpus = machine.partition(":")
    cmdline = " ".join(sys.argv[3:])
    if not shutil.which("qemu-system-x86_64"):
        print("SKIP: qemu-system-x86_64 is missing")
        return 77
    build = pathlib.Path(os.environ.get("VVU_BUILD", "build"))
    image = build / "tests" / "guests" / f"{guest}.elf"
    argv = ["qemu-system-x86_64", "-accel", "tcg", "-M", machine, "-smp", cpus or "1", "-cpu", "max", "-m", "64", "-nodefaults",
            "-nographic", "-serial", "stdio", "-no-reboot", "-kernel", str(image), "-append", cmdline]
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT, check=False)
        out, status = done.stdout + done.stderr, done.returncode
    except subprocess.TimeoutExpired as error:
        out, status = (error.stdout or b"").decode(errors="replace"), f"still running after {LIMIT} s"
    if status == 0 and "VERDICT PASS" in out:
        return 0
    print(out)
    print("$ " + " ".join(argv))
    print(f"status {status}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
