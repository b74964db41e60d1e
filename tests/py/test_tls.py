# SPDX-License-Identifier: BSD-3-Clause
"""TLS 1.3 with pre-shared keys: who gets in, who does not and what the log says; data; keys that change."""

import contextlib
import functools
import os
import shutil
import socket
import struct
import subprocess
import threading
import time

import pytest

from daemon import BUILD, Daemon
from dhchap import Chap, key_text
from nvmetcp import (DISCOVERY_NQN, HOSTNQN, Closed, Connection, Host, Queue, Status, Term, read,
                     write)
from test_auth import PATIENCE, reload, secret
from tls import TLS1_2, Refused, TlsSocket, input_psk, psk_for

NQN, OTHER = "nqn.2026-11.io.nvmetd:tls", "nqn.2026-11.io.nvmetd:other"
KEY, KEY2, KEY3 = (key_text(bytes(range(n, n + size)), kind, "NVMeTLSkey-1")
                   for n, size, kind in ((0, 32, 1), (1, 48, 2), (2, 32, 0)))
CHAP_KEY, CTRL_KEY = (key_text(bytes(range(n, n + 32)), 1) for n in (0, 8))
FREE, CHAP = "nqn.2014-08.org.nvmexpress:free", "nqn.2014-08.org.nvmexpress:chap"
BOTH = "nqn.2014-08.org.nvmexpress:both"
KTLS = "NVMETD_KTLS" in os.environ  # the kernel has the records (tests/vm/test_tls.py)


def configure(folder, patience=PATIENCE):
    """A port that requires TLS, one where it is optional, one without."""
    secret(folder / "key", KEY)
    secret(folder / "key2", KEY2)
    secret(folder / "chap", CHAP_KEY)
    secret(folder / "ctrl", CTRL_KEY)
    conf = folder / "nvmet.conf"
    conf.write_text(f"""
log_level = "debug";
limits = {{ handshake_timeout = "{patience}"; }};
listen = ( {{ address = "127.0.0.1:0"; tls = "required"; }},
           {{ address = "127.0.0.1:0"; tls = "optional"; }}, "127.0.0.1:0" );
ssds = ( {{ name = "a"; spec = "emulated:size=16M"; }}, {{ name = "b"; spec = "emulated:size=16M"; }} );
hosts = ( {{ nqn = "{HOSTNQN}"; tls_key = "{folder}/key"; }},
          {{ nqn = "{BOTH}"; tls_key = "{folder}/key"; dhchap_key = "{folder}/chap"; }},
          {{ nqn = "{CHAP}"; dhchap_key = "{folder}/chap"; dhchap_ctrl_key = "{folder}/ctrl"; }} );
subsystems = (
  {{ nqn = "{NQN}"; namespaces = ( {{ nsid = 1; ssd = "a"; }} );
    hosts = ( "{HOSTNQN}", "{FREE}", "{CHAP}", "{BOTH}" ); }},
  {{ nqn = "{OTHER}"; namespaces = ( {{ nsid = 1; ssd = "b"; }} );
    hosts = ( {{ nqn = "{HOSTNQN}"; tls_key = "{folder}/key2"; }} ); }} );
""")
    return conf


@pytest.fixture(scope="module", name="daemon")
def fixture_daemon(tmp_path_factory):
    """One daemon for these tests. Its log names ports from the last to the first."""
    folder = tmp_path_factory.mktemp("tls")
    instance = Daemon(folder, "-c", configure(folder))
    instance.required, instance.optional, instance.plain = instance.addresses
    yield instance
    instance.stop()


@pytest.fixture(name="target")
def fixture_target(daemon):
    """The daemon; afterwards nothing of the test is left in it."""
    start = len(daemon.log())
    daemon.new_log = lambda: daemon.log()[start:]
    yield daemon
    print(daemon.new_log())
    daemon.expect_clean()


