#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Writes the hand-made seeds of the ring and protocol fuzzers to corpus/.

Run it after a change of an input format; the files are kept in git.
"""
import os
import struct

HERE = os.path.dirname(os.path.abspath(__file__))


def write(target, name, data):
    folder = os.path.join(HERE, "corpus", target)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as f:
        f.write(data)


def message(request, payload=b"", fds=0, flags=1, kind=0):
    return struct.pack("<BIII", fds | kind, request, flags, len(payload)) + payload


def region(gpa, size, user, offset):
    return struct.pack("<QQQQ", gpa, size, user, offset)


def vu_stream():
    start = struct.pack("<QB", (1 << 0) | (1 << 3) | (1 << 9) | (1 << 15) | (1 << 16), 8)
    low = region(0, 0xa0000, 0x7f0000000000, 0)
    high = region(0x100000, 0x7f00000, 0x7f0000100000, 0x100000)
    hot = region(0x100000000, 0x200000, 0x7f8000000000, 0)
    vring = struct.pack("<II", 0, 256)
    addr = struct.pack("<IIQQQQ", 0, 0, 0x7f0000101000, 0x7f0000103000, 0x7f0000102000, 0)
    session = b"".join([
        message(1), message(15), message(16, struct.pack("<Q", 0x10208)), message(17), message(3),
        message(13, struct.pack("<Q", 0), fds=1), message(2, struct.pack("<Q", 1 << 32)),
        message(5, struct.pack("<II", 2, 0) + low + high, fds=2, flags=9),
        message(8, vring), message(10, struct.pack("<II", 0, 0)), message(9, addr),
        message(12, struct.pack("<Q", 0), fds=1), message(12, struct.pack("<Q", 0x101)),
        message(18, struct.pack("<II", 0, 1)), message(39, struct.pack("<Q", 15)), message(11, vring),
    ])
    write("vu_stream", "session", start + session)
    write("vu_stream", "slots", start + b"".join([
        message(36), message(37, struct.pack("<Q", 0) + low, fds=1), message(37, struct.pack("<Q", 0) + high, fds=1),
        message(37, struct.pack("<Q", 0) + hot, fds=1, flags=9), message(38, struct.pack("<Q", 0) + low),
    ]))
    write("vu_stream", "config", start + b"".join([
        message(24, struct.pack("<III", 0, 12, 0) + bytes(12)), message(25, struct.pack("<III", 4, 2, 1) + bytes(2)),
        message(24, struct.pack("<III", 0, 12, 0) + bytes(12), flags=5, kind=0x60), message(2, kind=0x10),
    ]))


def packed(step, addr, length, flags):
    """The next descriptor of a packed ring; `step` is the operation's number in the target."""
    return struct.pack("<BHBH", step, addr, flags, length)


