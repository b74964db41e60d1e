/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connects that wait for an older association of their host: each for its own time, whatever others
 * have waited before it. The clock is the rig's.
 */
#include "tests/unit/unit.h"

#include "tests/fuzz/host.h"
#include "tests/fuzz/rig.h"

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
}

static bool waits(void)
{
	return admin->n_commands == 1;
}

static bool is_connected(void)
{
	return !admin->n_commands && admin->entries;
}

/* An association ends while the SSD does not answer, and the host comes back. */
static void come_back(void)
{
	host_enable(admin, settle);
	connect_queue(io, 1);
	assert_int_equal(io->entries, 16);
	rig_hold_ssd(true);
	host_close(io);
	host_close(admin);
	settle();
	connect_queue(admin, 0);
	assert_true(waits());
}

static void go_on(void)
{
	rig_release_ssd();
	settle();
}

static int setup(void **state)
{
	(void)state;
	admin->fd = io->fd = -1;
	connect_queue(admin, 0);
	assert_true(is_connected());
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rig_release_ssd();
	host_close(io);
	host_close(admin);
	rig_expect_clean();
	return 0;
}

static void waits_until_the_old_one_is_gone(void **state)
{
	(void)state;
	come_back();
	rig_sleep(4000);
	settle();
	assert_true(waits());
	go_on();
	assert_true(is_connected());
}

static void is_told_busy(void **state)
{
	(void)state;
	come_back();
	rig_sleep(6500);
	settle();
	assert_int_equal(admin->n_commands, 0);
	assert_int_equal(admin->entries, 0);
	go_on();
	connect_queue(admin, 0);
	assert_true(is_connected());
}

/* What one has waited is not the next one's. */
static void each_waits_for_itself(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		come_back();
		rig_sleep(2000);
		settle();
		assert_true(waits());
		go_on();
		assert_true(is_connected());
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(waits_until_the_old_one_is_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(is_told_busy, setup, teardown),
		cmocka_unit_test_setup_teardown(each_waits_for_itself, setup, teardown),
	};
	int failed;

	rig_init("emulated:size=1M,queues=4");
	rig_conf.poll_us = 0; /* the clock stands still */
	rig_start();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rig_stop();
	return failed;
}
