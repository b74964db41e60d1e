/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Submission and completion rings; see qpair.h.
 *
 * Order matters in four places: SQE before doorbell, and CQE read before doorbell, for which mmio.h
 * sees; phase before the rest of a CQE, and shadow doorbell before its event index, marked here.
 */
#include "pcie/qpair.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "pcie/mmio.h"
#include "pcie/prp.h"
#include "pcie/qpair_internal.h"
#include "util/clock.h"
#include "util/list.h"
#include "util/log.h"
#include "util/num.h"

/* Between looks at a CQ while commands are under way: of one that has no interrupt, and of one
 * whose interrupt was lost. */
#define POLL_INTERVAL_US 100
#define LOST_INTERVAL_US 1000

/* From the last one on, so that the lowest comes first. */
void nvme_qpair_slots_rebuild(struct nvme_qpair *qp)
{
	qp->free_head = NVME_SLOT_NONE;
	for (uint32_t i = qp->entries - 1; i-- > 0;) {
		qp->slots[i].flags = 0;
		if (qp->slots[i].done)
			continue;
		qp->slots[i].next_free = qp->free_head;
		qp->free_head = (uint16_t)i;
	}
	qp->held_cid = NVME_SLOT_NONE;
}

void nvme_qpair_rings_rewind(struct nvme_qpair *qp)
{
	memset(qp->cq, 0, (size_t)qp->entries << NVME_CQE_SHIFT);
	qp->sq_tail = qp->sq_tail_rung = 0;
	qp->cq_head = qp->cq_head_rung = 0;
	qp->phase = true;
}

void nvme_qpair_rewind(struct nvme_qpair *qp)
{
	must(qp->outstanding == 0);
	nvme_qpair_rings_rewind(qp);
	nvme_qpair_slots_rebuild(qp);
}

static void work_run(struct loop_task *task);

/* Rings of 64-byte and 16-byte entries, each on pages of its own. */
static int alloc_rings(struct nvme_qpair *qp, struct dma_pool *pool)
{
	size_t sq_bytes = num_round_up((size_t)qp->entries << NVME_SQE_SHIFT, DMA_PAGE_SIZE);
	size_t cq_bytes = num_round_up((size_t)qp->entries << NVME_CQE_SHIFT, DMA_PAGE_SIZE);

	if (sq_bytes + cq_bytes > DMA_BLOCK_SIZE ||
	    !dma_alloc(pool, sq_bytes + cq_bytes, &qp->ring_mem))
		return -ENOMEM;
	qp->sq = qp->ring_mem.va;
	qp->sq_iova = qp->ring_mem.iova;
	qp->cq = (struct nvme_cqe *)((uint8_t *)qp->ring_mem.va + sq_bytes);
	qp->cq_iova = qp->ring_mem.iova + sq_bytes;
	return 0;
}

/* A power of two per slot, so that no list crosses a page (Base 4.1.1). */
static int alloc_prp_lists(struct nvme_qpair *qp, struct dma_pool *pool, size_t max_transfer)
{
	size_t list = prp_list_bytes(max_transfer);

	if (!list)
		return 0;
	qp->prp_stride = 1u << num_log2_up(list);
	must(qp->prp_stride <= DMA_PAGE_SIZE);
	if ((size_t)qp->prp_stride * (qp->entries - 1) > DMA_BLOCK_SIZE ||
	    !dma_alloc(pool, (size_t)qp->prp_stride * (qp->entries - 1), &qp->prp_mem))
		return -ENOMEM;
	qp->prp_va = qp->prp_mem.va;
	qp->prp_iova = qp->prp_mem.iova;
	return 0;
}

