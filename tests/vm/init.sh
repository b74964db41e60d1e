#!/bin/busybox sh
# SPDX-License-Identifier: BSD-3-Clause
# First process of the guest: loads modules, puts a writable layer over the machine's own root (9p,
# read-only), runs /job/run in it and powers off. The job's output is the console's.
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for m in $(cat /modules/order); do
	arguments=
	# A machine that stands still for a while is not the target's fault.
	[ "$m" != nvme-core.ko ] || arguments="io_timeout=120 admin_timeout=120"
	if [ "$m" = nvme-core.ko ] && grep -q multipath=N /proc/cmdline; then arguments="$arguments multipath=N"; fi
	insmod "/modules/$m" $arguments 2>/dev/null || echo "init: module $m did not load"
done
fail() {
	echo "init: $1"
	echo "guest-exit 125"
	poweroff -f
}
mkdir -p /host /upper
mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=262144,cache=loose hostroot /host ||
	fail "the machine's root cannot be mounted"
mount -t tmpfs -o size=1500m upper /upper
mkdir -p /upper/up /upper/work
mount -t overlay -o lowerdir=/host,upperdir=/upper/up,workdir=/upper/work overlay /newroot ||
	fail "no overlay"
mkdir -p /newroot/job
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 job /newroot/job || fail "no job"
for d in proc sys dev; do
	mount --bind /$d /newroot/$d
done
mkdir -p /newroot/dev/shm /newroot/dev/pts
mount -t tmpfs tmpfs /newroot/tmp
mount -t tmpfs tmpfs /newroot/run
# Folders of the machine that these hide and the job needs: a checkout below /tmp.
while read -r d; do
	[ ! -d "/newroot$d" ] || continue
	mkdir -p "/newroot$d"
	mount --bind "/host$d" "/newroot$d" || fail "$d cannot be seen"
done </newroot/job/folders
ln -s /proc/self/fd /dev/fd
mount -t configfs config /newroot/sys/kernel/config || fail "no configfs"
ip link set lo up
echo 8 > /proc/sys/kernel/printk
dmesg -n 1
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
if grep -q guest_shell /proc/cmdline; then
	stty sane </dev/ttyS0
	echo '. /job/lib.sh has the helpers of the tests; Ctrl-A x ends the guest' >/dev/ttyS0
	setsid cttyhack chroot /newroot /bin/bash -i </dev/ttyS0 >/dev/ttyS0 2>&1
	poweroff -f
fi
# The job as a service of the machine's own systemd, which takes over as the first process.
if grep -q guest_systemd /proc/cmdline; then
	mkdir -p /newroot/run/systemd/system
	cat >/newroot/run/systemd/system/job.service <<-'END'
		[Unit]
		After=sysinit.target
		[Service]
		Type=oneshot
		StandardInput=null
		StandardOutput=tty
		StandardError=tty
		TTYPath=/dev/ttyS0
		Environment=HOME=/root LANG=C.UTF-8
		ExecStart=/bin/sh -c '/bin/bash /job/run; echo "guest-exit $$?"; sync; busybox poweroff -f'
	END
	: >/newroot/etc/fstab # nothing of the machine's is to be mounted
	exec switch_root /newroot /lib/systemd/systemd --unit=job.service --show-status=0
fi
chroot /newroot /bin/bash /job/run </dev/null
echo "guest-exit $?"
sync
poweroff -f
