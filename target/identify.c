/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Identify (Base 5.17). The controller is our own, with what is the SSD's about its health and its
 * commands; a namespace is the SSD's answer, with everything taken out that is between the SSD and
 * us.
 */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "pcie/ctrl.h"
#include "target/commands.h"
#include "target/ctrl.h"
#include "target/fuse.h"
#include "target/host.h"
#include "target/identify.h"
#include "target/passthru.h"
#include "target/queue.h"
#include "target/req.h"
#include "target/ssd.h"
#include "target/subsystem.h"
#include "target/target.h"
#include "util/num.h"
#include "util/version.h"

#define SGLS_SUPPORTED      1u
#define SGLS_DATA_OFFSET    (1u << 20)
#define SGLS_TRANSPORT      (1u << 21)
#define VWC_NO_FLUSH_OF_ALL (2u << 1)
#define OFCS_DISCONNECT     (1u << 0)
#define FRMW_ONE_READ_ONLY  (1u | 1u << 1)

/* --- Controller ------------------------------------------------------------------------------- */

/* What both kinds of controller say of themselves. */
static void common_fields(const struct nvmet_ctrl *ctrl, struct nvme_id_ctrl *id)
{
	const struct nvmet_subsystem *subsys = ctrl->subsys;

	nvme_text_set(id->sn, sizeof(id->sn), subsys->serial);
	nvme_text_set(id->mn, sizeof(id->mn), subsys->model);
	nvme_text_set(id->fr, sizeof(id->fr), NVMETD_VERSION);
	id->mdts = (uint8_t)(num_log2_up(ctrl->promise.max_transfer) - NVME_PAGE_SHIFT);
	id->cntlid = le16_set(ctrl->cntlid);
	id->ver = le32_set(NVMET_VERSION);
	id->ctratt = le32_set(NVME_CTRATT_HOSTID128 | NVME_CTRATT_TBKAS);
	id->aerl = NVMET_AERL;
	id->lpa = NVME_LPA_EXTENDED | NVME_LPA_EFFECTS;
	id->kas = le16_set(NVMET_KAS_MS / 100); /* units of 100 ms */
	id->maxcmd = le16_set((uint16_t)(NVME_CAP_MQES(ctrl->cap) + 1));
	id->sgls = le32_set(SGLS_SUPPORTED | SGLS_DATA_OFFSET | SGLS_TRANSPORT);
	snprintf(id->subnqn, sizeof(id->subnqn), "%s", subsys->nqn);
	id->ioccsz = le32_set((sizeof(struct nvme_sqe) + NVMET_ICD_IO) / 16); /* of 16 bytes */
	id->iorcsz = le32_set(sizeof(struct nvme_cqe) / 16);
	id->msdbd = 1;
}

static void io_ctrl_fields(const struct nvmet_ctrl *ctrl, struct nvme_id_ctrl *id)
{
	const struct nvmet_subsystem *subsys = ctrl->subsys;
	struct nvmet_promise now;
	bool write_cache;

	nvmet_promise_make(subsys, ctrl->n_ssds, &now);
	id->cntrltype = NVME_CNTRLTYPE_IO;
	id->cmic = NVME_CMIC_MULTI_CTRL | NVME_CMIC_MULTI_PORT; /* listeners come and go */
	id->oaes = le32_set(NVME_OAES_NS_ATTR);
	id->acl = NVMET_ACL;
	id->frmw = FRMW_ONE_READ_ONLY;
	id->lpa |= NVME_LPA_SUPPORTED;
	id->elpe = NVMET_ERROR_SLOTS - 1;
	id->sqes = NVME_SQE_SHIFT << 4 | NVME_SQE_SHIFT;
	id->cqes = NVME_CQE_SHIFT << 4 | NVME_CQE_SHIFT;
	id->nn = le32_set(NVMET_MAX_NSID);
	id->mnan = le32_set(NVMET_MAX_NSID);
	id->oncs = le16_set(now.oncs);
	if (ctrl->promise.fuses && now.fuses && (le16_get(id->oncs) & NVME_ONCS_COMPARE)) {
		id->fuses = le16_set(NVME_FUSES_COMPARE_AND_WRITE);
		id->acwu = le16_set((uint16_t)(now.fused_blocks ? now.fused_blocks - 1 : 0));
	}
	if (le16_get(id->oncs) & NVME_ONCS_COPY)
		id->ocfs = le16_set(NVME_OCFS_FORMAT0);
	/* As it was told, also when what might have had a cache came without one. */
	write_cache = ctrl->promise.write_cache || now.write_cache;
	id->vwc = VWC_NO_FLUSH_OF_ALL | (write_cache ? NVME_VWC_PRESENT : 0);
	id->ofcs = le16_set(OFCS_DISCONNECT);
	if (ctrl->n_ssds) {
		const struct nvme_id_ctrl *ssd = &nvme_ctrl_info(subsys->ssds[0]->ctrl)->id;

		id->vid = ssd->vid;
		id->ssvid = ssd->ssvid;
		memcpy(id->ieee, ssd->ieee, sizeof(id->ieee));
		id->rab = ssd->rab;
		id->wctemp = ssd->wctemp;
		id->cctemp = ssd->cctemp;
	}
	id->awun = le16_set(now.awun);
	id->awupf = le16_set(now.awupf);
	nvmet_passthru_identify(ctrl, id);
}

