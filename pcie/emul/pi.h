/* SPDX-License-Identifier: BSD-3-Clause */
/* Blocks with separate metadata or protection information. The queue's owner. */
#ifndef NVMETD_PCIE_EMUL_PI_H
#define NVMETD_PCIE_EMUL_PI_H

#include <stddef.h>
#include <stdint.h>

struct emul;
struct iovec;
struct nvme_sqe;

/* Bytes of the data buffer. */
size_t emul_transfer_bytes(const struct emul *emul, const struct nvme_sqe *sqe, uint64_t blocks);
/* Read, Write, Compare, Verify and Write Zeroes of `n` blocks at `offset`; `iov` NULL:
 * without data. */
uint16_t emul_metadata_io(struct emul *emul, const struct nvme_sqe *sqe, uint64_t offset,
			  uint32_t n, const struct iovec *iov);

#endif
