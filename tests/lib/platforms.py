# SPDX-License-Identifier: BSD-2-Clause
"""Which kind of KVM this is (docs/testing.md), probed and never assumed."""

import os
import pathlib


def cpu_flags():
    """Flags of the first CPU."""
    for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("flags"):
            return set(line.split(":", 1)[1].split())
    return set()


def platform():
    """
    "kvm-hardware" (VMX or SVM here), "kvm-nested" (the same, inside another hypervisor), "kvm-software" (a /dev/kvm without
    either: guest ring 3 native, ring 0 emulated) or "none" (no usable /dev/kvm).
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "none"
    flags = cpu_flags()
    if not flags & {"vmx", "svm"}:
        return "kvm-software"
    return "kvm-nested" if "hypervisor" in flags else "kvm-hardware"


DESCRIPTION = {
    "kvm-hardware": "hardware KVM",
    "kvm-nested": "hardware KVM, nested in another hypervisor",
    "kvm-software": "software-virtualised KVM (guest ring 3 native, ring 0 emulated)",
    "none": "no KVM",
}


def why_no_kvm():
    """One line for skips and errors, or None when /dev/kvm can be used."""
    if not os.path.exists("/dev/kvm"):
        return "/dev/kvm does not exist"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "/dev/kvm may not be opened by this user (group kvm?)"
    return None


def network_interfaces():
    """The host's network interfaces: {name: (index, flags)}."""
    found = {}
    for path in pathlib.Path("/sys/class/net").iterdir():
        try:
            found[path.name] = ((path / "ifindex").read_text(encoding="ascii").strip(),
                                (path / "flags").read_text(encoding="ascii").strip())
        except OSError:
            pass
    return found
