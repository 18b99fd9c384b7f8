#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""poll=always never sleeps, poll=never sleeps after each frame, poll=adaptive as long after the last frame as it is told."""

import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import procs, quiet, scenario

FRAMES = 100


def always(run, path, front_ends):
    """Goes round and round, also when there is nothing."""
    before = path.counters()
    for _ in range(FRAMES):
        front_ends.frame(0, 1)
    middle = path.counters()["switch.polls"]
    procs.wait_until(lambda: path.counters()["switch.polls"] > middle, "polling while quiet")
    run.expect(quiet.sleeps(path) == before["switch.sleeps"] == 0, f"{quiet.sleeps(path)} sleeps with poll=always")


def frame_and_sleep(path, front_ends):
    """A frame, after which it goes to sleep again."""
    slept = quiet.sleeps(path)
    front_ends.frame(0, 1)
    quiet.wait_slept(path, slept)


def never(run, path, front_ends):
    """Sleeps between any two frames."""
    before = quiet.sleeps(path)
    for _ in range(FRAMES):
        frame_and_sleep(path, front_ends)
    slept = quiet.sleeps(path) - before
    run.expect(slept >= FRAMES, f"{slept} sleeps for {FRAMES} frames with poll=never")
    run.note(f"{slept} sleeps")


def longest(run, path, front_ends):
    """With the longest time there is, 1 s, frames a millisecond apart keep it awake, and their end lets it sleep."""
    front_ends.frame(0, 1)
    before = quiet.sleeps(path)
    for _ in range(FRAMES):
        time.sleep(0.001)  # the pause between frames is what is tested
        front_ends.frame(0, 1)
    slept = quiet.sleeps(path) - before
    run.note(f"{slept} sleeps while frames came")
    run.expect(slept < FRAMES / 4, f"{slept} sleeps within {FRAMES} ms of traffic with poll=adaptive:1000000")
    procs.wait_until(lambda: quiet.sleeps(path) > before + slept, "sleeping after the last frame")


def default(run, path, front_ends):
    """adaptive:50: looks for work for 50 us, thousands of rounds of them, before it sleeps."""
    quiet.wait_asleep(path)
    before = path.counters()
    for _ in range(FRAMES):
        frame_and_sleep(path, front_ends)
    after = path.counters()
    slept = after["switch.sleeps"] - before["switch.sleeps"]
    polls = (after["switch.polls"] - before["switch.polls"]) / max(slept, 1)
    run.note(f"{slept} sleeps, {polls:.0f} rounds before each")
    run.expect(slept >= FRAMES, f"{slept} sleeps for {FRAMES} frames")
    # It looks at the clock every 16 rounds: without spinning it would be one such turn.
    run.expect(polls > 20, f"{polls:.0f} rounds before each sleep")


POLL = {"always": ("always", always), "never": ("never", never), "longest": ("adaptive:1000000", longest),
        "default": ("adaptive", default)}


def check(run):
    """The chosen one."""
    value, behaviour = POLL[run.word]
    path = run.path(2, app=("switch", f"poll={value}"))
    front_ends = quiet.FrontEnds(path)
    behaviour(run, path, front_ends)
    front_ends.close()


scenario.main(__doc__, check, needs=(), choices=tuple(POLL))
