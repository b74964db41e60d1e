/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An SSD that leaves I/O commands unanswered while it works on what takes long, as Format does:
 * that counts against none of them. The clock is the rig's.
 */
#include "tests/unit/unit.h"

#include "pcie/ctrl_internal.h"
#include "tests/fuzz/host.h"
#include "tests/fuzz/rig.h"

#define LONG_S 300

static struct host hosts[2];
static struct host *const admin = &hosts[0], *const io = &hosts[1];

static void settle(void)
{
	do
		rig_settle();
	while (host_receive_all(hosts, 2));
}

static void connect_queue(struct host *host, uint16_t qid)
{
	rig_connect_queue(host, admin->cntlid, qid, 16, settle);
	assert_int_equal(host->entries, 16);
}

static void send_read(void)
{
	host_send_io(io, NVME_IO_READ, 0, 512, NULL);
	settle();
}

static void pass(unsigned seconds)
{
	for (; seconds && io->n_commands; seconds--) {
		rig_sleep(1000);
		settle();
	}
}

/* The command that hangs is overdue many times meanwhile. Then it is aborted, as any other that is
 * overdue for the first time, and issued again: the host sees latency, not an error. */
static void nothing_counts_meanwhile(void **state)
{
	struct nvme_ctrl *ssd = rig.ssds[0].ctrl;
	struct nvme_admin_cmd format = { .ctrl = ssd,
					 .sqe.opcode = NVME_ADMIN_FORMAT,
					 .deadline_ns = UINT64_MAX };

	(void)state;
	connect_queue(admin, 0);
	host_enable(admin, settle);
	connect_queue(io, 1);
	TAILQ_INSERT_TAIL(&ssd->admin_cmds, &format, link);
	send_read();
	pass(LONG_S);
	assert_int_equal(io->n_commands, 1);
	TAILQ_REMOVE(&ssd->admin_cmds, &format, link);
	pass(LONG_S);
	assert_int_equal(io->n_commands, 0);
	assert_int_equal(io->n_failed, 0);
	assert_int_equal(nvme_ctrl_n_resets(ssd), 0);
	assert_int_equal(nvme_ctrl_n_aborts(ssd), 1);
	host_close(io);
	host_close(admin);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(nothing_counts_meanwhile) };
	int failed;

	rig_init("emulated:size=1M,queues=2,fault.hang=1,fault.times=1");
	rig_conf.poll_us = 0; /* the clock stands still */
	rig_start();
	hosts[0].fd = hosts[1].fd = -1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rig_stop();
	return failed;
}
