# SPDX-License-Identifier: BSD-3-Clause
"""An SSD that breaks down: hosts see a pause and nothing else; what cannot be cured ends in an error that
says "later", never in a wrong block. docs/reliability.md has the table; each line of it names a test."""

import socket
import struct
import threading
import time

import pytest

from daemon import NQN
from nvmetcp import Host, Status, block, io_fields, read, write

HOST_PATH_ERROR, WRITE_FAULT = 0x370, 0x280
BLOCKS = 96  # a queue's; more than any fault.*_after below


def launch(start, tmp_path, spec, recovery="20s", timeout="400ms", limits=""):
    """A daemon with two workers and short timeouts on one emulated SSD."""
    path = tmp_path / "conf"
    path.write_text(f"""workers = 2; listen = ( "127.0.0.1:0" ); limits = {{ {limits} }};
ssds = ( {{ name = "a"; spec = "emulated:{spec}"; command_timeout = "1s"; io_timeout = "{timeout}";
  recovery_timeout = "{recovery}"; retry_pause = "10m"; }} );
subsystems = ( {{ nqn = "{NQN}"; allow_any_host = true; namespaces = ( {{ nsid = 1; ssd = "a"; }} ); }} );
""")
    return start("-c", path)


def ssd(daemon):
    """What nvmetctl status says of it."""
    return daemon.ctl("status")["ssds"][0]


def wait_state(daemon, state, seconds=20):
    """Until the SSD is in this state."""
    end = time.monotonic() + seconds
    while ssd(daemon)["state"] != state:
        assert time.monotonic() < end, f"{ssd(daemon)}, expected {state}"
        time.sleep(0.01)


def work(queue, first, generation):
    """Writes and reads back BLOCKS blocks, 24 at a time; every command must succeed."""
    def batch(opcode, lbas):
        commands = []
        for lba in lbas:
            data = {"write": block(lba, generation), "inline": lba % 2 == 0} if opcode == 1 \
                else {"read": 512}
            commands.append(queue.start(opcode, nsid=1, **data, **io_fields(lba, 1)))
        queue.wait(*commands)
        assert [c.cqe.status for c in commands] == [0] * len(commands)
        return commands

    lbas = range(first, first + BLOCKS)
    for at in range(0, BLOCKS, 24):
        batch(1, lbas[at:at + 24])
    for at in range(0, BLOCKS, 24):
        for lba, command in zip(lbas[at:at + 24], batch(2, lbas[at:at + 24])):
            assert command.data == block(lba, generation), f"block {lba}"


