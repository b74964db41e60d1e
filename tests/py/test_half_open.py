# SPDX-License-Identifier: BSD-3-Clause
"""What is begun and not gone on with, and how much of anything one host may have: deadlines, limits, and what
thousands of connections leave behind."""

import contextlib
import os
import random
import re
import socket
import struct
import threading
import time

import pytest

from daemon import NQN, Daemon
from hostile import data, expect_term, header, icreq, start_write
from nvmetcp import (CMD, H2C_DATA, LAST, SGL_IN_CAPSULE, SGL_TRANSPORT, Closed, Connection, Host, Queue, Status, Term,
                     io_fields, read, sqe)

ONE = "127.0.0.1:0"
MIB = 1 << 20


def config(tmp_path, limits, spec="emulated:size=64M,queues=32"):
    """A configuration with these limits."""
    path = tmp_path / "nvmet.conf"
    path.write_text(f"""
listen = ( "{ONE}" );
limits = {{ {limits} }};
ssds = ( {{ name = "a"; spec = "{spec}"; }} );
subsystems = ( {{ nqn = "{NQN}"; allow_any_host = true; namespaces = ( {{ nsid = 1; ssd = "a"; }} ); }} );
""")
    return path


@contextlib.contextmanager
def given_up(least=0.8):
    """What is done in it, up to waiting for the end, is ended by the target, and not before its time. Where a busy
    machine keeps the host from doing all of it in that time, the end comes as an error."""
    begin = time.monotonic()
    with contextlib.suppress(Closed, ConnectionError):
        yield
    assert time.monotonic() - begin > least


# --- Deadlines ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hasty_daemon(tmp_path_factory):
    """Deadlines of 1 s, which these tests are about, and no other's can afford."""
    folder = tmp_path_factory.mktemp("hasty")
    daemon = Daemon(folder, "-c", config(folder, 'handshake_timeout = "1s"; pdu_timeout = "1s";'))
    yield daemon
    daemon.stop()


@pytest.fixture
def hasty(hasty_daemon):
    """The daemon; afterwards nothing of the test is left in it."""
    yield hasty_daemon
    hasty_daemon.expect_clean()


@pytest.fixture
def queue(hasty):
    """An I/O queue."""
    for left in reversed(range(10)):
        try:
            host = Host(hasty.address, NQN)
            break
        except (Closed, OSError):  # a busy machine: not connected in time
            assert left
    with host:
        yield host.io[0]


@pytest.mark.parametrize("size", [0, 1, 8, 100, 127])
def test_icreq_that_stops(hasty, size):
    """No ICReq, or a part of one."""
    with given_up(), Connection(hasty.address) as conn:
        conn.send(icreq()[:size])
        conn.expect_close()


def drip(conn, raw, pause=0.1):
    """Sends a byte now and then, until the target has had enough of it."""
    with contextlib.suppress(OSError):
        for index in range(len(raw)):
            conn.sock.sendall(raw[index:index + 1])
            time.sleep(pause)


def test_icreq_that_drips(hasty):
    """The deadline of the handshake is for all of it: a byte now and then does not move it."""
    with Connection(hasty.address) as conn:
        begin = time.monotonic()
        drip(conn, icreq())
        conn.expect_close()
        assert time.monotonic() - begin < 10


def connect_command(cid=1, sgl=(0, 1024, SGL_TRANSPORT)):
    """Connect to an admin queue."""
    return sqe(0x7F, cid, 1, sgl, cdw11=31 | 4 << 16)


@pytest.mark.parametrize("size", [0, 7, 50, 72, 500])
def test_connect_that_stops(hasty, size):
    """After ICReq: no Connect, a part of its capsule, or of the data in it."""
    with given_up(), Connection(hasty.address) as conn:
        conn.icreq()
        raw = conn.build(CMD, connect_command(sgl=(0, 1024, SGL_IN_CAPSULE)), bytes(1024))
        conn.send(raw[:size])
        conn.expect_close()


