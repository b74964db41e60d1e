# SPDX-License-Identifier: BSD-3-Clause
"""A Linux host uses an SSD that nvmetd owns through VFIO: nvme-cli, a file system, fio."""

from guest import Ssd

START = """
bdf=$(bdf_of S1)
bind_vfio "$bdf"
start_nvmetd --ssd "$bdf" --listen 127.0.0.1:4420 --listen 127.0.0.2:4420 --nqn $NQN --control /run/nvmetd/control
"""
END = """
nvme disconnect -n $NQN
expect_no_leaks
stop_nvmetd
"""


def fio(name, device="$b", **options):
    """A verified fio run on a device."""
    defaults = {"ioengine": "libaio", "direct": 1, "verify": "crc32c", "verify_fatal": 1,
                "group_reporting": 1}
    words = " ".join(f"--{key}={value}" for key, value in {**defaults, **options}.items())
    return f"fio --name={name} --filename={device} {words} --output=/tmp/fio-{name}.txt || " \
           f"{{ cat /tmp/fio-{name}.txt; fail 'fio {name}'; }}\necho 'ok: fio {name}'\n"


def load(name):
    """Verified fio runs in the background, one after the other, until END_LOAD; they have begun."""
    return "rm -f /tmp/enough\n(while [ ! -e /tmp/enough ]; do\n" \
        + fio(name, rw="randrw", bs="4k", iodepth=16, size="32M", rate_iops="300,300", time_based=1,
              runtime=5, verify_backlog=512) + "done) & load=$!\nwait_io\n"


END_LOAD = "touch /tmp/enough\nwait $load\n"


def test_main_job(boot):
    """Discover, connect, look at it with nvme-cli, a file system that survives, the SSD given back."""
    boot(START + """
nvme discover -t tcp -a 127.0.0.1 -s 4420 >/tmp/discover
cat /tmp/discover
grep -q "subnqn:  $NQN" /tmp/discover
grep -q 'subtype: nvme subsystem' /tmp/discover
c=$(connect $NQN)
b=$(block_of $c)
nvme list >/tmp/list; cat /tmp/list; grep -q "$b" /tmp/list
nvme id-ctrl /dev/$c >/tmp/id-ctrl; grep -E '^(sn|mn|mdts|oncs|vwc|subnqn|ioccsz) ' /tmp/id-ctrl
grep -q "subnqn.*$NQN" /tmp/id-ctrl
nvme id-ns $b >/tmp/id-ns; grep -E '^(nsze|nmic|nguid)' /tmp/id-ns
nvme ns-descs $b | tee /tmp/descs; grep -q uuid /tmp/descs
nvme list-ns /dev/$c
nvme smart-log /dev/$c | tee /tmp/smart; grep -q 'temperature.*323 Kelvin' /tmp/smart
nvme error-log /dev/$c >/tmp/errors; sed -n 1,6p /tmp/errors
nvme fw-log /dev/$c
# Commands supported and effects: Write (opcode 1) is supported and changes blocks.
nvme get-log /dev/$c -i 5 -l 4096 -b | od -An -tx4 -j1028 -N4 | grep -q 00000003
nvme changed-ns-list-log /dev/$c
nvme get-feature /dev/$c -f 7
nvme get-feature /dev/$c -f 0xb

mkfs.ext4 -q $b
mkdir -p /tmp/m; mount $b /tmp/m
cp -r /usr/include/linux /tmp/m/
(cd /tmp/m && find . -type f -print0 | sort -z | xargs -0 sha256sum) >/tmp/sums
wc -l </tmp/sums
umount /tmp/m
nvme reset /dev/$c
for i in $(seq 600); do [ "$(cat /sys/class/nvme/$c/state)" = live ] && break; sleep 0.1; done
[ "$(cat /sys/class/nvme/$c/state)" = live ] || fail "not live after nvme reset"
dmesg -C
fsck.ext4 -fn $b
nvme disconnect -n $NQN
expect_no_leaks

c=$(connect $NQN); b=$(block_of $c)
fsck.ext4 -fn $b
mount -o ro $b /tmp/m; (cd /tmp/m && sha256sum --quiet -c /tmp/sums) || fail "checksums differ"
umount /tmp/m
over_network=$(sha256sum <$b)
expect_quiet_kernel
""" + END + """
b=$(bind_nvme "$bdf")
[ "$(sha256sum <$b)" = "$over_network" ] || fail "the kernel's own driver reads other data"
fsck.ext4 -fn $b
mount -o ro $b /tmp/m; (cd /tmp/m && sha256sum --quiet -c /tmp/sums) || fail "checksums differ"
echo "ok: the same data by the kernel's driver"
""")


