# SPDX-License-Identifier: BSD-3-Clause
# What guest scripts share. Sourced before each; BUILD names the build folder of nvmetd.
if [[ $- != *i* ]]; then
	set -eEu -o pipefail
	shopt -s inherit_errexit
fi
export ASAN_OPTIONS=exitcode=99 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1:exitcode=99
LOG=/tmp/nvmetd.log
NQN=nqn.2026-11.io.nvmetd:test
mkdir -p /etc/nvme /run/nvmetd
echo nqn.2014-08.org.nvmexpress:uuid:11111111-1111-4111-8111-111111111111 >/etc/nvme/hostnqn
echo 11111111-1111-4111-8111-111111111111 >/etc/nvme/hostid

fail() {
	echo "FAIL: $*" >&2
	exit 1
}
# Whatever goes wrong, the daemon's log and the kernel's say why.
on_exit() {
	status=$?
	[ $status -eq 0 ] && return
	echo "--- nvmetd"
	cat $LOG 2>/dev/null || true
	echo "--- kernel"
	dmesg | tail -n 40
}
if [[ $- != *i* ]]; then
	trap on_exit EXIT
	trap 'echo "FAIL: line $LINENO: $BASH_COMMAND" >&2' ERR
fi

# PCI address of the SSD with this serial number (before it is taken from the kernel's driver, which
# may still be busy finding it).
bdf_of() {
	local c i serial
	for i in $(seq ${TRIES:-600}); do
		for c in /sys/bus/pci/drivers/nvme/*/nvme/nvme*; do
			[ -e "$c/serial" ] && read -r serial <"$c/serial" && [ "$serial" = "$1" ] || continue
			basename "$(readlink "$c/device")"
			return 0
		done
		sleep 0.1
	done
	fail "no SSD with serial $1"
}
bind_vfio() {
	local d=/sys/bus/pci/devices/$1
	echo vfio-pci >"$d/driver_override"
	[ ! -e "$d/driver" ] || echo "$1" >"$d/driver/unbind"
	echo "$1" >/sys/bus/pci/drivers_probe
	[ "$(basename "$(readlink "$d/driver")")" = vfio-pci ] || fail "$1 is not bound to vfio-pci"
}
# Gives the SSD back to the kernel and prints its block device (first namespace).
bind_nvme() {
	local d=/sys/bus/pci/devices/$1 i b
	echo "$1" >"$d/driver/unbind"
	echo >"$d/driver_override"
	echo "$1" >/sys/bus/pci/drivers_probe
	for i in $(seq 600); do
		for b in "$d"/nvme/nvme*/nvme*n1 "$d"/nvme/nvme*/nvme*c*n1; do
			[ -e "$b" ] || continue
			b=$(basename "$b" | sed 's/c[0-9]*n/n/')
			[ -b "/dev/$b" ] || continue
			echo "/dev/$b"
			return 0
		done
		sleep 0.1
	done
	fail "$1: the kernel's driver shows no namespace"
}
start_nvmetd() {
	local i
	: >$LOG
	"$BUILD/nvmetd" "$@" 2>>$LOG &
	DAEMON=$!
	for i in $(seq 600); do
		! grep -q 'ready: listening on' $LOG || return 0
		kill -0 $DAEMON 2>/dev/null || fail "nvmetd ended"
		sleep 0.1
	done
	fail "nvmetd is not ready"
}
stop_nvmetd() {
	local status=0
	kill -TERM $DAEMON
	wait $DAEMON || status=$?
	[ $status -eq 0 ] || fail "nvmetd ended with $status"
}
# Connects and prints the controller's name, nvmeN. Unless told otherwise it sends a Keep Alive for as
# long as a busy machine may stand still.
connect() {
	local subnqn=$1 before after i patience=--keep-alive-tmo=30
	shift
	[[ " $*" != *" --keep-alive-tmo="* ]] || patience=
	before=$(ls /sys/class/nvme 2>/dev/null || true)
	nvme connect -t tcp -a ${ADDR:-127.0.0.1} -s 4420 -n "$subnqn" $patience "$@" >&2
	for i in $(seq 600); do
		after=$(ls /sys/class/nvme)
		for c in $after; do
			echo "$before" | grep -qx "$c" && continue
			[ "$(cat /sys/class/nvme/$c/state)" = live ] || continue
			echo "$c"
			return 0
		done
		sleep 0.1
	done
	fail "connect made no controller"
}
# Block device of namespace $2 (default 1) of controller $1, multipath or not.
block_of() {
	local nsid=${2:-1} i n b
	for i in $(seq 600); do
		for n in /sys/class/nvme/$1/nvme*n* /sys/class/nvme-subsystem/*/$1/../nvme*n*; do
			[ -e "$n" ] || continue
			b=$(basename "$n" | sed 's/c[0-9]*n/n/')
			[ -b "/dev/$b" ] && [ "$(cat /sys/block/$b/nsid 2>/dev/null)" = "$nsid" ] || continue
			echo "/dev/$b"
			return 0
		done
		sleep 0.1
	done
	fail "$1 shows no namespace $nsid"
}
counter() {
	"$BUILD/nvmetctl" --socket /run/nvmetd/control -o json counters | sed -n "s/.*\"$1\": \([0-9]*\).*/\1/p"
}
# Until I/O flows: so many more commands (default 100) have come.
wait_io() {
	local before i
	before=$(counter commands)
	for i in $(seq 600); do
		[ "$(counter commands)" -lt $((before + ${1:-100})) ] || return 0
		sleep 0.1
	done
	fail "no I/O: $(counter commands) commands, $before before"
}
expect_no_leaks() {
	local i name
	for name in connections controllers queue_pairs requests dma_pages_used; do
		for i in $(seq 600); do
			[ "$(counter $name)" = 0 ] && break
			sleep 0.1
		done
		[ "$(counter $name)" = 0 ] || fail "$name is $(counter $name) with no host"
	done
}
# Opens QEMU's monitor, the guest's second serial line: $QMP; what it says goes to /tmp/qmp.
qmp_open() {
	[ -z "${QMP-}" ] || return 0
	exec {QMP}<>/dev/ttyS1
	stty raw -echo <&$QMP
	cat <&$QMP >>/tmp/qmp &
	disown
	# Before it was raw, the line may have sent QEMU's greeting back and left its parser in the middle
	# of an object: 0xff makes it begin anew.
	printf '\377' >&$QMP
	qmp qmp_capabilities '{}'
}
# qmp COMMAND ARGUMENTS: one command to QEMU itself; waits for the answer, whatever it is.
qmp() {
	local i
	qmp_open
	qmp_id=$((${qmp_id:-0} + 1))
	echo "{\"execute\": \"$1\", \"id\": $qmp_id, \"arguments\": $2}" >&$QMP
	for i in $(seq 300); do
		! grep -q "\"id\": $qmp_id[,}]" /tmp/qmp || return 0
		sleep 0.1
	done
	fail "QEMU does not answer $1: $(cat /tmp/qmp)"
}
# The SSD with this serial number is pulled out, and put in again (Ssd(hotplug=True)). Pulling is the
# press of a button that the kernel may overlook while it is busy with the slot: pressed again, but
# not within the five seconds in which that would take it back.
unplug() {
	local i
	: >/tmp/qmp
	for i in $(seq 600); do
		[ $((i % 100)) -ne 1 ] || qmp device_del "{\"id\": \"$1\"}"
		! grep -q "DEVICE_DELETED.*\"device\": \"$1\"" /tmp/qmp || return 0
		sleep 0.1
	done
	fail "$1 is not out: $(cat /tmp/qmp)"
}
plug() {
	qmp device_add "{\"driver\": \"nvme\", \"id\": \"$1\", \"serial\": \"${2:-$1}\", \"mdts\": 7,
		\"max_ioqpairs\": 16, \"msix_qsize\": 17, \"bus\": \"$1-port\", \"drive\": \"$1n1\"}"
}
# Until the daemon's SSD is in this state.
wait_ssd() {
	local i
	for i in $(seq 600); do
		! "$BUILD/nvmetctl" --socket /run/nvmetd/control -o json status |
			grep -q "\"state\": \"$1\"" || return 0
		sleep 0.1
	done
	"$BUILD/nvmetctl" --socket /run/nvmetd/control -o json status
	fail "the SSD is not $1"
}
# The kernel as initiator had nothing to complain about.
expect_quiet_kernel() {
	! dmesg | grep -E 'nvme.*(I/O error|timeout|reset|failed|invalid|not ready)|I/O error|BUG|WARNING' ||
		fail "the kernel complained"
}
# The same SSD behind the kernel's own target, for comparisons. kernel_target BLOCKDEV PORT NQN
kernel_target() {
	local s=/sys/kernel/config/nvmet/subsystems/$3 p=/sys/kernel/config/nvmet/ports/$2
	mkdir -p "$s/namespaces/1" "$p"
	echo 1 >"$s/attr_allow_any_host"
	echo "$1" >"$s/namespaces/1/device_path"
	echo 1 >"$s/namespaces/1/enable"
	echo tcp >"$p/addr_trtype"
	echo ipv4 >"$p/addr_adrfam"
	echo 127.0.0.1 >"$p/addr_traddr"
	echo "$2" >"$p/addr_trsvcid"
	ln -s "$s" "$p/subsystems/"
}
