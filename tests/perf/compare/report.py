# SPDX-License-Identifier: BSD-2-Clause
"""Rows out of windows; the table, and the figures of docs/performance.md."""

import json
import statistics
import time

from lib import bench
from lib.procs import Failure

from . import stats

BEGIN = "<!-- figures: begin (written by tests/perf/run) -->"
END = "<!-- figures: end -->"


def _number(value, digits=4):
    return None if value is None else float(f"{value:.{digits}g}")


def _beside(pairs, described):
    """The machine's state beside a figure."""
    windows = [w for p in pairs for w in (p.ours, p.peer)]
    probes = [[w.probes[i] for w in windows if w.probes[i] is not None] for i in (0, 1)]
    return {
        "cpu": described["cpu"], "tsc_mhz": described["tsc_mhz"], "kernel": described["kernel"],
        "governor": described["governor"], "hugepages": described["hugepages"],
        "load_average": _number(statistics.median(w.load for w in windows), 3),
        "pingpong_before_ns": _number(statistics.median(probes[0]), 4) if probes[0] else None,
        "pingpong_after_ns": _number(statistics.median(probes[1]), 4) if probes[1] else None,
    }


def _front_end(pairs):
    """How busy the front-end was, [beside the peer, beside us], 0 to 1: where it is near 1, it is what bounds the rate."""
    shares = [[w.values["fe_busy"] for w in windows if w.values.get("fe_busy") is not None]
              for windows in ([p.peer for p in pairs], [p.ours for p in pairs])]
    return [_number(statistics.median(s), 2) if s else None for s in shares]


def row(spec, result, described):
    """The rows of one matrix.Row: one per class of placement that has enough windows."""
    pairs = stats.pair(result.of(spec.ours_side), result.of(spec.peer_side), spec.figure, spec.peer_figure)
    for cls in stats.classes_worth_a_row(pairs):
        figures = stats.summary(pairs[cls])
        yield {
            "work": spec.work,
            "peer": spec.peer,
            "peer_median": _number(figures["peer_median"] * spec.factor),
            "ours_median": _number(figures["ours_median"] * spec.factor),
            "unit": spec.unit,
            "ratio_median": _number(figures["ratio_median"]),
            "ratio_p5": _number(figures["ratio_p5"]),
            "ratio_p95": _number(figures["ratio_p95"]),
            "windows": figures["windows"],
            "placement": cls,
            "loss": result.loss.get(spec.ours_side, 0),
            "target": spec.target,
            "front_end_busy": _front_end(pairs[cls]),
            "machine": _beside(pairs[cls], described),
        }


def rows(groups, results, described):
    """All rows of a run."""
    return [r for g in groups for spec in g.rows for r in row(spec, results[g.name], described)]


def raw(results, described):
    """Every window as measured, to look closer."""
    return {"machine": described, "groups": {
        name: {"loss": result.loss, "failed": result.failed, "windows": {
            side: [{"at": round(w.at, 2), "placement": w.placement, "probes_ns": w.probes, "load": w.load, **w.values}
                   for w in windows] for side, windows in result.windows.items()}}
        for name, result in results.items()}}


def glance(result):
    """One line about a group: windows by class."""
    counts = {}
    for windows in result.windows.values():
        for window in windows:
            counts[window.placement] = counts.get(window.placement, 0) + 1
    # Less than nothing: frames that a peer made itself (vhost announces a port's address once).
    lost = {side: n for side, n in result.loss.items() if n > 0}
    text = ", ".join(f"{n} {cls}" for cls, n in sorted(counts.items())) or "no window"
    return text + (f"; frames in no counter: {lost}" if lost else "")


def _cell(value):
    return "-" if value is None else f"{value:g}"


HEADER = ["work", "peer", "peer", "ours", "unit", "ratio", "p5", "p95", "target", "front-end busy", "windows", "placement", "loss"]


def _cells(r):
    return [r["work"], r["peer"], _cell(r["peer_median"]), _cell(r["ours_median"]), r["unit"], _cell(r["ratio_median"]),
            _cell(r["ratio_p5"]), _cell(r["ratio_p95"]), r["target"] or "",
            " / ".join(_cell(x) for x in r["front_end_busy"]) if any(r["front_end_busy"]) else "", r["windows"], r["placement"], r["loss"]]


