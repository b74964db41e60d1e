/* SPDX-License-Identifier: BSD-3-Clause */
/* Namespaces: their export, identity, and what becomes of them at run time; see ns.h. */
#include "target/ns.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uuid/uuid.h>

#include "pcie/ctrl.h"
#include "target/aen.h"
#include "target/ctrl.h"
#include "target/ssd.h"
#include "target/subsystem.h"
#include "target/target.h"
#include "util/log.h"
#include "util/num.h"

/* --- Export ----------------------------------------------------------------------------------- */

/* The index of an SSD among the subsystem's; it is added when it is new. -ENOSPC: too many. */
static int take_path(struct nvmet_subsystem *subsys, struct nvmet_ssd *ssd)
{
	int path = nvmet_subsystem_path_of(subsys, ssd);

	if (path >= 0)
		return path;
	if (subsys->n_ssds == NVMET_MAX_SSDS)
		return -ENOSPC;
	path = (int)subsys->n_ssds;
	subsys->ssds[path] = ssd;
	subsys->max_transfer = (uint32_t)num_min((size_t)subsys->max_transfer,
						 nvme_ctrl_info(ssd->ctrl)->max_transfer);
	subsys->n_ssds++;
	return path;
}

static bool is_zero(const uint8_t id[16])
{
	static const uint8_t zero[16];

	return memcmp(id, zero, sizeof(zero)) == 0;
}

/*
 * The SSD's own identifiers where it has them. Otherwise they follow from its serial number and
 * NSID, so that they are the same after a restart and on another port.
 */
static void set_identity(struct nvmet_ns *ns)
{
	const struct nvme_id_ctrl *id = &nvme_ctrl_info(ns->nvme_ns->ctrl)->id;
	char name[sizeof(id->sn) + sizeof(id->mn) + 16];
	int len = snprintf(name, sizeof(name), "%.20s/%.40s/%u", id->sn, id->mn, ns->nvme_ns->nsid);
	size_t used = num_min((size_t)len, sizeof(name) - 1);

	if (ns->nvme_ns->has_uuid && !is_zero(ns->nvme_ns->uuid))
		memcpy(ns->uuid, ns->nvme_ns->uuid, sizeof(ns->uuid));
	else
		uuid_generate_sha1(ns->uuid, nvmet_uuid_space, name, used);
	if (ns->nvme_ns->has_nguid && !is_zero(ns->nvme_ns->nguid))
		memcpy(ns->nguid, ns->nvme_ns->nguid, sizeof(ns->nguid));
	else
		memcpy(ns->nguid, ns->uuid, sizeof(ns->nguid));
}

static int format_of(const struct nvmet_ns *ns, struct nvmet_format *ret, const char **ret_why)
{
	return nvmet_format_of(&ns->nvme_ns->id, nvme_ctrl_info(ns->nvme_ns->ctrl), ret, ret_why);
}

static void free_metadata(struct nvmet_ns *ns)
{
	struct dma_pool *pool = ns->subsys->target->pool;

	dma_free(pool, &ns->metadata_zeroes);
	dma_free(pool, &ns->metadata_read);
}

/* Enough for the largest command. */
static bool alloc_metadata(struct nvmet_ns *ns, const struct nvmet_format *format)
{
	struct dma_pool *pool = ns->subsys->target->pool;
	size_t blocks = nvme_ctrl_info(ns->nvme_ns->ctrl)->max_transfer >> format->lba_shift;
	size_t len = num_max(blocks, (size_t)1) * format->ms;

	if (!dma_alloc(pool, len, &ns->metadata_zeroes) ||
	    !dma_alloc(pool, len, &ns->metadata_read)) {
		free_metadata(ns);
		return false;
	}
	memset(ns->metadata_zeroes.va, 0, ns->metadata_zeroes.len);
	return true;
}

/* Only while no command can be under way, or of a new object. */
static int set_format(struct nvmet_ns *ns)
{
	const char *why = "no memory for its metadata";
	struct nvmet_format format;
	int err = format_of(ns, &format, &why);

	free_metadata(ns);
	if (!err && format.metadata == NVMET_METADATA_IGNORED && !alloc_metadata(ns, &format))
		err = -ENOMEM;
	if (err)
		log_err("%s: namespace %u of %s cannot be exported: %s", ns->subsys->nqn,
			ns->nvme_ns->nsid, nvme_ctrl_name(ns->nvme_ns->ctrl), why);
	else
		ns->format = format;
	return err;
}

/* Takes over what the SSD says, but for its format. */
static void take_over(struct nvmet_ns *ns, bool usable)
{
	set_identity(ns);
	atomic_store(&ns->blocks, ns->nvme_ns->nsze);
	atomic_store(&ns->active, ns->enabled && ns->nvme_ns->present && usable);
}

int nvmet_subsystem_add_ns(struct nvmet_subsystem *subsys, uint32_t nsid, struct nvmet_ssd *ssd,
			   struct nvme_ns *nvme_ns)
{
	struct nvmet_ns *ns;
	int path, err;

