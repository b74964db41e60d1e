/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Finding the SSD's namespaces: active list, then Identify and identification descriptors of each
 * (Base 5.17.2.2, 5.17.2.3; NVM Command Set 4.1.5.1). What the SSD says is bounded before it is
 * used.
 *
 * The same scan serves bring-up and, with the SSD READY, everything that changes later. One
 * namespace at a time is put together in scan.found and taken over when it is complete; those that
 * the list no longer has stay as objects, marked absent.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "pcie/ctrl_internal.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/num.h"

static void next_ns(struct nvme_ctrl *ctrl);

/* READY: what the SSD did not show it may show in a while; each pause is twice the one before. */
static void look_later(struct nvme_ctrl *ctrl, const char *why)
{
	struct nvme_ns_scan *scan = &ctrl->scan;
	struct timeval pause = { .tv_sec = (time_t)1 << scan->failures };

	if (scan->failures == NVME_SCAN_TRIES) {
		log_err("%s: looking at its namespaces again failed %u times: %s: no more of it "
			"until it tells of a change, or is asked (nvmetctl rescan)",
			ctrl->name, scan->failures, why);
		scan->failures = 0;
		return;
	}
	scan->failures++;
	log_err("%s: looking at its namespaces again failed: %s: next in %llu s", ctrl->name, why,
		(unsigned long long)pause.tv_sec);
	evtimer_add(scan->timer, &pause);
}

/* Without namespaces there is nothing to bring up; a later scan leaves what it has not reached as
 * it was. */
static void scan_stop(struct nvme_ctrl *ctrl, const char *why)
{
	ctrl->scan.running = false;
	if (ctrl->state != NVME_CTRL_READY) {
		nvme_ctrl_recover(ctrl, why);
		return;
	}
	nvme_ns_tell(ctrl);
	if (ctrl->scan.again)
		nvme_ns_scan(ctrl);
	else
		look_later(ctrl, why);
}

/* After a reset, or in its place: commands that are issued again must meet what they were for. */
static bool returned(const struct nvme_ctrl *ctrl)
{
	return ctrl->known && ctrl->state == NVME_CTRL_NAMESPACES;
}

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

	memset(ctrl->scan.buf.va, 0, NVME_IDENTIFY_SIZE);
	if (nvme_admin_send(ctrl, &sqe, ctrl->scan.buf.iova, NVME_IDENTIFY_SIZE, done, ctrl))
		scan_stop(ctrl, "out of memory");
}

/* Every answer asks this first: the SSD may have failed, or be shutting down. */
static bool scan_goes_on(struct nvme_ctrl *ctrl)
{
	if (ctrl->state == NVME_CTRL_NAMESPACES || ctrl->state == NVME_CTRL_READY)
		return true;
	ctrl->scan.running = false;
	return false;
}

