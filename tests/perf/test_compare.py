#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The arithmetic of the comparison: classes, pairs, ratios, rows, and the figures part of the document."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import types
import unittest

HERE = pathlib.Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent)]

# pylint: disable=wrong-import-position
from compare import matrix, report, rounds, stats
from lib import bench, procs
from lib.procs import Failure

MACHINE = {"cpu": "c", "tsc_mhz": 1.0, "kernel": "k", "governor": "none", "hugepages": True, "processors": 2,
           "platform": "p", "dpdk": "1", "qemu": "2", "commit": "abc"}


def window(side, at, placement, rate):
    """A window with one figure."""
    return stats.Window(side, at, placement, {"rate": rate, "zero": 0}, (100.0, 110.0), 0.5)


def result(*windows):
    """Results of those windows."""
    made = rounds.Results()
    for w in windows:
        made.add(w)
    return made


class Classes(unittest.TestCase):
    """bench.placement()."""

    def test_classes(self):
        self.assertEqual(bench.placement(100, 120), "near")
        self.assertEqual(bench.placement(480, 500), "far")
        self.assertEqual(bench.placement(100, 480), "mixed")
        self.assertEqual(bench.placement(300, 300), "mixed")
        self.assertEqual(bench.placement(None, None), "unknown")


class Shares(unittest.TestCase):
    """bench.Shares: who waits for a processor is disturbed, who sleeps is not."""

    def check(self, state, *programs):
        """Whether shells that run these, all on one processor, have it to themselves for a moment once they are in that state."""
        cpu = min(os.sched_getaffinity(0))
        running = [subprocess.Popen(["taskset", "-c", str(cpu), "sh", "-c", f"printf x; {program}"], stdin=subprocess.PIPE,
                                    stdout=subprocess.PIPE) for program in programs]
        try:
            for process in running:
                process.stdout.read(1)  # it has begun
                stat = pathlib.Path(f"/proc/{process.pid}/stat")
                procs.wait_until(lambda stat=stat: stat.read_text().rsplit(")", 1)[1].split()[0] == state, state)
            shares = bench.Shares(*[p.pid for p in running])
            time.sleep(0.2)
            return shares.undisturbed()
        finally:
            for process in running:
                process.kill()
                process.wait()
                process.stdin.close()
                process.stdout.close()

    def test_sleeper(self):
        self.assertTrue(self.check("S", "read nothing"))

    def test_two_that_poll(self):
        self.assertFalse(self.check("R", *["while :; do :; done"] * 2))


class Percentiles(unittest.TestCase):
    """stats.percentile()."""

    def test_values(self):
        self.assertIsNone(stats.percentile([], 50))
        self.assertEqual(stats.percentile([7], 5), 7)
        self.assertEqual(stats.percentile([3, 1, 2], 50), 2)
        self.assertAlmostEqual(stats.percentile(list(range(101)), 95), 95)
        self.assertAlmostEqual(stats.percentile([0, 10], 5), 0.5)


