/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * I/O commands that were found good (nvm.c): each is translated into a command of the SSD,
 * submitted on the queue's own queue pair, and its completion translated back.
 *
 * The SSD's command is built from zero: nothing of the host's command reaches the SSD but the
 * fields that the specification defines for that opcode.
 */
#include "target/io.h"

#include <errno.h>

#include "pcie/ctrl.h"
#include "pcie/qpair.h"
#include "target/latency.h"
#include "target/nvm.h"
#include "target/queue.h"
#include "target/req.h"
#include "target/ssd.h"
#include "target/subsystem.h"
#include "util/log.h"

static void io_submit(struct nvmet_req *req);

static struct nvmet_path *path_of(const struct nvmet_req *req)
{
	return &req->queue->paths[req->ns->path];
}

/*
 * A Flush says that all earlier writes are safe. When the SSD lost its cache since the last one,
 * the SSD's word does not hold, be it for a Flush that was issued again or for one that came later.
 * No retry: that would succeed, and the host would not know.
 */
static uint16_t flush_status(const struct nvmet_req *req, struct nvmet_path *path, uint16_t status)
{
	static _Thread_local struct log_limit limit = LOG_LIMIT_INIT(5);

	if (status || !nvmet_losses_tell(&req->ns->ssd->losses, path, req->ns, req->begun_ns))
		return status;
	log_limited(&limit, LOG_LEVEL_WARN,
		    "%s: namespace %u: Flush fails, for the SSD %s lost its write cache: "
		    "earlier writes may be missing",
		    req->queue->peer, req->ns->nsid, req->ns->ssd->name);
	return NVME_SC_WRITE_FAULT | NVME_STATUS_DNR;
}

/* Worker; main thread while the queue pair is being deleted (the queue is then its own). */
static void io_done(void *arg, const struct nvme_cqe *cqe)
{
	struct nvmet_req *req = arg;
	struct nvmet_queue *queue = req->queue;
	struct nvmet_path *path = path_of(req);
	uint16_t status;

	if (queue->releasing) {
		nvmet_ssd_drained(path);
		return;
	}
	path->outstanding--;
	nvmet_latency_ssd(req);
	req->cqe.dw0 = cqe->dw0;
	req->cqe.dw1 = cqe->dw1;
	status = nvmet_status_from_ssd(cqe);
	if (__builtin_expect(req->cmd.opcode == NVME_IO_FLUSH, 0))
		status = flush_status(req, path, status);
	nvmet_req_complete(req, status);
}

static void io_room(struct nvme_waiter *waiter)
{
	io_submit(container_of(waiter, struct nvmet_req, waiter));
}

uint32_t nvmet_io_data_align(const struct nvmet_req *req)
{
	const struct nvme_qpair *qpair = path_of(req)->qpair;

	return qpair ? nvme_qpair_data_align(qpair) : DMA_PAGE_SIZE;
}

/* Puts the command on the SSD's queue. 0, -EAGAIN (no room now) or -ENODEV (the SSD
 * is not there). */
static int put_on_queue(struct nvmet_req *req)
{
	struct nvmet_path *path = path_of(req);
	const struct nvmet_nvm_op *op = req->op;
	struct nvme_sqe sqe = {
		.opcode = req->cmd.opcode,
		.flags = (uint8_t)NVME_SQE_FUSE(req->cmd.flags),
		.nsid = le32_set(req->ns->ssd_nsid),
		.cdw10 = le32_set(nvmet_cdw10(req) & op->cdw10),
		.cdw11 = le32_set(nvmet_cdw11(req) & op->cdw11),
		.cdw12 = le32_set(nvmet_cdw12(req) & op->cdw12),
		.cdw13 = le32_set(nvmet_cdw13(req) & op->cdw13),
	};
	int err;

	if (__builtin_expect(req->ns->format.metadata != NVMET_METADATA_NONE, 0))
		nvmet_format_apply(req, &sqe);
	err = nvme_qpair_submit(path->qpair, &sqe, req->data.iova, req->transfer_len, io_done, req);
	if (err)
		return err;
	path->outstanding++;
	return 0;
}

static void wait_for_room(struct nvmet_req *req, void (*run)(struct nvme_waiter *), uint8_t slots)
{
	req->waiter.run = run;
	req->waiter.slots = slots;
	nvme_qpair_wait(path_of(req)->qpair, &req->waiter);
}

static void io_submit(struct nvmet_req *req)
{
	int err = put_on_queue(req);

	if (err == -EAGAIN)
		wait_for_room(req, io_room, 1);
	else if (err)
		nvmet_req_complete(req, nvmet_status_from_errno(err));
}

static void pair_submit(struct nvmet_req *first);

static void pair_room(struct nvme_waiter *waiter)
{
	pair_submit(container_of(waiter, struct nvmet_req, waiter));
}

/* The doorbell is rung at the end of the wake-up: the SSD hears of both at once. */
static void pair_submit(struct nvmet_req *first)
{
	struct nvmet_req *second = first->mate;
	int err = nvme_qpair_has_room(path_of(first)->qpair, 2) ? put_on_queue(first) : -EAGAIN;

	if (err == -EAGAIN) {
		wait_for_room(first, pair_room, 2);
	} else if (err) {
		nvmet_req_complete(first, nvmet_status_from_errno(err));
		nvmet_req_complete(second, nvmet_status_from_errno(err));
	} else {
		must(put_on_queue(second) == 0);
	}
}

void nvmet_io_execute(struct nvmet_req *req)
{
	uint16_t status = req->op->check_data ? req->op->check_data(req) : 0;

	if (status)
		nvmet_req_complete(req, status);
	else if (nvme_qpair_has_waiters(path_of(req)->qpair))
		wait_for_room(req, io_room, 1); /* a pair waits for two places: not before it */
	else
		io_submit(req);
}

void nvmet_io_execute_pair(struct nvmet_req *first)
{
	if (nvme_qpair_has_waiters(path_of(first)->qpair))
		wait_for_room(first, pair_room, 2);
	else
		pair_submit(first);
}

bool nvmet_io_abort(struct nvmet_req *req)
{
	if (!req->waiter.queued || req->waiter.slots > 1)
		return false;
	nvme_qpair_unwait(path_of(req)->qpair, &req->waiter);
	nvmet_req_complete(req, NVME_SC_ABORT_REQUESTED);
	return true;
}

void nvmet_io_advance(struct nvmet_queue *queue)
{
	for (uint32_t i = 0; i < queue->n_paths; i++) {
		if (queue->paths[i].outstanding)
			nvme_qpair_advance(queue->paths[i].qpair);
	}
}
