# SPDX-License-Identifier: BSD-3-Clause
"""Writers with sequence numbers against a daemon that everything happens to; afterwards, and all the time,
each block is one that the rules allow.

The rules, for a block that one writer alone writes, one write at a time: it holds the last write that was
acknowledged, or one that came later and whose end is not known (an error, a lost connection). What it was
found to hold on a new association it keeps (once the end of the old connections has reached the
daemon's kernel). With a volatile cache and a power cut it may also hold
anything written since the last flush that covers it, or the state at that flush; never anything older.

Run as a program for a soak: /usr/bin/python3 tests/py/history.py --seconds 3600 [--seed N] [--cache]
"""

import argparse
import random
import shutil
import socket
import struct
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from daemon import NQN, Daemon  # noqa: E402
from nvmetcp import FLUSH, READ, WRITE, Closed, Host, Status, Term, io_fields  # noqa: E402

BLOCKS = 256  # of each writer
BATCH = 12
FUA = 1 << 30
LOST = (Closed, Term, OSError)  # what a connection ends with; OSError: timeouts and resets
RECONNECT_S = 300
OF_HOSTS = ("connections", "controllers", "queue_pairs", "requests", "dma_pages_used")
FAULTS = ("hang={n},fault.times=2", "hang={n},fault.times=2,fault.abort=late",
          "hang={n},fault.times=1,fault.abort=refuse", "cfs_after={n},fault.times=3",
          "doorbell_after={n},fault.times=2", "mute_after={n},fault.delay=3,fault.delay_ms=1",
          "error={n},fault.status=0x280")
# Takes a volatile cache along, without the hosts' noticing: docs/reliability.md, Durability.
PULLED = "gone_after={n},fault.times=2,fault.back_ms=300"


class Wrong(AssertionError):
    """A block that no rule allows."""


class Block:
    """What a block may hold."""

    def __init__(self):
        self.allowed = {0}
        self.durable = 0
        self.since = []  # written after `durable`, acknowledged or not

    def begin(self, seq):
        """A write begins: until it is acknowledged it may or may not be there."""
        self.allowed.add(seq)
        self.since.append(seq)

    def acknowledged(self, seq, durable):
        """Nothing older may ever be seen again."""
        self.allowed = {seq}
        if durable:
            self.is_durable(seq)

    def is_durable(self, seq):
        """A flush, or FUA: a power cut leaves this, or what came later."""
        self.durable = seq
        self.since = [other for other in self.since if other > seq]

    def power_cut(self):
        """The cache is lost."""
        self.allowed = {self.durable, *self.since}

    def found(self, seq, new_association=False):
        """It was read."""
        if seq not in self.allowed:
            raise Wrong(f"holds {seq}, allowed: {sorted(self.allowed)}, durable {self.durable}")
        if new_association:  # nothing of an old one can come any more
            self.allowed = {seq}


def content(writer, lba, seq):
    """512 bytes."""
    return struct.pack("<IIQ", writer, lba, seq) * 32


def established(address, ports):
    """Whether the daemon's side of a connection from one of these ports has not heard of its end."""
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    for _, local, remote, state, *_ in (line.split() for line in lines):
        if state == "01" and int(local[-4:], 16) == address[1] and int(remote[-4:], 16) in ports:
            return True
    return False


