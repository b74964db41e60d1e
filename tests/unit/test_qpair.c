/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rings against a device of a few lines: phase, wrap-around, full rings, CIDs nobody sent, waiters,
 * shadow doorbells. The device completes nothing by itself: each test says what it completes.
 */
#include "tests/unit/unit.h"

#include <errno.h>

#include "pcie/device.h"
#include "pcie/qpair_recovery.h"

#define ENTRIES 8

static struct pcie_device device;
static struct dma_arena *arena;
static struct dma_pool *pool;
static struct nvme_qpair *qp;
static uint32_t sq_doorbell, cq_doorbell, doorbells;
static unsigned dones, last_status;
static bool making_up; /* the device fills its CQ with completions of nobody's commands */

static void complete(unsigned index, unsigned round, uint16_t cid, uint16_t status);

/* The next ones, behind those that were taken. */
static void make_up(void)
{
	static unsigned at;

	for (unsigned i = 0; making_up && i < ENTRIES - 1; i++, at++)
		complete(at % ENTRIES, at / ENTRIES, 0xffff, 0);
}

static void dev_write(struct pcie_device *dev, uint32_t off, unsigned size, uint64_t value)
{
	assert_ptr_equal(dev, &device);
	assert_int_equal(size, 4);
	doorbells++;
	if (off == 0x1008)
		sq_doorbell = (uint32_t)value;
	else if (off == 0x100c)
		cq_doorbell = (uint32_t)value;
	else
		fail_msg("a doorbell of another queue: %x", off);
	make_up();
}

static const struct pcie_device_ops ops = { .write = dev_write };

static int setup(void **state)
{
	const struct nvme_qpair_params params = {
		.dev = &device,
		.qid = 1,
		.irq_fd = -1,
		.entries = ENTRIES,
		.max_transfer = 64u << 10,
		.doorbell_stride = 4,
	};
	struct nvme_qpair_params with_pool = params;

	(void)state;
	device = (struct pcie_device){ .ops = &ops };
	sq_doorbell = cq_doorbell = doorbells = dones = last_status = 0;
	if (dma_arena_new(2u << 20, &arena) || dma_pool_new(arena, 2u << 20, &pool))
		return -1;
	with_pool.pool = pool;
	return nvme_qpair_new(&with_pool, &qp);
}

static int teardown(void **state)
{
	(void)state;
	nvme_qpair_abort_all(qp, NVME_SC_INTERNAL);
	nvme_qpair_free(qp, pool);
	assert_int_equal(dma_pool_used(pool), 0);
	dma_pool_free(pool);
	dma_arena_free(arena);
	return 0;
}

static void done(void *arg, const struct nvme_cqe *cqe)
{
	*(unsigned *)arg += 1;
	dones++;
	last_status = nvme_cqe_status(cqe);
}

/* *cid: what the SSD is shown, if the command is taken. */
static int submit(unsigned *count, uint16_t *cid)
{
	struct nvme_sqe sqe = { .opcode = NVME_IO_READ };
	uint32_t at = qp->sq_tail;
	int err = nvme_qpair_submit(qp, &sqe, 0x100000000, 4096, done, count);

	if (!err)
		*cid = le16_get(qp->sq[at].cid);
	return err;
}

/* What the device would write at place `index` of the CQ, `round` rounds after the start. */
static void complete(unsigned index, unsigned round, uint16_t cid, uint16_t status)
{
	qp->cq[index] = (struct nvme_cqe){
		.cid = le16_set(cid),
		.status = nvme_status_to_wire(status, round % 2 == 0),
	};
}

static void one_command(void **state)
{
	static unsigned count; /* the teardown ends what is under way */
	uint16_t cid;

	(void)state;
	count = 0;
	assert_int_equal(submit(&count, &cid), 0);
	assert_int_equal(doorbells, 0);
	nvme_qpair_ring(qp);
	nvme_qpair_ring(qp);
	assert_int_equal(doorbells, 1);
	assert_int_equal(sq_doorbell, 1);
	assert_int_equal(le64_get(qp->sq[0].prp1), 0x100000000);
	assert_int_equal(nvme_qpair_reap(qp), 0);
	complete(0, 0, cid, 0x281);
	assert_int_equal(nvme_qpair_reap(qp), 1);
	assert_int_equal(last_status, 0x281);
	assert_int_equal(cq_doorbell, 1);
	assert_int_equal(nvme_qpair_reap(qp), 0);
	assert_int_equal(count, 1);
}

