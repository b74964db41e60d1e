# SPDX-License-Identifier: BSD-3-Clause
"""Calls that never fail, failing: one at a time, at each place in the daemon that makes them (failing.py).

A start fails with status 1 and a message, or the daemon serves. Later, a failure costs at most the command
or the connection that it hits: no other host notices, nothing is left, and the next one fares well."""

import contextlib
import errno
import functools
import json
import os
import re
import signal
import socket
import time
from pathlib import Path

import pytest

import daemon as daemon_py
from daemon import NQN, PATIENCE_S, Daemon
from dhchap import Chap, Failure, key_text
from failing import ONE_BYTE, Failing
from nvmetcp import CC, DISCOVERY_NQN, FLUSH, HOSTNQN, Closed, Host, Queue, Status, Term, read, write
from tls import Refused, TlsSocket, psk_for

TLS_KEY = key_text(bytes(range(32)), 1, "NVMeTLSkey-1")
CHAP_KEY, CTRL_KEY = (key_text(bytes(range(n, n + 32)), 1) for n in (0, 8))
WITH_TLS, WITH_CHAP = HOSTNQN, "nqn.2014-08.org.nvmexpress:chap"
FREE, OTHER = "nqn.2014-08.org.nvmexpress:free", "nqn.2014-08.org.nvmexpress:other"
EX_CONFIG = 78
MANY_PLACES = 200  # more than any call has: without an end to them, something is wrong
REST_S = 1  # util/acceptor.c
PRELOADED = "exitcode=99:abort_on_error=0:verify_asan_link_order=0"  # failing.so goes first


def configure(folder, disk):
    """Keys, TLS, metrics; SSDs in memory, behind an io_uring and on a file in memory."""
    for name, key in (("tls", TLS_KEY), ("chap", CHAP_KEY), ("ctrl", CTRL_KEY)):
        path = folder / name
        path.write_text(f"{key}\n")
        path.chmod(0o600)
    conf = folder / "nvmet.conf"
    conf.write_text(f"""
workers = 1; dma_memory = "24M"; metrics = "127.0.0.1:0";
limits = {{ handshake_timeout = "5s"; pdu_timeout = "5s"; term_timeout = "300ms"; }};
listen = ( {{ address = "127.0.0.1:0"; tls = "optional"; }} );
ssds = ( {{ name = "a"; spec = "emulated:size=2M"; }}, {{ name = "b"; spec = "emulated:size=2M,file={folder}/disk"; }},
         {{ name = "c"; spec = "emulated:size=2M,file={disk}"; }} );
hosts = ( {{ nqn = "{WITH_TLS}"; tls_key = "{folder}/tls"; }},
          {{ nqn = "{WITH_CHAP}"; dhchap_key = "{folder}/chap"; dhchap_ctrl_key = "{folder}/ctrl"; }} );
subsystems = ( {{ nqn = "{NQN}"; hosts = ( "{WITH_TLS}", "{WITH_CHAP}", "{FREE}", "{OTHER}" );
  namespaces = ( {{ nsid = 1; ssd = "a"; }}, {{ nsid = 2; ssd = "b"; }}, {{ nsid = 3; ssd = "c"; }} ); }} );
""")
    return conf


@pytest.fixture(scope="module", name="disk")
def fixture_disk():
    """A file in memory."""
    path = f"/dev/shm/nvmetd-failing-{os.getpid()}"
    yield path
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


# --- What hosts and operators do; each checks what it is told -----------------------------------------


def use_blocks(queue):
    """Writes by R2T and in the capsule, on each SSD, and reads it back."""
    for nsid in (1, 2, 3):
        large, small = os.urandom(16384), os.urandom(4096)
        write(queue, 0, large, nsid=nsid)
        write(queue, 32, small, nsid=nsid)
        assert read(queue, 0, 32, nsid=nsid) == large and read(queue, 32, 8, nsid=nsid) == small
        queue.run(FLUSH, nsid=nsid)


def as_host(target, hostnqn=FREE, digests=True, **how):
    """Connects, asks, writes and reads."""
    with Host(target.address, NQN, hostnqn=hostnqn, hdgst=digests, ddgst=digests, timeout=10, **how) as host:
        host.identify(1)
        host.identify(0, 1)
        host.log_page(2, 512)
        use_blocks(host.io[0])


