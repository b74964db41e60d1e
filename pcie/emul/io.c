/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The emulated SSD's I/O commands: checks, and the work itself on memory (NVM Command Set 3.2). On
 * a file a command goes on in uring.c, unless mapping.c can do it at once.
 *
 * A block lies on the medium with its metadata behind it, as it is transferred (extended LBA).
 */
#include "pcie/emul/io.h"

#include <string.h>

#include "pcie/emul/cache.h"
#include "pcie/emul/pi.h"
#include "pcie/emul/state.h"
#include "pcie/emul/uring.h"
#include "util/num.h"

#define CACHE_LINE   64u
#define L2_CACHE     2 /* of __builtin_prefetch(): the first one is too small for what is ahead */
#define EXPECT_BYTES 2048u /* the CPU sees the rest coming by itself */

/* Where a command lies on the medium. */
struct extent {
	uint64_t first, blocks; /* counted over all namespaces */
	uint64_t offset, len;   /* bytes */
};

static uint16_t extent_of(const struct emul *emul, const struct nvme_sqe *sqe, uint64_t slba,
			  uint64_t blocks, struct extent *ret)
{
	uint64_t ns_blocks = atomic_load_explicit(&emul->ns_blocks, memory_order_relaxed);

	if (slba > ns_blocks || blocks > ns_blocks - slba)
		return NVME_SC_LBA_RANGE | NVME_STATUS_DNR;
	ret->first = (le32_get(sqe->nsid) - 1) * emul->ns_span + slba;
	ret->blocks = blocks;
	ret->offset = ret->first * emul->block_bytes;
	ret->len = blocks * emul->block_bytes;
	return 0;
}

/* What it changes, or has read, is durable before it is answered (NVM Command Set 3.2). */
static bool is_fua(const struct nvme_sqe *sqe)
{
	return le32_get(sqe->cdw12) & NVME_IO_FUA;
}

static uint16_t command_extent(const struct emul *emul, const struct nvme_sqe *sqe,
			       struct extent *ret)
{
	return extent_of(emul, sqe, nvme_slba(sqe), (le32_get(sqe->cdw12) & 0xffff) + 1, ret);
}

/*
 * Only an SSD that offers Compare and Write keeps its changes apart from each other, so that
 * nothing comes between the two halves.
 */
static void change_begin(struct emul *emul)
{
	if (emul->options.fused)
		pthread_mutex_lock(&emul->change_lock);
}

static void change_end(struct emul *emul)
{
	if (emul->options.fused)
		pthread_mutex_unlock(&emul->change_lock);
}

/* --- Read, Write, Compare --------------------------------------------------------------------- */

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

static uint16_t ram_write(struct emul *emul, const struct nvme_sqe *sqe,
			  const struct extent *extent, const struct iovec *iov, unsigned n)
{
	uint8_t *media = emul->media.ram + extent->offset;
	uint16_t status = 0;

	if (emul_blockwise(emul)) {
		status = emul_metadata_io(emul, sqe, extent->offset, (uint32_t)extent->blocks, iov);
		if (status)
			return status;
		n = 0;
	}
	for (unsigned i = 0; i < n; media += iov[i++].iov_len)
		emul_ram_write(media, iov[i].iov_base, iov[i].iov_len);
	emul_bad_clear(&emul->bad, extent->first, extent->blocks);
	return 0;
}

static uint16_t ram_read(struct emul *emul, const struct nvme_sqe *sqe, const struct extent *extent,
			 const struct iovec *iov, unsigned n)
{
	const uint8_t *media = emul->media.ram + extent->offset;

	if (emul_bad_any(&emul->bad, extent->first, extent->blocks))
		return NVME_SC_UNRECOVERED_READ;
	if (emul_blockwise(emul))
		return emul_metadata_io(emul, sqe, extent->offset, (uint32_t)extent->blocks, iov);
	for (unsigned i = 0; i < n; media += iov[i++].iov_len)
		emul_ram_read(media, iov[i].iov_base, iov[i].iov_len);
	return 0;
}

