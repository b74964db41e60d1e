/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Making and deleting I/O queue pairs (Base 5.4, 5.5, 5.6, 5.7): the completion queue comes first
 * and goes last.
 */
#include <errno.h>
#include <stdlib.h>

#include "pcie/ctrl_internal.h"
#include "util/bits.h"
#include "util/log.h"
#include "util/num.h"

#define QUEUE_PC  (1u << 0) /* physically contiguous */
#define QUEUE_IEN (1u << 1)

/* A creation or deletion under way; it is part of its queue pair's struct queue_ops. */
struct queue_op {
	struct nvme_admin_cmd cmd;
	struct nvme_ctrl *ctrl;
	struct nvme_qpair *qp;
	nvme_qpair_created_fn *created;
	void (*again)(struct nvme_ctrl *ctrl); /* of a queue pair that exists */
	nvme_qpair_deleted_fn *deleted;
	bool sent; /* the SSD is deleting, or deleted() is posted */
	void *arg;
	struct loop_msg msg;
};

/*
 * All that a queue pair may ever need, allocated before the SSD knows of it: nothing that makes the
 * SSD forget a queue may fail for lack of memory. Freed with the queue pair, by qpair_gone().
 */
struct queue_ops {
	struct queue_op life;  /* its creation, then its deletion */
	struct queue_op again; /* its creation after a reset */
};

unsigned nvme_ctrl_queues_free(const struct nvme_ctrl *ctrl)
{
	return ctrl->known ? ctrl->info.n_queues - ctrl->qids_used : 0;
}

static uint16_t qid_take(struct nvme_ctrl *ctrl)
{
	for (unsigned qid = 1; qid <= ctrl->info.n_queues; qid++) {
		/* An Abort that is still under way must not meet another queue's command. */
		if (bits_test(ctrl->qids, qid) || qid == ctrl->abort_qid)
			continue;
		bits_set(ctrl->qids, qid);
		ctrl->qids_used++;
		return (uint16_t)qid;
	}
	return 0;
}

static void qid_give_back(struct nvme_ctrl *ctrl, uint16_t qid)
{
	bits_clear(ctrl->qids, qid);
	ctrl->qids_used--;
}

/* Frees the queue pair with its operations, and its ID. */
static void qpair_gone(struct nvme_qpair *qp)
{
	struct nvme_ctrl *ctrl = qp->main.ctrl;
	struct queue_ops *ops = qp->main.ops;
	uint16_t qid = qp->qid;

	nvme_recovery_forget(ctrl, qp);
	nvme_qpair_free(qp, ctrl->params.pool);
	free(ops);
	qid_give_back(ctrl, qid);
}

static int queue_command(struct queue_op *op, uint8_t opcode, uint64_t prp1, uint32_t cdw10,
			 uint32_t cdw11, nvme_done_fn *done)
{
	const struct nvme_sqe sqe = {
		.opcode = opcode,
		.prp1 = le64_set(prp1),
		.cdw10 = le32_set(cdw10),
		.cdw11 = le32_set(cdw11),
	};

	return nvme_admin_send_in(op->ctrl, &op->cmd, &sqe, done, op);
}

/* --- Creation --------------------------------------------------------------------------------- */

/* The SSD was switched off meanwhile: its recovery makes this queue pair's queues, too. */
static bool interrupted(const struct queue_op *op)
{
	return !op->qp->main.on_ssd;
}

static void created_again(const struct queue_op *op, int err)
{
	if (err && !interrupted(op))
		nvme_ctrl_recover(op->ctrl, "a queue pair could not be created again");
	else
		op->again(op->ctrl);
}

static void created_first(const struct queue_op *op, int err)
{
	nvme_qpair_created_fn *done = op->created;
	struct nvme_qpair *qp = op->qp;
	void *arg = op->arg;

	if (err) {
		log_err("%s: I/O queue pair %u could not be created", op->ctrl->name, qp->qid);
		qpair_gone(qp);
		qp = NULL;
	} else {
		qp->main.with_main = false;
	}
	done(arg, err, qp);
}

static void created(const struct queue_op *op, int err)
{
	if (op->again)
		created_again(op, err);
	else
		created_first(op, err);
}

static void undo_done(void *arg, const struct nvme_cqe *cqe)
{
	struct queue_op *op = arg;

	if (nvme_cqe_status(cqe) && op->qp->main.on_ssd)
		nvme_ctrl_recover(op->ctrl, "a completion queue could not be deleted");
	created(op, -EIO);
}

