# SPDX-License-Identifier: BSD-3-Clause
"""SSDs that are optional: a daemon starts without those that cannot be used, says so, and has them when they come,
also for hosts that are connected by then."""

import contextlib
import os
import re
import struct
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from daemon import NQN, PRESENT, plain_build, run_nvmetd
from nvmetcp import Host, Status, read, write
from test_namespaces import INVALID_NS, Watcher, ctl

NAMES = "abcdefgh"
A = "emulated:size=16M,file=@/a"  # what can be done with a file, and not what can be done in memory
NEVER_READY = "emulated:size=8M,file=@/never,fault.never_ready=1,fault.ready_again=2"
NOBODY = 65534


def conf(folder, *specs, more="", ssd="", workers=2):
    """A file with SSD a, which is needed (None: there is none), and optional ones; each is the namespace of its place.
    @ is the folder."""
    specs = [spec and spec.replace("@", str(folder)) for spec in specs]
    ssds = ", ".join(f'{{ name = "{name}"; spec = "{spec}"; {ssd if optional else ""} optional = {optional}; }}'
                     for name, spec in zip(NAMES, specs) if spec
                     for optional in ("true" if name > "a" else "false",))
    namespaces = ", ".join(f'{{ nsid = {i + 1}; ssd = "{name}"; }}'
                           for i, (name, spec) in enumerate(zip(NAMES, specs)) if spec)
    path = folder / "conf"
    path.write_text(f"""workers = {workers}; listen = ( "127.0.0.1:0" ); {more} ssds = ( {ssds} );
subsystems = ( {{ nqn = "{NQN}"; allow_any_host = true; namespaces = ( {namespaces} ); }} );
""")
    return path


def ssds(daemon):
    """What nvmetctl status says, by name."""
    return {ssd["name"]: ssd for ssd in daemon.ctl("status")["ssds"]}


def namespaces(daemon):
    """What nvmetctl list says, by NSID."""
    subsystem, = [s for s in daemon.ctl("list")["subsystems"] if s["nqn"] == NQN]
    return {ns["nsid"]: ns for ns in subsystem["namespaces"]}


def wait_ready(daemon, name, seconds=20):
    """Until the SSD is ready."""
    end = time.monotonic() + seconds
    while not ssds(daemon)[name]["ready"]:
        assert time.monotonic() < end, ssds(daemon)[name]
        time.sleep(0.01)


@pytest.fixture
def anybodys():
    """A folder that every user may look into."""
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        folder.chmod(0o755)
        yield folder


def expect_unused(daemon):
    """Hosts have left nothing behind; SSDs that came have memory and descriptors of their own."""
    end = time.monotonic() + 20
    while True:
        now = daemon.counters()
        left = {name: now[name] for name in PRESENT if now[name] != daemon.base[name] and name != "dma_pages_main"}
        if not left:
            return
        assert time.monotonic() < end, left
        time.sleep(0.02)


def make(path, mib=8):
    """A file, at once of its size."""
    new = path.with_suffix(".new")
    new.write_bytes(bytes(mib << 20))
    new.rename(path)


def mdts(host):
    """Bytes."""
    return 4096 << host.identify(1)[77]


def acwu(host):
    """Blocks of a fused pair, 0's based."""
    return struct.unpack_from("<H", host.identify(1), 532)[0]


def has_write_cache(host):
    """VWC, bit 0."""
    return bool(host.identify(1)[525] & 1)


def self_test(host):
    """The status of one that begins and ends, without a namespace."""
    return host.admin.status(0x14, nsid=0xFFFFFFFF, cdw10=1)


def expect_uses(queue, nsid):
    """The queue reads what it writes."""
    block = os.urandom(512)
    write(queue, nsid, block, nsid=nsid)
    assert read(queue, nsid, 1, nsid=nsid) == block


