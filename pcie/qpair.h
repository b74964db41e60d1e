/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A queue pair of the SSD: submission and completion ring, command slots, one interrupt vector.
 *
 * A slot's index is the command's CID on the SSD, so queue pairs may be shared by several users.
 * The rings and the slots' PRP lists are DMA memory of the creator's pool; memory is made with the
 * queue pair, and submitting and reaping allocate nothing.
 *
 * Life: made and deleted by the controller driver on the main thread (ctrl.h); in between owned by
 * the one thread that attached it. What a reset of the SSD means for it, and the end of its
 * commands, are the driver's alone (qpair_recovery.h). Base 3.3.1 (memory-based queues), 4.2.4
 * (phase tag).
 */
#ifndef NVMETD_PCIE_QPAIR_H
#define NVMETD_PCIE_QPAIR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "pcie/dma.h"
#include "pcie/nvme.h"
#include "util/counter.h"
#include "util/loop.h"

struct event;
struct nvme_ctrl;
struct pcie_device;
struct queue_op;
struct queue_ops;

/*
 * A command ended: `cqe` is the SSD's (DW0, DW1, status; its CID and SQHD are the SSD's own), valid
 * during the call only. Called from nvme_qpair_reap() or nvme_qpair_abort_all().
 */
typedef void nvme_done_fn(void *arg, const struct nvme_cqe *cqe);

/* Why a slot is not an ordinary one. */
enum nvme_slot_flags {
	NVME_SLOT_HELD = 1,    /* an Abort names its CID: not free again before that was answered */
	NVME_SLOT_AGAIN = 2,   /* the Abort ended the command: issued again once it was answered */
	NVME_SLOT_ABORTED = 4, /* the Abort was answered; the command has not ended */
};

struct nvme_slot {
	nvme_done_fn *done; /* NULL: the slot is free, or held */
	void *arg;
	uint64_t order; /* of arrival: what is issued again keeps it */
	uint32_t born;  /* tick of the watchdog when it was issued */
	uint16_t next_free;
	uint8_t flags;
	uint8_t tries; /* how often it was overdue: aborted, or part of the cause of a reset */
	struct nvme_sqe sqe; /* as it was issued: the ring's entry is used again before it ends */
};

/* Somebody for whom the ring was full. Embedded in its owner. */
struct nvme_waiter {
	TAILQ_ENTRY(nvme_waiter) link;
	void (*run)(struct nvme_waiter *waiter); /* a slot is free: submit again (or wait again) */
	uint8_t slots; /* that it needs: 2 for a fused pair; 0 and 1: one */
	bool queued;
};

struct nvme_qpair_stats {
	struct counter submitted;
	struct counter completed;
	struct counter doorbells;
	struct counter interrupts;
	struct counter polls; /* looks of the loop that found what no interrupt had announced yet */
	struct counter unknown_cids;    /* completions that no command asked for */
	struct counter lost_interrupts; /* looks of the watchdog that found what nobody announced */
	struct counter overdue;         /* commands that took longer than the timeout */
	struct counter reissued;        /* commands that were issued again */
};

/*
 * How long commands may take, and who is told. The watchdog of a queue pair ticks only while
 * commands are under way. It finds completions whose interrupt was lost, and posts the queue pair's
 * `report` when a command is older than a tick; qp->n_overdue of them are older than the timeout.
 */
struct nvme_watch {
	struct loop *loop; /* where reports go */
	void (*report)(struct loop_msg *msg);
	unsigned tick_ms;
	unsigned timeout_ticks;
};

/* What the controller driver keeps of an I/O queue pair (recovery.c, io_queues.c). Main thread; a
 * visit reads `doing` where it goes. */
