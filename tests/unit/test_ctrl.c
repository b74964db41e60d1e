/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The controller driver against the emulated SSD, from start to end: bring-up, queue pairs, an SSD
 * that fails, is reset, goes and comes back. The loop runs in the test.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <event2/event.h>

#include "pcie/ctrl.h"
#include "pcie/device.h"
#include "pcie/dma.h"
#include "pcie/emul/emul.h"
#include "pcie/qpair.h"

static struct loop loop;
static struct dma_arena *arena;
static struct dma_pool *pool;
static struct pcie_device *device;
static struct nvme_ctrl *ctrl;
static struct nvme_qpair *made;
static unsigned n_ready, n_failed, n_stopped, n_created, n_deleted, n_done, last_status;
static unsigned n_unavailable, n_available, n_ok;
static const char *last_why;
static unsigned patience_ms = 20000;
static int created_err;

static void on_ready(struct nvme_ctrl *c, void *arg)
{
	(void)c;
	(void)arg;
	n_ready++;
	loop_stop(&loop);
}

static void on_failed(struct nvme_ctrl *c, const char *why, void *arg)
{
	(void)c;
	(void)arg;
	assert_non_null(why);
	last_why = why;
	n_failed++;
	loop_stop(&loop);
}

static void on_unavailable(struct nvme_ctrl *c, const char *why, void *arg)
{
	(void)c;
	(void)arg;
	assert_non_null(why);
	n_unavailable++;
	loop_stop(&loop);
}

static void on_available(struct nvme_ctrl *c, void *arg)
{
	(void)c;
	(void)arg;
	n_available++;
	loop_stop(&loop);
}

static void on_stopped(struct nvme_ctrl *c, void *arg)
{
	(void)c;
	(void)arg;
	n_stopped++;
	loop_stop(&loop);
}

static void on_created(void *arg, int err, struct nvme_qpair *qp)
{
	(void)arg;
	n_created++;
	created_err = err;
	made = qp;
	loop_stop(&loop);
}

static void on_deleted(void *arg)
{
	(void)arg;
	n_deleted++;
	loop_stop(&loop);
}

static void on_done(void *arg, const struct nvme_cqe *cqe)
{
	(void)arg;
	n_done++;
	last_status = nvme_cqe_status(cqe);
	n_ok += last_status == 0;
	loop_stop(&loop);
}

/* Until a callback stops the loop. */
static void run(void)
{
	loop.stopping = false;
	loop_run(&loop);
}

/* One wake-up. */
static void turn(void)
{
	event_base_loop(loop.base, EVLOOP_ONCE);
	loop.stopping = true;
	loop_run(&loop);
}

static void start(const char *spec)
{
	static const struct nvme_ctrl_events events = { .ready = on_ready,
							.failed = on_failed,
							.stopped = on_stopped,
							.unavailable = on_unavailable,
							.available = on_available };
	struct nvme_ctrl_params params = {
		.loop = &loop,
		.max_transfer = 1u << 20,
		.max_queues = 8,
		.command_timeout_ms = 2000,
		.io_timeout_ms = 200,
		.patience_ms = patience_ms,
		.events = &events,
	};
	struct emul_options options;
	char err[128];

	n_ready = n_failed = n_stopped = n_created = n_deleted = n_done = 0;
	n_unavailable = n_available = n_ok = 0;
	last_why = NULL;
	assert_int_equal(loop_init(&loop), 0);
	assert_int_equal(dma_arena_new(16u << 20, &arena), 0);
	assert_int_equal(dma_pool_new(arena, 16u << 20, &pool), 0);
	assert_int_equal(emul_options_parse(spec, &options, err, sizeof(err)), 0);
	assert_int_equal(emul_device_open(&options, &device), 0);
	assert_int_equal(dma_arena_map(arena, device), 0);
	params.dev = device;
	params.pool = pool;
	assert_int_equal(nvme_ctrl_new(&params, &ctrl), 0);
	nvme_ctrl_start(ctrl);
	run();
}

static void end(void)
{
	nvme_ctrl_shutdown(ctrl);
	if (!n_stopped)
		run();
	assert_int_equal(n_stopped, 1);
	nvme_ctrl_free(ctrl);
	assert_int_equal(dma_pool_used(pool), 0);
	assert_int_equal(dma_arena_unmap(arena, device), 0);
	device->ops->close(device);
	dma_pool_free(pool);
	dma_arena_free(arena);
	loop_fini(&loop);
}