class Pairs(unittest.TestCase):
    """stats.pair() and what is made of pairs."""

    def test_only_one_class(self):
        ours = [window("vm", 1, "near", 30.0), window("vm", 2, "far", 8.0)]
        peers = [window("io", 1.5, "far", 4.0), window("io", 2.5, "near", 10.0), window("io", 3, "mixed", 1.0),
                 window("io", 4, "disturbed", 1.0)]
        pairs = stats.pair(ours, peers, "rate")
        self.assertEqual({c: [p.ratio for p in ps] for c, ps in pairs.items()}, {"far": [2.0], "near": [3.0]})

    def test_nearest_in_time_within_reach(self):
        ours = [window("vm", 0, "near", 1.0), window("vm", 10, "near", 2.0)]
        pairs = stats.pair(ours, [window("io", 8, "near", 1.0), window("io", 100, "near", 1.0)], "rate")
        self.assertEqual([p.ratio for p in pairs["near"]], [2.0])

    def test_windows_without_the_figure(self):
        ours = [window("vm", 0, "near", 1.0)]
        self.assertEqual(stats.pair(ours, [window("io", 0, "near", None)], "rate"), {})
        self.assertEqual(stats.pair(ours, ours, "cycles"), {})

    def test_ratio_is_of_pairs_not_of_medians(self):
        ours = [window("vm", t, "near", r) for t, r in ((0, 1.0), (30, 100.0), (60, 3.0))]
        peers = [window("io", t, "near", r) for t, r in ((0, 1.0), (30, 200.0), (60, 1.0))]
        figures = stats.summary(stats.pair(ours, peers, "rate")["near"])
        self.assertEqual(figures["ratio_median"], 1.0)
        self.assertEqual(figures["ours_median"], 3.0)
        self.assertAlmostEqual(figures["ratio_p5"], 0.55)
        self.assertAlmostEqual(figures["ratio_p95"], 2.8)
        self.assertEqual(figures["windows"], 3)

    def test_nothing_to_divide_by(self):
        ours = [window("vm", 0, "near", 5.0)]
        figures = stats.summary(stats.pair(ours, ours, "rate", "zero")["near"])
        self.assertIsNone(figures["ratio_median"])
        self.assertEqual(figures["peer_median"], 0)

    def test_classes_that_get_a_row(self):
        self.assertEqual(stats.classes_worth_a_row({"near": [1] * 3, "far": [1] * 9}), ["far", "near"])
        self.assertEqual(stats.classes_worth_a_row({"near": [1] * 2, "far": [1] * 9}), ["far"])
        self.assertEqual(stats.classes_worth_a_row({"near": [1], "far": [1] * 2}), ["far"])
        self.assertEqual(stats.classes_worth_a_row({}), [])


class Rows(unittest.TestCase):
    """report.rows() and the document."""

    KEYS = {"work", "peer", "peer_median", "ours_median", "unit", "ratio_median", "ratio_p5", "ratio_p95", "windows",
            "placement", "loss"}

    def rows(self):
        """Rows of one group."""
        group = matrix.Group("64", matrix.sides("vm", "dpdk-io"), matrix.rate_rows("64 B", ("vm", "dpdk-io")))
        made = result(*[window(s, t, "near", r) for t in range(4) for s, r in (("vm", 15e6), ("dpdk-io", 10e6))])
        made.loss = {"vm": 3, "dpdk-io": 9}
        return report.rows([group], {"64": made}, MACHINE)

    def test_row(self):
        rows = self.rows()
        self.assertEqual(len(rows), 1)
        self.assertLessEqual(self.KEYS, set(rows[0]))
        self.assertEqual({k: rows[0][k] for k in ("peer_median", "ours_median", "ratio_median", "windows", "placement", "loss")},
                         {"peer_median": 10.0, "ours_median": 15.0, "ratio_median": 1.5, "windows": 4, "placement": "near",
                          "loss": 3})
        self.assertEqual(rows[0]["machine"]["pingpong_after_ns"], 110.0)
        json.dumps(rows)

    def test_document(self):
        args = types.SimpleNamespace(quick=True)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "performance.md")
            path.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n", encoding="utf-8")
            for _ in range(2):
                report.refresh(path, self.rows(), MACHINE, ["a.svg"], args)
            text = path.read_text(encoding="utf-8")
            self.assertTrue(text.startswith("before\n") and text.endswith("\nafter\n"))
            self.assertNotIn("old", text)
            self.assertEqual(text.count("| 64 B |"), 1)
            self.assertIn("(performance/a.svg)", text)
            path.write_text("no markers\n", encoding="utf-8")
            self.assertRaises(Failure, report.refresh, path, [], MACHINE, [], args)


class Matrix(unittest.TestCase):
    """The data fits together."""

    def test_rows_name_sides(self):
        names = [g.name for g in matrix.every()]
        self.assertEqual(len(names), len(set(names)))
        for group in matrix.every():
            labels = {s.label for s in group.sides}
            self.assertLessEqual(set(group.quick_sides), labels, group.name)
            for row in group.rows:
                self.assertLessEqual({row.ours_side, row.peer_side}, labels, f"{group.name}: {row.work}")
            matrix.Spec(**group.spec)

    def test_choice(self):
        self.assertEqual([g.name for g in matrix.chosen("64,rtt-*", False)],
                         ["64", "rtt-64", "rtt-64-packed", "rtt-1518"])
        self.assertTrue(all(g.quick for g in matrix.chosen(None, True)))


if __name__ == "__main__":
    unittest.main()
