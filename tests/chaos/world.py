# SPDX-License-Identifier: BSD-2-Clause
"""
What is broken in a chaos run: vvu-proxy, a back-end VM that `vvu run` starts again when it ends, front-ends with streams between
them, some of which are expendable, ports for hostile ones. Everything but what hostile peers do, and the own faults of the QEMU
guest that is expendable, is done by the main thread.
"""

import collections
import dataclasses
import os
import queue
import signal
import threading
import time

from lib import backend, load, procs
from proxy.frontend import Closed

from . import pair, streams, visitor, vmms

PAIR, LOAD, VICTIMS, HOSTILE, GUESTS, VISITOR = (0, 1), (2, 3), (4, 5), (6, 7), (8, 9), (10,)
GONE_S = 45     # a session that no proxy has known for so long is lost: a VMM keeps it for 30 s
KEPT_S = 15     # for one to get what the other one has
STILL_S = 30    # a stream without a frame for so long, with a back-end, stands still
SETTLE_S = 180


@dataclasses.dataclass(frozen=True)
class Fault:
    """One that was injected, and the time that took."""
    kind: str
    begin: float
    end: float

    def distance(self, at):
        """How far from a time it was."""
        return max(self.begin - at, at - self.end, 0)


class Stopped:
    """A process that was stopped."""

    def __init__(self, pid, seconds):
        self.pid = pid
        self.until = time.monotonic() + seconds
        os.kill(pid, signal.SIGSTOP)

    def go_on(self):
        """SIGCONT."""
        try:
            os.kill(self.pid, signal.SIGCONT)
        except ProcessLookupError:
            pass


