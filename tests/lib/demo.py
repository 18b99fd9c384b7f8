# SPDX-License-Identifier: BSD-2-Clause
"""
Two unmodified QEMU guests exchange traffic through a back-end VM, shown step by step.

Installs missing Debian packages, builds, starts vvu-proxy and the back-end VM, boots two guests, pings, transfers 64 MiB
each way over TCP, and prints a summary. Nothing is left behind, whichever way it ends.
"""

import argparse
import json
import os
import pathlib
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# pylint: disable=wrong-import-position
from lib import backend, building, guestimage, paths, platforms, procs, qemu, traffic, ui
from lib.procs import Failure

ADDRESS = ("10.9.0.1", "10.9.0.2")
MAC = ("52:54:00:00:00:01", "52:54:00:00:00:02")
KIND = {"vm": "back-end VM (vvu-vmm with the appliance, behind vvu-proxy)",
        "host": "host process (vvu-backend)",
        "testpmd": "host process (DPDK testpmd, for comparison)"}


def options():
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="tests/demo", description=__doc__.strip().splitlines()[0],
        epilog="Needs Debian 12, root only to install packages, and /dev/kvm for the back-end VM. "
               "The guests run under TCG (QEMU's own emulation), so any machine will do.")
    parser.add_argument("--backend", choices=backend.KINDS, default="vm",
                        help="what connects the guests: the back-end VM (default), vvu-backend on "
                             "the host, or DPDK's testpmd for comparison")
    parser.add_argument("--host-backend", dest="backend", action="store_const", const="host",
                        help="the same as --backend host")
    parser.add_argument("--json", metavar="FILE", help="write the summary there")
    parser.add_argument("--mib", type=int, default=64, metavar="N",
                        help="size of each TCP transfer in MiB (default 64, at most 128)")
    parser.add_argument("--pings", type=int, default=200, metavar="N",
                        help="number of pings (default 200)")
    parser.add_argument("--no-install", action="store_true", help="do not install packages")
    parser.add_argument("--no-build", action="store_true", help="do not build")
    parser.add_argument("--keep-logs", action="store_true",
                        help="keep the directory with all programs' logs")
    args = parser.parse_args()
    if not 1 <= args.mib <= 128:
        parser.error("--mib must be 1 to 128")
    if not 1 <= args.pings <= 100000:
        parser.error("--pings must be 1 to 100000")
    return args


def prepare(args, screen):
    """Packages, build, guest image."""
    if not args.no_install:
        building.install_packages()
    if args.backend != "testpmd":
        if not args.no_build:
            screen.step(f"building in {paths.build_dir()}")
            building.setup()
            building.ninja(building.PROGRAMS, progress=lambda done, total: screen.progress(
                f"building {done}/{total}", done / total))
        missing = [p for p in building.PROGRAMS if not (paths.build_dir() / p).exists()]
        if missing:
            raise Failure(f"not built: {', '.join(missing)} (leave --no-build away)")
    kernel = guestimage.kernel(screen.step)
    guestimage.traffic_initrd(kernel)
    screen.step(f"guest image: Linux {kernel.version} with busybox, in {paths.cache_dir()}")


class Watch:
    """VM exits and wake-ups of vvu-vmm between two moments."""

    def __init__(self, path):
        self.path = path
        self.before = self._read()

    def _read(self):
        if self.path.kind != "vm":
            return time.monotonic(), 0
        return time.monotonic(), exits(self.path.status("vmm"))

    def per_second(self):
        """Exits per second since the start, or None without a VM."""
        if self.path.kind != "vm":
            return None
        now, count = self._read()
        return (count - self.before[1]) / (now - self.before[0])


def exits(status):
    """VM exits that cost something, out of vvu-vmm's status: not those for the host's timer ticks, which are in `exits`."""
    return sum(status["exits"].get(key, 0) for key in
               ("user_exits", "io_exits", "mmio_exits", "irq_injections", "halt_exits"))


def boot_guests(session, path, screen):
    """Start both guests and wait for them, drawing progress."""
    screen.step("booting two QEMU guests (TCG, Debian's cloud kernel)")
    guests = [qemu.Guest(session, f"guest-{'ab'[i]}",
                         qemu.Nic(path.socket(i), MAC[i]), address=ADDRESS[i]) for i in (0, 1)]
    begin = time.monotonic()
    while not all(g.is_ready() for g in guests):
        elapsed = time.monotonic() - begin
        if elapsed > 240 or any(g.gone or not g.proc.running() for g in guests):
            for guest in guests:
                guest.wait_ready(0)
        up = sum(g.is_ready() for g in guests)
        screen.progress(f"guests: {up} of 2 up after {elapsed:4.1f} s", elapsed / (elapsed + 3))
        time.sleep(0.1)
    for guest in guests:
        mac = guest.run("cat /sys/class/net/eth0/address").text
        screen.detail(f"{guest.name} is up: {ADDRESS[guests.index(guest)]}, {mac}")
    screen.step(f"guests up after {time.monotonic() - begin:.1f} s")
    traffic.wait_path(guests[0], ADDRESS[1])
    return guests


