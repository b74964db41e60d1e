# SPDX-License-Identifier: BSD-3-Clause
"""What is left to a running daemon: read back from /proc."""

import ctypes
import errno
import json
import os
import pwd
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

import pytest

from daemon import BUILD, ENV, NQN, TOP, Daemon, plain_build
from nvmetcp import Connection, Host, read, write


def status_of(task):
    """A thread's /proc status as a dictionary."""
    lines = (task / "status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def tasks(daemon):
    """Each thread's status."""
    return [status_of(task) for task in Path(f"/proc/{daemon.process.pid}/task").iterdir()]


def test_no_privileges(start):
    """No capability in any set of any thread, and none can come back."""
    daemon = start("--ssd", "emulated:size=16M", "--listen", "127.0.0.1:0", "--nqn", NQN,
                   "--workers", 2)
    threads = tasks(daemon)
    assert len(threads) >= 3
    for thread in threads:
        assert thread["NoNewPrivs"] == "1"
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(thread[name], 16) == 0, (thread["Name"], name)
        if os.geteuid() == 0:
            assert int(thread["CapBnd"], 16) == 0


def refuse_filters():
    """In a child: seccomp(2), and prctl(2) with PR_SET_SECCOMP, fail from now on."""
    def op(code, jump_true, jump_false, value):
        return struct.pack("HBBI", code, jump_true, jump_false, value)

    load, equal, end = 0x20, 0x15, 0x06  # BPF_LD | BPF_W | BPF_ABS; BPF_JMP | BPF_JEQ; BPF_RET
    code = b"".join((op(load, 0, 0, 0), op(equal, 4, 0, 317), op(equal, 0, 2, 157), op(load, 0, 0, 16),
                     op(equal, 1, 0, 22), op(end, 0, 0, 0x7fff0000), op(end, 0, 0, 0x50000 | errno.EPERM)))
    text = ctypes.create_string_buffer(code, len(code))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(text)))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert libc.prctl(22, 2, program, 0, 0) == 0, os.strerror(ctypes.get_errno())


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the filter that refuses knows x86-64's numbers")
def test_a_filter_that_is_refused():
    """A daemon whose threads cannot be restricted does not start: it says so, and what to do."""
    run = subprocess.run([plain_build() / "nvmetd", "--ssd", "emulated:size=16M", "--listen", "127.0.0.1:0",
                          "--nqn", NQN, "--workers", "2"], capture_output=True, text=True, check=False,
                         timeout=60, preexec_fn=refuse_filters)
    assert run.returncode == 1, run
    assert "must allow seccomp(2)" in run.stderr and "ready: listening" not in run.stderr


def test_filters(tmp_path, monkeypatch):
    """Every thread has a seccomp filter."""
    monkeypatch.setattr("daemon.BUILD", plain_build())
    image = tmp_path / "image"
    image.write_bytes(bytes(16 << 20))
    daemon = Daemon(tmp_path, "--ssd", f"emulated:file={image}", "--listen", "127.0.0.1:0", "--nqn", NQN,
                    "--workers", 2)
    with Host(daemon.address, NQN, queues=2) as host:
        for queue in host.io:
            write(queue, 0, b"s" * 65536)
            assert read(queue, 0, 128) == b"s" * 65536
        assert [thread["Seccomp"] for thread in tasks(daemon)
                if not thread["Name"].startswith("iou-")] == ["2"] * 3
    daemon.stop()


def test_first_line_of_a_worker(tmp_path):
    """A worker's first line may be the first of the whole log: it needs nothing that the filter forbids."""
    control = tmp_path / "control"
    build = TOP / "build" / "gcc"
    daemon = subprocess.Popen([build / "nvmetd", "--ssd", "emulated:size=16M", "--listen", "127.0.0.1:0", "--nqn",
                               NQN, "--log-level", "warning", "--control", control],
                              stderr=subprocess.PIPE, text=True, env={**ENV, "TZ": ":/etc/localtime"})
    ctl = [build / "nvmetctl", "--socket", control, "-o", "json", "status"]
    try:
        while (status := subprocess.run(ctl, capture_output=True, check=False)).returncode:
            assert daemon.poll() is None
        port = int(json.loads(status.stdout)["listen"][0]["trsvcid"])
        with Connection(("127.0.0.1", port)) as garbage:
            garbage.send(b"\xff" * 128)
            garbage.expect_close()
        with Host(("127.0.0.1", port), NQN) as host:
            read(host.io[0], 0, 1)
    finally:
        daemon.terminate()
        _, log = daemon.communicate()
    assert daemon.returncode == 0 and "protocol error" in log, (daemon.returncode, log)


@pytest.fixture(name="open_folder")
def make_open_folder():
    """Not below pytest's own folder: another pytest that begins takes others' access to that away."""
    folder = Path(tempfile.mkdtemp(prefix="nvmetd-user-", dir="/var/tmp"))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_user(open_folder, start, tmp_path):
    """Started as root it becomes who the configuration says; its files and its socket are that user's."""
    nobody = pwd.getpwnam("nobody")
    os.chown(open_folder, nobody.pw_uid, nobody.pw_gid)
    conf = tmp_path / "nvmet.conf"
    conf.write_text(f"""
user = "nobody"; listen = ( "127.0.0.1:0" );
ssds = ( {{ name = "a"; spec = "emulated:size=16M"; }} );
subsystems = ( {{ nqn = "{NQN}"; allow_any_host = true; namespaces = ( {{ nsid = 1; ssd = "a"; }} ); }} );
""")
    daemon = start("-c", conf, folder=open_folder)
    for thread in tasks(daemon):
        assert thread["Uid"].split() == [str(nobody.pw_uid)] * 4
        assert thread["Gid"].split() == [str(nobody.pw_gid)] * 4
    assert daemon.control.stat().st_uid == nobody.pw_uid
    with Host(daemon.address, NQN) as host:
        read(host.io[0], 0, 1)
    daemon.stop()
    assert not daemon.control.exists()


def test_unknown_user(start, tmp_path):
    """A user that does not exist: it does not start."""
    conf = tmp_path / "nvmet.conf"
    conf.write_text(f"""
user = "nobody-at-all"; listen = ( "127.0.0.1:0" );
ssds = ( {{ name = "a"; spec = "emulated:size=16M"; }} );
subsystems = ( {{ nqn = "{NQN}"; allow_any_host = true; namespaces = ( {{ nsid = 1; ssd = "a"; }} ); }} );
""")
    if os.geteuid() != 0:
        pytest.skip("only root becomes somebody else")
    with pytest.raises(AssertionError) as error:
        start("-c", conf)
    assert "user nobody-at-all: there is no such user" in str(error.value)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_unit():
    """The service's exposure, as systemd sees it, is at most 2.0."""
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20",
               str(BUILD / "nvmetd.service")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
