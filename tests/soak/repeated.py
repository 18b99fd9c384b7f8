# SPDX-License-Identifier: BSD-2-Clause
"""Scenarios of tests/e2e/ that do something again and again, as often as it takes to notice what grows or fails seldom; and chaos."""

import sys

from lib import paths, procs

SKIP = 77
# Scenario, what it is told, with which back-ends.
ALL = (
    ("kills", ("split", "--rounds", "1000"), ("vm",)),
    ("kills", ("packed", "--rounds", "1000"), ("vm",)),
    ("come_and_go", ("server", "--rounds", "10000"), ("vm", "host")),
    ("come_and_go", ("client", "--rounds", "2000"), ("vm", "host")),  # 100 ms pass until a port connects again
    ("come_and_go", ("qemu", "--rounds", "20"), ("vm", "host")),
)


def chosen(kinds, text):
    """Those with `text` in their names: [(name, command)]."""
    tests = paths.TESTS / "e2e"
    found = [(" ".join((scenario, *words, kind)), [sys.executable, tests / f"{scenario}.py", *words, "--backend", kind])
             for scenario, words, backends in ALL for kind in backends if kind in kinds]
    if "vm" in kinds:
        found.append(("chaos", [sys.executable, paths.TESTS / "chaos/run"]))  # ten minutes
    return [(name, command) for name, command in found if text in name]


def once(name, command):
    """Failure when it fails. That it can't run here it says itself."""
    with procs.Session("repeated") as session:
        proc = session.start("scenario", command)
        proc.echo = True
        status = proc.wait(None)
    if status not in (0, SKIP):
        raise procs.Failure(f"{name}: exit status {status}")
