# SPDX-License-Identifier: BSD-2-Clause
"""
Files of memory that can be damaged, and the damage.

    sealed   a memfd sealed against shrinking, as QEMU makes it
    small    a tmpfs that has no room but for its own files
    huge     a hugetlbfs that has no pages but for its own files
"""

import contextlib
import ctypes
import errno
import fcntl
import itertools
import mmap
import os
import tempfile

from . import testpmd

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
LIBC.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
MNT_DETACH = 2
KEEP_SIZE, PUNCH_HOLE = 1, 2
HUGE_PAGE = 2 << 20


class Unavailable(Exception):
    """This machine cannot do it; why."""


def _call(ret, what):
    if ret:
        raise Unavailable(f"{what}: {os.strerror(ctypes.get_errno())}")


def punch(fd, offset, size):
    """A hole in a file."""
    if LIBC.fallocate(fd, KEEP_SIZE | PUNCH_HOLE, offset, size):
        raise OSError(ctypes.get_errno(), "fallocate")


class Filesystem:
    """One of so many bytes that nobody sees: what it has room for is ours alone. It goes with its files."""

    def __init__(self, kind, size):
        name = {"small": b"tmpfs", "huge": b"hugetlbfs"}[kind]
        options = f"size={size}"
        if kind == "huge":
            options += f",min_size={size},pagesize=2M"  # the pages are its own from now on
        self.size = size
        self.taken = 0
        self.reserved = contextlib.ExitStack()
        if kind == "huge" and not self.reserved.enter_context(testpmd.hugepages(size >> 20)):
            self.reserved.close()
            raise Unavailable("no huge pages can be had (not root, or no memory)")
        with tempfile.TemporaryDirectory(prefix="vvu-fs-") as path:
            _call(LIBC.mount(name, path.encode(), name, 0, options.encode()), f"mount -t {name.decode()}")
            self.dir = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            LIBC.umount2(path.encode(), MNT_DETACH)

    def file(self, name, size):
        """A new file in it."""
        fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self.dir)
        os.ftruncate(fd, size)
        return fd

    def starve(self, fd):
        """Punches holes as large as a file, for which there is no room any more."""
        size = os.fstat(fd).st_size
        whole = True
        while whole:
            punch(fd, 0, size)
            self._fill()
            # Whoever uses the memory may have filled them again before we took the room, or be about to: a page that
            # is being made belongs to no file yet. One that two made at the same time is given back by one of them.
            for turn in itertools.count(1):
                if self._used() >= self.size:
                    break
                os.sched_yield()
                if not turn % 100:
                    self._fill()
            whole = os.fstat(fd).st_blocks * 512 >= size

    def _used(self):
        names = os.listdir(self.dir)
        return sum(os.stat(name, dir_fd=self.dir).st_blocks * 512 for name in names)

    def _fill(self):
        self.taken += 1
        fd = self.file(f"taker{self.taken}", 0)
        at = 0
        for piece in (HUGE_PAGE, mmap.PAGESIZE):
            while not LIBC.fallocate(fd, 0, at, piece):
                at += piece
            if ctypes.get_errno() not in (errno.ENOSPC, errno.EINVAL):
                raise OSError(ctypes.get_errno(), "fallocate")
        os.close(fd)

    def close(self):
        """Our part of it."""
        os.close(self.dir)
        self.reserved.close()


def sealed(size):
    """A memfd that cannot be made shorter."""
    fd = os.memfd_create("sealed", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    return fd