struct nvme_qpair_main {
	TAILQ_ENTRY(nvme_qpair) link; /* the controller's I/O queue pairs */
	struct nvme_ctrl *ctrl;
	struct loop *home; /* the loop of the owner, now or soon */
	bool on_ssd;       /* the SSD knows the queues */
	bool with_main;    /* being created: the main thread owns it */
	unsigned reports_seen;
	bool visiting;          /* `visit` is under way to the owner and back */
	unsigned wanted, doing; /* bits: what the next visit is for, what this one is */
	struct loop_msg visit;
	struct queue_ops *ops;     /* its creation and deletion; allocated with it */
	struct queue_op *deletion; /* of these, under way; or NULL */
};

struct nvme_qpair {
	/* Submission. */
	struct nvme_sqe *sq;
	uint32_t sq_tail;      /* next entry to fill */
	uint32_t sq_tail_rung; /* what the SSD was told */
	uint32_t entries;      /* of each ring; at most entries - 1 commands are under way */
	uint32_t sq_doorbell;  /* offset in BAR0 */
	uint16_t free_head;    /* list of free slots, NVME_SLOT_NONE at its end */
	uint16_t outstanding;
	struct nvme_slot *slots; /* entries - 1 of them */

	/* Completion. */
	struct nvme_cqe *cq;
	uint32_t cq_head;
	uint32_t cq_head_rung;
	uint32_t cq_doorbell;
	bool phase;

	/* PRP lists, prp_stride bytes a slot, none crossing a page. */
	uint8_t *prp_va;
	uint64_t prp_iova;
	uint32_t prp_stride;

	/* Shadow doorbells (Base 5.9, Doorbell Buffer Config); NULL without. */
	volatile uint32_t *shadow_sq, *shadow_cq;
	volatile uint32_t *event_sq, *event_cq;

	struct pcie_device *dev;
	const char *name;    /* the SSD's, for the log: outlives `dev` */
	uint32_t data_align; /* dev's; may be asked for while the SSD, and `dev`, is away */
	uint16_t qid;
	uint16_t vector;
	int irq_fd; /* eventfd of the vector; -1: polled. Belongs to the controller. */
	uint64_t sq_iova, cq_iova;
	struct dma_buf ring_mem;
	struct dma_buf prp_mem;

	/* The owning thread. */
	struct loop *loop;
	struct event *event; /* of irq_fd or of poll_fd */
	int poll_fd;         /* timerfd, polled mode only; armed while commands are out */
	bool poll_armed;
	struct loop_poller poller; /* finds completions before their interrupt does */
	struct event *lost_timer;  /* armed while commands are out and `polled` */
	bool polled;               /* the last interrupt did not come */
	struct loop_task work; /* at the end of a wake-up: rings the doorbell, looks at the CQ */
	TAILQ_HEAD(, nvme_waiter) waiters;
	struct nvme_qpair_stats stats;

	/* The owning thread's: watchdog (watch.c) and recovery. */
	const struct nvme_watch *watch; /* NULL: nobody watches */
	struct event *watchdog;
	bool watched; /* it is armed */
	uint32_t tick;
	bool paused;       /* nothing is issued, rung or polled; commands wait */
	bool refusing;     /* they end at the next tick of the watchdog */
	bool ending;       /* that is now */
	uint16_t held_cid; /* the slot with NVME_SLOT_HELD, or NVME_SLOT_NONE */
	bool reporting;    /* `report` is on its way, or being worked on */
	unsigned reports_sent;
	struct loop_msg report;
	/* With the report: */
	unsigned n_overdue;
	bool aborted_before; /* the overdue command has been aborted once, which did not help */
	bool excused;        /* the answer: the SSD has a reason, they are not overdue */

	struct nvme_qpair_main main; /* the main thread's, whoever owns the rest */
};

#define NVME_SLOT_NONE UINT16_C(0xffff)
#define NVME_MAX_TRIES 3 /* a command that is overdue so often is ended instead of issued again */

