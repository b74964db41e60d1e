# SPDX-License-Identifier: BSD-3-Clause
"""Admin commands: Identify, log pages, features, events, Abort, discovery."""

import struct
import time

import pytest

from daemon import NQN, PATIENCE_S
from hostile import start_write
from nvmetcp import CMD, DISCOVERY_NQN, HOSTID, SGL_IN_CAPSULE, Cqe, Host, Queue, io_fields, sqe


def u16(data, offset):
    """le16."""
    return struct.unpack_from("<H", data, offset)[0]


def u32(data, offset):
    """le32."""
    return struct.unpack_from("<I", data, offset)[0]


def test_identify_controller(host):
    """What the Linux host insists on (and refuses a controller for)."""
    data = host.identify(1)
    assert u16(data, 78) == host.admin.cntlid
    assert u16(data, 320) > 0 and u32(data, 1792) == (64 + 8192) // 16 and u32(data, 1796) == 1
    assert u16(data, 1800) == 0 and u32(data, 536) & 3 == 1
    assert data[76] == 3 and data[111] == 1 and data[259] == 3
    assert u16(data, 514) == (host.admin.property_get(0, 8) & 0xFFFF) + 1
    assert data[512:514] == b"\x66\x44" and u32(data, 80) == host.admin.property_get(8)
    assert data[768:1024].rstrip(b"\0").decode() == NQN
    assert u32(data, 96) & 0x41 == 0x41 and data[64:72].strip(b"\0 ")  # FR
    assert u16(data, 256) == 0 and u16(data, 522) == 0
    assert data[3072:] == bytes(1024)


IDENTIFY_CONTROLLER = {
    "CTRATT": (96, "<I", 0x41), "CNTRLTYPE": (111, "<B", 1), "ACL": (258, "<B", 3), "AERL": (259, "<B", 3),
    "FRMW": (260, "<B", 3), "LPA": (261, "<B", 0x26), "ELPE": (262, "<B", 63), "WCTEMP": (266, "<H", 343),
    "CCTEMP": (268, "<H", 353), "KAS": (320, "<H", 10), "SQES": (512, "<B", 0x66), "CQES": (513, "<B", 0x44),
    "MAXCMD": (514, "<H", 1023), "NN": (516, "<I", 1024), "ONCS": (520, "<H", 0x18F), "VWC": (525, "<B", 4),
    "OCFS": (534, "<H", 1), "SGLS": (536, "<I", 0x300001), "MNAN": (540, "<I", 1024), "IOCCSZ": (1792, "<I", 516),
    "IORCSZ": (1796, "<I", 1), "MSDBD": (1803, "<B", 1), "OFCS": (1804, "<H", 1),
}


def test_identify_controller_in_full(host):
    """Every field that is not 0, from CTRATT on; before it are the SSD's texts and what the test above looks at."""
    data = bytearray(host.identify(1))
    data[:96] = bytes(96)
    data[768:1024] = bytes(256)  # SUBNQN
    for name, (at, form, expected) in IDENTIFY_CONTROLLER.items():
        assert struct.unpack_from(form, data, at)[0] == expected, name
        struct.pack_into(form, data, at, 0)
    assert data == bytes(4096)


def test_two_controllers_have_two_ids(target, host):
    """CNTLIDs are unique in the subsystem."""
    with Host(target.address, NQN, queues=0) as other:
        assert other.admin.cntlid != host.admin.cntlid


def test_identify_namespace(host):
    """Size, format, sharing, identifiers."""
    data = host.identify(0, 1)
    assert struct.unpack_from("<QQQ", data) == (65536,) * 3
    assert data[128 + 4 * (data[26] & 15) + 2] == 9 and data[30] & 1
    assert data[104:120] != bytes(16)
    last = u32(host.identify(1), 516)  # NN
    for cns in (0, 5, 8):
        assert host.identify(cns, 7) == host.identify(cns, last) == bytes(4096)
        for nsid in (0, 0xFFFFFFFF, 0xFFFFFFFE, last + 1):
            assert host.admin.status(6, nsid=nsid, read=4096, cdw10=cns) == 0x00B


