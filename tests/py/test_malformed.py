# SPDX-License-Identifier: BSD-3-Clause
"""What broken and hostile hosts send, each with the answer that the specification names.

hostile.md is the list of all there is of this kind, with the tests. During every one of them another host's
I/O goes on, and afterwards nothing is left in the daemon (the fixture `target` looks).
"""

import os
import random
import struct
import time

import pytest

from daemon import NQN
from hostile import ANY, data, expect_term, header, icreq
from nvmetcp import (C2H_DATA, C2H_TERM, CMD, H2C_DATA, H2C_TERM, ICRESP, R2T, RESP, SGL_IN_CAPSULE,
                     SGL_TRANSPORT, Closed, Connection, Host, Queue, Status, Term, io_fields, read, sqe,
                     write)

BEFORE_ICRESP = [
    (icreq(hlen=127), 1, 2), (icreq(hlen=0), 1, 2), (icreq(hlen=129), 1, 2),
    (icreq(plen=127), 1, 4), (icreq(plen=129), 1, 4), (icreq(plen=0), 1, 4),
    (icreq(plen=0xFFFFFFFF), 1, 4), (icreq(pfv=1), (1, 6), 8), (icreq(pfv=0xFFFF), (1, 6), 8),
    (icreq(hpda=32), 1, 10), (icreq(hpda=255), 1, 10),
    *((icreq(kind=kind), 1, 0) for kind in (ICRESP, C2H_TERM, RESP, C2H_DATA, 8, R2T, 10, 255)),
    (header(CMD), 2, ANY), (header(H2C_DATA, hlen=24, pdo=24, plen=536), 2, ANY),
]


@pytest.mark.parametrize("raw, fes, fei", BEFORE_ICRESP, ids=range(len(BEFORE_ICRESP)))
def test_handshake(target, raw, fes, fei):
    """Wrong first PDUs."""
    with Connection(target.address) as conn:
        conn.send(raw)
        expect_term(conn, fes, fei)


AFTER_ICRESP = [
    *((header(kind, plen=128, hlen=128, size=128), 1, 0) for kind in (1, 3, 5, 7, 9)),
    (icreq(), 2, ANY),
    *((header(CMD, hlen=hlen), 1, 2) for hlen in (0, 71, 73, 255)),
    *((header(CMD, plen=plen), 1, 4) for plen in (0, 8, 71)),
    (header(CMD, pdo=72, plen=0xFFFFFFFF), 1, 4), (header(CMD, pdo=72, plen=72 + 8193), (1, 5), ANY),
    (header(CMD, pdo=71, plen=584), 1, 3), (header(CMD, pdo=255, plen=200), 1, 3),
    (header(CMD, pdo=73, plen=584), 1, 3), (header(CMD, pdo=72, plen=72), 1, 3),
    (header(CMD, flags=1), 1, 1), (header(CMD, flags=2), 1, 1),
    (header(CMD, flags=2, pdo=72, plen=584), 1, 1),
    *((header(H2C_DATA, hlen=hlen, pdo=24, plen=536, size=24), 1, 2) for hlen in (0, 23, 25, 255)),
    (header(H2C_DATA, hlen=24, pdo=20, plen=536, size=24), 1, 3),
    (header(H2C_DATA, hlen=24, pdo=24, plen=24, size=24), 1, 4),
    *((header(H2C_DATA, hlen=24, pdo=24, plen=plen, size=24), 1, 4) for plen in (0, 4, 23)),
    *((header(H2C_DATA, hlen=24, pdo=pdo, plen=64, size=24), 1, 3) for pdo in (0, 26, 68, 255)),
]


@pytest.mark.parametrize("raw, fes, fei", AFTER_ICRESP, ids=range(len(AFTER_ICRESP)))
def test_header(target, raw, fes, fei):
    """Wrong headers after the handshake."""
    with Connection(target.address) as conn:
        conn.icreq()
        conn.send(raw)
        term = expect_term(conn, fes, fei)
        assert raw.startswith(term.header) and 0 < len(term.header) <= 128


@pytest.mark.parametrize("digests, flags", [((True, False), 0), ((True, False), 3),
                                            ((False, True), 0), ((True, True), 1)])
def test_digest_flags(target, digests, flags):
    """Flags that do not say what was agreed on."""
    with Connection(target.address) as conn:
        conn.icreq(*digests)
        conn.send(header(CMD, flags=flags, pdo=76, plen=600, size=600))
        expect_term(conn, 1, 1)


