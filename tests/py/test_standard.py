# SPDX-License-Identifier: BSD-3-Clause
"""What a program is started with: standard input, output and error that are closed, full, or read by somebody who has
stopped; limits; blocked signals."""

import fcntl
import os
import re
import resource
import signal
import subprocess

import pytest

from daemon import BUILD, ENV, NQN, Daemon, plain_build
from nvmetcp import Host, read

ONE = "--ssd", "emulated:size=16M", "--listen", "127.0.0.1:0", "--nqn", NQN
F_SETPIPE_SZ = 1031


@pytest.mark.parametrize("command", (
    ("nvmetctl", "--help"), ("nvmetctl", "--version"), ("nvmetctl", "key", "--help"),
    ("nvmetctl", "key", "generate", "tls"), ("nvmetctl", "status"), ("nvmetctl", "-o", "json", "list"),
    ("nvmetctl", "top", "1", "2"), ("nvmetd", "--help")), ids=" ".join)
def test_what_is_not_printed(start, command):
    """A full disk, or no standard output at all, is an error: a script must not take an empty file for a key."""
    daemon = start(*ONE)
    for where, why in ("/dev/full", "No space left on device"), ("&-", "Bad file descriptor"):
        result = subprocess.run(["sh", "-c", f'exec "$@" >{where}', "sh", BUILD / command[0], *command[1:]],
                                stderr=subprocess.PIPE, text=True, check=False, timeout=60,
                                env={**ENV, "NVMETD_CONTROL": str(daemon.control)})
        assert result.returncode == 1, result
        assert result.stderr == f"{command[0]}: standard output: {why}\n"


def test_log_that_may_not_grow(start):
    """A limit to the size of files (ulimit -f) ends the log, not the daemon."""
    daemon = start(*ONE)
    size = daemon.log_path.stat().st_size
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (size, size))
    for _ in range(2):  # a line each
        daemon.process.send_signal(signal.SIGHUP)
        assert daemon.ctl("status")["pid"] == daemon.process.pid
    daemon.stop()
    assert daemon.log_path.stat().st_size == size


def test_blocked_signals(tmp_path):
    """A parent that has blocked SIGTERM does not make a daemon that only SIGKILL ends."""
    control = tmp_path / "control"
    daemon = subprocess.Popen([BUILD / "nvmetd", *ONE, "--control", control], stderr=subprocess.DEVNULL, env=ENV,
                              preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}))
    try:
        status = [BUILD / "nvmetctl", "--socket", control, "status"]
        while subprocess.run(status, capture_output=True, env=ENV, check=False).returncode:
            assert daemon.poll() is None
        daemon.terminate()
        assert daemon.wait(60) == 0
    finally:
        daemon.kill()
        daemon.wait()


@pytest.mark.parametrize("closed", ("2", "0 1 2", "1"))
def test_closed(tmp_path, closed):
    """What the daemon opens never gets the number of a standard descriptor: the log would go there."""
    control = tmp_path / "control"
    redirect = " ".join(f"{fd}>&-" for fd in closed.split())
    daemon = subprocess.Popen(["sh", "-c", f'exec "$@" {redirect}', "sh", BUILD / "nvmetd", *ONE, "--control", control],
                              stderr=subprocess.DEVNULL, env=ENV)
    try:
        status = [BUILD / "nvmetctl", "--socket", control, "status"]
        while subprocess.run(status, capture_output=True, env=ENV, check=False).returncode:
            assert daemon.poll() is None
        for fd in closed.split():
            assert os.readlink(f"/proc/{daemon.pid}/fd/{fd}") == "/dev/null"
        daemon.terminate()
        assert daemon.wait(60) == 0
    finally:
        daemon.kill()
        daemon.wait()


def test_log_that_nobody_reads(tmp_path, monkeypatch):
    """Whoever reads the log has stopped: hosts do not notice, and the log says what is missing once it is read."""
    monkeypatch.setattr("daemon.BUILD", plain_build())
    fifo = tmp_path / "log"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, F_SETPIPE_SZ, 16384)
    texts = []

    def log(self):
        """What has come down the pipe."""
        with open(reader, "rb", closefd=False) as pipe:
            texts.append((pipe.read() or b"").decode())
        return "".join(texts)

    monkeypatch.setattr(Daemon, "log", log)
    daemon = Daemon(tmp_path, *ONE, "--log-level", "debug")
    try:
        for _ in range(40):  # three connections each, whose lines are the main thread's and the worker's
            with Host(daemon.address, NQN, queues=2) as host:
                read(host.io[0], 0, 8)
        daemon.expect_clean()
        daemon.log()
        with Host(daemon.address, NQN) as host:
            read(host.io[0], 0, 8)
        missing = re.findall(r"warning: (\d+) lines are missing here", daemon.log())
        assert len(missing) == 1 and int(missing[0]) > 40
        daemon.stop()
    finally:
        daemon.kill()
        os.close(reader)
