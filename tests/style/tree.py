# SPDX-License-Identifier: BSD-2-Clause
"""What the style checks share: the tree's files, and how a check ends."""
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SKIP = 77


def files(*endings):
    """Paths, relative to ROOT, of the tree's files whose names end so; without git, of all but build directories."""
    try:
        out = subprocess.run(["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                             capture_output=True, check=True).stdout.decode()
        found = [f for f in out.split("\0") if f and os.path.exists(os.path.join(ROOT, f))]
    except (OSError, subprocess.CalledProcessError):
        found = []
        for folder, folders, names in os.walk(ROOT):
            folders[:] = [d for d in folders if not d.startswith("build") and d not in (".git", "__pycache__")]
            found += [os.path.relpath(os.path.join(folder, n), ROOT) for n in names]
    return sorted(f for f in set(found) if not endings or f.endswith(endings))


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


def is_script(path, interpreter):
    """True for files whose first line calls this interpreter."""
    with open(os.path.join(ROOT, path), "rb") as f:
        first = f.readline(80)
    return first.startswith(b"#!") and interpreter.encode() in first


def corpus(path):
    """Seeds of fuzzers are data, not text; so are measurements and the plots that a program drew of them."""
    return path.startswith(("tests/fuzz/corpus/", "docs/performance/"))


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(SKIP)


def finish(problems, checked):
    """Ends the check: one line per problem, status 1 when there is any."""
    if not checked:
        problems = [*problems, "nothing was checked"]
    for problem in problems:
        print(problem)
    print(f"{checked} checked, {len(problems)} problems")
    sys.exit(1 if problems else 0)