def vq_dev():
    def descriptor(slot, addr, length, flags, nxt, cross=False):
        return struct.pack("<BHBBH", 1, addr, slot, flags | nxt << 3 | (0x80 if cross else 0), length)

    available, get, copy, put, publish = (lambda head: bytes([4, head]), b"\x06", b"\x08\0\0\x40\0",
                                          b"\x09\0\x40\0\0\0", b"\x0a")
    single = descriptor(0, 0x3000, 64, 2, 0) + available(0) + get + copy + put + publish
    for name, layout in (("", b"\0"), ("inorder_", b"\2")):
        write("vq_dev", name + "single", b"\x03" + layout + single * 3)
        write("vq_dev", name + "events", b"\x23" + layout + (b"\x0b\0" + single) * 3 + b"\x0b\x01" + single)
        write("vq_dev", name + "chain", b"\x04" + layout + descriptor(0, 0x3000, 12, 1, 1) +
              descriptor(1, 0x3800, 1500, 2, 0) + available(0) + get + copy + put + publish)
    write("vq_dev", "crossing", b"\x04\0" + descriptor(2, 0x1f00, 0x400, 2, 0) + available(2) + get + copy + put + publish)
    write("vq_dev", "indirect", b"\x04\0" + descriptor(0, 0x1ef8, 48, 4, 0) + descriptor(0, 0x3000, 12, 1, 1, True) +
          descriptor(1, 0x3100, 100, 3, 2, True) + descriptor(2, 0x8100, 100, 2, 0, True) +
          available(0) + get + copy + put + publish)
    write("vq_dev", "unget_remap", b"\x04\0" + single + available(0) + get + b"\x0c\x01" + get + b"\x0e\x02\x0e\x02" +
          b"\x0d" + put + publish + b"\x0f\x01\x04\0" + single)
    write("vq_dev", "regions", b"\x04\0" + b"\x0e\xc0\x0e\xc1\x0e\xc2\x0e\x41\x0e\x01\x0e\xc0\x0e\x42" + single)
    ones = b"\x10\x04\x10\x84\x11\x04\x0a"
    singles = b"".join(descriptor(i, 0x3000 + 64 * i, 64, 0, 0) + available(i) for i in range(4))
    write("vq_dev", "ones", b"\x03\0" + (singles + b"\x0d" + ones) * 3)
    for name, layout in (("packed_", b"\1"), ("packed_inorder_", b"\3"), ("packed_odd_", b"\5")):
        write("vq_dev", name + "single", b"\x03" + layout + (packed(18, 0x3000, 64, 2) + get + copy + put + publish) * 12)
        write("vq_dev", name + "events", b"\x23" + layout + (b"\x0b\0" + packed(18, 0x3000, 64, 2) + get + put + publish) * 12)
        write("vq_dev", name + "chain", b"\x02" + layout + (packed(18, 0x3000, 12, 1) + packed(18, 0x3800, 1500, 2) +
                                                          get + b"\x0c\1" + get + put + publish) * 5)
        write("vq_dev", name + "ones", b"\x03" + layout + (packed(18, 0x3000, 64, 0) * 4 + ones) * 4)
        write("vq_dev", name + "indirect", b"\x03" + layout + descriptor(0, 0x3000, 12, 0, 0, True) +
              descriptor(1, 0x3100, 100, 2, 0, True) + packed(18, 0x1ef8, 32, 4) + get + copy + put + publish)


    # Positions kept; a death; one that died while it published a burst.
    burst = b"\x42\x80" + bytes([9, 1, 64, 8, 1, 64])
    for name, layout in (("split", 0), ("packed", 1), ("packed_inorder", 3), ("packed_odd", 5)):
        one = packed(18, 0x3000, 64, 2) if layout & 1 else descriptor(0, 0x3000, 64, 2, 0) + available(0)
        work = (one + one + get + get + put + put + publish) * 3
        write("vq_dev", name + "_kept", bytes([3, layout | 0x20]) + b"\0\0" + work + one + get + put +
              bytes([15, 0, 3, layout | 0x60]) + work)
        write("vq_dev", name + "_taken_over", bytes([3, layout | 0x20]) +
              (burst if layout & 1 else b"\x01\0") + work)


def vq_burst():
    def descriptor(slot, addr, length, flags):
        return struct.pack("<BHBBH", 1, addr, slot, flags, length)

    take = b"\x08\x88\x08\x08\x0b"
    back = b"\x0c\x04\x0e\x0c\x90\x0e"
    for name, layout in (("split", 0), ("inorder", 2), ("packed", 1), ("packed_inorder", 3), ("packed_odd", 5)):
        for writable in (0, 2):
            one = packed(5, 0x3000, 64, writable) if layout & 1 else \
                descriptor(0, 0x3000, 64, writable) + bytes([3, 0])
            far = packed(5, 0x8100, 64, writable) if layout & 1 else \
                descriptor(1, 0x8100, 64, writable) + bytes([3, 1])
            write("vq_burst", f"{name}_{writable}", bytes([3, layout]) + (one + far + one + take + back) * 4)
            write("vq_burst", f"{name}_events_{writable}",
                  bytes([0x23, layout]) + (b"\x0f\x02" + one * 3 + far + take + b"\x0d\x01" + take + back + b"\x0f\x03") * 4)
            write("vq_burst", f"{name}_kept_{writable}", bytes([3, layout | 0x20]) + b"\0\0" +
                  (one + far + one + take + back) * 2 + bytes([15, 1, 3, layout | 0x60]) + (one + far + take + back) * 2)


