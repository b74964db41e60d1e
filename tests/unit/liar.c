/* SPDX-License-Identifier: BSD-3-Clause */
/* See liar.h. */
#include "tests/unit/unit.h"

#include "tests/unit/liar.h"

#include <errno.h>

#include <event2/event.h>

#include "pcie/emul/emul.h"
#include "util/check.h"
#include "util/clock.h"
#include "util/num.h"

#define GUARD_MS 10000

struct liar liar;
struct liar_seen seen;
struct nvme_ctrl *liar_ctrl;

static struct loop loop;
static struct dma_arena *arena;
static struct dma_pool *pool;
static bool guarded;

/* --- The device ------------------------------------------------------------------------------- */

static void *at_iova(uint64_t iova)
{
	return iova ? liar.dma + (iova - liar.iova) : NULL;
}

/* Changes the completions that are new. */
static void tamper(void)
{
	struct nvme_cqe *cq = at_iova(liar.acq);
	uint32_t entries = (liar.aqa >> 16) + 1;

	while ((le16_get(cq[liar.at].status) & 1) == liar.phase) {
		struct nvme_cqe *cqe = &cq[liar.at];
		const struct nvme_sqe *sqe = &liar.sent[le16_get(cqe->cid) % ARRAY_SIZE(liar.sent)];

		if (liar.storm && sqe->opcode == NVME_ADMIN_AER)
			cqe->dw0 = le32_set(NVME_AER_DW0(NVME_AER_SMART, 1, NVME_LOG_SMART));
		if (liar.lie)
			liar.lie(sqe, at_iova(le64_get(sqe->prp1)), cqe);
		cqe->status = le16_set((uint16_t)((le16_get(cqe->status) & ~1u) | liar.phase));
		if (++liar.at == entries) {
			liar.at = 0;
			liar.phase = !liar.phase;
		}
	}
}

static void note_commands(uint32_t tail)
{
	struct nvme_sqe *sq = at_iova(liar.asq);
	uint32_t entries = (liar.aqa & 0xffff) + 1;

	for (; liar.head != tail; liar.head = (liar.head + 1) % entries) {
		const struct nvme_sqe *sqe = &sq[liar.head];

		liar.sent[le16_get(sqe->cid) % ARRAY_SIZE(liar.sent)] = *sqe;
		liar.n_aers += sqe->opcode == NVME_ADMIN_AER;
		if (sqe->opcode == liar.refused)
			sq[liar.head].opcode = NVME_OPCODE_FABRICS; /* no SSD knows that */
		else if (liar.storm && sqe->opcode == NVME_ADMIN_AER)
			sq[liar.head].opcode = NVME_ADMIN_ABORT; /* answered at once */
	}
}

static uint64_t dev_read(struct pcie_device *dev, uint32_t off, unsigned size)
{
	uint64_t value = liar.real->ops->read(liar.real, off, size);

	(void)dev;
	return off == NVME_REG_CAP ? (value & ~liar.cap_clear) | liar.cap_set : value;
}

static void dev_write(struct pcie_device *dev, uint32_t off, unsigned size, uint64_t value)
{
	(void)dev;
	liar.highest_write = num_max(liar.highest_write, off);
	if (off == NVME_REG_AQA) { /* the rings are empty, also after a reset */
		liar.aqa = (uint32_t)value;
		liar.head = liar.at = 0;
		liar.phase = true;
	}
	if (off == NVME_REG_ASQ)
		liar.asq = value;
	else if (off == NVME_REG_ACQ)
		liar.acq = value;
	if (off == NVME_REG_DOORBELLS && liar.late) {
		liar.kept = (uint32_t)value;
		return;
	}
	if (off == NVME_REG_DOORBELLS)
		note_commands((uint32_t)value);
	liar.real->ops->write(liar.real, off, size, value);
	if (off == NVME_REG_DOORBELLS)
		tamper();
}

void liar_complete(void)
{
	liar.late = false;
	liar.real->looks_after_doorbell = true; /* it believes that nobody waits */
	dev_write(&liar.dev, NVME_REG_DOORBELLS, 4, liar.kept);
	liar.real->looks_after_doorbell = false;
}

static int dev_map(struct pcie_device *dev, void *va, uint64_t iova, size_t len)
{
	(void)dev;
	liar.dma = va;
	liar.iova = iova;
	return liar.real->ops->map_dma(liar.real, va, iova, len);
}

static int dev_unmap(struct pcie_device *dev, uint64_t iova, size_t len)
{
	(void)dev;
	return liar.real->ops->unmap_dma(liar.real, iova, len);
}

static int dev_interrupts(struct pcie_device *dev, const int *fds, unsigned n)
{
	if (liar.vectors && n > liar.vectors) {
		dev->n_vectors = liar.vectors;
		return -ENOSPC;
	}
	return liar.real->ops->set_interrupts(liar.real, fds, n);
}

static int dev_reset(struct pcie_device *dev)
{
	(void)dev;
	liar.n_resets++;
	return liar.real->ops->reset(liar.real);
}

static void dev_poll(struct pcie_device *dev, uint16_t qid)
{
	(void)dev;
	if (liar.real->ops->poll)
		liar.real->ops->poll(liar.real, qid);
}

static int dev_watch(struct pcie_device *dev, struct loop *on, pcie_device_event_fn *fn, void *arg)
{
	(void)dev;
	liar.tell = fn;
	liar.tell_arg = arg;
	return liar.real->ops->watch(liar.real, on, fn, arg);
}