int nvme_qpair_new(const struct nvme_qpair_params *params, struct nvme_qpair **ret_qpair)
{
	struct nvme_qpair *qp = calloc(1, sizeof(*qp));
	int err = -ENOMEM;

	must(params->entries >= 2 && params->entries <= 65536);
	if (!qp)
		return -ENOMEM;
	qp->dev = params->dev;
	qp->data_align = params->dev->data_align;
	qp->name = params->name;
	qp->watch = params->watch;
	qp->qid = params->qid;
	qp->vector = params->vector;
	qp->irq_fd = params->irq_fd;
	qp->poll_fd = -1;
	qp->entries = params->entries;
	qp->sq_doorbell = NVME_REG_DOORBELLS + 2u * params->qid * params->doorbell_stride;
	qp->cq_doorbell = qp->sq_doorbell + params->doorbell_stride;
	TAILQ_INIT(&qp->waiters);
	loop_task_init(&qp->work, work_run);
	qp->slots = calloc(qp->entries - 1, sizeof(qp->slots[0]));
	if (!qp->slots)
		goto fail;
	err = alloc_rings(qp, params->pool);
	if (err)
		goto fail;
	err = alloc_prp_lists(qp, params->pool, params->max_transfer);
	if (err)
		goto fail;
	if (qp->irq_fd < 0) {
		qp->poll_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
		err = qp->poll_fd < 0 ? -errno : 0;
	}
	if (err)
		goto fail;
	nvme_qpair_rewind(qp);
	*ret_qpair = qp;
	return 0;

fail:
	nvme_qpair_free(qp, params->pool);
	return err;
}

void nvme_qpair_free(struct nvme_qpair *qp, struct dma_pool *pool)
{
	if (!qp)
		return;
	must(qp->outstanding == 0 && !qp->loop);
	dma_free(pool, &qp->prp_mem);
	dma_free(pool, &qp->ring_mem);
	if (qp->poll_fd >= 0)
		close(qp->poll_fd);
	free(qp->slots);
	free(qp);
}

static void on_interrupt(evutil_socket_t fd, short what, void *arg)
{
	struct nvme_qpair *qp = arg;

	(void)fd;
	(void)what;
	counter_add(&qp->stats.interrupts, 1);
	loop_traffic(qp->loop);
	qp->polled = false;
	loop_defer(qp->loop, &qp->work);
}

static bool cq_has_entry(const struct nvme_qpair *qp)
{
	uint16_t status = __atomic_load_n(&qp->cq[qp->cq_head].status.raw, __ATOMIC_ACQUIRE);

	return (le16toh(status) & NVME_CQE_PHASE) == qp->phase;
}

static void device_poll(struct nvme_qpair *qp)
{
	if (qp->dev->ops->poll)
		qp->dev->ops->poll(qp->dev, qp->qid);
}

static bool look(struct loop_poller *poller)
{
	struct nvme_qpair *qp = container_of(poller, struct nvme_qpair, poller);

	if (!qp->outstanding || qp->paused)
		return false;
	device_poll(qp);
	if (!cq_has_entry(qp))
		return false;
	counter_add(&qp->stats.polls, 1);
	loop_defer(qp->loop, &qp->work);
	return true;
}

/* A timer of its own: the loop's have a resolution of a millisecond. */
static void poll_arm(struct nvme_qpair *qp)
{
	const struct timeval lost = { .tv_usec = LOST_INTERVAL_US };
	const struct itimerspec soon = { .it_value.tv_nsec = POLL_INTERVAL_US * 1000 };

	if (qp->poll_fd >= 0 && qp->outstanding && !qp->poll_armed) {
		must(timerfd_settime(qp->poll_fd, 0, &soon, NULL) == 0);
		qp->poll_armed = true;
	}
	if (qp->polled && qp->outstanding && !evtimer_pending(qp->lost_timer, NULL))
		evtimer_add(qp->lost_timer, &lost);
}

static void on_poll_timer(evutil_socket_t fd, short what, void *arg)
{
	struct nvme_qpair *qp = arg;

	(void)fd;
	(void)what;
	qp->poll_armed = false;
	loop_defer(qp->loop, &qp->work);
}

