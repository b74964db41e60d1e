# SPDX-License-Identifier: BSD-3-Clause
"""Namespaces with metadata and protection information on the emulated SSD; on QEMU's, and with the kernel
as host: tests/vm/test_metadata.py."""

import struct

import pytest

from daemon import NQN, run_nvmetd
from nvmetcp import Host, io_fields, read, write
from protection import (APP, BAD_APP, BAD_GUARD, BAD_REF, GUARD, INVALID_PI, PRACT, REF, pattern,
                        protected)

COMPARE, ZEROES, DSM, VERIFY, COPY = 0x05, 0x08, 0x09, 0x0C, 0x19
BLOCK = 520


@pytest.fixture(name="meta")
def meta_host(start):
    """A host of an SSD with 8 bytes of metadata."""
    daemon = start("--ssd", "emulated:size=16M,ms=8,fused=1", "--listen", "127.0.0.1:0", "--nqn", NQN)
    with Host(daemon.address, NQN) as host:
        yield host
    daemon.expect_clean()
    assert "blocks of 512 bytes with metadata behind each" in daemon.log()


def block(data, metadata):
    """One block."""
    return bytes([data]) * 512 + bytes([metadata]) * 8


def test_identify(meta):
    """The format is shown as it is: MS, FLBAS bit 4, MC; no protection information."""
    ns = meta.identify(0, 1)
    assert struct.unpack_from("<QBBBBB", ns, 0)[0] == (16 << 20) // BLOCK
    assert ns[26] == 0x10 and ns[27] == 1 and ns[28] == 0 and ns[29] == 0
    assert struct.unpack_from("<HBB", ns, 128) == (8, 9, 0)
    assert struct.unpack_from("<H", meta.identify(1), 532)[0] == 8192 // BLOCK - 1


@pytest.mark.parametrize("spec, size, most", [
    ("size=16M,ms=8", 520, 2016), ("size=16M,lba=4096,ms=64", 4160, 252),
    ("size=16M,ms=8,mdts=8K", 520, 15), ("size=16M,lba=4096,ms=128,mdts=16K", 4224, 3)])
def test_transfers(start, spec, size, most):
    """Data and metadata there and back, in capsules and by R2T, up to MDTS and not one block more."""
    daemon = start("--ssd", f"emulated:{spec}", "--listen", "127.0.0.1:0", "--nqn", NQN)
    with Host(daemon.address, NQN) as host:
        queue = host.io[0]
        for blocks in (1, 2, 3, most):
            data = bytes((index * 7 + blocks) & 0xFF for index in range(blocks * size))
            for inline in {blocks * size <= 8192, False}:
                write(queue, 5, data, size=size, inline=inline)
                assert read(queue, 5, blocks, size=size) == data
        for opcode, data in ((1, {"write": bytes((most + 1) * size)}), (2, {"read": (most + 1) * size}),
                             (5, {"write": bytes((most + 1) * size)})):
            assert queue.status(opcode, nsid=1, **data, **io_fields(0, most + 1)) == 0x002
    daemon.expect_clean()


@pytest.mark.parametrize("length", [512, 519, 521, 1040])
@pytest.mark.parametrize("flags", [0, 1 << 29], ids=["plain", "pract"])
def test_length(meta, length, flags):
    """One block is 520 bytes, whatever a host says of protection information that there is none of."""
    queue = meta.io[0]
    assert queue.status(2, nsid=1, read=length, **io_fields(0, 1, flags)) == 0x00F
    assert queue.status(1, nsid=1, write=bytes(length), inline=True, **io_fields(0, 1, flags)) == 0x00F
    assert queue.status(2, nsid=1, read=BLOCK, **io_fields(0, 1, flags)) == 0


