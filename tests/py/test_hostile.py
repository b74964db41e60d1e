# SPDX-License-Identifier: BSD-3-Clause
"""What broken and hostile hosts send, second part: types, boundaries of the stream, digests, tags whose time
has not come, and what follows a fatal error. hostile.md is the list."""

import struct
import time

import pytest

from daemon import NQN
from hostile import data, expect_term, header, icreq, start_write
from nvmetcp import (CMD, DISCOVERY_NQN, H2C_DATA, H2C_TERM, HDGST, ICREQ, LAST, RESP, SGL_IN_CAPSULE,
                     SGL_TRANSPORT, Connection, Cqe, Host, Queue, Term, crc32c, io_fields, read, sqe,
                     write)

MIB = 1 << 20


# --- Headers --------------------------------------------------------------------------------------


def test_every_type(target):
    """Types that no host may send, all of them, after the handshake."""
    for kind in range(256):
        if kind in (ICREQ, H2C_TERM, CMD, H2C_DATA):
            continue
        with Connection(target.address) as conn:
            conn.icreq()
            conn.send(header(kind))
            expect_term(conn, 1, 0)


@pytest.mark.parametrize("kind, hlen", [(CMD, 72), (H2C_DATA, 24)])
@pytest.mark.parametrize("pdo", [0, 4, 255])
def test_pdo_with_header_digest(target, kind, hlen, pdo):
    """PDO leaves room for the header digest: what was right without one is 4 short with it."""
    with Connection(target.address) as conn:
        conn.icreq(hdgst=True)
        conn.send(header(kind, HDGST, hlen, pdo if pdo != 4 else hlen, hlen + 100, hlen + 4))
        expect_term(conn, 1, 3)


@pytest.mark.parametrize("kind, hlen", [(CMD, 72), (H2C_DATA, 24)])
def test_plen_without_room_for_digests(target, kind, hlen):
    """PLEN ends before, in, or right behind the digests."""
    for plen in (hlen, hlen + 3):
        with Connection(target.address) as conn:
            conn.icreq(True, True)
            conn.send(header(kind, 3, hlen, 0, plen, hlen + 4))
            expect_term(conn, 1, 4)
    for plen in (hlen + 4, hlen + 7, hlen + 8):
        with Connection(target.address) as conn:
            conn.icreq(True, True)
            conn.send(header(kind, 3, hlen, hlen + 4, plen, hlen + 4))
            expect_term(conn, 1, (3 if kind == CMD and plen == hlen + 4 else 4))


def test_reserved_digest_bits(target):
    """Bits 7:2 of DGST are reserved: a receiver ignores them, and does not say them back."""
    with Connection(target.address) as conn:
        conn.send(icreq(dgst=0xFC))
        answer = conn.pdu()
        assert answer.header[11] == 0


def test_every_hpda(target):
    """HPDA 1 to 31: each C2HData is padded as asked."""
    for hpda in range(1, 32):
        with Host(target.address, NQN, hpda=hpda) as host:
            read(host.io[0], 0, 1)


def test_header_split_anywhere(target):
    """ICReq, Connect and commands in two segments, cut behind every byte."""
    connect = struct.pack("<16sH238x256s256s256x", b"\1" * 16, 0xFFFF, NQN.encode(),
                          b"nqn.2014-08.org.nvmexpress:cut")
    command = sqe(0x7F, 1, 1, (0, 1024, SGL_IN_CAPSULE), cdw11=31 | 4 << 16)
    messages = [icreq(), struct.pack("<BBBBI", CMD, 0, 72, 72, 72 + 1024) + command + connect,
                struct.pack("<BBBBI", CMD, 0, 72, 0, 72) + sqe(0x7F, 2, 4, cdw11=0x1C)]
    for index, cut in [(0, 0)] + [(index, cut) for index in range(3) for cut in range(1, 73)]:
        with Connection(target.address) as conn:
            for number, message in enumerate(messages):
                if number == index:
                    conn.send(message[:cut])
                    time.sleep(0.0005)
                    message = message[cut:]
                conn.send(message)
                answer = conn.pdu()
                assert number == 0 or Cqe(answer.header[8:24]).code == 0


