# SPDX-License-Identifier: BSD-3-Clause
"""DH-HMAC-CHAP: every hash and group, both ways; who does not authenticate gets nothing; messages that are wrong."""

import contextlib
import signal
import socket
import struct
import time

import pytest

from dhchap import (CONCAT, FAILED, GROUP, HASH, MESSAGE, NOT_USABLE, PAYLOAD, PRIMES, Chap, Failure,
                    key_text)
from nvmetcp import DISCOVERY_NQN, HOSTNQN, Closed, Host, Queue, Status, read, write

NQN = "nqn.2026-11.io.nvmetd:auth"
KEY, KEY2 = key_text(bytes(range(32)), 1), key_text(bytes(range(1, 49)), 2)
CTRL, CTRL2 = key_text(bytes(range(2, 66)), 3), key_text(bytes(range(3, 35)))
REQUIRED = 0x191
PATIENCE = "30s"  # arithmetic in Python takes its time
ONE_WAY = "nqn.2014-08.org.nvmexpress:one-way"
FREE = "nqn.2014-08.org.nvmexpress:free"


def secret(path, *lines):
    """A file with keys."""
    path.write_text("".join(f"{line}\n" for line in lines))
    path.chmod(0o600)
    return path


def configure(folder, more="", patience=PATIENCE, limits=""):
    """A configuration with one host that has both keys, one that proves itself only, and one that is free."""
    secret(folder / "host", "# of the one host", KEY)
    secret(folder / "ctrl", CTRL)
    conf = folder / "nvmet.conf"
    conf.write_text(f"""
limits = {{ handshake_timeout = "{patience}"; {limits} }};
listen = ( "127.0.0.1:0" );
ssds = ( {{ name = "a"; spec = "emulated:size=16M"; }} );
hosts = ( {{ nqn = "{ONE_WAY}"; dhchap_key = "{folder}/host"; }} );
{more}
subsystems = ( {{ nqn = "{NQN}"; namespaces = ( {{ nsid = 1; ssd = "a"; }} );
  hosts = ( "{FREE}", "{ONE_WAY}",
            {{ nqn = "{HOSTNQN}"; dhchap_key = "{folder}/host"; dhchap_ctrl_key = "{folder}/ctrl"; }} );
}} );
""")
    return conf


@pytest.fixture(scope="module", name="daemon")
def fixture_daemon(tmp_path_factory):
    """One daemon for all of these tests."""
    from daemon import Daemon
    folder = tmp_path_factory.mktemp("auth")
    instance = Daemon(folder, "-c", configure(folder))
    yield instance
    instance.stop()


@pytest.fixture(name="target")
def fixture_target(daemon):
    """The daemon; afterwards nothing of the test is left in it."""
    start = len(daemon.log())
    yield daemon
    print(daemon.log()[start:])
    daemon.expect_clean()


@pytest.fixture(name="admin")
def fixture_admin(target):
    """An admin queue that has connected and not authenticated."""
    with Queue(target.address) as queue:
        yield queue.connect(NQN)


def must_fail(chap, code, closes=False):
    """The next message is AUTH_Failure1 with this explanation; then, within a second, the connection ends."""
    with pytest.raises(Failure) as failure:
        chap.expect(chap.receive(), 99)
    assert failure.value.code == code
    if closes:
        chap.queue.conn.expect_close()


@pytest.mark.parametrize("group", range(6))
@pytest.mark.parametrize("hash_id", (1, 2, 3))
def test_every_hash_and_group(admin, target, hash_id, group):
    """Both sides prove their keys; nvmetctl list shows it."""
    Chap(admin, NQN, KEY, CTRL, hashes=(hash_id,), groups=(group,)).run()
    assert admin.property_get(0x8) >= 0x10400
    ctrl, = (ctrl for subsys in target.ctl("list")["subsystems"] for ctrl in subsys["controllers"])
    assert [queue["authentication"] for queue in ctrl["queues"]] == ["both ways"]


def test_one_way(target):
    """A host that does not ask for proof; its key is from the list for all subsystems."""
    with Queue(target.address) as queue:
        queue.connect(NQN, hostnqn=ONE_WAY)
        Chap(queue, NQN, KEY, hostnqn=ONE_WAY).run()
        queue.property_get(0x8)


def test_proof_without_key(target):
    """A host that asks for proof where there is no key for it: refused."""
    with Queue(target.address) as queue:
        queue.connect(NQN, hostnqn=ONE_WAY)
        chap = Chap(queue, NQN, KEY, CTRL, hostnqn=ONE_WAY).replied()
        must_fail(chap, FAILED)


