# SPDX-License-Identifier: BSD-2-Clause
"""
What a process has of the host: files, mappings, memory. Two footprints taken in the same state are compared by growth().

    before = footprint.of(pid)
    ...
    footprint.growth(before, footprint.of(pid))     # [] or lines such as "fd anon_inode:[eventfd]: 3, was 2"
"""

import collections
import os
import re

KEYS = {"VmData": "data_kib", "RssAnon": "anon_kib", "RssShmem": "shared_kib"}


def fds(pid):
    """Its open files by kind: the name without numbers."""
    kinds = collections.Counter()
    for entry in os.scandir(f"/proc/{pid}/fd"):
        try:
            name = os.readlink(entry.path)
        except FileNotFoundError:
            continue
        kinds["fd " + re.sub(r":\[\d+\]$", "", name)] += 1
    return kinds


def of(pid):
    """{what: how much} of a process of ours; exact counts, and memory in KiB."""
    found = dict(fds(pid))
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as maps:
        found["mappings"] = sum(1 for _ in maps)
    found["threads"] = len(os.listdir(f"/proc/{pid}/task"))
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
        for line in status:
            key, _, value = line.partition(":")
            if key in KEYS:
                found[KEYS[key]] = int(value.split()[0])
    return found


def growth(before, after):
    """What there is more of."""
    return [f"{key}: {value}, was {before.get(key, 0)}" for key, value in sorted(after.items()) if value > before.get(key, 0)]