def test_header_digest(target):
    """A wrong header digest ends the connection; FEI is the digest that came."""
    with Connection(target.address) as conn:
        conn.icreq(hdgst=True)
        raw = conn.build(CMD, sqe(0x7F))
        conn.send(raw[:-4] + b"\1\2\3\4")
        expect_term(conn, 3, 0x04030201)


def test_second_icreq_with_digests(target):
    """128 bytes and a digest are more than an ICReq has."""
    with Connection(target.address) as conn:
        conn.icreq(hdgst=True, ddgst=True)
        conn.send(icreq() + b"\0\0\0\0")
        expect_term(conn, 2)


@pytest.mark.parametrize("hlen, plen", [*((hlen, 24) for hlen in (0, 23, 25, 255)),
                                        *((24, plen) for plen in (0, 23, 153, 0xFFFFFFFF))])
@pytest.mark.parametrize("established", [True, False])
def test_malformed_term_request(target, hlen, plen, established):
    """An H2CTermReq that is none: the end at once, without an answer."""
    with Connection(target.address) as conn:
        if established:
            conn.icreq()
        conn.send(header(H2C_TERM, hlen=hlen, plen=plen, size=24))
        with pytest.raises(Closed):
            conn.pdu()


def test_term_request_with_digests(target):
    """An H2CTermReq has no digest, whatever was agreed on; it is the end, without an answer."""
    with Connection(target.address) as conn:
        conn.icreq(hdgst=True, ddgst=True)
        conn.send(header(H2C_TERM, hlen=24, plen=24, size=24))
        with pytest.raises(Closed):
            conn.pdu()


@pytest.mark.parametrize("maxr2t", [0, 1, 0xFFFFFFFF])
def test_maxr2t(target, maxr2t):
    """Any MAXR2T works: one R2T at a time is within all of them."""
    with Host(target.address, NQN, maxr2t=maxr2t) as host:
        write(host.io[0], 0, bytes(65536))


# --- H2CData --------------------------------------------------------------------------------------


@pytest.mark.parametrize("change, fes, fei", [
    ({"ttag": 0xFFFF}, 1, 10), ({"ttag": 127}, 1, 10), ({"ttag": 128}, 1, 10),
    ({"cccid": 0x7777}, 1, 8),
    ({"datao": 512}, 2, ANY), ({"datao": 0xFFFFFFFF}, 4, ANY), ({"datao": 0xFFFFFF00}, 4, ANY),
    ({"datal": 0, "body": b""}, 1, 4), ({"datal": 16896}, 4, ANY),
    ({"datal": 0xFFFFFFFF}, 1, 4), ({"datal": 511, "body": bytes(512)}, 1, 4),
    ({"datal": 512, "body": bytes(513)}, 1, 4), ({"datal": 512, "body": bytes(511)}, 1, 4),
    ({"datal": 512, "flags": 4}, 1, 1), ({"datal": 16384, "flags": 0}, 1, 1),
    ({"datal": 512, "pdo": 28}, 1, 4),
])
def test_h2c_data(writing, change, fes, fei):
    """Data that is not what the R2T asked for."""
    queue, command = writing
    fields = {"cccid": command.cid, "ttag": command.ttag, "datal": 512, "flags": 0, **change}
    queue.conn.send(data(**fields))
    expect_term(queue.conn, fes, fei)


def test_more_than_maxh2cdata(host):
    """One PDU with more than MAXH2CDATA."""
    queue = host.io[0]
    command = queue.start(1, nsid=1, write=bytes(1 << 20), **io_fields(0, 2048))
    command.auto = False
    while command.ttag is None:
        queue.pump()
    size = queue.conn.maxh2cdata + 4
    queue.conn.send(data(command.cid, command.ttag, 0, size, 0, body=bytes(512), plen=24 + size))
    expect_term(queue.conn, 5)


@pytest.mark.parametrize("ttag", [0, 1, 2, 127, 128, 0xFFFF])
def test_data_nobody_asked_for(host, ttag):
    """H2CData with no write under way."""
    host.io[0].conn.send(data(1, ttag))
    expect_term(host.io[0].conn, 1, 10)


