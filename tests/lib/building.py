# SPDX-License-Identifier: BSD-2-Clause
"""Installing packages and building, for scripts that must work from a fresh clone."""

import os
import re
import subprocess

from . import paths
from .procs import Failure

PROGRAMS = ("host-proxy/vvu-proxy", "vmm/vvu-vmm", "backend-vm/vvu-backend",
            "backend-vm/appliance.elf")


def install_packages(*options):
    """Install missing Debian packages (--perf: those for benchmarks, too); prints what it installs."""
    done = subprocess.run([paths.TESTS / "lib/packages.sh", *options], stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise Failure("packages are missing (see above)")


def setup(build=None, env=None, options=()):
    """`meson setup`, unless the directory is set up already."""
    build = build or paths.build_dir()
    if (build / "build.ninja").exists():
        return
    argv = ["meson", "setup", *options, build, paths.ROOT]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False,
                          env={**os.environ, **(env or {})})
    if done.returncode:
        raise Failure(f"meson setup {build} failed:\n{done.stdout[-4000:]}")


def ninja(targets=(), build=None, progress=lambda done, total: None):
    """Build; reports steps to progress(done, total)."""
    build = build or paths.build_dir()
    argv = ["ninja", "-C", build, f"-j{os.cpu_count() or 1}", *targets]
    env = {**os.environ, "NINJA_STATUS": "[%f/%t] "}
    output = []
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, env=env) as child:
        for line in child.stdout:
            output.append(line)
            step = re.match(r"\[(\d+)/(\d+)\]", line)
            if step:
                progress(int(step.group(1)), int(step.group(2)))
    if child.returncode:
        raise Failure("build failed:\n" + "".join(output[-40:]))
