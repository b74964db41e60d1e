/* SPDX-License-Identifier: BSD-3-Clause */
/* Bitmaps that are worked on a word at a time. */
#ifndef NVMETD_PCIE_EMUL_WORDS_H
#define NVMETD_PCIE_EMUL_WORDS_H

#include <stdint.h>

#include "util/num.h"

/* The bits of one word that belong to [*first, *first + *n); both move on by what it covers. */
#define EMUL_WORD_BITS 64
static inline uint64_t emul_take_word(uint64_t *first, uint64_t *n)
{
	unsigned shift = *first % EMUL_WORD_BITS;
	uint64_t part = num_min(*n, (uint64_t)(EMUL_WORD_BITS - shift));
	uint64_t bits = part == EMUL_WORD_BITS ? UINT64_MAX : (UINT64_C(1) << part) - 1;

	*first += part;
	*n -= part;
	return bits << shift;
}

#endif
