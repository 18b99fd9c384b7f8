# SPDX-License-Identifier: BSD-2-Clause
"""
What is broken in a chaos run: vvu-proxy, a back-end VM that is started again when it ends, front-ends with streams between them,
ports for hostile ones. Everything but the hostile peers is done by the main thread.
"""

import collections
import queue
import signal
import threading
import time

from lib import backend, procs
from proxy.frontend import Closed

from . import streams

PAIR, LOAD, VICTIMS, HOSTILE, GUESTS = (0, 1), (2, 3), (4, 5), (6, 7), (8, 9)
STILL_S = 30    # a stream without a frame for so long stands still
SETTLE_S = 90


class World:
    """All of it."""

    def __init__(self, session, guests=True, dpdk=True, note=print):
        self.session = session
        self.note = note
        self.begin = time.monotonic()
        self.path = backend.VmPath(session, (GUESTS if guests else HOSTILE)[-1] + 1)
        self.path.wait_up(60)
        self.faults = []            # (begin, kind) in order
        self.crashes = []           # what ended without having been asked to
        self.stopped = {}           # process: when it goes on
        self.vmm_may_end = False
        self.jobs = queue.SimpleQueue()
        self.worker = threading.Thread(target=self._work, daemon=True)
        self.worker.start()
        self.victims = streams.Pair(self, "victims", VICTIMS, 50, expendable=True)
        self.streams = [streams.Pair(self, "pair", PAIR), self.victims]
        if dpdk:
            self.streams.append(streams.Load(self, "load", LOAD))
        if guests:
            self.streams.append(streams.Guests(self, "guest", GUESTS))
        self.progress = {}          # stream: (what has arrived, when)
        self.looked = 0.0

    def say(self, text):
        """A line with the time."""
        self.note(f"[{time.monotonic() - self.begin:7.2f} s] {text}")

    @property
    def steady(self):
        """Streams whose sessions must not be lost."""
        return [s for s in self.streams if not s.expendable]

    def wait_ready(self):
        """Until everything flows."""
        for stream in self.streams:
            if hasattr(stream, "wait_ready"):
                stream.wait_ready()

    # --- hostile peers ---

    def _work(self):
        while (job := self.jobs.get()) is not None:
            job()

    def drain(self):
        """Until the hostile peers have done what they were asked for."""
        done = threading.Event()
        self.jobs.put(done.set)
        procs.wait_until(lambda: self.tick() or done.is_set(), "hostile peers have finished", 300)

    # --- processes ---

    def forget(self, proc):
        """It has ended; a long run has many of them."""
        self.stopped.pop(proc, None)
        if proc in self.session.things:
            self.session.things.remove(proc)

    def start_vmm(self):
        """The next one."""
        self.forget(self.path.vmm)
        self.vmm_may_end = False
        self.path.start_vmm()

    def kill_vmm(self):
        """SIGKILL, and another one right away."""
        self.path.vmm.kill()
        self.start_vmm()

    def stop_for(self, proc, seconds):
        """SIGSTOP; SIGCONT follows."""
        proc.popen.send_signal(signal.SIGSTOP)
        self.stopped[proc] = time.monotonic() + seconds

    def go_on(self, all_of_them=False):
        """SIGCONT for those whose time has come."""
        for proc, when in list(self.stopped.items()):
            if all_of_them or time.monotonic() >= when:
                del self.stopped[proc]
                if proc.running():
                    proc.popen.send_signal(signal.SIGCONT)

    def ask_vmm(self, command):
        """A command to the VMM's control socket. False: there is none that would hear it now."""
        if self.path.vmm in self.stopped or not self.path.vmm.running():
            return False
        try:
            procs.control(self.path.control("vmm"), {"cmd": command})
        except (OSError, procs.Failure):
            return False
        return True

    def ports(self):
        """The proxy's status of its ports, or None while it can't answer."""
        if self.path.proxy in self.stopped or not self.path.proxy.running():
            return None
        return self.path.status("proxy")["ports"]

    def free(self, ports):
        """Whether nobody is on these."""
        known = self.ports()
        return bool(known) and not any(known[p]["front_end"] for p in ports)

    # --- what is looked at all the time ---

    def tick(self):
        """A look at everything; called every few milliseconds."""
        self.go_on()
        if not self.path.vmm.running():
            if not self.vmm_may_end:
                self.crashed(self.path.vmm)
            self.start_vmm()
        if not self.path.proxy.running():
            self.crashed(self.path.proxy)
            raise procs.Failure("the proxy has ended")
        for stream in self.streams:
            stream.poll()
        if time.monotonic() - self.looked > 1:
            self.looked = time.monotonic()
            self._look_at_sessions()
            self._look_at_progress()

    def crashed(self, proc):
        """One of ours ended by itself."""
        proc.reader.join(5)
        self.crashes.append(f"{proc.name} ended with {proc.popen.returncode}")
        self.say(f"CRASH {self.crashes[-1]}:\n{proc.tail(30)}")

    def _look_at_sessions(self):
        known = self.ports()
        for stream in self.steady if known else ():
            gone = [p for p in stream.ports if not known[p]["front_end"]]
            if gone and not stream.losses:
                stream.lose("; ".join(f"port p{p}: {known[p]['last_end']}" for p in gone))

    def _look_at_progress(self):
        for stream in self.steady:
            if isinstance(stream, streams.Guests):
                continue  # asking takes a guest's time
            now, arrived = time.monotonic(), stream.arrived()
            before, since = self.progress.get(stream, (None, now))
            if arrived is None or before is None or all(a != b for a, b in zip(arrived, before)):
                self.progress[stream] = arrived, now
            elif now - since > STILL_S and not stream.losses:
                stream.lose(f"stands still: {arrived}\n{self.describe(stream)}")

    def describe(self, stream):
        """What both sides know of a stream's ports."""
        known = self.ports() or []
        text = [str({k: v for k, v in known[p].items() if k != "messages"}) for p in stream.ports] if known else []
        try:
            text += [str(self.path.status("vmm")["devices"])]
        except (OSError, procs.Failure) as error:
            text += [str(error)]
        return "\n".join(text + [self.path.vmm.tail(10), self.path.proxy.tail(10)])

    def settle(self):
        """No faults any more: everything has to flow."""
        self.go_on(all_of_them=True)
        self.drain()
        deadline = time.monotonic() + SETTLE_S
        for stream in self.streams:
            if stream.losses:
                continue
            before = None
            while time.monotonic() < deadline:
                self.tick()
                now = stream.arrived()
                before = before or now
                if now and before and all(a > b for a, b in zip(now, before)):
                    break
                time.sleep(0.05)
            else:
                stream.lose(f"stands still at the end: {before}, then {now}\n{self.describe(stream)}")

    def serves(self, ports):
        """A pair of new front-ends on these ports; Failure when they can't talk."""
        procs.wait_until(lambda: self.free(ports), f"ports {ports} are free", 60)
        pair = streams.Pair(self, "next", ports)
        try:
            procs.wait_until(lambda: pair.arrived() and all(n > 10 for n in pair.arrived()), f"frames between ports {ports}", 60)
            pair.finish()
        except (OSError, Closed, procs.Failure) as error:
            raise procs.Failure(f"ports {ports} do not serve the next front-ends: {error}\n{self.describe(pair)}") from None

    # --- afterwards ---

    def pauses(self):
        """({kind of fault: longest gap that began with it}, the longest of all), in milliseconds."""
        longest = collections.defaultdict(float)
        for gap in [g for s in self.steady for g in s.gaps]:
            kinds = [kind for at, kind in self.faults if gap.start - 0.1 <= at <= gap.end]
            kind = kinds[0] if kinds else "none"
            longest[kind] = max(longest[kind], gap.ms)
        return dict(longest), max(longest.values(), default=0.0)