static void identify_ctrl(struct nvmet_req *req)
{
	const struct nvmet_ctrl *ctrl = req->queue->ctrl;
	struct nvme_id_ctrl *id = req->data.va;

	memset(id, 0, sizeof(*id));
	common_fields(ctrl, id);
	if (ctrl->subsys->discovery) {
		id->cntrltype = NVME_CNTRLTYPE_DISCOVERY;
		id->oaes = le32_set(NVME_OAES_DISCOVERY);
	} else {
		io_ctrl_fields(ctrl, id);
	}
	nvmet_req_complete(req, 0);
}

/* --- Namespaces ------------------------------------------------------------------------------- */

/*
 * Sharing, reservations, NVM sets and vendor fields are the SSD's business with us; formats are
 * shown as far as hosts have to do with them.
 */
static void rewrite_ns(const struct nvmet_ctrl *ctrl, const struct nvmet_ns *ns,
		       struct nvme_id_ns *id)
{
	nvmet_format_show(&ns->format, id);
	id->nmic = NVME_NMIC_SHARED;
	id->rescap = 0;
	id->fpi = 0;
	id->anagrpid = le32_set(0);
	id->nsattr = nvmet_ctrl_may_write(ctrl, ns) ? 0 : NVME_NSATTR_WRITE_PROTECTED;
	id->nvmsetid = id->endgid = le16_set(0);
	if (!(ns->format.oncs & NVME_ONCS_COPY)) {
		id->mssrl = le16_set(0);
		id->mcl = le32_set(0);
		id->msrc = 0;
	}
	if (id->nsfeat & NVME_NSFEAT_ATOMIC)
		id->nacwu = le16_set(nvmet_fuse_acwu(ns));
	memcpy(id->nguid, ns->nguid, sizeof(id->nguid));
	memcpy(id->eui64, ns->nvme_ns->eui64, sizeof(id->eui64));
	memset(id->rsvd81, 0, sizeof(id->rsvd81));
	memset(id->rsvd96, 0, sizeof(id->rsvd96));
	memset(id->vs, 0, sizeof(id->vs));
}

/*
 * What the SSD says now may be newer than what commands are checked against. Hosts get the size
 * that holds for them; a new one reaches them, with an event, when the SSD has been looked at
 * again. A block size that hosts cannot use yet is no answer at all: they ask again.
 */
static uint16_t reconcile_ns(const struct nvmet_ns *ns, struct nvme_id_ns *id)
{
	uint64_t blocks = nvmet_ns_blocks(ns);
	struct nvmet_format format;
	const char *why;
	bool same_format = nvmet_format_of(id, nvme_ctrl_info(ns->ssd->ctrl), &format, &why) == 0 &&
			   nvmet_format_same(&format, &ns->format);

	if (le64_get(id->nsze) != blocks || !same_format)
		nvme_ctrl_rescan(ns->ssd->ctrl);
	id->nsze = le64_set(blocks);
	id->ncap = le64_set(num_min(le64_get(id->ncap), blocks));
	id->nuse = le64_set(num_min(le64_get(id->nuse), le64_get(id->ncap)));
	return same_format ? 0 : NVME_SC_NS_NOT_READY;
}

