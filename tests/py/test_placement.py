# SPDX-License-Identifier: BSD-3-Clause
"""Where workers and connections are, and the options of the sockets, as the kernel has them."""

import contextlib
import ctypes
import os
import re
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest

from daemon import BUILD, ENV, PATIENCE_S, run_nvmetd
from nvmetcp import Connection, Host

NQN = "nqn.2026-11.io.nvmetd:one"
CONF = """limits = { handshake_timeout = "10m"; };
listen = ( "127.0.0.1:0", "[::1]:0" );
ssds = ( { name = "a"; spec = "emulated:size=16M"; } );
subsystems = ( { nqn = "nqn.2026-11.io.nvmetd:one"; allow_any_host = true;
                 namespaces = ( { nsid = 1; ssd = "a"; } ); } );
"""
CPUS = sorted(os.sched_getaffinity(0))
SYS_PIDFD_GETFD = 438
SO_PRIORITY, SO_BUSY_POLL = 12, 46
SYSCTLS = Path("/proc/sys/net/ipv4")
SO_ATTACH_FILTER, ETH_P_ALL = 26, 3


def write_conf(tmp_path, settings, text=CONF):
    """A configuration file."""
    path = tmp_path / "nvmet.conf"
    path.write_text(settings + text)
    return path


@pytest.mark.parametrize("key, text", [
    ("worker_cpus = [0, 1];", "worker_cpus names 2 CPUs for 1 workers"),
    ("worker_cpus = [1024];", "worker_cpus: expected a number from 0 to 1023"),
    ("worker_cpus = 0;", "worker_cpus: expected a list"),
    ('tcp = { congestion = "abcdefghijklmnop"; };', "congestion: expected a text of 0 to 15 characters"),
    ("tcp = { congestion = 1; };", "congestion: expected a text of 0 to 15 characters"),
    ("tcp = { dscp = 64; };", "dscp: expected a number from 0 to 63"),
    ("tcp = { priority = 7; };", "priority: expected a number from 0 to 6"),
    ("tcp = { prefer_incoming_cpu = 1; };", "prefer_incoming_cpu: expected true or false"),
    # On purpose: docs/performance.md says what it would cost.
    ("tcp = { nodelay = false; };", "nodelay: there is no such key here"),
])
def test_refused(tmp_path, key, text):
    """CPUs and socket options that make no sense."""
    status, output = run_nvmetd("-n", "-c", write_conf(tmp_path, f"{key}\n"))
    assert status == 1 and text in output


def test_pinned(start, tmp_path):
    """A worker stays on its CPU, which nvmetctl tells; one that does not exist is an error."""
    daemon = start("-c", write_conf(tmp_path, f"worker_cpus = [{CPUS[-1]}];\n"))
    names = {(task / "comm").read_text().strip(): (task / "status").read_text()
             for task in Path(f"/proc/{daemon.process.pid}/task").iterdir()}
    assert f"Cpus_allowed_list:\t{CPUS[-1]}\n" in names["worker 0"]
    status = daemon.ctl("status")
    assert [worker["cpus"] for worker in status["workers"]] == [str(CPUS[-1])]
    assert status["ssds"][0]["numa_node"] is None
    status, output = run_nvmetd("-c", write_conf(tmp_path, "worker_cpus = [1023];\n"))
    assert status == 1 and "worker 0 cannot run on CPU 1023" in output


def test_not_pinned(start, tmp_path):
    """A worker may run where the daemon may; to prefer a CPU then does nothing, which is told."""
    daemon = start("-c", write_conf(tmp_path, "workers = 2; tcp = { prefer_incoming_cpu = true; };\n"))
    assert "tcp.prefer_incoming_cpu: no worker has a CPU of its own" in daemon.log()
    allowed = re.search(r"^Cpus_allowed_list:\t(.*)$",
                        Path(f"/proc/{daemon.process.pid}/status").read_text(), re.M)[1]
    assert [worker["cpus"] for worker in daemon.ctl("status")["workers"]] == [allowed] * 2
    with Host(daemon.address, NQN):
        assert sorted(workers_of_queues(daemon)) == [0, 1]


