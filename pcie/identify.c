/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the SSD is and grants: the commands of bring-up between CSTS.RDY and its namespaces. Each
 * asks the next when it is answered, the last one first in this file: Identify Controller, what the
 * NVM command set says beside it, Number of Queues, Doorbell Buffer Config. After a reset the
 * answers must be those from before. Main thread.
 */
#include <string.h>

#include "pcie/ctrl_internal.h"
#include "util/log.h"
#include "util/num.h"

uint32_t nvme_ctrl_doorbell_pairs(const struct nvme_ctrl *ctrl)
{
	size_t len = num_max(ctrl->dev->bar0_len, (size_t)NVME_REG_DOORBELLS);

	return (uint32_t)num_min((len - NVME_REG_DOORBELLS) / (2 * (size_t)ctrl->doorbell_stride),
				 (size_t)UINT16_MAX + 1);
}

static void begin_namespaces(struct nvme_ctrl *ctrl)
{
	nvme_ctrl_set_state(ctrl, NVME_CTRL_NAMESPACES);
	nvme_ns_scan(ctrl);
}

static void dbbuf_done(void *arg, const struct nvme_cqe *cqe)
{
	struct nvme_ctrl *ctrl = arg;

	ctrl->shadow_on = nvme_cqe_status(cqe) == 0;
	if (ctrl->state == NVME_CTRL_QUEUES)
		begin_namespaces(ctrl);
}

/* Shadow doorbells, when the SSD has them (Base 5.9): fewer exits for an emulated or
 * virtual SSD. */
static void ask_dbbuf(struct nvme_ctrl *ctrl)
{
	struct nvme_sqe sqe = { .opcode = NVME_ADMIN_DBBUF_CONFIG };
	size_t needed = 2 * ((size_t)ctrl->info.n_queues + 1) * ctrl->doorbell_stride;

	if (!(le16_get(ctrl->info.id.oacs) & NVME_OACS_DBBUF) || needed > NVME_PAGE_SIZE ||
	    (!ctrl->shadow.va && !dma_alloc(ctrl->params.pool, NVME_PAGE_SIZE, &ctrl->shadow)) ||
	    (!ctrl->events.va && !dma_alloc(ctrl->params.pool, NVME_PAGE_SIZE, &ctrl->events))) {
		begin_namespaces(ctrl);
		return;
	}
	memset(ctrl->shadow.va, 0, NVME_PAGE_SIZE);
	memset(ctrl->events.va, 0, NVME_PAGE_SIZE);
	sqe.prp1 = le64_set(ctrl->shadow.iova);
	sqe.prp2 = le64_set(ctrl->events.iova);
	if (nvme_admin_send(ctrl, &sqe, 0, 0, dbbuf_done, ctrl))
		nvme_ctrl_fail(ctrl, "out of memory");
}

static void queues_done(void *arg, const struct nvme_cqe *cqe)
{
	struct nvme_ctrl *ctrl = arg;
	uint32_t granted = le32_get(cqe->dw0);
	uint32_t nsqa = (granted & 0xffff) + 1, ncqa = (granted >> 16) + 1;

	if (ctrl->state != NVME_CTRL_QUEUES)
		return;
	if (nvme_cqe_status(cqe)) {
		nvme_ctrl_recover(ctrl, "it grants no I/O queues");
		return;
	}
	/* Admin queue not counted: its doorbells were looked at before the first was rung. */
	granted = num_min(num_min(ctrl->params.max_queues, num_min(nsqa, ncqa)),
			  nvme_ctrl_doorbell_pairs(ctrl) - 1);
	if (!granted) {
		nvme_ctrl_fail(ctrl, "its BAR has no room for doorbells of I/O queues");
		return;
	}
	if (ctrl->known && granted < ctrl->info.n_queues) {
		nvme_ctrl_fail(ctrl, "it grants fewer I/O queues than before");
		return;
	}
	if (!ctrl->known)
		ctrl->info.n_queues = granted;
	ask_dbbuf(ctrl);
}

/* Base 5.27.1.5: 0's based counts of submission and completion queues, asked and granted. */
static void ask_queues(struct nvme_ctrl *ctrl)
{
	uint32_t n = ctrl->params.max_queues - 1;
	const struct nvme_sqe sqe = {
		.opcode = NVME_ADMIN_SET_FEATURES,
		.cdw10 = le32_set(NVME_FEAT_NUM_QUEUES),
		.cdw11 = le32_set(n << 16 | n),
	};

	nvme_ctrl_set_state(ctrl, NVME_CTRL_QUEUES);
	if (nvme_admin_send(ctrl, &sqe, 0, 0, queues_done, ctrl))
		nvme_ctrl_fail(ctrl, "out of memory");
}

