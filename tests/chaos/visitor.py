# SPDX-License-Identifier: BSD-2-Clause
"""
The QEMU guest that is broken itself: its QEMU is killed, it is reset and rebooted, its link goes off and on. In between it sends a file to
an echo server in a guest that stays, again and again, and compares every byte that comes back.

    away     no QEMU; the next one starts when the port is free
    coming   it boots, or its link has been changed: until files come back
    talking  files come back
    there    besides, proxy and back-end VM both have its session, and nothing is under way

Only of a visitor that is there the session may not end, until its next own fault: a message in the hands of a proxy or a VMM that is killed
takes its session along, and QEMU comes again by itself. Whatever happened to it, in the end it has to be there.

QEMU starts on the main thread, with which it ends. Its own faults are another thread's: QEMU does not hear its monitor while it waits for
an answer from a proxy or a VMM that is stopped, and it is the main thread that lets those go on.
"""

import concurrent.futures
import re
import time

from lib import procs, qemu, traffic
from lib.procs import Failure

from .streams import FINISH_S, Stream

AWAY, COMING, TALKING, THERE = "away", "coming", "talking", "there"
FILE_BYTES = 65536      # less than the sockets' buffers take, or both sides might wait for the other one to read
ECHO_PORT = 7003
LOOK_S = 0.25           # between two looks at the session
PATIENCE_S = 300        # until it is there for the first time; for what the guest is told to do
# A line may have been under way when its link was changed; the next one is about a file that was not.
ENOUGH_FILES = 2
TALK = (f"dd if=/dev/urandom of=/tmp/out bs={FILE_BYTES} count=1 2>/dev/null; until [ -e /tmp/stop ]; do "
        "nc {address} {port} </tmp/out >/tmp/back 2>/dev/null; n=$(wc -c </tmp/back); "
        "if [ $n = 0 ] || cmp -s -n $n /tmp/out /tmp/back; then echo right $n; else echo wrong $n; fi; usleep 200000; done")


