# SPDX-License-Identifier: BSD-2-Clause
"""One back-end with the front-ends of pauses.c, whose ports are connected here."""

import dataclasses
import json
import os
import subprocess

from lib import backend, paths, procs, quiet
from lib.procs import Failure
from proxy import abi
from proxy.frontend import ADDR, F_EVENT_IDX, F_IN_ORDER, F_RING_PACKED, FrontEnd, Memory, STATE, new_eventfd

HEADER = ["back-end, poll, ring, ports, workers", "rounds", "frames", "back-end slept", "interrupts", "kicks", "not kicked", "calls",
          "front-end slept", "longest, us", "seed"]
# poll=, and how long the back-end spins then, in ns: where pauses are most of interest.
POLLS = {"adaptive": 50000, "adaptive:1": 1000, "never": 0}
RINGS = {"split": 0, "split-event": F_EVENT_IDX, "packed": F_RING_PACKED, "packed-event": F_RING_PACKED | F_EVENT_IDX,
         "split-event-order": F_EVENT_IDX | F_IN_ORDER, "packed-event-order": F_RING_PACKED | F_EVENT_IDX | F_IN_ORDER}


@dataclasses.dataclass(frozen=True)
class Combination:
    """What is tried."""
    kind: str
    poll: str
    ring: str
    ports: int
    cpus: int

    @property
    def name(self):
        """For people."""
        return f"{self.kind} {self.poll} {self.ring} {self.ports} {self.cpus}"


def combinations(kinds):
    """
    All. With two ports nobody but the waiting one could mend a lost wake-up; with four, more of them meet, but a kick of the other
    pair wakes the back-end for this one. With two workers, each has one of the two ports.
    """
    sizes = [*((poll, 2, 1) for poll in POLLS), ("adaptive", 4, 1), ("adaptive", 2, 2), ("never", 2, 2)]
    return [Combination(kind, poll, ring, ports, cpus) for kind in kinds for ring in RINGS
            for poll, ports, cpus in (sizes if not ring.endswith("order") else sizes[:1])]


def program():
    """The front-ends."""
    return paths.build_dir() / "tests/soak/pauses"


class Port:
    """A port that is connected and whose rings run; what drives them is another process."""

    def __init__(self, path, index, layout, features):
        self.fe = FrontEnd.connect(path.socket(index))
        self.memory = Memory(1 << 20)
        self.rings = [self.memory.alloc(layout["bytes"], 4096) for _ in range(2)]
        self.buffers = [self.memory.alloc(layout["size"] * layout["buffer"], 4096) for _ in range(2)]
        self.kicks = [new_eventfd(), new_eventfd()]
        self.calls = [new_eventfd(), new_eventfd()]
        self.fe.negotiate(features | abi.F_VERSION_1 | abi.F_PROTOCOL_FEATURES, rings=features)
        if self.fe.features & features != features:
            raise Failure(f"port {index} does not offer {features & ~self.fe.features:#x}")
        self.fe.set_mem_table([self.memory])
        for ring in (0, 1):
            self._start(ring, layout)

    def _start(self, ring, layout):
        fe, at = self.fe, self.memory.to_user(self.rings[ring])
        fe.vring_fd("SET_VRING_CALL", ring, self.calls[ring])
        fe.vring_state("SET_VRING_NUM", ring, layout["size"])
        fe.vring_state("SET_VRING_BASE", ring, layout["base"])
        fe.acked("SET_VRING_ADDR", ADDR.pack(ring, 0, at, at + layout["used"], at + layout["avail"], 0))
        fe.vring_fd("SET_VRING_KICK", ring, self.kicks[ring])
        fe.vring_state("SET_VRING_ENABLE", ring, 1)
        os.eventfd_write(self.kicks[ring], 1)

    @property
    def fds(self):
        """What pauses.c inherits."""
        return [self.memory.fd, *self.kicks, *self.calls]

    @property
    def argument(self):
        """As pauses.c wants it."""
        return ",".join(str(v) for v in (self.memory.fd, self.memory.size, *self.rings, *self.buffers, self.kicks[0],
                                         self.calls[0], self.kicks[1], self.calls[1]))

    def settled(self):
        """All messages have been taken in, also those without an answer."""
        self.fe.get_u64("GET_FEATURES")

    def positions(self):
        """Where the back-end stands: GET_VRING_BASE of both rings."""
        return [STATE.unpack(self.fe.call("GET_VRING_BASE", STATE.pack(ring, 0)).payload)[1] for ring in (0, 1)]

    def close(self):
        """Everything."""
        self.fe.close()
        self.memory.close()
        for fd in (*self.kicks, *self.calls):
            os.close(fd)


def read_layout(ring):
    """Where the parts of a ring lie, as vq_drv.c wants them."""
    done = subprocess.run([program(), "--layout", ring], stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout)


def both_sides(path, ports, said):
    """What is known when a wake-up was lost."""
    counters = {k: v for k, v in path.counters().items() if v}
    lines = [said.strip(), f"back-end: {counters}"]
    if path.kind == "vm":
        lines.append(f"vCPU: {path.status('vmm')['exits']}")
    for i, port in enumerate(ports):
        try:
            lines.append(f"back-end's positions at port {i}, receive and transmit ring: {port.positions()}")
        except OSError as error:
            lines.append(f"port {i} does not answer: {error}")
    lines.append(path.process.tail(10))
    return "\n".join(lines)


def once(what, seconds, seed):
    """A row of the table; Failure when a wake-up was lost."""
    with procs.Session("soak") as session:
        path = backend.start(session, what.kind, what.ports, app=("switch", f"poll={what.poll}"), cpus=what.cpus)
        path.wait_up()
        layout = read_layout(what.ring)
        ports = [Port(path, i, layout, RINGS[what.ring]) for i in range(what.ports)]
        for port in ports:
            port.settled()
        slept = quiet.sleeps(path)
        exits = quiet.exits(path) if what.kind == "vm" else None
        fds = [fd for port in ports for fd in port.fds]
        front = session.start("pauses", [program(), seconds, seed, POLLS[what.poll], what.ring,
                                         *[port.argument for port in ports]], pass_fds=fds)
        status = front.wait(seconds + 60)
        if status:
            raise Failure(f"{what.name}, seed {seed}:\n{both_sides(path, ports, front.tail(40))}")
        got = json.loads(front.find_line(r"^\{.*\}$").group())
        interrupts = (quiet.exits(path) - exits)["irq_injections"] if exits is not None else "-"
        row = [what.name, got["rounds"], got["frames"], quiet.sleeps(path) - slept, interrupts, got["kicks"],
               got["not_kicked"], got["calls"], got["blocked"], got["longest_us"], seed]
        for port in ports:
            port.close()
    return row
