# SPDX-License-Identifier: BSD-3-Clause
"""Load by the C host: every block that is read is the block that it should be, and nothing leaks."""

import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

from daemon import BUILD, NQN
from nvmetcp import Host


def loadgen(daemon, *arguments):
    """Runs it; its exit status says whether all answers were right."""
    command = [str(BUILD / "tests" / "bench" / "loadgen"), daemon.address[0],
               str(daemon.address[1]), NQN, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    print(result.stdout, result.stderr)
    return result.returncode


@pytest.mark.parametrize("size", [512, 4096, 65536, 1048576])
@pytest.mark.parametrize("depth", [2, 128])
def test_mixed(start, size, depth):
    """Reads and writes, small and large, shallow and deep. On an SSD of its own: what other tests
    left in the shared one is not what a block should hold."""
    daemon = start("--ssd", "emulated:size=64M", "--listen", "127.0.0.1:0", "--nqn", NQN)
    assert loadgen(daemon, "mixed", size, depth, 0.5) == 0
    daemon.expect_clean()


def test_arrival(start, capfd):
    """Latencies up to the host's kernel: they are times, and not differences of two clocks."""
    daemon = start("--ssd", "emulated:size=64M", "--listen", "127.0.0.1:0", "--nqn", NQN)
    assert loadgen(daemon, "--arrival", "read", 4096, 1, 0.2) == 0
    p50 = float(capfd.readouterr().out.split("p50_us=")[1].split()[0])
    assert 1 < p50 < 100000
    assert loadgen(daemon, "--arrival", "--tls", "key", "read", 4096, 1, 0.2) == 2  # it is OpenSSL that reads there


def test_paced(start, capfd):
    """As many commands a second as asked for, and be it one."""
    daemon = start("--ssd", "emulated:size=64M", "--listen", "127.0.0.1:0", "--nqn", NQN)
    for rate, seconds, most in ((1, 0.2, 1), (100, 0.5, 60)):
        assert loadgen(daemon, "--rate", rate, "read", 4096, 1, seconds) == 0
        assert 1 <= int(capfd.readouterr().out.split("commands=")[1].split()[0]) <= most


def test_congestion(start):
    """The host's own congestion control: one that the kernel has not is an error, for another one would be measured."""
    daemon = start("--ssd", "emulated:size=64M", "--listen", "127.0.0.1:0", "--nqn", NQN)
    assert loadgen(daemon, "--congestion", "reno", "mixed", 4096, 8, 0.1) == 0
    assert loadgen(daemon, "--congestion", "there_is_no_way", "mixed", 4096, 8, 0.1) == 1
    daemon.expect_clean()


@pytest.mark.parametrize("size", [512, 4096, 262144])
def test_digests(start, size):
    """The same with header and data digests, which the host checks as well."""
    daemon = start("--ssd", "emulated:size=64M", "--listen", "127.0.0.1:0", "--nqn", NQN)
    assert loadgen(daemon, "--digests", "mixed", size, 32, 0.3) == 0
    daemon.expect_clean()


@pytest.mark.parametrize("size", [512, 4096, 262144])
def test_tls(start, tmp_path, size):
    """Over TLS, both hashes, with connections on two workers."""
    for hash_name in ("sha256", "sha384"):
        key, conf = tmp_path / hash_name, tmp_path / f"{hash_name}.conf"
        key.touch(0o600)
        key.write_bytes(subprocess.run([BUILD / "nvmetctl", "key", "generate", "tls", "--hash", hash_name],
                                       capture_output=True, check=True).stdout)
        conf.write_text(f"""
listen = ( {{ address = "127.0.0.1:0"; tls = "required"; }} );
workers = 2;
ssds = ( {{ name = "a"; spec = "emulated:size=64M"; }} );
subsystems = ( {{ nqn = "{NQN}"; namespaces = ( {{ nsid = 1; ssd = "a"; }} );
  hosts = ( {{ nqn = "nqn.2014-08.org.nvmexpress:nvmetd-load"; tls_key = "{key}"; }} ); }} );
""")
        daemon = start("-c", conf)
        assert loadgen(daemon, "--tls", key, "mixed", size, 32, 0.3, 2) == 0
        daemon.expect_clean()
        daemon.stop()


def test_many_connections(start):
    """16 connections on 4 workers and 8 queue pairs, while others come and go."""
    daemon = start("--ssd", "emulated:size=64M,queues=8", "--listen", "127.0.0.1:0", "--nqn", NQN,
                   "--workers", "4")
    results = []
    threads = [threading.Thread(target=lambda n=n: results.append(
        [loadgen(daemon, "mixed", 4096, 16, 0.3, n) for _ in range(4)])) for n in (8, 4, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[0] * 4] * 3
    daemon.expect_clean()


def test_on_a_file(start, tmp_path):
    """The same on a file, through io_uring."""
    daemon = start("--ssd", f"emulated:file={tmp_path}/disk,size=64M", "--listen", "127.0.0.1:0",
                   "--nqn", NQN, "--workers", "2")
    assert loadgen(daemon, "mixed", 4096, 64, 1, 2) == 0
    daemon.expect_clean()


def test_on_a_file_in_memory(start):
    """And on tmpfs, where workers transfer at once."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        daemon = start("--ssd", f"emulated:file={folder}/disk,size=64M", "--listen", "127.0.0.1:0",
                       "--nqn", NQN, "--workers", "2")
        assert loadgen(daemon, "mixed", 65536, 16, 0.5, 2) == 0
        assert loadgen(daemon, "mixed", 4096, 64, 0.5) == 0
        daemon.expect_clean()
        daemon.stop()


def test_few_pages(start):
    """Large transfers on the smallest pool."""
    daemon = start("--ssd", "emulated:size=64M", "--listen", "127.0.0.1:0", "--nqn", NQN,
                   "--dma-memory", "16M")
    assert loadgen(daemon, "mixed", 1048576, 64, 1, 2) == 0
    assert daemon.counters()["page_waits"] > 0
    daemon.expect_clean()


def test_looking(start):
    """Under load workers look before they sleep, if they may; the counters tell."""
    daemon = start("--ssd", "emulated:size=64M", "--listen", "127.0.0.1:0", "--nqn", NQN,
                   "--poll-us", "1000")
    for _ in range(20):
        assert loadgen(daemon, "mixed", 4096, 1, 0.2) == 0
        if daemon.counters()["polled"]:
            break
    counters = daemon.counters()
    assert counters["polled"] > 0 and counters["looks"] > 0 and counters["sleeps"] > 0
    assert counters["recvs"] > 0 and counters["sends"] > 0
    daemon = start("--ssd", "emulated:size=64M", "--listen", "127.0.0.1:0", "--nqn", NQN,
                   "--poll-us", "0")
    assert loadgen(daemon, "mixed", 4096, 1, 0.2) == 0
    counters = daemon.counters()
    assert counters["polled"] == counters["looks"] == 0


def switches(daemon):
    """How often its threads went to sleep: the main thread and the workers; a sanitizer has its own."""
    tasks = [task for task in Path(f"/proc/{daemon.process.pid}/task").iterdir()
             if int(task.name) == daemon.process.pid or "worker" in (task / "comm").read_text()]
    assert len(tasks) == 3
    return sum(int(line.split()[1]) for task in tasks
               for line in (task / "status").read_text().splitlines()
               if line.startswith("voluntary_ctxt_switches"))


def test_idle(start):
    """With hosts connected that do nothing, no thread wakes up; and not after load either."""
    daemon = start("--ssd", "emulated:size=64M", "--listen", "127.0.0.1:0", "--nqn", NQN,
                   "--workers", "2")
    with Host(daemon.address, NQN):
        assert loadgen(daemon, "mixed", 4096, 8, 0.3) == 0
        found = []
        while not found or (found[-1] > 1 and len(found) < 4):  # the last of the load may come late
            before = switches(daemon)
            time.sleep(3)
            found.append(switches(daemon) - before)
        assert found[-1] <= 1, found  # a timer of 1 s would make it 3
