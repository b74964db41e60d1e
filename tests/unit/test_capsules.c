/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Data in capsules finds pages even when its connection has had its share of them, for while it
 * waits nothing behind it is read. But a host with many of them leaves room for others, however
 * long the SSD takes. The clock is the rig's.
 */
#include "tests/unit/unit.h"

#include "pcie/dma.h"
#include "target/ctrl.h"
#include "target/worker.h"
#include "tests/fuzz/host.h"
#include "tests/fuzz/rig.h"

#define SQSIZE 1022
#define GREEDY 6 /* connections */
#define HOSTS  (GREEDY + 2)

static struct host hosts[HOSTS];
static struct host *const admin = &hosts[0], *const modest = &hosts[HOSTS - 1];

static void settle(void)
{
	do
		rig_settle();
	while (host_receive_all(hosts, HOSTS));
}

static void connect_queue(struct host *host, unsigned qid)
{
	rig_connect_queue(host, admin->cntlid, (uint16_t)qid, SQSIZE + 1, settle);
	assert_int_equal(host->entries, SQSIZE + 1);
}

/* True: it has taken pages. */
static bool io(struct host *host, uint8_t opcode, uint16_t cid, const void *data, uint32_t len)
{
	uint64_t before = dma_pool_used(rig.workers[0].pool);

	host_send_io(host, opcode, cid, len, data);
	settle();
	return dma_pool_used(rig.workers[0].pool) > before;
}

/* The SSD answers nothing, and each greedy connection sends as much as is taken. */
static void leave_room(void **state)
{
	static const uint8_t bytes[NVMET_ICD_IO];
	unsigned n = 0;

	(void)state;
	for (unsigned i = 0; i < HOSTS; i++)
		hosts[i].fd = -1;
	connect_queue(admin, 0);
	host_enable(admin, settle);
	for (unsigned qid = 1; qid < HOSTS; qid++)
		connect_queue(&hosts[qid], qid);
	rig_hold_ssd(false);
	for (unsigned i = 1; i <= GREEDY; i++) {
		uint16_t cid = 0;

		while (cid < SQSIZE && io(&hosts[i], NVME_IO_WRITE, cid, bytes, sizeof(bytes)))
			cid++;
		n += cid;
	}
	assert_true(n * sizeof(bytes) > dma_pool_total(rig.workers[0].pool) * DMA_PAGE_SIZE / 2);
	assert_true(io(modest, NVME_IO_READ, 0, NULL, 4096));
	assert_true(io(modest, NVME_IO_WRITE, 1, bytes, sizeof(bytes)));
	rig_release_ssd();
	settle();
	for (unsigned i = 0; i < HOSTS; i++) {
		assert_int_equal(hosts[i].n_commands, 0);
		host_close(&hosts[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(leave_room) };
	int failed;

	rig_init("emulated:size=1M,queues=8,depth=1024,mdts=128K");
	rig_conf.dma_memory = 12u << 20;
	rig_conf.poll_us = 0; /* the clock stands still */
	rig_start();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rig_stop();
	return failed;
}
