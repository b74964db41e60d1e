# SPDX-License-Identifier: BSD-3-Clause
"""A well-behaved host with I/O going on in a thread, for the whole of a session: whatever a test does to
the daemon, this host must not notice."""

import contextlib
import threading
import time

from nvmetcp import Host, read, write

HOSTNQN = "nqn.2014-08.org.nvmexpress:bystander"
HOSTID = b"\xbb" * 16
NSID, SLBA, BLOCKS = 5, 65000, 8
PAUSE_S = 0.003


class Bystander(threading.Thread):
    """Writes blocks, reads them back, all the time. `rounds` counts; `error` says what went wrong."""

    def __init__(self, address, subnqn):
        super().__init__(name="bystander", daemon=True)
        self.host = Host(address, subnqn, hostnqn=HOSTNQN, hostid=HOSTID)
        self.rounds = 0
        self.error = None
        self.stopping = False
        self.lock = threading.Lock()
        self.start()

    def run(self):
        queue = self.host.io[0]
        while not self.stopping:
            data = self.rounds.to_bytes(8, "little") * (BLOCKS * 512 // 8)
            try:
                with self.lock:
                    write(queue, SLBA, data, nsid=NSID, inline=self.rounds % 2 == 0)
                    if read(queue, SLBA, BLOCKS, nsid=NSID) != data:
                        raise AssertionError("it reads other data than it wrote")
            except Exception as error:  # pylint: disable=broad-except
                self.error = error
                return
            self.rounds += 1
            time.sleep(PAUSE_S)

    @contextlib.contextmanager
    def quiet(self):
        """Meanwhile it has no command under way."""
        with self.lock:
            yield

    def expect_goes_on(self, seconds=60):
        """A round that begins now ends well."""
        wanted = self.rounds + 2
        end = time.monotonic() + seconds
        while self.rounds < wanted:
            assert not self.error, f"the other host noticed: {self.error!r}"
            assert time.monotonic() < end, "the other host's I/O does not go on"
            time.sleep(0.001)

    def stop(self):
        """Ends it."""
        self.stopping = True
        self.join(60)
        self.host.close()
