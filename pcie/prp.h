/* SPDX-License-Identifier: BSD-3-Clause */
/* PRP entries for a contiguous run of DMA memory (Base 4.1.1). Pure. */
#ifndef NVMETD_PCIE_PRP_H
#define NVMETD_PCIE_PRP_H

#include <stddef.h>
#include <stdint.h>

#include "pcie/nvme.h"

/* Bytes that a PRP list needs for transfers of up to `len` bytes from page-aligned memory. */
static inline size_t prp_list_bytes(size_t len)
{
	size_t pages = (len + NVME_PAGE_SIZE - 1) >> NVME_PAGE_SHIFT;

	return pages <= 2 ? 0 : (pages - 1) * sizeof(le64);
}

/*
 * Fills PRP1 and PRP2 of `sqe` for `len` bytes at `iova` (page-aligned, contiguous). `list`, at
 * `list_iova`, has room for prp_list_bytes(len) and lies within one page. len = 0 clears both.
 */
void prp_build(struct nvme_sqe *sqe, uint64_t iova, size_t len, le64 *list, uint64_t list_iova);

#endif
