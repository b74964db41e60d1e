# SPDX-License-Identifier: BSD-3-Clause
"""The units under a real systemd: the machine's own is the guest's first process."""

INSTALL = """
export SYSTEMD_PAGER=cat SYSTEMD_COLORS=0
bdf=$(bdf_of S1)
mkdir -p /usr/local/lib/sysusers.d /etc/nvmetd/keys
cp "$BUILD/nvmetd" "$BUILD/nvmetctl" "$SOURCE/config/systemd/nvmetd-bind" /usr/local/sbin
cp "$SOURCE/config/systemd/nvmetd.sysusers" /usr/local/lib/sysusers.d/nvmetd.conf
cp "$BUILD/nvmetd.service" "$BUILD/nvmetd-bind@.service" /run/systemd/system
systemd-sysusers
(umask 077; nvmetctl key generate tls >/etc/nvmetd/keys/host)
cat >/etc/nvmetd/nvmet.conf <<END
control = "/run/nvmetd/control";
listen = ( "127.0.0.1:4420" );
worker_cpus = [ 0 ];
ssds = ( { name = "a"; spec = "$bdf"; } );
hosts = ( { nqn = "nqn.2014-08.org.nvmexpress:friend"; tls_key = "/etc/nvmetd/keys/host"; } );
subsystems = ( { nqn = "$NQN"; allow_any_host = true; namespaces = ( { nsid = 1; ssd = "a"; } ); } );
END
chgrp nvmetd /etc/nvmetd/nvmet.conf /etc/nvmetd/keys/host
chmod 640 /etc/nvmetd/nvmet.conf /etc/nvmetd/keys/host
systemctl daemon-reload
journal() { journalctl -o cat -u nvmetd -u "nvmetd-bind@$bdf"; }
trap '[ $? -eq 0 ] || journal' EXIT
wait_journal() {
	local i
	for i in $(seq 600); do ! journal | grep -q "$1" || return 0; sleep 0.1; done
	fail "the journal does not say: $1"
}
"""


def test_service(boot):
    """nvmetd.service pulls in nvmetd-bind@, is ready when it says so, serves a host as a user without rights in a
    root that it cannot write to, reads its keys again, stops, and the SSD is the kernel's again. One that was killed
    comes back; one whose configuration is wrong is not tried again."""
    boot(INSTALL + """
systemctl enable --runtime "nvmetd-bind@$bdf" nvmetd
systemctl start nvmetd
[ "$(systemctl show nvmetd -p Type --value)" = notify ] || fail "built without libsystemd"
pid=$(systemctl show nvmetd -p MainPID --value)
[ "$(stat -c %U /proc/$pid)" = nvmetd ]
grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/$pid/status
[ "$(grep -cE '^Cap(Inh|Prm|Eff|Bnd|Amb):.0+$' /proc/$pid/status)" = 5 ]
grep -qE '^NoNewPrivs:.1$' /proc/$pid/status
grep -qE '^Seccomp:.2$' /proc/$pid/status
! nsenter -t $pid -m touch /etc/nvmetd/new 2>/dev/null || fail "its root can be written to"
echo 'ok: restricted'

c=$(connect $NQN); b=$(block_of $c)
dd if=/dev/urandom of=$b bs=64k count=4 oflag=direct status=none
systemctl reload nvmetd
wait_journal 'SIGHUP: all keys were read again'
[ "$(cat /sys/class/nvme/$c/state)" = live ]
nvme disconnect -n $NQN
echo 'ok: reloaded'

systemctl stop nvmetd
[ "$(systemctl show nvmetd -p Result --value)" = success ]
[ "$(systemctl show nvmetd -p NRestarts --value)" = 0 ]
echo 'ok: stopped'

show() { systemctl show nvmetd -p "$1" --value; }
[ "$(show StartLimitIntervalUSec)" = 0 ]
systemctl start nvmetd
pid=$(show MainPID)
kill -KILL "$pid"
for i in $(seq 600); do
	[ "$(show NRestarts) $(show ActiveState)" != '1 active' ] || break
	sleep 0.1
done
[ "$(show NRestarts) $(show ActiveState)" = '1 active' ] && [ "$(show MainPID)" != "$pid" ]
systemctl stop nvmetd
echo 'nonsense = 1;' >>/etc/nvmetd/nvmet.conf
! systemctl start nvmetd || fail "a wrong configuration is none"
[ "$(show ActiveState) $(show ExecMainStatus) $(show NRestarts)" = 'failed 78 0' ]
echo 'ok: restarts'
systemctl stop "nvmetd-bind@$bdf"
[ "$(nvmetd-bind status $bdf)" = "$bdf nvme" ]
! journal | grep -E 'Failed at step|error:|warning:' || fail "something did not work"
""", append="guest_systemd")