static void stop_listening(struct nvme_qpair *qp)
{
	if (qp->event)
		event_free(qp->event);
	if (qp->lost_timer)
		event_free(qp->lost_timer);
	nvme_watch_detach(qp);
	qp->event = qp->lost_timer = NULL;
	qp->polled = false;
	qp->poll_armed = false;
}

int nvme_qpair_attach(struct nvme_qpair *qp, struct loop *loop)
{
	bool interrupts = qp->irq_fd >= 0;

	must(!qp->loop);
	qp->loop = loop;
	/* Neither is read: each signal is an edge of its own. */
	qp->event = event_new(loop->base, interrupts ? qp->irq_fd : qp->poll_fd,
			      EV_READ | EV_ET | EV_PERSIST,
			      interrupts ? on_interrupt : on_poll_timer, qp);
	qp->lost_timer = evtimer_new(loop->base, on_poll_timer, qp);
	if (!qp->event || !qp->lost_timer || event_add(qp->event, NULL) < 0 ||
	    nvme_watch_attach(qp)) {
		stop_listening(qp);
		qp->loop = NULL;
		return -ENOMEM;
	}
	qp->poller.look = look;
	loop_add_poller(loop, &qp->poller);
	loop_defer(loop, &qp->work); /* completions may have come before anybody listened */
	return 0;
}

void nvme_qpair_detach(struct nvme_qpair *qp)
{
	if (!qp->loop)
		return;
	nvme_qpair_ring(qp); /* what was queued is the SSD's to end */
	loop_cancel(qp->loop, &qp->work);
	loop_remove_poller(&qp->poller);
	stop_listening(qp);
	qp->loop = NULL;
}

void nvme_qpair_put_on_ring(struct nvme_qpair *qp, const struct nvme_sqe *sqe)
{
	qp->sq[qp->sq_tail] = *sqe;
	qp->sq_tail = qp->sq_tail + 1 == qp->entries ? 0 : qp->sq_tail + 1;
}

int nvme_qpair_submit(struct nvme_qpair *qp, struct nvme_sqe *sqe, uint64_t iova, size_t len,
		      nvme_done_fn *done, void *arg)
{
	uint16_t cid = qp->free_head;
	struct nvme_slot *slot;
	size_t list_offset;

	if (__builtin_expect(qp->paused, 0))
		return qp->ending || (qp->refusing && !qp->watchdog) ? -ENODEV : -EAGAIN;
	if (cid == NVME_SLOT_NONE)
		return -EAGAIN;
	slot = &qp->slots[cid];
	list_offset = (size_t)cid * qp->prp_stride;
	must(prp_list_bytes(len) <= qp->prp_stride);
	sqe->cid = le16_set(cid);
	if (len) /* transfers of two pages need no list, and where none is larger there is none */
		prp_build(sqe, iova, len,
			  qp->prp_va ? (le64 *)(void *)(qp->prp_va + list_offset) : NULL,
			  qp->prp_iova + list_offset);
	nvme_qpair_put_on_ring(qp, sqe);

	qp->free_head = slot->next_free;
	qp->outstanding++;
	slot->done = done;
	slot->arg = arg;
	slot->order = counter_get(&qp->stats.submitted);
	slot->born = qp->tick;
	slot->tries = 0;
	slot->sqe = *sqe;
	counter_add(&qp->stats.submitted, 1);
	if (qp->loop)
		loop_defer(qp->loop, &qp->work);
	return 0;
}

void nvme_qpair_wait(struct nvme_qpair *qp, struct nvme_waiter *waiter)
{
	must(!waiter->queued);
	waiter->queued = true;
	TAILQ_INSERT_TAIL(&qp->waiters, waiter, link);
	if (qp->refusing && !qp->watched)
		nvme_watch_arm(qp);
}

void nvme_qpair_wait_first(struct nvme_qpair *qp, struct nvme_waiter *waiter)
{
	must(!waiter->queued);
	waiter->queued = true;
	TAILQ_INSERT_HEAD(&qp->waiters, waiter, link);
}