/* The current format's block size and metadata; false when we cannot work with it. */
static bool take_format(struct nvme_ns *ns)
{
	const struct nvme_id_ns *id = &ns->id;
	unsigned index = nvme_id_ns_format(id);
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

static bool same_identity(const struct nvme_ns *a, const struct nvme_ns *b)
{
	return memcmp(a->uuid, b->uuid, sizeof(a->uuid)) == 0 &&
	       memcmp(a->nguid, b->nguid, sizeof(a->nguid)) == 0 &&
	       memcmp(a->eui64, b->eui64, sizeof(a->eui64)) == 0;
}

static bool same_blocks(const struct nvme_ns *a, const struct nvme_ns *b)
{
	return a->lba_shift == b->lba_shift && a->metadata == b->metadata && same_identity(a, b);
}

static bool same(const struct nvme_ns *a, const struct nvme_ns *b)
{
	return a->present == b->present && a->nsze == b->nsze && same_blocks(a, b);
}

/* The namespace of scan.found, new or known. NULL: no memory. */
static struct nvme_ns *found_object(struct nvme_ctrl *ctrl)
{
	struct nvme_ns *ns = nvme_ctrl_ns_by_id(ctrl, ctrl->scan.found.nsid), **all;

	if (ns || ctrl->n_ns == NVME_MAX_NS)
		return ns;
	all = realloc(ctrl->ns, (ctrl->n_ns + 1) * sizeof(all[0]));
	if (!all)
		return NULL;
	ctrl->ns = all;
	ns = calloc(1, sizeof(*ns));
	if (ns)
		all[ctrl->n_ns++] = ns;
	return ns;
}

static void take_found(struct nvme_ctrl *ctrl)
{
	struct nvme_ns *found = &ctrl->scan.found, *ns = found_object(ctrl);

	if (!ns) {
		log_err("%s: namespace %u is left out: no memory for another one", ctrl->name,
			found->nsid);
		return;
	}
	found->present = found->seen = true;
	if (!same(ns, found))
		ctrl->scan.changed = true;
	*ns = *found;
}

/* The namespace that is being looked at, as it was; NULL: it was not there. */
static const struct nvme_ns *was(struct nvme_ctrl *ctrl)
{
	const struct nvme_ns *ns = nvme_ctrl_ns_by_id(ctrl, ctrl->scan.found.nsid);

	return ns && ns->present ? ns : NULL;
}

/* Whether what was found after a reset is what was there before. A Format may have changed the
 * blocks, if it was under way: no queue pair, and so no command to issue again, was there then. */
static bool is_what_was(const struct nvme_ctrl *ctrl, const struct nvme_ns *before)
{
	const struct nvme_ns *found = &ctrl->scan.found;

	if (ctrl->scan.due && TAILQ_EMPTY(&ctrl->qpairs))
		return same_identity(before, found);
	return same_blocks(before, found);
}

static void descriptors_done(void *arg, const struct nvme_cqe *cqe)
{
	struct nvme_ctrl *ctrl = arg;
	struct nvme_ns *found = &ctrl->scan.found;
	const struct nvme_ns *before = was(ctrl);

	if (!scan_goes_on(ctrl))
		return;
	/* Optional before NVMe 1.3: without them identity is derived. */
	found->described = nvme_cqe_status(cqe) == 0;
	if (found->described) {
		take_descriptors(found, ctrl->scan.buf.va);
	} else if (before && before->described) {
		scan_stop(ctrl, "it does not show who they are"); /* hosts must not see others */
		return;
	}
	if (returned(ctrl) && before && !is_what_was(ctrl, before)) {
		log_err("%s: namespace %u has another format or identity than before", ctrl->name,
			found->nsid);
		nvme_ctrl_fail(ctrl, "its namespaces are others");
		return;
	}
	take_found(ctrl);
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
	struct nvme_ns *ns = &ctrl->scan.found;

	if (!scan_goes_on(ctrl))
		return;
	*ns = (struct nvme_ns){ .ctrl = ctrl, .nsid = ctrl->scan.list[ctrl->scan.next - 1] };
	memcpy(&ns->id, ctrl->scan.buf.va, sizeof(ns->id));
	take_old_ids(ns);
	if (nvme_cqe_status(cqe) && was(ctrl)) {
		scan_stop(ctrl, "it does not show its namespaces");
		return;
	}
	if (nvme_cqe_status(cqe) && !(nvme_cqe_status(cqe) & NVME_STATUS_DNR))
		ctrl->scan.part = true;
	if (nvme_cqe_status(cqe) || !take_format(ns)) {
		log_warn("%s: namespace %u is left out: %s", ctrl->name, ns->nsid,
			 nvme_cqe_status(cqe) ? "the SSD does not show it"
					      : "its format is not one we can use");
		next_ns(ctrl);
		return;
	}
	identify(ctrl, ns->nsid, NVME_CNS_NS_DESC_LIST, descriptors_done);
}

void nvme_ns_tell(struct nvme_ctrl *ctrl)
{
	if (ctrl->scan.changed && ctrl->params.events->namespaces)
		ctrl->params.events->namespaces(ctrl, ctrl->params.arg);
	ctrl->scan.changed = false;
}

static void scan_end(struct nvme_ctrl *ctrl)
{
	struct nvme_ns_scan *scan = &ctrl->scan;

	for (unsigned i = 0; i < ctrl->n_ns; i++) {
		if (ctrl->ns[i]->present && !ctrl->ns[i]->seen) {
			if (returned(ctrl)) {
				nvme_ctrl_recover(ctrl, "it does not show a namespace that it had");
				return;
			}
			ctrl->ns[i]->present = false;
			scan->changed = true;
		}
	}
	scan->running = false;
	scan->due = scan->due && scan->again;
	if (ctrl->state == NVME_CTRL_NAMESPACES) {
		scan->failures = 0;
		nvme_ctrl_ns_done(ctrl);
		return;
	}
	nvme_ns_tell(ctrl);
	if (ctrl->state != NVME_CTRL_READY)
		return;
	if (scan->again)
		nvme_ns_scan(ctrl);
	else if (scan->part)
		look_later(ctrl, "it does not show a namespace that is new");
	else
		scan->failures = 0;
}

static void next_ns(struct nvme_ctrl *ctrl)
{
	struct nvme_ns_scan *scan = &ctrl->scan;

	if (scan->next == scan->n_list) {
		scan_end(ctrl);
		return;
	}
	scan->next++;
	identify(ctrl, scan->list[scan->next - 1], NVME_CNS_NS, identify_done);
}

/* Takes the SSD's list over, as far as it ascends as the specification demands. */
static void take_list(struct nvme_ns_scan *scan)
{
	const le32 *list = scan->buf.va;
	uint32_t last = 0;

	for (unsigned i = 0; i < NVME_MAX_NS; i++) {
		uint32_t nsid = le32_get(list[i]);

		if (nsid <= last || nsid >= NVME_NSID_ALL - 1)
			return; /* the end; a list that does not ascend is a lie from here on */
		scan->list[scan->n_list++] = last = nsid;
	}
}

static void list_done(void *arg, const struct nvme_cqe *cqe)
{
	struct nvme_ctrl *ctrl = arg;
	struct nvme_ns_scan *scan = &ctrl->scan;

	if (!scan_goes_on(ctrl))
		return;
	scan->n_list = scan->next = 0;
	if (nvme_cqe_status(cqe) == 0) {
		take_list(scan);
	} else if (ctrl->known) {
		scan_stop(ctrl, "the SSD does not give its list");
		return;
	} else {
		/* Before NVMe 1.1 there is no list: 1 .. NN exist. */
		scan->n_list = num_min(le32_get(ctrl->info.id.nn), (uint32_t)NVME_MAX_NS);
		for (unsigned i = 0; i < scan->n_list; i++)
			scan->list[i] = i + 1;
	}
	next_ns(ctrl);
}

/* The first page of the list holds 1024 namespaces, as many as a subsystem of ours can have. */
void nvme_ns_scan(struct nvme_ctrl *ctrl)
{
	evtimer_del(ctrl->scan.timer);
	ctrl->scan.running = true;
	ctrl->scan.part = false;
	ctrl->scan.again = false; /* `changed` stays: a scan that was cut short has told nobody */
	for (unsigned i = 0; i < ctrl->n_ns; i++)
		ctrl->ns[i]->seen = false;
	identify(ctrl, 0, NVME_CNS_ACTIVE_NS_LIST, list_done);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct nvme_ctrl *ctrl = arg;

	(void)fd;
	(void)what;
	if (ctrl->state == NVME_CTRL_READY && !ctrl->scan.running)
		nvme_ns_scan(ctrl);
}

bool nvme_ns_init(struct nvme_ctrl *ctrl)
{
	ctrl->scan.timer = evtimer_new(ctrl->params.loop->base, on_timer, ctrl);
	return ctrl->scan.timer &&
	       dma_alloc(ctrl->params.pool, NVME_IDENTIFY_SIZE, &ctrl->scan.buf);
}

void nvme_ns_forget(struct nvme_ctrl *ctrl)
{
	for (unsigned i = 0; i < ctrl->n_ns; i++)
		free(ctrl->ns[i]);
	free(ctrl->ns);
	ctrl->ns = NULL;
	ctrl->n_ns = 0;
}

void nvme_ns_fini(struct nvme_ctrl *ctrl)
{
	if (ctrl->scan.timer)
		event_free(ctrl->scan.timer);
	dma_free(ctrl->params.pool, &ctrl->scan.buf);
	nvme_ns_forget(ctrl);
}

int nvme_ctrl_rescan(struct nvme_ctrl *ctrl)
{
	if (ctrl->state != NVME_CTRL_READY)
		return -ENODEV;
	ctrl->scan.failures = 0;
	if (ctrl->scan.running)
		ctrl->scan.again = true;
	else
		nvme_ns_scan(ctrl);
	return 0;
}

/* --- Format ----------------------------------------------------------------------------------- */

bool nvme_ctrl_format_reaches_all(const struct nvme_ctrl *ctrl, uint32_t cdw10)
{
	unsigned ses = NVME_FORMAT_SES(cdw10);

	return ctrl->info.id.fna & (NVME_FNA_FORMAT_ALL | (ses ? NVME_FNA_ERASE_ALL : 0));
}

bool nvme_ctrl_format_changes(const struct nvme_ctrl *ctrl, uint32_t nsid, uint32_t cdw10)
{
	unsigned format = NVME_FORMAT_INDEX(cdw10);
	bool all = nvme_ctrl_format_reaches_all(ctrl, cdw10);

	for (unsigned i = 0; i < ctrl->n_ns; i++) {
		const struct nvme_ns *ns = ctrl->ns[i];

		if (ns->present && (all || ns->nsid == nsid) &&
		    (ns->id.lbaf[format].lbads != ns->lba_shift || ns->metadata))
			return true;
	}
	return false;
}

bool nvme_ctrl_blocks_known(struct nvme_ctrl *ctrl)
{
	const struct nvme_admin_cmd *cmd;

	TAILQ_FOREACH (cmd, &ctrl->admin_cmds, link) {
		if (nvme_ns_is_changed_by(ctrl, &cmd->sqe))
			return false;
	}
	if (ctrl->scan.due && !ctrl->scan.running && ctrl->state == NVME_CTRL_READY)
		nvme_ns_scan(ctrl); /* the last look has failed, and somebody waits for the next */
	return !ctrl->scan.due;
}

bool nvme_ns_is_changed_by(const struct nvme_ctrl *ctrl, const struct nvme_sqe *sqe)
{
	return sqe->opcode == NVME_ADMIN_FORMAT &&
	       nvme_ctrl_format_changes(ctrl, le32_get(sqe->nsid), le32_get(sqe->cdw10));
}