def tls(text=KEY, subnqn=NQN, hostnqn=HOSTNQN, version=1, legacy=False, hash_id=None, **options):
    """How a Connection comes to TLS."""
    psk = psk_for(text, subnqn, hostnqn, version, legacy, hash_id)
    return functools.partial(TlsSocket, **psk, **options)


def wait_log(target, text, seconds=60):
    """Until the log has this."""
    end = time.monotonic() + seconds
    while text not in target.new_log():
        assert time.monotonic() < end, target.new_log()
        time.sleep(0.02)


@pytest.mark.parametrize("legacy", (False, True), ids=("rfc", "legacy"))
@pytest.mark.parametrize("version", (0, 1))
@pytest.mark.parametrize("subnqn, text, cipher", [
    (NQN, KEY, "TLS_AES_128_GCM_SHA256"), (OTHER, KEY2, "TLS_AES_256_GCM_SHA384")])
def test_identities(target, subnqn, text, cipher, version, legacy):
    """Both hashes, both versions, both ways to derive; the subsystem's own key goes before the host's."""
    how = tls(text, subnqn, version=version, legacy=legacy)
    with Host(target.required, subnqn, tls=how) as host:
        assert host.admin.conn.sock.cipher() == cipher
        assert f"{cipher}, records in {'the kernel' if KTLS else 'OpenSSL'}" in target.new_log()
        write(host.io[0], 0, bytes([version]) * 512)
        assert read(host.io[0], 0, 1) == bytes([version]) * 512


@pytest.mark.parametrize("hash_id", (1, 2))
def test_hash_of_the_identity(target, hash_id):
    """The identity's hash need not be the key's."""
    with Queue(target.required, tls=tls(hash_id=hash_id)) as queue:
        queue.connect(NQN)


@pytest.mark.parametrize("version", (0, 1))
def test_sha256_binder(target, version):
    """A PSK of SHA-384 from a host whose TLS library makes every binder with SHA-256 (GnuTLS 3.8.9)."""
    how = tls(KEY2, OTHER, version=version, suite="chacha20",
              suites=b"TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256")
    with Host(target.required, OTHER, tls=how) as host:
        assert host.admin.conn.sock.cipher() == "TLS_CHACHA20_POLY1305_SHA256"
        write(host.io[0], 0, b"c" * 512)
        assert read(host.io[0], 0, 1) == b"c" * 512


def test_hello_retry(target):
    """A host that first guesses a group that we do not take (FFDHE2048, then P-521)."""
    with Queue(target.required, tls=tls(version=0, groups=(1126, 716))) as queue:
        queue.connect(NQN)