@pytest.mark.parametrize("sent", [0, 512])
def test_data_of_connect_that_stops(hasty, sent):
    """Connect's data was asked for by R2T and does not come."""
    with given_up(), Connection(hasty.address) as conn:
        conn.icreq()
        conn.send(conn.build(CMD, connect_command()))
        tag, = struct.unpack_from("<H", conn.pdu().header, 10)
        if sent:
            conn.send(data(1, tag, 0, sent, 0))
        conn.expect_close()


def test_other_commands_do_not_help(hasty):
    """Commands that are refused before Connect do not move its deadline."""
    begin = time.monotonic()
    with pytest.raises((Closed, OSError)), Queue(hasty.address) as queue:
        while time.monotonic() - begin < 20:
            assert queue.status(0x18) == 0x00C
            time.sleep(0.1)
    assert time.monotonic() - begin < 20


def taken_apart(daemon):
    """A host that is gone, while what it had at the SSD is not: its next Connect waits."""
    with Host(daemon.address, NQN) as host:
        host.io[0].start(1, nsid=1, write=bytes(512), inline=True, **io_fields(0, 1))
        while daemon.counters()["requests"] == 0:
            time.sleep(0.01)
        host.admin.conn.abort()
        host.io[0].conn.abort()


def test_connect_that_waits_for_us(start, tmp_path):
    """The deadline is the host's, not the daemon's: a Connect that is at work longer is answered."""
    daemon = start("-c", config(tmp_path, 'handshake_timeout = "300ms";',
                                "emulated:size=16M,fault.op=write,fault.delay=1,fault.delay_ms=1500"))
    taken_apart(daemon)
    with Queue(daemon.address) as queue:
        queue.connect(NQN)


def test_refused_connects_buy_no_time(start, tmp_path):
    """A Connect that is at work when the deadline comes, after another was refused, does not move it."""
    daemon = start("-c", config(tmp_path, 'handshake_timeout = "2s";',
                                "emulated:size=16M,fault.op=write,fault.delay=1,fault.delay_ms=4000"))
    with Queue(daemon.address) as queue:
        with pytest.raises(Status):
            queue.connect(NQN + ":nobody")
        taken_apart(daemon)
        with pytest.raises((Closed, OSError)):
            queue.connect(NQN)
    assert "no Connect in time" in daemon.log()


@pytest.mark.parametrize("size", [4, 40, 100])
def test_command_that_stops(queue, size):
    """A command on a connected queue stops half way, in its header or its data."""
    with given_up():
        queue.conn.send(queue.conn.build(CMD, sqe(1, 5, 1, (0, 512, SGL_IN_CAPSULE), **io_fields(0, 1)),
                                         bytes(512))[:size])
        queue.conn.expect_close()


@pytest.mark.parametrize("sent", [0, 10, 24, 4096])
def test_data_that_stops(queue, sent):
    """The data of a write was asked for: nothing comes, or a part of a PDU."""
    with given_up():
        command = start_write(queue)
        queue.conn.send(data(command.cid, command.ttag, 0, 16384)[:sent])
        queue.conn.expect_close()


def test_data_that_stops_while_commands_go_on(queue):
    """Flushes, and in-capsule writes, are no substitute for the data that pages are held for."""
    command = start_write(queue)
    begin = time.monotonic()
    with pytest.raises((Closed, OSError)):
        while time.monotonic() - begin < 20:
            assert queue.status(0, nsid=1) == 0
            assert queue.status(1, nsid=1, write=bytes(512), inline=True, **io_fields(99, 1)) == 0
            time.sleep(0.1)
    assert time.monotonic() - begin < 20 and command.cqe is None


