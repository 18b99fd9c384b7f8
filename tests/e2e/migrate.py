#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
A QEMU that is told to migrate a guest with one of our ports refuses, with a reason; the guest, its session and its traffic go on as
if nothing had been asked.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import procs, scenario, traffic


def refuse(run, guest, **how):
    """One attempt; the reason."""
    try:
        guest.qmp("migrate", **how)
    except procs.Failure as error:
        return str(error)
    procs.wait_until(lambda: guest.qmp("query-migrate").get("status") not in ("setup", "active", "device"),
                     "the end of the migration", 60, 0.1)
    status = guest.qmp("query-migrate")
    run.expect(status["status"] == "failed", f"QEMU migrated: {status}")
    return status.get("error-desc", "failed")


def check(run):
    """Pre-copy, and post-copy, amid pings."""
    path = run.path(2)
    a, b = run.two_guests()
    mark = path.process.mark()
    pings = b.begin(traffic.ping_command(f"-c 200 -i 0.05 -W 60 {run.address(0)}"))
    pings.wait_lines(5)
    reason = refuse(run, a, uri="exec:cat >/dev/null")
    run.note(f"migrate: {reason}")
    run.expect("LOG_SHMFD" in reason or "LOG_ALL" in reason, f"another reason than expected: {reason}")
    a.qmp("migrate-set-capabilities", capabilities=[{"capability": "postcopy-ram", "state": True}])
    run.note(f"with postcopy-ram: {refuse(run, a, uri='exec:cat >/dev/null')}")
    run.expect(a.qmp("query-status")["status"] == "running", "the guest does not run any more")
    result = traffic.ping_result(b, pings.wait(120).text)
    run.expect(result.received == result.sent == 200, f"{result.received} of {result.sent} pings came back")
    run.transfer(a, b, 1, mib=4)
    run.transfer(b, a, 0, mib=4)
    ended = path.process.find_line("session .*ended|disconnected", mark)
    run.expect(not ended, f"a session has ended: {ended.string if ended else ''}")


scenario.main(__doc__, check)
