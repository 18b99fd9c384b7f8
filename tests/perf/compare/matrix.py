# SPDX-License-Identifier: BSD-2-Clause
"""
What is compared: data, and nothing else.

A group is a set of sides that take turns in one session. A side is a kind of back-end (peers.py) with a front-end; what
differs from the group's spec is said at the side. A row compares one figure of two sides.
"""

import dataclasses
import fnmatch


@dataclasses.dataclass
class Spec:
    """What a side is given."""
    ports: int = 2
    queues: int = 1
    size: int = 64              # bytes, without FCS
    variant: str = "split"      # ring layout, load.LAYOUTS; split: mergeable, not in order, as Linux guests have it
    front: str = "load"         # fronts.FRONTS
    mode: str = "flood"         # flood, rtt
    pattern: str = "pairs"      # pairs, uniform, self
    touch: str = "write,read"   # what the front-end does to the payload
    rate: float = 0             # frames per second; 0: as many as go
    flows: int = 1
    gso: bool = False
    exits: bool = False         # count VM exits and wake-ups, too
    window: float = 0.3         # seconds; set by the command line
    huge: bool = True           # set at run time


@dataclasses.dataclass
class Side:
    """A kind of back-end under a label."""
    label: str
    kind: str
    spec: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Row:
    """Ours against a peer's by one figure; factor turns the figure into the unit."""
    work: str
    peer: str                   # as printed
    ours_side: str
    peer_side: str
    figure: str
    unit: str
    factor: float = 1.0
    peer_figure: str = ""       # when it has another name there
    target: str = ""            # `>= 1.5`, printed beside the ratio
    quick: bool = True


@dataclasses.dataclass
class Group:
    """Sides that take turns."""
    name: str
    sides: list
    rows: list
    spec: dict = dataclasses.field(default_factory=dict)
    seconds: float = 30         # of windows per round, in a full run
    quick: float = 0            # seconds of its only round in a quick run; 0: not part of it
    quick_sides: tuple = ()     # empty: all
    runner: str = "rounds"      # or guests, connect
    starting: float = 2         # seconds that a side takes to start, for the progress bar


RATE = {"figure": "rate", "unit": "M frames/s", "factor": 1e-6}
PEER = {
    "vm": "ourselves", "vm-always": "ourselves, poll=always", "host": "vvu-backend (same logic, host process)",
    "dpdk-io": "DPDK host switch, io", "dpdk-macswap": "DPDK host switch, macswap",
    "ovs-normal": "OVS-DPDK, NORMAL", "ovs-flows": "OVS-DPDK, port-to-port flows",
    "ceiling": "front-end's own ceiling",
}


def sides(*kinds):
    """Sides called as their kind."""
    return [Side(k, k) for k in kinds]


def rate_rows(work, kinds, targets=None):
    """A row per peer, by frames per second."""
    return [Row(work, PEER[k], "vm", k, target=(targets or {}).get(k, ""), **RATE) for k in kinds if k != "vm"]


ALL = ("vm", "vm-always", "host", "dpdk-io", "dpdk-macswap", "ovs-normal", "ovs-flows", "ceiling")
SOME = ("vm", "dpdk-io", "ovs-normal")