def test_preference(admin):
    """Of what the host offers, our first choice is taken, whatever the host's order."""
    chap = Chap(admin, NQN, KEY, hashes=(3, 2, 1), groups=(5, 4, 0, 1)).run()
    assert (chap.hash, chap.group) == (1, 1)


def test_unknown_identifiers_are_skipped(admin):
    """Identifiers that do not exist are no reason to refuse those that do."""
    chap = Chap(admin, NQN, KEY, hashes=(99, 2), groups=(200, 0)).challenged()
    assert (chap.hash, chap.group) == (2, 0)


def test_nothing_before(admin, target):
    """Until it has authenticated a queue takes no command, and no I/O queue can join."""
    for opcode, changes in ((0x06, {"read": 4096, "cdw10": 1}), (0x18, {}), (0x0C, {}),
                            (0x7F, {"nsid": 0x04, "cdw11": 0x8})):
        assert admin.status(opcode, **changes) == REQUIRED
    with Queue(target.address) as io, pytest.raises(Status) as refused:
        io.connect(NQN, 1, cntlid=admin.cntlid)
    assert refused.value.code == REQUIRED


def test_host_without_a_key(target):
    """Linux hosts that have none go away when Connect is answered: what was missing is said, and counted."""
    before = target.counters()["authentication_failures"]
    with Queue(target.address) as queue:
        connect_raw(queue, HOSTNQN)
        peer = "{}:{}".format(*queue.conn.sock.getsockname()[:2])
    line = f"{peer}: queue 0: its host left before it had authenticated"
    end = time.monotonic() + 60
    while line not in target.log():
        assert time.monotonic() < end
    assert target.counters()["authentication_failures"] > before


def test_connect_says_so(target):
    """ATR in Connect's answer, for hosts that have a key only."""
    with Queue(target.address) as queue:
        command = connect_raw(queue, HOSTNQN)
        assert command.cqe.dw0 >> 16 == 2
    with Queue(target.address) as queue:
        assert connect_raw(queue, FREE).cqe.dw0 >> 16 == 0


def connect_raw(queue, hostnqn):
    """Connect, as the Command."""
    data = struct.pack("<16sH238x256s256s256x", bytes(range(16)), 0xFFFF, NQN.encode(),
                       hostnqn.encode())
    return queue.run(0x7F, nsid=1, write=data, inline=True, cdw11=31 | 4 << 16)


class AuthHost(Host):
    """A host that authenticates each of its queues."""

    def enable(self):
        Chap(self.admin, self.subnqn, KEY, CTRL).run()
        super().enable()

    def queue(self, qid, entries=128, **changes):
        queue = super().queue(qid, entries, **changes)
        assert queue.status(2, nsid=1, read=512) == REQUIRED
        Chap(queue, self.subnqn, KEY, CTRL, groups=(0,)).run()
        return queue


def test_io(target):
    """I/O queues authenticate for themselves; again, while they work."""
    with AuthHost(target.address, NQN, queues=2) as host:
        write(host.io[0], 0, b"a" * 512)
        assert read(host.io[1], 0, 1) == b"a" * 512
        chap = Chap(host.io[0], NQN, KEY, CTRL)
        assert chap.send(chap.negotiate_message()) == 0
        assert read(host.io[0], 0, 1) == b"a" * 512
        chap.take_challenge(chap.receive())
        assert chap.send(chap.reply_message()) == 0
        assert read(host.io[0], 0, 1) == b"a" * 512
        chap.take_success1(chap.receive())
        assert chap.send(chap.success2_message()) == 0
        assert read(host.io[0], 0, 1) == b"a" * 512


def test_again_with_the_wrong_key(target):
    """A queue that fails to prove itself again has lost what it had."""
    with AuthHost(target.address, NQN) as host:
        chap = Chap(host.io[0], NQN, KEY2).replied()
        assert host.io[0].status(2, nsid=1, read=512) == REQUIRED
        must_fail(chap, FAILED)


@pytest.mark.parametrize("groups", ((0,), (1,)))
def test_wrong_key(admin, target, groups):
    """Failure1, the end, a line that says why, and a count."""
    before = target.counters()["authentication_failures"]
    chap = Chap(admin, NQN, KEY2, groups=groups).replied()
    assert admin.status(0x18) == REQUIRED
    must_fail(chap, FAILED, closes=True)
    assert "the keys differ" in target.log()
    assert target.counters()["authentication_failures"] > before


