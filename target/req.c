/* SPDX-License-Identifier: BSD-3-Clause */
/* The life of one command: parse, the way to the main thread and back, completion. See req.h. */
#include "target/req.h"

#include <errno.h>
#include <stddef.h>

#include "target/commands.h"
#include "target/ctrl.h"
#include "target/fuse.h"
#include "target/queue.h"
#include "target/subsystem.h"
#include "target/target.h"
#include "target/transport.h"
#include "target/worker.h"

uint16_t nvmet_req_refuse(struct nvmet_req *req, size_t error_loc, uint16_t sc)
{
	req->error_loc = (uint16_t)error_loc;
	return sc | NVME_STATUS_DNR;
}

uint16_t nvmet_req_invalid_field(struct nvmet_req *req, size_t error_loc)
{
	return nvmet_req_refuse(req, error_loc, NVME_SC_INVALID_FIELD);
}

uint16_t nvmet_req_invalid_opcode(struct nvmet_req *req)
{
	return nvmet_req_refuse(req, offsetof(struct nvme_sqe, opcode), NVME_SC_INVALID_OPCODE);
}

uint16_t nvmet_req_invalid_ns(struct nvmet_req *req)
{
	return nvmet_req_refuse(req, offsetof(struct nvme_sqe, nsid), NVME_SC_INVALID_NS);
}

uint16_t nvmet_status_from_errno(int err)
{
	switch (err) {
	case 0:
		return NVME_SC_SUCCESS;
	case -EAGAIN:
	case -EBUSY:
	case -ENOMEM:
		return NVME_SC_NS_NOT_READY; /* the host tries again */
	case -ENODEV:
	case -ETIMEDOUT:
		return NVME_SC_HOST_PATH_ERROR;
	case -EINVAL:
		return NVME_SC_INVALID_FIELD | NVME_STATUS_DNR;
	case -EOPNOTSUPP:
		return NVME_SC_INVALID_OPCODE | NVME_STATUS_DNR;
	default:
		return NVME_SC_INTERNAL;
	}
}

/* The SGL descriptor against what came with the capsule (TCP transport 1.0, 3.3.2.1;
 * Base 4.1.2). */
static uint16_t check_sgl(struct nvmet_req *req, enum nvmet_dir dir)
{
	const struct nvme_sgl_desc *sgl = &req->cmd.sgl;
	const uint16_t type_loc =
		offsetof(struct nvme_sqe, sgl) + offsetof(struct nvme_sgl_desc, type);
	const uint16_t len_loc =
		offsetof(struct nvme_sqe, sgl) + offsetof(struct nvme_sgl_desc, length);

	switch (sgl->type) {
	case NVMF_SGL_TRANSPORT:
		if (req->icd_len)
			return nvmet_req_invalid_field(req, type_loc);
		return 0;
	case NVMF_SGL_DATA_OFFSET:
		if (dir != NVMET_DIR_WRITE)
			return nvmet_req_invalid_field(req, type_loc);
		if (le64_get(sgl->addr) != 0)
			return nvmet_req_refuse(req, offsetof(struct nvme_sqe, sgl),
						NVME_SC_SGL_OFFSET_INVALID);
		if (le32_get(sgl->length) != req->icd_len)
			return nvmet_req_refuse(req, len_loc, NVME_SC_SGL_LENGTH_INVALID);
		return 0;
	default:
		return nvmet_req_refuse(req, type_loc, NVME_SC_SGL_TYPE_INVALID);
	}
}

/* What Identify's MDTS says; before Connect has told which subsystem it is, our own limit. */
static uint32_t max_transfer(const struct nvmet_queue *queue)
{
	return queue->live ? queue->ctrl->promise.max_transfer : queue->target->max_transfer;
}

uint16_t nvmet_req_expect_range(struct nvmet_req *req, enum nvmet_dir dir, uint64_t min,
				uint64_t max)
{
	const uint16_t len_loc =
		offsetof(struct nvme_sqe, sgl) + offsetof(struct nvme_sgl_desc, length);
	uint32_t len = le32_get(req->cmd.sgl.length), limit = max_transfer(req->queue);
	uint16_t status;

	/* Hosts fill the SGL of a command without data as they like, but for its length. */
	if (max == 0 && len == 0 && req->icd_len == 0) {
		req->dir = NVMET_DIR_NONE;
		return 0;
	}
	status = check_sgl(req, dir);
	if (status)
		return status;
	if (min > limit || len > limit)
		return nvmet_req_invalid_field(req, len_loc);
	if (len < min || len > max)
		return nvmet_req_refuse(req, len_loc, NVME_SC_SGL_LENGTH_INVALID);
	req->dir = dir;
	req->transfer_len = len;
	return 0;
}

uint16_t nvmet_req_expect(struct nvmet_req *req, enum nvmet_dir dir, uint64_t len)
{
	return nvmet_req_expect_range(req, dir, len, len);
}

/* Base 4.1: SGLs only. Fabrics commands have nothing else anyway, and byte 1 is reserved in theirs:
 * hosts leave it 0 or fill it in as everywhere. */
