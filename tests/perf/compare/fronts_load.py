# SPDX-License-Identifier: BSD-2-Clause
"""vvu-load and the programs that stand alone, as front-ends (see fronts.py for the interface)."""

import subprocess
import time

from lib import load, paths, testpmd

CPU = 1


def _ports(path, spec, options):
    return [testpmd.Port(path.socket(i), load.mac(i), queues=spec.queues, options=options, server=path.modes[i] == "client",
                         queue_size=queue_size(spec)) for i in range(spec.ports)]


def queue_size(spec):
    """Smaller rings for many ports, so that all of them together do not outgrow what two ports have by too much."""
    return 1024 if spec.ports <= 2 else 256


class Load:
    """vvu-load; it runs in windows of its own and sleeps between them."""

    def __init__(self, session, path, spec, options):
        self.spec = spec
        self.sent = self.received = 0
        self.front = load.Load(session, f"fe-{path.side}".replace(" ", "-"), _ports(path, spec, options), cpu=CPU, huge=spec.huge,
                               max_size=max(1518, spec.size), gso=spec.gso, queue_size=queue_size(spec), mode=spec.mode)
        self.process = self.front.proc

    def how(self):
        """Options of a run."""
        spec = self.spec
        if spec.mode == "rtt":
            return {"mode": "rtt", "size": spec.size}
        return {"size": spec.size, "pattern": spec.pattern, "touch": spec.touch, "rate": spec.rate, "flows": spec.flows}

    def wait_ready(self):
        """Until all ports are connected."""
        self.front.wait_ready()

    def start(self):
        """Nothing is sent but in windows; one short one now, for caches and forwarding tables."""
        self._count(self.front.window(0.1, **self.how()))

    def _count(self, result):
        self.sent += result["whole"]["tx"]
        self.received += result["whole"]["rx"]
        return result

    def window(self, seconds):
        """One window."""
        return figures(self._count(self.front.window(seconds, warmup=0.05, **self.how())))

    def finish(self):
        """(sent, received) over all windows; each has waited for what was under way."""
        return self.sent, self.received


class Steady(Load):
    """vvu-load, sending all the time."""

    def start(self):
        self.front.start(**self.how())

    def window(self, seconds):
        a, begin = self.front.counters(), time.monotonic()
        time.sleep(seconds)
        b, end = self.front.counters(), time.monotonic()
        return {"rate": (b["rx"] - a["rx"]) / (end - begin)}

    def finish(self):
        self._count(self.front.halt())
        return self.sent, self.received


class Ceiling(Load):
    """vvu-load over rings inside itself: what the front-end costs."""

    def __init__(self, session, _path, spec, _options):  # pylint: disable=super-init-not-called
        self.spec = spec
        self.sent = self.received = 0
        self.front = load.Load(session, "ceiling", [], cpu=CPU, mode="null", memory=256, max_size=max(1518, spec.size))
        self.process = self.front.proc

    def how(self):
        return {**super().how(), "mode": "null"}


class Memcpy:
    """tests/perf/memcpy on processor 0; not a process that stays."""

    process = None

    def __init__(self, _session, _path, spec, _options):
        self.spec = spec

    def wait_ready(self):
        """Nothing to wait for."""

    start = wait_ready

    def window(self, seconds):
        """Nanoseconds per copy."""
        done = subprocess.run(["taskset", "-c", "0", paths.build_dir() / "tests/perf/memcpy", str(self.spec.size), str(seconds)],
                              stdout=subprocess.PIPE, text=True, check=True, timeout=seconds + 30)
        return {"ns": float(done.stdout)}

    def finish(self):
        """No frames."""
        return 0, 0


def figures(result):
    """Ours out of vvu-load's."""
    values = {}
    if "rtt_ns" in result:
        rtt = result["rtt_ns"]
        values.update(p50=rtt.get("p50"), p90=rtt.get("p90"), p99=rtt.get("p99"))
    else:
        rate = result["rx_mpps"] * 1e6
        values.update(rate=rate, gbit=result["rx_gbit"], fe_cycles=result["busy_cycles_per_frame"],
                      ns=1e9 / rate if rate else None, fe_busy=result["busy_cycles"] / result["cycles"])
    for bad in ("damaged", "reordered", "stray"):
        if result["whole"].get(bad):
            values[bad] = result["whole"][bad]
    return values
