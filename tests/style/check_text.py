#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Every text file: licence line, line ends, line length, and words that have no business in the tree."""
import re

import tree

MAX_COLUMNS = 120 # C; code is held to 100 by clang-format, this is for comments
MAX_COLUMNS_ELSE = 140
C_FILES = (".c", ".h", ".S", ".inc", ".lds")

# First lines that may come before the licence line.
BEFORE_LICENCE = re.compile(r"#!|\.\\\" ")
LICENCE = "SPDX-License-Identifier: BSD-2-Clause"
# Formats without comments, and prose.
NO_LICENCE = (".md", ".json", ".gitignore", ".editorconfig", ".clang-format", ".clang-tidy", ".txt")
# Where long lines can't be broken: tables and pasted commands of prose, data.
ANY_LENGTH = (".md", ".json", ".1", ".8", ".txt")

# Places of one machine that are on no other. Spelled so that this file does not contain them.
FORBIDDEN = [re.compile(pattern) for pattern in (
    r"/" + r"work/(main|shared)", r"/" + r"tmp/wt\b", r"/" + r"tmp/vvu/", r"\.\./" + r"shared/",
    "TO" + "DO", "FIX" + "ME", "XX" + "X\\b(?!X)")]


def columns(line):
    width = 0
    for char in line:
        width += 8 - width % 8 if char == "\t" else 1
    return width


def check(path):
    try:
        text = tree.read(path)
    except UnicodeDecodeError:
        yield f"{path}: not UTF-8"
        return
    lines = text.split("\n")
    most = MAX_COLUMNS if path.endswith(C_FILES) else MAX_COLUMNS_ELSE
    if text.strip() and not path.endswith(NO_LICENCE) and not path.startswith("docs/licenses/"):
        if not any(LICENCE in line for line in lines[:3]):
            yield f"{path}:1: no line with {LICENCE}"
    if text and not text.endswith("\n"):
        yield f"{path}: does not end with a newline"
    for number, line in enumerate(lines, 1):
        if line != line.rstrip() and not path.endswith(".md"):
            yield f"{path}:{number}: white space at the end of the line"
        if not path.endswith(ANY_LENGTH) and columns(line) > most:
            yield f"{path}:{number}: {columns(line)} columns, at most {most}"
        for pattern in FORBIDDEN:
            if pattern.search(line) and "XXXXXX" not in line:
                yield f"{path}:{number}: says {pattern.search(line).group()}"


def main():
    files = [f for f in tree.files() if not tree.corpus(f)]
    tree.finish([problem for f in files for problem in check(f)], len(files))


if __name__ == "__main__":
    main()
