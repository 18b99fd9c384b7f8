# SPDX-License-Identifier: BSD-2-Clause
"""
Linux guests made on the spot: Debian's cloud kernel, busybox, the modules a test needs, and a small init.

The kernel package is downloaded with apt-get and unpacked, never installed. Everything is kept in the cache directory:
the kernel by its package name, each initramfs by the hash of what went into it. Once there, no network is needed.

    kernel = guestimage.kernel()
    initrd = guestimage.traffic_initrd(kernel)     # the guest that lib/qemu.py talks to
"""

import fcntl
import gzip
import hashlib
import io
import os
import pathlib
import re
import shutil
import stat
import subprocess
import tempfile

from . import paths
from .procs import Failure

META_PACKAGE = "linux-image-cloud-amd64"
BUSYBOX = pathlib.Path("/bin/busybox")

# In the order in which they must be loaded.
NET_MODULES = ("virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev",
               "virtio_pci", "failover", "net_failover", "virtio_net")
KVM_MODULES = ("irqbypass", "kvm", "kvm-amd")

# The guest of the demo and of the end-to-end tests. Its role comes from the kernel's command line:
#   addr=A[/N]  mtu=N  name=HOST  agent=ttyS1
# On the agent's serial line it executes commands. A request is one line, `ID BASE64(shell command)`; each line of the
# command's output comes back as `ID|line`, its end as `ID!exit status`. Commands run side by side.
TRAFFIC_INIT = r"""#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /run
/bin/busybox --install -s /bin
export PATH=/bin HOME=/ TERM=dumb
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs -o size=80% tmp /tmp
for m in $(cat /modules/order); do
	insmod "/modules/$m.ko" || echo "init: cannot load $m"
done
addr=; mtu=; name=guest; agent=ttyS1
for word in $(cat /proc/cmdline); do
	case "$word" in
	addr=*) addr=${word#addr=} ;;
	mtu=*) mtu=${word#mtu=} ;;
	name=*) name=${word#name=} ;;
	agent=*) agent=${word#agent=} ;;
	esac
done
hostname "$name"
ip link set lo up
if [ -e /sys/class/net/eth0 ]; then
	echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6
	[ -z "$mtu" ] || ip link set eth0 mtu "$mtu"
	ip link set eth0 up
	case "$addr" in
	"") ;;
	*/*) ip addr add "$addr" dev eth0 ;;
	*) ip addr add "$addr/24" dev eth0 ;;
	esac
fi
mkfifo /tmp/never
execute() {
	# The status travels beside the output, in a file, since a pipeline has only the last one's.
	{ sh -c "$(echo "$2" | base64 -d)" 2>&1 </tmp/never 3>&-; echo $? >"/tmp/status.$1"; } 3<>/tmp/never |
		awk -v id="$1" '{ printf "%s|%s\n", id, $0; fflush() }'
	echo "$1!$(cat "/tmp/status.$1")"
	rm -f "/tmp/status.$1"
}
# The shell's `read` forgets half a line when SIGCHLD interrupts it. So the shell that reads has no children that
# end behind its back: commands are grandchildren, and it is not process 1, to which orphans fall.
(
	exec <>"/dev/$agent" >&0
	stty -F "/dev/$agent" raw -echo 115200
	# A reset may have cut a line short.
	echo
	echo "ready $name $(cat /sys/class/net/eth0/address 2>/dev/null)"
	while read -r id command; do
		[ -z "$command" ] || (execute "$id" "$command" &)
	done
)
echo "agent line closed"
poweroff -f
"""


def _locked(name):
    """Only one process makes a given thing in the cache."""
    lock = open(paths.cache_dir() / f"{name}.lock", "w", encoding="ascii")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


class Kernel:
    """An unpacked kernel package."""

    def __init__(self, tree):
        self.tree = tree
        self.image = next((tree / "boot").glob("vmlinuz-*"))
        self.version = self.image.name[len("vmlinuz-"):]
        self.modules = next(p for p in (tree / "lib/modules", tree / "usr/lib/modules")
                            if p.is_dir()) / self.version

    def module(self, name):
        """Contents of a module by its name."""
        for found in self.modules.rglob(f"{name}.ko*"):
            data = found.read_bytes()
            if found.suffix == ".ko":
                return data
            if found.suffix == ".xz":
                return subprocess.run(["xz", "-dc"], input=data, stdout=subprocess.PIPE,
                                      check=True).stdout
            if found.suffix == ".gz":
                return gzip.decompress(data)
        raise Failure(f"kernel {self.version} has no module {name}")


def _resolve():
    """Name of the package that the meta package stands for today."""
    for attempt in range(2):
        out = subprocess.run(["apt-cache", "depends", META_PACKAGE], stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, check=False, text=True).stdout
        match = re.search(r"Depends: (linux-image-[^ \n]*-cloud-amd64)\s*$", out, re.M)
        if match:
            return match.group(1)
        if attempt == 0:
            subprocess.run(["apt-get", "update", "-qq"], stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    raise Failure(f"guest kernel: apt-cache does not know {META_PACKAGE} "
                  "(Debian 12 with package lists is needed: apt-get update)")


def kernel(note=lambda text: None):
    """The guest kernel, from the cache or downloaded; note(text) is told when it takes long."""
    base = paths.cache_dir() / "kernel"
    with _locked("kernel"):
        have = sorted(p for p in base.glob("linux-image-*") if (p / "boot").is_dir())
        if have:
            return Kernel(have[-1])
        package = _resolve()
        note(f"downloading the guest kernel, Debian package {package}")
        base.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="vvu-deb-") as tmp:
            os.chmod(tmp, 0o755)
            done = subprocess.run(["apt-get", "download", "-qq", "-o", "Acquire::Retries=5", package], cwd=tmp, text=True,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, check=False)
            debs = list(pathlib.Path(tmp).glob("*.deb"))
            if done.returncode or not debs:
                raise Failure(f"guest kernel: apt-get download {package} failed:\n{done.stdout}")
            part = base / f".{package}.part"
            shutil.rmtree(part, ignore_errors=True)
            subprocess.run(["dpkg-deb", "-x", debs[0], part], check=True)
            part.rename(base / package)
    return Kernel(base / package)


