/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Receive memory (transport/inbox.h): where it lies, what is lent of it, and what happens when all
 * of it is. Then with the daemon around it: writes whose data lies there while the SSD takes its
 * time are on the medium in the end, each with its own data, whether they needed pages or not.
 */
#include "tests/unit/unit.h"

#include <string.h>

#include "pcie/device.h"
#include "pcie/dma.h"
#include "pcie/emul/state.h"
#include "target/worker.h"
#include "tests/fuzz/host.h"
#include "tests/fuzz/rig.h"
#include "transport/inbox.h"

#define MEM      (2u << 20)
#define IOVA     (UINT64_C(7) << 32)
#define BLOCK    4096u
#define ENTRIES  1023u /* of the queue */
#define N_WRITES 1000u /* more than receive memory holds */
#define LARGEST  8192u /* of a command */
#define BATCH    14u   /* of blocks: what a socket holds */

static uint8_t *memory;
static struct inbox inbox;
static struct host hosts[3];
static struct host *const admin = &hosts[0], *const io = &hosts[1], *const other = &hosts[2];

/* --- By itself -------------------------------------------------------------------------------- */

static int setup(void **state)
{
	struct dma_buf mem = { .iova = IOVA, .len = MEM };

	(void)state;
	memory = aligned_alloc(BLOCK, MEM);
	mem.va = memory;
	return !memory || inbox_init(&inbox, &mem);
}

static int teardown(void **state)
{
	(void)state;
	inbox_fini(&inbox);
	free(memory);
	return 0;
}

static bool is_spare(const uint8_t *room)
{
	return room < memory || room >= memory + MEM;
}

/* Room for the bytes from `position` on, of which `len` come. */
static uint8_t *receive(uint64_t position, size_t len)
{
	uint8_t *room = inbox_room(&inbox, position);

	memset(room, 0, INBOX_ROOM); /* it is all there */
	inbox_filled(&inbox, room + len);
	return room;
}

static void alone(void **state)
{
	struct dma_buf buf = { 0 };
	uint8_t *room = receive(0, 1003), *next;

	(void)state;
	assert_true(inbox_lend(&inbox, room + 72, 1003 - 72, 4, &buf));
	assert_ptr_equal(buf.va, room + 72);
	assert_int_equal(buf.iova, IOVA + (uint64_t)(room + 72 - memory));
	assert_int_equal(buf.len, 1003 - 72);
	for (uint64_t position = 1000; position < 1010; position++) {
		next = inbox_room(&inbox, position);
		assert_true(next >= room + 1003);
		assert_int_equal((uintptr_t)next % INBOX_ALIGN, position % INBOX_ALIGN);
	}
	inbox_take_back(&inbox, &buf);
	assert_null(buf.va);
	assert_ptr_equal(receive(0, 0), room); /* all of it is free again */
}

static void alignment(void **state)
{
	struct dma_buf buf = { 0 };
	uint8_t *room = receive(0, 1000);

	(void)state;
	assert_false(inbox_lend(&inbox, room + 74, 512, 4, &buf));
	assert_false(inbox_lend(&inbox, room + 72, 512, 512, &buf));
	assert_true(inbox_lend(&inbox, room + 76, 512, 4, &buf));
	inbox_take_back(&inbox, &buf);
}

/* One that is over gives nobody else's room away; when all parts are lent there is the spare. */
static void all_lent(void **state)
{
	struct dma_buf lent[2 * INBOX_PARTS] = { 0 }, buf = { 0 };
	unsigned n = 0;
	uint8_t *room;

	(void)state;
	while (room = receive(0, INBOX_ROOM), !is_spare(room)) {
		for (unsigned i = 0; i < n; i++)
			assert_true((uint8_t *)lent[i].va >= room + INBOX_ROOM ||
				    (uint8_t *)lent[i].va + lent[i].len <= room);
		assert_in_range(n, 0, 2 * INBOX_PARTS - 1);
		assert_true(inbox_lend(&inbox, room, INBOX_ROOM, 4, &lent[n++]));
	}
	assert_int_equal(n, INBOX_PARTS);
	assert_false(inbox_lend(&inbox, room, 512, 4, &buf));
	inbox_take_back(&inbox, &lent[2]);
	room = receive(0, INBOX_ROOM);
	assert_false(is_spare(room));
	assert_true(inbox_lend(&inbox, room, 512, 4, &lent[2]));
	while (n)
		inbox_take_back(&inbox, &lent[--n]);
}

