# SPDX-License-Identifier: BSD-3-Clause
"""Commands for the SSD as a whole, by permission: what they do, and what is refused all the same."""

import os
import struct
import subprocess

import pytest

from daemon import NQN, run_nvmetd
from nvmetcp import Host, Status, read, write
from test_namespaces import ctl

INTERNAL = 0x006
DENIED, INVALID_NS, INVALID_FIELD, INVALID_FORMAT = 0x015, 0x00B, 0x002, 0x10A
OTHER = NQN + ":other"


def config(start, tmp_path, allow, ssds="emulated:size=16M", second=""):
    """A daemon whose subsystem permits these commands."""
    conf = tmp_path / "nvmet.conf"
    names = ", ".join(f'"{name}"' for name in allow)
    conf.write_text(f"""listen = ( "127.0.0.1:0" );
ssds = ( {{ name = "a"; spec = "{ssds}"; }}, {{ name = "b"; spec = "emulated:size=16M"; }} );
subsystems = ( {{ nqn = "{NQN}"; allow_any_host = true; allow_commands = ( {names} );
                 namespaces = ( {{ nsid = 1; ssd = "a"; }}{second} ); }},
               {{ nqn = "{OTHER}"; allow_any_host = true; namespaces = ( {{ nsid = 1; ssd = "b"; }} ); }} );
""")
    return start("-c", conf)


def event(host, aer):
    """The namespace event, and the list of what changed."""
    host.admin.wait(aer)
    assert aer.cqe.dw0 == 0x00040002
    return [nsid for nsid in struct.unpack("<1024I", host.log_page(4, 4096)) if nsid]


def test_format_erases(start, tmp_path):
    """Format with the block size as it is: under I/O queues; what was there is gone."""
    daemon = config(start, tmp_path, ["format"])
    with Host(daemon.address, NQN) as host:
        assert host.identify(1)[256] == 0x02  # OACS: Format NVM only
        write(host.io[0], 0, b"x" * 512)
        for bad, status in ((dict(nsid=0xFFFFFFFF), INVALID_NS), (dict(nsid=0), INVALID_NS),
                            (dict(nsid=2), INVALID_NS), (dict(nsid=1, cdw10=5), INVALID_FORMAT),
                            (dict(nsid=1, cdw10=1 << 12), INVALID_FORMAT),
                            (dict(nsid=1, cdw10=1 << 5), INVALID_FORMAT)):
            assert host.admin.status(0x80, **bad) == status
        assert read(host.io[0], 0, 1) == b"x" * 512
        assert host.admin.status(0x80, nsid=1) == 0
        assert read(host.io[0], 0, 1) == bytes(512)
    daemon.expect_clean()


def test_format_with_metadata(start, tmp_path):
    """What hosts may have an SSD formatted to has no metadata."""
    daemon = config(start, tmp_path, ["format"], ssds="emulated:size=16M,ms=8")
    with Host(daemon.address, NQN, queues=0) as host:
        assert host.admin.status(0x80, nsid=1, cdw10=0) == INVALID_FORMAT  # as it is now


def test_nsids_with_gaps(start, tmp_path):
    """Commands for the whole SSD look at each namespace that there is."""
    daemon = config(start, tmp_path, ["sanitize"], ssds="emulated:size=16M,namespaces=2",
                    second=', { nsid = 7; ssd = "a"; ssd_nsid = 2; }')
    with Host(daemon.address, NQN) as host:
        write(host.io[0], 0, b"7" * 512, nsid=7)
        assert host.admin.status(0x84, cdw10=2) == 0
        assert read(host.io[0], 0, 1, nsid=7) == bytes(512)


@pytest.mark.parametrize("command", [dict(opcode=0x80, nsid=1), dict(opcode=0x84, cdw10=2)])
def test_grown_file_is_erased(start, tmp_path, command):
    """Format and Sanitize erase what a file has gained since the start as well."""
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20))
    daemon = config(start, tmp_path, ["format", "sanitize"], f"emulated:file={disk}")
    os.truncate(disk, 2 << 20)
    daemon.ctl("rescan")
    with Host(daemon.address, NQN) as host:
        for block in (0, 2047, 2048, 4095):
            write(host.io[0], block, b"x" * 512)
        assert host.admin.status(**command) == 0
        for block in (0, 2047, 2048, 4095):
            assert read(host.io[0], block, 1) == bytes(512)
    assert disk.read_bytes() == bytes(2 << 20)
    daemon.expect_clean()


