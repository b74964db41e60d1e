# SPDX-License-Identifier: BSD-3-Clause
"""Makes calls of a daemon fail: the test's side of tests/failing/failing.c, whose layout is this one's."""

import errno
import mmap
import struct
import subprocess

from daemon import BUILD

LIBRARY = BUILD / "tests" / "failing" / "failing.so"
PLAN = struct.Struct("<40sQQQQqQ")
CALLS, FROM, TO, PLACES, ERROR, FIRED = range(40, PLAN.size, 8)
PLANS, SEEN, DEPTH = 64, 8192, 5
ONE_BYTE = -1  # instead of an errno: it goes well, with one byte
FUNCTIONS = (
    "malloc", "malloc in libevent_core", "malloc in libcrypto", "mmap", "memfd_create", "socket",
    "accept4 in libevent_core", "setsockopt", "getsockname", "bind", "listen", "eventfd",
    "epoll_ctl in libevent_core", "epoll_wait in libevent_core", "fstat", "ftruncate", "open", "pthread_create",
    "read", "read in libcrypto", "write in libcrypto", "readv", "readv in libevent_core",
    "writev in libevent_core", "pwritev", "sendmsg", "io_uring_queue_init", "io_uring_submit",
    "io_uring_register_eventfd", "io_uring_register_files", "RAND_bytes")


class Failing:
    """What a process, or several in turn, shares with the test. `environment` is for the process."""

    def __init__(self, path):
        plans = b"".join(PLAN.pack(name.encode(), *[0] * 6) for name in FUNCTIONS)
        path.write_bytes(plans.ljust(PLANS * PLAN.size, b"\0") + bytes(8 * (SEEN + DEPTH)))
        with path.open("r+b") as file:
            self.map = mmap.mmap(file.fileno(), 0)
        self.environment = {"LD_PRELOAD": str(LIBRARY), "NVMETD_FAILING": str(path)}

    def _set(self, function, field, value):
        struct.pack_into("<q", self.map, FUNCTIONS.index(function) * PLAN.size + field, value)

    def _get(self, function, field):
        return struct.unpack_from("<q", self.map, FUNCTIONS.index(function) * PLAN.size + field)[0]

    def calls(self, function):
        """How often it was called until now."""
        return self._get(function, CALLS)

    def new_place(self, function, error):
        """The next call from a place where none has failed with this error yet fails."""
        self._arm(function, error, PLACES, 1)

    def next_call(self, function, error, count=1):
        """The next calls fail."""
        self._set(function, TO, self.calls(function) + 1 + count)
        self._arm(function, error, FROM, self.calls(function) + 1)

    def _arm(self, function, error, field, value):
        self._set(function, FIRED, 0)
        self._set(function, ERROR, error if isinstance(error, int) else getattr(errno, error))
        self._set(function, field, value)

    def done(self, function):
        """No more calls fail; how many have."""
        for field in (PLACES, TO, FROM):
            self._set(function, field, 0)
        return self._get(function, FIRED)

    def fired(self, function):
        """How many of its calls have failed since it was armed."""
        return self._get(function, FIRED)

    def where(self):
        """The place that failed last, in words."""
        at = struct.unpack_from(f"<{DEPTH}Q", self.map, PLANS * PLAN.size + 8 * SEEN)
        command = ["addr2line", "-fse", BUILD / "nvmetd", *(hex(address - 1) for address in at if address)]
        lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
        return " < ".join(f"{name} ({line.split(' ')[0]})" for name, line in zip(lines[::2], lines[1::2]))