/* Little is lent for long, much comes and goes: it takes one part after the other. */
static void many_small(void **state)
{
	struct dma_buf first = { 0 }, buf = { 0 };
	uint8_t *room = receive(0, BLOCK);

	(void)state;
	assert_true(inbox_lend(&inbox, room, BLOCK, 4, &first));
	for (unsigned i = 0; i < 1000; i++) {
		room = receive(0, BLOCK + 72);
		assert_false(is_spare(room));
		assert_true(room >= (uint8_t *)first.va + BLOCK ||
			    room + INBOX_ROOM <= (uint8_t *)first.va);
		assert_true(inbox_lend(&inbox, room + 72, BLOCK, 4, &buf));
		inbox_take_back(&inbox, &buf);
	}
	inbox_take_back(&inbox, &first);
}

static void no_memory(void **state)
{
	const struct dma_buf none = { 0 };
	struct dma_buf buf = { 0 };
	struct inbox without;
	uint8_t *room;

	(void)state;
	assert_int_equal(inbox_init(&without, &none), 0);
	room = inbox_room(&without, 5);
	memset(room, 0, INBOX_ROOM);
	inbox_filled(&without, room + INBOX_ROOM);
	assert_false(inbox_lend(&without, room, 512, 4, &buf));
	inbox_fini(&without);
}

/* Only what is left over goes to receiving. */
static void of_worker(void **state)
{
	struct worker worker = { 0 };
	struct dma_arena *arena;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		size_t bytes = WORKER_POOL_MIN + (i ? DMA_BLOCK_SIZE : DMA_BLOCK_SIZE - 1);

		assert_int_equal(dma_arena_new(bytes, &arena), 0);
		assert_int_equal(worker_init(&worker, 0, arena, bytes), 0);
		assert_int_equal(worker.recv_mem.len, i ? DMA_BLOCK_SIZE : 0);
		assert_int_equal(dma_pool_total(worker.pool) << DMA_PAGE_SHIFT,
				 i ? WORKER_POOL_MIN : WORKER_POOL_MIN + DMA_BLOCK_SIZE);
		worker_fini(&worker);
		dma_arena_free(arena);
	}
}

/* --- With the daemon -------------------------------------------------------------------------- */

static void settle(void)
{
	do
		rig_settle();
	while (host_receive_all(hosts, ARRAY_SIZE(hosts)));
}

static void connect_queues(uint8_t digests)
{
	const struct host_connect how = { .hostnqn = RIG_FRIEND,
					  .subnqn = RIG_NQN,
					  .qid = 1,
					  .sqsize = ENTRIES - 1,
					  .dgst = digests,
					  .cattr = NVMF_CATTR_DISABLE_SQFC };
	struct host_connect again = how;

	rig_connect_queue(admin, 0, 0, 32, settle);
	host_enable(admin, settle);
	again.cntlid = admin->cntlid;
	host_connect(io, rig_connect(), &again, settle);
	assert_int_equal(io->entries, ENTRIES);
}

static void close_queues(void)
{
	host_close(other);
	host_close(io);
	host_close(admin);
	rig_expect_clean();
}

static struct nvme_sqe write_of(uint16_t cid, uint32_t len, uint8_t sgl)
{
	return (struct nvme_sqe){ .opcode = NVME_IO_WRITE,
				  .flags = 0x40,
				  .cid = le16_set(cid),
				  .nsid = le32_set(1),
				  .sgl = { .length = le32_set(len), .type = sgl },
				  .cdw10 = le32_set(cid * (BLOCK / 512)),
				  .cdw12 = le32_set(len / 512 - 1) };
}

