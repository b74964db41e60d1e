/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A namespace as hosts see it: an NSID of a subsystem, backed by a namespace of an SSD.
 *
 * Main thread's, but for what commands are checked against: `format`, and `blocks` and `active`,
 * which are atomic because they change while workers read them. An object stays where it is until
 * its subsystem is freed, so a command may hold it through anything that happens to the namespace:
 * one that is gone is merely not active, and it may come back.
 */
#ifndef NVMETD_TARGET_NS_H
#define NVMETD_TARGET_NS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "pcie/dma.h"
#include "target/format.h"

#define NVMET_MAX_NSID 1024

struct nvme_ns;
struct nvmet_ssd;
struct nvmet_subsystem;

/* Owned by its subsystem. */
struct nvmet_ns {
	struct nvmet_subsystem *subsys;
	uint32_t nsid;           /* the host's */
	struct nvme_ns *nvme_ns; /* the SSD's: main thread's, a scan may be writing it */
	uint32_t ssd_nsid;       /* its NSID there: constant */
	struct nvmet_ssd *ssd;
	unsigned path;              /* index of the SSD in the subsystem and in nvmet_queue.paths */
	bool enabled;               /* by the operator */
	bool read_only;             /* for every host; constant */
	struct nvmet_format format; /* constant while the SSD has a queue pair */
	/* With ignored metadata: what writes store, and where reads put it. Never
	 * shown to hosts. */
	struct dma_buf metadata_zeroes, metadata_read;
	_Atomic uint64_t blocks;
	_Atomic bool active; /* enabled, there, and of a format that we can export */
	uint8_t uuid[16]; /* stable: the SSD's, or derived from the SSD's serial number and NSID */
	uint8_t nguid[16];
};

/* NSZE, as hosts were last told. Worker or main thread. */
static inline uint64_t nvmet_ns_blocks(const struct nvmet_ns *ns)
{
	return atomic_load_explicit(&ns->blocks, memory_order_relaxed);
}

/* Whether commands may use it. Worker or main thread. */
static inline bool nvmet_ns_is_active(const struct nvmet_ns *ns)
{
	return atomic_load_explicit(&ns->active, memory_order_acquire);
}

/*
 * Exports a namespace of a ready SSD under `nsid` (0: the lowest free one). 0, -EEXIST, -EINVAL
 * (nsid out of range), -ENOTSUP (its format: logged), -ENOSPC (too many SSDs) or -ENOMEM.
 */
int nvmet_subsystem_add_ns(struct nvmet_subsystem *subsys, uint32_t nsid, struct nvmet_ssd *ssd,
			   struct nvme_ns *nvme_ns);

/* Of a subsystem that is freed. */
void nvmet_ns_free(struct nvmet_ns *ns);

/* The operator takes it away from hosts, or gives it back. Hosts are told by an event. */
void nvmet_ns_enable(struct nvmet_ns *ns, bool enabled);

/*
 * The SSD's namespaces are not what they were: sizes are taken over, what is gone becomes inactive,
 * what came is exported by the subsystems that export all of the SSD, and hosts are told by events.
 * A namespace whose block size changed stays inactive until no queue uses the SSD: commands under
 * way were made for the old one. Called by whoever hears of it, and when the last queue pair is
 * gone.
 */
void nvmet_ssd_namespaces_changed(struct nvmet_ssd *ssd);

/*
 * The SSD went away for longer than commands wait, or came back. Its namespaces stay, and so do the
 * connections; I/O to it ends with Host Path Error meanwhile. Hosts are told by events.
 */
void nvmet_ssd_readiness_changed(struct nvmet_ssd *ssd);

#endif