void nvme_qpair_unwait(struct nvme_qpair *qp, struct nvme_waiter *waiter)
{
	if (!waiter->queued)
		return;
	waiter->queued = false;
	TAILQ_REMOVE(&qp->waiters, waiter, link);
}

void nvme_qpair_unwait_all(struct nvme_qpair *qp,
			   bool (*is_one)(struct nvme_waiter *waiter, const void *arg),
			   const void *arg)
{
	struct nvme_waiter *waiter, *next;

	TAILQ_FOREACH_SAFE (waiter, &qp->waiters, link, next) {
		if (is_one(waiter, arg))
			nvme_qpair_unwait(qp, waiter);
	}
}

/* As many as there is room for, in order; one that finds the ring full again would wait again. */
static void run_waiters(struct nvme_qpair *qp)
{
	struct nvme_waiter *waiter;

	while ((waiter = TAILQ_FIRST(&qp->waiters)) != NULL &&
	       nvme_qpair_has_room(qp, waiter->slots)) {
		nvme_qpair_unwait(qp, waiter);
		waiter->run(waiter);
	}
}

/*
 * Base 5.9 and appendix B: writes the shadow doorbell; the real one must be rung only when the
 * SSD's event index lies between the old value and the new.
 */
static bool shadow_needs_mmio(volatile uint32_t *shadow, volatile uint32_t *event, uint32_t old,
			      uint32_t new)
{
	if (!shadow)
		return true;
	mmio_before_write();
	*shadow = htole32(new);
	mmio_full(); /* shadow before event index, on both sides */
	return (uint16_t)(new - le32toh(*event) - 1) < (uint16_t)(new - old);
}

void nvme_qpair_ring(struct nvme_qpair *qp)
{
	if (qp->sq_tail == qp->sq_tail_rung || qp->paused)
		return;
	if (shadow_needs_mmio(qp->shadow_sq, qp->event_sq, qp->sq_tail_rung, qp->sq_tail))
		mmio_write32(qp->dev, qp->sq_doorbell, qp->sq_tail);
	qp->sq_tail_rung = qp->sq_tail;
	counter_add(&qp->stats.doorbells, 1);
}

void nvme_qpair_slot_free(struct nvme_qpair *qp, uint16_t cid)
{
	qp->slots[cid].next_free = qp->free_head;
	qp->free_head = cid;
}

void nvme_qpair_end_command(struct nvme_qpair *qp, struct nvme_slot *slot,
			    const struct nvme_cqe *cqe)
{
	nvme_done_fn *done = slot->done;

	slot->done = NULL;
	qp->outstanding--;
	counter_add(&qp->stats.completed, 1);
	done(slot->arg, cqe);
}

/*
 * A command that we aborted. When the Abort took effect the command is issued again, for the host
 * did not ask for it. Its CID stays taken until the Abort was answered.
 */
static void complete_aborted(struct nvme_qpair *qp, uint16_t cid, const struct nvme_cqe *cqe)
{
	struct nvme_slot *slot = &qp->slots[cid];
	bool took_effect = nvme_cqe_status(cqe) == NVME_SC_ABORT_REQUESTED &&
			   !NVME_SQE_FUSE(slot->sqe.flags); /* half a pair makes no sense */
	bool held = slot->flags & NVME_SLOT_HELD;

	if (took_effect && held) {
		slot->flags |= NVME_SLOT_AGAIN;
		return;
	}
	if (!held)
		slot->flags = 0;
	if (took_effect) {
		nvme_qpair_issue_again(qp, cid);
		return;
	}
	if (!held)
		nvme_qpair_slot_free(qp, cid);
	nvme_qpair_end_command(qp, slot, cqe);
}

