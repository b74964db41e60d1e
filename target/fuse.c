/* SPDX-License-Identifier: BSD-3-Clause */
/* Fused Compare and Write: pairing, parking, and the ends of pairs that do not become one. See
 * fuse.h. */
#include "target/fuse.h"

#include <stddef.h>

#include "pcie/ctrl.h"
#include "pcie/dma.h"
#include "target/ctrl.h"
#include "target/io.h"
#include "target/queue.h"
#include "target/req.h"
#include "target/ssd.h"
#include "target/subsystem.h"
#include "target/worker.h"
#include "util/num.h"

/*
 * Of a worker's DMA pages, the part that halves may hold: 1/64, and twice that for an instant. It
 * is well below what the transport reserves for data in capsules (pages.h).
 */
#define PAGES_PART   64
#define PAGES_A_HALF (NVMET_FUSED_MAX / DMA_PAGE_SIZE)

/* --- What is offered -------------------------------------------------------------------------- */

bool nvmet_fuse_offered(const struct nvmet_subsystem *subsys, unsigned n_ssds)
{
	for (unsigned i = 0; i < n_ssds; i++) {
		const struct nvme_ctrl_info *info = nvme_ctrl_info(subsys->ssds[i]->ctrl);

		/* A ring of n entries holds n - 1 commands. */
		if (!(le16_get(info->id.fuses) & NVME_FUSES_COMPARE_AND_WRITE) ||
		    !(info->oncs & NVME_ONCS_COMPARE) || info->max_entries < 3)
			return false;
	}
	return n_ssds > 0;
}

uint16_t nvmet_fuse_acwu(const struct nvmet_ns *ns)
{
	const struct nvme_id_ns *id = &ns->nvme_ns->id;
	uint32_t ours = NVMET_FUSED_MAX / ns->format.block_bytes;
	uint16_t acwu = le16_get(id->nsfeat & NVME_NSFEAT_ATOMIC
					 ? id->nacwu
					 : nvme_ctrl_info(ns->ssd->ctrl)->id.acwu);

	return (uint16_t)num_min((uint32_t)acwu, ours ? ours - 1 : 0);
}

/* --- Pairing ---------------------------------------------------------------------------------- */

bool nvmet_fuse_open(const struct nvmet_queue *queue)
{
	return queue->fuse.first || queue->fuse.failed;
}

static void join(struct nvmet_req *req, uint8_t half)
{
	req->fuse = half;
	req->fuse_parked = false;
	req->fuse_status = 0;
	req->mate = NULL;
	req->queue->fuse.n++;
	req->queue->worker->fused_halves++;
}

/* No part of a pair any more: it goes its own way, or both go to the SSD. */
static void leave(struct nvmet_req *req)
{
	req->queue->fuse.n--;
	req->queue->fuse.n_parked -= req->fuse_parked;
	req->queue->worker->fused_halves--;
	req->fuse = 0;
	req->fuse_parked = false;
}

/* Ends with `status`: at once, or as soon as its data has come (the host may be sending it). */
static void fail(struct nvmet_req *req, uint16_t status)
{
	req->mate = NULL;
	req->fuse_status = status;
	if (req->fuse_parked)
		nvmet_req_complete(req, status);
}

static bool room_for_pair(const struct worker *worker)
{
	size_t limit = dma_pool_total(worker->pool) / PAGES_PART / PAGES_A_HALF;

	return worker->fused_halves + 2 <= num_max(limit, (size_t)2);
}

static uint16_t first_half(struct nvmet_req *req)
{
	struct nvmet_fuse *fuse = &req->queue->fuse;

	fuse->failed = true; /* unless it turns out well */
	if (req->cmd.opcode != NVME_IO_COMPARE)
		return nvmet_req_invalid_field(req, offsetof(struct nvme_sqe, opcode));
	if (!room_for_pair(req->queue->worker))
		return NVME_SC_CMD_INTERRUPTED; /* the host tries again */
	fuse->failed = false;
	fuse->first = req;
	join(req, NVME_FUSE_FIRST);
	return 0;
}