	for (uint32_t i = 1; nsid == 0 && i <= NVMET_MAX_NSID; i++) {
		if (!subsys->ns[i])
			nsid = i;
	}
	if (nsid == 0 || nsid > NVMET_MAX_NSID)
		return -EINVAL;
	if (subsys->ns[nsid])
		return -EEXIST;
	ns = calloc(1, sizeof(*ns));
	if (!ns)
		return -ENOMEM;
	*ns = (struct nvmet_ns){ .subsys = subsys,
				 .nsid = nsid,
				 .nvme_ns = nvme_ns,
				 .ssd_nsid = nvme_ns->nsid,
				 .ssd = ssd,
				 .enabled = true };
	err = set_format(ns);
	path = err ? err : take_path(subsys, ssd);
	if (path < 0) {
		nvmet_ns_free(ns);
		return path;
	}
	ns->path = (unsigned)path;
	take_over(ns, true);
	atomic_store_explicit(&subsys->ns[nsid], ns, memory_order_release);
	subsys->max_nsid = num_max(subsys->max_nsid, nsid);
	subsys->n_ns++;
	return 0;
}

void nvmet_ns_free(struct nvmet_ns *ns)
{
	if (!ns)
		return;
	free_metadata(ns);
	free(ns);
}

/* --- At run time ------------------------------------------------------------------------------ */

/* Every controller of the subsystem notes it, and tells its host if that wants to know. */
static void announce(const struct nvmet_ns *ns)
{
	struct nvmet_ctrl *ctrl;

	TAILQ_FOREACH (ctrl, &ns->subsys->ctrls, link) {
		if (nvmet_ctrl_sees(ctrl, ns))
			nvmet_aen_namespace(ctrl, ns->nsid);
	}
}

static bool fits(const struct nvmet_ns *ns)
{
	struct nvmet_format format;
	const char *why;

	return ns->nvme_ns->present && format_of(ns, &format, &why) == 0 &&
	       nvmet_format_same(&format, &ns->format);
}

static void refresh(struct nvmet_ns *ns)
{
	bool was = nvmet_ns_is_active(ns), idle = ns->ssd->n_shares == 0;
	uint64_t blocks = nvmet_ns_blocks(ns);
	uint8_t uuid[16], nguid[16];

	memcpy(uuid, ns->uuid, sizeof(uuid));
	memcpy(nguid, ns->nguid, sizeof(nguid));
	if (fits(ns)) {
		take_over(ns, true);
	} else if (idle) {
		take_over(ns, set_format(ns) == 0);
	} else {
		atomic_store(&ns->active, false);
		if (was && ns->nvme_ns->present)
			log_err("%s: namespace %u: its format changed on the SSD while hosts "
				"use it: it comes back when they have disconnected",
				ns->subsys->nqn, ns->nsid);
	}
	if (was == nvmet_ns_is_active(ns) && blocks == nvmet_ns_blocks(ns) &&
	    memcmp(uuid, ns->uuid, sizeof(uuid)) == 0 &&
	    memcmp(nguid, ns->nguid, sizeof(nguid)) == 0)
		return;
	log_info("%s: namespace %u: %s, %llu blocks of %u bytes%s", ns->subsys->nqn, ns->nsid,
		 nvmet_ns_is_active(ns) ? "active" : "not active",
		 (unsigned long long)nvmet_ns_blocks(ns), 1u << ns->format.lba_shift,
		 nvmet_format_note(&ns->format));
	announce(ns);
}

void nvmet_ns_enable(struct nvmet_ns *ns, bool enabled)
{
	ns->enabled = enabled;
	refresh(ns);
}

/* Of a subsystem that exports all of the SSD: those that it does not have yet. */
static void export_new(struct nvmet_subsystem *subsys, struct nvmet_ssd *ssd)
{
	for (unsigned i = 0; i < nvme_ctrl_n_ns(ssd->ctrl); i++) {
		struct nvme_ns *nvme_ns = nvme_ctrl_ns(ssd->ctrl, i);
		int err;

		if (!nvme_ns->present ||
		    (nvme_ns->nsid <= NVMET_MAX_NSID && subsys->ns[nvme_ns->nsid]))
			continue;
		err = nvmet_subsystem_add_ns(subsys, nvme_ns->nsid, ssd, nvme_ns);
		if (err) {
			log_warn("%s: namespace %u of %s is not exported: %s", subsys->nqn,
				 nvme_ns->nsid, nvme_ctrl_name(ssd->ctrl), strerror(-err));
			continue;
		}
		log_info("%s: namespace %u: new, %llu blocks of %u bytes%s", subsys->nqn,
			 nvme_ns->nsid, (unsigned long long)nvme_ns->nsze, 1u << nvme_ns->lba_shift,
			 nvmet_format_note(&subsys->ns[nvme_ns->nsid]->format));
		announce(subsys->ns[nvme_ns->nsid]);
	}
}

void nvmet_ssd_namespaces_changed(struct nvmet_ssd *ssd)
{
	struct nvmet_subsystem *subsys;

	TAILQ_FOREACH (subsys, &ssd->target->subsystems, link) {
		for (uint32_t nsid = 1; nsid <= subsys->max_nsid; nsid++) {
			if (subsys->ns[nsid] && subsys->ns[nsid]->ssd == ssd)
				refresh(subsys->ns[nsid]);
		}
		if (subsys->all_of == ssd)
			export_new(subsys, ssd);
	}
}

void nvmet_ssd_readiness_changed(struct nvmet_ssd *ssd)
{
	struct nvmet_subsystem *subsys;

	TAILQ_FOREACH (subsys, &ssd->target->subsystems, link) {
		for (uint32_t nsid = 1; nsid <= subsys->max_nsid; nsid++) {
			struct nvmet_ns *ns = subsys->ns[nsid];

			if (ns && ns->ssd == ssd && nvmet_ns_is_active(ns))
				announce(ns);
		}
	}
}
