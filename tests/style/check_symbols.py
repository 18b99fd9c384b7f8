#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Symbols of guest code.

usage: check_symbols.py library GD_GUEST_LIBRARY
       check_symbols.py image ELF ...

The library may lack only the memory functions that compilers call by themselves. An image lacks nothing, and contains
nothing of sanitizers, stack protectors or coverage, whatever the host side was built with.
"""
import re
import subprocess
import sys

import tree

ALLOWED = {"memcpy", "memmove", "memset", "memcmp"}
INSTRUMENTED = re.compile(r"__(asan|ubsan|tsan|msan|sanitizer|lsan|gcov|llvm_profile|llvm_gcov|stack_chk|cyg_profile|mcount)|^mcount$")
# Every symbol others can see carries the prefix of its module.
PREFIXES = ("vq_", "memmap_", "vu_", "gd_", "pci_")


def nm(*args):
    out = subprocess.run(["nm", *args], capture_output=True, text=True, check=True).stdout
    return [line.split() for line in out.splitlines() if line.strip() and not line.endswith(":")]


def library(path):
    defined = {row[-1] for row in nm("--defined-only", "--extern-only", path)}
    undefined = {row[-1] for row in nm("--undefined-only", path)}
    yield from (f"{path}: needs {name}" for name in sorted(undefined - defined - ALLOWED))
    yield from (f"{path}: {name} has no module's prefix" for name in sorted(defined) if not name.startswith(PREFIXES))


def image(path):
    yield from (f"{path}: undefined {row[-1]}" for row in nm("--undefined-only", path))
    yield from (f"{path}: instrumented: {row[-1]}" for row in nm(path) if INSTRUMENTED.search(row[-1]))


def main(argv):
    check = {"library": library, "image": image}[argv[0]]
    tree.finish([problem for path in argv[1:] for problem in check(path)], len(argv) - 1)


if __name__ == "__main__":
    main(sys.argv[1:])
