# SPDX-License-Identifier: BSD-3-Clause
"""TLS in a guest: the records in the kernel (kTLS), which the machine that the tests run on may not
have, and the Linux host with tlshd."""

import pytest

import userland

KTLS = """
WHAT="identities or binder or data or slow_reader or key_update or protocol_error or cut_records or leaving or ends or early or rotation"
export NVMETD_BUILD=$BUILD NVMETD_KTLS=1
cd "$SOURCE" && /usr/bin/python3 -m pytest -q -p no:cacheprovider -rs --basetemp=/run/pytest tests/py/test_tls.py -k "$WHAT"
"""

HOST = r"""
for d in proc sys dev run tmp etc/nvme; do
	mount --rbind /$d "$PROGRAMS/$d"
done
nvme() {
	chroot "$PROGRAMS" nvme "$@"
}
chroot "$PROGRAMS" tlshd -s >/tmp/tlshd.log 2>&1 &
TLSHD=$!
host=$(cat /etc/nvme/hostnqn)
stranger=nqn.2014-08.org.nvmexpress:uuid:22222222-2222-4222-8222-222222222222
mkdir -m 700 /tmp/keys
cd /tmp/keys
umask 077
"$BUILD/nvmetctl" key generate tls >sha256
nvme gen-tls-key --hmac=2 >sha384
nvme gen-tls-key --hmac=1 >new
nvme gen-tls-key --hmac=1 >wrong
nvme gen-dhchap-key -m 1 -n "$host" >host
nvme gen-dhchap-key -m 2 -n "$NQN:both" >ctrl
cat >/tmp/nvmet.conf <<EOF
log_level = "debug";
limits = { handshake_timeout = "2m"; };
listen = ( { address = "127.0.0.1:4420"; tls = "required"; } );
ssds = ( { name = "a"; spec = "emulated:size=16M"; }, { name = "b"; spec = "emulated:size=16M"; },
         { name = "c"; spec = "emulated:size=16M"; } );
hosts = ( { nqn = "$host"; tls_key = "/tmp/keys/sha256"; } );
subsystems = (
  { nqn = "$NQN:one"; namespaces = ( { nsid = 1; ssd = "a"; } ); hosts = ( "$host" ); },
  { nqn = "$NQN:two"; namespaces = ( { nsid = 1; ssd = "b"; } );
    hosts = ( { nqn = "$host"; tls_key = "/tmp/keys/sha384"; } ); },
  { nqn = "$NQN:both"; namespaces = ( { nsid = 1; ssd = "c"; } );
    hosts = ( { nqn = "$host"; tls_key = "/tmp/keys/sha256"; dhchap_key = "/tmp/keys/host";
                dhchap_ctrl_key = "/tmp/keys/ctrl"; } ); } );
EOF
start_nvmetd -c /tmp/nvmet.conf --control /run/nvmetd/control

# insert FILE IDENTITY-VERSION SUBSYSTEM [HOST]: derives the key for the kernel, prints its number there.
insert() {
	nvme check-tls-key --insert --identity=$2 --subsysnqn="$3" --hostnqn="${4:-$host}" \
		--keydata="$(cat $1)" | sed -n 's/Inserted TLS key /0x/p'
}
verify() {
	fio --name=verify --filename="$1" --rw=randwrite --bsrange=4k-64k --size=2M --direct=1 --ioengine=libaio \
		--iodepth=8 --verify=crc32c --verify_fatal=1 --output=/tmp/fio.out || fail "fio: $(cat /tmp/fio.out)"
}
# wait_log TEXT [TIMES]
wait_log() {
	local i
	for i in $(seq 600); do
		[ "$(grep -c "$1" $LOG)" -lt "${2:-1}" ] || return 0
		sleep 0.1
	done
	fail "the log does not say: $1"
}
# expect_data SUITE FILE IDENTITY-VERSION SUBSYSTEM CONNECT-OPTION...
expect_data() {
	local c seen
	seen=$(grep -c "$1, records in the kernel" $LOG || true)
	c=$(connect $4 -i 1 --tls --tls-key=$(insert $2 $3 $4) "${@:5}")
	verify $(block_of $c)
	nvme disconnect -d $c
	wait_log "$1, records in the kernel" $((seen + 2))
	echo "ok: $2, identity of version $3"
}
# expect_refused TEXT-OF-THE-LOG CONNECT-OPTION...
expect_refused() {
	local seen
	seen=$(grep -c "$1" $LOG || true)
	! nvme connect -t tcp -a 127.0.0.1 -s 4420 -i 1 "${@:2}" || fail "not refused: $1"
	wait_log "$1" $((seen + 1))
	echo "ok: $1"
}
expect_data TLS_AES_128_GCM_SHA256 sha256 0 $NQN:one
expect_data TLS_AES_128_GCM_SHA256 sha256 1 $NQN:one
# GnuTLS 3.8.9, which Debian 13 has, proves a key of SHA-384 with SHA-256.
expect_data TLS_CHACHA20_POLY1305_SHA256 sha384 0 $NQN:two
expect_data TLS_CHACHA20_POLY1305_SHA256 sha384 1 $NQN:two
expect_data TLS_AES_128_GCM_SHA256 sha256 1 $NQN:both --dhchap-secret="$(cat host)" --dhchap-ctrl-secret="$(cat ctrl)"
wait_log 'authenticated (.*, both ways)' 2

expect_refused 'it speaks no TLS, which this port requires' -n $NQN:one
expect_refused "its key is not the host's" -n $NQN:one --tls --tls-key=$(insert wrong 0 $NQN:one)
expect_refused "it names another key than the host's" -n $NQN:one --tls --tls-key=$(insert wrong 1 $NQN:one)
expect_refused 'this host has no key here' -n $NQN:one --tls --hostnqn=$stranger \
	--hostid=22222222-2222-4222-8222-222222222222 --tls-key=$(insert sha256 1 $NQN:one $stranger)
expect_refused 'the keys differ' -n $NQN:both --tls --tls-key=$(insert sha256 1 $NQN:both) \
	--dhchap-secret="$(nvme gen-dhchap-key -m 1 -n $host)"

# The key changes while a host reads and writes.
first=$(connect $NQN:one -i 1 --tls --tls-key=$(insert sha256 1 $NQN:one))
disk=$(block_of $first)
(
	while [ ! -e /tmp/enough ]; do
		verify $disk
	done
) &
FIO=$!
old_key=$(insert sha256 0 $NQN:one)
cp sha256 old
cat new old >sha256
kill -HUP $DAEMON
wait_log 'all keys were read again'
second=$(connect $NQN:one -i 1 -D --tls --tls-key=$(insert new 1 $NQN:one))
cat new >sha256
kill -HUP $DAEMON
wait_log 'all keys were read again' 2
expect_refused "its key is not the host's" -n $NQN:one -D --tls --tls-key=$old_key
touch /tmp/enough
wait $FIO
for c in $first $second; do
	[ "$(cat /sys/class/nvme/$c/state)" = live ] || fail "$c"
	nvme disconnect -d $c
done
! grep 'records in OpenSSL' $LOG || fail "not in the kernel"
for f in old new sha384 wrong host ctrl; do
	! grep -qF "$(cut -d: -f3 $f)" $LOG || fail "the log has a key"
done
expect_no_leaks
stop_nvmetd
kill $TLSHD
"""


def test_ktls(boot):
    """Everything that the wire-level tests show of TLS, over kTLS."""
    result = boot(KTLS)
    assert " passed" in result.output and "records in OpenSSL" not in result.output


def test_linux_host(boot):
    """nvme connect --tls: both hashes and identities, authentication besides, refusals, a new key under I/O."""
    try:
        programs = userland.userland()
    except userland.Unavailable as error:
        pytest.skip(str(error))
    result = boot(HOST, series="6.12", timeout=900, folders={"PROGRAMS": programs})
    assert result.output.count("\nok: ") == 11
