#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
Runs one case of cases.json: a test guest under vvu-vmm, judged by the lines it prints and vvu-vmm's exit status.

    run.py CASE [CASE ...]      in the build directory $VVU_BUILD (default: build)
    run.py --list

Exit status 0: passed, 1: failed, 77: cannot run here (the reason is printed). Besides Python's standard library it needs
/dev/kvm only.

A case has these keys (all but name and guest are optional):
    name      unique
    guest     tests/guests/GUEST/main.c
    cmdline   the guest's command line
    args      further arguments of vvu-vmm; {dir} is the scratch directory, {link} the peer's socket
    kernel    how the image is spoilt before it is used: see images.py
    stdin     [[PATTERN, TEXT], ...]: when a line matches PATTERN, type TEXT
    expect    patterns, each of which must match some line of output
    verdict   false: the guest gives none (default true: `VERDICT PASS` must be there)
    status    exit status of vvu-vmm, default 0
    peer      name of the link peer (peers.py) that plays the proxy
    timeout   seconds, default TIMEOUT: a limit against hanging, not a measure
    nested    keys that differ in a nested machine (suite `nested`), or a string: why it can't run there
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
import images  # noqa: E402  (after the path is set)
import peers  # noqa: E402
from lib import damage  # noqa: E402

SKIP = 77
TIMEOUT = 120


class Failure(Exception):
    """Why the case failed, for a person."""


def load_cases():
    """The cases by name, in file order."""
    with open(HERE / "cases.json", encoding="utf-8") as f:
        return {case["name"]: case for case in json.load(f)}


class Vmm:
    """
    vvu-vmm with its output collected line by line: the guest's console (standard output) and its own messages (standard
    error), which must not be mixed within a line. Answers to lines are typed as they come.
    """

    def __init__(self, argv, answers):
        self.lines = []
        self.changed = threading.Condition()
        self.open = 2
        self.answers = [(re.compile(p), t) for p, t in answers]
        # Standard input stays open to the end: its end is an event of its own.
        self.popen = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE)
        self.readers = [threading.Thread(target=self._read, args=(pipe,), daemon=True)
                        for pipe in (self.popen.stdout, self.popen.stderr)]
        for reader in self.readers:
            reader.start()

    def _read(self, pipe):
        for raw in pipe:
            line = raw.decode("utf-8", "replace").rstrip("\r\n")
            with self.changed:
                if self.answers and self.answers[0][0].search(line):
                    self._type(self.answers.pop(0)[1])
                self.lines.append(line)
                self.changed.notify_all()
        with self.changed:
            self.open -= 1
            self.changed.notify_all()

    def _type(self, text):
        try:
            self.popen.stdin.write(text.encode())
            self.popen.stdin.flush()
        except BrokenPipeError:
            pass

    def next_line(self, at):
        """Line number at, as soon as there is one, and at + 1; None when there will be none."""
        with self.changed:
            while at >= len(self.lines) and self.open:
                self.changed.wait()
            return (self.lines[at], at + 1) if at < len(self.lines) else (None, at)

    def finish(self, timeout):
        """Waits for the end; returns the exit status."""
        try:
            status = self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failure(f"did not end within {timeout} s") from None
        self.join()
        return status

    def kill(self):
        """Ends it at once."""
        self.popen.kill()
        self.popen.wait()
        self.join()

    def join(self):
        """Waits for the last of its output."""
        for reader in self.readers:
            reader.join(TIMEOUT)


def judge(case, lines, status):
    """Raises Failure when output or status are not what the case says."""
    if case.get("verdict", True):
        if not any(re.fullmatch(r"VERDICT PASS [1-9]\d*", line) for line in lines):
            raise Failure("no VERDICT PASS")
    elif any(line.startswith("VERDICT") for line in lines):
        raise Failure("a verdict where none was expected")
    for pattern in case.get("expect", []):
        if not any(re.search(pattern, line) for line in lines):
            raise Failure(f"no line /{pattern}/")
    if status != case.get("status", 0):
        raise Failure(f"vvu-vmm ended with status {status}, not {case.get('status', 0)}")


def run_case(case, build):
    """Runs it; returns the lines of output. Failure when it fails, damage.Unavailable when it cannot run here."""
    guest = build / "tests" / "guests" / (case["guest"] + ".elf")
    with tempfile.TemporaryDirectory(prefix="vvu-kvm-") as scratch:
        link = f"{scratch}/link"
        peer = peers.start(case["peer"], link) if "peer" in case else None
        kernel = images.spoil(case["kernel"], guest, scratch) if "kernel" in case else guest
        argv = [str(build / "vmm" / "vvu-vmm"), "--kernel", str(kernel),
                "--cmdline", case.get("cmdline", "")]
        args = case.get("args", [])
        if not any(a.startswith("--memory") for a in args):
            argv += ["--memory", "32M"]
        argv += [a.format(dir=scratch, link=link) for a in args]
        vmm = Vmm(argv, case.get("stdin", []))
        timeout = case.get("timeout", TIMEOUT)
        limit = threading.Timer(timeout, vmm.popen.kill)
        limit.start()
        try:
            if peer:
                peer.run(vmm)
            status = vmm.finish(timeout)
            judge(case, vmm.lines, status)
        except (Failure, OSError, peers.PeerError) as error:
            vmm.kill()
            print("\n".join("    " + line for line in vmm.lines))
            print("    $ " + " ".join(argv))
            raise Failure(str(error)) from error
        finally:
            limit.cancel()
            vmm.kill()
            for pipe in (vmm.popen.stdin, vmm.popen.stdout, vmm.popen.stderr):
                pipe.close()
            if peer:
                peer.close()
        return vmm.lines


def why_not(build):
    """Why no case can run here, or None."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "/dev/kvm is missing or not accessible"
    if not (build / "vmm" / "vvu-vmm").exists():
        return f"vvu-vmm is not built in {build}"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--list", action="store_true", help="print the names of all cases")
    parser.add_argument("--all", action="store_true", help="run every case")
    parser.add_argument("case", nargs="*")
    opts = parser.parse_args()
    cases = load_cases()
    if opts.list:
        print("\n".join(cases))
        return 0
    build = pathlib.Path(os.environ.get("VVU_BUILD") or HERE.parents[1] / "build").resolve()
    reason = why_not(build)
    if reason:
        print(f"SKIP: {reason}")
        return SKIP
    failed = 0
    for name in cases if opts.all else opts.case:
        try:
            lines = run_case(cases[name], build)
            verdict = next((line for line in lines if line.startswith("VERDICT")), "as expected")
            print(f"PASS {name}: {verdict}")
        except Failure as error:
            print(f"FAIL {name}: {error}")
            failed += 1
        except damage.Unavailable as error:
            print(f"SKIP {name}: {error}")
            if len(opts.case) == 1:
                return SKIP
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