static void bring_up(void **state)
{
	(void)state;
	start("emulated:size=16M,namespaces=3,lba=4096,mdts=64K,depth=32,queues=4");
	assert_int_equal(n_ready, 1);
	assert_int_equal(nvme_ctrl_n_ns(ctrl), 3);
	assert_int_equal(nvme_ctrl_ns(ctrl, 2)->nsid, 3);
	assert_int_equal(nvme_ctrl_ns(ctrl, 0)->lba_shift, 12);
	assert_true(nvme_ctrl_ns(ctrl, 0)->has_uuid);
	assert_null(nvme_ctrl_ns_by_id(ctrl, 4));
	assert_int_equal(nvme_ctrl_info(ctrl)->max_transfer, 64u << 10);
	assert_int_equal(nvme_ctrl_info(ctrl)->max_entries, 32);
	assert_int_equal(nvme_ctrl_info(ctrl)->n_queues, 4);
	end();
}

static void queue_pairs(void **state)
{
	struct nvme_sqe sqe = { .opcode = NVME_IO_READ, .nsid = le32_set(1) };
	struct dma_buf buf = { 0 };

	(void)state;
	start("emulated:size=16M,queues=2");
	assert_int_equal(nvme_ctrl_queues_free(ctrl), 2);
	assert_int_equal(nvme_ctrl_create_qpair(ctrl, 16, &loop, on_created, NULL), 0);
	run();
	assert_int_equal(created_err, 0);
	assert_int_equal(nvme_ctrl_queues_free(ctrl), 1);
	assert_true(dma_alloc(pool, 4096, &buf));
	memset(buf.va, 0xff, buf.len);
	assert_int_equal(nvme_qpair_attach(made, &loop), 0);
	assert_int_equal(nvme_qpair_submit(made, &sqe, buf.iova, 512, on_done, NULL), 0);
	run();
	assert_int_equal(n_done, 1);
	assert_int_equal(last_status, 0);
	assert_int_equal(((uint8_t *)buf.va)[511], 0);
	assert_int_equal(((uint8_t *)buf.va)[512], 0xff);
	/* Submitted, never rung before the queue goes: it ends all the same. */
	nvme_qpair_detach(made);
	assert_int_equal(nvme_qpair_submit(made, &sqe, buf.iova, 512, on_done, NULL), 0);
	nvme_ctrl_delete_qpair(ctrl, made, on_deleted, NULL);
	while (!n_deleted)
		run();
	assert_int_equal(n_done, 2);
	assert_int_equal(last_status, NVME_SC_ABORTED_SQ_DELETION);
	assert_int_equal(nvme_ctrl_queues_free(ctrl), 2);
	dma_free(pool, &buf);
	end();
}

static void no_queue_left(void **state)
{
	struct nvme_qpair *first;

	(void)state;
	start("emulated:size=16M,queues=1");
	assert_int_equal(nvme_ctrl_create_qpair(ctrl, 4, &loop, on_created, NULL), 0);
	run();
	first = made;
	assert_int_equal(nvme_ctrl_create_qpair(ctrl, 4, &loop, on_created, NULL), -EBUSY);
	nvme_ctrl_delete_qpair(ctrl, first, on_deleted, NULL);
	run();
	end();
}

/* --- Faults ----------------------------------------------------------------------------------- */

#define BLOCKS 64

static struct dma_buf page[BLOCKS];

/* A queue pair that the test's own loop owns. */
static void queue(void)
{
	assert_int_equal(n_ready, 1);
	assert_int_equal(nvme_ctrl_create_qpair(ctrl, BLOCKS + 8, &loop, on_created, NULL), 0);
	run();
	assert_int_equal(created_err, 0);
	assert_int_equal(nvme_qpair_attach(made, &loop), 0);
	for (unsigned i = 0; i < BLOCKS; i++)
		assert_true(dma_alloc(pool, 4096, &page[i]));
}

static void io(uint8_t opcode, unsigned block)
{
	struct nvme_sqe sqe = { .opcode = opcode, .nsid = le32_set(1), .cdw10 = le32_set(block) };

	assert_int_equal(nvme_qpair_submit(made, &sqe, page[block].iova, 512, on_done, NULL), 0);
}

