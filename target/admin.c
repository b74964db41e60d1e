/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Admin commands: which there are, and the small ones (Abort, Keep Alive, Asynchronous Event
 * Request). Base 5. docs/admin-commands.md lists every command with what becomes of it and why.
 */
#include <stddef.h>

#include "target/aen.h"
#include "target/commands.h"
#include "target/ctrl.h"
#include "target/fuse.h"
#include "target/io.h"
#include "target/passthru.h"
#include "target/queue.h"
#include "target/req.h"
#include "target/subsystem.h"
#include "target/target.h"
#include "target/transport.h"
#include "target/worker.h"

static void keep_alive(struct nvmet_req *req)
{
	nvmet_req_complete(req, 0); /* that it came is what counts: nvmet_req_parse() noted it */
}

static void async_event(struct nvmet_req *req)
{
	nvmet_aen_request(req->queue->ctrl, req);
}

static void abort_answered(struct loop_msg *msg)
{
	struct nvmet_req *req = container_of(msg, struct nvmet_req, msg);

	req->queue->ctrl->n_aborts--;
	nvmet_req_complete(req, 0);
}

/*
 * On the worker of the queue that the Abort is about. A command that is at the SSD is left there:
 * by the time an Abort reached it, the SSD's CID might be another command's.
 */
static void abort_on_worker(struct loop_msg *msg)
{
	struct nvmet_req *req = container_of(msg, struct nvmet_req, msg);
	struct nvmet_queue *queue = req->abort_queue;
	uint16_t cid = (uint16_t)(nvmet_cdw10(req) >> 16);
	enum nvmet_abort_result result = NVMET_ABORT_NOT_FOUND;
	struct nvmet_req *found;

	/* A connection that is being closed has already taken its commands off its lists. To look
	 * through them for what is not there would be dear, and hosts can have it done at will. */
	if (!queue->releasing && nvmet_queue_cid_test(queue, cid))
		result = queue->ops->abort(queue, cid, &found);
	if (result == NVMET_ABORT_EXECUTING && (nvmet_io_abort(found) || nvmet_fuse_abort(found)))
		result = NVMET_ABORT_DONE;
	if (result != NVMET_ABORT_DONE)
		req->cqe.dw0 = le32_set(NVME_ABORT_NOT_ABORTED);
	loop_post(queue->target->loop, &req->msg, abort_answered);
}

/* Base 5.1: succeeds, unless there are too many; bit 0 tells whether the command was aborted. */
static void nvmet_abort(struct nvmet_req *req)
{
	struct nvmet_ctrl *ctrl = req->queue->ctrl;
	uint16_t sqid = (uint16_t)nvmet_cdw10(req), cid = (uint16_t)(nvmet_cdw10(req) >> 16);

	if (sqid == 0) {
		if (!nvmet_aen_abort(ctrl, cid))
			req->cqe.dw0 = le32_set(NVME_ABORT_NOT_ABORTED);
		nvmet_req_complete(req, 0);
		return;
	}
	if (sqid > NVMET_MAX_QUEUES || !ctrl->queues[sqid] || ctrl->queues[sqid]->dying) {
		req->cqe.dw0 = le32_set(NVME_ABORT_NOT_ABORTED);
		nvmet_req_complete(req, 0);
		return;
	}
	if (ctrl->n_aborts > NVMET_ACL) {
		nvmet_req_complete(req, NVME_SC_ABORT_LIMIT);
		return;
	}
	ctrl->n_aborts++;
	/* The queue outlives the message: its release is told to the worker by a later one. */
	req->abort_queue = ctrl->queues[sqid];
	loop_post(&req->abort_queue->worker->loop, &req->msg, abort_on_worker);
}

uint16_t nvmet_parse_admin(struct nvmet_req *req)
{
	switch (req->cmd.opcode) {
	case NVME_ADMIN_IDENTIFY:
		return nvmet_parse_identify(req);
	case NVME_ADMIN_GET_LOG_PAGE:
		return nvmet_parse_get_log_page(req);
	case NVME_ADMIN_SET_FEATURES:
		return nvmet_parse_set_features(req);
	case NVME_ADMIN_GET_FEATURES:
		return nvmet_parse_get_features(req);
	case NVME_ADMIN_KEEP_ALIVE:
		return nvmet_req_for_control(req, keep_alive, NVMET_DIR_NONE, 0);
	case NVME_ADMIN_AER:
		return nvmet_req_for_control(req, async_event, NVMET_DIR_NONE, 0);
	case NVME_ADMIN_ABORT:
		if (req->queue->ctrl->subsys->discovery)
			return nvmet_req_invalid_opcode(req);
		return nvmet_req_for_control(req, nvmet_abort, NVMET_DIR_NONE, 0);
	default:
		return nvmet_parse_passthru(req);
	}
}
