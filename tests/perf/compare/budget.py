# SPDX-License-Identifier: BSD-2-Clause
"""
The budget of a 64 B frame, step by step, and what is measured against it.

Steps are measured by tests/perf/bench_vq.c and bench_switch.c with everything in one processor's caches (what the
instructions cost), and by bench_switch.c with its front-end on the other processor (what the cache lines cost); the whole,
in the VM, by the comparison itself.
"""

import re
import statistics
import subprocess

from lib import paths

BEGIN = "<!-- budget: begin (written by tests/perf/run) -->"
END = "<!-- budget: end -->"

# step, cache lines per frame that come from the other processor (or go back to it), cycles
STEPS = (
    ("see and take transmit descriptors: avail idx (1/64), avail entry (1/32), descriptor (1/4)", 0.30, 12, "rings"),
    ("read virtio_net_hdr (1) and the frame's first 64 bytes (1), each once, prefetched a burst ahead", 2.0, 25, "rest"),
    ("learn the source, look up the destination: one bucket each, a line of our own; none within a run of one flow", 0, 10, "rest"),
    ("take receive buffers, a burst ahead: avail idx, avail entry, descriptor", 0.30, 12, "rings"),
    ("write the frame (1); the header (1) is read, and written only if it differs", 2.0, 25, "rest"),
    ("used entries of both rings (1/8 each)", 0.25, 15, "rings"),
    ("per burst: publish both used idx (1/32 each), decide calls, counters", 0.06, 8, "rest"),
)
SIZES = (64, 1518)


def _run(program, *args):
    try:
        done = subprocess.run(["taskset", "-c", "0,1", paths.build_dir() / "tests/perf" / program, *args], text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout


def _frame_cycles(*args):
    match = re.search(r"busy cycles per frame min ([0-9.]+) median ([0-9.]+)", _run("bench_switch", *args))
    return float(match.group(1)) if match else None


def measure():
    """{what: TSC cycles}, the least of many samples: what is left when nothing disturbs."""
    found = {}
    line = re.search(r"^one readable descriptor\s+([0-9.]+)", _run("bench_vq"), re.M)
    found["rings"] = 2 * float(line.group(1)) if line else None
    for size in SIZES:
        found["alone", size] = _frame_cycles("--alone", "--size", str(size))
        found["lines", size] = _frame_cycles("--descs", "--touch", "--size", str(size))
    return found


def _vm(results, size):
    """(class, cycles) of the VM under full load."""
    result = results.get(str(size))
    windows = [w for w in result.of("vm") if w.counts("cycles")] if result else []
    for cls in ("near", "far", "unknown"):
        values = [w.values["cycles"] for w in windows if w.placement == cls]
        if values:
            yield cls, statistics.median(values)


def _cell(value):
    return "-" if value is None else f"{value:.0f}"


def markdown(found, results):
    """The part of docs/performance.md between its markers."""
    lines = ["", "| step, 64 B frame, split ring | lines from the other processor | budget, cycles |", "|---|---|---|"]
    lines += [f"| {text} | {count:g} | {cycles} |" for text, count, cycles, _ in STEPS]
    total = sum(s[2] for s in STEPS)
    lines += [f"| sum | {sum(s[1] for s in STEPS):.1f} | {total} |", ""]
    rest = None if None in (found["alone", 64], found["rings"]) else found["alone", 64] - found["rings"]
    lines += ["| measured, TSC cycles per frame | budget | 64 B | 1518 B |", "|---|---|---|---|",
              f"| instructions, rings: take and give back two chains (`bench_vq`) | {sum(s[2] for s in STEPS if s[3] == 'rings')} | "
              f"{_cell(found['rings'])} | the same |",
              f"| instructions, all else | {sum(s[2] for s in STEPS if s[3] == 'rest')} | {_cell(rest)} | |",
              f"| instructions, the whole switch in one processor's caches (`bench_switch --alone`) | {total} | "
              f"{_cell(found['alone', 64])} | {_cell(found['alone', 1518])} |",
              f"| the same with a front-end on the other processor (`bench_switch --descs --touch`) | {total} | "
              f"{_cell(found['lines', 64])} | {_cell(found['lines', 1518])} |"]
    vm = {size: dict(_vm(results, size)) for size in SIZES}
    for cls in ("near", "far", "unknown"):
        if any(cls in vm[size] for size in SIZES):
            lines.append(f"| in the back-end VM, DPDK front-end, as many frames as go, {cls} | {total} | "
                         f"{_cell(vm[64].get(cls))} | {_cell(vm[1518].get(cls))} |")
    return "\n".join(lines) + "\n"