static const uint8_t *pattern(uint16_t cid, uint8_t seed)
{
	static uint8_t block[BLOCK];

	for (unsigned i = 0; i < BLOCK; i++)
		block[i] = (uint8_t)(seed + cid * 7u + i / 16);
	return block;
}

static void send_write_to(struct host *host, uint16_t cid, uint8_t seed)
{
	const struct nvme_sqe sqe = write_of(cid, BLOCK, NVMF_SGL_DATA_OFFSET);

	host_send_command(host, &sqe, pattern(cid, seed), BLOCK, 0);
}

static void send_write(uint16_t cid, uint8_t seed)
{
	send_write_to(io, cid, seed);
}

static bool is_on_medium(uint16_t cid, uint8_t seed)
{
	const struct emul *emul = container_of(rig.ssds[0].dev, struct emul, dev);

	return memcmp(emul->media.ram + cid * (size_t)BLOCK, pattern(cid, seed), BLOCK) == 0;
}

static uint64_t pages(void)
{
	return dma_pool_used(rig.workers[0].pool);
}

static void slow_ssd(uint8_t digests, uint8_t seed)
{
	connect_queues(digests);
	rig_hold_ssd(false);
	for (uint16_t cid = 0; cid < N_WRITES; cid++) {
		send_write(cid, seed);
		if (cid % BATCH == 0)
			settle();
		if (cid == BATCH)
			assert_int_equal(pages(), 0);
	}
	settle();
	assert_int_equal(io->n_commands, N_WRITES);
	/* The others lie in receive memory: half of each part, at least, can be lent. */
	assert_in_range(pages(), 1,
			N_WRITES - MEM / 2 / (BLOCK + sizeof(struct nvme_tcp_capsule_cmd)));
	rig_release_ssd();
	settle();
	assert_int_equal(io->n_commands, 0);
	assert_int_equal(io->n_failed, 0);
	for (uint16_t cid = 0; cid < N_WRITES; cid++)
		assert_true(is_on_medium(cid, seed));
	close_queues();
}

static void plain(void **state)
{
	(void)state;
	slow_ssd(0, 1);
}

static void with_digests(void **state)
{
	(void)state;
	slow_ssd(3, 2);
}

static struct {
	struct nvme_tcp_capsule_cmd pdu;
	uint8_t data[BLOCK];
} capsule;

static void make_capsule(uint16_t cid, uint8_t seed)
{
	capsule.pdu = (struct nvme_tcp_capsule_cmd){
		.ch = { .type = NVME_TCP_CAPSULE_CMD,
			.hlen = sizeof(capsule.pdu),
			.pdo = sizeof(capsule.pdu),
			.plen = le32_set(sizeof(capsule)) },
		.sqe = write_of(cid, BLOCK, NVMF_SGL_DATA_OFFSET),
	};
	memcpy(capsule.data, pattern(cid, seed), BLOCK);
}

static void send_rest(size_t from)
{
	host_send(io, (const uint8_t *)&capsule + from, sizeof(capsule) - from);
}

static void cut_at(uint16_t cid, size_t cut)
{
	make_capsule(cid, 3);
	rig_hold_ssd(false);
	host_send(io, &capsule, cut);
	settle();
	send_rest(cut);
	settle();
	assert_int_equal(pages(), cut < sizeof(capsule.pdu) ? 0 : 1);
	rig_release_ssd();
	settle();
	assert_int_equal(io->n_commands, 0);
	assert_true(is_on_medium(cid, 3));
}

/* Wherever the header was cut, the data behind it is aligned. Where all of it came earlier, and
 * maybe some of the data, there are pages for that. */
static void cut_anywhere(void **state)
{
	uint16_t cid = 0;

	(void)state;
	connect_queues(0);
	for (size_t cut = 1; cut < sizeof(capsule.pdu) + 8; cut++)
		cut_at(cid++, cut);
	for (size_t cut = sizeof(capsule) - 80; cut < sizeof(capsule); cut++)
		cut_at(cid++, cut);
	assert_int_equal(io->n_failed, 0);
	close_queues();
}