def test_a_file_comes(start, tmp_path):
    """Hosts that are connected are told, and use it on the queues that they have; so are hosts without I/O queues."""
    disk = tmp_path / "disk"
    daemon = start("-c", conf(tmp_path, A + ",queues=16", f"emulated:file={disk},queues=16"))
    assert daemon.log().count("ssd b (") == 2  # what is wrong, and what follows
    assert "optional: starting without it; looked for" in daemon.log()
    assert ssds(daemon)["b"]["state"] == "absent" and "not there" in ssds(daemon)["b"]["why"]
    missing = namespaces(daemon)[2]
    assert (missing["active"], missing["blocks"], missing["ssd"]) == (False, None, "b")
    with contextlib.ExitStack() as stack:
        hosts = [stack.enter_context(Host(daemon.address, NQN, queues=n, hostid=bytes([n]) * 16)) for n in (3, 1, 0)]
        watchers = [Watcher(host) for host in hosts]
        for host in hosts:
            assert host.active() == [1] and host.identify(0, 2) == bytes(4096)
        assert hosts[0].io[0].status(0, nsid=2) == INVALID_NS
        make(disk)
        for watcher in watchers:
            assert watcher.event() == [2]
            assert watcher.host.active() == [1, 2]
            assert struct.unpack_from("<Q", watcher.host.identify(0, 2))[0] == 16384
            for queue in watcher.host.io:
                expect_uses(queue, 2)
                expect_uses(queue, 1)
        hosts[2].io.append(hosts[2].queue(1))  # one that comes later is like the others
        expect_uses(hosts[2].io[0], 2)
        assert namespaces(daemon)[2]["active"]
        log = daemon.log()
        assert log.count("b: it is there") == 1 and "does not see" not in log
    expect_unused(daemon)


def test_it_becomes_ready(start, tmp_path):
    """It is there, but does not get ready; it is tried again when somebody asks."""
    daemon = start("-c", conf(tmp_path, A, NEVER_READY, ssd='retry_pause = "10m";'))
    assert "ssd b" in daemon.log() and "optional: starting without it; tried again" in daemon.log()
    assert ssds(daemon)["b"]["state"] == "failed" and "CSTS.RDY" in ssds(daemon)["b"]["why"]
    with Host(daemon.address, NQN) as host:
        watcher = Watcher(host)
        assert ctl(daemon, "rescan", "b")[0] == 0
        assert watcher.event() == [2]
        expect_uses(host.io[0], 2)
        assert ssds(daemon)["b"]["retries"] == 1
    expect_unused(daemon)


def test_by_itself(start, tmp_path):
    """The same without anybody, after retry_pause."""
    daemon = start("-c", conf(tmp_path, A, NEVER_READY, ssd='retry_pause = "1s";'))
    wait_ready(daemon, "b")
    with Host(daemon.address, NQN) as host:
        assert host.active() == [1, 2]


def test_no_such_function(start, tmp_path):
    """A PCI address that nothing answers at: named, absent, and looked for without a line more."""
    daemon = start("-c", conf(tmp_path, A, "0000:fe:1f.7", more='metrics = "127.0.0.1:0";'))
    assert "0000:fe:1f.7: there is no such PCI function" in daemon.log()
    assert ctl(daemon, "rescan", "b")[0] == 0
    time.sleep(1.5)
    assert daemon.log().count("0000:fe:1f.7") == 3
    assert ssds(daemon)["b"]["state"] == "absent"
    host, port = re.search(r"metrics: http://([\d.]+):(\d+)/", daemon.log()).groups()
    with urllib.request.urlopen(f"http://{host}:{port}/metrics") as answer:
        text = answer.read().decode()
    assert 'nvmetd_ssd_ready{ssd="a"} 1\n' in text and 'nvmetd_ssd_ready{ssd="b"} 0\n' in text


@pytest.mark.parametrize("spec, why", [("emulated:file=@/disk", "cannot be opened"), (NEVER_READY, "not usable"),
                                       ("0000:fe:1f.7", "cannot be opened")])
