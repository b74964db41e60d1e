# SPDX-License-Identifier: BSD-3-Clause
"""Reads and writes on the emulated SSD: every way that data can move, and that it stays what it is."""

import os
import random
import struct
import time

import pytest

from daemon import BUILD, NQN
from nvmetcp import Host, io_fields, read, write

FUA = 1 << 30


def pattern(size, seed=1):
    """Bytes that tell where they belong."""
    return random.Random(seed).randbytes(size)


@pytest.mark.parametrize("size", [512, 4096, 8192, 8704, 65536, 262144, 1048576])
@pytest.mark.parametrize("flow", [True, False], ids=["sqfc", "no-sqfc"])
def test_round_trip(target, size, flow):
    """In-capsule and R2T writes, with and without SQ flow control."""
    with Host(target.address, NQN, no_flow_control=not flow) as host:
        data = pattern(size)
        write(host.io[0], 100, data)
        assert read(host.io[0], 100, size // 512) == data


@pytest.mark.parametrize("size", [512, 8192])
def test_write_by_r2t_though_it_would_fit(host, size):
    """A host may use R2T for small writes too."""
    data = pattern(size, 2)
    write(host.io[0], 7, data, inline=False)
    assert read(host.io[0], 7, size // 512) == data


@pytest.mark.parametrize("digests", [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("hpda", [0, 1, 31])
def test_digests_and_alignment(target, digests, hpda):
    """Digests are right in both directions; C2HData is padded as the host asked."""
    with Host(target.address, NQN, hdgst=digests[0], ddgst=digests[1], hpda=hpda) as host:
        for size in (512, 8192, 20480):
            data = pattern(size, size)
            write(host.io[0], 50, data)
            assert read(host.io[0], 50, size // 512) == data


def test_ipv6(target):
    """The same over IPv6."""
    with Host(target.addresses[1], NQN) as host:
        write(host.io[0], 3, pattern(4096, 3))
        assert read(host.io[0], 3, 8) == pattern(4096, 3)


def test_large_write_in_parts(host):
    """An R2T for more than MAXH2CDATA is answered with several PDUs."""
    assert host.io[0].conn.maxh2cdata < 1 << 20
    data = pattern(1 << 20, 4)
    write(host.io[0], 0, data, inline=False)
    assert read(host.io[0], 0, 2048) == data


def test_interleaved_writes(host):
    """Two writes PDU by PDU."""
    queue = host.io[0]
    one, two = pattern(16384, 5), pattern(16384, 6)
    a = queue.start(1, nsid=1, write=one, **io_fields(0, 32))
    b = queue.start(1, nsid=1, write=two, **io_fields(64, 32))
    a.auto = b.auto = False
    while a.ttag is None or b.ttag is None:
        queue.pump()
    for offset in range(0, 16384, 4096):
        last = offset == 12288
        queue.conn.h2c(a.cid, a.ttag, offset, one[offset:offset + 4096], last)
        queue.conn.h2c(b.cid, b.ttag, offset, two[offset:offset + 4096], last)
    assert queue.wait(a, b).status == 0 and a.cqe.status == 0
    assert read(queue, 0, 32) == one and read(queue, 64, 32) == two


def test_one_byte_per_segment(host):
    """A stream may be cut anywhere."""
    queue = host.io[0]
    send = queue.conn.sock.sendall
    data = pattern(512, 7)

    def drip(_, raw):
        for index in range(len(raw)):
            send(raw[index:index + 1])

    queue.conn.send = drip.__get__(queue.conn)
    write(queue, 9, data)
    assert read(queue, 9, 1) == data


def test_many_pdus_in_one_segment(host):
    """64 commands in one send."""
    queue = host.io[0]
    write(queue, 0, pattern(32768, 8), inline=False)
    sent = []
    queue.conn.send = sent.append
    commands = [queue.start(2, nsid=1, read=512, **io_fields(index, 1)) for index in range(64)]
    del queue.conn.send
    queue.conn.send(b"".join(sent))
    queue.wait(*commands)
    assert b"".join(command.data for command in commands) == pattern(32768, 8)


def test_random_commands_on_several_queues(target):
    """Four queues, each with 32 commands under way, on areas of their own; all of it is read back."""
    rng = random.Random(9)
    with Host(target.address, NQN, queues=4) as host:
        expected = {}
        for base, queue in enumerate(host.io):
            pending = []
            for _ in range(60):
                blocks = rng.choice((1, 3, 8, 16, 33, 128))
                slba = base * 8192 + rng.randrange(0, 60) * 128
                data = rng.randbytes(blocks * 512)
                if len(pending) == 32 or slba in [other for other, _ in pending]:
                    queue.wait(*(command for _, command in pending))
                    pending = []
                expected[slba] = data + expected.get(slba, b"")[len(data):]
                pending.append((slba, queue.start(1, nsid=1, write=data, inline=len(data) <= 8192,
                                                  **io_fields(slba, blocks))))
            queue.wait(*(command for _, command in pending))
        for slba, data in expected.items():
            assert read(host.io[0], slba, len(data) // 512) == data


def test_namespaces_are_apart(host):
    """NSID 5 is another part of the SSD than NSID 1."""
    write(host.io[0], 0, b"\1" * 512, nsid=1)
    write(host.io[0], 0, b"\5" * 512, nsid=5)
    assert read(host.io[0], 0, 1, nsid=1) == b"\1" * 512
    assert read(host.io[0], 0, 1, nsid=5) == b"\5" * 512


def test_fua_and_flush(host):
    """FUA is accepted; Flush succeeds."""
    write(host.io[0], 1, pattern(512), flags=FUA)
    assert host.io[0].status(0, nsid=1) == 0


def test_compare(host):
    """Equal: success; different: 2/85h."""
    write(host.io[0], 20, pattern(4096, 11))
    assert host.io[0].status(5, nsid=1, write=pattern(4096, 11), **io_fields(20, 8)) == 0
    assert host.io[0].status(5, nsid=1, write=pattern(4096, 12), inline=True,
                             **io_fields(20, 8)) == 0x285


def test_write_zeroes_and_deallocate(host):
    """Both leave zeroes, and nothing else."""
    queue = host.io[0]
    write(queue, 0, b"\xff" * 32768, inline=False)
    queue.run(8, nsid=1, **io_fields(3, 5))
    queue.run(9, nsid=1, write=struct.pack("<IIQIIQ", 0, 2, 16, 0, 9, 40), inline=True,
              cdw10=1, cdw11=4)
    expected = bytearray(b"\xff" * 32768)
    for first, blocks in ((3, 5), (16, 2), (40, 9)):
        expected[first * 512:(first + blocks) * 512] = bytes(blocks * 512)
    assert read(queue, 0, 64) == bytes(expected)


def test_dsm_with_a_whole_page(host):
    """Linux sends all 256 ranges and uses one."""
    write(host.io[0], 8, b"\xff" * 512)
    ranges = struct.pack("<IIQ", 0, 1, 8).ljust(4096, b"\0")
    host.io[0].run(9, nsid=1, write=ranges, inline=True, cdw10=0, cdw11=4)
    assert read(host.io[0], 8, 1) == bytes(512)


def test_verify(host):
    """Within the namespace: success."""
    assert host.io[0].status(12, nsid=1, **io_fields(0, 8)) == 0


@pytest.mark.parametrize("opcode", [1, 2, 5, 8, 12])
@pytest.mark.parametrize("slba", [65536, 65535, (1 << 64) - 1, 1 << 63])
def test_beyond_the_end(host, opcode, slba):
    """LBA Out of Range, without wrapping. A namespace here has 65536 blocks."""
    data = {1: {"write": bytes(1024)}, 5: {"write": bytes(1024)}, 2: {"read": 1024}}.get(opcode, {})
    assert host.io[0].status(opcode, nsid=1, **data, **io_fields(slba, 2)) == 0x080


@pytest.mark.parametrize("lba", [512, 4096])
@pytest.mark.parametrize("queues", [1, 4])
def test_file(start, tmp_path, lba, queues):
    """On a file: the bytes are in the file, and there after a restart; discards punch holes."""
    path = tmp_path / "disk"
    spec = f"emulated:file={path},size=64M,lba={lba}"
    daemon = start("--ssd", spec, "--listen", "127.0.0.1:0", "--nqn", NQN)
    data = pattern(65536, lba)
    with Host(daemon.address, NQN, queues=queues) as host:
        blocks = 65536 // lba
        for index, queue in enumerate(host.io):
            write(queue, index * blocks, data, size=lba)
            assert read(queue, index * blocks, blocks, size=lba) == data
            assert queue.status(5, nsid=1, write=data, **io_fields(index * blocks, blocks)) == 0
        assert host.io[0].status(5, nsid=1, write=bytes(65536), **io_fields(0, blocks)) == 0x285
        write(host.io[0], 1000, data[:lba], size=lba, flags=FUA)
        assert host.io[0].status(0, nsid=1) == 0
        host.io[0].run(8, nsid=1, **io_fields(1, 1))
        host.io[0].run(9, nsid=1, write=struct.pack("<IIQIIQ", 0, 1, 3, 0, 1, 5), inline=True,
                       cdw10=1, cdw11=4)
        identity = host.identify(3, 1)
    daemon.expect_clean()
    daemon.stop()
    expected = bytearray(data)
    for block in (1, 3, 5):
        expected[block * lba:(block + 1) * lba] = bytes(lba)
    assert path.read_bytes()[:65536] == bytes(expected)
    daemon = start("--ssd", spec, "--listen", "127.0.0.1:0", "--nqn", NQN)
    with Host(daemon.address, NQN) as host:
        assert read(host.io[0], 0, blocks, size=lba) == bytes(expected)
        assert host.identify(3, 1) == identity


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a process another /etc/machine-id")
def test_machines_differ(start, tmp_path, monkeypatch):
    """A host may use SSDs of the same names on two machines: they are not two paths to one; a serial makes them so."""
    (tmp_path / "nvmetd").write_text(f"""#!/bin/sh
exec unshare -m sh -c 'mount --bind {tmp_path}/id /etc/machine-id && exec "$@"' - {BUILD}/nvmetd "$@"
""")
    (tmp_path / "nvmetd").chmod(0o755)
    monkeypatch.setattr("daemon.BUILD", tmp_path)
    for spec, same in ("", False), (f",file={tmp_path}/disk", False), (f",file={tmp_path}/disk,serial=S", True):
        seen = []
        for machine in "1" * 32, "2" * 32:
            (tmp_path / "id").write_text(machine + "\n")
            one = start("--ssd", f"emulated:size=1M{spec}", "--listen", "127.0.0.1:0", "--nqn", NQN)
            with Host(one.address, NQN) as host:
                seen.append(host.identify(3, 1))
            one.stop()
        assert (seen[0] == seen[1]) == same


def test_small_mdts(start):
    """What the SSD cannot take at once is refused, and Identify says so."""
    daemon = start("--ssd", "emulated:size=16M,mdts=8K", "--listen", "127.0.0.1:0", "--nqn", NQN)
    with Host(daemon.address, NQN) as host:
        assert host.identify(1)[77] == 1
        assert read(host.io[0], 0, 16) == bytes(8192)
        assert host.io[0].status(2, nsid=1, read=8704, **io_fields(0, 17)) == 0x002
        assert host.io[0].status(1, nsid=1, write=bytes(8704), **io_fields(0, 17)) == 0x002


@pytest.mark.parametrize("keys", ["vectors=0", "vectors=1", "dbbuf=1", "queues=1", "depth=4",
                                  "queues=2,depth=8,dbbuf=1"])
def test_shapes_of_ssd(start, keys):
    """Polled, one vector, shadow doorbells, one shared queue pair, short rings: data is the same."""
    daemon = start("--ssd", f"emulated:size=64M,{keys}", "--listen", "127.0.0.1:0", "--nqn", NQN,
                   "--workers", "2")
    entries = 4 if "depth=4" in keys else 8
    with Host(daemon.address, NQN, queues=1, entries=min(entries, 3)) as one, \
            Host(daemon.address, NQN, queues=1, entries=min(entries, 3)) as two:
        for index, host in enumerate((one, two)):
            write(host.io[0], index * 512, pattern(131072, index))
        for index, host in enumerate((one, two)):
            assert read(host.io[0], index * 512, 256) == pattern(131072, index)
    daemon.expect_clean()


def test_fewer_pages_than_hosts_want(start):
    """The smallest pool: commands wait for pages, none fails."""
    daemon = start("--ssd", "emulated:size=64M", "--listen", "127.0.0.1:0", "--nqn", NQN,
                   "--dma-memory", "16M")
    data = pattern(1 << 20, 13)
    with Host(daemon.address, NQN, queues=2) as host:
        commands = []
        for queue in host.io:
            queue.conn.sock.settimeout(30)
            commands += [(queue, queue.start(1, nsid=1, write=data,
                                             **io_fields(index * 2048, 2048)))
                         for index in range(20)]
        for queue, command in commands:
            assert queue.wait(command).status == 0
        commands = [(queue, queue.start(2, nsid=1, read=1 << 20, **io_fields(0, 2048)))
                    for queue in host.io for _ in range(20)]
        for queue, command in commands:
            queue.wait(command)
            assert command.data == data
    assert daemon.counters()["page_waits"] > 0
    daemon.expect_clean()


def test_in_capsule_data_waits_for_pages(start):
    """Slow reader takes its share; another host's in-capsule writes go on."""
    daemon = start("--ssd", "emulated:size=64M", "--listen", "127.0.0.1:0", "--nqn", NQN,
                   "--dma-memory", "16M")
    with Host(daemon.address, NQN) as slow, Host(daemon.address, NQN) as modest:
        for _ in range(40):
            slow.io[0].start(2, nsid=1, read=1 << 20, **io_fields(0, 2048))
        time.sleep(0.3)
        for index in range(50):
            write(modest.io[0], index, pattern(512, index))
            assert read(modest.io[0], index, 1) == pattern(512, index)
    daemon.expect_clean()


def test_injected_errors(start):
    """The SSD's status reaches the host, and the host's error log."""
    daemon = start("--ssd", "emulated:size=64M,fault.op=read,fault.error=3,fault.status=0x281",
                   "--listen", "127.0.0.1:0", "--nqn", NQN)
    with Host(daemon.address, NQN) as host:
        codes = [host.io[0].status(2, nsid=1, read=512, **io_fields(7, 1)) for _ in range(9)]
        assert codes == [0, 0, 0x281] * 3
        count, sqid, _, status, _, lba, nsid = struct.unpack_from("<QHHHHQI", host.log_page(1, 64))
        assert (count, sqid, status >> 1 & 0x7FF, lba, nsid) == (3, 1, 0x281, 7, 1)


def test_delays_and_unknown_cids(start):
    """Late completions and completions nobody asked for."""
    daemon = start("--ssd", "emulated:size=64M,fault.delay=2,fault.delay_ms=50,fault.unknown_cid=3",
                   "--listen", "127.0.0.1:0", "--nqn", NQN)
    with Host(daemon.address, NQN) as host:
        begin = time.monotonic()
        for index in range(12):
            write(host.io[0], index, pattern(512, index))
        assert time.monotonic() - begin > 0.29
        for index in range(12):
            assert read(host.io[0], index, 1) == pattern(512, index)
        assert daemon.counters()["unknown_cids"] >= 4
    daemon.expect_clean()