/* Many rounds, completions out of order, one doorbell a batch. */
static void wraps(void **state)
{
	unsigned counts[5], at = 0, round = 0;

	(void)state;
	for (unsigned batch = 0; batch < 100; batch++) {
		uint16_t cids[5];
		unsigned before = doorbells;

		for (unsigned i = 0; i < 5; i++) {
			counts[i] = 0;
			assert_int_equal(submit(&counts[i], &cids[i]), 0);
		}
		nvme_qpair_ring(qp);
		for (unsigned i = 5; i-- > 0;) {
			complete(at, round, cids[i], 0);
			if (++at == ENTRIES) {
				at = 0;
				round++;
			}
		}
		assert_int_equal(nvme_qpair_reap(qp), 5);
		assert_int_equal(doorbells, before + 2);
		for (unsigned i = 0; i < 5; i++)
			assert_int_equal(counts[i], 1);
	}
	assert_int_equal(counter_get(&qp->stats.unknown_cids), 0);
}

static void full_ring(void **state)
{
	static unsigned count; /* the teardown ends what is under way */
	uint16_t cid;

	(void)state;
	count = 0;
	for (unsigned i = 0; i < ENTRIES - 1; i++)
		assert_int_equal(submit(&count, &cid), 0);
	assert_false(nvme_qpair_has_room(qp, 1));
	assert_int_equal(submit(&count, &cid), -EAGAIN);
	complete(0, 0, 3, 0);
	assert_int_equal(nvme_qpair_reap(qp), 1);
	assert_int_equal(submit(&count, &cid), 0);
	assert_int_equal(cid, 3);
}

static void unknown_cids(void **state)
{
	static unsigned count; /* the teardown ends what is under way */
	uint16_t cid;

	(void)state;
	count = 0;
	assert_int_equal(submit(&count, &cid), 0);
	complete(0, 0, (uint16_t)(cid + 1), 0);
	complete(1, 0, ENTRIES - 1, 0);
	complete(2, 0, 0xffff, 0);
	complete(3, 0, cid, 0);
	complete(4, 0, cid, 0); /* twice */
	assert_int_equal(nvme_qpair_reap(qp), 1);
	assert_int_equal(count, 1);
	assert_int_equal(counter_get(&qp->stats.unknown_cids), 4);
}

/* A device that completes without end what nobody sent: the thread gets on with other things. */
static void endless_completions(void **state)
{
	static unsigned count; /* the teardown ends what is under way */
	struct loop loop;
	uint16_t cid;

	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	assert_int_equal(nvme_qpair_attach(qp, &loop), 0);
	assert_int_equal(submit(&count, &cid), 0);
	making_up = true;
	qp->work.run(&qp->work);
	qp->work.run(&qp->work);
	making_up = false;
	assert_in_range(counter_get(&qp->stats.unknown_cids), 0, 2 * ENTRIES);
	nvme_qpair_detach(qp);
	loop_fini(&loop);
}

/* Entries that are not in turn, or of the last round, are no completions. */
static void phase_errors(void **state)
{
	static unsigned count; /* the teardown ends what is under way */
	uint16_t cids[3];

	(void)state;
	count = 0;
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(submit(&count, &cids[i]), 0);
	complete(1, 0, cids[1], 0); /* place 0 is still empty */
	assert_int_equal(nvme_qpair_reap(qp), 0);
	complete(0, 1, cids[0], 0); /* the phase of the next round */
	assert_int_equal(nvme_qpair_reap(qp), 0);
	complete(0, 0, cids[0], 0);
	assert_int_equal(nvme_qpair_reap(qp), 2);
	complete(0, 1, cids[2], 0); /* again where it has been */
	complete(1, 0, cids[2], 0);
	assert_int_equal(nvme_qpair_reap(qp), 0);
	assert_int_equal(count, 2);
	complete(2, 0, cids[2], 0x3fff); /* all status bits */
	assert_int_equal(nvme_qpair_reap(qp), 1);
	assert_int_equal(count, 3);
}

