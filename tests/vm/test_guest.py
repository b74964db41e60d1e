# SPDX-License-Identifier: BSD-3-Clause
"""The harness itself: it reports failures, and its host works with the kernel's own target."""

import guest
from test_host import fio


def test_failures_are_seen(boot):  # boot: for its look at what is installed
    """A command that fails, a helper inside $( ), a complaint of the kernel, a panic, a hang."""
    result = guest.run(r"""
failing() { # SCRIPT: runs it as a guest's script
	local status=0
	bash -c "$(cat /job/lib.sh)
$1
echo un""reached" || status=$?
	echo "status-$status"
}
failing false
failing 'TRIES=5; bdf=$(bdf_of nobody)'
failing 'echo "nvme nvme9: I/O 1 QID 1 timeout" >/dev/kmsg; expect_quiet_kernel'
echo c >/proc/sysrq-trigger
""", [])
    assert result.status == 126
    assert result.output.count("status-1\n") == 3
    assert "unreached" not in result.output
    for text in "FAIL: line", "FAIL: no SSD with serial nobody", "FAIL: the kernel complained":
        assert text in result.output
    for seconds in 20, 60, 180:  # a busy machine takes longer to start a guest
        result = guest.run('echo star""ted; sleep 1000\n', [], timeout=seconds)
        assert result.status == 124 and f"no end after {seconds} s" in result.output
        if "started" in result.output:
            break
    assert "started" in result.output


def test_kernel_target(boot):
    """The same host with the kernel's own target: what is quiet there has to be quiet with nvmetd."""
    boot("""
kernel_target /dev/nvme0n1 4420 $NQN
c=$(connect $NQN --hdr-digest --data-digest); b=$(block_of $c)
nvme id-ctrl /dev/$c >/tmp/id-ctrl; grep -q "subnqn.*$NQN" /tmp/id-ctrl
""" + fio("mixed", rw="randrw", bsrange="4k-64k", iodepth=16, size="8M") + """
expect_quiet_kernel
nvme disconnect -n $NQN
""")
