/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Identify: lists of namespaces and controllers, and the data structures of I/O command sets, of
 * which there is one (Base 5.17.2, NVM Command Set 4.1.5). All our own: what a host may see is
 * decided here and not by the SSD. Namespaces are not managed by hosts, so each that is allocated
 * is active.
 */
#include <stddef.h>
#include <string.h>

#include "pcie/ctrl.h"
#include "target/commands.h"
#include "target/ctrl.h"
#include "target/identify.h"
#include "target/queue.h"
#include "target/req.h"
#include "target/subsystem.h"

#define THIS_CTRL UINT16_C(0xffff)

static void refuse(struct nvmet_req *req, size_t error_loc, uint16_t sc)
{
	nvmet_req_complete(req, nvmet_req_refuse(req, error_loc, sc));
}

static void refuse_nsid(struct nvmet_req *req)
{
	refuse(req, offsetof(struct nvme_sqe, nsid), NVME_SC_INVALID_NS);
}

static uint16_t cntid(const struct nvmet_req *req)
{
	return (uint16_t)(nvmet_cdw10(req) >> 16);
}

/* --- Namespaces ------------------------------------------------------------------------------- */

void nvmet_identify_ns_list(struct nvmet_req *req)
{
	const struct nvmet_subsystem *subsys = req->queue->ctrl->subsys;
	uint32_t after = le32_get(req->cmd.nsid);
	le32 *list = req->data.va;
	unsigned n = 0;

	memset(list, 0, NVME_IDENTIFY_SIZE);
	if (after >= NVME_NSID_ALL - 1) { /* Base 5.17.2.2 */
		refuse_nsid(req);
		return;
	}
	for (uint32_t nsid = 1; nsid <= subsys->max_nsid && n < NVME_IDENTIFY_SIZE / 4; nsid++) {
		if (nsid > after && nvmet_ctrl_ns(req->queue->ctrl, nsid))
			list[n++] = le32_set(nsid);
	}
	nvmet_req_complete(req, 0);
}

static uint8_t *add_descriptor(uint8_t *at, uint8_t type, const uint8_t *id, uint8_t len)
{
	const struct nvme_ns_id_desc desc = { .nidt = type, .nidl = len };

	memcpy(at, &desc, sizeof(desc));
	memcpy(at + sizeof(desc), id, len);
	return at + sizeof(desc) + len;
}

void nvmet_identify_descriptors(struct nvmet_req *req)
{
	const struct nvmet_ns *ns = nvmet_ctrl_ns(req->queue->ctrl, le32_get(req->cmd.nsid));
	uint8_t *at = req->data.va;
	const uint8_t csi_nvm = NVME_CSI_NVM;

	memset(at, 0, NVME_IDENTIFY_SIZE);
	if (!ns) {
		refuse_nsid(req);
		return;
	}
	at = add_descriptor(at, NVME_NIDT_UUID, ns->uuid, 16);
	at = add_descriptor(at, NVME_NIDT_NGUID, ns->nguid, 16);
	if (ns->nvme_ns->has_eui64)
		at = add_descriptor(at, NVME_NIDT_EUI64, ns->nvme_ns->eui64, 8);
	add_descriptor(at, NVME_NIDT_CSI, &csi_nvm, 1);
	nvmet_req_complete(req, 0);
}

/* The namespace of the command for a structure that is all zeroes when it is not active (Base
 * 5.17.2.1). False: the NSID can be none's, and the command has been completed. */
static bool valid_nsid(struct nvmet_req *req, const struct nvmet_ns **ret_ns)
{
	uint32_t nsid = le32_get(req->cmd.nsid);

	memset(req->data.va, 0, NVME_IDENTIFY_SIZE);
	*ret_ns = nvmet_ctrl_ns(req->queue->ctrl, nsid);
	if (nsid != 0 && nsid <= NVMET_MAX_NSID)
		return true;
	refuse_nsid(req);
	return false;
}

/* NVM Command Set 4.1.5.3: only about protection information with larger guards or storage tags;
 * what is exported has 16-bit guards without, for which all is zero. */