def test_slow_data_among_commands(start, tmp_path):
    """A part of it in each pdu_timeout is enough, whatever else goes on; so are other writes' parts."""
    daemon = start("-c", config(tmp_path, 'handshake_timeout = "4s"; pdu_timeout = "4s";'))
    with Host(daemon.address, NQN) as host:
        queue = host.io[0]
        command = start_write(queue, 24576)
        for at in range(0, 24576, 4096):
            time.sleep(1.5)
            assert queue.status(0, nsid=1) == 0
            other = start_write(queue, size=1024, slba=400)
            queue.send_data(other, 1024)
            assert queue.wait(other).status == 0
            queue.conn.h2c(command.cid, command.ttag, at, bytes(4096), at == 20480)
        assert queue.wait(command).status == 0


@pytest.mark.parametrize("what", ["header", "capsule", "data"])
def test_drops_are_no_progress(queue, what):
    """A byte now and then, of a command's header, of the data in its capsule, of data that was asked for: closed long
    before that would be all."""
    begin = time.monotonic()
    if what == "data":
        command = start_write(queue)
        raw = queue.conn.build(H2C_DATA, struct.pack("<HHII4x", command.cid, command.ttag, 0, 16384),
                               bytes(16384), LAST)
        start = 24
    else:
        raw = queue.conn.build(CMD, sqe(1, 5, 1, (0, 4096, SGL_IN_CAPSULE), **io_fields(0, 8)), bytes(4096))
        start = 72 if what == "capsule" else 0
    queue.conn.send(raw[:start])
    drip(queue.conn, raw[start:], 0.5 if what == "header" else 0.1)
    queue.conn.expect_close()
    assert time.monotonic() - begin < (len(raw) - start) * (0.5 if what == "header" else 0.1)


def test_a_slow_line_is_fast_enough(start, tmp_path):
    """A write and reads at less than 1 Mbit/s, the read's answers through a small window: three times as long as
    pdu_timeout, and every part of it too few bytes for the socket to take more."""
    daemon = start("-c", config(tmp_path, 'handshake_timeout = "10s"; pdu_timeout = "4s";'))
    with Host(daemon.address, NQN, queues=2) as host:
        writer, reader = host.io
        command = start_write(writer, MIB, byte=b"\x5a")
        reader.conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        for _ in range(12):
            reader.start(2, nsid=1, read=MIB, **io_fields(0, 2048))
        for at in range(0, MIB, 65536):
            writer.conn.send(writer.conn.build(H2C_DATA, struct.pack("<HHII4x", command.cid, command.ttag, at, 65536),
                                               b"\x5a" * 65536, LAST if at == MIB - 65536 else 0))
            end = time.monotonic() + 0.75
            while time.monotonic() < end:
                reader.conn.sock.recv(6250)
                time.sleep(0.05)
        assert writer.wait(command).status == 0
        assert "closed" not in daemon.log()
        reader.conn.close()
        assert read(writer, 0, 2048) == b"\x5a" * MIB


def test_a_deadline_is_not_the_hosts_when_all_is_there(start, tmp_path):
    """Idle queues, and controllers that were not enabled yet, stay, for longer than a handshake or a PDU may
    take; KATO is theirs, if asked for, and enable_timeout."""
    target = start("-c", config(tmp_path, 'handshake_timeout = "4s"; pdu_timeout = "1s";'))
    with Host(target.address, NQN) as host, Host(target.address, NQN, enable=False, hostid=b"\7" * 16) as idle:
        time.sleep(5)
        assert host.io[0].status(0, nsid=1) == 0
        assert idle.admin.property_get(0x1C) == 0


