/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the SSD's controller share: ctrl.c, identify.c, ns.c, admin.c, vectors.c,
 * io_queues.c, recovery.c and retry.c. For them alone. */
#ifndef NVMETD_PCIE_CTRL_INTERNAL_H
#define NVMETD_PCIE_CTRL_INTERNAL_H

#include "pcie/ctrl.h"
#include "pcie/device.h"
#include "pcie/dma.h"
#include "pcie/qpair_recovery.h"
#include "util/loop.h"

#define NVME_ADMIN_ENTRIES 64
#define NVME_MAX_AERS      4
#define NVME_MAX_NS        1024
#define NVME_MAX_RESETS    5 /* within NVME_RESETS_S: then the SSD is given up */
#define NVME_RESETS_S      60
#define NVME_MAX_ATTEMPTS  3 /* to get it ready again, in one outage */
#define NVME_SCAN_TRIES    6 /* of a look at the namespaces that fails, a second later and so on */
#define NVME_ABORT_MS      2000    /* for the answer to an Abort */
#define NVME_RETRY_MAX_MS  600000u /* most between tries of an SSD that was given up */

/*
 * What may follow what; nvme_ctrl_set_state() ends the process otherwise. A fault leads from
 * anywhere to PAUSING, nvme_ctrl_shutdown() from anywhere but READY to STOPPED at once.
 *
 *   NEW          DISABLING
 *   DISABLING    ENABLING; DISABLING: the beginning of a wait, after that of the bring-up
 *   ENABLING     IDENTIFY
 *   IDENTIFY     QUEUES
 *   QUEUES       NAMESPACES
 *   NAMESPACES   READY: the first time; REQUEUING
 *   REQUEUING    READY
 *   READY        PAUSING, SHUTDOWN
 *   PAUSING      DISABLING: reset; ABSENT; FAILED
 *   ABSENT       DISABLING: taken up. The first state where there is no device
 *   FAILED       DISABLING: tried again; ABSENT, by way of PAUSING
 *   SHUTDOWN     STOPPED
 */
enum nvme_ctrl_state {
	NVME_CTRL_NEW,
	NVME_CTRL_DISABLING,
	NVME_CTRL_ENABLING,
	NVME_CTRL_IDENTIFY,
	NVME_CTRL_QUEUES,
	NVME_CTRL_NAMESPACES,
	NVME_CTRL_READY,
	NVME_CTRL_PAUSING,   /* the owners of the queue pairs let go of the SSD */
	NVME_CTRL_REQUEUING, /* queue pairs are made again */
	NVME_CTRL_ABSENT,
	NVME_CTRL_SHUTDOWN,
	NVME_CTRL_STOPPED,
	NVME_CTRL_FAILED,
};

/* What follows PAUSING. A later one outdoes an earlier one. */
enum nvme_outage { NVME_OUTAGE_RESET, NVME_OUTAGE_GONE, NVME_OUTAGE_FAILED };

/* An admin command under way or waiting for room. */
struct nvme_admin_cmd {
	TAILQ_ENTRY(nvme_admin_cmd) link;
	struct nvme_ctrl *ctrl;
	struct nvme_sqe sqe;
	uint64_t iova;
	size_t len;
	nvme_done_fn *done;
	void *arg;
	bool embedded;        /* in what its sender owns */
	bool ours;            /* not a host's: goes ahead of those that wait for room */
	bool parked;          /* a host's: sent, or sent again, when the SSD is ready again */
	uint8_t tries;        /* resets that it has outlived */
	uint64_t deadline_ns; /* 0: none (AER), or still waiting for room */
	struct nvme_waiter waiter;
};

/* Finding the namespaces (ns.c). */
struct nvme_ns_scan {
	bool running, again; /* asked for anew while running */
	bool changed;
	bool due;            /* a Format has changed blocks since the last one began */
	bool part;           /* one was left out that may show itself another time */
	unsigned failures;   /* since the last one that was whole, or was asked for */
	struct event *timer; /* it is tried again */
	uint32_t list[NVME_MAX_NS];
	unsigned n_list, next;
	struct nvme_ns found; /* being put together */
	struct dma_buf buf;
};

