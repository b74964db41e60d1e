/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commands of the emulated SSD that end later: those on a file, and delayed ones.
 *
 * Each I/O queue has an io_uring of its own. Its eventfd is the queue's interrupt: when a request
 * ends the driver wakes up, and `poll` turns the io_uring's completion into an NVMe one, on the
 * same thread that submitted it. Requests of one doorbell go down with one system call.
 */
#include "pcie/emul/uring.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pcie/emul/io.h"
#include "pcie/emul/state.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/num.h"

/* liburing declares functions for these two, but some builds of it do not have them. */
static int ring_register(const struct io_uring *uring, unsigned op, const void *arg, unsigned n)
{
	long result = syscall(SYS_io_uring_register, uring->ring_fd, op, arg, n);

	return result < 0 ? -errno : 0;
}

/*
 * A worker's seccomp filter does not see what a ring does. So a ring does no more than its SSD
 * needs: these requests, on the file that was registered, and nothing can be registered later.
 */
static int restrict_ring(struct io_uring *uring)
{
	static const uint8_t allowed[] = {
		IORING_OP_READ,  IORING_OP_READV,     IORING_OP_WRITE,   IORING_OP_WRITEV,
		IORING_OP_FSYNC, IORING_OP_FALLOCATE, IORING_OP_TIMEOUT,
	};
	struct io_uring_restriction rules[ARRAY_SIZE(allowed) + 2] = { 0 };
	unsigned n = 0;
	int err;

	for (; n < ARRAY_SIZE(allowed); n++) {
		rules[n].opcode = IORING_RESTRICTION_SQE_OP;
		rules[n].sqe_op = allowed[n];
	}
	rules[n].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
	rules[n++].sqe_flags = IOSQE_FIXED_FILE;
	rules[n].opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED;
	rules[n++].sqe_flags = IOSQE_FIXED_FILE;
	err = ring_register(uring, IORING_REGISTER_RESTRICTIONS, rules, n);
	return err ? err : ring_register(uring, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

int emul_uring_init(struct emul_sq *sq)
{
	struct emul *emul = sq->emul;
	struct emul_cq *cq = &emul->cq[sq->cqid];
	int err;

	sq->slots = calloc(sq->entries, sizeof(sq->slots[0]));
	sq->iovs = calloc((size_t)sq->entries * (EMUL_MAX_IOVS + 1), sizeof(sq->iovs[0]));
	if (!sq->slots || !sq->iovs) {
		err = -ENOMEM;
		goto fail;
	}
	for (uint32_t i = 0; i < sq->entries; i++) {
		sq->slots[i].sq = sq;
		sq->slots[i].iov = &sq->iovs[(size_t)i * (EMUL_MAX_IOVS + 1)];
		sq->slots[i].next_free = i + 1 < sq->entries ? (uint16_t)(i + 1) : UINT16_MAX;
	}
	err = io_uring_queue_init(num_min(sq->entries, 4096u), &sq->uring, IORING_SETUP_R_DISABLED);
	if (err)
		goto fail;
	sq->has_uring = true;
	if (!emul->media.ram) {
		err = io_uring_register_files(&sq->uring, &emul->media.fd, 1);
		if (err)
			goto fail;
	}
	if (cq->interrupts && cq->vector < emul->n_irqs)
		err = io_uring_register_eventfd(&sq->uring, emul->irq_fds[cq->vector]);
	if (!err)
		err = restrict_ring(&sq->uring);
	if (err)
		goto fail;
	return 0;

fail:
	log_err("%s: no io_uring for queue %u: %s", emul->dev.name, sq->qid, strerror(-err));
	if (!sq->has_uring) {
		free(sq->slots);
		free(sq->iovs);
		sq->slots = NULL;
		sq->iovs = NULL;
	}
	return err;
}

void emul_uring_fini(struct emul_sq *sq)
{
	io_uring_queue_exit(&sq->uring);
	for (uint32_t i = 0; i < sq->entries; i++)
		free(sq->slots[i].scratch);
	free(sq->slots);
	free(sq->iovs);
	sq->slots = NULL;
	sq->iovs = NULL;
	sq->has_uring = false;
}

struct emul_slot *emul_slot_take(struct emul_sq *sq, const struct nvme_sqe *sqe)
{
	struct emul_slot *slot = &sq->slots[sq->free_slot];

	must(sq->free_slot != UINT16_MAX);
	sq->free_slot = slot->next_free;
	sq->pending++;
	slot->cid = le16_get(sqe->cid);
	slot->opcode = sqe->opcode;
	slot->status = 0;
	slot->delayed = slot->hung = false;
	slot->fua = false;
	slot->left = 0;
	slot->n_iov = slot->iov_pos = 0;
	slot->n_ranges = slot->range_pos = 0;
	slot->copy_writing = false;
	return slot;
}

void emul_slot_drop(struct emul_slot *slot)
{
	struct emul_sq *sq = slot->sq;

	if (slot->delayed)
		sq->n_delayed--;
	if (slot->hung)
		sq->n_hung--;
	slot->delayed = slot->hung = false;
	free(slot->scratch);
	slot->scratch = NULL;
	slot->next_free = sq->free_slot;
	sq->free_slot = (uint16_t)(slot - sq->slots);
	sq->pending--;
}

void emul_slot_end(struct emul_slot *slot, uint16_t status)
{
	emul_slot_drop(slot);
	emul_post(slot->sq, slot->cid, status, 0);
}

/* NULL: the kernel takes no requests now, and the ring is full of those that wait. */
static struct io_uring_sqe *get_sqe(struct emul_sq *sq)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&sq->uring);

	if (!sqe) {
		io_uring_submit(&sq->uring);
		sqe = io_uring_get_sqe(&sq->uring);
	}
	sq->to_submit = true;
	return sqe;
}

