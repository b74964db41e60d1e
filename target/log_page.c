/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Get Log Page (Base 5.16). Pages about the controller are our own; SMART / Health is the SSD's.
 *
 * A page is made whole, then [LPO, LPO + length) of it is copied out; beyond its end are zeroes.
 */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "pcie/ctrl.h"
#include "target/aen.h"
#include "target/commands.h"
#include "target/ctrl.h"
#include "target/host.h"
#include "target/nvm.h"
#include "target/passthru.h"
#include "target/queue.h"
#include "target/req.h"
#include "target/ssd.h"
#include "target/subsystem.h"
#include "util/bits.h"
#include "util/num.h"
#include "util/version.h"

#define OFFSET_IS_INDEX (1u << 23) /* CDW14 */

static uint8_t page_id(const struct nvmet_req *req)
{
	return nvmet_cdw10(req) & 0xff;
}

/* Completes with a page of `size` bytes; false: refused, nothing was read. */
static bool answer(struct nvmet_req *req, const void *page, size_t size)
{
	uint64_t offset = nvme_log_offset(&req->cmd);
	size_t part;

	if (offset > size) {
		nvmet_req_complete(req,
				   nvmet_req_invalid_field(req, offsetof(struct nvme_sqe, cdw12)));
		return false;
	}
	part = num_min(size - (size_t)offset, (size_t)req->transfer_len);
	memcpy(req->data.va, (const uint8_t *)page + offset, part);
	memset((uint8_t *)req->data.va + part, 0, req->transfer_len - part);
	if (!(nvmet_cdw10(req) & NVME_LOG_RAE))
		nvmet_aen_log_read(req->queue->ctrl, page_id(req));
	nvmet_req_complete(req, 0);
	return true;
}

/* Newest first. */
static void log_error(struct nvmet_req *req)
{
	const struct nvmet_ctrl *ctrl = req->queue->ctrl;
	struct nvme_error_entry page[NVMET_ERROR_SLOTS] = { 0 };

	for (uint64_t i = 0; i < num_min(ctrl->error_count, (uint64_t)NVMET_ERROR_SLOTS); i++)
		page[i] = ctrl->errors[(ctrl->error_count - 1 - i) % NVMET_ERROR_SLOTS];
	answer(req, page, sizeof(page));
}

static void smart_done(void *arg, const struct nvme_cqe *cqe)
{
	struct nvmet_req *req = arg;
	const le64 errors = le64_set(req->queue->ctrl->error_count);
	uint16_t status = nvmet_status_from_ssd(cqe);
	struct nvme_smart_log page;

	if (status) {
		nvmet_req_complete(req, status);
		return;
	}
	memcpy(&page, req->data.va, sizeof(page));
	/* Of the log page that hosts read, which is the controller's own. */
	memset(page.error_log_entries, 0, sizeof(page.error_log_entries));
	memcpy(page.error_log_entries, &errors, sizeof(errors));
	answer(req, &page, sizeof(page));
}

/* The SSD of the namespace that is named; of the first one, when none is. */
static struct nvmet_ssd *smart_ssd(const struct nvmet_ctrl *ctrl, uint32_t nsid)
{
	const struct nvmet_ns *ns = nvmet_ctrl_ns(ctrl, nsid);

	if (nsid == 0 || nsid == NVME_NSID_ALL)
		return ctrl->n_ssds ? ctrl->subsys->ssds[0] : NULL;
	return ns ? ns->ssd : NULL;
}

static void log_smart(struct nvmet_req *req)
{
	struct nvmet_ssd *ssd = smart_ssd(req->queue->ctrl, le32_get(req->cmd.nsid));
	const size_t len = sizeof(struct nvme_smart_log);
	const struct nvme_sqe sqe = {
		.opcode = NVME_ADMIN_GET_LOG_PAGE,
		.nsid = le32_set(NVME_NSID_ALL),
		.cdw10 = le32_set((uint32_t)(len / 4 - 1) << 16 | NVME_LOG_SMART),
	};
	int err;

	if (!ssd) {
		nvmet_req_complete(req, nvmet_req_invalid_ns(req));
		return;
	}
	memset(req->data.va, 0, len); /* a run of pages holds it, however little the host reads */
	err = nvmet_host_forward(req, ssd, &sqe, len, smart_done);
	if (err)
		nvmet_req_complete(req, nvmet_status_from_errno(err));
}

static void log_fw_slot(struct nvmet_req *req)
{
	struct nvme_fw_slot_log page = { .afi = 1 };

	if (req->queue->ctrl->subsys->permissions & NVMET_ALLOW_FIRMWARE) {
		nvmet_passthru_log(req); /* the SSD's, which the host may change */
		return;
	}
	nvme_text_set(page.frs[0], sizeof(page.frs[0]), NVMETD_VERSION);
	answer(req, &page, sizeof(page));
}

/* Base 5.16.1.5: in ascending order; a list that is read without RAE starts anew. */
static void log_changed_ns(struct nvmet_req *req)
{
	struct nvmet_ctrl *ctrl = req->queue->ctrl;
	bool retain = nvmet_cdw10(req) & NVME_LOG_RAE;
	le32 page[NVMET_MAX_NSID] = { 0 };
	unsigned n = 0;

	for (uint32_t nsid = 1; nsid <= NVMET_MAX_NSID; nsid++) {
		if (bits_test(ctrl->changed_ns, nsid))
			page[n++] = le32_set(nsid);
	}
	if (answer(req, page, sizeof(page)) && !retain)
		memset(ctrl->changed_ns, 0, sizeof(ctrl->changed_ns));
}

