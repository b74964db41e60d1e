/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which hosts have yet to be told that an SSD lost its volatile write cache, and with it perhaps
 * writes that were acknowledged to them. A host is told by a Flush that fails: for each namespace,
 * the next Flush on each I/O queue that it has. If it is away, the queues that it makes when it
 * comes back tell it.
 *
 * An SSD remembers the last NVMET_LOSS_HOSTS hosts that had a queue on it. A host that it does not
 * know may be one of those that it has forgotten, and is told whatever one of them was not told: a
 * Flush too many may fail, but never one too few.
 */
#ifndef NVMETD_TARGET_LOSSES_H
#define NVMETD_TARGET_LOSSES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "target/ns.h"
#include "target/nvmf.h"
#include "util/bits.h"
#include "util/clock.h"

struct nvmet_ctrl;
struct nvmet_path;
struct nvmet_subsystem;

#define NVMET_LOSS_HOSTS 1024

/* A host has seen the failed Flush when it sends another one on the same queue this much later: had
 * the answer been lost, it would have left the connection by then (Linux does after 30 s). That the
 * queue still exists says nothing: without keep-alive it outlives a network that is down. */
#define NVMET_LOSS_SEEN_NS (60 * NSEC_PER_SEC)

/* A set of a subsystem's namespaces, by host NSID. */
struct nvmet_ns_set {
	uint64_t bits[BITS_WORDS(NVMET_MAX_NSID)];
};

/* A host at a subsystem. */
struct nvmet_loss_host {
	TAILQ_ENTRY(nvmet_loss_host) link; /* the least recently seen is the first */
	const struct nvmet_subsystem *subsys;
	char hostnqn[NVMF_NQN_MAX + 1];
	uint8_t hostid[16];
	unsigned n_paths;           /* that it has now; with any, it is not forgotten */
	struct nvmet_ns_set untold; /* what a new queue of this host has to tell it */
};

/* Of one SSD. Main thread's, but for `count`. */
struct nvmet_losses {
	_Atomic uint32_t count; /* grows on the main thread, while nothing is under way */
	TAILQ_HEAD(, nvmet_loss_host) hosts;
	unsigned n_hosts;
	bool forgot; /* there were hosts that are not in the list */
	bool untold; /* one of those was not told everything */
};

void nvmet_losses_init(struct nvmet_losses *losses);
void nvmet_losses_fini(struct nvmet_losses *losses);
/* The cache was lost. Main thread, while the SSD is stopped. */
void nvmet_losses_add(struct nvmet_losses *losses);

/* A path to this SSD, of an I/O queue of `ctrl`, begins. Main thread; the worker has not got it. */
void nvmet_losses_join(struct nvmet_losses *losses, struct nvmet_path *path,
		       const struct nvmet_ctrl *ctrl);
/* It ends. Main thread; the worker has let go of it. */
void nvmet_losses_leave(struct nvmet_losses *losses, struct nvmet_path *path);

/*
 * The SSD has executed a Flush of `ns`, which is a namespace of this path's SSD: whether the host
 * must be told now that writes before it may be lost. `begun`: when it came. Worker.
 */
bool nvmet_losses_tell(const struct nvmet_losses *losses, struct nvmet_path *path,
		       const struct nvmet_ns *ns, uint64_t begun);

#endif