def test_namespace_lists(host):
    """Active namespaces after an NSID."""
    assert struct.unpack_from("<III", host.identify(2, 0)) == (1, 5, 0)
    assert struct.unpack_from("<II", host.identify(2, 1)) == (5, 0)
    assert struct.unpack_from("<I", host.identify(2, 5)) == (0,)
    for nsid in (0xFFFFFFFE, 0xFFFFFFFF):
        assert host.admin.status(6, nsid=nsid, read=4096, cdw10=2) == 0x00B


def test_descriptors(target, host):
    """UUID and NGUID: there, different per namespace, the same for every host."""
    one, five = host.identify(3, 1), host.identify(3, 5)
    found = {}
    at = 0
    while one[at + 1]:
        found[one[at]] = one[at + 4:at + 4 + one[at + 1]]
        at += 4 + one[at + 1]
    assert len(found[3]) == 16 and len(found[2]) == 16 and found[4] == b"\0"
    assert one != five
    assert host.identify(0, 1)[104:120] == found[2]
    with Host(target.address, NQN, hostid=b"\4" * 16) as other:
        assert other.identify(3, 1) == one
    assert host.admin.status(6, nsid=2, read=4096, cdw10=3) == 0x00B


@pytest.mark.parametrize("cns", [4, 9, 0x14, 0x17, 0x20, 0xFF])
def test_unknown_cns(host, cns):
    """Invalid field, in the CNS byte."""
    assert host.admin.status(6, nsid=1, read=4096, cdw10=cns) == 0x002


@pytest.mark.parametrize("length", [0, 4, 4092, 8192])
def test_identify_length(host, length):
    """4096 bytes and nothing else."""
    assert host.admin.status(6, read=length, cdw10=1) == 0x00F


@pytest.mark.parametrize("lid, length", [(0, 1024), (1, 4096), (2, 512), (3, 512), (4, 4096),
                                         (5, 4096)])
def test_log_pages(host, lid, length):
    """In one piece and in parts: the same, but for what counts other hosts' commands."""
    whole = host.log_page(lid, length)
    assert len(whole) == length
    if lid != 1:
        parts = b"".join(host.log_page(lid, 128, offset=offset)
                         for offset in range(0, length, 128))
        constant = slice(128, None) if lid == 2 else slice(None)
        assert parts[constant] == whole[constant]
        assert parts[:32] == whole[:32]
    assert host.log_page(lid, 64, offset=length) == bytes(64)
    assert host.admin.status(2, read=64, cdw10=lid | 15 << 16, cdw12=length + 4) == 0x002
    assert host.admin.status(2, read=64, cdw10=lid | 15 << 16, cdw12=2) == 0x002
    assert host.admin.status(2, read=64, cdw10=lid | 15 << 16, cdw12=0xFFFFFFFC,
                             cdw13=0xFFFFFFFF) == 0x002
    assert host.admin.status(2, read=64, cdw10=lid | 0xFFFF << 16, cdw11=0xFFFF) == 0x002


@pytest.mark.parametrize("lid", [6, 7, 8, 9, 0x0C, 0x0D, 0x70, 0x80, 0x81, 0xC0, 0xFF])
def test_unknown_log_page(host, lid):
    """Invalid log page."""
    assert host.admin.status(2, read=512, cdw10=lid | 127 << 16) == 0x109


def test_smart_log(host, bystander):
    """The SSD's: its temperature, and what was read."""
    with bystander.quiet():
        before = struct.unpack_from("<Q", host.log_page(2, 512), 64)[0]
        for _ in range(5):
            host.io[0].run(2, nsid=1, read=512, **io_fields(0, 1))
        page = host.log_page(2, 512)
    assert u16(page, 1) == 310 and page[3] == 100
    assert struct.unpack_from("<Q", page, 64)[0] == before + 5
    assert host.log_page(2, 512, nsid=1)[:3] == page[:3]
    errors = struct.unpack_from("<Q", host.log_page(1, 64))[0]
    assert struct.unpack_from("<QQ", page, 176) == (errors, 0)
    assert host.admin.status(2, nsid=9, read=512, cdw10=2 | 127 << 16) == 0x00B


