/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The emulated SSD's queues. A pair of I/O queues belongs to the thread that rings its doorbells;
 * main touches it only at creation and at deletion, when no worker uses it. `enabled` is the one
 * thing that crosses (a controller reset).
 */
#ifndef NVMETD_PCIE_EMUL_QUEUE_H
#define NVMETD_PCIE_EMUL_QUEUE_H

#include <liburing.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "pcie/emul/fault.h"
#include "pcie/nvme.h"
#include "util/counter.h"

struct emul;
struct emul_slot;

/* Pages of the largest MDTS; a transfer that is not page-aligned takes one more. */
#define EMUL_MAX_IOVS (1u << (20 - NVME_PAGE_SHIFT))
#define EMUL_NO_CID   UINT32_MAX
#define EMUL_PENDING  UINT16_C(0xffff) /* instead of a status: the command ends later */

struct emul_cq {
	bool created;
	uint16_t vector;
	bool interrupts;
	uint32_t entries, head, tail;
	bool phase;
	struct nvme_cqe *ring;
	unsigned unsignalled; /* posted since the last signal */
};

struct emul_sq {
	struct emul *emul;
	_Atomic bool enabled;
	uint16_t qid, cqid;
	uint32_t entries, head, tail;
	struct nvme_sqe *ring;

	bool has_uring;
	bool to_submit;
	struct io_uring uring;
	struct emul_slot *slots; /* entries of them */
	struct iovec *iovs;
	uint16_t free_slot;
	unsigned pending;           /* slots in use */
	unsigned n_delayed, n_hung; /* of them, without a request on the file */
	bool stuck;                 /* the doorbell does nothing */
	_Atomic bool muted;         /* no interrupts */
	_Atomic uint32_t abort_cid; /* for the owner of the queue: EMUL_NO_CID: none */

	unsigned n_commands, n_counted;                            /* fault counters */
	struct counter reads, writes, blocks_read, blocks_written; /* SMART; blocks of 512 bytes */
};

/* Runs one I/O command that was fetched; it ends now or later. Owner of the queue. */
void emul_run_io(struct emul_sq *sq, const struct nvme_sqe *sqe, enum emul_fault fault);
/* Create a queue whose fields were checked, or delete one that exists: 0 or a status.
 * Main thread. */
uint16_t emul_create_cq(struct emul *emul, uint16_t qid, uint64_t iova, uint32_t entries,
			uint16_t vector, bool interrupts);
uint16_t emul_create_sq(struct emul *emul, uint16_t qid, uint16_t cqid, uint64_t iova,
			uint32_t entries);
uint16_t emul_delete_sq(struct emul *emul, uint16_t qid);
/* Forgets a submission queue, created or not, whatever is under way on it. Main thread. */
void emul_queue_free(struct emul *emul, uint16_t qid);
/* A doorbell was written, any value; the driver looks at a CQ. Owner of the queue. */
void emul_sq_doorbell(struct emul *emul, uint16_t qid, uint32_t value);
void emul_cq_doorbell(struct emul *emul, uint16_t qid, uint32_t value);
void emul_queue_poll(struct emul *emul, uint16_t qid);
/* Posts a completion; the caller knows that there is room. */
void emul_post(struct emul_sq *sq, uint16_t cid, uint16_t status, uint32_t dw0);
/* PRP1 and PRP2 of a command as iovecs, contiguous pages merged. 0 or a status. */
uint16_t emul_prps(const struct emul *emul, const struct nvme_sqe *sqe, size_t len,
		   struct iovec *iov, unsigned *ret_n);

static inline bool emul_cq_room(const struct emul_cq *cq)
{
	return (cq->tail + 1 == cq->entries ? 0 : cq->tail + 1) != cq->head;
}

#endif