def test_data_for_a_read(start):
    """The tag of a read that is at the SSD."""
    daemon = start("--ssd", "emulated:size=16M,fault.delay=1,fault.delay_ms=300", "--listen",
                   "127.0.0.1:0", "--nqn", NQN)
    with Host(daemon.address, NQN) as host:
        # All slots are reads at the SSD: whichever has the tag.
        for index in range(128):
            host.io[0].start(2, nsid=1, read=512, cid=index, **io_fields(index, 1))
        host.io[0].conn.send(data(77, 77))
        expect_term(host.io[0].conn, 1, 10)
    daemon.expect_clean()


def test_data_after_the_end(writing):
    """The tag of a write that is finished."""
    queue, command = writing
    ttag = command.ttag
    queue.send_data(command, 16384)
    queue.wait(command)
    queue.conn.send(data(command.cid, ttag))
    expect_term(queue.conn, 1, 10)


@pytest.mark.parametrize("bad", [0, 1, 3])
def test_data_digest_of_a_part(target, bad):
    """One status at the end of the transfer, and the connection lives (TCP 3.5.2)."""
    with Host(target.address, NQN, ddgst=True) as host:
        queue = host.io[0]
        write(queue, 0, b"\x11" * 16384, inline=False)
        command = queue.start(1, nsid=1, write=b"\xee" * 16384, **io_fields(0, 32))
        command.auto = False
        while command.ttag is None:
            queue.pump()
        for part in range(4):
            queue.conn.h2c(command.cid, command.ttag, part * 4096, bytes(4096), part == 3,
                           ddgst=0xBAD if part == bad else None)
        assert queue.wait(command).code == 0x022
        assert read(queue, 0, 32) == b"\x11" * 16384


# --- Commands -------------------------------------------------------------------------------------


def test_data_digest_in_capsule(target):
    """The command fails, the next one does not."""
    with Host(target.address, NQN, ddgst=True) as host:
        queue = host.io[0]
        write(queue, 0, b"\x22" * 4096)
        assert queue.status(1, nsid=1, write=b"\xee" * 4096, inline=True, ddgst=0xBAD,
                            **io_fields(0, 8)) == 0x022
        assert queue.status(0xC1, nsid=1, write=bytes(4096), inline=True, ddgst=0xBAD) == 0x001
        assert read(queue, 0, 8) == b"\x22" * 4096


IN_CAPSULE = [
    ((0, 4096, SGL_IN_CAPSULE), 512, 0x00F), ((0, 0, SGL_IN_CAPSULE), 512, 0x00F),
    ((0, 512, SGL_TRANSPORT), 512, 0x002), ((0, 512, SGL_IN_CAPSULE), 0, 0x00F),
    ((1, 512, SGL_IN_CAPSULE), 512, 0x016), ((1 << 63, 512, SGL_IN_CAPSULE), 512, 0x016),
    *(((0, 512, kind), 0, 0x011) for kind in (0x00, 0x10, 0x20, 0x30, 0x40, 0x5B, 0xFF)),
    ((0, 0, SGL_TRANSPORT), 0, 0x00F), ((0, 511, SGL_TRANSPORT), 0, 0x00F),
    ((0, 513, SGL_TRANSPORT), 0, 0x00F), ((0, (1 << 20) + 512, SGL_TRANSPORT), 0, 0x002),
    ((0, 0xFFFFFFFF, SGL_TRANSPORT), 0, 0x002),
]


@pytest.mark.parametrize("sgl, length, status", IN_CAPSULE, ids=range(len(IN_CAPSULE)))
def test_sgl_of_a_write(host, sgl, length, status):
    """A bad SGL is the command's error; the stream stays in step."""
    queue = host.io[0]
    body = bytes(length)
    assert queue.status(1, nsid=1, write=body, inline=bool(length), sgl=sgl,
                        **io_fields(0, 1)) == status
    assert queue.status(0, nsid=1) == 0


def test_sgl_of_a_read(host):
    """In-capsule data on a read."""
    assert host.io[0].status(2, nsid=1, sgl=(0, 512, SGL_IN_CAPSULE), **io_fields(0, 1)) == 0x002
    assert host.io[0].status(2, nsid=1, sgl=(0, 1024, SGL_TRANSPORT), **io_fields(0, 1)) == 0x00F


@pytest.mark.parametrize("flags", [0x00, 0x80, 0xC0, 0x41, 0x42, 0x43])
def test_psdt_and_fuse(host, flags):
    """PRPs, other SGL forms and fused commands are refused."""
    assert host.io[0].status(2, nsid=1, flags=flags, sgl=(0, 512, SGL_TRANSPORT),
                             **io_fields(0, 1)) == 0x002