def test_one_try(admin):
    """What has failed stays failed on this connection, also for a host that has the right key after all."""
    wrong = Chap(admin, NQN, KEY2, groups=(0,)).replied()
    right = Chap(admin, NQN, KEY, groups=(0,), t_id=wrong.t_id)
    assert right.send(right.negotiate_message()) == 0
    must_fail(right, FAILED)


def test_failure_after_success(start, tmp_path):
    """A message out of turn on a queue that was trusted: it is closed in time, though its host asks for no reason."""
    daemon = start("-c", configure(tmp_path, patience="5s"))
    with Queue(daemon.address) as queue:
        chap = Chap(queue.connect(NQN), NQN, KEY, groups=(0,)).run()
        assert chap.send(chap.success2_message()) == 0
        queue.conn.expect_close()
    assert "its authentication failed" in daemon.log()


def test_short_success2(admin):
    """A Success2 that ends early proves nothing."""
    chap = Chap(admin, NQN, KEY, CTRL, groups=(0,)).replied()
    chap.take_success1(chap.receive())
    assert chap.send(chap.success2_message()[:-1]) == 0
    assert admin.status(0x18) == REQUIRED
    must_fail(chap, PAYLOAD)


def test_host_refuses_us(admin):
    """Failure2: the host says that our proof is wrong; it gets nothing more."""
    chap = Chap(admin, NQN, KEY, CTRL).replied()
    chap.take_success1(chap.receive())
    assert chap.send(struct.pack("<BBxxHBB", 0, 0xF0, chap.t_id, 1, 1)) == 0
    assert admin.status(0x18) == REQUIRED
    must_fail(chap, FAILED)


@pytest.mark.parametrize("changes, code", [
    ({"hashes": ()}, HASH), ({"hashes": (4, 0)}, HASH), ({"groups": ()}, GROUP),
    ({"groups": (6, 255)}, GROUP), ({"sc_c": 1}, CONCAT), ({"sc_c": 3}, CONCAT),
    ({"sc_c": 255}, CONCAT),
])
def test_nothing_in_common(admin, changes, code):
    """Negotiations that must fail, each with its reason."""
    chap = Chap(admin, NQN, KEY, **changes)
    assert chap.send(chap.negotiate_message()) == 0
    must_fail(chap, code)


@pytest.mark.parametrize("changes, code", [
    ({"halen": 31}, PAYLOAD), ({"halen": 255}, PAYLOAD), ({"dhlen": 31}, PAYLOAD),
    ({"dhlen": 255}, PAYLOAD), ({"napd": 2}, PAYLOAD), ({"napd": 255}, PAYLOAD),
    ({"napd": 0}, NOT_USABLE), ({"authid": 2}, NOT_USABLE), ({"halen": 0}, HASH),
    ({"dhlen": 0}, GROUP),
])
def test_malformed_negotiate(admin, changes, code):
    """Counts that do not fit."""
    chap = Chap(admin, NQN, KEY)
    assert chap.send(chap.negotiate_message(**changes)) == 0
    must_fail(chap, code)


@pytest.mark.parametrize("length", (1, 5, 6, 7, 8, 71))
def test_short_negotiate(admin, length):
    """A message that ends early."""
    chap = Chap(admin, NQN, KEY)
    assert chap.send(chap.negotiate_message()[:length]) == 0
    must_fail(chap, PAYLOAD)


def patched(message, offset, fmt, value):
    """The message with one field changed."""
    return message[:offset] + struct.pack(fmt, value) + message[offset + struct.calcsize(fmt):]


REPLIES = {
    "hl 0": lambda m: patched(m, 6, "<B", 0), "hl 31": lambda m: patched(m, 6, "<B", 31),
    "hl 48": lambda m: patched(m, 6, "<B", 48), "hl 255": lambda m: patched(m, 6, "<B", 255),
    "cvalid 2": lambda m: patched(m, 8, "<B", 2), "dhvlen 0": lambda m: patched(m, 10, "<H", 0),
    "dhvlen 255": lambda m: patched(m, 10, "<H", 255),
    "dhvlen 384": lambda m: patched(m, 10, "<H", 384),
    "dhvlen 65535": lambda m: patched(m, 10, "<H", 65535), "header": lambda m: m[:16],
    "half a header": lambda m: m[:9], "one byte short": lambda m: m[:-1],
    "y = 0": lambda m: m[:-256] + bytes(256), "y = 1": lambda m: m[:-256] + bytes(255) + b"\1",
    "y = p - 1": lambda m: m[:-256] + (PRIMES[1] - 1).to_bytes(256, "big"),
    "y = p": lambda m: m[:-256] + PRIMES[1].to_bytes(256, "big"),
    "y too large": lambda m: m[:-256] + b"\xff" * 256,
}