def test_fio_verify(boot):
    """Random and sequential, 512 B to 1 MiB, depths 1 to 128, several jobs."""
    boot(START + "c=$(connect $NQN); b=$(block_of $c)\n"
         + fio("small", rw="randwrite", bs=512, iodepth=1, size="1M")
         + fio("mixed", rw="randrw", bsrange="512-64k", iodepth=32, size="16M")
         + fio("deep", rw="randwrite", bs="4k", iodepth=128, size="16M")
         + fio("large", rw="write", bs="1M", iodepth=8, size="64M")
         + fio("sequential", rw="rw", bs="128k", iodepth=16, size="48M")
         + fio("jobs", rw="randwrite", bs="8k", iodepth=16, size="8M", numjobs=4,
               offset_increment="32M")
         + "nvme flush $b -n 1\nblkdiscard -o 0 -l 1048576 $b\nblkdiscard -z -o 1M -l 1M $b\n"
         + "expect_quiet_kernel\n" + END)


def test_fio_digests(boot):
    """The same with header and data digests."""
    boot(START + "c=$(connect $NQN --hdr-digest --data-digest); b=$(block_of $c)\n"
         + fio("small", rw="randwrite", bs=512, iodepth=4, size="1M")
         + fio("mixed", rw="randrw", bsrange="512-256k", iodepth=64, size="24M")
         + fio("large", rw="rw", bs="1M", iodepth=4, size="32M")
         + "expect_quiet_kernel\n" + END)


def test_two_hosts(boot):
    """Two host NQNs at once on two namespaces of one SSD."""
    boot(START + """
h1=nqn.2014-08.org.nvmexpress:uuid:11111111-1111-4111-8111-111111111111
h2=nqn.2014-08.org.nvmexpress:uuid:22222222-2222-4222-8222-222222222222
c1=$(connect $NQN --hostnqn=$h1 --hostid=11111111-1111-4111-8111-111111111111)
c2=$(ADDR=127.0.0.2 connect $NQN --hostnqn=$h2 --hostid=22222222-2222-4222-8222-222222222222)
b1=$(block_of $c1 1); b2=$(block_of $c2 2)
[ "$(counter controllers)" = 2 ] || fail "expected two controllers"
""" + "(" + fio("one", "$b1", rw="randrw", bs="4k", iodepth=16, size="12M") + ") & first=$!\n"
         + "(" + fio("two", "$b2", rw="randrw", bs="16k", iodepth=8, size="24M") + ") & second=$!\n"
         + "wait $first; wait $second\nexpect_quiet_kernel\n" + END,
         Ssd(namespaces=2, size=128 << 20), append="multipath=N")


def test_few_queues(boot):
    """An SSD with one I/O queue pair: hosts' queues share it."""
    boot(START + """
h2=nqn.2014-08.org.nvmexpress:uuid:22222222-2222-4222-8222-222222222222
c1=$(connect $NQN --nr-io-queues=2)
c2=$(ADDR=127.0.0.2 connect $NQN --hostnqn=$h2 --hostid=22222222-2222-4222-8222-222222222222)
b1=$(block_of $c1 1); b2=$(block_of $c2 2)
[ "$(counter queue_pairs)" = 1 ] || fail "expected one queue pair"
[ "$(counter queue_pair_users)" = 2 ] || fail "expected two users of it"
grep -q 'share them now' $LOG || fail "the log does not say that queue pairs are shared"
""" + "(" + fio("one", "$b1", rw="randrw", bs="4k", iodepth=64, size="8M") + ") & first=$!\n"
         + "(" + fio("two", "$b2", rw="randrw", bs="4k", iodepth=64, size="8M") + ") & second=$!\n"
         + "wait $first; wait $second\n"
         + "nvme disconnect -d $c2\n"
         + fio("three", "$b1", rw="randwrite", bs="4k", iodepth=32, size="4M")
         + "expect_quiet_kernel\n" + END,
         Ssd(namespaces=2, size=64 << 20, max_ioqpairs=1, msix=2), append="multipath=N")


