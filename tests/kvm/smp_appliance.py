#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
The appliance with four vCPUs, between scripted front-ends that talk to each other all the time: each vCPU serves its share of the
queue pairs, and again after front-ends have come and gone and pairs were enabled and disabled; every frame arrives
once, unharmed and in order; rings broken on one vCPU stop nothing on the others.
"""

import os
import pathlib
import select
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import backend, flows, procs, scenario
from proxy.frontend import F_RING_PACKED

CPUS = 4
EACH = 40  # frames that each pair sends when shares are counted
SOME = 300  # frames that show that the traffic goes on


def taken(path, total):
    """How many frames each worker has taken, once together they say that it is all that were sent."""
    def all_of_them():
        counters = path.counters()
        frames = [counters[f"worker.{i}.frames"] for i in range(CPUS)]
        return frames if sum(frames) >= total else None
    return procs.wait_until(all_of_them, f"the workers count {total} frames", flows.LIMIT, 0.001)


def shares(run, path, pump, what):
    """How many pairs each worker serves: with the same number of frames from each pair, its frames tell."""
    pump.stand()
    before = taken(path, pump.posted)
    pairs = pump.send_each(EACH)
    after = taken(path, pump.posted)
    run.expect(sum(after) == pump.posted, f"{pump.posted} frames sent, the workers say {after}")
    pump.go_on()
    served = [(b - a) / EACH for a, b in zip(before, after)]
    run.note(f"{what}: {pairs} pairs, served by each CPU: {[f'{n:g}' for n in served]}; {pump.arrived} frames so far")
    run.expect(sum(served) == pairs and all(n == int(n) for n in served), f"{served} of {pairs} pairs")
    run.expect(max(served) - min(served) <= 1, f"{what}: unfair: {served}")
    pump.wait_frames(SOME)


def wait_free(path, port):
    """Until the port can be taken again."""
    def free():
        if path.kind == "host":
            return not path.status("backend")["ports"][port]["connected"]
        entry = path.status("proxy")["ports"][port]
        return not entry["front_end"] and (entry["back_end"] or {}).get("up")
    procs.wait_until(free, f"port {port} is free", flows.LIMIT, 0.002)


def come_and_go(run, path, pump):
    """Front-ends with one to four pairs, split and packed, while the others talk."""
    for pairs, rings in ((4, 0), (1, F_RING_PACKED), (3, F_RING_PACKED), (2, 0)):
        guest = flows.Member(path, 3, pairs, rings)
        pump.join(guest)
        pump.wait_frames(SOME)
        shares(run, path, pump, f"one with {pairs} has come")
        pump.leave(guest)
        guest.close()
        wait_free(path, 3)
        shares(run, path, pump, "it has gone")


def switch_pairs(run, path, pump, guest):
    """Pairs of a front-end disabled and enabled again, while frames for them are under way."""
    last = len(guest.tx) - 1
    for pair in range(1, last + 1):
        pump.hold(guest, pair)
        guest.enable(pair, False)
        pump.wait_frames(SOME)
    shares(run, path, pump, f"pairs 1 to {last} of port {guest.port} disabled")
    for pair in range(last, 0, -1):
        guest.enable(pair, True)
        pump.release(guest, pair)
        pump.wait_frames(SOME)
    shares(run, path, pump, "enabled again")


def signalled(run, rings):
    """Waits for one of these rings' err eventfds; the ring."""
    ready = select.select([r.err_fd for r in rings], [], [], flows.LIMIT)[0]
    run.expect(ready, "no err eventfd was signalled for a broken ring")
    os.eventfd_read(ready[0])
    return next(r for r in rings if r.err_fd == ready[0])


def ring_errors(path):
    """Rings of port 3 that were found broken so far."""
    return backend.port_counter(path.counters(), 3, "ring_errors")


def wait_counted(path, number):
    """Until there are so many."""
    procs.wait_until(lambda: ring_errors(path) >= number, "the broken ring is counted", flows.LIMIT, 0.001)


