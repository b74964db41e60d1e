# SPDX-License-Identifier: BSD-3-Clause
"""Commands that are well framed and wrong: fabrics, admin and I/O. Each has the status that the specification
names; hostile.md is the list."""

import struct
import threading

import pytest

from daemon import NQN
from hostile import start_write
from nvmetcp import DISCOVERY_NQN, HOSTID, Closed, Host, Queue, Status, io_fields, read, write

DATA = 1 << 16  # IATTR: the field is in the data
FRIEND = "nqn.2014-08.org.nvmexpress:friend"


# --- Fabrics --------------------------------------------------------------------------------------


def test_cntlid_of_another_host(target, host):
    """The controller exists, but is another host's: its name decides (DW0 names HOSTNQN)."""
    with Host(target.address, NQN, queues=0, hostnqn=FRIEND) as other:
        other.set_queues(1)
        with pytest.raises(Status) as found:
            other.queue(1, cntlid=host.admin.cntlid)
        assert (found.value.code, found.value.cqe.dw0) == (0x182, DATA | 512)


def test_cntlid_of_another_subsystem(target):
    """An I/O queue for the controller's number, but in another subsystem. The number is what is wrong there:
    DW0 names CNTLID (16), not SUBNQN, for the subsystem exists and the host may use it."""
    with Host(target.address, NQN, queues=0, hostnqn=FRIEND) as host:
        host.set_queues(1)
        with pytest.raises(Status) as found:
            host.queue(1, subnqn=NQN + ":closed")
        assert (found.value.code, found.value.cqe.dw0) == (0x182, DATA | 16)


def test_names_with_nothing_behind_the_nul(target):
    """What is behind the NUL of a name is not part of it."""
    with Queue(target.address) as queue:
        queue.connect(NQN, raw_hostnqn=b"nqn.2014-08.org.nvmexpress:friend\0" + b"\xff" * 222)


@pytest.mark.parametrize("length, code", [(223, 0), (224, 0x182)])
def test_length_of_names(target, length, code):
    """223 bytes at most."""
    name = b"nqn." + b"x" * (length - 4)
    with Queue(target.address) as queue:
        if code:
            with pytest.raises(Status) as found:
                queue.connect(NQN, raw_hostnqn=name)
            assert found.value.code == code and found.value.cqe.dw0 == DATA | 512
        else:
            queue.connect(NQN, raw_hostnqn=name)


@pytest.mark.parametrize("kato", [1, 0xFFFFFFFF])
def test_odd_keep_alive_timeouts(target, kato):
    """1 ms is rounded up, 49 days are not forgotten; of an I/O queue the field is reserved."""
    for left in reversed(range(10)):  # on a busy machine a second may pass in between
        try:
            with Host(target.address, NQN, queues=0, kato=kato) as host:
                host.set_queues(1)
                with host.queue(1, kato=kato) as queue:
                    assert queue.status(0, nsid=1) == 0
                assert host.admin.run(10, cdw10=0x0F).cqe.dw0 == {1: 1000, 0xFFFFFFFF: 4294967000}[kato]
            break
        except (Closed, OSError):
            assert left and kato == 1


def test_keep_alive_without_a_timer(host):
    """KATO 0: Keep Alive is answered all the same."""
    host.admin.run(0x18)


@pytest.mark.parametrize("cattr", [0x03, 0x04, 0x08, 0xF0, 0xFF])
def test_connect_attributes(target, cattr):
    """Priorities and reserved bits of CATTR are ignored."""
    with Queue(target.address) as queue:
        queue.connect(NQN, cattr=cattr, no_flow_control=bool(cattr & 4))
        assert queue.property_get(0x1C) == 0


@pytest.mark.parametrize("size", range(2, 8))
def test_property_sizes(host, size):
    """ATTRIB 2:0 is 0 or 1; the rest is reserved."""
    for offset in (0, 0x14):
        assert host.admin.status(0x7F, nsid=4, cdw10=size, cdw11=offset) == 0x002
    assert host.admin.status(0x7F, nsid=0, cdw10=size, cdw11=0x14, cdw12=0x00460001) == 0x002


@pytest.mark.parametrize("cc", [0x00460081, 0x00460011, 0x00460801, 0x00470001, 0x00560001])
def test_cc_while_enabled(host, cc):
    """EN stays 1 and MPS, CSS, AMS, IOSQES or IOCQES change: refused, and nothing has changed."""
    with pytest.raises(Status) as found:
        host.admin.property_set(0x14, cc)
    assert found.value.code == 0x002
    assert host.admin.property_get(0x14) == 0x00460001
    assert host.io[0].status(0, nsid=1) == 0