/* Both must be about the same blocks (NVM Command Set 2.1.4). */
static uint16_t second_half(struct nvmet_req *req, struct nvmet_req *first)
{
	const uint32_t nlb = 0xffff;

	join(req, NVME_FUSE_SECOND);
	req->mate = first;
	first->mate = req;
	if (req->cmd.opcode != NVME_IO_WRITE)
		return nvmet_req_invalid_field(req, offsetof(struct nvme_sqe, opcode));
	if (le32_get(req->cmd.nsid) != le32_get(first->cmd.nsid))
		return nvmet_req_invalid_field(req, offsetof(struct nvme_sqe, nsid));
	if (nvmet_slba(req) != nvmet_slba(first))
		return nvmet_req_invalid_field(req, offsetof(struct nvme_sqe, cdw10));
	if ((nvmet_cdw12(req) & nlb) != (nvmet_cdw12(first) & nlb))
		return nvmet_req_invalid_field(req, offsetof(struct nvme_sqe, cdw12));
	return 0;
}

uint16_t nvmet_fuse_arrive(struct nvmet_req *req)
{
	struct nvmet_queue *queue = req->queue;
	struct nvmet_req *first = queue->fuse.first;
	bool failed = queue->fuse.failed;
	unsigned half = NVME_SQE_FUSE(req->cmd.flags);

	queue->fuse.first = NULL;
	queue->fuse.failed = false;
	if (first && half != NVME_FUSE_SECOND)
		fail(first, NVME_SC_ABORTED_FUSED_MISSING);
	if (half == 0)
		return 0;
	/* Until it is live, QID and controller are the main thread's. */
	if (!queue->live || queue->qid == 0 || req->cmd.opcode == NVME_OPCODE_FABRICS ||
	    !queue->ctrl->promise.fuses || (half != NVME_FUSE_FIRST && half != NVME_FUSE_SECOND)) {
		if (first && half == NVME_FUSE_SECOND)
			fail(first, NVME_SC_ABORTED_FUSED_MISSING);
		return nvmet_req_invalid_field(req, offsetof(struct nvme_sqe, flags));
	}
	if (half == NVME_FUSE_FIRST)
		return first_half(req);
	if (failed)
		return NVME_SC_ABORTED_FUSED_FAILED;
	return first ? second_half(req, first) : NVME_SC_ABORTED_FUSED_MISSING;
}

/* --- Ends ------------------------------------------------------------------------------------- */

void nvmet_fuse_execute(struct nvmet_req *req)
{
	struct nvmet_req *mate = req->mate, *first;

	if (req->fuse_status) {
		nvmet_req_complete(req, req->fuse_status);
		return;
	}
	req->fuse_parked = true;
	req->queue->fuse.n_parked++;
	if (!mate || !mate->fuse_parked)
		return;
	first = req->fuse == NVME_FUSE_FIRST ? req : mate;
	leave(req);
	leave(mate);
	nvmet_io_execute_pair(first);
}

void nvmet_fuse_ended(struct nvmet_req *req)
{
	struct nvmet_queue *queue = req->queue;
	struct nvmet_req *mate = req->mate;

	if (queue->fuse.first == req) {
		queue->fuse.first = NULL;
		queue->fuse.failed = true;
	}
	req->mate = NULL;
	leave(req);
	if (mate)
		fail(mate, NVME_SC_ABORTED_FUSED_FAILED);
}

bool nvmet_fuse_abort(struct nvmet_req *req)
{
	if (!req->fuse || !req->fuse_parked)
		return false;
	nvmet_req_complete(req, NVME_SC_ABORT_REQUESTED);
	return true;
}

void nvmet_fuse_forget(struct nvmet_queue *queue)
{
	queue->worker->fused_halves -= queue->fuse.n;
	queue->fuse = (struct nvmet_fuse){ .first = NULL };
}
