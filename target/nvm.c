/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * NVM command set: the table of commands and their checks. NVM Command Set Specification 1.0, 3.2.
 *
 * The length that counts is the one that the SSD will transfer, computed from the command; the SGL
 * must agree with it. A bit of CDW12 that the command does not define is refused and not dropped,
 * because the host would take its wish for granted. The other fields that are not forwarded are
 * hints, or belong to features that hosts are told not to use (directives, storage tags).
 */
#include "target/nvm.h"

#include <stddef.h>

#include "pcie/ctrl.h"
#include "target/commands.h"
#include "target/ctrl.h"
#include "target/fuse.h"
#include "target/io.h"
#include "target/latency.h"
#include "target/queue.h"
#include "target/req.h"
#include "target/ssd.h"
#include "target/subsystem.h"
#include "util/num.h"

#define DSM_RANGES_BYTES  4096 /* hosts may send all 256 ranges and use fewer */

#define NLB               UINT32_C(0xffff)       /* CDW12 */
#define LR_FUA            (UINT32_C(3) << 30)    /* limited retry, force unit access */
#define DEAC              (UINT32_C(1) << 25)    /* Write Zeroes: deallocate */
#define PRINFO_STC        (UINT32_C(0x3d) << 24) /* protection information, storage tag check */
#define HINTS             UINT32_C(0xff)         /* CDW13: dataset management of a read or write */
#define COPY_RANGES       UINT32_C(0xff)         /* CDW12 of Copy */
#define COPY_FORMAT       (UINT32_C(0xf) << 8)
#define COPY_PI           (UINT32_C(0x3f) << 24 | UINT32_C(0xf) << 12) /* of both halves */
#define COPY_RANGES_BYTES (256 * sizeof(struct nvme_copy_range))
#define ALL               UINT32_C(0xffffffff)

/* Blocks the command touches: CDW12 15:0, 0's based. */
static uint32_t blocks_of(const struct nvmet_req *req)
{
	return (nvmet_cdw12(req) & NLB) + 1;
}

/* NVM Command Set 2.1: a range within NSZE, without wrapping; it may be empty. */
static bool in_range(const struct nvmet_req *req, uint64_t slba, uint64_t blocks)
{
	uint64_t nsze = nvmet_ns_blocks(req->ns);

	return slba <= nsze && blocks <= nsze - slba;
}

static uint16_t out_of_range(struct nvmet_req *req, uint16_t error_loc)
{
	return nvmet_req_refuse(req, error_loc, NVME_SC_LBA_RANGE);
}

static uint16_t check_range(struct nvmet_req *req)
{
	if (!in_range(req, nvmet_slba(req), blocks_of(req)))
		return out_of_range(req, offsetof(struct nvme_sqe, cdw10));
	return 0;
}

static uint16_t parse_blocks(struct nvmet_req *req, enum nvmet_dir dir)
{
	uint16_t status = nvmet_req_expect(req, dir, nvmet_format_bytes(req, blocks_of(req)));

	return status ? status : check_range(req);
}

static uint16_t parse_read(struct nvmet_req *req)
{
	return parse_blocks(req, NVMET_DIR_READ);
}

static uint16_t parse_write(struct nvmet_req *req)
{
	return parse_blocks(req, NVMET_DIR_WRITE);
}

/* Directives (DTYPE) and bits of later specifications: CDW12 bits of which the host
 * gets nothing. */
static uint16_t refuse_cdw12(struct nvmet_req *req, uint32_t bits)
{
	unsigned bit = (unsigned)__builtin_ctz(bits);

	return nvmet_req_invalid_field(req,
				       offsetof(struct nvme_sqe, cdw12) + bit / 8 + (bit % 8 << 8));
}

/* With PRACT the SSD would compare with what it made itself (NVM Command Set 3.2.1). */
static uint16_t parse_compare(struct nvmet_req *req)
{
	if (req->ns->format.pi_type && (nvmet_cdw12(req) & NVME_IO_PRACT))
		return refuse_cdw12(req, NVME_IO_PRACT);
	return parse_blocks(req, NVMET_DIR_WRITE);
}

static uint16_t parse_flush(struct nvmet_req *req)
{
	return nvmet_req_expect(req, NVMET_DIR_NONE, 0);
}

static uint16_t parse_blocks_only(struct nvmet_req *req)
{
	uint16_t status = nvmet_req_expect(req, NVMET_DIR_NONE, 0);

	return status ? status : check_range(req);
}

/* --- Dataset Management ----------------------------------------------------------------------- */

static unsigned n_ranges(const struct nvmet_req *req)
{
	return (nvmet_cdw10(req) & 0xff) + 1;
}

