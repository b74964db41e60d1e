/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The watchdog of a queue pair; see struct nvme_watch. Owner's thread.
 *
 * It costs the I/O path a test per wake-up: commands carry the tick in which they were issued, and
 * only the watchdog compares. It never acts on the SSD; it tells the main thread, which sends the
 * Abort or resets the SSD (recovery.c), and answers. Until the answer there is no second report,
 * and the CID that an Abort names belongs to no other command.
 */
#include <errno.h>
#include <event2/event.h>

#include "pcie/qpair_internal.h"
#include "util/clock.h"
#include "util/log.h"

#define TICKS_AFTER_ABORT 2 /* for the aborted command's own completion */

struct ages {
	unsigned aged; /* commands that have seen a tick or more */
	unsigned overdue;
	uint16_t oldest; /* of the overdue */
};

static struct ages look(const struct nvme_qpair *qp)
{
	struct ages ages = { .oldest = NVME_SLOT_NONE };

	for (uint32_t cid = 0; cid < qp->entries - 1; cid++) {
		const struct nvme_slot *slot = &qp->slots[cid];
		uint32_t age = qp->tick - slot->born;

		if (!slot->done || age <= 1)
			continue;
		ages.aged++;
		if (age <= qp->watch->timeout_ticks)
			continue;
		ages.overdue++;
		if (ages.oldest == NVME_SLOT_NONE || slot->order < qp->slots[ages.oldest].order)
			ages.oldest = (uint16_t)cid;
	}
	return ages;
}

/* What was completed and announced by nobody; from then on the queue is polled until an interrupt
 * comes. */
static void find_lost(struct nvme_qpair *qp, unsigned aged)
{
	static _Thread_local struct log_limit limit = LOG_LIMIT_INIT(5);

	nvme_qpair_reap(qp);
	if (!qp->loop || look(qp).aged >= aged)
		return;
	counter_add(&qp->stats.lost_interrupts, 1);
	if (qp->irq_fd >= 0 && !qp->polled)
		log_limited(&limit, LOG_LEVEL_WARN,
			    "%s: queue %u: an interrupt was lost: polling until the next one",
			    qp->name, qp->qid);
	qp->polled = true;
	loop_defer(qp->loop, &qp->work);
}

static void report(struct nvme_qpair *qp, const struct ages *ages)
{
	qp->reporting = true;
	qp->reports_sent++;
	qp->n_overdue = ages->overdue;
	qp->aborted_before = false;
	if (ages->overdue) {
		struct nvme_slot *slot = &qp->slots[ages->oldest];

		counter_add(&qp->stats.overdue, ages->overdue);
		qp->aborted_before = slot->tries > 0;
		/* All that are overdue have a part in what comes. */
		for (uint32_t cid = 0; cid < qp->entries - 1; cid++) {
			if (qp->slots[cid].done &&
			    qp->tick - qp->slots[cid].born > qp->watch->timeout_ticks)
				qp->slots[cid].tries++;
		}
		if (ages->overdue == 1 && !qp->aborted_before) {
			slot->flags = NVME_SLOT_HELD;
			qp->held_cid = ages->oldest;
		}
	}
	loop_post(qp->watch->loop, &qp->report, qp->watch->report);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct nvme_qpair *qp = arg;
	struct ages ages;

	(void)fd;
	(void)what;
	qp->watched = false;
	if (qp->refusing)
		nvme_qpair_end_waiters(qp);
	if (qp->paused)
		return; /* nothing ages while the SSD is being reset */
	qp->tick++;
	ages = look(qp);
	if (ages.aged) {
		find_lost(qp, ages.aged);
		if (!qp->loop)
			return;
		ages = look(qp);
	}
	if (ages.aged && !qp->reporting)
		report(qp, &ages);
	if (qp->outstanding)
		nvme_watch_arm(qp);
}

void nvme_watch_arm(struct nvme_qpair *qp)
{
	struct timeval tick;

	if (!qp->watchdog)
		return;
	tick = clock_timeval(qp->watch->tick_ms);
	qp->watched = evtimer_add(qp->watchdog, &tick) == 0;
}

int nvme_watch_attach(struct nvme_qpair *qp)
{
	if (!qp->watch)
		return 0;
	qp->watchdog = evtimer_new(qp->loop->base, on_tick, qp);
	return qp->watchdog ? 0 : -ENOMEM;
}

void nvme_watch_detach(struct nvme_qpair *qp)
{
	if (qp->watchdog)
		event_free(qp->watchdog);
	qp->watchdog = NULL;
	qp->watched = false;
}

/* What the report counted is taken back. */
static void excuse(struct nvme_qpair *qp)
{
	for (uint32_t cid = 0; cid < qp->entries - 1; cid++) {
		struct nvme_slot *slot = &qp->slots[cid];

		if (!slot->done || qp->tick - slot->born <= qp->watch->timeout_ticks)
			continue;
		slot->born = qp->tick;
		slot->tries -= slot->tries > 0;
	}
}

void nvme_watch_answered(struct nvme_qpair *qp)
{
	uint16_t cid = qp->held_cid;
	bool excused = qp->excused;
	struct nvme_slot *slot;

	qp->reporting = qp->excused = false;
	if (excused)
		excuse(qp);
	if (cid == NVME_SLOT_NONE)
		return;
	qp->held_cid = NVME_SLOT_NONE;
	slot = &qp->slots[cid];
	if (!slot->done) {
		slot->flags = 0;
		nvme_qpair_slot_free(qp, cid); /* it ended while the Abort was under way */
	} else if (slot->flags & NVME_SLOT_AGAIN) {
		slot->flags = 0;
		nvme_qpair_issue_again(qp, cid);
	} else if (excused) {
		slot->flags = 0; /* there was no Abort */
	} else {
		/* Its own completion may still be on the way; if not, it is reported again. */
		slot->flags = NVME_SLOT_ABORTED;
		slot->born = qp->tick - qp->watch->timeout_ticks + TICKS_AFTER_ABORT;
	}
	if (qp->loop)
		loop_defer(qp->loop, &qp->work);
}
