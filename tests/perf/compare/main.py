# SPDX-License-Identifier: BSD-2-Clause
"""
Measures vvu against DPDK's host switch, OVS-DPDK, itself as a host process, Linux bridge + TAP and the machine's limits.

Peer and us take turns in short windows within one run; windows are compared only when the two processors were equally
far apart, and left out when something else ran on them. Writes perf.json (rows), the raw windows beside it, a table, SVG
plots, and the figures of docs/performance.md.
"""

import argparse
import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[2]), str(HERE.parents[1])]

# pylint: disable=wrong-import-position
from compare import budget, connect, guests, machine, matrix, ovs, plots, report, rounds
from lib import bench, building, guestimage, load, paths, platforms, procs, testpmd, ui
from lib.procs import Failure

ROUNDS = 2
WINDOW = 0.3
SMOKE = ("64", "rtt-64", "64-testpmd")
SKIP = 77
HUGE_MIB = 9000
TARGETS = (*building.PROGRAMS, "tests/perf/pingpong", "tests/perf/memcpy", "tests/perf/bench_vq", "tests/perf/bench_switch")
RUNNERS = {"rounds": rounds.run, "guests": guests.run, "connect": connect.run}


def options():
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="tests/perf/run", description=__doc__.strip(), formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Needs root (huge pages, private mounts and network namespaces), two processors and /dev/kvm. "
               "Leave the machine alone meanwhile. No network interface of the host is touched, no service is installed.")
    parser.add_argument("--quick", action="store_true", help="the main rows in 3 minutes (a full run takes about half an hour)")
    parser.add_argument("--only", metavar="NAMES", help="only these groups, by name or shell pattern, separated by commas")
    parser.add_argument("--list", action="store_true", help="print the groups and end")
    parser.add_argument("--json", metavar="FILE", help="where to write the rows (default perf.json in the build directory)")
    parser.add_argument("--seconds", type=float, default=WINDOW, metavar="S", help=f"length of a window ({WINDOW})")
    parser.add_argument("--rounds", type=int, metavar="N",
                        help=f"rounds per group, each with programs newly started ({ROUNDS}; quick: 1)")
    parser.add_argument("--smoke", action="store_true",
                        help="one window each of a few rows, without huge pages if need be: does it still work?")
    parser.add_argument("--no-docs", action="store_true", help="leave docs/performance.md and its plots as they are")
    parser.add_argument("--no-install", action="store_true", help="do not install packages")
    parser.add_argument("--no-build", action="store_true", help="do not build")
    args = parser.parse_args()
    if args.seconds <= 0:
        parser.error("--seconds must be more than 0")
    if args.rounds is None:
        args.rounds = 1 if args.quick or args.smoke else ROUNDS
    return args


def prepare(args, screen):
    """Packages, programs, guest image, peers."""
    if not args.no_install:
        building.install_packages("--perf")
    if not args.no_build:
        screen.step(f"building in {paths.build_dir()}")
        building.setup()
        building.ninja(TARGETS, progress=lambda done, total: screen.progress(f"building {done}/{total}", done / total))
    if not args.no_build or args.smoke:
        load.program()
    missing = [t for t in (*TARGETS, load.TARGET) if not (paths.build_dir() / t).exists()]
    if missing:
        raise Failure(f"not built: {', '.join(missing)} (leave --no-build away)")
    if platforms.why_no_kvm():
        raise Failure(platforms.why_no_kvm())


def why_no_smoke():
    """Why --smoke cannot run here, or None."""
    if not shutil.which("dpdk-testpmd"):
        return "dpdk-testpmd is missing (Debian package dpdk-dev)"
    return platforms.why_no_kvm() or load.why_not()


def starting(group, side):
    """Seconds that a side takes to start, for the progress bar."""
    return 7 if side.kind.startswith("ovs") else group.starting


class Progress:
    """A bar with the time left, out of what the groups are expected to take and what they took so far."""

    def __init__(self, screen, plan):
        self.screen = screen
        self.plan = plan                    # [(name, seconds expected)]
        self.total = sum(s for _, s in plan)
        self.done = 0.0
        self.begin = time.monotonic()
        self.name, self.expected, self.group_begin = "", 0.0, self.begin

    def group(self, name, expected):
        """The next one."""
        self.name, self.expected, self.group_begin = name, expected, time.monotonic()
        self.tick()

    def end_group(self):
        """It is done, whatever it took."""
        self.done += self.expected
        self.expected = 0.0

    def tick(self, window=None):
        """Something happened."""
        within = min(time.monotonic() - self.group_begin, self.expected)
        elapsed = time.monotonic() - self.begin
        fraction = min(0.999, (self.done + within) / self.total)
        # What the plan says is left, corrected by how well it has foretold so far.
        pace = elapsed / (self.done + within) if self.done + within > 10 else 1.0
        left = (self.total - self.done - within) * pace
        text = f"{self.name}: {left // 60:.0f} min {left % 60:02.0f} s left"
        if window:
            text += f" ({window.side} {window.placement})"
        self.screen.progress(text, fraction)


