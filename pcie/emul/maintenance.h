/* SPDX-License-Identifier: BSD-3-Clause */
/* Commands for the SSD as a whole, and their log pages. Main thread. */
#ifndef NVMETD_PCIE_EMUL_MAINTENANCE_H
#define NVMETD_PCIE_EMUL_MAINTENANCE_H

#include <stddef.h>
#include <stdint.h>

struct emul;
struct nvme_sqe;

/* Each gives a status. */
uint16_t emul_format(struct emul *emul, const struct nvme_sqe *sqe);
uint16_t emul_sanitize(struct emul *emul, const struct nvme_sqe *sqe);
uint16_t emul_firmware(struct emul *emul, const struct nvme_sqe *sqe);
uint16_t emul_security(struct emul *emul, const struct nvme_sqe *sqe);
uint16_t emul_self_test(struct emul *emul, const struct nvme_sqe *sqe);
uint16_t emul_vendor(struct emul *emul, const struct nvme_sqe *sqe, uint32_t *ret_dw0);
/* log2 of the block size of a format; 0: there is none of this index. */
unsigned emul_format_shift(const struct emul *emul, unsigned index);
/* Log pages, in a buffer of at least 4096 zeroes; the size of the page. */
size_t emul_log_self_test(const struct emul *emul, uint8_t *log);
size_t emul_log_sanitize(const struct emul *emul, uint8_t *log);
size_t emul_log_telemetry(uint8_t lid, uint8_t *log);

#endif
