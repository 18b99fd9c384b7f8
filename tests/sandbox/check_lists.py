#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
The lists of system calls are as short as they can be: runs scenarios of the other suites with the programs under strace, and
fails for each rule that none of them used, unless the table says why no test does (`rare`), and for each call that no rule
allows. A rule that says so and was used after all fails, too.

  check_lists.py LISTS PROGRAM...      LISTS: the program that prints the tables
"""

import json
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import paths, procs
from sandbox import trace

SELF = (1 << 64) - 1
FLOW = ("session", "replies", "link", "flow", "program", "survival", "takeover")
CONFINED = ("sandbox/test_confined.py", [], None)

# What drives each program through what it does. (file, arguments, variable that names the program)
SCENARIOS = {
    "vvu-proxy": [(f"proxy/test_{name}.py", [], "VVU_PROXY") for name in FLOW] + [CONFINED],
    "vvu-backend": [
        CONFINED,
        ("proxy/test_hosted.py", [], "VVU_BACKEND"),
        ("e2e/testpmd_traffic.py", ["packed", "--backend", "host"], None),
        ("e2e/idle.py", ["workers", "--backend", "host"], None),
    ],
    "vvu-vmm": [
        CONFINED,
        ("kvm/run.py", ["--all"], None),
        ("e2e/testpmd_traffic.py", ["split", "--backend", "vm"], None),
        ("e2e/large_table.py", ["prefault", "--backend", "vm"], None),
        ("e2e/idle.py", ["workers", "--backend", "vm"], None),
    ],
}
SKIPPED = 77


def run_scenario(build, program, scenario):
    """Run one; None, or why it did not pass."""
    script, args, variable = scenario
    env = {**os.environ, "VVU_BUILD": str(build), "PYTHONDONTWRITEBYTECODE": "1", "VVU_TRACED": "1"}
    if variable:
        env[variable] = str(build / trace.PROGRAMS[program])
    done = subprocess.run([sys.executable, str(paths.TESTS / script), *args], env=env, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode in (0, SKIPPED):
        print(f"{script} {' '.join(args)}: {'ran' if not done.returncode else 'skipped'}", flush=True)
        return None
    return f"{script} {' '.join(args)} failed:\n" + "\n".join(done.stdout.splitlines()[-40:])


def matches(rule, args):
    """True when a call with these arguments is one that the rule allows."""
    for want in rule["args"]:
        if want["value"] == SELF:
            continue
        if want["index"] >= len(args) or args[want["index"]] & want["mask"] != want["value"]:
            return False
    return True


def describe(rule):
    """A rule in a few words."""
    args = "".join(f", argument {a['index']} & {a['mask']:#x} == {a['value']:#x}" for a in rule["args"])
    return f"{rule['name']}{args} ({rule['why']})"


def compare(program, lists, calls):
    """What is wrong with a program's lists, as lines."""
    wrong = []
    for number, plan in enumerate(lists):
        used = set()
        for which, name, args in calls:
            if which != number:
                continue
            hits = [i for i, rule in enumerate(plan["rules"]) if rule["name"] == name and matches(rule, args)]
            used.update(hits)
            if not hits:
                wrong.append(f"{program}, {plan['kind']} thread: not allowed, but used: {name}{args}")
        for i, rule in enumerate(plan["rules"]):
            if i in used and rule["rare"]:
                print(f"{program}, {plan['kind']} thread: a scenario does use {describe(rule)}")
            if i not in used and not rule["rare"]:
                wrong.append(f"{program}, {plan['kind']} thread: allowed, but never used: {describe(rule)}")
        names = len({rule["name"] for rule in plan["rules"]})
        print(f"{program}, {plan['kind']} thread: {names} system calls allowed by {len(plan['rules'])} rules, "
              f"{len(used)} of them used")
    return wrong


def main():
    """Entry point."""
    procs.die_on_signals()
    why = trace.missing()
    if not why and "vvu-vmm" in sys.argv and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        why = "/dev/kvm is missing or not accessible"
    if why:
        print(f"SKIP: {why}")
        return SKIPPED
    lists = json.loads(subprocess.run([sys.argv[1]], stdout=subprocess.PIPE, check=True).stdout)
    wrong = []
    with procs.Session("calls") as session:
        build, traces = session.dir / "build", session.dir / "traces"
        traces.mkdir()
        # Programs of other users leave traces, too.
        session.dir.chmod(0o755)
        traces.chmod(0o1777)
        trace.make_build(paths.build_dir(), build, traces)
        for program in sys.argv[2:]:
            for scenario in SCENARIOS[program]:
                failed = run_scenario(build, program, scenario)
                wrong += [failed] if failed else []
            wrong += compare(program, lists[program], trace.confined_calls(traces, program))
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
