# SPDX-License-Identifier: BSD-3-Clause
"""Connect, properties, Disconnect, keep-alive: the life of a controller and who may have one."""

import struct
import time

import pytest

from daemon import NQN
from nvmetcp import (DISCOVERY_NQN, H2C_DATA, HOSTID, HOSTNQN, LAST, SGL_TRANSPORT, Cqe, Host, Queue,
                     Status, io_fields, read, sqe, write)

DATA = 1 << 16  # IATTR: the field is in the data


def refused(target, code, dw0=None, subnqn=NQN, queue=None, **kwargs):
    """Connect ends with this status, and names this field."""
    with queue or Queue(target.address) as one:
        with pytest.raises(Status) as found:
            one.connect(subnqn, **kwargs)
    assert found.value.code == code
    if dw0 is not None:
        assert found.value.cqe.dw0 == dw0
    return found.value.cqe


@pytest.mark.parametrize("code, dw0, change", [
    (0x180, None, {"recfmt": 1}),
    *((0x182, 44, {"sqsize": sqsize}) for sqsize in (0, 1024, 0xFFFF)),
    (0x182, DATA | 256, {"raw_subnqn": b"n" * 256}), (0x182, DATA | 512, {"raw_hostnqn": b"n" * 256}),
    (0x182, DATA | 256, {"raw_subnqn": b""}), (0x182, DATA | 512, {"raw_hostnqn": b""}),
    (0x182, DATA | 512, {"raw_hostnqn": b"iqn.2014-08.org:x"}),
    (0x182, DATA | 512, {"raw_hostnqn": b"nqn." + b"x" * 220}),
    *((0x182, DATA | 512, {"raw_hostnqn": b"nqn." + bad})
      for bad in (b"", b" ", b"\xff", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\x1b[2J", b"\xc2\x9b2J")),
    (0x182, DATA | 256, {"raw_subnqn": b"nqn.\xff"}),
    (0x182, DATA | 256, {"subnqn": "nqn.2026-11.io.nvmetd:nobody"}),
    (0x182, DATA | 16, {"cntlid": 1}), (0x182, DATA | 16, {"cntlid": 0xFFFE}),
    (0x184, None, {"subnqn": NQN + ":closed"}),
])
def test_admin_connect_refused(target, code, dw0, change):
    """Each field of Connect, wrong."""
    assert refused(target, code, dw0, **change).dnr


@pytest.mark.parametrize("length", [0, 1023, 1025, 4096])
@pytest.mark.parametrize("inline", [True, False])
def test_connect_data_length(target, length, inline):
    """Connect has 1024 bytes of data."""
    refused(target, 0x00F, length=length, inline=inline and length > 0)


def test_connect_by_r2t(target):
    """Its data may be fetched by R2T."""
    with Queue(target.address) as queue:
        queue.connect(NQN, inline=False)


def test_allowed_host(target):
    """A host on the list may come in; its namespace is there."""
    with Host(target.address, NQN + ":closed", hostnqn="nqn.2014-08.org.nvmexpress:friend") as host:
        assert host.io[0].status(0, nsid=1) == 0


def test_first_command_must_be_connect(target):
    """Anything else: Command Sequence Error."""
    for command in ({"opcode": 6, "read": 4096, "cdw10": 1}, {"opcode": 2, "nsid": 1, "read": 512},
                    {"opcode": 0x7F, "nsid": 4}, {"opcode": 0x7F, "nsid": 8}):
        with Queue(target.address) as queue:
            assert queue.status(**command) == 0x00C


def test_connect_twice(host):
    """A second Connect on a connection; it is not in the error log (Base 6.3)."""
    for queue in (host.io[0], host.admin):
        with pytest.raises(Status) as found:
            queue.connect(NQN)
        assert found.value.code == 0x00C
    assert host.log_page(1, 64) == bytes(64)


@pytest.mark.parametrize("code, dw0, change", [
    (0x182, 42, {"qid": 200}), (0x182, 44, {"sqsize": 0}), (0x182, 44, {"sqsize": 1024}),
    (0x182, DATA | 16, {"cntlid": 0xFFFE}), (0x182, DATA | 0, {"hostid": b"\3" * 16}),
    # The names differ in the last character only.
    (0x182, DATA | 512, {"hostnqn": "nqn.2014-08.org.nvmexpress:uuid:"
                                    "11111111-1111-4111-8111-111111111112"}),
    (0x00C, None, {"qid": 1}),
])
def test_io_connect_refused(target, code, dw0, change):
    """An I/O queue must fit its controller and come from the same host."""
    with Host(target.address, NQN, queues=4) as host:
        host.io.pop(1).conn.close()
        with pytest.raises(Status) as found:
            host.queue(**{"qid": 2, **change})
    assert found.value.code == code and (dw0 is None or found.value.cqe.dw0 == dw0)


def test_io_connect_before_enable(target):
    """CC.EN must be 1, and CC.SHN 0."""
    with Host(target.address, NQN, enable=False) as host:
        for cc in (0x00460000, 0x00464001):
            host.admin.property_set(0x14, cc)
            with pytest.raises(Status) as found:
                host.queue(1)
            assert (found.value.code, found.value.cqe.dw0) == (0x182, 42)


def test_io_connect_without_host_id(target):
    """It may be 0, whatever the admin queue's is; that one may be 0 as well."""
    with Host(target.address, NQN, queues=0) as host, host.queue(1, hostid=bytes(16)) as queue:
        assert queue.status(0, nsid=1) == 0
    with Host(target.address, NQN, hostid=bytes(16)) as host:
        assert host.io[0].status(0, nsid=1) == 0
        with pytest.raises(Status) as found:
            host.queue(2, hostid=HOSTID)
        assert found.value.code == 0x182


def test_io_connect_to_discovery(target):
    """A discovery controller has no I/O queues."""
    with Host(target.address, DISCOVERY_NQN, queues=0) as host:
        with pytest.raises(Status) as found:
            host.queue(1)
        assert found.value.code == 0x182


def test_number_of_queues(target):
    """What is granted is what may be connected."""
    with Host(target.address, NQN, queues=0) as host:
        assert host.set_queues(3) == 3
        for qid in (1, 2, 3):
            host.io.append(host.queue(qid))
        with pytest.raises(Status) as found:
            host.queue(4)
        assert (found.value.code, found.value.cqe.dw0) == (0x182, 42)
        assert host.admin.status(0x09, cdw10=7, cdw11=0) == 0x00C


def test_properties(host):
    """CAP, VS, CC, CSTS, and nothing else."""
    admin = host.admin
    cap = admin.property_get(0, 8)
    assert cap >> 16 & 1 and cap & 0xFFFF >= 127 and cap >> 37 & 0xFF == 1
    assert admin.property_get(8) >= 0x10300
    assert admin.property_get(0x14) == 0x00460001
    assert admin.property_get(0x1C) == 1
    for offset, size in ((0, 4), (8, 8), (4, 4), (0x1D, 4), (0x30, 8), (0x1000, 4), (0xFFFFFFFF, 4)):
        with pytest.raises(Status) as found:
            admin.property_get(offset, size)
        assert found.value.cqe.status == 0x002  # no DNR: nvme show-regs would give up
    for offset in (0, 8, 0x1C, 0x20, 0x24):
        with pytest.raises(Status) as found:
            admin.property_set(offset, 0x00460001)  # what CC may be set to
        assert found.value.code == 0x002
    assert host.io[0].status(0x7F, nsid=4, cdw11=0x1C) == 0x185
    assert host.io[0].status(0x7F, nsid=0, cdw11=0x14) == 0x185


@pytest.mark.parametrize("cc", [0x00460081, 0x00460011, 0x00460801, 0x00360001, 0x00450001])
def test_enable_with_what_was_not_offered(target, cc):
    """MPS, CSS, AMS, entry sizes: CSTS.CFS, never RDY; a reset helps."""
    with Host(target.address, NQN, enable=False) as host:
        host.admin.property_set(0x14, cc)
        assert host.admin.property_get(0x1C) & 3 == 2
        host.admin.property_set(0x14, 0)
        assert host.admin.property_get(0x1C) & 3 == 0
        host.enable()


def test_entry_sizes_are_set_later(target):
    """IOSQES and IOCQES come from Identify, which needs an enabled controller: before the first I/O queue is enough."""
    with Host(target.address, NQN, enable=False) as host:
        host.admin.property_set(0x14, 1)
        host.wait_csts(3, 1)
        assert host.identify(1)[512:514] == b"\x66\x44"
        for cc in (0x00000001, 0x00400001, 0x00060001):
            host.admin.property_set(0x14, cc)
            with pytest.raises(Status) as found:
                host.queue(1)
            assert found.value.code == 0x182
        host.admin.property_set(0x14, 0x00460001)
        with host.queue(1) as queue:
            assert queue.status(0, nsid=1) == 0
            for cc in (0x00000001, 0x00360001, 0x00450001):
                with pytest.raises(Status) as found:
                    host.admin.property_set(0x14, cc)
                assert found.value.code == 0x002


def test_io_queues_come_too_early(start):
    """The log says what is missing, for each way to come too early."""
    daemon = start("--ssd", "emulated:size=1M", "--listen", "127.0.0.1:0", "--nqn", NQN)
    with Host(daemon.address, NQN, enable=False) as host:
        for cc in (0x00460000, 0x00000001):
            host.admin.property_set(0x14, cc)
            with pytest.raises(Status):
                host.queue(1)
    assert daemon.log().count("is not enabled, shuts down or was given no entry sizes") == 2


@pytest.mark.parametrize("cc", [0x00000001, 0x00460001, 0x00360001])
def test_discovery_controllers_have_no_entry_sizes(target, cc):
    """They have no I/O queues: the fields are reserved, whatever a host writes there."""
    with Host(target.address, DISCOVERY_NQN, enable=False) as host:
        host.admin.property_set(0x14, cc)
        host.wait_csts(3, 1)
        assert host.admin.property_get(0x14) == 1


def test_reserved_bits_of_cc(host):
    """Read-only: they stay 0, and to write them changes nothing."""
    host.admin.property_set(0x14, 0xFF46000F)
    assert host.admin.property_get(0x14) == 0x00460001
    assert host.io[0].status(0, nsid=1) == 0


def test_cc_changes_while_enabled(host):
    """EN 1 to 1 with other entry sizes."""
    with pytest.raises(Status) as found:
        host.admin.property_set(0x14, 0x00450001)
    assert found.value.code == 0x002


def test_disable_and_enable(host):
    """CC.EN = 0 takes the I/O queues of this controller along, and RDY follows."""
    host.io[0].start(0, nsid=1)
    host.admin.property_set(0x14, 0x00460000)
    host.io[0].conn.expect_close()
    host.wait_csts(1, 0)
    host.enable()
    again = host.queue(1)
    write(again, 0, bytes(512))
    again.conn.close()


def test_same_cc_again(host):
    """CC written once more as it is: nothing ends."""
    event = host.admin.start(12)
    host.admin.property_set(0x14, host.admin.property_get(0x14))
    assert host.io[0].status(0, nsid=1) == 0 and event.cqe is None


def test_disable_does_not_disturb_others(target, host):
    """Another host's I/O goes on."""
    with Host(target.address, NQN, hostid=b"\7" * 16) as other:
        other.admin.property_set(0x14, 0x00460000)
        other.wait_csts(1, 0)
        write(host.io[0], 0, bytes(512))


@pytest.mark.parametrize("shn", [1, 2])
def test_shutdown(host, shn):
    """CC.SHN: I/O queues go, CSTS.SHST says complete."""
    host.admin.property_set(0x14, 0x00460001 | shn << 14)
    host.wait_csts(0xC, 8)
    host.io[0].conn.expect_close()


def test_disconnect(host):
    """Disconnect on an I/O queue; the admin queue has none."""
    assert host.admin.status(0x7F, nsid=8) == 0x185
    assert host.io[0].status(0x7F, nsid=8, cdw10=1) == 0x180
    assert host.io[0].status(0x7F, nsid=8) == 0
    assert host.io[0].status(0, nsid=1) == 0x00C


@pytest.mark.parametrize("no_flow_control", [True, False])
def test_disconnect_with_commands_under_way(start, no_flow_control):
    """Its answer is the queue's last, behind those of commands that are at the SSD or whose data is due."""
    daemon = start("--ssd", "emulated:size=64M,fault.delay=1,fault.delay_ms=300", "--listen", "127.0.0.1:0",
                   "--nqn", NQN)
    with Host(daemon.address, NQN, no_flow_control=no_flow_control) as host:
        queue = host.io[0]
        reads = [queue.start(2, nsid=1, read=65536, **io_fields(index * 128, 128)) for index in range(8)]
        late = queue.start(1, nsid=1, write=bytes(16384), **io_fields(0, 32))
        late.auto = False
        end = queue.start(0x7F, nsid=8, cid=0xFFF1)
        while late.ttag is None:
            queue.pump()
        queue.wait(*reads)
        assert end.cqe is None and late.cqe is None
        queue.send_data(late, 16384)
        queue.wait(end)
        assert not queue.commands
        assert {command.cqe.status for command in [*reads, late, end]} == {0}
        assert queue.status(0, nsid=1) == 0x00C
        host.io[0] = host.queue(1)
        assert host.io[0].status(0, nsid=1) == 0
    daemon.expect_clean()


def test_cut_behind_a_disconnect(start):
    """The connection ends before the answer can: nothing is left."""
    daemon = start("--ssd", "emulated:size=64M,fault.delay=1,fault.delay_ms=300", "--listen", "127.0.0.1:0",
                   "--nqn", NQN)
    for reset in (False, True):
        with Host(daemon.address, NQN) as host:
            for command in ({"opcode": 2, "nsid": 1, "read": 512}, {"opcode": 0x7F, "nsid": 8}):
                host.io[0].start(**command)
            time.sleep(0.05)
            if reset:
                host.io[0].conn.abort()
        daemon.expect_clean()


def test_new_controller_behind_a_disconnect(start):
    """What a queue still owes its host comes, though the host connects another controller meanwhile."""
    daemon = start("--ssd", "emulated:size=64M,fault.delay=1,fault.delay_ms=300", "--listen", "127.0.0.1:0",
                   "--nqn", NQN)
    with Host(daemon.address, NQN) as host:
        queue = host.io[0]
        late = queue.start(2, nsid=1, read=512, **io_fields(0, 1))
        end = queue.start(0x7F, nsid=8)
        with Host(daemon.address, NQN, queues=0):
            queue.wait(late, end)
        assert late.cqe.status == end.cqe.status == 0


def test_stop_behind_a_disconnect(start):
    """A daemon that stops does not wait for a Disconnect that waits for data which will not come."""
    daemon = start("--ssd", "emulated:size=64M", "--listen", "127.0.0.1:0", "--nqn", NQN)
    with Host(daemon.address, NQN) as host:
        queue = host.io[0]
        late = queue.start(1, nsid=1, write=bytes(16384), **io_fields(0, 32))
        late.auto = False
        while late.ttag is None:
            queue.pump()
        queue.start(0x7F, nsid=8)
        begin = time.monotonic()
        while daemon.counters()["requests"] < 2:
            assert time.monotonic() - begin < 30
        begin = time.monotonic()
        daemon.stop()
        assert time.monotonic() - begin < 4  # a connection has 5 s to end what it is about


def test_number_of_a_disconnected_queue(host):
    """Its queue is no more, though its connection may be: the number is free, and the connection goes."""
    old = host.io[0]
    assert old.status(0x7F, nsid=8) == 0
    with host.queue(1) as queue:
        assert len(read(queue, 0, 1)) == 512
        old.conn.expect_close()


@pytest.mark.parametrize("flags, code", [(0x00, 0), (0x40, 0), (0x80, 0x002), (0xC0, 0x002)])
def test_byte_1_of_fabrics_commands(target, flags, code):
    """Reserved, so 0; most hosts say there that they use SGLs, as in other commands."""
    with Host(target.address, NQN) as host:
        for command in ({"nsid": 4, "cdw11": 0x1C}, {"nsid": 0, "cdw11": 0x14, "cdw12": 0x00460001}):
            assert host.admin.status(0x7F, flags=flags, **command) == code
        assert host.io[0].status(0x7F, nsid=8, flags=flags) == code
    data = struct.pack("<16sH238x256s256s256x", HOSTID, 0xFFFF, NQN.encode(), HOSTNQN.encode())
    for inline in (True, False):
        with Queue(target.address) as queue:
            queue.flow_control = False
            assert queue.status(0x7F, nsid=1, flags=flags, write=data, inline=inline,
                                cdw11=31 | 4 << 16) == code


def test_connects_side_by_side(target):
    """Two Connects whose data is asked for by R2T: one queue is made, whoever is first."""
    data = struct.pack("<16sH238x256s256s256x", HOSTID, 0xFFFF, NQN.encode(), HOSTNQN.encode())
    for _ in range(10):
        with Queue(target.address) as queue:
            tags = {}
            for cid in (1, 2):
                queue.conn.command(sqe(0x7F, cid, 1, (0, 1024, SGL_TRANSPORT),
                                       cdw11=31 | 4 << 16, cdw12=1000))
            while len(tags) < 2:
                cid, tag = struct.unpack_from("<HH", queue.conn.pdu().header, 8)
                tags[cid] = tag
            queue.conn.send(b"".join(
                queue.conn.build(H2C_DATA, struct.pack("<HHII4x", cid, tags[cid], 0, 1024), data, LAST)
                for cid in (1, 2)))
            codes = sorted(Cqe(queue.conn.pdu().header[8:24]).code for _ in (1, 2))
            assert codes == [0, 0x00C]


@pytest.mark.parametrize("qid", [0, 1, 2])
def test_connect_after_disconnect(target, qid):
    """A connection is one queue's: it is not used again."""
    with Host(target.address, NQN, queues=0) as host:
        host.set_queues(2)
        with host.queue(1) as queue:
            assert queue.status(0x7F, nsid=8) == 0
            queue.entries = 0
            with pytest.raises(Status) as refusal:
                queue.connect(NQN, qid, 32, cntlid=host.admin.cntlid if qid else 0xFFFF)
            assert refusal.value.code == 0x00C
        host.admin.run(0x18)


def test_numbers_of_controllers(start):
    """Two daemons number theirs differently: Linux takes no number twice in a subsystem, dead paths' included."""
    numbers = set()
    for _ in range(3):
        with Host(start("--ssd", "emulated:size=16M", "--listen", "127.0.0.1:0", "--nqn", NQN).address, NQN) as host:
            assert 1 <= host.admin.cntlid <= 0xFFEF
            numbers.add(host.admin.cntlid)
    assert len(numbers) > 1


@pytest.mark.parametrize("fctype", [2, 3, 7, 9, 0x80, 0xFF])
def test_unknown_fabrics_command(host, fctype):
    """Invalid opcode."""
    assert host.admin.status(0x7F, nsid=fctype) == 0x001


def test_keep_alive_expires(target):
    """A silent host is let go of, all its queues with it."""
    with Host(target.address, NQN, kato=4000) as host:
        host.admin.conn.expect_close()
        host.io[0].conn.expect_close()
    assert "keep-alive timer expired" in target.log()


@pytest.mark.parametrize("asked,kept", [(0, 0), (1, 1000), (1000, 1000), (1001, 2000),
                                        (0xFFFFFFFF, 4294967000)])
def test_keep_alive_granularity(host, asked, kept):
    """KATO is rounded up to what Identify's KAS says: 1 s."""
    assert host.identify(1)[320:322] == b"\x0a\0"
    host.admin.start(9, cdw10=0x0F, cdw11=asked)  # the answer is not waited for: the timer may be short
    assert host.admin.run(10, cdw10=0x0F).cqe.dw0 == kept


def test_traffic_keeps_alive(target):
    """Any command counts: I/O alone is enough (TBKAS), and so is Keep Alive."""
    with Host(target.address, NQN, kato=4000) as host:
        for index in range(8):
            time.sleep(1.2)
            if index < 4:
                write(host.io[0], 0, bytes(512))
            else:
                host.admin.run(0x18)


def test_admin_connection_ends_the_association(target):
    """I/O queues do not outlive it."""
    with Host(target.address, NQN) as host:
        host.admin.conn.close()
        host.io[0].conn.expect_close()


def test_reconnect_at_once(target):
    """The same host again and again, while its last association is still being taken apart."""
    for index in range(50):
        with Host(target.address, NQN, queues=2) as host:
            host.io[0].start(1, nsid=1, write=bytes(4096), inline=True, **io_fields(0, 8))
            if index % 2:
                host.admin.conn.abort()


def test_old_writes_do_not_come_late(start):
    """What an old association had at the SSD ends before a new one may write."""
    daemon = start("--ssd", "emulated:size=16M,fault.op=write,fault.delay=2,fault.delay_ms=400",
                   "--listen", "127.0.0.1:0", "--nqn", NQN)
    with Host(daemon.address, NQN) as host:
        for index in range(20):
            host.io[0].start(1, nsid=1, write=b"\1" * 512, inline=True, **io_fields(index, 1))
        time.sleep(0.05)
        host.admin.conn.abort()
        host.io[0].conn.abort()
        with Host(daemon.address, NQN) as again:
            for index in range(20):
                write(again.io[0], index, b"\2" * 512)
            time.sleep(0.6)
            for index in range(20):
                assert again.io[0].run(2, nsid=1, read=512, **io_fields(index, 1)).data == b"\2" * 512


def test_limit_of_controllers(target):
    """limits.controllers (64 here, one is the bystander's): busy, without DNR."""
    hosts = []
    try:
        for index in range(63):
            hosts.append(Host(target.address, NQN, queues=0, hostid=bytes([index]) * 16))
        cqe = refused(target, 0x181)
        assert not cqe.dnr
    finally:
        for host in hosts:
            host.close()


def test_more_hosts_than_queue_pairs(start):
    """Queue pairs are shared when the SSD has none left, by every worker."""
    daemon = start("--ssd", "emulated:size=64M,queues=3", "--listen", "127.0.0.1:0", "--nqn", NQN,
                   "--workers", "2")
    hosts = []
    try:
        for index in range(12):
            hosts.append(Host(daemon.address, NQN, hostid=bytes([index]) * 16))
        counters = daemon.counters()
        assert counters["queue_pairs"] == 3 and counters["queue_pair_users"] == 12
        for index, host in enumerate(hosts):
            host.io[0].start(1, nsid=1, write=bytes([index]) * 65536, **io_fields(index * 128, 128))
        for host in hosts[:4]:
            host.close()  # in the middle of it
        for index, host in list(enumerate(hosts))[4:]:
            host.io[0].wait(*list(host.io[0].commands.values()))
            assert host.io[0].run(2, nsid=1, read=65536,
                                  **io_fields(index * 128, 128)).data == bytes([index]) * 65536
    finally:
        for host in hosts:
            host.close()
    assert "share them now" in daemon.log()
    daemon.expect_clean()


def test_stop_under_load(start, tmp_path):
    """SIGTERM with commands under way: exit status 0, what was acknowledged is on the medium."""
    disk = tmp_path / "disk"
    daemon = start("--ssd", f"emulated:file={disk},size=64M", "--listen", "127.0.0.1:0", "--nqn", NQN)
    with Host(daemon.address, NQN) as host:
        write(host.io[0], 0, b"\x5a" * 65536)
        for index in range(1, 100):
            host.io[0].start(2, nsid=1, read=65536, **io_fields(index * 128, 128))
        daemon.stop()
    assert disk.read_bytes()[:65536] == b"\x5a" * 65536


def test_raw_sqe_is_answered(host):
    """The helper sqe() and the raw path agree."""
    host.io[0].conn.command(sqe(0, 9, 1, (0, 0, 0x5A)))
    assert host.io[0].conn.pdu().type == 5


def test_queue_pair_passed_on(start):
    """The SSD's only queue pair goes from a host that leaves to one that is just coming: it waits
    for the deletion instead of being sent away."""
    daemon = start("--ssd", "emulated:size=64M,queues=1", "--listen", "127.0.0.1:0", "--nqn", NQN,
                   "--workers", "1")
    with Host(daemon.address, NQN, queues=0) as one, \
            Host(daemon.address, NQN, queues=0, hostid=b"\7" * 16) as other:
        owner = one.queue(1)
        for turn in range(200):
            owner.conn.close()
            owner = (other, one)[turn % 2].queue(1)
            assert owner.status(0, nsid=1) == 0
    daemon.expect_clean()
