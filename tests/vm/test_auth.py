# SPDX-License-Identifier: BSD-3-Clause
"""The Linux host's DH-HMAC-CHAP: every hash and group, both ways; secrets that are wrong."""

SCRIPT = r"""
host=$(cat /etc/nvme/hostnqn)
mkdir -p /tmp/keys
nvme gen-dhchap-key -m 1 -n "$host" >/tmp/keys/host
nvme gen-dhchap-key -m 2 -n "$NQN" >/tmp/keys/ctrl
nvme gen-dhchap-key -m 0 -l 32 -n "$host" >/tmp/keys/wrong
chmod 600 /tmp/keys/*
secret() {
	cat /tmp/keys/$1
}
configure() {
	cat >/tmp/nvmet.conf <<EOF
listen = ( "127.0.0.1:4420" );
limits = { handshake_timeout = "2m"; };
dhchap = { hashes = ( "$1" ); groups = ( "$2" ); };
ssds = ( { name = "a"; spec = "emulated:size=64M"; } );
subsystems = ( { nqn = "$NQN"; namespaces = ( { nsid = 1; ssd = "a"; } );
  hosts = ( { nqn = "$host"; dhchap_key = "/tmp/keys/host"; dhchap_ctrl_key = "/tmp/keys/ctrl"; } ); } );
EOF
}
use() {
	nvme connect -t tcp -a 127.0.0.1 -s 4420 -n $NQN -i 1 --keep-alive-tmo=60 "$@"
}
for pair in {sha256,sha384,sha512}:{null,ffdhe{2048,3072,4096,6144,8192}}; do
	configure ${pair%:*} ${pair#*:}
	start_nvmetd -c /tmp/nvmet.conf --control /run/nvmetd/control
	use --dhchap-secret="$(secret host)" --dhchap-ctrl-secret="$(secret ctrl)" >/dev/null
	[ "$(grep -c ', both ways)' $LOG)" = 2 ] || fail "$pair"
	nvme disconnect -n $NQN >/dev/null
	stop_nvmetd
	printf "\nok: $pair\n"
done
configure sha256 ffdhe2048
start_nvmetd -c /tmp/nvmet.conf --control /run/nvmetd/control
! use || fail "no secret"
! use --dhchap-secret="$(secret wrong)" || fail "wrong secret"
grep -q 'the keys differ' $LOG || fail "the log does not say why"
! use --dhchap-secret="$(secret host)" --dhchap-ctrl-secret="$(secret wrong)" || fail "wrong secret of the controller"
use --dhchap-secret="$(secret host)"
nvme disconnect -n $NQN
expect_no_leaks
stop_nvmetd
"""


def test_linux_host(boot):
    """Linux 6.12, the first of Debian's kernels that can."""
    result = boot(SCRIPT, series="6.12", timeout=900)
    assert result.output.count("\nok: ") == 18