def test_format_block_size(start, tmp_path):
    """Another block size: denied while there are I/O queues, which were made for this one; the log says so, but not
    each time."""
    daemon = config(start, tmp_path, ["format"])
    with Host(daemon.address, NQN) as host:
        for _ in range(300):
            assert host.admin.status(0x80, nsid=1, cdw10=1) == DENIED
        assert 20 <= daemon.log().count("without I/O queues") < 100
        read(host.io[0], 32767, 1)
    daemon.expect_clean()
    with Host(daemon.address, NQN, queues=0) as host:
        host.admin.run(0x09, cdw10=0x0B, cdw11=0x100)
        aer = host.admin.start(0x0C)
        assert host.admin.status(0x80, nsid=1, cdw10=1) == 0
        assert event(host, aer) == [1]
        page = host.identify(0, 1)
        assert struct.unpack_from("<Q", page)[0] == 4096
        assert page[128 + 4 * (page[26] & 15) + 2] == 12
    daemon.expect_clean()
    with Host(daemon.address, NQN) as host:
        write(host.io[0], 4095, b"y" * 4096, size=4096)
        assert read(host.io[0], 4095, 1, size=4096) == b"y" * 4096
        with pytest.raises(Status):
            read(host.io[0], 4096, 1, size=4096)
    daemon.expect_clean()


def test_file_is_erased(start, tmp_path):
    """Format and Sanitize of an SSD on a file."""
    disk = tmp_path / "disk"
    disk.write_bytes(b"secret" * 200000)
    daemon = config(start, tmp_path, ["format", "sanitize"], f"emulated:file={disk}")
    with Host(daemon.address, NQN) as host:
        assert host.admin.status(0x84, cdw10=2) == 0
    assert not disk.read_bytes()[:1024].strip(b"\0")


def test_file_that_cannot_be_erased(start, tmp_path):
    """A file system that cannot make holes: no success for what is still there."""
    folder = tmp_path / "ramfs"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "ramfs", "none", folder], check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        (folder / "disk").write_bytes(b"secret!!" * 200000)
        daemon = config(start, tmp_path, ["format", "sanitize"], f"emulated:file={folder}/disk")
        with Host(daemon.address, NQN) as host:
            assert host.admin.status(0x80, nsid=1, cdw10=1 << 9) == INTERNAL
            assert host.admin.status(0x84, cdw10=2) == INTERNAL
            assert read(host.io[0], 0, 1) == b"secret!!" * 64
        daemon.stop()
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_sanitize(start, tmp_path):
    """Denied when somebody else has namespaces on the SSD; its status is a log page."""
    daemon = config(start, tmp_path, ["sanitize"])
    with Host(daemon.address, NQN) as host:
        write(host.io[0], 9, b"x" * 512)
        assert struct.unpack_from("<I", host.identify(1), 328)[0] == 3
        assert host.admin.status(0x84, cdw10=7) == INVALID_FIELD
        assert struct.unpack_from("<HH", host.log_page(0x81, 20)) == (0xFFFF, 0)
        assert host.admin.status(0x84, cdw10=2) == 0
        assert struct.unpack_from("<HH", host.log_page(0x81, 20)) == (0xFFFF, 1)
        assert read(host.io[0], 9, 1) == bytes(512)
    daemon.expect_clean()