static uint16_t ram_compare(struct emul *emul, const struct nvme_sqe *sqe,
			    const struct extent *extent, const struct iovec *iov, unsigned n)
{
	const uint8_t *media = emul->media.ram + extent->offset;

	if (emul_bad_any(&emul->bad, extent->first, extent->blocks))
		return NVME_SC_UNRECOVERED_READ;
	if (emul_blockwise(emul))
		return emul_metadata_io(emul, sqe, extent->offset, (uint32_t)extent->blocks, iov);
	for (unsigned i = 0; i < n; media += iov[i++].iov_len) {
		if (!emul_ram_equal(media, iov[i].iov_base, iov[i].iov_len))
			return NVME_SC_COMPARE_FAILURE;
	}
	return 0;
}

static uint16_t ram_transfer(struct emul *emul, const struct nvme_sqe *sqe,
			     const struct extent *extent, const struct iovec *iov, unsigned n)
{
	uint16_t status;

	if (sqe->opcode == NVME_IO_READ)
		return ram_read(emul, sqe, extent, iov, n);
	if (sqe->opcode == NVME_IO_COMPARE)
		return ram_compare(emul, sqe, extent, iov, n);
	change_begin(emul);
	status = ram_write(emul, sqe, extent, iov, n);
	change_end(emul);
	return status;
}

/* The command's place on the medium, and its memory. */
static uint16_t prepare(struct emul_sq *sq, const struct nvme_sqe *sqe, struct extent *extent,
			struct iovec *iov, unsigned *n)
{
	uint16_t status = command_extent(sq->emul, sqe, extent);
	size_t len;

	if (status)
		return status;
	len = emul_transfer_bytes(sq->emul, sqe, extent->blocks);
	if (len > sq->emul->options.mdts)
		return NVME_SC_INVALID_FIELD | NVME_STATUS_DNR;
	status = emul_prps(sq->emul, sqe, len, iov, n);
	if (!status)
		count_io(sq, sqe->opcode, extent->len);
	return status;
}

static uint16_t transfer(struct emul_sq *sq, const struct nvme_sqe *sqe)
{
	struct iovec iov[EMUL_MAX_IOVS + 1];
	struct emul_slot *slot;
	struct extent extent;
	unsigned n;
	uint16_t status = prepare(sq, sqe, &extent, iov, &n);

	if (status)
		return status;
	if (sq->emul->media.ram) {
		status = ram_transfer(sq->emul, sqe, &extent, iov, n);
		if (!status && sq->emul->media.dirty &&
		    (sqe->opcode == NVME_IO_WRITE || is_fua(sqe)))
			emul_cache_wrote(&sq->emul->media, extent.offset, extent.len, is_fua(sqe));
		return status;
	}
	if (sqe->opcode == NVME_IO_READ &&
	    emul_mapping_read(&sq->emul->media.mapping, extent.offset, extent.len, iov, n))
		return 0;
	slot = emul_slot_take(sq, sqe);
	memcpy(slot->iov, iov, n * sizeof(iov[0]));
	slot->n_iov = n;
	slot->offset = extent.offset;
	slot->left = extent.len;
	slot->fua = is_fua(sqe);
	emul_uring_start(slot);
	return EMUL_PENDING;
}

/* --- Without data ----------------------------------------------------------------------------- */

static void ram_deallocate(struct emul *emul, const struct extent *extent)
{
	change_begin(emul);
	emul_media_deallocate(&emul->media, extent->offset, extent->len);
	emul_bad_clear(&emul->bad, extent->first, extent->blocks);
	change_end(emul);
}

static uint16_t write_zeroes(struct emul_sq *sq, const struct nvme_sqe *sqe)
{
	struct emul *emul = sq->emul;
	struct emul_slot *slot;
	struct extent extent;
	uint16_t status = command_extent(emul, sqe, &extent);

	if (status)
		return status;
	if (emul->options.wzsl && extent.len > (uint64_t)NVME_PAGE_SIZE << emul->options.wzsl)
		return NVME_SC_INVALID_FIELD | NVME_STATUS_DNR;
	if (emul->options.pi && (le32_get(sqe->cdw12) & NVME_IO_PRACT))
		return ram_transfer(emul, sqe, &extent, NULL, 0);
	if (emul->media.ram) {
		ram_deallocate(emul, &extent);
		if (emul->media.dirty && is_fua(sqe))
			emul_cache_wrote(&emul->media, extent.offset, extent.len, true);
		return 0;
	}
	slot = emul_slot_take(sq, sqe);
	slot->fua = is_fua(sqe);
	slot->offset = extent.offset;
	slot->left = extent.len;
	emul_uring_start(slot);
	return EMUL_PENDING;
}