static void abort_all(void **state)
{
	static unsigned count; /* the teardown ends what is under way */
	uint16_t cid;

	(void)state;
	count = 0;
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(submit(&count, &cid), 0);
	nvme_qpair_abort_all(qp, NVME_SC_ABORTED_SQ_DELETION);
	assert_int_equal(count, 3);
	assert_int_equal(last_status, NVME_SC_ABORTED_SQ_DELETION);
	assert_int_equal(qp->outstanding, 0);
	nvme_qpair_rewind(qp);
	assert_int_equal(submit(&count, &cid), 0);
	assert_int_equal(qp->sq_tail, 1);
}

/* Base 5.9: the register is written only when the event index lies between old and new. */
static void shadow_doorbells(void **state)
{
	volatile uint32_t shadow = 0, event = 0, shadow_cq = 0, event_cq = 0;
	static unsigned count; /* the teardown ends what is under way */
	uint16_t cid;

	(void)state;
	qp->shadow_sq = &shadow;
	qp->event_sq = &event;
	qp->shadow_cq = &shadow_cq;
	qp->event_cq = &event_cq;
	submit(&count, &cid);
	nvme_qpair_ring(qp); /* 0 → 1 passes event index 0 */
	assert_int_equal(doorbells, 1);
	assert_int_equal(le32toh(shadow), 1);
	submit(&count, &cid);
	nvme_qpair_ring(qp); /* 1 → 2 does not */
	assert_int_equal(doorbells, 1);
	assert_int_equal(le32toh(shadow), 2);
	event = htole32(2);
	submit(&count, &cid);
	nvme_qpair_ring(qp);
	assert_int_equal(doorbells, 2);
	qp->shadow_sq = qp->shadow_cq = NULL;
}

static unsigned waiter_runs;

static void on_room(struct nvme_waiter *waiter)
{
	uint16_t cid;

	assert_false(waiter->queued);
	waiter_runs++;
	assert_int_equal(submit(&waiter_runs, &cid), 0);
}

static void waiters(void **state)
{
	struct nvme_waiter one = { .run = on_room }, two = { .run = on_room };
	static unsigned count; /* the teardown ends what is under way */
	struct loop loop;
	uint16_t cid;

	(void)state;
	waiter_runs = 0;
	assert_int_equal(loop_init(&loop), 0);
	assert_int_equal(nvme_qpair_attach(qp, &loop), 0); /* polled: irq_fd is -1 */
	while (submit(&count, &cid) == 0)
		continue;
	nvme_qpair_wait(qp, &one);
	nvme_qpair_wait(qp, &two);
	nvme_qpair_unwait(qp, &one);
	nvme_qpair_wait(qp, &one);
	complete(0, 0, 0, 0);
	qp->work.run(&qp->work); /* as at the end of a wake-up */
	assert_int_equal(waiter_runs, 1);
	assert_false(two.queued);
	assert_true(one.queued);
	nvme_qpair_unwait(qp, &one);
	nvme_qpair_detach(qp);
	loop_fini(&loop);
}

static void on_room_for_two(struct nvme_waiter *waiter)
{
	on_room(waiter);
	on_room(waiter);
}

/* One that needs two slots waits for both, and who came later waits behind it. */
static void waiter_for_two(void **state)
{
	struct nvme_waiter pair = { .run = on_room_for_two, .slots = 2 }, one = { .run = on_room };
	static unsigned count;
	struct loop loop;
	uint16_t cid;

	(void)state;
	waiter_runs = 0;
	assert_int_equal(loop_init(&loop), 0);
	assert_int_equal(nvme_qpair_attach(qp, &loop), 0);
	while (submit(&count, &cid) == 0)
		continue;
	assert_false(nvme_qpair_has_room(qp, 1));
	nvme_qpair_wait(qp, &pair);
	nvme_qpair_wait(qp, &one);
	complete(0, 0, 0, 0);
	qp->work.run(&qp->work);
	assert_true(nvme_qpair_has_room(qp, 1) && !nvme_qpair_has_room(qp, 2));
	assert_true(pair.queued && one.queued);
	complete(1, 0, 1, 0);
	qp->work.run(&qp->work);
	assert_int_equal(waiter_runs, 2);
	assert_true(!pair.queued && one.queued);
	assert_false(nvme_qpair_has_room(qp, 1));
	nvme_qpair_unwait(qp, &one);
	nvme_qpair_detach(qp);
	loop_fini(&loop);
}

/* --- Abort and recovery ----------------------------------------------------------------------- */

