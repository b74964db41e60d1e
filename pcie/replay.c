/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a reset of the SSD means for a queue pair: pause, replay, and resume or refuse; see qpair.h.
 * On the owner's thread, as recovery.c asks for it.
 */
#include <event2/event.h>

#include "pcie/qpair_internal.h"
#include "util/log.h"

void nvme_qpair_issue_again(struct nvme_qpair *qp, uint16_t cid)
{
	struct nvme_slot *slot = &qp->slots[cid];

	nvme_qpair_put_on_ring(qp, &slot->sqe);
	slot->born = qp->tick;
	counter_add(&qp->stats.reissued, 1);
}

void nvme_qpair_pause(struct nvme_qpair *qp)
{
	qp->paused = true;
	if (qp->loop)
		loop_cancel(qp->loop, &qp->work);
}

/*
 * What the SSD fails over each time: its host hears of it, and the others have peace. And one half
 * of a fused pair: the other may have been completed, and a second execution of Compare and Write
 * compares with what the first wrote.
 */
static bool may_go_again(const struct nvme_slot *slot)
{
	return slot->tries < NVME_MAX_TRIES && !NVME_SQE_FUSE(slot->sqe.flags);
}

static void end_hopeless(struct nvme_qpair *qp)
{
	for (uint32_t cid = 0; cid < qp->entries - 1; cid++) {
		struct nvme_slot *slot = &qp->slots[cid];
		const struct nvme_cqe cqe = nvme_cqe_failed((uint16_t)cid, NVME_SC_INTERNAL);

		if (!slot->done || may_go_again(slot))
			continue;
		log_err("%s: queue %u: command %02xh is not issued again", qp->name, qp->qid,
			slot->sqe.opcode);
		nvme_qpair_end_command(qp, slot, &cqe);
	}
}

/* The oldest command that is not on the ring yet; NVME_SLOT_NONE: all are. */
static uint16_t next_in_order(const struct nvme_qpair *qp, uint64_t from)
{
	uint16_t best = NVME_SLOT_NONE;

	for (uint32_t cid = 0; cid < qp->entries - 1; cid++) {
		const struct nvme_slot *slot = &qp->slots[cid];

		if (slot->done && slot->order >= from &&
		    (best == NVME_SLOT_NONE || slot->order < qp->slots[best].order))
			best = (uint16_t)cid;
	}
	return best;
}

void nvme_qpair_replay(struct nvme_qpair *qp)
{
	uint64_t from = 0;
	uint16_t cid;

	must(qp->paused);
	while (nvme_qpair_take_completions(qp) > 0)
		;
	end_hopeless(qp);
	nvme_qpair_rings_rewind(qp);
	nvme_qpair_slots_rebuild(qp);
	for (; (cid = next_in_order(qp, from)) != NVME_SLOT_NONE; from = qp->slots[cid].order + 1)
		nvme_qpair_issue_again(qp, cid);
}

void nvme_qpair_end_waiters(struct nvme_qpair *qp)
{
	struct nvme_waiter *waiter;

	qp->ending = true;
	while ((waiter = TAILQ_FIRST(&qp->waiters)) != NULL) {
		nvme_qpair_unwait(qp, waiter);
		waiter->run(waiter);
	}
	qp->ending = false;
}

void nvme_qpair_refuse(struct nvme_qpair *qp, uint16_t status)
{
	must(qp->paused);
	qp->refusing = true;
	nvme_qpair_abort_all(qp, status);
	nvme_qpair_rings_rewind(qp);
	nvme_qpair_end_waiters(qp);
}

void nvme_qpair_resume(struct nvme_qpair *qp)
{
	for (uint32_t cid = 0; cid < qp->entries - 1; cid++)
		qp->slots[cid].born = qp->tick;
	qp->paused = qp->refusing = false;
	if (qp->loop)
		loop_defer(qp->loop, &qp->work);
}
