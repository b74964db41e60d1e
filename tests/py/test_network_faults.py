# SPDX-License-Identifier: BSD-3-Clause
"""Connections that end in every way, hosts that come back all at once, a system that has nothing left: no
acknowledged write is lost, and none that was given up appears on top of a newer one."""

import contextlib
import ctypes
import re
import resource
import select
import socket
import struct
import threading
import time

import pytest

from daemon import NQN
from nvmetcp import CMD, Closed, Host, Status, block, io_fields, read, sqe, write

SO_ATTACH_FILTER = 26
BASE = 4096  # first block used here


def io_queue(host, qid):
    """I/O queue `qid`, once the target has taken apart the one that had this number before."""
    end = time.monotonic() + 60
    while True:
        try:
            return host.queue(qid)
        except (Status, Closed):
            assert time.monotonic() < end
            time.sleep(0.01)


def positions(header, size):
    """Every byte of the header, and every 37th of the data."""
    return [*range(1, header + 1), *range(header + 1, size, 37), size - 1]


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
@pytest.mark.parametrize("way", ["capsule", "r2t"])
def test_write_cut_at_every_byte(target, way, reset):
    """A write of which something is missing is never done; a newer one stays."""
    header = 72 if way == "capsule" else 24
    with Host(target.address, NQN, queues=0) as host:
        host.set_queues(8)
        steady = io_queue(host, 1)
        host.io.append(steady)
        for number, cut in enumerate(positions(header, header + 512)):
            lba = BASE + number
            write(steady, lba, block(lba, 1))
            queue = io_queue(host, 2 + number % 6)
            if way == "capsule":
                raw = queue.conn.build(CMD, sqe(1, 7, 1, (0, 512, 1), **io_fields(lba, 1)), block(lba, 2))
            else:
                command = queue.start(1, nsid=1, write=block(lba, 2), **io_fields(lba, 1))
                command.auto = False
                while command.ttag is None:
                    queue.pump()
                body = struct.pack("<HHII4x", command.cid, command.ttag, 0, 512)
                raw = queue.conn.build(6, body, block(lba, 2), 4)
            queue.conn.send(raw[:cut])
            if reset:
                queue.conn.abort()
            else:
                queue.conn.close()
            assert read(steady, lba, 1) == block(lba, 1)
            if number % 3 == 0:
                write(steady, lba, block(lba, 3))
        for number in range(len(positions(header, header + 512))):
            lba = BASE + number
            assert read(steady, lba, 1) == block(lba, 3 if number % 3 == 0 else 1)


def test_write_cut_before_its_answer(target):
    """All of it is sent, nobody hears the answer: done or not, but not after a newer one."""
    with Host(target.address, NQN, queues=0) as host:
        host.set_queues(8)
        host.io.append(io_queue(host, 1))
        for number in range(60):
            lba = BASE + number
            write(host.io[0], lba, block(lba, 1))
            queue = io_queue(host, 2 + number % 6)
            queue.start(1, nsid=1, write=block(lba, 2), inline=True, **io_fields(lba, 1))
            queue.conn.abort()
            queue = io_queue(host, 2 + number % 6)  # waits for the end of the old one
            found = read(queue, lba, 1)
            assert found in (block(lba, 1), block(lba, 2))
            write(queue, lba, block(lba, 3))
            queue.conn.close()
            assert read(host.io[0], lba, 1) == block(lba, 3)


def worker_of(daemon, queue):
    """The worker that has this queue's connection, as the log says."""
    host, port = queue.conn.sock.getsockname()
    line = next(line for line in daemon.log().splitlines() if f"{host}:{port}: queue" in line)
    return line.rpartition(", ")[2].rstrip(")")


def wait_connections(daemon, number):
    """Until there are as many."""
    end = time.monotonic() + 60
    while daemon.counters()["connections"] != number:
        assert time.monotonic() < end, f"not {number} connections: {daemon.counters()}"
        time.sleep(0.01)


