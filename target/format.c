/* SPDX-License-Identifier: BSD-3-Clause */
/* Block formats: metadata and protection information; see format.h. */
#include "target/format.h"

#include <errno.h>

#include "pcie/ctrl.h"
#include "target/ns.h"
#include "target/nvm.h"
#include "target/req.h"
#include "util/num.h"

#define PI_BYTES 8 /* with 16-bit guards, which is all that is supported */

/* --- From the SSD ----------------------------------------------------------------------------- */

/* Guards of 32 or 64 bits make 16 bytes; which they are is told elsewhere (CNS 05h). */
static bool guards_unknown(const struct nvmet_format *format, const struct nvme_ctrl_info *ssd)
{
	return format->pi_type && format->ms > PI_BYTES &&
	       (le32_get(ssd->id.ctratt) & NVME_CTRATT_ELBAS);
}

static int separate(struct nvmet_format *format, const struct nvme_ctrl_info *ssd,
		    const char **ret_why)
{
	/* These would need metadata of the host's, or the SSD's own idea of it. */
	format->oncs &= (uint16_t) ~(NVME_ONCS_COMPARE | NVME_ONCS_COPY);
	if (format->pi_type) {
		format->metadata = NVMET_METADATA_STRIPPED;
		*ret_why = "its protection information is part of a separate metadata buffer that "
			   "holds more than that: format it with 8 bytes of metadata, or with "
			   "metadata at the end of the block";
		return format->ms == PI_BYTES ? 0 : -ENOTSUP;
	}
	format->metadata = NVMET_METADATA_IGNORED;
	*ret_why = "its separate metadata is too large";
	return (ssd->max_transfer >> format->lba_shift) * format->ms <= DMA_BLOCK_SIZE ? 0
										       : -ENOTSUP;
}

int nvmet_format_of(const struct nvme_id_ns *id, const struct nvme_ctrl_info *ssd,
		    struct nvmet_format *ret, const char **ret_why)
{
	const struct nvme_lbaf *lbaf = &id->lbaf[nvme_id_ns_format(id)];
	struct nvmet_format format = {
		.lba_shift = lbaf->lbads,
		.ms = le16_get(lbaf->ms),
		.oncs = nvmet_nvm_ssd_oncs(ssd),
		.mssrl = le16_get(id->mssrl),
		.mcl = le32_get(id->mcl),
		.msrc = id->msrc,
	};
	int err = 0;

	/* As the driver has it; this may be a later answer of an SSD that lies. */
	if (lbaf->lbads < 9 || lbaf->lbads > 16) {
		*ret_why = "its block size is not one that we can use";
		return -ENOTSUP;
	}
	format.block_bytes = 1u << lbaf->lbads;
	if (format.ms)
		format.pi_type = id->dps & NVME_DPS_TYPE;
	if (guards_unknown(&format, ssd)) {
		*ret_why = "its protection information may have guards of 32 or 64 bits, which are "
			   "not supported";
		return -ENOTSUP;
	}
	if (format.ms && (id->flbas & NVME_FLBAS_EXTENDED)) {
		format.metadata = NVMET_METADATA_EXTENDED;
		format.block_bytes += format.ms;
	} else if (format.ms) {
		err = separate(&format, ssd, ret_why);
	}
	if (!err)
		*ret = format;
	return err;
}

bool nvmet_format_same(const struct nvmet_format *a, const struct nvmet_format *b)
{
	return a->lba_shift == b->lba_shift && a->metadata == b->metadata && a->ms == b->ms &&
	       a->pi_type == b->pi_type;
}

const char *nvmet_format_note(const struct nvmet_format *format)
{
	static const char *const notes[] = {
		[NVMET_METADATA_NONE] = "",
		[NVMET_METADATA_EXTENDED] = " with metadata behind each",
		[NVMET_METADATA_STRIPPED] = "; the SSD adds and checks protection information",
		[NVMET_METADATA_IGNORED] = "; their metadata stays zero",
	};

	return notes[format->metadata];
}

/* --- Commands --------------------------------------------------------------------------------- */

uint64_t nvmet_format_bytes(const struct nvmet_req *req, uint32_t blocks)
{
	const struct nvmet_format *format = &req->ns->format;

	/* NVM Command Set 5.2.1: metadata that is nothing but what the SSD makes is not sent. */
	if (__builtin_expect(format->pi_type && format->ms == PI_BYTES, 0) &&
	    (nvmet_cdw12(req) & NVME_IO_PRACT))
		return (uint64_t)blocks << format->lba_shift;
	return (uint64_t)blocks * format->block_bytes;
}

/* Reference tags are the low bits of the block's address, as everybody has them with type 1; with
 * the others they may be anything that another host chose. */
static void make_protection(const struct nvmet_req *req, struct nvme_sqe *sqe)
{
	uint32_t check = req->ns->format.pi_type == 1 ? NVME_IO_PRCHK_GUARD | NVME_IO_PRCHK_REF
						      : NVME_IO_PRCHK_GUARD;
	uint32_t prinfo = NVME_IO_PRACT;

	if (req->cmd.opcode == NVME_IO_READ)
		prinfo |= check;
	else if (req->cmd.opcode == NVME_IO_VERIFY)
		prinfo = check;
	sqe->cdw12 = le32_set(le32_get(sqe->cdw12) | prinfo);
	sqe->cdw14 = req->cmd.cdw10;
}

static void pass_protection(const struct nvmet_req *req, struct nvme_sqe *sqe)
{
	sqe->cdw2 = req->cmd.cdw2;
	sqe->cdw3 = req->cmd.cdw3;
	sqe->cdw12 = le32_set(nvmet_cdw12(req) & (req->op->cdw12 | req->op->cdw12_pi));
	sqe->cdw14 = req->cmd.cdw14;
	sqe->cdw15 = req->cmd.cdw15;
}

void nvmet_format_apply(const struct nvmet_req *req, struct nvme_sqe *sqe)
{
	const struct nvmet_ns *ns = req->ns;

	if (ns->format.metadata == NVMET_METADATA_IGNORED) {
		if (req->cmd.opcode == NVME_IO_READ)
			sqe->mptr = le64_set(ns->metadata_read.iova);
		else if (req->cmd.opcode == NVME_IO_WRITE)
			sqe->mptr = le64_set(ns->metadata_zeroes.iova);
	} else if (ns->format.pi_type && req->op->cdw12_pi) {
		if (ns->format.metadata == NVMET_METADATA_STRIPPED)
			make_protection(req, sqe);
		else
			pass_protection(req, sqe);
	}
}

/* --- For hosts -------------------------------------------------------------------------------- */

void nvmet_format_show(const struct nvmet_format *format, struct nvme_id_ns *id)
{
	unsigned current = nvme_id_ns_format(id);

	if (format->metadata == NVMET_METADATA_EXTENDED) {
		id->mc &= NVME_MC_EXTENDED;
		return;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(id->lbaf); i++) {
		if (i == current)
			id->lbaf[i].ms = le16_set(0);
		else if (i > id->nlbaf || le16_get(id->lbaf[i].ms) != 0)
			id->lbaf[i] = (struct nvme_lbaf){ .lbads = 0 };
	}
	id->flbas &= (uint8_t)~NVME_FLBAS_EXTENDED;
	id->mc = id->dpc = id->dps = 0;
}