static struct loop fake_loop; /* never runs: the tests play the main thread */
static const struct nvme_watch watch = { .loop = &fake_loop, .tick_ms = 20, .timeout_ticks = 3 };

static unsigned ended; /* of the command under test; the teardown ends what is under way */

/* A command on the ring, its doorbell rung. */
static uint16_t issued(void)
{
	uint16_t cid;

	ended = 0;
	assert_int_equal(submit(&ended, &cid), 0);
	nvme_qpair_ring(qp);
	return cid;
}

/* The same, as the watchdog leaves a command that it reported and that is to be aborted. */
static uint16_t issued_and_held(void)
{
	uint16_t cid = issued();

	qp->watch = &watch;
	qp->slots[cid].flags = NVME_SLOT_HELD;
	qp->slots[cid].tries = 1;
	qp->held_cid = cid;
	qp->reporting = true;
	return cid;
}

/* The command ends by itself before the Abort is answered: its CID is nobody's until then. */
static void ends_before_abort(void **state)
{
	static unsigned others; /* ended by the teardown, too */
	uint16_t cid = issued_and_held(), next;

	(void)state;
	complete(0, 0, cid, 0);
	assert_int_equal(nvme_qpair_reap(qp), 1);
	assert_int_equal(ended, 1);
	for (unsigned i = 0; i < ENTRIES - 2; i++) {
		assert_int_equal(submit(&others, &next), 0);
		assert_int_not_equal(next, cid);
	}
	assert_int_equal(submit(&others, NULL), -EAGAIN);
	nvme_watch_answered(qp);
	assert_int_equal(submit(&others, &next), 0);
	assert_int_equal(next, cid);
}

/* The Abort took effect, and is answered after the command it ended: the command goes
 * again, once. */
static void abort_answered_last(void **state)
{
	uint16_t cid = issued_and_held();

	(void)state;
	complete(0, 0, cid, NVME_SC_ABORT_REQUESTED);
	nvme_qpair_reap(qp);
	assert_int_equal(ended, 0);
	assert_int_equal(qp->sq_tail, 1); /* not yet: the Abort might meet it again */
	nvme_watch_answered(qp);
	assert_int_equal(qp->sq_tail, 2);
	assert_memory_equal(&qp->sq[0], &qp->sq[1], sizeof(qp->sq[0]));
	nvme_qpair_ring(qp);
	complete(1, 0, cid, 0);
	nvme_qpair_reap(qp);
	assert_int_equal(ended, 1);
	assert_int_equal(last_status, 0);
	assert_int_equal(qp->outstanding, 0);
}

/* The other way round. */
static void abort_answered_first(void **state)
{
	uint16_t cid = issued_and_held();

	(void)state;
	nvme_watch_answered(qp);
	complete(0, 0, cid, NVME_SC_ABORT_REQUESTED);
	nvme_qpair_reap(qp);
	assert_int_equal(ended, 0);
	assert_int_equal(qp->sq_tail, 2);
	nvme_qpair_ring(qp);
	complete(1, 0, cid, 0);
	nvme_qpair_reap(qp);
	assert_int_equal(ended, 1);
	assert_int_equal(qp->outstanding, 0);
}

/* The Abort is answered, and the command ends by itself afterwards. */
static void abort_in_vain(void **state)
{
	uint16_t cid = issued_and_held(), next;

	(void)state;
	nvme_watch_answered(qp);
	complete(0, 0, cid, NVME_SC_INTERNAL);
	nvme_qpair_reap(qp);
	assert_int_equal(ended, 1);
	assert_int_equal(last_status, NVME_SC_INTERNAL);
	assert_int_equal(submit(&ended, &next), 0);
	assert_int_equal(next, cid);
}

/* A host's own Abort Requested, from an SSD that was not asked, is the host's. */
static void abort_not_ours(void **state)
{
	uint16_t cid = issued();

	(void)state;
	complete(0, 0, cid, NVME_SC_ABORT_REQUESTED);
	nvme_qpair_reap(qp);
	assert_int_equal(ended, 1);
	assert_int_equal(last_status, NVME_SC_ABORT_REQUESTED);
}

/* A reset while the Abort is under way: what comes of the Abort is of no concern any more. */
static void reset_during_abort(void **state)
{
	uint16_t cid = issued_and_held();

	(void)state;
	nvme_qpair_pause(qp);
	nvme_qpair_replay(qp);
	nvme_watch_answered(qp);
	nvme_qpair_resume(qp);
	assert_int_equal(qp->sq_tail, 1);
	nvme_qpair_ring(qp);
	complete(0, 0, cid, 0);
	nvme_qpair_reap(qp);
	assert_int_equal(ended, 1);
}