static void create_sq_done(void *arg, const struct nvme_cqe *cqe)
{
	struct queue_op *op = arg;

	if (nvme_cqe_status(cqe) == 0 || interrupted(op))
		created(op, 0);
	else if (queue_command(op, NVME_ADMIN_DELETE_CQ, 0, op->qp->qid, 0, undo_done))
		created(op, -EIO);
}

static void create_cq_done(void *arg, const struct nvme_cqe *cqe)
{
	struct queue_op *op = arg;
	struct nvme_qpair *qp = op->qp;

	if (interrupted(op))
		created(op, 0);
	else if (nvme_cqe_status(cqe) ||
		 queue_command(op, NVME_ADMIN_CREATE_SQ, qp->sq_iova,
			       (qp->entries - 1) << 16 | qp->qid,
			       (uint32_t)qp->qid << 16 | QUEUE_PC, create_sq_done))
		created(op, -EIO);
}

static void use_shadow(struct nvme_ctrl *ctrl, struct nvme_qpair *qp)
{
	size_t sq = 2u * qp->qid * ctrl->doorbell_stride, cq = sq + ctrl->doorbell_stride;
	uint8_t *shadow = ctrl->shadow.va, *events = ctrl->events.va;

	if (!ctrl->shadow_on) {
		qp->shadow_sq = qp->shadow_cq = qp->event_sq = qp->event_cq = NULL;
		return;
	}
	qp->shadow_sq = (volatile uint32_t *)(void *)(shadow + sq);
	qp->shadow_cq = (volatile uint32_t *)(void *)(shadow + cq);
	qp->event_sq = (volatile uint32_t *)(void *)(events + sq);
	qp->event_cq = (volatile uint32_t *)(void *)(events + cq);
	*qp->shadow_sq = *qp->shadow_cq = *qp->event_sq = *qp->event_cq = 0;
}

static int create(struct queue_op *op)
{
	struct nvme_ctrl *ctrl = op->ctrl;
	struct nvme_qpair *qp = op->qp;

	use_shadow(ctrl, qp);
	qp->main.on_ssd = true;
	return queue_command(op, NVME_ADMIN_CREATE_CQ, qp->cq_iova,
			     (qp->entries - 1) << 16 | qp->qid,
			     (uint32_t)qp->vector << 16 | QUEUE_PC | (ctrl->n_irqs ? QUEUE_IEN : 0),
			     create_cq_done);
}

void nvme_queues_create_again(struct nvme_qpair *qp, void (*done)(struct nvme_ctrl *ctrl))
{
	struct queue_op *op = &qp->main.ops->again;

	*op = (struct queue_op){ .ctrl = qp->main.ctrl, .qp = qp, .again = done };
	if (create(op))
		created_again(op, -EIO);
}

static void created_msg(struct loop_msg *msg)
{
	created(container_of(msg, struct queue_op, msg), 0);
}

/* A vector each while there are enough; vector 0 stays the admin queue's when possible. */
static void choose_vector(const struct nvme_ctrl *ctrl, struct nvme_qpair_params *params)
{
	if (!ctrl->n_irqs)
		return;
	params->vector = ctrl->n_irqs == 1 ? 0
					   : (uint16_t)(1 + (params->qid - 1) % (ctrl->n_irqs - 1));
	params->irq_fd = ctrl->irq_fds[params->vector];
}

static int new_qpair(struct nvme_ctrl *ctrl, uint32_t entries, struct loop *owner,
		     struct nvme_qpair **ret_qp)
{
	struct nvme_qpair_params params = {
		.dev = ctrl->dev,
		.name = ctrl->name,
		.watch = ctrl->params.io_timeout_ms ? &ctrl->watch : NULL,
		.pool = ctrl->params.pool,
		.qid = qid_take(ctrl),
		.irq_fd = -1,
		.entries = num_min(num_max(entries, 2u), ctrl->info.max_entries),
		.max_transfer = ctrl->info.max_transfer,
		.doorbell_stride = ctrl->doorbell_stride,
	};
	int err;

	if (!params.qid)
		return -EBUSY;
	choose_vector(ctrl, &params);
	err = nvme_qpair_new(&params, ret_qp);
	if (err) {
		qid_give_back(ctrl, params.qid);
		return err;
	}
	(*ret_qp)->main.ctrl = ctrl;
	(*ret_qp)->main.home = owner;
	(*ret_qp)->main.with_main = true;
	TAILQ_INSERT_TAIL(&ctrl->qpairs, *ret_qp, main.link);
	return 0;
}