def their_end(process, conn):
    """The daemon's own socket of this connection: what is set there is what the kernel does."""
    here = conn.sock.getsockname()
    end = time.monotonic() + PATIENCE_S
    pidfd = os.pidfd_open(process.pid)
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        while time.monotonic() < end:
            for name in os.listdir(f"/proc/{process.pid}/fd"):
                fd = libc.syscall(SYS_PIDFD_GETFD, pidfd, int(name), 0)
                if fd < 0 and ctypes.get_errno() in (1, 38):  # EPERM, ENOSYS
                    pytest.skip("this system does not let us look at another process's sockets")
                if fd < 0:
                    continue  # closed meanwhile
                if not Path(f"/proc/self/fd/{fd}").readlink().name.startswith("socket:"):
                    os.close(fd)
                    continue
                sock = socket.socket(fileno=fd)
                with contextlib.suppress(OSError):
                    if sock.getpeername() == here:
                        return sock
                sock.close()
            time.sleep(0.02)
    finally:
        os.close(pidfd)
    raise AssertionError(f"the daemon has no connection with {here}")


@pytest.mark.parametrize("options, dscp, priority, busy_poll_us", [
    ("", 0, 0, 0),
    ("tcp = { dscp = 10; priority = 5; busy_poll_us = 20; };", 10, 5, 20),
])
def test_options(start, tmp_path, options, dscp, priority, busy_poll_us):
    """What is configured is set on the sockets of hosts, IPv4 and IPv6, and TCP_NODELAY always."""
    daemon = start("-c", write_conf(tmp_path, options))
    for address in daemon.addresses:
        with Connection(address) as conn, their_end(daemon.process, conn) as sock:
            v6 = sock.family == socket.AF_INET6
            tos = sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS) if v6 \
                else sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS)
            assert tos == dscp << 2
            assert sock.getsockopt(socket.SOL_SOCKET, SO_PRIORITY) == priority
            assert sock.getsockopt(socket.SOL_SOCKET, SO_BUSY_POLL) == busy_poll_us \
                or "SO_BUSY_POLL: Operation not permitted" in daemon.log()
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


def congestion_of(daemon):
    """The congestion control of new connections, to each address that it listens on."""
    found = set()
    for address in daemon.addresses:
        with Connection(address) as conn, their_end(daemon.process, conn) as sock:
            found.add(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode())
    return found


@pytest.fixture
def default_congestion():
    """The system's."""
    return (SYSCTLS / "tcp_congestion_control").read_text().strip()


def test_congestion(start, tmp_path, default_congestion):
    """Connections, IPv4 and IPv6, have the congestion control that is named."""
    name = "cubic" if default_congestion == "reno" else "reno"
    daemon = start("-c", write_conf(tmp_path, f'tcp = {{ congestion = "{name}"; }};\n'))
    assert congestion_of(daemon) == {name}
    assert "tcp.congestion" not in daemon.log()


@pytest.mark.parametrize("settings", ["", 'tcp = { congestion = ""; };\n'])
def test_congestion_default(start, tmp_path, default_congestion, settings):
    """None is named: they have the system's."""
    assert congestion_of(start("-c", write_conf(tmp_path, settings))) == {default_congestion}


def test_no_such_congestion(start, tmp_path, default_congestion):
    """One that the kernel has not, with the longest name: the log says so once, which it has and what to do."""
    daemon = start("-c", write_conf(tmp_path, 'tcp = { congestion = "there_is_no_way"; };\n'))
    available = (SYSCTLS / "tcp_available_congestion_control").read_text().strip()
    assert daemon.log().count("tcp.congestion") == 1
    assert f'tcp.congestion: the kernel has no "there_is_no_way" (only: {available}): modprobe tcp_there_is_no_way, ' \
        "or name another one, and start again; until then it is the system's\n" in daemon.log()
    assert congestion_of(daemon) == {default_congestion}


