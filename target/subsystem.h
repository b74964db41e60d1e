/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An NVM subsystem as hosts see it: its name, who may use it, its namespaces and the controllers
 * that hosts have made in it. The discovery subsystem is one too, without namespaces.
 *
 * Main thread's, but for the namespace table, which workers read.
 */
#ifndef NVMETD_TARGET_SUBSYSTEM_H
#define NVMETD_TARGET_SUBSYSTEM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "target/ns.h"
#include "target/nvmf.h"
#include "target/queue.h"
#include "util/bits.h"

struct nvmet_ctrl;
struct nvmet_ssd;
struct nvmet_target;

/* What a host may do at a subsystem, beyond coming in. */
struct nvmet_access {
	bool read_only;
	bool masked;                                  /* it sees only what is `visible` */
	uint64_t visible[BITS_WORDS(NVMET_MAX_NSID)]; /* a bit for each NSID */
	uint16_t max_queues; /* I/O queues of a controller; 0: the subsystem's */
};

/* NULL sees all. `nsid` is at most NVMET_MAX_NSID. */
static inline bool nvmet_access_sees(const struct nvmet_access *access, uint32_t nsid)
{
	return !access || !access->masked || bits_test(access->visible, nsid);
}

/* Owned by the subsystem; constant. */
struct nvmet_host_entry {
	TAILQ_ENTRY(nvmet_host_entry) link;
	char nqn[NVMF_NQN_MAX + 1];
	struct nvmet_access access;
};

struct nvmet_subsystem {
	TAILQ_ENTRY(nvmet_subsystem) link; /* target's list */
	struct nvmet_target *target;
	char nqn[NVMF_NQN_MAX + 1];
	bool discovery;
	bool allow_any_host;
	TAILQ_HEAD(, nvmet_host_entry) hosts;
	char serial[21]; /* NUL-terminated, unpadded */
	char model[41];
	uint32_t permissions; /* enum nvmet_permission: commands for the whole SSD */
	uint16_t max_queues;  /* I/O queues a controller may have, 1 .. NVMET_MAX_QUEUES */

	struct nvmet_ssd *ssds[NVMET_MAX_SSDS];
	_Atomic unsigned n_ssds;  /* grows; workers look at it */
	bool expects;             /* SSDs that were never seen, and have namespaces of it */
	uint32_t max_transfer;    /* bytes: the least that the target and all SSDs can do at once */
	struct nvmet_ssd *all_of; /* all its namespaces are exported, later ones too; or NULL */
	/* By host NSID; 0 is unused. Entries are added while workers read, never taken away. */
	struct nvmet_ns *_Atomic ns[NVMET_MAX_NSID + 1];
	uint32_t max_nsid; /* highest NSID that exists */
	uint32_t n_ns;

	TAILQ_HEAD(, nvmet_ctrl) ctrls;
	uint16_t next_cntlid; /* 1 .. NVMF_CNTLID_MAX; from where on the next controller's is looked
				 for */
};

/* Makes an empty subsystem and links it to the target. 0, -EEXIST, -EINVAL (NQN) or -ENOMEM. */
int nvmet_subsystem_new(struct nvmet_target *target, const char *nqn,
			struct nvmet_subsystem **ret_subsys);
/* All its controllers are gone. Unlinks it. NULL is allowed. */
void nvmet_subsystem_free(struct nvmet_subsystem *subsys);
/* `access` NULL: everything. 0, -EEXIST, -EINVAL (NQN) or -ENOMEM. */
int nvmet_subsystem_allow_host(struct nvmet_subsystem *subsys, const char *hostnqn,
			       const struct nvmet_access *access);
/* NULL: it is not named. */
const struct nvmet_host_entry *nvmet_subsystem_host(const struct nvmet_subsystem *subsys,
						    const char *hostnqn);
/* Whether it may connect, named or not; at the discovery subsystem every host may. */
bool nvmet_subsystem_host_allowed(const struct nvmet_subsystem *subsys, const char *hostnqn);
/* The index of an SSD in subsys->ssds, and of each queue's path to it. -ENOENT: none of its
 * namespaces is, or was, on this SSD. */
int nvmet_subsystem_path_of(const struct nvmet_subsystem *subsys, const struct nvmet_ssd *ssd);
/* Worker or main thread. NULL: no such active namespace (0 and NVME_NSID_ALL among them). */
static inline struct nvmet_ns *nvmet_subsystem_ns(const struct nvmet_subsystem *subsys,
						  uint32_t nsid)
{
	struct nvmet_ns *ns = nsid <= NVMET_MAX_NSID ? atomic_load_explicit(&subsys->ns[nsid],
									    memory_order_acquire)
						     : NULL;

	return ns && nvmet_ns_is_active(ns) ? ns : NULL;
}

/* Name space of the version 5 UUIDs that are derived for what has no identifier of its own. */
extern const uint8_t nvmet_uuid_space[16];

/* "nqn." and more, 223 bytes at most of printable UTF-8 without spaces (Base 4.5). */
bool nvmet_nqn_valid(const char *nqn);

#endif
