#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""C files are as clang-format 14 has them. `check_format.py --fix [FILE ...]` makes them so."""
import shutil
import subprocess
import sys

import tree


def main(argv):
    tool = shutil.which("clang-format-14") or shutil.which("clang-format")
    if not tool:
        tree.skip("clang-format is not installed")
    version = subprocess.run([tool, "--version"], capture_output=True, text=True, check=True).stdout
    if " 14." not in version:
        tree.skip(f"formatting is defined by version 14; this is {version.strip()}")
    fix = argv[:1] == ["--fix"]
    files = argv[1:] or tree.files(".c", ".h")
    mode = ["-i"] if fix else ["--dry-run"]
    run = subprocess.run([tool, "--style=file", *mode, *files], cwd=tree.ROOT, capture_output=True, text=True)
    wrong = sorted({line.split(":", 1)[0] for line in run.stderr.splitlines() if ": warning:" in line})
    problems = [f"{f}: not formatted (tests/style/check_format.py --fix {f})" for f in wrong]
    if run.returncode:
        problems.append(run.stderr[-2000:])
    tree.finish(problems, len(files))


if __name__ == "__main__":
    main(sys.argv[1:])
