# SPDX-License-Identifier: BSD-2-Clause
"""
What system calls the programs make once they are confined, as strace sees it.

A build directory in which each program is a small script that runs the real one under strace; whatever scenario is run
with it (VVU_BUILD) leaves traces. A thread's calls count from the one that installs its filter. A program's first thread is
its main thread; those that install a filter of their own are of its other kind.
"""

import os
import pathlib
import re
import shlex
import shutil

PROGRAMS = {
    "vvu-vmm": "vmm/vvu-vmm",
    "vvu-proxy": "host-proxy/vvu-proxy",
    "vvu-backend": "backend-vm/vvu-backend",
}
LINKED = ("backend-vm/appliance.elf", "tests")
LINE = re.compile(r"^(\d+) +(\w+)\(([^)]*)")
NUMBER = re.compile(r"^(0x[0-9a-f]+|-?\d+)$")


def make_build(real, build, traces, options=()):
    """A build directory `build` like `real`, whose programs leave their traces in `traces`."""
    for name, path in PROGRAMS.items():
        script = build / path
        script.parent.mkdir(parents=True, exist_ok=True)
        # -D: the program stays the child of whoever started it, with the same number.
        argv = ["strace", "-D", "-f", "-e", "raw=all", "-e", "signal=none", "-o"]
        script.write_text("#!/bin/sh\nexec " + shlex.join(argv) + f" {shlex.quote(str(traces))}/{name}.$$ "
                          + shlex.join([str(real / path), *options]) + ' "$@"\n', encoding="utf-8")
        script.chmod(0o755)
    for path in LINKED:
        (build / path).parent.mkdir(parents=True, exist_ok=True)
        os.symlink(real / path, build / path)


def missing():
    """Why nothing can be traced here, or None."""
    if not shutil.which("strace"):
        return "strace is not installed"
    return None


def _calls(path):
    """(first thread, [(thread, call, arguments)]) of one trace."""
    first = None
    calls = []
    with open(path, encoding="utf-8", errors="replace") as f:
        for line in f:
            match = LINE.match(line)
            if not match:
                continue
            tid, name, rest = match.groups()
            first = first or tid
            words = [w.strip().split(" ")[0] for w in rest.split(",")]
            calls.append((tid, name, tuple(int(w, 0) for w in words if NUMBER.match(w))))
    return first, calls


def confined_calls(traces, program):
    """{(list, call, arguments)} of all traces of a program; list 0 is the main thread's."""
    found = set()
    for path in pathlib.Path(traces).glob(f"{program}.*"):
        first, calls = _calls(path)
        confined = set()
        for tid, name, args in calls:
            # SECCOMP_SET_MODE_FILTER of a filter that is there; libseccomp tries it without one, too.
            if name == "seccomp" and args[0] == 1 and args[2]:
                confined.add(tid)
            elif tid in confined:
                found.add((0 if tid == first else 1, name, args))
    return found