/* The SSD reads NR ranges of what the host sent, which may be more (up to all 256). */
static uint16_t parse_dsm(struct nvmet_req *req)
{
	return nvmet_req_expect_range(req, NVMET_DIR_WRITE,
				      n_ranges(req) * sizeof(struct nvme_dsm_range),
				      DSM_RANGES_BYTES);
}

/*
 * The specification names no status for a range beyond the end, and SSDs differ: some skip it, some
 * have done the ranges before it by then. LBA Out of Range for the command, before any is touched.
 */
static uint16_t check_dsm(struct nvmet_req *req)
{
	const struct nvme_dsm_range *range = req->data.va;

	for (unsigned i = 0; i < n_ranges(req); i++) {
		if (!in_range(req, le64_get(range[i].slba), le32_get(range[i].nlb)))
			return out_of_range(req, NVMET_NO_ERROR_LOC);
	}
	return 0;
}

/* --- Copy ------------------------------------------------------------------------------------- */

/*
 * Descriptor format 0 only. Formats 2 and 3 name a source namespace, which may be one that this
 * host does not have; format 1 is for protection information that we do not export.
 */
static uint16_t parse_copy(struct nvmet_req *req)
{
	unsigned n = (nvmet_cdw12(req) & COPY_RANGES) + 1;

	if (NVME_COPY_FORMAT(nvmet_cdw12(req)) != 0)
		return nvmet_req_invalid_field(req, offsetof(struct nvme_sqe, cdw12) + 1);
	if (n > req->ns->format.msrc + 1u)
		return nvmet_req_refuse(req, offsetof(struct nvme_sqe, cdw12), NVME_SC_SIZE_LIMIT);
	return nvmet_req_expect_range(req, NVMET_DIR_WRITE, n * sizeof(struct nvme_copy_range),
				      COPY_RANGES_BYTES);
}

/* Source ranges and destination, before anything is copied. DW0 stays 0: none of the ranges was. */
static uint16_t check_copy(struct nvmet_req *req)
{
	const struct nvme_copy_range *range = req->data.va;
	const struct nvmet_format *format = &req->ns->format;
	unsigned n = (nvmet_cdw12(req) & COPY_RANGES) + 1;
	uint32_t total = 0;

	for (unsigned i = 0; i < n; i++) {
		uint32_t blocks = le16_get(range[i].nlb) + 1u;

		total += blocks;
		if (!in_range(req, le64_get(range[i].slba), blocks))
			return out_of_range(req, NVMET_NO_ERROR_LOC);
		if (blocks > format->mssrl || total > format->mcl)
			return nvmet_req_refuse(req, NVMET_NO_ERROR_LOC, NVME_SC_SIZE_LIMIT);
	}
	if (!in_range(req, nvmet_slba(req), total))
		return out_of_range(req, offsetof(struct nvme_sqe, cdw10));
	return 0;
}

/* --- The table -------------------------------------------------------------------------------- */

static const struct nvmet_nvm_op ops[] = {
	[NVME_IO_FLUSH] = { .parse = parse_flush },
	[NVME_IO_WRITE] = { .parse = parse_write,
			    .effects = NVME_EFFECTS_LBCC,
			    .cdw10 = ALL,
			    .cdw11 = ALL,
			    .cdw12 = LR_FUA | NLB,
			    .cdw12_pi = PRINFO_STC,
			    .cdw13 = HINTS },
	[NVME_IO_READ] = { .parse = parse_read,
			   .cdw10 = ALL,
			   .cdw11 = ALL,
			   .cdw12 = LR_FUA | NLB,
			   .cdw12_pi = PRINFO_STC,
			   .cdw13 = HINTS },
	[NVME_IO_WRITE_UNCORRECTABLE] = { .parse = parse_blocks_only,
					  .oncs = NVME_ONCS_WRITE_UNCORRECTABLE,
					  .effects = NVME_EFFECTS_LBCC,
					  .cdw10 = ALL,
					  .cdw11 = ALL,
					  .cdw12 = NLB },
	[NVME_IO_COMPARE] = { .parse = parse_compare,
			      .oncs = NVME_ONCS_COMPARE,
			      .cdw10 = ALL,
			      .cdw11 = ALL,
			      .cdw12 = LR_FUA | NLB,
			      .cdw12_pi = PRINFO_STC },
	[NVME_IO_WRITE_ZEROES] = { .parse = parse_blocks_only,
				   .oncs = NVME_ONCS_WRITE_ZEROES,
				   .effects = NVME_EFFECTS_LBCC,
				   .cdw10 = ALL,
				   .cdw11 = ALL,
				   .cdw12 = LR_FUA | DEAC | NLB,
				   .cdw12_pi = PRINFO_STC },
	[NVME_IO_DSM] = { .parse = parse_dsm,
			  .check_data = check_dsm,
			  .oncs = NVME_ONCS_DSM,
			  .effects = NVME_EFFECTS_LBCC,
			  .cdw10 = 0xff,
			  .cdw11 = NVME_DSM_ATTRIBUTES },
	[NVME_IO_VERIFY] = { .parse = parse_blocks_only,
			     .oncs = NVME_ONCS_VERIFY,
			     .cdw10 = ALL,
			     .cdw11 = ALL,
			     .cdw12 = LR_FUA | NLB,
			     .cdw12_pi = PRINFO_STC },
	[NVME_IO_COPY] = { .parse = parse_copy,
			   .check_data = check_copy,
			   .oncs = NVME_ONCS_COPY,
			   .effects = NVME_EFFECTS_LBCC,
			   .cdw10 = ALL,
			   .cdw11 = ALL,
			   .cdw12 = LR_FUA | COPY_FORMAT | COPY_RANGES,
			   .cdw12_pi = COPY_PI },
};