class World:
    """All of it."""

    def __init__(self, session, guests=True, dpdk=True, note=print):
        self.session = session
        self.note = note
        self.begin = time.monotonic()
        # Hostile front-ends are sent what is flooded, and may send it again, cut short: not in the name of those that check.
        pins = [f"port.p{i:02}.mac={pair.mac(i).hex(':')}" for i in PAIR]
        pins += [f"port.p{i:02}.mac={load.mac(i)}" for i in LOAD]
        self.path = backend.VmPath(session, (VISITOR if guests else HOSTILE)[-1] + 1, app=("switch", *pins),
                                   under=vmms.under_run(session))
        self.path.wait_up(180)
        self.vmms = vmms.Vmms(self)
        self.faults = []            # Fault, in order
        self.crashes = []           # what ended without having been asked to
        self.stopped = {}           # by pid
        self.jobs = queue.SimpleQueue()
        self.worker = threading.Thread(target=self._work, daemon=True)
        self.worker.start()
        self.victims = streams.Pair(self, "victims", VICTIMS, 50, expendable=True)
        self.streams = [streams.Pair(self, "pair", PAIR), self.victims]
        # In the order in which they are ended: what is flooded goes to all of them, and vvu-load waits until nothing comes any more.
        self.visitor = None         # QEMU's kind of victim
        if guests:
            self.streams.append(streams.Guests(self, "guest", GUESTS))
            self.visitor = visitor.Visitor(self, "visitor", VISITOR, self.streams[-1])
            self.streams.append(self.visitor)
        if dpdk:
            self.streams.append(streams.Load(self, "load", LOAD))
        self.progress = {}          # stream: (what has arrived, when)
        self.seen = {}              # stream: when its sessions were last seen
        self.looked = 0.0

    def say(self, text):
        """A line with the time."""
        self.note(f"[{time.monotonic() - self.begin:7.2f} s] {text}")

    def crash(self, what, proc):
        """Something has ended that should not have."""
        self.crashes.append(what)
        self.say(f"CRASH {what}:\n{proc.tail(60)}")

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

    def kill_proxy(self):
        """SIGKILL, and another one right away."""
        self.stopped.pop(self.path.proxy.pid, None)
        self.path.proxy.kill()
        self.session.things.remove(self.path.proxy)
        self.path.start_proxy()

    def upgrade_proxy(self, kill_after=None):
        """Another one takes over. kill_after: it is killed so many seconds after its start. Says how that went."""
        old = self.path.proxy
        old.expected_alive = False
        new = self.session.start("vvu-proxy", [*self.path.proxy_argv(), "--takeover", self.path.control("proxy")])
        if kill_after is None:
            # It may have to wait for VMMs that are stopped.
            procs.wait_until(lambda: self.go_on() or new.find_line("^ready$") or not new.running(), "a proxy takes over", 120, 0.005)
        else:
            time.sleep(kill_after)
            new.kill()
        if new.find_line("^ready$") and new.running():
            if old.wait(60) != 0:
                raise procs.Failure(f"the proxy that was taken over from ended with {old.popen.returncode}:\n{old.tail()}")
            self.path.proxy = new
            return ""
        self.session.things.remove(new)
        return self._after_failed_upgrade(old, new)

    def _after_failed_upgrade(self, old, new):
        """Who serves now, with another one if need be."""
        def settled():
            if not old.running():
                return "it was too late to go on with the old one"
            try:
                return procs.control(self.path.control("proxy"), {"cmd": "status"}) and "the old one goes on"
            except (OSError, procs.Failure):
                return None
        said = procs.wait_until(settled, "the old proxy goes on or ends", 60)
        old.expected_alive = True
        if not old.running():
            self.session.things.remove(old)
            self.path.start_proxy()
        return f"{said}; the new one ended with {new.popen.returncode}"

    def stop_for(self, pid, seconds):
        """SIGSTOP; SIGCONT follows. False: it is stopped already."""
        if pid in self.stopped:
            return False
        self.stopped[pid] = Stopped(pid, seconds)
        return True

    def go_on(self, all_of_them=False):
        """SIGCONT for those whose time has come."""
        for stopped in list(self.stopped.values()):
            if all_of_them or time.monotonic() >= stopped.until:
                self.stopped.pop(stopped.pid).go_on()

    # --- sessions are kept by two: who dies while the other one has none loses them, and that is how it is meant to be ---

    def _kept(self, good):
        known = self.ports()
        return bool(known) and all(good(known[p]) for s in self.streams if not s.losses and s.established() for p in s.ports)

    def proxy_has_all(self):
        """The proxy knows all sessions: the VMM may die."""
        return self._kept(lambda port: port["front_end"])

    def vmm_has_all(self):
        """A VMM has all sessions, and will not lose them because of what it was told before: the proxy may die."""
        return self._no_request() and self._kept(lambda port: port["state"] == "up")

    def vmm_has(self, ports):
        """The same of all sessions on these ports."""
        known = self._no_request() and self.ports()
        return bool(known) and all(known[p]["state"] == "up" for p in ports)

    def _no_request(self):
        """A VMM has no request in hand: when nobody answers that any more the session would end."""
        status = self.vmms.ripe()
        return bool(status) and not any(device.get("unanswered") for device in status["devices"].values())

    def is_moving(self):
        """Whether a session is on its way from one VMM to another."""
        known = self.ports()
        return bool(known) and any(port["state"] in ("moving", "stopping", "replay") for port in known)

    def wait_for(self, check):
        """Until that has been seen twice in a row, so that what was under way has arrived. False: not in time."""
        deadline, seen = time.monotonic() + KEPT_S, 0
        while seen < 2 and time.monotonic() < deadline:
            self.tick()
            seen = seen + 1 if check() else 0
            time.sleep(0.01)
        return seen == 2

    def ports(self):
        """The proxy's status of its ports, or None while it can't answer."""
        if self.path.proxy.pid in self.stopped or not self.path.proxy.running():
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
        for proc in (self.path.vmm, self.path.proxy):
            if not proc.running():
                proc.reader.join(5)
                self.crash(f"{proc.name} ended with {proc.popen.returncode}", proc)
                raise procs.Failure(self.crashes[-1])
        self.vmms.poll()
        for stream in self.streams:
            stream.poll()
        if time.monotonic() - self.looked > 1:
            self.looked = time.monotonic()
            self._look_at_sessions()
            self._look_at_progress()

    def _look_at_sessions(self):
        known = self.ports()
        for stream in self.steady if known else ():
            gone = [p for p in stream.ports if not known[p]["front_end"]]
            self.seen[stream] = self.looked if not gone else self.seen.get(stream, self.looked)
            if self.looked - self.seen[stream] > GONE_S and not stream.losses:
                stream.lose("; ".join(f"port p{p}: {known[p]['last_end']}" for p in gone))

    def _look_at_progress(self):
        served = self.linked()
        for stream in self.steady:
            if isinstance(stream, streams.Guests):
                continue  # asking takes a guest's time
            now, arrived = time.monotonic(), stream.arrived()
            before, since = self.progress.get(stream, (None, now))
            if not served or arrived is None or before is None or all(a != b for a, b in zip(arrived, before)):
                self.progress[stream] = arrived, now
            elif now - since > STILL_S and not stream.losses:
                stream.lose(f"stands still: {arrived}\n{self.describe(stream)}")

    def describe(self, stream):
        """What both sides know of a stream's ports."""
        known = self.ports() or []
        text = [str({k: v for k, v in known[p].items() if k != "messages"}) for p in stream.ports] if known else []
        text += [str((self.vmms.ask("status") or {}).get("devices", "the VMM does not answer"))]
        return "\n".join(text + [self.path.vmm.tail(10), self.path.proxy.tail(10)])

    def linked(self):
        """Whether every port has a back-end."""
        known = self.ports()
        return bool(known) and all(p["back_end"] and p["back_end"]["up"] for p in known)

    def settle(self):
        """No faults any more: everything has to flow."""
        self.go_on(all_of_them=True)
        self.drain()
        procs.wait_until(lambda: self.tick() or (self.linked() and not self.vmms.replacement), "a back-end VM is up on all ports",
                         SETTLE_S)
        for stream in self.streams:
            if stream.losses:
                continue
            before, deadline = None, time.monotonic() + SETTLE_S
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
        procs.wait_until(lambda: self.tick() or self.free(ports), f"ports {ports} are free", 60)
        pair = streams.Pair(self, "next", ports)
        try:
            procs.wait_until(lambda: pair.arrived() and all(n > 10 for n in pair.arrived()), f"frames between ports {ports}", 60)
            pair.finish()
        except (OSError, Closed, procs.Failure) as error:
            raise procs.Failure(f"ports {ports} do not serve the next front-ends: {error}\n{self.describe(pair)}") from None

    # --- afterwards ---

    def pauses(self):
        """({kind of fault: longest gap whose begin was next to one}, the longest of all), in milliseconds."""
        longest = collections.defaultdict(float)
        for gap in self._gaps():
            near = min(self._faults(gap), key=lambda fault, at=gap.start: (fault.distance(at), -fault.begin), default=None)
            kind = near.kind if near else "none"
            longest[kind] = max(longest[kind], gap.ms)
        return dict(longest), max(longest.values(), default=0.0)

    def _gaps(self):
        return [g for s in self.steady for g in s.gaps]

    def _faults(self, gap):
        return [f for f in self.faults if f.begin <= gap.end and f.end >= gap.start - 0.1]

    def longest_gaps(self, count=5):
        """Lines about the longest gaps and the faults that fell into them."""
        longest = sorted(self._gaps(), key=lambda g: -g.ms)[:count]
        return [f"{gap.ms:.0f} ms at {gap.start - self.begin:.2f} s, {gap.stream}: "
                f"{', '.join(f.kind for f in self._faults(gap)) or 'no fault'}" for gap in longest]
