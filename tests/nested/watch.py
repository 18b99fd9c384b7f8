# SPDX-License-Identifier: BSD-2-Clause
"""
Looks after the emulated machine of nested.py: when it has said nothing for a while, what its processor is doing goes to the output, so
that a hang can be understood; and a hang of the emulator itself is told from all others.

QEMU's emulated SVM can lose an interrupt, in one way that its source shows: helper_vmrun() (svm_helper.c of QEMU 7.2) sets a bit in
the word of the processor's pending requests without the lock under which the main loop sets others there, so that one which is set at
that moment may be gone. Then the local APIC has the interrupt, and the processor is not told. nested.py has the outer kernel tick all
the time, with which the APIC looks again. Where that is not enough the machine stands still; and a processor that is halted with
interrupts enabled, while its APIC has one for it that nothing holds back, and no thread of QEMU runs: that no software in the machine
can bring about. Only this is a Stuck.
"""

import json
import os
import pathlib
import re
import socket
import time

from lib.procs import Failure

QUIET = 60  # seconds without a line
PAUSE = 10  # between two looks
REPORTS = 6
COMMANDS = ("info status", "info registers", "info lapic", "info pic", "info irq")
FLAG_IF = 1 << 9


class Stuck(Failure):
    """The emulator has hung, by its own fault."""


class Monitor:
    """QEMU's monitor, spoken to over QMP."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(QUIET)
        self.sock.connect(str(path))
        self.lines = self.sock.makefile("r", encoding="utf-8")
        self.lines.readline()  # the greeting
        self._execute("qmp_capabilities")

    def _execute(self, command, **arguments):
        request = {"execute": command, "arguments": arguments}
        self.sock.sendall(json.dumps(request).encode() + b"\n")
        while line := self.lines.readline():
            reply = json.loads(line)
            if "event" not in reply:
                return reply.get("return", reply.get("error"))
        raise ConnectionError("QEMU's monitor closed the connection")

    def ask(self, command):
        """What the command line of the human monitor says."""
        return str(self._execute("human-monitor-command", **{"command-line": command})).replace("\r", "")

    def close(self):
        """Hangs up."""
        self.lines.close()
        self.sock.close()


class Look:
    """What the machine was doing at one moment."""

    def __init__(self, pid, monitor_path):
        self.said = {}
        self.states, self.ticks = threads(pid)
        try:
            monitor = Monitor(monitor_path)
            try:
                for command in COMMANDS:
                    self.said[command] = monitor.ask(command)
            finally:
                monitor.close()
        except (OSError, ValueError) as error:
            self.said["monitor"] = f"does not answer: {error}"

    def text(self):
        """All of it, for a person."""
        parts = [f"threads of QEMU: {self.states}, processor time used: {self.ticks} ticks"]
        parts += [f"--- {command}\n{text.rstrip()}" for command, text in self.said.items()]
        return "\n".join(parts)

    def _number(self, command, pattern, base):
        found = re.search(pattern, self.said.get(command, ""))
        return int(found.group(1), base) if found else None

    def halted_at(self):
        """Where the processor is halted with interrupts enabled; None: it isn't."""
        flags = self._number("info registers", r"RFL=([0-9a-f]+)", 16)
        if self._number("info registers", r"HLT=(\d)", 10) != 1 or flags is None or not flags & FLAG_IF:
            return None
        return self._number("info registers", r"RIP=([0-9a-f]+)", 16)

    def deliverable(self):
        """Vector that the local APIC has for the processor, and that nothing holds back; None: there is none."""
        requested = re.search(r"^IRR\s+(.*)$", self.said.get("info lapic", ""), re.M)
        priority = self._number("info lapic", r"PPR 0x([0-9a-f]+)", 16)
        vectors = [int(v) for v in re.findall(r"\d+", requested.group(1))] if requested else []
        if priority is None or not vectors or max(vectors) >> 4 <= priority >> 4:
            return None
        return max(vectors)


def threads(pid):
    """(states of a process's threads, processor time they have used)"""
    states, ticks = "", 0
    for task in sorted(pathlib.Path(f"/proc/{pid}/task").iterdir()):
        fields = (task / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        states += fields[0]
        ticks += int(fields[11]) + int(fields[12])
    return states, ticks


def proof(first, second):
    """Why two looks, one some time after the other, show that the emulator has hung; None: they don't."""
    vector = first.deliverable()
    if first.halted_at() is None or second.halted_at() != first.halted_at():
        return None
    if vector is None or second.deliverable() is None:
        return None
    if set(first.states + second.states) != {"S"} or first.ticks != second.ticks:
        return None
    return (f"the processor is halted at {first.halted_at():#x} with interrupts enabled, the local APIC has vector {vector} for it, "
            f"and QEMU does nothing")


def report(what, look):
    """Prints a look; it is the only trace of it."""
    print(f"NOTICE: {what}\n{look.text()}\n--- end", flush=True)


def examine(guest, monitor_path):
    """The machine is quiet: says what it does. Stuck when it will do nothing any more."""
    mark = guest.mark()
    try:
        first = Look(guest.pid, monitor_path)
        report(f"the nested machine has said nothing for {QUIET} s", first)
        try:
            guest.wait_line("", PAUSE, after=mark)
            return  # it has said something meanwhile
        except Failure:
            second = Look(guest.pid, monitor_path)
    except OSError as error:
        print(f"NOTICE: QEMU cannot be looked at: {error}", flush=True)
        return
    why = proof(first, second)
    if why:
        report(f"{PAUSE} s later", second)
        raise Stuck(f"the emulator has hung: {why}")


def wait_exit(guest, pattern, monitor_path, timeout):
    """Waits for a line, as guest.wait_line() does, and looks at the machine when none comes."""
    deadline = time.monotonic() + timeout
    reports, mark = 0, guest.mark()
    while True:
        left = deadline - time.monotonic()
        try:
            return guest.wait_line(pattern, max(0, min(QUIET, left)))
        except Failure:
            if guest.eof:
                raise
            quiet = guest.mark() == mark
            mark = guest.mark()
            if (quiet or left <= QUIET) and reports < REPORTS:
                reports += 1
                examine(guest, monitor_path)
            if left <= QUIET:
                raise


def keep(text):
    """Where the logs of failed tests go there is a trace of what was not counted as one, too."""
    if os.environ.get("VVU_LOGS"):
        folder = pathlib.Path(os.environ["VVU_LOGS"])
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "emulator-hangs.txt", "a", encoding="utf-8") as f:
            f.write(text + "\n")
