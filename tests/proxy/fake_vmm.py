#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
A stand-in for vvu-vmm, as tests of the command `vvu` need it: what it does is the next word of a plan.

usage: fake_vmm.py --dir DIR --plan NAME [--vvu ...]

DIR/NAME has one word per start: `exit=N`, `die` (of SIGKILL), `serve`, `boot` (not ready before SIGUSR1), `silent` (the same, and
says X_VVU_SILENT=1), `deaf` (serves and ignores SIGTERM). A VMM that runs ends with status 0 on SIGTERM, and on SIGUSR2 as
when it is replaced. What happens goes to standard output: `NAME N PID word`.
"""
import argparse
import os
import pathlib
import signal
import socket
import sys

LIFE = 600  # seconds, in case a test leaves one behind


def notify(text):
    """As sd_notify(3)."""
    name = os.environ.get("NOTIFY_SOCKET", "")
    if name:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(text.encode(), name.replace("@", "\0", 1))


def main():
    """Do as planned."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dir", type=pathlib.Path)
    parser.add_argument("--plan")
    parser.add_argument("--vvu", action="append")
    args = parser.parse_args()

    waited = {signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2}
    signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    signal.alarm(LIFE)
    with open(args.dir / "pids", "a", encoding="ascii") as pids:
        pids.write(f"{os.getpid()}\n")
    starts = args.dir / f"{args.plan}.starts"
    number = int(starts.read_text()) + 1 if starts.exists() else 1
    starts.write_text(str(number))
    words = (args.dir / args.plan).read_text().split()
    word = words[min(number, len(words)) - 1]

    def say(what):
        # One write: others have the same output.
        os.write(1, f"{args.plan} {number} {os.getpid()} {what}\n".encode())

    say(word)
    if word.startswith("exit="):
        sys.exit(int(word[5:]))
    if word == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if word in ("serve", "deaf"):
        notify("READY=1")
    if word == "silent":
        notify("X_VVU_SILENT=1")
    say("up")
    while True:
        got = signal.sigwait(waited)
        say(got.name)
        if got == signal.SIGUSR1 and word in ("boot", "silent"):
            notify("READY=1")
        elif got == signal.SIGUSR2 or (got == signal.SIGTERM and word != "deaf"):
            sys.exit(0)


if __name__ == "__main__":
    main()
