# SPDX-License-Identifier: BSD-3-Clause
"""The tests' own host: its digest, and that it sees what a target does wrong."""

import socket
import struct

import pytest

from nvmetcp import (C2H_DATA, ICRESP, LAST, R2T, RESP, SUCCESS, Connection, Cqe, Queue, Violation,
                     crc32c, sqe)


def test_crc32c():
    """The vector everybody publishes."""
    assert crc32c(b"123456789") == 0xE3069283


def test_sqe_size():
    """A command has 64 bytes."""
    assert len(sqe(1, 2, 3)) == 64


@pytest.mark.parametrize("header, rule", [
    (struct.pack("<BBBBI", 4, 0, 72, 0, 72), "type"),
    (struct.pack("<BBBBI", 5, 0, 25, 0, 24), "HLEN"),
    (struct.pack("<BBBBI", 5, 0, 24, 0, 23), "PLEN"),
    (struct.pack("<BBBBI", 5, 1, 24, 0, 24), "HDGST"),
    (struct.pack("<BBBBI", 9, 0, 24, 0, 28), "PLEN"),
    (struct.pack("<BBBBI", 7, 0, 24, 22, 28), "PDO"),
    (struct.pack("<BBBBI", 7, 0x10, 24, 24, 28), "flags"),
    (struct.pack("<BBBBI", 5, 4, 24, 0, 24), "flags"),
    (struct.pack("<BBBBI", 5, 0, 24, 24, 24), "PDO"),
    (struct.pack("<BBBBI", 9, 0, 24, 0, 24).ljust(23, b"\0") + b"\1", "reserved"),
    (struct.pack("<BBBBI", 1, 0, 128, 0, 128).ljust(100, b"\0") + b"\1".ljust(28), "ICResp"),
])
def test_checker_sees(header, rule):
    """Each broken rule raises Violation."""
    server = socket.create_server(("127.0.0.1", 0))
    with Connection(server.getsockname()) as conn:
        peer, _ = server.accept()
        peer.sendall(header.ljust(128, b"\0"))
        with pytest.raises(Violation, match=rule):
            conn.pdu()
        peer.close()
    server.close()


def test_phase_bit():
    """A response has no phase."""
    with pytest.raises(Violation):
        Cqe(bytes(14) + b"\1\0")


def test_sqid():
    """Over fabrics a response names no queue."""
    with pytest.raises(Violation):
        Cqe(struct.pack("<IIHHHH", 0, 0, 0, 1, 0, 0))


# --- What a queue sees: CID 1 is a read of 1024 bytes, CID 2 a write of 1024 bytes ----------------


def resp(cid, status=0, sqhd=0):
    """A CapsuleResp."""
    return struct.pack("<BBBBIIIHHHH", RESP, 0, 24, 0, 24, 0, 0, sqhd, 0, cid, status << 1)


def data(cid, offset, length, flags, datal=None, ttag=0):
    """A C2HData."""
    return struct.pack("<BBBBIHHII4x", C2H_DATA, flags, 24, 24, 24 + length, cid, ttag, offset,
                       length if datal is None else datal) + bytes(length)


def r2t(cid, offset, length):
    """An R2T."""
    return struct.pack("<BBBBIHHII4x", R2T, 0, 24, 0, 24, cid, 7, offset, length)


def see(sent, flow_control=False):
    """Lets a queue see these bytes until both its commands have ended."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        conn = Connection(server.getsockname())
        peer, _ = server.accept()
        queue = Queue.__new__(Queue)
        queue.__dict__.update(conn=conn, commands={}, next_cid=1, flow_control=flow_control,
                              entries=32, sqhd=0, cntlid=1)
        with peer, queue:
            commands = [queue.start(2, read=1024), queue.start(1, write=bytes(1024))]
            commands[1].auto = False
            peer.sendall(sent)
            queue.wait(*commands)


@pytest.mark.parametrize("sent, flow_control", [
    (data(1, 0, 1024, LAST | SUCCESS) + r2t(2, 0, 1024) + resp(2), False),
    (data(1, 0, 512, 0) + data(1, 512, 512, LAST) + resp(1) + resp(2, 0x80), False),
    (resp(1, 0x281, 1) + r2t(2, 0, 512) + resp(2, 0x80, 2), True),
])
def test_good_answers(sent, flow_control):
    """What a target may send raises nothing."""
    see(sent, flow_control)


@pytest.mark.parametrize("sent, flow_control, rule", [
    (resp(9), False, "CID"), (resp(2), False, "before all data"), (resp(1), False, "less data"),
    (resp(2, 0x80, 1), False, "without flow control"), (resp(2, 0x80, 3), True, "SQHD"),
    (data(2, 0, 1024, LAST), False, "does not read"), (data(9, 0, 1024, LAST), False, "CID"),
    (data(1, 512, 512, LAST), False, "DATAO"), (data(1, 0, 512, 0, 1024), False, "DATAL"),
    (data(1, 0, 1024, LAST, ttag=7), False, "TTAG"),
    (data(1, 0, 1536, LAST), False, "more data"), (data(1, 0, 1024, 0), False, "LAST"),
    (data(1, 0, 512, LAST), False, "LAST"), (data(1, 0, 512, SUCCESS), False, "SUCCESS"),
    (data(1, 0, 1024, LAST | SUCCESS), True, "SUCCESS"),
    (data(1, 0, 512, 0) + resp(1), False, "less data"),
    (data(1, 0, 1024, LAST) + resp(1, 0x281), False, "failed"),
    (r2t(1, 0, 1024), False, "does not write"), (r2t(9, 0, 1024), False, "CID"),
    (r2t(2, 0, 0), False, "R2TL"), (r2t(2, 512, 512), False, "R2TO"), (r2t(2, 0, 1025), False, "beyond"),
    (r2t(2, 0, 512) + r2t(2, 0, 512), False, "second R2T"),
])
def test_queue_sees(sent, flow_control, rule):
    """Each broken rule raises Violation."""
    with pytest.raises(Violation, match=rule):
        see(sent, flow_control)