def test_effects_log(host):
    """Just what is answered."""
    page = host.log_page(5, 4096)
    admin = {opcode for opcode in range(256) if u32(page, 4 * opcode) & 1}
    io = {opcode for opcode in range(256) if u32(page, 1024 + 4 * opcode) & 1}
    assert admin == {2, 6, 8, 9, 10, 12, 24}
    assert io == {0, 1, 2, 4, 5, 8, 9, 12, 25}
    assert {u32(page, 4 * opcode) >> 20 for opcode in admin} == {2}  # the scope: this controller


def test_effects_logs_of_discovery(target):
    """Its commands and features, as Identify says; no I/O."""
    with Host(target.address, DISCOVERY_NQN, queues=0) as host:
        assert host.identify(1)[261] & 2
        page, features = host.log_page(5, 4096), host.log_page(0x12, 1024)
    assert {opcode for opcode in range(512) if u32(page, 4 * opcode) & 1} == {2, 6, 9, 10, 12, 24}
    assert {fid for fid in range(256) if u32(features, 4 * fid) & 1} == {0x0B, 0x0F}


def test_error_log(target):
    """Failed commands, newest first."""
    with Host(target.address, NQN) as host:
        host.admin.status(6, read=4096, cdw10=0xFF)
        host.io[0].status(2, nsid=1, read=512, **io_fields(70000, 1))
        page = host.log_page(1, 128)
        assert struct.unpack_from("<QH", page) == (2, 1)
        assert u16(page, 12) >> 1 & 0x7FF == 0x080 and u32(page, 24) == 1
        assert struct.unpack_from("<Q", page, 16)[0] == 70000
        assert u16(page, 14) == 40
        assert u16(page, 64 + 12) >> 1 & 0x7FF == 0x002


@pytest.mark.parametrize("opcode", [0, 1, 4, 5, 0x0D, 0x10, 0x11, 0x14, 0x15, 0x19, 0x1A, 0x1C,
                                    0x1D, 0x1E, 0x24, 0x7C, 0x80, 0x81, 0x82, 0x84, 0x86, 0xC0, 0xFF])
def test_refused_admin_commands(host, opcode):
    """Queues, firmware, format, security, vendor …: invalid opcode, with and without data."""
    assert host.admin.status(opcode, nsid=1) == 0x001
    assert host.admin.status(opcode, nsid=1, write=bytes(4096), inline=True) == 0x001
    assert host.admin.status(opcode, nsid=1, write=bytes(4096)) == 0x001


def test_features_of_the_host(host):
    """AEC, KATO and the host identifier are each host's own."""
    admin = host.admin
    admin.run(9, cdw10=0x0B, cdw11=0x1FF)
    assert admin.run(10, cdw10=0x0B).cqe.dw0 == 0x1FF
    admin.run(9, cdw10=0x0F, cdw11=60000)
    assert admin.run(10, cdw10=0x0F).cqe.dw0 == 60000
    assert admin.run(10, cdw10=0x81, cdw11=1, read=16).data == HOSTID
    assert admin.status(10, cdw10=0x81, cdw11=0, read=8) == 0x002
    assert admin.status(9, cdw10=0x81, cdw11=1, write=HOSTID, inline=True) == 0x00C
    assert admin.status(9, cdw10=0x0B | 1 << 31, cdw11=0) == 0x10D
    assert admin.run(10, cdw10=0x0B | 3 << 8).cqe.dw0 == 4


@pytest.mark.parametrize("fid", [1, 2, 4, 5, 0x0A])
def test_features_of_the_ssd(host, fid):
    """Every host may read them, none may change them."""
    host.admin.run(10, cdw10=fid)
    assert host.admin.status(9, cdw10=fid, cdw11=1) == 0x10E
    assert host.admin.run(10, cdw10=fid | 3 << 8).cqe.dw0 == (2 if fid == 5 else 0)  # of a namespace


