/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The emulated SSD's queues: fetching SQEs, walking PRPs, posting CQEs with their phase.
 *
 * An SQE is fetched only while the completion queue has room, so a completion always finds a place.
 */
#include "pcie/emul/queue.h"

#include <stdlib.h>
#include <string.h>

#include "pcie/emul/admin.h"
#include "pcie/emul/io.h"
#include "pcie/emul/state.h"
#include "pcie/emul/uring.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/num.h"

/* --- PRPs (Base 4.1.1) ------------------------------------------------------------------------ */

/* Adds [iova, iova + len), one page at most, to the list; merges with what it follows in memory. */
static uint16_t add_page(const struct emul *emul, uint64_t iova, size_t len, struct iovec *iov,
			 unsigned *n)
{
	uint8_t *va = emul_dma(emul, iova, len);

	if (!va)
		return NVME_SC_DATA_TRANSFER_ERROR;
	if (*n && (uint8_t *)iov[*n - 1].iov_base + iov[*n - 1].iov_len == va) {
		iov[*n - 1].iov_len += len;
		return 0;
	}
	iov[(*n)++] = (struct iovec){ .iov_base = va, .iov_len = len };
	return 0;
}

static uint16_t add_list(const struct emul *emul, uint64_t list_iova, size_t len, struct iovec *iov,
			 unsigned *n)
{
	while (len) {
		size_t in_page = NVME_PAGE_SIZE - (list_iova & (NVME_PAGE_SIZE - 1));
		const le64 *list = emul_dma(emul, list_iova, in_page);

		if (!list || (list_iova & 7))
			return NVME_SC_INVALID_PRP_OFFSET;
		for (size_t i = 0; i < in_page / sizeof(*list) && len; i++) {
			uint64_t entry = le64_get(list[i]);
			size_t part = num_min(len, (size_t)NVME_PAGE_SIZE);
			uint16_t status;

			/* The last entry of a page that does not suffice points to the next list
			 * page. */
			if (i + 1 == in_page / sizeof(*list) && len > NVME_PAGE_SIZE) {
				list_iova = entry;
				break;
			}
			if (entry & (NVME_PAGE_SIZE - 1))
				return NVME_SC_INVALID_PRP_OFFSET;
			status = add_page(emul, entry, part, iov, n);
			if (status)
				return status;
			len -= part;
		}
	}
	return 0;
}

uint16_t emul_prps(const struct emul *emul, const struct nvme_sqe *sqe, size_t len,
		   struct iovec *iov, unsigned *ret_n)
{
	uint64_t prp1 = le64_get(sqe->prp1), prp2 = le64_get(sqe->prp2);
	size_t first = num_min(len, NVME_PAGE_SIZE - (size_t)(prp1 & (NVME_PAGE_SIZE - 1)));
	uint16_t status;

	*ret_n = 0;
	status = add_page(emul, prp1, first, iov, ret_n);
	len -= first;
	if (status || !len)
		return status;
	if (len > NVME_PAGE_SIZE)
		return add_list(emul, prp2, len, iov, ret_n);
	if (prp2 & (NVME_PAGE_SIZE - 1))
		return NVME_SC_INVALID_PRP_OFFSET;
	return add_page(emul, prp2, len, iov, ret_n);
}

/* --- Completion ------------------------------------------------------------------------------- */

void emul_post(struct emul_sq *sq, uint16_t cid, uint16_t status, uint32_t dw0)
{
	struct emul_cq *cq = &sq->emul->cq[sq->cqid];
	struct nvme_cqe *cqe = &cq->ring[cq->tail];

	cqe->dw0 = le32_set(dw0);
	cqe->dw1 = le32_set(0);
	cqe->sqhd = le16_set((uint16_t)sq->head);
	cqe->sqid = le16_set(sq->qid);
	cqe->cid = le16_set(cid);
	__atomic_store_n(&cqe->status.raw, nvme_status_to_wire(status, cq->phase).raw,
			 __ATOMIC_RELEASE);
	if (++cq->tail == cq->entries) {
		cq->tail = 0;
		cq->phase = !cq->phase;
	}
	cq->unsignalled++;
}

/* --- Submission ------------------------------------------------------------------------------- */

static void run_admin(struct emul_sq *sq, const struct nvme_sqe *sqe)
{
	uint32_t dw0 = 0;
	uint16_t status = emul_admin(sq->emul, sqe, &dw0);

	if (status != EMUL_PENDING)
		emul_post(sq, le16_get(sqe->cid), status, dw0);
}

static void end_io(struct emul_sq *sq, const struct nvme_sqe *sqe, uint16_t status,
		   enum emul_fault fault)
{
	if (fault == EMUL_FAULT_DELAY)
		emul_uring_delay(emul_slot_take(sq, sqe), status,
				 sq->emul->options.faults.delay_ms);
	else
		emul_post(sq, le16_get(sqe->cid), status, 0);
}

