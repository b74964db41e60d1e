# SPDX-License-Identifier: BSD-3-Clause
"""nvmetctl top on terminals of all sizes, and when the daemon is started again below it."""

import contextlib
import fcntl
import json
import os
import pty
import socket
import struct
import subprocess
import termios
import threading

import pytest

from daemon import BUILD, ENV

HOST = "nqn.2014-08.org.nvmexpress:uuid:11111111-1111-4111-8111-{:012}"
STAGES = "pages", "network_in", "ssd", "network_out", "total"


def answers(work, queues):
    """A daemon that has done so much work, as the answers to each request that top makes."""
    counters = {name: work for name in ("commands", "bytes_in", "bytes_out", "recvs", "sends", "interrupts",
                                        "cq_polls", "sleeps", "looks", "polled", "page_waits")}
    return {
        "counters": {**counters, "connections": queues, "requests": 0, "dma_pages_used": 0, "dma_pages_total": 9},
        "queues": {"queues": [
            {"subsystem": "nqn.s", "hostnqn": HOST.format(n), "cntlid": n, "qid": 1, "peer": f"p{n}", "worker": 0,
             "reads": work, "writes": 0, "total_us": work, "ssd_us": work, "buckets": [[40, work]]}
            for n in range(1, queues + 1)]},
        "histograms": {"stages": [
            {"command": command, "stage": stage, "count": work, "buckets": [[40, work]]}
            for command in ("read", "write") for stage in STAGES]},
    }


@pytest.fixture
def serve(tmp_path):
    """serve(samples): a control socket that answers each sample of top with the next one of these."""
    path = tmp_path / "control"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(5)

        def run(samples):
            for sample in samples:
                for _ in range(3):
                    client = server.accept()[0]
                    with client, client.makefile("rw") as lines:
                        json.dump(sample[json.loads(lines.readline())["request"]], lines)

        def start(samples):
            threading.Thread(target=run, args=(samples,), daemon=True).start()
            return path

        yield start


def shown(path, rows, columns):
    """The lines of the one screen of `top 1 1` on such a terminal."""
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0) as screen:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        subprocess.run([BUILD / "nvmetctl", "--socket", path, "top", "1", "1"], stdout=theirs, timeout=60, env=ENV,
                       check=True)
        os.close(theirs)
        text = b""
        with contextlib.suppress(OSError):  # EIO: the end
            while more := screen.read(1 << 16):
                text += more
    return text.decode().removeprefix("\033[H\033[2J").splitlines()


@pytest.mark.parametrize("rows, columns", ((24, 80), (25, 40), (19, 80), (10, 80), (2, 20), (60, 200), (0, 0)))
def test_screen(serve, rows, columns):
    """Nothing scrolls: what is shown fits, its first lines are there, and the last one tells of queues that are
    not. A wide terminal shows whole names."""
    lines = shown(serve([answers(0, 30), answers(100, 30)]), rows, columns)
    assert "30 connections, 0"[:columns or 80] in lines[0]
    assert len(lines) < (rows or 24) and max(map(len, lines)) <= (columns or 80)
    tables = [number for number, line in enumerate(lines) if line.startswith("host ")]
    for table in tables:
        queues = lines[table + 1:-1]
        assert len(queues) == min(16, (rows or 24) - 1 - table - 2)
        assert lines[-1] == f"and {30 - len(queues)} more"
    assert len(tables) == ((rows or 24) >= 19)
    assert (HOST.format(7) in "\n".join(lines)) == (columns == 200)


def test_started_again(serve):
    """A daemon whose totals are lower than before is another one: its work is what it did since it was started."""
    path = serve([answers(10**6, 1), answers(50, 1), answers(80, 1)])
    command = [BUILD / "nvmetctl", "--socket", path, "-o", "json", "top", "1", "2"]
    first, second = map(json.loads, subprocess.run(command, capture_output=True, text=True, timeout=60, env=ENV,
                                                   check=True).stdout.splitlines())
    for now, work in (first, 50), (second, 30):
        assert [stage["count"] for stage in now["stages"]] == [work] * 10
        assert now["queues"][0]["count"] == work
        assert now["stages"][0]["p50_us"] == pytest.approx(now["stages"][0]["p99_us"])
        assert now["commands_per_s"] > 0 and now["queues"][0]["reads_per_s"] > 0