def test_compare_sees_metadata(meta):
    """A difference in the metadata is one."""
    queue = meta.io[0]
    write(queue, 3, block(1, 2), size=BLOCK)
    for data, status in ((block(1, 2), 0), (block(1, 3), 0x285), (block(2, 2), 0x285)):
        assert queue.status(COMPARE, nsid=1, write=data, inline=True, **io_fields(3, 1)) == status


def test_other_commands(meta):
    """Write Zeroes and Deallocate clear it, Copy takes it along, a fused pair compares and writes it."""
    queue = meta.io[0]
    write(queue, 10, b"".join(block(index, 0x80 + index) for index in range(4)), size=BLOCK)
    queue.run(ZEROES, nsid=1, **io_fields(11, 1))
    queue.run(DSM, nsid=1, write=struct.pack("<IIQ", 0, 1, 12), inline=True, cdw11=4)
    assert read(queue, 10, 4, size=BLOCK) == block(0, 0x80) + bytes(2 * BLOCK) + block(3, 0x83)
    queue.run(COPY, nsid=1, write=struct.pack("<8xQH6xIHH", 13, 0, 0, 0, 0), inline=True, cdw10=100)
    assert read(queue, 100, 1, size=BLOCK) == block(3, 0x83)
    for new in (block(7, 7), block(8, 8)):
        one = queue.start(COMPARE, nsid=1, write=block(3, 0x83), inline=True, flags=0x41,
                          **io_fields(100, 1))
        two = queue.start(1, nsid=1, write=new, inline=False, flags=0x42, **io_fields(100, 1))
        queue.wait(one, two)
        assert (one.cqe.code, two.cqe.code) == ((0, 0) if new[0] == 7 else (0x285, 0x009))
    assert read(queue, 100, 1, size=BLOCK) == block(7, 7)
    assert queue.status(2, nsid=1, read=BLOCK, **io_fields((16 << 20) // BLOCK, 1)) == 0x080


@pytest.mark.parametrize("spec, text", [
    ("emulated:file=/nonexistent,size=16M,ms=8", "ms=: not on a file, only in memory"),
    ("emulated:file=/nonexistent,size=16M,fused=1", "fused=1: not on a file, only in memory"),
    ("emulated:size=16M,fused=1,depth=2", "fused=1: expected depth= of at least 3"),
    ("emulated:size=16M,ms=129", "ms=129: expected a number from 0 to 128"),
    ("emulated:size=16M,pi=1", "pi=: expected ms= of at least 8"),
    ("emulated:size=16M,separate=1", "separate=1: expected ms= of at least 1"),
    ("emulated:size=16M,ms=8,pi=4", "pi=4: expected a number from 0 to 3")])
def test_keys_of_the_emulated_ssd(spec, text):
    """What does not go together is said."""
    status, log = run_nvmetd("--ssd", spec, "--listen", "127.0.0.1:0", "-n")
    assert status == 1 and text in log


# --- Protection information -----------------------------------------------------------------------


@pytest.fixture(name="pi", params=["ms=8,pi=1", "ms=8,pi=2", "ms=8,pi=1,queues=1,depth=4"])
def pi_host(start, request):
    """A host of an SSD with protection information behind each block."""
    daemon = start("--ssd", f"emulated:size=16M,fused=1,{request.param}", "--listen", "127.0.0.1:0",
                   "--nqn", NQN)
    with Host(daemon.address, NQN, entries=3) as host:
        host.type = int(request.param[8])
        yield host
    daemon.expect_clean()


def test_protection_is_shown(pi):
    """DPS, DPC and the format; no Copy, which this SSD does not have then."""
    ns = pi.identify(0, 1)
    assert ns[26] == 0x10 and ns[27] == 1 and ns[28] == 8 | 1 << pi.type - 1 and ns[29] == 8 | pi.type
    assert struct.unpack_from("<H", pi.identify(1), 520)[0] & 0x101 == 1


def test_protection_is_forwarded(pi):
    """PRINFO and the tags of Write, Read and Verify reach the SSD."""
    queue = pi.io[0]
    check, data = GUARD | REF, pattern(1, 8)
    write(queue, 100, protected(data, 100), size=520, flags=check, cdw14=100)
    assert read(queue, 100, 8, size=520, cdw14=100) == protected(data, 100)
    wrong = bytearray(protected(data, 300))
    wrong[512] ^= 1
    assert queue.status(1, nsid=1, write=bytes(wrong), inline=True, cdw14=300,
                        **io_fields(300, 8, check)) == BAD_GUARD
    write(queue, 300, bytes(wrong), size=520)
    for opcode, more in ((2, {"read": 4160}), (VERIFY, {})):
        def status(slba, flags, tags=0, op=opcode, extra=more):
            return queue.status(op, nsid=1, cdw14=slba, cdw15=tags, **extra, **io_fields(slba, 8, flags))
        assert status(100, check) == 0 and status(300, check) == BAD_GUARD and status(300, REF) == 0
        assert status(100, APP, 0xFFFF0001) == BAD_APP and status(100, APP, 0xFFFE0001) == 0
        assert queue.status(opcode, nsid=1, cdw14=99, **more, **io_fields(100, 8, REF)) == \
            (INVALID_PI if pi.type == 1 else BAD_REF)
        assert status(1000, check | APP, 0xFFFF1111) == 0  # never written: not checked


def test_protection_made_by_the_ssd(pi):
    """PRACT: data alone on the wire, of just that length."""
    queue = pi.io[0]
    data = pattern(2, 8)
    queue.run(1, nsid=1, write=data, inline=True, cdw14=200, cdw15=0x1234, **io_fields(200, 8, PRACT))
    assert read(queue, 200, 8, size=520) == protected(data, 200, 0x1234)
    assert read(queue, 200, 8, flags=PRACT | GUARD | REF, cdw14=200) == data
    for length, flags in ((4160, PRACT), (4096, 0), (4096, GUARD | REF)):
        assert queue.status(2, nsid=1, read=length, cdw14=200, **io_fields(200, 8, flags)) == 0x00F
    # As much as MDTS allows: of data.
    queue.run(1, nsid=1, write=pattern(3, 2048), cdw14=500, **io_fields(500, 2048, PRACT))
    assert read(queue, 500, 2048, flags=PRACT | GUARD | REF, cdw14=500) == pattern(3, 2048)
    queue.run(ZEROES, nsid=1, cdw14=201, **io_fields(201, 2, PRACT))
    assert read(queue, 201, 2, size=520) == protected(bytes(1024), 201)
    queue.run(ZEROES, nsid=1, **io_fields(203, 1))
    assert read(queue, 203, 1, size=520) == bytes(512) + b"\xff" * 8


def test_protection_in_compare(pi):
    """Compare has it too, but never makes it; so does a fused pair."""
    queue = pi.io[0]
    old, new = (protected(pattern(seed, 8), 100) for seed in (4, 5))
    check = {"flags": GUARD | REF}
    write(queue, 100, old, size=520, cdw14=100, **check)
    assert queue.status(COMPARE, nsid=1, write=old, inline=True, cdw14=100,
                        **io_fields(100, 8, GUARD | REF)) == 0
    for length in (4096, 4160):
        assert queue.status(COMPARE, nsid=1, write=bytes(length), inline=True, cdw14=100,
                            **io_fields(100, 8, PRACT)) == 0x002
    one = queue.start(COMPARE, nsid=1, write=old, inline=True, flags=0x41, cdw14=100,
                      **io_fields(100, 8, GUARD))
    two = queue.start(1, nsid=1, write=new[:-8] + bytes(8), inline=True, flags=0x42, cdw14=100,
                      **io_fields(100, 8, GUARD))
    queue.wait(one, two)
    assert (one.cqe.code, two.cqe.code) == (0x009, BAD_GUARD)
    one = queue.start(COMPARE, nsid=1, write=old, inline=True, flags=0x41, **io_fields(100, 8))
    two = queue.start(1, nsid=1, write=pattern(5, 8), inline=True, flags=0x42, cdw14=100,
                      **io_fields(100, 8, PRACT))
    queue.wait(one, two)
    assert (one.cqe.code, two.cqe.code) == (0, 0)
    assert read(queue, 100, 8, size=520) == new


def test_protection_within_larger_metadata(start):
    """PRACT changes eight bytes of it; all of it is transferred."""
    daemon = start("--ssd", "emulated:size=16M,ms=16,pi=1", "--listen", "127.0.0.1:0", "--nqn", NQN)
    with Host(daemon.address, NQN) as host:
        queue = host.io[0]
        blocks = protected(pattern(6, 4), 40, more=8)
        queue.run(1, nsid=1, write=b"".join(blocks[at:at + 512] + bytes(16)
                                            for at in range(0, len(blocks), 528)), inline=True,
                  cdw14=40, **io_fields(40, 4, PRACT))
        assert read(queue, 40, 4, size=528, flags=GUARD | REF, cdw14=40) == blocks
        assert queue.status(2, nsid=1, read=2048, **io_fields(40, 4, PRACT)) == 0x00F


# --- Hidden metadata ------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", ["ms=8,pi=1", "ms=8,pi=2", "ms=8,pi=3", "ms=16", "ms=128",
                                  "ms=64,lba=4096", "ms=8,mdts=8K", "ms=8,pi=1,lba=4096"])