/* What Copy and Verify read at once, at most. */
static size_t part_bytes(const struct emul_slot *slot)
{
	return (size_t)EMUL_COPY_RANGE_BLOCKS * slot->sq->emul->block_bytes;
}

static size_t range_bytes(const struct emul_slot *slot)
{
	return slot->iov[slot->range_pos].iov_len;
}

/* Of a range whose beginning is through. */
static void *copy_place(const struct emul_slot *slot)
{
	return (uint8_t *)slot->scratch + (range_bytes(slot) - slot->left);
}

static void prep(struct emul_slot *slot, struct io_uring_sqe *sqe)
{
	const struct iovec *iov = slot->iov + slot->iov_pos;
	unsigned n = slot->n_iov - slot->iov_pos;

	switch (slot->opcode) {
	case NVME_IO_READ:
		io_uring_prep_readv(sqe, 0, iov, n, slot->offset);
		break;
	case NVME_IO_WRITE:
		io_uring_prep_writev2(sqe, 0, iov, n, slot->offset, slot->fua ? RWF_DSYNC : 0);
		break;
	case NVME_IO_COMPARE:
		io_uring_prep_read(sqe, 0, slot->scratch, (unsigned)slot->left, slot->offset);
		break;
	case NVME_IO_VERIFY:
		io_uring_prep_read(sqe, 0, slot->scratch,
				   (unsigned)num_min(slot->left, part_bytes(slot)), slot->offset);
		break;
	case NVME_IO_COPY:
		if (slot->copy_writing)
			io_uring_prep_write(sqe, 0, copy_place(slot), (unsigned)slot->left,
					    slot->copy_to);
		else
			io_uring_prep_read(sqe, 0, copy_place(slot), (unsigned)slot->left,
					   slot->offset);
		if (slot->copy_writing && slot->fua)
			sqe->rw_flags = RWF_DSYNC;
		break;
	case NVME_IO_FLUSH:
		io_uring_prep_fsync(sqe, 0, IORING_FSYNC_DATASYNC);
		break;
	default: /* Write Zeroes and Deallocate: a hole reads as zeroes */
		emul_mapping_forget(&slot->sq->emul->media.mapping, slot->offset, slot->left);
		io_uring_prep_fallocate(sqe, 0, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					(off_t)slot->offset, (off_t)slot->left);
	}
	sqe->flags |= IOSQE_FIXED_FILE;
}

static void slot_done(struct emul_slot *slot, int res);

/* A file in memory never waits, but io_uring does not know: it would hand each transfer to a
 * thread, and that takes longer than the transfer. This is for those that must not go through the
 * file's mapping. False: not that kind of file or command. */
static bool transfer_at_once(struct emul_slot *slot)
{
	const struct emul_media *media = &slot->sq->emul->media;
	const struct iovec *iov = slot->iov + slot->iov_pos;
	int n = (int)(slot->n_iov - slot->iov_pos);
	ssize_t res;

	if (!media->in_memory)
		return false;
	if (slot->opcode == NVME_IO_READ)
		res = preadv(media->fd, iov, n, (off_t)slot->offset);
	else if (slot->opcode == NVME_IO_WRITE)
		res = pwritev(media->fd, iov, n, (off_t)slot->offset);
	else
		return false;
	if (res > 0)
		emul_mapping_learn(&media->mapping, slot->opcode, slot->offset, iov, (size_t)res);
	slot_done(slot, res < 0 ? -errno : (int)res);
	return true;
}

