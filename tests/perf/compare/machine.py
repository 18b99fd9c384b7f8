# SPDX-License-Identifier: BSD-2-Clause
"""What the machine was like: recorded once per run, and the parts that change beside every figure."""

import os
import pathlib
import platform as host
import re
import subprocess

from lib import paths, platforms, procs


def _first(pattern, path):
    try:
        match = re.search(pattern, pathlib.Path(path).read_text(encoding="utf-8"), re.M)
    except OSError:
        return None
    return match.group(1).strip() if match else None


def tsc_mhz():
    """Rate of the TSC in MHz: what the kernel said at boot, else what /proc/cpuinfo says."""
    log = subprocess.run(["dmesg"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout
    found = re.findall(r"tsc: .*?([0-9.]+) MHz", log)
    if not found:
        found = [_first(r"^cpu MHz\s*:\s*(.*)$", "/proc/cpuinfo") or "0"]
    return float(found[-1])


def version(*argv):
    """First line with a number that a program prints about itself."""
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, check=False, timeout=20)
    except OSError:
        return None
    lines = [line for line in done.stdout.splitlines() if re.search(r"[0-9]\.[0-9]", line)]
    return lines[0].strip() if lines else None


def package(name):
    """Version of an installed Debian package, or None."""
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", name], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True, check=False)
    return done.stdout.strip() or None


def commit():
    """The tree that was measured."""
    def git(*argv):
        return subprocess.run(["git", "-C", paths.ROOT, *argv], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              text=True, check=False).stdout.strip()
    name = git("rev-parse", "--short", "HEAD")
    changed = [line for line in git("status", "--porcelain").splitlines() if " docs/" not in line]
    return name + (" with changes" if name and changed else "") if name else None


def describe(huge):
    """What stays the same during a run."""
    return {
        "cpu": _first(r"^model name\s*:\s*(.*)$", "/proc/cpuinfo"),
        "processors": os.cpu_count(),
        "tsc_mhz": tsc_mhz(),
        "kernel": host.release(),
        "governor": _first(r"(.*)", "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "none",
        "platform": platforms.DESCRIPTION[platforms.platform()],
        "hugepages": bool(huge),
        "dpdk": package("dpdk"),
        "qemu": package("qemu-system-x86"),
        "commit": commit(),
    }


def load():
    """Load average of the last minute."""
    return os.getloadavg()[0]


def require_root():
    """Hugepages, mounts and network namespaces want it."""
    if os.geteuid():
        raise procs.Failure("tests/perf/run must run as root: hugepages, private mounts and network namespaces")