static uint16_t write_uncorrectable(struct emul_sq *sq, const struct nvme_sqe *sqe)
{
	struct emul *emul = sq->emul;
	struct extent extent;
	uint16_t status;

	if (!emul->media.ram)
		return NVME_SC_INVALID_OPCODE | NVME_STATUS_DNR;
	status = command_extent(emul, sqe, &extent);
	if (status)
		return status;
	change_begin(emul);
	emul_bad_mark(&emul->bad, extent.first, extent.blocks);
	change_end(emul);
	return 0;
}

static uint16_t flush(struct emul_sq *sq, const struct nvme_sqe *sqe)
{
	struct emul_slot *slot;

	if (sq->emul->media.dirty)
		emul_cache_flush(&sq->emul->media);
	if (sq->emul->media.ram || sq->emul->media.in_memory)
		return 0; /* there is nothing more durable to flush to */
	slot = emul_slot_take(sq, sqe);
	emul_uring_start(slot);
	return EMUL_PENDING;
}

static uint16_t verify(struct emul_sq *sq, const struct nvme_sqe *sqe)
{
	struct emul *emul = sq->emul;
	struct emul_slot *slot;
	struct extent extent;
	uint16_t status = command_extent(emul, sqe, &extent);

	if (status)
		return status;
	if (!emul->media.ram) {
		slot = emul_slot_take(sq, sqe);
		slot->fua = is_fua(sqe);
		slot->offset = extent.offset;
		slot->left = extent.len;
		emul_uring_start(slot);
		return EMUL_PENDING;
	}
	if (emul_bad_any(&emul->bad, extent.first, extent.blocks))
		return NVME_SC_UNRECOVERED_READ;
	if (emul->media.dirty && is_fua(sqe))
		emul_cache_wrote(&emul->media, extent.offset, extent.len, true);
	if (!emul->options.pi)
		return 0; /* nothing to verify */
	return emul_metadata_io(emul, sqe, extent.offset, (uint32_t)extent.blocks, NULL);
}

/* --- With a list of ranges -------------------------------------------------------------------- */

/* Copies the list out of the driver's memory, which may change. */
static uint16_t fetch_list(const struct emul *emul, const struct nvme_sqe *sqe, void *list,
			   size_t len)
{
	struct iovec iov[4];
	unsigned n;
	size_t at = 0;
	uint16_t status = emul_prps(emul, sqe, len, iov, &n);

	for (unsigned i = 0; !status && i < n; at += iov[i++].iov_len)
		memcpy((uint8_t *)list + at, iov[i].iov_base, iov[i].iov_len);
	return status;
}

/* A slot's iovecs carry the ranges: base is the offset, length the length. */
static void slot_ranges(struct emul_slot *slot, const struct extent *extents, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		slot->iov[i] = (struct iovec){ .iov_base = (void *)(uintptr_t)extents[i].offset,
					       .iov_len = extents[i].len };
	slot->n_ranges = n;
	slot->offset = extents[0].offset;
	slot->left = extents[0].len;
}

/* Blocks of a range that are looked at: what is beyond the limits is not, and nobody is told (NVM
 * Command Set 3.2.3.1). */
static uint32_t dsm_blocks(const struct emul_options *options, unsigned range, uint32_t nlb,
			   uint64_t before)
{
	if (options->dmrl && range >= options->dmrl)
		return 0;
	if (options->dmrsl)
		nlb = num_min(nlb, options->dmrsl);
	if (options->dmsl)
		nlb = num_min(nlb, (uint32_t)(options->dmsl - num_min(before, options->dmsl)));
	return nlb;
}

