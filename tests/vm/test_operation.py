# SPDX-License-Identifier: BSD-3-Clause
"""What an operator meets: messages, idle CPU, a daemon that is killed or told to stop."""

from guest import Ssd
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
	setpriv --bounding-set -ipc_lock,-sys_resource --inh-caps -ipc_lock,-sys_resource bash -c "ulimit -l 8192; exec $run $bdf"
group=/dev/vfio/$(basename "$(readlink /sys/bus/pci/devices/$bdf/iommu_group)")
refused "no permission for /dev/vfio" setpriv --reuid 65534 --clear-groups $run $bdf
chown 65534 $group
start_nvmetd --ssd "$bdf" --listen 127.0.0.1:4420
refused "is in use: another process" $run $bdf
stop_nvmetd
echo 'ok: messages'

# No root is needed once the group is the user's and memory may be locked.
bash -c "ulimit -l 262144; exec setpriv --reuid 65534 --clear-groups --bounding-set=-all \\
	$BUILD/nvmetd --ssd $bdf --listen 127.0.0.1:4420 --nqn $NQN" 2>$LOG & DAEMON=$!
for i in $(seq 600); do ! grep -q 'ready: listening on' $LOG || break; sleep 0.1; done
c=$(connect $NQN); b=$(block_of $c)
dd if=/dev/urandom of=$b bs=64k count=4 oflag=direct status=none
nvme disconnect -n $NQN
stop_nvmetd
echo 'ok: without root'
""")


def test_group_not_viable(boot):
    """Another device of the IOMMU group has a driver: it is named; without it all is well."""
    # Two functions of one slot without ACS are one group.
    boot("""
bdf=$(bdf_of S1); other=$(bdf_of S2)
bind_vfio "$bdf"
status=0
"$BUILD/nvmetd" --ssd "$bdf" --listen 127.0.0.1:4420 >/tmp/out 2>&1 || status=$?
cat /tmp/out
[ $status -eq 1 ] || fail "exit status $status"
grep -q 'is not viable' /tmp/out
grep -q "$other of the same group is bound to nvme: echo $other > /sys/bus/pci/devices/$other/driver/unbind" /tmp/out
echo $other >/sys/bus/pci/devices/$other/driver/unbind
start_nvmetd --ssd "$bdf" --listen 127.0.0.1:4420
stop_nvmetd
""", Ssd(serial="S1", addr="10.0,multifunction=on"), Ssd(serial="S2", addr="10.1"))


def test_bind_tool(boot):
    """nvmetd-bind: refuses while mounted, be it where it cannot see it, binds, gives back. The daemon goes to the SSD's NUMA node."""
    boot("""
bdf=$(bdf_of S1)
bind=$SOURCE/config/systemd/nvmetd-bind
mkfs.ext4 -q /dev/nvme0n1; mkdir -p /tmp/m; mount /dev/nvme0n1 /tmp/m
! $bind bind $bdf 2>/tmp/out || fail "bound while mounted"
grep -q 'in use: nvme0n1' /tmp/out
umount /tmp/m
unshare -m sh -c 'mount /dev/nvme0n1 /tmp/m; >/tmp/mounted; exec sleep 600' &
holder=$!
for i in $(seq 600); do [ ! -e /tmp/mounted ] || break; sleep 0.1; done
! grep -q nvme0n1 /proc/mounts
! $bind bind $bdf 2>/tmp/out || fail "bound while mounted elsewhere"
grep 'in use: nvme0n1' /tmp/out
kill $holder
for i in $(seq 600); do ! $bind bind $bdf || break; sleep 0.1; done
[ "$($bind status $bdf)" = "$bdf vfio-pci" ]
$bind bind $bdf

[ "$(cat /sys/bus/pci/devices/$bdf/numa_node)" = 1 ] || fail "the guest has no two nodes"
start_nvmetd --ssd "$bdf" --listen 127.0.0.1:4420 --nqn $NQN --control /run/nvmetd/control
grep 'NUMA: the SSDs are on node 1: so are DMA memory and workers, on CPUs 1$' $LOG
"$BUILD/nvmetctl" status >/tmp/status
grep "spec=$bdf .*numa_node=1 " /tmp/status
grep 'index=0 cpus=1 ' /tmp/status
grep nvmetd-dma /proc/$DAEMON/numa_maps | tee /tmp/maps
pages() { grep -o "N$1=[0-9]*" /tmp/maps | cut -d= -f2 || true; }
there=$(pages 1); here=$(pages 0)
[ "$there" -gt $((9 * ${here:-0})) ] || fail "the DMA memory is on node 0"
c=$(connect $NQN); b=$(block_of $c)
dd if=/dev/urandom of=$b bs=64k count=16 oflag=direct status=none
nvme disconnect -n $NQN
stop_nvmetd
cat >/tmp/conf <<EOF
worker_cpus = [ 0 ];
listen = ( "127.0.0.1:4420" );
ssds = ( { name = "a"; spec = "$bdf"; } );
subsystems = ( { nqn = "$NQN"; allow_any_host = true; namespaces = ( { nsid = 1; ssd = "a"; } ); } );
EOF
start_nvmetd -c /tmp/conf
grep "worker_cpus puts 1 of 1 workers on another node than the SSDs', which is node 1, CPUs 1" $LOG
stop_nvmetd
echo 'ok: NUMA'

$bind unbind $bdf
[ "$($bind status $bdf)" = "$bdf nvme" ]
! $bind bind 0000:00:00.0 2>/tmp/out || fail "bound a host bridge"
grep -q 'no NVMe controller' /tmp/out
""", Ssd(node=1))


def test_idle_cpu(boot):
    """A connected, idle target sleeps for 10 s; one Keep Alive may come. (A thread that spins never goes to sleep.)"""
    result = boot(START + """
c=$(connect $NQN --keep-alive-tmo=30); b=$(block_of $c)
dd if=/dev/urandom of=$b bs=64k count=16 oflag=direct status=none
sleep 2
sleeps() { cat /proc/$DAEMON/task/*/status | awk '/^voluntary_ctxt/ { n += $2 } END { print n }'; }
ticks() { awk '{ print $14 + $15 }' /proc/$DAEMON/stat; }
before=$(sleeps) then=$(ticks); sleep 10
echo "idle-sleeps: $(($(sleeps) - before))"
echo "idle-ticks: $(($(ticks) - then))"
""" + END)
    assert int(result.value("idle-sleeps")) <= 6  # a timer of 1 s would make it 10
    assert int(result.value("idle-ticks")) < 500  # of 1000; a busy machine may charge it for some


def test_killed_daemon(boot):
    """kill -9 under load; a new daemon takes the SSD as it was left, the host goes on by itself."""
    boot(START + "c=$(connect $NQN --reconnect-delay=1 --ctrl-loss-tmo=60); b=$(block_of $c)\n(" +
         fio("kill", rw="randwrite", bs="4k", iodepth=16, size="16M", rate_iops=800)
         + """) & load=$!
wait_io 200
kill -0 $load || fail "the load has ended"
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
wait_io 200
kill -0 $load || fail "the load has ended"
stop_nvmetd
: >$LOG
start_nvmetd --ssd "$bdf" --listen 127.0.0.1:4420 --nqn $NQN --control /run/nvmetd/control
wait $load
""" + END)
