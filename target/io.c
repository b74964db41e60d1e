/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * I/O commands that were found good (nvm.c): each is translated into a command of the SSD,
 * submitted on the queue's own queue pair, and its completion translated back.
 *
 * The SSD's command is built from zero: nothing of the host's command reaches the SSD but the
 * fields that the specification defines for that opcode.
 */
#include "target/io.h"

#include "pcie/ctrl.h"
#include "pcie/qpair.h"
#include "target/nvm.h"
#include "target/queue.h"
#include "target/req.h"
#include "target/ssd.h"
#include "target/subsystem.h"

static void io_submit(struct nvmet_req *req);

/* Worker; main thread while the queue pair is being deleted (the queue is then its own). */
static void io_done(void *arg, const struct nvme_cqe *cqe)
{
	struct nvmet_req *req = arg;
	struct nvmet_queue *queue = req->queue;
	struct nvmet_path *path = &queue->paths[req->ns->path];

	req->qpair = NULL;
	if (queue->releasing) {
		nvmet_ssd_drained(path);
		return;
	}
	path->outstanding--;
	req->cqe.dw0 = cqe->dw0;
	req->cqe.dw1 = cqe->dw1;
	nvmet_req_complete(req, nvmet_status_from_ssd(cqe));
}

static void io_room(struct nvme_waiter *waiter)
{
	io_submit(container_of(waiter, struct nvmet_req, waiter));
}

static void io_submit(struct nvmet_req *req)
{
	struct nvmet_path *path = &req->queue->paths[req->ns->path];
	const struct nvmet_nvm_op *op = req->op;
	struct nvme_sqe sqe = {
		.opcode = req->cmd.opcode,
		.nsid = le32_set(req->ns->ns->nsid),
		.cdw10 = le32_set(nvmet_cdw10(req) & op->cdw10),
		.cdw11 = le32_set(nvmet_cdw11(req) & op->cdw11),
		.cdw12 = le32_set(nvmet_cdw12(req) & op->cdw12),
		.cdw13 = le32_set(nvmet_cdw13(req) & op->cdw13),
	};

	if (nvme_qpair_submit(path->qpair, &sqe, req->data.iova, req->transfer_len, io_done, req,
			      &req->ssd_cid)) {
		req->waiter.run = io_room;
		nvme_qpair_wait(path->qpair, &req->waiter);
		return;
	}
	req->qpair = path->qpair;
	path->outstanding++;
}

void nvmet_io_execute(struct nvmet_req *req)
{
	uint16_t status = req->op->check_data ? req->op->check_data(req) : 0;

	if (status)
		nvmet_req_complete(req, status);
	else
		io_submit(req);
}
