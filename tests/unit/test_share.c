/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A host with one command under way beside others with many, on one worker: turn by turn, what each
 * is given before the other has its answer. Nothing here depends on time: the clock is the rig's.
 */
#include "tests/unit/unit.h"

#include <event2/event.h>
#include <sys/socket.h>

#include "target/nvmf.h"
#include "target/worker.h"
#include "tests/fuzz/host.h"
#include "tests/fuzz/rig.h"
#include "transport/share.h"

#define DEPTH     31          /* of the queues */
#define MANY      15          /* under way: more than a share, less than a socket holds */
#define LARGE     (60u << 10) /* host_send_pdu() takes less than 64 KiB */
#define MAX_TURNS 1000
#define OTHERS    40 /* greedy ones, where one is not enough */
#define HOSTS     (3 + OTHERS)

static struct host hosts[HOSTS];
static struct host *const admin = &hosts[0], *const greedy = &hosts[1], *const modest = &hosts[2],
			  *const others = &hosts[3];

static void settle(void)
{
	do
		rig_settle();
	while (host_receive_all(hosts, HOSTS));
}

static void connect_queue(struct host *host, uint16_t qid)
{
	rig_connect_queue(host, admin->cntlid, qid, DEPTH + 1, settle);
	assert_int_equal(host->entries, DEPTH + 1);
}

static int setup(void **state)
{
	(void)state;
	for (unsigned i = 0; i < HOSTS; i++)
		hosts[i].fd = -1;
	connect_queue(admin, 0);
	host_enable(admin, settle);
	connect_queue(greedy, 1);
	connect_queue(modest, 2);
	rig_sleep(1000); /* whoever connected was modest */
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (unsigned i = HOSTS; i-- > 0;)
		host_close(&hosts[i]);
	rig_expect_clean();
	return 0;
}

static void send_many_of(struct host *host, uint8_t opcode, uint16_t n, uint32_t len,
			 const void *data)
{
	for (uint16_t cid = 0; cid < n; cid++)
		host_send_io(host, opcode, cid, len, data);
}

static void send_many(uint8_t opcode, uint16_t n, uint32_t len, const void *data)
{
	send_many_of(greedy, opcode, n, len, data);
}

static void nothing(struct loop_msg *msg)
{
	(void)msg;
}

/* One wake-up of the worker, as its thread would have it; the message is there so that it cannot
 * sleep for ever. */
static void turn(void)
{
	static struct loop_msg msg;

	loop_post(&rig.workers[0].loop, &msg, nothing);
	loop_turn(&rig.workers[0].loop, true);
	host_receive_all(hosts, HOSTS);
}

/* The greedy one is known to be greedy, and the modest one was just here. */
static void make_known(void)
{
	send_many(NVME_IO_READ, MANY, 4096, NULL);
	settle();
	host_send_io(modest, NVME_IO_READ, 0, 4096, NULL);
	settle();
	assert_false(greedy->n_commands || modest->n_commands);
}

/* The answer comes with the next wake-up, and the greedy host has not had more than its share. */
static void beside(uint8_t opcode, const void *data)
{
	make_known();
	send_many(opcode, MANY, 4096, data);
	host_send_io(modest, NVME_IO_READ, 0, 4096, NULL);
	turn();
	assert_int_equal(modest->n_commands, 0);
	assert_in_range(greedy->n_commands, MANY - SHARE_COMMANDS, MANY);
	for (unsigned turns = 0; greedy->n_commands; turns++) {
		unsigned before = greedy->n_commands;

		assert_true(turns < MAX_TURNS);
		turn();
		/* One more: that its data was half here. */
		assert_in_range(before - greedy->n_commands, 0, SHARE_COMMANDS + 1);
	}
}

static void reads(void **state)
{
	(void)state;
	beside(NVME_IO_READ, NULL);
}

static void writes(void **state)
{
	static const uint8_t bytes[4096];

	(void)state;
	beside(NVME_IO_WRITE, bytes);
}

static unsigned n_commands(unsigned n)
{
	unsigned commands = 0;

	for (unsigned i = 0; i < n; i++)
		commands += others[i].n_commands;
	return commands;
}

/* The first `n` of the others are greedy, and have sent more than a share. */
static void make_others(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		connect_queue(&others[i], (uint16_t)(3 + i));
	rig_sleep(1000); /* whoever connected was modest */
	for (unsigned i = 0; i < n; i++)
		send_many_of(&others[i], NVME_IO_READ, MANY, 4096, NULL);
	make_known();
	for (unsigned i = 0; i < n; i++)
		send_many_of(&others[i], NVME_IO_READ, MANY, 4096, NULL);
}

/* However many are greedy, the modest one waits for one share of one of them, and each share is
 * done in one wake-up. */
static void several_greedy(void **state)
{
	enum { N = 2 };
	unsigned turns = 0;

	(void)state;
	make_others(N);
	for (; n_commands(N); turns++) {
		unsigned before = n_commands(N);

		assert_true(turns < MAX_TURNS);
		if (turns % 2 == 0)
			host_send_io(modest, NVME_IO_READ, 0, 4096, NULL);
		turn();
		assert_int_equal(modest->n_commands, 0);
		assert_in_range(before - n_commands(N), 0, SHARE_COMMANDS);
	}
	assert_int_equal(turns, N * ((MANY + SHARE_COMMANDS - 1) / SHARE_COMMANDS));
}