def test_dripping_handshake(target):
    """ICReq, Connect with its data, and an R2T write, a byte at a time."""
    with Connection(target.address) as conn:
        def drip(raw):
            for index in range(len(raw)):
                conn.sock.sendall(raw[index:index + 1])

        conn.send = drip
        conn.icreq(True, True)
        queue = Queue.__new__(Queue)
        queue.__dict__.update(conn=conn, commands={}, next_cid=1, entries=0, sqhd=0)
        queue.connect(NQN, inline=False)
        assert queue.property_get(0x1C) == 0


# --- What follows ---------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [header(9), header(CMD, hlen=71), data(1, 0xFFFF),
                                 header(H2C_TERM, hlen=24, plen=24, size=24)])
def test_nothing_after_a_fatal_error(host, bad):
    """A write right behind it, in the same segment, is not done."""
    queue = host.io[0]
    write(queue, 30, b"\x33" * 512)
    good = queue.conn.build(CMD, sqe(1, 5, 1, (0, 512, SGL_IN_CAPSULE), **io_fields(30, 1)),
                            b"\xee" * 512)
    queue.conn.send(bad + good)
    if bad[0] == H2C_TERM:
        queue.conn.expect_close()
    else:
        expect_term(queue.conn, 1)
    queue.conn.close()
    with Host(host.address, NQN, hostid=b"\5" * 16) as again:
        assert read(again.io[0], 30, 1) == b"\x33" * 512


def test_data_before_connect(target):
    """H2CData where Connect is expected: no tag exists."""
    for tag in (0, 1, 2, 0xFFFF):
        with Connection(target.address) as conn:
            conn.icreq()
            conn.send(data(0, tag))
            expect_term(conn, 1, 10)


@pytest.mark.parametrize("dgst", [1, 2, 3])
def test_bad_handshake_with_digests(target, dgst):
    """Digests asked for in an ICReq that is refused, or whose sender is gone before it is answered."""
    for raw in (icreq(plen=127, dgst=dgst), icreq(plen=136, dgst=dgst)):
        with Connection(target.address) as conn:
            conn.send(raw)
            expect_term(conn, 1, 4)
    for size in (127, 128):
        for _ in range(50):
            conn = Connection(target.address)
            conn.send(icreq(dgst=dgst)[:size])
            conn.abort()


def test_header_digest_of_data(target):
    """A wrong header digest of an H2CData is as fatal as a command's."""
    with Host(target.address, NQN, hdgst=True) as host:
        queue = host.io[0]
        command = start_write(queue)
        raw = queue.conn.build(H2C_DATA, struct.pack("<HHII4x", command.cid, command.ttag, 0, 16384),
                               bytes(16384), LAST)
        queue.conn.send(raw[:24] + b"\1\2\3\4" + raw[28:])
        expect_term(queue.conn, 3, 0x04030201)


# --- H2CData --------------------------------------------------------------------------------------


@pytest.mark.parametrize("datao, fes", [(0, 2), (508, 2), (516, 2), (15872, 2), (15876, 4), (16384, 4),
                                        (0xFFFFFFFF, 4)])
def test_offset_in_the_middle(writing, datao, fes):
    """The second part of a transfer, with an offset that is lower or higher than what was received: out of
    sequence, or out of the range of the R2T."""
    queue, command = writing
    queue.conn.send(data(command.cid, command.ttag, 0, 512, 0))
    queue.conn.send(data(command.cid, command.ttag, datao, 512, 0))
    expect_term(queue.conn, fes)


def test_too_much_in_the_middle(writing):
    """DATAO is right, DATAL goes beyond the end; the sum wraps in 32 bits."""
    queue, command = writing
    queue.conn.send(data(command.cid, command.ttag, 0, 16000, 0))
    queue.conn.send(data(command.cid, command.ttag, 16000, 388, 4))
    expect_term(queue.conn, 4)


def test_data_for_a_write_without_r2t(start):
    """Writes that wait for pages have a slot, hence a tag, but no R2T: their data is nobody's."""
    daemon = start("--ssd", "emulated:size=64M", "--listen", "127.0.0.1:0", "--nqn", NQN,
                   "--dma-memory", "16M")
    with Host(daemon.address, NQN, entries=64) as host:
        queue = host.io[0]
        commands = [queue.start(1, nsid=1, write=bytes(MIB), cid=index, **io_fields(0, 2048))
                    for index in range(64)]
        for command in commands:
            command.auto = False
        while not any(command.ttag is not None for command in commands):
            queue.pump()
        end = time.monotonic() + 60
        while not daemon.counters()["page_waits"]:
            assert time.monotonic() < end
            time.sleep(0.02)
        # All 64 slots are taken; the last command's was not granted.
        taken = {command.ttag for command in commands}
        tag = next(tag for tag in reversed(range(64)) if tag not in taken)
        queue.conn.send(data(63, tag))
        with pytest.raises(Term) as found:
            while True:
                queue.pump()
        assert (found.value.fes, found.value.fei) == (1, 10)
    daemon.expect_clean()


