# SPDX-License-Identifier: BSD-3-Clause
"""Fused Compare and Write: pairs, halves without their other half, and everything that comes between.

The emulated SSD ends a half with 00/0Ah unless it finds the other one next to it when it is told of
the first, so every success here also shows that.
"""

import select
import struct
import time

import pytest

from daemon import NQN, Daemon
from nvmetcp import Cqe, Host, io_fields, read, write

FIRST, SECOND = 0x41, 0x42
COMPARE, WRITE, READ, FLUSH = 5, 1, 2, 0
OLD, NEW = b"\x0a" * 512, b"\x0b" * 512
MISSING, FAILED, COMPARE_FAILURE, INVALID_FIELD = 0x00A, 0x009, 0x285, 0x002


def configure(folder, handshake="1m", pdu="1m"):
    """An SSD with few queue pairs that offers fused commands."""
    conf = folder / "conf"
    conf.write_text(f"""listen = ( "127.0.0.1:0" );
limits = {{ handshake_timeout = "{handshake}"; pdu_timeout = "{pdu}"; }};
ssds = ( {{ name = "a"; spec = "emulated:size=64M,namespaces=2,queues=2,fused=1"; }},
         {{ name = "b"; spec = "emulated:size=16M"; }} );
subsystems = (
  {{ nqn = "{NQN}"; allow_any_host = true;
    namespaces = ( {{ nsid = 1; ssd = "a"; }}, {{ nsid = 2; ssd = "a"; ssd_nsid = 2; }} ); }},
  {{ nqn = "{NQN}:mixed"; allow_any_host = true;
    namespaces = ( {{ nsid = 1; ssd = "a"; }}, {{ nsid = 2; ssd = "b"; }} ); }} );
""")
    return conf


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    """Shared by these tests."""
    folder = tmp_path_factory.mktemp("fused")
    instance = Daemon(folder, "-c", configure(folder))
    yield instance
    instance.stop()


@pytest.fixture(name="fused")
def fused_host(daemon):
    """A host with one I/O queue; nothing of it is left afterwards."""
    with Host(daemon.address, NQN) as host:
        yield host
    daemon.expect_clean()


