/* SPDX-License-Identifier: BSD-3-Clause */
/* Numbers, sizes and durations from and to texts; overflow-checked and rounding
 * arithmetic. Pure. */
#ifndef NVMETD_UTIL_NUM_H
#define NVMETD_UTIL_NUM_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Each parses the whole of `s` and returns 0, -EINVAL (not of that form) or -ERANGE (over the
 * type, or outside min..max). Nothing is written on error.
 */
int num_parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret);
/* Bytes: a decimal number with an optional K, M, G or T (powers of 1024): "512", "4K", "1G". */
int num_parse_size(const char *s, uint64_t min, uint64_t max, uint64_t *ret);
/* Milliseconds: a number with "ms" or "s" or "m" behind it: "500ms", "10s", "2m"; 0
 * needs no unit. */
int num_parse_duration_ms(const char *s, uint64_t min, uint64_t max, uint64_t *ret);

#define NUM_TEXT_SIZE 24
/* The shortest text that num_parse_size() or num_parse_duration_ms() makes the same number of. */
void num_format_size(uint64_t bytes, char text[static NUM_TEXT_SIZE]);
void num_format_duration_ms(uint64_t ms, char text[static NUM_TEXT_SIZE]);

/* True when a + b, or a * b, does not fit; *ret is then undefined. */
static inline bool num_add_overflow(uint64_t a, uint64_t b, uint64_t *ret)
{
	return __builtin_add_overflow(a, b, ret);
}
static inline bool num_mul_overflow(uint64_t a, uint64_t b, uint64_t *ret)
{
	return __builtin_mul_overflow(a, b, ret);
}

static inline bool num_is_pow2(uint64_t v)
{
	return v && !(v & (v - 1));
}
/* `to` is a power of two. */
static inline uint64_t num_round_up(uint64_t v, uint64_t to)
{
	return (v + to - 1) & ~(to - 1);
}
/* Smallest n with (1 << n) >= v; 0 for v <= 1. */
static inline unsigned num_log2_up(uint64_t v)
{
	return v <= 1 ? 0 : 64u - (unsigned)__builtin_clzll(v - 1);
}

#define num_min(a, b) ((a) < (b) ? (a) : (b))
#define num_max(a, b) ((a) > (b) ? (a) : (b))

#endif
