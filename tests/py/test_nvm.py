# SPDX-License-Identifier: BSD-3-Clause
"""I/O commands beyond reads and writes, field by field: docs/io-commands.md in tests."""

import struct

import pytest

from daemon import NQN
from nvmetcp import Host, io_fields, read, write

FLUSH, WRITE, READ, UNCORRECTABLE, COMPARE, ZEROES, DSM, VERIFY, COPY = \
    0x00, 0x01, 0x02, 0x04, 0x05, 0x08, 0x09, 0x0C, 0x19
FUA, LR, DEAC = 1 << 30, 1 << 31, 1 << 25
BLOCKS = 65536  # of a namespace of the shared daemon
INVALID_OPCODE, INVALID_FIELD, LBA_RANGE, SIZE_LIMIT = 0x001, 0x002, 0x080, 0x183
UNRECOVERED, COMPARE_FAILURE = 0x281, 0x285


def blocks(*numbers):
    """One block for each number, filled with it."""
    return b"".join(bytes([number]) * 512 for number in numbers)


def error_location(host):
    """Byte and bit that the newest entry of the error log blames."""
    location = struct.unpack_from("<H", host.log_page(1, 64), 14)[0]
    return location & 0xFF, location >> 8


def test_oncs_and_effects_agree(host):
    """What ONCS offers is in the effects log, is done, and nothing else is."""
    oncs = struct.unpack_from("<H", host.identify(1), 520)[0]
    assert oncs == 0x18F
    effects = struct.unpack_from("<256I", host.log_page(5, 4096), 1024)
    changing = {WRITE, UNCORRECTABLE, ZEROES, DSM, COPY}
    known = changing | {FLUSH, READ, COMPARE, VERIFY}
    assert {opcode for opcode in range(256) if effects[opcode]} == known
    assert {opcode for opcode in range(256) if effects[opcode] & 2} == changing
    for opcode in set(range(0x7F)) - known | set(range(0x80, 256)):
        assert host.io[0].status(opcode, nsid=1) == INVALID_OPCODE


def test_less_than_all_on_a_file(start, tmp_path):
    """Write Uncorrectable is an SSD's that has it; one SSD without it, and no controller offers it."""
    conf = tmp_path / "conf"
    conf.write_text(f"""listen = ( "127.0.0.1:0" );
ssds = ( {{ name = "a"; spec = "emulated:size=16M"; }},
         {{ name = "b"; spec = "emulated:file={tmp_path}/disk,size=16M"; }} );
subsystems = ( {{ nqn = "{NQN}"; allow_any_host = true;
  namespaces = ( {{ nsid = 1; ssd = "a"; }}, {{ nsid = 2; ssd = "b"; }} ); }} );
""")
    daemon = start("-c", conf)
    with Host(daemon.address, NQN) as host:
        assert struct.unpack_from("<H", host.identify(1), 520)[0] == 0x18D
        assert struct.unpack_from("<I", host.log_page(5, 4096), 1024 + 4 * UNCORRECTABLE)[0] == 0
        assert host.io[0].status(UNCORRECTABLE, nsid=2, **io_fields(0, 1)) == INVALID_OPCODE
    daemon.expect_clean()


def test_write_uncorrectable(host):
    """Reads, compares, verifies and copies of such blocks fail until they are written again."""
    queue = host.io[0]
    write(queue, 100, blocks(1, 2, 3, 4, 5, 6))
    queue.run(UNCORRECTABLE, nsid=1, **io_fields(102, 3))
    assert read(queue, 100, 2) == blocks(1, 2) and read(queue, 105, 1) == blocks(6)
    for slba, count in ((102, 1), (104, 1), (100, 6), (101, 2)):
        assert queue.status(READ, nsid=1, read=count * 512, **io_fields(slba, count)) == UNRECOVERED
    assert queue.status(COMPARE, nsid=1, write=blocks(3), **io_fields(102, 1)) == UNRECOVERED
    assert queue.status(VERIFY, nsid=1, **io_fields(100, 6)) == UNRECOVERED
    assert queue.status(COPY, nsid=1, write=sources((100, 6)), inline=True, cdw10=200) == UNRECOVERED
    write(queue, 102, blocks(7))
    queue.run(ZEROES, nsid=1, **io_fields(103, 1))
    queue.run(DSM, nsid=1, write=struct.pack("<IIQ", 0, 1, 104), inline=True, cdw11=4)
    assert read(queue, 100, 6) == blocks(1, 2, 7, 0, 0, 6)
    assert queue.status(UNCORRECTABLE, nsid=1, **io_fields(BLOCKS - 1, 2)) == LBA_RANGE
    assert queue.status(UNCORRECTABLE, nsid=1, **io_fields(0, 1, FUA)) == INVALID_FIELD


