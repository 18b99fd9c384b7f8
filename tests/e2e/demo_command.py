#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
tests/demo does what it says: the whole run with its JSON summary, or (word `interrupted`) stopped by a signal in the middle,
after which no process and no file of it is left.
"""

import json
import pathlib
import signal
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import paths, procs, scenario

KEYS = {"platform", "ping_loss_percent", "rtt_us", "transfer_ok", "throughput_mbit", "backend_boot_ms",
        "control_messages", "frames_switched", "frames_dropped", "vm_exits_per_s", "vmm_rss_kib"}


def descendants(pid):
    """Processes below pid, by asking /proc."""
    parents = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            head, _, tail = stat.read_text(encoding="utf-8").rpartition(")")
        except OSError:
            continue
        parents[int(head.split()[0])] = int(tail.split()[1])
    found, frontier = set(), {pid}
    while frontier:
        frontier = {child for child, parent in parents.items() if parent in frontier} - found
        found |= frontier
    return found


def start_demo(run, *words):
    """tests/demo as a child."""
    return run.session.start("demo", [paths.TESTS / "demo", "--no-install", "--no-build",
                                      "--backend", run.kind, *words])


def whole(run):
    """To the end."""
    report = run.session.dir / "demo.json"
    demo = start_demo(run, "--json", report, "--mib", "8")
    status = demo.wait(240)
    run.expect(status == 0, f"tests/demo ended with {status}:\n{demo.tail(40)}")
    figures = json.loads(report.read_text(encoding="utf-8"))
    run.note(json.dumps(figures))
    run.expect(set(figures) == KEYS, f"keys differ: {sorted(set(figures) ^ KEYS)}")
    run.expect(figures["transfer_ok"] and figures["ping_loss_percent"] == 0, "traffic was damaged")
    run.expect(figures["frames_switched"] > 0, "no frame was counted")
    if run.kind == "vm":
        run.expect(figures["control_messages"] > 0 and figures["vmm_rss_kib"] > 0, "VM figures are missing")


def interrupted(run):
    """SIGTERM, SIGINT and SIGKILL while the guests boot, SIGTERM again while they talk."""
    for number, when in ((signal.SIGTERM, "booting two"), (signal.SIGINT, "booting two"),
                         (signal.SIGTERM, "ping guest-a"), (signal.SIGKILL, "booting two")):
        demo = start_demo(run)
        demo.wait_line(when, 120)
        children = procs.wait_until(lambda parent=demo: descendants(parent.pid),
                                    "the demo's children")
        demo.popen.send_signal(number)
        status = demo.wait(120)
        # Children of a killed demo are killed by the kernel, which the demo cannot wait for.
        procs.wait_until(lambda mine=children: not any(
            pathlib.Path(f"/proc/{pid}").exists() for pid in mine), "the end of the demo's children")
        run.note(f"{number.name} while it says `{when}`: status {status}, {len(children)} children gone")
        run.expect(status == (-number if number == signal.SIGKILL else 128 + number),
                   f"exit status {status} after {number.name}")
        left = [p for p in pathlib.Path("/tmp").glob("vvu-demo-*") if p not in run.others]
        if number == signal.SIGKILL:
            for path in left:
                subprocess.run(["rm", "-r", path], check=False)
        else:
            run.expect(not left, f"left behind: {left}")


def check(run):
    """Either."""
    run.others = set(pathlib.Path("/tmp").glob("vvu-demo-*"))
    (whole if run.word == "whole" else interrupted)(run)


scenario.main(__doc__, check, choices=("whole", "interrupted"))