@pytest.mark.parametrize("digests", (False, True))
def test_data(target, digests):
    """Large and small transfers, many at once, both directions."""
    with Host(target.required, NQN, tls=tls(), hdgst=digests, ddgst=digests) as host:
        queue, data = host.io[0], os.urandom(1 << 20)
        write(queue, 0, data)
        assert read(queue, 0, 2048) == data
        commands = [queue.start(2, nsid=1, read=16384, cdw10=n * 32, cdw12=31) for n in range(60)]
        queue.wait(*commands)
        for n, command in enumerate(commands):
            assert command.data == data[n * 16384:(n + 1) * 16384]
        for size in (512, 4096, 8192, 65536):
            write(queue, 100, data[:size])
            assert read(queue, 100, size // 512) == data[:size]


def more_than_fits(target, queue):
    """Reads that the host does not receive, and whose answers fill the socket → the data of each, and the commands."""
    data = os.urandom(1 << 20)
    write(queue, 0, data)
    commands = [queue.start(2, nsid=1, read=1 << 20, cdw12=2047) for _ in range(8)]
    target.wait_full()
    return data, commands


def test_slow_reader(target):
    """Records that the socket takes half: what was begun goes on when there is room."""
    with Host(target.required, NQN, tls=tls()) as host:
        queue = host.io[0]
        data, commands = more_than_fits(target, queue)
        queue.wait(*commands)
        assert all(command.data == data for command in commands)


def test_bytes_and_floods(target):
    """One byte a record; a hundred commands in one write."""
    with Host(target.required, NQN, tls=tls()) as host:
        queue, sent = host.io[0], []
        real, queue.conn.sock.sendall = queue.conn.sock.sendall, sent.append
        commands = [queue.start(2, nsid=1, read=512) for _ in range(100)]
        queue.conn.sock.sendall = real
        stream = b"".join(sent)
        for at in range(200):
            real(stream[at:at + 1])
        real(stream[200:])
        queue.wait(*commands)


@pytest.mark.parametrize("part", (b"\x17\x03\x03", b"\x17\x03\x03\x40\x00" + bytes(1000)), ids=("header", "body"))
def test_half_a_record(target, part):
    """A part of a record's header, or of its body: the daemon waits for the rest, and does nothing else meanwhile."""
    with Host(target.required, NQN, tls=tls()) as host:
        before = target.counters()["recvs"]
        host.io[0].conn.sock.sock.sendall(part)
        end = time.monotonic() + 60
        while target.counters()["recvs"] == before and not KTLS:  # the kernel wakes nobody for it
            assert time.monotonic() < end
            time.sleep(0.01)
        for _ in range(20):
            host.admin.status(0x18)
        assert target.counters()["recvs"] - before < 100


def test_key_update(target):
    """The host changes its keys, and has us change ours."""
    with Host(target.required, NQN, tls=tls()) as host:
        if KTLS:  # kernels before 6.14 cannot: the connection ends with a line that says why
            host.io[0].conn.sock.key_update(False)
            with pytest.raises(Closed):
                write(host.io[0], 0, b"k" * 4096)
                host.io[0].pump()
            wait_log(target, "the host wants new record keys")
            return
        for answer in (False, True):
            host.io[0].conn.sock.key_update(answer)
            write(host.io[0], 0, b"k" * 4096)
            assert read(host.io[0], 0, 8) == b"k" * 4096


@pytest.mark.skipif(KTLS, reason="kernels before 6.14 cannot change keys")
def test_key_updates_of_a_slow_reader(target):
    """Several, while the host reads nothing: what it sends waits, at no cost, until it reads again."""
    with Host(target.required, NQN, tls=tls()) as host:
        queue = host.io[0]
        data, commands = more_than_fits(target, queue)
        for _ in range(4):
            queue.conn.sock.key_update()
            commands.append(queue.start(2, nsid=1, read=512))
        before = target.counters()["recvs"]
        time.sleep(0.5)
        assert target.counters()["recvs"] - before < 100
        queue.wait(*commands)
        assert all(command.data == data[:len(command.data)] for command in commands)
        assert read(queue, 0, 2048) == data


REFUSED = {
    "wrong key": (dict(text=KEY2, version=0, hash_id=1), "its key is not the host's"),
    "wrong digest": (dict(text=KEY2, hash_id=1), "it names another key than the host's"),
    "other host": (dict(hostnqn=FREE), "this host has no key here"),
    "unknown host": (dict(hostnqn="nqn.2014-08.org.nvmexpress:nobody"), "this host has no key here"),
}


@pytest.mark.parametrize("changes, text", REFUSED.values(), ids=REFUSED)
def test_refused(target, changes, text):
    """Identities that do not let in; the log names what was offered and what is wrong with it."""
    how = tls(**changes)
    with pytest.raises(Refused):
        Connection(target.required, tls=how)
    wait_log(target, text)
    assert f'"{how.keywords["identity"].decode()}"' in target.new_log()


@pytest.mark.parametrize("identity", [b"x", b"NVMe0R01 a", b"NVMe0R01 a\0 b", b"\xff" * 300,
                                      b"NVMe0R03 a b", b"NVMe0R01 " + b"a" * 600 + b" b"])
def test_strange_identities(target, identity):
    """Identities of no NVMe host."""
    with pytest.raises(Refused):
        Connection(target.required, tls=functools.partial(TlsSocket, identity=identity, psk=bytes(32)))
    wait_log(target, "none that NVMe hosts have")


def test_early_data(target):
    """What a host sends before the handshake is over, and others could send again, is not taken."""
    with Queue(target.required, tls=tls(early=b"\xff" * 1000)) as queue:
        assert not queue.conn.sock.early_was_taken()
        queue.connect(NQN)


def test_no_psk(target):
    """TLS without a key, and TLS 1.2."""
    with pytest.raises(Refused):
        Connection(target.required, tls=TlsSocket)
    wait_log(target, "TLS without a pre-shared key")
    with pytest.raises(Refused):
        Connection(target.required, tls=functools.partial(TlsSocket, version=TLS1_2))


def test_names_must_agree(target):
    """Connect says who TLS has proved the host to be, and where."""
    for subnqn, hostnqn, dw0 in ((NQN, FREE, 0x10200), (OTHER, HOSTNQN, 0x10100)):
        with Queue(target.required, tls=tls()) as queue, pytest.raises(Status) as refused:
            queue.connect(subnqn, hostnqn=hostnqn)
        assert refused.value.code == 0x182 and refused.value.cqe.dw0 == dw0


def test_queues_belong_together(target):
    """An I/O queue comes the way its admin queue came."""
    with Host(target.required, NQN, queues=0, tls=tls()) as host:
        for how in (tls(version=0), tls(hash_id=2)):
            with Queue(target.required, tls=how) as queue, pytest.raises(Status):
                queue.connect(NQN, 1, cntlid=host.admin.cntlid)
    with Host(target.optional, NQN, queues=0, hostnqn=FREE) as host:
        with Queue(target.plain) as queue:
            queue.connect(NQN, 1, cntlid=host.admin.cntlid, hostnqn=FREE)


@pytest.mark.parametrize("port", ("optional", "plain"))
def test_key_means_tls(target, port):
    """A host that has a key must use it wherever it comes in; others need not; discovery is for all."""
    address = getattr(target, port)
    with Queue(address) as queue, pytest.raises(Status) as refused:
        queue.connect(NQN)
    assert refused.value.code == 0x184
    assert "has a key for TLS and must use it" in target.new_log()
    with Host(address, NQN, hostnqn=FREE) as host:
        read(host.io[0], 0, 1)
    with Queue(address) as queue:
        queue.connect(DISCOVERY_NQN)
    if port == "optional":
        with Host(address, NQN, tls=tls()) as host:
            read(host.io[0], 0, 1)


def test_refusals_do_not_flood_the_log(start, tmp_path):
    """A host that is told again and again that it must use TLS is not worth a line each time."""
    daemon = start("-c", configure(tmp_path))
    with Queue(daemon.addresses[2]) as queue:
        for _ in range(300):
            with pytest.raises(Status):
                queue.connect(NQN)
    assert 20 <= daemon.log().count("must use it") < 100


def test_plain_to_tls_port(target):
    """An ICReq where TLS is required: the end, and a line."""
    before = target.counters()["tls_failures"]
    conn = Connection(target.required)
    conn.send(struct.pack("<BBBBIHBBI112x", 0, 0, 128, 0, 128, 0, 0, 0, 0))
    conn.expect_close()
    wait_log(target, "it speaks no TLS, which this port requires")
    assert target.counters()["tls_failures"] > before


def test_tls_to_plain_port(target):
    """A ClientHello where there is no TLS is no PDU."""
    with pytest.raises(Refused):
        Connection(target.plain, tls=tls())


@pytest.mark.parametrize("port", ("required", "optional"))
def test_garbage(target, port):
    """Bytes that are no TLS, halves of it, and silence."""
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    for data in (b"\x16" * 64, hello, hello + bytes(600), b"\x17\x03\x03\x00\x10" + bytes(16),
                 b"GET / HTTP/1.0\r\n\r\n", b"\x16", b"\xff" * 5000, b""):
        conn = Connection(getattr(target, port))
        if data:
            conn.send(data)
        conn.close()


def test_too_slow(start, tmp_path):
    """Connections that say nothing, or half a ClientHello."""
    daemon = start("-c", configure(tmp_path, patience="500ms"))
    for address in daemon.addresses[:2]:
        for data in (b"\x16\x03\x01", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b""):
            conn = Connection(address)
            conn.sock.sendall(data)
            conn.expect_close()
            conn.close()
    assert daemon.log().count("closed: no TLS handshake in time") == 6


def test_protocol_error(target):
    """C2HTermReq over TLS, then the end."""
    with Host(target.required, NQN, tls=tls()) as host:
        host.io[0].conn.send(struct.pack("<BBBBI", 0xFF, 0, 24, 0, 24) + bytes(16))
        with pytest.raises(Term) as term:
            host.io[0].pump()
        assert term.value.fes == 1


def test_cut_records(target):
    """A record that is not authentic ends the connection."""
    with Host(target.required, NQN, tls=tls()) as host:
        host.io[0].conn.sock.sock.sendall(b"\x17\x03\x03\x00\x40" + bytes(64))
        with pytest.raises((Closed, TimeoutError)):
            host.io[0].pump()


@pytest.fixture(name="slowly")
def fixture_slowly():
    """Makes an end of a connection whose bytes reach the daemon one by one; .far is where they come by."""
    ends = []

    def make(sock):
        near, far = socket.socketpair()
        near.settimeout(60)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def pump(source, sink, size):
            with contextlib.suppress(OSError):
                while data := source.recv(size):
                    sink.sendall(data)
                sink.shutdown(socket.SHUT_WR)

        make.far, make.peer = far, f"127.0.0.1:{sock.getsockname()[1]}"
        ends.extend([sock, far])
        for arguments in ((far, sock, 1), (sock, far, 65536)):
            threading.Thread(target=pump, args=arguments, daemon=True).start()
        return near

    yield make
    for end in ends:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("how", ("close_notify", "FIN"))
def test_ends_well(target, slowly, how):
    """A host that says good-bye, a byte at a time, or just leaves: no error, and nothing to say about it."""
    queue = Queue(target.required, tls=lambda sock: TlsSocket(slowly(sock), **psk_for(KEY, NQN)))
    with queue:
        queue.connect(NQN)
        if how == "FIN":
            queue.conn.sock.sock.shutdown(socket.SHUT_WR)
        else:
            queue.conn.sock.notify()
        assert queue.conn.sock.recv(1) == b""
        wait_log(target, f"conn {slowly.peer}: LIVE -> CLOSED\n")


def test_ends_with_an_alert(target, slowly):
    """What the host cannot read it answers with an alert, here a byte at a time: the log says which."""
    queue = Queue(target.required, tls=lambda sock: TlsSocket(slowly(sock), **psk_for(KEY, NQN)))
    with queue:
        queue.connect(NQN)
        slowly.far.sendall(b"\x17\x03\x03\x00\x40" + bytes(64))
        assert queue.conn.sock.recv(1) == b""
        wait_log(target, f"conn {slowly.peer}: LIVE -> CLOSED (Protocol error)")
        assert ("TLS: alert 20 from the host" if KTLS else "alert bad record mac") in target.new_log()


def test_ends_behind_good_records(target):
    """Behind a record that is fine, in the same read, one that is not: the log says what is wrong."""
    with Queue(target.required, tls=tls()) as queue:
        queue.connect(NQN)
        sock = queue.conn.sock.sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        queue.start(0x7F, nsid=4, cdw11=8)
        sock.sendall(b"\x17\x03\x03\x00\x40" + bytes(64))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
        why = "Bad message" if KTLS else "Protocol error"
        wait_log(target, f"conn 127.0.0.1:{sock.getsockname()[1]}: LIVE -> CLOSED ({why})")
        assert KTLS or "bad record mac" in target.new_log()


def test_leaving(target):
    """Hosts that leave in the middle of the handshake and of transfers."""
    for _ in range(20):
        sock = socket.create_connection(target.required)
        sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    with Host(target.required, NQN, tls=tls()) as host:
        for _ in range(8):
            host.io[0].start(2, nsid=1, read=1 << 20, cdw12=2047)
        host.io[0].conn.sock.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                             struct.pack("ii", 1, 0))
        host.io[0].conn.sock.sock.close()