def sides_of(group, args):
    """The sides that take part."""
    if args.smoke:
        return [s for s in group.sides if s.label in ("vm", "dpdk-io", "vm-echo", "dpdk-macswap")]
    if args.quick and group.quick_sides:
        return [s for s in group.sides if s.label in group.quick_sides]
    return group.sides


def seconds_of(group, args):
    """Of windows, per round."""
    if args.smoke:
        return 0
    return group.quick or group.seconds / 3 if args.quick else group.seconds


def measure(args, groups, huge, screen):
    """All groups; {group name: Results}."""
    begin = time.monotonic()
    plan = [(g.name, seconds_of(g, args) + sum(starting(g, s) for s in sides_of(g, args)))
            for _ in range(args.rounds) for g in groups]
    progress = Progress(screen, plan)
    results = {g.name: rounds.Results() for g in groups}

    def tick(window):
        if args.smoke:
            window.placement = "unknown"    # whatever else runs here: it is about the mechanics
        progress.tick(window)

    # Round by round, not group by group: what the machine does for some minutes hits all groups alike.
    for number in range(args.rounds):
        for group, (name, expected) in zip(groups, plan):
            progress.group(name, expected)
            spec = dataclasses.replace(matrix.Spec(**group.spec), window=args.seconds, huge=huge)
            try:
                RUNNERS[group.runner](sides_of(group, args), spec, seconds_of(group, args), lambda: time.monotonic() - begin,
                                      results[group.name], tick)
            except (Failure, subprocess.SubprocessError, OSError) as error:
                # One group that breaks must not cost the figures of the others.
                results[group.name].failed["all"] = str(error)
            progress.end_group()
            failed = results[group.name].failed
            for side, why in failed.items():
                screen.step(f"{group.name}: {side} could not be measured: {why}")
            screen.step(f"{group.name}" + (f", round {number + 1}" if args.rounds > 1 else "") + ": "
                        + report.glance(results[group.name]))
    return results


def write(args, groups, results, described, screen):
    """perf.json, the windows, the table, plots, docs."""
    rows = report.rows(groups, results, described)
    out = pathlib.Path(args.json) if args.json else paths.build_dir() / "perf.json"
    out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    raw = out.with_name(out.stem + "-windows.json")
    raw.write_text(json.dumps(report.raw(results, described)) + "\n", encoding="utf-8")
    screen.step(f"{len(rows)} rows in {out}, windows in {raw}")
    report.print_table(rows)
    for text in report.unmeasured(groups, results, lambda g: sides_of(g, args)):
        screen.step(f"no windows to compare (disturbed, or of no class): {text}")
    docs = None if args.no_docs or args.only or args.smoke else paths.ROOT / "docs/performance"
    drawn = plots.draw(rows, groups, results, out.parent / "perf-plots", screen)
    if docs:
        docs.mkdir(exist_ok=True)
        for made in (*drawn, out):
            shutil.copyfile(made, docs / ("perf.json" if made == out else made.name))
        report.refresh(paths.ROOT / "docs/performance.md", rows, described, [p.name for p in drawn], args)
        screen.step("measuring the steps of the budget")
        report.between(paths.ROOT / "docs/performance.md", budget.BEGIN, budget.END,
                       budget.markdown(budget.measure(), results))
        screen.step("docs/performance.md refreshed")
    return rows


def main():
    """Entry point."""
    args = options()
    groups = matrix.chosen(args.only or (",".join(SMOKE) if args.smoke else None), args.quick)
    if args.list:
        bench.table(["group", "sides", "rows"], [[g.name, ", ".join(s.label for s in g.sides), len(g.rows)] for g in groups])
        return 0
    procs.die_on_signals()
    screen = ui.Ui()
    if args.smoke and why_no_smoke():
        print(f"skip: {why_no_smoke()}")
        return SKIP
    try:
        if not groups:
            raise Failure(f"--only {args.only}: no such group; see --list")
        if not args.smoke:
            machine.require_root()
        prepare(args, screen)
        if any(g.runner == "guests" for g in groups):
            guestimage.kernel(screen.step)
        if any(s.kind.startswith("ovs") for g in groups for s in sides_of(g, args)):
            ovs.tree()
        with testpmd.hugepages(1500 if args.smoke else HUGE_MIB) as huge:
            if not huge:
                screen.step("no huge pages to be had: DPDK runs on 4 KiB pages")
            described = machine.describe(huge)
            results = measure(args, groups, huge, screen)
        rows = write(args, groups, results, described, screen)
    except Failure as error:
        screen.step(f"FAILED: {error}")
        return 1
    if args.smoke:
        return report.smoke_verdict(rows, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
