#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Static analysis of what the build compiles.

usage: check_static.py tidy|cppcheck BUILD_DIRECTORY [FILE ...]

tidy: clang-tidy with the checks of .clang-tidy, on each source of compile_commands.json once. cppcheck: the same sources.
Unit tests and fuzzers are left out: they hold their sources' mistakes up to more than a linter.
"""
import concurrent.futures
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

import tree

# Flags clang does not know, and instrumentation that only slows the analysis.
DROP = re.compile(r"-fno-tree-loop-distribute-patterns|-fsanitize=.*|-fno-sanitize-recover=.*|-Winvalid-pch|-Wno-error.*")


def commands(build):
    """The compile commands, one per source file of the tree, tests left out."""
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as f:
        entries = json.load(f)
    seen = {}
    for entry in entries:
        path = os.path.relpath(os.path.join(entry["directory"], entry["file"]), tree.ROOT)
        wanted = path.endswith(".c") and not path.startswith(("tests/", ".."))
        if wanted and path not in seen and os.path.exists(os.path.join(tree.ROOT, path)):
            words = [w for w in entry["command"].split() if not DROP.fullmatch(w)]
            seen[path] = dict(entry, command=" ".join(words))
    return seen


def fingerprints(entries):
    """What each source's result depends on: itself, its command, every header, the configuration."""
    common = hashlib.sha256()
    for path in [".clang-tidy", *tree.files(".h")]:
        common.update(tree.read(path).encode())
    return {path: hashlib.sha256(common.digest() + entry["command"].encode() + tree.read(path).encode()).hexdigest()
            for path, entry in entries.items()}


def run_tidy(tool, folder, path):
    run = subprocess.run([tool, "-p", folder, "--quiet", "--warnings-as-errors=*", os.path.join(tree.ROOT, path)],
                         capture_output=True, text=True)
    found = [line for line in run.stdout.splitlines() if ": error:" in line or ": warning:" in line]
    if run.returncode and not found:
        found = [f"{path}: {run.stderr[-500:]}"]
    return found


def tidy(build, only):
    tool = shutil.which("clang-tidy-14") or shutil.which("clang-tidy")
    if not tool:
        tree.skip("clang-tidy is not installed")
    entries = commands(build)
    prints = fingerprints(entries)
    # Sources that passed and have not changed since are not looked at again: a run over all takes minutes.
    memory = os.path.join(build, "clang-tidy.passed")
    passed = set()
    if os.path.exists(memory):
        with open(memory, encoding="utf-8") as f:
            passed = set(f.read().split())
    wanted = [p for p in sorted(entries) if not only or p in only]
    paths = [p for p in wanted if prints[p] not in passed]
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "compile_commands.json"), "w", encoding="utf-8") as f:
            json.dump(list(entries.values()), f)
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for path, found in zip(paths, pool.map(lambda p: run_tidy(tool, folder, p), paths)):
                if not found:
                    passed.add(prints[path])
                problems += [re.sub(r"^\S*\.\./", "", line.replace(tree.ROOT + "/", "")) for line in found]
    with open(memory, "w", encoding="utf-8") as f:
        f.write("\n".join(sorted(passed & set(prints.values()))))
    print(f"{len(wanted) - len(paths)} unchanged since they passed")
    tree.finish(sorted(set(problems)), len(wanted))


# cppcheck's findings that are not wanted, each with its reason.
CPPCHECK_SUPPRESS = [
    "missingIncludeSystem",  # it need not see libc
    "unusedStructMember",    # layouts of registers and messages
    "unmatchedSuppression",  # a suppression may have nothing to do in one version
    "variableScope",         # declarations stand at the start of a function
    "checkersReport",        # not a finding
    "syntaxError:vmm/hostlib/control.c",  # LIST_HEAD() without a tag
    "nullPointerRedundantCheck",  # it does not see which functions never return
]


def cppcheck(build, only):
    if not shutil.which("cppcheck"):
        tree.skip("cppcheck is not installed")
    paths = [p for p in sorted(commands(build)) if not only or p in only]
    command = ["cppcheck", "--quiet", "--enable=warning,performance,portability", "--inline-suppr", "--std=c11",
               "--language=c", "--platform=unix64", "-D__x86_64__", "-D__BYTE_ORDER__=1234",
               "-D__ORDER_LITTLE_ENDIAN__=1234",
               "-j", str(os.cpu_count()), "--template=gcc",
               *(f"-I{d}" for d in ("guest-driver/include", "guest-driver", "backend-vm", ".")),
               *(f"--suppress={name}" for name in CPPCHECK_SUPPRESS), *paths]
    run = subprocess.run(command, cwd=tree.ROOT, capture_output=True, text=True)
    problems = [line for line in run.stderr.splitlines() if re.search(r": (error|warning|style|performance|portability):", line)]
    tree.finish(problems, len(paths))


if __name__ == "__main__":
    {"tidy": tidy, "cppcheck": cppcheck}[sys.argv[1]](sys.argv[2], sys.argv[3:])
