/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Metadata and protection information of the emulated SSD, block by block; in memory only (NVM
 * Command Set 2.1.6, 5.2).
 *
 * A block's metadata lies behind it on the medium. With protection information it lies there
 * inverted: memory that nobody has written is then all ones, as it has to be in blocks that were
 * deallocated (nothing is checked in them).
 */
#include "pcie/emul/pi.h"

#include <string.h>

#include "pcie/emul/state.h"
#include "util/num.h"

#define MS_MAX     128
#define GUARD_POLY 0x8bb7

/* The first eight bytes of the metadata, high bytes first. */
struct pi {
	uint16_t guard, app;
	uint32_t ref;
};

/* The command's memory as one stream of bytes. */
struct cursor {
	const struct iovec *iov;
	size_t at;
};

struct blocks {
	struct emul *emul;
	const struct nvme_sqe *sqe;
	uint8_t *media;     /* first block */
	uint32_t n;         /* blocks */
	struct cursor data; /* and metadata, if that is not separate */
	uint8_t *metadata;  /* separate; NULL: none */
	bool with_metadata; /* it is transferred */
};

static void move(struct cursor *cursor, uint8_t *bytes, size_t len, bool to_host)
{
	while (len) {
		size_t part = num_min(len, cursor->iov->iov_len - cursor->at);
		uint8_t *place = (uint8_t *)cursor->iov->iov_base + cursor->at;

		memcpy(to_host ? place : bytes, to_host ? bytes : place, part);
		bytes += part;
		len -= part;
		cursor->at += part;
		if (cursor->at == cursor->iov->iov_len) {
			cursor->iov++;
			cursor->at = 0;
		}
	}
}

static uint16_t guard_of(const uint8_t *data, size_t len)
{
	uint16_t crc = 0;

	while (len--) {
		crc ^= (uint16_t)(*data++ << 8);
		for (unsigned bit = 0; bit < 8; bit++)
			crc = (uint16_t)(crc << 1 ^ (crc & 0x8000 ? GUARD_POLY : 0));
	}
	return crc;
}

static struct pi pi_get(const uint8_t *raw)
{
	return (struct pi){ .guard = (uint16_t)(raw[0] << 8 | raw[1]),
			    .app = (uint16_t)(raw[2] << 8 | raw[3]),
			    .ref = (uint32_t)raw[4] << 24 | (uint32_t)raw[5] << 16 |
				   (uint32_t)raw[6] << 8 | raw[7] };
}

static void pi_put(uint8_t *raw, struct pi pi)
{
	const uint8_t bytes[8] = { (uint8_t)(pi.guard >> 8), (uint8_t)pi.guard,
				   (uint8_t)(pi.app >> 8),   (uint8_t)pi.app,
				   (uint8_t)(pi.ref >> 24),  (uint8_t)(pi.ref >> 16),
				   (uint8_t)(pi.ref >> 8),   (uint8_t)pi.ref };

	memcpy(raw, bytes, sizeof(bytes));
}

static uint32_t ref_at(const struct blocks *blocks, uint32_t index)
{
	uint32_t first = le32_get(blocks->sqe->cdw14);

	return blocks->emul->options.pi == 3 ? first : first + index;
}

/* NVM Command Set 5.2.2: what PRCHK asks for, unless the application tag says not to. */
static uint16_t check(const struct blocks *blocks, uint32_t index, const uint8_t *block)
{
	size_t lba = (size_t)1 << blocks->emul->options.lba_shift;
	uint32_t prinfo = le32_get(blocks->sqe->cdw12), tags = le32_get(blocks->sqe->cdw15);
	struct pi pi = pi_get(block + lba);

	if (pi.app == 0xffff && (blocks->emul->options.pi != 3 || pi.ref == 0xffffffff))
		return 0;
	if ((prinfo & NVME_IO_PRCHK_GUARD) && pi.guard != guard_of(block, lba))
		return NVME_SC_GUARD_CHECK;
	if ((prinfo & NVME_IO_PRCHK_APP) && ((pi.app ^ tags) & tags >> 16 & 0xffff))
		return NVME_SC_APP_TAG_CHECK;
	if ((prinfo & NVME_IO_PRCHK_REF) && pi.ref != ref_at(blocks, index))
		return NVME_SC_REF_TAG_CHECK;
	return 0;
}

/* From the medium, metadata the right way round. */
static void load(const struct blocks *blocks, uint32_t index, uint8_t *block)
{
	const struct emul *emul = blocks->emul;
	size_t lba = (size_t)1 << emul->options.lba_shift;

	memcpy(block, blocks->media + (size_t)index * emul->block_bytes, emul->block_bytes);
	for (size_t i = lba; emul->options.pi && i < emul->block_bytes; i++)
		block[i] = (uint8_t)~block[i];
}

static void store(const struct blocks *blocks, uint32_t index, uint8_t *block)
{
	const struct emul *emul = blocks->emul;

	for (size_t i = (size_t)1 << emul->options.lba_shift;
	     emul->options.pi && i < emul->block_bytes; i++)
		block[i] = (uint8_t)~block[i];
	memcpy(blocks->media + (size_t)index * emul->block_bytes, block, emul->block_bytes);
}