def test_needed(tmp_path, spec, why):
    """One that is not optional stops the start, whichever others are."""
    path = conf(tmp_path, spec, A)
    status, said = run_nvmetd("-c", path)
    assert status == 1 and f"ssd a ({spec.replace('@', str(tmp_path))}): {why}" in said


def test_checked_like_others(tmp_path):
    """What is written wrongly is no SSD that is missing; and it is true or false."""
    assert run_nvmetd("-n", "-c", conf(tmp_path, A, "0000:fe:1f.7"))[0] == 0
    status, said = run_nvmetd("-n", "-c", conf(tmp_path, A, "0000:fe"))
    assert status == 1 and "names no SSD" in said
    path = conf(tmp_path, A, "0000:fe:1f.7")
    path.write_text(path.read_text().replace("optional = true", 'optional = "yes"'))
    status, said = run_nvmetd("-n", "-c", path)
    assert status == 1 and "optional: expected true or false" in said


def test_no_file_is_made_later(start, tmp_path):
    """size= makes a file at the start. Later it would hide that the medium is not mounted yet: it must be there."""
    folder = tmp_path / "mounted-later"
    daemon = start("-c", conf(tmp_path, A, f"emulated:size=8M,file={folder}/disk"))
    assert "its folder does not exist" in daemon.log()
    folder.mkdir()
    assert ctl(daemon, "rescan", "b")[0] == 0
    time.sleep(1.5)
    assert not any(folder.iterdir()) and daemon.log().count("ssd b (") == 2
    make(folder / "disk")
    assert ctl(daemon, "rescan", "b")[0] == 0
    wait_ready(daemon, "b")


def test_none_is_there(start, tmp_path):
    """A subsystem without any SSD yet: what its hosts are told is kept low enough for nearly any that comes."""
    disk = tmp_path / "disk"
    daemon = start("-c", conf(tmp_path, None, f"emulated:file={disk},queues=8,mdts=256K"))
    with Host(daemon.address, NQN, queues=2) as host:
        watcher = Watcher(host)
        assert host.active() == [] and mdts(host) == 128 << 10 and has_write_cache(host)
        make(disk)
        assert watcher.event() == [2]
        assert mdts(host) == 128 << 10  # what it was told holds
        with pytest.raises(Status):
            read(host.io[0], 0, 512, nsid=2)
        for queue in host.io:
            expect_uses(queue, 2)
            assert len(read(queue, 0, 256, nsid=2)) == 128 << 10
        with Host(daemon.address, NQN) as new:
            assert mdts(new) == 256 << 10
            assert len(read(new.io[0], 0, 512, nsid=2)) == 256 << 10
    expect_unused(daemon)


@pytest.mark.parametrize("less", ["mdts=64K", "wzsl=1"])
def test_it_can_do_less(start, tmp_path, less):
    """Than hosts were told: those that are connected do not see it, and go on with what they have."""
    disk = tmp_path / "disk"
    path = conf(tmp_path, A + ",queues=16", f"emulated:file={disk},queues=1,{less}")
    path.write_text(path.read_text().replace("allow_any_host", 'allow_commands = ( "self-test" ); allow_any_host'))
    daemon = start("-c", path)
    with Host(daemon.address, NQN) as host, Host(daemon.address, NQN, queues=0, hostid=b"\5" * 16) as idle:
        watcher = Watcher(host)
        before = host.identify(1)[77], host.identify(6)[1]
        told = [host.identify(cns) for cns in (1, 6)] + [host.log_page(5, 4096)]
        assert self_test(host) == 0
        make(disk)
        wait_ready(daemon, "b")
        assert "does not see the SSD b until its host connects anew" in daemon.log()
        assert host.active() == [1] and host.io[0].status(0, nsid=2) == INVALID_NS
        assert [host.identify(cns) for cns in (1, 6)] + [host.log_page(5, 4096)] == told
        assert len(read(host.io[0], 0, 2048)) == 1 << 20
        assert self_test(host) == 0  # there is still one SSD only that it can mean
        assert idle.set_queues(4) == 4
        idle.io.append(idle.queue(1))
        assert idle.active() == [1] and ssds(daemon)["b"]["queue_pairs_used"] == 0
        with Host(daemon.address, NQN, hostid=b"\6" * 16) as new:
            assert new.active() == [1, 2]
            assert (new.identify(1)[77], new.identify(6)[1]) != before
            expect_uses(new.io[0], 2)
            # What becomes of it is the business of those that see it.
            new_watcher = Watcher(new)
            assert ctl(daemon, "disable", NQN, 2)[0] == 0
            assert new_watcher.event() == [2]
        assert host.admin.status(0x18) == 0 and not watcher.aer.cqe
    expect_unused(daemon)


