# SPDX-License-Identifier: BSD-3-Clause
"""Everything at once, for a short while: writers that know what each block may hold, an SSD with faults,
connections that are cut, a daemon that is killed. history.py is the checker, and runs for hours by hand."""

import pytest

from history import Block, Run, Wrong


def test_checker():
    """It knows what may not be."""
    block = Block()
    block.begin(1)
    block.acknowledged(1, False)
    with pytest.raises(Wrong):
        block.found(0)
    block.begin(2)
    block.found(1)
    block.found(2)
    block.begin(3)
    block.acknowledged(3, False)
    with pytest.raises(Wrong):
        block.found(2)
    block.is_durable(1)
    block.power_cut()
    block.found(1)


@pytest.mark.parametrize("cache", [False, True], ids=["kill", "power-cut"])
def test_nothing_is_lost(tmp_path, cache):
    """Without a cache: no acknowledged write is lost, none comes back. With a volatile one and a power cut:
    nothing that was flushed or written with FUA is lost."""
    run = Run(tmp_path, seed=7 + cache, writers=3, cache=cache)
    try:
        run.go(12, 3, least=2)
        assert run.restarts >= 2 and run.summary()["operations"] > 1000
    finally:
        print(run.summary())
        run.daemon.kill()


def test_the_cache_is_one(tmp_path):
    """What is neither flushed nor FUA is really lost with cache=1: otherwise the test above shows nothing."""
    run = Run(tmp_path, writers=1, cache=True, cut=0, faults=False)
    writer = run.writers[0]
    try:
        writer.connect()
        writer.write([0], 0)
        writer.flush()
        writer.write([1], 1 << 30)
        writer.write([0, 2], 0)
        run.kill_daemon()
        writer.connect()
        found = [next(iter(block.allowed)) for block in writer.blocks[:3]]
        assert found == [1, 2, 0]
    finally:
        run.daemon.kill()