@pytest.mark.parametrize("opcode", [0x03, 0x06, 0x0D, 0x7D, 0x80, 0xC0, 0xFF])
@pytest.mark.parametrize("length", [0, 4096])
def test_io_opcode(host, opcode, length):
    """Unknown I/O commands, with and without data in the capsule."""
    assert host.io[0].status(opcode, nsid=1, write=bytes(length), inline=True) == 0x001
    assert host.io[0].status(0, nsid=1) == 0


@pytest.mark.parametrize("nsid", [0, 2, 6, 1025, 0xFFFFFFFE, 0xFFFFFFFF])
@pytest.mark.parametrize("opcode", [0, 1, 2, 5, 8, 9, 12])
def test_nsid(host, nsid, opcode):
    """Namespaces that are not there."""
    length = {1: 512, 5: 512, 9: 16}.get(opcode, 0)
    kwargs = {"read": 512} if opcode == 2 else {"write": bytes(length), "inline": True}
    assert host.io[0].status(opcode, nsid=nsid, **kwargs) == 0x00B


def test_duplicate_cid(start):
    """A CID that is under way: Command ID Conflict for the second, the first ends as if alone."""
    daemon = start("--ssd", "emulated:size=16M,fault.delay=1,fault.delay_ms=200", "--listen",
                   "127.0.0.1:0", "--nqn", NQN)
    with Host(daemon.address, NQN) as host:
        queue = host.io[0]
        queue.conn.command(sqe(0, 77, 1, (0, 0, SGL_TRANSPORT)))
        queue.conn.command(sqe(0, 77, 1, (0, 0, SGL_TRANSPORT)))
        statuses = [struct.unpack_from("<H", queue.conn.pdu().header, 22)[0] >> 1 & 0x7FF
                    for _ in range(2)]
        assert statuses == [0x003, 0]
        assert queue.status(0, nsid=1, cid=77) == 0


@pytest.mark.parametrize("cid", [0, 0x1234, 0xF001, 0xFFFF])
def test_sparse_cids(host, cid):
    """Any 16-bit CID."""
    assert host.io[0].status(0, nsid=1, cid=cid) == 0


def test_more_commands_than_the_queue_holds(start):
    """More than SQSIZE + 1 outstanding: the host is cut off, nothing overruns."""
    daemon = start("--ssd", "emulated:size=16M,fault.delay=1,fault.delay_ms=500", "--listen",
                   "127.0.0.1:0", "--nqn", NQN)
    with Host(daemon.address, NQN, queues=0) as host:
        host.set_queues(1)
        queue = host.queue(1, entries=8)
        for cid in range(9):
            queue.conn.command(sqe(0, cid, 1, (0, 0, SGL_TRANSPORT)))
        expect_term(queue.conn, 2)
        queue.conn.close()
    daemon.expect_clean()


# --- TermReq, half-open states, garbage -----------------------------------------------------------


@pytest.mark.parametrize("digests", [False, True])
@pytest.mark.parametrize("length", [24, 25, 100, 152])
@pytest.mark.parametrize("fes", [0, 1, 7, 0xFFFF])
def test_host_terminates(target, length, fes, digests):
    """A host's TermReq of any length, never with a digest, ends the connection without an answer; what follows is
    ignored."""
    with Connection(target.address) as conn:
        conn.icreq(digests, digests)
        conn.send(struct.pack("<BBBBIHI10x", H2C_TERM, 0, 24, 0, length, fes, 5)
                  .ljust(length, b"\0") + os.urandom(500))
        with pytest.raises(Closed):
            conn.pdu()


def test_terminated_host_that_stays(target):
    """After a TermReq the target does not wait for ever for the host to close."""
    conn = Connection(target.address)
    conn.icreq()
    conn.send(header(5))
    with pytest.raises(Term):
        conn.pdu()
    target.expect_clean()
    conn.close()


def test_garbage(target):
    """Random bytes, in many lengths."""
    rng = random.Random(1)
    for _ in range(200):
        conn = Connection(target.address)
        try:
            conn.send(rng.randbytes(rng.choice((1, 7, 8, 127, 128, 129, 1000))))
            if rng.random() < 0.5:
                conn.abort()
        except OSError:
            pass
        conn.close()