/* Copy counts only with the descriptor format that we forward. */
uint16_t nvmet_nvm_ssd_oncs(const struct nvme_ctrl_info *ssd)
{
	bool copies = le16_get(ssd->id.ocfs) & NVME_OCFS_FORMAT0;

	return copies ? ssd->oncs : ssd->oncs & (uint16_t)~NVME_ONCS_COPY;
}

uint16_t nvmet_nvm_oncs(const struct nvmet_subsystem *subsys, unsigned n_ssds)
{
	uint16_t oncs = 0;

	for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
		oncs |= ops[i].oncs;
	for (unsigned i = 0; i < n_ssds; i++)
		oncs &= nvmet_nvm_ssd_oncs(nvme_ctrl_info(subsys->ssds[i]->ctrl));
	for (uint32_t nsid = 1; nsid <= subsys->max_nsid; nsid++) {
		const struct nvmet_ns *ns = nvmet_subsystem_ns(subsys, nsid);

		if (ns && ns->path < n_ssds)
			oncs &= ns->format.oncs;
	}
	return n_ssds ? oncs : 0;
}

void nvmet_nvm_effects(const struct nvmet_ctrl *ctrl, le32 iocs[256])
{
	uint16_t oncs = nvmet_nvm_oncs(ctrl->subsys, ctrl->n_ssds);

	for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
		if (ops[i].parse && (ops[i].oncs & oncs) == ops[i].oncs)
			iocs[i] = le32_set(NVME_EFFECTS_CSUPP | ops[i].effects);
	}
}

/* --- Parsing ---------------------------------------------------------------------------------- */

uint16_t nvmet_parse_io(struct nvmet_req *req)
{
	const struct nvmet_nvm_op *op = NULL;
	uint32_t unknown;
	uint16_t status;

	if (req->cmd.opcode < ARRAY_SIZE(ops) && ops[req->cmd.opcode].parse)
		op = &ops[req->cmd.opcode];
	if (!op)
		return nvmet_req_invalid_opcode(req);
	/* FFFFFFFFh (Flush of all namespaces) is not offered: VWC bits 2:1 are 10b. */
	req->ns = nvmet_ctrl_ns(req->queue->ctrl, le32_get(req->cmd.nsid));
	if (!req->ns)
		return nvmet_req_invalid_ns(req);
	nvmet_latency_counts(req);
	/* What the SSD does not offer does not exist for hosts either. */
	if (op->oncs & ~req->ns->format.oncs)
		return nvmet_req_invalid_opcode(req);
	if ((op->effects & NVME_EFFECTS_LBCC) && !nvmet_ctrl_may_write(req->queue->ctrl, req->ns))
		return nvmet_req_refuse(req, NVMET_NO_ERROR_LOC, NVME_SC_NS_WRITE_PROTECTED);
	unknown = nvmet_cdw12(req) & ~(op->cdw12 | op->cdw12_pi);
	if (unknown && op->cdw12)
		return refuse_cdw12(req, unknown);
	req->op = op;
	req->execute = req->fuse ? nvmet_fuse_execute : nvmet_io_execute;
	status = op->parse(req);
	if (!status && req->fuse && req->transfer_len > NVMET_FUSED_MAX)
		return nvmet_req_refuse(req, offsetof(struct nvme_sqe, cdw12),
					NVME_SC_ATOMIC_WRITE_UNIT);
	return status;
}