def test_sanitize_of_a_shared_ssd(start, tmp_path):
    """Two subsystems on one SSD."""
    conf = tmp_path / "nvmet.conf"
    conf.write_text(f"""listen = ( "127.0.0.1:0" );
ssds = ( {{ name = "a"; spec = "emulated:size=16M,namespaces=2,fna=2"; }} );
subsystems = ( {{ nqn = "{NQN}"; allow_any_host = true;
                 allow_commands = ( "sanitize", "format", "firmware", "security", "vendor" );
                 namespaces = ( {{ nsid = 1; ssd = "a"; }} ); }},
               {{ nqn = "{OTHER}"; allow_any_host = true;
                 namespaces = ( {{ nsid = 1; ssd = "a"; ssd_nsid = 2; }} ); }} );
""")
    daemon = start("-c", conf)
    with Host(daemon.address, NQN) as host, Host(daemon.address, OTHER) as other:
        write(other.io[0], 0, b"k" * 512)
        for opcode, fields in ((0x84, dict(cdw10=2)), (0x81, dict(write=bytes(512), cdw11=512)), (0xC0, {}),
                               (0x11, dict(write=bytes(4096), cdw10=1023)), (0x10, dict(cdw10=8))):
            assert host.admin.status(opcode, **fields) == DENIED
        assert host.admin.status(0x82, read=512, cdw11=512) == 0
        assert other.admin.status(0x84, cdw10=2) == 0x001
        assert host.admin.status(0x80, nsid=1, cdw10=1 << 9) == DENIED  # this SSD erases all
        assert host.admin.status(0x80, nsid=1) == 0
        assert read(other.io[0], 0, 1) == b"k" * 512


def test_firmware(start, tmp_path):
    """Download and commit; the revision that hosts see is the SSD's then."""
    daemon = config(start, tmp_path, ["firmware"])
    with Host(daemon.address, NQN, queues=0) as host:
        assert host.identify(1)[64:72] == b"1.0     "
        assert host.admin.status(0x10, cdw10=1 | 3 << 3) == 0x107  # no image yet
        image = b"2.0     " + bytes(4088)
        assert host.admin.status(0x11, write=image, cdw10=1023) == 0
        assert host.admin.status(0x11, write=image, cdw10=1022) == 0x00F
        assert host.admin.status(0x10, cdw10=2 | 3 << 3) == 0x106  # no such slot
        assert host.admin.status(0x10, cdw10=1 | 1 << 3) == 0x10B  # would need a reset
        assert host.admin.status(0x10, cdw10=1 | 3 << 3) == 0
        assert host.log_page(3, 512)[8:16] == b"2.0     "
    daemon.expect_clean()


def test_security(start, tmp_path):
    """Security Send and Receive."""
    daemon = config(start, tmp_path, ["security"])
    with Host(daemon.address, NQN, queues=0) as host:
        assert host.admin.run(0x82, read=512, cdw11=512).data[:10] == bytes([0] * 7 + [2, 0, 0xF0])
        assert host.admin.status(0x81, write=b"token" * 100, cdw10=0xF0 << 24, cdw11=500) == 0
        assert host.admin.run(0x82, read=500, cdw10=0xF0 << 24, cdw11=500).data == b"token" * 100
        got = host.admin.run(0x82, read=4096, cdw10=0xF0 << 24, cdw11=4096).data
        assert got == b"token" * 100 + bytes(3596)
        assert host.admin.status(0x82, cdw10=0x77 << 24) == INVALID_FIELD
        assert host.admin.status(0x82, read=512, cdw10=0, cdw11=511) == 0x00F


def test_self_test_and_telemetry(start, tmp_path):
    """Their results are log pages, in parts too."""
    daemon = config(start, tmp_path, ["self-test", "telemetry"])
    with Host(daemon.address, NQN, queues=0) as host:
        assert host.log_page(6, 564)[4] == 0x0F
        assert host.admin.status(0x14, nsid=0xFFFFFFFF, cdw10=1) == 0
        assert host.admin.status(0x14, nsid=1, cdw10=7) == INVALID_FIELD
        assert host.log_page(6, 564)[4] == 0x10
        for lid in (7, 8):
            whole = host.log_page(lid, 1536)
            assert whole[0] == lid and whole[512:] == b"\1" * 512 + b"\2" * 512
            assert host.log_page(lid, 512, offset=1024) == b"\2" * 512
            assert host.admin.status(2, read=64, cdw10=lid | 15 << 16, cdw12=4096) == INVALID_FIELD
        assert host.identify(1)[261] & 8


