# SPDX-License-Identifier: BSD-3-Clause
"""What there is only so much of: connections, file descriptors, SSDs that work."""

import os
import resource
import time

import pytest

from daemon import NQN
from nvmetcp import Connection, Host, Status, read


def conf(tmp_path, limits="", ssds="", namespaces='{ nsid = 1; ssd = "a"; }'):
    """A configuration file with an SSD "a"."""
    path = tmp_path / "conf"
    path.write_text(f"""
log_level = "debug";
listen = ( "127.0.0.1:0" );
limits = {{ {limits} }};
ssds = ( {{ name = "a"; spec = "emulated:size=16M,queues=4"; }} {ssds} );
subsystems = ( {{ nqn = "{NQN}"; allow_any_host = true; namespaces = ( {namespaces} ); }} );
""")
    return path


@pytest.mark.parametrize("limit", ["connections", "connections_per_host"])
def test_connections(start, tmp_path, limit):
    """One more than the limit is closed at once; the others do not notice, and its place is free again."""
    daemon = start("-c", conf(tmp_path, f"{limit} = 3;"))
    with Host(daemon.address, NQN) as host, Connection(daemon.address) as idle:
        for _ in range(3):
            with Connection(daemon.address) as one_more:
                one_more.expect_close()
        assert f"limits.{limit} is reached" in daemon.log()
        assert len(read(host.io[0], 0, 1)) == 512
        idle.close()
        host.close()
    daemon.expect_clean()
    with Host(daemon.address, NQN):
        pass
    daemon.expect_clean()


def test_file_descriptors(start, tmp_path):
    """No descriptor for one more: accepting rests, says what to raise, and goes on when there are some."""
    daemon = start("-c", conf(tmp_path))
    pid = daemon.process.pid
    with Host(daemon.address, NQN) as host:
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        used = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (min(set(range(999)) - used), before[1]))
        with Connection(daemon.address) as waiting:
            end = time.monotonic() + 10
            while "raise LimitNOFILE" not in daemon.log():
                assert time.monotonic() < end
                assert len(read(host.io[0], 0, 1)) == 512
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
            waiting.icreq()
    daemon.expect_clean()


def test_an_ssd_of_several_is_gone(start, tmp_path):
    """A queue that one SSD cannot serve is refused, and the others get their queue pairs back."""
    daemon = start("-c", conf(
        tmp_path, ssds=', { name = "b"; spec = "emulated:size=16M,queues=4,fault.gone_after=2"; }',
        namespaces='{ nsid = 1; ssd = "a"; }, { nsid = 2; ssd = "b"; }'))
    with Host(daemon.address, NQN) as host:
        for _ in range(3):
            host.io[0].start(2, nsid=2, read=512)
        host.io[0].conn.expect_close()
        for _ in range(6):
            with pytest.raises(Status) as refused:
                host.queue(1)
            assert refused.value.code == 0x181  # Controller Busy: not for ever
            assert not refused.value.cqe.dnr
    daemon.expect_clean()