def first(queue, data=OLD, slba=0, **changes):
    """Starts the Compare of a pair."""
    arguments = {"nsid": 1, "inline": True, "flags": FIRST, **io_fields(slba, len(data) // 512),
                 **changes}
    return queue.start(arguments.pop("opcode", COMPARE), write=data, **arguments)


def second(queue, data=NEW, slba=0, **changes):
    """Starts the Write of a pair."""
    arguments = {"nsid": 1, "inline": True, "flags": SECOND, **io_fields(slba, len(data) // 512),
                 **changes}
    return queue.start(arguments.pop("opcode", WRITE), write=data, **arguments)


def number(count):
    """A block with a number in it."""
    return struct.pack("<Q", count).ljust(512, b"\0")


def codes(queue, *commands):
    """What they end with."""
    queue.wait(*commands)
    return [command.cqe.code for command in commands]


def hold(queue, command):
    """Waits for its R2T and does not answer it."""
    command.auto = False
    while command.ttag is None:
        queue.pump()


def answer(queue, command):
    """Sends the data that hold() kept back."""
    queue.send_data(command, len(command.write))


def test_what_is_offered(daemon, fused):
    """FUSES, and ACWU as large as a pair may be; not where an SSD of the subsystem lacks it."""
    assert struct.unpack_from("<H", fused.identify(1), 522)[0] == 1
    assert struct.unpack_from("<H", fused.identify(1), 532)[0] == 15
    with Host(daemon.address, NQN + ":mixed") as host:
        assert struct.unpack_from("<H", host.identify(1), 522)[0] == 0
        assert struct.unpack_from("<H", host.identify(1), 532)[0] == 0
        for opcode in (COMPARE, WRITE):
            for flags in (FIRST, SECOND, 0x43):
                assert host.io[0].status(opcode, nsid=1, write=OLD, inline=True, flags=flags,
                                         **io_fields(0, 1)) == INVALID_FIELD


@pytest.mark.parametrize("blocks", [1, 16])
@pytest.mark.parametrize("inline", [(True, True), (True, False), (False, True), (False, False)])
def test_pair(fused, blocks, inline):
    """Equal: written. Different: nothing is. In whichever way the data of each half comes."""
    queue = fused.io[0]
    write(queue, 40, OLD * blocks)
    for old, new, expected, after in ((OLD, NEW, [0, 0], NEW), (OLD, OLD, [COMPARE_FAILURE, FAILED], NEW),
                                      (NEW, OLD, [0, 0], OLD)):
        one = first(queue, old * blocks, 40, inline=inline[0])
        two = second(queue, new * blocks, 40, inline=inline[1])
        assert codes(queue, one, two) == expected
        assert read(queue, 40, blocks) == after * blocks


def test_data_in_any_order(fused):
    """The second half's data before the first one's; nothing happens until both are here."""
    queue = fused.io[0]
    write(queue, 0, OLD)
    one, two = first(queue, inline=False), second(queue, inline=False)
    hold(queue, one)
    hold(queue, two)
    answer(queue, two)
    assert read(queue, 0, 1) == OLD
    answer(queue, one)
    assert codes(queue, one, two) == [0, 0]
    assert read(queue, 0, 1) == NEW


def test_other_commands_while_data_comes(fused):
    """Once the pair is complete others may follow before its data does."""
    queue = fused.io[0]
    write(queue, 0, OLD)
    one = first(queue, inline=False)
    two = second(queue, inline=False)
    hold(queue, one)
    hold(queue, two)
    answer(queue, one)
    others = [queue.start(READ, nsid=1, read=512, **io_fields(0, 1)) for _ in range(20)]
    others.append(first(queue, OLD, slba=9, nsid=2))
    others.append(second(queue, NEW, slba=9, nsid=2))
    queue.wait(*others)
    assert others[-2].cqe.code == COMPARE_FAILURE and others[-1].cqe.code == FAILED
    answer(queue, two)
    assert codes(queue, one, two) == [0, 0]


def test_missing_second(fused):
    """A first half is over when another command follows, whatever that is, which goes on."""
    queue = fused.io[0]
    write(queue, 0, OLD)
    for inline in (True, False):
        one = first(queue, inline=inline)
        other = queue.start(READ, nsid=1, read=512, **io_fields(0, 1))
        assert codes(queue, one, other) == [MISSING, 0]
        one = first(queue, inline=inline)
        assert queue.status(0x7F, nsid=0x04) == 0x185  # Property Get: Invalid Queue Type
        assert codes(queue, one) == [MISSING]
        one, again, two = first(queue, inline=inline), first(queue), second(queue, OLD)
        assert codes(queue, one, again, two) == [MISSING, 0, 0]
    assert read(queue, 0, 1) == OLD


def test_second_that_cannot_be_one(fused):
    """A Fabrics command with the bits of a second half: refused, and the first half is over."""
    queue = fused.io[0]
    one, other = first(queue), queue.start(0x7F, nsid=4, flags=SECOND)
    assert codes(queue, one, other) == [MISSING, INVALID_FIELD]


def test_missing_first(fused):
    """A second half alone, and one with another command before it."""
    queue = fused.io[0]
    write(queue, 0, OLD)
    assert codes(queue, second(queue)) == [MISSING]
    assert codes(queue, second(queue, inline=False)) == [MISSING]
    one = first(queue)
    between = queue.start(FLUSH, nsid=1)
    two = second(queue)
    assert codes(queue, one, between, two) == [MISSING, 0, MISSING]
    assert read(queue, 0, 1) == OLD


@pytest.mark.parametrize("one, two, expected", [
    ({"opcode": WRITE}, {"opcode": COMPARE}, [INVALID_FIELD, FAILED]),
    ({"opcode": WRITE}, {}, [INVALID_FIELD, FAILED]),
    ({}, {"opcode": COMPARE}, [FAILED, INVALID_FIELD]),
    ({}, {"opcode": 0xC1}, [FAILED, INVALID_FIELD]),
    ({}, {"cdw10": 1}, [FAILED, INVALID_FIELD]),
    ({}, {"cdw11": 1}, [FAILED, INVALID_FIELD]),
    ({}, {"nsid": 2}, [FAILED, INVALID_FIELD]),
    ({}, {"data": NEW * 2}, [FAILED, INVALID_FIELD]),
    ({"cdw10": 65536}, {"cdw10": 65536}, [0x080, FAILED]),
    ({"nsid": 3}, {"nsid": 3}, [0x00B, FAILED]),
    ({"data": OLD * 17}, {"data": NEW * 17}, [0x014, FAILED]),
    ({"cdw12": 1 << 20}, {}, [INVALID_FIELD, FAILED]),
    ({}, {"cdw12": 1 << 20}, [FAILED, INVALID_FIELD]),
    ({"sgl": (0, 1024, 0x01)}, {}, [0x00F, FAILED]),
    ({}, {"sgl": (0, 1024, 0x01)}, [FAILED, 0x00F]),
    ({"flags": 0x43}, {}, [INVALID_FIELD, MISSING]),
    ({}, {"flags": 0x43}, [MISSING, INVALID_FIELD]),
])
@pytest.mark.parametrize("inline", [True, False], ids=["capsule", "r2t"])
def test_wrong_pairs(fused, one, two, expected, inline):
    """Wrong order, other blocks, a half that fails for a reason of its own: nothing is written."""
    queue = fused.io[0]
    write(queue, 0, OLD)
    # Without the parts that only fit data in the capsule.
    inline = inline or "sgl" in one or "sgl" in two
    inline = inline and len(one.get("data", b"")) <= 8192
    one, two = first(queue, **{"inline": inline, **one}), second(queue, **{"inline": inline, **two})
    assert codes(queue, one, two) == expected
    assert read(queue, 0, 1) == OLD
    assert codes(queue, first(queue), second(queue)) == [0, 0]


@pytest.mark.parametrize("bad", [0, 1])
@pytest.mark.parametrize("inline", [True, False], ids=["capsule", "r2t"])
def test_digest_error_in_one_half(daemon, bad, inline):
    """It costs the pair, not the connection."""
    with Host(daemon.address, NQN, ddgst=True) as host:
        queue = host.io[0]
        write(queue, 0, OLD)
        if inline:
            one = first(queue, ddgst=1 if bad == 0 else None)
            two = second(queue, ddgst=1 if bad == 1 else None)
        else:
            one, two = first(queue, inline=False), second(queue, inline=False)
            for index, command in enumerate((one, two)):
                hold(queue, command)
                queue.conn.h2c(command.cid, command.ttag, 0, command.write,
                               ddgst=1 if index == bad else None)
        assert codes(queue, one, two) == ([0x022, FAILED] if bad == 0 else [FAILED, 0x022])
        assert read(queue, 0, 1) == OLD


def test_second_with_the_same_cid(fused):
    """Command ID Conflict for the second, so the first fails as well."""
    queue = fused.io[0]
    first(queue, cid=7)
    second(queue, cid=7)
    assert {Cqe(queue.conn.pdu().header[8:24]).code for _ in range(2)} == {0x003, FAILED}
    queue.commands.clear()


def abort(host, command):
    """Whether it was aborted."""
    return host.admin.run(8, cdw10=1 | command.cid << 16).cqe.dw0 & 1 == 0


def test_abort_of_a_first_half(fused):
    """It ends; its second half, which comes later, fails."""
    queue = fused.io[0]
    write(queue, 0, OLD)
    one = first(queue)
    assert abort(fused, one)
    assert codes(queue, one) == [0x007]
    assert codes(queue, second(queue)) == [FAILED]
    assert codes(queue, second(queue)) == [MISSING]
    assert read(queue, 0, 1) == OLD


@pytest.mark.parametrize("which", [0, 1])
def test_abort_while_data_comes(fused, which):
    """Either half, while the host is sending the other's data."""
    queue = fused.io[0]
    write(queue, 0, OLD)
    one, two = first(queue, inline=False), second(queue, inline=False)
    hold(queue, one)
    hold(queue, two)
    answer(queue, two if which else one)
    assert read(queue, 0, 1) == OLD  # its data has arrived
    assert abort(fused, two if which else one)
    answer(queue, one if which else two)
    assert codes(queue, one, two) == ([FAILED, 0x007] if which else [0x007, FAILED])
    assert read(queue, 0, 1) == OLD


@pytest.mark.parametrize("inline", [True, False], ids=["capsule", "r2t"])
@pytest.mark.parametrize("end", ["close", "abort"])
def test_disconnect_in_between(daemon, inline, end):
    """With a first half parked, with both coming: nothing is left behind."""
    with Host(daemon.address, NQN) as other:
        for halves in (1, 2):
            with Host(daemon.address, NQN) as host:
                queue = host.io[0]
                one = first(queue, inline=inline)
                if not inline:
                    hold(queue, one)
                if halves == 2:
                    two = second(queue, inline=False)
                    hold(queue, two)
                if not inline:
                    answer(queue, one)
                getattr(queue.conn, end)()
            assert read(other.io[0], 0, 1)
    daemon.expect_clean()


def test_second_half_that_never_comes(start, tmp_path):
    """A first half holds memory, so its host has as long as for the rest of a PDU."""
    daemon = start("-c", configure(tmp_path, "4s", "1s"))
    with Host(daemon.address, NQN) as host:
        begin = time.monotonic()
        first(host.io[0])
        host.io[0].conn.expect_close()
        assert time.monotonic() - begin > 0.8
    daemon.expect_clean()


def test_memory_for_first_halves_is_bounded(start):
    """Hosts that send only first halves, until one is told to try again; others are not held up."""
    daemon = start("--ssd", "emulated:size=16M,fused=1", "--listen", "127.0.0.1:0", "--nqn", NQN,
                   "--dma-memory", "16M")
    hosts = []
    try:
        refused = None
        while not refused:
            assert len(hosts) < 100
            hosts.append(Host(daemon.address, NQN, hostid=bytes([len(hosts) + 1]) * 16))
            first(hosts[-1].io[0], OLD * 16)
            for host in hosts:
                if select.select([host.io[0].conn.sock], [], [], 0 if host is not hosts[-1] else 0.02)[0]:
                    queue = host.io[0]
                    command, = queue.commands.values()
                    refused = queue.wait(command).code
        assert refused == 0x021 and len(hosts) > 8
        assert codes(queue, second(queue, NEW * 16)) == [FAILED]
        for index in range(20):
            queue.run(WRITE, nsid=1, write=bytes(1 << 20), **io_fields(0, 2048))
            write(queue, index, bytes(8192))
        assert codes(hosts[0].io[0], second(hosts[0].io[0], NEW * 16)) == [FAILED]
        assert codes(queue, first(queue, bytes(512)), second(queue)) == [0, 0]
    finally:
        for host in hosts:
            host.close()
    daemon.expect_clean()


def test_stop_with_a_first_half(start):
    """The daemon does not wait for what will not come."""
    daemon = start("--ssd", "emulated:size=16M,fused=1", "--listen", "127.0.0.1:0", "--nqn", NQN)
    with Host(daemon.address, NQN) as host:
        first(host.io[0])
        time.sleep(0.1)
        begin = time.monotonic()
        daemon.stop()
        assert time.monotonic() - begin < 12  # it is patient for 15 s with what has to come


@pytest.mark.parametrize("op, expected", [("write", [FAILED, 0x281]), ("compare", [0x281, FAILED])])
def test_error_of_the_ssd(start, op, expected):
    """What the SSD says of each half reaches the host."""
    daemon = start("--ssd", f"emulated:size=16M,fused=1,fault.op={op},fault.error=2", "--listen",
                   "127.0.0.1:0", "--nqn", NQN)
    with Host(daemon.address, NQN) as host:
        queue = host.io[0]
        if op == "compare":
            assert queue.status(COMPARE, nsid=1, write=bytes(512), **io_fields(0, 1)) == 0
            assert codes(queue, first(queue, bytes(512)), second(queue)) == expected
            assert read(queue, 0, 1) == bytes(512)
        else:
            assert codes(queue, first(queue, bytes(512)), second(queue, OLD)) == [0, 0]
            assert codes(queue, first(queue), second(queue)) == expected
            assert read(queue, 0, 1) == OLD
    daemon.expect_clean()


@pytest.mark.parametrize("keys", ["queues=1,depth=3", "queues=1,depth=4", "queues=4", "vectors=0",
                                  "queues=2,depth=3,fault.delay=3,fault.delay_ms=2"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_lock_between_hosts(start, keys, workers):
    """Hosts count up one block with Compare and Write, each with other commands around it, on rings
    that just hold a pair: each time one host wins, no increment is lost, and none waits for ever."""
    daemon = start("--ssd", f"emulated:size=16M,fused=1,{keys}", "--listen", "127.0.0.1:0", "--nqn",
                   NQN, "--workers", workers)
    entries = 2 if "depth=3" in keys else 3
    hosts = [Host(daemon.address, NQN, hostid=bytes([index]) * 16, entries=entries)
             for index in range(1, 5)]
    try:
        for count in range(24):
            old, new = number(count), number(count + 1)
            pairs, others = [], []
            for index, host in enumerate(hosts):
                queue = host.io[0]
                if index != count % 4:
                    pairs.append((queue, first(queue, old), second(queue, new)))
                for _ in range(entries - 2 if index != count % 4 else entries):
                    others.append((queue, queue.start(READ, nsid=1, read=8192, **io_fields(8, 16))))
            for queue, command in others:
                assert queue.wait(command).status == 0
            assert sorted(codes(*pair) for pair in pairs) == \
                [[0, 0], [COMPARE_FAILURE, FAILED], [COMPARE_FAILURE, FAILED]]
    finally:
        for host in hosts:
            host.close()
    daemon.expect_clean()


@pytest.mark.parametrize("keys", [
    "cfs_after=12,fault.times=2", "cfs_after=13,fault.times=2",
    "doorbell_after=12,fault.times=2", "doorbell_after=13,fault.times=2",
    "gone_after=12,fault.times=1,fault.back_ms=100", "gone_after=13,fault.times=1,fault.back_ms=100",
    "delay=3,fault.delay_ms=30,fault.cfs_after=12,fault.times=1"])
def test_pairs_when_the_ssd_is_reset(start, tmp_path, keys):
    """Two hosts count up a block each; the SSD breaks down before, in the middle of, and behind a pair that was done
    and not answered. It is done once or not at all, the error says "try again", and other commands just wait."""
    conf = tmp_path / "conf"
    conf.write_text(f"""workers = 2; listen = ( "127.0.0.1:0" );
ssds = ( {{ name = "a"; spec = "emulated:size=16M,fused=1,fault.{keys}"; io_timeout = "400ms"; }} );
subsystems = ( {{ nqn = "{NQN}"; allow_any_host = true; namespaces = ( {{ nsid = 1; ssd = "a"; }} ); }} );
""")
    daemon = start("-c", conf)
    errors = 0
    with Host(daemon.address, NQN) as one, Host(daemon.address, NQN, hostid=b"\x22" * 16) as two:
        counts = {one: 0, two: 0}
        for _ in range(12):
            pairs = {}
            for lba, (host, count) in enumerate(counts.items()):
                queue = host.io[0]
                pairs[host] = [first(queue, number(count), slba=lba), second(queue, number(count + 1), slba=lba),
                               queue.start(READ, nsid=1, read=512, **io_fields(8, 1))]
            for lba, (host, commands) in enumerate(pairs.items()):
                host.io[0].wait(*commands)
                statuses = [command.cqe.status for command in commands]
                found, = struct.unpack_from("<Q", read(host.io[0], lba, 1))
                if statuses == [0, 0, 0]:
                    assert found == counts[host] + 1
                else:
                    errors += 1
                    assert all(not command.cqe.dnr for command in commands), statuses
                    assert found in (counts[host], counts[host] + 1) and statuses[2] == 0, (found, statuses)
                counts[host] = found
        assert errors, "no pair was under way"
    daemon.expect_clean()
