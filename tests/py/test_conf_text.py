# SPDX-License-Identifier: BSD-3-Clause
"""Configuration files that are pipes."""

import os
import threading

import pytest

from daemon import run_nvmetd
from test_config import GOOD, check


@pytest.mark.parametrize("text, status, message", [
    (GOOD, 0, ""), (GOOD + "workers = 4294967298;", 1, ":5: 4294967298: expected"), ("", 1, "no SSD is named"),
    (GOOD + "\0workers = 99;", 1, "it is no text: there is a NUL in it"),
], ids=["good", "cut", "empty", "nul"])
def test_a_pipe(tmp_path, text, status, message):
    """It has the text only once."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(text,))
    writer.start()
    result, error = run_nvmetd("-n", "-c", pipe)
    writer.join()
    assert result == status and message in error


def test_a_pipe_that_is_included(tmp_path):
    """What was in it could not be looked at again."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("workers = 2;",))
    writer.start()
    result = check(tmp_path, GOOD + f'@include "{pipe}"\n')
    writer.join()
    assert result == (1, f"{pipe}: what is included must be a regular file\n")