struct nvme_qpair_params {
	struct pcie_device *dev;
	const char *name;
	const struct nvme_watch *watch; /* outlives the queue pair; or NULL */
	struct dma_pool *pool;
	uint16_t qid;
	uint16_t vector;
	int irq_fd;
	uint32_t entries;         /* 2 .. 65536: ring size */
	size_t max_transfer;      /* bytes; sizes the PRP lists */
	uint32_t doorbell_stride; /* bytes */
};

/* Allocates rings and slots; the SSD is not told. 0 or -ENOMEM. */
int nvme_qpair_new(const struct nvme_qpair_params *params, struct nvme_qpair **ret_qpair);
/* The SSD no longer knows the queues; nothing is outstanding; detached. NULL is allowed. */
void nvme_qpair_free(struct nvme_qpair *qp, struct dma_pool *pool);
/* Back to the state after nvme_qpair_new(), for queues that are created again after a reset. */
void nvme_qpair_rewind(struct nvme_qpair *qp);

/* Makes the calling thread, whose loop this is, the owner: interrupts are handled there. 0 or
 * -errno. */
int nvme_qpair_attach(struct nvme_qpair *qp, struct loop *loop);
/* The owner lets go. Commands may be outstanding; nobody reaps until the next attach. */
void nvme_qpair_detach(struct nvme_qpair *qp);

/* Whether there are free slots for `n` commands, 0 .. 2. */
static inline bool nvme_qpair_has_room(const struct nvme_qpair *qp, unsigned n)
{
	uint16_t cid = qp->free_head;

	if (n == 2 && cid != NVME_SLOT_NONE)
		cid = qp->slots[cid].next_free;
	return cid != NVME_SLOT_NONE;
}

/* Bytes: what the IOVA of a command's data must be a multiple of. */
static inline uint32_t nvme_qpair_data_align(const struct nvme_qpair *qp)
{
	return qp->data_align;
}

static inline bool nvme_qpair_has_waiters(const struct nvme_qpair *qp)
{
	return !TAILQ_EMPTY(&qp->waiters);
}

/*
 * Queues one command. `sqe` has opcode, flags, NSID and CDW10-15 set (and MPTR, if there is
 * metadata); CID and PRPs are filled in here from `iova`/`len` (len <= max_transfer, contiguous,
 * aligned as nvme_qpair_data_align() says; with len 0 the PRPs stay). The doorbell is rung at the
 * end of the wake-up. Returns 0, -EAGAIN when the ring is full or the SSD is being reset (see
 * nvme_qpair_wait), or -ENODEV when the SSD is not there.
 */
int nvme_qpair_submit(struct nvme_qpair *qp, struct nvme_sqe *sqe, uint64_t iova, size_t len,
		      nvme_done_fn *done, void *arg);

/* Calls waiter->run once a slot is free, or once the SSD is given up, in the order of
 * the waiters. */
void nvme_qpair_wait(struct nvme_qpair *qp, struct nvme_waiter *waiter);
/* The same, ahead of all that wait already. */
void nvme_qpair_wait_first(struct nvme_qpair *qp, struct nvme_waiter *waiter);
/* It waits no longer. One that does not wait is left alone. */
void nvme_qpair_unwait(struct nvme_qpair *qp, struct nvme_waiter *waiter);
/* The same for all that `is_one` says yes to. */
void nvme_qpair_unwait_all(struct nvme_qpair *qp,
			   bool (*is_one)(struct nvme_waiter *waiter, const void *arg),
			   const void *arg);

/* Tells the SSD of everything that was queued. Nothing happens when there is nothing new. */
void nvme_qpair_ring(struct nvme_qpair *qp);
/* Hands out all completions that are there; returns how many were of commands under way. */
unsigned nvme_qpair_reap(struct nvme_qpair *qp);
/* Both now, instead of at the end of the wake-up, if commands were submitted in it. Attached. */
static inline void nvme_qpair_advance(struct nvme_qpair *qp)
{
	loop_advance(qp->loop, &qp->work);
}

#endif