def fill_pages(daemon, queue):
    """Writes to an SSD that is away, until the connection has its share of the pages; then those in capsules, one of
    which may have more than that, until one has to wait, so that nothing is read any more."""
    end = time.monotonic() + 60
    large = queue.start(1, nsid=2, write=bytes(1 << 20), **io_fields(0, 2048))
    while not daemon.counters()["page_waits"]:
        assert time.monotonic() < end, "its pages do not run out"
        if large.sent == 1 << 20:
            large = queue.start(1, nsid=2, write=bytes(1 << 20), **io_fields(0, 2048))
        while large.sent < 1 << 20 and select.select([queue.conn.sock], [], [], 0.01)[0]:
            queue.pump()
    for _ in range(100):
        before = daemon.counters()["requests"]
        queue.start(1, nsid=2, write=bytes(8192), inline=True, **io_fields(0, 16))
        while (now := daemon.counters())["requests"] == before and now["page_waits"] < 2:
            assert time.monotonic() < end, "it does not arrive"
        if now["page_waits"] == 2:
            return
    assert False, "no capsule waits"


def test_write_left_in_the_socket(start, tmp_path):
    """A write lies in the socket of a connection that is not read, for lack of pages; its host closes it and connects
    this queue anew by way of the other worker: the old write is not done any more. (All of an association:
    tests/unit/test_left_behind.c.)"""
    conf = tmp_path / "conf"
    conf.write_text(f"""workers = 2; listen = ( "127.0.0.1:0" ); dma_memory = "24M";
ssds = ( {{ name = "a"; spec = "emulated:size=16M"; }},
         {{ name = "b"; recovery_timeout = "5m";
            spec = "emulated:size=16M,fault.gone_after=10,fault.times=1,fault.back_ms=20,fault.back_when={tmp_path}/back"; }} );
subsystems = ( {{ nqn = "{NQN}"; allow_any_host = true;
  namespaces = ( {{ nsid = 1; ssd = "a"; }}, {{ nsid = 2; ssd = "b"; }} ); }} );
""")
    daemon = start("-c", conf)
    with Host(daemon.address, NQN, queues=4) as host:
        full = worker_of(daemon, host.io[0])
        elsewhere = [queue for queue in host.io if worker_of(daemon, queue) != full]
        there = len(host.io) - len(elsewhere)
        for queue in elsewhere:
            queue.conn.leave()  # now the next connections go to the other worker
        wait_connections(daemon, 1 + there)
        for _ in range(10):
            write(host.io[0], 0, bytes(512), nsid=2)
        fill_pages(daemon, host.io[0])
        host.io[0].start(1, nsid=1, write=block(0, 1) * 16, inline=True, **io_fields(0, 16))
        host.io[0].conn.leave()
        back = threading.Timer(0.5, (tmp_path / "back").touch)  # what it had begun ends then
        back.start()
        end = time.monotonic() + 60
        while True:
            try:
                new = host.queue(1)
                break
            except Status as status:  # a host that is told that its last queue is not through yet
                assert status.code == 0x181 and time.monotonic() < end, status
        host.io.append(new)
        assert worker_of(daemon, new) != full
        write(new, 0, block(0, 2) * 16)
        back.join()
        assert len(read(new, 0, 1, nsid=2)) == 512  # the SSD is back: what had waited for it is through
        wait_connections(daemon, 1 + there)
        assert read(new, 0, 16) == block(0, 2) * 16
    daemon.expect_clean()


def deaf(sock):
    """From now on the kernel drops all that comes for this socket: no acknowledgement, no RST."""
    drop = ctypes.create_string_buffer(struct.pack("<HBBI", 0x06, 0, 0, 0))  # BPF: return 0
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER,
                    struct.pack("@HxxxxxxP", 1, ctypes.addressof(drop)))


def test_half_open(target):
    """A host that vanishes without a word, in the middle of a write: keep-alive ends it."""
    start = len(target.log())
    with Host(target.address, NQN) as other:
        lba = BASE
        write(other.io[0], lba, block(lba, 1))
        host = Host(target.address, NQN, kato=4000, hostid=b"\x33" * 16)
        raw = host.io[0].conn.build(CMD, sqe(1, 7, 1, (0, 512, 1), **io_fields(lba, 1)), block(lba, 2))
        host.io[0].conn.send(raw[:300])
        for queue in (host.admin, host.io[0]):
            deaf(queue.conn.sock)
        end = time.monotonic() + 60
        while "keep-alive timer expired" not in target.log()[start:]:
            assert time.monotonic() < end, "the half-open association is still there"
            time.sleep(0.05)
        assert read(other.io[0], lba, 1) == block(lba, 1)
        host.close()