@pytest.mark.parametrize("sent", [0, 4096])
def test_keep_alive_ends_in_the_middle_of_a_write(start, sent):
    """KATO passes while data is due: the association ends, the pages come back."""
    daemon = start("--ssd", "emulated:size=64M", "--listen", "127.0.0.1:0", "--nqn", NQN)
    with Host(daemon.address, NQN, kato=4000) as host:
        command = start_write(host.io[0])
        if sent:
            host.io[0].conn.h2c(command.cid, command.ttag, 0, bytes(sent), False)
        host.io[0].conn.expect_close()
        host.admin.conn.expect_close()
    daemon.expect_clean()
    assert "keep-alive timer expired" in daemon.log()


def test_data_of_an_aborted_write_and_the_end(host):
    """Aborted while its data is due; then the connection is cut in the middle of that data."""
    queue = host.io[0]
    command = start_write(queue)
    host.admin.run(8, cdw10=1 | command.cid << 16)
    queue.conn.h2c(command.cid, command.ttag, 0, bytes(4096), False)
    queue.conn.abort()


# --- Capsules -------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [8188, 8192])
def test_largest_capsule(host, length):
    """8192 bytes in the capsule are taken on every queue, also of a command that is refused."""
    for queue in (host.io[0], host.admin):
        assert queue.status(0xC5, nsid=1, write=bytes(length), inline=True) == 0x001
    host.admin.run(0x18)
    assert host.io[0].status(0, nsid=1) == 0


def test_capsule_that_is_too_large(host):
    """8193 bytes on the admin queue, IOCCSZ and more on an I/O queue: fatal, before any of it is read."""
    for queue in (host.io[0], host.admin):
        queue.conn.send(header(CMD, pdo=72, plen=72 + 8193))
        expect_term(queue.conn, 1, 4)


def test_read_with_data(host):
    """A read that brings data is refused, its data skipped, and the stream in step."""
    queue = host.io[0]
    for kind in (SGL_IN_CAPSULE, SGL_TRANSPORT):
        queue.conn.send(queue.conn.build(CMD, sqe(2, 8, 1, (0, 512, kind), **io_fields(0, 1)), bytes(512)))
        answer = queue.conn.pdu()
        assert answer.type == RESP and Cqe(answer.header[8:24]).code == 0x002
    assert queue.status(0, nsid=1) == 0


def test_metadata_pointer(host):
    """MPTR means nothing over fabrics: it reaches no SSD."""
    queue = host.io[0]
    write(queue, 40, b"\x44" * 512, mptr=0xDEADBEEF000)
    assert read(queue, 40, 1, mptr=(1 << 64) - 1) == b"\x44" * 512


def test_results_are_set(host):
    """DW0 and DW1 of what has no result are 0, whatever was in the slot before: nothing leaks."""
    queue, admin = host.io[0], host.admin
    admin.property_get(0, 8)
    for one, arguments in ((admin, {"opcode": 0x18}), (admin, {"opcode": 0xC0}),
                           (admin, {"opcode": 6, "read": 4096, "cdw10": 0xFF}),
                           (queue, {"opcode": 0, "nsid": 1}), (queue, {"opcode": 0x7D, "nsid": 1}),
                           (queue, {"opcode": 0, "nsid": 99})):
        cqe = one.wait(one.start(**arguments))
        assert (cqe.dw0, cqe.dw1) == (0, 0)


def test_discovery_host_vanishes(target):
    """It asks for the log page and is gone before the answer."""
    for index in range(50):
        with Host(target.address, DISCOVERY_NQN, queues=0) as host:
            for _ in range(8):
                host.admin.start(2, read=4096, cdw10=0x70 | 1023 << 16)
            if index % 2:
                host.admin.conn.abort()


def test_checksum_of_the_tests():
    """CRC32C of 32 zeroes, as RFC 3720 has it."""
    assert crc32c(bytes(32)) == 0x8A9136AA