/* Compare, Copy and Verify read into memory of their own. False: there is none. */
static bool make_scratch(struct emul_slot *slot)
{
	size_t len;

	if (slot->scratch)
		return true;
	if (slot->opcode == NVME_IO_COMPARE)
		len = slot->left;
	else if (slot->opcode == NVME_IO_COPY || slot->opcode == NVME_IO_VERIFY)
		len = part_bytes(slot);
	else
		return true;
	if (posix_memalign(&slot->scratch, NVME_PAGE_SIZE, len) == 0)
		return true;
	slot->scratch = NULL;
	return false;
}

void emul_uring_start(struct emul_slot *slot)
{
	struct io_uring_sqe *sqe;

	if (!make_scratch(slot)) {
		emul_slot_end(slot, NVME_SC_INTERNAL);
		return;
	}
	if (transfer_at_once(slot))
		return;
	sqe = get_sqe(slot->sq);
	if (!sqe) {
		emul_slot_end(slot, NVME_SC_NS_NOT_READY);
		return;
	}
	prep(slot, sqe);
	io_uring_sqe_set_data(sqe, slot);
}

void emul_uring_delay(struct emul_slot *slot, uint16_t status, unsigned ms)
{
	struct io_uring_sqe *sqe = get_sqe(slot->sq);

	if (!sqe) {
		emul_slot_end(slot, status);
		return;
	}
	slot->delayed = true;
	slot->sq->n_delayed++;
	slot->status = status;
	slot->due.tv_sec = ms / 1000;
	slot->due.tv_nsec = (long long)(ms % 1000) * 1000000;
	io_uring_prep_timeout(sqe, &slot->due, 0, 0);
	sqe->flags |= IOSQE_FIXED_FILE; /* it has none, but every request must say so */
	io_uring_sqe_set_data(sqe, slot);
}

void emul_uring_submit(struct emul_sq *sq)
{
	static _Thread_local struct log_limit limit = LOG_LIMIT_INIT(5);
	int n;

	if (!sq->to_submit)
		return;
	n = io_uring_submit(&sq->uring);
	sq->to_submit = n < 0; /* again at the next look, which the driver's watchdog sees to */
	if (n < 0)
		log_limited(&limit, LOG_LEVEL_ERR, "%s: queue %u: io_uring takes no requests: %s",
			    sq->emul->dev.name, sq->qid, strerror(-n));
}

static bool is_reading(const struct emul_slot *slot)
{
	return slot->opcode == NVME_IO_READ || slot->opcode == NVME_IO_COMPARE ||
	       slot->opcode == NVME_IO_VERIFY ||
	       (slot->opcode == NVME_IO_COPY && !slot->copy_writing);
}

static uint16_t status_of(int err, const struct emul_slot *slot)
{
	switch (err) {
	case -ENOSPC:
	case -EDQUOT:
		return NVME_SC_CAPACITY_EXCEEDED;
	case -EOPNOTSUPP:
		/* Deallocate is a hint; Write Zeroes is a promise. */
		return slot->opcode == NVME_IO_DSM ? 0 : NVME_SC_INTERNAL;
	case -EINTR:
	case -EAGAIN:
	case -ENOMEM:
		return NVME_SC_NS_NOT_READY;
	default:
		return is_reading(slot) ? NVME_SC_UNRECOVERED_READ : NVME_SC_WRITE_FAULT;
	}
}

/* The command ends with an error. Hosts are told, but it is somebody here who can do something. */
static void slot_failed(struct emul_slot *slot, int err, const char *why)
{
	static _Thread_local struct log_limit limit = LOG_LIMIT_INIT(5);

	if (err != -EOPNOTSUPP || slot->opcode != NVME_IO_DSM)
		log_limited(&limit, LOG_LEVEL_ERR,
			    "%s: command %02xh at byte %llu of its file fails: %s",
			    slot->sq->emul->dev.name, slot->opcode,
			    (unsigned long long)slot->offset, why);
	emul_slot_end(slot, status_of(err, slot));
}

/* Moves on by `n` bytes; iovecs that are through are passed, the one in the middle is cut. */
static void advance(struct emul_slot *slot, size_t n)
{
	slot->offset += n;
	slot->left -= n;
	while (n && slot->iov_pos < slot->n_iov) {
		struct iovec *iov = &slot->iov[slot->iov_pos];
		size_t part = num_min(n, iov->iov_len);

		iov->iov_base = (uint8_t *)iov->iov_base + part;
		iov->iov_len -= part;
		n -= part;
		if (!iov->iov_len)
			slot->iov_pos++;
	}
}

