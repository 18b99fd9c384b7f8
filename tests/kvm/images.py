# SPDX-License-Identifier: BSD-2-Clause
"""Changes a guest image in one way: most are spoilt by it, and vvu-vmm must refuse them."""

import struct

EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
PHDR = struct.Struct("<IIQQQQQQ")
PT_LOAD, PT_NOTE = 1, 4
PHDR_TYPE, PHDR_OFFSET, PHDR_PADDR, PHDR_FILESZ, PHDR_MEMSZ = 0, 2, 4, 5, 6


class Image:
    """An ELF file in memory whose program headers can be changed."""

    def __init__(self, data):
        self.data = bytearray(data)
        header = EHDR.unpack_from(self.data)
        self.phoff, self.phnum = header[5], header[10]

    def headers(self, kind):
        """(offset in the file, fields) of each program header of that type."""
        for i in range(self.phnum):
            at = self.phoff + i * PHDR.size
            fields = list(PHDR.unpack_from(self.data, at))
            if fields[PHDR_TYPE] == kind:
                yield at, fields

    def change(self, kind, field, value, which=0):
        """Sets one field of the which-th header of that type."""
        at, fields = list(self.headers(kind))[which]
        fields[field] = value
        PHDR.pack_into(self.data, at, *fields)


def _truncate(image, words):
    del image.data[int(words[0]):]


def _half(image, _words):
    del image.data[len(image.data) // 2:]


def _no_elf(image, _words):
    image.data[:4] = b"MZ\0\0"


def _no_note(image, _words):
    image.change(PT_NOTE, PHDR_TYPE, 0)


def _note_offset(image, _words):
    image.change(PT_NOTE, PHDR_OFFSET, 1 << 40)


def _other_machine(image, _words):
    struct.pack_into("<H", image.data, 18, 183)  # aarch64


def _load_high(image, _words):
    image.change(PT_LOAD, PHDR_PADDR, 1 << 32)


def _load_wraps(image, _words):
    image.change(PT_LOAD, PHDR_PADDR, (1 << 64) - 4096)


def _memsz_huge(image, _words):
    image.change(PT_LOAD, PHDR_MEMSZ, 1 << 62)


def _filesz_over_memsz(image, _words):
    image.change(PT_LOAD, PHDR_MEMSZ, 1)


def _load_low(image, _words):
    """Over the boot information."""
    image.change(PT_LOAD, PHDR_PADDR, 0)


def _headers_huge(image, _words):
    struct.pack_into("<H", image.data, 56, 0xffff)  # e_phnum


def _headers_outside(image, _words):
    struct.pack_into("<Q", image.data, 32, (1 << 64) - 8)  # e_phoff


def _overlap(image, _words):
    image.change(PT_LOAD, PHDR_PADDR, 0x100000, 1)


def _foreign(image, _words):
    """One that does not say what it can do without, as a Linux kernel does not."""
    note = b"\4\0\0\0\4\0\0\0\1\0\0\0Vvu\0"
    assert image.data.count(note) == 1
    at = image.data.index(note)
    image.data[at + 12:at + 16] = b"not\0"


WAYS = {name[1:].replace("_", "-"): function for name, function in list(globals().items())
        if name.startswith("_") and callable(function)}


def spoil(how, source, scratch):
    """Writes the spoilt image and returns its path. `missing` names one that is not there."""
    path = f"{scratch}/spoilt.elf"
    words = how.split()
    if words[0] == "missing":
        return path
    image = Image(source.read_bytes())
    WAYS[words[0]](image, words[1:])
    with open(path, "wb") as f:
        f.write(image.data)
    return path