def work_on_all(hosts, generation):
    """The same on all queues of all hosts, at once."""
    failures = []

    def one(queue, first):
        try:
            work(queue, first, generation)
        except BaseException as error:  # pylint: disable=broad-except
            failures.append(error)

    threads = [threading.Thread(target=one, args=(queue, BLOCKS * (10 * h + q)))
               for h, host in enumerate(hosts) for q, queue in enumerate(host.io)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures


# fault keys; resets and aborts that they cost at least; a word of the log
CELLS = {
    "hang-abort-obeyed": ("hang=50,fault.times=1", 0, 1, "aborting it"),
    "hang-abort-late": ("hang=50,fault.times=1,fault.abort=late", 0, 1, "aborting it"),
    "hang-abort-refused": ("hang=50,fault.times=1,fault.abort=refuse", 1, 1, "ready again"),
    "hang-abort-silent": ("hang=50,fault.times=1,fault.abort=silent", 1, 1, "08h was not answered"),
    "hang-many": ("hang=9,fault.times=4", 0, 0, "not answered"),
    "fatal": ("cfs_after=40,fault.times=1", 1, 0, "CSTS.CFS"),
    "fatal-twice": ("cfs_after=40,fault.times=2", 1, 0, "CSTS.CFS"),
    "doorbell-stuck": ("doorbell_after=40,fault.times=1", 1, 0, "commands are not answered"),
    "interrupts-lost": ("mute_after=30,fault.delay=2,fault.delay_ms=1", 0, 0, "interrupt was lost"),
    "gone-and-back": ("gone_after=40,fault.times=1,fault.back_ms=200", 0, 0, "it was removed"),
    "gone-and-back-at-once": ("gone_after=40,fault.times=1,fault.back_ms=1", 0, 0, "it was removed"),
}


ON_A_FILE = ("hang-abort-obeyed", "hang-abort-silent", "fatal", "gone-and-back", "interrupts-lost")


@pytest.mark.parametrize("cell,medium", [*((cell, "memory") for cell in CELLS),
                                         *((cell, "file") for cell in ON_A_FILE)])
def test_hosts_see_latency_only(start, tmp_path, cell, medium):
    """Four queues of two hosts on two workers are in the middle of their work."""
    keys, resets, aborts, logged = CELLS[cell]
    where = f"file={tmp_path}/disk," if medium == "file" else ""
    # A busy disk may take its time without being out of order.
    daemon = launch(start, tmp_path, f"{where}size=16M,fault.{keys}",
                    timeout="1500ms" if where else "400ms")
    with Host(daemon.address, NQN, queues=2) as one, \
            Host(daemon.address, NQN, queues=2, hostid=b"\x22" * 16) as two:
        for generation in range(2):
            work_on_all((one, two), generation)
        status = ssd(daemon)
        assert status["state"] == "ready"
        assert status["resets"] >= resets and status["aborts"] >= aborts, status
        assert logged in daemon.log()
    daemon.expect_clean()


def away(tmp_path):
    """An SSD that is gone after ten commands of a queue, until come_back()."""
    return f"size=16M,fault.gone_after=10,fault.times=1,fault.back_ms=20,fault.back_when={tmp_path}/back"


def come_back(tmp_path):
    """It is there again."""
    (tmp_path / "back").touch()


def changed_namespaces(host):
    """The Changed Namespace List, as nsids."""
    page = host.log_page(4, 4096)
    return [nsid for nsid in struct.unpack("<1024I", page) if nsid]


def watch_and_write(host):
    """Asks for the event that namespaces have changed, and writes ten blocks. → AER, identity of namespace 1."""
    host.admin.run(9, cdw10=0x0B, cdw11=0x100)
    aer = host.admin.start(12)
    identity = host.identify(3, 1)
    for lba in range(10):
        write(host.io[0], lba, block(lba, 1))
    return aer, identity


def expect_event(host, aer):
    """The AER ends with Namespace Attribute Changed, for namespace 1."""
    assert host.admin.wait(aer).dw0 == 0x040002
    assert changed_namespaces(host) == [1]


def test_away_for_longer_than_commands_wait(start, tmp_path):
    """They end with a path error; namespaces are told as changed, twice; connections stay, new ones can be
    made, and all goes on when it is back: same identity, same data."""
    daemon = launch(start, tmp_path, away(tmp_path), recovery="300ms")
    with Host(daemon.address, NQN) as host:
        aer, identity = watch_and_write(host)
        with pytest.raises(Status) as status:
            write(host.io[0], 10, block(10, 1))
        assert status.value.code == HOST_PATH_ERROR and not status.value.cqe.dnr
        expect_event(host, aer)
        aer = host.admin.start(12)
        with pytest.raises(Status) as status:
            read(host.io[0], 0, 1)
        assert status.value.code == HOST_PATH_ERROR
        with Host(daemon.address, NQN, hostid=b"\x22" * 16) as other:
            assert other.io[0].status(0, nsid=1) == HOST_PATH_ERROR
            status = ssd(daemon)
            assert status["state"] == "absent" and status["why"] == "it was removed"
            come_back(tmp_path)
            expect_event(host, aer)
            for queue in (host.io[0], other.io[0]):
                for lba in range(10):
                    assert read(queue, lba, 1) == block(lba, 1)
        assert host.identify(3, 1) == identity
    daemon.expect_clean()


def test_no_reset_loop(start, tmp_path):
    """A fatal error after every command: given up, by name; every command ends; the daemon stops well."""
    daemon = launch(start, tmp_path, "size=16M,fault.cfs_after=1")
    with Host(daemon.address, NQN) as host:
        commands = [host.io[0].start(2, nsid=1, read=512, **io_fields(lba, 1)) for lba in range(40)]
        host.io[0].wait(*commands)
        codes = {command.cqe.code for command in commands}
        assert codes == {0, HOST_PATH_ERROR}
        assert host.io[0].status(0, nsid=1) == HOST_PATH_ERROR
        status = ssd(daemon)
        assert status["state"] == "failed" and "CSTS.CFS" in status["why"]
        assert status["resets"] <= 5
    daemon.expect_clean()


def test_never_ready_again(start, tmp_path):
    """After a reset CSTS.RDY does not follow any more."""
    daemon = launch(start, tmp_path, "size=16M,fault.cfs_after=10,fault.never_ready=2")
    with Host(daemon.address, NQN) as host:
        for lba in range(10):
            write(host.io[0], lba, block(lba, 1))
        assert host.io[0].status(0, nsid=1) == HOST_PATH_ERROR
        assert ssd(daemon)["state"] == "failed" and "CSTS.RDY" in ssd(daemon)["why"]
    daemon.expect_clean()


def test_tried_again_when_asked(start, tmp_path):
    """An SSD that was given up works again: an operator's rescan brings it back. Hosts are told, keep their
    connections, and what was acknowledged is there."""
    daemon = launch(start, tmp_path, "size=16M,fault.cfs_after=10,fault.times=1,fault.never_ready=2,"
                    "fault.ready_again=6")
    with Host(daemon.address, NQN) as host:
        aer, identity = watch_and_write(host)
        assert host.io[0].status(0, nsid=1) == HOST_PATH_ERROR
        expect_event(host, aer)
        aer = host.admin.start(12)
        for retries in (1, 2):  # the first is in vain
            wait_state(daemon, "failed")
            assert ssd(daemon)["retries"] == retries - 1
            daemon.ctl("rescan", "a")
        expect_event(host, aer)
        assert ssd(daemon)["retries"] == 2 and ssd(daemon)["state"] == "ready"
        for lba in range(10):
            assert read(host.io[0], lba, 1) == block(lba, 1)
        work(host.io[0], 100, 1)
        assert host.identify(3, 1) == identity
    daemon.expect_clean()


def test_an_event_of_an_internal_error(start, tmp_path):
    """The SSD says that it serves no command any more: reset, without waiting for a command to time out."""
    daemon = launch(start, tmp_path, "size=16M,fault.internal_after=40", timeout="1m")
    with Host(daemon.address, NQN) as host:
        end, generation = time.monotonic() + 60, 0
        while not ssd(daemon)["resets"] or ssd(daemon)["state"] != "ready":
            assert time.monotonic() < end, ssd(daemon)
            generation += 1
            work(host.io[0], 0, generation)
        assert "it reports a persistent internal error: resetting it" in daemon.log()
        work(host.io[0], 0, generation + 1)
    daemon.expect_clean()


def test_another_ssd_in_its_place(start, tmp_path):
    """It comes back with another serial number: nothing is written to that one."""
    daemon = launch(start, tmp_path, "size=16M,fault.gone_after=10,fault.back_ms=100,fault.back_as=OTHER")
    with Host(daemon.address, NQN) as host:
        for lba in range(10):
            write(host.io[0], lba, block(lba, 1))
        assert host.io[0].status(0, nsid=1) == HOST_PATH_ERROR
        assert ssd(daemon)["why"] == "another SSD is in its place"
        assert "found nvmetd emulated SSD" in daemon.log() and "serial OTHER" in daemon.log()
    daemon.expect_clean()


def test_hopeless_command(start, tmp_path):
    """A command that the SSD never answers costs its host an error, and the others a pause."""
    daemon = launch(start, tmp_path, "size=16M,fault.op=flush,fault.hang=1,fault.abort=refuse")
    with Host(daemon.address, NQN, queues=2) as host:
        flush = host.io[0].start(0, nsid=1)
        work(host.io[1], 0, 1)
        assert host.io[0].wait(flush).code == 0x006 and not flush.cqe.dnr
        work(host.io[0], 200, 1)
        assert ssd(daemon)["state"] == "ready"
    daemon.expect_clean()


@pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])
def test_no_write_of_a_dead_connection_on_top_of_a_newer_one(start, tmp_path, shared):
    """A write waits for the SSD; its host loses the connection, comes back and writes the block anew."""
    queues = 1 if shared else 8
    daemon = launch(start, tmp_path, f"{away(tmp_path)},queues={queues}")
    with Host(daemon.address, NQN, hostid=b"\x22" * 16) as other:
        host = Host(daemon.address, NQN)
        for lba in range(10):
            write(host.io[0], lba, block(lba, 1))
        host.io[0].start(1, nsid=1, write=block(5, 2), inline=True, **io_fields(5, 1))
        wait_state(daemon, "absent")
        for queue in (host.io[0], host.admin):
            queue.conn.abort()
        if shared:
            come_back(tmp_path)  # its command ends only when the SSD is back
        end = time.monotonic() + 20
        while True:
            try:
                host = Host(daemon.address, NQN)
                break
            except Status as status:  # Controller Busy, while the old one is taken apart
                assert status.code == 0x181 and not status.cqe.dnr and time.monotonic() < end
        with host:
            newer = host.io[0].start(1, nsid=1, write=block(5, 3), inline=True, **io_fields(5, 1))
            come_back(tmp_path)
            assert host.io[0].wait(newer).status == 0
            wait_state(daemon, "ready")
            work(other.io[0], 100, 1)
            assert read(host.io[0], 5, 1) == block(5, 3)
            assert read(other.io[0], 5, 1) == block(5, 3)
    daemon.expect_clean()


