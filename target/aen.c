/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Asynchronous events; see aen.h. Base 5.2: an event is reported once, and not again for its log
 * page until the host has read that page (without Retain Asynchronous Event).
 */
#include "target/aen.h"

#include <string.h>

#include "target/ctrl.h"
#include "target/queue.h"
#include "target/req.h"
#include "target/ssd.h"
#include "target/subsystem.h"
#include "target/target.h"
#include "util/bits.h"
#include "util/check.h"
#include "util/log.h"

void nvmet_aen_init(struct nvmet_ctrl *ctrl)
{
	ctrl->aen = (struct nvmet_aen){ .n_pending = 0 };
	TAILQ_INIT(&ctrl->aen.requests);
}

/* The critical warnings (Base 5.16.1.3, byte 0) that an event of type SMART tells of, by its
 * information. */
static uint32_t warnings_of(uint8_t info)
{
	switch (info) {
	case NVME_AER_SMART_RELIABILITY:
		return NVME_SMART_DEGRADED | NVME_SMART_READ_ONLY | NVME_SMART_BACKUP_FAILED;
	case NVME_AER_SMART_TEMPERATURE:
		return NVME_SMART_TEMPERATURE;
	case NVME_AER_SMART_SPARE:
		return NVME_SMART_SPARE;
	default:
		return NVME_AEC_SMART;
	}
}

/* Whether the host wants to hear of it (Set Features, Asynchronous Event Configuration). */
static bool enabled(const struct nvmet_ctrl *ctrl, uint32_t dw0)
{
	uint8_t info = NVME_AER_INFO(dw0);

	switch (NVME_AER_TYPE(dw0)) {
	case NVME_AER_ERROR:
		return true;
	case NVME_AER_SMART:
		return ctrl->aen.config & warnings_of(info);
	case NVME_AER_NOTICE:
		if (info == NVME_AER_NOTICE_NS_CHANGED)
			return ctrl->aen.config & NVME_AEC_NS_ATTR;
		if (info == NVME_AER_NOTICE_DISCOVERY)
			return ctrl->aen.config & NVME_AEC_DISCOVERY;
		return false;
	default:
		return false;
	}
}

static void send_pending(struct nvmet_ctrl *ctrl)
{
	struct nvmet_aen *aen = &ctrl->aen;
	struct nvmet_req *req;

	while (aen->n_pending && (req = TAILQ_FIRST(&aen->requests)) != NULL) {
		TAILQ_REMOVE(&aen->requests, req, link);
		aen->n_requests--;
		req->cqe.dw0 = le32_set(aen->pending_dw0[0]);
		aen->n_pending--;
		memmove(&aen->pending_dw0[0], &aen->pending_dw0[1],
			aen->n_pending * sizeof(aen->pending_dw0[0]));
		nvmet_req_complete(req, 0);
	}
}

static uint64_t mask_bit(uint8_t lid)
{
	/* Pages 0 .. 62 have a bit of their own; all others (the discovery page) share the last. */
	return UINT64_C(1) << (lid < 63 ? lid : 63);
}

void nvmet_aen_raise(struct nvmet_ctrl *ctrl, uint32_t dw0)
{
	static struct log_limit limit = LOG_LIMIT_INIT(20); /* main thread only */
	struct nvmet_aen *aen = &ctrl->aen;

	if (ctrl->dead || !enabled(ctrl, dw0) || (aen->masked & mask_bit(NVME_AER_LID(dw0))))
		return;
	if (aen->n_pending == ARRAY_SIZE(aen->pending_dw0)) {
		log_limited(&limit, LOG_LEVEL_WARN,
			    "%s: an asynchronous event is lost: it does not ask for them",
			    nvmet_ctrl_name(ctrl));
		return;
	}
	aen->masked |= mask_bit(NVME_AER_LID(dw0));
	aen->pending_dw0[aen->n_pending++] = dw0;
	send_pending(ctrl);
}

void nvmet_aen_namespace(struct nvmet_ctrl *ctrl, uint32_t nsid)
{
	bits_set(ctrl->changed_ns, nsid);
	nvmet_aen_raise(ctrl, NVME_AER_DW0(NVME_AER_NOTICE, NVME_AER_NOTICE_NS_CHANGED,
					   NVME_LOG_CHANGED_NS));
}

void nvmet_aen_log_read(struct nvmet_ctrl *ctrl, uint8_t lid)
{
	struct nvmet_aen *aen = &ctrl->aen;
	unsigned n = 0;

	aen->masked &= ~mask_bit(lid);
	for (unsigned i = 0; i < aen->n_pending; i++) {
		if (NVME_AER_LID(aen->pending_dw0[i]) != lid)
			aen->pending_dw0[n++] = aen->pending_dw0[i];
	}
	aen->n_pending = n;
}

void nvmet_aen_request(struct nvmet_ctrl *ctrl, struct nvmet_req *req)
{
	if (ctrl->aen.n_requests == NVMET_AERL + 1) {
		nvmet_req_complete(req, NVME_SC_AER_LIMIT | NVME_STATUS_DNR);
		return;
	}
	TAILQ_INSERT_TAIL(&ctrl->aen.requests, req, link);
	ctrl->aen.n_requests++;
	send_pending(ctrl);
}

void nvmet_aen_abort_all(struct nvmet_ctrl *ctrl, uint16_t status)
{
	struct nvmet_req *req;

	while ((req = TAILQ_FIRST(&ctrl->aen.requests)) != NULL) {
		TAILQ_REMOVE(&ctrl->aen.requests, req, link);
		ctrl->aen.n_requests--;
		nvmet_req_complete(req, status);
	}
}

bool nvmet_aen_abort(struct nvmet_ctrl *ctrl, uint16_t cid)
{
	struct nvmet_req *req;

	TAILQ_FOREACH (req, &ctrl->aen.requests, link) {
		if (le16_get(req->cmd.cid) != cid)
			continue;
		TAILQ_REMOVE(&ctrl->aen.requests, req, link);
		ctrl->aen.n_requests--;
		nvmet_req_complete(req, NVME_SC_ABORT_REQUESTED);
		return true;
	}
	return false;
}

void nvmet_aen_from_ssd(struct nvmet_ssd *ssd, uint32_t dw0)
{
	struct nvmet_subsystem *subsys;
	struct nvmet_ctrl *ctrl;

	if (NVME_AER_TYPE(dw0) != NVME_AER_SMART)
		return; /* errors are told by status; namespaces are ours to announce */
	TAILQ_FOREACH (subsys, &ssd->target->subsystems, link) {
		if (nvmet_subsystem_path_of(subsys, ssd) < 0)
			continue;
		TAILQ_FOREACH (ctrl, &subsys->ctrls, link)
			nvmet_aen_raise(ctrl, dw0);
	}
}