def print_table(the_rows):
    """On the terminal."""
    if the_rows:
        bench.table(HEADER, [_cells(r) for r in the_rows])
    print("  ratio: ours / peer's over pairs of neighbouring windows of one class, median, p5, p95; "
          "loss: frames of ours in no counter")


def markdown(the_rows, described, plots, quick):
    """The part of docs/performance.md between the markers."""
    lines = ["", f"Measured on {time.strftime('%Y-%m-%d')}, " + ("`tests/perf/run --quick`" if quick else "`tests/perf/run`")
             + f", tree {described['commit'] or 'unknown'}.", ""]
    lines += ["| machine | |", "|---|---|"]
    names = {"cpu": "processor", "processors": "processors", "tsc_mhz": "TSC, MHz", "kernel": "kernel",
             "governor": "frequency governor", "platform": "KVM", "hugepages": "huge pages", "dpdk": "DPDK",
             "qemu": "QEMU"}
    lines += [f"| {text} | {described[key]} |" for key, text in names.items()]
    lines += ["", "Ratio: ours over the peer's, over pairs of neighbouring windows of one placement class. `ping-pong`: median cache-line "
              "round trip before and after these windows; `load`: load average. `loss`: frames of ours that no counter shows. "
              "`front-end busy`: share of the front-end's time, beside the peer and beside us; near 1 it is the front-end "
              "that bounds the rate.", ""]
    header = HEADER + ["ping-pong, ns", "load"]
    header[2] = "peer's median"
    header[3] = "our median"
    header[5] = "ratio, median"
    lines += ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for r in the_rows:
        beside = r["machine"]
        cells = _cells(r) + [f"{_cell(beside['pingpong_before_ns'])} / {_cell(beside['pingpong_after_ns'])}",
                             _cell(beside["load_average"])]
        lines.append("| " + " | ".join(str(c) for c in cells) + " |")
    lines += ["", "The same as data: [perf.json](performance/perf.json).", ""]
    for name in plots:
        lines += [f"![{name.removesuffix('.svg')}](performance/{name})", ""]
    return "\n".join(lines)


def between(path, begin, end, new):
    """Put text between two markers; the prose around them is left alone."""
    text = path.read_text(encoding="utf-8")
    if text.count(begin) != 1 or text.count(end) != 1:
        raise Failure(f"{path}: the markers for the figures are not there")
    before, rest = text.split(begin)
    after = rest.split(end)[1]
    path.write_text(before + begin + "\n" + new + "\n" + end + after, encoding="utf-8")


def refresh(path, the_rows, described, plots, args):
    """The figures part of the document."""
    between(path, BEGIN, END, markdown(the_rows, described, plots, args.quick))


def unmeasured(groups, results, sides_of):
    """Rows that should be there and are not."""
    return [f"{spec.work} / {spec.peer}" for g in groups for spec in g.rows
            if {spec.ours_side, spec.peer_side} <= {s.label for s in sides_of(g)}
            and not stats.pair(results[g.name].of(spec.ours_side), results[g.name].of(spec.peer_side), spec.figure,
                               spec.peer_figure)]


def smoke_verdict(the_rows, results):
    """For --smoke: 0 when every side was measured, rows came out whole and no frame was lost."""
    problems = [f"{name}: {side}: {why}" for name, r in results.items() for side, why in r.failed.items()]
    problems += [f"{name}: {side}: {n} frames in no counter" for name, r in results.items()
                 for side, n in r.loss.items() if n and side.startswith("vm")]
    problems += [f"{name}: {side}: no figure in {w.values}" for name, r in results.items()
                 for side, windows in r.windows.items() for w in windows
                 if not (w.values.get("rate") or w.values.get("p50"))]
    if not all(r.windows for r in results.values()):
        problems.append("a group without windows")
    json.dumps(the_rows)
    for problem in problems:
        print(f"FAIL {problem}")
    return 1 if problems else 0
