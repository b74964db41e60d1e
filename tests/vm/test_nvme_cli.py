# SPDX-License-Identifier: BSD-3-Clause
"""nvme-cli's commands, one by one, and what a host's life does to a target: resets, removals, reconnects."""

from test_host import END, END_LOAD, START, load

# What becomes of a command: "ok" (and a text that must be in the output), a status as nvme-cli shows it (4000h is
# DNR), "no" (refused by nvme-cli or the kernel itself), or "ssd": it is carried out, or not known, because it depends
# on what the SSD has. CTRL and BLOCK stand for the devices.
INVALID_OPCODE, INVALID_FIELD, INVALID_NS = "0x4001", "0x4002", "0x400b"
INVALID_LOG, NOT_CHANGEABLE, NOT_SAVEABLE = "0x4109", "0x410e", "0x410d"
LOOKING = [
    # Identify.
    ("ok subnqn.*nqn.2026-11.io.nvmetd:test", "id-ctrl CTRL"), ("ok fguid", "id-ctrl CTRL -H"),
    ("ok nsze *: 0x80000", "id-ns CTRL -n 1"), ("ok nsze *: 0$", "id-ns CTRL -n 2"),
    (INVALID_NS, "id-ns CTRL -n 0xffffffff"),
    ("ok 0x1", "list-ns CTRL"), ("ok uuid", "ns-descs CTRL -n 1"), (INVALID_NS, "ns-descs CTRL -n 2"),
    ("ok namespace-id:1", "get-ns-id BLOCK"),
    ("ok 0x1", "list-ns CTRL -a"), ("ok num of ctrls present: 1", "list-ctrl CTRL"),
    ("ok num of ctrls present: 1", "list-ctrl CTRL -n 1"), ("ok vsl", "nvm-id-ctrl CTRL"),
    ("ok pif:0", "nvm-id-ns CTRL -n 1"), ("ok nmic *: 0x1", "cmdset-ind-id-ns CTRL -n 1"),
    ("ok Combination.0.:1", "id-iocs CTRL"),
    *((INVALID_FIELD, command) for command in (
        "id-ns-granularity CTRL", "primary-ctrl-caps CTRL", "list-secondary CTRL", "id-nvmset CTRL", "id-uuid CTRL",
        "id-domain CTRL", "list-endgrp CTRL")),
    # Log pages.
    ("ok temperature.*323 Kelvin", "smart-log CTRL"), ("ok temperature", "smart-log CTRL -n 1"),
    ("ok entries:64", "error-log CTRL"), ("ok frs1", "fw-log CTRL"), ("ok", "changed-ns-list-log CTRL"),
    ("ok", "effects-log CTRL"), ("ok LID 0x5", "supported-log-pages CTRL"),
    ("ok 0000: 00 43 01", "get-log CTRL -i 2 -l 512"), (INVALID_LOG, "get-log CTRL -i 0xc0 -l 512"),
    (INVALID_LOG, "ana-log CTRL"),
    ("ok FID 01", "fid-support-effects-log CTRL"), ("ok Admin Command Set", "mi-cmd-support-effects-log CTRL"),
    *((INVALID_LOG, command) for command in (
        "telemetry-log CTRL -o /tmp/telemetry", "endurance-log CTRL -g 1", "predictable-lat-log CTRL -i 1",
        "pred-lat-event-agg-log CTRL -e 1", "persistent-event-log CTRL -a 0 -l 512",
        "endurance-event-agg-log CTRL -e 1", "lba-status-log CTRL", "resv-notif-log CTRL",
        "boot-part-log CTRL -f /tmp/boot", "self-test-log CTRL", "media-unit-stat-log CTRL",
        "supported-cap-config-log CTRL", "sanitize-log CTRL")),
]
CHANGING = [
    # Features.
    *(("ok Current value", f"get-feature CTRL -f {fid}") for fid in (1, 2, 4, 6, 7, 0x0A, 0x0B, 0x0F)),
    ("ok Current value", "get-feature CTRL -f 5 -n 1"), (INVALID_NS, "get-feature CTRL -f 5 -n 2"),
    *((INVALID_FIELD, f"get-feature CTRL -f {fid}") for fid in (3, 8, 9, 0x0C, 0x0D, 0x0E, 0x10, 0x11, 0x16, 0x17, 0x80,
                                                                0x81, 0x82, 0x83, 0x84, 0xC0)),
    ("ok", "set-feature CTRL -f 0xf -v 20000"), ("ok 0x00004e20", "get-feature CTRL -f 0xf"),
    ("ok", "set-feature CTRL -f 0xf -v 5000"), ("ok", "set-feature CTRL -f 0xb -v 0x100"),
    (NOT_CHANGEABLE, "set-feature CTRL -f 1 -v 3"), (NOT_CHANGEABLE, "set-feature CTRL -f 6 -v 0"),
    (NOT_SAVEABLE, "set-feature CTRL -f 0xb -v 0 -s"), (INVALID_FIELD, "set-feature CTRL -f 0xc0 -v 1"),
    ("0x400c", "set-feature CTRL -f 7 -v 0x30003"),
    # Properties.
    ("ok", "get-property CTRL -o 0"), ("ok", "get-property CTRL -o 8"), ("ok", "get-property CTRL -o 0x14"),
    ("ok", "get-property CTRL -o 0x1c"), (INVALID_FIELD, "set-property CTRL -o 0x1c -v 1"),
    ("ok csts *: 1", "show-regs CTRL"), ("ok Ready.*Yes", "show-regs CTRL -H"),
    # What a shared SSD does not let hosts do.
    *((INVALID_OPCODE, command) for command in (
        "format BLOCK -f -s 0", "format CTRL -n 0xffffffff -f", "fw-download CTRL -f /tmp/data",
        "fw-commit CTRL -s 1 -a 1", "sanitize CTRL -a 2", "device-self-test CTRL -s 1",
        "security-send CTRL -p 1 -s 1 -f /tmp/data -t 512", "security-recv CTRL -p 0 -x 512",
        "create-ns CTRL -s 100 -c 100 -f 0", "delete-ns CTRL -n 1", "attach-ns CTRL -n 1 -c 1",
        "detach-ns CTRL -n 1 -c 1", "dir-receive CTRL -n 1 -D 0 -O 1 -H", "dir-send CTRL -n 1 -D 0 -O 1 -T 1 -e 1",
        "virt-mgmt CTRL -c 1 -r 0 -a 9 -n 1", "lockdown CTRL -o 0", "capacity-mgmt CTRL -o 0",
        "get-lba-status CTRL -n 1 -s 0 -m 1 -a 16 -l 0", "io-mgmt-recv CTRL -n 1 -l 64",
        "io-mgmt-send CTRL -n 1 -l 64", "resv-report BLOCK -n 1", "resv-register BLOCK -n 1 --nrkey=1 --rrega=0",
        "resv-acquire BLOCK -n 1 --rtype=1 --racqa=0", "resv-release BLOCK -n 1 --rtype=1 --rrela=0",
        "admin-passthru CTRL -o 0xc0", "admin-passthru CTRL -o 0x0", "admin-passthru CTRL -o 0x1",
        "admin-passthru CTRL -o 0x4", "admin-passthru CTRL -o 0x5", "admin-passthru CTRL -o 0x7c",
        "admin-passthru CTRL -o 0xff", "io-passthru BLOCK -o 0x7d -n 1",
        "io-passthru BLOCK -o 0xc1 -n 1 -w -l 512 -i /tmp/data")),
    ("ok No RPMB", "rpmb CTRL -c info"),
]
LAST = [
    # I/O.
    ("ok", "write BLOCK -s 0 -c 7 -z 4096 -d /tmp/data"), ("ok", "read BLOCK -s 0 -c 7 -z 4096 -d /tmp/out"),
    ("ok", "compare BLOCK -s 0 -c 7 -z 4096 -d /tmp/data"), ("0x285", "compare BLOCK -s 1 -c 6 -z 3584 -d /tmp/data"),
    ("ok", "write-zeroes BLOCK -s 0 -c 7"), ("ok", "write-zeroes BLOCK -s 0 -c 7 -d"),
    ("ok", "dsm BLOCK -n 1 -d -s 0 -b 8"), ("ok", "flush BLOCK -n 1"), ("ssd", "verify BLOCK -s 0 -c 7"),
    ("ssd", "write-uncor BLOCK -s 100 -c 0"), ("ok", "write-zeroes BLOCK -s 100 -c 0"), ("ssd", "copy BLOCK -d 64 -s 0 -b 7"),
    ("0x4080", "read BLOCK -s 0xffffffffff -c 0 -z 512"),
    ("ok Read is Success", "io-passthru BLOCK -o 2 -n 1 -l 512 -r --cdw10=0 --cdw12=0"),
    ("0x400f", "io-passthru BLOCK -o 2 -n 1 -l 512 -r --cdw10=0 --cdw12=7"),
    ("no Invalid argument", "io-passthru BLOCK -o 2 -n 9 -l 512 -r --cdw10=0 --cdw12=0"),
    # Raw admin commands.
    ("ok Keep Alive is Success", "admin-passthru CTRL -o 0x18"), ("ok result: 0x00000001", "admin-passthru CTRL -o 8 --cdw10=0xffff0001"),
    ("ok Identify is Success", "admin-passthru CTRL -o 6 -r -l 4096 --cdw10=1"),
    (INVALID_FIELD, "admin-passthru CTRL -o 6 -r -l 4096 --cdw10=0xff"),
    ("0x400f", "admin-passthru CTRL -o 6 -r -l 8192 --cdw10=1"),
    # The host's own.
    ("ok nvmetd", "list"), ("ok traddr=127.0.0.1,trsvcid=4420.*live", "list-subsys"), ("ok", "show-topology"),
    ("ok", "ns-rescan CTRL"), ("no not supported", "subsystem-reset CTRL"), ("ok", "reset CTRL"),
]