static void identify_ns_done(void *arg, const struct nvme_cqe *cqe)
{
	struct nvmet_req *req = arg;
	uint16_t status = nvmet_status_from_ssd(cqe);

	if (!status)
		status = reconcile_ns(req->ns, req->data.va);
	if (!status)
		rewrite_ns(req->queue->ctrl, req->ns, req->data.va);
	nvmet_req_complete(req, status);
}

static void identify_ns(struct nvmet_req *req)
{
	uint32_t nsid = le32_get(req->cmd.nsid);
	struct nvme_sqe sqe = { .opcode = NVME_ADMIN_IDENTIFY, .cdw10 = le32_set(NVME_CNS_NS) };
	int err;

	memset(req->data.va, 0, NVME_IDENTIFY_SIZE);
	req->ns = nvmet_ctrl_ns(req->queue->ctrl, nsid);
	if (nsid == 0 || nsid > NVMET_MAX_NSID) {
		nvmet_req_complete(req, nvmet_req_invalid_ns(req));
		return;
	}
	if (!req->ns) {
		nvmet_req_complete(req, 0); /* valid but inactive: all zeroes (Base 5.17.2.1) */
		return;
	}
	sqe.nsid = le32_set(req->ns->nvme_ns->nsid);
	err = nvmet_host_forward(req, req->ns->ssd, &sqe, NVME_IDENTIFY_SIZE, identify_ns_done);
	if (err)
		nvmet_req_complete(req, nvmet_status_from_errno(err));
}

/* --- Which there are -------------------------------------------------------------------------- */

struct structure {
	uint8_t cns;
	bool discovery; /* discovery controllers have it too */
	bool of_csi;    /* CDW11 names an I/O command set: NVM is the only one */
	nvmet_control_fn *control;
};

static const struct structure *find(const struct nvmet_req *req)
{
	static const struct structure all[] = {
		{ NVME_CNS_NS, false, false, identify_ns },
		{ NVME_CNS_CTRL, true, false, identify_ctrl },
		{ NVME_CNS_ACTIVE_NS_LIST, false, false, nvmet_identify_ns_list },
		{ NVME_CNS_NS_DESC_LIST, false, false, nvmet_identify_descriptors },
		{ NVME_CNS_CS_NS, false, true, nvmet_identify_cs_ns },
		{ NVME_CNS_CS_CTRL, false, true, nvmet_identify_cs_ctrl },
		{ NVME_CNS_CS_ACTIVE_NS_LIST, false, true, nvmet_identify_ns_list },
		{ NVME_CNS_INDEPENDENT_NS, false, false, nvmet_identify_independent_ns },
		{ NVME_CNS_ALLOCATED_NS_LIST, false, false, nvmet_identify_ns_list },
		{ NVME_CNS_ALLOCATED_NS, false, false, identify_ns },
		{ NVME_CNS_NS_CTRL_LIST, false, false, nvmet_identify_ns_ctrl_list },
		{ NVME_CNS_CTRL_LIST, false, false, nvmet_identify_ctrl_list },
		{ NVME_CNS_CS_ALLOCATED_NS_LIST, false, true, nvmet_identify_ns_list },
		{ NVME_CNS_CS_ALLOCATED_NS, false, true, nvmet_identify_cs_ns },
		{ NVME_CNS_IOCS, false, false, nvmet_identify_iocs },
	};
	bool discovery = req->queue->ctrl->subsys->discovery;

	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		if (all[i].cns == (nvmet_cdw10(req) & 0xff))
			return all[i].discovery || !discovery ? &all[i] : NULL;
	}
	return NULL;
}

uint16_t nvmet_parse_identify(struct nvmet_req *req)
{
	const struct structure *found = find(req);

	if (!found)
		return nvmet_req_invalid_field(req, offsetof(struct nvme_sqe, cdw10));
	if (found->of_csi && nvmet_cdw11(req) >> 24 != NVME_CSI_NVM)
		return nvmet_req_invalid_field(req, offsetof(struct nvme_sqe, cdw11) + 3);
	return nvmet_req_for_control(req, found->control, NVMET_DIR_READ, NVME_IDENTIFY_SIZE);
}
