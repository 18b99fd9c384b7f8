#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Compiles one fuzz target with clang, whatever compiler the rest of the build uses.

usage: build_fuzzer.py [--cover] CLANG OUTPUT DEPFILE [CFLAG ...] -- SOURCE ... [-- LINKFLAG ...]

Every source is instrumented: for the fuzzer, with ASan and UBSan; with --cover, for coverage.py. The dependency files of
all sources are joined into DEPFILE for ninja.
"""
import os
import subprocess
import sys

SANITIZE = ["-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"]
COVER = ["-fsanitize=fuzzer", "-fprofile-instr-generate", "-fcoverage-mapping"]


def main(argv):
    instrument = SANITIZE
    if argv[0] == "--cover":
        instrument = COVER
        argv = argv[1:]
    clang, output, depfile = argv[:3]
    rest = argv[3:]
    cut = rest.index("--")
    cflags, rest = rest[:cut], rest[cut + 1:]
    cut = rest.index("--") if "--" in rest else len(rest)
    sources, link_flags = rest[:cut], rest[cut + 1:]

    objects_dir = output + ".p"
    os.makedirs(objects_dir, exist_ok=True)
    objects, deps = [], []
    for source in sources:
        stem = os.path.join(objects_dir, source.strip("./").replace("/", "_"))
        obj, dep = stem + ".o", stem + ".d"
        command = [clang, *instrument, "-g", "-O1", *cflags, "-MD", "-MQ", output, "-MF", dep,
                   "-c", source, "-o", obj]
        if subprocess.run(command).returncode:
            return 1
        objects.append(obj)
        with open(dep, encoding="utf-8") as f:
            deps.append(f.read().split(":", 1)[1].replace("\\\n", " ").strip())
    with open(depfile, "w", encoding="utf-8") as f:
        f.write(f"{output}: {' '.join(deps)}\n")
    return subprocess.run([clang, *instrument, *objects, *link_flags, "-o", output]).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