/* What comes behind data that goes to its pages is aligned as well. */
static void behind_pages(void **state)
{
	(void)state;
	connect_queues(0);
	rig_hold_ssd(false);
	make_capsule(1, 5);
	host_send(io, &capsule, sizeof(capsule) - 1003);
	settle();
	send_rest(sizeof(capsule) - 1003);
	send_write(2, 5);
	settle();
	assert_int_equal(pages(), 1);
	rig_release_ssd();
	settle();
	assert_int_equal(io->n_commands + io->n_failed, 0);
	assert_true(is_on_medium(1, 5) && is_on_medium(2, 5));
	close_queues();
}

/* On three pages: the SSD needs a list of them, where no command may have more than two. */
static void largest(void **state)
{
	uint8_t data[LARGEST];

	(void)state;
	connect_queues(0);
	rig_hold_ssd(false);
	for (uint16_t cid = 0; cid < BATCH; cid += 2) {
		const struct nvme_sqe sqe = write_of(cid, LARGEST, NVMF_SGL_DATA_OFFSET);

		memcpy(data, pattern(cid, 10), BLOCK);
		memcpy(data + BLOCK, pattern((uint16_t)(cid + 1), 10), BLOCK);
		host_send_command(io, &sqe, data, LARGEST, 0);
	}
	settle();
	assert_int_equal(pages(), 0);
	rig_release_ssd();
	settle();
	assert_int_equal(io->n_commands + io->n_failed, 0);
	for (uint16_t cid = 0; cid < BATCH; cid++)
		assert_true(is_on_medium(cid, 10));
	close_queues();
}

/* Halves of pairs may wait for long. */
static void only_writes(void **state)
{
	struct nvme_sqe compare = write_of(1, BLOCK, NVMF_SGL_DATA_OFFSET), half = compare;

	(void)state;
	compare.opcode = NVME_IO_COMPARE;
	half.cid = le16_set(2);
	half.flags |= 2;
	connect_queues(0);
	rig_hold_ssd(false);
	host_send_command(io, &compare, pattern(1, 6), BLOCK, 0);
	settle();
	assert_int_equal(pages(), 1);
	compare.cid = le16_set(3);
	compare.flags |= 1;
	host_send_command(io, &compare, pattern(1, 6), BLOCK, 0);
	host_send_command(io, &half, pattern(1, 7), BLOCK, 0);
	settle();
	assert_int_equal(pages(), 3);
	rig_release_ssd();
	settle();
	assert_int_equal(io->n_commands, 0);
	close_queues();
}

/* A device that takes no data from any dword-aligned address gets none. */
static void as_the_device_asks(void **state)
{
	uint32_t *align = &rig.ssds[0].dev->data_align, before = *align;

	(void)state;
	*align = DMA_PAGE_SIZE;
	connect_queues(0);
	rig_hold_ssd(false);
	send_write(1, 8);
	settle();
	assert_int_equal(pages(), 1);
	rig_release_ssd();
	settle();
	assert_int_equal(io->n_commands + io->n_failed, 0);
	assert_true(is_on_medium(1, 8));
	close_queues();
	*align = before;
}

/* Memory for what a host has written does not wait until it reads the answer. */
static void unread_answer(void **state)
{
	struct nvme_sqe read = write_of(1, LARGEST, NVMF_SGL_TRANSPORT);
	struct nvme_sqe compare = write_of(2, BLOCK, NVMF_SGL_DATA_OFFSET);
	uint64_t before;

	(void)state;
	read.opcode = NVME_IO_READ;
	compare.opcode = NVME_IO_COMPARE;
	connect_queues(0);
	io->deaf = true;
	for (uint16_t cid = 100; cid < 200; cid++) {
		read.cid = le16_set(cid);
		host_send_command(io, &read, NULL, 0, 0);
	}
	settle();
	before = pages();
	assert_true(before > 0); /* more than the socket holds */
	host_send_command(io, &compare, pattern(2, 9), BLOCK, 0);
	settle();
	assert_int_equal(io->n_commands, 101);
	assert_int_equal(pages(), before);
	io->deaf = false;
	settle();
	assert_int_equal(io->n_commands, 0);
	close_queues();
}