def break_senders(run, path, pump, rings):
    """Breaks each transmit ring of a front-end with a pair on every vCPU, one after the other, and heals it."""
    guest = flows.Member(path, 3, CPUS, rings)
    pump.join(guest)
    pump.wait_frames(SOME)
    shares(run, path, pump, "a front-end that will misbehave has come")
    for pair, tx in enumerate(guest.tx):
        pump.hold(guest, pair)
        before = ring_errors(path)
        pump.do(tx.damage)
        os.eventfd_write(tx.kick_fd, 1)
        run.expect(signalled(run, guest.tx) is tx, f"another ring than {tx.index} was said to be broken")
        wait_counted(path, before + 1)
        # All others go on, its own other pairs as well.
        pump.wait_frames(SOME)
        pump.do(tx.repair)
        base = guest.fe.stop_vring(tx)
        guest.fe.start_vring(tx, base=base)
        pump.release(guest, pair)
    shares(run, path, pump, "all its transmit rings were broken, one by one, and started again")
    pump.leave(guest)
    guest.close()
    wait_free(path, 3)


class OutsideMemory(flows.Member):
    """Its receive buffers are nowhere."""

    def prepare(self, rx):
        for i in rx.free:
            rx.write_desc(i, 1 << 60, rx.buffer_size, rx.F_WRITE)
            rx.publish(i)


class ReadOnly(flows.Member):
    """Its receive buffers can't be written."""

    def prepare(self, rx):
        for i in rx.free:
            rx.write_desc(i, rx.buffer(i), rx.buffer_size)
            rx.publish(i)


def break_receiver(run, path, pump, sender, kind, rings):
    """A frame to all, one of whom has receive rings that break when they are used, if not before."""
    seen, before = pump.do(lambda: pump.notices), ring_errors(path)
    guest = kind(path, 3, CPUS, rings)
    pump.notice(sender)
    broken = signalled(run, guest.rx)
    pump.wait(lambda: pump.notices >= seen + 2, "the frame to all reaches the two others")
    wait_counted(path, before + 1)
    pump.wait_frames(SOME)
    guest.close()
    wait_free(path, 3)
    shares(run, path, pump, f"receive ring {broken.index} was broken ({kind.__name__})")


def clean(run, path, what):
    """Nothing was dropped."""
    dropped = backend.switched_and_dropped(path.counters())[1]
    run.expect(not dropped, f"{what}: dropped: {dropped}")


def check(run):
    """All of it, one after the other, with the traffic never ending."""
    path = run.path(4, cpus=CPUS)
    pump = flows.Pump()
    first, second = flows.Member(path, 0, 2), flows.Member(path, 1, 2, F_RING_PACKED)
    pump.join(first)
    pump.join(second)
    shares(run, path, pump, "two front-ends")
    third = flows.Member(path, 2, 3)
    pump.join(third)
    shares(run, path, pump, "a third one has come")
    come_and_go(run, path, pump)
    for guest in (second, third):
        switch_pairs(run, path, pump, guest)
    clean(run, path, "before anybody misbehaved")
    for rings in (0, F_RING_PACKED):
        break_senders(run, path, pump, rings)
    clean(run, path, "with broken transmit rings")
    for kind in (OutsideMemory, ReadOnly):
        for rings in (0, F_RING_PACKED):
            break_receiver(run, path, pump, first, kind, rings)
    pump.stop()
    run.note(f"{pump.arrived} frames in {len(pump.flows)} flows arrived, {pump.flooded} others were flooded")
    for guest in (first, second, third):
        guest.close()
    for proc in [path.process] + ([path.proxy] if path.kind == "vm" else []):
        run.expect(proc.stop() == 0, f"{proc.name} ended with {proc.popen.returncode}:\n{proc.tail(40)}")
    run.expect(not path.process.find_line("panic|exception"), f"the appliance said:\n{path.process.tail(40)}")


scenario.main(__doc__, check, needs=())
