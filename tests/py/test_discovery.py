# SPDX-License-Identifier: BSD-3-Clause
"""The discovery log of a daemon that listens at every address: what a host is told it can use."""

import struct

import pytest

from daemon import NQN
from nvmetcp import DISCOVERY_NQN, Host

ENTRY = struct.Struct("<BBBBHHHH20x32s192x256s256s256x")


def entries(host):
    """The entries of the discovery log as (ADRFAM, TRADDR, TRSVCID, SUBNQN)."""
    records = struct.unpack_from("<Q", host.log_page(0x70, 1024), 8)[0]
    page = host.log_page(0x70, 1024 * (1 + records))
    found = [ENTRY.unpack_from(page, 1024 * (1 + index)) for index in range(records)]
    return [(entry[1], *(text.split(b"\0")[0].decode() for text in (entry[10], entry[8], entry[9])))
            for entry in found]


@pytest.mark.parametrize("v6", [False, True])
def test_wildcard(start, v6):
    """The address that the host came to, of its own family only; a port with an address is always told."""
    daemon = start("--ssd", "emulated:size=16M", "--nqn", NQN, "--listen", "0.0.0.0:0", "--listen",
                   "[::]:0", "--listen", "127.0.0.2:0")
    ports = {address: str(port) for address, port in daemon.addresses}
    own, wildcard, adrfam = ("::1", "::", 2) if v6 else ("127.0.0.1", "0.0.0.0", 1)
    with Host((own, int(ports[wildcard])), DISCOVERY_NQN, queues=0) as host:
        expected = [(adrfam, own, ports[wildcard]), (1, "127.0.0.2", ports["127.0.0.2"])]
        assert sorted(entries(host)) == sorted(
            (*port, nqn) for port in expected for nqn in (DISCOVERY_NQN, NQN))
    daemon.expect_clean()