def test_discovery(target):
    """TREQ and TSAS of each port."""
    with Host(target.plain, DISCOVERY_NQN, queues=0) as host:
        log = host.log_page(0x70, 1024 + 9 * 1024, nsid=0)
    entries = [log[1024 * n:1024 * (n + 1)] for n in range(1, 1 + struct.unpack_from("<Q", log, 8)[0])]
    found = {entry[32:64].rstrip(b"\0").decode(): (entry[3] & 3, entry[768]) for entry in entries}
    assert found[str(target.required[1])] == (1, 2)
    assert found[str(target.optional[1])] == (2, 2)
    assert found[str(target.plain[1])] == (0, 0)


def test_discovery_over_tls(target):
    """The discovery log where TLS is required: by the identity for the discovery subsystem."""
    with Host(target.required, DISCOVERY_NQN, queues=0, tls=tls(subnqn=DISCOVERY_NQN)) as host:
        assert NQN.encode() in host.log_page(0x70, 4096, nsid=0)
    with Queue(target.required, tls=tls()) as queue, pytest.raises(Status) as refused:
        queue.connect(DISCOVERY_NQN)
    assert refused.value.code == 0x182


def test_both(target):
    """TLS and DH-HMAC-CHAP on one connection."""
    how = tls(hostnqn=BOTH)
    with Queue(target.required, tls=how) as queue:
        queue.connect(NQN, hostnqn=BOTH)
        assert queue.status(0x18) == 0x191
        Chap(queue, NQN, CHAP_KEY, hostnqn=BOTH).run()
        queue.property_get(0x8)


