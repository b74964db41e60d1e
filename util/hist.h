/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Log-linear histograms of times: sixteen buckets for each power of two, so that a value is known
 * to one part in sixteen whatever its size, and adding one costs a few instructions.
 *
 * One writer, any number of readers (util/counter.h). A reader never sees half a bucket, but it
 * does not see all buckets at one instant: values may be added between its first look and its last.
 */
#ifndef NVMETD_UTIL_HIST_H
#define NVMETD_UTIL_HIST_H

#include <stdint.h>

#include "util/counter.h"

#define HIST_SUB_BITS  4
#define HIST_SUB       (1u << HIST_SUB_BITS)
#define HIST_VALUE_MAX ((UINT64_C(1) << 36) - 1) /* ns: 68 s; more counts as that */
#define HIST_BUCKETS   ((36 - HIST_SUB_BITS + 1) * HIST_SUB)

struct hist {
	struct counter sum; /* ns */
	struct counter buckets[HIST_BUCKETS];
};

/* The bucket that a value belongs to. */
static inline unsigned hist_index(uint64_t ns)
{
	unsigned shift;

	if (ns < HIST_SUB)
		return (unsigned)ns;
	if (ns > HIST_VALUE_MAX)
		ns = HIST_VALUE_MAX;
	shift = 63u - (unsigned)__builtin_clzll(ns) - HIST_SUB_BITS;
	return (shift << HIST_SUB_BITS) + (unsigned)(ns >> shift);
}

/* `n` values at once: what one wake-up finished took the same time. */
static inline void hist_add(struct hist *hist, uint64_t ns, uint64_t n)
{
	if (ns) /* a stage that took no time is frequent */
		counter_add(&hist->sum, ns * n);
	counter_add(&hist->buckets[hist_index(ns)], n);
}

/* The smallest value above bucket `index`, which is below HIST_BUCKETS. */
uint64_t hist_above(unsigned index);
/* How many values there are. */
uint64_t hist_count(const struct hist *hist);
/* How many of them are below `ns`, a bound of a bucket; any other counts as the next one down. */
uint64_t hist_count_below(const struct hist *hist, uint64_t ns);
/* The value that `part` (0 .. 1) of them do not exceed: the middle of its bucket. 0: none. */
uint64_t hist_percentile(const struct hist *hist, double part);
/* Adds the values of `from`; the caller is the writer of `to`. */
void hist_merge(struct hist *to, const struct hist *from);

#endif
