#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes the seeds of the fuzz targets: tests/fuzz/corpus/TARGET/seed-*.

The formats are those that the targets' comments tell. Run it after a format has changed; inputs that a
fuzzer found (crash-*) are kept as they are.
"""

import struct
from pathlib import Path

CORPUS = Path(__file__).resolve().parent / "corpus"
RAW, PDU, COMMAND, CONNECT, DATA, OPEN, ICREQ, CLOSE, TIME, HOLD, RELEASE, DEAF, SET_UP, PROPERTY, REPEAT, HOLD_ALL = range(16)


# --- conn ---------------------------------------------------------------------------------------------


def rec(what, host=0, body=b"", batch=False, split=False):
    """A record of fuzz_conn."""
    return bytes([what | host << 4 | batch << 6 | split << 7]) + body


def set_up(dgst=0, hpda=0, cattr=4, sqsize=31):
    """An admin queue and two I/O queues."""
    return rec(SET_UP, body=bytes([dgst, hpda, cattr, sqsize]))


def command(host, opcode, nsid=0, length=0, cid=1, how=0, cdw=(0, 0, 0), in_capsule=0, flags=0, **kwargs):
    """Any command."""
    body = bytes([opcode, how | (4 if in_capsule else 0) | (8 if flags else 0)])
    if in_capsule:
        body += struct.pack("<H", in_capsule)
    body += struct.pack("<HB", cid, nsid) + (bytes([flags]) if flags else b"") + length.to_bytes(3, "little")
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


def repeat(times, record):
    """A record several times, with other CIDs."""
    return rec(REPEAT, body=bytes([times - 1])) + record


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
    yield "flow-control-digests", set_up(3, cattr=0) + io(1, 2, 8) * 3 + io(1, 2, 8, slba=5000)
    for size, blocks in ((4096, 16), (8192, 1), (4096, 1), (512, 9)):
        yield f"icd-{size}-sgl-{blocks}", plain + io(1, 1, blocks, in_capsule=size) + io(1, 2, 1)

    def h2c(ttag, length, datao=0, cccid=1, datal=None, flags=4):
        body = struct.pack("<HHII4x", cccid, ttag, datao, length if datal is None else datal)
        return rec(PDU, 1, struct.pack("<BBBH", 6, flags, 24, length) + body[:16])
    for ttag in (1, 31, 32, 33, 0xFFFF):
        yield f"ttag-{ttag}", plain + io(1, 1, 8) + h2c(ttag, 4096)
    yield "data-too-long", plain + io(1, 1, 8) + h2c(0, 8192)
    yield "data-too-long-not-last", plain + io(1, 1, 8) + h2c(0, 8192, flags=0)
    yield "data-too-far", plain + io(1, 1, 8) + h2c(0, 4096, datao=0xFFFFF000)
    yield "data-lies", plain + io(1, 1, 8) + h2c(0, 4096, datal=8192)
    for ttag in (0, 1, 2, 3, 10, 11, 12, 13):
        yield f"data-before-r2t-{ttag}", plain + rec(DEAF, 1) + repeat(12, io(1, 2, 240, cid=1)) + \
            io(1, 1, 8, cid=77) + h2c(ttag, 4096, cccid=77) + rec(DEAF, 1)
    yield "cid-conflict", plain + rec(HOLD) + io(1, 2, 8) + io(1, 2, 8) + rec(RELEASE)
    yield "too-many", set_up(sqsize=2) + rec(HOLD) + b"".join(io(1, 2, 1, cid=n) for n in range(6))
    yield "no-pages", set_up() + rec(HOLD) + rec(DEAF, 1) + b"".join(
        io(1 + n % 2, 2 - n % 3 // 2, 240, cid=n, batch=n < 60) for n in range(64)) + rec(RELEASE)
    def compare(cid=5, blocks=8, flags=1, in_capsule=4096, **kwargs):
        return io(1, 5, blocks, cid=cid, flags=flags, in_capsule=in_capsule, **kwargs)

    def then_write(cid=6, blocks=8, flags=2, in_capsule=4096, **kwargs):
        return io(1, 1, blocks, cid=cid, flags=flags, in_capsule=in_capsule, **kwargs)
    same = plain + io(1, 1, 8, in_capsule=4096)
    yield "fused", same + compare() + then_write()
    yield "fused-batch", same + compare(batch=True) + then_write() + io(1, 2, 8)
    yield "fused-miscompare", plain + io(1, 8, 8) + compare() + then_write()
    yield "fused-r2t", same + compare(in_capsule=0) + then_write(in_capsule=0) + data(1) + data(1)
    yield "fused-r2t-late", same + compare(in_capsule=0) + then_write() + data(1)
    yield "fused-alone", plain + compare() + io(1, 2, 8, cid=9)
    yield "fused-write-first", plain + then_write() + compare() + compare(cid=8) + then_write()
    yield "fused-other-blocks", plain + compare() + then_write(slba=1) + compare() + then_write(blocks=4)
    yield "fused-read", plain + io(1, 2, 8, cid=1, flags=1) + io(1, 2, 8, cid=2, flags=2) + compare() + \
        io(1, 2, 8, cid=2, flags=2)
    yield "fused-bad-digest", set_up(2) + compare(how=2) + then_write() + compare() + then_write(how=2)
    yield "fused-same-cid", plain + compare() + then_write(cid=5)
    yield "fused-abort", plain + rec(HOLD) + compare() + command(0, 8, cdw=(1 | 5 << 16, 0, 0)) + then_write() + \
        compare(in_capsule=0) + then_write() + command(0, 8, cdw=(1 | 6 << 16, 0, 0)) + data(1)
    yield "fused-close", plain + rec(HOLD) + compare() + then_write() + compare(cid=8) + rec(CLOSE, 1) + rec(RELEASE)
    yield "fused-ring-full", set_up(sqsize=6) + rec(HOLD) + repeat(6, io(2, 2, 8, cid=1)) + compare() + \
        then_write() + rec(RELEASE)
    yield "fused-ring-full-close", set_up(sqsize=6) + rec(HOLD) + repeat(6, io(2, 2, 8, cid=1)) + compare() + \
        then_write() + rec(CLOSE, 1) + rec(RELEASE)
    yield "fused-waits-too-long", plain + compare() + rec(TIME, body=b"\xff") * 3
    yield "fused-flags", plain + compare(flags=3) + then_write(flags=0x81) + compare() + then_write(flags=3)
    yield "share-drains", plain + rec(HOLD) + io(1, 2, 8) + io(2, 2, 8) + rec(CLOSE, 1) + rec(RELEASE) + io(2, 2, 8)
    yield "share-does-not-drain", plain + rec(HOLD) + io(1, 2, 8) + io(2, 2, 8) + rec(CLOSE, 1) + \
        rec(TIME, body=b"\x80") + rec(TIME, body=b"\x80")
    yield "ring-full", set_up(sqsize=3) + rec(HOLD) + repeat(4, io(1, 2, 8, cid=1)) + repeat(4, io(2, 2, 8, cid=1)) + \
        rec(CLOSE, 2) + rec(RELEASE)
    yield "ring-full-waiters", set_up(sqsize=3) + rec(HOLD) + repeat(5, io(1, 2, 8, cid=1)) + \
        repeat(4, io(2, 2, 8, cid=1)) + rec(CLOSE, 2) + rec(RELEASE)
    yield "ring-full-goes-on", set_up(sqsize=3) + rec(HOLD) + repeat(4, io(1, 2, 8, cid=1)) + \
        repeat(4, io(2, 2, 8, cid=1)) + rec(RELEASE)
    pages_gone = set_up(sqsize=250) + rec(HOLD) + repeat(60, io(1, 2, 240, cid=1)) + repeat(60, io(2, 2, 240, cid=1))
    yield "pages-abort", pages_gone + command(0, 8, cdw=(1 | 55 << 16, 0, 0)) + rec(RELEASE)
    yield "pages-close", pages_gone + rec(CLOSE, 1)

    def in_capsules(opcode):
        return b"".join(repeat(180, io(host, opcode, 16, cid=100, in_capsule=8192)) for host in (1, 2))
    close_and_wait = rec(CLOSE, 1) + rec(TIME, body=b"\xff\x08\xff")
    yield "pages-in-capsule", pages_gone + in_capsules(5) + rec(RELEASE)
    yield "pages-in-capsule-close", pages_gone + in_capsules(5) + close_and_wait
    yield "lent", set_up(sqsize=250) + rec(HOLD) + in_capsules(1) + rec(RELEASE)
    yield "lent-close", set_up(sqsize=250) + rec(HOLD) + in_capsules(1) + close_and_wait
    yield "lent-no-pages", pages_gone + in_capsules(1) + rec(RELEASE)
    yield "lent-digests", set_up(3, sqsize=250) + rec(HOLD) + in_capsules(1) + \
        io(1, 1, 8, cid=90, how=2, in_capsule=4096) + rec(RELEASE)
    yield "lent-after-r2t", plain + rec(HOLD) + io(1, 1, 8) + data(1) + io(1, 1, 8, cid=2) + data(1, 2) + \
        io(1, 1, 64, cid=3) + data(1, 4, struct.pack("<H", 4095)) + data(1) + rec(CLOSE, 1) + io(2, 1, 8) + data(2) + \
        rec(RELEASE)
    other = rec(CLOSE, 2) + rec(OPEN, 3) + rec(ICREQ, 3, b"\0\0")
    yield "parked", plain + other + rec(HOLD_ALL) + io(1, 2, 8) + rec(CLOSE, 0) + connect(3) + rec(RELEASE)
    yield "parked-too-long", plain + other + rec(HOLD_ALL) + rec(CLOSE, 0) + connect(3) + rec(TIME, body=b"\x37")
    yield "parked-and-gone", plain + other + rec(HOLD_ALL) + rec(CLOSE, 0) + connect(3) + rec(CLOSE, 3)
    yield "connect-and-gone", plain + rec(CLOSE, 2) + rec(CLOSE, 1) + rec(OPEN, 2) + rec(ICREQ, 2, b"\0\0") + \
        rec(HOLD_ALL) + connect(2, qid=1) + rec(CLOSE, 2) + rec(RELEASE)
    yield "connect-waits", plain + rec(CLOSE, 2) + rec(CLOSE, 1) + rec(OPEN, 2) + rec(ICREQ, 2, b"\0\0") + \
        rec(OPEN, 1) + rec(ICREQ, 1, b"\0\0") + rec(HOLD_ALL) + connect(2, qid=1) + connect(1, qid=2) + rec(RELEASE)
    yield "handshake-slow", plain + rec(CLOSE, 2) + rec(OPEN, 2) + rec(ICREQ, 2, b"\0\0") + rec(HOLD_ALL) + \
        connect(2, qid=2) + rec(TIME, body=b"\x50")
    yield "too-many-connections", plain + rec(OPEN, 3)
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
    again = rec(CLOSE, 1) + rec(OPEN, 1) + rec(ICREQ, 1, b"\0\0") + connect(1, qid=1)
    for name, value in (("shut-down", 0x00464001), ("disabled", 0), ("not-ready", 0x00460011)):
        yield f"connect-{name}", plain + rec(PROPERTY, 0, struct.pack("<BI", 2, 0)) + \
            rec(PROPERTY, 0, struct.pack("<BI", 2, value)) + again
    yield "too-many-controllers", b"".join(
        rec(OPEN, n) + rec(ICREQ, n, b"\0\0") + connect(n) for n in range(3))
    yield "another-host", plain + rec(CLOSE, 1) + rec(CLOSE, 2) + rec(OPEN, 2) + rec(ICREQ, 2, b"\0\0") + \
        rec(HOLD_ALL) + rec(CLOSE, 0) + connect(2, how=32) + rec(RELEASE)
    yield "another-name", plain + rec(CLOSE, 1) + rec(CLOSE, 2) + rec(OPEN, 2) + rec(ICREQ, 2, b"\0\0") + \
        rec(HOLD_ALL) + rec(CLOSE, 0) + connect(2, how=1) + rec(RELEASE)
    yield "abort-data", plain + io(1, 1, 8, cid=7) + command(0, 8, cdw=(1 | 7 << 16, 0, 0)) + data(1) + \
        command(0, 8, cdw=(99, 0, 0)) + command(0, 8, cdw=(200, 0, 0)) + command(0, 8, cdw=(0, 0, 0))
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


# --- conf ---------------------------------------------------------------------------------------------

SSD = 'ssds = ( { name = "a"; spec = "emulated:size=1G"; } );'
SUBSYSTEM = ('subsystems = ( { nqn = "nqn.2026-11.io:x"; allow_any_host = true; '
             'namespaces = ( { nsid = 1; ssd = "a"; } ); } );')


def conf_seeds():
    """Files with every key, and with what is wrong about some."""
    good = f'listen = ( "127.0.0.1:4420", "[::1]:0" );\n{SSD}\n{SUBSYSTEM}\n'
    yield "example", (CORPUS.parent.parent.parent / "nvmet.conf.example").read_bytes()
    texts = {
        "good": good,
        "limits": good + 'limits = { connections = 1; connections_per_host = 2; handshakes = 3; controllers = 4; '
                         'handshake_timeout = "1s"; pdu_timeout = "100ms"; term_timeout = "30s"; };',
        "top": good + 'workers = 3; control = "/run/c"; log_level = "debug"; dma_memory = "256M"; max_transfer = "64K";',
        "hosts": f'listen = ["[fe80::1%eth0]:1"]; {SSD} subsystems = ( {{ nqn = "nqn.a"; serial = "S"; model = "M"; '
                 'max_queues = 9; hosts = ( "nqn.b", "nqn.c" ); namespaces = ( { nsid = 2; ssd = "a"; ssd_nsid = 7; } ); } );',
        "ssd": 'ssds = ( { name = "a"; spec = "0000:01:00.0"; max_queues = 4; command_timeout = "2s"; }, { name = "b"; '
               'spec = "emulated:file=/f,size=1G,lba=4096,queues=3,depth=7,mdts=8K,namespaces=2,vectors=0,serial=x,'
               'dbbuf=1,fault.op=read,fault.error=3,fault.status=0x281,fault.delay=2,fault.delay_ms=5"; } );',
        "twice": good + "workers = 1; workers = 2;", "type": 'workers = "1"; listen = 5; ssds = true;',
        "unknown": "nonsense = { a = ( 1, 2.5, [ 0x10L ] ); };", "range": "workers = -1; dma_memory = 99999999999999999999;",
        "syntax": 'listen = ( "', "empty": "", "list": "ssds = ( ( 1 ), 2, { } ); subsystems = { };",
        "no-ssd": 'subsystems = ( { nqn = "nqn.a"; allow_any_host = true; namespaces = ( { nsid = 1; ssd = "z"; } ); } );',
    }
    for name, text in texts.items():
        yield name, text.encode()


# --- ctl ----------------------------------------------------------------------------------------------


def ctl_seeds():
    """Requests, whole and broken."""
    for name in ("status", "list", "counters", "nothing"):
        yield name, b'{"request": "%s"}\n' % name.encode()
    yield "many", b'{"request": "list"}\n' * 40
    yield "parts", b'{"requ\xffest": "sta\xfftus"}\n\xff{"request": "list"}\n'
    yield "idle", b'{"request": "list"}\n\xfe{"request": "list"}\n'
    yield "no-line", b"x" * 4200
    yield "broken", b'{\n[]\n"request"\n{"request": 1}\n{"request": null}\n\0\n\n{"request": "\\u0000"}\n'
    yield "deep", b"[" * 2100 + b"\n"


# --- fabrics ------------------------------------------------------------------------------------------


def sqe(queue, opcode, nsid=0, length=0, content=b"", in_capsule=False, cid=1, flags=0, **cdw):
    """A command of fuzz_fabrics with its data."""
    raw = struct.pack("<BBHI", opcode, flags, cid, nsid) + bytes(16) + struct.pack(
        "<QI3xB", 0, length or len(content), 0x01 if in_capsule else 0x5A) + struct.pack(
            "<6I", *(cdw.get(f"cdw{n}", 0) for n in range(10, 16)))
    return bytes([queue]) + raw + bytes([in_capsule]) + struct.pack("<H", len(content)) + content


def nqn_connect(queue, qid=0, subnqn="nqn.2026-11.io.nvmetd:fuzz", cntlid=1, hostnqn="nqn.h", sqsize=9, cattr=4, kato=0):
    """Connect, with all its data."""
    content = struct.pack("<16sH238x256s256s256x", b"\1", cntlid if qid else 0xFFFF, subnqn.encode(), hostnqn.encode())
    return sqe(queue, 0x7F, 1, 1024, content, True, cdw10=qid << 16, cdw11=sqsize | cattr << 16, cdw12=kato)


ENABLE = {"cdw11": 0x14, "cdw12": 0x460001}


def fabrics_seeds():
    """Each command, on a queue that takes it."""
    admin = nqn_connect(0) + sqe(0, 0x7F, 0, **ENABLE)
    queue = admin + nqn_connect(1, 1)
    disco = nqn_connect(0, subnqn="nqn.2014-08.org.nvmexpress.discovery") + sqe(0, 0x7F, 0, **ENABLE)
    yield "discovery", disco + b"".join(
        sqe(0, 2, length=4096, cdw10=0x70 | 1023 << 16, cdw12=at) for at in (0, 4, 1020, 1024, 2048, 4092, 5000))
    yield "discovery-high", disco + sqe(0, 2, length=4096, cdw10=0x70 | 1023 << 16, cdw12=0xFFFFFFFC, cdw13=0xFFFFFFFF)
    yield "connect-io", queue + nqn_connect(2, 1) + nqn_connect(2, 2) + nqn_connect(3, 3) + nqn_connect(3, 99)
    yield "connect-bad", b"".join([
        nqn_connect(0, subnqn=""), nqn_connect(0, hostnqn="x"), nqn_connect(0, subnqn="nqn.none"), nqn_connect(0, sqsize=0),
        nqn_connect(0, sqsize=5000), nqn_connect(0, 1), nqn_connect(0, subnqn="nqn.2026-11.io.nvmetd:closed")])
    yield "keep-alive", nqn_connect(0, kato=5000) + b"\x14\x30" + sqe(0, 0x18) + b"\x14\x60\x14\x60"
    yield "properties", admin + b"".join(
        sqe(0, 0x7F, 4, cdw10=size, cdw11=at) for at in (0, 8, 0x14, 0x1C, 0x20) for size in (0, 1))
    yield "io", queue + sqe(1, 1, 1, content=bytes(range(256)) * 2) + sqe(1, 2, 1, 512) + sqe(1, 5, 1, 512) + \
        sqe(1, 9, 1, 16) + sqe(1, 8, 1, cdw12=7) + sqe(1, 12, 1) + sqe(1, 0, 1) + sqe(1, 2, 1, 512, cdw10=0xFFFFFFFF)
    pair = sqe(1, 5, 1, content=bytes(512), flags=1) + sqe(1, 1, 1, content=bytes(512), flags=2)
    yield "fused", queue + pair * 2 + b"\x18" + pair + sqe(1, 2, 1, 512) + pair + b"\x11\x1c"
    yield "io-all", queue + b"".join(sqe(1, opcode, 1, content=bytes(4096), cdw12=7) for opcode in (1, 2, 4, 5, 9, 0xC, 0x19, 0x18))
    yield "copy", queue + sqe(1, 0x19, 1, content=struct.pack("<8xQI12x", 0, 7) * 2, cdw10=64, cdw12=1) + \
        sqe(1, 0x19, 1, content=struct.pack("<8xQI12x", 1 << 60, 7), cdw10=64)
    yield "held", queue + b"\x18" + sqe(1, 2, 1, 512) * 20 + sqe(0, 8, cdw10=1 | 1 << 16) + b"\x1c"
    yield "held-close", queue + b"\x18" + sqe(1, 2, 1, 512) * 3 + b"\x11\x10\x14\x05" + nqn_connect(0)
    yield "identify", admin + b"".join(sqe(0, 6, nsid, 4096, cdw10=cns) for cns in range(9) for nsid in (0, 1))
    yield "log-pages-long", admin + b"".join(sqe(0, 2, 0xFFFFFFFF, 16384, cdw10=lid | 4095 << 16) for lid in range(20))
    yield "log-pages-short", admin + b"".join(sqe(0, 2, 0xFFFFFFFF, 4, cdw10=lid, cdw12=at) for lid in range(14)
                                              for at in (0, 8, 508, 512))
    yield "log-pages", admin + b"".join(sqe(0, 2, 0xFFFFFFFF, 512, cdw10=lid | 127 << 16) for lid in range(20))
    yield "features", admin + b"".join(
        sqe(0, opcode, 1, cdw10=fid, cdw11=1) for fid in range(1, 18) for opcode in (9, 10))
    yield "capabilities", admin + b"".join(
        sqe(0, 10, 1, cdw10=fid | sel << 8) for fid in (5, 6, 7, 11, 15, 0x81) for sel in (1, 2, 3, 4, 7))
    yield "error-recovery", admin + b"".join(sqe(0, 10, nsid, cdw10=5) for nsid in (0, 1, 9, 0xFFFFFFFF))
    yield "aers", admin + sqe(0, 12) * 5 + sqe(0, 8, cdw10=1 << 16) + sqe(0, 0x7F, 0, cdw11=0x14, cdw12=0x460000)
    yield "auth", admin + sqe(0, 0x7F, 5, content=bytes(64), cdw10=0x01010000, cdw11=64) + \
        sqe(0, 0x7F, 6, 64, cdw10=0x01010000, cdw11=64)
    for turn in (0x20, 0x40, 0x60):
        late = bytes([1 | turn])
        yield f"turns-{turn:x}", queue + (late + sqe(1, 2, 1, 512)[1:]) * 3 + bytes([0x10 | turn, 0x20, 0x40]) + \
            nqn_connect(0) + bytes([turn]) + nqn_connect(0)[1:]
    yield "disconnect", queue + sqe(1, 0x7F, 8) + sqe(1, 2, 1, 512)


# --- auth ---------------------------------------------------------------------------------------------

NEGOTIATE, RECEIVE, REPLY, SUCCESS2, FAILURE2, RAW_MESSAGE, PAUSE, OTHER, RIGHT, HANG_UP = range(10)
ALL, NO_CHANGE = 0x1F, b"\0"


def negotiate(offer=ALL, sc_c=0, changes=NO_CHANGE):
    """Hashes and groups of `offer`."""
    return bytes([NEGOTIATE, sc_c, offer]) + changes


def reply(flags=0, changes=NO_CHANGE):
    """To the challenge that was received."""
    return bytes([REPLY, flags]) + changes


def changed(*changes, length=b"\0"):
    """(offset, XOR) of at most three bytes; `length`: how it changes, and by how much."""
    how = len(changes) | (length[0] << 2)
    return bytes([how]) + b"".join(struct.pack("<HB", *change) for change in changes) + length[1:]


def auth_seeds():
    """Right ones of each kind, and one wrong thing at each step."""
    receive, other, success2 = b"\1\0\0", bytes([OTHER, 0]), bytes([SUCCESS2]) + NO_CHANGE
    yield "right", b"".join(other + bytes([RIGHT, flags]) + other for flags in (0, 1, 8, 9))
    yield "again", bytes([RIGHT, 0]) + negotiate() + receive + reply(4) + receive + other + b"\x06\x0b" + other
    for offer in (0x09, 0x0A, 0x0C, 0x11, 0x12, 0x14, 0x08, 0x01, 0x00):
        yield f"offer-{offer:02x}", negotiate(offer) + receive + reply(1) + receive + success2 + other
    for sc_c in (1, 2, 3, 4):
        yield f"concat-{sc_c}", negotiate(sc_c=sc_c) + receive + reply(1) + receive + success2 + other
        yield f"concat-{sc_c}-alone", negotiate(sc_c=sc_c) + receive + reply(0) + receive + other
        yield f"concat-{sc_c}-silent", negotiate(sc_c=sc_c) + receive + reply(3) + receive + other
    yield "wrong-key", negotiate() + receive + reply(4) + receive + other + negotiate() + receive
    yield "other-order", receive + reply() + success2 + negotiate() + reply() + receive + receive + success2 + other
    yield "early", negotiate() + receive + success2 + other
    yield "refused", negotiate() + receive + reply(1) + receive + bytes([FAILURE2]) + NO_CHANGE + receive + other
    yield "slow", negotiate() + b"\x06\xff" * 3 + receive
    yield "no-room", negotiate() + b"\1\x10\0" + receive + reply(1) + b"\1\x08\0" + receive
    yield "two", bytes([RIGHT, 0, RIGHT | 16, 1, OTHER, 0, OTHER | 16, 0, HANG_UP, OTHER | 16, 1])
    for at in (0, 1, 4, 6, 7, 8, 10, 11, 12, 42):
        yield f"negotiate-{at}", negotiate(changes=changed((at, 0x21))) + receive + reply() + receive + other
    for at in (0, 1, 4, 6, 8, 10, 12, 16, 70, 120):
        yield f"reply-{at}", negotiate() + receive + reply(1, changed((at, 0x01))) + receive + success2 + other
    for length in (b"\1\1", b"\1\x20", b"\2\x40"):
        yield f"length-{length.hex()}", negotiate() + receive + reply(1, changed(length=length)) + receive + other
    yield "raw", bytes([RAW_MESSAGE]) + struct.pack("<H", 8) + bytes(8) + receive + bytes([RAW_MESSAGE, 1, 0, 0])


# --- ssd ----------------------------------------------------------------------------------------------

def ssd_seeds():
    """One lie each, at every step of bring-up and use; and what Identify can lie about."""
    def at(step, *lie):
        return bytes(8) + bytes(step) + b"".join(lie)
    lies = {"cid": [b"\x01\x05\x00"], "status": [b"\x02\x04\x00"], "dw0": [b"\x03\xff\xff\xff\xff"], "lost": [b"\x05"],
            "twice": [b"\x06"], "phase": [b"\x07"], "later": [b"\x08"], "cfs": [b"\x09\x02\0\0\0"], "gone": [b"\x0a"],
            "event": [b"\x0b\x01\x01\x02\x00"], "other": [b"\x0c\x03\x00\x01"], "fill": [b"\x0d\x00\x00\xff\xff\xff"]}
    yield "truth", bytes(8)
    for name, lie in lies.items():
        for step in (0, 1, 2, 3, 4, 6, 8, 12, 20, 30):
            yield f"{name}-{step}", at(step, *lie)
    for bit in (0, 4, 16, 24, 32, 37, 48, 52):
        yield f"cap-{bit}", (1 << bit).to_bytes(8, "little")

    def patch(offset, value):
        return b"\x04" + struct.pack("<HB", offset, len(value)) + value
    # Where in the host's life: 13 and 14 are its Identify Namespace, 18 its first read or write.
    fused = patch(524, b"\x01\x00")
    yield "fused", at(0, fused)
    yield "fused-without-compare", at(0, b"\x14" + fused[1:] + patch(520, b"\0\0")[1:])
    yield "fused-atomic", at(0, fused, bytes(3), patch(24, b"\x02"))
    yield "identifiers", at(4, patch(104, b"\x99" * 16), b"\0", patch(120, b"\x88" * 8))
    yield "descriptors-all", at(5, patch(0, b"\x02\x10\0\0" + b"\x66" * 16 + b"\x01\x08\0\0"),
                                b"\0", patch(0, b"\x03\x10\0\0" + bytes(16)))
    yield "descriptors-zero", at(5, patch(0, b"\x03\x10\0\0" + bytes(16)), b"\0",
                                 patch(0, b"\x02\x10\0\0" + bytes(16)))
    for name, change in (("shrinks", patch(0, b"\x10\0\0\0\0\0\0\0")), ("reformatted", patch(130, b"\x0c")),
                         ("metadata-later", patch(128, b"\x08\0")), ("nlbaf-later", patch(25, b"\x01\x01")),
                         ("ncap", patch(8, b"\x10\0\0\0\0\0\0\0"))):
        yield name, at(13, change, change)
        # The SSD tells of it: log page, list, then each namespace and its descriptors.
        yield f"{name}-told", at(18, b"\x0b\x02\x00\x04\x00", bytes(3), change, b"\0", change)
        yield f"{name}-told-early", at(15, b"\x0b\x02\x00\x04\x00", bytes(2), change, b"\0", change)
    for name, content in (("gone", b"\0" * 8), ("other", b"\x07\0\0\0"), ("one", b"\x02\0\0\0\0\0\0\0"),
                          ("more", b"\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0")):
        for before in (1, 2, 3):
            yield f"list-{name}-{before}", at(18, b"\x0b\x02\x00\x04\x00", bytes(before), patch(0, content))
    yield "other-identity", at(18, b"\x0b\x02\x00\x04\x00", bytes(4), patch(4, b"\x12"))
    yield "cap-one-entry", (63 ^ 1).to_bytes(8, "little")
    yield "cap-two-entries", (63 ^ 2).to_bytes(8, "little")
    yield "mdts-1", at(0, patch(77, b"\x01"))
    yield "mdts-31", at(0, patch(77, b"\x1f"))
    yield "discovery-controller", at(0, patch(111, b"\x02"))
    yield "oncs-0", at(0, patch(520, b"\0\0"))
    yield "no-such-format", at(4, patch(26, b"\x6f"))
    yield "nlbaf", at(4, patch(25, b"\xff\xff"))
    yield "metadata", at(4, patch(128, b"\x08\x00\x0c\x00"))
    yield "nsze-huge", at(4, patch(0, b"\xff" * 8))
    yield "nsze-0", at(4, patch(0, bytes(8)))
    yield "lbads-64", at(4, patch(130, b"\x40"))
    yield "descriptor-long", at(5, patch(1, b"\xff"))
    yield "descriptors", at(5, patch(0, b"\x02\x10\0\0"), b"")
    yield "many-namespaces", at(3, b"\x0d\x00\x00\x00\x10\x05")


# --- all ----------------------------------------------------------------------------------------------

SEEDS = {"auth": auth_seeds, "conf": conf_seeds, "conn": conn_seeds, "ctl": ctl_seeds,
         "fabrics": fabrics_seeds, "ssd": ssd_seeds}


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