def shown(target, hostnqn, subnqn=NQN):
    """What nvmetctl list says of the protection of a host's queues."""
    subsys = next(item for item in target.ctl("list")["subsystems"] if item["nqn"] == subnqn)
    ctrl = next(item for item in subsys["controllers"] if item["hostnqn"] == hostnqn)
    return [(queue["tls"], queue["authentication"]) for queue in ctrl["queues"]]


def test_shown(target):
    """nvmetctl list: TLS and authentication of each queue, in JSON and as text (both ways: test_auth.py)."""
    suite = f"TLS_AES_128_GCM_SHA256, records in {'the kernel' if KTLS else 'OpenSSL'}"
    with Host(target.required, NQN, tls=tls()):
        assert shown(target, HOSTNQN) == [(suite, "none")] * 2
        text = subprocess.check_output([BUILD / "nvmetctl", "--socket", target.control, "list"], text=True)
        assert text.count(f" tls={suite} authentication=none") == 2
    with Host(target.optional, NQN, hostnqn=FREE):
        assert shown(target, FREE) == [("none", "none")] * 2
    with Queue(target.required, tls=tls(hostnqn=BOTH)) as queue:
        queue.connect(NQN, hostnqn=BOTH)
        assert shown(target, BOTH) == [(suite, "pending")]
        Chap(queue, NQN, CHAP_KEY, hostnqn=BOTH).run()
        assert shown(target, BOTH) == [(suite, "one way")]
    with Queue(target.plain) as queue:
        queue.connect(NQN, hostnqn=CHAP)
        assert Chap(queue, NQN, CHAP_KEY, hostnqn=CHAP).send(bytes(16)) == 0
        assert shown(target, CHAP) == [("none", "failed")]