def run_pings(guests, count, screen):
    """Ping with a live count."""
    screen.step(f"ping {guests[0].name} -> {guests[1].name}, {count} times")
    box = []
    done = threading.Event()

    def work():
        try:
            box.append(traffic.ping(guests[0], ADDRESS[1], count=count))
        except Failure as error:
            box.append(error)
        done.set()
    threading.Thread(target=work, daemon=True).start()
    begin = time.monotonic()
    while not done.wait(0.2):
        seconds = time.monotonic() - begin
        screen.progress("pinging", min(0.99, seconds / (count * 0.022 + 0.1)))
    if isinstance(box[0], Failure):
        raise box[0]
    result = box[0]
    rtt = result.summary()
    screen.detail(f"{result.sent} sent, {result.received} received, {result.loss_percent:.1f} % lost")
    screen.detail(f"round trip: min {rtt['min']} us, avg {rtt['avg']} us, p99 {rtt['p99']} us, "
                  f"max {rtt['max']} us")
    return result


def run_transfer(sender, receiver, address, mib, screen):
    """One verified transfer."""
    screen.step(f"TCP {sender.name} -> {receiver.name}, {mib} MiB")
    result = traffic.transfer(sender, receiver, address, mib, note=screen.detail)
    verdict = "equal" if result.ok else "DIFFERENT"
    screen.detail(f"sent     SHA-256 {result.sent_hash}")
    screen.detail(f"received SHA-256 {result.received_hash}: {verdict}")
    screen.detail(f"{result.mbit:.0f} Mbit/s ({result.seconds:.2f} s)")
    return result


def collect(path, ping, transfers, exit_rate):
    """The summary's figures, with the keys that scripts rely on."""
    switched, dropped = backend.switched_and_dropped(path.counters())
    rss = None
    messages = None
    if path.kind == "vm":
        anon, file, _ = path.vmm.rss_kib()
        rss = anon + file
        messages = path.status("proxy")["control_messages"]
    return {
        "platform": platforms.platform(),
        "ping_loss_percent": round(ping.loss_percent, 3),
        "rtt_us": ping.summary(),
        "transfer_ok": all(t.ok for t in transfers),
        "throughput_mbit": {"a_to_b": round(transfers[0].mbit, 1),
                            "b_to_a": round(transfers[1].mbit, 1)},
        "backend_boot_ms": round(path.boot_ms, 1),
        "control_messages": messages,
        "frames_switched": switched,
        "frames_dropped": dropped,
        "vm_exits_per_s": None if exit_rate is None else round(exit_rate, 1),
        "vmm_rss_kib": rss,
    }


def show(figures, path, touched, screen):
    """Print the summary."""
    def line(what, value):
        screen.detail(f"{what:<36}{value}")

    screen.step("summary")
    line("guests connected by", KIND[path.kind])
    line("platform", platforms.DESCRIPTION[figures["platform"]])
    rtt = figures["rtt_us"]
    line("ping", f"{figures['ping_loss_percent']} % lost, rtt {rtt['min']}/{rtt['avg']}/{rtt['p99']}"
                 f"/{rtt['max']} us (min/avg/p99/max)")
    speed = figures["throughput_mbit"]
    line("TCP", f"{speed['a_to_b']} Mbit/s a to b, {speed['b_to_a']} Mbit/s b to a, "
                f"{'both verified' if figures['transfer_ok'] else 'DATA DIFFERS'}")
    what = "back-end VM boot" if path.kind == "vm" else "back-end start"
    line(what, f"{figures['backend_boot_ms']} ms")
    if path.kind == "vm":
        line("control messages relayed", figures["control_messages"])
    line("frames switched", figures["frames_switched"])
    dropped = figures["frames_dropped"]
    line("frames dropped", ", ".join(f"{n} {reason}" for reason, n in sorted(dropped.items()))
         or "none")
    if path.kind == "vm":
        line("VMM exits while traffic ran", f"{figures['vm_exits_per_s']} per second")
        line("vvu-vmm memory (RssAnon + RssFile)", f"{figures['vmm_rss_kib']} KiB")
    line("host network interfaces touched", ", ".join(touched) or "none")


def run(args, screen):
    """The demo; returns the exit status."""
    prepare(args, screen)
    if args.backend == "vm" and platforms.why_no_kvm():
        raise Failure(f"{platforms.why_no_kvm()}: the back-end VM needs KVM; "
                      "run tests/demo --host-backend instead")
    interfaces = platforms.network_interfaces()
    with procs.Session("demo", keep=args.keep_logs) as session:
        screen.step(f"starting {KIND[args.backend]}")
        path = backend.start(session, args.backend, 2)
        path.wait_up()
        screen.detail(f"ports {path.name(0)} and {path.name(1)} up after {path.boot_ms:.0f} ms")
        guests = boot_guests(session, path, screen)
        watch = Watch(path)
        ping = run_pings(guests, args.pings, screen)
        transfers = [run_transfer(guests[i], guests[1 - i], ADDRESS[1 - i], args.mib, screen)
                     for i in (0, 1)]
        figures = collect(path, ping, transfers, watch.per_second())
        after = platforms.network_interfaces()
        touched = sorted(n for n in interfaces.keys() | after.keys()
                         if interfaces.get(n) != after.get(n))
        show(figures, path, touched, screen)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    good = figures["transfer_ok"] and figures["ping_loss_percent"] < 100
    screen.step("done" if good else "FAILED: see above")
    return 0 if good else 1


def main():
    """Entry point."""
    args = options()
    procs.die_on_signals()
    os.environ.setdefault("LC_ALL", "C.UTF-8")
    screen = ui.Ui()
    try:
        return run(args, screen)
    except Failure as error:
        screen.step(f"FAILED: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
