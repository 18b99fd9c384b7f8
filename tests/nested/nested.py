#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""
Runs a test script inside a Linux guest whose /dev/kvm has true SVM semantics: QEMU's TCG emulates the processor, nested
virtualisation included, so this works on any machine and needs neither KVM nor root here.

Packed into the guest's initramfs: busybox, Debian's kvm modules, the system's Python, tests/, and the built programs
with their shared libraries, all at their paths of this host. The script's output is passed through; its exit status is
ours.
"""

import argparse
import pathlib
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import guestimage, paths, procs, scenario
from lib.procs import Failure
import watch

INIT = r"""#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /run
/bin/busybox --install -s /bin
export PATH=/usr/bin:/usr/sbin:/bin HOME=/tmp TERM=dumb LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
# No file system over /tmp: the root is in memory anyway, and the tree may be below it.
ip link set lo up
for m in $(cat /modules/order); do
	insmod "/modules/$m.ko" || echo "nested: cannot load $m"
done
[ -c /dev/kvm ] || echo "nested: no /dev/kvm in the guest"
. /command
echo "NESTED EXIT $?"
poweroff -f
"""


def quote(word):
    """A word for the shell."""
    return "'" + word.replace("'", "'\\''") + "'"


def entries(script, words, files=()):
    """Everything in the initramfs; files: more of this host's, at their paths."""
    kernel = guestimage.kernel(print)
    build = paths.build_dir()
    found = guestimage.base_entries(INIT) + guestimage.module_entries(kernel, guestimage.KVM_MODULES)
    for program in ("vvu-vmm", "vvu-proxy", "vvu-backend"):
        if paths.program(program).exists():
            found += guestimage.program_entries(paths.program(program))
    images = sorted(build.rglob("*.elf")) + sorted(build.glob("tests/kvm/*"))
    found += [guestimage.file_entry(image) for image in images
              if image.is_file() and not image.is_symlink()]
    found += guestimage.program_entries(shutil.which("setpriv"))
    found += [guestimage.file_entry(pathlib.Path(f)) for f in files]
    found += guestimage.python_entries()
    for part in ("lib", "kvm", "nested", "guests"):
        found += [guestimage.file_entry(f) for f in sorted((paths.TESTS / part).rglob("*"))
                  if f.is_file() and "__pycache__" not in f.parts]
    command = ["env", f"VVU_BUILD={build}", "VVU_NESTED=1", "/usr/bin/python3", str(script), *words]
    found.append(("command", 0o644, (" ".join(map(quote, command)) + "\n").encode()))
    return kernel, found


# The outer kernel ticks all the time, each tick programmed by the APIC itself: an interrupt that QEMU loses (watch.py) is
# followed by another, where a kernel that programs each of its timer's interrupts by the last one would wait for ever.
# A lock-up is a panic here, so that it ends the test; a host that runs nothing of ours for half a minute is none.
KERNEL_ARGS = "console=ttyS0 quiet panic=-1 no_timer_check softlockup_panic=1 watchdog_thresh=60 mitigations=off nohz=off highres=off"


def boot(session, name, kernel, initrd, timeout):
    """Boot once; returns the script's exit status. watch.Stuck when the emulator hangs."""
    monitor = session.dir / f"{name}.qmp"
    guest = session.start(name, [
        # One processor: with two, QEMU 7.2's SVM sometimes leaves the
        # whole guest kernel spinning on an interrupt between them.
        "qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", "2048",
        "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
        "-qmp", f"unix:{monitor},server=on,wait=off",
        "-kernel", kernel.image, "-initrd", initrd, "-append", KERNEL_ARGS])
    guest.echo = True
    status = watch.wait_exit(guest, r"^NESTED EXIT (\d+)", monitor, timeout)
    guest.wait(300)
    return int(status.group(1))


def run(script, words, timeout, files=()):
    """
    Boot, pass the output through, return the script's exit status. Where the emulator itself has hung, for which nothing in the
    machine can be the cause, a second machine may show what the first one did not get to: once, and it is said.
    """
    kernel, content = entries(script, words, files)
    with procs.Session("nested") as session:
        initrd = session.dir / "initrd.cpio"
        initrd.write_bytes(guestimage.cpio(content))
        print(f"initramfs: {initrd.stat().st_size >> 20} MiB; booting", flush=True)
        try:
            return boot(session, "nested", kernel, initrd, timeout)
        except watch.Stuck as stuck:
            print(f"NOTICE: {stuck}. Everything once more, in a second machine.", flush=True)
            watch.keep(f"{script} {words}: {stuck}")
        for thing in session.things:
            thing.stop()
        return boot(session, "nested-again", kernel, initrd, timeout)


def main():
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--timeout", type=int, default=3000, metavar="SECONDS")
    parser.add_argument("script", help="Python script under tests/ to run in the guest")
    parser.add_argument("words", nargs=argparse.REMAINDER, help="its arguments")
    args = parser.parse_args()
    procs.die_on_signals()
    if not shutil.which("qemu-system-x86_64"):
        print("skip: qemu-system-x86_64 is missing (Debian package qemu-system-x86)")
        return scenario.SKIP
    script = pathlib.Path(args.script).resolve()
    if not script.exists():
        print(f"skip: {script} does not exist")
        return scenario.SKIP
    try:
        return run(script, args.words, args.timeout)
    except Failure as error:
        print(f"FAIL nested: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