/* All ranges are checked before the first is touched. */
static uint16_t dsm(struct emul_sq *sq, const struct nvme_sqe *sqe)
{
	struct emul *emul = sq->emul;
	struct nvme_dsm_range ranges[256] = { 0 };
	unsigned n_ranges = (le32_get(sqe->cdw10) & 0xff) + 1, n = 0;
	struct extent extents[256];
	struct emul_slot *slot;
	uint64_t total = 0;
	uint16_t status = fetch_list(emul, sqe, ranges, n_ranges * sizeof(ranges[0]));

	if (status)
		return status;
	for (unsigned i = 0; i < n_ranges; i++) {
		uint32_t blocks = dsm_blocks(&emul->options, i, le32_get(ranges[i].nlb), total);

		status = extent_of(emul, sqe, le64_get(ranges[i].slba), blocks, &extents[n]);
		if (status)
			return status;
		total += blocks;
		n += extents[n].blocks != 0;
	}
	if (!(le32_get(sqe->cdw11) & NVME_DSM_AD) || !n)
		return 0; /* hints on access: nothing to do with them */
	if (emul->media.ram) {
		for (unsigned i = 0; i < n; i++)
			ram_deallocate(emul, &extents[i]);
		return 0;
	}
	slot = emul_slot_take(sq, sqe);
	slot_ranges(slot, extents, n);
	emul_uring_start(slot);
	return EMUL_PENDING;
}

/* The source ranges and where they go; everything within its limits. */
static uint16_t copy_extents(const struct emul *emul, const struct nvme_sqe *sqe,
			     struct extent *extents, unsigned n, struct extent *to)
{
	struct nvme_copy_range ranges[EMUL_COPY_RANGES] = { 0 };
	uint64_t total = 0;
	uint16_t status = fetch_list(emul, sqe, ranges, n * sizeof(ranges[0]));

	for (unsigned i = 0; !status && i < n; i++) {
		uint32_t blocks = le16_get(ranges[i].nlb) + 1u;

		total += blocks;
		if (blocks > EMUL_COPY_RANGE_BLOCKS || total > EMUL_COPY_BLOCKS)
			return NVME_SC_SIZE_LIMIT | NVME_STATUS_DNR;
		status = extent_of(emul, sqe, le64_get(ranges[i].slba), blocks, &extents[i]);
	}
	return status ? status : extent_of(emul, sqe, nvme_slba(sqe), total, to);
}

static uint16_t ram_copy(struct emul *emul, const struct extent *from, unsigned n, struct extent to,
			 bool fua)
{
	for (unsigned i = 0; i < n; i++) {
		if (emul_bad_any(&emul->bad, from[i].first, from[i].blocks))
			return NVME_SC_UNRECOVERED_READ;
	}
	change_begin(emul);
	emul_bad_clear(&emul->bad, to.first, to.blocks);
	for (unsigned i = 0; i < n; to.offset += from[i++].len)
		memmove(emul->media.ram + to.offset, emul->media.ram + from[i].offset, from[i].len);
	if (emul->media.dirty)
		emul_cache_wrote(&emul->media, to.offset - to.len, to.len, fua);
	change_end(emul);
	return 0;
}

static uint16_t copy(struct emul_sq *sq, const struct nvme_sqe *sqe)
{
	struct emul *emul = sq->emul;
	uint32_t cdw12 = le32_get(sqe->cdw12);
	unsigned n = (cdw12 & 0xff) + 1;
	struct extent from[EMUL_COPY_RANGES], to;
	struct emul_slot *slot;
	uint16_t status;

	if (NVME_COPY_FORMAT(cdw12) != 0)
		return NVME_SC_INVALID_FIELD | NVME_STATUS_DNR;
	if (n > EMUL_COPY_RANGES)
		return NVME_SC_SIZE_LIMIT | NVME_STATUS_DNR;
	status = copy_extents(emul, sqe, from, n, &to);
	if (status)
		return status;
	if (emul->media.ram)
		return ram_copy(emul, from, n, to, is_fua(sqe));
	slot = emul_slot_take(sq, sqe);
	slot->fua = is_fua(sqe);
	slot_ranges(slot, from, n);
	slot->copy_to = to.offset;
	emul_uring_start(slot);
	return EMUL_PENDING;
}

/* --- Commands --------------------------------------------------------------------------------- */