def test_verify_and_zeroes_take_many_blocks(host):
    """Commands without data are not bounded by MDTS: 65536 blocks are 32 MiB."""
    queue = host.io[0]
    write(queue, BLOCKS - 1, blocks(9))
    assert queue.status(VERIFY, nsid=1, **io_fields(0, BLOCKS)) == 0
    for flags in (0, DEAC, FUA | LR, DEAC | FUA):
        write(queue, BLOCKS - 1, blocks(9))
        queue.run(ZEROES, nsid=1, **io_fields(0, BLOCKS, flags))
        assert read(queue, BLOCKS - 1, 1) == bytes(512)


@pytest.mark.parametrize("count", [1, 2, 255, 256])
@pytest.mark.parametrize("inline", [True, False], ids=["capsule", "r2t"])
def test_dsm_ranges(host, count, inline):
    """As many ranges as NR says are deallocated, in whichever way they come, and no more."""
    queue = host.io[0]
    queue.run(WRITE, nsid=1, write=b"\xaa" * 512 * 520, **io_fields(0, 520))
    ranges = b"".join(struct.pack("<IIQ", 0, 1, 2 * index) for index in range(256))
    queue.run(DSM, nsid=1, write=ranges, inline=inline, cdw10=count - 1, cdw11=4)
    expected = b"".join(bytes(512) if index % 2 == 0 and index < 2 * count else b"\xaa" * 512
                        for index in range(520))
    assert read(queue, 0, 520) == expected


def test_dsm_empty_and_hints(host):
    """A range of no blocks is none; attributes without Deallocate change nothing."""
    queue = host.io[0]
    write(queue, 0, blocks(1, 2, 3))
    ranges = struct.pack("<IIQIIQIIQ", 0, 0, 0, 0, 1, 1, 0, 0, BLOCKS)
    queue.run(DSM, nsid=1, write=ranges, inline=True, cdw10=2, cdw11=3)
    assert read(queue, 0, 3) == blocks(1, 2, 3)
    queue.run(DSM, nsid=1, write=ranges, inline=True, cdw10=2, cdw11=4)
    assert read(queue, 0, 3) == blocks(1, 0, 3)


@pytest.mark.parametrize("bad", [(1, BLOCKS), (2, BLOCKS - 1), (1, (1 << 64) - 1),
                                 (0xFFFFFFFF, 1), (0, BLOCKS + 1)])
@pytest.mark.parametrize("at", [0, 255])
def test_dsm_beyond_the_end(host, bad, at):
    """One range too far, and none is deallocated. (Whether a controller has to notice is not said.)"""
    queue = host.io[0]
    write(queue, 7, blocks(7))
    ranges = [(1, 7)] * 256
    ranges[at] = bad
    data = b"".join(struct.pack("<IIQ", 0, *item) for item in ranges)
    assert queue.status(DSM, nsid=1, write=data, inline=True, cdw10=255, cdw11=4) == LBA_RANGE
    assert read(queue, 7, 1) == blocks(7)


@pytest.mark.parametrize("length", [16, 32, 512, 4096, 4112])
def test_dsm_length(host, length):
    """Less data than NR says, or more than 256 ranges: refused."""
    status = 0 if 32 <= length <= 4096 else 0x00F
    assert host.io[0].status(DSM, nsid=1, write=bytes(length), inline=True, cdw10=1,
                             cdw11=4) == status


