#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Every public header of guest-driver/ compiles alone, hosted and freestanding, with gcc and clang; twice in a row as well.

Every other header of the tree compiles alone hosted, as it is used.
"""
import os
import shutil
import subprocess
import sys
import tempfile

import tree

PUBLIC = "guest-driver/include/"
WARNINGS = ["-std=gnu17", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-Wno-unused-function",
            "-fsyntax-only"]
PLACES = ["-I" + os.path.join(tree.ROOT, d) for d in ("guest-driver/include", "guest-driver", "backend-vm", ".")]
WORLDS = {
    "hosted": ["-D_GNU_SOURCE"],
    "freestanding": ["-ffreestanding", "-DVVU_FREESTANDING=1", "-mno-red-zone", "-march=x86-64-v2"],
}


def compile_alone(compiler, header, world, folder):
    source = os.path.join(folder, "alone.c")
    full = os.path.join(tree.ROOT, header)
    with open(source, "w", encoding="utf-8") as f:
        f.write(f'#include "{full}"\n#include "{full}"\nint used;\n')
    return subprocess.run([compiler, *WARNINGS, *PLACES, *WORLDS[world], source], capture_output=True, text=True)


def main():
    compilers = [c for c in ("gcc", "clang") if shutil.which(c)] or ["cc"]
    problems, checked = [], 0
    with tempfile.TemporaryDirectory() as folder:
        for header in tree.files(".h"):
            public = header.startswith(PUBLIC)
            if header.startswith("tests/") or (header.startswith("guest-driver/") and not public):
                continue
            for compiler in compilers if public else compilers[:1]:
                for world in WORLDS if public else ["hosted"]:
                    run = compile_alone(compiler, header, world, folder)
                    checked += 1
                    if run.returncode:
                        problems.append(f"{header}: {compiler}, {world}:\n{run.stderr[:1500]}")
    tree.finish(problems, checked)


if __name__ == "__main__":
    main()
