#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
What the documents call by name exists: files of tests/ and, in tables that have a column `test`, a test in each row.

A cell names a test as `SUITE/FILE WORD`, with more words of the same file behind it; or as "`kvm` suite: `CASE`". The file is one that
its suite's meson.build runs, and has the word as a string, a class or a function.
"""
import json
import os
import re

import tree

SUITES = ("chaos", "e2e", "fuzz", "guests", "kvm", "lib", "loop", "model", "nested", "perf", "proxy", "sandbox", "soak", "style", "unit")
PATH = re.compile(rf"(?:tests/)?(?:{'|'.join(SUITES)})/\S+")
BY_MESON = ("e2e", "loop", "proxy", "unit")
ELSEWHERE = {"chaos/run": "chaos/faults.py"}  # where the words of a test are


def exists(path):
    return os.path.exists(os.path.join(tree.ROOT, "tests", path.removeprefix("tests/")))


def spans(text):
    """What stands between back-ticks."""
    return re.findall(r"`([^`]+)`", text)


def known(path, word):
    """A file of tests/ has the word as a string (or part of one, as --only takes it), a class or a function."""
    text = tree.read(f"tests/{ELSEWHERE.get(path, path)}")
    part = r"[\w-]*" if path in ELSEWHERE else ""
    word = re.escape(word)
    return re.search(rf"""["']{part}{word}{part}["']|^class {word}\b|^ *(def|static void) {word}\b""", text, re.MULTILINE)


def is_run(path):
    """Its suite's meson.build has the file, or its name as a test's."""
    suite, _, name = path.partition("/")
    stem = re.escape(name.rpartition(".")[0].removeprefix("test_"))
    return suite not in BY_MESON or re.search(rf"'(test_)?{stem}(\.py|\.c)?'", tree.read(f"tests/{suite}/meson.build"))


def check_cell(cell, cases):
    """Problems of a table's cell that is to name a test."""
    names = spans(cell)
    if not names:
        yield "names no test"
    path = None
    for name in names:
        first, *words = name.removeprefix("tests/").split()
        if "/" in first:
            path = first
            if not exists(path) or not is_run(path):
                yield f"{path} is no test"
                return
        elif name == "kvm":
            path = name
            continue
        elif path is None:
            yield f"{name} is of no file"
            return
        else:
            words = [name]
        for word in words:
            if not word.startswith("-") and not (word in cases if path == "kvm" else known(path, word)):
                yield f"{path} has no {word}"


def columns(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def check(path, cases):
    """Problems of a document."""
    place = None  # of the column `test` in this table
    for number, line in enumerate(tree.read(path).splitlines(), 1):
        if not line.startswith("|"):
            place = None
        elif place is None:
            place = columns(line).index("test") if "test" in columns(line) else -1
        elif place >= 0 and not re.fullmatch(r"[-| ]+", line):
            for problem in check_cell(columns(line)[place], cases):
                yield f"{path}:{number}: {problem}"
            continue
        for span in spans(line):
            if PATH.fullmatch(span.split()[0]) and not re.search(r"[*A-Z{]", span.split()[0]) and not exists(span.split()[0]):
                yield f"{path}:{number}: there is no {span.split()[0]}"


def main():
    cases = {case["name"] for case in json.loads(tree.read("tests/kvm/cases.json"))}
    files = tree.files(".md")
    tree.finish([problem for f in files for problem in check(f, cases)], len(files))


if __name__ == "__main__":
    main()
