#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
The host has a front-end's memory again as soon as the front-end has ended, while proxy and back-end VM run on: neither has a
file of it open or mapped, and Shmem (memfd) or HugePages_Free (huge) of /proc/meminfo return to their old values.
"""

import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import procs, scenario, testpmd

MIB = 192
ROUNDS = 2
SLACK_KIB = 16 << 10  # what others on the host take and give back meanwhile
FILE = "memory-backend-memfd"


def meminfo(key):
    """A value of /proc/meminfo."""
    with open("/proc/meminfo", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith(key + ":"))


def free_kib(word):
    """Memory of that kind that is not in use, up to a constant."""
    if word == "memfd":
        return -meminfo("Shmem")
    return int((testpmd.HUGE / "free_hugepages").read_text(encoding="ascii")) << 11


def held(path):
    """What proxy and VMM have of it."""
    return path.proxy.holds(FILE) + path.vmm.holds(FILE)


def one_round(run, path, number):
    """Two guests come, talk, and are killed."""
    props = ",prealloc=on" + (",hugetlb=on,hugetlbsize=2M" if run.word == "huge" else "")
    before = free_kib(run.word)
    how = {"memory": f"{MIB}M", "memory_props": props}
    guests = [run.guest(i, name=f"guest-{number}-{i}", wait=False, **how) for i in (0, 1)]
    for guest in guests:
        guest.wait_ready()
    run.reach(guests[0], 1)
    run.ping(guests[0], 1, count=20)
    taken = before - free_kib(run.word)
    run.expect(taken > (2 * MIB << 10) - 2 * SLACK_KIB, f"the guests have taken {taken} KiB only")
    run.expect(len(held(path)) >= 4, "proxy and VMM are not seen to hold memory")
    for guest in guests:
        guest.kill()
    since = time.monotonic()
    procs.wait_until(lambda: not held(path), "proxy and VMM hold nothing any more", interval=0.002)
    let_go = time.monotonic() - since
    procs.wait_until(lambda: free_kib(run.word) >= before - SLACK_KIB, "the host has its memory again", 60, 0.002)
    run.note(f"{taken >> 10} MiB taken; after the kill: let go within {let_go * 1000:.0f} ms, free within "
             f"{(time.monotonic() - since) * 1000:.0f} ms ({free_kib(run.word) - before:+d} KiB)")


def check(run):
    """More than once."""
    if run.kind != "vm":
        raise scenario.Skip("only with a proxy")
    path = run.path(2)
    with testpmd.hugepages(2 * MIB if run.word == "huge" else 0) as enough:
        if not enough:
            raise scenario.Skip("huge pages can't be reserved here (not root, or no memory)")
        for number in range(ROUNDS):
            one_round(run, path, number)


if __name__ == "__main__":
    scenario.main(__doc__, check, choices=("memfd", "huge"))
