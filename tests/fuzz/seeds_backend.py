#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Writes the hand-made seeds of the switch's fuzzers (frame, fdb, session, net) to corpus/.

Run it after a change of an input format; the files are kept in git.
"""
import struct

from seeds import write


def tcp_frame(payload, ipv6=False, vlans=0, options=0):
    """Ethernet, IP and TCP without checksums."""
    tcp = struct.pack(">HHIIBBHHH", 40000, 5001, 1, 2, (20 + options) << 2, 0x18, 512, 0, 0)
    tcp += b"\x01" * options + payload
    if ipv6:
        ip = struct.pack(">IHBB", 0x60000000, len(tcp), 6, 64) + bytes(range(32))
    else:
        ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 7, 0x4000, 64, 6, 0) + b"\x0a\x09\0\x01\x0a\x09\0\x02"
    ether = b"\x02\0\0\0\0\x02\x02\0\0\0\0\x01" + b"\x81\0\0\x05" * vlans + (b"\x86\xdd" if ipv6 else b"\x08\0")
    return ether + ip + tcp


def frames():
    """gso_size, csum_start, csum_offset, IPv6, frame."""
    head = struct.Struct("<HHHB").pack
    write("frame", "ipv4", head(100, 34, 16, 0) + tcp_frame(bytes(350)))
    write("frame", "ipv6", head(77, 54, 16, 1) + tcp_frame(b"x" * 200, ipv6=True, options=12))
    write("frame", "vlan", head(1448, 42, 16, 0) + tcp_frame(b"y" * 40, vlans=2, options=40))
    write("frame", "empty", head(1, 34, 16, 0) + tcp_frame(b""))
    write("frame", "arp", head(0, 0, 12, 0) + b"\xff" * 6 + b"\x02" * 6 + b"\x08\x06" + bytes(28))


def fdb():
    """seed, age, ports, operations."""
    def op(kind, port, mac):
        return struct.pack("<BBH", kind, port, mac)
    start = struct.pack("<QHB", 0x1234, 300, 4)
    write("fdb", "learn", start + b"".join(op(4, i % 4, i % 50) for i in range(200)))
    write("fdb", "mixed", start + b"".join(op(i % 8, i % 5, i * 7 % 64) for i in range(300)))


def session():
    """Both ports set up, frames both ways, then the variations the fuzzer grows from."""
    def port(n):
        return 0x80 if n else 0

    def up(n, features):
        return bytes([6 | port(n), features])

    def descriptor(n, ring, slot, addr, length, flags, following=0):
        return struct.pack("<BBHHBB", 7 | port(n), ring | slot << 4, addr, length, flags, following)

    def memory(n, addr, data):
        return struct.pack("<BHB", 1 | port(n), addr, len(data)) + data

    def message(n, request, payload=b"", flags=1):
        return struct.pack("<BBIII", port(n), 0xff, request, flags, len(payload)) + payload

    poll = b"\x02"
    buffers = b"".join(descriptor(1, 0, i, 0x4000 + i * 0x600, 0x600, 0x82) for i in range(8))
    plain = memory(0, 0x4000, bytes(12) + tcp_frame(b"z" * 60))
    sent = descriptor(0, 1, 0, 0x4000, 126, 0x80)
    for features in range(8):
        write("session", f"plain{features}", b"\0" + up(0, features) + up(1, features) + buffers + plain + sent + poll)
    rounds = bytes(byte for i in (0, 1, 2, 1, 0, 2) for byte in (12, i))
    for features in (1, 9, 17, 25):
        write("session", f"smp{features}", b"\x20" + up(0, features) + up(1, features) + buffers + plain + sent + rounds +
              b"\x84" + rounds + up(1, features) + buffers + sent + rounds)
    # Back-ends that die and are followed by others.
    for features in (1, 9, 17, 25):
        again = b"".join(bytes([14 | port(n), features]) for n in (0, 1))
        write("session", f"takeover{features}", b"\0" + again + buffers + plain + sent + poll + again + sent + poll +
              message(0, 11, struct.pack("<II", 1, 0)) + b"\x0d\1" + again + memory(1, 0x8000, b"\x02\0\0\0\x10\0\0\0") + again +
              poll)
    # Several pairs: rings lie one behind the other in the lower half. Each transmit ring has a frame of a flow of its own.
    for features in (1, 9, 17, 25):
        pairs = features | 0x60
        spread = b"".join(descriptor(1, 2 * k, i, 0x8000 + (4 * k + i) * 0x600, 0x600, 0x82)
                          for k in range(4) for i in range(4))
        flows = b"".join(memory(0, 0xe000 + 0x100 * k, bytes(12) + tcp_frame(bytes([k]) * 60)[:30] + bytes([k]) * 90) +
                         descriptor(0, 2 * k + 1, 0, 0xe000 + 0x100 * k, 126, 0x80) for k in range(4))
        for workers, turns in ((0, poll * 3), (0x30, rounds + b"\x0c\3" + rounds)):
            write("session", f"pairs{features}_{workers >> 4}", bytes([workers]) + up(0, pairs) + up(1, pairs) + spread + flows +
                  turns + message(1, 11, struct.pack("<II", 4, 0)) + flows + turns + b"\x84" + turns + up(1, pairs) + spread +
                  flows + turns)
    hdr = struct.pack("<BBHHHHH", 1, 1, 54, 50, 34, 16, 0)
    big = memory(0, 0x4000, hdr + tcp_frame(b"q" * 150))
    for receiver in (1, 5, 6):
        write("session", f"super{receiver}", b"\0" + up(0, 5) + up(1, receiver) + buffers + big +
              descriptor(0, 1, 0, 0x4000, 216, 0x80) + poll + poll)
    chained = descriptor(0, 1, 0, 0x4000, 12, 0x81, 1) + descriptor(0, 1, 1, 0x400c, 114, 0)
    write("session", "chain", b"\0" + up(0, 2) + up(1, 2) + buffers + plain + chained + poll)
    write("session", "echo", b"\1" + up(0, 1) + descriptor(0, 0, 0, 0x6000, 0x600, 0x82) + plain + sent + poll)
    state = struct.pack("<II", 1, 0)
    write("session", "messages", b"\4" + b"\x05" + b"".join(message(0, r) for r in (1, 15, 3, 17, 36, 40)) +
          message(0, 16, struct.pack("<Q", 0x1a239)) + up(0, 1) + up(1, 1) + message(0, 11, state) +
          message(0, 19, struct.pack("<Q", 0x0302)) + poll + message(0, 20, struct.pack("<Q", 1500), 9) +
          message(0, 37, struct.pack("<QQQQQ", 0, 0x200000, 0x1000, 0x7f1000000000, 0x1000)) + b"\x03" +
          message(0, 38, struct.pack("<QQQQQ", 0, 0x200000, 0x1000, 0x7f1000000000, 0x1000)) + b"\x84\x85")
    def request(n, which, how=0, rest=b""):
        return bytes([15 | port(n), which, how]) + rest

    # All requests, with and without a wild value; memory that is added, added again, removed.
    shapes = ((b"\x44\0", bytes(6) + b"\1\0", (2, 12, 13, 14, 16, 19, 20, 39)), (b"\1", b"\2\0\0\0", (8, 10, 11, 18)),
              (b"\x0c", b"\xff\0\x0c", (24, 25)), (b"", b"", (1, 3, 4, 6, 15, 17, 21, 34, 36, 40, 47)))
    every = b"".join(up(0, 1) + request(0, r, 3, small) + request(0, r, 0x17, wild)
                     for small, wild, requests in shapes for r in requests)
    regions = b"".join(request(0, r, how) + b"\x03" for r in (37, 38) for how in (2, 2, 0x12, 0x0a, 0x1a, 0x0a))
    rarp = request(0, 15, 2) + request(0, 19, 3, b"\2\0") + poll
    for choice in (0x08, 0x28):
        write("session", f"requests{choice}", bytes([choice]) + up(0, 1) + up(1, 1) + buffers + every)
        write("session", f"regions{choice}", bytes([choice]) + up(0, 1) + up(1, 1) + regions + up(0, 1) + rarp)
        write("session", f"kicks{choice}", bytes([choice]) + up(0, 1) + up(1, 1) + buffers + bytes([12, 0x80]) + poll + b"\x08\1" +
              bytes([12, 0xc0]) + poll + b"\x09" + poll + b"\x08\x02" + poll + plain + sent * 16 + poll + b"\x09")
    write("session", "failures", b"\0\x0b\x01" + b"\x05" + message(0, 1) + b"\x03\x0b\0\x03" + up(0, 1) + b"\x0b\x06" +
          b"\x09" + poll + b"\x0a\x08\x05" + poll)


def net():
    """Several pairs and workers, every kind of frame; of one pair and one worker there are the mix* seeds."""
    def at(n, pair):
        return n << 7 | pair << 5

    def frames_of(kind, n, pair, length, pieces=0, header=0):
        times = b"\x14" if kind == 4 else b""
        return bytes([kind | at(n, pair)]) + times + struct.pack("<BHBB", 0x12 if n == 0 else 0x21, length, pieces, header)

    def traffic(pair):
        return b"".join(frames_of(4, n, pair, 60 + 7 * pair + i) + frames_of(0, n, pair, 1400 + i, 2, 0) +
                        frames_of(0, n, pair, 3000 + i, 0, 0x13 if i else 1) for n in (0, 1) for i in range(3))

    buffers = b"".join(bytes([1 | at(n, pair), 15]) + struct.pack("<H", 1600) for n in (0, 1) for pair in range(4)) * 2
    turns = b"\x05\1\x05\0\x05\3\x05\2\x02"
    moves = bytes([6 | at(1, 0), 0]) + b"\x05\1" + bytes([6 | at(0, 2), 0]) + b"\x05\2" + bytes([6 | at(1, 0), 1])
    for a, b in ((0x03, 0x03), (0x13, 0x13), (0x23, 0x23), (0x33, 0x33), (0x0f, 0x41), (0x3f, 0x8f), (0x83, 0x33)):
        for how, name in ((0x32, "smp"), (0xc2, "pairs"), (0xf2, "both"), (0x76, "echo")):
            write("net", f"{name}_{a:02x}_{b:02x}", bytes([how, a, b]) + buffers +
                  b"".join(traffic(pair) + turns for pair in range(4)) + buffers + traffic(0) + moves + traffic(3) + turns + buffers +
                  turns)


if __name__ == "__main__":
    frames()
    fdb()
    session()
    net()