def vvu_guest():
    step, post = b"\x10", b"\x07\x10"

    def send(request, payload=b"", flags=1, what=0):
        return struct.pack("<BBBBB", 9, what, request, flags, len(payload)) + payload

    def answer(request, value=0):
        return struct.pack("<BBBB", 8, request, 5, 8) + struct.pack("<Q", value)

    up = b"\x0d\x08" + step
    table = b"\x0a\x01\x00\x0f\x00\x10\x07\x03" + step
    vrings = b"".join(bytes([12, kind | fd << 2, queue]) for queue in range(2)
                      for fd, kind in ((queue, 0), (queue + 2, 1), (queue + 4, 2))) + step
    doorbells = b"".join(b"\x00\x01" + struct.pack("<HI", 0x3000 + 4 * i, 0) for i in (0, 1, 8, 9))
    kicks = b"\x0e\x00\x10\x0e\x01\x10"
    again = b"\x0d\x07" + step
    session = post + up + send(1) + step + answer(1, 1 << 32) + step + table + answer(5) + vrings + doorbells + kicks
    for name, rings in (("", 0), ("packed_", 8), ("inorder_", 16), ("packed_inorder_", 24)):
        write("vvu_guest", name + "explicit", bytes([7 | rings]) + session + again + session)
        write("vvu_guest", name + "classic", bytes([5 | rings]) + session + again + session)
    slots = b"".join(bytes([11, add << 1]) + step for add in range(4)) + b"\x0b\x03" + step + answer(38) + step
    positions = b"\x11\x02" + step
    write("vvu_guest", "inflight", b"\x07" + post + b"\x0d\x18" + step + positions + table + answer(5) + step + positions +
          answer(32) + step + b"\x0d\x01" + step)
    write("vvu_guest", "slots", b"\x07" + post + up + slots)
    # 177: a record (which kind and fds, index, size, data, which session), 87: a notice, 15: another proxy
    keep = b"\xb1\x08\x00\x03abc\x00" + b"\xb1\x15\x01\x00\x00" + b"\x57\x00\x08" + step
    successor, has_it = b"\x0f\x07", b"\x57\x01\x00" + step
    kept = keep + successor + has_it + kicks + successor + has_it + send(11) + step + b"\x0f\x0f" + step + b"\xb1\x0a\x00\x00\x00" + step
    write("vvu_guest", "kept", b"\x07" + session + kept)
    write("vvu_guest", "replaced", b"\x07" + session + keep + b"\x57\xff\x00" + step)
    # What seldom happens: 34 texts, 52 time passes, 70 memory goes, 88 scarcity, 106 status, 124 windows that have to fit.
    status, gone = b"\x6a", b"\x0f\x01" + step
    begun = post + up + send(1) + step + answer(1, 1 << 32) + step
    config_change = b"\x08\x02\x01\x00"
    write("vvu_guest", "channel", b"\x07" + begun + config_change + step + send(21) + step + answer(21) + b"\x58\x10" + config_change * 15 +
          step + step + send(2, bytes(8), 5) + step + status + config_change + gone + send(2, bytes(8), 1) + step)
    write("vvu_guest", "wrong", b"\x07" + b"".join(post + up + what + step + b"\x0d\x07" + step for what in (
        send(12, bytes(8), what=24), send(12, b"\x63" + bytes(7)), send(16, b"\xff" * 8), send(6), send(2, bytes(7)),
        b"\x22\x80\x00", b"\x22\x8c\x00", b"\x22\x94\x00", b"\x22\x01\x00", send(2, b"1", 5), b"\x08\x01\x05\x08" + bytes(8),
        b"\x08\x09\x01\x00", b"\x22\x02\x00")))
    write("vvu_guest", "rejected", b"\x07" + b"\x0f\x01\x22\x00\x00" + step + b"\x0f\x01\x22\x01\x00" + step + b"\x0f\x03" + step)
    running = begun + table + answer(5) + step + vrings + keep
    for name, what in (
            ("late", table + b"\x34\x01\x34\x02"), ("not_late", table + b"\x34\x02"), ("zero_pages", b"\x0d\x01" + step + b"\x34\x08"),
            ("expired", gone + b"\x34\x04"), ("closed", b"\xb1\x0a\x00\x00\x00" + step + gone), ("kept_down", gone + b"\x0d\x04" + step),
            ("forgotten", b"\xb1\x00\x00\x00\x00" + step), ("no_socket", b"\xb1\x00\x00\x01\x00\x00" + step),
            ("no_stream", b"\xb1\x0c\x00\x00\x00" + step), ("unread", b"\x58\x10" + table + answer(5) * 3 + b"\x0d\x01" + gone),
            ("stopped", send(11, bytes(8)) + step + answer(11, 0) + step), ("no_buffer", send(1) * 18 + gone + step),
            ("reset", b"\xf9\x07" + step + post + b"\x57\x01\x00" + step + session)):
        write("vvu_guest", name, b"\x07" + running + what + step + status + again + running + status)
    write("vvu_guest", "refused", b"\x07\x8e")
    # The vectors of kicks are masked, then unmasked when the hypervisor takes no more interrupts.
    mask, unmask = (b"".join(b"\x02\x02" + struct.pack("<HI", 12 + 16 * i, value) for i in range(2)) for value in (1, 0))
    write("vvu_guest", "unattached", b"\x07" + running + mask + b"\x58\x04" + unmask + kicks + mask + b"\x58\x08" + unmask + kicks)
    write("vvu_guest", "positions", b"\x07" + post + b"\x0d\x18" + step + positions + step + status)
    write("vvu_guest", "replacement", b"\x27" + post + b"\x57\x03\x00" + step + b"\x57\x02\x00" + step + session + b"\x57\x02\x00" + step)
    for name, how in (("shorter", b"\x46\x01" + step), ("fault", b"\x46\x08" + b"\x46\x18"), ("fault_short", b"\x46\x09"),
                      ("beat", b"\x46\x20" + step + b"\x46\x21"), ("shorter_other", b"\x46\x07" + b"\x46\x23")):
        write("vvu_guest", "memory_" + name, b"\x47" + begun + table + step + answer(5) + how + b"\x34\x20" + step + status + again +
              b"\x47" + session)
    write("vvu_guest", "scarce", b"".join(b"\x58" + bytes([1 << i]) + begun + table + answer(5) + step + b"\x58" + bytes([1 << i]) +
                                         vrings + doorbells + kicks + again for i in range(4)).join((b"\x07", b"")))
    # 160: little memory (1 limited, 2 full, 4 no page, 8 no watch, 16 a hole, 32 in the other file); 178: another VM has an eventfd.
    beat = b"\x46\x20" + step
    for name, before, after in (("hole", b"\xa0\x03", b"\xa0\x13" + beat), ("hole_other", b"\xa0\x01", b"\xa0\x33" + beat),
                                ("hole_fault", b"\xa0\x03", b"\xa0\x17\x46\x08" + step), ("lacks", b"\xa0\x03", b"\xa0\x17" + beat),
                                ("unwatched", b"\xa0\x08", b"\x46\x21" + step), ("lengths", b"\xa0\x0b", b"\x46\x27" + step)):
        write("vvu_guest", "memory_" + name, b"\x07" + post + up + send(1) + step + answer(1, 1 << 32) + step + before + table +
              answer(5) + step + after + step + status + again + session)
    for name, later in (("given_up", b"\xb2\xff\x34\x40" + step), ("kept", b"\x34\x40" + step + b"\x34\xc0" + step)):
        write("vvu_guest", "elsewhere_" + name, b"\x07" + post + up + send(1) + step + answer(1, 1 << 32) + step + table + answer(5) +
              step + b"\xb2\x00" + vrings + later + kicks + status + again + session)
    write("vvu_guest", "windows", b"\x07" + b"".join(bytes([124, bits, a, a, b]) for bits in (0, 4, 8, 19)
                                                   for a, b in ((0, 1), (30, 47), (47, 47), (20, 21))))
    write("vvu_guest", "registers", b"\x00" + b"".join(
        b"\x00" + bytes([width]) + struct.pack("<HI", offset, value)
        for width, offset, value in ((2, 8, 1), (2, 12, 1), (0, 20, 11), (1, 22, 1), (1, 24, 16), (2, 32, 0x20000),
                                     (2, 40, 0x21000), (2, 48, 0x22000), (1, 28, 1), (0, 20, 15), (2, 0x200, 1))))


