# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures: a daemon for the whole session, daemons of one's own, a host."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from bystander import Bystander  # noqa: E402
from daemon import NQN, Daemon  # noqa: E402
from hostile import start_write  # noqa: E402
from nvmetcp import Host  # noqa: E402

FLOOD = 80  # lines: a worker's budget of three kinds of message
LIMITS = """
limits = { handshake_timeout = "1m"; pdu_timeout = "1m"; term_timeout = "500ms";
           connections = 400; connections_per_host = 300; handshakes = 200; controllers = 64; };
"""


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """One daemon with two namespaces, IPv4 and IPv6; shared by most tests. It is patient: a test, and the
    bystander, may stand still for as long as a busy machine does."""
    folder = tmp_path_factory.mktemp("shared")
    conf = folder / "nvmet.conf"
    conf.write_text(LIMITS + f"""
listen = ( "127.0.0.1:0", "[::1]:0" );
ssds = ( {{ name = "a"; spec = "emulated:size=64M,namespaces=2,queues=32"; }} );
subsystems = (
  {{ nqn = "{NQN}"; allow_any_host = true;
    namespaces = ( {{ nsid = 1; ssd = "a"; }}, {{ nsid = 5; ssd = "a"; ssd_nsid = 2; }} ); }},
  {{ nqn = "{NQN}:closed"; hosts = ( "nqn.2014-08.org.nvmexpress:friend" );
    namespaces = ( {{ nsid = 1; ssd = "a"; }} ); }} );
""")
    instance = Daemon(folder, "-c", conf)
    yield instance
    instance.stop()


@pytest.fixture(scope="session")
def bystander(shared):
    """Another host of the shared daemon, whose I/O goes on all the time."""
    instance = Bystander(shared.address, NQN)
    with instance.quiet():
        shared.rebase()
    yield instance
    instance.stop()


@pytest.fixture
def target(shared, bystander):
    """The shared daemon; afterwards it lives, the bystander's I/O went on, nothing of the test is left,
    and the log was not flooded."""
    start = len(shared.log())
    yield shared
    log = shared.log()[start:]
    print(log)
    assert shared.process.poll() is None, f"nvmetd died:\n{log}"
    bystander.expect_goes_on()
    with bystander.quiet():
        shared.expect_clean()
    flood = [line for line in log.splitlines() if re.search(r" (error|warning): |: closed: ", line)]
    assert len(flood) <= FLOOD, f"{len(flood)} lines about what one test did"


@pytest.fixture
def host(target):
    """A host with one I/O queue."""
    with Host(target.address, NQN) as instance:
        yield instance


@pytest.fixture
def writing(host):
    """(queue, command): a 16 KiB write whose R2T has come."""
    return host.io[0], start_write(host.io[0])


@pytest.fixture
def start(tmp_path):
    """start(*arguments): a daemon of the test's own; stopped cleanly at its end."""
    daemons = []

    def run(*arguments, folder=None):
        folder = folder or tmp_path / f"daemon{len(daemons)}"
        folder.mkdir(exist_ok=True)
        daemons.append(Daemon(folder, *arguments))
        return daemons[-1]

    yield run
    for instance in daemons:
        print(instance.log())
        if instance.process.poll() is None:
            instance.stop()
        else:
            instance.kill()


@pytest.fixture
def small_tmpfs(tmp_path):
    """Mounts a tmpfs of so many MiB, in a folder of its own, which it returns. What is still used there when the test
    is over goes with its last user."""
    folder = tmp_path / "small"

    def mount(mib):
        folder.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "none", folder], check=False,
                          capture_output=True).returncode:
            pytest.skip("a small file system cannot be mounted here")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", "-l", folder], check=True)