/* A block as the host sends it; what it does not send is made. */
static void take(struct blocks *blocks, uint32_t index, uint8_t *block)
{
	const struct emul *emul = blocks->emul;
	size_t lba = (size_t)1 << emul->options.lba_shift, ms = emul->options.ms;

	memset(block + lba, 0, ms);
	if (blocks->data.iov)
		move(&blocks->data, block, lba, false);
	else
		memset(block, 0, lba);
	if (blocks->with_metadata && blocks->metadata)
		memcpy(block + lba, blocks->metadata + index * ms, ms);
	else if (blocks->with_metadata)
		move(&blocks->data, block + lba, ms, false);
	if (emul->options.pi && (le32_get(blocks->sqe->cdw12) & NVME_IO_PRACT))
		pi_put(block + lba, (struct pi){ .guard = guard_of(block, lba),
						 .app = (uint16_t)le32_get(blocks->sqe->cdw15),
						 .ref = ref_at(blocks, index) });
}

static uint16_t read_blocks(struct blocks *blocks)
{
	const struct emul *emul = blocks->emul;
	size_t lba = (size_t)1 << emul->options.lba_shift, ms = emul->options.ms;
	uint8_t block[NVME_PAGE_SIZE + MS_MAX];

	for (uint32_t i = 0; i < blocks->n; i++) {
		uint16_t status;

		load(blocks, i, block);
		status = emul->options.pi ? check(blocks, i, block) : 0;
		if (status)
			return status;
		if (blocks->data.iov)
			move(&blocks->data, block, lba, true);
		if (blocks->with_metadata && blocks->metadata)
			memcpy(blocks->metadata + i * ms, block + lba, ms);
		else if (blocks->with_metadata)
			move(&blocks->data, block + lba, ms, true);
	}
	return 0;
}

/* All is checked before the first block is written. */
static uint16_t write_blocks(struct blocks *blocks)
{
	struct cursor start = blocks->data;
	uint8_t block[NVME_PAGE_SIZE + MS_MAX];

	if (blocks->emul->options.pi && !(le32_get(blocks->sqe->cdw12) & NVME_IO_PRACT)) {
		for (uint32_t i = 0; i < blocks->n; i++) {
			uint16_t status;

			take(blocks, i, block);
			status = check(blocks, i, block);
			if (status)
				return status;
		}
		blocks->data = start;
	}
	for (uint32_t i = 0; i < blocks->n; i++) {
		take(blocks, i, block);
		store(blocks, i, block);
	}
	return 0;
}

static uint16_t compare_blocks(struct blocks *blocks)
{
	uint8_t block[NVME_PAGE_SIZE + MS_MAX], stored[NVME_PAGE_SIZE + MS_MAX];

	for (uint32_t i = 0; i < blocks->n; i++) {
		uint16_t status;

		load(blocks, i, stored);
		status = blocks->emul->options.pi ? check(blocks, i, stored) : 0;
		if (status)
			return status;
		take(blocks, i, block);
		if (memcmp(block, stored, blocks->emul->block_bytes) != 0)
			return NVME_SC_COMPARE_FAILURE;
	}
	return 0;
}

size_t emul_transfer_bytes(const struct emul *emul, const struct nvme_sqe *sqe, uint64_t blocks)
{
	bool made = emul->options.pi && emul->options.ms == sizeof(struct pi) &&
		    (le32_get(sqe->cdw12) & NVME_IO_PRACT);

	return blocks * (made || emul->options.separate ? UINT64_C(1) << emul->options.lba_shift
							: emul->block_bytes);
}

uint16_t emul_metadata_io(struct emul *emul, const struct nvme_sqe *sqe, uint64_t offset,
			  uint32_t n, const struct iovec *iov)
{
	uint32_t prinfo = le32_get(sqe->cdw12);
	struct blocks blocks = {
		.emul = emul, .sqe = sqe, .media = emul->media.ram + offset, .n = n, .data.iov = iov
	};
	bool pract = emul->options.pi && (prinfo & NVME_IO_PRACT);

	if (pract && (sqe->opcode == NVME_IO_COMPARE || sqe->opcode == NVME_IO_VERIFY))
		return NVME_SC_INVALID_PI | NVME_STATUS_DNR;
	if (emul->options.pi == 1 && (prinfo & NVME_IO_PRCHK_REF) &&
	    le32_get(sqe->cdw14) != le32_get(sqe->cdw10))
		return NVME_SC_INVALID_PI | NVME_STATUS_DNR;
	blocks.with_metadata = iov && !(pract && emul->options.ms == sizeof(struct pi));
	if (blocks.with_metadata && emul->options.separate) {
		blocks.metadata = emul_dma(emul, le64_get(sqe->mptr), (size_t)n * emul->options.ms);
		if (!blocks.metadata || (le64_get(sqe->mptr) & 3))
			return NVME_SC_INVALID_FIELD | NVME_STATUS_DNR;
	}
	if (sqe->opcode == NVME_IO_READ || sqe->opcode == NVME_IO_VERIFY)
		return read_blocks(&blocks);
	if (sqe->opcode == NVME_IO_COMPARE)
		return compare_blocks(&blocks);
	return write_blocks(&blocks);
}
