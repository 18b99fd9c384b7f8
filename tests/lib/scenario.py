# SPDX-License-Identifier: BSD-2-Clause
"""
The frame around an end-to-end scenario: arguments, reasons to skip, clean-up, one verdict line.

    from lib import scenario
    def check(run): ...                 # raises Failure; run.path(2), run.guest(0), run.note("...")
    scenario.main(__doc__, check, needs=("qemu",))

By default the scenario goes through the back-end VM. `--backend host` takes the hosted back-end, `--backend testpmd` DPDK's
own; the latter is for validating the scenario itself. A scenario may take words of its own (`choices`).
"""

import argparse
import os
import shutil
import sys
import time
import traceback

from . import backend, guestimage, load, paths, platforms, procs, qemu, testpmd, traffic
from .procs import Failure

SKIP = 77
TOOLS = {"qemu": ("qemu-system-x86_64", "qemu-system-x86"), "dpdk": ("dpdk-testpmd", "dpdk-dev")}
NEEDS = {"vm": ("vvu-proxy", "vvu-vmm", "appliance.elf"), "host": ("vvu-backend",), "testpmd": ()}


class Skip(Exception):
    """The scenario cannot run here."""


class Run:
    """What a scenario gets: the session and short ways to start things in it."""

    def __init__(self, session, kind, word, rounds=None):
        self.session = session
        self.kind = kind
        self.word = word
        self.rounds = rounds
        self.begin = time.monotonic()
        self.the_path = None
        self.huge = False

    def note(self, text):
        """A line of the test's log."""
        print(f"[{time.monotonic() - self.begin:6.1f} s] {text}", flush=True)

    def expect(self, truth, text):
        """Fail with `text` unless truth."""
        if not truth:
            raise Failure(text)

    def path(self, count, **kw):
        """Start the back-end with so many ports and wait for it."""
        self.the_path = backend.start(self.session, self.kind, count, **kw)
        self.the_path.wait_up()
        self.note(f"{self.kind} back-end with {count} ports up after {self.the_path.boot_ms:.0f} ms")
        return self.the_path

    def guest(self, index, name=None, address=None, wait=True, **kw):
        """Boot a QEMU guest on a port; keywords of qemu.Nic and of qemu.Guest may be mixed."""
        fields = qemu.Nic.__dataclass_fields__
        nic = {k: kw.pop(k) for k in list(kw) if k in fields}
        nic.setdefault("server", self.the_path.modes[index] == "client")
        card = qemu.Nic(self.the_path.socket(index), nic.pop("mac", f"52:54:00:00:00:{index + 1:02x}"),
                        **nic)
        guest = qemu.Guest(self.session, name or f"guest-{'abcdefgh'[index]}", card,
                           address=address or self.address(index), **kw)
        if wait:
            guest.wait_ready()
            self.note(f"{guest.name} up after {time.monotonic() - guest.started:.1f} s")
        return guest

    def two_guests(self, a=None, b=None):
        """Boot two guests side by side and wait until they reach each other."""
        guests = [self.guest(0, wait=False, **(a or {})), self.guest(1, wait=False, **(b or {}))]
        for guest in guests:
            guest.wait_ready()
            self.note(f"{guest.name} up after {time.monotonic() - guest.started:.1f} s")
        self.reach(guests[0], 1)
        return guests

    @staticmethod
    def address(index):
        """Address of the guest on a port."""
        return f"10.9.0.{index + 1}"

    def reach(self, guest, index):
        """Until the guest reaches the one on port `index`."""
        traffic.wait_path(guest, self.address(index))

    def ping(self, guest, index, **kw):
        """Ping the guest on port `index`: nothing may be lost."""
        result = traffic.ping(guest, self.address(index), **kw)
        rtt = result.summary()
        self.note(f"ping {guest.name} -> {self.address(index)}: {result.received} of {result.sent}, "
                  f"min/avg/p99/max {rtt['min']}/{rtt['avg']}/{rtt['p99']}/{rtt['max']} us")
        self.expect(result.received == result.sent,
                    f"{result.sent - result.received} of {result.sent} pings lost")
        return result

    def transfer(self, sender, receiver, index, mib=16):
        """TCP with checksum to the guest on port `index`."""
        result = traffic.transfer(sender, receiver, self.address(index), mib)
        self.note(f"TCP {sender.name} -> {receiver.name}: {mib} MiB, {result.mbit:.0f} Mbit/s")
        self.expect(result.ok, f"TCP {sender.name} -> {receiver.name}: {mib} MiB arrived damaged: "
                               f"SHA-256 {result.sent_hash} sent, {result.received_hash} received")
        return result

    def front_end(self, indices, name="front-end", options="", macs=None, **kw):
        """A testpmd with one virtio_user port on each of the given ports; MAC 02:00:00:00:00:01 on."""
        macs = macs or [f"02:00:00:00:00:{i + 1:02x}" for i in indices]
        ports = [testpmd.Port(self.the_path.socket(i), mac, options=options,
                              server=self.the_path.modes[i] == "client")
                 for i, mac in zip(indices, macs)]
        if len(indices) == 2:
            kw.setdefault("peers", macs[::-1])
        front = testpmd.Testpmd(self.session, name, ports, huge=self.huge, **kw)
        front.wait_ready()
        return front


