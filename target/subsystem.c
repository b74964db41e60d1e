/* SPDX-License-Identifier: BSD-3-Clause */
/* NVM subsystems, their hosts and namespaces; see subsystem.h. */
#include "target/subsystem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uuid/uuid.h>

#include "target/ctrl.h"
#include "target/target.h"
#include "util/check.h"
#include "util/utf8.h"

/* Namespace of the version 5 UUIDs that are derived for SSDs without any identifier
 * of their own. */
const uint8_t nvmet_uuid_space[16] = { 0x2d, 0x1f, 0x6c, 0x1e, 0x5a, 0x0b, 0x4c, 0x55,
				       0x9a, 0x0e, 0x71, 0x63, 0x0c, 0x2b, 0x9e, 0x44 };

bool nvmet_nqn_valid(const char *nqn)
{
	size_t len = strlen(nqn);

	if (len > NVMF_NQN_MAX || strncmp(nqn, "nqn.", 4) != 0 || len == 4)
		return false;
	for (size_t i = 0, n; i < len; i += n) {
		n = utf8_char(nqn + i, len - i);
		if (!n || nqn[i] == ' ')
			return false;
	}
	return true;
}

/* 20 hexadecimal digits that follow from the NQN: stable over restarts, the same on every path. */
static void default_serial(struct nvmet_subsystem *subsys)
{
	uuid_t id;

	uuid_generate_sha1(id, nvmet_uuid_space, subsys->nqn, strlen(subsys->nqn));
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
		nvmet_ns_free(subsys->ns[nsid]);
	TAILQ_REMOVE(&subsys->target->subsystems, subsys, link);
	free(subsys);
}

const struct nvmet_host_entry *nvmet_subsystem_host(const struct nvmet_subsystem *subsys,
						    const char *hostnqn)
{
	const struct nvmet_host_entry *host;

	TAILQ_FOREACH (host, &subsys->hosts, link) {
		if (strcmp(host->nqn, hostnqn) == 0)
			return host;
	}
	return NULL;
}

int nvmet_subsystem_allow_host(struct nvmet_subsystem *subsys, const char *hostnqn,
			       const struct nvmet_access *access)
{
	struct nvmet_host_entry *host;

	if (!nvmet_nqn_valid(hostnqn))
		return -EINVAL;
	if (nvmet_subsystem_host(subsys, hostnqn))
		return -EEXIST;
	host = calloc(1, sizeof(*host));
	if (!host)
		return -ENOMEM;
	snprintf(host->nqn, sizeof(host->nqn), "%s", hostnqn);
	if (access)
		host->access = *access;
	TAILQ_INSERT_TAIL(&subsys->hosts, host, link);
	nvmet_target_discovery_changed(subsys->target);
	return 0;
}

bool nvmet_subsystem_host_allowed(const struct nvmet_subsystem *subsys, const char *hostnqn)
{
	return subsys->allow_any_host || subsys->discovery ||
	       nvmet_subsystem_host(subsys, hostnqn) != NULL;
}

int nvmet_subsystem_path_of(const struct nvmet_subsystem *subsys, const struct nvmet_ssd *ssd)
{
	for (unsigned i = 0; i < subsys->n_ssds; i++) {
		if (subsys->ssds[i] == ssd)
			return (int)i;
	}
	return -ENOENT;
}