@pytest.mark.parametrize("cc", [None, 0x00460000, 0x00464001], ids=["never", "disabled", "shut-down"])
def test_controller_that_is_not_enabled(start, tmp_path, cc):
    """It ends after enable_timeout, whatever its host goes on sending; one that is enabled stays."""
    daemon = start("-c", config(tmp_path, 'enable_timeout = "4s";'))
    with Host(daemon.address, NQN) as host, Host(daemon.address, NQN, enable=False, hostid=b"\7" * 16) as idle:
        if cc is not None:
            idle.enable()
            idle.admin.property_set(0x14, cc)
        begin = time.monotonic()
        with pytest.raises((Closed, OSError)):
            while time.monotonic() - begin < 20:
                idle.admin.property_get(0x1C)
                time.sleep(0.05)
        assert time.monotonic() - begin < 20
        assert "not enabled by its host in time" in daemon.log()
        assert host.io[0].status(0, nsid=1) == 0
    daemon.expect_clean()


# --- Limits ---------------------------------------------------------------------------------------


def expect_refused(address):
    """A connection that is closed before it could say anything."""
    with Connection(address) as conn:
        with pytest.raises((Closed, OSError)):
            conn.icreq()


@pytest.mark.parametrize("name, number", [
    ("handshakes", 8), ("handshakes_per_host", 8), ("connections", 8), ("connections_per_host", 8)])
def test_half_open_connections(start, tmp_path, name, number):
    """Further ones are closed at once, and let in again when there is room; the log says which limit it was."""
    daemon = start("-c", config(tmp_path, f"{name} = {number};"))
    held = [Connection(daemon.address).icreq() for _ in range(number)]
    for _ in range(100):
        expect_refused(daemon.address)
    assert f"limits.{name} is reached" in daemon.log()
    assert daemon.log().count("is reached") <= 15
    held.pop().close()
    end = time.monotonic() + 60
    while True:
        try:
            held.append(Connection(daemon.address).icreq())
            break
        except (Closed, OSError):
            assert time.monotonic() < end
            time.sleep(0.01)
    for conn in held:
        conn.close()
    daemon.expect_clean()
    with Host(daemon.address, NQN):
        pass


def test_one_address_does_not_lock_out_others(start, tmp_path):
    """All handshakes that one address may have are half open: a host at another address comes in."""
    daemon = start("-c", config(tmp_path, "handshakes = 64; handshakes_per_host = 8;"))
    port = daemon.address[1]
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            sock = stack.enter_context(socket.socket())
            sock.bind(("127.0.0.2", 0))
            sock.connect(("127.0.0.1", port))
        late = stack.enter_context(socket.socket())
        late.bind(("127.0.0.2", 0))
        late.connect(("127.0.0.1", port))
        late.settimeout(60)
        assert late.recv(1) == b""
        with Host(daemon.address, NQN) as host:
            assert host.io[0].status(0, nsid=1) == 0
    daemon.expect_clean()


def test_controllers_of_one_host(start, tmp_path):
    """limits.controllers_per_host: Controller Busy, without DNR; other hosts' are not counted."""
    daemon = start("-c", config(tmp_path, "controllers_per_host = 3;"))
    hosts = [Host(daemon.address, NQN, queues=0, hostid=bytes([index]) * 16) for index in range(3)]
    with pytest.raises(Status) as found:
        Host(daemon.address, NQN, queues=0, hostid=b"\x77" * 16)
    assert found.value.code == 0x181 and not found.value.cqe.dnr
    hosts.append(Host(daemon.address, NQN, hostnqn="nqn.2014-08.org.nvmexpress:other"))
    hosts.pop(0).close()
    end = time.monotonic() + 60
    while len(hosts) < 4:
        try:
            hosts.append(Host(daemon.address, NQN, queues=0, hostid=b"\x77" * 16))
        except Status as status:
            assert status.code == 0x181 and time.monotonic() < end
    for host in hosts:
        host.close()
    daemon.expect_clean()


def test_queues_of_one_controller(target):
    """As many as were granted, none beyond."""
    with Host(target.address, NQN, queues=0) as host:
        granted = host.set_queues(1000)
        assert 1 <= granted <= 128
        with pytest.raises(Status) as found:
            host.queue(granted + 1)
        assert found.value.code == 0x182


