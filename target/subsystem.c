/* SPDX-License-Identifier: BSD-3-Clause */
/* NVM subsystems, their hosts and namespaces; see subsystem.h. */
#include "target/subsystem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uuid/uuid.h>

#include "pcie/ctrl.h"
#include "target/ctrl.h"
#include "target/ssd.h"
#include "target/target.h"
#include "util/check.h"
#include "util/num.h"

/* Namespace of the version 5 UUIDs that are derived for SSDs without any identifier of their own.
 */
static const uint8_t uuid_space[16] = { 0x2d, 0x1f, 0x6c, 0x1e, 0x5a, 0x0b, 0x4c, 0x55,
					0x9a, 0x0e, 0x71, 0x63, 0x0c, 0x2b, 0x9e, 0x44 };

bool nvmet_nqn_valid(const char *nqn)
{
	size_t len = strlen(nqn);

	if (len > NVMF_NQN_MAX || strncmp(nqn, "nqn.", 4) != 0 || len == 4)
		return false;
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)nqn[i] <= 0x20 || (unsigned char)nqn[i] == 0x7f)
			return false;
	}
	return true;
}

/* 20 hexadecimal digits that follow from the NQN: stable over restarts, the same on every path. */
static void default_serial(struct nvmet_subsystem *subsys)
{
	uuid_t id;

	uuid_generate_sha1(id, uuid_space, subsys->nqn, strlen(subsys->nqn));
	for (unsigned i = 0; i < 10; i++)
		snprintf(subsys->serial + 2 * i, 3, "%02x", id[i]);
}

int nvmet_subsystem_new(struct nvmet_target *target, const char *nqn,
			struct nvmet_subsystem **ret_subsys)
{
	struct nvmet_subsystem *subsys;

	if (!nvmet_nqn_valid(nqn))
		return -EINVAL;
	if (nvmet_target_find(target, nqn))
		return -EEXIST;
	subsys = calloc(1, sizeof(*subsys));
	if (!subsys)
		return -ENOMEM;
	subsys->target = target;
	snprintf(subsys->nqn, sizeof(subsys->nqn), "%s", nqn);
	snprintf(subsys->model, sizeof(subsys->model), "nvmetd");
	default_serial(subsys);
	subsys->max_queues = NVMET_MAX_QUEUES;
	subsys->max_transfer = target->max_transfer;
	subsys->next_cntlid = 1;
	TAILQ_INIT(&subsys->hosts);
	TAILQ_INIT(&subsys->ctrls);
	TAILQ_INSERT_TAIL(&target->subsystems, subsys, link);
	nvmet_target_discovery_changed(target);
	*ret_subsys = subsys;
	return 0;
}

void nvmet_subsystem_free(struct nvmet_subsystem *subsys)
{
	struct nvmet_host_entry *host;

	if (!subsys)
		return;
	must(TAILQ_EMPTY(&subsys->ctrls));
	while ((host = TAILQ_FIRST(&subsys->hosts)) != NULL) {
		TAILQ_REMOVE(&subsys->hosts, host, link);
		free(host);
	}
	for (uint32_t nsid = 1; nsid <= subsys->max_nsid; nsid++)
		free(subsys->ns[nsid]);
	TAILQ_REMOVE(&subsys->target->subsystems, subsys, link);
	free(subsys);
}

int nvmet_subsystem_allow_host(struct nvmet_subsystem *subsys, const char *hostnqn)
{
	struct nvmet_host_entry *host;

	if (!nvmet_nqn_valid(hostnqn))
		return -EINVAL;
	TAILQ_FOREACH (host, &subsys->hosts, link) {
		if (strcmp(host->nqn, hostnqn) == 0)
			return -EEXIST;
	}
	host = calloc(1, sizeof(*host));
	if (!host)
		return -ENOMEM;
	snprintf(host->nqn, sizeof(host->nqn), "%s", hostnqn);
	TAILQ_INSERT_TAIL(&subsys->hosts, host, link);
	nvmet_target_discovery_changed(subsys->target);
	return 0;
}

bool nvmet_subsystem_host_allowed(const struct nvmet_subsystem *subsys, const char *hostnqn)
{
	const struct nvmet_host_entry *host;

	if (subsys->allow_any_host || subsys->discovery)
		return true;
	TAILQ_FOREACH (host, &subsys->hosts, link) {
		if (strcmp(host->nqn, hostnqn) == 0)
			return true;
	}
	return false;
}

/* Index of the SSD among the subsystem's; added when new. -ENOSPC: too many. */
static int path_of(struct nvmet_subsystem *subsys, struct nvmet_ssd *ssd)
{
	for (unsigned i = 0; i < subsys->n_ssds; i++) {
		if (subsys->ssds[i] == ssd)
			return (int)i;
	}
	if (subsys->n_ssds == NVMET_MAX_SSDS)
		return -ENOSPC;
	subsys->ssds[subsys->n_ssds] = ssd;
	subsys->max_transfer = (uint32_t)num_min((size_t)subsys->max_transfer,
						 nvme_ctrl_info(ssd->ctrl)->max_transfer);
	return (int)subsys->n_ssds++;
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
	const struct nvme_id_ctrl *id = &nvme_ctrl_info(ns->ns->ctrl)->id;
	char name[sizeof(id->sn) + sizeof(id->mn) + 16];
	int len = snprintf(name, sizeof(name), "%.20s/%.40s/%u", id->sn, id->mn, ns->ns->nsid);
	size_t used = num_min((size_t)len, sizeof(name) - 1);

	if (ns->ns->has_uuid && !is_zero(ns->ns->uuid))
		memcpy(ns->uuid, ns->ns->uuid, sizeof(ns->uuid));
	else
		uuid_generate_sha1(ns->uuid, uuid_space, name, used);
	if (ns->ns->has_nguid && !is_zero(ns->ns->nguid))
		memcpy(ns->nguid, ns->ns->nguid, sizeof(ns->nguid));
	else
		memcpy(ns->nguid, ns->uuid, sizeof(ns->nguid));
}

int nvmet_subsystem_add_ns(struct nvmet_subsystem *subsys, uint32_t nsid, struct nvmet_ssd *ssd,
			   struct nvme_ns *nvme_ns)
{
	struct nvmet_ns *ns;
	int path;

	if (nvme_ns->metadata)
		return -ENOTSUP;
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
	path = path_of(subsys, ssd);
	if (path < 0) {
		free(ns);
		return path;
	}
	*ns = (struct nvmet_ns){
		.subsys = subsys,
		.nsid = nsid,
		.ns = nvme_ns,
		.ssd = ssd,
		.path = (unsigned)path,
		.lba_shift = nvme_ns->lba_shift,
		.nsze = nvme_ns->nsze,
	};
	set_identity(ns);
	subsys->ns[nsid] = ns;
	subsys->max_nsid = num_max(subsys->max_nsid, nsid);
	subsys->n_ns++;
	return 0;
}
