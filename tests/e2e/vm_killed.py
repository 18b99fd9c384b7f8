#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
The back-end VM is killed again and again under frames between two front-ends that notice nothing but a pause. Every frame arrives;
some of those that were on their way at a death may come twice. Only where the proxy says that it did not wait any longer for the
other port the next VM may drop some, and counts them. Every buffer comes back once and in order, and in the end the rings stand
where they should. Of three times the sender is once about to stop its ring, and once has reset its device as QEMU does (status 0,
before it asks where its rings have stopped); it starts them again where the answers say.

  split, packed              rings of that kind
  split-inorder, packed-inorder  the same with IN_ORDER
"""

import os
import pathlib
import random
import select
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import backend, procs, scenario
from proxy.frontend import F_IN_ORDER, F_RING_PACKED, STATE, U64, FrontEnd
from proxy.test_hosted import Guest, frame

KILLS = 18
WINDOW = 64  # frames on their way
SEED = 20261123
RUNS = 15  # device status: acknowledged, driver, features, all of it (virtio 1.2 §2.1)
ALONE = "sends again, though other ports of its VM are not back"  # says the proxy
RINGS = {"split": 0, "packed": F_RING_PACKED, "split-inorder": F_IN_ORDER, "packed-inorder": F_RING_PACKED | F_IN_ORDER}


class Stream:
    """Numbered frames from one front-end to the other."""

    def __init__(self, sender, receiver):
        self.tx, self.rx = sender.tx, receiver.rx
        self.sent = self.next = self.again = self.lost = self.got = 0
        self.gap = 0.0  # the longest time without a frame
        self.last = time.monotonic()

    def _take_back(self):
        """Transmit buffers, which come in the order in which they were given."""
        while True:
            first = self.tx.batch[0][0] if self.tx.batch else self.tx.outstanding[0] if self.tx.outstanding else None
            used = self.tx.pop_used()
            if not used:
                return
            if used[0] != first:
                raise procs.Failure(f"buffer {used[0]} came back before {first}")
            self.tx.free.append(used[0])

    def settle(self):
        """What was given back is in the receiver's ring, or is lost. True: nothing is on its way."""
        self._take_back()
        if self.tx.outstanding:
            return False
        self.receive()
        self.lost += self.sent - self.next
        self.next = self.sent
        return True

    def send(self):
        """As many as may be on their way."""
        self.settle()
        while self.sent - self.next < WINDOW and self.tx.free:
            self.tx.send_frame(frame(0, 1, struct.pack("<Q", self.sent)))
            self.sent += 1

    def receive(self):
        """What has come: each number once, or again as long as it is one of the last."""
        while (data := self.rx.recv_frame(0)) is not None:
            number = struct.unpack_from("<Q", data, 14)[0]
            if number >= self.sent or number + 2 * WINDOW <= self.next:
                raise procs.Failure(f"frame {number} came where {self.next} is due")
            if number < self.next:
                self.again += 1
                continue
            self.got += 1
            self.lost += number - self.next
            self.next = number + 1
            now = time.monotonic()
            self.gap, self.last = max(self.gap, now - self.last), now

    def until(self, more, seconds=60):
        """Go on until so many more have come; None: until nothing is on its way."""
        end = time.monotonic() + seconds
        number = self.got + (more or 0)
        while True:
            if more:
                self.send()
            self.receive()
            if self.got >= number if more else self.settle():
                return
            left = end - time.monotonic()
            if left <= 0:
                raise procs.Failure(f"frame {self.next} of {self.sent} has not come for {seconds} s")
            self.rx.want_call()
            self.tx.want_call()
            if self.rx.look_used() is None and self.tx.look_used() is None:
                for fd in select.select([self.rx.call_fd, self.tx.call_fd], [], [], left)[0]:
                    os.eventfd_read(fd)


def dropped_by(path, stream, guests):
    """What this VM dropped. A frame the other way tells that its counters are those of now."""
    stream.until(None)
    guests[1].send(frame(1, 0))
    if guests[0].recv() is None:
        raise procs.Failure("nothing came from the second front-end")
    count = {}

    def current():
        count.update(path.counters())
        return backend.port_counter(count, 1, "rx_frames")

    procs.wait_until(current, "the appliance's counters are up to date", interval=0.01)
    return sum(backend.switched_and_dropped(count)[1].values())


def alone(path):
    """One port was served before the other was back, as the proxy says."""
    return path.proxy.find_line(ALONE)


def ask(guest, rings):
    """Where they have got to."""
    for ring in rings:
        guest.fe.send("GET_VRING_BASE", STATE.pack(ring.index, 0))


def start_again(guest, rings):
    """Where each stopped, whoever said so."""
    for ring, (index, base) in [(ring, STATE.unpack(guest.fe.recv().payload)) for ring in rings]:
        if index != ring.index:
            raise procs.Failure(f"ring {index} has stopped, not {ring.index}")
        guest.fe.start_vring(ring, base=base)
    if len(rings) > 1:
        guest.fe.set_u64("SET_STATUS", RUNS)


def kill(path, guest, stream, way, rng):
    """The VM dies before it has a message, before it has carried it out, before the answer is out, or after all of that."""
    rings = ((), (guest.tx,), (guest.rx, guest.tx))[way]
    late = []  # asked for when there is no VM
    if way == 2:
        guest.fe.send("SET_STATUS", U64.pack(0))
        late = rings[rng.randrange(3):]
    ask(guest, rings[:len(rings) - len(late)])
    for _ in range(rng.randrange(200) if rings else 0):
        stream.receive()
    path.vmm.kill()
    stream.receive()
    stream.gap = 0
    ask(guest, late)
    path.start_vmm()
    start_again(guest, rings)


def check(run):
    """See above."""
    rng = random.Random(SEED)
    path = run.path(2, hold=60)
    guests = [Guest(FrontEnd.connect(path.socket(i)), RINGS[run.word]) for i in range(2)]
    stream = Stream(*guests)
    stream.until(1000)
    dropped = dropped_by(path, stream, guests)
    run.expect(not stream.lost, f"{stream.lost} frames were lost before anything happened")
    pauses = []
    for number in range(KILLS):
        for _ in range(rng.randrange(30)):
            stream.send()
            stream.receive()
        stream.send()
        kill(path, guests[0], stream, number % 3, rng)
        stream.until(500)
        pauses.append(stream.gap)
        dropped += dropped_by(path, stream, guests)
    run.expect(stream.lost <= dropped, f"{stream.lost} frames were lost, {dropped} were counted as dropped")
    run.expect(not stream.lost or alone(path), f"{stream.lost} frames were lost, though both ports came back together")
    # Both directions still know where they are.
    for guest in guests:
        for ring in (guest.rx, guest.tx):
            base = guest.fe.stop_vring(ring)
            while ring is guest.tx and (used := ring.pop_used()):
                ring.free.append(used[0])
            if ring is guest.tx:
                run.expect(base == ring.base, f"ring {ring.index} stopped at {base:#x}, not at {ring.base:#x}")
    run.expect(not stream.tx.outstanding, f"{len(stream.tx.outstanding)} buffers did not come back")
    run.note(f"{KILLS} kills, {stream.sent} frames, {stream.again} came twice, {stream.lost} were dropped, longest gaps "
             f"{', '.join(f'{p * 1000:.0f}' for p in sorted(pauses))} ms")
    for guest in guests:
        guest.close()


if __name__ == "__main__":
    scenario.main(__doc__, check, needs=(), choices=tuple(RINGS))
