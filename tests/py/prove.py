# SPDX-License-Identifier: BSD-3-Clause
"""Proves an export: discovers it, connects with two I/O queues, writes random data and reads it back.

    prove.py ADDRESS PORT NQN

Overwrites the first 16 MiB of namespace 1.
"""

import os
import struct
import sys
import time

from nvmetcp import DISCOVERY_NQN, FLUSH, Host, read, write

BLOCKS, SIZE, CHUNK = 32768, 512, 131072


def discovered(address):
    """NQNs in the discovery log."""
    with Host(address, DISCOVERY_NQN, queues=0) as host:
        number = struct.unpack_from("<Q", host.log_page(0x70, 1024), 8)[0]
        page = host.log_page(0x70, 1024 * (number + 1))
    return [page[at + 256:at + 512].rstrip(b"\0").decode() for at in range(1024, len(page), 1024)]


def main():
    """Says what it does; any deviation ends it with a traceback."""
    address, nqn = (sys.argv[1], int(sys.argv[2])), sys.argv[3]
    assert nqn in discovered(address), f"{nqn} is not in the discovery log"
    begin = time.monotonic()
    with Host(address, nqn, queues=2) as host:
        chunks = [os.urandom(CHUNK) for _ in range(BLOCKS * SIZE // CHUNK)]
        for index, chunk in enumerate(chunks):
            write(host.io[index % 2], index * CHUNK // SIZE, chunk)
        assert host.io[0].status(FLUSH, nsid=1) == 0
        for index, chunk in enumerate(chunks):
            got = read(host.io[(index + 1) % 2], index * CHUNK // SIZE, CHUNK // SIZE)
            assert got == chunk, f"block {index * CHUNK // SIZE} reads other data than was written"
    print(f"proved: {nqn} discovered, 16 MiB written over two queues and read back the same "
          f"({time.monotonic() - begin:.1f} s)")


if __name__ == "__main__":
    main()
