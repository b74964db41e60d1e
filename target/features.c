/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Get and Set Features (Base 5.15, 5.27). A host's own features are kept in its controller. The
 * SSD's are shared by all hosts: each may read them, none may change them.
 */
#include <stddef.h>
#include <string.h>

#include "pcie/ctrl.h"
#include "target/commands.h"
#include "target/ctrl.h"
#include "target/host.h"
#include "target/queue.h"
#include "target/req.h"
#include "target/ssd.h"
#include "target/subsystem.h"
#include "target/target.h"
#include "util/num.h"

#define SEL_SUPPORTED  3
#define CAP_OF_NS      (1u << 1) /* supported capabilities */
#define CAP_CHANGEABLE (1u << 2)
#define EXHID          (1u << 0)

/* Base 5.16.1.18 */
#define FSUPP            (1u << 0)
#define SCOPE_NAMESPACE  (1u << 20)
#define SCOPE_CONTROLLER (1u << 21)

enum feature_owner { FEATURE_NONE, FEATURE_OURS, FEATURE_SSD };

static enum feature_owner owner_of(const struct nvmet_ctrl *ctrl, uint8_t fid)
{
	switch (fid) {
	case NVME_FEAT_AEC:
	case NVME_FEAT_KATO:
		return FEATURE_OURS;
	case NVME_FEAT_NUM_QUEUES:
	case NVME_FEAT_HOST_ID:
		return ctrl->subsys->discovery ? FEATURE_NONE : FEATURE_OURS;
	case NVME_FEAT_VWC:
	case NVME_FEAT_ARBITRATION:
	case NVME_FEAT_POWER:
	case NVME_FEAT_TEMP_THRESHOLD:
	case NVME_FEAT_ERROR_RECOVERY:
	case NVME_FEAT_WRITE_ATOMICITY:
		return ctrl->n_ssds ? FEATURE_SSD : FEATURE_NONE;
	default:
		return FEATURE_NONE;
	}
}

/* The others are a controller's. */
static bool is_of_ns(uint8_t fid)
{
	return fid == NVME_FEAT_ERROR_RECOVERY;
}

uint32_t nvmet_feature_effects(const struct nvmet_ctrl *ctrl, uint8_t fid)
{
	if (owner_of(ctrl, fid) == FEATURE_NONE)
		return 0;
	return FSUPP | (is_of_ns(fid) ? SCOPE_NAMESPACE : SCOPE_CONTROLLER);
}

/* --- Number of queues ------------------------------------------------------------------------- */

/* What every SSD has left, so that the host's queues get queue pairs of their own. At least one. */
static uint16_t queues_left(const struct nvmet_ctrl *ctrl)
{
	const struct nvmet_subsystem *subsys = ctrl->subsys;
	unsigned n = subsys->max_queues;

	for (unsigned i = 0; i < nvmet_ctrl_ssds_ahead(ctrl); i++)
		n = num_min(n, nvmet_ssd_queues_available(subsys->ssds[i]));
	return (uint16_t)num_max(n, 1u);
}

static uint16_t set_number_of_queues(struct nvmet_req *req)
{
	struct nvmet_ctrl *ctrl = req->queue->ctrl;
	uint32_t nsqr = nvmet_cdw11(req) & 0xffff, ncqr = nvmet_cdw11(req) >> 16;
	uint32_t granted;

	if (nsqr == 0xffff || ncqr == 0xffff)
		return nvmet_req_invalid_field(req, offsetof(struct nvme_sqe, cdw11));
	if (nvmet_ctrl_has_io_queues(ctrl))
		return NVME_SC_CMD_SEQUENCE | NVME_STATUS_DNR;
	granted = num_min(num_min(nsqr, ncqr) + 1, (uint32_t)queues_left(ctrl));
	if (ctrl->access && ctrl->access->max_queues)
		granted = num_min(granted, (uint32_t)ctrl->access->max_queues);
	ctrl->max_qid = (uint16_t)granted;
	req->cqe.dw0 = le32_set((granted - 1) << 16 | (granted - 1));
	return 0;
}

/* --- Set -------------------------------------------------------------------------------------- */

/* The events that this kind of controller raises; the other bits stay 0. */
static uint32_t aec_known(const struct nvmet_ctrl *ctrl)
{
	return ctrl->subsys->discovery ? NVME_AEC_DISCOVERY : NVME_AEC_SMART | NVME_AEC_NS_ATTR;
}

static void set_features(struct nvmet_req *req)
{
	struct nvmet_ctrl *ctrl = req->queue->ctrl;
	uint16_t status = 0;

	switch (nvmet_cdw10(req) & 0xff) {
	case NVME_FEAT_NUM_QUEUES:
		status = set_number_of_queues(req);
		break;
	case NVME_FEAT_AEC:
		ctrl->aen.config = nvmet_cdw11(req) & aec_known(ctrl);
		break;
	case NVME_FEAT_KATO:
		nvmet_ctrl_set_kato(ctrl, nvmet_cdw11(req));
		break;
	default:
		status = NVME_SC_INTERNAL;
	}
	nvmet_req_complete(req, status);
}

/* Base 4.4: a controller's feature cannot be set for one namespace. */
static uint16_t check_feature_nsid(struct nvmet_req *req, uint8_t fid)
{
	uint32_t nsid = le32_get(req->cmd.nsid);

	if (is_of_ns(fid) || nsid == 0 || nsid == NVME_NSID_ALL)
		return 0;
	if (nsid > NVMET_MAX_NSID)
		return nvmet_req_invalid_ns(req);
	return nvmet_req_refuse(req, offsetof(struct nvme_sqe, nsid),
				NVME_SC_FEATURE_NOT_NS_SPECIFIC);
}

