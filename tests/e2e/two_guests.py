#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Two QEMU guests: ping without loss, TCP both ways verified by SHA-256. The proxy listens, or connects."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import backend, scenario


def check(run):
    """The main job, small."""
    path = run.path(2, modes=[run.word, run.word])
    a, b = run.two_guests()
    run.ping(a, 1)
    run.ping(b, 0, size=1400)
    run.transfer(a, b, 1)
    run.transfer(b, a, 0)
    switched, dropped = backend.switched_and_dropped(path.counters())
    run.note(f"{switched} frames switched, dropped: {dropped or 'none'}")
    run.expect(switched > 200, "the switch counted fewer frames than were pinged alone")


scenario.main(__doc__, check, choices=("server", "client"))
