# SPDX-License-Identifier: BSD-2-Clause
"""
Scripted front-ends with several queue pairs that talk to each other without a pause, every frame of it accounted for.

    pump = flows.Pump()
    a, b = flows.Member(path, 0, 2), flows.Member(path, 1, 4, F_RING_PACKED)
    pump.join(a); pump.join(b)          # from now on they send to each other
    pump.wait_frames(1000)              # ... and it goes on while front-ends come, change and go
    pump.leave(b)                       # what is under way to and from it arrives first; then it can be closed
    pump.stop()

A flow is what one transmit ring sends to one member with one pair of UDP ports. Each of its frames has to arrive once, with every
byte as sent, and within a receive ring in order. To another receive ring a flow may move when receive rings are
enabled or disabled, and only then. Frames flooded to others are read as well, and must be right.

One thread, the pump, has the rings of all members to itself; the caller has the front-ends' sockets. What is under way is limited so that
no receive ring and no mailbox between two CPUs can overflow: nothing may be lost.
"""

import collections
import os
import queue
import random
import select
import struct
import threading

from proxy.frontend import F_EVENT_IDX, F_MRG_RXBUF, F_RING_PACKED, FrontEnd, Memory, PackedVring, Vring

from .procs import Failure

LIMIT = 60  # seconds after which something hangs
WINDOW = 96  # frames under way
BATCH = 8  # frames sent between two notifications
VARIANTS = 4  # flows from a transmit ring to a member, so that all its receive rings get some
HEADER = 12  # struct virtio_net_hdr
MEMORY = 8 << 20

CONTENT = random.Random(1).randbytes(65536 + 2048)
ETHERNET = struct.Struct("!6s6sH")
IPV4 = struct.Struct("!BBHHHBBH4s4s")
UDP = struct.Struct("!HHHH")
NUMBERS = struct.Struct("<II")
NUMBERS_AT = ETHERNET.size + IPV4.size + UDP.size
ETHERTYPE_IPV4, ETHERTYPE_NOTICE = 0x0800, 0x88b5


def mac(port):
    """Address of the member on a port."""
    return bytes([2, 0, 0, 0, 0, port + 1])


class Member:
    """A front-end on a port with running queue pairs. rings: F_RING_PACKED or 0."""

    def __init__(self, path, port, pairs, rings=0):
        self.port = port
        self.mac = mac(port)
        self.fe = FrontEnd.connect(path.socket(port), LIMIT)
        self.memory = Memory(MEMORY)
        self.fe.negotiate(rings=rings)
        self.fe.set_mem_table([self.memory])
        kw = {"hdr_size": HEADER, "event_idx": bool(self.fe.features & F_EVENT_IDX),
              "mergeable": bool(self.fe.features & F_MRG_RXBUF)}
        kind = PackedVring if self.fe.features & F_RING_PACKED else Vring
        self.rx = [kind(self.memory, 2 * i, **kw) for i in range(pairs)]
        self.tx = [kind(self.memory, 2 * i + 1, **kw) for i in range(pairs)]
        self.changes = 0  # of the set of enabled receive rings
        for rx, tx in zip(self.rx, self.tx):
            self.prepare(rx)
            self.fe.start_vring(rx)
            self.fe.start_vring(tx)

    def prepare(self, rx):
        """What is done with a receive ring before it starts."""
        rx.post_receive_buffers()

    def enable(self, pair, on):
        """Enables or disables both rings of a pair. Disabled, what the transmit ring sends goes nowhere."""
        self.changes += 1
        for ring in (self.rx[pair], self.tx[pair]):
            self.fe.vring_state("SET_VRING_ENABLE", ring.index, int(on))

    def close(self):
        """Hangs up."""
        self.fe.close()
        for ring in self.rx + self.tx:
            ring.close()
        self.memory.close()


