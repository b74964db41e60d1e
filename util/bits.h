/* SPDX-License-Identifier: BSD-3-Clause */
/* Sets of small numbers, a bit each, in an array of words. The caller knows that `n` fits. Pure. */
#ifndef NVMETD_UTIL_BITS_H
#define NVMETD_UTIL_BITS_H

#include <stdbool.h>
#include <stdint.h>

/* Words of a set of numbers from 0 to `max`. */
#define BITS_WORDS(max) ((max) / 64 + 1)

static inline bool bits_test(const uint64_t *words, unsigned n)
{
	return words[n / 64] >> (n % 64) & 1;
}
static inline void bits_set(uint64_t *words, unsigned n)
{
	words[n / 64] |= UINT64_C(1) << (n % 64);
}
static inline void bits_clear(uint64_t *words, unsigned n)
{
	words[n / 64] &= ~(UINT64_C(1) << (n % 64));
}

#endif
