/* SPDX-License-Identifier: BSD-3-Clause */
/* PRP entries; see prp.h. */
#include "pcie/prp.h"

#include "util/check.h"

void prp_build(struct nvme_sqe *sqe, uint64_t iova, size_t len, le64 *list, uint64_t list_iova)
{
	size_t pages = len ? prp_pages(iova & (NVME_PAGE_SIZE - 1), len) : 0;
	uint64_t first = iova & ~(uint64_t)(NVME_PAGE_SIZE - 1);

	must((iova & (sizeof(le32) - 1)) == 0);
	sqe->prp1 = le64_set(pages ? iova : 0);
	sqe->prp2 = le64_set(0);
	if (pages <= 1)
		return;
	if (pages == 2) {
		sqe->prp2 = le64_set(first + NVME_PAGE_SIZE);
		return;
	}
	for (size_t i = 1; i < pages; i++)
		list[i - 1] = le64_set(first + i * NVME_PAGE_SIZE);
	sqe->prp2 = le64_set(list_iova);
}