def two_ports():
    """Frame sizes, both directions between two ports, payload written and read by the front-end."""
    yield Group("64", sides(*ALL), rate_rows("64 B both ways", ALL, {
        "dpdk-io": ">= 1.5", "ovs-normal": ">= 2.5", "host": ">= 0.97", "vm-always": "0.98 to 1.02"}),
        seconds=40, quick=22, quick_sides=("vm", "vm-always", "host", "dpdk-io", "ovs-normal", "ovs-flows"))
    yield Group("256", sides(*SOME), rate_rows("256 B both ways", SOME), {"size": 256}, seconds=15)
    yield Group("512", sides(*SOME), rate_rows("512 B both ways", SOME), {"size": 512}, seconds=15)
    yield Group("1518", sides(*ALL), rate_rows("1518 B both ways", ALL, {
        "dpdk-io": ">= 2.0", "host": ">= 0.97", "vm-always": "0.98 to 1.02"}), {"size": 1518},
        seconds=40, quick=14, quick_sides=("vm", "host", "dpdk-io", "ovs-normal"))
    yield Group("9000", sides(*SOME), rate_rows("9000 B both ways", SOME), {"size": 9000}, seconds=20)
    yield Group("gso", sides("vm", "host", "dpdk-io"), [
        Row("64 KiB GSO frames both ways", PEER[k], "vm", k, "rate", "k frames/s", 1e-3) for k in ("host", "dpdk-io")],
        {"size": 65535, "gso": True}, seconds=20)
    yield Group("64-untouched", sides(*SOME), rate_rows("64 B both ways, headers only", SOME), {"touch": "none"},
                seconds=20)
    yield Group("1518-untouched", sides(*SOME), rate_rows("1518 B both ways, headers only", SOME),
                {"touch": "none", "size": 1518}, seconds=20)
    yield Group("64-testpmd", sides(*SOME), rate_rows("64 B both ways, testpmd as front-end", SOME),
                {"front": "circle"}, seconds=20)
    yield Group("1518-testpmd", sides(*SOME), rate_rows("1518 B both ways, testpmd as front-end", SOME),
                {"front": "circle", "size": 1518}, seconds=20)


def layouts():
    """Ring layouts of the front-end."""
    for variant in ("split-small", "split-inorder", "split-vec", "packed", "packed-vec"):
        yield Group(f"64-{variant}", sides("vm", "dpdk-io"), rate_rows(f"64 B both ways, {variant}", ("vm", "dpdk-io")),
                    {"variant": variant}, seconds=15)
        if variant != "split-vec":
            yield Group(f"1518-{variant}", sides("vm", "dpdk-io"),
                        rate_rows(f"1518 B both ways, {variant}", ("vm", "dpdk-io")),
                        {"variant": variant, "size": 1518}, seconds=12)
    for queues in (2, 4):
        yield Group(f"64-queues-{queues}", sides("vm", "dpdk-io"),
                    rate_rows(f"64 B both ways, {queues} queue pairs", ("vm", "dpdk-io")),
                    {"queues": queues, "flows": 64}, seconds=15)


def many_ports():
    """Uniform random traffic among 2 to 32 ports; the figure that counts is what a frame costs."""
    counts = (2, 4, 8, 16, 32)
    rows = []
    for n in counts[1:]:
        target = "<= 1.3" if n == 32 else ""
        rows.append(Row(f"64 B uniform random, {n} ports", "ourselves, 2 ports", f"{n} ports", "2 ports", "cycles",
                        "cycles/frame", target=target))
        rows.append(Row(f"64 B uniform random, {n} ports", "ourselves, 2 ports", f"{n} ports", "2 ports", "ns",
                        "ns/frame", target=target))
    yield Group("ports", [Side(f"{n} ports", "vm", {"ports": n}) for n in counts], rows, {"pattern": "uniform"},
                seconds=40, quick=9, quick_sides=("2 ports", "32 ports"), starting=3)


def costs():
    """What the back-end's core spends per frame at the same offered load, whatever the front-end can do."""
    cost = {"figure": "cycles", "unit": "cycles/frame"}
    targets = {(64, "dpdk-io"): "<= 0.67", (64, "ovs-normal"): "<= 0.4", (1518, "dpdk-io"): "<= 0.5"}
    for size, rate, full, quick in ((64, 2e6, 20, 0), (64, 5e6, 20, 8), (1518, 1e6, 20, 7)):
        work = f"{size} B at {rate / 1e6:g} M frames/s"
        yield Group(f"cost-{size}-{rate / 1e6:g}", sides("vm", "host", "dpdk-io", "ovs-normal"),
                    [Row(work, PEER[k], "vm", k, target=targets.get((size, k), ""), **cost)
                     for k in ("host", "dpdk-io", "ovs-normal")],
                    {"size": size, "rate": rate}, seconds=full, quick=quick, quick_sides=("vm", "dpdk-io"))


