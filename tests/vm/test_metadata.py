# SPDX-License-Identifier: BSD-3-Clause
"""Metadata and protection information on QEMU's SSD, which has both in both places; the other I/O commands
by way of the kernel and nvme-cli.

Only what was written is read: next to it QEMU finds protection information of zeroes and calls it wrong.
"""

from guest import Ssd
from test_host import fio

FORMATS = ("ms=8,mset=1,pi=1", "ms=8,pi=1", "ms=16", "ms=0", "ms=16,mset=1", "ms=16,pi=1",
           "ms=8,pi=3")


# nvme-cli's I/O commands, on the emulated SSD, which has all of them. Block n holds bytes of value n.
COMMANDS = r"""
start_nvmetd --ssd emulated:size=64M --listen 127.0.0.1:4420 --nqn $NQN --control /run/nvmetd/control
c=$(connect $NQN); b=$(block_of $c)
python3 -c 'import sys
for n in range(1, 17): sys.stdout.buffer.write(bytes([n]) * 512)' >/tmp/blocks
head -c 512 /tmp/blocks >/tmp/one
block() { # N: the value that the block is full of
	nvme read $b -s $1 -c 0 -z 512 -d /tmp/block >/dev/null 2>&1 && od -An -tu1 -v /tmp/block | tr -s ' ' '
' |
		sort -u | xargs
}
nvme write $b -s 0 -c 15 -z 8192 -d /tmp/blocks
nvme compare $b -s 0 -c 15 -z 8192 -d /tmp/blocks
! nvme compare $b -s 1 -c 0 -z 512 -d /tmp/one || fail "compare"
nvme verify $b -s 0 -c 15
nvme copy $b -d 100 -s 4,0 -b 1,0
[ "$(block 100) $(block 101) $(block 102)" = "5 6 1" ] || fail "copy: $(block 100) $(block 101) $(block 102)"
nvme write-zeroes $b -s 5 -c 1
nvme write-zeroes $b -s 7 -c 0 --deac
nvme dsm $b -d -s 9,11 -b 1,2
[ "$(for n in $(seq 4 13); do block $n; done | xargs)" = "5 0 0 0 9 0 11 0 0 14" ] || fail "zeroes"
nvme write-uncor $b -s 2 -c 0
! block 2 || fail "an uncorrectable block was read"
! nvme verify $b -s 0 -c 15 || fail "an uncorrectable block was verified"
nvme write $b -s 2 -c 0 -z 512 -d /tmp/one
[ "$(block 2)" = 1 ]
nvme flush $b -n 1
nvme disconnect -n $NQN
expect_no_leaks
stop_nvmetd
echo 'ok: commands of nvme-cli'
"""


def test_metadata_and_commands(boot):
    """Metadata shown where hosts can use it, otherwise made, checked or ignored; then COMMANDS."""
    boot(r"""
ns_of() { # NSID: the kernel's device
	local b
	for b in /sys/class/nvme/nvme0/nvme0n* /sys/class/nvme/nvme0/nvme0c*n*; do
		[ -e "$b/nsid" ] && [ "$(cat $b/nsid)" = $1 ] || continue
		echo /dev/$(basename $b | sed 's/c[0-9]*n/n/')
		return 0
	done
	fail "no namespace $1"
}
bdf=$(bdf_of S1)
head -c 512 /dev/zero | tr '\0' '\245' >/tmp/data
head -c 16 /dev/zero | tr '\0' '\132' >/tmp/meta16
head -c 8 /tmp/meta16 >/tmp/meta8
nvme write $(ns_of 2) -s 40001 -c 0 -z 512 -y 8 -d /tmp/data -M /tmp/meta8
nvme write $(ns_of 7) -s 40001 -c 0 -z 512 -y 8 -d /tmp/data -M /tmp/meta8
nvme write $(ns_of 3) -s 40001 -c 0 -z 512 -y 16 -d /tmp/data -M /tmp/meta16
bind_vfio "$bdf"
conf() { # NAMESPACES OF :shown
cat >/tmp/nvmet.conf <<END
control = "/run/nvmetd/control";
listen = ( "127.0.0.1:4420" );
ssds = ( { name = "a"; spec = "$bdf"; } );
subsystems = (
  { nqn = "$NQN:shown"; allow_any_host = true; namespaces = ( $1 ); },
  { nqn = "$NQN:hidden"; allow_any_host = true; namespaces = (
    { nsid = 2; ssd = "a"; ssd_nsid = 2; }, { nsid = 3; ssd = "a"; ssd_nsid = 3; },
    { nsid = 7; ssd = "a"; ssd_nsid = 7; } ); }
);
END
}
conf '{ nsid = 6; ssd = "a"; ssd_nsid = 6; }'
! "$BUILD/nvmetd" -c /tmp/nvmet.conf 2>/tmp/out || fail "namespace 6 was exported"
cat /tmp/out; grep -q 'guards of 32 or 64 bits' /tmp/out
conf '{ nsid = 1; ssd = "a"; ssd_nsid = 1; }, { nsid = 4; ssd = "a"; ssd_nsid = 4; },
      { nsid = 5; ssd = "a"; ssd_nsid = 5; }'
start_nvmetd -c /tmp/nvmet.conf
cat $LOG
python3 "$SOURCE/tests/vm/metadata_host.py" 4420 "$NQN:shown" "$NQN:hidden"
expect_no_leaks
dmesg -C
c=$(connect $NQN:shown); b=$(block_of $c 1)
""" + fio("protected", rw="randwrite", bsrange="4k-64k", iodepth=16, size="8M", offset="1M")
         + "nvme disconnect -n $NQN:shown\nc=$(connect $NQN:hidden); b=$(block_of $c 2)\n"
         + fio("stripped", rw="randwrite", bsrange="512-256k", iodepth=16, size="8M", offset="1M")
         + "b=$(block_of $c 3)\n"
         + fio("ignored", rw="randwrite", bsrange="512-256k", iodepth=16, size="8M", offset="1M")
         + r"""
nvme disconnect -n $NQN:hidden
expect_quiet_kernel
expect_no_leaks
stop_nvmetd
bind_nvme "$bdf"
# What nvmetd wrote: metadata of zeroes; protection information that the SSD itself finds right.
nvme read $(ns_of 3) -s 20 -c 0 -z 512 -y 16 -d /tmp/read -M /tmp/readmeta
cmp -n 16 /tmp/readmeta /dev/zero
nvme read $(ns_of 3) -s 40001 -c 0 -z 512 -y 16 -d /tmp/read -M /tmp/readmeta
cmp /tmp/readmeta /tmp/meta16
nvme read $(ns_of 2) -s 20 -c 0 -z 512 -y 8 -d /tmp/read -M /tmp/readmeta -p 5 -r 20
od -An -tx1 -N8 /tmp/readmeta | grep -q ' 00 00 00 14$'
nvme read $(ns_of 7) -s 20 -c 0 -z 512 -y 8 -d /tmp/read -M /tmp/readmeta -p 4
echo 'ok: the kernel finds what was promised'
""" + COMMANDS, Ssd(size=64 << 20, namespaces=len(FORMATS), formats=FORMATS))