@pytest.mark.parametrize("fid", [1, 2, 4, 6, 7, 0x0A, 0x0B, 0x0F, 0x81])
def test_feature_of_no_namespace(host, fid):
    """What is a controller's cannot be set for a namespace; Get does not mind."""
    for nsid, code in ((1, 0x10F), (7, 0x10F), (1025, 0x00B), (0xFFFFFFFE, 0x00B)):
        assert host.admin.status(9, nsid=nsid, cdw10=fid) == code
    for nsid in (0, 0xFFFFFFFF):
        assert host.admin.status(9, nsid=nsid, cdw10=fid) not in (0x10F, 0x00B)
    assert host.admin.run(10, nsid=1, cdw10=0x0B).cqe.dw0 == 0


def test_only_while_enabled(target):
    """Before CSTS.RDY and after CC.EN = 0 fabrics commands are all there is."""
    with Host(target.address, NQN, queues=0, enable=False) as host:
        def codes():
            return [host.admin.status(6, read=4096, cdw10=1), host.admin.status(0x0C),
                    host.admin.status(0x18)]
        assert codes() == [0x00C] * 3
        host.enable()
        assert host.admin.status(6, read=4096, cdw10=1) == 0
        host.admin.property_set(0x14, 0x00460000)
        assert codes() == [0x00C] * 3


def test_many_forwarded_commands(target):
    """More than the SSD's admin queue holds, while another host makes queues: all are answered."""
    with Queue(target.address) as queue:
        queue.connect(NQN, entries=500)
        queue.property_set(0x14, 0x00460001)
        commands = [queue.start(6, nsid=1, read=4096, cdw10=0) for _ in range(400)]
        with Host(target.address, NQN, queues=2) as other:
            assert other.io[1].status(0, nsid=1) == 0
        queue.wait(*commands)
        assert {command.cqe.code for command in commands} == {0}


def test_error_recovery_is_of_a_namespace(host):
    """The host's NSID, one that does not exist refused."""
    host.admin.run(10, nsid=5, cdw10=5)
    assert host.admin.status(10, nsid=2, cdw10=5) == 0x00B


@pytest.mark.parametrize("fid", [0, 3, 8, 9, 0x0C, 0x0D, 0x0E, 0x10, 0x16, 0x82, 0x84, 0xC0])
def test_unknown_feature(host, fid):
    """Invalid field."""
    assert host.admin.status(10, cdw10=fid) == 0x002
    assert host.admin.status(9, cdw10=fid) == 0x002


@pytest.mark.parametrize("value", [0xFFFF, 0xFFFF0000, 0xFFFFFFFF])
def test_number_of_queues_ffffh(target, value):
    """FFFFh in either half."""
    with Host(target.address, NQN, queues=0) as host:
        assert host.admin.status(9, cdw10=7, cdw11=value) == 0x002


@pytest.mark.parametrize("sel", range(4, 8))
def test_reserved_select(host, sel):
    """Values of SEL that say nothing."""
    for fid in (0x07, 0x0B, 0x0F, 0x81):
        assert host.admin.status(10, read=16 if fid == 0x81 else 0, cdw10=fid | sel << 8, cdw11=1) == 0x002


def test_error_recovery(host):
    """A namespace's, or with NSID 0 and FFFFFFFFh the SSD's."""
    for nsid, code in ((0, 0), (1, 0), (0xFFFFFFFF, 0), (3, 0x00B), (0xFFFFFFFE, 0x00B)):
        assert host.admin.status(10, nsid=nsid, cdw10=5) == code
        assert host.admin.status(10, nsid=nsid, cdw10=4) == 0  # Temperature Threshold is nobody's


def test_five_aers(host):
    """Four wait, the fifth is one too many."""
    waiting = [host.admin.start(12) for _ in range(4)]
    assert host.admin.status(12) == 0x105
    assert all(command.cqe is None for command in waiting)


def test_abort_of_an_aer(host):
    """It ends with Command Abort Requested; Abort says that it did."""
    aer = host.admin.start(12)
    abort = host.admin.start(8, cdw10=aer.cid << 16)
    host.admin.wait(aer, abort)
    assert aer.cqe.code == 0x007 and abort.cqe.status == 0 and abort.cqe.dw0 & 1 == 0


