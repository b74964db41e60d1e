# SPDX-License-Identifier: BSD-3-Clause
"""Runs in the guest: a wire-level host that uses namespaces with metadata and protection information.

Arguments: port, NQN of the subsystem that shows metadata, NQN of the one that does not.
"""

import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "py"))
from nvmetcp import Host, io_fields, read, write  # noqa: E402
from protection import (APP, BAD_APP, BAD_GUARD, BAD_REF, GUARD, PRACT, REF, pattern,  # noqa: E402
                        protected)

COMPARE, ZEROES, COPY = 0x05, 0x08, 0x19


def expect(actual, expected):
    """A comparison that says what it found (statuses are SCT and SC as one number)."""
    if actual != expected:
        raise AssertionError(f"{actual:03x}h instead of {expected:03x}h")


def shown(host):
    """NSID 1: protection information behind each block; 4: none; 5: metadata without."""
    assert struct.unpack_from("<H", host.identify(1), 520)[0] & 0x101 == 0x101
    for nsid, metadata, flbas, dps in ((1, 8, 0x10, 1), (4, 0, 0, 0), (5, 16, 0x10, 0)):
        ns = host.identify(0, nsid)
        current = (ns[26] & 0xF) | (ns[26] >> 5 & 3) << 4
        assert ns[26] & 0x10 == flbas and ns[29] & 7 == dps
        assert struct.unpack_from("<HB", ns, 128 + 4 * current) == (metadata, 9)


def forwarded(queue):
    """What the host says of protection information reaches the SSD."""
    check = GUARD | REF
    data = pattern(1, 8)
    write(queue, 100, protected(data, 100), size=520, flags=check, cdw14=100)
    assert read(queue, 100, 8, size=520) == protected(data, 100)
    # Nothing but data on the wire: the SSD adds and strips.
    assert queue.run(2, nsid=1, read=4096, cdw14=100, **io_fields(100, 8, PRACT | check)).data == data
    queue.run(1, nsid=1, write=data, inline=True, cdw14=200, cdw15=0xFFFF1234,
              **io_fields(200, 8, PRACT))
    assert read(queue, 200, 8, size=520) == protected(data, 200, 0x1234)
    for slba, length, flags in ((100, 4160, PRACT), (100, 4096, 0), (100, 4096, check)):
        expect(queue.status(2, nsid=1, read=length, cdw14=slba,
                            **io_fields(slba, 8, flags)), 0x00F)
    # Checks on the way in and on the way out.
    wrong = bytearray(protected(data, 300))
    wrong[512] ^= 1
    expect(queue.status(1, nsid=1, write=bytes(wrong), inline=True, cdw14=300,
                        **io_fields(300, 8, check)), BAD_GUARD)
    write(queue, 300, bytes(wrong), size=520)
    expect(queue.status(2, nsid=1, read=4160, cdw14=300, **io_fields(300, 8, check)), BAD_GUARD)
    expect(queue.status(2, nsid=1, read=4160, cdw14=200, cdw15=0xFFFF4321,
                        **io_fields(200, 8, APP)), BAD_APP)
    expect(queue.status(2, nsid=1, read=4160, cdw14=200, cdw15=0xFFFF1234,
                        **io_fields(200, 8, APP | check)), 0)
    write(queue, 400, protected(data, 401), size=520)
    expect(queue.status(2, nsid=1, read=4160, cdw14=400, **io_fields(400, 8, REF)), BAD_REF)
    expect(queue.status(COMPARE, nsid=1, write=protected(data, 100), inline=True, cdw14=100,
                        **io_fields(100, 8, check)), 0)
    expect(queue.status(COMPARE, nsid=1, write=data, inline=True, cdw14=100,
                        **io_fields(100, 8, PRACT)), 0x002)


def plain(queue):
    """Without protection information its bits mean nothing; Copy, where QEMU's SSD has it."""
    data = pattern(2, 8)
    write(queue, 50, data, nsid=4, flags=PRACT | GUARD, cdw14=7)
    assert read(queue, 50, 8, nsid=4) == data
    extended = bytes(index & 0xFF for index in range(8 * 528))
    write(queue, 50, extended, size=528, nsid=5, flags=PRACT)
    assert read(queue, 50, 8, size=528, nsid=5) == extended
    for nsid, size, expected in ((4, 512, data), (5, 528, extended)):
        sources = struct.pack("<8xQH14x", 52, 1) + struct.pack("<8xQH14x", 50, 0)
        queue.run(COPY, nsid=nsid, write=sources, inline=True, cdw10=500, cdw12=1)
        assert read(queue, 500, 3, size=size, nsid=nsid) == \
            expected[2 * size:4 * size] + expected[:size]


def hidden(host):
    """NSID 2 and 7 (protection information) and 3 (16 bytes of metadata) are namespaces like others."""
    queue = host.io[0]
    assert struct.unpack_from("<H", host.identify(1), 520)[0] & 0x101 == 0
    for nsid in (2, 3, 7):
        ns = host.identify(0, nsid)
        current = (ns[26] & 0xF) | (ns[26] >> 5 & 3) << 4
        assert ns[26] & 0x10 == 0 and ns[27:30] == bytes(3) and ns[74:81] == bytes(7)
        assert struct.unpack_from("<HB", ns, 128 + 4 * current) == (0, 9)
        for blocks in (1, 8, 256):
            data = pattern(nsid + blocks, blocks)
            write(queue, 1000, data, nsid=nsid, flags=GUARD, cdw14=99, cdw15=99)
            assert read(queue, 1000, blocks, nsid=nsid) == data
        expect(queue.status(2, nsid=nsid, read=520, **io_fields(0, 1)), 0x00F)
        queue.run(ZEROES, nsid=nsid, **io_fields(1001, 2))
        assert read(queue, 1001, 3, nsid=nsid) == bytes(1024) + data[1536:2048]
        for opcode in (COMPARE, COPY):
            expect(queue.status(opcode, nsid=nsid, write=bytes(512), inline=True,
                                **io_fields(0, 1)), 0x001)
        write(queue, 20, pattern(9, 1), nsid=nsid)
    # Block 40001 was written by the kernel, with the wrong guard and with metadata of its own.
    for nsid in (2, 7):
        expect(queue.status(2, nsid=nsid, read=512, **io_fields(40001, 1)), BAD_GUARD)
    assert read(queue, 40001, 1, nsid=3) == b"\xa5" * 512


def main():
    """All of it."""
    address = ("127.0.0.1", int(sys.argv[1]))
    with Host(address, sys.argv[2]) as host:
        shown(host)
        forwarded(host.io[0])
        plain(host.io[0])
    with Host(address, sys.argv[3]) as host:
        hidden(host)
    print("ok: wire-level host")


if __name__ == "__main__":
    main()