void nvmet_identify_cs_ns(struct nvmet_req *req)
{
	const struct nvmet_ns *ns;

	if (valid_nsid(req, &ns))
		nvmet_req_complete(req, 0);
}

/* Base 5.17.2.8. */
void nvmet_identify_independent_ns(struct nvmet_req *req)
{
	struct nvme_id_ns_indep *id = req->data.va;
	const struct nvmet_ns *ns;

	if (!valid_nsid(req, &ns))
		return;
	if (ns) {
		id->nmic = NVME_NMIC_SHARED;
		id->nstat = NVME_NSTAT_NRDY;
		id->nsattr = nvmet_ctrl_may_write(req->queue->ctrl, ns)
				     ? 0
				     : NVME_NSATTR_WRITE_PROTECTED;
	}
	nvmet_req_complete(req, 0);
}

/* --- Controllers ------------------------------------------------------------------------------ */

/* Where `cntlid` goes among the first `n` of an ascending list. */
static unsigned place_of(uint16_t cntlid, const le16 *ids, unsigned n)
{
	unsigned at = n;

	while (at && le16_get(ids[at - 1]) > cntlid)
		at--;
	return at;
}

/* Identifiers of at least CNTID, ascending, of those that have the namespace (0: of all). Those
 * that are ending are none any more. */
static void controller_list(struct nvmet_req *req, uint32_t nsid)
{
	struct nvme_ctrl_list *list = req->data.va;
	const struct nvmet_ctrl *ctrl;
	unsigned n = 0, at;

	memset(list, 0, sizeof(*list));
	TAILQ_FOREACH (ctrl, &req->queue->ctrl->subsys->ctrls, link) {
		if (ctrl->dead || ctrl->cntlid < cntid(req) || n == ARRAY_SIZE(list->id) ||
		    (nsid && !nvmet_ctrl_ns(ctrl, nsid)))
			continue;
		at = place_of(ctrl->cntlid, list->id, n);
		memmove(&list->id[at + 1], &list->id[at], (n - at) * sizeof(list->id[0]));
		list->id[at] = le16_set(ctrl->cntlid);
		n++;
	}
	list->n = le16_set((uint16_t)n);
	nvmet_req_complete(req, 0);
}

void nvmet_identify_ctrl_list(struct nvmet_req *req)
{
	controller_list(req, 0);
}

/* Those of hosts that may see the namespace. */
void nvmet_identify_ns_ctrl_list(struct nvmet_req *req)
{
	uint32_t nsid = le32_get(req->cmd.nsid);

	if (nvmet_ctrl_ns(req->queue->ctrl, nsid))
		controller_list(req, nsid);
	else
		refuse_nsid(req);
}

/* --- I/O command sets ------------------------------------------------------------------------- */

/* NVM Command Set 4.1.5.4: how much a command without data may cover. */
void nvmet_identify_cs_ctrl(struct nvmet_req *req)
{
	struct nvme_id_ctrl_nvm *id = req->data.va;
	const struct nvmet_ctrl *ctrl = req->queue->ctrl;
	struct nvmet_promise now;

	nvmet_promise_make(ctrl->subsys, ctrl->n_ssds, &now);
	memset(id, 0, sizeof(*id));
	id->vsl = now.vsl;
	id->wzsl = now.wzsl;
	id->wusl = now.wusl;
	id->dmrl = now.dmrl;
	id->dmrsl = le32_set(now.dmrsl);
	id->dmsl = le64_set(now.dmsl);
	nvmet_req_complete(req, 0);
}

/* Base 5.17.2.22: one combination, the NVM command set alone. */
void nvmet_identify_iocs(struct nvmet_req *req)
{
	struct nvmet_ctrl *ctrl = req->queue->ctrl;
	le64 *vectors = req->data.va;

	memset(vectors, 0, NVME_IDENTIFY_SIZE);
	if (cntid(req) != THIS_CTRL && !nvmet_ctrl_find(ctrl->subsys, cntid(req))) {
		refuse(req, offsetof(struct nvme_sqe, cdw10) + 2, NVME_SC_INVALID_FIELD);
		return;
	}
	vectors[0] = le64_set(UINT64_C(1) << NVME_CSI_NVM);
	nvmet_req_complete(req, 0);
}
