/* SPDX-License-Identifier: BSD-3-Clause */
/* Numbers, sizes and durations as texts; see num.h. */
#include "util/num.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "util/check.h"

/* Leading decimal digits of s; *ret_end is what follows them. */
static int parse_digits(const char *s, uint64_t *ret, const char **ret_end)
{
	uint64_t v = 0;

	if (*s < '0' || *s > '9')
		return -EINVAL;
	for (; *s >= '0' && *s <= '9'; s++) {
		if (num_mul_overflow(v, 10, &v) || num_add_overflow(v, (uint64_t)(*s - '0'), &v))
			return -ERANGE;
	}
	*ret = v;
	*ret_end = s;
	return 0;
}

struct num_unit {
	const char *suffix;
	uint64_t factor;
};

static int parse_with_unit(const char *s, const struct num_unit *units, size_t n_units,
			   uint64_t min, uint64_t max, uint64_t *ret)
{
	const char *suffix = NULL;
	uint64_t v = 0;
	int err = parse_digits(s, &v, &suffix);

	if (err)
		return err;
	for (size_t i = 0; i < n_units; i++) {
		if (strcmp(suffix, units[i].suffix) != 0 && !(v == 0 && *suffix == '\0'))
			continue;
		if (num_mul_overflow(v, units[i].factor, &v) || v < min || v > max)
			return -ERANGE;
		*ret = v;
		return 0;
	}
	return -EINVAL;
}

int num_parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret)
{
	static const struct num_unit units[] = { { "", 1 } };

	return parse_with_unit(s, units, ARRAY_SIZE(units), min, max, ret);
}

static const struct num_unit sizes[] = {
	{ "", 1 },
	{ "K", UINT64_C(1) << 10 },
	{ "M", UINT64_C(1) << 20 },
	{ "G", UINT64_C(1) << 30 },
	{ "T", UINT64_C(1) << 40 },
};
static const struct num_unit durations[] = { { "ms", 1 }, { "s", 1000 }, { "m", 60000 } };

int num_parse_size(const char *s, uint64_t min, uint64_t max, uint64_t *ret)
{
	return parse_with_unit(s, sizes, ARRAY_SIZE(sizes), min, max, ret);
}

int num_parse_duration_ms(const char *s, uint64_t min, uint64_t max, uint64_t *ret)
{
	return parse_with_unit(s, durations, ARRAY_SIZE(durations), min, max, ret);
}

/* In the largest unit of which v is a multiple. */
static void format_with_unit(uint64_t v, const struct num_unit *units, size_t n_units, char *text)
{
	size_t i = n_units - 1;

	while (i && (v == 0 || v % units[i].factor))
		i--;
	snprintf(text, NUM_TEXT_SIZE, "%llu%s", (unsigned long long)(v / units[i].factor),
		 units[i].suffix);
}

void num_format_size(uint64_t bytes, char text[static NUM_TEXT_SIZE])
{
	format_with_unit(bytes, sizes, ARRAY_SIZE(sizes), text);
}

void num_format_duration_ms(uint64_t ms, char text[static NUM_TEXT_SIZE])
{
	format_with_unit(ms, durations, ARRAY_SIZE(durations), text);
}
