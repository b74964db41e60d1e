# SPDX-License-Identifier: BSD-3-Clause
"""Starts nvmetd on the emulated SSD and looks after it."""

import json
import os
import re
import socket
import subprocess
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("NVMETD_BUILD", TOP / "build" / "gcc")).resolve()
NQN = "nqn.2026-11.io.nvmetd:test"
ENV = {**os.environ, "ASAN_OPTIONS": "exitcode=99:abort_on_error=0",
       "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1:exitcode=99"}
PATIENCE_S = 60  # for what takes a moment, unless the machine is busy
PRESENT = ("connections", "controllers", "queue_pairs", "queue_pair_users", "requests",
           "dma_pages_used", "dma_pages_main")


def plain_build():
    """The build without sanitizers, which need memory and system calls of their own."""
    build = TOP / "build" / "gcc"
    result = subprocess.run(["ninja", "-C", build, "-n", "nvmetd"], capture_output=True, text=True, check=False)
    assert "no work to do" in result.stdout, f"build/gcc is not up to date (./check py makes it):\n{result.stdout}"
    return build


class Daemon:
    """A running nvmetd. `arguments` go to its command line; the control socket is added."""

    def __init__(self, folder, *arguments):
        self.folder = Path(folder)
        self.control = self.folder / "control"
        self.log_path = self.folder / "log"
        self.log_file = self.log_path.open("wb")
        command = [str(BUILD / "nvmetd"), *map(str, arguments), "--control", str(self.control)]
        self.process = subprocess.Popen(command, stderr=self.log_file, stdin=subprocess.DEVNULL,
                                        env=ENV)
        self.addresses = []
        try:
            self._wait_ready()
        except BaseException:
            self.kill()
            raise
        self.rebase()

    @property
    def address(self):
        """The first address it listens on."""
        return self.addresses[0]

    def log(self):
        """All it logged."""
        return self.log_path.read_text(errors="replace")

    def _wait_ready(self):
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            found = re.findall(r"ready: listening on (.*)", self.log())
            if found:
                for text in found[-1].split(", "):
                    host, _, port = text.rpartition(":")
                    self.addresses.append((host.strip("[]"), int(port)))
                return
            assert self.process.poll() is None, f"nvmetd ended:\n{self.log()}"
            time.sleep(0.02)
        raise AssertionError(f"nvmetd is not ready:\n{self.log()}")

    def rebase(self):
        """What exists now is what expect_clean() expects."""
        self.base = self.counters()
        end = time.monotonic() + PATIENCE_S
        while self.base["requests"]:
            assert time.monotonic() < end, self.base
            time.sleep(0.02)  # a response is read before its sender has noted that it is sent
            self.base = self.counters()
        self.base_fds = self._settled_fds()

    def ctl(self, *arguments):
        """The answer of nvmetctl -o json."""
        command = [str(BUILD / "nvmetctl"), "--socket", str(self.control), "-o", "json",
                   *map(str, arguments)]
        return json.loads(subprocess.run(command, check=True, capture_output=True, env=ENV).stdout)

    def counters(self):
        """What nvmetctl counters shows, without a process for each look. When it returns, the daemon has closed
        the connection: its file descriptor is not among those that are counted next."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE_S)
            sock.connect(str(self.control))
            sock.sendall(b'{"request": "counters"}\n')
            sock.shutdown(socket.SHUT_WR)
            with sock.makefile() as answer:
                return json.loads(answer.read())

    def fds(self):
        """Open file descriptors."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def _settled_fds(self):
        """Open file descriptors, the fewest of several looks: what is being closed is not counted."""
        samples = []
        for _ in range(5):
            samples.append(self.fds())
            time.sleep(0.01)
        return min(samples)

    def expect_clean(self):
        """What exists is what existed when it had just started."""
        end = time.monotonic() + PATIENCE_S
        while True:
            fds = self.fds()  # before the look at the counters, which is a connection
            now = self.counters()
            left = {name: now[name] for name in PRESENT if now[name] != self.base[name]}
            if not left and fds <= self.base_fds:
                return
            assert time.monotonic() < end, f"left over: {left}, fds {fds} instead of {self.base_fds}"
            time.sleep(0.02)

    def wait_full(self):
        """Until it can send no more to a host that does not read: it has something left to send, and has sent
        nothing for half a second. No other host may have commands under way."""
        end = time.monotonic() + PATIENCE_S
        sends, n_looks = None, 0
        while n_looks < 25:
            now = self.counters()
            n_looks = n_looks + 1 if now["sends"] == sends and now["requests"] else 0
            sends = now["sends"]
            assert time.monotonic() < end, f"sends {sends}, requests {now['requests']}"
            time.sleep(0.02)

    def stop(self):
        """SIGTERM; it must leave with 0, and no sanitizer had anything to say."""
        self.process.terminate()
        try:
            status = self.process.wait(PATIENCE_S)
        finally:
            self.kill()
        assert status == 0, f"exit status {status}:\n{self.log()}"

    def kill(self):
        """SIGKILL, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log_file.close()


def run_nvmetd(*arguments):
    """Runs nvmetd to its end; returns (status, standard error)."""
    result = subprocess.run([str(BUILD / "nvmetd"), *map(str, arguments)], capture_output=True,
                            text=True, timeout=PATIENCE_S, env=ENV, check=False)
    return result.returncode, result.stderr