def round_trips():
    """One frame under way, echoed."""
    kinds = ("vm-echo", "vm-echo-always", "host-echo", "dpdk-macswap", "dpdk-io")
    names = {"vm-echo-always": "ourselves, poll=always", "host-echo": "vvu-backend (same logic, host process)",
             "dpdk-macswap": "DPDK vhost bounce, macswap", "dpdk-io": "DPDK vhost bounce, io"}
    ns = {"unit": "us", "factor": 1e-3}
    for size, variant, full, quick in ((64, "split", 30, 12), (64, "packed", 20, 0), (1518, "split", 20, 0)):
        base = f"round trip of one {size} B frame" + (f", {variant}" if variant != "split" else "")
        rows = []
        for figure in ("p50", "p99"):
            for kind in kinds[1:]:
                target = "<= 0.8" if kind.startswith("dpdk") and size == 64 and variant == "split" else ""
                rows.append(Row(f"{base}, {figure}", names[kind], "vm-echo", kind, figure, target=target, **ns))
        rows.append(Row(f"{base}, p50", "cache-line ping-pong of the same cores", "vm-echo", "vm-echo", "p50",
                        peer_figure="pingpong", target="<= 4" if size == 64 else "", **ns))
        name = f"rtt-{size}" + (f"-{variant}" if variant != "split" else "")
        yield Group(name, sides(*kinds), rows, {"mode": "rtt", "ports": 1, "size": size, "variant": variant},
                    seconds=full, quick=quick, quick_sides=("vm-echo", "vm-echo-always", "dpdk-macswap", "dpdk-io"))


def limits():
    """What the machine itself allows."""
    rows = []
    kinds = []
    for size in (64, 1518, 9000):
        kinds += [Side(f"vm {size}", "vm", {"size": size}), Side(f"memcpy {size}", "memcpy", {"size": size})]
        rows.append(Row(f"{size} B both ways", "memcpy, one core, 16 MiB set", f"vm {size}", f"memcpy {size}", "ns",
                        "ns/frame"))
    yield Group("memcpy", kinds, rows, seconds=20)
    rows = []
    for kind, how in (("vm", ""), ("vm-always", ", poll=always")):
        for figure, what in (("exits", "VM exits"), ("wakeups", "wake-ups of other threads")):
            rows.append(Row(f"{what} while polling under load{how}", "physical limit", kind, kind, figure, "per window",
                            peer_figure="zero", target="0"))
    yield Group("exits", sides("vm", "vm-always"), rows, {"front": "steady", "exits": True}, seconds=15, quick=5)


def guests():
    """Two QEMU guests, and time to connect."""
    yield Group("guests", sides("vm", "bridge"), [
        Row("TCP between QEMU guests, 64 KiB GSO", "Linux bridge + TAP, same guests", "vm", "bridge", "gbit",
            "Gbit/s", target=">= 1.0"),
        Row("TCP between QEMU guests, cycles per 64 KiB", "Linux bridge + TAP, same guests", "vm", "vm", "cycles64k",
            "busy cycles", peer_figure="none")],
        seconds=60, quick=25, runner="guests", starting=8)


def connects():
    """From a front-end's connect() to its first frame at another one."""
    kinds = ("vm", "host", "testpmd")
    names = {"host": PEER["host"], "testpmd": "DPDK vhost"}
    rows = [Row(f"connect to first frame, {m} front-end", names[k], f"vm {m}", f"{k} {m}", "ms", "ms")
            for m in ("64M", "16G") for k in kinds[1:] if (m, k) != ("16G", "testpmd")]     # it takes all memory at once
    yield Group("connect", [Side(f"{k} {m}", k) for m in ("64M", "16G") for k in kinds], rows, seconds=20, runner="connect")


def every():
    """All groups, in the order in which they run."""
    return [*two_ports(), *round_trips(), *many_ports(), *costs(), *limits(), *guests(), *connects(), *layouts()]


def chosen(pattern, quick):
    """Groups for a run; a pattern chooses by name (shell pattern, or part of it) and beats `quick`."""
    groups = every()
    if pattern:
        return [g for g in groups if any(fnmatch.fnmatch(g.name, p) or p == g.name for p in pattern.split(","))]
    return [g for g in groups if g.quick or not quick]
