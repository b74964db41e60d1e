/* SPDX-License-Identifier: BSD-3-Clause */
/* Admin commands. Main thread. */
#ifndef NVMETD_PCIE_EMUL_ADMIN_H
#define NVMETD_PCIE_EMUL_ADMIN_H

#include <stddef.h>
#include <stdint.h>

struct emul;
struct nvme_sqe;

/* Copies `len` bytes of an answer from `offset` on to the command's PRPs; beyond `size`
 * are zeroes. */
uint16_t emul_answer(const struct emul *emul, const struct nvme_sqe *sqe, const void *data,
		     size_t size, uint64_t offset, size_t len);

/* A status, or EMUL_PENDING. */
uint16_t emul_admin(struct emul *emul, const struct nvme_sqe *sqe, uint32_t *ret_dw0);

#endif
