/* SPDX-License-Identifier: BSD-3-Clause */
/* Blocks that cannot be read, counted over all namespaces. Any thread marks and clears. */
#ifndef NVMETD_PCIE_EMUL_BAD_H
#define NVMETD_PCIE_EMUL_BAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct emul_bad {
	_Atomic uint64_t *words; /* one bit a block; NULL: the medium does not have this */
	size_t bytes;
	_Atomic uint64_t n; /* bits that are set */
};

/* 0 or -ENOMEM (logged). Main thread, as is the end. */
int emul_bad_init(struct emul_bad *bad, uint64_t blocks);
void emul_bad_fini(struct emul_bad *bad);
bool emul_bad_any(const struct emul_bad *bad, uint64_t first, uint64_t n);
void emul_bad_mark(struct emul_bad *bad, uint64_t first, uint64_t n);
void emul_bad_clear(struct emul_bad *bad, uint64_t first, uint64_t n);

#endif