void emul_run_io(struct emul_sq *sq, const struct nvme_sqe *sqe, enum emul_fault fault)
{
	uint16_t status;

	if (fault == EMUL_FAULT_HANG) {
		struct emul_slot *slot = emul_slot_take(sq, sqe);

		slot->hung = true;
		slot->sqe = *sqe;
		sq->n_hung++;
		return;
	}
	status = fault == EMUL_FAULT_ERROR ? (uint16_t)sq->emul->options.faults.status
					   : emul_io(sq, sqe);
	if (status != EMUL_PENDING)
		end_io(sq, sqe, status, fault);
}

static unsigned fuse_at(const struct emul_sq *sq, uint32_t at)
{
	return at == sq->tail ? 0 : NVME_SQE_FUSE(sq->ring[at].flags);
}

static uint32_t after(const struct emul_sq *sq, uint32_t at)
{
	return at + 1 == sq->entries ? 0 : at + 1;
}

/*
 * Base 6.1: two commands next to each other, told with one doorbell; neither is done alone. The
 * first has been fetched. Returns false when the device dies of the second.
 */
static bool run_fused(struct emul_sq *sq, const struct nvme_sqe *first, enum emul_fault fault)
{
	uint16_t statuses[2], error = (uint16_t)sq->emul->options.faults.status;
	enum emul_fault fault_second;
	struct nvme_sqe second;

	if (NVME_SQE_FUSE(first->flags) != NVME_FUSE_FIRST ||
	    fuse_at(sq, sq->head) != NVME_FUSE_SECOND) {
		end_io(sq, first, NVME_SC_ABORTED_FUSED_MISSING, fault);
		return true;
	}
	second = sq->ring[sq->head];
	fault_second = sq->emul->faulty ? emul_fault_of(sq, &second) : EMUL_FAULT_NONE;
	if (fault_second == EMUL_FAULT_STOP)
		return false;
	sq->head = after(sq, sq->head);
	if (fault == EMUL_FAULT_ERROR) {
		statuses[0] = error;
		statuses[1] = NVME_SC_ABORTED_FUSED_FAILED;
	} else if (fault_second == EMUL_FAULT_ERROR) {
		statuses[0] = NVME_SC_ABORTED_FUSED_FAILED;
		statuses[1] = error;
	} else {
		emul_compare_and_write(sq, first, &second, &statuses[0], &statuses[1]);
	}
	end_io(sq, first, statuses[0], fault);
	end_io(sq, &second, statuses[1], fault_second);
	return true;
}

/* Commands under way never exceed what the completion queue can take. */
static bool may_fetch(const struct emul_sq *sq)
{
	const struct emul_cq *cq = &sq->emul->cq[sq->cqid];
	uint32_t used = (cq->tail + cq->entries - cq->head) % cq->entries;
	uint32_t n = fuse_at(sq, sq->head) == NVME_FUSE_FIRST ? 2 : 1;

	return !sq->stuck && sq->head != sq->tail && used + sq->pending + n < cq->entries &&
	       sq->free_slot != UINT16_MAX;
}

/* Lets the CPU fetch the blocks of the command that comes `n` after the next one, if
 * it is there. */
static void expect(const struct emul_sq *sq, uint32_t n)
{
	uint32_t queued = sq->tail - sq->head + (sq->tail < sq->head ? sq->entries : 0);
	uint32_t at = sq->head + n;

	if (sq->qid && n < queued)
		emul_io_expect(sq, &sq->ring[at < sq->entries ? at : at - sq->entries]);
}

static void sq_run(struct emul_sq *sq)
{
	struct emul *emul = sq->emul;
	struct emul_cq *cq = &emul->cq[sq->cqid];
	bool faulty = sq->qid && emul->faulty;

	expect(sq, 1);
	while (may_fetch(sq)) {
		struct nvme_sqe sqe = sq->ring[sq->head]; /* the driver's memory may change */
		enum emul_fault fault = faulty ? emul_fault_of(sq, &sqe) : EMUL_FAULT_NONE;

		if (fault == EMUL_FAULT_STOP)
			return;
		expect(sq, 2); /* one ahead is too late: a command takes less than its blocks */
		sq->head = after(sq, sq->head);
		if (!sq->qid) {
			run_admin(sq, &sqe);
			continue;
		}
		if (!NVME_SQE_FUSE(sqe.flags))
			emul_run_io(sq, &sqe, fault);
		else if (!run_fused(sq, &sqe, fault))
			return;
		if (faulty)
			emul_fault_unknown_cid(sq, &sqe);
	}
	if (emul->events && sq->qid)
		emul->events[2 * sq->qid] = htole32(sq->tail); /* ring for every new command */
	emul_uring_submit(sq);
	if (cq->unsignalled && !emul->dev.looks_after_doorbell)
		emul_signal(emul, cq);
}