@pytest.mark.parametrize("change", REPLIES.values(), ids=REPLIES)
def test_malformed_reply(admin, change):
    """Lengths and public values that are wrong."""
    chap = Chap(admin, NQN, KEY, hashes=(1,), groups=(1,)).challenged()
    assert chap.send(change(chap.reply_message())) == 0
    must_fail(chap, PAYLOAD)


@pytest.mark.parametrize("message", [
    lambda chap: struct.pack("<BBxxH10x", 1, 4, chap.t_id),
    lambda chap: struct.pack("<BBxxH10x", 1, 1, chap.t_id),
    lambda chap: struct.pack("<BBxxH10x", 2, 2, chap.t_id),
    lambda chap: struct.pack("<BBxxH10x", 0, 2, chap.t_id),
    lambda chap: patched(chap.reply_message(), 4, "<H", chap.t_id ^ 1),
])
def test_out_of_turn(admin, message):
    """Another message than the Reply that is due, or another transaction's."""
    chap = Chap(admin, NQN, KEY, groups=(0,)).challenged()
    assert chap.send(message(chap)) == 0
    must_fail(chap, MESSAGE)


@pytest.mark.parametrize("step", ("challenge", "success1", "success2"))
def test_reply_out_of_turn(admin, step):
    """A Reply before the Challenge was received, and the right one a second time."""
    chap = Chap(admin, NQN, KEY, CTRL, groups=(0,))
    assert chap.send(chap.negotiate_message()) == 0
    if step == "challenge":
        reply = struct.pack("<BBxxHBxBxHI", 1, 2, chap.t_id, 32, 0, 0, 0) + bytes(64)
    else:
        chap.take_challenge(chap.receive())
        reply = chap.reply_message()
        assert chap.send(reply) == 0
    if step == "success2":
        chap.take_success1(chap.receive())
    assert chap.send(reply) == 0
    must_fail(chap, MESSAGE)


def test_full_lists(admin):
    """As many identifiers as a Negotiate has room for."""
    unknown = tuple(range(100, 129))
    Chap(admin, NQN, KEY, hashes=(*unknown, 1), groups=(*unknown, 0)).run()


def test_reply_first(admin):
    """A Reply without a Challenge."""
    chap = Chap(admin, NQN, KEY)
    assert chap.send(struct.pack("<BBxxH10x", 1, 2, 7)) == 0
    chap.t_id = 0
    must_fail(chap, MESSAGE)


def test_receive_first(admin):
    """Nothing is due: out of sequence, and the queue can still authenticate."""
    chap = Chap(admin, NQN, KEY)
    with pytest.raises(Status) as refused:
        chap.receive()
    assert refused.value.code == 0x0C
    chap.run()


def test_begin_anew(admin):
    """A new Negotiate at any step begins anew; what the old one had is worth nothing."""
    old = Chap(admin, NQN, KEY, groups=(1,)).challenged()
    reply = old.reply_message()
    new = Chap(admin, NQN, KEY, groups=(1,), t_id=old.t_id).challenged()
    assert new.c1 != old.c1 and new.challenge != old.challenge
    assert new.send(reply) == 0
    must_fail(new, FAILED)


def test_room(admin):
    """A Receive too small for the message loses nothing; nothing lies behind the message in a large one."""
    chap = Chap(admin, NQN, KEY, CTRL, groups=(1,))
    assert chap.send(chap.negotiate_message()) == 0
    for size in (1, 7, 8, 16, 47, 303):
        with pytest.raises(Status) as refused:
            chap.receive(size)
        assert refused.value.code == 2
    chap.take_challenge(chap.receive(304 if chap.hashes[0] == 1 else 4096))
    assert chap.send(chap.reply_message()) == 0
    with pytest.raises(Status):
        chap.receive(16 + 31)
    chap.take_success1(chap.receive(16384))
    assert chap.send(chap.success2_message()) == 0
    admin.property_get(0x8)