def test_4k_blocks_and_small_mdts(boot):
    """4 KiB LBAs, and an SSD that takes 8 KiB at a time."""
    boot(START + "c=$(connect $NQN); b=$(block_of $c)\n"
         + "[ \"$(cat /sys/block/$(basename $b)/queue/logical_block_size)\" = 4096 ]\n"
         + "[ \"$(cat /sys/block/$(basename $b)/queue/max_hw_sectors_kb)\" = 8 ]\n"
         + fio("small", rw="randrw", bs="4k", iodepth=32, size="8M")
         + fio("large", rw="rw", bs="1M", iodepth=4, size="16M")
         + "expect_quiet_kernel\n" + END, Ssd(lba=4096, mdts=1))


TWO_SSDS = """
one=$(bdf_of S1); two=$(bdf_of S2)
bind_vfio "$one"; bind_vfio "$two"
cat >/tmp/nvmet.conf <<END
control = "/run/nvmetd/control";
listen = ( "127.0.0.1:4420" );
ssds = ( { name = "one"; spec = "$one"; }, { name = "two"; spec = "$two"; } );
subsystems = (
  { nqn = "$NQN:one"; allow_any_host = true; namespaces = ( { nsid = 1; ssd = "one"; } ); },
  { nqn = "$NQN:two"; allow_any_host = true; namespaces = ( { nsid = 7; ssd = "two"; } ); },
  { nqn = "$NQN:both"; allow_any_host = true; namespaces = ( { nsid = 1; ssd = "one"; },
                                                             { nsid = 2; ssd = "two"; } ); }
);
END
"$BUILD/nvmetd" -n -c /tmp/nvmet.conf
start_nvmetd -c /tmp/nvmet.conf
"""


def test_two_ssds(boot):
    """Two SSDs in one daemon: a subsystem each, then one subsystem with both."""
    boot(TWO_SSDS + "c1=$(connect $NQN:one); c2=$(connect $NQN:two)\n"
         + "b1=$(block_of $c1 1); b2=$(block_of $c2 7)\n"
         + fio("one", "$b1", rw="randrw", bs="4k", iodepth=16, size="8M")
         + fio("two", "$b2", rw="randrw", bs="4k", iodepth=16, size="8M")
         + "nvme disconnect -n $NQN:one; nvme disconnect -n $NQN:two; expect_no_leaks\n"
         + "c=$(connect $NQN:both); b1=$(block_of $c 1); b2=$(block_of $c 2)\n"
         + fio("both-one", "$b1", rw="randrw", bs="4k", iodepth=16, size="8M")
         + fio("both-two", "$b2", rw="randrw", bs="64k", iodepth=16, size="16M")
         + "nvme disconnect -n $NQN:both; expect_no_leaks; expect_quiet_kernel; stop_nvmetd\n",
         Ssd(size=128 << 20), Ssd(serial="S2", size=128 << 20))


def test_emulated_on_a_block_device(boot):
    """The emulated SSD on a block device, through io_uring; the device has what was written."""
    boot("""
d=/dev/$(basename /sys/class/nvme/nvme0/nvme0n1)
start_nvmetd --ssd emulated:file=$d --listen 127.0.0.1:4420 --nqn $NQN --control /run/nvmetd/control
c=$(connect $NQN); b=$(block_of $c)
[ "$(blockdev --getsize64 $b)" = "$(blockdev --getsize64 $d)" ]
""" + fio("small", rw="randrw", bs="4k", iodepth=32, size="8M")
         + fio("large", rw="rw", bs="512k", iodepth=4, size="32M")
         + "blkdiscard -o 0 -l 1M $b\nover_network=$(sha256sum <$b)\nexpect_quiet_kernel\n" + END
         + "[ \"$(sha256sum <$d)\" = \"$over_network\" ] || fail 'the device has other data'\n")