/* Each block with its number, and `round`. */
static void write_all(unsigned round)
{
	for (unsigned i = 0; i < BLOCKS; i++) {
		memset(page[i].va, (int)(i + round), 512);
		io(NVME_IO_WRITE, i);
	}
}

static void read_and_compare(unsigned round)
{
	uint8_t expected[512];
	unsigned until = n_done + BLOCKS, ok = n_ok + BLOCKS;

	for (unsigned i = 0; i < BLOCKS; i++) {
		memset(page[i].va, 0xee, 512);
		io(NVME_IO_READ, i);
	}
	while (n_done < until)
		run();
	assert_int_equal(n_ok, ok);
	for (unsigned i = 0; i < BLOCKS; i++) {
		memset(expected, (int)(i + round), sizeof(expected));
		assert_memory_equal(page[i].va, expected, sizeof(expected));
	}
}

static void delete_queue(void)
{
	nvme_qpair_detach(made);
	nvme_ctrl_delete_qpair(ctrl, made, on_deleted, NULL);
	while (!n_deleted)
		run();
	for (unsigned i = 0; i < BLOCKS; i++)
		dma_free(pool, &page[i]);
}

/* 64 writes and 64 reads, through whatever `spec` does to them: all are done, once, and right. */
static void goes_on(const char *spec, unsigned resets, unsigned aborts)
{
	start(spec);
	queue();
	write_all(0);
	while (n_done < BLOCKS)
		run();
	assert_int_equal(n_ok, BLOCKS);
	read_and_compare(0);
	assert_int_equal(n_done, 2 * BLOCKS);
	assert_int_equal(nvme_ctrl_n_resets(ctrl), resets);
	assert_int_equal(nvme_ctrl_n_aborts(ctrl), aborts);
	assert_int_equal(n_failed + n_unavailable, 0);
	assert_int_equal(made->outstanding, 0);
	delete_queue();
	end();
}

#define GOES_ON(name, ...)             \
	static void name(void **state) \
	{                              \
		(void)state;           \
		goes_on(__VA_ARGS__);  \
	}

GOES_ON(hang_aborted, "emulated:size=16M,fault.hang=10,fault.times=1", 0, 1)
GOES_ON(hang_abort_late, "emulated:size=16M,fault.hang=10,fault.times=1,fault.abort=late", 0, 1)
GOES_ON(hang_abort_refused, "emulated:size=16M,fault.hang=10,fault.times=1,fault.abort=refuse", 1,
	1)
GOES_ON(hang_abort_silent, "emulated:size=16M,fault.hang=10,fault.times=1,fault.abort=silent", 1, 1)
/* More than one at a time: no use in aborting them one by one. */
GOES_ON(hang_many, "emulated:size=16M,fault.hang=5,fault.times=3", 1, 0)
GOES_ON(fatal, "emulated:size=16M,fault.cfs_after=20,fault.times=1", 1, 0)
GOES_ON(fatal_with_shadow_doorbells, "emulated:size=16M,dbbuf=1,fault.cfs_after=20,fault.times=1",
	1, 0)
GOES_ON(fatal_when_polled, "emulated:size=16M,vectors=0,fault.cfs_after=20,fault.times=1", 1, 0)
GOES_ON(doorbell_stuck, "emulated:size=16M,fault.doorbell_after=20,fault.times=1", 1, 0)
GOES_ON(gone_and_back, "emulated:size=16M,fault.gone_after=20,fault.times=1,fault.back_ms=50", 0, 0)
/* All interrupts of the queue are lost: the watchdog finds what has ended, and polls. */
static void interrupts_lost(void **state)
{
	(void)state;
	start("emulated:size=16M,fault.mute_after=1,fault.delay=1,fault.delay_ms=1");
	queue();
	write_all(0);
	while (n_done < BLOCKS)
		run();
	read_and_compare(0);
	assert_true(counter_get(&made->stats.lost_interrupts) > 0);
	assert_int_equal(nvme_ctrl_n_resets(ctrl) + nvme_ctrl_n_aborts(ctrl), 0);
	delete_queue();
	end();
}