static const struct pcie_device_ops liar_ops = {
	.read = dev_read,
	.write = dev_write,
	.map_dma = dev_map,
	.unmap_dma = dev_unmap,
	.set_interrupts = dev_interrupts,
	.reset = dev_reset,
	.poll = dev_poll,
	.watch = dev_watch,
};

/* --- The driver's side ------------------------------------------------------------------------ */

static void on_ready(struct nvme_ctrl *c, void *arg)
{
	(void)c;
	(void)arg;
	seen.ready++;
	loop_stop(&loop);
}

static void on_failed(struct nvme_ctrl *c, const char *why, void *arg)
{
	(void)c;
	(void)arg;
	assert_non_null(why);
	seen.failed++;
	loop_stop(&loop);
}

static void on_stopped(struct nvme_ctrl *c, void *arg)
{
	(void)c;
	(void)arg;
	seen.stopped++;
	loop_stop(&loop);
}

static void on_event(struct nvme_ctrl *c, uint32_t dw0, void *arg)
{
	(void)c;
	(void)dw0;
	(void)arg;
	seen.events++;
}

static void on_namespaces(struct nvme_ctrl *c, void *arg)
{
	(void)c;
	(void)arg;
	loop_stop(&loop);
}

static void on_created(void *arg, int err, struct nvme_qpair *qp)
{
	(void)arg;
	seen.created++;
	seen.created_err = err;
	seen.qpair = qp;
	loop_stop(&loop);
}

static void on_deleted(void *arg)
{
	(void)arg;
	seen.deleted++;
	loop_stop(&loop);
}

static void on_time(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	assert_false(guarded);
	loop_stop(&loop);
}

static void run_once(struct event *timer)
{
	must(timer);
	loop.stopping = false;
	loop_run(&loop);
}

void liar_run(void)
{
	const struct timeval time = clock_timeval(GUARD_MS);
	struct event *timer = evtimer_new(loop.base, on_time, NULL);

	guarded = true;
	evtimer_add(timer, &time);
	run_once(timer);
	event_free(timer);
}

void liar_run_for(unsigned ms)
{
	const struct timeval time = clock_timeval(ms);
	struct event *timer = evtimer_new(loop.base, on_time, NULL);

	guarded = false;
	evtimer_add(timer, &time);
	while (evtimer_pending(timer, NULL))
		run_once(timer);
	event_free(timer);
}

void liar_start(const char *spec, lie_fn *lie)
{
	static const struct nvme_ctrl_events events = { .ready = on_ready,
							.failed = on_failed,
							.stopped = on_stopped,
							.async_event = on_event,
							.namespaces = on_namespaces };
	struct nvme_ctrl_params params = {
		.loop = &loop,
		.max_transfer = 1u << 20,
		.max_queues = 8,
		.command_timeout_ms = liar.command_timeout_ms ? liar.command_timeout_ms : 1000,
		.retry_ms = liar.retry_ms,
		.name = "absent",
		.awaited = liar.awaited,
		.events = &events,
	};
	struct emul_options options;
	char err[128];

	seen = (struct liar_seen){ .ready = 0 };
	liar.lie = lie;
	liar.phase = true;
	assert_int_equal(loop_init(&loop), 0);
	assert_int_equal(dma_arena_new(16u << 20, &arena), 0);
	assert_int_equal(dma_pool_new(arena, 16u << 20, &pool), 0);
	assert_int_equal(emul_options_parse(spec, &options, err, sizeof(err)), 0);
	assert_int_equal(emul_device_open(&options, &liar.real), 0);
	liar.dev = *liar.real;
	liar.dev.ops = &liar_ops;
	if (liar.bar_len)
		liar.dev.bar0_len = liar.bar_len;
	assert_int_equal(dma_arena_map(arena, &liar.dev), 0);
	params.dev = liar.absent ? NULL : &liar.dev;
	params.pool = pool;
	assert_int_equal(nvme_ctrl_new(&params, &liar_ctrl), 0);
	if (liar.absent)
		return;
	nvme_ctrl_start(liar_ctrl);
	while (!seen.ready && !seen.failed)
		liar_run();
}

void liar_arrive(void)
{
	nvme_ctrl_take_up(liar_ctrl, &liar.dev);
	while (!seen.ready && !seen.failed)
		liar_run();
}

void liar_end(void)
{
	liar.lie = NULL;
	nvme_ctrl_shutdown(liar_ctrl);
	while (!seen.stopped)
		liar_run();
	nvme_ctrl_free(liar_ctrl);
	assert_int_equal(dma_pool_used(pool), 0);
	assert_int_equal(dma_arena_unmap(arena, &liar.dev), 0);
	liar.real->ops->close(liar.real);
	dma_pool_free(pool);
	dma_arena_free(arena);
	loop_fini(&loop);
}

int liar_reset(void **state)
{
	(void)state;
	liar = (struct liar){ .refused = -1 };
	return 0;
}

void liar_create(void)
{
	unsigned before = seen.created;

	assert_int_equal(nvme_ctrl_create_qpair(liar_ctrl, 16, &loop, on_created, NULL), 0);
	while (seen.created == before)
		liar_run();
}

void liar_delete(void)
{
	unsigned before = seen.deleted;

	nvme_ctrl_delete_qpair(liar_ctrl, seen.qpair, on_deleted, NULL);
	while (seen.deleted == before)
		liar_run();
}