int nvme_ctrl_create_qpair(struct nvme_ctrl *ctrl, uint32_t entries, struct loop *owner,
			   nvme_qpair_created_fn *done, void *arg)
{
	struct queue_ops *ops;
	struct nvme_qpair *qp;
	int err;

	if (!ctrl->known || ctrl->state == NVME_CTRL_SHUTDOWN || ctrl->state == NVME_CTRL_STOPPED)
		return -ENODEV;
	ops = calloc(1, sizeof(*ops));
	if (!ops)
		return -ENOMEM;
	err = new_qpair(ctrl, entries, owner, &qp);
	if (err) {
		free(ops);
		return err;
	}
	qp->main.ops = ops;
	ops->life = (struct queue_op){ .ctrl = ctrl, .qp = qp, .created = done, .arg = arg };
	if (ctrl->state != NVME_CTRL_READY) {
		qp->paused = true;
		qp->refusing = ctrl->out_of_patience;
		loop_post(ctrl->params.loop, &ops->life.msg, created_msg);
		return 0;
	}
	err = create(&ops->life);
	if (err)
		qpair_gone(qp);
	return err;
}

/* --- Deletion --------------------------------------------------------------------------------- */

static void delete_finish(const struct queue_op *op)
{
	nvme_qpair_deleted_fn *done = op->deleted;
	void *arg = op->arg;

	qpair_gone(op->qp);
	done(arg);
}

static void delete_finish_msg(struct loop_msg *msg)
{
	struct queue_op *op = container_of(msg, struct queue_op, msg);

	nvme_qpair_take_completions(op->qp);
	nvme_qpair_abort_all(op->qp, NVME_SC_HOST_PATH_ERROR);
	delete_finish(op);
}

/* The SSD refused, or was switched off meanwhile. If it was, it has forgotten the queues; if not,
 * it is reset. */
static void delete_failed(struct queue_op *op, const char *why)
{
	op->sent = false;
	if (op->qp->main.on_ssd)
		nvme_ctrl_recover(op->ctrl, why);
	nvme_queues_deletion_continue(op->qp);
}

static void delete_cq_done(void *arg, const struct nvme_cqe *cqe)
{
	struct queue_op *op = arg;

	if (nvme_cqe_status(cqe))
		delete_failed(op, "a completion queue could not be deleted");
	else
		delete_finish(op);
}

/* The SSD has let go of all commands. */
static void delete_sq_done(void *arg, const struct nvme_cqe *cqe)
{
	struct queue_op *op = arg;

	if (nvme_cqe_status(cqe)) {
		delete_failed(op, "a submission queue could not be deleted");
		return;
	}
	nvme_qpair_reap(op->qp); /* what it completed before */
	nvme_qpair_abort_all(op->qp, NVME_SC_ABORTED_SQ_DELETION);
	if (queue_command(op, NVME_ADMIN_DELETE_CQ, 0, op->qp->qid, 0, delete_cq_done))
		delete_failed(op, "a completion queue could not be deleted");
}

/* There are three cases: the SSD does not know the queues (any more); it is READY and can be told
 * to delete them; or it is on its way to one of these, and this is called again then. */
void nvme_queues_deletion_continue(struct nvme_qpair *qp)
{
	struct queue_op *op = qp->main.deletion;
	struct nvme_ctrl *ctrl = qp->main.ctrl;

	if (op->sent || qp->main.visiting || qp->main.reports_seen != qp->reports_sent)
		return;
	if (!qp->main.on_ssd) {
		op->sent = true;
		loop_post(ctrl->params.loop, &op->msg, delete_finish_msg);
	} else if (ctrl->state == NVME_CTRL_READY) {
		op->sent = true;
		if (queue_command(op, NVME_ADMIN_DELETE_SQ, 0, qp->qid, 0, delete_sq_done))
			delete_failed(op, "a submission queue could not be deleted");
	}
}

void nvme_queues_deletions(struct nvme_ctrl *ctrl)
{
	struct nvme_qpair *qp;

	TAILQ_FOREACH (qp, &ctrl->qpairs, main.link) {
		if (qp->main.deletion)
			nvme_queues_deletion_continue(qp);
	}
}

void nvme_ctrl_delete_qpair(struct nvme_ctrl *ctrl, struct nvme_qpair *qp,
			    nvme_qpair_deleted_fn *deleted, void *arg)
{
	struct queue_op *op = &qp->main.ops->life;

	must(!qp->loop);
	*op = (struct queue_op){ .ctrl = ctrl, .qp = qp, .deleted = deleted, .arg = arg };
	qp->main.deletion = op;
	nvme_queues_deletion_continue(qp);
}
