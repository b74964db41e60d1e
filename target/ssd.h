/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An SSD as the target uses it: who gets which of its I/O queue pairs.
 *
 * One remote I/O queue gets one queue pair of its own as long as the SSD has them, one being kept
 * back for each worker that has none yet. Then queue pairs are shared among the queues of one
 * worker (commands are told apart by the SSD's CID). Main thread's.
 */
#ifndef NVMETD_TARGET_SSD_H
#define NVMETD_TARGET_SSD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "pcie/qpair.h"
#include "target/losses.h"
#include "util/loop.h"

struct event;
struct nvme_ctrl;
struct nvmet_path;
struct nvmet_queue;
struct nvmet_target;
struct worker;

/* A queue pair and the queues that use it. */
struct nvmet_qpair_share {
	TAILQ_ENTRY(nvmet_qpair_share) link; /* SSD's list */
	struct nvmet_ssd *ssd;
	struct worker *worker;
	struct nvme_qpair *qpair; /* NULL while it is being created */
	TAILQ_HEAD(, nvmet_path) users;
	unsigned n_users;
	unsigned n_putting; /* of the users: those that wait for their commands to end */
	bool deleting;      /* all users are giving it back, or nobody is left */
	bool counted;       /* in ssd->ended */
	bool closing; /* all users were told to close, so that it can be deleted: none may join */
	struct event *drain_timer;
	struct loop_msg msg; /* to the worker and back, to detach */
};

struct nvmet_ssd {
	TAILQ_ENTRY(nvmet_ssd) link; /* target's list */
	struct nvmet_target *target;
	char name[32];          /* as configured */
	struct nvme_ctrl *ctrl; /* ready */
	TAILQ_HEAD(, nvmet_qpair_share) shares;
	unsigned n_shares;
	TAILQ_HEAD(, nvmet_path) waiters; /* for a queue pair that is being deleted */
	bool sharing_logged;
	struct nvme_qpair_stats ended; /* of the queue pairs that are gone */
	struct nvmet_losses losses;    /* of its cache */
};

/* Links an SSD that is READY to the target; `ctrl` stays the caller's, and outlives it. 0 or
 * -ENOMEM. */
int nvmet_ssd_new(struct nvmet_target *target, struct nvme_ctrl *ctrl, const char *name,
		  struct nvmet_ssd **ret_ssd);
/* No queue uses it any more. NULL is allowed. */
void nvmet_ssd_free(struct nvmet_ssd *ssd);

/* The SSD has lost what was in its volatile write cache: hosts learn it by their next Flush
 * (losses.h). Main thread, while the SSD is stopped. */
void nvmet_ssd_cache_lost(struct nvmet_ssd *ssd);

/* The rest of nvmet_ssd_get(). err: 0, or -errno: -EBUSY when no queue pair can be had now. */
typedef void nvmet_ssd_got_fn(struct nvmet_queue *queue, int err);
/*
 * Gets queue->paths[path] a queue pair, with room for `entries` commands if the SSD allows that.
 * When all are in use but one is just being deleted, it waits for that one: a host that reconnects
 * must not be sent away because of the host that leaves. 0: it has one now. -EINPROGRESS: got()
 * follows from the loop, never from within this call. -EBUSY, -ENOMEM, -ENODEV: it gets none, and
 * got() does not follow. Not attached: nvmet_ssd_attach() does, on the worker.
 */
int nvmet_ssd_get(struct nvmet_ssd *ssd, struct nvmet_queue *queue, unsigned path, uint32_t entries,
		  nvmet_ssd_got_fn *got);
/* Worker: interrupts of the path's queue pair are handled here from now on. 0 or -errno. */
int nvmet_ssd_attach(struct nvmet_path *path);

/*
 * A command of the path ended while its queue is being released. Worker, or main thread when the
 * queue pair is being deleted.
 */
void nvmet_ssd_drained(struct nvmet_path *path);

typedef void nvmet_ssd_put_fn(struct nvmet_queue *queue);
/*
 * Gives queue->paths[path] back; put() follows from the loop. By then the SSD has no command of the
 * queue any more: either the queue pair was deleted, because all who used it gave it back, or
 * others still use it and the queue's own commands have come to their end. Should one of those not
 * end in time, the other users' connections are closed too, so that the queue pair can be deleted.
 */
void nvmet_ssd_put(struct nvmet_queue *queue, unsigned path, nvmet_ssd_put_fn *put);

/* What its queue pairs amount to, with those that are gone: no number goes backwards. */
void nvmet_ssd_stats(const struct nvmet_ssd *ssd, struct nvme_qpair_stats *ret_stats);

/* I/O queues that a host may be promised now: at least 1. */
unsigned nvmet_ssd_queues_available(const struct nvmet_ssd *ssd);

#endif