ROW = r"""
failed=0 rows=0
row() { # EXPECTED COMMAND...
	local expected=$1 out status=0 good=no text
	shift
	text=${expected#* }; [ "$text" != "$expected" ] || text=.*
	out=$(timeout 60 nvme "$@" 2>&1 </dev/null | tr -d '\0'; exit ${PIPESTATUS[0]}) || status=$?
	case $expected in
	ok*) [ $status -ne 0 ] || ! grep -q -- "$text" <<<"$out" || good=yes ;;
	no*) [ $status -eq 0 ] || ! grep -q -- "$text" <<<"$out" || good=yes ;;
	ssd) [ $status -ne 0 ] && ! grep -q -- "(0x4001)" <<<"$out" || good=yes ;;
	*) ! grep -q -- "($expected)" <<<"$out" || good=yes ;;
	esac
	rows=$((rows + 1))
	[ $good = yes ] && return
	failed=$((failed + 1))
	echo "ROW: nvme $*: expected $expected, got $status: $(tr '\n' ' ' <<<"$out" | cut -c1-300)"
}
live() { # CTRL
	local i
	for i in $(seq 600); do
		[ "$(cat /sys/class/nvme/$1/state 2>/dev/null)" != live ] || return 0
		sleep 0.1
	done
	fail "$1 does not come back"
}
"""