class Writer(threading.Thread):
    """One host with one I/O queue and blocks of its own."""

    def __init__(self, number, run):
        super().__init__(name=f"writer {number}", daemon=True)
        self.number, self.run_ = number, run
        self.random = random.Random(run.seed * 1000 + number)
        self.blocks = [Block() for _ in range(BLOCKS)]
        self.first = number * BLOCKS
        self.seq = 0
        self.host = None
        self.ports = set()  # of its connections
        self.epoch = 0
        self.operations = self.reconnects = self.errors = 0
        self.failure = None

    def run(self):
        try:
            self.connect()
            while not self.run_.stopping:
                try:
                    self.batch()
                except LOST:
                    self.connect()
            self.connect()  # and a last look at everything
            self.read_all(True)
        except Exception as error:  # pylint: disable=broad-except
            self.failure = error
            self.run_.stopping = True

    def leave(self):
        """Closes what there is. That is over once the daemon's kernel knows; the daemon need not."""
        if not self.host:
            return
        self.host.close()
        end = time.monotonic() + RECONNECT_S
        while established(self.run_.address, self.ports):
            if time.monotonic() > end:
                raise Wrong("the end of a connection does not arrive")
            time.sleep(0.001)

    def connect(self):
        """A new association, however long the daemon is away; then all blocks are looked at."""
        end = time.monotonic() + RECONNECT_S
        while True:
            self.leave()
            try:
                self.host = Host(self.run_.address, NQN, hostid=bytes([self.number + 1]) * 16,
                                 hostnqn=f"nqn.2014-08.org.nvmexpress:writer{self.number}")
                self.ports = {queue.conn.sock.getsockname()[1]
                              for queue in (self.host.admin, *self.host.io)}
                epoch = self.run_.epoch  # of this daemon, or it is dead already
                if epoch != self.epoch and self.run_.cache:
                    for block in self.blocks:
                        block.power_cut()
                self.epoch = epoch
                self.reconnects += 1
                self.read_all(True)
                if epoch == self.run_.epoch:
                    return
            except (*LOST, Status) as error:
                if isinstance(error, Status) and error.cqe.dnr:
                    raise
                if time.monotonic() > end:
                    raise Wrong("no connection any more") from error
                time.sleep(0.05)

    def check(self, index, command, new_association=False):
        """A read has ended."""
        if command.cqe.status:
            self.errors += 1
            return
        lba = self.first + index
        writer, where, seq = struct.unpack_from("<IIQ", command.data)
        if command.data == bytes(512):
            seq = 0
        elif (writer, where) != (self.number, lba) or command.data != content(writer, lba, seq):
            raise Wrong(f"block {lba} is of writer {writer}, block {where}, or torn")
        try:
            self.blocks[index].found(seq, new_association)
        except Wrong as wrong:
            raise Wrong(f"writer {self.number}, block {lba}: {wrong}") from wrong

    def read_all(self, new_association):
        """Every block."""
        queue = self.host.io[0]
        for at in range(0, BLOCKS, 32):
            commands = [queue.start(READ, nsid=1, read=512, **io_fields(self.first + at + i, 1))
                        for i in range(32)]
            queue.wait(*commands)
            for i, command in enumerate(commands):
                self.check(at + i, command, new_association)
        self.operations += BLOCKS

    def write(self, indices, flags):
        """Some blocks at once; returns the commands."""
        queue = self.host.io[0]
        commands = []
        for index in indices:
            self.seq += 1
            self.blocks[index].begin(self.seq)
            lba = self.first + index
            commands.append((index, self.seq, queue.start(
                WRITE, nsid=1, write=content(self.number, lba, self.seq),
                inline=self.random.random() < 0.5, **io_fields(lba, 1, flags))))
        if self.random.random() < self.run_.cut:
            self.host.io[0].conn.abort()  # RST, wherever it hits them
        queue.wait(*(command for _, _, command in commands))
        for index, seq, command in commands:
            if command.cqe.status:
                self.errors += 1
            else:
                self.blocks[index].acknowledged(seq, flags & FUA)
        self.operations += len(commands)

    def flush(self):
        """What was acknowledged before it is durable after it."""
        before = [next(iter(block.allowed)) if len(block.allowed) == 1 else None
                  for block in self.blocks]
        if self.host.io[0].status(FLUSH, nsid=1):
            self.errors += 1
            return
        for block, seq in zip(self.blocks, before):
            if seq is not None:
                block.is_durable(seq)
        self.operations += 1

    def batch(self):
        """A few commands."""
        choice = self.random.random()
        indices = self.random.sample(range(BLOCKS), BATCH)
        if choice < 0.6:
            self.write(indices, FUA if choice < 0.1 else 0)
        elif choice < 0.95:
            queue = self.host.io[0]
            commands = [queue.start(READ, nsid=1, read=512, **io_fields(self.first + index, 1))
                        for index in indices]
            queue.wait(*commands)
            for index, command in zip(indices, commands):
                self.check(index, command)
            self.operations += BATCH
        else:
            self.flush()