class Flow:
    """What was sent, and what of it has arrived."""

    def __init__(self, number, src, pair, dst):
        self.number = number
        self.src, self.pair, self.dst = src, pair, dst
        self.sent = self.arrived = 0
        self.rings = bytearray()  # 1 + receive ring, by sequence number; 0: not yet
        self.last = collections.defaultdict(lambda: -1)  # sequence number by receive ring
        self.changes = dst.changes
        self.where = f"flow {number} from port {src.port} pair {pair} to port {dst.port}"

    def frame(self, seq):
        """Its frame of that number."""
        at = (self.number * 7919 + seq * 104729) % 65521
        content = NUMBERS.pack(self.number, seq) + CONTENT[at:at + 10 + at % 1440]
        return b"".join((
            ETHERNET.pack(self.dst.mac, self.src.mac, ETHERTYPE_IPV4),
            IPV4.pack(0x45, 0, IPV4.size + UDP.size + len(content), 0, 0, 64, 17, 0,
                      bytes([10, 9, 0, self.src.port + 1]), bytes([10, 9, 0, self.dst.port + 1])),
            UDP.pack(1024 + self.number, 4789, UDP.size + len(content), 0), content))

    def next_frame(self):
        """The next one to be sent."""
        self.rings.append(0)
        self.sent += 1
        return self.frame(self.sent - 1)

    def arrive(self, seq, ring):
        """That one is there."""
        if self.rings[seq]:
            raise Failure(f"{self.where}: frame {seq} arrived twice")
        if self.last[ring] >= seq:
            raise Failure(f"{self.where}: frame {seq} arrived behind {self.last[ring]}")
        self.rings[seq] = 1 + ring
        self.last[ring] = seq
        self.arrived += 1

    def finish(self):
        """All has arrived; the flow moved no more than it may."""
        if self.arrived != self.sent:
            raise Failure(f"{self.where}: {self.sent} frames sent, {self.arrived} arrived")
        moves = sum(1 for a, b in zip(self.rings, self.rings[1:]) if a != b)
        if moves > self.dst.changes - self.changes:
            raise Failure(f"{self.where}: moved to another receive ring {moves} times")