@pytest.mark.parametrize("keys", ["gone_after=10", "cfs_after=10,fault.never_ready=2",
                                  "gone_after=10,fault.back_ms=1,fault.back_as=OTHER",
                                  "hang=5,fault.abort=silent", "doorbell_after=10"])
def test_daemon_stops_in_the_middle_of_it(start, tmp_path, keys):
    """SIGTERM during an outage, with commands under way: exit status 0."""
    daemon = launch(start, tmp_path, f"size=16M,fault.{keys}")
    with Host(daemon.address, NQN, queues=2) as host:
        for queue in host.io:
            for lba in range(40):
                queue.start(2, nsid=1, read=512, **io_fields(lba, 1))
        time.sleep(0.1)
        daemon.stop()


def test_hosts_come_and_go_during_an_outage(start, tmp_path):
    """20 hosts connect, write and leave while the SSD is away; one stays."""
    daemon = launch(start, tmp_path, away(tmp_path))
    with Host(daemon.address, NQN) as host:
        for lba in range(10):
            write(host.io[0], lba, block(lba, 1))
        kept = host.io[0].start(1, nsid=1, write=block(30, 1), inline=True, **io_fields(30, 1))
        wait_state(daemon, "absent")
        for number in range(20):
            with Host(daemon.address, NQN, hostid=bytes([number + 1]) * 16) as other:
                other.io[0].start(1, nsid=1, write=block(40, 1), inline=True, **io_fields(40, 1))
        come_back(tmp_path)
        assert host.io[0].wait(kept).status == 0
        assert read(host.io[0], 30, 1) == block(30, 1)
    daemon.expect_clean()


