#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes the seeds of the fuzz targets: tests/fuzz/corpus/TARGET/seed-*.

The formats are those that the targets' comments tell. Run it after a format has changed; inputs that a
fuzzer found (crash-*) are kept as they are.
"""

import struct
from pathlib import Path

CORPUS = Path(__file__).resolve().parent / "corpus"
RAW, PDU, COMMAND, CONNECT, DATA, OPEN, ICREQ, CLOSE, TIME, HOLD, RELEASE, DEAF, SET_UP, PROPERTY = range(14)


# --- conn ---------------------------------------------------------------------------------------------


def rec(what, host=0, body=b"", batch=False, split=False):
    """A record of fuzz_conn."""
    return bytes([what | host << 4 | batch << 6 | split << 7]) + body


def set_up(dgst=0, hpda=0, cattr=4, sqsize=31):
    """An admin queue and two I/O queues."""
    return rec(SET_UP, body=bytes([dgst, hpda, cattr, sqsize]))


def command(host, opcode, nsid=0, length=0, cid=1, how=0, cdw=(0, 0, 0), in_capsule=0, **kwargs):
    """Any command."""
    body = bytes([opcode, how | (4 if in_capsule else 0)])
    if in_capsule:
        body += struct.pack("<H", in_capsule)
    body += struct.pack("<HB", cid, nsid) + length.to_bytes(3, "little")
    return rec(COMMAND, host, body + struct.pack("<IIIH", *cdw, 0), **kwargs)


def data(host, how=0, rest=b"", **kwargs):
    """An answer to the oldest R2T."""
    return rec(DATA, host, bytes([how]) + rest, **kwargs)


def connect(host, how=0, qid=0, cattr=4, cid=1, sqsize=31, cntlid=1):
    """Connect."""
    body = struct.pack("<BBBBH", how, qid, cattr, cid, sqsize)
    return rec(CONNECT, host, body + (struct.pack("<H", cntlid) if qid else b""))


def io(host, opcode, blocks, slba=0, **kwargs):
    """Read, Write, Compare."""
    return command(host, opcode, 1, blocks * 512, cdw=(slba, 0, blocks - 1), **kwargs)


def conn_seeds():
    """Whole lives of connections."""
    icreq_pdu = struct.pack("<BBBBIHBBI112x", 0, 0, 128, 0, 128, 0, 0, 0, 0)
    plain = set_up()
    yield "raw-icreq", rec(OPEN) + rec(RAW, body=struct.pack("<H", 128) + icreq_pdu)
    yield "raw-split", rec(OPEN) + b"".join(
        rec(RAW, body=struct.pack("<H", 32) + icreq_pdu[at:at + 32]) for at in range(0, 128, 32))
    for dgst in range(4):
        yield f"io-{dgst}", (set_up(dgst, hpda=dgst * 7) + io(1, 2, 8) + io(1, 1, 8, in_capsule=4096)
                             + io(1, 1, 64) + data(1) + io(2, 5, 8) + data(2) + io(2, 2, 128))
    yield "flow-control", set_up(cattr=0, sqsize=3) + b"".join(io(1, 2, 1, cid=n) for n in range(9))
    yield "batch", set_up() + b"".join(io(1, 2, 8, cid=n, batch=n < 20) for n in range(21))
    yield "interleaved", plain + io(1, 1, 32, cid=1) + io(1, 1, 32, cid=2) + b"".join(
        data(1, how, struct.pack("<H", 2047)) for how in (4, 4 | 128) * 8)
    yield "bad-digests", (set_up(3) + io(1, 1, 8, cid=1, how=2, in_capsule=4096) + io(1, 1, 8, cid=2)
                          + data(1, 2) + io(2, 2, 1, how=1))
    for bit in (8, 16, 32, 64):
        yield f"bad-data-{bit}", plain + io(1, 1, 8) + data(1, bit, b"\1")
    yield "cid-conflict", plain + rec(HOLD) + io(1, 2, 8) + io(1, 2, 8) + rec(RELEASE)
    yield "too-many", set_up(sqsize=2) + rec(HOLD) + b"".join(io(1, 2, 1, cid=n) for n in range(6))
    yield "no-pages", set_up() + rec(HOLD) + rec(DEAF, 1) + b"".join(
        io(1 + n % 2, 2 - n % 3 // 2, 240, cid=n, batch=n < 60) for n in range(64)) + rec(RELEASE)
    yield "abort", plain + rec(HOLD) + io(1, 1, 8, cid=7) + io(1, 2, 8, cid=8) + b"".join(
        command(0, 8, cdw=(1 | cid << 16, 0, 0), cid=20 + cid) for cid in (7, 8, 9)) + data(1)
    yield "close-under-way", plain + rec(HOLD) + io(1, 2, 8) + io(2, 1, 8) + data(2) + rec(CLOSE, 1) + \
        rec(CLOSE, 0) + rec(TIME, body=b"\x0a")
    yield "reconnect", plain + rec(HOLD) + io(1, 2, 8) + rec(CLOSE, 0) + rec(OPEN, 0) + \
        rec(ICREQ, 0, b"\0\0") + connect(0) + rec(TIME, body=b"\x80")
    yield "timeouts", rec(OPEN) + rec(OPEN, 1) + rec(ICREQ, 1, b"\0\0") + rec(TIME, body=b"\x70") * 3
    yield "half-pdu", plain + rec(RAW, 1, struct.pack("<HBB", 2, 4, 0)) + rec(TIME, body=b"\xff") * 3
    yield "no-data", plain + io(1, 1, 64) + rec(TIME, body=b"\xff") * 3
    yield "keep-alive", rec(OPEN) + rec(ICREQ, 0, b"\0\0") + connect(0, how=64) + \
        command(0, 0x18) + rec(TIME, body=b"\x0a") * 4
    yield "deaf", plain + rec(DEAF, 1) + b"".join(io(1, 2, 240, cid=n) for n in range(12)) + \
        rec(TIME, body=b"\xff") * 3
    yield "discovery", rec(OPEN) + rec(ICREQ, 0, b"\0\0") + connect(0, how=4) + \
        rec(PROPERTY, 0, struct.pack("<BI", 2, 0x00460001)) + \
        command(0, 6, length=4096, cdw=(1, 0, 0)) + command(0, 2, length=4096, cdw=(0x70 | 1023 << 16, 0, 0)) + \
        command(0, 2, length=512, cdw=(0x70 | 127 << 16, 0, 1024)) + command(0, 12)
    yield "refused", rec(OPEN) + rec(ICREQ, 0, b"\0\0") + b"".join(
        connect(0, how=how) for how in (8, 9, 12, 2, 3)) + connect(0, qid=1) + connect(0) + connect(0)
    yield "closed-subsystem", rec(OPEN) + rec(ICREQ, 0, b"\0\0") + connect(0, how=8 | 16) + data(0)
    yield "properties", plain + b"".join(
        rec(PROPERTY, 0, struct.pack("<BI", how, 0)) for how in (4 | 16, 5, 6, 7, 4, 20, 3))
    yield "disable", plain + io(1, 2, 8) + rec(PROPERTY, 0, struct.pack("<BI", 2, 0x00460000)) + \
        rec(PROPERTY, 0, struct.pack("<BI", 2, 0x00460001)) + rec(PROPERTY, 0, struct.pack("<BI", 2, 0x00464001))
    yield "shutdown", plain + io(1, 1, 64) + rec(PROPERTY, 0, struct.pack("<BI", 2, 0x00464001))
    yield "disconnect", plain + command(1, 0x7F, 8) + io(1, 2, 8) + command(0, 0x7F, 8)
    yield "term", plain + rec(PDU, 1, struct.pack("<BBBH", 2, 0, 24, 72) + struct.pack("<HI10x", 1, 4)) + \
        rec(PDU, 2, struct.pack("<BBBH", 7, 0, 24, 0))
    for sgl in range(1, 16):
        yield f"sgl-{sgl}", plain + io(1, 1, 8, how=sgl << 4, in_capsule=4096) + io(1, 2, 8, cid=2)
    yield "identify", plain + b"".join(
        command(0, 6, nsid, 4096, cdw=(cns, 0, 0)) for cns, nsid in ((0, 1), (1, 0), (2, 0), (3, 1), (0, 9)))
    yield "log-pages", plain + b"".join(
        command(0, 2, 0xFF, 512, cdw=(lid | 127 << 16, 0, 0)) for lid in (0, 1, 2, 3, 4, 5, 12, 0x70))
    yield "features", plain + b"".join(
        command(0, opcode, cdw=(fid, 1, 0)) for fid in (1, 2, 4, 5, 6, 7, 11, 15) for opcode in (10, 9)) + \
        command(0, 10, length=16, cdw=(0x81, 1, 0))
    yield "aers", plain + b"".join(command(0, 12, cid=n) for n in range(6)) + command(0, 8, cdw=(2 << 16, 0, 0))
    yield "io-commands", plain + io(1, 0, 1) + command(1, 0, 1) + command(1, 8, 1, cdw=(0, 0, 7)) + \
        command(1, 9, 1, 4096, in_capsule=4096) + command(1, 12, 1, cdw=(0, 0, 7)) + io(1, 2, 8, slba=510) + \
        command(1, 2, 7, 512) + command(1, 0x99, 1)
    yield "icd-sizes", plain + io(1, 1, 16, in_capsule=8192) + io(1, 1, 17, cid=2, in_capsule=8704)


# --- all ----------------------------------------------------------------------------------------------

SEEDS = {"conn": conn_seeds}


def main():
    """Writes them all."""
    for target, seeds in SEEDS.items():
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("seed-*"):
            old.unlink()
        for name, content in seeds():
            (folder / f"seed-{name}").write_bytes(content)


if __name__ == "__main__":
    main()