def pci_msix():
    bind = bytes([7, 0, 7, 2 | 1 << 3])
    program = b"".join(bytes([4, v << 1]) for v in range(4))
    fire = bytes([6, 0, 6, 2])
    mask = bytes([5, 0xc0, 6, 0, 5, 0x80])
    move = bytes([2 + 9 * 4, 0]) + struct.pack("<I", 0xd0000000)
    write("pci_msix", "irqfd", b"\x01" + program + bind + fire + mask + fire)
    write("pci_msix", "move", b"\x01" + program + bind + move + fire + bytes([8, 255]))
    write("pci_msix", "ports", b"\x00" + bytes([18, 0]) + struct.pack("<I", 0x80000804) + bytes([0, 4]) + b"\x06\0\0\0")


def proxy():
    # Steps of fuzz_proxy.c: 0 message (request, how, fd kind, payload), 3 the VMM reads, 4 the front-end reads, ...
    def front(request, payload=b"", how=0, kind=0):
        return bytes([0, request, how, kind]) + payload

    negotiate, read, channel, ask, status = b"\x0c\0\0", b"\x03\0\x04", b"\x08", b"\x07\x01\x01", b"\x0d"
    table = front(5, bytes([2, 0, 16, 0, 0, 64, 16, 64, 0]), 1, 1)
    rings = (front(9, struct.pack("<BHHH", 0, 0, 64, 128)) + front(12, b"\0\0\0", 1, 4) + front(13, b"\0\0\0", 1, 5) +
             front(18, b"\0\1\0"))
    begin = b"\0"
    session = negotiate + front(1) + read + table + read + rings + read + status
    write("proxy", "session", begin + session + front(11, b"\0\0\0") + read + b"\x0a" + session)
    write("proxy", "slots", begin + negotiate + front(36) + read + front(37, bytes([0, 16, 0, 0]), 1, 2) + read +
          front(38, bytes([0, 16, 0, 0]), 1) + b"\x03\1" + front(38, bytes([0, 16, 0, 0]), 1) + read)
    write("proxy", "channel", begin + negotiate + channel + ask + b"\x09\x14\0" + read + ask + b"\x09\x80\0" + ask + read)
    write("proxy", "back_end", begin + session + bytes([6, 0x27, 0]) + b"\x0b" + session + bytes([6, 5, 0]) + bytes([7, 0x83, 0]))
    # 18 a ring that runs, 16 the back-end is gone (1: hangs up, 2: reset and up again), 11 a VMM links.
    ring, hang_up, link = b"\x12\0", b"\x10\1", b"\x0b"
    replay = read * 6
    write("proxy", "replay", begin + session + ring + read + hang_up + status + front(1, how=1) + front(11, b"\0\0\0") +
          link + replay + status + hang_up + link + replay)
    # 19 a VMM that kept a session: which number, then five records, whose index comes first.
    write("proxy", "kept", begin + b"\x13\0\0\0\0\0" + read + front(1, how=1) + replay + status + hang_up + link + replay)
    write("proxy", "kept_wrong", begin + b"\x13\0\x80\4\0\1\0\0\0\0\0" + read + b"\x13\x18\0\0\0\0\0" + read +
          b"\x13\x20\0\0\0\0" + hang_up + link + replay)
    # 20 a VMM that replaces another (1: which still has the word), 21 the other one has it.
    write("proxy", "replaced", begin + session + ring + read + b"\x14\1" + read + b"\x15" + replay + read + front(1, how=1) +
          read + b"\x15" + read)
    write("proxy", "replacement_dies", begin + session + ring + read + b"\x14\0" + hang_up + b"\x15" + replay)
    # 24 another connection (1 silent, 2 no such port, 4, 8, 16 a wrong hello, 128 in place of one that died), 25 a timer's time
    # (1 session, 2 link, 4 hello) has come.
    write("proxy", "strangers", begin + session + b"".join(b"\x18" + bytes([how]) for how in (0, 1, 2, 4, 8, 0x10, 1)) + b"\x19\4" +
          b"\x0b" + session + b"\x18\x80" + read + b"\x13\0\0\0\0\0" + b"\x19\2" + replay)
    kept, backend_up = b"\x06\x0e\x10" + bytes(16), b"\x06\x04\x10" + bytes(16)
    for name, what in (("no_records", b"\x19\2"), ("up_too_soon", backend_up), ("unasked", kept + b"\x18\x80" + kept)):
        write("proxy", name, begin + session + b"\x18\x90" + what + link + replay)
    # A record's byte: 16 with another file (which; 8: the last of its fds), 32 twice, 64 with one fd or none, 128 with other data (at,
    # four bytes). Of all: 64 a request unanswered, 128 beside a session that goes on, or a front-end that came before.
    fine = b"\0\0\0\0"
    for name, what in (
            ("session_no_socket", b"\0\x10\0" + fine), ("session_no_positions", b"\0\x18\4" + fine), ("session_twice", b"\0\x20" + fine),
            ("session_version", b"\0\x80\0\2\0\0\0" + fine), ("session_flags", b"\0\x80\4\x9f\xff\0\0" + fine),
            ("session_channel", b"\0\x80\4\xdf\1\0\0" + fine), ("session_few_fds", b"\0\x44" + fine),
            ("channel_no_socket", b"\0\x80\4\x5f\0\0\0" + fine), ("ring_no_eventfd", b"\0\0\0\x10\1" + fine),
            ("ring_twice", b"\0\0\0\x20" + fine), ("ring_same_eventfd", b"\0\0\0\x18\4" + fine), ("ring_of_none", b"\0\0\0\x40" + fine),
            ("ring_no_address", b"\0\0\0\x80\0\x73\x77\0\0" + fine), ("region_no_memory", b"\0\0\x10\7" + fine),
            ("region_none", b"\0\0\x80\x08\0\0\0\0" + fine), ("region_missing", b"\0\0\1" + fine),
            ("no_positions", b"\0\x80\4\x1f\0\0\0" + b"\0" + fine), ("few_rings", b"\6\x80\x68\1\0\0\0" + fine),
            ("reading", b"\0\0\0\0\x80\4\1\0\0\0"), ("mark_twice", b"\0\0\0\0\x20"), ("unanswered", b"\x40" + fine),
            ("came_before", b"\x80" + fine)):
        write("proxy", "kept_" + name, begin + b"\x13" + what + read + replay + status)
    write("proxy", "kept_beside", begin + session + ring + read + b"\x13\x80" + fine + read + replay + status)
    # A back-end whose answer to GET_VRING_BASE, or to the replay, is wrong; that never answers it; that has less than the last one.
    for name, bad in (("index", b"\x03\x08\x04"), ("request", b"\x03\x10\x04"), ("silent", b"\x19\1\x19\1")):
        write("proxy", "replaced_" + name, begin + session + ring + read + b"\x14\0" + read + b"\x15" + bad + replay + b"\x15" + replay)
        write("proxy", "replay_" + name, begin + session + ring + read + hang_up + link + bad + replay)
    # All of a replacement: the new one (which has the word) and the old one read in turn.
    def turns(old=read, new=replay, times=6):
        return (new + b"\x15" + old + b"\x15") * times

    moved = begin + session + ring + b"\x12\1" + read + b"\x14\0"
    for name, what in (
            ("whole", turns() + front(1, how=1) + turns(times=2) + hang_up + status), ("index", turns(b"\x03\x08\x04")),
            ("request", turns(b"\x03\x10\x04")), ("silent", turns(times=1) + replay + b"\x15" + b"\x19\1" * 2 + turns()),
            ("refused", turns(new=b"\x03\1\4")), ("new_wrong", turns(new=b"\x03\x10\4")), ("late", turns(b"\x19\1" * 2, times=5)),
            ("new_dies", turns(times=1) + hang_up + b"\x15" + read * 3 + status), ("old_dies", turns(b"\x10\1", times=1) + turns()),
            ("new_dies_late", turns(times=2) + replay + hang_up + b"\x15" + read * 3), ("front_leaves", turns(times=1) + b"\x0a" + turns()),
            ("new_down", turns(times=1) + b"\x10\x80" + turns()), ("old_reset", turns(b"\x10\0", times=1) + turns()),
            ("asks", replay + front(11, b"\0\0\0") + turns()), ("rings", turns(times=1) + b"\x12\2" + turns())):
        write("proxy", "moved_" + name, moved + what)
    write("proxy", "no_queues", begin + session + b"\x10\0" + b"\x06\x04\x10" + bytes(16) + read)
    for kind in range(16):
        write("proxy", f"bare_{kind}", begin + session + bytes([6, kind, 0]) + read)
    for name, less in (("queues", 8), ("slots", 16), ("features", 4)):
        write("proxy", "replay_fewer_" + name, begin + negotiate + front(17) + read + table + read + ring + front(18, b"\1\1\0") + read +
              bytes([16, 2 | less]) + replay)
    write("proxy", "replay_slots", begin + negotiate + front(36) + read + b"".join(
        front(37, bytes([16 * i, 16, 16 * i, 0]), 1, 2) + read for i in range(10)) + hang_up + link + replay + read * 10 + status)
    write("proxy", "kept_down", begin + b"\x13\x20\0\0\0\0" + b"\x06\x27\x08" + bytes(8) + link + session + replay)
    write("proxy", "late", begin + negotiate + ring + front(11, b"\0\0\0") + b"\x19\1" + b"\x0a" + negotiate + b"\x10\1" +
          front(11, b"\0\0\0") + b"\x19\1" + b"\x0a\x19\1" + link + b"\x0a" + negotiate + b"\x0a\x19\2" + b"\x10\x80" + b"\x0a\x19\1")
    write("proxy", "unread", begin + negotiate + front(1) * 40 + replay + b"\x04" * 4 + replay + b"\x04")
    write("proxy", "reset", begin + negotiate + ring + read + b"\x10\2" + replay + front(39, b"\0\0\0") + read + replay)


