# SPDX-License-Identifier: BSD-3-Clause
"""A Linux guest with vIOMMU and NVMe SSDs, under QEMU without KVM, on the machine's own root.

As a program: python3 tests/vm/guest.py --shell --ssd size=1G opens a shell in one.
"""

import argparse
import dataclasses
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import kernel  # noqa: E402

HERE = Path(__file__).resolve().parent
# hardened_usercopy=off: when host and userspace target are one machine, a large write of the kernel's
# nvme-tcp arrives as a fragment that spans two compound pages, and 6.1 takes the copy to the target's
# buffer for an attack (BUG in usercopy_abort). Over a wire there is no such fragment.
# no_timer_check: on a busy machine the emulated timer is late, and the kernel takes it for broken.
KERNEL_OPTIONS = "panic=-1 mitigations=off intel_iommu=on hardened_usercopy=off no_timer_check"


@dataclasses.dataclass
class Ssd:
    """An NVMe device of the guest. `namespaces` of `size` bytes each; `formats`: what QEMU's nvme-ns
    is told of each besides, for example "ms=8,pi=1"."""

    serial: str = "S1"
    size: int = 256 << 20
    lba: int = 512
    namespaces: int = 1
    max_ioqpairs: int = 16
    mdts: int = 7
    msix: int = 17
    formats: tuple = ()
    addr: str = ""  # PCI slot and function, to put two SSDs into one IOMMU group
    node: int = 0  # 1: the guest has two NUMA nodes, a CPU each, and this SSD is on the second one
    hotplug: bool = False  # behind a port of its own: lib.sh's unplug and plug take it out and in

    def arguments(self, folder):
        """QEMU arguments; the media are sparse files in `folder`."""
        args = []
        if self.hotplug or self.node:
            args += ["-device", f"pcie-root-port,id={self.serial}-port,chassis={ord(self.serial[-1])}"
                                + (",bus=node1" if self.node else "")]
        args += ["-device", f"nvme,id={self.serial},serial={self.serial},mdts={self.mdts},"
                            f"max_ioqpairs={self.max_ioqpairs},msix_qsize={self.msix}"
                            + (f",addr={self.addr}" if self.addr else "")
                            + (f",bus={self.serial}-port" if self.hotplug or self.node else "")]
        if self.hotplug:  # one namespace, which comes and goes with it
            image = folder / f"{self.serial}.img"
            with image.open("wb") as file:
                file.truncate(self.size)
            args[-1] += f",drive={self.serial}n1"
            return ["-blockdev", f"driver=file,node-name={self.serial}n1,filename={image},"
                                 "cache.no-flush=on"] + args
        for nsid in range(1, self.namespaces + 1):
            image = folder / f"{self.serial}-{nsid}.img"
            with image.open("wb") as file:
                file.truncate(self.size)
            drive = f"{self.serial}n{nsid}"
            args += ["-blockdev", f"driver=file,node-name={drive},filename={image},"
                                  "cache.no-flush=on,discard=unmap",
                     "-device", f"nvme-ns,drive={drive},bus={self.serial},nsid={nsid},"
                                f"logical_block_size={self.lba},physical_block_size={self.lba}"
                                + "".join(f",{text}" for text in self.formats[nsid - 1:nsid])]
        return args


@dataclasses.dataclass
class Result:
    """What a guest did."""

    status: int
    output: str
    seconds: float

    def value(self, name):
        """The text behind the last line `name: `."""
        found = re.findall(rf"^{re.escape(name)}: (.*?)\r?$", self.output, re.M)
        if not found:
            raise KeyError(f"the guest printed no {name}")
        return found[-1]


def two_nodes(memory):
    """QEMU arguments: half of the CPUs and of the memory on each node, and PCI bus `node1` on the second."""
    args = ["-device", "pxb-pcie,id=node1,bus_nr=128,numa_node=1"]
    for node in 0, 1:
        args += ["-object", f"memory-backend-ram,id=mem{node},size={int(memory[:-1]) * 512}M",
                 "-numa", f"node,nodeid={node},cpus={node},memdev=mem{node}"]
    return args