@pytest.mark.parametrize("opcode", [WRITE, READ, COMPARE, ZEROES, VERIFY, UNCORRECTABLE, COPY])
@pytest.mark.parametrize("bit", range(16, 32))
def test_flags(host, opcode, bit):
    """CDW12 bits: passed, dropped where they concern protection information, otherwise refused
    (directives among them), with the place in the error log."""
    queue = host.io[0]
    data = {WRITE: {"write": bytes(512)}, COMPARE: {"write": bytes(512)}, READ: {"read": 512},
            COPY: {"write": bytes(32), "inline": True}}.get(opcode, {})
    allowed = {ZEROES: {31, 30, 29, 28, 27, 26, 25, 24}, COPY: {31, 30, 29, 28, 27, 26, 25, 24},
               UNCORRECTABLE: set()}.get(opcode, {31, 30, 29, 28, 27, 26, 24})
    queue.run(WRITE, nsid=1, write=bytes(512), inline=True, **io_fields(0, 1))
    fields = {"cdw10": 8 if opcode in (COPY, UNCORRECTABLE) else 0, "cdw12": 1 << bit}
    status = queue.status(opcode, nsid=1, **data, **fields)
    assert status == (0 if bit in allowed else INVALID_FIELD)
    if status:
        assert error_location(host) == (48 + bit // 8, bit % 8)


def test_fields_of_no_meaning(host):
    """Hints and tags in CDW2, 3, 13, 14 and 15, and any bits in Flush, do no harm."""
    queue = host.io[0]
    junk = {"cdw2": 0xFFFFFFFF, "cdw3": 0xFFFFFFFF, "cdw13": 0xFFFF00FF, "cdw14": 0xFFFFFFFF,
            "cdw15": 0xFFFFFFFF}
    queue.run(WRITE, nsid=1, write=blocks(5), inline=True, **io_fields(3, 1), **junk)
    assert queue.run(READ, nsid=1, read=512, **io_fields(3, 1), **junk).data == blocks(5)
    assert queue.status(VERIFY, nsid=1, **io_fields(3, 1), **junk) == 0
    assert queue.status(FLUSH, nsid=1, cdw10=1, cdw11=2, cdw12=0xFFFFFFFF, **junk) == 0
    assert queue.status(FLUSH, nsid=0xFFFFFFFF) == 0x00B


# --- Copy -----------------------------------------------------------------------------------------


def sources(*ranges):
    """Source range descriptors of format 0: (slba, blocks)."""
    return b"".join(struct.pack("<8xQH6xIHH", slba, count - 1, 0, 0, 0) for slba, count in ranges)


def copy(queue, to, *ranges, inline=True, **changes):
    """A Copy's status."""
    fields = {"cdw10": to & 0xFFFFFFFF, "cdw11": to >> 32, "cdw12": len(ranges) - 1, **changes}
    return queue.status(COPY, nsid=1, write=sources(*ranges), inline=inline, **fields)


def test_fua_of_all_that_changes(start, tmp_path):
    """Write, Write Zeroes and Copy with FUA outlive a power cut behind their answer, and so does what Read, Compare and
    Verify with FUA have met; without it they need not."""
    disk = tmp_path / "disk"
    daemon = start("--ssd", f"emulated:file={disk},size=1M,cache=1", "--listen", "127.0.0.1:0", "--nqn", NQN)
    with Host(daemon.address, NQN) as host:
        queue = host.io[0]
        write(queue, 0, b"a" * 512 * 64)
        queue.run(FLUSH, nsid=1)
        for base, flags in ((64, 0), (128, FUA)):
            write(queue, base, b"b" * 512, flags=flags)
            queue.run(ZEROES, nsid=1, **io_fields(base // 8, 1, flags))
            assert copy(queue, base + 32, (0, 1), cdw12=flags) == 0
        for base, flags in ((192, 0), (256, FUA)):
            for block, opcode in enumerate((READ, COMPARE, VERIFY)):
                write(queue, base + 8 * block, b"c" * 512)
                data = {"read": 512} if opcode == READ else {"write": b"c" * 512} if opcode == COMPARE else {}
                queue.run(opcode, nsid=1, **data, **io_fields(base + 8 * block, 1, flags))
        daemon.kill()
    found = disk.read_bytes()
    assert [found[block * 512] for block in (64, 8, 96)] == [0, ord("a"), 0]
    assert [found[block * 512] for block in (128, 16, 160)] == [ord("b"), 0, ord("a")]
    assert [found[block * 512] for block in (192, 200, 208)] == [0, 0, 0]
    assert [found[block * 512] for block in (256, 264, 272)] == [ord("c")] * 3


def test_copy(host):
    """Ranges one behind the other; the host is told the SSD's limits."""
    queue = host.io[0]
    write(queue, 1000, blocks(*range(1, 17)))
    for inline in (True, False):
        assert copy(queue, 2000, (1003, 2), (1000, 1), (1010, 5), inline=inline) == 0
        assert read(queue, 2000, 9) == blocks(4, 5, 1, 11, 12, 13, 14, 15, 0)
        queue.run(ZEROES, nsid=1, **io_fields(2000, 16))
    assert struct.unpack_from("<HIB", host.identify(0, 1), 74) == (256, 1024, 15)
    assert struct.unpack_from("<H", host.identify(1), 534)[0] == 1


def test_copy_limits(host):
    """16 ranges, 256 blocks each, 1024 blocks together, and not one more."""
    queue = host.io[0]
    data = bytes(index & 0xFF for index in range(256)) * 2048
    queue.run(WRITE, nsid=1, write=data, **io_fields(4096, 1024))
    assert copy(queue, 8192, *[(4096 + 256 * index, 256) for index in range(4)]) == 0
    assert read(queue, 8192, 1024) == data
    assert copy(queue, 8192, *[(4096 + index, 64) for index in range(16)]) == 0
    assert copy(queue, 8192, *[(4096, 1)] * 17) == SIZE_LIMIT
    assert copy(queue, 8192, *[(4096, 1)] * 256) == SIZE_LIMIT
    assert copy(queue, 8192, (4096, 257)) == SIZE_LIMIT
    assert copy(queue, 8192, (4096, 65536)) in (SIZE_LIMIT, LBA_RANGE)
    assert copy(queue, 8192, *[(4096, 256)] * 4, (4096, 1)) == SIZE_LIMIT


@pytest.mark.parametrize("bad", [(BLOCKS, 1), (BLOCKS - 1, 2), ((1 << 64) - 1, 1), (1 << 63, 2)])
def test_copy_beyond_the_end(host, bad):
    """Source or destination out of range: nothing is copied, and DW0 says so."""
    queue = host.io[0]
    queue.run(WRITE, nsid=1, write=bytes(1024), inline=True, **io_fields(500, 2))
    write(queue, 600, blocks(6, 7))
    command = queue.start(COPY, nsid=1, write=sources((600, 1), bad), inline=True, cdw10=500,
                          cdw12=1)
    assert queue.wait(command).code == LBA_RANGE and command.cqe.dw0 == 0
    assert copy(queue, bad[0], (600, bad[1])) == LBA_RANGE
    assert read(queue, 500, 2) == bytes(1024)


def test_refused_before_the_ssd(start):
    """Ranges, sizes and sums are not left to the SSD, which refuses everything here in its own way."""
    daemon = start("--ssd", "emulated:size=32M,fault.op=any,fault.error=1,fault.status=0x281", "--listen",
                   "127.0.0.1:0", "--nqn", NQN)
    with Host(daemon.address, NQN) as host:
        queue, last = host.io[0], BLOCKS - 1
        for slba, count, status in ((last, 1, 0x281), (0, 1, 0x281), (last, 2, LBA_RANGE), (BLOCKS, 1, LBA_RANGE)):
            assert queue.status(READ, nsid=1, read=512 * count, **io_fields(slba, count)) == status
            for opcode in (WRITE, COMPARE):
                assert queue.status(opcode, nsid=1, write=bytes(512 * count), **io_fields(slba, count)) == status
            for opcode in (ZEROES, VERIFY, UNCORRECTABLE):
                assert queue.status(opcode, nsid=1, **io_fields(slba, count)) == status
            for before in ([], [(0, 1)]):
                ranges = b"".join(struct.pack("<IIQ", 0, n, at) for at, n in [*before, (slba, count)])
                assert queue.status(DSM, nsid=1, write=ranges, inline=True, cdw10=len(before), cdw11=4) == status
                assert copy(queue, 0, *before, (slba, count)) == status
            assert copy(queue, slba, *[(0, 1)] * count) == status
        for ranges, status in (([(0, 256)] * 4, 0x281), ([(0, 256)] * 4 + [(0, 1)], SIZE_LIMIT),
                               ([(0, 257)], SIZE_LIMIT), ([(0, 1)] * 16, 0x281), ([(0, 1)] * 17, SIZE_LIMIT)):
            assert copy(queue, 8192, *ranges) == status
    daemon.expect_clean()


@pytest.mark.parametrize("form", range(1, 16))
def test_copy_formats(host, form):
    """Formats that we do not offer, those with a source namespace among them."""
    assert copy(host.io[0], 0, (8, 1), cdw12=form << 8) == INVALID_FIELD
    assert error_location(host)[0] == 49


def test_copy_length(host):
    """Fewer descriptors than NR says, more than 256: refused; some more than needed: fine."""
    queue = host.io[0]
    for length, status in ((32, 0x00F), (64, 0), (96, 0), (8192, 0), (8224, 0x00F)):
        assert queue.status(COPY, nsid=1, write=sources((1, 1), (2, 1)).ljust(length, b"\0")[:length],
                            inline=False, cdw10=10, cdw12=1) == status


@pytest.mark.parametrize("lba", [512, 4096])
def test_copy_on_a_file(start, tmp_path, lba):
    """The emulated SSD on a file copies through io_uring; ranges may overlap what they go to."""
    spec = f"emulated:file={tmp_path}/disk,size=64M,lba={lba}"
    daemon = start("--ssd", spec, "--listen", "127.0.0.1:0", "--nqn", NQN)
    with Host(daemon.address, NQN) as host:
        queue = host.io[0]
        data = [bytes([index]) * lba for index in range(1, 9)]
        write(queue, 10, b"".join(data), size=lba, inline=False)
        assert copy(queue, 100, (12, 3), (10, 1)) == 0
        assert read(queue, 100, 4, size=lba) == b"".join(data[2:5] + data[:1])
        assert copy(queue, 11, (10, 4)) == 0
        assert read(queue, 10, 8, size=lba) == b"".join(data[:1] + data[:4] + data[5:])
    daemon.expect_clean()