def test_pages_of_one_host(target, bystander):
    """Commands that want more than all pages there are: the host waits, the bystander does not."""
    with Host(target.address, NQN, queues=2) as host:
        for queue in host.io:
            for index in range(127):
                queue.start(1, nsid=1, write=bytes(1 << 20), **io_fields(0, 2048)).auto = False
        bystander.expect_goes_on()


# --- Thousands ------------------------------------------------------------------------------------


def raw_client(address, number, seed, errors):
    """Connections that come, send something or nothing, and go, by FIN or RST."""
    rng = random.Random(seed)
    good = icreq()
    linger = struct.pack("ii", 1, 0)
    try:
        for index in range(number):
            with socket.socket() as sock:
                sock.settimeout(60)
                sock.connect(address)
                with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                    if index % 2:
                        sock.sendall(rng.randbytes(rng.choice((1, 8, 127, 128, 500))))
                    elif index % 4:
                        sock.sendall(good)
                    if index % 100 == 2:
                        sock.recv(1)  # now and then ICResp, or the end
                if index % 3:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    except OSError as error:
        errors.append(error)


@pytest.mark.parametrize("limit", [64, 10000])
def test_ten_thousand_connections(start, tmp_path, limit):
    """10 000 of them, a half of them garbage, most of them refused or none: none costs a slot for good, the log stays
    short, and a host whose I/O is under way does not notice."""
    limits = "".join(f"{name} = {limit}; " for name in
                     ("handshakes", "handshakes_per_host", "connections", "connections_per_host"))
    daemon = start("-c", config(tmp_path, limits + 'term_timeout = "500ms";'))
    errors = []
    with Host(daemon.address, NQN) as host:
        threads = [threading.Thread(target=raw_client, args=(daemon.address, 2500, seed, errors))
                   for seed in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            assert host.io[0].status(0, nsid=1) == 0
            time.sleep(0.01)
        assert not errors
    daemon.expect_clean()
    assert len(daemon.log().splitlines()) < 200
    assert limit < 10000 or "is reached" not in daemon.log()
    with Host(daemon.address, NQN) as host:
        assert host.io[0].status(0, nsid=1) == 0


def test_a_thousand_at_once(start, tmp_path):
    """1000 connections at a time, half of them for a subsystem that is not there: 500 controllers are made and
    500 refused; whoever finds the house full tries again, as hosts do."""
    limits = "controllers = 600; controllers_per_host = 10; connections_per_host = 1200; handshakes_per_host = 50;"
    daemon = start("-c", config(tmp_path, limits))
    held, codes, errors = [], [], []

    def client(first):
        for number in range(first, 1000, 8):
            end = time.monotonic() + 60
            while True:
                try:
                    queue = Queue(daemon.address, timeout=60)
                    queue.connect(NQN + (":nobody" if number % 2 else ""), entries=2,
                                  hostnqn=f"nqn.2014-08.org.nvmexpress:{number}", hostid=bytes([1]) * 16)
                    held.append(queue)
                    codes.append(0)
                except Status as status:
                    queue.conn.close()
                    codes.append(status.code)
                except (Closed, OSError) as error:  # the limit of handshakes
                    if time.monotonic() > end:
                        errors.append(error)
                        return
                    time.sleep(0.01)
                    continue
                break

    threads = [threading.Thread(target=client, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert (codes.count(0), codes.count(0x182), len(codes)) == (500, 500, 1000)
    assert daemon.counters()["controllers"] == 500
    for queue in held:
        queue.conn.close()
    daemon.expect_clean()


def test_a_thousand_associations(start):
    """A host connects, does something and is gone, 1000 times, by FIN, by RST, or in the middle of a write."""
    daemon = start("--ssd", "emulated:size=64M,queues=4", "--listen", ONE, "--nqn", NQN, "--workers", "2")
    for index in range(1000):
        with Host(daemon.address, NQN, entries=8, queues=1 + index % 2) as host:
            if index % 3 == 0:
                start_write(host.io[0])
            elif index % 3 == 1:
                assert host.io[0].status(0, nsid=1) == 0
            if index % 5 == 0:
                host.admin.conn.abort()
    daemon.expect_clean()
    assert len(daemon.log().splitlines()) < 1500


# --- The log --------------------------------------------------------------------------------------


HOSTILE = [
    ("protocol error: invalid PDU header field (FES 1, FEI 0)", lambda conn: conn.send(header(9))),
    ("protocol error: PDU sequence error", lambda conn: conn.send(header(CMD))),
    ("protocol error: unsupported parameter (FES 6, FEI 8)", lambda conn: conn.send(icreq(pfv=1))),
    ("no ICReq in time", lambda conn: None),
]


@pytest.mark.parametrize("text, act", HOSTILE, ids=range(len(HOSTILE)))
def test_one_line_each(start, tmp_path, text, act):
    """What a peer did wrong is one line, with its address."""
    patience = "500ms" if "in time" in text else "1m"
    daemon = start("-c", config(tmp_path, f'handshake_timeout = "{patience}"; term_timeout = "500ms";'))
    before = len(daemon.log().splitlines())
    with Connection(daemon.address) as conn:
        own = "%s:%d" % conn.sock.getsockname()
        act(conn)
        with contextlib.suppress(Term):
            conn.expect_close()
    daemon.expect_clean()
    lines = daemon.log().splitlines()[before:]
    assert len(lines) == 1 and text in lines[0] and own in lines[0]


def test_flood_is_counted(start, tmp_path):
    """The same thing 500 times: a few lines, and how many were held back."""
    daemon = start("-c", config(tmp_path, 'term_timeout = "100ms";'))
    begin = time.monotonic()
    for _ in range(500):
        with Connection(daemon.address) as conn:
            conn.send(header(9))
            expect_term(conn, 1, 0)
    time.sleep(1.1)
    with Connection(daemon.address) as conn:
        conn.send(header(9))
        expect_term(conn, 1, 0)
    daemon.expect_clean()
    assert daemon.counters()["protocol_errors"] == 501
    shown = daemon.log().count("protocol error")
    held = sum(map(int, re.findall(r"(\d+) messages like the next one were held back", daemon.log())))
    assert shown + held == 501 and shown < 100 + 5 * (time.monotonic() - begin)


def test_controllers_do_not_flood_the_log(start):
    """Enabled and disabled, connected and disconnected, 2000 times by a host that may."""
    daemon = start("--ssd", "emulated:size=16M", "--listen", ONE, "--nqn", NQN)
    with Host(daemon.address, NQN, queues=0) as host:
        for _ in range(1000):
            host.admin.property_set(0x14, 0x00460000)
            host.admin.property_set(0x14, 0x00460001)
    for _ in range(300):
        with Queue(daemon.address) as queue:
            queue.connect(NQN)
    daemon.expect_clean()
    assert len(daemon.log().splitlines()) < 1200


def test_names_do_not_reach_the_terminal(start):
    """Escape sequences in names are not written to the log."""
    daemon = start("--ssd", "emulated:size=16M", "--listen", ONE, "--nqn", NQN)
    for name in (b"nqn.\x1b[2J", b"nqn.\x9b2J", b"nqn.a\nb", b"\r\n" + os.urandom(100)):
        with Queue(daemon.address) as queue, pytest.raises(Status):
            queue.connect(NQN, raw_hostnqn=name)
    log = daemon.log_path.read_bytes()
    assert log.decode() and not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]", log)
    assert "nqn.?[2J" in log.decode()


def test_writes_in_small_parts(host):
    """16384 bytes in parts of 4: slow, and allowed."""
    queue = host.io[0]
    command = start_write(queue)
    for at in range(0, 16384, 64):
        queue.conn.h2c(command.cid, command.ttag, at, bytes(64), at == 16320)
    assert queue.wait(command).status == 0
