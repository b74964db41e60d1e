# SPDX-License-Identifier: BSD-3-Clause
"""What fuzzing has found, each at wire level. The inputs themselves are in tests/fuzz/corpus."""

import socket

import pytest

from daemon import NQN
from nvmetcp import CMD, RESP, SGL_IN_CAPSULE, Host, read, sqe


@pytest.mark.parametrize("digests", [False, True])
@pytest.mark.parametrize("opcode", [2, 0x99])
def test_a_refusal_waits_for_the_whole_capsule(target, digests, opcode):
    """A command that cannot be is answered when its capsule has come, not while the host still sends."""
    with Host(target.address, NQN, ddgst=digests, hdgst=digests) as host:
        queue = host.io[0]
        raw = queue.conn.build(CMD, sqe(opcode, 9, 1, (0, 4096, SGL_IN_CAPSULE)), bytes(4096))
        queue.conn.send(raw[:2000])
        queue.conn.sock.settimeout(0.3)
        with pytest.raises(socket.timeout):
            queue.conn.read(1)
        queue.conn.sock.settimeout(60)
        queue.conn.send(raw[2000:])
        pdu = queue.conn.pdu()
        assert pdu.type == RESP and pdu.header[20:22] == b"\x09\0" and pdu.header[22:24] != b"\0\0"
        assert len(read(queue, 0, 1)) == 512
