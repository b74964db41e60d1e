/* SPDX-License-Identifier: BSD-3-Clause */
/* Faults that are asked for. */
#ifndef NVMETD_PCIE_EMUL_FAULT_H
#define NVMETD_PCIE_EMUL_FAULT_H

#include <stdbool.h>
#include <stdint.h>

struct emul;
struct emul_faults;
struct emul_sq;
struct nvme_sqe;

enum emul_fault {
	EMUL_FAULT_NONE,
	EMUL_FAULT_STOP,  /* the command is not even fetched, nor any after it */
	EMUL_FAULT_HANG,  /* it is never answered */
	EMUL_FAULT_ERROR, /* it ends with fault.status */
	EMUL_FAULT_DELAY, /* its answer is held back */
};
/* Whether any of them may befall an I/O command; if not, nothing need be counted. */
bool emul_fault_any(const struct emul_faults *faults);
/* Counts a command and says what befalls it. Owner of the queue. */
enum emul_fault emul_fault_of(struct emul_sq *sq, const struct nvme_sqe *sqe);
/* One completion more than was asked for, with a CID that no command has. */
void emul_fault_unknown_cid(struct emul_sq *sq, const struct nvme_sqe *sqe);
/* Whether commands of the queue may have to be kept in slots. */
bool emul_fault_needs_slots(const struct emul *emul);
/* Abort: a status, or EMUL_PENDING. Main thread; the command ends on its queue's. */
uint16_t emul_fault_abort(struct emul *emul, uint16_t qid, uint16_t cid, uint32_t *ret_dw0);
/* Owner of the queue: does what an Abort asked for. */
void emul_fault_look(struct emul_sq *sq);

#endif
