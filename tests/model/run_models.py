#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
Checks the models of sleeping, waking and pausing with spin, exhaustively: as we have built them nothing is lost, and each
mistake (a barrier left out, no second look, ...) is found, which shows that the models can tell.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
SKIP = 77

RINGS = ("SPLIT_FLAGS", "SPLIT_EVENT", "PACKED_FLAGS", "PACKED_EVENT")
# What the worker does differently.
VARIANTS = ((), ("SHADOW_LOST",), ("HOSTED",), ("ALWAYS",), ("DEFERRED",), ("DEFERRED", "ALWAYS"), ("DEFERRED", "HOSTED"),
            ("LIMITED",), ("LIMITED", "SHADOW_LOST"), ("LIMITED", "HOSTED"))
# Mistake: the variant in which it shows, and the rings (default: all).
MISTAKES = {
    "MISTAKE_DRIVER_NO_FENCE_AFTER_INDEX": ((), RINGS),
    "MISTAKE_DRIVER_NO_FENCE_BEFORE_LOOK": ((), RINGS),
    "MISTAKE_DRIVER_NO_SECOND_LOOK": ((), RINGS),
    "MISTAKE_DEVICE_NO_FENCE_AFTER_INDEX": ((), RINGS),
    "MISTAKE_DEVICE_NO_FENCE_BEFORE_LOOK": ((), RINGS),
    "MISTAKE_DEVICE_NO_SECOND_LOOK": ((), RINGS),
    "MISTAKE_LOOK_BEFORE_CLI": ((), RINGS),
    "MISTAKE_NO_STEP_OVER": (("SHADOW_LOST",), RINGS),
    "MISTAKE_TAKE_IRQS_LATE": (("HOSTED",), RINGS),
    "MISTAKE_SETTLE_WITHOUT_FENCE": (("DEFERRED",), RINGS),
    "MISTAKE_LIMITED_WITHOUT_DEADLINE": (("LIMITED",), RINGS),
    "MISTAKE_UNCALLED_WRAPS": (("DEFERRED",), ("SPLIT_EVENT",)),
    "MISTAKE_EVENT_ONE_LATE": ((), ("SPLIT_EVENT",)),
}
# Of two workers with mailboxes.
WORKERS = (("MAILS=2", "PAUSES=1"), ("MAILS=1", "PAUSES=2"))
WORKERS_MISTAKES = ("ASLEEP_WITHOUT_NUMBER", "EVENTS_TAKEN_LATE", "NO_SECOND_LOOK", "PAUSE_NO_FENCE", "RESUME_WITHOUT_WAKE",
                    "RISER_NO_FENCE", "SLEEPER_NO_FENCE", "WAKER_NO_FENCE")


def cases():
    """(model, macros, whether a counterexample must be found)."""
    for ring in RINGS:
        for variant in VARIANTS:
            yield "ring.pml", (ring, *variant), False
    for mistake, (variant, rings) in MISTAKES.items():
        for ring in rings:
            yield "ring.pml", (ring, *variant, mistake), True
    for size in WORKERS:
        yield "workers.pml", size, False
    for mistake in WORKERS_MISTAKES:
        yield "workers.pml", (*WORKERS[0], f"MISTAKE_{mistake}"), True


class Verdict:
    """What spin found out about one case."""

    def __init__(self, output):
        found = re.search(r"errors: (\d+)", output)
        self.output = output
        self.errors = int(found.group(1)) if found else -1
        self.states = int(float((re.search(r"(\S+) states, stored", output) or ["", "0"])[1]))
        self.lost = bool(re.search(r"pan:1: (invalid end state|assertion violated)", output))
        self.whole = found and not re.search(r"search depth too small|out of memory|truncated", output)


def check(model, macros, where):
    """Generate, compile and run the verifier in directory `where`."""
    def run(*argv, **kw):
        return subprocess.run(argv, cwd=where, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kw)
    for source in HERE.iterdir():
        shutil.copy(source, where)
    done = run("spin", "-a", *[f"-D{m}" for m in macros], model, check=False)
    if not (where / "pan.c").exists():
        return Verdict(done.stdout)
    run("gcc", "-O1", "-w", "-DSAFETY", "-DCOLLAPSE", "-DMEMLIM=2048", "pan.c", "-o", "pan", check=True)
    verdict = Verdict(run("./pan", "-m1000000", "-w22", check=False).stdout)
    if verdict.lost:
        trail = run("spin", "-t", "-p", "-g", *[f"-D{m}" for m in macros], model, check=False)
        verdict.trail = trail.stdout
    return verdict


def check_case(case):
    """A case in a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="vvu-model-") as where:
        return check(case[0], case[1], pathlib.Path(where))


def complain(model, macros, mistaken, verdict):
    """None when the case is as it should be, else what is wrong."""
    if not verdict.whole:
        return f"{model} {' '.join(macros)}: not checked to the end:\n{verdict.output}"
    if mistaken and not verdict.lost:
        return f"{model} {' '.join(macros)}: the mistake was not found"
    if not mistaken and verdict.errors:
        tail = "\n".join(getattr(verdict, "trail", verdict.output).splitlines()[-80:])
        return f"{model} {' '.join(macros)}: a wake-up is lost, or worse; the end of the trail:\n{tail}"
    return None


def main():
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--only", default="", metavar="TEXT", help="only cases whose macros contain TEXT")
    args = parser.parse_args()
    for tool, package in (("spin", "spin"), ("gcc", "gcc")):
        if not shutil.which(tool):
            print(f"{tool} is missing (Debian package {package})")
            return SKIP
    wrong = checked = 0
    chosen = [case for case in cases() if args.only in " ".join((case[0], *case[1]))]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for (model, macros, mistaken), verdict in zip(chosen, pool.map(check_case, chosen)):
            problem = complain(model, macros, mistaken, verdict)
            checked += 1
            wrong += problem is not None
            print(f"{model:11} {' '.join(macros):58} {verdict.states:9} states  "
                  f"{'counterexample' if verdict.lost else 'nothing lost'}", flush=True)
            if problem:
                print(problem)
    print(f"{checked} models, {wrong} wrong")
    return 1 if wrong or not checked else 0


if __name__ == "__main__":
    sys.exit(main())