def with_tls(target):
    """The same, over TLS."""
    as_host(target, WITH_TLS, digests=False, tls=functools.partial(TlsSocket, **psk_for(TLS_KEY, NQN)))


def with_chap(target):
    """Both prove who they are, on both queues."""
    def authenticated(qid, cntlid=0xFFFF):
        queue = Queue(target.address, timeout=10)
        stack.callback(queue.conn.close)
        queue.connect(NQN, qid=qid, cntlid=cntlid, hostnqn=WITH_CHAP)
        Chap(queue, NQN, CHAP_KEY, CTRL_KEY, hostnqn=WITH_CHAP, groups=(1,)).run()
        return queue

    with contextlib.ExitStack() as stack:
        admin = authenticated(0)
        admin.property_set(CC, 0x00460001)
        read(authenticated(1, admin.cntlid), 0, 1)


def discover(target):
    """Reads the discovery log page."""
    with Host(target.address, DISCOVERY_NQN, queues=0, hostnqn=FREE, timeout=10) as host:
        host.log_page(0x70, 2048, nsid=0)


def ask(target, request, timeout=10):
    """An answer of the control socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(timeout)
        sock.connect(str(target.control))
        sock.sendall(b'{"request": "%s"}\n' % request.encode())
        sock.shutdown(socket.SHUT_WR)
        answer = sock.makefile("rb").read()
    if not answer or b'"error"' in answer:
        raise Closed
    return json.loads(answer)


def scrape(target, timeout=10):
    """Takes the page with the metrics."""
    port = int(re.search(r"metrics: http://127.0.0.1:(\d+)", target.log())[1])
    with socket.create_connection(("127.0.0.1", port), timeout) as sock:
        sock.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        page = sock.makefile("rb").read()
    if b" 200 OK" not in page[:20]:
        raise Closed
    assert page.endswith(b"# EOF\n")


def operate(target):
    """Asks over the control socket and for the metrics."""
    assert ask(target, "counters")["connections"] >= 0
    assert ask(target, "status")["ssds"]
    scrape(target)


def reload(target):
    """Has it read all keys again."""
    start = len(target.log())
    target.process.send_signal(signal.SIGHUP)
    end = time.monotonic() + 15
    while "SIGHUP: " not in target.log()[start:]:
        assert time.monotonic() < end, "SIGHUP: nothing in the log"
        time.sleep(0.005)


def fares(what, target):
    """Whether it went well. It may be refused or cut off; it may not wait in vain, or be lied to."""
    try:
        what(target)
    except (Closed, Term, Status, Refused, Failure, ConnectionError):
        return False
    return True


# --- The start ------------------------------------------------------------------------------------


class Attempt(Daemon):
    """A daemon that may have ended when it was to be ready."""

    def _wait_ready(self):
        with contextlib.suppress(AssertionError):
            super()._wait_ready()

    def rebase(self):
        """It may not be there."""

    def expect_refusal(self, error):
        """It said why, and ended with status 1: that of the configuration would keep it from being started again.
        (Without memory to read that one, it is told as one of its faults.)"""
        assert self.process.poll() == (EX_CONFIG if "/nvmet.conf:" in self.log() else 1)
        assert os.strerror(getattr(errno, error)) in self.log() or "memory" in self.log(), self.log()


def preload(monkeypatch, failing):
    """For the daemons that start from now on."""
    for name, value in {**failing.environment, "ASAN_OPTIONS": PRELOADED}.items():
        monkeypatch.setitem(daemon_py.ENV, name, value)


@pytest.mark.parametrize("function, error", [
    ("malloc", "ENOMEM"), ("malloc in libevent_core", "ENOMEM"), ("mmap", "ENOMEM"), ("memfd_create", "EMFILE"),
    ("ftruncate", "ENOSPC"), ("open", "EMFILE"), ("fstat", "EIO"), ("read", "EIO"), ("socket", "EMFILE"),
    ("bind", "EADDRINUSE"), ("listen", "EADDRINUSE"), ("setsockopt", "ENOMEM"), ("eventfd", "EMFILE"),
    ("epoll_ctl in libevent_core", "ENOSPC"), ("pthread_create", "EAGAIN")])
def test_start(tmp_path, monkeypatch, disk, function, error):
    """It starts, serves all who may come and ends well, or says what it lacks and ends with status 1."""
    failing = Failing(tmp_path / "plan")
    preload(monkeypatch, failing)
    conf = configure(tmp_path, disk)
    n_failed = 0
    while True:
        failing.new_place(function, error)
        attempt = Attempt(tmp_path, "-c", conf)
        try:
            failed = failing.done(function)
            if not attempt.addresses:
                attempt.expect_refusal(error)
                attempt.kill()
                n_failed += 1
                continue
            if failed:
                discover(attempt)
                operate(attempt)
            attempt.stop()
        except BaseException:
            print(f"{function}: {error} at {failing.where()}\n{attempt.log()}")
            attempt.kill()
            raise
        if not failed:
            break
        n_failed += 1
    assert n_failed


def test_congestion_not_allowed(tmp_path, monkeypatch, disk):
    """The kernel has the congestion control for others than us: the log says which ones are for all, and what to
    do, and it starts."""
    failing = Failing(tmp_path / "plan")
    preload(monkeypatch, failing)
    conf = configure(tmp_path, disk)
    conf.write_text('tcp = { congestion = "reno"; };\n' + conf.read_text())
    failing.next_call("setsockopt", "EPERM", 100)
    daemon = Daemon(tmp_path, "-c", conf)
    try:
        assert failing.done("setsockopt")
        allowed = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control").read_text().strip()
        assert f'tcp.congestion: "reno" takes CAP_NET_ADMIN (others do not: {allowed}): ' in daemon.log()
    finally:
        daemon.stop()


# --- Later ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module", name="daemon")
def fixture_daemon(tmp_path_factory, disk):
    """One daemon for the rest, with a host that is idle, but for a look after each failure."""
    folder = tmp_path_factory.mktemp("failing")
    failing = Failing(folder / "plan")
    with pytest.MonkeyPatch.context() as monkeypatch:
        preload(monkeypatch, failing)
        instance = Daemon(folder, "-c", configure(folder, disk))
    instance.failing = failing
    with Host(instance.address, NQN, hostnqn=OTHER, hostid=b"o" * 16) as other:
        instance.other = other.io[0]
        write(instance.other, 2048, b"other" * 512, nsid=1)
        instance.rebase()
        yield instance
    instance.stop()


def no_harm(target, what):
    """The other host has not noticed, it goes well now, and nothing is left."""
    assert target.process.poll() is None
    assert read(target.other, 2048, 5, nsid=1) == b"other" * 512
    assert fares(what, target), "not even afterwards"
    target.expect_clean()


def each_place(target, what, function, error):
    """Does it until all places have failed. Returns how many."""
    failing, n_failed = target.failing, 0
    while True:
        start = len(target.log())
        try:
            failing.new_place(function, error)
            well = fares(what, target)
            if not failing.done(function):
                assert well
                return n_failed
            no_harm(target, what)
        except BaseException:
            print(f"{function}: {error} at {failing.where()}\n{target.log()[start:]}")
            raise
        n_failed += 1


LATER = {
    as_host: (("malloc", "ENOMEM"), ("malloc in libevent_core", "ENOMEM"), ("mmap", "ENOMEM"),
              ("accept4 in libevent_core", "ENFILE"), ("getsockname", "ENOBUFS"),
              ("epoll_ctl in libevent_core", "ENOSPC"), ("io_uring_queue_init", "ENOMEM"),
              ("io_uring_register_eventfd", "ENOMEM"), ("io_uring_register_files", "ENOMEM"),
              ("io_uring_submit", "EAGAIN"), ("pwritev", "EIO"), ("sendmsg", "ENOBUFS"), ("readv", "ENOMEM")),
    with_tls: (("malloc", "ENOMEM"), ("malloc in libcrypto", "ENOMEM"), ("read in libcrypto", "ENOMEM"),
               ("write in libcrypto", "ENOBUFS")),
    with_chap: (("malloc", "ENOMEM"), ("malloc in libcrypto", "ENOMEM"), ("RAND_bytes", "EIO")),
    operate: (("malloc", "ENOMEM"), ("writev in libevent_core", "ENOBUFS"), ("readv in libevent_core", "ENOMEM")),
    reload: (("open", "EMFILE"), ("fstat", "EIO"), ("read", "EIO")),
}


@pytest.mark.parametrize("what, function, error",
                         [(what, *call) for what, calls in LATER.items() for call in calls])
def test_later(daemon, what, function, error):
    """It costs one command or one connection at most."""
    assert each_place(daemon, what, function, error)
    assert "are all in use" not in daemon.log()  # two are: it is no reason for a refusal here


@pytest.mark.parametrize("what, function", [
    (as_host, "readv"), (as_host, "sendmsg"), (as_host, "pwritev"), (as_host, "epoll_wait in libevent_core"),
    (as_host, "io_uring_submit"), (with_tls, "read in libcrypto"), (with_tls, "write in libcrypto"),
    (operate, "writev in libevent_core"), (operate, "readv in libevent_core")])
def test_interrupted(daemon, what, function):
    """A call that a signal has cut short is made again: nobody notices."""
    failing, n_interrupted = daemon.failing, 0
    while n_interrupted < MANY_PLACES:
        failing.new_place(function, "EINTR")
        assert fares(what, daemon), failing.where()
        if not failing.done(function):
            break
        n_interrupted += 1
    assert 0 < n_interrupted < MANY_PLACES
    daemon.expect_clean()


@pytest.mark.parametrize("what, function", [
    (as_host, "readv"), (as_host, "sendmsg"), (as_host, "pwritev"), (with_tls, "read in libcrypto"),
    (with_tls, "write in libcrypto"), (operate, "writev in libevent_core"),
    (operate, "readv in libevent_core")])
def test_one_byte(daemon, what, function):
    """What a socket or a file takes one byte at a time arrives whole."""
    daemon.failing.next_call(function, ONE_BYTE, 300)
    try:
        assert fares(what, daemon)
    finally:
        assert daemon.failing.done(function)
    no_harm(daemon, what)


def test_no_memory_for_a_connection(daemon):
    """It is counted and logged with the others that are refused."""
    start, before = len(daemon.log()), daemon.counters()["connections_refused"]
    daemon.failing.next_call("malloc", "ENOMEM")
    assert not fares(discover, daemon)
    assert daemon.failing.done("malloc")
    assert "a connection of 127.0.0.1 is refused: Cannot allocate memory" in daemon.log()[start:]
    assert daemon.counters()["connections_refused"] == before + 1


@contextlib.contextmanager
def resting(daemon):
    """The listener rests, at least until the time that this yields; on a busy machine it may be over."""
    no_harm(daemon, discover)  # it does not rest now
    end = time.monotonic() + REST_S
    daemon.failing.next_call("accept4 in libevent_core", "ENFILE")
    with socket.create_connection(daemon.address, 10):
        patience = time.monotonic() + PATIENCE_S
        while not daemon.failing.fired("accept4 in libevent_core"):
            assert time.monotonic() < patience
            time.sleep(0.005)
        daemon.failing.done("accept4 in libevent_core")
        daemon.counters()  # by the thread that accepts: it is through with that
        yield end


def test_rest_is_not_for_ever(daemon):
    """A listener that cannot be watched again after its rest is tried again."""
    for _ in range(20):
        with resting(daemon) as end:
            daemon.failing.next_call("epoll_ctl in libevent_core", "ENOSPC")
            in_time = time.monotonic() < end
            assert fares(discover, daemon) or not in_time
            rested = time.monotonic() - end
        failed = daemon.failing.done("epoll_ctl in libevent_core")
        if in_time:
            break
    assert in_time and failed and rested > REST_S / 2  # twice
    daemon.expect_clean()


@pytest.mark.parametrize("what, function, error", [
    (functools.partial(ask, request="counters"), "malloc in libevent_core", "ENOMEM"),
    (scrape, "epoll_ctl in libevent_core", "ENOSPC")], ids=("control", "metrics"))
def test_operator_may_wait_in_vain(daemon, what, function, error):
    """libevent does not always tell what failed: an operator may get no answer. The daemon lives, and gives
    the next one."""
    n_failed = 0
    while n_failed < MANY_PLACES:
        daemon.failing.new_place(function, error)
        with contextlib.suppress(Closed, ConnectionError, TimeoutError):
            what(daemon, timeout=1)
        if not daemon.failing.done(function):
            break
        what(daemon)
        n_failed += 1
    assert 0 < n_failed < MANY_PLACES
    operate(daemon)
