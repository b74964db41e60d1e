# SPDX-License-Identifier: BSD-3-Clause
"""The control socket and nvmetctl: what is asked, what is answered, and by whom it cannot be blocked."""

import contextlib
import json
import re
import socket
import subprocess
import time
import unicodedata

import pytest

from daemon import BUILD, ENV, NQN
from nvmetcp import Host, Queue, Status

ONE = "--ssd", "emulated:size=16M", "--listen", "127.0.0.1:0"


def nvmetctl(path, *arguments):
    """Runs it to its end, whatever that is."""
    return subprocess.run([str(BUILD / "nvmetctl"), "--socket", str(path), *map(str, arguments)],
                          capture_output=True, text=True, timeout=60, env=ENV, check=False)


def ask(daemon, raw):
    """All that the control socket says to `raw`, behind which our side ends."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(daemon.control))
        client.sendall(raw)
        client.shutdown(socket.SHUT_WR)
        with client.makefile() as answers:
            return [json.loads(answer) for answer in answers]


def test_last_line(start):
    """The last request needs no end of line; half a request is none; nothing at all is no request."""
    daemon = start(*ONE)
    pid = daemon.process.pid
    assert [answer["pid"] for answer in ask(daemon, b'{"request": "status"}')] == [pid]
    counters, status = ask(daemon, b'{"request": "counters"}\n{"request": "status"}')
    assert "commands" in counters and status["pid"] == pid
    assert ["error" in answer for answer in ask(daemon, b'{"request": "status"')] == [True]
    assert ask(daemon, b"") == []
    daemon.expect_clean()


def test_many_requests(start):
    """Who sends many before it reads gets one answer after the other. Who never reads is not listened to any
    more, and holds nobody else up."""
    daemon = start(*ONE)
    requests = b'{"request": "latency"}\n' * 2000  # 5 MB of answers
    assert len(ask(daemon, requests)) == 2000
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.connect(str(daemon.control))
        deaf.settimeout(3)
        with contextlib.suppress(TimeoutError):
            for _ in range(1000):
                deaf.sendall(requests)
            raise AssertionError("all was taken")
        assert ask(daemon, b'{"request": "status"}')[0]["pid"] == daemon.process.pid
    daemon.expect_clean()


def test_too_many_clients(start):
    """The seventeenth is told why; one that leaves makes room."""
    daemon = start(*ONE)
    with contextlib.ExitStack() as stack:
        for _ in range(16):
            stack.enter_context(socket.socket(socket.AF_UNIX)).connect(str(daemon.control))
        end = time.monotonic() + 60
        while "too many clients" not in (answer := nvmetctl(daemon.control, "status")).stderr:
            assert time.monotonic() < end, answer
        assert answer.returncode == 1 and "16 clients are there" in daemon.log()
    daemon.expect_clean()


WIDE, MARKED = "nqn." + "漢" * 12, "nqn." + "e\N{COMBINING ACUTE ACCENT}" * 20


def columns(text):
    """That a terminal takes for it."""
    return sum(0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "FW" else 1
               for char in text)


def test_wide_names(start):
    """Names of hosts are cut and padded by columns, not bytes, and never within a character; what a terminal
    would obey does not reach it, in no locale."""
    daemon = start(*ONE, "--nqn", NQN, "--allow-host", WIDE, "--allow-host", MARKED)
    with Host(daemon.address, NQN, hostnqn=WIDE), Host(daemon.address, NQN, hostnqn=MARKED):
        for locale in "C", "C.UTF-8":
            top = subprocess.run([str(BUILD / "nvmetctl"), "--socket", str(daemon.control), "top", "1", "1"],
                                 capture_output=True, env={**ENV, "LC_ALL": locale}, check=True).stdout.decode()
            assert max(map(columns, top.splitlines())) <= 80
            rows = top[top.index("host "):].splitlines()
            assert {row.split()[0] for row in rows[1:]} == {"漢" * 8, MARKED[-32:]}
            assert {columns(row[:re.search(r" +[12] +1 +0 ", row).start()]) for row in rows[1:]} == {16}
            assert {columns(row[:re.search(r" +[12] +1 ", row).end()]) for row in rows[1:]} == {27}
        assert WIDE in nvmetctl(daemon.control, "list").stdout
    for name in "nqn.a\x1b[2J", "nqn.a\u009b2J", "nqn.a\u202eb", "nqn.a\u2028b":
        with Queue(daemon.address) as queue, pytest.raises(Status):
            queue.connect(NQN, hostnqn=name)
    assert not set("\x1b\x9b\u009b\u202e\u2028") & set(daemon.log())
    daemon.expect_clean()