def test_fields(admin):
    """SECP, SPSP and lengths of the commands."""
    chap = Chap(admin, NQN, KEY)
    message = chap.negotiate_message()
    for cdw10 in (0, 0xE8010100, 0xE9020100, 0xE9010200, 0xE9000000):
        assert chap.send(message, cdw10=cdw10) == 2
    for length in (0, 16385, 0xFFFFFFFF):
        assert chap.send(message, length) == 2
    for length in (1, len(message) - 1, len(message) + 1, 4096):
        assert chap.send(message, length) == 0x0F
    chap.run()


def test_no_key(target):
    """A host without a key has no need to authenticate, and cannot."""
    with Host(target.address, NQN, hostnqn=FREE) as host:
        chap = Chap(host.admin, NQN, KEY, hostnqn=FREE)
        assert chap.send(chap.negotiate_message()) == 0
        with pytest.raises(Failure) as failure:
            chap.take_challenge(chap.receive())
        assert failure.value.code == NOT_USABLE


def test_too_slow(start, tmp_path):
    """A queue that does not authenticate in time is closed."""
    daemon = start("-c", configure(tmp_path, patience="3s"))
    with Queue(daemon.address) as queue:
        queue.connect(NQN)
        queue.conn.expect_close()
    assert "did not authenticate in time" in daemon.log()


def test_keep_alive_waits(target):
    """A host that calculates for longer than its keep-alive timeout; from then on it must be heard again."""
    with Queue(target.address) as queue:
        queue.connect(NQN, kato=3000)
        chap = Chap(queue, NQN, KEY, groups=(1,)).challenged()
        time.sleep(4.5)
        assert chap.send(chap.reply_message()) == 0
        chap.take_success1(chap.receive())
        queue.property_get(0x8)
        queue.conn.expect_close()


def test_beginning_anew_takes_no_longer(start, tmp_path):
    """The time that there is for an authentication is for all of it, however often it begins."""
    daemon = start("-c", configure(tmp_path, patience="1s"))
    with Queue(daemon.address) as queue:
        chap = Chap(queue.connect(NQN), NQN, KEY, groups=(0,))
        with pytest.raises((Closed, OSError)):
            for _ in range(7):
                chap.send(chap.negotiate_message())
                chap.receive()
                time.sleep(0.5)
    assert "did not authenticate in time" in daemon.log()


def test_failure_ends(admin):
    """AUTH_Failure1 may be received again; that does not put the end off."""
    chap, begin = Chap(admin, NQN, KEY), time.monotonic()
    assert chap.send(chap.success2_message()) == 0
    must_fail(chap, MESSAGE)
    with pytest.raises((Closed, OSError)):
        while time.monotonic() - begin < 20:
            must_fail(chap, MESSAGE)
            time.sleep(0.2)


def test_one_anew_too_many(admin):
    """A host may begin anew, but each time may cost a key: at some point that is the failure. Success forgives."""
    chap = Chap(admin, NQN, KEY, groups=(0,))
    for _ in range(2):
        for _ in range(7):
            chap.challenged()
        chap.run()
    for _ in range(9):
        assert chap.send(chap.negotiate_message()) == 0
    must_fail(chap, MESSAGE)


def test_a_name_is_no_proof(start, tmp_path, monkeypatch):
    """Controllers of those who only claim to be the host count for their address: they do not keep the host out,
    whose own count for it wherever it comes from."""
    daemon = start("-c", configure(tmp_path, limits="controllers_per_host = 4;"))
    real = socket.socket.connect

    def connect(sock, address):
        if sock.family == socket.AF_INET:
            sock.bind(("127.0.0.2", 0))
        real(sock, address)

    def come(number):
        queue = stack.enter_context(Queue(daemon.address))
        return queue.connect(NQN, hostid=bytes([number]) * 16)

    with contextlib.ExitStack() as stack:
        monkeypatch.setattr(socket.socket, "connect", connect)
        for number in range(4):
            come(10 + number)
        with pytest.raises(Status) as claims:
            come(20)
        monkeypatch.undo()
        for number in range(4):
            Chap(come(30 + number), NQN, KEY, groups=(0,)).run()
        with pytest.raises(Status) as own:
            come(40)
        for refused in (claims, own):
            assert refused.value.code == 0x181 and not refused.value.cqe.dnr
    daemon.expect_clean()


def test_gone_in_the_middle(target):
    """Hosts that leave at every step."""
    for steps in range(4):
        queue = Queue(target.address).connect(NQN)
        chap = Chap(queue, NQN, KEY, CTRL)
        if steps > 0:
            chap.send(chap.negotiate_message())
        if steps > 1:
            chap.take_challenge(chap.receive())
        if steps > 2:
            chap.send(chap.reply_message())
        queue.conn.abort()


