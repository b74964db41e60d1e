/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading histograms; see hist.h. */
#include "util/hist.h"

/* The smallest value of a bucket. */
static uint64_t bucket_from(unsigned index)
{
	unsigned shift;

	if (index < 2 * HIST_SUB)
		return index;
	shift = (index >> HIST_SUB_BITS) - 1;
	return (uint64_t)(index - (shift << HIST_SUB_BITS)) << shift;
}

uint64_t hist_above(unsigned index)
{
	return bucket_from(index + 1);
}

uint64_t hist_count_below(const struct hist *hist, uint64_t ns)
{
	uint64_t count = 0;

	for (unsigned i = 0; i < HIST_BUCKETS && hist_above(i) <= ns; i++)
		count += counter_get(&hist->buckets[i]);
	return count;
}

uint64_t hist_count(const struct hist *hist)
{
	return hist_count_below(hist, UINT64_MAX);
}

uint64_t hist_percentile(const struct hist *hist, double part)
{
	double exact = (double)hist_count(hist) * part;
	uint64_t seen = 0, wanted = (uint64_t)exact;

	if ((double)wanted < exact)
		wanted++;

	for (unsigned i = 0; i < HIST_BUCKETS; i++) {
		uint64_t here = counter_get(&hist->buckets[i]);

		seen += here;
		if (here && seen >= wanted)
			return (bucket_from(i) + hist_above(i)) / 2;
	}
	return 0;
}

void hist_merge(struct hist *to, const struct hist *from)
{
	counter_add(&to->sum, counter_get(&from->sum));
	for (unsigned i = 0; i < HIST_BUCKETS; i++)
		counter_add(&to->buckets[i], counter_get(&from->buckets[i]));
}