class Visitor(Stream):
    """One port; what it talks to is the first of `hosts` (streams.Guests)."""

    def __init__(self, world, name, ports, hosts):
        super().__init__(world, name, ports)
        self.expendable = True
        self.hosts = hosts
        self.counts = {"QEMUs": 0, "boots": 0, "files": 0, "cut short": 0, "ended by themselves": 0}
        self.pool = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        self.fault = None       # what the other thread does
        self.guest = self.talk = self.session = None
        self.boots = 0          # which boot of this QEMU is the current one
        self.mark = 0           # lines of `talk` that have been read
        self.fresh = 0          # files that came back since the last own fault
        self.looked = 0.0
        self._begin()

    def _begin(self):
        """The next QEMU."""
        port = self.ports[0]
        nic = qemu.Nic(self.world.path.socket(port), f"52:54:00:00:00:{port:02x}", reconnect=1)
        self.guest = qemu.Guest(self.world.session, self.name, nic, address=f"10.9.0.{port + 1}", reboot=True)
        self.counts["QEMUs"] += 1
        self._boot(1)

    def _boot(self, number):
        """Its next boot has begun."""
        self.boots = number
        self.talk = None
        self._come()

    def _come(self):
        self.state = COMING
        self.fresh = 0
        self.session = None

    def wait_ready(self):
        """Until it is there. The guest that stays has to be up."""
        host = self.hosts.guests[0]
        host.begin(f"nc -ll -p {ECHO_PORT} -e cat")
        traffic.wait_listening(host, ECHO_PORT)
        procs.wait_until(lambda: self.world.tick() or self.established() or self.losses, f"{self.name} is there", PATIENCE_S)

    def established(self):
        return self.state == THERE

    def pids(self):
        return [] if self.state == AWAY else [self.guest.proc.pid]

    def lose(self, text):
        console = "" if self.state == AWAY else f"\n{self.guest.proc.tail()}"
        super().lose(f"{text}; it was {self.state}, {self.counts}{console}")

    # --- faults: each returns words for the log ---

    def _not_up(self):
        return self.state not in (TALKING, THERE) and f"not done: it is {self.state}"

    def kill(self):
        """SIGKILL; also while its link is being changed."""
        changing = self.state == COMING and self.talk and self.fault
        if self._not_up() and not changing:
            return self._not_up()
        was = "its link was being changed" if changing else f"it was {self.state}"
        self.guest.kill()
        self._leave()
        return was

    def restart(self, inside):
        """Reset button, or a reboot from inside."""
        if self._not_up():
            return self._not_up()
        self._boot(self.guest.readies + 1)
        self.fault = self.pool.submit(self.guest.reboot if inside else self.guest.reset)
        return "from inside" if inside else "reset button"

    def flap(self, seconds):
        """The link goes off for that long, then on."""
        if self._not_up():
            return self._not_up()
        self._come()
        self.fault = self.pool.submit(self.guest.flap, seconds, PATIENCE_S)
        return f"off for {seconds * 1000:.0f} ms"

    def _leave(self):
        """That QEMU has ended."""
        self.guest.discard()
        self.fault = None
        self.state = AWAY

    # --- what is looked at all the time ---

    def poll(self):
        if self.losses:
            return
        if self.state == AWAY:
            if self.world.free(self.ports):
                self._begin()
        elif not self.guest.proc.running():
            self._ended()
        elif self.talk:
            self._read()
            if self._fault_over():
                self._look()
        elif self._fault_over() and self.guest.is_ready(self.boots):
            self._start_talking()

    def _start_talking(self):
        try:
            self.talk = self.guest.begin(TALK.format(address=self.hosts.addresses[0], port=ECHO_PORT))
        except OSError:
            return  # QEMU has just ended
        self.counts["boots"] += 1
        self.mark = 0

    def _ended(self):
        """By itself: QEMU may not survive a connection that ends in the middle of a message, but nothing else."""
        if self.state == THERE:
            self.lose("QEMU has ended")
            return
        self.counts["ended by themselves"] += 1
        self.world.say(f"{self.name}: QEMU ended with {self.guest.proc.popen.returncode} while {self.state}:\n{self.guest.proc.tail()}")
        self._leave()

    def _read(self):
        """What has come back."""
        lines = self.talk.lines[self.mark:]
        self.mark += len(lines)
        for line in lines:
            found = re.fullmatch(r"(right|wrong) (\d+)", line)
            if not found or found.group(1) == "wrong":
                self.wrong += max(1, int(found.group(2))) if found else 0
                self.world.say(f"{'WRONG ' if found else ''}{self.name}: {line}")
            elif int(found.group(2)) == FILE_BYTES:
                self.counts["files"] += 1
                self.fresh += 1
            else:
                self.counts["cut short"] += 1
        if self.talk.status is not None:
            self.lose(f"it does not talk any more, exit status {self.talk.status}")

    def _fault_over(self):
        """Whether the other thread has done what it was asked for."""
        if not self.fault:
            return True
        if not self.fault.done():
            self.fresh = 0
            return False
        error, self.fault = self.fault.exception(), None
        if error:
            self.lose(f"its own fault: {error}")
        return not error

    def _look(self):
        """At its session."""
        if self.state == COMING and self.fresh >= ENOUGH_FILES:
            self.state = TALKING
        if self.state == COMING or time.monotonic() - self.looked < LOOK_S:
            return
        self.looked = time.monotonic()
        if self.state == TALKING:
            self.session = self._since() if self.world.vmm_has(self.ports) else None
            if self.session:
                self.state = THERE
        elif self._since() not in (None, self.session):
            self.lose(f"its session has ended: {self.world.ports()[self.ports[0]]['last_end']}")

    def _since(self):
        """When its session began, by which it is known for as long as it lives; None: the proxy has none now."""
        known = self.world.ports()
        front_end = known and known[self.ports[0]]["front_end"]
        return front_end["since_ns"] if front_end else None

    def arrived(self):
        """How many files have come back, once it is there."""
        self.poll()
        return [self.counts["files"]] if self.established() else None

    def finish(self):
        """Ends its traffic. It has to reach all that stay, and goes on running, lest they look for it."""
        try:
            self.guest.run("touch /tmp/stop", FINISH_S)
            self.talk.wait(FINISH_S)
            for address in self.hosts.addresses:
                traffic.wait_path(self.guest, address, FINISH_S)
        except (Failure, OSError) as error:
            self.lose(f"at the end: {error}")
