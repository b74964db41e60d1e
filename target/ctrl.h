/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A controller that a host made by connecting an admin queue: identity, properties, keep-alive, its
 * queues, its asynchronous events and its error log. Dynamic controller model (Base 3.1.1).
 *
 * Main thread's, all of it. It ends when its admin connection ends; its I/O connections are closed
 * then, and it is freed when the last queue has been released.
 */
#ifndef NVMETD_TARGET_CTRL_H
#define NVMETD_TARGET_CTRL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "target/ns.h"
#include "target/nvmf.h"
#include "target/promise.h"
#include "target/subsystem.h"
#include "util/bits.h"

struct event;
struct nvmet_host;
struct nvmet_queue;
struct nvmet_req;

#define NVMET_MAX_QUEUES  128  /* I/O queues of a controller */
#define NVMET_MAX_ENTRIES 1024 /* largest queue that CAP.MQES offers */
#define NVMET_AERL        3    /* 0's based: Asynchronous Event Requests that may wait */
#define NVMET_ACL         3    /* 0's based: Aborts at a time */
#define NVMET_KAS_MS      1000 /* keep-alive granularity */
#define NVMET_ERROR_SLOTS 64   /* entries of the error information log */
#define NVMET_ICD_IO      8192 /* in-capsule data on I/O queues, bytes: sets IOCCSZ */
#define NVMET_ICD_ADMIN   8192 /* on admin queues (TCP transport specification: at least 8192) */
#define NVMET_VERSION     NVME_VS(2, 0, 0) /* of the specification: VS, VER */

/* Asynchronous events that happened and that no AER has carried yet (aen.c). */
struct nvmet_aen {
	uint32_t pending_dw0[8]; /* at most one for each (type, log page) */
	unsigned n_pending;
	uint64_t masked; /* bit per log page that was not read since an event about it was sent */
	TAILQ_HEAD(nvmet_req_list, nvmet_req) requests; /* AERs that wait */
	unsigned n_requests;
	uint32_t config; /* Set Features, Asynchronous Event Configuration */
};

struct nvmet_ctrl {
	TAILQ_ENTRY(nvmet_ctrl) link; /* subsystem's list */
	struct nvmet_subsystem *subsys;
	uint16_t cntlid;
	char hostnqn[NVMF_NQN_MAX + 1];
	struct nvmet_host *host;
	const struct nvmet_access *access; /* constant; NULL: everything is allowed */
	uint8_t hostid[16];
	bool dead;   /* the admin queue is gone, or a fatal error happened */
	bool proven; /* the host has authenticated once, or need not: counts as this host's */

	struct nvmet_promise promise; /* what its host relies on: constant, workers look at it */
	/* Of the subsystem's SSDs, from the first on, those whose namespaces it sees: its I/O
	 * queues have paths to them. Grows (arrival.h); workers look at it. */
	_Atomic unsigned n_ssds;
	unsigned n_arriving; /* I/O queues that are getting a path to the next one */
	bool stays_behind;   /* it does not get any more */

	uint64_t cap; /* properties, Base 3.1.3 */
	uint32_t cc;
	uint32_t csts;

	uint32_t kato_ms; /* 0: no keep-alive */
	struct event *keep_alive;
	struct event *enable_timer; /* runs while it is of no use: limits.enable_timeout_ms */

	struct nvmet_queue *queues[NVMET_MAX_QUEUES + 1]; /* by QID */
	unsigned n_queues;                                /* of them, not yet released */
	uint16_t max_qid; /* what Number of Queues granted; subsystem's maximum before */

	struct nvmet_aen aen;
	unsigned n_aborts; /* Aborts that are with a worker */

	/* Error information log: the newest is slot (error_count - 1) % NVMET_ERROR_SLOTS. */
	uint64_t error_count;
	struct nvme_error_entry errors[NVMET_ERROR_SLOTS];

	/* Changed namespace list since it was read: a bit for each NSID. */
	uint64_t changed_ns[BITS_WORDS(NVMET_MAX_NSID)];
};

/* Makes a controller for a host that was found to be allowed, and links it. 0, -ENOSPC (no CNTLID),
 * -ENOMEM. */