static size_t least_transfer(const struct nvme_ctrl *ctrl)
{
	unsigned shift = ctrl->info.id.mdts + NVME_PAGE_SHIFT + NVME_CAP_MPSMIN(ctrl->info.cap);
	size_t ours = ctrl->params.max_transfer;

	if (!ctrl->info.id.mdts || shift >= 31)
		return ours;
	return num_min(ours, (size_t)1 << shift);
}

static void limits_done(void *arg, const struct nvme_cqe *cqe)
{
	struct nvme_ctrl *ctrl = arg;

	if (ctrl->state != NVME_CTRL_IDENTIFY)
		return;
	if (nvme_cqe_status(cqe) == 0)
		memcpy(&ctrl->info.nvm, ctrl->buf.va, sizeof(ctrl->info.nvm));
	ask_queues(ctrl);
}

/* What the NVM command set's own structure says of commands without data, for hosts to know. */
static void ask_limits(struct nvme_ctrl *ctrl)
{
	const struct nvme_sqe sqe = {
		.opcode = NVME_ADMIN_IDENTIFY,
		.cdw10 = le32_set(NVME_CNS_CS_CTRL),
		.cdw11 = le32_set((uint32_t)NVME_CSI_NVM << 24),
	};

	if (ctrl->info.vs < NVME_VS(1, 4, 0)) {
		ask_queues(ctrl); /* it came with the I/O command sets; older SSDs log an error */
		return;
	}
	memset(ctrl->buf.va, 0, NVME_IDENTIFY_SIZE);
	if (nvme_admin_send(ctrl, &sqe, ctrl->buf.iova, NVME_IDENTIFY_SIZE, limits_done, ctrl))
		nvme_ctrl_fail(ctrl, "out of memory");
}

/* A text field of Identify, for %.*s. */
#define PADDED(field) (int)nvme_text_len(field, sizeof(field)), (field)

/* What hosts were told of it, and what its queue pairs and their commands rely on. */
static bool same_ssd(const struct nvme_ctrl *ctrl, const struct nvme_id_ctrl *now)
{
	const struct nvme_id_ctrl *before = &ctrl->info.id;

	return memcmp(now->sn, before->sn, sizeof(now->sn)) == 0 &&
	       memcmp(now->mn, before->mn, sizeof(now->mn)) == 0 && now->mdts == before->mdts &&
	       le16_get(now->oncs) == le16_get(before->oncs) && now->vwc == before->vwc;
}

static void identify_done(void *arg, const struct nvme_cqe *cqe)
{
	struct nvme_ctrl *ctrl = arg;
	struct nvme_ctrl_info *info = &ctrl->info;
	struct nvme_id_ctrl now;

	if (ctrl->state != NVME_CTRL_IDENTIFY)
		return;
	if (nvme_cqe_status(cqe)) {
		nvme_ctrl_recover(ctrl, "it does not answer Identify Controller");
		return;
	}
	memcpy(&now, ctrl->buf.va, sizeof(now)); /* once: it could change what it has written */
	if (ctrl->known && !same_ssd(ctrl, &now)) {
		log_err("%s: found %.*s, serial %.*s, where %.*s, serial %.*s, was", ctrl->name,
			PADDED(now.mn), PADDED(now.sn), PADDED(info->id.mn), PADDED(info->id.sn));
		nvme_ctrl_fail(ctrl, "another SSD is in its place");
		return;
	}
	info->id = now;
	if (info->id.cntrltype > NVME_CNTRLTYPE_IO) {
		nvme_ctrl_fail(ctrl, "it is no I/O controller");
		return;
	}
	info->max_transfer = least_transfer(ctrl);
	info->oncs = le16_get(info->id.oncs);
	info->volatile_write_cache = info->id.vwc & NVME_VWC_PRESENT;
	log_info("%s: %.*s, serial %.*s, firmware %.*s", ctrl->name, PADDED(info->id.mn),
		 PADDED(info->id.sn), PADDED(info->id.fr));
	ask_limits(ctrl);
}

void nvme_ctrl_identify(struct nvme_ctrl *ctrl)
{
	const struct nvme_sqe sqe = {
		.opcode = NVME_ADMIN_IDENTIFY,
		.cdw10 = le32_set(NVME_CNS_CTRL),
	};

	nvme_ctrl_set_state(ctrl, NVME_CTRL_IDENTIFY);
	memset(ctrl->buf.va, 0, NVME_IDENTIFY_SIZE);
	if (nvme_admin_send(ctrl, &sqe, ctrl->buf.iova, NVME_IDENTIFY_SIZE, identify_done, ctrl))
		nvme_ctrl_fail(ctrl, "out of memory");
}