def test_vendor(start, tmp_path):
    """NDT is the length; data in both directions and metadata are not for a fabric."""
    daemon = config(start, tmp_path, ["vendor"])
    with Host(daemon.address, NQN, queues=0) as host:
        # Left in the pages: it must not be seen where the SSD sends less.
        assert host.admin.status(0xC1, write=b"\xff" * 4096, cdw10=1024) == 0
        assert host.admin.status(0xC1, write=b"v" * 64, cdw10=16) == 0
        assert host.admin.run(0xC0).cqe.dw0 == 64
        assert host.admin.run(0xC2, read=128, cdw10=32).data == b"v" * 64 + bytes(64)
        assert host.admin.status(0xC2, read=128, cdw10=16) == 0x00F
        assert host.admin.status(0xC2, read=64, cdw10=16, cdw11=1) == INVALID_FIELD
        assert host.admin.status(0xC2, read=4096, cdw10=1 << 31) in (0x00F, INVALID_FIELD)
        assert host.admin.status(0xC3, read=64, cdw10=16) == 0x001
        assert host.admin.status(0xC0, nsid=7) == INVALID_NS


def test_two_ssds(start, tmp_path):
    """A command without a namespace does not know which SSD is meant."""
    daemon = config(start, tmp_path, ["self-test", "format"],
                    second=', { nsid = 2; ssd = "b"; }')
    with Host(daemon.address, NQN, queues=0) as host:
        for nsid in (0, 0xFFFFFFFF):
            assert host.admin.status(0x14, nsid=nsid, cdw10=1) == INVALID_NS
        assert host.admin.status(0x14, nsid=2, cdw10=1) == 0
        assert host.admin.status(0x80, nsid=2) == 0


@pytest.mark.parametrize("value, expected", [('( "reboot" )', "allow_commands"), ('"format"', "list"),
                                             ("( 3 )", "allow_commands")])
def test_config_errors(tmp_path, value, expected):
    """file:line: and what was expected."""
    conf = tmp_path / "nvmet.conf"
    conf.write_text(f"""listen = ( "127.0.0.1:0" );
ssds = ( {{ name = "a"; spec = "emulated:size=16M"; }} );
subsystems = ( {{ nqn = "{NQN}"; allow_any_host = true;
                 allow_commands = {value};
                 namespaces = ( {{ nsid = 1; ssd = "a"; }} ); }} );
""")
    status, text = run_nvmetd("-n", "-c", conf)
    assert status == 1
    assert "nvmet.conf:4: " in text and expected in text


def test_restricted_hosts(start, tmp_path):
    """A permission of the subsystem is not one to touch what a host may not see or write."""
    reader, masked = "nqn.2014-08.org.nvmexpress:reader", "nqn.2014-08.org.nvmexpress:masked"
    conf = tmp_path / "nvmet.conf"
    conf.write_text(f"""listen = ( "127.0.0.1:0" );
ssds = ( {{ name = "a"; spec = "emulated:size=16M,namespaces=2"; }} );
subsystems = ( {{ nqn = "{NQN}"; allow_commands = ( "format", "sanitize", "vendor", "self-test", "security" );
                 hosts = ( {{ nqn = "{reader}"; read_only = true; }},
                           {{ nqn = "{masked}"; namespaces = ( 2 ); }} );
                 namespaces = ( {{ nsid = 1; ssd = "a"; }}, {{ nsid = 2; ssd = "a"; ssd_nsid = 2; }} ); }} );
""")
    daemon = start("-c", conf)
    with Host(daemon.address, NQN, hostnqn=reader) as host, \
            Host(daemon.address, NQN, hostnqn=masked, hostid=b"\5" * 16) as other:
        assert host.admin.status(0x80, nsid=1) == 0x020  # write protected
        assert other.admin.status(0x80, nsid=1) == INVALID_NS
        assert other.admin.status(0x80, nsid=2, cdw10=1 << 9) == 0  # user data erase
        for one in (host, other):
            assert one.admin.status(0x84, cdw10=2) == DENIED
            assert one.admin.status(0xC0) == DENIED
            assert one.admin.status(0x82, read=512, cdw11=512) == 0
            assert one.admin.status(0x14, cdw10=1) == 0
        lists = [host.admin.run(6, nsid=nsid, read=4096, cdw10=0x12).data[:2] for nsid in (1, 2)]
        assert lists == [b"\1\0", b"\2\0"]