static uint16_t compare(const struct emul_slot *slot)
{
	const uint8_t *read = slot->scratch;

	for (unsigned i = 0; i < slot->n_iov; i++) {
		if (memcmp(read, slot->iov[i].iov_base, slot->iov[i].iov_len) != 0)
			return NVME_SC_COMPARE_FAILURE;
		read += slot->iov[i].iov_len;
	}
	return 0;
}

static void next_range(struct emul_slot *slot)
{
	if (++slot->range_pos == slot->n_ranges) {
		emul_slot_end(slot, 0);
		return;
	}
	slot->offset = (uintptr_t)slot->iov[slot->range_pos].iov_base;
	slot->left = range_bytes(slot);
	emul_uring_start(slot);
}

/* A part of a range was read, or written: the rest of it, the other half, or the next range. What
 * is missing is asked for once more: the file's answer to that says why. */
static void copy_done(struct emul_slot *slot, size_t n)
{
	if (n == 0) {
		slot_failed(slot, -EIO, "somebody has cut it");
		return;
	}
	slot->left -= n;
	if (slot->copy_writing)
		slot->copy_to += n;
	else
		slot->offset += n;
	if (!slot->left && slot->copy_writing) {
		slot->copy_writing = false;
		next_range(slot);
		return;
	}
	if (!slot->left) {
		slot->copy_writing = true;
		slot->left = range_bytes(slot);
	}
	emul_uring_start(slot);
}

/*
 * The end of a command that did all that it had to. With FUA what it has read, or made a hole, is
 * brought to the disk before it is answered; what was written is there (RWF_DSYNC).
 */
static void slot_through(struct emul_slot *slot)
{
	if (!slot->fua || slot->opcode == NVME_IO_WRITE || slot->sq->emul->media.in_memory) {
		emul_slot_end(slot, 0);
		return;
	}
	slot->fua = false;
	slot->opcode = NVME_IO_FLUSH;
	emul_uring_start(slot);
}

/* A request has come back with `res`: the command ends, or goes on with what is left of it. */
static void slot_done(struct emul_slot *slot, int res)
{
	if (slot->delayed) {
		emul_slot_end(slot, slot->status);
		return;
	}
	if (res == -EINTR || res == -EAGAIN) {
		emul_uring_start(slot);
		return;
	}
	if (res < 0) {
		slot_failed(slot, res, strerror(-res));
		return;
	}
	if (slot->opcode == NVME_IO_READ || slot->opcode == NVME_IO_WRITE ||
	    slot->opcode == NVME_IO_VERIFY) {
		if (res == 0 && slot->left) {
			slot_failed(slot, -EIO, "somebody has cut it");
			return;
		}
		advance(slot, (size_t)res);
		if (slot->left) {
			emul_uring_start(slot);
			return;
		}
	}
	if (slot->opcode == NVME_IO_COMPARE) {
		uint16_t status = (size_t)res == slot->left ? compare(slot)
							    : NVME_SC_UNRECOVERED_READ;

		if (status) {
			emul_slot_end(slot, status);
			return;
		}
	}
	if (slot->opcode == NVME_IO_COPY)
		copy_done(slot, (size_t)res);
	else if (slot->opcode == NVME_IO_DSM)
		next_range(slot);
	else
		slot_through(slot);
}

void emul_uring_reap(struct emul_sq *sq)
{
	struct io_uring_cqe *cqe;

	while (io_uring_peek_cqe(&sq->uring, &cqe) == 0) {
		struct emul_slot *slot = io_uring_cqe_get_data(cqe);
		int res = cqe->res;

		io_uring_cqe_seen(&sq->uring, cqe);
		slot_done(slot, res);
	}
	emul_uring_submit(sq);
}

bool emul_uring_drain(struct emul_sq *sq, bool delayed, uint64_t deadline_ns)
{
	struct __kernel_timespec second = { .tv_sec = 1 };
	struct io_uring_cqe *cqe;

	while (sq->pending > sq->n_hung + (delayed ? 0 : sq->n_delayed)) {
		io_uring_wait_cqe_timeout(&sq->uring, &cqe, &second);
		emul_uring_reap(sq);
		if (clock_now_ns() > deadline_ns) {
			log_err("%s: queue %u: %u requests on its file do not end",
				sq->emul->dev.name, sq->qid, sq->pending);
			return false;
		}
	}
	return true;
}
