/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Data in capsules finds pages even when its connection has had its share of them, for while it
 * waits nothing behind it is read: not even what would end the commands that hold the pages. But a
 * host with many of them leaves room for others, however long the SSD takes. The clock is the
 * rig's.
 */
#include "tests/unit/unit.h"

#include "pcie/dma.h"
#include "target/ctrl.h"
#include "target/worker.h"
#include "tests/fuzz/host.h"
#include "tests/fuzz/rig.h"

#define SQSIZE     1022
#define GREEDY     6 /* connections */
#define HOSTS      (GREEDY + 2)
#define OTHERS_MAX 4096 /* pages */

static struct host hosts[HOSTS];
static struct host *const admin = &hosts[0], *const modest = &hosts[HOSTS - 1];
static struct dma_buf others[OTHERS_MAX];
static unsigned n_others;

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
	rig_expect_clean();
}

/* One of a pair that compares and writes the block at LBA 0. */
static void send_half(uint8_t opcode, uint8_t fuse, uint16_t cid, const void *block)
{
	const struct nvme_sqe sqe = { .opcode = opcode,
				      .flags = 0x40 | fuse,
				      .cid = le16_set(cid),
				      .nsid = le32_set(1),
				      .sgl = { .length = le32_set(512),
					       .type = block ? NVMF_SGL_DATA_OFFSET
							     : NVMF_SGL_TRANSPORT } };

	host_send_command(modest, &sqe, block, block ? 512 : 0, 0);
	settle();
}

/* Others have all pages but those that are reserved. */
static void take_pages(struct dma_pool *pool)
{
	while (dma_pool_total(pool) - dma_pool_used(pool) > dma_pool_total(pool) / 16) {
		assert_in_range(n_others, 0, OTHERS_MAX - 1);
		assert_true(dma_alloc(pool, DMA_PAGE_SIZE, &others[n_others++]));
	}
}

/* A half keeps its pages until the other one has its data, which comes behind a capsule. */
static void halves_hold_up_nothing(void **state)
{
	static const uint8_t zeroes[512];
	struct nvme_tcp_data pdu = { .datal = le32_set(sizeof(zeroes)) };
	struct dma_pool *pool = rig.workers[0].pool;

	(void)state;
	connect_queue(admin, 0);
	host_enable(admin, settle);
	connect_queue(modest, 1);
	take_pages(pool);
	send_half(NVME_IO_COMPARE, NVME_FUSE_FIRST, 1, NULL);
	assert_int_equal(modest->n_r2ts, 1);
	send_half(NVME_IO_WRITE, NVME_FUSE_SECOND, 2, zeroes);
	host_send_io(modest, NVME_IO_WRITE, 3, sizeof(zeroes), zeroes);
	pdu.cccid = modest->r2ts[0].cccid;
	pdu.ttag = modest->r2ts[0].ttag;
	host_send_pdu(modest, NVME_TCP_H2C_DATA, NVME_TCP_F_LAST, &pdu, sizeof(pdu), zeroes,
		      sizeof(zeroes), 0);
	settle();
	assert_int_equal(modest->n_commands, 0);
	assert_int_equal(modest->n_failed, 0);
	while (n_others)
		dma_free(pool, &others[--n_others]);
	host_close(modest);
	host_close(admin);
	rig_expect_clean();
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(leave_room),
					    cmocka_unit_test(halves_hold_up_nothing) };
	int failed;

	rig_init("emulated:size=1M,queues=8,depth=1024,mdts=128K,fused=1");
	rig_conf.dma_memory = 10u << 20; /* too little for receive memory (inbox.h) */
	rig_conf.poll_us = 0;            /* the clock stands still */
	rig_start();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rig_stop();
	return failed;
}