def test_hidden(start, keys):
    """Metadata in a buffer of its own: a namespace like any other, without Compare and Copy. The SSD
    refuses what has no metadata buffer, and reads whose protection information is wrong."""
    size = 4096 if "lba" in keys else 512
    daemon = start("--ssd", f"emulated:size=16M,fused=1,separate=1,{keys}", "--listen", "127.0.0.1:0",
                   "--nqn", NQN)
    with Host(daemon.address, NQN) as host:
        queue = host.io[0]
        ns = host.identify(0, 1)
        assert ns[26:30] == bytes(4) and ns[74:81] == bytes(7)
        assert struct.unpack_from("<HB", ns, 128) == (0, 12 if size == 4096 else 9)
        assert struct.unpack_from("<HH", host.identify(1), 520) == (0x18E & ~0x100, 0)
        most = (8192 if "mdts" in keys else 1 << 20) // size
        for blocks in (1, 2, most):
            data = pattern(blocks, blocks * size // 512)
            for inline in {blocks * size <= 8192, False}:
                write(queue, 70, data, size=size, inline=inline, flags=GUARD, cdw14=1, cdw15=1)
                assert read(queue, 70, blocks, size=size, flags=PRACT | REF, cdw14=9) == data
        assert queue.status(VERIFY, nsid=1, **io_fields(70, most)) == 0
        assert queue.status(2, nsid=1, read=size + 8, **io_fields(0, 1)) == 0x00F
        queue.run(ZEROES, nsid=1, **io_fields(70, 1))
        queue.run(DSM, nsid=1, write=struct.pack("<IIQ", 0, 1, 71), inline=True, cdw11=4)
        assert read(queue, 70, 2, size=size) == bytes(2 * size)
        assert queue.status(VERIFY, nsid=1, **io_fields(0, 100)) == 0
        for opcode in (COMPARE, COPY):
            assert queue.status(opcode, nsid=1, write=bytes(size), inline=True, **io_fields(0, 1)) == 1
    daemon.expect_clean()


def test_refused_format(start, tmp_path):
    """Separate metadata with more in it than protection information: said, and nothing is exported."""
    status, log = run_nvmetd("--ssd", "emulated:size=16M,ms=16,pi=1,separate=1", "--listen",
                             "127.0.0.1:0")
    assert status == 1
    assert "format it with 8 bytes of metadata, or with metadata at the end of the block" in log