def test_disable_with_io_under_way(target):
    """CC.EN = 0 with commands at the SSD and data on its way, on two queues; the same from both sides at once:
    a host's queues are its own."""
    with Host(target.address, NQN, queues=2) as one, \
            Host(target.address, NQN, queues=2, hostid=b"\6" * 16) as other:
        waiting = start_write(other.io[0], slba=2048, byte=b"\x66")
        for queue in (*one.io, other.io[1]):
            for index in range(60):
                queue.start(2, nsid=1, read=65536, **io_fields(index * 128, 128))
        start_write(one.io[0])
        one.admin.property_set(0x14, 0x00460000)
        one.wait_csts(1, 0)
        other.io[1].wait(*list(other.io[1].commands.values()))
        other.io[0].send_data(waiting, 16384)
        assert other.io[0].wait(waiting).status == 0
        assert read(other.io[0], 2048, 32) == b"\x66" * 16384


def test_fewer_queues_and_connects_at_once(target):
    """Number of Queues is set again and again while queues are being connected: at any time a queue is one that
    was granted, or refused."""
    with Host(target.address, NQN, queues=0) as host:
        host.set_queues(4)
        codes = []

        def connect():
            for _ in range(25):
                try:
                    host.queue(4).conn.close()
                    codes.append(0)
                except Status as status:
                    codes.append(status.code)

        thread = threading.Thread(target=connect)
        thread.start()
        answers = {host.admin.status(9, cdw10=7, cdw11=value) for _ in range(50)
                   for value in (0, 3 << 16 | 3)}
        thread.join()
        assert answers <= {0, 0x00C} and set(codes) <= {0, 0x182, 0x00C, 0x181}
        assert len(codes) == 25


# --- Admin ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 3, 4095, 4097, 65536, 1 << 20])
def test_identify_lengths(host, length):
    """4096 bytes; any other length is refused before anything is written to it."""
    assert host.admin.status(6, read=length, cdw10=1) == 0x00F
    assert host.admin.status(6, nsid=1, read=length, cdw10=0) == 0x00F


def test_identify_with_a_controller(host):
    """CNTID means something for the controller lists only."""
    assert host.admin.run(6, read=4096, cdw10=1 | 7 << 16).data == host.identify(1)
    assert host.admin.run(6, nsid=1, read=4096, cdw10=0xFFFF0000).data == host.identify(0, 1)


@pytest.mark.parametrize("lid", [1, 2, 3, 4, 5])
def test_long_log_pages(host, lid):
    """As much as one command may carry: behind the page there are zeroes, no stale memory."""
    size = {1: 4096, 2: 512, 3: 512, 4: 4096, 5: 4096}[lid]
    queue = host.io[0]
    for _ in range(8):
        write(queue, 0, b"\xaa" * (1 << 20), inline=False)  # so that free pages hold something
    data = host.log_page(lid, 1 << 20)
    assert data[size:] == bytes((1 << 20) - size)
    assert b"\xaa" * 16 not in data


@pytest.mark.parametrize("offset", [1, 2, 3, 5, 6, 7, 1021])
def test_log_page_offsets(host, offset):
    """LPO is a multiple of 4."""
    for lid in (1, 2, 3, 4, 5):
        assert host.admin.status(2, read=64, cdw10=lid | 15 << 16, cdw12=offset) == 0x002


def test_shortest_log_page(host):
    """NUMD 0 is one dword; a length that is none is refused."""
    assert len(host.log_page(2, 4)) == 4
    for length in (0, 1, 3, 8):
        assert host.admin.status(2, read=length, cdw10=2) == 0x00F


def test_number_of_queues_twice(target):
    """Set twice before there are queues: the last one counts."""
    with Host(target.address, NQN, queues=0) as host:
        assert host.set_queues(4) == 4
        assert host.set_queues(2) == 2
        with pytest.raises(Status) as found:
            host.queue(3)
        assert (found.value.code, found.value.cqe.dw0) == (0x182, 42)
        assert host.admin.run(10, cdw10=7).cqe.dw0 == 1 << 16 | 1


def test_abort_of_itself(host):
    """Its own CID: it is no command that could be aborted."""
    abort = host.admin.start(8, cdw10=321 << 16, cid=321)
    assert host.admin.wait(abort).dw0 & 1 == 1


def test_abort_names_the_wrong_queue(target):
    """A command of queue 1 is not aborted as one of queue 2, nor after its end."""
    with Host(target.address, NQN, queues=2) as host:
        one = start_write(host.io[0])
        assert host.admin.run(8, cdw10=2 | one.cid << 16).cqe.dw0 & 1 == 1
        host.io[0].send_data(one, 16384)
        assert host.io[0].wait(one).status == 0
        assert host.admin.run(8, cdw10=1 | one.cid << 16).cqe.dw0 & 1 == 1


