# SPDX-License-Identifier: BSD-3-Clause
"""What hostile tests are made of: PDUs with any field wrong, and what a target must do about them."""

import struct

import pytest

from nvmetcp import H2C_DATA, ICREQ, WRITE, Term, io_fields

ANY = None


def icreq(pfv=0, hpda=0, dgst=0, maxr2t=0, hlen=128, plen=128, kind=ICREQ):
    """An ICReq with any field wrong."""
    return struct.pack("<BBBBIHBBI112x", kind, 0, hlen, 0, plen, pfv, hpda, dgst, maxr2t)


def header(kind, flags=0, hlen=72, pdo=0, plen=72, size=72):
    """A PDU header with any field wrong, zero-filled to `size`."""
    return struct.pack("<BBBBI", kind, flags, hlen, pdo, plen).ljust(size, b"\0")


def data(cccid=0, ttag=0, datao=0, datal=512, flags=4, pdo=24, plen=None, body=None):
    """An H2CData with any field wrong."""
    body = bytes(datal if datal < 1 << 20 else 512) if body is None else body
    plen = 24 + len(body) if plen is None else plen
    return struct.pack("<BBBBIHHII4x", H2C_DATA, flags, 24, pdo, plen, cccid, ttag, datao,
                       datal) + body


def expect_term(conn, fes, fei=ANY):
    """C2HTermReq with this reason (one of them), then the connection is closed."""
    with pytest.raises(Term) as found:
        while True:
            conn.pdu()
    assert found.value.fes in (fes if isinstance(fes, tuple) else (fes,)), found.value
    if fei is not ANY:
        assert found.value.fei == fei, found.value
    conn.expect_close()
    return found.value


def start_write(queue, size=16384, slba=0, byte=b"\xee"):
    """A write whose R2T has come; its data is the test's to send."""
    command = queue.start(WRITE, nsid=1, write=byte * size, **io_fields(slba, size // 512))
    command.auto = False
    while command.ttag is None:
        queue.pump()
    return command
