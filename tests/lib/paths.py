# SPDX-License-Identifier: BSD-2-Clause
"""Where things are: the source tree, the build directory, our programs, scratch space."""

import os
import pathlib
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"


def build_dir():
    """The meson build directory: $VVU_BUILD, or `build` in the source tree."""
    return pathlib.Path(os.environ.get("VVU_BUILD") or ROOT / "build").resolve()


def program(name):
    """Path of one of our programs (or of the appliance image) in the build directory."""
    where = {
        "vvu-proxy": "host-proxy/vvu-proxy",
        "vvu": "vmm/vvu",
        "vvu-vmm": "vmm/vvu-vmm",
        "vvu-backend": "backend-vm/vvu-backend",
        "appliance.elf": "backend-vm/appliance.elf",
    }
    return build_dir() / where[name]


def missing_programs(*names):
    """Those of the named programs that have not been built."""
    return [n for n in names if not program(n).exists()]


def cache_dir():
    """Downloads and images made from them, kept between runs."""
    base = os.environ.get("VVU_CACHE")
    if not base:
        base = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or
                            pathlib.Path.home() / ".cache") / "vvu"
    path = pathlib.Path(base)
    path.mkdir(parents=True, exist_ok=True)
    return path


def scratch(name):
    """A fresh private directory with a short path (UNIX sockets: at most 107 bytes)."""
    return pathlib.Path(tempfile.mkdtemp(prefix=f"vvu-{name}-", dir="/tmp"))