/* Exactly what is answered: admin.c and nvm.c. The scope of I/O commands is not reported, for Linux
 * warns of it. */
static void log_effects(struct nvmet_req *req)
{
	static const uint8_t admin[] = { NVME_ADMIN_GET_LOG_PAGE, NVME_ADMIN_IDENTIFY,
					 NVME_ADMIN_ABORT,        NVME_ADMIN_SET_FEATURES,
					 NVME_ADMIN_GET_FEATURES, NVME_ADMIN_AER,
					 NVME_ADMIN_KEEP_ALIVE };
	const struct nvmet_ctrl *ctrl = req->queue->ctrl;
	struct nvme_effects_log page = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(admin); i++) {
		if (admin[i] != NVME_ADMIN_ABORT || !ctrl->subsys->discovery)
			page.acs[admin[i]] = le32_set(NVME_EFFECTS_CSUPP | NVME_EFFECTS_SCOPE_CTRL);
	}
	if (!ctrl->subsys->discovery) {
		nvmet_nvm_effects(ctrl, page.iocs);
		nvmet_passthru_effects(ctrl, &page);
	}
	answer(req, &page, sizeof(page));
}

/* Base 5.16.1.18: exactly what features.c answers. */
static void log_feature_effects(struct nvmet_req *req)
{
	le32 page[256] = { 0 };

	for (unsigned fid = 0; fid < ARRAY_SIZE(page); fid++)
		page[fid] = le32_set(nvmet_feature_effects(req->queue->ctrl, (uint8_t)fid));
	answer(req, page, sizeof(page));
}

/* Base 5.16.1.19: no management interface, so no command of it. */
static void log_mi_effects(struct nvmet_req *req)
{
	const uint8_t page[NVME_IDENTIFY_SIZE] = { 0 };

	answer(req, page, sizeof(page));
}

static void log_supported(struct nvmet_req *req);

static void log_discovery(struct nvmet_req *req)
{
	uint16_t status = nvmet_discovery_log(req, nvme_log_offset(&req->cmd));

	if (!status && !(nvmet_cdw10(req) & NVME_LOG_RAE))
		nvmet_aen_log_read(req->queue->ctrl, NVME_LOG_DISCOVERY);
	nvmet_req_complete(req, status);
}

struct log_page {
	uint8_t lid;
	bool io, discovery; /* which controllers have it */
	nvmet_control_fn *control;
};

static const struct log_page pages[] = {
	{ NVME_LOG_SUPPORTED, true, true, log_supported },
	{ NVME_LOG_ERROR, true, false, log_error },
	{ NVME_LOG_SMART, true, false, log_smart },
	{ NVME_LOG_FW_SLOT, true, false, log_fw_slot },
	{ NVME_LOG_CHANGED_NS, true, false, log_changed_ns },
	{ NVME_LOG_EFFECTS, true, true, log_effects },
	{ NVME_LOG_SELF_TEST, true, false, nvmet_passthru_log },
	{ NVME_LOG_TELEMETRY_HOST, true, false, nvmet_passthru_log },
	{ NVME_LOG_TELEMETRY_CTRL, true, false, nvmet_passthru_log },
	{ NVME_LOG_SANITIZE, true, false, nvmet_passthru_log },
	{ NVME_LOG_FEATURE_EFFECTS, true, true, log_feature_effects },
	{ NVME_LOG_MI_EFFECTS, true, false, log_mi_effects },
	{ NVME_LOG_DISCOVERY, false, true, log_discovery },
};

static const struct log_page *find_page(const struct nvmet_req *req, uint8_t lid)
{
	const struct nvmet_subsystem *subsys = req->queue->ctrl->subsys;
	uint32_t permission = nvmet_passthru_log_permission(lid);

	if (permission && !(subsys->permissions & permission))
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
		bool has = subsys->discovery ? pages[i].discovery : pages[i].io;

		if (pages[i].lid == lid)
			return has ? &pages[i] : NULL;
	}
	return NULL;
}

/* Base 5.16.1.1: one entry a page identifier, bit 0: supported. */
static void log_supported(struct nvmet_req *req)
{
	le32 page[256] = { 0 };

	for (unsigned lid = 0; lid < ARRAY_SIZE(page); lid++) {
		if (find_page(req, (uint8_t)lid))
			page[lid] = le32_set(1);
	}
	answer(req, page, sizeof(page));
}

uint16_t nvmet_parse_get_log_page(struct nvmet_req *req)
{
	const struct log_page *page = find_page(req, page_id(req));

	if (!page)
		return nvmet_req_refuse(req, offsetof(struct nvme_sqe, cdw10),
					NVME_SC_INVALID_LOG_PAGE);
	/* CDW14: an offset is in bytes (OT); the I/O command set (CSI) counts with CC.CSS = 110b
	 * only. */
	if (le32_get(req->cmd.cdw14) & OFFSET_IS_INDEX)
		return nvmet_req_invalid_field(req, offsetof(struct nvme_sqe, cdw14));
	if (nvme_log_offset(&req->cmd) & 3)
		return nvmet_req_invalid_field(req, offsetof(struct nvme_sqe, cdw12));
	return nvmet_req_for_control(req, page->control, NVMET_DIR_READ, nvme_log_len(&req->cmd));
}