/* Those that stand in a long line do not make each wake-up long: it is not told of all of them. */
static void long_line(void **state)
{
	struct event_base *base = rig.workers[0].loop.base;

	(void)state;
	make_others(OTHERS);
	for (unsigned turns = 0; turns < OTHERS; turns++) {
		event_base_get_max_events(base, EVENT_BASE_COUNT_ACTIVE, 1);
		turn();
		if (turns > OTHERS / 2)
			assert_in_range(event_base_get_max_events(base, EVENT_BASE_COUNT_ACTIVE, 0),
					1, OTHERS / 2 + 1);
	}
	assert_int_equal(n_commands(OTHERS), OTHERS * (MANY - SHARE_COMMANDS));
	settle();
	assert_int_equal(n_commands(OTHERS), 0);
}

/* Commands larger than a share go out in parts, and all of them. */
static void large_reads(void **state)
{
	enum { N = 4 };
	unsigned turns = 0;

	(void)state;
	make_known();
	send_many(NVME_IO_READ, N, LARGE, NULL);
	for (; greedy->n_commands; turns++) {
		assert_true(turns < MAX_TURNS);
		turn();
	}
	assert_in_range(turns, N * LARGE / SHARE_BYTES, MAX_TURNS);
}

/* Data that an R2T asked for is taken in parts. */
static void large_write(void **state)
{
	static const uint8_t bytes[LARGE];
	struct host_r2t r2t;
	struct nvme_tcp_data pdu;

	(void)state;
	make_known();
	host_send_io(greedy, NVME_IO_WRITE, 0, LARGE, NULL);
	settle();
	assert_int_equal(greedy->n_r2ts, 1);
	r2t = greedy->r2ts[0];
	pdu = (struct nvme_tcp_data){ .cccid = r2t.cccid,
				      .ttag = r2t.ttag,
				      .datal = le32_set(LARGE) };
	host_send_pdu(greedy, NVME_TCP_H2C_DATA, NVME_TCP_F_LAST, &pdu, sizeof(pdu), bytes, LARGE,
		      0);
	for (unsigned turns = 0; turns <= LARGE / SHARE_BYTES; turns++) {
		assert_int_equal(greedy->n_commands, 1);
		turn();
	}
	settle();
	assert_int_equal(greedy->n_commands, 0);
}

/* Nobody is held back for a host that is not there any more. */
static void forgotten(void **state)
{
	(void)state;
	make_known();
	rig_sleep(1000);
	send_many(NVME_IO_READ, 1, 4096, NULL); /* the worker looks at the clock with what comes */
	settle();
	send_many(NVME_IO_READ, MANY, 4096, NULL);
	turn();
	assert_int_equal(greedy->n_commands, 0);
}

/* Nor for what is no I/O: a host that is idle but for its keep-alives. */
static void keep_alives(void **state)
{
	const struct nvme_sqe keep_alive = { .opcode = NVME_ADMIN_KEEP_ALIVE,
					     .flags = 0x40,
					     .sgl.type = NVMF_SGL_TRANSPORT };

	(void)state;
	make_known();
	rig_sleep(1000);
	host_send_command(admin, &keep_alive, NULL, 0, 0);
	settle();
	send_many(NVME_IO_READ, MANY, 4096, NULL);
	turn();
	assert_int_equal(greedy->n_commands, 0);
}

/* Nor for the host itself, as it was a moment ago. */
static void own_shadow(void **state)
{
	(void)state;
	host_send_io(greedy, NVME_IO_READ, 0, 4096, NULL);
	settle();
	send_many(NVME_IO_READ, MANY, 4096, NULL);
	settle();
	send_many(NVME_IO_READ, MANY, 4096, NULL);
	turn();
	assert_int_equal(greedy->n_commands, 0);
}

/* Looking at a source alone finds what has come, but not that there is room to send: a connection
 * that waits for that is looked at with all others. */
static void full_socket(void **state)
{
	const int small = 4096;

	(void)state;
	assert_int_equal(setsockopt(greedy->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
	send_many(NVME_IO_READ, DEPTH, 128u << 10, NULL);
	rig_settle();
	assert_null(rig.workers[0].loop.source);
	settle();
	assert_int_equal(greedy->n_commands, 0);
	send_many(NVME_IO_READ, 1, 4096, NULL);
	settle();
	assert_non_null(rig.workers[0].loop.source);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(reads, setup, teardown),
		cmocka_unit_test_setup_teardown(writes, setup, teardown),
		cmocka_unit_test_setup_teardown(several_greedy, setup, teardown),
		cmocka_unit_test_setup_teardown(long_line, setup, teardown),
		cmocka_unit_test_setup_teardown(large_reads, setup, teardown),
		cmocka_unit_test_setup_teardown(large_write, setup, teardown),
		cmocka_unit_test_setup_teardown(forgotten, setup, teardown),
		cmocka_unit_test_setup_teardown(keep_alives, setup, teardown),
		cmocka_unit_test_setup_teardown(own_shadow, setup, teardown),
		cmocka_unit_test_setup_teardown(full_socket, setup, teardown),
	};
	int failed;

	rig_init("emulated:size=1M,queues=44,mdts=128K");
	rig_conf.poll_us = 0; /* the clock stands still */
	rig_start();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rig_stop();
	return failed;
}