/* Asking for data takes pages; data that then comes in one piece needs them no longer. */
static void after_r2t(void **state)
{
	const struct nvme_sqe sqe = write_of(3, BLOCK, NVMF_SGL_TRANSPORT);
	struct nvme_tcp_data pdu = { .datal = le32_set(BLOCK) };

	(void)state;
	connect_queues(0);
	rig_hold_ssd(false);
	host_send_command(io, &sqe, NULL, 0, 0);
	settle();
	assert_int_equal(io->n_r2ts, 1);
	assert_int_equal(pages(), 1);
	pdu.cccid = io->r2ts[0].cccid;
	pdu.ttag = io->r2ts[0].ttag;
	host_send_pdu(io, NVME_TCP_H2C_DATA, NVME_TCP_F_LAST, &pdu, sizeof(pdu), pattern(3, 4),
		      BLOCK, 0);
	settle();
	assert_int_equal(pages(), 0);
	rig_release_ssd();
	settle();
	assert_int_equal(io->n_commands + io->n_failed, 0);
	assert_true(is_on_medium(3, 4));
	close_queues();
}

/* The SSD still takes the data of a connection that is gone (it shares the queue pair with one that
 * is not): what others send comes to lie elsewhere. */
static void closed_meanwhile(void **state)
{
	const uint16_t first = 100, second = first + BATCH;

	(void)state;
	connect_queues(0);
	rig_connect_queue(other, admin->cntlid, 2, 64, settle);
	rig_hold_ssd(false);
	for (uint16_t cid = first; cid < second; cid++)
		send_write(cid, 50);
	settle();
	host_close(io);
	settle();
	for (uint16_t cid = second; cid < second + BATCH; cid++)
		send_write_to(other, cid, 60);
	settle();
	rig_release_ssd();
	settle();
	assert_int_equal(other->n_commands + other->n_failed, 0);
	for (uint16_t cid = first; cid < second; cid++)
		assert_true(is_on_medium(cid, 50));
	for (uint16_t cid = second; cid < second + BATCH; cid++)
		assert_true(is_on_medium(cid, 60));
	close_queues();
}

int main(void)
{
	const struct CMUnitTest by_itself[] = {
		cmocka_unit_test_setup_teardown(alone, setup, teardown),
		cmocka_unit_test_setup_teardown(alignment, setup, teardown),
		cmocka_unit_test_setup_teardown(all_lent, setup, teardown),
		cmocka_unit_test_setup_teardown(many_small, setup, teardown),
		cmocka_unit_test(no_memory),
		cmocka_unit_test(of_worker),
	};
	const struct CMUnitTest with_daemon[] = {
		cmocka_unit_test(plain),
		cmocka_unit_test(with_digests),
		cmocka_unit_test(cut_anywhere),
		cmocka_unit_test(behind_pages),
		cmocka_unit_test(largest),
		cmocka_unit_test(only_writes),
		cmocka_unit_test(as_the_device_asks),
		cmocka_unit_test(unread_answer),
		cmocka_unit_test(after_r2t),
		cmocka_unit_test(closed_meanwhile),
	};
	int failed = cmocka_run_group_tests(by_itself, NULL, NULL);

	rig_init("emulated:size=4M,queues=1,depth=1024,fused=1");
	rig_conf.max_transfer = LARGEST;
	rig_conf.poll_us = 0; /* the clock stands still */
	rig_start();
	admin->fd = io->fd = other->fd = -1;
	failed += cmocka_run_group_tests(with_daemon, NULL, NULL);
	rig_stop();
	return failed;
}
