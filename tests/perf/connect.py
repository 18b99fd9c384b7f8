#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
Connect time: from a front-end's connect() until its first frame has arrived at another front-end.

The front-end is a script that does what QEMU does (about 25 messages, those with a reply waited for), so its own part is in the
figure and the same for every kind of back-end: our VM (vm), the same logic as a host process (host), DPDK's vhost (testpmd).
The kinds take turns. DPDK makes all memory of a front-end resident and is left out above 1 GiB. Of the VM the exits of its
vCPUs in that time are counted, and with --steps it is shown when each step was done.
"""

import argparse
import contextlib
import json
import pathlib
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import backend, bench, procs
from lib.procs import Failure
from proxy import test_hosted as hosted
from proxy.frontend import F_EVENT_IDX, F_MRG_RXBUF, FrontEnd, Memory, Vring
from proxy import abi

KINDS = ("vm", "host", "testpmd")
STEPS = ("connected", "negotiated", "memory", "rings", "frame")
EXITS = ("user_exits", "io_exits", "mmio_exits", "irq_injections", "halt_exits")
TIMEOUT = 20
POPULATED_MAX = 1 << 30
SIZES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def negotiate(fe):
    """No event index: who looks at the used index himself needs no call. No STATUS: DPDK would wait for its messages."""
    fe.negotiate(features=~F_EVENT_IDX, protocol=~abi.pf("STATUS"))


def rings(fe, memory):
    """Receive and transmit ring in memory, the receive ring full of buffers."""
    kw = {"hdr_size": 12 if fe.features & (abi.F_VERSION_1 | F_MRG_RXBUF) else 10,
          "mergeable": bool(fe.features & F_MRG_RXBUF)}
    rx, tx = Vring(memory, 0, 256, **kw), Vring(memory, 1, 256, **kw)
    rx.post_receive_buffers()
    return rx, tx


class Receiver:
    """The front-end on port 1, which stays."""

    def __init__(self, path):
        self.kind = path.kind
        self.fe = FrontEnd.connect(path.socket(1))
        self.memory = Memory(64 << 20)
        negotiate(self.fe)
        self.fe.set_mem_table([self.memory])
        self.rx, self.tx = self.fe.start_net(self.memory)

    def wait(self):
        """Until a frame is there, looking at memory; then the buffer goes back."""
        deadline = time.monotonic() + TIMEOUT
        while not (used := self.rx.pop_used()):
            if time.monotonic() > deadline:
                raise Failure(f"{self.kind}: the first frame did not arrive")
        now = time.monotonic()
        self.rx.write_desc(used[0], self.rx.buffer(used[0]), self.rx.buffer_size, Vring.F_WRITE)
        self.rx.publish(used[0])
        self.rx.kick()
        return now


class Bench:
    """One kind of back-end with a receiver on port 1."""

    def __init__(self, session, kind, args):
        self.kind = kind
        if kind == "vm":
            self.path = backend.VmPath(session, 2, app=("switch", f"poll={args.poll}"), cpu=args.cpu,
                                       vmm_args=["--prefault"] if args.prefault else [])
        elif kind == "host":
            self.path = backend.HostPath(session, 2, app=("switch", f"poll={args.poll}"), cpu=args.cpu)
        else:
            self.path = backend.TestpmdPath(session, 2, cpu=args.cpu or 0)
        self.path.wait_up()
        self.receiver = Receiver(self.path)

    def exits(self):
        """Exits of the vCPUs so far."""
        return self.path.status("vmm")["exits"] if self.kind == "vm" else {}

    def free(self):
        """Until port 0 takes a front-end again."""
        if self.kind != "vm":
            return
        procs.wait_until(lambda: (port := self.path.status("proxy")["ports"][0])["back_end"]["up"] and
                         not port["front_end"], "port 0 is free again", TIMEOUT, 0.002)

    def once(self, size):
        """({step: ms since the beginning}, {kind of exit: how many})."""
        memory = Memory(size)
        before = self.exits()
        start = time.monotonic()
        fe = FrontEnd.connect(self.path.socket(0))
        at = {"connected": time.monotonic()}
        negotiate(fe)
        at["negotiated"] = time.monotonic()
        fe.set_mem_table([memory])
        at["memory"] = time.monotonic()
        rx, tx = rings(fe, memory)
        fe.start_vring(rx)
        fe.start_vring(tx)
        at["rings"] = time.monotonic()
        tx.send_frame(hosted.frame(0, 1, b"first"))  # a ring that is not enabled yet would drop it
        at["frame"] = self.receiver.wait()
        after = self.exits()
        fe.close()
        for ring in (rx, tx):
            ring.close()
        memory.close()
        self.free()
        return ({step: (t - start) * 1000 for step, t in at.items()},
                {key: after.get(key, 0) - before.get(key, 0) for key in EXITS} if before else {})


def measure(benches, size, args):
    """{kind: [result of once()]}; the first one of each is not counted."""
    benches = [b for b in benches if b.kind != "testpmd" or size <= POPULATED_MAX]
    results = {b.kind: [] for b in benches}
    for i in range(args.runs + 1):
        for b in benches:
            result = b.once(size)
            if i:
                results[b.kind].append(result)
    return results


def show(results, label, args):
    """A table; returns rows for --json."""
    rows, out = [], []
    for kind, runs in results.items():
        times = [steps["frame"] for steps, _ in runs]
        exits = {key: statistics.median(e[key] for _, e in runs) for key in EXITS} if kind == "vm" else {}
        rows.append([kind, bench.spread(times), ", ".join(f"{int(v)} {k}" for k, v in exits.items())])
        if args.steps:
            rows.append(["", ", ".join(f"{step} {min(s[step] for s, _ in runs):.2f}/"
                                       f"{statistics.median(s[step] for s, _ in runs):.2f}" for step in STEPS) + " (min/median)", ""])
        out.append({"work": f"connect to first frame, {label}", "peer": kind, "unit": "ms", "values": times,
                    "exits": exits})
    bench.table([f"{label} front-end", "ms, min/median/max (runs)", "exits (median)"], rows)
    return out


def parse_size(text):
    """16G -> bytes."""
    if text[-1:] not in SIZES or not text[:-1].isdigit():
        raise argparse.ArgumentTypeError("a size is a number with K, M or G")
    return int(text[:-1]) * SIZES[text[-1]]


def main():
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--runs", type=int, default=20, metavar="N")
    parser.add_argument("--memory", action="append", metavar="SIZE", help="of the front-end, sparse; may be repeated "
                        "(default: 64M, 1G and 16G)")
    parser.add_argument("--backend", action="append", choices=KINDS, help="may be repeated (default: all)")
    parser.add_argument("--poll", default="adaptive:50", help="poll= of ours (default adaptive:50)")
    parser.add_argument("--prefault", action="store_true", help="vvu-vmm --prefault")
    parser.add_argument("--cpu", type=int, default=None, help="bind the back-end to this processor")
    parser.add_argument("--steps", action="store_true", help="when each step was done")
    parser.add_argument("--json", metavar="FILE", help="write rows {work, peer, unit, values, exits} there")
    args = parser.parse_args()
    procs.die_on_signals()
    try:
        bench.begin("connect time", "vvu-vmm", "vvu-proxy", "vvu-backend", "appliance.elf")
        rows = []
        with contextlib.ExitStack() as stack:
            benches = [Bench(stack.enter_context(procs.Session(f"connect-{kind}")), kind, args)
                       for kind in args.backend or KINDS]
            for label in args.memory or ["64M", "1G", "16G"]:
                rows += show(measure(benches, parse_size(label), args), label, args)
        if args.json:
            pathlib.Path(args.json).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    except (Failure, OSError) as error:
        print(f"connect: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
