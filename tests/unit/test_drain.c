/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon is told to stop, with connections in each state: what is under way is answered, what
 * may never come is not waited for, and nothing new is begun.
 */
#include "tests/unit/unit.h"

#include "pcie/dma.h"
#include "target/nvmf.h"
#include "target/worker.h"
#include "tests/fuzz/host.h"
#include "tests/fuzz/rig.h"
#include "transport/tcp.h"

enum {
	ADMIN,
	IDLE,
	AT_SSD,
	DATA_DUE,
	CAPSULE_DUE,
	PAGES_DUE,
	DISCONNECTED,
	TERMINATED,
	CONNECTING,
	N_HOSTS
};

#define PAGES_MAX 16384

static struct host hosts[N_HOSTS];
static struct dma_buf pages[PAGES_MAX];
static unsigned n_pages;
static bool stopped;

static void settle(void)
{
	do
		rig_settle();
	while (host_receive_all(hosts, N_HOSTS));
}

static void connect_queue(unsigned qid)
{
	rig_connect_queue(&hosts[qid], hosts[ADMIN].cntlid, (uint16_t)qid, 16, settle);
}

static void io(struct host *host, uint16_t cid, uint8_t opcode, uint32_t bytes)
{
	const struct nvme_sqe sqe = { .opcode = opcode,
				      .flags = 0x40,
				      .cid = le16_set(cid),
				      .nsid = le32_set(1),
				      .sgl = { .length = le32_set(bytes),
					       .type = NVMF_SGL_TRANSPORT },
				      .cdw12 = le32_set(bytes / 512 - 1) };

	host_send_command(host, &sqe, NULL, 0, 0);
	settle();
}

/* The rest of its data does not come. */
static void send_half_a_capsule(struct host *host)
{
	static const uint8_t bytes[2048];
	const struct nvme_tcp_capsule_cmd pdu = {
		.ch = { .type = NVME_TCP_CAPSULE_CMD,
			.hlen = sizeof(pdu),
			.pdo = sizeof(pdu),
			.plen = le32_set(sizeof(pdu) + 2 * sizeof(bytes)) },
		.sqe = { .opcode = NVME_IO_WRITE,
			 .flags = 0x40,
			 .cid = le16_set(1),
			 .nsid = le32_set(1),
			 .sgl = { .length = le32_set(2 * sizeof(bytes)),
				  .type = NVMF_SGL_DATA_OFFSET },
			 .cdw12 = le32_set(2 * sizeof(bytes) / 512 - 1) },
	};

	host_send(host, &pdu, sizeof(pdu));
	host_send(host, bytes, sizeof(bytes));
	settle();
	assert_int_equal(host->n_commands, 1);
}

static void take_all_pages(void)
{
	while (n_pages < PAGES_MAX &&
	       dma_alloc(rig.workers[0].pool, DMA_PAGE_SIZE, &pages[n_pages]))
		n_pages++;
	assert_in_range(n_pages, 1, PAGES_MAX - 1);
}

static void give_pages_back(void)
{
	while (n_pages)
		dma_free(rig.workers[0].pool, &pages[--n_pages]);
}

/* And keeps the connection. */
static void disconnect(struct host *host)
{
	const struct nvme_sqe sqe = { .opcode = NVME_OPCODE_FABRICS,
				      .flags = 0x40,
				      .nsid = le32_set(NVMF_DISCONNECT),
				      .sgl.type = NVMF_SGL_TRANSPORT };

	host_send_command(host, &sqe, NULL, 0, 0);
	settle();
	assert_int_equal(host->n_commands, 0);
}

/* And does not read what it is told. */
static void break_a_rule(struct host *host)
{
	static const uint8_t zeroes[8];

	host->deaf = true;
	host_send(host, zeroes, sizeof(zeroes));
	settle();
}

static bool is_closed(unsigned i)
{
	return hosts[i].fd < 0;
}

static void on_stopped(void *arg)
{
	(void)arg;
	stopped = true;
}

static void each_in_its_own_way(void **state)
{
	(void)state;
	nvme_tcp_stop(rig.tcp, 15000, on_stopped, NULL);
	settle();
	assert_true(is_closed(IDLE));
	assert_true(is_closed(DATA_DUE));
	assert_true(is_closed(CAPSULE_DUE));
	assert_true(is_closed(DISCONNECTED));
	host_send(&hosts[TERMINATED], "", 1); /* fails, and is how it learns */
	assert_true(is_closed(TERMINATED));
	assert_false(is_closed(AT_SSD) || is_closed(CONNECTING) || is_closed(ADMIN));
	assert_false(is_closed(PAGES_DUE));       /* it gets them when the SSD has answered */
	io(&hosts[AT_SSD], 2, NVME_IO_READ, 512); /* too late */
	assert_int_equal(hosts[AT_SSD].n_commands, 2);
	assert_int_equal(hosts[CONNECTING].entries, 0);
	rig_release_ssd();
	settle();
	assert_int_equal(hosts[AT_SSD].n_commands, 1);
	assert_true(is_closed(AT_SSD));
	assert_true(is_closed(PAGES_DUE));
	assert_int_equal(hosts[CONNECTING].entries, 16);
	assert_true(is_closed(CONNECTING));
	assert_false(is_closed(ADMIN) || stopped);
	rig_sleep(1000);
	settle();
	assert_true(is_closed(ADMIN));
	rig_sleep(1000);
	assert_true(stopped);
	give_pages_back();
}

static int setup(void **state)
{
	(void)state;
	for (unsigned i = 0; i < N_HOSTS; i++)
		hosts[i].fd = -1;
	for (unsigned qid = 0; qid < CONNECTING; qid++) {
		connect_queue(qid);
		assert_int_equal(hosts[qid].entries, 16);
		if (qid == ADMIN)
			host_enable(&hosts[ADMIN], settle);
	}
	rig_hold_ssd(true);
	io(&hosts[AT_SSD], 1, NVME_IO_READ, 512);
	io(&hosts[DATA_DUE], 1, NVME_IO_WRITE, 16384);
	assert_int_equal(hosts[DATA_DUE].n_r2ts, 1);
	send_half_a_capsule(&hosts[CAPSULE_DUE]);
	disconnect(&hosts[DISCONNECTED]);
	break_a_rule(&hosts[TERMINATED]);
	connect_queue(CONNECTING);
	assert_int_equal(hosts[CONNECTING].n_commands, 1);
	take_all_pages();
	send_half_a_capsule(&hosts[PAGES_DUE]);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(each_in_its_own_way, setup),
	};
	int failed;

	rig_init("emulated:size=1M,queues=16");
	rig_conf.poll_us = 0; /* the clock stands still */
	rig_start();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	if (!failed)
		rig_stop();
	return failed;
}
