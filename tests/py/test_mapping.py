# SPDX-License-Identifier: BSD-3-Clause
"""An SSD on a file in memory, which is read through a mapping: hosts, and whoever looks at the
file, see what they would see of preadv and pwritev."""

import os
import struct
import subprocess
import tempfile
from pathlib import Path

import pytest

from daemon import NQN, plain_build
from nvmetcp import Host, io_fields, read, write

SIZE = 16 << 20
CHUNK = 128  # blocks
BYTES = CHUNK * 512
CHUNKS = SIZE // BYTES
VERIFY = 0x0C
UNRECOVERED, CAPACITY_EXCEEDED = 0x281, 0x081


@pytest.fixture
def folder():
    """A folder in memory."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        kind = subprocess.run(["stat", "-f", "-c", "%T", name], capture_output=True, text=True, check=True)
        if kind.stdout.strip() != "tmpfs":
            pytest.skip("/dev/shm is no tmpfs")
        yield Path(name)


def serve(start, disk, *arguments):
    return start("--ssd", f"emulated:file={disk}", "--listen", "127.0.0.1:0", "--nqn", NQN, *arguments)


def content(chunk, generation=0):
    """What a chunk holds; not a byte of it is zero."""
    return (f"<{generation}:{chunk:09}>" * BYTES)[:BYTES].encode()


def make(disk, chunks=range(CHUNKS)):
    """A file with content in these chunks and holes elsewhere."""
    with disk.open("wb") as file:
        file.truncate(SIZE)
        for chunk in chunks:
            file.seek(chunk * BYTES)
            file.write(content(chunk))


def on_disk(disk, chunk):
    with disk.open("rb") as file:
        file.seek(chunk * BYTES)
        return file.read(BYTES)


def used(disk):
    """Bytes of memory that the file takes."""
    return disk.stat().st_blocks * 512


def deallocate(queue, chunk):
    queue.run(9, nsid=1, write=struct.pack("<IIQ", 0, CHUNK, CHUNK * chunk), inline=True, cdw10=0, cdw11=4)


def punch(disk, chunk):
    """A hole, made by somebody else."""
    subprocess.run(["fallocate", "--punch-hole", "--offset", str(chunk * BYTES), "--length", str(BYTES), disk],
                   check=True)


def test_sparse(start, folder):
    """To read all of a sparse file takes no memory, before and after data came and went."""
    disk = folder / "disk"
    make(disk, [])
    daemon = serve(start, disk)
    with Host(daemon.address, NQN) as host:
        queue = host.io[0]

        def read_all(present):
            for chunk in range(CHUNKS):
                assert read(queue, chunk * CHUNK, CHUNK) == present.get(chunk, bytes(BYTES))
            assert used(disk) == len(present) * BYTES

        read_all({})
        for generation in range(3):
            for chunk in (3, 4, 200):
                write(queue, chunk * CHUNK, content(chunk, generation))
                assert on_disk(disk, chunk) == content(chunk, generation)
            read_all({chunk: content(chunk, generation) for chunk in (3, 4, 200)})
        deallocate(queue, 4)
        read_all({chunk: content(chunk, 2) for chunk in (3, 200)})
        queue.run(8, nsid=1, **io_fields(3 * CHUNK, CHUNK))
        read_all({200: content(200, 2)})
        write(queue, 4 * CHUNK, content(4, 3))
        read_all({4: content(4, 3), 200: content(200, 2)})
        assert queue.status(0, nsid=1) == 0
    daemon.expect_clean()


@pytest.mark.parametrize("chunks", [range(CHUNKS), range(0, CHUNKS, 3)])
def test_what_was_there(start, folder, chunks):
    """Data of before the start, with and without holes between; nothing is lost when the daemon is killed."""
    disk = folder / "disk"
    make(disk, chunks)
    before = used(disk)
    daemon = serve(start, disk, "--workers", "2")
    with Host(daemon.address, NQN, queues=2) as host:
        for queue in host.io * 2:
            for chunk in range(CHUNKS):
                expected = content(chunk) if chunk in chunks else bytes(BYTES)
                assert read(queue, chunk * CHUNK, CHUNK) == expected
        assert used(disk) == before
        write(host.io[0], 6 * CHUNK, content(6, 1))
        write(host.io[1], 9 * CHUNK + 3, content(9, 1)[:1024])
        daemon.kill()
    assert on_disk(disk, 6) == content(6, 1)
    expected = bytearray(content(9))
    expected[1536:1536 + 1024] = content(9, 1)[:1024]
    assert on_disk(disk, 9) == expected
    daemon = serve(start, disk)
    with Host(daemon.address, NQN) as host:
        assert read(host.io[0], 9 * CHUNK, CHUNK) == expected


@pytest.mark.parametrize("filtered", [False, True])
def test_cut(start, folder, monkeypatch, filtered):
    """Somebody cuts the file: what is gone cannot be read, what is written there makes it longer again, and
    nobody else notices. Also where a worker may make few system calls."""
    if filtered:
        monkeypatch.setattr("daemon.BUILD", plain_build())
    disk = folder / "disk"
    make(disk)
    daemon = serve(start, disk)
    with Host(daemon.address, NQN) as host, Host(daemon.address, NQN, hostid=b"\5" * 16) as other:
        queue = host.io[0]
        for chunk in range(CHUNKS):  # its pages are mapped
            assert read(queue, chunk * CHUNK, CHUNK) == content(chunk)
        under_way = [other.io[0].start(2, nsid=1, read=BYTES, **io_fields(chunk * CHUNK, CHUNK))
                     for chunk in range(4)]
        os.truncate(disk, 100 * BYTES + 4096)
        for chunk in (100, 101, 200, CHUNKS - 1) * 2:
            assert queue.status(2, nsid=1, read=BYTES, **io_fields(chunk * CHUNK, CHUNK)) == UNRECOVERED
            assert queue.status(VERIFY, nsid=1, **io_fields(chunk * CHUNK, CHUNK)) == UNRECOVERED
        assert queue.status(VERIFY, nsid=1, **io_fields(0, 100 * CHUNK + 8)) == 0
        assert queue.status(VERIFY, nsid=1, **io_fields(0, 100 * CHUNK + 9)) == UNRECOVERED
        assert read(queue, 100 * CHUNK, 8) == content(100)[:4096]
        other.io[0].wait(*under_way)
        for chunk, command in enumerate(under_way):
            assert command.data == content(chunk)
        write(queue, 150 * CHUNK, content(150, 1))
        assert disk.stat().st_size == 151 * BYTES
        assert on_disk(disk, 150) == read(queue, 150 * CHUNK, CHUNK) == content(150, 1)
        assert read(other.io[0], 120 * CHUNK, CHUNK) == bytes(BYTES)
        assert read(other.io[0], 99 * CHUNK, CHUNK) == content(99)
    daemon.expect_clean()


def test_full(start, small_tmpfs):
    """Somebody makes a hole where data was and fills the file system: who writes or copies there is told
    Capacity Exceeded, also when some of it still had room, who reads finds zeroes, and when there is room again all is well."""
    folder = small_tmpfs(20)
    disk = folder / "disk"
    make(disk)
    daemon = serve(start, disk)
    with Host(daemon.address, NQN) as host:
        queue = host.io[0]
        for chunk in (7, 8, 10):
            write(queue, chunk * CHUNK, content(chunk, 1))
            punch(disk, chunk)
        ranges = struct.pack("<8xQH14x", 20 * CHUNK, 2 * CHUNK - 1)
        with pytest.raises(OSError):
            (folder / "other").write_bytes(bytes(8 << 20))
        for _ in range(2):
            fields = io_fields(7 * CHUNK, CHUNK)
            assert queue.status(1, nsid=1, write=content(7, 2), **fields) == CAPACITY_EXCEEDED
            assert queue.status(0x19, nsid=1, write=ranges, inline=True, cdw10=9 * CHUNK) == CAPACITY_EXCEEDED
            assert read(queue, 8 * CHUNK, CHUNK) == bytes(BYTES)
            write(queue, 9 * CHUNK, content(9, 2))
            assert on_disk(disk, 9) == read(queue, 9 * CHUNK, CHUNK) == content(9, 2)
        (folder / "other").unlink()
        write(queue, 7 * CHUNK, content(7, 3))
        assert on_disk(disk, 7) == read(queue, 7 * CHUNK, CHUNK) == content(7, 3)
        assert queue.status(0x19, nsid=1, write=ranges, inline=True, cdw10=9 * CHUNK) == 0
        assert on_disk(disk, 9) + on_disk(disk, 10) == content(20) + content(21)
    daemon.expect_clean()
    daemon.stop()


def test_grown(start, folder):
    """What a file has gained since the start works as well, and next to what it had."""
    disk = folder / "disk"
    make(disk)
    daemon = serve(start, disk)
    os.truncate(disk, 2 * SIZE)
    daemon.ctl("rescan")
    with Host(daemon.address, NQN) as host:
        data = content(0, 1) + content(1, 1)
        for _ in range(2):
            write(host.io[0], (CHUNKS - 1) * CHUNK, data)
            assert read(host.io[0], (CHUNKS - 1) * CHUNK, 2 * CHUNK) == data
        assert on_disk(disk, CHUNKS - 1) + on_disk(disk, CHUNKS) == data
    daemon.expect_clean()