class Pump:
    """Sends and receives for all members. Its methods are for the caller, those with _ run in its thread."""

    def __init__(self):
        self.members = []
        self.flows = []  # by number, also those that have ended
        self.sending = collections.defaultdict(collections.deque)  # (member, pair): flows
        self.quota = collections.defaultdict(lambda: None)  # (member, pair): frames it may still send; None: any number
        self.sent = self.arrived = self.flooded = self.notices = 0
        self.posted = 0  # frames of any kind
        self.jobs = queue.SimpleQueue()
        self.waits = []
        self.error = None
        self.running = True
        self.standing = []
        self.wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    # --- for the caller ---

    def do(self, job):
        """Has the pump do it between two rounds; its result."""
        return self._ask(job, lambda: True)

    def wait(self, check, what):
        """Until check() is true after a round of the pump."""
        return self._ask(check, check, what)

    def _ask(self, job, check, what="the pump's next round"):
        if self.error:
            raise self.error
        done, result = threading.Event(), []
        self.jobs.put((job if check is not job else None, check, done, result))
        os.eventfd_write(self.wake, 1)
        in_time = done.wait(LIMIT)
        if self.error:
            raise self.error
        if not in_time:
            lag = [f"{f.where}: {f.arrived} of {f.sent}" for f in self.flows if f.arrived != f.sent]
            raise Failure(f"{what}: not within {LIMIT} s; incomplete: {lag[:8]}")
        return result[0] if result else None

    def join(self, member):
        """It sends to all members, and they to it."""
        self.do(lambda: self._join(member))

    def leave(self, member):
        """It ends all its flows; the others go on."""
        self.do(lambda: self._end(lambda f: member in (f.src, f.dst)))
        self.finish(lambda f: member in (f.src, f.dst))
        self.do(lambda: self.members.remove(member))

    def hold(self, member, pair):
        """Nothing is sent on that pair any more, and what was sent has arrived."""
        self.do(lambda: self.quota.__setitem__((member, pair), 0))
        self.finish(lambda f: (f.src, f.pair) == (member, pair))

    def release(self, member, pair):
        """The opposite."""
        self.do(lambda: self.quota.__setitem__((member, pair), None))

    def finish(self, which=lambda f: True):
        """All that was sent in these flows has arrived."""
        chosen = self.do(lambda: [f for f in self.flows if which(f)])
        self.wait(lambda: all(f.arrived == f.sent for f in chosen), "frames under way arrive")
        self.do(lambda: [f.finish() for f in chosen])

    def wait_frames(self, number):
        """Until so many more have arrived."""
        goal = self.do(lambda: self.arrived) + number
        self.wait(lambda: self.arrived >= goal, f"{number} frames")

    def stand(self):
        """Nobody sends any more, and what was sent has arrived."""
        self.standing = self.do(lambda: [k for k in self._keys() if self.quota[k] != 0])
        self._allow(0)
        self.finish()

    def send_each(self, number):
        """While all stand: each pair that is not held sends so many frames, and they arrive. How many pairs."""
        self._allow(number)
        self.wait(lambda: not any(self.quota[k] for k in self.standing), "every pair sends its frames")
        self.finish()
        return len(self.standing)

    def go_on(self):
        """After stand()."""
        self._allow(None)

    def _allow(self, quota):
        self.do(lambda: self.quota.update(dict.fromkeys(self.standing, quota)))

    def notice(self, member):
        """Sends a frame to all."""
        self.do(lambda: self._put(member.tx[0], ETHERNET.pack(b"\xff" * 6, member.mac, ETHERTYPE_NOTICE) + bytes(46)))

    def stop(self):
        """Everything that was sent has arrived; the pump ends."""
        self.do(lambda: self._end(lambda f: True))
        self.finish()
        self.running = False
        os.eventfd_write(self.wake, 1)
        self.thread.join(LIMIT)
        os.close(self.wake)

    # --- the pump ---

    def _run(self):
        try:
            while self.running:
                moved = self._round()
                self._serve()
                if not moved:
                    self._sleep()
        except Exception as error:  # pylint: disable=broad-except
            self.error = error if isinstance(error, Failure) else Failure(f"pump: {error!r}")
        while self.waits or not self.jobs.empty():
            (self.waits.pop() if self.waits else self.jobs.get())[2].set()

    def _serve(self):
        while not self.jobs.empty():
            job, check, done, result = self.jobs.get()
            if job:
                result.append(job())
            self.waits.append((job, check, done, result))
        for waiting in [w for w in self.waits if w[1]()]:
            self.waits.remove(waiting)
            waiting[2].set()

    def _sleep(self):
        rings = [rx for m in self.members for rx in m.rx]
        for rx in rings:
            rx.want_call()
        if self._round():
            return
        fds = [rx.call_fd for rx in rings] + [self.wake]
        for fd in select.select(fds, [], [], LIMIT)[0]:
            os.eventfd_read(fd)

    def _keys(self):
        return [(m, pair) for m in self.members for pair in range(len(m.tx))]

    def _join(self, member):
        for other in self.members:
            for src, dst in ((member, other), (other, member)):
                for pair in range(len(src.tx)):
                    for _ in range(VARIANTS):
                        flow = Flow(len(self.flows), src, pair, dst)
                        self.flows.append(flow)
                        self.sending[src, pair].append(flow)
        self.members.append(member)

    def _end(self, which):
        for key, flows in self.sending.items():
            self.sending[key] = collections.deque(f for f in flows if not which(f))

    def _round(self):
        moved = 0
        for key in self._keys():
            moved += self._send(key)
        for member in self.members:
            for ring, rx in enumerate(member.rx):
                moved += self._receive(member, ring, rx)
        return moved

    def _put(self, tx, frame):
        self.posted += 1
        i = tx.free.pop(0)
        tx.memory.write(tx.buffer(i), bytes(HEADER) + frame)
        tx.write_desc(i, tx.buffer(i), HEADER + len(frame))
        tx.publish(i)
        tx.kick()

    def _send(self, key):
        tx, flows = key[0].tx[key[1]], self.sending[key]
        while used := tx.pop_used():
            tx.free.append(used[0])
        room = min(BATCH, WINDOW - (self.sent - self.arrived), len(tx.free), BATCH if flows else 0)
        if self.quota[key] is not None:
            room = min(room, self.quota[key])
            self.quota[key] -= max(room, 0)
        for _ in range(room):
            flows.rotate(1)
            self._put(tx, flows[0].next_frame())
            self.sent += 1
        return max(room, 0)

    def _receive(self, member, ring, rx):
        got = 0
        while used := rx.pop_used():
            i, length = used
            self._take(member, ring, rx.memory.read(rx.buffer(i), length)[HEADER:])
            rx.write_desc(i, rx.buffer(i), rx.buffer_size, rx.F_WRITE)
            rx.publish(i)
            got += 1
        if got:
            rx.kick()
        return got

    def _take(self, member, ring, frame):
        dst, _, ethertype = ETHERNET.unpack_from(frame)
        if ethertype == ETHERTYPE_NOTICE:
            self.notices += 1
            return
        number, seq = NUMBERS.unpack_from(frame, NUMBERS_AT)
        flow = self.flows[number] if number < len(self.flows) else None
        if not flow or seq >= flow.sent or frame != flow.frame(seq):
            raise Failure(f"port {member.port} ring {ring}: a frame that nobody sent: {frame[:64].hex()}, {len(frame)} bytes")
        if dst != member.mac:
            self.flooded += 1
            return
        flow.arrive(seq, ring)
        self.arrived += 1
