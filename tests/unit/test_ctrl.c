/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The controller driver against the emulated SSD, from start to end: bring-up, queue pairs, an SSD
 * that fails. The loop runs in the test.
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
	n_failed++;
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
	loop_stop(&loop);
}

/* Until a callback stops the loop. */
static void run(void)
{
	loop.stopping = false;
	loop_run(&loop);
}

static void start(const char *spec)
{
	static const struct nvme_ctrl_events events = { .ready = on_ready,
							.failed = on_failed,
							.stopped = on_stopped };
	struct nvme_ctrl_params params = {
		.loop = &loop,
		.max_transfer = 1u << 20,
		.max_queues = 8,
		.command_timeout_ms = 2000,
		.events = &events,
	};
	struct emul_options options;
	char err[128];

	n_ready = n_failed = n_stopped = n_created = n_deleted = n_done = 0;
	assert_int_equal(loop_init(&loop, "test"), 0);
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
	assert_int_equal(nvme_ctrl_create_qpair(ctrl, 16, on_created, NULL), 0);
	run();
	assert_int_equal(created_err, 0);
	assert_int_equal(nvme_ctrl_queues_free(ctrl), 1);
	assert_true(dma_alloc(pool, 4096, &buf));
	memset(buf.va, 0xff, buf.len);
	assert_int_equal(nvme_qpair_attach(made, &loop), 0);
	assert_int_equal(nvme_qpair_submit(made, &sqe, buf.iova, 512, on_done, NULL, NULL), 0);
	run();
	assert_int_equal(n_done, 1);
	assert_int_equal(last_status, 0);
	assert_int_equal(((uint8_t *)buf.va)[511], 0);
	assert_int_equal(((uint8_t *)buf.va)[512], 0xff);
	/* Submitted, never rung before the queue goes: it ends all the same. */
	nvme_qpair_detach(made);
	assert_int_equal(nvme_qpair_submit(made, &sqe, buf.iova, 512, on_done, NULL, NULL), 0);
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
	assert_int_equal(nvme_ctrl_create_qpair(ctrl, 4, on_created, NULL), 0);
	run();
	first = made;
	assert_int_equal(nvme_ctrl_create_qpair(ctrl, 4, on_created, NULL), -EBUSY);
	nvme_ctrl_delete_qpair(ctrl, first, on_deleted, NULL);
	run();
	end();
}

/* The device goes away with a queue pair in use: commands end, it can be given back, nothing leaks.
 */
static void device_gone(void **state)
{
	struct nvme_sqe sqe = { .opcode = NVME_IO_FLUSH, .nsid = le32_set(1) };

	(void)state;
	start("emulated:size=16M,fault.gone_after=1");
	assert_int_equal(nvme_ctrl_create_qpair(ctrl, 16, on_created, NULL), 0);
	run();
	assert_int_equal(nvme_qpair_attach(made, &loop), 0);
	for (unsigned i = 0; i < 3; i++)
		nvme_qpair_submit(made, &sqe, 0, 0, on_done, NULL, NULL);
	while (!n_failed)
		run();
	assert_int_equal(n_done, 1);
	assert_false(nvme_ctrl_is_ready(ctrl));
	assert_int_equal(nvme_ctrl_create_qpair(ctrl, 4, on_created, NULL), -ENODEV);
	nvme_qpair_detach(made);
	nvme_ctrl_delete_qpair(ctrl, made, on_deleted, NULL);
	while (!n_deleted)
		run();
	assert_int_equal(n_done, 3);
	assert_int_equal(last_status, NVME_SC_HOST_PATH_ERROR);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bring_up),
		cmocka_unit_test(queue_pairs),
		cmocka_unit_test(no_queue_left),
		cmocka_unit_test(device_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
