/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An SSD as the target uses it: who gets which of its I/O queue pairs.
 *
 * One remote I/O queue gets one queue pair of its own as long as the SSD has them, one being kept
 * back for each worker that has none yet. Then queue pairs are shared among the queues of one worker
 * (commands are told apart by the SSD's CID). Main thread's.
 */
#ifndef NVMETD_TARGET_SSD_H
#define NVMETD_TARGET_SSD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct dma_pool;
struct nvme_ctrl;
struct nvme_qpair;
struct nvmet_queue;
struct nvmet_target;
struct worker;

/* A queue pair and the queues that use it. */
struct nvmet_qpair_share {
	TAILQ_ENTRY(nvmet_qpair_share) link; /* SSD's list */
	struct nvmet_ssd *ssd;
	struct worker *worker;
	struct nvme_qpair *qpair; /* NULL while it is being created */
	unsigned users;
	unsigned draining; /* of the users */
};

struct nvmet_ssd {
	TAILQ_ENTRY(nvmet_ssd) link; /* target's list */
	struct nvmet_target *target;
	char spec[128];        /* as configured */
	struct nvme_ctrl *ctrl; /* ready */
	TAILQ_HEAD(, nvmet_qpair_share) shares;
	unsigned n_shares;
	bool sharing_logged;
};

int nvmet_ssd_new(struct nvmet_target *target, struct nvme_ctrl *ctrl, const char *spec,
		  struct nvmet_ssd **ret_ssd);
/* No queue uses it any more. NULL is allowed. */
void nvmet_ssd_free(struct nvmet_ssd *ssd);

/* err: 0, or -errno: -EBUSY when no queue pair can be had now. */
typedef void nvmet_ssd_got_fn(struct nvmet_queue *queue, int err);
/*
 * Gets queue->paths[path] a queue pair with at least `entries` commands of room if the SSD allows
 * that. got() is called from the loop, or at once. Not attached: the worker attaches it.
 */
void nvmet_ssd_get(struct nvmet_ssd *ssd, struct nvmet_queue *queue, unsigned path,
		   nvmet_ssd_got_fn *got);

typedef void nvmet_ssd_put_fn(struct nvmet_queue *queue);
/*
 * Gives queue->paths[path] back. When put() is called the SSD has no command of the queue any more:
 * the queue pair was deleted (last user), or the queue's commands on it have come to their end.
 */
void nvmet_ssd_put(struct nvmet_ssd *ssd, struct nvmet_queue *queue, unsigned path,
		   nvmet_ssd_put_fn *put);

/* I/O queues that a host may be promised now: at least 1. */
unsigned nvmet_ssd_queues_available(const struct nvmet_ssd *ssd);

#endif
