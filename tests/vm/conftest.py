# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures of the guest tests."""

import os
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
import guest  # noqa: E402
import kernel  # noqa: E402

BUILD = Path(os.environ.get("NVMETD_BUILD", guest.HERE.parent.parent / "build" / "gcc")).resolve()
SOURCE = guest.HERE.parent.parent
TOOLS = ["qemu-system-x86_64", "busybox", "nvme", "fio", "cpio"]


@pytest.fixture(scope="session")
def boot():
    """boot(script, *ssds): runs a script in a guest; it must leave with 0."""
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"  # a user's PATH may lack them
    missing = [tool for tool in TOOLS if not shutil.which(tool, path=path)]
    if missing:
        pytest.skip(f"not installed: {' '.join(missing)} (./check installs them)")

    def run(script, *ssds, timeout=420, append="", series="", folders=None):
        if series:
            try:
                kernel.kernel(series)
            except RuntimeError as error:  # Debian's security archive has it, a mirror may not
                pytest.skip(str(error))
        result = guest.run(script, ssds or [guest.Ssd()], timeout=timeout,
                           variables={"BUILD": str(BUILD), "SOURCE": str(SOURCE),
                                      **{name: str(path) for name, path in (folders or {}).items()}},
                           append=append, series=series)
        print(result.output)
        print(f"guest: {result.seconds:.1f} s")
        assert result.status == 0
        return result

    return run