def test_admin_commands_wait_for_their_turn(start, tmp_path):
    """More than a host may have at the SSD, which is away: those of a host that leaves end, the others are answered
    when it is back."""
    def ask(host, number):
        return [host.admin.start(2, nsid=0xFFFFFFFF, read=512, cdw10=2 | 127 << 16) for _ in range(number)]

    daemon = launch(start, tmp_path, away(tmp_path))
    with Host(daemon.address, NQN, hostnqn="nqn.2014-08.org.nvmexpress:modest") as modest:
        for lba in range(10):
            write(modest.io[0], lba, block(lba, 1))
        kept = modest.io[0].start(0, nsid=1)
        wait_state(daemon, "absent")
        with Host(daemon.address, NQN, queues=0) as greedy:
            with Host(daemon.address, NQN, queues=0, hostid=b"\x33" * 16) as leaving:
                ask(leaving, 30)
                waiting = ask(greedy, 30)
                one = ask(modest, 1)
            come_back(tmp_path)
            assert greedy.admin.wait(*waiting).status == 0 and modest.admin.wait(*one).status == 0
            assert {command.cqe.status for command in waiting} == {0}
        assert modest.io[0].wait(kept).status == 0
    daemon.expect_clean()


def test_a_cache_that_lost_power(start, tmp_path):
    """Acknowledged writes went with the SSD's cache: no Flush says that they are safe, on any queue, nor one
    that was under way; afterwards Flush is the SSD's word again."""
    daemon = launch(start, tmp_path, f"file={tmp_path}/disk,size=16M,cache=1,fault.gone_after=3,"
                    "fault.times=1,fault.back_ms=20", timeout="5s")
    with Host(daemon.address, NQN, queues=2) as host:
        one, two = host.io
        write(one, 0, b"a" * 512)
        assert one.status(0, nsid=1) == 0
        write(one, 0, b"b" * 512)
        write(two, 1, b"c" * 512)
        flush = one.start(0, nsid=1)  # the SSD goes
        assert one.wait(flush).code == WRITE_FAULT and flush.cqe.dnr
        assert "it was gone, and has a volatile write cache" in daemon.log()
        assert read(one, 0, 1) == b"a" * 512 and read(two, 1, 1) == bytes(512)
        write(one, 0, b"d" * 512)
        assert one.status(0, nsid=1) == 0
        assert two.status(0, nsid=1) == WRITE_FAULT
        assert two.status(0, nsid=1) == 0
        with Host(daemon.address, NQN, hostid=b"\x22" * 16) as new:
            assert new.io[0].status(0, nsid=1) == 0 and read(new.io[0], 0, 1) == b"d" * 512


