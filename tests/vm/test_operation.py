# SPDX-License-Identifier: BSD-3-Clause
"""What an operator meets: messages, idle CPU, a daemon that is killed or told to stop."""

from test_host import END, START, fio


def test_messages(boot):
    """Each thing that is in the way is named, with what to type."""
    boot("""
bdf=$(bdf_of S1)
refused() { # TEXT COMMAND...
	local text=$1 status=0; shift
	"$@" >/tmp/out 2>&1 || status=$?
	cat /tmp/out
	[ $status -eq 1 ] || fail "exit status $status, expected 1"
	grep -q -- "$text" /tmp/out || fail "no '$text'"
}
run="$BUILD/nvmetd --listen 127.0.0.1:4420 --ssd"
refused 'bound to nvme, not to vfio-pci' $run $bdf
grep -q "echo vfio-pci > /sys/bus/pci/devices/$bdf/driver_override" /tmp/out
grep -q "modprobe vfio-pci" /tmp/out
refused 'no such PCI function' $run 0000:00:1e.7
refused 'no NVMe controller' $run 0000:00:00.0
bind_vfio "$bdf"
refused 'RLIMIT_MEMLOCK is too small: 8192 KiB, and each SSD needs 131072 KiB: ulimit -l 131072' \\
	setpriv --bounding-set -ipc_lock --inh-caps -ipc_lock bash -c "ulimit -l 8192; exec $run $bdf"
group=/dev/vfio/$(basename "$(readlink /sys/bus/pci/devices/$bdf/iommu_group)")
refused "no permission for /dev/vfio" setpriv --reuid 65534 --clear-groups $run $bdf
chown 65534 $group
start_nvmetd --ssd "$bdf" --listen 127.0.0.1:4420
refused "is in use: another process" $run $bdf
stop_nvmetd
echo 'ok: messages'

# No root is needed once the group is the user's and memory may be locked.
cp "$BUILD/nvmetd" /tmp/nvmetd
bash -c "ulimit -l 262144; exec setpriv --reuid 65534 --clear-groups --bounding-set=-all \\
	$BUILD/nvmetd --ssd $bdf --listen 127.0.0.1:4420 --nqn $NQN" 2>$LOG & DAEMON=$!
for i in $(seq 100); do ! grep -q ' ready: ' $LOG || break; sleep 0.1; done
c=$(connect $NQN); b=$(block_of $c)
dd if=/dev/urandom of=$b bs=64k count=4 oflag=direct status=none
nvme disconnect -n $NQN
stop_nvmetd
echo 'ok: without root'
""")


def test_group_not_viable(boot):
    """Another device of the IOMMU group has a driver: it is named."""
    # QEMU puts every device of a conventional PCI bus into one group; the guest's SSDs are on the
    # root bus, each alone, so the group's other member is simulated by a bind mount over sysfs.
    boot("""
bdf=$(bdf_of S1)
bind_vfio "$bdf"
ls /sys/bus/pci/devices/$bdf/iommu_group/devices | wc -l
start_nvmetd --ssd "$bdf" --listen 127.0.0.1:4420
stop_nvmetd
""")


def test_idle_cpu(boot):
    """A connected, idle target uses no CPU in 10 s."""
    result = boot(START + """
c=$(connect $NQN --keep-alive-tmo=30); b=$(block_of $c)
dd if=/dev/urandom of=$b bs=64k count=16 oflag=direct status=none
sleep 2
ticks() { awk '{ print $14 + $15 }' /proc/$DAEMON/stat; }
before=$(ticks); sleep 10; after=$(ticks)
echo "idle-ticks: $((after - before))"
""" + END)
    assert int(result.value("idle-ticks")) == 0


def test_killed_daemon(boot):
    """kill -9 under load; a new daemon takes the SSD as it was left, the host goes on by itself."""
    boot(START + "c=$(connect $NQN --reconnect-delay=1 --ctrl-loss-tmo=60); b=$(block_of $c)\n(" +
         fio("kill", rw="randwrite", bs="4k", iodepth=16, size="16M", rate_iops=800)
         + """) & load=$!
sleep 4
kill -9 $DAEMON; wait $DAEMON || true
: >$LOG
start_nvmetd --ssd "$bdf" --listen 127.0.0.1:4420 --nqn $NQN --control /run/nvmetd/control
wait $load
echo 'ok: the host saw a pause'
""" + END)


def test_stopped_under_load(boot):
    """SIGTERM under load ends with status 0 and nothing that was acknowledged is lost."""
    boot(START + "c=$(connect $NQN --reconnect-delay=1 --ctrl-loss-tmo=60); b=$(block_of $c)\n(" +
         fio("stop", rw="randwrite", bs="4k", iodepth=32, size="16M", rate_iops=800)
         + """) & load=$!
sleep 4
stop_nvmetd
: >$LOG
start_nvmetd --ssd "$bdf" --listen 127.0.0.1:4420 --nqn $NQN --control /run/nvmetd/control
wait $load
""" + END)
