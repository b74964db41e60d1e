# SPDX-License-Identifier: BSD-3-Clause
"""When DMA pages run out: whoever must wait waits, and nobody waits for ever for what cannot come."""

import socket
import time

import pytest

from daemon import NQN
from nvmetcp import DISCOVERY_NQN, Host, Queue, io_fields, read, write

SMALL = ("--listen", "127.0.0.1:0", "--nqn", NQN, "--dma-memory", "16M")
MIB = 1 << 20


def config(tmp_path, spec, patience):
    """The smallest pool, and so long for a host to go on with what it began; the first such time is the handshake's."""
    path = tmp_path / "nvmet.conf"
    path.write_text(f"""
listen = ( "127.0.0.1:0" );
dma_memory = "16M";
limits = {{ handshake_timeout = "4s"; pdu_timeout = "{patience}"; }};
ssds = ( {{ name = "a"; spec = "emulated:{spec}"; }} );
subsystems = ( {{ nqn = "{NQN}"; allow_any_host = true; namespaces = ( {{ nsid = 1; ssd = "a"; }} ); }} );
""")
    return path


def write_without_data(queue, slba, data):
    """Starts a write; its R2T will not be answered."""
    command = queue.start(1, nsid=1, write=data, **io_fields(slba, len(data) // 512))
    command.auto = False
    return command


def pump_until_quiet(queue, seconds=0.5):
    """Takes what comes until nothing comes any more."""
    queue.conn.sock.settimeout(seconds)
    try:
        while True:
            queue.pump()
    except socket.timeout:
        queue.conn.sock.settimeout(60)


@pytest.mark.parametrize("size", [512, 8192])
def test_capsule_before_data_that_was_asked_for(start, size):
    """Writes that have their R2T hold the pages; an in-capsule write comes before their data."""
    daemon = start("--ssd", "emulated:size=64M", *SMALL)
    with Host(daemon.address, NQN) as host:
        queue = host.io[0]
        large = [write_without_data(queue, index * 2048, bytes([index + 1]) * MIB)
                 for index in range(32)]
        pump_until_quiet(queue)
        granted = [command for command in large if command.ttag is not None]
        assert 0 < len(granted) < len(large)
        small = [queue.start(1, nsid=1, write=bytes([200 + index]) * size, inline=True,
                             **io_fields(100000 + index * 16, size // 512)) for index in range(20)]
        for command in large:
            command.auto = True
        for command in granted:
            queue.send_data(command, MIB)
        queue.wait(*large, *small)
        assert {command.cqe.status for command in large + small} == {0}
        for index in range(20):
            assert read(queue, 100000 + index * 16, size // 512) == bytes([200 + index]) * size
        assert read(queue, 31 * 2048, 2048) == bytes([32]) * MIB
    daemon.expect_clean()


@pytest.mark.parametrize("queues", [1, 2, 5])
def test_queues_that_do_not_read(start, queues):
    """However many: another host gets pages for what it does (those of the largest commands may be
    gone, until pdu_timeout ends who does not read)."""
    daemon = start("--ssd", "emulated:size=64M", *SMALL)
    with Host(daemon.address, NQN, queues=queues) as slow, \
            Host(daemon.address, NQN, hostid=b"\2" * 16) as modest:
        for queue in slow.io:
            for _ in range(40):
                queue.start(2, nsid=1, read=MIB, **io_fields(0, 2048))
        time.sleep(0.3)
        for index in range(10):
            for size in (512, 8192, 65536):
                data = bytes([index]) * size
                write(modest.io[0], 2048, data)
                assert read(modest.io[0], 2048, size // 512) == data
    daemon.expect_clean()


def test_discovery_that_does_not_read(start):
    """Anybody may connect to it: all such connections together have a small part of the pages."""
    daemon = start("--ssd", "emulated:size=64M", *SMALL)
    numd = (64 << 10) // 4 - 1
    queues = [Queue(daemon.address).connect(DISCOVERY_NQN, entries=128, hostid=bytes([index + 1]) * 16)
              for index in range(16)]
    for queue in queues:
        queue.property_set(0x14, 0x00460001)
        for _ in range(100):
            queue.start(2, nsid=0xFFFFFFFF, read=64 << 10, cdw10=0x70 | numd << 16)
    with Host(daemon.address, NQN) as host:
        for size in (512, 8192, 65536, MIB):
            assert len(read(host.io[0], 2048, size // 512)) == size
        end = time.monotonic() + 60
        while daemon.counters()["dma_pages_used"] >= 300:  # of 3072; those of the last read go when its worker says so
            assert time.monotonic() < end, "too many pages for discovery"
    for queue in queues:
        queue.conn.close()
    daemon.expect_clean()


def test_discovery_log_is_read_in_pieces(target):
    """MDTS is 64 KiB, and more is refused."""
    with Host(target.address, DISCOVERY_NQN, queues=0) as host:
        assert host.identify(1)[77] == 4
        assert len(host.log_page(0x70, 64 << 10)) == 64 << 10
        size = (64 << 10) + 4
        assert host.admin.status(2, nsid=0xFFFFFFFF, read=size, cdw10=0x70 | (size // 4 - 1 & 0xFFFF) << 16) == 2


def test_one_host_that_does_not_read(start):
    """By however many connections: another host, from another address, gets pages for anything."""
    daemon = start("--ssd", "emulated:size=64M,queues=32", *SMALL)
    with Host(daemon.address, NQN, queues=24, source="127.0.0.2") as slow:
        for queue in slow.io:
            for _ in range(16):
                queue.start(2, nsid=1, read=MIB, **io_fields(0, 2048))
        with Host(daemon.address, NQN, hostid=b"\2" * 16) as modest:
            for _ in range(10):
                for size in (512, 65536, MIB):
                    assert len(read(modest.io[0], 2048, size // 512)) == size
    daemon.expect_clean()


def test_a_host_that_never_reads(start, tmp_path):
    """Answers that nobody takes: after pdu_timeout the connection ends."""
    target = start("-c", config(tmp_path, "size=64M", "1s"))
    with Host(target.address, NQN) as host:
        for _ in range(40):
            host.io[0].start(2, nsid=1, read=MIB, **io_fields(0, 2048))
        end = time.monotonic() + 60
        while "it does not read what it is sent" not in target.log():
            assert time.monotonic() < end, "it is still connected"
            time.sleep(0.1)
        while target.counters()["dma_pages_used"]:
            assert time.monotonic() < end, "its pages are still held"
            time.sleep(0.1)


def test_a_host_that_reads_slowly(start, tmp_path):
    """Some bytes in every pdu_timeout are enough."""
    daemon = start("-c", config(tmp_path, "size=64M", "4s"))
    with Host(daemon.address, NQN) as host:
        queue = host.io[0]
        commands = [queue.start(2, nsid=1, read=MIB, **io_fields(0, 2048)) for _ in range(24)]
        for _ in range(6):
            time.sleep(1.5)
            queue.wait(commands.pop(0))
            queue.wait(commands.pop(0))
        queue.wait(*commands)


def test_waiting_for_pages_is_not_the_hosts_fault(start, tmp_path):
    """A slow SSD holds all pages for longer than pdu_timeout; a write's data is behind a capsule that
    waits for some. The connection lives."""
    spec = "size=64M,fault.op=write,fault.delay=1,fault.delay_ms=6000"
    daemon = start("-c", config(tmp_path, spec, "4s"))
    with Host(daemon.address, NQN, queues=2, entries=1000) as host:
        one, two = host.io
        held = write_without_data(one, 0, b"\1" * 16384)
        while held.ttag is None:
            one.pump()
        commands = [(queue, queue.start(1, nsid=1, write=bytes(8192), inline=True,
                                        **io_fields(4096 + index * 16, 16)))
                    for queue in (two, one) for index in range(900)]
        one.send_data(held, 16384)
        for queue, command in commands:
            assert queue.wait(command).status == 0
        assert one.wait(held).status == 0
        assert daemon.counters()["page_waits"] > 0
    daemon.expect_clean()