def test_abort_of_a_write_that_waits(host):
    """Its R2T is out: the host's data is still taken, then it ends."""
    queue = host.io[0]
    command = queue.start(1, nsid=1, write=b"\xab" * 16384, **io_fields(900, 32))
    command.auto = False
    while command.ttag is None:
        queue.pump()
    assert host.admin.run(8, cdw10=1 | command.cid << 16).cqe.dw0 & 1 == 0
    queue.send_data(command, 16384)
    assert queue.wait(command).code == 0x007
    assert queue.run(2, nsid=1, read=16384, **io_fields(900, 32)).data != b"\xab" * 16384


def test_abort_of_a_cid_that_is_there_twice(target, host):
    """It is for the command whose CID it is. The other one, here in the slot before it and with half a capsule, ends
    with Command ID Conflict, as without the Abort."""
    queue = host.io[0]
    low, first = start_write(queue, slba=900), start_write(queue, slba=900)
    assert low.ttag < first.ttag  # which are their slots
    queue.send_data(low, 16384)
    queue.wait(low)
    before = target.counters()["commands"]
    raw = sqe(1, first.cid, 1, (0, 4096, SGL_IN_CAPSULE), **io_fields(900, 8))
    capsule = queue.conn.build(CMD, raw, bytes(4096))
    queue.conn.send(capsule[:2000])
    end = time.monotonic() + PATIENCE_S
    while target.counters()["commands"] == before:
        assert time.monotonic() < end, "half a capsule is no command"
        time.sleep(0.01)
    assert host.admin.run(8, cdw10=1 | first.cid << 16).cqe.dw0 & 1 == 0
    queue.conn.send(capsule[2000:])
    assert Cqe(queue.conn.pdu().header[8:24]).code == 0x003
    queue.send_data(first, 16384)
    assert queue.wait(first).code == 0x007
    assert queue.status(2, nsid=1, read=512, **io_fields(0, 1)) == 0


def test_abort_of_what_waits_for_the_ssd(start):
    """Its queue is full of commands that do not end: one behind them can be aborted, they cannot."""
    daemon = start("--ssd", "emulated:size=16M,queues=1,depth=4,fault.op=read,fault.hang=1,fault.times=3",
                   "--listen", "127.0.0.1:0", "--nqn", NQN)
    with Host(daemon.address, NQN, entries=3) as one, \
            Host(daemon.address, NQN, hostid=b"\6" * 16, entries=3) as two:
        hung = [queue.start(2, nsid=1, read=512, **io_fields(0, 1))
                for queue in (one.io[0], one.io[0], two.io[0])]
        for queue in (one.io[0], two.io[0]):
            # Answered without the SSD, and after those before it were put on its queue.
            assert queue.status(2, nsid=1, read=512, **io_fields(1 << 40, 1)) == 0x080
        waiting = two.io[0].start(2, nsid=1, read=512, **io_fields(0, 1))
        while two.admin.run(8, cdw10=1 | waiting.cid << 16).cqe.dw0 & 1:
            pass  # it has not arrived yet
        assert two.io[0].wait(waiting).code == 0x007
        assert one.admin.run(8, cdw10=1 | hung[0].cid << 16).cqe.dw0 & 1 == 1
        for queue in (one.io[0], two.io[0]):
            queue.commands.clear()


@pytest.mark.parametrize("sqid, cid", [(0, 999), (1, 999), (2, 1), (128, 1), (129, 1), (0xFFFF, 1)])
def test_abort_of_nothing(host, sqid, cid):
    """Succeeds, and says that nothing was aborted."""
    assert host.admin.run(8, cdw10=sqid | cid << 16).cqe.dw0 & 1 == 1


def test_abort_does_not_reach_other_hosts(target, host):
    """The same SQID and CID of another host's controller."""
    with Host(target.address, NQN, hostid=b"\6" * 16) as other:
        command = other.io[0].start(1, nsid=1, write=bytes(16384), **io_fields(0, 32))
        command.auto = False
        while command.ttag is None:
            other.io[0].pump()
        assert host.admin.run(8, cdw10=1 | command.cid << 16).cqe.dw0 & 1 == 1
        other.io[0].send_data(command, 16384)
        assert other.io[0].wait(command).status == 0