def rows(table):
    """The table as lines of the script, in a shell of its own; it fails when a row does."""
    lines = [f"row '{expected}' {command.replace('CTRL', '/dev/$c').replace('BLOCK', '$b')}"
             for expected, command in table]
    return "(" + "\n".join(lines) + f"""
[ $rows -eq {len(table)} ] || fail "$rows rows instead of {len(table)}"
[ $failed -eq 0 ] || fail "$failed of $rows commands ended otherwise"
)"""


def test_every_command(boot):
    """Each is answered as the tables say, and none costs the daemon or its hosts anything."""
    boot(START + ROW + "c=$(connect $NQN); b=$(block_of $c)\nhead -c 8192 /dev/urandom >/tmp/data\n"
         + rows(LOOKING) + " & one=$!\n" + rows(CHANGING) + " & two=$!\nwait $one; wait $two\n"
         + rows(LAST) + """
live $c
cmp -n 4096 /tmp/data /tmp/out || fail "other data than was written"
""" + END, timeout=900)


MANY = """
{ echo 'control = "/run/nvmetd/control"; listen = ( "127.0.0.1:4420" );'
echo "ssds = ( { name = \\"a\\"; spec = \\"$bdf\\"; } ); subsystems = ("
for i in $(seq 60); do
	echo "{ nqn = \\"$NQN:$i\\"; allow_any_host = true; namespaces = ( { nsid = 1; ssd = \\"a\\"; } ); },"
done
echo "{ nqn = \\"$NQN\\"; allow_any_host = true; namespaces = ( { nsid = 1; ssd = \\"a\\"; } ); },"
echo "{ nqn = \\"$NQN:friends\\"; hosts = ( \\"nqn.2014-08.org.nvmexpress:friend\\" );"
echo "  namespaces = ( { nsid = 1; ssd = \\"a\\"; } ); } );"; } >/tmp/nvmet.conf
"""


