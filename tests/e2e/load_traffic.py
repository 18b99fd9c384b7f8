#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
Checked traffic at full speed: every frame is numbered and its whole payload written, read and compared.

So many frames are under way at most that no receive ring can overflow: then none may be lost, damaged, overtaken within
its flow or delivered to a port that it was not for. After that without this limit: what is lost then is in a counter of the
switch, and what arrives is right all the same.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import load, procs, scenario

MIXED = "64,65,127,300,1000,1514,4000,9000"
CASES = {
    # word: (ports, queue pairs, GSO, [(layout, options of the run)])
    "pairs": (2, 1, False, [("split", {"size": "64"}), ("split", {"size": MIXED}), ("split-vec", {"size": "1518"}),
                            ("split-inorder-mrg", {"size": MIXED}), ("split-inorder", {"size": "64"})]),
    "uniform": (8, 1, False, [("split", {"size": "64", "pattern": "uniform", "flows": 4}),
                              ("split", {"size": MIXED, "pattern": "uniform", "flows": 4})]),
    "packed": (2, 1, False, [("packed", {"size": "64"}), ("packed", {"size": MIXED}), ("packed-vec", {"size": "64"}),
                             ("packed-vec", {"size": "1518"})]),
    "queues": (2, 4, False, [("split", {"size": "64", "flows": 64}), ("split", {"size": MIXED, "flows": 64})]),
    "super": (2, 1, True, [("split", {"size": "65535", "window": 8, "burst": 4}),
                           ("split", {"size": "64,1518,20000,65535", "window": 8, "burst": 4})]),
}
# Four CPUs, so that most frames go from one to another. What is under way has to fit the mailboxes between them, too.
SMP = {
    "smp-pairs": (2, 1, False, [("split", {"size": "64"}), ("split-inorder", {"size": MIXED, "window": 32})]),
    "smp-uniform": (8, 1, False, [("split", {"size": MIXED, "pattern": "uniform", "flows": 4, "window": 16})]),
    "smp-queues": (2, 4, False, [("split", {"size": "64", "flows": 64}),
                                 ("packed", {"size": MIXED, "flows": 64, "window": 32})]),
    "smp-super": (2, 1, True, [("split", {"size": "64,1518,20000,65535", "window": 4, "burst": 4})]),
}
SMP_CPUS = 4
TOUCH = "seq,write,read"


def one_run(run, path, front, limited, options):
    """One window of traffic and what must hold after it."""
    if not limited:
        options = {**options, "window": 0}
    before = path.dropped()
    result = front.window(**{"seconds": 0.5, "touch": TOUCH, "window": 96, "quiet": 3, **options})
    whole = result["whole"]
    try:
        procs.wait_until(lambda: path.dropped() - before == whole["lost"], "the switch has brought its counters up to date")
    except procs.Failure:
        pass  # more about it below
    dropped = path.dropped() - before
    run.note(f"{options}: {result['rx_mpps']:.3f} M frames/s, {result['rx_gbit']:.1f} Gbit/s; {whole}, "
             f"{dropped} counted as dropped")
    for name in ("damaged", "reordered", "stray"):
        run.expect(whole[name] == 0, f"{whole[name]} frames {name}")
    run.expect(whole["lost"] == dropped, f"{whole['lost'] - dropped} frames are missing from every counter")
    # After `quiet` seconds without any frame the limit is lifted, so that a run ends.
    run.expect(whole["lost"] == 0 or not limited or whole["timeouts"], f"{whole['lost']} frames lost in roomy rings")
    run.expect(whole["rx"] > 0 and all(p["rx"] for p in result["per_port"]), f"a port received nothing: {result}")


def check(run):
    """All layouts and sizes of the case."""
    smp = run.word in SMP
    ports, queues, gso, visits = (SMP if smp else CASES)[run.word]
    path = run.path(ports, cpus=SMP_CPUS if smp else 1)
    front = None
    for i, (layout, options) in enumerate(visits):
        if front is None or layout != visits[i - 1][0]:
            if front:
                front.stop()
            front = load.Load(run.session, f"load-{i}", load.ports(path, layout=layout, queues=queues), huge=run.huge,
                              max_size=65535 if gso else 9014, gso=gso)
            front.wait_ready()
            run.note(f"front-end: {layout}, {front.info()}")
        one_run(run, path, front, True, options)
        one_run(run, path, front, False, options)
    front.stop()
    if smp:
        shares = [path.counters()[f"worker.{i}.frames"] for i in range(SMP_CPUS)]
        run.note(f"frames taken by each CPU: {shares}")
        run.expect(sum(1 for n in shares if n) == min(SMP_CPUS, ports * queues), "a CPU did not take part")


scenario.main(__doc__, check, needs=("dpdk", "load"), choices=(*CASES, *SMP))