int nvmet_ctrl_new(struct nvmet_subsystem *subsys, const struct nvmf_connect_data *data,
		   uint32_t kato_ms, struct nvmet_ctrl **ret_ctrl);

/* A queue joins: Connect succeeded. */
void nvmet_ctrl_add_queue(struct nvmet_ctrl *ctrl, struct nvmet_queue *queue);
/* A queue begins to die: the admin queue takes the controller and all its queues along. */
void nvmet_ctrl_queue_dying(struct nvmet_ctrl *ctrl, struct nvmet_queue *queue);
/* A queue is released. The last one frees the controller. */
void nvmet_ctrl_remove_queue(struct nvmet_ctrl *ctrl, struct nvmet_queue *queue);

/* The CC property was written: enable, disable, shutdown (Base 3.5). Returns a status. */
uint16_t nvmet_ctrl_set_cc(struct nvmet_ctrl *ctrl, uint32_t value);
/* Whether its host may connect I/O queues now, by CC and CSTS. */
bool nvmet_ctrl_takes_io_queues(const struct nvmet_ctrl *ctrl);
/* Whether other than fabrics commands may run: CC.EN = 1 has led to CSTS.RDY = 1 (Base 3.5.1). */
static inline bool nvmet_ctrl_is_enabled(const struct nvmet_ctrl *ctrl)
{
	return (ctrl->cc & NVME_CC_EN) && (ctrl->csts & NVME_CSTS_RDY);
}
/* Whether I/O queues of it are not yet released, be they connected or dying. */
static inline bool nvmet_ctrl_has_io_queues(const struct nvmet_ctrl *ctrl)
{
	return ctrl->n_queues > (ctrl->queues[0] ? 1u : 0u);
}
/* Starts the keep-alive timer anew (0: stops it), in ms; rounded up to NVMET_KAS_MS. */
void nvmet_ctrl_set_kato(struct nvmet_ctrl *ctrl, uint32_t kato_ms);

/* NULL: no controller of the subsystem has this CNTLID. One that is ending still has it. */
struct nvmet_ctrl *nvmet_ctrl_find(struct nvmet_subsystem *subsys, uint16_t cntlid);

/* Notes a failed command in the error information log (log_page.c shows it). */
void nvmet_ctrl_log_error(struct nvmet_ctrl *ctrl, const struct nvmet_req *req);

/* "ctrl 3 of HOSTNQN at SUBNQN": for log lines. Valid until the next call. */
const char *nvmet_ctrl_name(const struct nvmet_ctrl *ctrl);

/* Of the subsystem's SSDs, from the first on, those that a new I/O queue gets paths to: also one
 * that is just arriving, if the controller will see it. Main thread. */
static inline unsigned nvmet_ctrl_ssds_ahead(const struct nvmet_ctrl *ctrl)
{
	return ctrl->stays_behind ? ctrl->n_ssds : ctrl->subsys->n_ssds;
}
/* Whether a namespace of the subsystem is there for this host. Worker or main thread. */
static inline bool nvmet_ctrl_sees(const struct nvmet_ctrl *ctrl, const struct nvmet_ns *ns)
{
	return ns->path < atomic_load_explicit(&ctrl->n_ssds, memory_order_acquire) &&
	       nvmet_access_sees(ctrl->access, ns->nsid);
}
/* A namespace as this host sees it. Worker or main thread. NULL: it is not there, or not for it. */
static inline struct nvmet_ns *nvmet_ctrl_ns(const struct nvmet_ctrl *ctrl, uint32_t nsid)
{
	struct nvmet_ns *ns = nvmet_subsystem_ns(ctrl->subsys, nsid);

	return ns && nvmet_ctrl_sees(ctrl, ns) ? ns : NULL;
}
/* Whether this host may change its contents. Worker or main thread. */
static inline bool nvmet_ctrl_may_write(const struct nvmet_ctrl *ctrl, const struct nvmet_ns *ns)
{
	return !ns->read_only && !(ctrl->access && ctrl->access->read_only);
}

#endif