def sniffer(port):
    """A socket that gets all packets on the loopback device from this TCP port."""
    code = [(0x30, 0, 0, 0), (0x74, 0, 0, 4), (0x15, 2, 0, 6),  # IP version
            (0x28, 0, 0, 20), (0x05, 0, 0, 1), (0x28, 0, 0, 40),  # source port in IPv4, in IPv6
            (0x15, 0, 1, port), (0x06, 0, 0, 65535), (0x06, 0, 0, 0)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER,
                    struct.pack("HxxxxxxP", len(code), ctypes.addressof(program)))
    sock.bind(("lo", ETH_P_ALL))
    sock.settimeout(PATIENCE_S)
    return sock


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can see packets")
def test_dscp_arrives(start, tmp_path):
    """Every packet of a connection has it, from the answer to its SYN on."""
    daemon = start("-c", write_conf(tmp_path, "tcp = { dscp = 10; };\n"))
    for address in daemon.addresses:
        with sniffer(address[1]) as packets:
            with Host(address, NQN):
                pass
            seen = []
            flags = 0
            while not flags & 0x01:  # the daemon's FIN, of one of two connections
                packet = packets.recv(65536)
                v6 = packet[0] >> 4 == 6
                flags = packet[(40 if v6 else 20) + 13]
                seen.append(((packet[0] << 4 | packet[1] >> 4) & 0xFC if v6 else packet[1] & 0xFC, flags))
        assert any(flags & 0x12 == 0x12 for _, flags in seen)  # SYN and ACK
        # A connection of which the kernel knows no socket any more (RST) is not ours.
        assert {tos for tos, flags in seen if not flags & 0x04} == {10 << 2}


def workers_of_queues(daemon):
    """Of all queues: the admin queue's and the I/O queues' workers."""
    [subsystem] = [item for item in daemon.ctl("list")["subsystems"] if item["nqn"] == NQN]
    return [queue["worker"] for ctrl in subsystem["controllers"] for queue in ctrl["queues"]]


@contextlib.contextmanager
def on_cpu(cpu):
    """This thread, and with it the handling of what it sends over loopback."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def packets_move():
    """Whether somebody has the loopback device hand packets to other CPUs (RPS)."""
    cpus = Path("/sys/class/net/lo/queues/rx-0/rps_cpus")  # only where the kernel can do that
    return cpus.exists() and int(cpus.read_text().replace(",", ""), 16) != 0


two_cpus = pytest.mark.skipif(
    len(CPUS) < 2 or packets_move(),
    reason="takes two CPUs, and a loopback device that leaves packets where they are")


@two_cpus
@pytest.mark.parametrize("index", [0, 1])
def test_incoming_cpu(start, tmp_path, index):
    """All queues of a host are on the worker of the CPU that its packets come in on."""
    daemon = start("-c", write_conf(tmp_path, f"workers = 2; worker_cpus = [{CPUS[0]}, {CPUS[1]}];\n"
                                              "tcp = { prefer_incoming_cpu = true; };\n"))
    for address in daemon.addresses:
        with on_cpu(CPUS[index]), Host(address, NQN, queues=3):
            assert workers_of_queues(daemon) == [index] * 4
        daemon.expect_clean()


@two_cpus
@pytest.mark.parametrize("cpus, settings", [
    (CPUS[:2], ""),  # it is not preferred
    (CPUS[1:2] * 2, "tcp = { prefer_incoming_cpu = true; };"),  # no worker has it
])
def test_incoming_cpu_spread(start, tmp_path, cpus, settings):
    """Connections are spread, wherever their packets come in."""
    daemon = start("-c", write_conf(tmp_path, f"workers = 2; worker_cpus = {cpus};\n{settings}\n"))
    with on_cpu(CPUS[0]), Host(daemon.address, NQN):
        assert sorted(workers_of_queues(daemon)) == [0, 1]


@two_cpus
def test_incoming_cpu_too_many(start, tmp_path):
    """A worker that has more than twice the connections of another one and 8 gets no more."""
    daemon = start("-c", write_conf(tmp_path, f"workers = 2; worker_cpus = [{CPUS[0]}, {CPUS[1]}];\n"
                                              "tcp = { prefer_incoming_cpu = true; };\n"))
    with on_cpu(CPUS[1]), contextlib.ExitStack() as stack:
        for count in range(1, 21):
            stack.enter_context(Connection(daemon.address))
            end = time.monotonic() + PATIENCE_S
            while daemon.counters()["connections"] < count:
                assert time.monotonic() < end
                time.sleep(0.01)
        shares = [worker["connections"] for worker in daemon.ctl("status")["workers"]]
    assert shares == [4, 16]


def test_status_as_text(start, tmp_path):
    """For people: the SSD's node and the workers' CPUs."""
    daemon = start("-c", write_conf(tmp_path, f"worker_cpus = [{CPUS[0]}];\n"))
    text = subprocess.run([str(BUILD / "nvmetctl"), "--socket", str(daemon.control), "status"],
                          check=True, capture_output=True, text=True, env=ENV).stdout
    assert re.search(r"spec=emulated:size=16M device=\S+ numa_node=- ", text)
    assert re.search(rf"index=0 cpus={CPUS[0]} ", text)