static void complete_slot(struct nvme_qpair *qp, uint16_t cid, const struct nvme_cqe *cqe)
{
	struct nvme_slot *slot = &qp->slots[cid];

	if (__builtin_expect(slot->flags != 0, 0)) {
		complete_aborted(qp, cid, cqe);
		return;
	}
	nvme_qpair_slot_free(qp, cid);
	nvme_qpair_end_command(qp, slot, cqe);
}

/* The SSD is not trusted: a CID that nobody waits for is counted, told once in a while, and
 * dropped. */
static void unknown_cid(struct nvme_qpair *qp, uint16_t cid)
{
	static _Thread_local struct log_limit limit = LOG_LIMIT_INIT(5);

	counter_add(&qp->stats.unknown_cids, 1);
	log_limited(&limit, LOG_LEVEL_ERR,
		    "%s: queue %u: completion with CID %u, which no command under way has",
		    qp->name ? qp->name : qp->dev->name, qp->qid, cid);
}

unsigned nvme_qpair_take_completions(struct nvme_qpair *qp)
{
	unsigned seen = 0, ended = 0;

	/* At most one round: an SSD that completes without end must not hold the thread. */
	while (seen < qp->entries && cq_has_entry(qp)) {
		struct nvme_cqe cqe;
		uint16_t cid;

		mmio_after_read(); /* the phase, before the rest */
		cqe = qp->cq[qp->cq_head];
		if (seen++ == 0 && qp->loop)
			loop_tick(qp->loop);
		if (++qp->cq_head == qp->entries) {
			qp->cq_head = 0;
			qp->phase = !qp->phase;
		}
		cid = le16_get(cqe.cid);
		if (cid >= qp->entries - 1 || !qp->slots[cid].done ||
		    (qp->slots[cid].flags & NVME_SLOT_AGAIN)) {
			unknown_cid(qp, cid);
		} else {
			complete_slot(qp, cid, &cqe);
			ended++;
		}
	}
	return ended;
}

unsigned nvme_qpair_reap(struct nvme_qpair *qp)
{
	unsigned n;

	device_poll(qp);
	n = nvme_qpair_take_completions(qp);
	if (qp->cq_head != qp->cq_head_rung && !qp->paused) {
		if (shadow_needs_mmio(qp->shadow_cq, qp->event_cq, qp->cq_head_rung, qp->cq_head))
			mmio_write32(qp->dev, qp->cq_doorbell, qp->cq_head);
		qp->cq_head_rung = qp->cq_head;
	}
	return n;
}

/*
 * The end of a wake-up. Reaping goes on until nothing is found: that closes the race of an
 * interrupt whose edge came before the last look, and finds what a device that completes inside its
 * doorbell has posted. A round that only brought what nobody waits for is the last, though: an SSD
 * that makes completions up must not hold the thread.
 */
static void work_run(struct loop_task *task)
{
	struct nvme_qpair *qp = container_of(task, struct nvme_qpair, work);
	unsigned n;

	if (qp->paused)
		return;
	do {
		nvme_qpair_ring(qp);
		n = nvme_qpair_reap(qp);
		run_waiters(qp);
	} while (n && qp->loop && !qp->paused && qp->sq_tail == qp->sq_tail_rung);
	if (!qp->loop)
		return; /* a completion let go of the queue pair */
	if (qp->sq_tail != qp->sq_tail_rung)
		loop_defer(qp->loop, &qp->work); /* behind what else this wake-up has to do */
	poll_arm(qp);
	if (!qp->watched && qp->outstanding)
		nvme_watch_arm(qp);
}

void nvme_qpair_abort_all(struct nvme_qpair *qp, uint16_t status)
{
	for (uint32_t cid = 0; cid < qp->entries - 1; cid++) {
		const struct nvme_cqe cqe = nvme_cqe_failed((uint16_t)cid, status);

		qp->slots[cid].flags = 0;
		if (qp->slots[cid].done)
			nvme_qpair_end_command(qp, &qp->slots[cid], &cqe);
	}
	nvme_qpair_slots_rebuild(qp);
}
