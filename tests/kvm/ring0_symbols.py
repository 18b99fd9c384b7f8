#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
Ring 0 of the runtime must not call code of ring 3: that uses SSE, which ring 0 may not, and the compiler inserts calls
(memcpy, memset) on its own. So the objects of ring 0 may need nothing but each other and the data named here.

    ring0_symbols.py librt_ring0.a
"""

import shutil
import subprocess
import sys

# Ring 3's memory that ring 0 writes, and the places where it enters ring 3.
ALLOWED = {"rt_boot", "rt_cpus", "rt_start3", "rt_cpu_start3", "rt_fault_entry", "rt_image_end"}


def main():
    if not shutil.which("nm"):
        print("SKIP: nm (binutils) is missing")
        return 77
    out = subprocess.run(["nm", "--format=posix", sys.argv[1]], check=True, capture_output=True, text=True).stdout
    defined, needed = set(), set()
    for line in out.splitlines():
        words = line.split()
        if len(words) < 2 or line.endswith(":"):
            continue
        (needed if words[1] == "U" else defined).add(words[0])
    if "ring0_main" not in defined:
        print(f"{sys.argv[1]}: is not ring 0")
        return 1
    foreign = sorted(needed - defined - ALLOWED)
    for name in foreign:
        print(f"ring 0 needs {name}, which is ring 3's")
    return 1 if foreign else 0


if __name__ == "__main__":
    sys.exit(main())
