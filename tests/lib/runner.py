# SPDX-License-Identifier: BSD-2-Clause
"""
Builds and runs all tests: packages, gcc build, clang build, then every suite with the gcc build.

The last line is `N passed, N failed, N skipped`; the exit status is not 0 when anything failed or nothing ran.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import building, paths, platforms, procs
from lib.procs import Failure

GOOD = ("OK", "EXPECTEDFAIL")
INSTRUMENT = {"thread": "thread", "valgrind": "undefined"}  # b_sanitize of the build directory
BAD = ("FAIL", "ERROR", "TIMEOUT", "INTERRUPT", "UNEXPECTEDPASS")


def say(text):
    """One line of progress."""
    print(f"[{time.monotonic() - START:6.1f} s] {text}", flush=True)


START = time.monotonic()


def options():
    """The command line; what it does not know goes to `meson test`."""
    parser = argparse.ArgumentParser(
        prog="tests/run", description=__doc__.strip().splitlines()[0],
        epilog="Other arguments go to `meson test` (a test's name, -v, --repeat N, ...). "
               "See tests/README.md.")
    parser.add_argument("--suite", action="append", default=[], metavar="S",
                        help="only this suite (may be repeated)")
    parser.add_argument("--no-install", action="store_true", help="do not install packages")
    parser.add_argument("--no-clang", action="store_true", help="leave the clang build out")
    parser.add_argument("--instrument", choices=sorted(INSTRUMENT),
                        help="suites unit, loop and proxy under ThreadSanitizer or valgrind instead of AddressSanitizer, "
                             "in a build directory of their own; without --suite these three")
    return parser.parse_known_args()


def build_all(args):
    """Build with gcc (the build that is tested) and, warnings being errors, with clang."""
    build = paths.build_dir()
    if args.instrument:
        say(f"building for {args.instrument} in {build}")
        building.setup(build, env={"CC": "gcc"}, options=[f"-Db_sanitize={INSTRUMENT[args.instrument]}", "-Db_lundef=false"])
        return  # `meson test` builds what the suites need
    say(f"building with gcc in {build}")
    building.setup(build, env={"CC": os.environ.get("CC", "gcc")})
    building.ninja(build=build)
    if args.no_clang or args.suite:
        return
    clang = build.with_name(build.name + "-clang")
    say(f"building with clang in {clang}")
    building.setup(clang, env={"CC": "clang-14"})
    building.ninja(build=clang)


def count(log):
    """(passed, failed, skipped, outcomes) out of meson's log."""
    passed = failed = skipped = 0
    outcomes = []
    for line in log.read_text(encoding="utf-8").splitlines():
        test = json.loads(line)
        if test["result"] in GOOD:
            passed += 1
            outcomes.append((test, "passed"))
        elif test["result"] == "SKIP":
            skipped += 1
            outcomes.append((test, "skipped"))
        else:
            failed += 1
            outcomes.append((test, test["result"].lower()))
    return passed, failed, skipped, outcomes


def report(outcomes):
    """Why tests failed or were skipped, and what those that passed want to be known (lines `NOTICE: ...`)."""
    for test, what in outcomes:
        output = (test.get("stdout") or "") + (test.get("stderr") or "")
        lines = output.strip().splitlines()
        if what == "passed":
            for line in lines:
                if line.startswith("NOTICE: "):
                    say(f"passed: {test['name']}: {line}")
            continue
        if what == "skipped":
            say(f"skipped: {test['name']}: {lines[-1] if lines else 'no reason given'}")
            continue
        say(f"{what}: {test['name']}, after {test['duration']:.1f} s; the end of its output:")
        for line in lines[-40:]:
            print("    " + line)


def run_tests(args, others):
    """`meson test`; returns the exit status."""
    build = paths.build_dir()
    log = build / "meson-logs/testlog.json"
    log.unlink(missing_ok=True)
    # Tests' time limits are there to end what hangs. They are for a machine like those of the developers.
    argv = ["meson", "test", "-C", str(build), "--timeout-multiplier", "3"] + ([] if args.instrument else ["--no-rebuild"])
    for suite in args.suite:
        argv += ["--suite", suite]
    say(f"testing on {platforms.DESCRIPTION[platforms.platform()]}")
    sys.stdout.flush()
    env = {**os.environ, "VVU_BUILD": str(build), "VVU_LOGS": str(build / "meson-logs/programs")}
    subprocess.run(argv + others, stdin=subprocess.DEVNULL, env=env, check=False)
    if not log.exists():
        say("no test ran")
        print("0 passed, 0 failed, 0 skipped")
        return 1
    passed, failed, skipped, outcomes = count(log)
    report(outcomes)
    if not passed and not failed:
        say("no test ran")
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 1 if failed or not passed else 0


def main():
    """Entry point."""
    args, others = options()
    if args.instrument:
        os.environ["VVU_BUILD"] = f"{paths.build_dir()}-{args.instrument}"
        args.suite = args.suite or ["unit", "loop", "proxy"]
    procs.die_on_signals()
    try:
        if not args.no_install:
            building.install_packages()
        build_all(args)
        return run_tests(args, others)
    except Failure as error:
        say(f"failed: {error}")
        print("0 passed, 1 failed, 0 skipped")
        return 1


if __name__ == "__main__":
    sys.exit(main())
