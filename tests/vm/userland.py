# SPDX-License-Identifier: BSD-3-Clause
"""Programs of Debian 13 for the guest: tlshd, and an nvme-cli that knows TLS; Debian 12 has neither.

apt downloads the packages from the mirror that this machine's own come from; they are unpacked below
the build folder, for chroot. Nothing is installed, no maintainer script runs, no root is needed.
"""

import platform
import shutil
import subprocess

import kernel

SUITE = "trixie"
PACKAGES = ["nvme-cli", "ktls-utils", "keyutils"]
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
TLSHD_CONF = "[debug]\nloglevel=1\n[authenticate]\nkeyrings=.nvme\n"


class Unavailable(RuntimeError):
    """The packages cannot be had here; says why."""


def mirror():
    """The archive that this machine's Debian comes from."""
    codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    found = kernel.sh("apt-get", "indextargets", "--no-release-info", "--format", "$(REPO_URI)",
                      "Created-By: Packages", "Component: main", f"Release: {codename}").split()
    if not found:
        raise Unavailable(f"{SUITE}: apt has no source for {codename or 'this system'} main")
    return found[0]


def apt(folder, *command):
    """apt-get for a system with nothing installed, whose state is in a folder."""
    options = {"Dir::Etc::SourceList": folder / "sources.list", "Dir::Etc::SourceParts": "-",
               "Dir::State::Lists": folder / "lists", "Dir::State::Status": folder / "status",
               "Dir::Cache": folder / "cache", "APT::Sandbox::User": "",
               "APT::Install-Recommends": "0", "Acquire::Languages": "none",
               "Acquire::Retries": "3"}
    result = subprocess.run(["apt-get", "-q", "-y",
                             *(f"-o{key}={value}" for key, value in options.items()), *command],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, check=False)
    if result.returncode:
        errors = [line for line in result.stdout.splitlines() if line.startswith("E:")]
        raise Unavailable(f"{SUITE}: {(errors or ['apt-get failed'])[0]}")


def unpack(folder, root):
    """The packages and all that they depend on → root."""
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    (folder / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror()} {SUITE} main\n")
    apt(folder, "update")
    apt(folder, "--download-only", "install", *PACKAGES)
    for name in ("bin", "lib", "lib64", "sbin"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for package in sorted((folder / "cache" / "archives").glob("*.deb")):
        kernel.sh("dpkg", "-x", str(package), str(root))
    for name in ("proc", "sys", "dev", "run", "tmp", "etc/nvme"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "etc" / "tlshd.conf").write_text(TLSHD_CONF)


def userland():
    """The root folder of these programs; made once. Unavailable: they cannot be had."""
    root, folder = kernel.CACHE / SUITE, kernel.CACHE / f"{SUITE}.apt"
    with kernel.locked():
        if not (root / "done").exists():
            shutil.rmtree(root, ignore_errors=True)
            shutil.rmtree(folder, ignore_errors=True)
            try:
                unpack(folder, root)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            (root / "done").touch()
    return root
