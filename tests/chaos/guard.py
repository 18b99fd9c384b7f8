#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
Ends what `vvu replace` has started when whoever started us has ended, even if by SIGKILL.

    guard.py DIRECTORY

A VMM that was put in place is nobody's child, and is to outlive the command that started it, so the kernel does not kill it for
us. Standard input is a pipe: when it closes, every `vvu` and `vvu-vmm` with a path under the directory in its arguments is killed,
until there is none left.
"""

import os
import pathlib
import signal
import sys
import time

NAMES = ("vvu", "vvu-vmm")


def arguments(pid):
    """Of a process; none of one that has ended."""
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        return [""]


def left(directory):
    """Process IDs of those that are to end, first those that would start others."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        argv = arguments(pid)
        name = os.path.basename(argv[0])
        if name in NAMES and any(f"{directory}/" in argument for argument in argv):
            found.append((NAMES.index(name), int(pid)))
    return [pid for _, pid in sorted(found)]


def main():
    """Entry point."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    while pids := left(sys.argv[1]):
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.01)


if __name__ == "__main__":
    main()
