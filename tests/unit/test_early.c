/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A batch that the worker had to wait for is answered in two halves, and no other: what leaves with
 * which sendmsg, wake-up by wake-up. The clock is the rig's: it moves when a test says so.
 */
#include "tests/unit/unit.h"

#include <sys/socket.h>

#include "target/worker.h"
#include "tests/fuzz/host.h"
#include "tests/fuzz/rig.h"
#include "transport/early.h"

#define BLOCK 512
#define BATCH 15 /* odd: the middle is in the middle of a command */

static struct host hosts[2];
static struct host *const admin = &hosts[0], *const io = &hosts[1];

static void settle(void)
{
	do
		rig_settle();
	while (host_receive_all(hosts, 2));
}

static void send_batch(uint8_t opcode, uint16_t n, const void *data)
{
	for (uint16_t cid = 0; cid < n; cid++)
		host_send_io(io, opcode, cid, BLOCK, data);
}

static int setup(void **state)
{
	(void)state;
	admin->fd = io->fd = -1;
	rig_connect_queue(admin, 0, 0, 32, settle);
	host_enable(admin, settle);
	rig_connect_queue(io, admin->cntlid, 1, 32, settle);
	assert_int_equal(io->entries, 32);
	rig_sleep(1000); /* who has just come is modest, and others make room for it (share.h) */
	send_batch(NVME_IO_READ, BATCH, NULL);
	settle(); /* from now on nobody has waited for anything */
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	host_close(io);
	host_close(admin);
	rig_expect_clean();
	return 0;
}

static uint64_t sends(void)
{
	return counter_get(&rig.workers[0].stats.sends);
}

/* In how many parts the worker answers what it has waited for. */
static uint64_t parts(uint8_t opcode, uint16_t n, const void *data, unsigned waited_ns)
{
	uint64_t before = sends();

	send_batch(opcode, n, data);
	rig_clock_forward(waited_ns);
	loop_turn(&rig.workers[0].loop, false);
	host_receive(io);
	assert_int_equal(io->n_commands, 0);
	assert_int_equal(io->n_failed, 0);
	return sends() - before;
}

static void reads_in_halves(void **state)
{
	uint64_t rung = rig_doorbells();

	(void)state;
	assert_int_equal(parts(NVME_IO_READ, BATCH, NULL, EARLY_WAIT_NS), 2);
	assert_int_equal(rig_doorbells() - rung, 2);
	assert_int_equal(parts(NVME_IO_READ, EARLY_COMMANDS, NULL, EARLY_WAIT_NS), 2);
}

static void whole_batches(void **state)
{
	static const uint8_t bytes[BLOCK];

	(void)state;
	assert_int_equal(parts(NVME_IO_READ, BATCH, NULL, EARLY_WAIT_NS - 1), 1);
	assert_int_equal(parts(NVME_IO_READ, EARLY_COMMANDS - 1, NULL, EARLY_WAIT_NS), 1);
	assert_int_equal(parts(NVME_IO_WRITE, BATCH, bytes, EARLY_WAIT_NS), 1);
}

/* What an SSD does not complete at once, it is told in one go. */
static void slow_ssd(void **state)
{
	uint64_t rung = rig_doorbells();

	(void)state;
	rig_hold_ssd(false);
	send_batch(NVME_IO_READ, BATCH, NULL);
	rig_clock_forward(EARLY_WAIT_NS);
	loop_turn(&rig.workers[0].loop, false);
	assert_int_equal(rig_doorbells() - rung, 2);
	rig_release_ssd();
	settle();
	assert_int_equal(io->n_commands, 0);
	for (unsigned i = 0; i < EARLY_SKIP; i++)
		assert_int_equal(parts(NVME_IO_READ, BATCH, NULL, EARLY_WAIT_NS), 1);
	assert_int_equal(parts(NVME_IO_READ, BATCH, NULL, EARLY_WAIT_NS), 2);
}

/* The connection ends with the first half; nobody looks at the second. */
static void host_gone(void **state)
{
	const struct linger abort_it = { .l_onoff = 1 };
	uint64_t commands = counter_get(&rig.workers[0].stats.commands);

	(void)state;
	send_batch(NVME_IO_READ, BATCH, NULL);
	rig_clock_forward(EARLY_WAIT_NS);
	assert_int_equal(setsockopt(io->fd, SOL_SOCKET, SO_LINGER, &abort_it, sizeof(abort_it)), 0);
	host_close(io);
	loop_turn(&rig.workers[0].loop, false);
	assert_int_equal(counter_get(&rig.workers[0].stats.commands) - commands, BATCH / 2 + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(reads_in_halves, setup, teardown),
		cmocka_unit_test_setup_teardown(whole_batches, setup, teardown),
		cmocka_unit_test_setup_teardown(slow_ssd, setup, teardown),
		cmocka_unit_test_setup_teardown(host_gone, setup, teardown),
	};
	int failed;

	rig_init("emulated:size=1M,queues=1");
	rig_start();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rig_stop();
	return failed;
}
