# SPDX-License-Identifier: BSD-2-Clause
"""
A QEMU guest with one vhost-user network card, and commands executed inside it.

The console goes to the log. Commands travel over a second serial port whose other end is a socket pair of ours, so
there is nothing to connect to and nothing to wait for but lines (protocol: lib/guestimage.py, TRAFFIC_INIT).
"""

import base64
import dataclasses
import json
import socket
import threading
import time

from . import guestimage
from .procs import Failure


@dataclasses.dataclass
class Nic:
    """One vhost-user network card."""
    socket: str
    mac: str
    server: bool = False        # True: QEMU listens and the proxy connects
    reconnect: int = 0          # seconds; only when QEMU connects
    queues: int = 1
    packed: bool = False
    props: str = ""             # more device properties, such as csum=off,gso=off

    def args(self):
        """QEMU's options for this card."""
        chardev = f"socket,id=c0,path={self.socket}"
        if self.server:
            chardev += ",server=on,wait=off"
        elif self.reconnect:
            chardev += f",reconnect={self.reconnect}"
        netdev = "vhost-user,id=n0,chardev=c0,vhostforce=on"
        # vectors=0: Debian's QEMU 7.2 crashes with MSI-X on a vhost-user device under TCG.
        device = f"virtio-net-pci,netdev=n0,mac={self.mac},romfile=,vectors=0"
        if self.queues > 1:
            netdev += f",queues={self.queues}"
            device += ",mq=on"
        if self.packed:
            device += ",packed=on"
        if self.props:
            device += "," + self.props
        return ["-chardev", chardev, "-netdev", netdev, "-device", device]


NO_OFFLOADS = ("csum=off,gso=off,guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off,"
               "host_tso4=off,host_tso6=off,host_ecn=off,host_ufo=off")


@dataclasses.dataclass
class Result:
    """Outcome of a command in the guest."""
    status: int
    lines: list

    @property
    def text(self):
        """The output as one string."""
        return "\n".join(self.lines)


class Pending:
    """A command that was started in the guest."""

    def __init__(self, guest, ident, command):
        self.guest = guest
        self.ident = ident
        self.command = command
        self.lines = []
        self.status = None

    def wait(self, timeout=120, check=True):
        """Its Result; Failure when the guest ends, the deadline passes or (check) the status is not 0."""
        with self.guest.changed:
            done = self.guest.changed.wait_for(
                lambda: self.status is not None or self.guest.gone, timeout)
        if self.status is None:
            why = "the guest is gone" if self.guest.gone else f"no end within {timeout:g} s"
            if not done:
                why = f"no end within {timeout:g} s"
            raise Failure(f"{self.guest.name}: `{self.command}`: {why}; its output:\n"
                          + "\n".join("    " + x for x in self.lines[-12:]))
        if check and self.status != 0:
            raise Failure(f"{self.guest.name}: `{self.command}`: exit status {self.status}:\n"
                          + "\n".join("    " + x for x in self.lines[-12:]))
        return Result(self.status, self.lines)

    def wait_lines(self, count, timeout=120):
        """Wait until the command has printed that many lines (or ended)."""
        with self.guest.changed:
            self.guest.changed.wait_for(
                lambda: len(self.lines) >= count or self.status is not None or self.guest.gone,
                timeout)
        return len(self.lines)