def cpio(entries):
    """
    A newc archive. `entries` is a list of (path, mode, data[, rdev major, minor[, mtime]]); a mode without a file type is
    that of a regular file; parent directories are made as needed. Done here because device nodes in it need no root this
    way.
    """
    out = io.BytesIO()
    inode = 0
    seen = set()

    def emit(path, mode, data, major=0, minor=0, mtime=0):
        nonlocal inode
        inode += 1
        name = path.encode() + b"\0"
        fields = (inode, mode, 0, 0, 2 if stat.S_ISDIR(mode) else 1, mtime, len(data), 0, 0,
                  major, minor, len(name), 0)
        out.write(b"070701" + b"".join(b"%08X" % f for f in fields) + name)
        out.write(b"\0" * (-out.tell() % 4))
        out.write(data)
        out.write(b"\0" * (-out.tell() % 4))

    def parents(path):
        for parent in reversed(pathlib.PurePosixPath(path).parents):
            p = str(parent)
            if p not in (".", "") and p not in seen:
                seen.add(p)
                emit(p, stat.S_IFDIR | 0o755, b"")

    for path, mode, data, *device in entries:
        path = path.lstrip("/")
        if path in seen:
            continue
        parents(path)
        seen.add(path)
        emit(path, mode if stat.S_IFMT(mode) else stat.S_IFREG | mode, data, *device)
    emit("TRAILER!!!", 0, b"")
    return out.getvalue()


def base_entries(init):
    """What every guest has: busybox, a console, /init."""
    if not BUSYBOX.exists():
        raise Failure("guest image: /bin/busybox is missing (Debian package busybox-static)")
    return [("dev/console", stat.S_IFCHR | 0o600, b"", 5, 1),
            ("bin/busybox", 0o755, BUSYBOX.read_bytes()),
            ("init", 0o755, init.encode())]


def module_entries(kern, names):
    """Modules for /modules and the order in which to load them."""
    entries = [(f"modules/{m}.ko", 0o644, kern.module(m)) for m in names]
    entries.append(("modules/order", 0o644, (" ".join(names) + "\n").encode()))
    return entries


def file_entry(path, at=None):
    """A file of the host, at the same path in the guest unless told otherwise; its time goes with it."""
    path = pathlib.Path(path)
    info = path.stat()
    return (str(at or path), stat.S_IMODE(info.st_mode), path.read_bytes(), 0, 0, int(info.st_mtime))


def program_entries(path):
    """A dynamically linked program and the shared libraries it needs."""
    path = pathlib.Path(path)
    out = subprocess.run(["ldd", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                         check=False).stdout
    needed = re.findall(r"(?:=> |^\s*)(/\S+)", out, re.M)
    return [file_entry(path)] + [file_entry(lib) for lib in needed]


def python_entries(python="/usr/bin/python3"):
    """The system's Python interpreter and the parts of its library that tests may use."""
    code = "import sys, sysconfig; print(sys.executable, sysconfig.get_path('stdlib'), sys.version_info[1])"
    found = subprocess.run([python, "-I", "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    _, library, minor = found.stdout.split()
    binary = pathlib.Path(python).resolve()
    entries = program_entries(binary)
    entries.append(("usr/bin/python3", stat.S_IFLNK | 0o777, str(binary).encode()))
    unneeded = re.compile(r"/(test|tests|lib2to3|idlelib|tkinter|distutils|pydoc_data|ensurepip|venv|unittest"
                          r"|xml|xmlrpc|config-3[^/]*|dist-packages|site-packages)(/|$)")
    for path in sorted(pathlib.Path(library).rglob("*")):
        if path.is_file() and not unneeded.search(str(path)) and (
                "__pycache__" not in path.parts or f"cpython-3{minor}.pyc" in path.name):
            entries.append(file_entry(path))
    for module in pathlib.Path(library, "lib-dynload").glob("*.so"):
        if module.name.startswith(("_ctypes", "_json", "_hashlib", "_posixsubprocess", "_multiprocessing")):
            entries += program_entries(module)[1:]
    return entries


def store_initrd(name, entries):
    """Write an initramfs to the cache, named after its contents; returns its path."""
    data = cpio(entries)
    digest = hashlib.sha256(data).hexdigest()[:16]
    base = paths.cache_dir() / "initrd"
    base.mkdir(exist_ok=True)
    path = base / f"{name}-{digest}.cpio"
    if not path.exists():
        with tempfile.NamedTemporaryFile(dir=base, delete=False) as tmp:
            tmp.write(data)
        os.rename(tmp.name, path)
        for old in sorted(base.glob(f"{name}-*.cpio"), key=lambda p: p.stat().st_mtime)[:-8]:
            old.unlink(missing_ok=True)
    return path


def traffic_initrd(kern):
    """The initramfs of the guests that exchange traffic."""
    return store_initrd("traffic", base_entries(TRAFFIC_INIT) +
                        module_entries(kern, NET_MODULES))