def test_garbage_after_the_handshake(target):
    """Random bytes where PDUs are expected; random PDUs of the right shape."""
    rng = random.Random(2)
    for index in range(200):
        with Host(target.address, NQN) if index % 10 == 0 else Connection(target.address) as peer:
            conn = peer.io[0].conn if index % 10 == 0 else peer.icreq()
            kind = rng.choice((CMD, CMD, H2C_DATA, H2C_TERM, rng.randrange(256)))
            raw = bytearray(header(kind, hlen=24 if kind in (2, 6) else 72) + rng.randbytes(600))
            for _ in range(rng.randrange(4)):
                raw[rng.randrange(80)] = rng.randrange(256)
            try:
                conn.send(bytes(raw))
            except OSError:
                pass


def test_tls_hello_to_a_plain_port(target):
    """A TLS ClientHello is no ICReq."""
    with Connection(target.address) as conn:
        conn.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(200))
        expect_term(conn, 1, 0)


@pytest.mark.parametrize("position", [1, 60, 127, 128, 136, 200, 1223, 1224, 1300])
@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
def test_cut_in_connect(target, position, reset):
    """The stream ends at any byte of ICReq and Connect."""
    connect = struct.pack("<16sH238x256s256s256x", b"\1" * 16, 0xFFFF, NQN.encode(),
                          b"nqn.2014-08.org.nvmexpress:cut")
    stream = icreq() + struct.pack("<BBBBI", CMD, 0, 72, 72, 72 + 1024) \
        + sqe(0x7F, 1, 1, (0, 1024, SGL_IN_CAPSULE), cdw11=31 | 4 << 16) + connect + header(CMD)
    conn = Connection(target.address)
    conn.send(stream[:position])
    time.sleep(0.01)
    if reset:
        conn.abort()
    else:
        conn.close()


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
@pytest.mark.parametrize("size", [0, 3, 24, 100, 4096, 16000])
def test_cut_in_write(target, size, reset):
    """The connection ends in the middle of an R2T transfer."""
    with Host(target.address, NQN) as host:
        queue = host.io[0]
        command = queue.start(1, nsid=1, write=bytes(16384), **io_fields(0, 32))
        command.auto = False
        while command.ttag is None:
            queue.pump()
        queue.conn.send(data(command.cid, command.ttag, 0, 16384, body=bytes(16384))[:size])
        if reset:
            queue.conn.abort()


def test_cut_with_reads_under_way(start):
    """FIN with commands at the SSD: its queue pair is deleted before their memory is used again."""
    daemon = start("--ssd", "emulated:size=64M,fault.delay=1,fault.delay_ms=300", "--listen",
                   "127.0.0.1:0", "--nqn", NQN)
    for reset in (False, True):
        with Host(daemon.address, NQN) as host:
            for index in range(100):
                host.io[0].start(2, nsid=1, read=4096, **io_fields(index * 8, 8))
            time.sleep(0.05)
            if reset:
                host.io[0].conn.abort()
        daemon.expect_clean()


def test_no_room_for_a_term_request(target, bystander):
    """A fatal error while half an answer is in the socket: C2HTermReq cannot be sent, so the connection is reset."""
    with Host(target.address, NQN) as host:
        queue = host.io[0]
        for _ in range(16):
            queue.start(2, nsid=1, read=1 << 20, **io_fields(0, 2048))
        with bystander.quiet():
            target.wait_full()
        queue.conn.send(header(9))
        with pytest.raises(ConnectionResetError):
            while queue.conn.sock.recv(1 << 20):
                pass


def test_a_host_that_does_not_read(target, bystander):
    """Answers that nobody takes: the connection holds its share of pages and no more."""
    host = Host(target.address, NQN)
    try:
        for _ in range(120):
            host.io[0].start(2, nsid=1, read=1 << 20, **io_fields(0, 2048))
        time.sleep(0.2)
        counters = target.counters()
        assert counters["dma_pages_used"] <= counters["dma_pages_total"] // 2 + 256
        bystander.expect_goes_on()
    finally:
        host.close()


def test_closed_is_closed(target):
    """The helper that other tests rely on."""
    with Connection(target.address) as conn:
        conn.send(header(H2C_TERM, hlen=24, plen=24, size=24))
        with pytest.raises(Closed):
            conn.pdu()


def test_status_is_raised(target):
    """So that a refused Connect cannot pass for a good one."""
    with pytest.raises(Status):
        Queue(target.address).connect("nqn.2026-11.io.nvmetd:nobody")
