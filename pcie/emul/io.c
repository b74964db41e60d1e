/* SPDX-License-Identifier: BSD-3-Clause */
/* The emulated SSD's I/O commands: checks, and the work itself on memory (NVM Command Set 3.2). */
#include <string.h>

#include "pcie/emul/emul_internal.h"
#include "util/num.h"

/* Where a command lies on the medium. */
struct extent {
	uint64_t offset, len; /* bytes */
};

static uint64_t ns_offset(const struct emul *emul, uint32_t nsid)
{
	return ((nsid - 1) * emul->ns_span) << emul->options.lba_shift;
}

static uint16_t extent_of(const struct emul *emul, const struct nvme_sqe *sqe, uint64_t slba,
			  uint64_t blocks, struct extent *ret)
{
	uint64_t ns_blocks = atomic_load_explicit(&emul->ns_blocks, memory_order_relaxed);

	if (slba >= ns_blocks || blocks > ns_blocks - slba)
		return NVME_SC_LBA_RANGE | NVME_STATUS_DNR;
	ret->offset = ns_offset(emul, le32_get(sqe->nsid)) + (slba << emul->options.lba_shift);
	ret->len = blocks << emul->options.lba_shift;
	return 0;
}

static uint16_t command_extent(const struct emul *emul, const struct nvme_sqe *sqe,
			       struct extent *ret)
{
	uint64_t slba = le32_get(sqe->cdw10) | (uint64_t)le32_get(sqe->cdw11) << 32;

	return extent_of(emul, sqe, slba, (le32_get(sqe->cdw12) & 0xffff) + 1, ret);
}

static void count_io(struct emul_sq *sq, uint8_t opcode, uint64_t len)
{
	if (opcode == NVME_IO_READ || opcode == NVME_IO_COMPARE) {
		counter_add(&sq->reads, 1);
		counter_add(&sq->blocks_read, len >> 9);
	} else if (opcode == NVME_IO_WRITE) {
		counter_add(&sq->writes, 1);
		counter_add(&sq->blocks_written, len >> 9);
	}
}

static uint16_t ram_transfer(uint8_t *media, uint8_t opcode, const struct iovec *iov, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		size_t len = iov[i].iov_len;

		if (opcode == NVME_IO_READ)
			memcpy(iov[i].iov_base, media, len);
		else if (opcode == NVME_IO_WRITE)
			memcpy(media, iov[i].iov_base, len);
		else if (memcmp(media, iov[i].iov_base, len) != 0)
			return NVME_SC_COMPARE_FAILURE;
		media += len;
	}
	return 0;
}

/* Read, Write, Compare. */
static uint16_t transfer(struct emul_sq *sq, const struct nvme_sqe *sqe)
{
	struct emul *emul = sq->emul;
	struct iovec iov[EMUL_MAX_IOVS + 1];
	struct emul_slot *slot;
	struct extent extent;
	unsigned n;
	uint16_t status = command_extent(emul, sqe, &extent);

	if (status)
		return status;
	if (extent.len > emul->options.mdts)
		return NVME_SC_INVALID_FIELD | NVME_STATUS_DNR;
	status = emul_prps(emul, sqe, extent.len, iov, &n);
	if (status)
		return status;
	count_io(sq, sqe->opcode, extent.len);
	if (emul->media.ram)
		return ram_transfer(emul->media.ram + extent.offset, sqe->opcode, iov, n);
	slot = emul_slot_take(sq, sqe);
	memcpy(slot->iov, iov, n * sizeof(iov[0]));
	slot->n_iov = n;
	slot->offset = extent.offset;
	slot->left = extent.len;
	slot->fua = le32_get(sqe->cdw12) & NVME_IO_FUA;
	emul_uring_start(slot);
	return EMUL_PENDING;
}