static bool alive(const struct emul *emul)
{
	return !atomic_load_explicit(&emul->gone, memory_order_relaxed) &&
	       !atomic_load_explicit(&emul->fatal, memory_order_relaxed);
}

void emul_sq_doorbell(struct emul *emul, uint16_t qid, uint32_t value)
{
	struct emul_sq *sq = &emul->sq[qid];

	if (!atomic_load_explicit(&sq->enabled, memory_order_acquire) || !alive(emul))
		return;
	if (value >= sq->entries) {
		log_err("%s: doorbell of queue %u: %u is outside its %u entries", emul->dev.name,
			qid, value, sq->entries);
		return;
	}
	sq->tail = value;
	sq_run(sq);
}

void emul_cq_doorbell(struct emul *emul, uint16_t qid, uint32_t value)
{
	struct emul_sq *sq = &emul->sq[qid];
	struct emul_cq *cq = &emul->cq[qid];

	if (!cq->created || value >= cq->entries || !alive(emul))
		return;
	cq->head = value;
	if (emul->events && qid)
		emul->events[2 * qid + 1] = htole32(value);
	/* Room again: commands that had to wait for it go on. */
	if (atomic_load_explicit(&sq->enabled, memory_order_acquire) && sq->head != sq->tail) {
		sq_run(sq);
		if (cq->unsignalled)
			emul_signal(emul, cq); /* this may be the driver's last look */
	}
}

void emul_queue_poll(struct emul *emul, uint16_t qid)
{
	struct emul_sq *sq = &emul->sq[qid];

	if (sq->has_uring && alive(emul) &&
	    atomic_load_explicit(&sq->enabled, memory_order_acquire)) {
		emul_fault_look(sq);
		emul_uring_reap(sq);
		if (sq->head != sq->tail)
			sq_run(sq); /* slots are free again */
	}
	emul->cq[qid].unsignalled = 0; /* the driver is looking */
}

/* --- Creation and deletion -------------------------------------------------------------------- */

uint16_t emul_create_cq(struct emul *emul, uint16_t qid, uint64_t iova, uint32_t entries,
			uint16_t vector, bool interrupts)
{
	struct nvme_cqe *ring = emul_dma(emul, iova, (size_t)entries << NVME_CQE_SHIFT);

	if (!ring || (iova & (NVME_PAGE_SIZE - 1)))
		return NVME_SC_INVALID_PRP_OFFSET;
	emul->cq[qid] = (struct emul_cq){
		.created = true,
		.vector = vector,
		.interrupts = interrupts,
		.entries = entries,
		.phase = true,
		.ring = ring,
	};
	return 0;
}

uint16_t emul_create_sq(struct emul *emul, uint16_t qid, uint16_t cqid, uint64_t iova,
			uint32_t entries)
{
	struct nvme_sqe *ring = emul_dma(emul, iova, (size_t)entries << NVME_SQE_SHIFT);
	struct emul_sq *sq = &emul->sq[qid];

	if (!ring || (iova & (NVME_PAGE_SIZE - 1)))
		return NVME_SC_INVALID_PRP_OFFSET;
	sq->emul = emul;
	sq->qid = qid;
	sq->cqid = cqid;
	sq->entries = entries;
	sq->head = sq->tail = 0;
	sq->ring = ring;
	sq->pending = sq->n_delayed = sq->n_hung = 0;
	sq->stuck = false;
	atomic_store(&sq->muted, false);
	atomic_store(&sq->abort_cid, EMUL_NO_CID);
	sq->n_commands = sq->n_counted = 0;
	sq->free_slot = 0;
	if (qid && (!emul->media.ram || emul_fault_needs_slots(emul)) && emul_uring_init(sq)) {
		emul_queue_free(emul, qid);
		return NVME_SC_INTERNAL;
	}
	atomic_store_explicit(&sq->enabled, true, memory_order_release);
	return 0;
}

/* Ends what is under way first: after the answer to Delete SQ no page is touched any more. */
uint16_t emul_delete_sq(struct emul *emul, uint16_t qid)
{
	struct emul_sq *sq = &emul->sq[qid];

	if (sq->has_uring && !emul_uring_drain(sq, true, clock_now_ns() + EMUL_DRAIN_NS))
		return NVME_SC_INTERNAL;
	emul_queue_free(emul, qid);
	return 0;
}

void emul_queue_free(struct emul *emul, uint16_t qid)
{
	struct emul_sq *sq = &emul->sq[qid];

	atomic_store(&sq->enabled, false);
	if (sq->has_uring)
		emul_uring_fini(sq);
}