static bool psdt_allowed(const struct nvme_sqe *sqe)
{
	unsigned psdt = NVME_SQE_PSDT(sqe->flags);

	return psdt == NVME_PSDT_SGL ||
	       (sqe->opcode == NVME_OPCODE_FABRICS && psdt == NVME_PSDT_PRP);
}

uint16_t nvmet_req_parse(struct nvmet_req *req, uint32_t in_capsule_len)
{
	struct nvmet_queue *queue = req->queue;

	req->cqe = (struct nvme_cqe){ .cid = req->cmd.cid };
	req->execute = NULL;
	req->control = NULL;
	req->dir = NVMET_DIR_NONE;
	req->transfer_len = 0;
	req->icd_len = in_capsule_len;
	req->ns = NULL;
	req->latency = NULL;
	req->waiter.queued = false;
	req->fuse = 0;
	req->on_control = false;
	req->trust = NVMET_TRUST_SAME;
	req->error_loc = NVMET_NO_ERROR_LOC;

	/* Keep-alive looks at this now and then; the store is skipped while it has not. */
	if (!__atomic_load_n(&queue->active, __ATOMIC_RELAXED))
		__atomic_store_n(&queue->active, true, __ATOMIC_RELAXED);

	if (__builtin_expect(NVME_SQE_FUSE(req->cmd.flags) || nvmet_fuse_open(queue), 0)) {
		uint16_t status = nvmet_fuse_arrive(req);

		if (status)
			return status;
	}
	if (!psdt_allowed(&req->cmd))
		return nvmet_req_invalid_field(req, offsetof(struct nvme_sqe, flags));
	if (req->cmd.opcode == NVME_OPCODE_FABRICS)
		return nvmet_parse_fabrics(req);
	if (!queue->live)
		return NVME_SC_CMD_SEQUENCE | NVME_STATUS_DNR;
	if (!queue->trusted)
		return NVME_SC_AUTH_REQUIRED | NVME_STATUS_DNR;
	return queue->qid == 0 ? nvmet_parse_admin(req) : nvmet_parse_io(req);
}

/* On the worker: the last step before the transport. */
static void finish(struct nvmet_req *req)
{
	struct nvmet_queue *queue = req->queue;

	/* While Connect is at work these fields are the main thread's, and there is
	 * no queue yet. */
	if (!queue->connecting && queue->flow_control) {
		queue->sqhd = (uint16_t)((queue->sqhd + 1) % queue->entries);
		req->cqe.sqhd = le16_set(queue->sqhd);
	}
	queue->ops->queue_response(req);
}

static void finish_msg(struct loop_msg *msg)
{
	struct nvmet_req *req = container_of(msg, struct nvmet_req, msg);
	struct nvmet_queue *queue = req->queue;

	req->on_control = false;
	if (queue->connecting)
		nvmet_queue_connect_answered(queue, req);
	if (req->trust != NVMET_TRUST_SAME)
		queue->trusted = req->trust == NVMET_TRUST_GIVEN;
	finish(req);
}

/* A failed I/O command passes by the main thread, which keeps the controller's error log. */
static void log_error(struct nvmet_req *req)
{
	nvmet_req_complete(req, nvme_cqe_status(&req->cqe));
}

void nvmet_req_complete(struct nvmet_req *req, uint16_t status)
{
	struct nvmet_queue *queue = req->queue;

	req->cqe.status = nvme_status_to_wire(status, false);
	if (__builtin_expect(req->fuse, 0))
		nvmet_fuse_ended(req);
	if (!req->on_control) {
		if (__builtin_expect(status == 0, 1) || !queue->live || !queue->trusted) {
			finish(req);
			return;
		}
		req->control = log_error;
		nvmet_req_to_control(req);
		return;
	}
	if (status && queue->ctrl)
		nvmet_ctrl_log_error(queue->ctrl, req);
	queue->control_outstanding--;
	loop_post(&queue->worker->loop, &req->msg, finish_msg);
	if (queue->dying)
		nvmet_queue_release_continue(queue);
}

/* An admin command to a controller that is not enabled (what is wrong with it besides matters
 * less). */
static bool too_early(const struct nvmet_req *req)
{
	return req->queue->qid == 0 && req->cmd.opcode != NVME_OPCODE_FABRICS &&
	       !nvmet_ctrl_is_enabled(req->queue->ctrl);
}

static void control_msg(struct loop_msg *msg)
{
	struct nvmet_req *req = container_of(msg, struct nvmet_req, msg);

	req->queue->control_outstanding++;
	if (too_early(req))
		nvmet_req_complete(req,
				   nvmet_req_refuse(req, NVMET_NO_ERROR_LOC, NVME_SC_CMD_SEQUENCE));
	else
		req->control(req);
}

void nvmet_req_to_control(struct nvmet_req *req)
{
	req->on_control = true;
	loop_post(req->queue->target->loop, &req->msg, control_msg);
}

uint16_t nvmet_req_for_control(struct nvmet_req *req, nvmet_control_fn *control, enum nvmet_dir dir,
			       uint64_t len)
{
	req->execute = nvmet_req_to_control;
	req->control = control;
	return nvmet_req_expect(req, dir, len);
}
