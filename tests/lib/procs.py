# SPDX-License-Identifier: BSD-2-Clause
"""
Child processes that never outlive us.

Every child is started by `setpriv --pdeathsig KILL` in a process group of its own, has its output copied line by line
to a log file, and is stopped in reverse order of start when its Session ends: normally, by an exception, by SIGINT,
SIGTERM or SIGHUP. If we ourselves are killed outright, the kernel kills the children.

PR_SET_PDEATHSIG follows the *thread* that forked, so processes are started from the main thread only.
"""

import collections
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

from . import paths

LIMIT = 60  # seconds after which something hangs; no measure of anything


class Failure(Exception):
    """Something the user or the test should read as one line."""


def die_on_signals():
    """Turn SIGTERM and SIGHUP into SystemExit, so that `with` blocks and finally clauses run."""
    def handler(number, _frame):
        # A second signal must not interrupt the clean-up of the first.
        for s in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(s, signal.SIG_IGN)
        sys.exit(128 + number)
    for s in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(s, handler)


class Proc:
    """One child process, its log and its recent output lines."""

    def __init__(self, name, argv, log_path, pass_fds=(), env=None, stdin=None, cpus=None):
        self.name = name
        self.argv = [str(a) for a in argv]
        self.log_path = log_path
        self.lines = collections.deque(maxlen=20000)
        self.first_line = 0  # number of the line at lines[0]
        self.changed = threading.Condition()
        self.eof = False
        self.echo = False           # True: show the output as it comes
        self.expected_alive = True  # until we stop it
        wrap = ["setpriv", "--pdeathsig", "KILL"]
        if cpus is not None:
            wrap = ["taskset", "-c", str(cpus)] + wrap
        self.started = time.monotonic()
        with open(log_path, "a", encoding="utf-8") as log:
            log.write("$ " + " ".join(self.argv) + "\n")
        self.popen = subprocess.Popen(
            wrap + self.argv, stdin=stdin if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=pass_fds, env=env,
            start_new_session=True)
        self.pid = self.popen.pid
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        with open(self.log_path, "a", encoding="utf-8") as log:
            for raw in self.popen.stdout:
                line = raw.decode("utf-8", "replace").rstrip("\r\n")
                log.write(line + "\n")
                log.flush()
                if self.echo:
                    print(line, flush=True)
                with self.changed:
                    if len(self.lines) == self.lines.maxlen:
                        self.first_line += 1
                    self.lines.append(line)
                    self.changed.notify_all()
        self.popen.stdout.close()
        with self.changed:
            self.eof = True
            self.changed.notify_all()

    def mark(self):
        """Position in the output, for wait_line(after=...)."""
        with self.changed:
            return self.first_line + len(self.lines)

    def find_line(self, pattern, after=0):
        """The first match of `pattern` in the output so far, or None."""
        regex = re.compile(pattern)
        with self.changed:
            return self._search(regex, after)[0]

    def find_line_at(self, pattern, after=0):
        """The same, with the position behind that line, or behind all."""
        with self.changed:
            return self._search(re.compile(pattern), after)

    def _search(self, regex, after):
        start = max(0, after - self.first_line)
        for i in range(start, len(self.lines)):
            match = regex.search(self.lines[i])
            if match:
                return match, self.first_line + i + 1
        return None, self.first_line + len(self.lines)

    def wait_line(self, pattern, timeout=LIMIT, after=0):
        """Wait until a line of the output matches; Failure when the process ends or the deadline passes."""
        return self.wait_line_at(pattern, timeout, after)[0]

    def wait_line_at(self, pattern, timeout=LIMIT, after=0):
        """The same, with the position behind that line, to go on from."""
        regex = re.compile(pattern)
        deadline = time.monotonic() + timeout
        with self.changed:
            while True:
                match, after = self._search(regex, after)
                if match:
                    return match, after
                left = deadline - time.monotonic()
                if self.eof or left <= 0:
                    break
                self.changed.wait(left)
        why = "ended" if self.eof else f"did not within {timeout:g} s"
        raise Failure(f"{self.name}: waiting for /{pattern}/: {why}; its last lines:\n{self.tail()}")

    def tail(self, count=12):
        """The last lines of the output, indented."""
        with self.changed:
            last = list(self.lines)[-count:]
        return "\n".join("    " + line for line in last) or "    (no output)"

    def running(self):
        """True while the process lives."""
        return self.popen.poll() is None

    def wait(self, timeout=LIMIT):
        """Wait for the end; returns the exit status (negative: the signal)."""
        try:
            status = self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.name}: did not end within {timeout:g} s; its last lines:\n"
                          f"{self.tail()}") from None
        self.reader.join(LIMIT)
        return status

    def kill(self):
        """SIGKILL to the whole process group."""
        self.expected_alive = False
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.popen.wait()

    def stop(self, timeout=LIMIT):
        """SIGTERM, then SIGKILL; returns the exit status. Does nothing to a process that has ended."""
        self.expected_alive = False
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
        # Grandchildren, if any, share the group.
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        self.reader.join(5)
        return self.popen.returncode

    @contextlib.contextmanager
    def stopped(self):
        """For that long it does nothing; whatever happens meanwhile it finds all at once, in this order."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def holds(self, name):
        """Files whose name has `name` in it, that it has open or mapped."""
        found = []
        for entry in os.scandir(f"/proc/{self.pid}/fd"):
            try:
                found.append(os.readlink(entry.path))
            except FileNotFoundError:
                pass
        with open(f"/proc/{self.pid}/maps", encoding="ascii", errors="replace") as maps:
            found += [line.split(maxsplit=5)[-1].strip() for line in maps]
        return [f for f in found if name in f]

    def rss_kib(self):
        """(RssAnon, RssFile, RssShmem) in KiB."""
        fields = {}
        with open(f"/proc/{self.pid}/status", encoding="ascii") as f:
            for line in f:
                key, _, value = line.partition(":")
                if key.startswith("Rss"):
                    fields[key] = int(value.split()[0])
        return fields["RssAnon"], fields["RssFile"], fields["RssShmem"]


class Session:
    """A scratch directory and everything started in it; `with Session("name") as s:` cleans both up."""

    def __init__(self, name, keep=False):
        self.name = name
        self.dir = paths.scratch(name)
        self.keep = keep
        self.things = []

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        for thing in reversed(self.things):
            thing.stop()
        failed = kind is not None and not (kind is SystemExit and value.code in (0, 77, None))
        keep = os.environ.get("VVU_KEEP")
        if failed and os.environ.get("VVU_LOGS"):
            self._save_logs(os.environ["VVU_LOGS"])
        if self.keep or keep:
            print(f"logs kept in {self.dir}", file=sys.stderr)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)
        return False

    def _save_logs(self, to):
        target = os.path.join(to, os.path.basename(self.dir))
        os.makedirs(target, exist_ok=True)
        for log in self.dir.glob("*.log"):
            shutil.copy(log, target)
        print(f"logs of the failed run: {target}", file=sys.stderr)

    def add(self, thing):
        """Have thing.stop() called at the end, before that of everything added earlier."""
        self.things.append(thing)
        return thing

    def start(self, name, argv, **kw):
        """Start a process with its output in NAME.log."""
        return self.add(Proc(name, argv, self.dir / f"{name}.log", **kw))


def control(path, request, timeout=LIMIT):
    """One request to a program's control socket: one JSON line there, one JSON line back."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.settimeout(timeout)
        s.connect(str(path))
        s.sendall(json.dumps(request).encode() + b"\n")
        reply = b""
        while not reply.endswith(b"\n"):
            part = s.recv(65536)
            if not part:
                break
            reply += part
    if not reply.strip():
        raise Failure(f"control socket {path}: closed without a reply to {request}")
    return json.loads(reply)


def wait_until(check, what, timeout=LIMIT, interval=0.05):
    """For states that announce themselves by no event we could block on: look until check() is true."""
    deadline = time.monotonic() + timeout
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure(f"{what}: not within {timeout:g} s")
        time.sleep(interval)
