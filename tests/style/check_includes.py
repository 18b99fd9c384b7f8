#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Who may include whom: one rule per directory, the longest matching prefix decides.

  abi  <-  vq, proto  <-  gd, rt  <-  backend-vm          freestanding: the compiler's own headers only
  abi  <-  vq, proto  <-  vmm/hostlib  <-  vmm, vmm/cli, host-proxy, backend-vm/hosted

Includes by bare name ("internal.h") are of the same directory and always allowed. Also here: no assert() outside
tests/, where a peer could be the one who decides.
"""
import os
import re

import tree

FREESTANDING = r"<(stdint|stddef|stdbool|stdarg|limits)\.h>"
SHARED = r'"(abi|vq|proto)/[a-z0-9_]+\.h"'
GUEST = r'"(abi|vq|proto|gd|rt|drv)/[a-z0-9_]+\.h"'
SYSTEM = r"<[a-z0-9_/.-]+\.h>"

RULES = {
    "guest-driver/": [FREESTANDING, GUEST],
    "guest-driver/include/abi/": [FREESTANDING, r'"abi/[a-z0-9_]+\.h"'],
    "guest-driver/include/vq/": [FREESTANDING, SHARED],
    "guest-driver/include/proto/": [FREESTANDING, SHARED],
    "guest-driver/vq/": [FREESTANDING, SHARED],
    "guest-driver/proto/": [FREESTANDING, SHARED],
    "guest-driver/drv/": [FREESTANDING, r'"(abi|vq|proto|gd|drv)/[a-z0-9_]+\.h"'],
    "backend-vm/": [FREESTANDING, GUEST, r'"(core|vm)/[a-z0-9_]+\.h"'],
    "backend-vm/core/": [FREESTANDING, SHARED, r'"core/[a-z0-9_]+\.h"'],
    "backend-vm/hosted/": [SYSTEM, SHARED, r'"(core|hosted|vmm/hostlib)/[a-z0-9_]+\.h"'],
    "vmm/": [SYSTEM, SHARED, r'"vmm/(hostlib/)?[a-z0-9_]+\.h"'],
    "vmm/cli/": [SYSTEM, r'"vmm/(cli|hostlib)/[a-z0-9_]+\.h"'],
    "vmm/hostlib/": [SYSTEM, SHARED, r'"vmm/hostlib/[a-z0-9_]+\.h"'],
    "host-proxy/": [SYSTEM, SHARED, r'"(host-proxy|vmm/hostlib)/[a-z0-9_]+\.h"'],
}

# Single exceptions, each with its reason.
ALLOWED = {
    # The one header that stands in for libc's where there is none.
    ("guest-driver/include/abi/errno.h", "<errno.h>"),
}

INCLUDE = re.compile(r'^\s*#\s*include\s+([<"][^>"]+[>"])', re.M)
ASSERT = re.compile(r"(?<![_a-zA-Z])assert\s*\(")


def rule_of(path):
    best = max((prefix for prefix in RULES if path.startswith(prefix)), key=len, default=None)
    return RULES[best] if best else None


def check(path):
    text = tree.read(path)
    rules = rule_of(path)
    for match in INCLUDE.finditer(text):
        name = match.group(1)
        line = text.count("\n", 0, match.start()) + 1
        same_directory = name.startswith('"') and "/" not in name and os.path.exists(
            os.path.join(tree.ROOT, os.path.dirname(path), name[1:-1]))
        if same_directory or (path, name) in ALLOWED:
            continue
        if not any(re.fullmatch(rule, name) for rule in rules):
            yield f"{path}:{line}: may not include {name}"
    for number, line in enumerate(text.split("\n"), 1):
        if ASSERT.search(line) and "_Static_assert" not in line and not line.lstrip().startswith(("*", "/*", "//")):
            yield f"{path}:{number}: assert() outside tests/"


def main():
    files = [f for f in tree.files(".c", ".h", ".S") if rule_of(f)]
    tree.finish([problem for f in files for problem in check(f)], len(files))


if __name__ == "__main__":
    main()