@pytest.mark.parametrize("fna, plain, erase", [(0, 0, 0), (1, DENIED, DENIED), (2, 0, DENIED)])
def test_format_that_reaches_all(start, tmp_path, fna, plain, erase):
    """An SSD that formats all namespaces at once: not for a host that does not see, or may not write, all."""
    masked = "nqn.2014-08.org.nvmexpress:masked"
    conf = tmp_path / "nvmet.conf"
    conf.write_text(f"""listen = ( "127.0.0.1:0" );
ssds = ( {{ name = "a"; spec = "emulated:size=16M,namespaces=2,fna={fna}"; }},
         {{ name = "b"; spec = "emulated:size=16M,namespaces=2,fna={fna}"; }} );
subsystems = ( {{ nqn = "{NQN}"; allow_commands = ( "format" ); hosts = ( {{ nqn = "{masked}"; namespaces = ( 1 ); }} );
                 namespaces = ( {{ nsid = 1; ssd = "a"; }}, {{ nsid = 2; ssd = "a"; ssd_nsid = 2; }} ); }},
               {{ nqn = "{OTHER}"; allow_any_host = true; allow_commands = ( "format" );
                 namespaces = ( {{ nsid = 1; ssd = "b"; }},
                                {{ nsid = 2; ssd = "b"; ssd_nsid = 2; read_only = true; }} ); }} );
""")
    daemon = start("-c", conf)
    for nqn in (NQN, OTHER):
        with Host(daemon.address, nqn, hostnqn=masked) as host:
            assert host.admin.status(0x80, nsid=1) == plain
            assert host.admin.status(0x80, nsid=1, cdw10=1 << 9) == erase
    daemon.expect_clean()


def test_sanitize_with_a_disabled_namespace(start, tmp_path):
    """What the operator keeps from hosts is not erased by one."""
    second = ', { nsid = 2; ssd = "a"; ssd_nsid = 2; }'
    daemon = config(start, tmp_path, ["sanitize"], "emulated:size=16M,namespaces=2", second)
    with Host(daemon.address, NQN) as host:
        assert ctl(daemon, "disable", NQN, 2)[0] == 0
        assert host.admin.status(0x84, cdw10=2) == DENIED
        assert ctl(daemon, "enable", NQN, 2)[0] == 0
        assert host.admin.status(0x84, cdw10=2) == 0
    daemon.expect_clean()


def test_logs_of_two_ssds(start, tmp_path):
    """A page of the whole SSD, when there are two; of one namespace's SSD it is clear."""
    daemon = config(start, tmp_path, ["self-test"], "emulated:size=16M,wzsl=5",
                    second=', { nsid = 2; ssd = "b"; }')
    with Host(daemon.address, NQN, queues=0) as host:
        assert host.admin.status(2, nsid=0xFFFFFFFF, read=64, cdw10=6 | 15 << 16) == INVALID_NS
        assert host.admin.status(2, nsid=2, read=64, cdw10=6 | 15 << 16) == 0
        assert host.identify(6)[1] == 5


def test_least_limit(start, tmp_path):
    """Of several SSDs' limits hosts are told the lowest one."""
    conf = tmp_path / "nvmet.conf"
    conf.write_text(f"""listen = ( "127.0.0.1:0" );
ssds = ( {{ name = "a"; spec = "emulated:size=16M,wzsl=5,dmrl=8,dmrsl=4096,awun=7"; }},
         {{ name = "b"; spec = "emulated:size=16M,wzsl=3,dmrl=9,dmsl=8192,awun=3"; }},
         {{ name = "c"; spec = "emulated:size=16M,wzsl=9,dmsl=9000,awun=15"; }} );
subsystems = ( {{ nqn = "{NQN}"; allow_any_host = true;
                 namespaces = ( {{ nsid = 1; ssd = "a"; }}, {{ nsid = 2; ssd = "b"; }}, {{ nsid = 3; ssd = "c"; }} ); }} );
""")
    with Host(start("-c", conf).address, NQN, queues=0) as host:
        assert struct.unpack_from("<HH", host.identify(1), 526) == (3, 3)  # AWUN, AWUPF
        assert struct.unpack_from("<4BIQ", host.identify(6)) == (0, 3, 0, 8, 4096, 8192)
