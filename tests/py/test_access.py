# SPDX-License-Identifier: BSD-3-Clause
"""What one host may see and do, and another may not."""

import struct

import pytest

from daemon import Daemon
from nvmetcp import HOSTNQN, Host, Status, io_fields, read, write

NQN = "nqn.2026-11.io.nvmetd:access"
MASKED, READER = "nqn.2014-08.org.nvmexpress:masked", "nqn.2014-08.org.nvmexpress:reader"
BLIND = "nqn.2014-08.org.nvmexpress:blind"
WRITE_PROTECTED, INVALID_NS = 0x20, 0x0B


@pytest.fixture(scope="module", name="address")
def fixture_address(tmp_path_factory):
    """A subsystem with four namespaces, of which 3 is read-only."""
    folder = tmp_path_factory.mktemp("access")
    conf = folder / "nvmet.conf"
    conf.write_text(f"""
listen = ( "127.0.0.1:0" );
ssds = ( {{ name = "a"; spec = "emulated:size=16M,namespaces=4"; }} );
subsystems = ( {{ nqn = "{NQN}";
  namespaces = ( {{ nsid = 1; ssd = "a"; ssd_nsid = 1; }}, {{ nsid = 2; ssd = "a"; ssd_nsid = 2; }},
                 {{ nsid = 3; ssd = "a"; ssd_nsid = 3; read_only = true; }},
                 {{ nsid = 70; ssd = "a"; ssd_nsid = 4; }} );
  hosts = ( "{HOSTNQN}", {{ nqn = "{MASKED}"; namespaces = ( 2, 70 ); max_queues = 1; }},
            {{ nqn = "{READER}"; read_only = true; }}, {{ nqn = "{BLIND}"; namespaces = ( ); }} ); }} );
""")
    daemon = Daemon(folder, "-c", conf)
    yield daemon.address
    daemon.stop()


def test_masked(address):
    """What a host does not see does not exist for it."""
    with Host(address, NQN) as host:
        assert host.active() == [1, 2, 3, 70]
        write(host.io[0], 0, b"1" * 512, nsid=1)
    with Host(address, NQN, hostnqn=MASKED) as host:
        assert host.active() == [2, 70]
        for nsid in (1, 3):
            assert host.identify(0, nsid) == bytes(4096)
            assert host.admin.status(0x06, nsid=nsid, read=4096, cdw10=3) == INVALID_NS
            assert host.admin.status(0x0A, nsid=nsid, cdw10=5) == INVALID_NS
            for opcode, changes in ((2, {"read": 512}), (1, {"write": bytes(512), "inline": True}),
                                    (0, {}), (5, {"write": bytes(512), "inline": True}), (8, {})):
                assert host.io[0].status(opcode, nsid=nsid, **changes) == INVALID_NS
        for nsid in (2, 70):
            assert struct.unpack_from("<Q", host.identify(0, nsid))[0]
            write(host.io[0], 1, bytes([nsid]) * 512, nsid=nsid)
            assert read(host.io[0], 1, 1, nsid=nsid) == bytes([nsid]) * 512
    with Host(address, NQN, hostnqn=BLIND) as host:
        assert host.active() == []


def writes(queue, nsid):
    """Statuses of every command that changes something."""
    yield queue.status(1, nsid=nsid, write=bytes(512), inline=True)
    yield queue.status(1, nsid=nsid, write=bytes(65536), **io_fields(0, 128))
    yield queue.status(8, nsid=nsid)
    yield queue.status(9, nsid=nsid, write=struct.pack("<IIQ", 0, 1, 0), inline=True, cdw11=4)
    yield queue.status(4, nsid=nsid)


def test_read_only(address):
    """A host that may only read, and a namespace that nobody may write."""
    with Host(address, NQN) as host:
        write(host.io[0], 0, b"2" * 512, nsid=2)
        assert host.identify(0, 2)[99] & 1 == 0 and host.identify(0, 3)[99] & 1 == 1
        assert host.identify(8, 2)[8] & 1 == 0 and host.identify(8, 3)[8] & 1 == 1
        assert set(writes(host.io[0], 3)) == {WRITE_PROTECTED}
        assert read(host.io[0], 0, 1, nsid=3) == bytes(512)
    with Host(address, NQN, hostnqn=READER) as host:
        for nsid in host.active():
            assert host.identify(0, nsid)[99] & 1 == host.identify(8, nsid)[8] & 1 == 1
            assert set(writes(host.io[0], nsid)) == {WRITE_PROTECTED}
        assert read(host.io[0], 0, 1, nsid=2) == b"2" * 512
        assert host.io[0].status(0, nsid=2) == 0


def test_max_queues(address):
    """A host's own limit of I/O queues."""
    with Host(address, NQN, hostnqn=MASKED, queues=0) as host:
        assert host.set_queues(8) == 1
        host.io.append(host.queue(1))
        with pytest.raises(Status) as refused:
            host.queue(2)
        assert refused.value.code == 0x182
