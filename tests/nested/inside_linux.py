#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Run by linux.py inside the nested host: boots KERNEL with INITRD under vvu-vmm and judges what the guest says."""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import paths, procs

CMDLINE = "console=ttyS0 panic=-1 quiet mitigations=off hello=world"


def judge(output):
    """What is wrong with the guest's lines; empty: nothing."""
    wanted = {
        "the command line": r"LINUX cmdline .*hello=world",
        "kvmclock or the TSC as its clock": r"LINUX clock (kvm-clock|tsc)",
        "the host bridge": r"LINUX pci 0000:00:00\.0 ",
        "the first VVU device": r"LINUX pci 0000:00:01\.0 0x1af4 0x1075",
        "the second VVU device": r"LINUX pci 0000:00:01\.1 0x1af4 0x1075",
    }
    return [what for what, pattern in wanted.items() if not re.search(pattern, output)]


def main():
    """Entry point."""
    kernel, initrd = sys.argv[1:3]
    with procs.Session("linux") as session:
        link = session.dir / "no-proxy.sock"
        vmm = session.start("linux", [
            paths.program("vvu-vmm"), "--kernel", kernel, "--initrd", initrd, "--memory", "256M",
            "--cmdline", CMDLINE,
            "--vvu", f"link={link},port=p0", "--vvu", f"link={link},port=p1"])
        vmm.echo = True
        vmm.wait_line(r"LINUX restarts", 600)
        missing = judge(vmm.tail(1000))
        _, at = vmm.wait_line_at(r"guest: restarts", 600)
        vmm.wait_line(r"LINUX restarts", 600, after=at)
        status = vmm.stop()
        if missing or status != 0:
            print(f"FAIL: exit status {status}; the guest did not show: {', '.join(missing)}")
            return 1
    print("PASS inside_linux")
    return 0


if __name__ == "__main__":
    sys.exit(main())
