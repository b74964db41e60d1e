# SPDX-License-Identifier: BSD-3-Clause
"""What there is only so much of: connections, file descriptors, SSDs that work."""

import ctypes
import fcntl
import os
import re
import resource
import socket
import struct
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from daemon import NQN, plain_build
from nvmetcp import DISCOVERY_NQN, Connection, Host, Queue, Status, read


def conf(tmp_path, limits="", ssds="", namespaces='{ nsid = 1; ssd = "a"; }', more=""):
    """A configuration file with an SSD "a"."""
    path = tmp_path / "conf"
    path.write_text(f"""
log_level = "debug"; {more}
listen = ( "127.0.0.1:0" );
limits = {{ {limits} }};
ssds = ( {{ name = "a"; spec = "emulated:size=16M,queues=4"; }} {ssds} );
subsystems = ( {{ nqn = "{NQN}"; allow_any_host = true; namespaces = ( {namespaces} ); }} );
""")
    return path


@pytest.mark.parametrize("limit", ["connections", "connections_per_host"])
def test_connections(start, tmp_path, limit):
    """One more than the limit is closed at once; the others do not notice, and its place is free again."""
    daemon = start("-c", conf(tmp_path, f"{limit} = 3;"))
    with Host(daemon.address, NQN) as host, Connection(daemon.address) as idle:
        for _ in range(3):
            with Connection(daemon.address) as one_more:
                one_more.expect_close()
        assert f"a connection of 127.0.0.1 is refused: limits.{limit} is reached" in daemon.log()
        assert daemon.counters()["connections_refused"] == 3
        assert len(read(host.io[0], 0, 1)) == 512
        idle.close()
        host.close()
    daemon.expect_clean()
    with Host(daemon.address, NQN):
        pass
    daemon.expect_clean()


@pytest.fixture(name="networks")
def fixture_networks():
    """A network of this thread's own, and of what it starts: addresses of two IPv6 networks are its loopback's."""
    libc = ctypes.CDLL(None, use_errno=True)
    nets = [[f"2001:db8:0:{net}::{number:x}" for number in range(1, 17)] for net in (1, 2)]
    with open("/proc/thread-self/ns/net", "rb") as before:
        if libc.unshare(0x40000000):  # CLONE_NEWNET
            pytest.skip("a network namespace needs privileges")
        try:
            with socket.socket(socket.AF_INET6) as sock:
                fcntl.ioctl(sock, 0x8914, struct.pack("16sH22x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
                for address in (address for net in nets for address in net):
                    fcntl.ioctl(sock, 0x8916, struct.pack("16sIi", socket.inet_pton(socket.AF_INET6, address),
                                                          128, socket.if_nametoindex("lo")))  # SIOCSIFADDR
            yield nets
        finally:
            assert libc.setns(before.fileno(), 0x40000000) == 0


def test_networks(start, tmp_path, networks):
    """However many addresses of one IPv6 network there are, others have places: connections, controllers."""
    config = conf(tmp_path, "connections = 16; controllers = 8;")
    config.write_text(config.read_text().replace("127.0.0.1:0", "[::]:0"))
    daemon = start("-c", config)
    many, other = networks
    with ExitStack() as stack:
        for address in many[:14]:
            stack.enter_context(Connection(daemon.address, source=address)).icreq()
        with Connection(daemon.address, source=many[14]) as refused:
            refused.expect_close()
        assert f"{many[14]} is refused: its IPv6 network (/64) has 7/8 of limits.connections" in daemon.log()
        with Host(("::1", daemon.address[1]), NQN) as host:
            assert len(read(host.io[0], 0, 1)) == 512
    daemon.expect_clean()
    with ExitStack() as stack:
        for address in many[:7]:
            stack.enter_context(Queue(daemon.address, source=address)).connect(DISCOVERY_NQN)
        with Queue(daemon.address, source=many[7]) as queue, pytest.raises(Status) as found:
            queue.connect(DISCOVERY_NQN)
        assert found.value.code == 0x181 and not found.value.cqe.dnr
        with Queue(daemon.address, source=other[0]) as queue:
            queue.connect(DISCOVERY_NQN)
    daemon.expect_clean()


def test_discovery_controllers(start, tmp_path):
    """However many there are, hosts have places of their own; from one address as many as from one name."""
    def discover(source, index):
        queue = Queue(daemon.address, source=source)
        try:
            return queue.connect(DISCOVERY_NQN, hostnqn=f"nqn.2014-08.org.nvmexpress:{source}:{index}")
        except Status:
            queue.conn.close()
            raise

    daemon = start("-c", conf(tmp_path, 'controllers = 6; controllers_per_host = 4;'))
    held = [discover("127.0.0.2", index) for index in range(4)]
    for source, number in (("127.0.0.2", 0), ("127.0.0.3", 2)):
        held += [discover(source, index) for index in range(number)]
        with pytest.raises(Status) as found:
            discover(source, "more")
        assert found.value.code == 0x181 and not found.value.cqe.dnr
    with Host(daemon.address, NQN) as host:
        assert len(read(host.io[0], 0, 1)) == 512
    for queue in held:
        queue.conn.close()
    daemon.expect_clean()


def test_silent_discovery(start, tmp_path):
    """A discovery controller without keep-alive ends when nothing comes; an I/O controller does not."""
    daemon = start("-c", conf(tmp_path, 'discovery_timeout = "1s";'))
    with Queue(daemon.address).connect(DISCOVERY_NQN) as silent, Host(daemon.address, NQN) as host:
        silent.conn.expect_close(30)
        assert "KATO 0 ms" in daemon.log()
        assert len(read(host.io[0], 0, 1)) == 512
    daemon.expect_clean()


def test_file_descriptors(start, tmp_path):
    """No descriptor for one more: accepting rests, says what to raise, and goes on when there are some."""
    daemon = start("-c", conf(tmp_path))
    pid = daemon.process.pid
    with Host(daemon.address, NQN) as host:
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        used = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (min(set(range(999)) - used), before[1]))
        with Connection(daemon.address) as waiting:
            end = time.monotonic() + 60
            while "raise LimitNOFILE" not in daemon.log():
                assert time.monotonic() < end
                assert len(read(host.io[0], 0, 1)) == 512
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
            waiting.icreq()
    daemon.expect_clean()


def test_no_descriptor_for_metrics(start, tmp_path):
    """The metrics endpoint's clients cannot make it spin, nor fill the log."""
    daemon = start("-c", conf(tmp_path, more='metrics = "127.0.0.1:0";'))
    host, port = re.search(r"metrics: http://([\d.]+):(\d+)/", daemon.log()).groups()
    pid = daemon.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (min(set(range(999)) - used), before[1]))
    with socket.create_connection((host, int(port))) as client:
        end = time.monotonic() + 30
        while daemon.log().count("metrics: accept:") < 2:  # it has rested, and looked again
            assert time.monotonic() < end
            time.sleep(0.1)
        assert "libevent" not in daemon.log() and daemon.log().count("metrics: accept:") < 5
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        client.settimeout(30)
        assert client.recv(15) == b"HTTP/1.0 200 OK"


