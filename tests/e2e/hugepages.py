#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
Guest RAM on huge pages where the host has them; where it has not, one line names the remedy and the VM
runs all the same. Frames flow in both cases.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import backend, procs, scenario, testpmd
from proxy import test_hosted as hosted

MIB = 32
PAGE = 2 << 20


def free():
    """Free huge pages of the host."""
    return int((testpmd.HUGE / "free_hugepages").read_text(encoding="ascii"))


def hugetlb_kib(pid):
    """Huge pages that a process has mapped."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("HugetlbPages:"):
            return int(line.split()[1])
    raise procs.Failure("the kernel does not count huge pages")


def traffic(path):
    """A frame each way between two scripted front-ends."""
    guests = [hosted.Guest(hosted.FrontEnd.connect(path.socket(i))) for i in (0, 1)]
    try:
        for src, dst in ((0, 1), (1, 0)):
            guests[src].tx.send_frame(hosted.frame(src, dst, b"huge"))
            if guests[dst].rx.recv_frame() != hosted.frame(src, dst, b"huge"):
                raise procs.Failure(f"no frame from port {src} at port {dst}")
    finally:
        for guest in guests:
            guest.close()


def check(run):
    """Without, then with huge pages."""
    if not testpmd.HUGE.is_dir():
        raise scenario.Skip("the host has no huge pages of 2 MiB")
    lacking = (free() + 64) * 2
    path = backend.VmPath(run.session, 2, memory=f"{lacking}M", vmm_args=["--hugepages=2M"])
    path.wait_up()
    path.vmm.wait_line(r"warn: --hugepages: .*vm\.nr_hugepages")
    run.expect(path.status("vmm")["memory_page"] == 4096, "guest RAM is not of ordinary pages")
    traffic(path)
    path.vmm.stop()
    run.note("without huge pages: said so, frames flow")

    with testpmd.hugepages(MIB) as enough:
        if not enough:
            raise scenario.Skip("huge pages can't be reserved here (not root, or no memory); without them all is well")
        path.vmm_args = ["--hugepages=2M"]
        path.memory = f"{MIB}M"
        path.start_vmm()
        path.wait_up()
        run.expect(path.status("vmm")["memory_page"] == PAGE, "guest RAM is not of huge pages")
        kib = hugetlb_kib(path.vmm.pid)
        run.expect(kib == MIB << 10, f"{kib} KiB of huge pages in use")
        traffic(path)
        run.expect(path.vmm.stop() == 0, "vvu-vmm failed")
        run.note(f"with huge pages: {kib} KiB of them, frames flow")


if __name__ == "__main__":
    scenario.main(__doc__, check, needs=())
