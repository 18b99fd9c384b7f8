#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Scripts: python compiles, shell passes shellcheck, prose and comments pass codespell.

usage: check_scripts.py python|shell|spelling
"""
import os
import shutil
import subprocess
import sys

import tree

# Words codespell takes for misspelled ones: the specification's "inflight", assembler constraints, registers.
SPELLING_IGNORE = "inflight,nd,ist,thre,te"


def full(path):
    return os.path.join(tree.ROOT, path)


def python():
    files = [f for f in tree.files() if not tree.corpus(f) and (f.endswith(".py") or tree.is_script(f, "python3"))]
    problems = []
    for path in files:
        try:
            compile(tree.read(path), path, "exec", dont_inherit=True)
        except SyntaxError as error:
            problems.append(f"{path}:{error.lineno}: {error.msg}")
    tree.finish(problems, len(files))


def shell():
    if not shutil.which("shellcheck"):
        tree.skip("shellcheck is not installed")
    files = [f for f in tree.files() if not tree.corpus(f) and (
        f.endswith(".sh") or tree.is_script(f, "bash") or tree.is_script(f, "/sh"))]
    run = subprocess.run(["shellcheck", "--external-sources", "--format=gcc", *files], cwd=tree.ROOT,
                         capture_output=True, text=True)
    tree.finish(run.stdout.splitlines() + run.stderr.splitlines(), len(files))


def spelling():
    if not shutil.which("codespell"):
        tree.skip("codespell is not installed")
    files = [f for f in tree.files() if not tree.corpus(f)]
    run = subprocess.run(["codespell", "--ignore-words-list", SPELLING_IGNORE, *files], cwd=tree.ROOT,
                         capture_output=True, text=True)
    tree.finish(run.stdout.splitlines(), len(files))


if __name__ == "__main__":
    {"python": python, "shell": shell, "spelling": spelling}[sys.argv[1]]()