/* After a reset: what was completed counts and is not issued again; the rest goes in order of
 * arrival, whatever CIDs it has; nothing is rung before the end. */
static void replay(void **state)
{
	unsigned counts[ENTRIES] = { 0 };
	uint16_t cids[ENTRIES];

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(submit(&counts[i], &cids[i]), 0);
	nvme_qpair_ring(qp);
	complete(0, 0, cids[1], 0);
	nvme_qpair_reap(qp);
	assert_int_equal(submit(&counts[4], &cids[4]), 0); /* with the CID of the second */
	assert_int_equal(cids[4], cids[1]);
	complete(1, 0, cids[2], 0); /* nobody has looked yet */
	nvme_qpair_pause(qp);
	doorbells = 0;
	assert_int_equal(submit(&counts[5], NULL), -EAGAIN);
	nvme_qpair_replay(qp);
	assert_int_equal(counts[2], 1);
	assert_int_equal(qp->outstanding, 3);
	assert_int_equal(le16_get(qp->sq[0].cid), cids[0]);
	assert_int_equal(le16_get(qp->sq[1].cid), cids[3]);
	assert_int_equal(le16_get(qp->sq[2].cid), cids[4]);
	nvme_qpair_ring(qp);
	assert_int_equal(doorbells, 0);
	nvme_qpair_resume(qp);
	nvme_qpair_ring(qp);
	assert_int_equal(sq_doorbell, 3);
	for (unsigned i = 0; i < 3; i++)
		complete(i, 0, le16_get(qp->sq[i].cid), 0);
	assert_int_equal(nvme_qpair_reap(qp), 3);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(counts[i], 1);
	assert_int_equal(qp->outstanding, 0);
}

/* Half a pair makes no sense, and both again would compare with what the first time wrote. */
static void fused_not_again(void **state)
{
	struct nvme_sqe sqe = { .opcode = NVME_IO_COMPARE, .flags = NVME_FUSE_FIRST };
	static unsigned count; /* the teardown ends what is under way */

	(void)state;
	count = 0;
	assert_int_equal(nvme_qpair_submit(qp, &sqe, 0, 0, done, &count), 0);
	sqe = (struct nvme_sqe){ .opcode = NVME_IO_WRITE, .flags = NVME_FUSE_SECOND };
	assert_int_equal(nvme_qpair_submit(qp, &sqe, 0, 0, done, &count), 0);
	nvme_qpair_ring(qp);
	nvme_qpair_pause(qp);
	nvme_qpair_replay(qp);
	assert_int_equal(count, 2);
	assert_int_equal(last_status, NVME_SC_INTERNAL);
	assert_int_equal(qp->sq_tail, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_command, setup, teardown),
		cmocka_unit_test_setup_teardown(wraps, setup, teardown),
		cmocka_unit_test_setup_teardown(full_ring, setup, teardown),
		cmocka_unit_test_setup_teardown(unknown_cids, setup, teardown),
		cmocka_unit_test_setup_teardown(endless_completions, setup, teardown),
		cmocka_unit_test_setup_teardown(phase_errors, setup, teardown),
		cmocka_unit_test_setup_teardown(abort_all, setup, teardown),
		cmocka_unit_test_setup_teardown(shadow_doorbells, setup, teardown),
		cmocka_unit_test_setup_teardown(waiters, setup, teardown),
		cmocka_unit_test_setup_teardown(waiter_for_two, setup, teardown),
		cmocka_unit_test_setup_teardown(ends_before_abort, setup, teardown),
		cmocka_unit_test_setup_teardown(abort_answered_last, setup, teardown),
		cmocka_unit_test_setup_teardown(abort_answered_first, setup, teardown),
		cmocka_unit_test_setup_teardown(abort_in_vain, setup, teardown),
		cmocka_unit_test_setup_teardown(abort_not_ours, setup, teardown),
		cmocka_unit_test_setup_teardown(reset_during_abort, setup, teardown),
		cmocka_unit_test_setup_teardown(replay, setup, teardown),
		cmocka_unit_test_setup_teardown(fused_not_again, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
