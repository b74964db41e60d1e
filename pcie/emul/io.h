/* SPDX-License-Identifier: BSD-3-Clause */
/* I/O commands. The queue's owner. */
#ifndef NVMETD_PCIE_EMUL_IO_H
#define NVMETD_PCIE_EMUL_IO_H

#include <stdint.h>

struct emul_sq;
struct nvme_sqe;

/* Copy: source ranges, blocks of each, blocks of all (MSRC, MSSRL, MCL). */
#define EMUL_COPY_RANGES       16
#define EMUL_COPY_RANGE_BLOCKS 256
#define EMUL_COPY_BLOCKS       1024

/* A status, or EMUL_PENDING. */
uint16_t emul_io(struct emul_sq *sq, const struct nvme_sqe *sqe);
/* The command comes soon: what it reads or overwrites in memory may be on its way meanwhile. */
void emul_io_expect(const struct emul_sq *sq, const struct nvme_sqe *sqe);
/* A fused pair, as one operation (memory only). */
void emul_compare_and_write(struct emul_sq *sq, const struct nvme_sqe *compare,
			    const struct nvme_sqe *write, uint16_t *ret_compare,
			    uint16_t *ret_write);

#endif
