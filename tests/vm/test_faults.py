# SPDX-License-Identifier: BSD-3-Clause
"""An SSD owned through VFIO is taken away and comes back under load: the kernel's host sees a pause."""

from guest import Ssd
from test_host import END, END_LOAD, fio, load

# Until the kernel's own driver has found the SSD and is through with it.
SETTLE = """
settle() {
	local i
	for i in $(seq 600); do
		! grep -qs live /sys/bus/pci/devices/$bdf/nvme/nvme*/state || return 0
		sleep 0.1
	done
	fail "the kernel does not find the SSD"
}
"""
# Commands wait for the SSD for longer than a busy machine takes to give it back.
START = """
bdf=$(bdf_of S1)
bind_vfio "$bdf"
cat >/tmp/nvmet.conf <<CONF
listen = ( "127.0.0.1:4420" );
ssds = ( { name = "a"; spec = "$bdf"; recovery_timeout = "2m"; } );
subsystems = ( { nqn = "$NQN"; allow_any_host = true; namespaces = ( { nsid = 1; ssd = "a"; } ); } );
CONF
start_nvmetd -c /tmp/nvmet.conf --control /run/nvmetd/control
"""
CONNECT = "c=$(connect $NQN); b=$(block_of $c)\n"


def test_taken_away_and_given_back(boot):
    """Unbound and bound again; reset by somebody else; removed and found again."""
    boot(START + SETTLE + CONNECT + load("away") + """
d=/sys/bus/pci/devices/$bdf
# The kernel waits in unbind until the daemon has let go.
echo $bdf >/sys/bus/pci/drivers/vfio-pci/unbind
grep -q 'the kernel asks for it back' $LOG
wait_ssd absent
sleep 1
echo $bdf >/sys/bus/pci/drivers_probe
wait_ssd ready
echo 'ok: unbind and bind'
wait_io
echo 1 >$d/reset
for i in $(seq 600); do ! grep -q 'it was reset, not by us' $LOG || break; sleep 0.1; done
grep -q 'it was reset, not by us' $LOG
wait_ssd ready
echo 'ok: reset'
wait_io
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
wait_io
""" + END_LOAD + """
cat $LOG
expect_quiet_kernel
""" + END)


def test_pulled_out_and_put_in(boot):
    """QEMU unplugs the SSD and plugs it in again; then another one comes in its place."""
    boot(START + SETTLE + CONNECT + load("pulled") + """
unplug S1
wait_ssd absent
plug S1
settle
bind_vfio $bdf
wait_ssd ready
wait_io
""" + END_LOAD + """
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
         + "tc qdisc del dev lo root\n" + load("down") + """
ip link set lo down; sleep 12; ip link set lo up
wait_io
""" + END_LOAD + """
cat $LOG
echo 'ok: the link was down'
""" + END)