/* An SSD that was given up is tried again (retry.c). */
struct nvme_retry {
	struct event *timer;
	unsigned pause_ms; /* the last one; 0: there was none */
	uint64_t ready_ns; /* since when it is READY again; 0: it has failed since */
	unsigned n;
};

struct nvme_ctrl {
	struct nvme_ctrl_params params;
	struct pcie_device *dev; /* NULL: ABSENT, and the device may be closed */
	char name[48];           /* the device's */
	enum nvme_ctrl_state state;
	struct nvme_ctrl_info info;
	uint32_t doorbell_stride;

	struct event *timer; /* register polls of bring-up and shutdown */
	uint64_t deadline_ns;

	struct nvme_qpair *adminq;
	bool admin_up; /* the SSD takes commands from it */
	TAILQ_HEAD(, nvme_admin_cmd) admin_cmds;
	struct event *admin_timer;
	unsigned aers;
	unsigned events_heard; /* in second `events_second`: more than a few, and they must wait */
	uint64_t events_second;

	int *irq_fds;
	unsigned n_irqs;

	struct dma_buf buf;            /* answers of bring-up commands */
	struct dma_buf shadow, events; /* doorbell buffers */
	bool shadow_on;

	struct nvme_ns **ns;
	unsigned n_ns;
	struct nvme_ns_scan scan;

	uint64_t *qids; /* a bit for each QID: in use */
	unsigned qids_used;
	struct loop_msg failed_msg;
	const char *why; /* of the outage, or the failure */

	/* Recovery. */
	struct nvme_watch watch;
	TAILQ_HEAD(, nvme_qpair) qpairs;
	bool known;    /* it was READY once: it must be the same when it returns */
	bool was_gone; /* since it was READY */
	enum nvme_outage outage;
	bool hard;            /* a reset of the function, not only CC.EN */
	bool out_of_patience; /* commands do not wait any longer */
	bool absent_told, unavailable_told;
	struct event *patience;
	uint64_t outage_ns; /* when it began */
	unsigned n_visits;
	void (*visits_over)(struct nvme_ctrl *ctrl);
	struct loop_msg step_msg;
	bool step_posted;
	uint64_t resets_ns[NVME_MAX_RESETS];
	unsigned n_resets, n_aborts, attempts;
	struct nvme_retry retry;
	bool leaving;                /* it is being shut down, for good */
	struct nvme_qpair *abort_qp; /* whose command is being aborted; NULL: it went away */
	uint16_t abort_qid;          /* that the Abort names; 0: none is under way */
};

/* ctrl.c */
void nvme_ctrl_set_state(struct nvme_ctrl *ctrl, enum nvme_ctrl_state state);
/* Whether the registers are there; false (all ones) for one that is gone. */
bool nvme_ctrl_responds(const struct nvme_ctrl *ctrl);
/* Whether it is tried again and looked for: it was READY once, or is awaited. */
static inline bool nvme_ctrl_may_return(const struct nvme_ctrl *ctrl)
{
	return ctrl->known || ctrl->params.awaited;
}
/* CC.EN = 0 and the wait for it: the beginning of each bring-up. */
void nvme_ctrl_disable(struct nvme_ctrl *ctrl);
/* All namespaces are known. */
void nvme_ctrl_ns_done(struct nvme_ctrl *ctrl);

/* identify.c: asks what the SSD is and grants, then begins nvme_ns_scan(). */
void nvme_ctrl_identify(struct nvme_ctrl *ctrl);
/* Queue pairs, the admin queue's included, whose doorbells are inside the BAR: 0 .. 65536. */
uint32_t nvme_ctrl_doorbell_pairs(const struct nvme_ctrl *ctrl);

/*
 * recovery.c. Each may be called in any state, from any callback on the main thread; what it does
 * follows from the loop.
 */
