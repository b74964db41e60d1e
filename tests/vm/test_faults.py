# SPDX-License-Identifier: BSD-3-Clause
"""An SSD owned through VFIO is taken away and comes back under load: the kernel's host sees a pause."""

from guest import Ssd
from test_host import END, START, fio

# Until the kernel's own driver has found the SSD and is through with it.
SETTLE = """
settle() {
	local i
	for i in $(seq 100); do
		! grep -qs live /sys/bus/pci/devices/$bdf/nvme/nvme*/state || return 0
		sleep 0.1
	done
	fail "the kernel does not find the SSD"
}
"""
CONNECT = "c=$(connect $NQN --keep-alive-tmo=30); b=$(block_of $c)\n"


def load(name, seconds):
    """A verified fio run in the background; $load is its process."""
    return "(" + fio(name, rw="randrw", bs="4k", iodepth=16, size="32M", rate_iops="300,300",
                     time_based=1, runtime=seconds, verify_backlog=512) + ") & load=$!\nsleep 2\n"


def test_taken_away_and_given_back(boot):
    """Unbound and bound again; reset by somebody else; removed and found again."""
    boot(START + SETTLE + CONNECT + load("away", 30) + """
d=/sys/bus/pci/devices/$bdf
# The kernel waits in unbind until the daemon has let go.
echo $bdf >/sys/bus/pci/drivers/vfio-pci/unbind
grep -q 'the kernel asks for it back' $LOG
wait_ssd absent
sleep 1
echo $bdf >/sys/bus/pci/drivers_probe
wait_ssd ready
echo 'ok: unbind and bind'
sleep 2
echo 1 >$d/reset
for i in $(seq 300); do ! grep -q 'it was reset, not by us' $LOG || break; sleep 0.1; done
grep -q 'it was reset, not by us' $LOG
wait_ssd ready
echo 'ok: reset'
sleep 2
port=$(dirname "$(readlink -f $d)")
echo 1 >$d/remove
wait_ssd absent
[ ! -e $d ] || fail "$bdf is still there"
sleep 1
# driver_override is lost with the device: the kernel's own driver has it first.
echo 1 >/sys/bus/pci/rescan
settle
bind_vfio $bdf
wait_ssd ready
echo 'ok: remove and rescan'
wait $load
cat $LOG
expect_quiet_kernel
""" + END)


def test_pulled_out_and_put_in(boot):
    """QEMU unplugs the SSD and plugs it in again; then another one comes in its place."""
    boot(START + SETTLE + CONNECT + load("pulled", 20) + """
unplug S1
wait_ssd absent
plug S1
settle
bind_vfio $bdf
wait_ssd ready
wait $load
expect_quiet_kernel
echo 'ok: out and in'
unplug S1
wait_ssd absent
plug S1 OTHER
settle
bind_vfio $bdf
wait_ssd failed
grep -q 'another SSD is in its place' $LOG
# A read would not end now: with multipath the host tries again until there is a path.
cat $LOG
""" + END, Ssd(hotplug=True))


def test_bad_network(boot):
    """Packets are late, lost and out of order; then the link is down for a while."""
    boot(START + "c=$(connect $NQN --keep-alive-tmo=5 --reconnect-delay=1 --ctrl-loss-tmo=120 "
         "--data-digest); b=$(block_of $c)\ntc qdisc add dev lo root netem delay 2ms 1ms loss 1% reorder 20% 50%\n"
         + fio("lossy", rw="randrw", bsrange="4k-64k", iodepth=16, size="4M")
         + "tc qdisc del dev lo root\n" + load("down", 30) + """
ip link set lo down; sleep 12; ip link set lo up
wait $load
cat $LOG
echo 'ok: the link was down'
""" + END)