/* It breaks down again and again: that ends, and commands end with it. */
static void no_reset_loop(void **state)
{
	(void)state;
	start("emulated:size=16M,fault.cfs_after=1");
	queue();
	write_all(0);
	while (n_done < BLOCKS || !n_failed)
		run();
	assert_int_equal(nvme_ctrl_n_resets(ctrl), 5);
	assert_string_equal(last_why, "it reports a fatal error (CSTS.CFS)");
	assert_string_equal(nvme_ctrl_state_name(ctrl), "failed");
	assert_int_equal(n_unavailable, 1);
	assert_int_equal(last_status, NVME_SC_HOST_PATH_ERROR);
	delete_queue();
	end();
}

/* One command that the SSD never answers is given up, the others go on. */
static void hopeless_command(void **state)
{
	(void)state;
	start("emulated:size=16M,fault.op=flush,fault.hang=1,fault.abort=refuse");
	queue();
	io(NVME_IO_FLUSH, 0);
	write_all(1);
	while (n_done < BLOCKS + 1)
		run();
	assert_int_equal(n_ok, BLOCKS);
	assert_int_equal(last_status, NVME_SC_INTERNAL);
	assert_true(nvme_ctrl_n_resets(ctrl) <= 3);
	while (made->paused)
		turn();
	read_and_compare(1);
	delete_queue();
	end();
}

/* After the reset it does not come up: bounded, and named. */
static void never_ready_again(void **state)
{
	(void)state;
	start("emulated:size=16M,fault.cfs_after=20,fault.never_ready=2");
	queue();
	write_all(0);
	while (!n_failed || n_done < BLOCKS)
		run();
	assert_string_equal(last_why, "CSTS.RDY does not follow CC.EN within CAP.TO");
	assert_int_equal(last_status, NVME_SC_HOST_PATH_ERROR);
	delete_queue();
	end();
}

static void never_ready(void **state)
{
	(void)state;
	start("emulated:size=16M,fault.never_ready=1");
	assert_int_equal(n_failed, 1);
	assert_string_equal(last_why, "CSTS.RDY does not follow CC.EN within CAP.TO");
	end();
}

static void another_ssd(void **state)
{
	(void)state;
	start("emulated:size=16M,fault.gone_after=20,fault.back_ms=20,fault.back_as=OTHER");
	queue();
	write_all(0);
	while (!n_failed || n_done < BLOCKS)
		run();
	assert_string_equal(last_why, "another SSD is in its place");
	assert_int_equal(last_status, NVME_SC_HOST_PATH_ERROR);
	delete_queue();
	end();
}

static int told_err;

static void on_told(struct nvme_waiter *waiter)
{
	struct nvme_sqe sqe = { .opcode = NVME_IO_FLUSH, .nsid = le32_set(1) };

	(void)waiter;
	told_err = nvme_qpair_submit(made, &sqe, 0, 0, on_done, NULL);
	loop_stop(&loop);
}

/* It does not come back: commands wait as long as they may, then they end, and new ones at once.
 * Queue pairs come and go all the while. */
static void stays_away(void **state)
{
	struct nvme_sqe sqe = { .opcode = NVME_IO_FLUSH, .nsid = le32_set(1) };
	struct nvme_waiter told = { .run = on_told };
	struct nvme_qpair *first;

	(void)state;
	patience_ms = 300;
	start("emulated:size=16M,fault.gone_after=20");
	patience_ms = 20000;
	queue();
	write_all(0);
	while (!n_unavailable || n_done < BLOCKS)
		run();
	assert_int_equal(n_ok, 20);
	assert_int_equal(last_status, NVME_SC_HOST_PATH_ERROR);
	/* One that comes now waits for a tick, then it is told. */
	assert_int_equal(nvme_qpair_submit(made, &sqe, 0, 0, on_done, NULL), -EAGAIN);
	nvme_qpair_wait(made, &told);
	while (told_err == 0)
		run();
	assert_int_equal(told_err, -ENODEV);
	first = made;
	assert_int_equal(nvme_ctrl_create_qpair(ctrl, 4, &loop, on_created, NULL), 0);
	while (n_created < 2)
		run();
	assert_int_equal(created_err, 0);
	assert_int_equal(nvme_qpair_submit(made, &sqe, 0, 0, on_done, NULL), -ENODEV);
	nvme_ctrl_delete_qpair(ctrl, made, on_deleted, NULL);
	while (!n_deleted)
		run();
	n_deleted = 0;
	made = first;
	delete_queue();
	end();
}

