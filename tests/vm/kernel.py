# SPDX-License-Identifier: BSD-3-Clause
"""Gets a Debian kernel for the guest and makes an initrd of busybox and the modules that it needs.

The kernel package is downloaded through the machine's own apt and unpacked below the build folder;
nothing is installed.
"""

import contextlib
import fcntl
import functools
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
CACHE = TOP / "build" / "vm"
MODULES = """virtio_pci 9pnet_virtio 9p overlay virtio_console nvme nvme-tcp nvmet nvmet-tcp vfio-pci
vfio_iommu_type1 ext4 crc32c_intel crc32c_generic loop veth tls aesni_intel gcm ctr
ghash-generic sch_netem""".split()
# DH-HMAC-CHAP and what tlshd asks the kernel for, neither of which 6.1 of Debian has: the guest
# cannot load modules on demand.
AUTH_MODULES = ["nvme-auth", "dh_generic", "hmac", "sha256_generic", "sha512_generic", "ccm",
                "chacha20poly1305", "chacha_x86_64", "poly1305_x86_64"]


def sh(*command, **kwargs):
    """Runs a command that must succeed and returns what it printed."""
    kwargs.setdefault("cwd", CACHE)
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, **kwargs).stdout


@contextlib.contextmanager
def locked():
    """One run at a time fills the cache."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def version_key(name):
    """Sorts 6.12.9 before 6.12.10."""
    return [int(number) for number in re.findall(r"\d+", name)]


def package_name(options, series):
    """The newest kernel of a series; without one, what is behind linux-image-amd64."""
    if series:
        names = sh("apt-cache", *options, "pkgnames", f"linux-image-{series}.").split()
        names = [name for name in names if re.fullmatch(r"linux-image-[\d.]+\+deb\d+-amd64", name)]
        if not names:
            raise RuntimeError(f"apt knows no kernel {series}: is Debian's security archive a source?")
        return max(names, key=version_key)
    for line in sh("apt-cache", *options, "depends", "linux-image-amd64").splitlines():
        if "Depends: linux-image-" in line:
            return line.split()[-1]
    raise RuntimeError("apt knows no linux-image-amd64: is a Debian archive among its sources?")


def download(series, options=()):
    """Unpacks the kernel package below CACHE, unless it is there; returns its name."""
    name = package_name(options, series)
    root = CACHE / name
    if not (root / "done").exists():
        shutil.rmtree(root, ignore_errors=True)
        for old in CACHE.glob("*.deb"):
            old.unlink()
        sh("apt-get", "-q", *options, "-o", "APT::Sandbox::User=", "download", name)
        package = next(CACHE.glob(f"{name}_*.deb"))
        sh("dpkg", "-x", str(package), str(root))
        package.unlink()
        sh("/sbin/depmod", "-b", str(root), name.removeprefix("linux-image-"))
        (root / "done").touch()
    return name


@functools.lru_cache(maxsize=None)
def kernel(series=""):
    """(path of the kernel, its version, folder that has lib/modules)."""
    with locked():
        try:
            name = download(series)
        except (subprocess.CalledProcessError, RuntimeError):
            # The machine's package lists are missing or old: lists of our own, which need no root.
            lists = CACHE / "apt"
            (lists / "partial").mkdir(parents=True, exist_ok=True)
            options = ("-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={lists}")
            sh("apt-get", "-q", *options, "-o", "APT::Sandbox::User=", "update")
            name = download(series, options)
    version = name.removeprefix("linux-image-")
    return CACHE / name / "boot" / f"vmlinuz-{version}", version, CACHE / name


def module_files(version, root, modules):
    """Modules in the order in which they have to be loaded."""
    files = []
    for module in modules:
        lines = sh("/sbin/modprobe", "-d", str(root), "-S", version, "--show-depends", module)
        for line in lines.splitlines():
            word = line.split()
            if word[0] == "insmod" and word[1] not in files:
                files.append(word[1])
    return files


def initrd(series=""):
    """Path of the initrd; made anew when the kernel or init changed."""
    _, version, root = kernel(series)
    with locked():
        return make_initrd(version, root, MODULES + (AUTH_MODULES if series else []))


def make_initrd(version, root, modules):
    """initrd(), by one run at a time."""
    init = Path(__file__).with_name("init.sh").read_bytes()
    digest = hashlib.sha256(init + version.encode() + " ".join(modules).encode()).hexdigest()[:16]
    path = CACHE / f"initrd-{digest}.cpio"
    if path.exists():
        return path
    tree = CACHE / "initrd"
    shutil.rmtree(tree, ignore_errors=True)
    for folder in ("bin", "dev", "proc", "sys", "modules", "newroot", "tmp"):
        (tree / folder).mkdir(parents=True)
    shutil.copy("/bin/busybox", tree / "bin" / "busybox")
    (tree / "init").write_bytes(init)
    (tree / "init").chmod(0o755)
    order = []
    for file in module_files(version, root, modules):
        shutil.copy(file, tree / "modules")
        order.append(os.path.basename(file))
    (tree / "modules" / "order").write_text("\n".join(order) + "\n")
    names = "\n".join(str(p.relative_to(tree)) for p in sorted(tree.rglob("*"))) + "\n"
    unfinished = path.with_suffix(".new")
    with unfinished.open("wb") as out:
        subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], cwd=tree, input=names.encode(),
                       stdout=out, check=True)
    return unfinished.rename(path)
