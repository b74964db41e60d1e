# SPDX-License-Identifier: BSD-3-Clause
"""Namespaces that come, go and change their size while hosts are connected: the event, the changed
namespace list, Identify, and what becomes of I/O."""

import json
import os
import struct
import socket
import subprocess

import pytest

from daemon import BUILD, NQN
from nvmetcp import Host, Status, read, write

NS_CHANGED = 0x00040002  # notice, information 00h, log page 04h
INVALID_NS = 0x00B
LBA_RANGE = 0x080


class Watcher:
    """A host that wants to know of namespace changes."""

    def __init__(self, host):
        self.host = host
        host.admin.run(0x09, cdw10=0x0B, cdw11=0x100)
        self.aer = host.admin.start(0x0C)

    def event(self):
        """Waits for the event and asks for the next; returns the NSIDs that changed."""
        self.host.admin.wait(self.aer)
        assert self.aer.cqe.dw0 == NS_CHANGED
        page = struct.unpack("<1024I", self.host.log_page(4, 4096))
        self.aer = self.host.admin.start(0x0C)
        return [nsid for nsid in page if nsid]


def blocks(host, nsid):
    """NSZE."""
    return struct.unpack_from("<Q", host.identify(0, nsid))[0]


def ctl(daemon, *arguments):
    """Runs nvmetctl; its exit status and what it printed."""
    command = [str(BUILD / "nvmetctl"), "--socket", str(daemon.control), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return result.returncode, result.stdout + result.stderr


def do_reads(host, n):
    """n commands on the I/O queue."""
    for _ in range(n):
        read(host.io[0], 0, 1)


def test_file_grows(start, tmp_path):
    """A file behind an emulated SSD is made larger and smaller; `nvmetctl rescan` makes it known."""
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(4 << 20))
    daemon = start("--ssd", f"emulated:file={disk}", "--listen", "127.0.0.1:0", "--nqn", NQN)
    with Host(daemon.address, NQN) as host, Host(daemon.address, NQN, hostid=b"\5" * 16) as other:
        watchers = [Watcher(host), Watcher(other)]
        with pytest.raises(Status) as found:
            read(host.io[0], 8192, 1)
        assert found.value.code == LBA_RANGE
        os.truncate(disk, 8 << 20)
        assert ctl(daemon, "rescan")[0] == 0
        for watcher in watchers:
            assert watcher.event() == [1]
            assert blocks(watcher.host, 1) == 16384
        write(host.io[0], 16383, b"x" * 512)
        assert read(other.io[0], 16383, 1) == b"x" * 512
        os.truncate(disk, 2 << 20)
        assert ctl(daemon, "rescan")[0] == 0
        assert watchers[0].event() == [1]
        assert blocks(host, 1) == 4096
        with pytest.raises(Status) as found:
            read(host.io[0], 4096, 1)
        assert found.value.code == LBA_RANGE
        read(host.io[0], 4095, 1)
    daemon.expect_clean()


def test_ssd_shrinks(start):
    """The SSD raises the event by itself."""
    daemon = start("--ssd", "emulated:size=64M,fault.shrink_after=10", "--listen", "127.0.0.1:0",
                   "--nqn", NQN)
    with Host(daemon.address, NQN) as host:
        watcher = Watcher(host)
        assert blocks(host, 1) == 131072
        do_reads(host, 12)
        assert watcher.event() == [1]
        assert blocks(host, 1) == 65536
        with pytest.raises(Status) as found:
            write(host.io[0], 65536, bytes(512))
        assert found.value.code == LBA_RANGE
    daemon.expect_clean()


@pytest.mark.parametrize("fault, before, after", [("detach", [1, 2, 3], [1, 2]),
                                                  ("attach", [1, 2], [1, 2, 3])])
def test_ssd_namespace_comes_or_goes(start, fault, before, after):
    """Namespace 3 is detached, or attached, on the SSD."""
    daemon = start("--ssd", f"emulated:size=64M,namespaces=3,fault.{fault}_after=10",
                   "--listen", "127.0.0.1:0", "--nqn", NQN)
    with Host(daemon.address, NQN) as host:
        watcher = Watcher(host)
        assert host.active() == before
        assert host.io[0].status(0, nsid=3) == (0 if 3 in before else INVALID_NS)
        do_reads(host, 12)
        assert watcher.event() == [3]
        assert host.active() == after
        assert host.io[0].status(0, nsid=3) == (0 if 3 in after else INVALID_NS)
        assert (host.identify(0, 3) == bytes(4096)) == (3 not in after)
        if 3 in after:
            write(host.io[0], 7, b"n" * 512, nsid=3)
            assert read(host.io[0], 7, 1, nsid=3) == b"n" * 512
    daemon.expect_clean()


