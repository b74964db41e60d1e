/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The emulated SSD's faults: when they strike, and what Abort does to a command that hangs. The
 * keys are described in emul.h. Everything is counted, nothing is left to chance, so that a test
 * repeats exactly.
 */
#include "pcie/emul/fault.h"

#include "pcie/emul/events.h"
#include "pcie/emul/state.h"
#include "pcie/emul/uring.h"
#include "util/log.h"

bool emul_fault_any(const struct emul_faults *faults)
{
	return faults->error || faults->delay || faults->unknown_cid || faults->hang ||
	       faults->mute_after || faults->doorbell_after || faults->cfs_after ||
	       faults->gone_after || faults->smart_after || faults->internal_after ||
	       faults->shrink_after || faults->detach_after || faults->attach_after;
}

static bool every(unsigned n, unsigned count)
{
	return n && count % n == 0;
}

static bool applies(const struct emul_sq *sq, const struct nvme_sqe *sqe)
{
	int op = sq->emul->options.faults.op;

	return op < 0 || op == sqe->opcode;
}

/* fault.times: false when it has been enough. */
static bool strike(struct emul *emul)
{
	unsigned times = emul->options.faults.times;

	return !times || atomic_fetch_add(&emul->strikes, 1) < times;
}

static void mute(struct emul_sq *sq)
{
	if (sq->muted)
		return;
	sq->muted = true;
	if (sq->has_uring)
		io_uring_cq_eventfd_toggle(&sq->uring, false);
}

/* What strikes once a queue has had so many commands. True: nothing is fetched any more. */
static bool after_count(struct emul_sq *sq)
{
	struct emul *emul = sq->emul;
	const struct emul_faults *faults = &emul->options.faults;
	unsigned n = sq->n_commands;

	emul_events_count(emul, n);
	if (faults->mute_after && n > faults->mute_after)
		mute(sq);
	/* One more than the count: with fault.times the queue goes on unharmed behind it. */
	if (faults->doorbell_after && n == faults->doorbell_after + 1 && strike(emul))
		sq->stuck = true;
	if (faults->cfs_after && n == faults->cfs_after + 1 && strike(emul))
		atomic_store(&emul->fatal, true);
	if (faults->gone_after && n == faults->gone_after + 1 && strike(emul) &&
	    !atomic_exchange(&emul->gone, true) && emul->watch_loop)
		loop_post(emul->watch_loop, &emul->gone_msg, emul_announce_gone);
	return sq->stuck || atomic_load(&emul->fatal) || atomic_load(&emul->gone);
}

enum emul_fault emul_fault_of(struct emul_sq *sq, const struct nvme_sqe *sqe)
{
	const struct emul_faults *faults = &sq->emul->options.faults;

	sq->n_commands++;
	if (after_count(sq))
		return EMUL_FAULT_STOP;
	if (!applies(sq, sqe))
		return EMUL_FAULT_NONE;
	sq->n_counted++;
	if (every(faults->hang, sq->n_counted) && strike(sq->emul))
		return EMUL_FAULT_HANG;
	if (every(faults->error, sq->n_counted))
		return EMUL_FAULT_ERROR;
	return every(faults->delay, sq->n_counted) ? EMUL_FAULT_DELAY : EMUL_FAULT_NONE;
}

void emul_fault_unknown_cid(struct emul_sq *sq, const struct nvme_sqe *sqe)
{
	if (applies(sq, sqe) && every(sq->emul->options.faults.unknown_cid, sq->n_counted) &&
	    emul_cq_room(&sq->emul->cq[sq->cqid]))
		emul_post(sq, 0xfffe, 0, 0);
}

bool emul_fault_needs_slots(const struct emul *emul)
{
	return emul->options.faults.delay || emul->options.faults.hang;
}

uint16_t emul_fault_abort(struct emul *emul, uint16_t qid, uint16_t cid, uint32_t *ret_dw0)
{
	enum emul_abort mode = emul->options.faults.abort;

	if (mode == EMUL_ABORT_SILENT)
		return EMUL_PENDING;
	*ret_dw0 = NVME_ABORT_NOT_ABORTED; /* what does not hang ends by itself */
	if (mode == EMUL_ABORT_REFUSE || qid == 0 || qid > emul->options.queues ||
	    !atomic_load(&emul->sq[qid].enabled) || !emul_fault_needs_slots(emul))
		return 0;
	atomic_store(&emul->sq[qid].abort_cid, cid);
	emul_interrupt(emul, &emul->cq[qid]);
	if (mode == EMUL_ABORT_OBEY)
		*ret_dw0 = 0;
	return 0;
}

void emul_fault_look(struct emul_sq *sq)
{
	uint32_t cid = atomic_exchange(&sq->abort_cid, EMUL_NO_CID);
	struct nvme_sqe sqe;

	for (uint32_t i = 0; cid != EMUL_NO_CID && i < sq->entries; i++) {
		struct emul_slot *slot = &sq->slots[i];

		if (!slot->hung || slot->cid != cid)
			continue;
		if (sq->emul->options.faults.abort == EMUL_ABORT_LATE) {
			sqe = slot->sqe;
			emul_slot_drop(slot);
			emul_run_io(sq, &sqe, EMUL_FAULT_NONE);
		} else {
			emul_slot_end(slot, NVME_SC_ABORT_REQUESTED);
		}
		return;
	}
}
