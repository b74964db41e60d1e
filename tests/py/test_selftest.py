# SPDX-License-Identifier: BSD-3-Clause
"""The tests' own host: its digest, and that it sees what a target does wrong."""

import socket
import struct

import pytest

from nvmetcp import Connection, Cqe, Violation, crc32c, sqe


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
])
def test_checker_sees(header, rule):
    """Each broken rule raises Violation."""
    server = socket.create_server(("127.0.0.1", 0))
    with Connection(server.getsockname()) as conn:
        peer, _ = server.accept()
        peer.sendall(header.ljust(64, b"\0"))
        with pytest.raises(Violation, match=rule):
            conn.pdu()
        peer.close()
    server.close()


def test_phase_bit():
    """A response has no phase."""
    with pytest.raises(Violation):
        Cqe(bytes(14) + b"\1\0")