def test_descriptors_kept_from_hosts(start, tmp_path):
    """However many hosts come, the control socket and the metrics have descriptors; hosts that had to wait come in
    when others have left."""
    daemon = start("-c", conf(tmp_path, 'handshakes_per_host = 256; handshake_timeout = "600s";',
                              more='metrics = "127.0.0.1:0";'))
    host, port = re.search(r"metrics: http://([\d.]+):(\d+)/", daemon.log()).groups()
    resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (200, 200))
    with ExitStack() as stack:
        crowd = [stack.enter_context(Connection(daemon.address)) for _ in range(200)]
        end = time.monotonic() + 60
        while "the last file descriptors are not for hosts (raise LimitNOFILE" not in daemon.log():
            assert time.monotonic() < end
            time.sleep(0.01)
        for _ in range(20):  # and that stays so, whatever else is done
            assert daemon.counters()["connections"] < 150
            with socket.create_connection((host, int(port)), timeout=60) as client:
                client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
                assert client.recv(15) == b"HTTP/1.1 200 OK"
        assert daemon.fds() <= 150 + 20  # those of the others
        assert "accept: Too many open files" not in daemon.log()
        for connection in crowd[:-1]:
            connection.close()
        crowd[-1].icreq()
    daemon.expect_clean()


def test_a_stop_while_accepting_rests(start, tmp_path):
    """Out of descriptors, then told to stop, with I/O under way for longer than the rest: nobody comes in any more."""
    config = conf(tmp_path)
    config.write_text(config.read_text().replace("queues=4", "queues=4,fault.op=read,fault.delay=1,fault.delay_ms=3000"))
    daemon = start("-c", config)
    pid = daemon.process.pid
    with Host(daemon.address, NQN) as host:
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        used = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
        slow = host.io[0].start(2, nsid=1, read=512)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (min(set(range(999)) - used), before[1]))
        with Connection(daemon.address) as waiting:
            end = time.monotonic() + 10
            while "raise LimitNOFILE" not in daemon.log():
                assert time.monotonic() < end
                time.sleep(0.01)
            daemon.process.terminate()
            while "stopping: draining" not in daemon.log():
                assert time.monotonic() < end
                time.sleep(0.01)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
            assert host.io[0].wait(slow).status == 0
            waiting.expect_close(20)
    assert daemon.process.wait(20) == 0
    assert "the daemon cannot take it" not in daemon.log()


def test_an_ssd_of_several_is_gone(start, tmp_path):
    """Its commands end with a path error; the other SSD's go on, on the same queues and on new ones."""
    daemon = start("-c", conf(
        tmp_path, ssds=', { name = "b"; spec = "emulated:size=16M,queues=4,fault.gone_after=2"; '
                       'recovery_timeout = "1s"; }',
        namespaces='{ nsid = 1; ssd = "a"; }, { nsid = 2; ssd = "b"; }'))
    with Host(daemon.address, NQN, queues=2) as host:
        lost = [host.io[0].start(2, nsid=2, read=512) for _ in range(5)]
        for _ in range(20):
            assert len(read(host.io[1], 0, 1)) == 512
        host.io[0].wait(*lost)
        assert [command.cqe.code for command in lost[:2]] == [0, 0]
        assert {command.cqe.code for command in lost[2:]} == {0x370}  # Host Path Error
        assert not any(command.cqe.dnr for command in lost)
        for _ in range(3):
            host.io[0].conn.close()
            with Host(daemon.address, NQN, hostid=b"\4" * 16) as other:
                assert len(read(other.io[0], 0, 1)) == 512
                assert other.io[0].status(2, nsid=2, read=512) == 0x370
    daemon.expect_clean()


def resident_kib(daemon):
    """Memory of its own, neither DMA memory nor code."""
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1])


def test_memory_of_idle_queues(start, tmp_path, monkeypatch):
    """An admin and an I/O queue of 128 entries each that do nothing take less than 64 KiB together, also in memory
    that others have used before."""
    monkeypatch.setattr("daemon.BUILD", plain_build())
    daemon = start("-c", conf(tmp_path))
    for _ in range(2):
        with ExitStack() as stack:
            before = resident_kib(daemon)
            for _ in range(60):
                stack.enter_context(Host(daemon.address, NQN))
            grown = resident_kib(daemon) - before
        daemon.expect_clean()
        assert grown < 60 * 64, f"{grown / 60:.0f} KiB for each host"