def test_a_cache_that_lost_power_while_a_host_was_away(start, tmp_path):
    """It is told by the first Flush of each of its new queues, and again as long as it may not have seen that; a host
    that was never there has lost nothing."""
    daemon = launch(start, tmp_path, f"file={tmp_path}/disk,size=16M,cache=1,fault.gone_after=3,"
                    "fault.times=1,fault.back_ms=20", timeout="5s")
    with Host(daemon.address, NQN, hostid=b"\x22" * 16) as there:
        with Host(daemon.address, NQN) as host:
            write(host.io[0], 0, b"a" * 512)
        for _ in range(4):
            write(there.io[0], 1, b"b" * 512)  # the SSD goes
        for _ in range(2):
            with Host(daemon.address, NQN, queues=2) as host:
                for queue in host.io:
                    assert queue.status(0, nsid=1) == WRITE_FAULT
                    assert queue.status(0, nsid=1) == 0
                assert read(host.io[0], 0, 1) == bytes(512)
        with Host(daemon.address, NQN, hostid=b"\x33" * 16) as new:
            assert new.io[0].status(0, nsid=1) == 0
        assert there.io[0].status(0, nsid=1) == WRITE_FAULT
    daemon.expect_clean()


def test_a_host_without_a_window_while_the_ssd_is_reset(start, tmp_path):
    """A host reads nothing, with reads and writes under way, while the SSD is reset and another host goes on: what was
    acknowledged to either is there, and the first one's pages come back when its time is over."""
    daemon = launch(start, tmp_path, "size=64M,fault.cfs_after=150,fault.times=1", limits='pdu_timeout = "6s";')
    with Host(daemon.address, NQN, hostid=b"\x22" * 16) as other:
        with Host(daemon.address, NQN, entries=64) as host:
            deaf, idle = host.io[0], daemon.counters()["dma_pages_used"]
            deaf.conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            for lba in range(40):
                write(deaf, lba, block(lba, 1))
            for _ in range(16):
                deaf.start(2, nsid=1, read=1 << 20, **io_fields(4096, 2048))
            for lba in range(20):
                deaf.start(1, nsid=1, write=block(lba, 2), inline=True, **io_fields(lba, 1))
            end, generation = time.monotonic() + 60, 0
            while not ssd(daemon)["resets"] or "it does not read what it is sent" not in daemon.log():
                assert time.monotonic() < end, (ssd(daemon), daemon.log()[-2000:])
                generation += 1
                work(other.io[0], 1000, generation)
            while daemon.counters()["dma_pages_used"] > idle:
                assert time.monotonic() < end, daemon.counters()
                time.sleep(0.05)
        for lba in range(BLOCKS):
            assert read(other.io[0], 1000 + lba, 1) == block(1000 + lba, generation)
        for lba in range(40):
            assert read(other.io[0], lba, 1) in (block(lba, 1), block(lba, 2 if lba < 20 else 1))
    daemon.expect_clean()