class Guest:
    """A running QEMU guest. Made by start(); stopped with the Session that it was started in."""

    def __init__(self, session, name, nic=None, address="", memory="256M", reboot=False,
                 mtu=None, accel="tcg", cpus=None, smp=1, wrap=(), extra=(), memory_props=""):
        """`wrap` goes before QEMU's command line, `extra` is added to it; memory_props: more of its memory (",prealloc=on")."""
        kern = guestimage.kernel()
        initrd = guestimage.traffic_initrd(kern)
        self.session = session
        self.name = name
        self.nic = nic
        self.changed = threading.Condition()
        self.readies = 0
        self.gone = False
        self.pending = {}
        self.next_id = 1
        self.agent, theirs = socket.socketpair()
        self.qmp_sock, qmp_theirs = socket.socketpair()
        # no_timer_check: Linux panics when, by the time that it takes for ten ticks, there were none; QEMU may just have had no processor.
        append = f"console=ttyS0 quiet panic=-1 no_timer_check mitigations=off name={name} agent=ttyS1"
        if address:
            append += f" addr={address}"
        if mtu:
            append += f" mtu={mtu}"
        argv = ["qemu-system-x86_64", "-name", name, "-M", f"q35,accel={accel},memory-backend=mem",
                "-cpu", "max", "-smp", str(smp), "-m", memory,
                "-object", f"memory-backend-memfd,id=mem,size={memory},share=on{memory_props}",
                "-nodefaults", "-no-user-config", "-display", "none",
                "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
                "-chardev", f"socket,id=agent,fd={theirs.fileno()}", "-serial", "chardev:agent",
                "-chardev", f"socket,id=qmp,fd={qmp_theirs.fileno()}",
                "-mon", "chardev=qmp,mode=control",
                "-kernel", kern.image, "-initrd", initrd, "-append", append]
        if not reboot:
            argv.append("-no-reboot")
        if nic:
            argv += nic.args()
        self.proc = session.start(name, [*wrap, *argv, *extra],
                                  pass_fds=(theirs.fileno(), qmp_theirs.fileno()), cpus=cpus)
        theirs.close()
        qmp_theirs.close()
        self.started = time.monotonic()
        threading.Thread(target=self._read, daemon=True).start()
        self.qmp_file = None

    def _read(self):
        buffer = b""
        while True:
            try:
                part = self.agent.recv(65536)
            except OSError:
                part = b""
            if not part:
                break
            buffer += part
            *lines, buffer = buffer.split(b"\n")
            with self.changed:
                for line in lines:
                    self._line(line.decode("utf-8", "replace").rstrip("\r"))
                self.changed.notify_all()
        with self.changed:
            self.gone = True
            self.changed.notify_all()

    def _line(self, line):
        if line.startswith("ready "):
            self.readies += 1
            return
        for mark in ("|", "!"):
            ident, found, rest = line.partition(mark)
            if found and ident.isdigit() and int(ident) in self.pending:
                if mark == "|":
                    self.pending[int(ident)].lines.append(rest)
                else:
                    self.pending.pop(int(ident)).status = int(rest or 255)
                return

    def is_ready(self, boots=1):
        """True once the guest has said that it takes commands."""
        with self.changed:
            return self.readies >= boots

    def wait_ready(self, timeout=240, boots=1):
        """Wait until it takes commands; after its n-th boot when it was rebooted."""
        with self.changed:
            self.changed.wait_for(lambda: self.readies >= boots or self.gone, timeout)
            if self.readies >= boots:
                return
        raise Failure(f"{self.name}: not up within {timeout:g} s; its console:\n{self.proc.tail()}")

    def begin(self, command):
        """Start a shell command in the guest."""
        with self.changed:
            ident = self.next_id
            self.next_id += 1
            pending = self.pending[ident] = Pending(self, ident, command)
        line = f"{ident} {base64.b64encode(command.encode()).decode()}\n".encode()
        # The guest's line discipline holds 4096 bytes.
        assert len(line) < 2048, "command too long for the serial line"
        self.agent.sendall(line)
        return pending

    def run(self, command, timeout=120, check=True):
        """Run a shell command in the guest and return its Result."""
        return self.begin(command).wait(timeout, check)

    def qmp(self, command, timeout=60, **arguments):
        """A command to QEMU's monitor; returns its `return` value."""
        self.qmp_sock.settimeout(timeout)
        if not self.qmp_file:
            self.qmp_file = self.qmp_sock.makefile("r", encoding="utf-8")
            self.qmp_file.readline()  # greeting
            self.qmp("qmp_capabilities")
        self.qmp_sock.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        while True:
            line = self.qmp_file.readline()
            if not line:
                raise Failure(f"{self.name}: QEMU closed its monitor during {command}")
            reply = json.loads(line)
            if "error" in reply:
                raise Failure(f"{self.name}: {command}: {reply['error']['desc']}")
            if "return" in reply:
                return reply["return"]

    def reset(self):
        """Press the reset button."""
        boots = self.readies
        self.qmp("system_reset")
        return boots + 1

    def reboot(self):
        """The same, from inside."""
        boots = self.readies
        self.begin("reboot -f")
        return boots + 1

    def flap(self, off=0.0, timeout=60):
        """The link goes off for so many seconds, and on again; until the guest has seen both."""
        # Counters, not `carrier`: QEMU puts the link on by itself when its connection is cut and made again meanwhile.
        counts = [f"/sys/class/net/eth0/carrier_{way}_count" for way in ("down", "up")]
        before = self.run(f"cat {' '.join(counts)}", timeout).lines
        for up, count, seen in zip((False, True), counts, before):
            self.qmp("set_link", timeout, name="n0", up=up)
            self.run(f"until [ $(cat {count}) != {seen} ]; do usleep 10000; done", timeout)
            if not up:
                time.sleep(off)

    def stop(self):
        """Stop QEMU."""
        self.proc.stop()
        self.agent.close()
        self.qmp_sock.close()

    def kill(self):
        """Kill QEMU without warning."""
        self.proc.kill()

    def discard(self):
        """Stop QEMU, if it has not ended yet, and have the session forget it."""
        self.stop()
        self.session.things.remove(self.proc)