static bool same_blocks(const struct nvme_sqe *one, const struct nvme_sqe *two)
{
	return le32_get(one->nsid) == le32_get(two->nsid) && nvme_slba(one) == nvme_slba(two) &&
	       (le32_get(one->cdw12) & 0xffff) == (le32_get(two->cdw12) & 0xffff);
}

void emul_compare_and_write(struct emul_sq *sq, const struct nvme_sqe *compare,
			    const struct nvme_sqe *write, uint16_t *ret_compare,
			    uint16_t *ret_write)
{
	struct iovec iov[2][EMUL_MAX_IOVS + 1];
	struct extent extent;
	unsigned n[2];

	*ret_compare = NVME_SC_INVALID_FIELD | NVME_STATUS_DNR;
	*ret_write = NVME_SC_INVALID_FIELD | NVME_STATUS_DNR;
	if (!sq->emul->options.fused || compare->opcode != NVME_IO_COMPARE ||
	    write->opcode != NVME_IO_WRITE || !same_blocks(compare, write) ||
	    !emul_has_ns(sq->emul, le32_get(compare->nsid)))
		return;
	*ret_write = NVME_SC_ABORTED_FUSED_FAILED;
	*ret_compare = prepare(sq, compare, &extent, iov[0], &n[0]);
	if (*ret_compare)
		return;
	*ret_write = prepare(sq, write, &extent, iov[1], &n[1]);
	*ret_compare = NVME_SC_ABORTED_FUSED_FAILED;
	if (*ret_write)
		return;
	change_begin(sq->emul);
	*ret_compare = ram_compare(sq->emul, compare, &extent, iov[0], n[0]);
	*ret_write = *ret_compare ? NVME_SC_ABORTED_FUSED_FAILED
				  : ram_write(sq->emul, write, &extent, iov[1], n[1]);
	if (*ret_write && !*ret_compare)
		*ret_compare = NVME_SC_ABORTED_FUSED_FAILED;
	change_end(sq->emul);
}

/* The medium, as far as the CPU copies from it or to it for such a command; or NULL. */
static const uint8_t *copied(const struct emul_media *media, uint8_t opcode, uint64_t *ret_len)
{
	bool read = opcode == NVME_IO_READ;

	*ret_len = media->ram ? media->size : media->mapping.len;
	if (media->ram)
		return read || opcode == NVME_IO_WRITE ? media->ram : NULL;
	return read ? media->mapping.base : NULL;
}

void emul_io_expect(const struct emul_sq *sq, const struct nvme_sqe *sqe)
{
	const struct emul *emul = sq->emul;
	struct extent extent;
	uint64_t len;
	const uint8_t *medium = copied(&emul->media, sqe->opcode, &len);

	if (!medium || le32_get(sqe->nsid) - 1 >= emul->options.namespaces ||
	    command_extent(emul, sqe, &extent) || extent.offset + extent.len > len)
		return;
	if (extent.len > EXPECT_BYTES)
		extent.len = EXPECT_BYTES;
#pragma GCC unroll 8
	for (uint64_t at = 0; at < extent.len; at += CACHE_LINE)
		__builtin_prefetch(medium + extent.offset + at, 0, L2_CACHE);
}

uint16_t emul_io(struct emul_sq *sq, const struct nvme_sqe *sqe)
{
	if (NVME_SQE_PSDT(sqe->flags) != NVME_PSDT_PRP)
		return NVME_SC_INVALID_FIELD | NVME_STATUS_DNR;
	if (sqe->opcode == NVME_IO_FLUSH && le32_get(sqe->nsid) == NVME_NSID_ALL)
		return flush(sq, sqe);
	if (!emul_has_ns(sq->emul, le32_get(sqe->nsid)))
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
	case NVME_IO_WRITE_UNCORRECTABLE:
		return write_uncorrectable(sq, sqe);
	case NVME_IO_DSM:
		return dsm(sq, sqe);
	case NVME_IO_VERIFY:
		return verify(sq, sqe);
	case NVME_IO_COPY:
		return copy(sq, sqe);
	default:
		return NVME_SC_INVALID_OPCODE | NVME_STATUS_DNR;
	}
}