def takeover():
    # Blocks of fuzz_takeover.c: kind, how it is wrong, what its template takes; 15: a link, four records, a session.
    def usual(link=0, kinds=b"\0\1\2\3", state=1, more=0):
        return bytes([15, link]) + kinds + bytes([state, more])

    for state, name in enumerate(("held", "up", "away", "replay", "stopping")):
        write("takeover", name, b"\0" + usual(state=state))
    for name, what in (
            ("changes", usual(state=0x80 | 1, more=0xff)), ("waits", usual(state=0x40 | 1, more=0x3e)), ("kept", usual(state=0x20 | 2)),
            ("channel", usual(kinds=b"\4\1\2\3", more=0x0c)), ("two_rings", usual(kinds=b"\0\1\2\6")), ("twice", usual() * 2),
            ("no_region", usual(kinds=b"\0\5\2\3")), ("no_session", usual(kinds=b"\3\1\2\3")), ("new_link", b"\4\0\2" + usual()),
            ("packets", b"\4\0\x0c" + b"\5\0\x85\5\0\x21\5\0\0"), ("few_packets", b"\4\0\x0c\5\0\0"), ("wrong_packet", b"\5\0\0"),
            ("wrong_fds", b"\4\4\0\2"), ("wrong_size", b"\6\x08\0\1\0"), ("replacement", b"\4\0\0\4\0\x10" + usual()),
            ("of_no_port", b"\6\x10\0\x09"), ("of_others", b"\4\x10\0\2"), ("unknown", b"\x0e\0"), ("ready", b"\x0a\0")):
        write("takeover", name, b"\0" + what)
    write("takeover", "held_no_socket", b"\0\x27\x31\0\0\4\xff\0\x0c\x2f\5\0\7")
    for how in (1, 2, 3, 4, 8):
        write("takeover", f"begins_{how}", bytes([how]) + usual())
    write("takeover", "wrong_path", b"\x20\x58\0\x7f\x7f\x7f\x7f\x20\0\1\1\1\1" + usual())
    write("takeover", "wrong_port", b"\x40" + b"\0\0x\0\0\0" * 3 + usual())


if __name__ == "__main__":
    proxy()
    takeover()
    vu_stream()
    vq_dev()
    vq_burst()
    vvu_guest()
    pci_msix()