def test_event_of_the_ssd(start):
    """The SSD is too hot: told to every host that asked for it, and only to those."""
    daemon = start("--ssd", "emulated:size=16M,fault.smart_after=5", "--listen", "127.0.0.1:0",
                   "--nqn", NQN)
    with Host(daemon.address, NQN) as eager, \
            Host(daemon.address, NQN, hostid=b"\5" * 16) as other:
        for host in (eager, other):
            host.admin.run(9, cdw10=0x0B, cdw11=0xFF if host is eager else 0)
        waiting = eager.admin.start(12)
        silent = other.admin.start(12)
        assert eager.log_page(2, 512)[0] == 0
        for _ in range(6):
            eager.io[0].run(2, nsid=1, read=512, **io_fields(0, 1))
        assert eager.admin.wait(waiting).dw0 == 1 | 1 << 8 | 2 << 16
        assert eager.log_page(2, 512)[0] == 2
        other.admin.run(0x18)
        assert silent.cqe is None


# --- Discovery ------------------------------------------------------------------------------------


def entries(host):
    """(generation, list of (subtype, nqn, address, port))."""
    head = host.log_page(0x70, 1024)
    generation, number = struct.unpack_from("<QQ", head)
    page = host.log_page(0x70, 1024 * (number + 1))
    found = []
    for at in range(1024, len(page), 1024):
        entry = page[at:at + 1024]
        assert entry[0] == 3 and entry[1] in (1, 2)
        found.append((entry[2], entry[256:512].rstrip(b"\0").decode(),
                      entry[512:768].rstrip(b"\0").decode(), entry[32:64].rstrip(b"\0").decode()))
    return generation, found


def test_discovery_log(target):
    """Every address, every subsystem that the host may use, and the discovery subsystem itself."""
    with Host(target.address, DISCOVERY_NQN, queues=0) as host:
        assert host.identify(1)[111] == 2
        generation, found = entries(host)
    assert generation > 0
    addresses = {("127.0.0.1", str(target.addresses[0][1])), ("::1", str(target.addresses[1][1]))}
    expected = {(kind, nqn, *address) for address in addresses
                for kind, nqn in ((3, DISCOVERY_NQN), (2, NQN))}
    assert set(found) == expected and len(found) == len(expected)


def test_discovery_shows_only_what_a_host_may_use(target):
    """A host on the list sees the closed subsystem too."""
    with Host(target.address, DISCOVERY_NQN, queues=0,
              hostnqn="nqn.2014-08.org.nvmexpress:friend") as host:
        assert NQN + ":closed" in [nqn for _, nqn, _, _ in entries(host)[1]]


@pytest.mark.parametrize("offset, status", [(1024 * 5, 0), (1024 * 5 + 4, 2), (1 << 40, 2),
                                            ((1 << 64) - 4, 2), (2, 2)])
def test_discovery_log_offsets(target, offset, status):
    """At the end: zeroes. Beyond it, or odd: refused; nothing is read from there."""
    with Host(target.address, DISCOVERY_NQN, queues=0) as host:
        assert host.admin.status(2, read=1024, cdw10=0x70 | 255 << 16, cdw12=offset & 0xFFFFFFFF,
                                 cdw13=offset >> 32) == status


def test_discovery_log_in_odd_pieces(target):
    """Windows that cross entries."""
    with Host(target.address, DISCOVERY_NQN, queues=0) as host:
        whole = host.log_page(0x70, 5 * 1024)
        assert b"".join(host.log_page(0x70, 640, offset=at)
                        for at in range(0, 5 * 1024, 640)) == whole


def test_discovery_refuses_the_rest(target):
    """No namespaces, no I/O features, no Abort."""
    with Host(target.address, DISCOVERY_NQN, queues=0) as host:
        for cns in (0, 2, 3):
            assert host.admin.status(6, nsid=1, read=4096, cdw10=cns) == 0x002
        for fid in (1, 6, 7, 0x81):
            assert host.admin.status(10, cdw10=fid) == 0x002
        assert host.admin.status(2, read=512, cdw10=2 | 127 << 16) == 0x109
        assert host.admin.status(8, cdw10=1 << 16) == 0x001
        host.admin.run(9, cdw10=0x0B, cdw11=1 << 31)


