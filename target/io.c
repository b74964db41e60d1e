/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * I/O commands: each is checked, translated into a command of the SSD, submitted on the queue's own
 * queue pair, and its completion translated back. NVM Command Set Specification 1.0, 3.2.
 *
 * The SSD's command is built from zero: nothing of the host's command reaches the SSD but the
 * fields that the specification defines for that opcode. The length that counts is the one that the
 * SSD will transfer, computed from the command; the SGL must agree with it.
 */
#include <stddef.h>

#include "pcie/ctrl.h"
#include "pcie/qpair.h"
#include "target/commands.h"
#include "target/ctrl.h"
#include "target/queue.h"
#include "target/req.h"
#include "target/ssd.h"
#include "target/subsystem.h"

#define DSM_RANGES_BYTES 4096 /* hosts may send all 256 ranges and use fewer */

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
	struct nvme_sqe sqe = {
		.opcode = req->cmd.opcode,
		.nsid = le32_set(req->ns->ns->nsid),
		.cdw10 = req->cmd.cdw10,
		.cdw11 = req->cmd.cdw11,
		.cdw12 = req->cmd.cdw12,
		.cdw13 = req->cmd.cdw13,
		.cdw14 = req->cmd.cdw14,
		.cdw15 = req->cmd.cdw15,
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

/* Blocks the command touches: CDW12 15:0, 0's based. */
static uint32_t io_blocks(const struct nvmet_req *req)
{
	return (nvmet_cdw12(req) & 0xffff) + 1;
}

/* NVM Command Set 2.1: SLBA + NLB within NSZE, without wrapping. */
static uint16_t check_range(struct nvmet_req *req)
{
	uint64_t slba = nvmet_slba(req), blocks = nvmet_ns_blocks(req->ns);

	if (slba >= blocks || io_blocks(req) > blocks - slba)
		return nvmet_req_error(req, offsetof(struct nvme_sqe, cdw10),
				       NVME_SC_LBA_RANGE | NVME_STATUS_DNR);
	return 0;
}

static uint16_t parse_blocks(struct nvmet_req *req, enum nvmet_dir dir)
{
	uint16_t status =
		nvmet_req_expect(req, dir, (uint64_t)io_blocks(req) << req->ns->lba_shift);

	return status ? status : check_range(req);
}

static uint16_t parse_no_data(struct nvmet_req *req)
{
	uint16_t status = nvmet_req_expect(req, NVMET_DIR_NONE, 0);

	return status ? status : check_range(req);
}

/* The SSD reads NR ranges of what the host sent, which may be more (up to all 256). */
static uint16_t parse_dsm(struct nvmet_req *req)
{
	uint32_t ranges = (nvmet_cdw10(req) & 0xff) + 1;

	return nvmet_req_expect_range(req, NVMET_DIR_WRITE, ranges * sizeof(struct nvme_dsm_range),
				      DSM_RANGES_BYTES);
}

/* What the SSD does not offer does not exist for hosts either (identify.c says the same). */
static uint16_t require(struct nvmet_req *req, uint16_t oncs_bit)
{
	if (nvme_ctrl_info(req->ns->ns->ctrl)->oncs & oncs_bit)
		return 0;
	return nvmet_req_error(req, offsetof(struct nvme_sqe, opcode),
			       NVME_SC_INVALID_OPCODE | NVME_STATUS_DNR);
}

static uint16_t parse_opcode(struct nvmet_req *req)
{
	uint16_t status;

	switch (req->cmd.opcode) {
	case NVME_IO_READ:
		return parse_blocks(req, NVMET_DIR_READ);
	case NVME_IO_WRITE:
		return parse_blocks(req, NVMET_DIR_WRITE);
	case NVME_IO_FLUSH:
		return nvmet_req_expect(req, NVMET_DIR_NONE, 0);
	case NVME_IO_COMPARE:
		status = require(req, NVME_ONCS_COMPARE);
		return status ? status : parse_blocks(req, NVMET_DIR_WRITE);
	case NVME_IO_WRITE_ZEROES:
		status = require(req, NVME_ONCS_WRITE_ZEROES);
		return status ? status : parse_no_data(req);
	case NVME_IO_DSM:
		status = require(req, NVME_ONCS_DSM);
		return status ? status : parse_dsm(req);
	case NVME_IO_VERIFY:
		status = require(req, NVME_ONCS_VERIFY);
		return status ? status : parse_no_data(req);
	default:
		return nvmet_req_error(req, offsetof(struct nvme_sqe, opcode),
				       NVME_SC_INVALID_OPCODE | NVME_STATUS_DNR);
	}
}

static bool known_opcode(uint8_t opcode)
{
	switch (opcode) {
	case NVME_IO_READ:
	case NVME_IO_WRITE:
	case NVME_IO_FLUSH:
	case NVME_IO_COMPARE:
	case NVME_IO_WRITE_ZEROES:
	case NVME_IO_DSM:
	case NVME_IO_VERIFY:
		return true;
	default:
		return false;
	}
}

uint16_t nvmet_parse_io(struct nvmet_req *req)
{
	if (!known_opcode(req->cmd.opcode))
		return nvmet_req_error(req, offsetof(struct nvme_sqe, opcode),
				       NVME_SC_INVALID_OPCODE | NVME_STATUS_DNR);
	/* FFFFFFFFh (Flush of all namespaces) is not offered: VWC bits 2:1 are 10b. */
	req->ns = nvmet_subsystem_ns(req->queue->ctrl->subsys, le32_get(req->cmd.nsid));
	if (!req->ns)
		return nvmet_req_error(req, offsetof(struct nvme_sqe, nsid),
				       NVME_SC_INVALID_NS | NVME_STATUS_DNR);
	req->execute = io_submit;
	return parse_opcode(req);
}