def test_life_of_a_host(boot):
    """Connects again and again, with more and fewer queues; resets and goes away under I/O; is refused."""
    # 10 times here, where a connect takes most of a second: test_half_open.py does it 1000 times without a kernel.
    boot("bdf=$(bdf_of S1)\nbind_vfio $bdf\n" + MANY + ROW + """
start_nvmetd -c /tmp/nvmet.conf
nvme discover -t tcp -a 127.0.0.1 -s 4420 >/tmp/discover
[ "$(grep -c 'subtype: nvme subsystem' /tmp/discover)" = 61 ] || fail "discovery shows other subsystems than 61"
! grep -q friends /tmp/discover || fail "discovery shows what is not this host's"
for i in 1 30 60; do grep -qx "subnqn:  $NQN:$i" /tmp/discover; done
for turn in $(seq 10); do
	nvme connect -t tcp -a 127.0.0.1 -s 4420 -n $NQN -i $((turn % 2 + 1)) --reconnect-delay=1
	nvme disconnect -n $NQN >/dev/null
done
expect_no_leaks
echo "ok: 10 connects"

row 'no .' connect -t tcp -a 127.0.0.1 -s 4420 -n $NQN:nobody
row 'no .' connect -t tcp -a 127.0.0.1 -s 4420 -n $NQN:friends
row 'no .' connect -t tcp -a 127.0.0.1 -s 4420 -n "$(printf 'nqn.%0250d' 1)"
row 'no .' connect -t tcp -a 127.0.0.1 -s 4420 -n $NQN --hostnqn=iqn.2014-08.org:x
row 'no .' connect -t tcp -a 127.0.0.1 -s 4421 -n $NQN
expect_no_leaks
[ $failed -eq 0 ] || fail "$failed connects that should fail did not"

c=$(connect $NQN:60 --hostnqn=nqn.2014-08.org.nvmexpress:friend); nvme disconnect -d $c
c=$(connect $NQN --reconnect-delay=1 --nr-io-queues=2); b=$(block_of $c)
""" + load("load") + """
for turn in 1 2 3; do nvme reset /dev/$c; live $c; wait_io; done
""" + END_LOAD + """
echo 'ok: resets under I/O'
dmesg -C

before=$(counter commands)
# nocreat: a dd that starts late must not put a file where the device was.
timeout 120 dd if=/dev/zero of=$b bs=64k count=4000 oflag=direct conv=nocreat 2>/tmp/dd & load=$!
for i in $(seq 600); do [ "$(counter commands)" -lt $((before + 50)) ] || break; sleep 0.1; done
nvme disconnect -d $c
wait $load || true
expect_no_leaks
! dmesg | grep -E 'BUG|WARNING|hung' || fail "the kernel complained"
echo 'ok: deleted under I/O'

c=$(connect $NQN --nr-io-queues=1); b=$(block_of $c)
[ "$(cat /sys/class/nvme/$c/queue_count)" = 2 ] || fail "queue_count $(cat /sys/class/nvme/$c/queue_count)"
nvme disconnect -d $c
c=$(connect $NQN --nr-io-queues=2 --reconnect-delay=1); b=$(block_of $c)
[ "$(cat /sys/class/nvme/$c/queue_count)" = 3 ] || fail "queue_count $(cat /sys/class/nvme/$c/queue_count)"
# The daemon comes back with fewer queues for each host: the connection is made anew with as many.
stop_nvmetd
sed -i "s/{ nqn = \\"$NQN\\";/{ nqn = \\"$NQN\\"; max_queues = 1;/" /tmp/nvmet.conf
start_nvmetd -c /tmp/nvmet.conf
live $c
for i in $(seq 600); do [ "$(counter connections)" != 2 ] || break; sleep 0.1; done
[ "$(counter connections)" = 2 ] || fail "$(counter connections) connections instead of 2"
dd if=$b of=/dev/null bs=64k count=16 iflag=direct status=none
nvme disconnect -n $NQN
expect_no_leaks
stop_nvmetd
""", timeout=900)