def _why_not(kind, needs):
    for need in needs:
        if need == "load":
            if load.why_not():
                return load.why_not()
            continue
        tool, package = TOOLS[need]
        if not shutil.which(tool):
            return f"{tool} is missing (Debian package {package})"
    missing = paths.missing_programs(*NEEDS[kind])
    if missing:
        return f"{', '.join(missing)} not built"
    if kind == "vm":
        return platforms.why_no_kvm()
    return None


def main(doc, check, needs=("qemu",), choices=(), rounds=False):
    """Run the scenario and exit. rounds: run.rounds may be given, by --rounds."""
    parser = argparse.ArgumentParser(description=doc.strip(), formatter_class=argparse.RawDescriptionHelpFormatter)
    if rounds:
        parser.add_argument("--rounds", type=int, metavar="N", help="how many (default: few)")
    if choices:
        parser.add_argument("word", choices=choices, nargs="?", default=choices[0])
    parser.add_argument("--backend", choices=backend.KINDS, default="vm")
    parser.add_argument("--keep", action="store_true", help="keep the logs")
    args = parser.parse_args()
    procs.die_on_signals()
    reason = _why_not(args.backend, needs)
    if reason:
        print(f"skip: {reason}")
        sys.exit(SKIP)
    name = os.path.basename(sys.argv[0]).removesuffix(".py")
    word = getattr(args, "word", None)
    try:
        if "qemu" in needs:
            guestimage.kernel(print)
        with procs.Session(name.replace("_", "-"), keep=args.keep) as session:
            run = Run(session, args.backend, word, getattr(args, "rounds", None))
            try:
                with testpmd.hugepages(1100 if "dpdk" in needs else 0) as run.huge:
                    check(run)
                    alive(session, run)
            except BaseException as error:
                if not isinstance(error, (Skip, SystemExit)):
                    tails(session)
                raise
    except Skip as reason:
        print(f"skip: {reason}")
        sys.exit(SKIP)
    except Failure as error:
        print(f"FAIL {name}: {error}")
        sys.exit(1)
    except Exception:  # pylint: disable=broad-except
        traceback.print_exc()
        print(f"FAIL {name}: the scenario itself broke")
        sys.exit(1)
    print(f"PASS {name}{' ' + word if word else ''} ({args.backend})")


def alive(session, run):
    """No scenario may end any of our programs."""
    for thing in session.things:
        if isinstance(thing, procs.Proc) and thing.name.startswith("vvu-") and thing.expected_alive:
            run.expect(thing.running(), f"{thing.name} has ended with {thing.popen.returncode}:\n"
                                        f"{thing.tail()}")


def tails(session):
    """The last lines of everything, for the log of a failed test."""
    for thing in session.things:
        if isinstance(thing, procs.Proc):
            state = "running" if thing.running() else f"ended with {thing.popen.returncode}"
            print(f"--- {thing.name} ({state})\n{thing.tail(25)}")
