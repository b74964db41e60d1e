/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commands of an I/O queue that end later: each is in a slot. The queue's owner, where nothing else
 * is said.
 */
#ifndef NVMETD_PCIE_EMUL_URING_H
#define NVMETD_PCIE_EMUL_URING_H

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "pcie/nvme.h"
#include "util/clock.h"

struct emul_sq;

/* A command that ends later: on a file, or delayed. */
struct emul_slot {
	struct emul_sq *sq;
	uint16_t cid;
	uint16_t next_free;
	uint16_t status; /* of a delayed command */
	bool delayed, hung;
	struct nvme_sqe sqe; /* of one that hangs */
	uint8_t opcode;
	bool fua;
	uint64_t offset;   /* bytes on the medium: of what is left */
	size_t left;       /* bytes */
	struct iovec *iov; /* EMUL_MAX_IOVS + 1 of them */
	unsigned n_iov, iov_pos;
	void *scratch; /* Compare, Copy, Verify: what was read */
	unsigned n_ranges, range_pos;
	uint64_t copy_to;  /* bytes on the medium: where the current range of a Copy goes */
	bool copy_writing; /* it has been read */
	struct __kernel_timespec due;
};

/* Slots and a ring for a queue. 0 or -errno (logged). Main thread. */
int emul_uring_init(struct emul_sq *sq);
/* The same, when nothing is under way that still matters. */
void emul_uring_fini(struct emul_sq *sq);
/* A slot for the command. Fewer than `entries` commands are under way. */
struct emul_slot *emul_slot_take(struct emul_sq *sq, const struct nvme_sqe *sqe);
/* Begins the command in the slot, or goes on with what is left of it. It may end at once. */
void emul_uring_start(struct emul_slot *slot);
/* The command, which is done, ends with `status` after so many ms. */
void emul_uring_delay(struct emul_slot *slot, uint16_t status, unsigned ms);
/* Tells the kernel of all that was begun since the last call. */
void emul_uring_submit(struct emul_sq *sq);
/* Posts what has ended, as far as the completion queue has room. */
void emul_uring_reap(struct emul_sq *sq);
/*
 * Waits, until the deadline at most, until nothing is under way but what hangs; `delayed` ones
 * neither when they do not count. False: something still is.
 */
#define EMUL_DRAIN_NS (30 * NSEC_PER_SEC)
bool emul_uring_drain(struct emul_sq *sq, bool delayed, uint64_t deadline_ns);
/* Ends the command, and frees its slot. */
void emul_slot_end(struct emul_slot *slot, uint16_t status);
/* Frees its slot without a completion. */
void emul_slot_drop(struct emul_slot *slot);

#endif
