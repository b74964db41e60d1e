/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A queue pair of the SSD: submission and completion ring, command slots, one interrupt vector.
 *
 * A slot's index is the command's CID on the SSD, so queue pairs may be shared by several users.
 * The rings and the slots' PRP lists are DMA memory of the creator's pool; memory is made with the
 * queue pair, and submitting and reaping allocate nothing.
 *
 * Life: made and deleted by the controller driver on the main thread (ctrl.h); in between owned by
 * the one thread that attached it. Base 3.3.1 (memory-based queues), 4.2.4 (phase tag).
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

struct pcie_device;
struct event;
struct queue_op;

/*
 * A command ended: `cqe` is the SSD's (DW0, DW1, status; its CID and SQHD are the SSD's own), valid
 * during the call only. Called from nvme_qpair_reap() or nvme_qpair_abort_all().
 */
typedef void nvme_done_fn(void *arg, const struct nvme_cqe *cqe);

struct nvme_slot {
	nvme_done_fn *done; /* NULL: the slot is free */
	void *arg;
	uint16_t next_free;
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
	struct counter unknown_cids; /* completions that no command asked for */
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
	uint16_t qid;
	uint16_t vector;
	int irq_fd;          /* eventfd of the vector; -1: polled. Belongs to the controller. */
	struct queue_op *op; /* io_queues.c's, for the deletion */
	uint64_t sq_iova, cq_iova;
	struct dma_buf ring_mem;
	struct dma_buf prp_mem;

	/* The owning thread. */
	struct loop *loop;
	struct event *event; /* of irq_fd or of poll_fd */
	int poll_fd;         /* timerfd, polled mode only; armed while commands are out */
	bool poll_armed;
	struct loop_poller poller; /* finds completions before their interrupt does */
	struct loop_task
		work; /* rings the doorbell and looks at the CQ once, at the end of a wake-up */
	TAILQ_HEAD(, nvme_waiter) waiters;
	unsigned users; /* connections that share it; counted by its worker */
	struct nvme_qpair_stats stats;
};

#define NVME_SLOT_NONE UINT16_C(0xffff)

struct nvme_qpair_params {
	struct pcie_device *dev;
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

static inline bool nvme_qpair_full(const struct nvme_qpair *qp)
{
	return qp->free_head == NVME_SLOT_NONE;
}

static inline bool nvme_qpair_has_waiters(const struct nvme_qpair *qp)
{
	return !TAILQ_EMPTY(&qp->waiters);
}

/*
 * Queues one command. `sqe` has opcode, flags, NSID and CDW10-15 set (and MPTR, if there is
 * metadata); CID and PRPs are filled in here from `iova`/`len` (len <= max_transfer, page-aligned
 * iova; with len 0 the PRPs stay). The doorbell is rung at the end of the wake-up. *ret_cid gets
 * the SSD's CID unless NULL. Returns 0, or -EAGAIN when the ring is full (see nvme_qpair_wait).
 */
int nvme_qpair_submit(struct nvme_qpair *qp, struct nvme_sqe *sqe, uint64_t iova, size_t len,
		      nvme_done_fn *done, void *arg, uint16_t *ret_cid);

/* Calls waiter->run once a slot is free, in the order of the waiters. */
void nvme_qpair_wait(struct nvme_qpair *qp, struct nvme_waiter *waiter);
/* The same, ahead of all that wait already. */
void nvme_qpair_wait_first(struct nvme_qpair *qp, struct nvme_waiter *waiter);
void nvme_qpair_unwait(struct nvme_qpair *qp, struct nvme_waiter *waiter);

/* Tells the SSD of everything that was queued. Nothing happens when there is nothing new. */
void nvme_qpair_ring(struct nvme_qpair *qp);
/* Hands out all completions that are there; returns how many. */
unsigned nvme_qpair_reap(struct nvme_qpair *qp);

/*
 * Ends every outstanding command with `status`. Only when the SSD can no longer touch their memory:
 * its queue is deleted, or the controller is reset.
 */
void nvme_qpair_abort_all(struct nvme_qpair *qp, uint16_t status);

#endif