uint16_t nvmet_parse_set_features(struct nvmet_req *req)
{
	uint8_t fid = nvmet_cdw10(req) & 0xff;
	uint16_t status;
	enum feature_owner owner = owner_of(req->queue->ctrl, fid);

	if (owner == FEATURE_NONE)
		return nvmet_req_invalid_field(req, offsetof(struct nvme_sqe, cdw10));
	if (nvmet_cdw10(req) >> 31)
		return nvmet_req_refuse(req, offsetof(struct nvme_sqe, cdw10) + 3,
					NVME_SC_FEATURE_NOT_SAVEABLE);
	status = check_feature_nsid(req, fid);
	if (status)
		return status;
	/* The host identifier came with Connect and is checked on every queue: it
	 * stays what it is. */
	if (fid == NVME_FEAT_HOST_ID)
		return NVME_SC_CMD_SEQUENCE | NVME_STATUS_DNR;
	if (owner == FEATURE_SSD)
		return nvmet_req_refuse(req, offsetof(struct nvme_sqe, cdw10),
					NVME_SC_FEATURE_NOT_CHANGEABLE);
	return nvmet_req_for_control(req, set_features, NVMET_DIR_NONE, 0);
}

/* --- Get -------------------------------------------------------------------------------------- */

static void get_from_ssd_done(void *arg, const struct nvme_cqe *cqe)
{
	struct nvmet_req *req = arg;

	req->cqe.dw0 = cqe->dw0;
	nvmet_req_complete(req, nvmet_status_from_ssd(cqe));
}

/* Error Recovery is a namespace's. Of the others there is one an SSD: the first SSD
 * speaks for all. */
static void get_from_ssd(struct nvmet_req *req)
{
	const struct nvmet_subsystem *subsys = req->queue->ctrl->subsys;
	uint32_t nsid = le32_get(req->cmd.nsid);
	bool of_ns = is_of_ns(nvmet_cdw10(req) & 0xff) && nsid != 0 && nsid != NVME_NSID_ALL;
	const struct nvmet_ns *ns = of_ns ? nvmet_ctrl_ns(req->queue->ctrl, nsid) : NULL;
	const struct nvme_sqe sqe = {
		.opcode = NVME_ADMIN_GET_FEATURES,
		.nsid = le32_set(ns ? ns->nvme_ns->nsid : 0),
		.cdw10 = le32_set(nvmet_cdw10(req) & 0x7ff), /* FID and SEL */
		.cdw11 = req->cmd.cdw11,
	};
	int err;

	if (of_ns && !ns) {
		nvmet_req_complete(req, nvmet_req_invalid_ns(req));
		return;
	}
	err = nvmet_host_forward(req, ns ? ns->ssd : subsys->ssds[0], &sqe, 0, get_from_ssd_done);
	if (err)
		nvmet_req_complete(req, nvmet_status_from_errno(err));
}

static uint32_t current_queues(const struct nvmet_ctrl *ctrl)
{
	uint32_t n = ctrl->max_qid ? ctrl->max_qid - 1u : 0;

	return n << 16 | n;
}

static void get_features(struct nvmet_req *req)
{
	const struct nvmet_ctrl *ctrl = req->queue->ctrl;
	uint32_t value = 0;

	switch (nvmet_cdw10(req) & 0xff) {
	case NVME_FEAT_NUM_QUEUES:
		value = current_queues(ctrl);
		break;
	case NVME_FEAT_AEC:
		value = ctrl->aen.config;
		break;
	case NVME_FEAT_KATO:
		value = ctrl->kato_ms;
		break;
	case NVME_FEAT_HOST_ID:
		memcpy(req->data.va, ctrl->hostid, sizeof(ctrl->hostid));
		break;
	}
	req->cqe.dw0 = le32_set(value);
	nvmet_req_complete(req, 0);
}

static void get_capabilities(struct nvmet_req *req)
{
	uint8_t fid = nvmet_cdw10(req) & 0xff;
	bool ours = owner_of(req->queue->ctrl, fid) == FEATURE_OURS;

	req->cqe.dw0 = le32_set((ours && fid != NVME_FEAT_HOST_ID ? CAP_CHANGEABLE : 0) |
				(is_of_ns(fid) ? CAP_OF_NS : 0));
	nvmet_req_complete(req, 0);
}

uint16_t nvmet_parse_get_features(struct nvmet_req *req)
{
	uint8_t fid = nvmet_cdw10(req) & 0xff, sel = nvmet_cdw10(req) >> 8 & 7;
	enum feature_owner owner = owner_of(req->queue->ctrl, fid);

	if (owner == FEATURE_NONE || sel > SEL_SUPPORTED)
		return nvmet_req_invalid_field(req, offsetof(struct nvme_sqe, cdw10));
	if (sel == SEL_SUPPORTED)
		return nvmet_req_for_control(req, get_capabilities, NVMET_DIR_NONE, 0);
	if (owner == FEATURE_SSD)
		return nvmet_req_for_control(req, get_from_ssd, NVMET_DIR_NONE, 0);
	if (fid != NVME_FEAT_HOST_ID)
		return nvmet_req_for_control(req, get_features, NVMET_DIR_NONE, 0);
	/* Over fabrics the identifier always has 128 bits (Base 5.27.1.25). */
	if (!(nvmet_cdw11(req) & EXHID))
		return nvmet_req_invalid_field(req, offsetof(struct nvme_sqe, cdw11));
	return nvmet_req_for_control(req, get_features, NVMET_DIR_READ,
				     sizeof(req->queue->ctrl->hostid));
}