def test_many_aborts(host):
    """More Aborts than ACL says: all are answered, none of them late; those beyond it abort nothing."""
    commands = [start_write(host.io[0], slba=index * 32) for index in range(16)]
    aborts = [host.admin.start(8, cdw10=1 | command.cid << 16) for command in commands]
    host.admin.wait(*aborts)
    codes = [abort.cqe.code for abort in aborts]
    assert set(codes) <= {0, 0x103} and codes.count(0) >= 4
    for command, code in zip(commands, codes):
        host.io[0].send_data(command, 16384)
        assert host.io[0].wait(command).code == (0 if code else 0x007)


def test_fabrics_commands_that_discovery_has_not(target):
    """I/O queues, Disconnect on the admin queue."""
    with Host(target.address, DISCOVERY_NQN, queues=0) as host:
        assert host.admin.status(0x7F, nsid=8) == 0x185
        assert host.admin.status(9, cdw10=7, cdw11=0) == 0x002


# --- I/O ------------------------------------------------------------------------------------------


def ranges(*pairs):
    """DSM ranges."""
    return b"".join(struct.pack("<IIQ", 0, blocks, slba) for slba, blocks in pairs)


def test_dsm_with_less_data_than_ranges(host):
    """NR says 256, the data holds fewer: refused before the SSD could read beyond it."""
    queue = host.io[0]
    for length in (0, 16, 4080):
        assert queue.status(9, nsid=1, write=bytes(length), inline=length > 0, cdw10=255,
                            cdw11=4) == 0x00F
    assert queue.status(9, nsid=1, write=bytes(4112), inline=True, cdw10=255, cdw11=4) == 0x00F
    assert queue.status(9, nsid=1, write=ranges(*[(0, 1)] * 256), inline=True, cdw10=255,
                        cdw11=4) == 0


@pytest.mark.parametrize("bad", [(65536, 1), (65535, 2), ((1 << 64) - 1, 1), (0, 0xFFFFFFFF),
                                 ((1 << 64) - 1, 0xFFFFFFFF)])
def test_dsm_beyond_the_end(host, bad):
    """One range of several is beyond the end: none is done."""
    queue = host.io[0]
    write(queue, 8, b"\x88" * 512)
    assert queue.status(9, nsid=1, write=ranges((8, 1), bad), inline=True, cdw10=1,
                        cdw11=4) == 0x080
    assert read(queue, 8, 1) == b"\x88" * 512


def test_zeroes_over_everything(host):
    """NLB FFFFh: 65536 blocks are the whole namespace; one more is beyond its end."""
    queue = host.io[0]
    write(queue, 65535, b"\x99" * 512)
    assert queue.status(8, nsid=1, **io_fields(1, 65536)) == 0x080
    assert read(queue, 65535, 1) == b"\x99" * 512
    assert queue.status(8, nsid=1, **io_fields(0, 65536)) == 0
    assert read(queue, 65535, 1) == bytes(512)


@pytest.mark.parametrize("opcode", [1, 2, 5])
def test_more_blocks_than_data(host, opcode):
    """NLB is FFFFh, the data one block, and the other way round: the SSD hears of neither."""
    queue = host.io[0]
    for blocks, length in ((65536, 512), (1, 65536), (2, 512), (1, 1024)):
        data = {"read": length} if opcode == 2 else {"write": bytes(length)}
        assert queue.status(opcode, nsid=1, **data, **io_fields(0, blocks)) in (0x00F, 0x002)


@pytest.mark.parametrize("opcode", [0x0D, 0x0E, 0x11, 0x15, 0x79, 0x7A, 0x90])
def test_reservations_and_zones(host, opcode):
    """Not offered, so unknown: with data of either direction the stream stays in step."""
    queue = host.io[0]
    assert queue.status(opcode, nsid=1, write=bytes(4096), inline=True) == 0x001
    assert queue.status(opcode, nsid=1, read=4096) == 0x001
    assert queue.status(0, nsid=1) == 0


def test_same_names_other_hosts(target, host):
    """The same host NQN with another host ID is another host; it does not get at this one's queues."""
    with Host(target.address, NQN, queues=0, hostid=b"\7" * 16) as other:
        assert other.admin.cntlid != host.admin.cntlid
        other.set_queues(1)
        with pytest.raises(Status) as found:
            other.queue(1, cntlid=host.admin.cntlid)
        assert (found.value.code, found.value.cqe.dw0) == (0x182, DATA | 0)
    assert HOSTID != b"\7" * 16