/* Deleted while it is away with commands under way: they end, and are not issued
 * when it is back. */
static void deleted_meanwhile(void **state)
{
	(void)state;
	start("emulated:size=16M,fault.gone_after=20,fault.back_ms=200,fault.times=1");
	queue();
	write_all(0);
	while (n_done < 20)
		run();
	delete_queue();
	assert_int_equal(n_done, BLOCKS);
	assert_int_equal(last_status, NVME_SC_HOST_PATH_ERROR);
	while (!nvme_ctrl_is_ready(ctrl))
		turn();
	n_deleted = 0;
	n_ready = 1;
	queue();
	n_done = n_ok = 0;
	write_all(7);
	while (n_done < BLOCKS)
		run();
	read_and_compare(7);
	delete_queue();
	end();
}

/* The same, being reset: it goes through the SSD's Delete commands or the reset,
 * whichever comes. */
static void deleted_during_reset(void **state)
{
	(void)state;
	start("emulated:size=16M,fault.cfs_after=20,fault.times=1");
	queue();
	write_all(0);
	while (nvme_ctrl_is_ready(ctrl))
		turn();
	delete_queue();
	assert_int_equal(n_done, BLOCKS);
	end();
}

/* Deleted while an Abort names it: its number is not given to another queue, whose command would be
 * aborted. */
static void deleted_while_aborted(void **state)
{
	(void)state;
	start("emulated:size=16M,fault.hang=10,fault.times=1,fault.abort=silent");
	queue();
	assert_int_equal(made->qid, 1);
	write_all(0);
	while (!nvme_ctrl_n_aborts(ctrl))
		turn();
	delete_queue();
	n_deleted = 0;
	queue();
	assert_int_equal(made->qid, 2);
	while (!nvme_ctrl_n_resets(ctrl) || !nvme_ctrl_is_ready(ctrl))
		turn(); /* the Abort has run out of time */
	delete_queue();
	n_deleted = 0;
	queue();
	assert_int_equal(made->qid, 1);
	delete_queue();
	end();
}

/* Admin commands of hosts wait as well. */
static void admin_waits(void **state)
{
	const struct nvme_sqe sqe = { .opcode = NVME_ADMIN_GET_FEATURES,
				      .cdw10 = le32_set(NVME_FEAT_NUM_QUEUES) };

	(void)state;
	start("emulated:size=16M,fault.gone_after=20,fault.back_ms=50,fault.times=1");
	queue();
	write_all(0);
	while (nvme_ctrl_is_ready(ctrl))
		turn();
	n_done = 0;
	assert_int_equal(nvme_ctrl_admin(ctrl, &sqe, NULL, 0, on_done, NULL), 0);
	while (n_done < BLOCKS - 20 + 1)
		run();
	assert_int_equal(last_status, 0);
	assert_int_equal(n_ok, BLOCKS + 1);
	delete_queue();
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bring_up),
		cmocka_unit_test(queue_pairs),
		cmocka_unit_test(no_queue_left),
		cmocka_unit_test(hang_aborted),
		cmocka_unit_test(hang_abort_late),
		cmocka_unit_test(hang_abort_refused),
		cmocka_unit_test(hang_abort_silent),
		cmocka_unit_test(hang_many),
		cmocka_unit_test(fatal),
		cmocka_unit_test(fatal_with_shadow_doorbells),
		cmocka_unit_test(fatal_when_polled),
		cmocka_unit_test(doorbell_stuck),
		cmocka_unit_test(gone_and_back),
		cmocka_unit_test(interrupts_lost),
		cmocka_unit_test(no_reset_loop),
		cmocka_unit_test(hopeless_command),
		cmocka_unit_test(never_ready_again),
		cmocka_unit_test(never_ready),
		cmocka_unit_test(another_ssd),
		cmocka_unit_test(stays_away),
		cmocka_unit_test(deleted_meanwhile),
		cmocka_unit_test(deleted_during_reset),
		cmocka_unit_test(deleted_while_aborted),
		cmocka_unit_test(admin_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
