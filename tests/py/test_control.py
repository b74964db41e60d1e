# SPDX-License-Identifier: BSD-3-Clause
"""The control socket and nvmetctl: what is asked, what is answered, and by whom it cannot be blocked."""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import termios
import threading
import time
import unicodedata

import pytest

from daemon import BUILD, ENV, NQN, TOP
from nvmetcp import Host, Queue, Status, write

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


def keys_of(answer, parent=""):
    """{"subsystems", "subsystems.nqn", …}"""
    if isinstance(answer, list):
        return {key for item in answer for key in keys_of(item, parent)}
    if not isinstance(answer, dict):
        return set()
    return {parent + key for key in answer} | {
        below for key, value in answer.items() for below in keys_of(value, f"{parent}{key}.")}


def documented():
    """{command: keys}, from the man page."""
    text = (TOP / "docs" / "nvmetctl.1").read_text().partition(".Sh JSON\n")[2].partition("\n.Sh ")[0]
    commands = {}
    for name, items in re.findall(r"^\.It Cm (\w+)\n((?:[^.].*\n)+)", text, re.M):
        for item in items.split(";"):
            parent, _, names = item.rpartition(":")
            commands.setdefault(name, set()).update(
                (parent.strip() + "." if parent else "") + key.strip() for key in names.split(","))
    return commands


def test_json_keys(start):
    """-o json of every command is JSON with just the keys that the man page promises."""
    daemon = start("--ssd", "emulated:size=16M,namespaces=1", "--listen", "127.0.0.1:0", "--nqn", NQN,
                   "--allow-host", "nqn.host")
    promised = documented()
    with Host(daemon.address, NQN, hostnqn="nqn.host") as host:
        write(host.io[0], 0, bytes(4096))
        end = time.monotonic() + 60
        while not daemon.ctl("queues")["queues"][0]["writes"]:
            assert time.monotonic() < end
        for command in promised:
            arguments = {"top": (1, 1), "enable": (NQN, 1), "disable": (NQN, 1)}.get(command, ())
            assert keys_of(daemon.ctl(command, *arguments)) == promised[command], command
        for command in "latency", "histograms":
            assert keys_of(daemon.ctl(command, NQN, host.admin.cntlid, 1)) == promised[command]
    usage = nvmetctl(daemon.control, "--help").stdout
    assert {name for name in re.findall(r"^  (\w+)", usage, re.M)} - {"key"} == promised.keys()


def test_bad_commands(start):
    """A command that is none is not asked for; arguments that are none are not guessed; a refusal is one line."""
    daemon = start(*ONE, "--nqn", NQN)
    for arguments, text in (
            (("nothing",), "nvmetctl: nothing: there is no such command\nusage"),
            (("namespace",), "there is no such command"), (("a\x1b[2Jb",), "nvmetctl: a?[2Jb: there"),
            ((), "nvmetctl: a command is missing\nusage"), (("-o", "xml", "status"), "xml: expected -o text or -o json"),
            (("status", "x"), "nvmetctl: status: these are not its arguments\nusage"),
            (("latency", NQN), "not its arguments"), (("latency", NQN, 0, 1), "not its arguments"),
            (("enable", NQN, "one"), "not its arguments"), (("top", 1, 2, 3), "usage"),
            (("latency", NQN, 1, 1), "nvmetctl: there is no such I/O queue"),
            (("rescan", "none"), "nvmetctl: no SSD has this name\n"),
            (("disable", NQN, 9), "nvmetctl: the subsystem has no such namespace\n")):
        answer = nvmetctl(daemon.control, *arguments)
        assert answer.returncode == 1 and answer.stdout == "" and text in answer.stderr, answer
        assert answer.stderr.startswith(("nvmetctl: ", "usage: "))


def test_whole_lines_on_a_terminal(start):
    """Where somebody reads it no name and value are torn apart; a program gets an object a line."""
    daemon = start(*ONE)
    shown = []
    for size in 80, 50:
        ours, theirs = pty.openpty()
        with open(ours, "rb", buffering=0) as screen:
            fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, size, 0, 0))
            command = [BUILD / "nvmetctl", "--socket", daemon.control, "status"]
            subprocess.run(command, stdout=theirs, timeout=60, env=ENV, check=True)
            os.close(theirs)
            text = b""
            with contextlib.suppress(OSError):  # EIO: the end
                while more := screen.read(1 << 16):
                    text += more
            shown.append(text.decode().replace("\r", ""))
        assert max(map(len, shown[-1].splitlines())) <= size
    piped = nvmetctl(daemon.control, "status").stdout
    assert "name=ssd spec=emulated:size=16M device=" in piped and max(map(len, piped.splitlines())) > 200
    names = re.findall(r"\w+=", piped)
    assert all(re.findall(r"\w+=", text) == names for text in shown)


def test_no_daemon(tmp_path):
    """None there, one that hangs with and without a client, one that leaves, none of ours: each is told, soon."""
    path = tmp_path / "control"

    def expect(text):
        for arguments in ("status",), ("-o", "json", "list"), ("top",):
            answer = nvmetctl(path, *arguments)
            assert answer.returncode == 1 and answer.stdout == "", answer
            assert answer.stderr.startswith(f"nvmetctl: {path}: ") and text in answer.stderr, answer

    expect("No such file or directory (does nvmetd run, with this control socket?)")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        expect("Connection refused (does nvmetd run, with this control socket?)")
        server.listen(0)  # there is room for one, who is not served
        with subprocess.Popen([BUILD / "nvmetctl", "--socket", path, "status"], stderr=subprocess.PIPE, text=True,
                              env=ENV) as first:
            assert select.select([server], [], [], 60)[0]
            second = nvmetctl(path, "status")  # both wait for 10 s
            error = first.communicate(timeout=60)[1]
        assert first.returncode == 1 and "no answer within 10 s: the daemon hangs" in error, error
        assert second.returncode == 1 and "takes no client: it hangs, or has too many" in second.stderr, second
        server.listen(5)
        server.accept()[0].close()

        def serve(what):
            for _ in range(3):
                client = server.accept()[0]
                while client.recv(4096):
                    pass
                client.sendall(what)
                client.close()

        for what, text in ((b"", "the connection ended before there was an answer"),
                           (b"SSH-2.0\r\n", "is this nvmetd's control socket?"),
                           (b"[1]\n", "is this nvmetd's control socket?"), (b'{"a":', "the connection ended")):
            thread = threading.Thread(target=serve, args=(what,))
            thread.start()
            expect(text)
            thread.join()


def test_reader_leaves(start):
    """nvmetctl top | head: it ends like any other tool, without a word."""
    daemon = start(*ONE)
    with subprocess.Popen([BUILD / "nvmetctl", "--socket", daemon.control, "top"], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, env=ENV) as top:
        assert "commands under way" in top.stdout.readline()
        top.stdout.close()
        assert top.wait(60) == -signal.SIGPIPE and top.stderr.read() == ""


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
            assert {columns(row[:re.search(r" +\d+ +1 +0 ", row).start()]) for row in rows[1:]} == {16}
            assert {columns(row[:re.search(r" +\d+ +1 ", row).end()]) for row in rows[1:]} == {27}
        assert WIDE in nvmetctl(daemon.control, "list").stdout
    for name in "nqn.a\x1b[2J", "nqn.a\u009b2J", "nqn.a\u202eb", "nqn.a\u2028b":
        with Queue(daemon.address) as queue, pytest.raises(Status):
            queue.connect(NQN, hostnqn=name)
    assert not set("\x1b\x9b\u009b\u202e\u2028") & set(daemon.log())
    daemon.expect_clean()
