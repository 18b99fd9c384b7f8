#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Runs one fuzz target for a fixed time and reports how much it executed.

usage: run_fuzzer.py BINARY NAME
       run_fuzzer.py --missing REASON

The seeds are tests/fuzz/corpus/NAME. New inputs are kept beside the binary (NAME.corpus), so that a second run goes on where
the first one ended; an input that fails is written to NAME.crash-* there. VVU_FUZZ_SECONDS sets the time (20).
Exit status: 0, 1 when an input failed, 77 when the target could not be built.
"""
import os
import re
import subprocess
import sys

SKIP = 77


def main(argv):
    if argv[0] == "--missing":
        print(f"skipped: {argv[1]}")
        return SKIP
    binary, name = os.path.abspath(argv[0]), argv[1]
    seconds = int(os.environ.get("VVU_FUZZ_SECONDS", "20"))
    seeds = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus", name)
    if not os.path.isdir(seeds) or not os.listdir(seeds):
        print(f"no seed corpus in {seeds}")
        return 1
    kept = os.path.join(os.path.dirname(binary), f"{name}.corpus")
    os.makedirs(kept, exist_ok=True)

    command = [binary, f"-max_total_time={seconds}", "-timeout=60", "-rss_limit_mb=1024",
               "-print_final_stats=1", "-verbosity=1", f"-artifact_prefix={os.path.dirname(binary)}/{name}.",
               kept, seeds]
    env = dict(os.environ, ASAN_OPTIONS="detect_leaks=1", UBSAN_OPTIONS="print_stacktrace=1")
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                         errors="replace", env=env)
    executed = re.search(r"number_of_executed_units:\s*(\d+)", run.stdout)
    if run.returncode or not executed:
        print(run.stdout[-8000:])
        print(f"{name}: FAILED (status {run.returncode})")
        return 1
    coverage = re.findall(r"cov: (\d+)", run.stdout)
    print(f"{name}: {executed.group(1)} executions in {seconds} s, "
          f"coverage {coverage[-1] if coverage else '?'} edges, "
          f"{len(os.listdir(kept))} inputs kept")
    return 0 if int(executed.group(1)) > 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
