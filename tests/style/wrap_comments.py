#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Wraps paragraphs of C block comments that are too wide (tests/style/check_text.py).

usage: wrap_comments.py FILE ...

Only paragraphs with a line over the limit are touched; indented text, lists and pictures never are. Comments behind code
are left to the author.
"""
import re
import sys
import textwrap

from check_text import MAX_COLUMNS, columns

WIDTH = 112
PROSE = re.compile(r"(\t*) \* (?! |[-+|*]|\d+\.)(.*)")
ALONE = re.compile(r"(\t*)/\* (.*) \*/")


def wrap(indent, words):
    width = WIDTH - columns(indent) - 3
    return [f"{indent} * {line}" for line in textwrap.wrap(words, width, break_long_words=False, break_on_hyphens=False)]


def wrapped(lines):
    paragraph, indent, inside = [], "", False

    def flush():
        if any(columns(line) > MAX_COLUMNS for line in paragraph):
            result = wrap(indent, " ".join(PROSE.fullmatch(line).group(2) for line in paragraph))
        else:
            result = list(paragraph)
        paragraph.clear()
        return result

    for line in lines:
        alone = ALONE.fullmatch(line)
        if alone and not inside and columns(line) > MAX_COLUMNS:
            yield from [alone.group(1) + "/*", *wrap(alone.group(1), alone.group(2)), alone.group(1) + " */"]
            continue
        prose = PROSE.fullmatch(line) if inside and "*/" not in line else None
        if prose:
            indent = prose.group(1)
            paragraph.append(line)
            continue
        yield from flush()
        yield line
        if line.lstrip().startswith("/*") and "*/" not in line:
            inside = True
        elif "*/" in line:
            inside = False


def main(paths):
    for path in paths:
        with open(path, encoding="utf-8") as f:
            before = f.read()
        after = "\n".join(wrapped(before.split("\n")))
        if after != before:
            with open(path, "w", encoding="utf-8") as f:
                f.write(after)
            print(f"wrapped {path}")


if __name__ == "__main__":
    main(sys.argv[1:])