static uint16_t write_zeroes(struct emul_sq *sq, const struct nvme_sqe *sqe)
{
	struct emul *emul = sq->emul;
	struct emul_slot *slot;
	struct extent extent;
	uint16_t status = command_extent(emul, sqe, &extent);

	if (status)
		return status;
	if (emul->media.ram) {
		emul_media_deallocate(&emul->media, extent.offset, extent.len);
		return 0;
	}
	slot = emul_slot_take(sq, sqe);
	slot->offset = extent.offset;
	slot->left = extent.len;
	emul_uring_start(slot);
	return EMUL_PENDING;
}

/* All ranges are checked before the first is touched. */
static uint16_t dsm(struct emul_sq *sq, const struct nvme_sqe *sqe)
{
	struct emul *emul = sq->emul;
	struct nvme_dsm_range ranges[256] = { 0 };
	unsigned n_ranges = (le32_get(sqe->cdw10) & 0xff) + 1, n;
	size_t len = n_ranges * sizeof(ranges[0]), at = 0;
	struct extent extents[256];
	struct iovec iov[3];
	struct emul_slot *slot;
	uint16_t status = emul_prps(emul, sqe, len, iov, &n);

	if (status)
		return status;
	for (unsigned i = 0; i < n; at += iov[i++].iov_len)
		memcpy((uint8_t *)ranges + at, iov[i].iov_base, iov[i].iov_len);
	for (unsigned i = 0; i < n_ranges; i++) {
		status = extent_of(emul, sqe, le64_get(ranges[i].slba), le32_get(ranges[i].nlb),
				   &extents[i]);
		if (status)
			return status;
	}
	if (!(le32_get(sqe->cdw11) & NVME_DSM_AD))
		return 0; /* hints on access: nothing to do with them */
	if (emul->media.ram) {
		for (unsigned i = 0; i < n_ranges; i++)
			emul_media_deallocate(&emul->media, extents[i].offset, extents[i].len);
		return 0;
	}
	slot = emul_slot_take(sq, sqe);
	/* The slot's iovecs are free for it: base is the offset, length the length. */
	for (unsigned i = 0; i < n_ranges; i++)
		slot->iov[i] = (struct iovec){ .iov_base = (void *)(uintptr_t)extents[i].offset,
					       .iov_len = extents[i].len };
	slot->n_ranges = n_ranges;
	slot->offset = extents[0].offset;
	slot->left = extents[0].len;
	emul_uring_start(slot);
	return EMUL_PENDING;
}

static uint16_t flush(struct emul_sq *sq, const struct nvme_sqe *sqe)
{
	struct emul_slot *slot;

	if (sq->emul->media.ram)
		return 0;
	slot = emul_slot_take(sq, sqe);
	emul_uring_start(slot);
	return EMUL_PENDING;
}

static uint16_t verify(struct emul_sq *sq, const struct nvme_sqe *sqe)
{
	struct extent extent;

	return command_extent(sq->emul, sqe, &extent); /* no protection information to verify */
}

uint16_t emul_io(struct emul_sq *sq, const struct nvme_sqe *sqe)
{
	uint32_t nsid = le32_get(sqe->nsid);

	if (NVME_SQE_PSDT(sqe->flags) != NVME_PSDT_PRP || NVME_SQE_FUSE(sqe->flags))
		return NVME_SC_INVALID_FIELD | NVME_STATUS_DNR;
	if (nsid == NVME_NSID_ALL && sqe->opcode == NVME_IO_FLUSH)
		return flush(sq, sqe);
	if (!emul_has_ns(sq->emul, nsid))
		return NVME_SC_INVALID_NS | NVME_STATUS_DNR;
	switch (sqe->opcode) {
	case NVME_IO_READ:
	case NVME_IO_WRITE:
	case NVME_IO_COMPARE:
		return transfer(sq, sqe);
	case NVME_IO_FLUSH:
		return flush(sq, sqe);
	case NVME_IO_WRITE_ZEROES:
		return write_zeroes(sq, sqe);
	case NVME_IO_DSM:
		return dsm(sq, sqe);
	case NVME_IO_VERIFY:
		return verify(sq, sqe);
	default:
		return NVME_SC_INVALID_OPCODE | NVME_STATUS_DNR;
	}
}