def command(folder, ssds, memory, append, console="signal=off", series=""):
    """The QEMU command line. tcg,thread=multi: a KVM device may exist and still not start a kernel.

    setpriv: the guest ends with this process, however that ends. Without erms and fsrm the guest's kernel
    copies with moves of eight bytes; `rep movsb` is emulated byte by byte, and all that is copied would
    be six times as slow.
    """
    image, _, _ = kernel.kernel(series)
    qmp = folder / "qmp"  # QEMU's own monitor is the guest's second serial line: lib.sh's qmp
    args = ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", "-M", "q35,kernel-irqchip=split",
            "-accel", "tcg,thread=multi", "-cpu", "max,erms=off,fsrm=off", "-m", memory, "-smp", "2", "-nodefaults",
            "-no-reboot", "-display", "none",
            "-chardev", f"stdio,id=console,{console}", "-serial", "chardev:console",
            "-chardev", f"socket,id=qmp,path={qmp},server=on,wait=off",
            "-mon", "chardev=qmp,mode=control",
            "-chardev", f"socket,id=qmp-guest,path={qmp}", "-serial", "chardev:qmp-guest",
            "-device", "intel-iommu,intremap=on,caching-mode=on",
            "-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng",
            "-fsdev", "local,id=h,path=/,security_model=none,readonly=on,multidevs=remap",
            "-device", "virtio-9p-pci,fsdev=h,mount_tag=hostroot",
            "-fsdev", f"local,id=j,path={folder / 'job'},security_model=none,multidevs=remap",
            "-device", "virtio-9p-pci,fsdev=j,mount_tag=job"]
    if any(ssd.node for ssd in ssds):
        args += two_nodes(memory)
    for ssd in ssds:
        args += ssd.arguments(folder)
    return args + ["-kernel", str(image), "-initrd", str(kernel.initrd(series)),
                   "-append", f"console=ttyS0 quiet {KERNEL_OPTIONS} {append}"]


def prepare(folder, script, variables):
    """What the guest finds in /job: lib.sh, the script to run, folders that it must see."""
    job = folder / "job"
    job.mkdir()
    settings = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in variables.items())
    (job / "lib.sh").write_text(settings + (HERE / "lib.sh").read_text())
    (job / "run").write_text(settings + (HERE / "lib.sh").read_text() + script)
    (job / "folders").write_text("".join(f"{value}\n" for value in variables.values()))


def run(script, ssds, memory="3G", timeout=600, variables=None, echo=False, append="", series=""):
    """Boots a guest, runs the bash text `script` in it after lib.sh, returns its Result.

    `echo` shows its console while it runs; `append` is added to the kernel's command line
    (multipath=N: two hosts on one machine, each with block devices of its own); `series`: another
    kernel than Debian's usual one.
    """
    folder = Path(tempfile.mkdtemp(prefix="nvmetd-vm-", dir="/var/tmp"))
    console = folder / "console"
    timed_out = False
    try:
        prepare(folder, script, variables or {})
        start = time.monotonic()
        with console.open("wb") as out, \
                subprocess.Popen(command(folder, ssds, memory, append,
                                         f"signal=off,logfile={console},logappend=on", series),
                                 stdin=subprocess.DEVNULL, stdout=None if echo else subprocess.DEVNULL,
                                 stderr=None if echo else out) as guest:
            try:
                guest.wait(timeout)
            except subprocess.TimeoutExpired:
                timed_out = True
            finally:
                guest.kill()
        text = console.read_text(errors="replace").replace("\r", "")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    seconds = time.monotonic() - start
    if timed_out:
        return Result(124, f"{text}\nguest: no end after {timeout} s\n", seconds)
    found = re.findall(r"^guest-exit (\d+)", text, re.M)
    return Result(int(found[-1]) if found else 126, text, seconds)


def parse_ssd(text):
    """size=1G,serial=X,lba=4096 → Ssd."""
    units = {"K": 10, "M": 20, "G": 30}
    ssd = Ssd()
    for pair in text.split(","):
        key, _, value = pair.partition("=")
        if key == "size" and value[-1] in units:
            value = int(value[:-1]) << units[value[-1]]
        setattr(ssd, key, type(getattr(ssd, key))(value))
    return ssd


def main():
    """A shell in a guest, or a script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ssd", action="append", default=[], help="size=1G,serial=S1,lba=512,…")
    parser.add_argument("--shell", action="store_true", help="a shell on this terminal")
    parser.add_argument("--build", default="build/gcc", help="build folder of nvmetd")
    parser.add_argument("script", nargs="?", help="bash file to run after lib.sh")
    args = parser.parse_args()
    ssds = [parse_ssd(text) for text in args.ssd] or [Ssd()]
    variables = {"BUILD": os.path.abspath(args.build), "SOURCE": str(kernel.TOP)}
    if args.shell:
        with tempfile.TemporaryDirectory(prefix="nvmetd-vm-", dir="/var/tmp") as folder:
            prepare(Path(folder), "", variables)
            return subprocess.call(command(Path(folder), ssds, "3G", "guest_shell",
                                           "signal=off,mux=on") + ["-mon", "chardev=console"])
    if not args.script:
        parser.error("--shell, or a script to run")
    return run(Path(args.script).read_text(), ssds, echo=True, variables=variables).status


if __name__ == "__main__":
    sys.exit(main())