def test_two_at_once(admin):
    """Two Sends on their way together: one after the other."""
    chap = Chap(admin, NQN, KEY)
    message = chap.negotiate_message()
    fields = {"cdw10": 0xE9010100, "cdw11": len(message)}
    commands = [admin.start(0x7F, nsid=5, write=message, inline=True, **fields) for _ in range(8)]
    admin.wait(*commands)
    assert all(command.cqe.status == 0 for command in commands)
    chap.take_challenge(chap.receive())
    assert chap.send(chap.reply_message()) == 0
    chap.take_success1(chap.receive())


def test_policy(start, tmp_path):
    """Only what the configuration allows is used, in its order."""
    conf = configure(tmp_path, 'dhchap = { hashes = ( "sha512", "sha256" ); groups = ( "ffdhe3072" ); };')
    daemon = start("-c", conf)
    with Queue(daemon.address) as queue:
        chap = Chap(queue.connect(NQN), NQN, KEY).run()
        assert (chap.hash, chap.group) == (3, 2)
    with Queue(daemon.address) as queue:
        chap = Chap(queue.connect(NQN), NQN, KEY, hashes=(2,))
        assert chap.send(chap.negotiate_message()) == 0
        must_fail(chap, HASH)


def test_discovery(target, start, tmp_path):
    """The discovery log is for everybody, or only for hosts that prove the key that they have for all subsystems."""
    for hostnqn in (FREE, ONE_WAY):
        with Host(target.address, DISCOVERY_NQN, queues=0, hostnqn=hostnqn) as host:
            host.log_page(0x70, 4096, nsid=0)
    daemon = start("-c", configure(tmp_path, "dhchap = { discovery = true; };"))
    for hostnqn in (FREE, HOSTNQN):
        with Host(daemon.address, DISCOVERY_NQN, queues=0, hostnqn=hostnqn) as host:
            host.log_page(0x70, 4096, nsid=0)
    with Queue(daemon.address) as queue:
        queue.connect(DISCOVERY_NQN, hostnqn=ONE_WAY)
        assert queue.status(0x02, read=4096, cdw10=0x03FF0070) == REQUIRED
        with pytest.raises(Failure):
            Chap(queue, DISCOVERY_NQN, KEY2, hostnqn=ONE_WAY).run()
    with Queue(daemon.address) as queue:
        queue.connect(DISCOVERY_NQN, hostnqn=ONE_WAY)
        Chap(queue, DISCOVERY_NQN, KEY, hostnqn=ONE_WAY).run()
        queue.property_set(0x14, 0x00460001)
        log = queue.run(0x02, read=4096, cdw10=0x03FF0070).data
        assert NQN.encode() in log


def reload(daemon, text):
    """SIGHUP; waits until the daemon has said so."""
    at = len(daemon.log())
    daemon.process.send_signal(signal.SIGHUP)
    end = time.monotonic() + 60
    while text not in daemon.log()[at:]:
        assert time.monotonic() < end, daemon.log()
        time.sleep(0.02)


def test_rotation(start, tmp_path):
    """Two valid keys, the controller's beside them; files are read again without a connection noticing."""
    daemon = start("-c", configure(tmp_path))
    with AuthHost(daemon.address, NQN) as host:
        secret(tmp_path / "host", KEY2, KEY)
        secret(tmp_path / "ctrl", CTRL2, CTRL)
        reload(daemon, "all keys were read again")
        for key, ctrl in ((KEY, CTRL), (KEY2, CTRL2)):
            with Queue(daemon.address) as queue:
                Chap(queue.connect(NQN, hostid=bytes(range(1, 17))), NQN, key, ctrl).run()
        secret(tmp_path / "host", KEY2)
        secret(tmp_path / "ctrl", "DHHC-1:00:nonsense:")
        reload(daemon, "those keys stay as they were")
        assert "ctrl:1: its length or its hash is not one that such keys have" in daemon.log()
        with Queue(daemon.address) as queue:
            Chap(queue.connect(NQN, hostid=bytes(range(1, 17))), NQN, KEY2, CTRL2).run()
        with Queue(daemon.address) as queue:
            chap = Chap(queue.connect(NQN, hostid=bytes(range(1, 17))), NQN, KEY).replied()
            must_fail(chap, FAILED)
        assert read(host.io[0], 0, 1) == bytes(512)
    for text in (KEY, KEY2, CTRL, CTRL2):
        assert text.split(":")[2][:12] not in daemon.log()
