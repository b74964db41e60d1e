/* SPDX-License-Identifier: BSD-3-Clause */
/* PRP entries for a contiguous run of DMA memory (Base 4.1.1). Pure. */
#ifndef NVMETD_PCIE_PRP_H
#define NVMETD_PCIE_PRP_H

#include <stddef.h>
#include <stdint.h>

#include "pcie/nvme.h"

/* Pages that `len` bytes at `offset` in the first of them are on. */
static inline size_t prp_pages(size_t offset, size_t len)
{
	return (offset + len + NVME_PAGE_SIZE - 1) >> NVME_PAGE_SHIFT;
}

/* Bytes that a PRP list needs for transfers of up to `len` bytes from any dword-aligned address. */
static inline size_t prp_list_bytes(size_t len)
{
	size_t pages = prp_pages(NVME_PAGE_SIZE - sizeof(le32), len);

	return pages <= 2 ? 0 : (pages - 1) * sizeof(le64);
}

/*
 * Fills PRP1 and PRP2 of `sqe` for `len` bytes at `iova` (dword-aligned, contiguous). `list`, at
 * `list_iova`, has room for prp_list_bytes(len) and lies within one page. len = 0 clears both.
 */
void prp_build(struct nvme_sqe *sqe, uint64_t iova, size_t len, le64 *list, uint64_t list_iova);

#endif