def in_threads(number, function):
    """function(0) … function(number - 1), 16 at a time; raises what one of them raised."""
    failures, todo = [], list(range(number))

    def work():
        while True:
            try:
                function(todo.pop())
            except IndexError:
                return
            except BaseException as error:  # pylint: disable=broad-except
                failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[:3]


def test_reconnect_storm(start):
    """200 hosts lose their connections at once, with writes under way, and come back at once; twice."""
    daemon = start("--ssd", "emulated:size=64M,queues=24", "--listen", "127.0.0.1:0", "--nqn", NQN,
                   "--workers", "2")
    hosts = {}

    def connect(number):
        end = time.monotonic() + 60
        while True:
            try:
                hosts[number] = Host(daemon.address, NQN, entries=16,
                                     hostid=struct.pack("<QQ", number + 1, 5),
                                     hostnqn=f"nqn.2014-08.org.nvmexpress:storm{number}")
                return
            except (Status, Closed) as error:  # Controller Busy, while the old one goes
                assert not getattr(error, "cqe", None) or not error.cqe.dnr
                assert time.monotonic() < end
                time.sleep(0.02)

    def again(number, generation):
        connect(number)
        found = read(hosts[number].io[0], number, 1)
        assert found in (block(number, generation - 1), block(number, generation))
        write(hosts[number].io[0], number, block(number, generation + 1))

    in_threads(200, connect)
    in_threads(200, lambda number: write(hosts[number].io[0], number, block(number, 1)))
    for generation in (2, 4):
        for number, host in hosts.items():
            host.io[0].start(1, nsid=1, write=block(number, generation), inline=number % 2 == 0,
                             **io_fields(number, 1))
        for host in hosts.values():
            host.io[0].conn.abort()
            host.admin.conn.abort()
        in_threads(200, lambda number, g=generation: again(number, g))
    for number, host in hosts.items():
        assert read(host.io[0], number, 1) == block(number, 5)
        host.close()
    daemon.expect_clean()


def test_no_file_descriptors_left(start):
    """Hosts beyond what descriptors allow have to wait; those that are there do not notice, and nothing
    spins."""
    daemon = start("--ssd", "emulated:size=16M,queues=4", "--listen", "127.0.0.1:0", "--nqn", NQN)
    with Host(daemon.address, NQN) as host:
        limit = (daemon.fds() + 3) * 4 // 3 + 1  # three for hosts: a quarter is kept from them
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (limit, limit))
        waiting = [socket.create_connection(daemon.address) for _ in range(20)]
        before = sum(map(int, _stat(daemon)[13:15]))
        for lba in range(50):
            write(host.io[0], lba, block(lba, 1))
            assert read(host.io[0], lba, 1) == block(lba, 1)
        time.sleep(1)
        assert sum(map(int, _stat(daemon)[13:15])) - before < 60, "it spins"
        for sock in waiting:
            sock.close()
        end = time.monotonic() + 60
        while True:
            try:
                with Host(daemon.address, NQN, hostid=b"\x44" * 16, queues=0):
                    break
            except (Closed, OSError):
                assert time.monotonic() < end, "no connection although there is room again"
                time.sleep(0.1)


def _stat(daemon):
    with open(f"/proc/{daemon.process.pid}/stat", encoding="ascii") as file:
        return file.read().rpartition(")")[2].split(" ")[1:] + [""]


def test_disk_full(start, small_tmpfs):
    """The file system under an emulated SSD is full: writes end with Capacity Exceeded, the rest goes on."""
    folder = small_tmpfs(2)
    daemon = start("--ssd", f"emulated:file={folder}/disk,size=16M", "--listen", "127.0.0.1:0",
                   "--nqn", NQN)
    with Host(daemon.address, NQN) as host:
        queue = host.io[0]
        data = bytes(range(256)) * 256
        codes = [queue.status(1, nsid=1, write=data, **io_fields(128 * n, 128)) for n in range(64)]
        assert codes[0] == 0 and codes[-1] == 0x081, codes
        assert re.search(r"emulated:0: command 01h at byte \d+ of its file fails: No space left", daemon.log())
        assert read(queue, 0, 128) == data
        for n in range(64):  # room again
            queue.run(9, nsid=1, write=struct.pack("<IIQ", 0, 128, 128 * n), inline=True,
                      cdw10=0, cdw11=4)
        write(queue, 128 * 63, data)
        assert read(queue, 128 * 63, 128) == data
    daemon.expect_clean()
    daemon.stop()