def test_fused_pairs_of_fewer_blocks(start, tmp_path):
    """ACWU is what hosts lock with: it stays as large as they were told."""
    late = "emulated:size=8M,fused=1,lba=4096,fault.never_ready=1,fault.ready_again=2"
    daemon = start("-c", conf(tmp_path, "emulated:size=16M,fused=1", late, ssd='retry_pause = "10m";'))
    with Host(daemon.address, NQN) as host:
        assert acwu(host) == 15
        assert ctl(daemon, "rescan", "b")[0] == 0
        wait_ready(daemon, "b")
        assert "does not see the SSD b until its host connects anew" in daemon.log()
        assert host.active() == [1] and acwu(host) == 15
        with Host(daemon.address, NQN, hostid=b"\6" * 16) as new:
            assert new.active() == [1, 2] and acwu(new) == 1


def test_a_write_cache_that_may_come(start, tmp_path):
    """SSD a has none in memory; as long as another one may come with one, hosts flush."""
    disk = tmp_path / "disk"
    daemon = start("-c", conf(tmp_path, "emulated:size=16M", f"emulated:file={disk}"))
    with Host(daemon.address, NQN) as host:
        assert has_write_cache(host)
        host.io[0].run(0, nsid=1)
    daemon.stop()
    daemon = start("-c", conf(tmp_path, "emulated:size=16M"))
    with Host(daemon.address, NQN) as host:
        assert not has_write_cache(host)


def test_too_few_queue_pairs(start, tmp_path):
    """It has one queue pair, and the host queues on both workers: it does not see it, and leaves without a trace."""
    disk = tmp_path / "disk"
    daemon = start("-c", conf(tmp_path, A, f"emulated:file={disk},queues=1"))
    with Host(daemon.address, NQN, queues=4) as host, Host(daemon.address, NQN, queues=0, hostid=b"\7" * 16) as other:
        watcher = Watcher(other)
        workers = {queue["worker"] for s in daemon.ctl("list")["subsystems"] for c in s["controllers"]
                   for queue in c["queues"] if queue["qid"]}
        assert workers == {0, 1}
        make(disk)
        assert watcher.event() == [2]
        assert host.active() == [1] and other.active() == [1, 2]
        assert "nor later ones: no queue pair is left for its queues" in daemon.log()
        for queue in host.io:
            expect_uses(queue, 1)
            assert queue.status(0, nsid=2) == INVALID_NS
    expect_unused(daemon)


def test_no_such_namespace(start, tmp_path):
    """One that it does not have is said to be missing; the others are there."""
    disk = tmp_path / "disk"
    path = conf(tmp_path, A, f"emulated:file={disk}")
    path.write_text(path.read_text().replace("{ nsid = 2;", '{ nsid = 3; ssd_nsid = 7; ssd = "b"; }, { nsid = 2;'))
    daemon = start("-c", path)
    with Host(daemon.address, NQN) as host:
        watcher = Watcher(host)
        make(disk)
        assert watcher.event() == [2]
        assert host.active() == [1, 2]
    assert "namespace 7 of ssd b cannot be namespace 3: the SSD has no such namespace" in daemon.log()


