/* SPDX-License-Identifier: BSD-3-Clause */
/* PRP entries; see prp.h. */
#include "pcie/prp.h"

#include "util/check.h"

void prp_build(struct nvme_sqe *sqe, uint64_t iova, size_t len, le64 *list, uint64_t list_iova)
{
	size_t pages = (len + NVME_PAGE_SIZE - 1) >> NVME_PAGE_SHIFT;

	must((iova & (NVME_PAGE_SIZE - 1)) == 0);
	sqe->prp1 = le64_set(pages ? iova : 0);
	sqe->prp2 = le64_set(0);
	if (pages <= 1)
		return;
	if (pages == 2) {
		sqe->prp2 = le64_set(iova + NVME_PAGE_SIZE);
		return;
	}
	for (size_t i = 1; i < pages; i++)
		list[i - 1] = le64_set(iova + i * NVME_PAGE_SIZE);
	sqe->prp2 = le64_set(list_iova);
}