void nvme_recovery_init(struct nvme_ctrl *ctrl);
void nvme_recovery_fini(struct nvme_ctrl *ctrl);
/* Gives the SSD up: no DMA from it any more, all commands end, events->failed() follows. */
void nvme_ctrl_fail(struct nvme_ctrl *ctrl, const char *why);
/* Something is wrong that a reset may cure; before the first READY, and after too many: fails. */
void nvme_ctrl_recover(struct nvme_ctrl *ctrl, const char *why);
/* The device is gone, or has to be given back; fails if nobody knows it or waits for it. */
void nvme_ctrl_gone(struct nvme_ctrl *ctrl, const char *why);
/* Makes sure that the SSD writes to our memory no more. */
void nvme_recovery_quiesce(struct nvme_ctrl *ctrl);
/* It does not: what waited for that goes on. */
void nvme_recovery_quiet(struct nvme_ctrl *ctrl);
/* The SSD is the same as before: its queue pairs are made again, then it is READY. */
void nvme_recovery_requeue(struct nvme_ctrl *ctrl);
/* A queue pair goes: nothing refers to it any more. */
void nvme_recovery_forget(struct nvme_ctrl *ctrl, struct nvme_qpair *qp);

/* Resets the function, as far as the device can; what cannot be is logged. */
void nvme_recovery_reset_function(struct nvme_ctrl *ctrl);

/* retry.c. False: no memory. */
bool nvme_retry_init(struct nvme_ctrl *ctrl);
void nvme_retry_fini(struct nvme_ctrl *ctrl);
/* It has FAILED: tries it again, later. */
void nvme_retry_later(struct nvme_ctrl *ctrl);
/* It is READY again. */
void nvme_retry_ready(struct nvme_ctrl *ctrl);

/*
 * vectors.c. The first time as many vectors as there are, up to one for each queue pair; after a
 * reset the same ones, because queue pairs have them. 0 or -errno.
 */
int nvme_vectors_on(struct nvme_ctrl *ctrl);
void nvme_vectors_fini(struct nvme_ctrl *ctrl);

/* admin.c */
void nvme_admin_init(struct nvme_ctrl *ctrl);
void nvme_admin_fini(struct nvme_ctrl *ctrl);
/* As nvme_ctrl_admin(), in any state in which the admin queue works, and ahead of what waits for
 * room. */
int nvme_admin_send(struct nvme_ctrl *ctrl, const struct nvme_sqe *sqe, uint64_t iova, size_t len,
		    nvme_done_fn *done, void *arg);
/* The same without data, in memory of the sender's that is free for it until done():
 * -ENODEV only. */
int nvme_admin_send_in(struct nvme_ctrl *ctrl, struct nvme_admin_cmd *cmd,
		       const struct nvme_sqe *sqe, nvme_done_fn *done, void *arg);
/* The SSD is off: ends our own commands with Host Path Error; parks those of hosts. */
void nvme_admin_quiet(struct nvme_ctrl *ctrl);
/* Whether the SSD is at something that takes long, and that I/O may have to wait for. */
bool nvme_admin_is_busy(const struct nvme_ctrl *ctrl);
/* Ends the parked ones with Host Path Error, or sends them. */
void nvme_admin_end_parked(struct nvme_ctrl *ctrl);
void nvme_admin_send_parked(struct nvme_ctrl *ctrl);
/* Asks the SSD for its asynchronous events from now on. */
void nvme_admin_arm_aers(struct nvme_ctrl *ctrl);

/* io_queues.c */
/* Creates the queues of a queue pair that exists; done(ctrl) when the SSD has them. */
void nvme_queues_create_again(struct nvme_qpair *qp, void (*done)(struct nvme_ctrl *ctrl));
/* Goes on with deletions that had to wait, as far as the state allows. */
void nvme_queues_deletions(struct nvme_ctrl *ctrl);
void nvme_queues_deletion_continue(struct nvme_qpair *qp);

/* ns.c: finds the namespaces. At bring-up nvme_ctrl_ns_done() follows, later
 * events->namespaces(). */
void nvme_ns_scan(struct nvme_ctrl *ctrl);
bool nvme_ns_init(struct nvme_ctrl *ctrl); /* false: no memory */
void nvme_ns_fini(struct nvme_ctrl *ctrl);
/* Never READY: nobody knows of what was found, and the next time it may be others. */
void nvme_ns_forget(struct nvme_ctrl *ctrl);
/* Whether the command is a Format that changes the blocks of a namespace. */
bool nvme_ns_is_changed_by(const struct nvme_ctrl *ctrl, const struct nvme_sqe *sqe);
/* READY: what scans have found since the last time, if anything, goes to events->namespaces(). */
void nvme_ns_tell(struct nvme_ctrl *ctrl);

#endif