def test_while_hosts_come_and_go(start, tmp_path):
    """Seven SSDs come while hosts connect, use what they see, and leave, in whatever way."""
    disks = [tmp_path / name for name in NAMES[1:]]
    daemon = start("-c", conf(tmp_path, A + ",queues=64",
                              *(f"emulated:file={disk},queues=64" for disk in disks)))
    over, failures = threading.Event(), []

    def come_and_go(number):
        hostid = bytes([number]) * 16
        try:
            while not over.is_set():
                with Host(daemon.address, NQN, queues=3, hostid=hostid) as host:
                    for _ in range(number):
                        for queue in host.io:
                            for nsid in host.active():
                                read(queue, 0, 8, nsid=nsid)
        except BaseException as error:  # pylint: disable=broad-except
            failures.append(error)

    with Host(daemon.address, NQN, queues=4) as stays:
        watcher, came = Watcher(stays), set()
        threads = [threading.Thread(target=come_and_go, args=(number,)) for number in (1, 2, 5)]
        for thread in threads:
            thread.start()
        try:
            for disk in disks:
                make(disk, 1)
                assert ctl(daemon, "rescan")[0] == 0
            while len(came) < len(disks):
                came |= set(watcher.event())
        finally:
            over.set()
            for thread in threads:
                thread.join()
        assert not failures, failures
        assert stays.active() == [*range(1, len(disks) + 2)]
        for queue in stays.io:
            for nsid in stays.active():
                expect_uses(queue, nsid)
    expect_unused(daemon)


def test_it_comes_and_breaks_down(start, tmp_path):
    """One that came late is an SSD like others: it is reset, and commands are issued again on the queues."""
    flag = tmp_path / "flag"
    daemon = start("-c", conf(tmp_path, A,
                              f"emulated:size=8M,file=@/b,fault.never_ready=1,fault.ready_again=2,fault.gone_after=20,"
                              f"fault.back_ms=20,fault.back_when={flag},fault.times=1", ssd='retry_pause = "10m";'))
    with Host(daemon.address, NQN, queues=2) as host:
        watcher = Watcher(host)
        assert ctl(daemon, "rescan", "b")[0] == 0
        assert watcher.event() == [2]
        flag.touch()
        for queue in host.io:
            for _ in range(40):
                expect_uses(queue, 2)
        assert "ready again after" in daemon.log()
    expect_unused(daemon)


def test_stopped_while_it_is_missing(start, tmp_path):
    """Nothing is left of what was waited for."""
    daemon = start("-c", conf(tmp_path, None, f"emulated:file={tmp_path / 'disk'}", NEVER_READY))
    daemon.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root to become somebody else")
def test_what_the_user_may_not_open(tmp_path, anybodys, monkeypatch, start):
    """The sandbox lets it be opened later, if the user that the daemon has become may; else that is said."""
    monkeypatch.setattr("daemon.BUILD", plain_build())
    disk = anybodys / "disk"
    daemon = start("-c", conf(tmp_path, A, f"emulated:file={disk}", more='user = "nobody";'))
    with Host(daemon.address, NQN, queues=2) as host:
        watcher = Watcher(host)
        anybodys.chmod(0o700)
        make(disk)
        end = time.monotonic() + 20
        while "cannot be opened yet, by the user that nvmetd is" not in daemon.log():
            assert time.monotonic() < end, daemon.log()
            time.sleep(0.05)
        assert "no permission" in daemon.log()
        anybodys.chmod(0o755)
        os.chown(disk, NOBODY, NOBODY)
        assert ctl(daemon, "rescan", "b")[0] == 0
        assert watcher.event() == [2]
        for queue in host.io:
            expect_uses(queue, 2)
    expect_unused(daemon)