class Run:
    """A daemon on a file, its writers, and what happens to it."""

    def __init__(self, folder, seed=1, writers=4, cache=False, cut=0.004, faults=True):
        self.folder, self.seed, self.cache, self.cut = Path(folder), seed, cache, cut
        self.with_faults = faults
        self.random = random.Random(seed)
        self.epoch = self.restarts = self.faults = 0
        self.stopping = False
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = probe.getsockname()
        self.daemon = None
        self.start_daemon()
        self.writers = [Writer(number, self) for number in range(writers)]

    def start_daemon(self):
        """With another fault each time."""
        faults = FAULTS if self.cache else (*FAULTS, PULLED)
        keys = self.random.choice(faults).format(n=self.random.randrange(300, 3000))
        fault = f",fault.{keys}" if self.with_faults else ""
        folder = self.folder / f"daemon{self.restarts}"
        folder.mkdir()
        conf = folder / "conf"
        conf.write_text(f"""workers = 2; listen = ( "127.0.0.1:{self.address[1]}" );
ssds = ( {{ name = "a"; spec = "emulated:file={self.folder}/disk,size=16M,queues=3,cache={int(self.cache)}\
{fault}"; command_timeout = "5s"; io_timeout = "2s"; }} );
subsystems = ( {{ nqn = "{NQN}"; allow_any_host = true; namespaces = ( {{ nsid = 1; ssd = "a"; }} ); }} );
""")
        self.daemon = Daemon(folder, "-c", conf)

    def count_faults(self):
        """What the daemon had to cope with."""
        log = self.daemon.log()
        return sum(log.count(text) for text in ("resetting it", "aborting it", "gone while",
                                                "interrupt was lost"))

    def kill_daemon(self):
        """SIGKILL, and a new one."""
        self.faults += self.count_faults()
        self.daemon.kill()
        self.epoch += 1
        for text in ("Sanitizer", "failed while", "not back after"):
            if text in self.daemon.log():
                raise Wrong(f"{text}: see {self.daemon.log_path}")
        self.restarts += 1
        self.start_daemon()

    def go(self, seconds, between, least=0):
        """All of it, for some time; the daemon is killed every `between` seconds or so, and so often at least."""
        end = time.monotonic() + seconds
        for writer in self.writers:
            writer.start()
        try:
            while (time.monotonic() < end or self.restarts < least) and not self.stopping:
                until = time.monotonic() + between * self.random.uniform(0.5, 1.5)
                last = until > end and self.restarts >= least
                while time.monotonic() < (end if last else until) and not self.stopping:
                    time.sleep(0.05)
                if not last and not self.stopping:
                    self.kill_daemon()
        finally:
            self.stopping = True
            for writer in self.writers:
                writer.join(300)
        for writer in self.writers:
            if writer.failure:
                raise writer.failure
            if writer.is_alive():
                raise Wrong(f"{writer.name} does not end")
        for writer in self.writers:
            writer.host.close()
        self.faults += self.count_faults()
        self.expect_nobody()
        self.daemon.stop()

    def expect_nobody(self):
        """Nothing of the writers is left in it."""
        end = time.monotonic() + 60
        while any(self.daemon.counters()[name] for name in OF_HOSTS):
            assert time.monotonic() < end, self.daemon.counters()
            time.sleep(0.02)

    def summary(self):
        """The figures."""
        return {name: sum(getattr(writer, name) for writer in self.writers)
                for name in ("operations", "reconnects", "errors")} | {
                    "faults": self.faults, "restarts": self.restarts,
                    "wrong": sum(isinstance(writer.failure, Wrong) for writer in self.writers)}


def main():
    """A soak."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--between", type=float, default=10, help="seconds between kills")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--cache", action="store_true", help="a volatile cache, kills are power cuts")
    args = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="nvmetd-history-", dir="/var/tmp")
    run = Run(folder, args.seed, args.writers, args.cache)
    try:
        run.go(args.seconds, args.between)
    finally:
        print(run.summary(), flush=True)
        if run.daemon:
            run.daemon.kill()
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