def test_operator_disables_and_enables(start):
    """nvmetctl disable / enable; a host that did not ask for events gets none, but sees it."""
    daemon = start("--ssd", "emulated:size=64M,namespaces=2", "--listen", "127.0.0.1:0", "--nqn", NQN)
    with Host(daemon.address, NQN) as host, Host(daemon.address, NQN, hostid=b"\5" * 16) as quiet:
        watcher = Watcher(host)
        uuid = host.identify(3, 2)
        write(host.io[0], 3, b"k" * 512, nsid=2)
        assert ctl(daemon, "disable", NQN, 2)[0] == 0
        assert watcher.event() == [2]
        assert quiet.active() == [1]
        for queue in (host.io[0], quiet.io[0]):
            assert queue.status(0, nsid=2) == INVALID_NS
            assert queue.status(0, nsid=1) == 0
        with pytest.raises(Status) as found:
            host.identify(3, 2)
        assert found.value.code == INVALID_NS
        assert ctl(daemon, "enable", NQN, 2)[0] == 0
        assert watcher.event() == [2]
        assert host.identify(3, 2) == uuid
        assert read(quiet.io[0], 3, 1, nsid=2) == b"k" * 512
        assert ctl(daemon, "enable", NQN, 2)[0] == 0  # it is already: no event
        assert host.admin.status(0x18) == 0
        assert not watcher.aer.cqe
        assert struct.unpack_from("<I", quiet.log_page(4, 4096, rae=True))[0] == 2
    daemon.expect_clean()


def test_changed_list(start):
    """Retain Asynchronous Event keeps the list, a refused read does not empty it, and there is no
    second event before it was read."""
    daemon = start("--ssd", "emulated:size=64M,namespaces=3", "--listen", "127.0.0.1:0", "--nqn", NQN)
    with Host(daemon.address, NQN) as host:
        watcher = Watcher(host)
        for nsid in (3, 1):
            ctl(daemon, "disable", NQN, nsid)
        host.admin.wait(watcher.aer)
        second = host.admin.start(0x0C)
        for offset in (8192, 2):
            with pytest.raises(Status):
                host.log_page(4, 4096, offset=offset)
        for _ in range(2):
            assert struct.unpack_from("<3I", host.log_page(4, 4096, rae=True)) == (1, 3, 0)
        ctl(daemon, "enable", NQN, 3)
        assert host.admin.status(0x18) == 0 and not second.cqe
        assert struct.unpack_from("<3I", host.log_page(4, 4096)) == (1, 3, 0)
        assert struct.unpack_from("<3I", host.log_page(4, 4096)) == (0, 0, 0)
        ctl(daemon, "enable", NQN, 1)
        host.admin.wait(second)
        assert second.cqe.dw0 == NS_CHANGED


@pytest.mark.parametrize("arguments, expected", [
    (("disable", NQN, 9), "no such namespace"), (("disable", NQN + "x", 1), "no subsystem"),
    (("rescan", "nobody"), "no SSD"), (("enable", NQN), "usage"), (("enable", NQN, "x"), "usage"),
    (("rescan", "a", "b"), "rescan: these are not its arguments"), (("bogus",), "no such command"),
])
def test_operator_errors(shared, arguments, expected):
    """nvmetctl says what is wrong, and leaves with 1."""
    status, text = ctl(shared, *arguments)
    assert status == 1 and expected in text


@pytest.mark.parametrize("line, expected", [
    ({"request": "namespace", "subsystem": NQN, "nsid": 1}, "enabled"),
    ({"request": "namespace", "subsystem": NQN, "nsid": 5000, "enabled": True}, "no such namespace"),
    ({"request": "namespace", "subsystem": 7, "nsid": 1, "enabled": True}, "no subsystem"),
    ({"request": "rescan", "ssd": 5}, "a name"),
])
def test_request_errors(shared, line, expected):
    """The socket itself, with what nvmetctl would not send."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(shared.control))
        sock.sendall(json.dumps(line).encode() + b"\n")
        assert expected in json.loads(sock.makefile().readline())["error"]


def test_under_load(start):
    """Namespaces vanish and return under I/O of two queues: each command ends, right or Invalid
    Namespace, and nothing is left over."""
    daemon = start("--ssd", "emulated:size=64M,namespaces=2,fault.op=any,fault.delay=3,fault.delay_ms=5",
                   "--listen", "127.0.0.1:0", "--nqn", NQN, "--workers", "2")
    with Host(daemon.address, NQN, queues=2) as host:
        seen = set()
        for turn in range(30):
            commands = [(queue, queue.start(2, nsid=2, read=4096, **{"cdw10": n * 8, "cdw12": 7}))
                        for queue in host.io for n in range(8)]
            ctl(daemon, ("disable", "enable")[turn % 2], NQN, 2)
            for queue, command in commands:
                queue.wait(command)
                seen.add(command.cqe.code)
            assert host.io[0].status(0, nsid=2) == (INVALID_NS if turn % 2 == 0 else 0)
        assert seen <= {0, INVALID_NS}
    daemon.expect_clean()
