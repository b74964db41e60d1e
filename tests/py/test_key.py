# SPDX-License-Identifier: BSD-3-Clause
"""nvmetctl key: generate, derive, inspect."""

import re
import subprocess

import pytest

from daemon import BUILD, ENV
from nvmetcp import HOSTNQN
from test_auth import secret
from tls import psk_for

NQN = "nqn.2026-11.io.nvmetd:keys"


def key(*arguments):
    """Runs nvmetctl key; returns (status, standard output, standard error)."""
    result = subprocess.run([str(BUILD / "nvmetctl"), "key", *map(str, arguments)], text=True,
                            capture_output=True, env=ENV, timeout=60, check=False)
    return result.returncode, result.stdout, result.stderr


@pytest.mark.parametrize("arguments, prefix, length", [
    (("tls",), "NVMeTLSkey-1:01:", 32), (("tls", "--hash", "sha384"), "NVMeTLSkey-1:02:", 48),
    (("tls", "--hash", "none", "--length", 48), "NVMeTLSkey-1:00:", 48),
    (("dhchap",), "DHHC-1:01:", 32), (("dhchap", "--hash", "sha512"), "DHHC-1:03:", 64),
    (("dhchap", "--hash", "none"), "DHHC-1:00:", 32),
])
def test_generate_inspect_derive(tmp_path, arguments, prefix, length):
    """A new key each time; a file of it can be read; the host's command line has it."""
    status, text, error = key("generate", *arguments)
    assert (status, error) == (0, "") and text.startswith(prefix)
    assert key("generate", *arguments)[1] != text
    path = secret(tmp_path / "key", text.strip())
    status, shown, _ = key("inspect", path)
    assert status == 0 and f"{length} bytes" in shown and text.split(":")[2] not in shown
    status, lines, _ = key("derive", "--host", HOSTNQN, "--subsystem", NQN, path)
    assert status == 0 and text.strip() in lines and f"--hostnqn={HOSTNQN}" in lines
    identities = re.findall("# identity: (.*)", lines)
    if prefix.startswith("NVMe"):
        assert identities == [psk_for(text.strip(), NQN, version=v)["identity"].decode() for v in (1, 0)]


@pytest.mark.parametrize("arguments, text", [
    ((), "key: expected generate, derive or inspect"), (("generate",), "generate: expected one word behind it"), (("generate", "ssh"), "expected tls or dhchap"),
    (("generate", "tls", "--hash", "sha512"), "32 or 48 bytes"),
    (("generate", "tls", "--length", "64", "--hash", "none"), "32 or 48 bytes"),
    (("generate", "dhchap", "--length", "33"), "32, 48 or 64"),
    (("generate", "dhchap", "--hash", "md5"), "expected none, sha256"),
    (("generate", "dhchap", "--length", "4"), "expected a number of bytes"),
    (("inspect", "/nowhere"), "No such file"),
    (("derive", "/nowhere"), "expected --host"), 
    (("frobnicate", "x"), "frobnicate: expected generate"),
])
def test_mistakes(arguments, text):
    """What is wrong is said."""
    status, output, error = key(*arguments)
    assert status == 1 and output == "" and text in error


def test_help():
    """Help is no mistake."""
    status, output, error = key("--help")
    assert status == 0 and output.startswith("usage:") and error == ""


def test_behind_options():
    """Options of the other commands may stand before it; JSON it does not speak."""
    for options, status in (("--socket", "/nowhere"), 0), (("-o", "text"), 0), (("-o", "json"), 1):
        result = subprocess.run([str(BUILD / "nvmetctl"), *options, "key", "generate", "tls", "--hash", "sha384"],
                                text=True, capture_output=True, env=ENV, timeout=60, check=False)
        assert result.returncode == status, result
        assert result.stdout.startswith("NVMeTLSkey-1:02:") if status == 0 else "text only" in result.stderr


def test_unsafe_file(tmp_path):
    """The tool is as strict as the daemon."""
    path = secret(tmp_path / "key", key("generate", "tls")[1].strip())
    path.chmod(0o644)
    assert "chmod 0600" in key("inspect", path)[2]
    secret(path, "nonsense")
    assert "key:1: it does not begin with DHHC-1:" in key("inspect", path)[2]
