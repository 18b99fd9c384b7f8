#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Functions of at most 80 lines, files of at most 700; prints the longest functions."""
import tree

MAX_FUNCTION = 80
MAX_FILE = 700
MAX_TEST_FILE = 1000  # lists of cases
SHOWN = 8


def functions(path):
    """(name, first line, lines) of each function: in our style its braces are the only ones in column 1."""
    start, before = None, ""
    for number, line in enumerate(tree.read(path).split("\n"), 1):
        if line == "{":
            start, name = number, before.split("(")[0].split()[-1].lstrip("*") if "(" in before else before
        elif line.startswith("}") and start:
            yield name, start, number - start + 1
            start = None
        # The line that names the function: parameters may go on below it.
        if line and not line[0].isspace() and line != "{":
            before = line


def main():
    sizes, problems, checked = [], [], 0
    for path in tree.files(".c", ".h", ".S", ".py"):
        checked += 1
        lines = tree.read(path).count("\n")
        most = MAX_TEST_FILE if path.startswith("tests/") else MAX_FILE
        if lines > most:
            problems.append(f"{path}: {lines} lines, at most {most}")
        if path.endswith((".c", ".h")):
            sizes += [(count, path, start, name) for name, start, count in functions(path)]
    sizes.sort(reverse=True)
    for count, path, start, name in sizes[:SHOWN]:
        print(f"{count:4} lines: {name} ({path}:{start})")
    problems += [f"{path}:{start}: {name} has {count} lines, at most {MAX_FUNCTION}"
                 for count, path, start, name in sizes if count > MAX_FUNCTION]
    tree.finish(problems, checked)


if __name__ == "__main__":
    main()