@pytest.mark.parametrize("hash_id", (1, 2))
def test_concatenation(target, hash_id):
    """Authentication without TLS generates the key for TLS; over TLS it can be replaced."""
    with Queue(target.optional) as queue:
        queue.connect(NQN, hostnqn=CHAP)
        chap = Chap(queue, NQN, CHAP_KEY, hostnqn=CHAP, hashes=(3, hash_id), groups=(0, 1),
                    sc_c=2).run()
        assert (chap.hash, chap.group) == (hash_id, 1)
    first = functools.partial(TlsSocket, **input_psk(chap.psk, "G", hash_id, NQN, CHAP))
    with Queue(target.required, tls=first) as queue:
        queue.connect(NQN, hostnqn=CHAP)
        again = Chap(queue, NQN, CHAP_KEY, hostnqn=CHAP, groups=(1,), sc_c=3, hashes=(hash_id,)).run()
        queue.property_get(0x8)
    with pytest.raises(Refused):
        Connection(target.required, tls=first)
    second = functools.partial(TlsSocket, **input_psk(again.psk, "G", hash_id, NQN, CHAP))
    with Queue(target.required, tls=second) as queue:
        queue.connect(NQN, hostnqn=CHAP)


def test_concatenation_that_fails(target):
    """A host that does not believe us goes on with the key for TLS that it had; one that does has a new one."""
    def begin():
        queue = stack.enter_context(Queue(target.optional))
        queue.connect(NQN, hostnqn=CHAP)
        chap = Chap(queue, NQN, CHAP_KEY, CTRL_KEY, hostnqn=CHAP, groups=(1,), hashes=(1,), sc_c=2)
        assert chap.send(chap.negotiate_message()) == 0
        chap.take_challenge(chap.receive())
        assert chap.send(chap.reply_message()) == 0
        chap.take_success1(chap.receive())
        return chap

    def lets_in(chap):
        how = functools.partial(TlsSocket, **input_psk(chap.psk, "G", 1, NQN, CHAP))
        try:
            Connection(target.required, tls=how).close()
        except Refused:
            return False
        return True

    with contextlib.ExitStack() as stack:
        first = begin()
        assert not lets_in(first)
        assert first.send(first.success2_message()) == 0
        assert lets_in(first)
        second = begin()
        assert second.send(struct.pack("<BBxxHBB", 0, 0xF0, second.t_id, 1, 1)) == 0
        assert not lets_in(second)
        assert lets_in(first)


