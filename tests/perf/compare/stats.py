# SPDX-License-Identifier: BSD-2-Clause
"""
Windows, and how two sides are compared: arithmetic only, tested by tests/perf/test_compare.py.

A window is one short measurement of one side. Its class is the distance of the two processors before and after it (near,
far), or why it does not count (mixed: they moved; disturbed: something else ran there). A window of the peer is paired
with our window nearest in time of the same class; what is reported is the distribution of the pairs' ratios, ours over
the peer's. Windows of different classes are never compared.
"""

import dataclasses
import statistics

CLASSES = ("near", "far", "unknown")    # unknown: one processor, nothing to probe
REACH = 20.0                            # seconds that two windows of a pair may lie apart
ENOUGH = 3                              # pairs without which a class gets no row while another one has them


@dataclasses.dataclass
class Window:
    """One measurement of one side."""
    side: str
    at: float                   # seconds since the start of the run, middle of the window
    placement: str              # near, far, unknown; mixed and disturbed do not count
    values: dict                # figure: number
    probes: tuple = (None, None)  # cache-line round trip before and after, ns
    load: float = 0.0           # load average of the last minute

    def counts(self, key):
        """True when this window may be compared by that figure."""
        return self.placement in CLASSES and self.values.get(key) is not None


@dataclasses.dataclass
class Pair:
    """A window of the peer and the one of ours that it is compared with."""
    ours: Window
    peer: Window
    key: str
    peer_key: str

    @property
    def ratio(self):
        """Ours over the peer's; None when the peer's is zero."""
        below = self.peer.values[self.peer_key]
        return self.ours.values[self.key] / below if below else None


def percentile(values, percent):
    """With linear interpolation between the two nearest ranks; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    where = (len(ordered) - 1) * percent / 100.0
    low = int(where)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (where - low)


def pair(ours, peers, key, peer_key=None, reach=REACH):
    """Pairs by class: {class: [Pair]}."""
    peer_key = peer_key or key
    pairs = {}
    for window in peers:
        if not window.counts(peer_key):
            continue
        near = [w for w in ours if w.counts(key) and w.placement == window.placement
                and abs(w.at - window.at) <= reach]
        if near:
            best = min(near, key=lambda w: abs(w.at - window.at))
            pairs.setdefault(window.placement, []).append(Pair(best, window, key, peer_key))
    return pairs


def classes_worth_a_row(pairs):
    """Those with enough pairs, most first; the best there is when none has."""
    ordered = sorted(pairs, key=lambda c: (-len(pairs[c]), CLASSES.index(c)))
    return [c for c in ordered if len(pairs[c]) >= ENOUGH] or ordered[:1]


def summary(pairs):
    """Medians of both sides and the spread of their ratio over the pairs of one class."""
    ratios = [p.ratio for p in pairs if p.ratio is not None]
    return {
        "peer_median": statistics.median(p.peer.values[p.peer_key] for p in pairs),
        "ours_median": statistics.median(p.ours.values[p.key] for p in pairs),
        "ratio_median": statistics.median(ratios) if ratios else None,
        "ratio_p5": percentile(ratios, 5),
        "ratio_p95": percentile(ratios, 95),
        "windows": len(pairs),
    }