def test_controller_lists(target):
    """CNS 12h and 13h: ascending, from CNTID on; another subsystem's are not among them."""
    with Host(target.address, NQN, queues=0) as one, \
            Host(target.address, NQN, queues=0, hostid=b"\6" * 16) as two, \
            Host(target.address, NQN + ":closed", queues=0,
                 hostnqn="nqn.2014-08.org.nvmexpress:friend") as other:
        ids = sorted([one.admin.cntlid, two.admin.cntlid])
        for cns in (0x12, 0x13):
            def listed(cntid, cns=cns):
                page = one.admin.run(6, nsid=1, read=4096, cdw10=cns | cntid << 16).data
                return list(struct.unpack_from(f"<{struct.unpack_from('<H', page)[0]}H", page, 2))
            everybody = listed(0)
            assert everybody == sorted(everybody) and set(ids) <= set(everybody)
            assert listed(ids[1])[0] == ids[1] and ids[0] not in listed(ids[1])
            assert listed(0xFFF0) == []
        assert other.admin.status(6, nsid=9, read=4096, cdw10=0x12) == 0x00B
        for cntid, status in ((one.admin.cntlid, 0), (0xFFFF, 0), (0xFFF0, 2)):
            assert one.admin.status(6, read=4096, cdw10=0x1C | cntid << 16) == status


@pytest.mark.parametrize("cns", [0x05, 0x08, 0x11, 0x1B])
def test_namespace_structures(host, cns):
    """Active: there; inactive: zeroes; 0 and FFFFFFFFh: none."""
    page = host.identify(cns, 1)
    assert (page != bytes(4096)) == (cns in (0x08, 0x11))
    assert host.identify(cns, 7) == bytes(4096)
    for nsid in (0, 0xFFFFFFFE, 0xFFFFFFFF):
        assert host.admin.status(6, nsid=nsid, read=4096, cdw10=cns) == 0x00B
    if cns == 0x08:
        assert page[1] == 1 and page[14] == 1  # shared, ready


def test_write_zeroes_limit(start):
    """What the SSD says of Write Zeroes reaches the host, and holds."""
    daemon = start("--ssd", "emulated:size=16M,wzsl=3", "--listen", "127.0.0.1:0", "--nqn", NQN)
    with Host(daemon.address, NQN) as host:
        assert host.identify(6)[:4] == bytes([0, 3, 0, 0])
        assert host.io[0].status(8, nsid=1, cdw12=63) == 0
        assert host.io[0].status(8, nsid=1, cdw12=64) == 0x002


@pytest.mark.parametrize("limit, dmrl, dmrsl, dmsl", [
    ("dmrl=8", 8, 0xFFFFFFFF, (1 << 64) - 1), ("dmrsl=4096", 255, 4096, (1 << 64) - 1),
    ("dmsl=8192", 255, 0xFFFFFFFF, 8192), ("wzsl=1", 0, 0, 0)])
def test_dataset_management_limits(start, limit, dmrl, dmrsl, dmsl):
    """All three or none: what an SSD does not limit has the largest value then."""
    daemon = start("--ssd", f"emulated:size=16M,{limit}", "--listen", "127.0.0.1:0", "--nqn", NQN)
    with Host(daemon.address, NQN, queues=0) as host:
        assert struct.unpack_from("<BIQ", host.identify(6), 3) == (dmrl, dmrsl, dmsl)


def test_ready_timeout(host):
    """NVMe 2.0: CAP.CRMS.CRWMS, and CRTO to go with it."""
    assert host.admin.property_get(0x08) == 0x00020000
    cap = host.admin.property_get(0x00, 8)
    assert cap >> 59 & 1 and not cap >> 60 & 1
    assert host.admin.property_get(0x68) == cap >> 24 & 0xFF