def test_rotation(start, tmp_path):
    """Two keys of one host under the same identity (version 0): both let in, under I/O; then one."""
    daemon = start("-c", configure(tmp_path))
    address = daemon.addresses[0]
    with Host(address, NQN, tls=tls(version=0)) as host:
        write(host.io[0], 0, b"r" * 512)
        secret(tmp_path / "key", KEY3, KEY)
        reload(daemon, "all keys were read again")
        for text in (KEY, KEY3):
            with Queue(address, tls=tls(text, version=0)) as queue:
                queue.connect(NQN, hostid=bytes(range(1, 17)))
        secret(tmp_path / "key", KEY3)
        reload(daemon, "all keys were read again")
        with Queue(address, tls=tls(KEY3, version=0)) as queue:
            queue.connect(NQN, hostid=bytes(range(1, 17)))
        with pytest.raises(Refused):
            Connection(address, tls=tls(version=0))
        assert read(host.io[0], 0, 1) == b"r" * 512
    for text in (KEY, KEY3):
        assert text.split(":")[2][:12] not in daemon.log()


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl(1) is not installed")
def test_s_client(target):
    """A second TLS peer: openssl s_client sends an ICReq and gets ICResp."""
    psk = psk_for(KEY, NQN)
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{target.required[1]}", "-tls1_3", "-quiet",
               "-psk_identity", psk["identity"].decode(), "-psk", psk["psk"].hex()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as client:
        client.stdin.write(struct.pack("<BBBBIHBBI112x", 0, 0, 128, 0, 128, 0, 0, 0, 0))
        client.stdin.flush()
        answer = client.stdout.read(128)
        client.kill()
    assert answer[:8] == struct.pack("<BBBBI", 1, 0, 128, 0, 128)
