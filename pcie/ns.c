/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Finding the SSD's namespaces: active list, then Identify and identification descriptors of each
 * (Base 5.17.2.2, 5.17.2.3; NVM Command Set 4.1.5.1). What the SSD says is bounded before it is
 * used.
 */
#include <stdlib.h>
#include <string.h>

#include "pcie/ctrl_internal.h"
#include "util/log.h"
#include "util/num.h"

static void next_ns(struct nvme_ctrl *ctrl);

unsigned nvme_ctrl_n_ns(const struct nvme_ctrl *ctrl)
{
	return ctrl->n_ns;
}

struct nvme_ns *nvme_ctrl_ns(struct nvme_ctrl *ctrl, unsigned index)
{
	return index < ctrl->n_ns ? ctrl->ns[index] : NULL;
}

struct nvme_ns *nvme_ctrl_ns_by_id(struct nvme_ctrl *ctrl, uint32_t nsid)
{
	for (unsigned i = 0; i < ctrl->n_ns; i++) {
		if (ctrl->ns[i]->nsid == nsid)
			return ctrl->ns[i];
	}
	return NULL;
}

static void identify(struct nvme_ctrl *ctrl, uint32_t nsid, enum nvme_cns cns, nvme_done_fn *done)
{
	const struct nvme_sqe sqe = {
		.opcode = NVME_ADMIN_IDENTIFY,
		.nsid = le32_set(nsid),
		.cdw10 = le32_set(cns),
	};

	memset(ctrl->buf.va, 0, NVME_IDENTIFY_SIZE);
	if (nvme_admin_send(ctrl, &sqe, ctrl->buf.iova, NVME_IDENTIFY_SIZE, done, ctrl))
		nvme_ctrl_fail(ctrl, "out of memory");
}

/* The current format's block size and metadata; false when we cannot work with it. */
static bool take_format(struct nvme_ns *ns)
{
	const struct nvme_id_ns *id = &ns->id;
	unsigned index = (id->flbas & 0xf) | (id->flbas >> 5 & 3) << 4;
	const struct nvme_lbaf *format = &id->lbaf[index];

	if (index > id->nlbaf || format->lbads < 9 || format->lbads > 16)
		return false;
	ns->lba_shift = format->lbads;
	ns->metadata = le16_get(format->ms);
	ns->nsze = le64_get(id->nsze);
	return ns->nsze <= UINT64_MAX >> ns->lba_shift;
}

static bool copy_id(uint8_t *to, size_t len, const struct nvme_ns_id_desc *desc)
{
	if (desc->nidl != len)
		return false;
	memcpy(to, desc + 1, len);
	return true;
}

static void take_descriptors(struct nvme_ns *ns, const uint8_t *list)
{
	size_t pos = 0;

	while (pos + sizeof(struct nvme_ns_id_desc) <= NVME_IDENTIFY_SIZE) {
		const struct nvme_ns_id_desc *desc = (const void *)(list + pos);

		if (desc->nidl == 0 || pos + sizeof(*desc) + desc->nidl > NVME_IDENTIFY_SIZE)
			return;
		if (desc->nidt == NVME_NIDT_UUID)
			ns->has_uuid = copy_id(ns->uuid, sizeof(ns->uuid), desc);
		else if (desc->nidt == NVME_NIDT_NGUID)
			ns->has_nguid = copy_id(ns->nguid, sizeof(ns->nguid), desc);
		else if (desc->nidt == NVME_NIDT_EUI64)
			ns->has_eui64 = copy_id(ns->eui64, sizeof(ns->eui64), desc);
		pos += sizeof(*desc) + desc->nidl;
	}
}

static void descriptors_done(void *arg, const struct nvme_cqe *cqe)
{
	struct nvme_ctrl *ctrl = arg;

	if (ctrl->state != NVME_CTRL_NAMESPACES)
		return;
	/* Optional before NVMe 1.3: without them identity is derived. */
	if (nvme_cqe_status(cqe) == 0)
		take_descriptors(ctrl->ns[ctrl->n_ns - 1], ctrl->buf.va);
	next_ns(ctrl);
}

static bool is_set(const uint8_t *id, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (id[i])
			return true;
	}
	return false;
}

/* Where identifiers were before the descriptors of NVMe 1.3, which then replace them. */
static void take_old_ids(struct nvme_ns *ns)
{
	memcpy(ns->nguid, ns->id.nguid, sizeof(ns->nguid));
	memcpy(ns->eui64, ns->id.eui64, sizeof(ns->eui64));
	ns->has_nguid = is_set(ns->nguid, sizeof(ns->nguid));
	ns->has_eui64 = is_set(ns->eui64, sizeof(ns->eui64));
}

static void identify_done(void *arg, const struct nvme_cqe *cqe)
{
	struct nvme_ctrl *ctrl = arg;
	uint32_t nsid = ctrl->ns_list[ctrl->ns_next - 1];
	struct nvme_ns *ns;

	if (ctrl->state != NVME_CTRL_NAMESPACES)
		return;
	ns = calloc(1, sizeof(*ns));
	if (!ns) {
		nvme_ctrl_fail(ctrl, "out of memory");
		return;
	}
	ns->ctrl = ctrl;
	ns->nsid = nsid;
	memcpy(&ns->id, ctrl->buf.va, sizeof(ns->id));
	take_old_ids(ns);
	if (nvme_cqe_status(cqe) || !take_format(ns)) {
		log_warn("%s: namespace %u is left out: its format is not one we can use",
			 ctrl->dev->name, nsid);
		free(ns);
		next_ns(ctrl);
		return;
	}
	ctrl->ns[ctrl->n_ns++] = ns;
	identify(ctrl, nsid, NVME_CNS_NS_DESC_LIST, descriptors_done);
}

static void next_ns(struct nvme_ctrl *ctrl)
{
	if (ctrl->ns_next == ctrl->n_ns_list) {
		nvme_ctrl_ns_done(ctrl);
		return;
	}
	ctrl->ns_next++;
	identify(ctrl, ctrl->ns_list[ctrl->ns_next - 1], NVME_CNS_NS, identify_done);
}

static void list_done(void *arg, const struct nvme_cqe *cqe)
{
	struct nvme_ctrl *ctrl = arg;
	const le32 *list = ctrl->buf.va;

	if (ctrl->state != NVME_CTRL_NAMESPACES)
		return;
	if (nvme_cqe_status(cqe)) {
		/* Before NVMe 1.1 there is no list: 1 .. NN exist. */
		uint32_t nn = le32_get(ctrl->info.id.nn);

		ctrl->n_ns_list = num_min(nn, (uint32_t)NVME_MAX_NS);
		for (unsigned i = 0; i < ctrl->n_ns_list; i++)
			ctrl->ns_list[i] = i + 1;
	} else {
		for (unsigned i = 0; i < NVME_IDENTIFY_SIZE / sizeof(le32) && le32_get(list[i]);
		     i++)
			ctrl->ns_list[ctrl->n_ns_list++] = le32_get(list[i]);
	}
	ctrl->ns = calloc(ctrl->n_ns_list + 1, sizeof(ctrl->ns[0]));
	if (!ctrl->ns) {
		nvme_ctrl_fail(ctrl, "out of memory");
		return;
	}
	next_ns(ctrl);
}

/* The first page of the list holds 1024 namespaces, as many as a subsystem of ours can have. */
void nvme_ns_scan(struct nvme_ctrl *ctrl)
{
	nvme_ctrl_set_state(ctrl, NVME_CTRL_NAMESPACES);
	identify(ctrl, 0, NVME_CNS_ACTIVE_NS_LIST, list_done);
}
