/* SPDX-License-Identifier: BSD-3-Clause */
/* Numbers, wire integers, histograms, texts. */
#include "tests/unit/unit.h"

#include <errno.h>

#include "util/check.h"
#include "util/hist.h"
#include "util/le.h"
#include "util/num.h"
#include "util/utf8.h"

static void sizes(void **state)
{
	uint64_t v = 7;

	(void)state;
	assert_int_equal(num_parse_size("4K", 0, UINT64_MAX, &v), 0);
	assert_int_equal(v, 4096);
	assert_int_equal(num_parse_size("16777215T", 0, UINT64_MAX, &v), 0);
	assert_int_equal(num_parse_size("16777216T", 0, UINT64_MAX, &v), -ERANGE);
	assert_int_equal(num_parse_size("99999999999999999999", 0, UINT64_MAX, &v), -ERANGE);
	assert_int_equal(num_parse_size("5", 6, 10, &v), -ERANGE);
	assert_int_equal(num_parse_size("", 0, 10, &v), -EINVAL);
	assert_int_equal(num_parse_size("-1", 0, 10, &v), -EINVAL);
	assert_int_equal(num_parse_size("1k", 0, UINT64_MAX, &v), -EINVAL);
	assert_int_equal(num_parse_size("1 K", 0, UINT64_MAX, &v), -EINVAL);
	assert_int_equal(num_parse_u64("0x10", 0, 100, &v), -EINVAL);
}

static void texts(void **state)
{
	char text[NUM_TEXT_SIZE];

	(void)state;
	num_format_size(0, text);
	assert_string_equal(text, "0");
	num_format_size(1536, text);
	assert_string_equal(text, "1536");
	num_format_size(UINT64_C(5) << 40, text);
	assert_string_equal(text, "5T");
	num_format_size(UINT64_MAX, text);
	assert_string_equal(text, "18446744073709551615");
	num_format_duration_ms(1500, text);
	assert_string_equal(text, "1500ms");
	num_format_duration_ms(90000, text);
	assert_string_equal(text, "90s");
	num_format_duration_ms(600000, text);
	assert_string_equal(text, "10m");
}

static void durations(void **state)
{
	uint64_t v;

	(void)state;
	assert_int_equal(num_parse_duration_ms("2m", 0, UINT64_MAX, &v), 0);
	assert_int_equal(v, 120000);
	assert_int_equal(num_parse_duration_ms("0", 0, 10, &v), 0);
	assert_int_equal(v, 0);
	assert_int_equal(num_parse_duration_ms("10", 0, 100, &v), -EINVAL);
	assert_int_equal(num_parse_duration_ms("1500ms", 0, 1000, &v), -ERANGE);
}

static void arithmetic(void **state)
{
	(void)state;
	assert_int_equal(num_log2_up(0), 0);
	assert_int_equal(num_log2_up(1), 0);
	assert_int_equal(num_log2_up(4096), 12);
	assert_int_equal(num_log2_up(4097), 13);
	assert_int_equal(num_round_up(4097, 4096), 8192);
	assert_false(num_is_pow2(0));
	assert_true(num_is_pow2(UINT64_C(1) << 63));
}

static void wire_order(void **state)
{
	const uint8_t bytes[] = { 0x01, 0x02, 0x03, 0x04, 0x05 };
	uint8_t out[4];

	(void)state;
	assert_int_equal(le32_load(bytes + 1), 0x05040302);
	le32_store(out, 0x0a0b0c0d);
	assert_int_equal(out[0], 0x0d);
	assert_int_equal(le16_get(le16_set(0xbeef)), 0xbeef);
}

/* Every value is in a bucket that holds it, to one part in sixteen, and buckets touch. */
static void histogram_buckets(void **state)
{
	uint64_t from = 0;

	(void)state;
	for (unsigned i = 0; i < HIST_BUCKETS; i++) {
		uint64_t above = hist_above(i);

		assert_true(above > from && (above - from) * HIST_SUB <= num_max(from, HIST_SUB));
		assert_int_equal(hist_index(from), i);
		assert_int_equal(hist_index(above - 1), i);
		from = above;
	}
	assert_int_equal(from, HIST_VALUE_MAX + 1);
	assert_int_equal(hist_index(UINT64_MAX), HIST_BUCKETS - 1);
}

static void histogram_percentiles(void **state)
{
	static struct hist hist, twice;

	(void)state;
	assert_int_equal(hist_percentile(&hist, 0.5), 0);
	for (uint64_t us = 1; us <= 1000; us++)
		hist_add(&hist, us * 1000, 1);
	assert_int_equal(hist_count(&hist), 1000);
	assert_int_equal(counter_get(&hist.sum), 500500000);
	assert_in_range(hist_percentile(&hist, 0.5), 470000, 530000);
	assert_in_range(hist_percentile(&hist, 0.99), 930000, 1050000);
	assert_int_equal(hist_count_below(&hist, 1 << 18), 262);
	hist_merge(&twice, &hist);
	hist_merge(&twice, &hist);
	hist_add(&twice, 7, 3);
	assert_int_equal(hist_count(&twice), 2003);
	assert_int_equal(hist_percentile(&twice, 0.001), 7);
}

static void utf8(void **state)
{
	static const struct {
		const char *text;
		size_t len, expected;
	} cases[] = {
		{ "a", 1, 1 },
		{ "\xc3\xa9", 2, 2 },
		{ "\xe2\x82\xac", 3, 3 },
		{ "\xf0\x9f\x98\x80", 4, 4 },
		{ "\xf4\x8f\xbf\xbf", 4, 4 },
		{ "\xc2\xa0", 2, 2 },
		{ "\xe0\xa0\x80", 3, 3 },     /* the least of three */
		{ "\xf0\x90\x80\x80", 4, 4 }, /* the least of four */
		{ "\xed\x9f\xbf", 3, 3 },     /* next to the surrogates */
		{ "\xee\x80\x80", 3, 3 },
		{ "", 0, 0 },
		{ "\x1b", 1, 0 },
		{ "\x7f", 1, 0 },
		{ "\xc2\x9b", 2, 0 },         /* CSI */
		{ "\x9b", 1, 0 },             /* a continuation alone */
		{ "\xff", 1, 0 },             /* never a first byte */
		{ "\xc3", 1, 0 },             /* cut */
		{ "\xe2\x82", 2, 0 },         /* cut */
		{ "\xc3x", 2, 0 },            /* no continuation */
		{ "\xc0\xaf", 2, 0 },         /* overlong */
		{ "\xe0\x80\xaf", 3, 0 },     /* overlong */
		{ "\xf0\x80\x80\xaf", 4, 0 }, /* overlong */
		{ "\xed\xa0\x80", 3, 0 },     /* surrogate */
		{ "\xf4\x90\x80\x80", 4, 0 }, /* beyond the last */
		{ "\xe2\x80\xa8", 3, 0 },     /* a line ends */
		{ "\xe2\x80\xae", 3, 0 },     /* what follows goes to the left */
		{ "\xe2\x81\xa9", 3, 0 },     /* and back */
		{ "\xe2\x80\xaf", 3, 3 },     /* a narrow space */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(utf8_char(cases[i].text, cases[i].len), cases[i].expected);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes),
		cmocka_unit_test(texts),
		cmocka_unit_test(durations),
		cmocka_unit_test(arithmetic),
		cmocka_unit_test(wire_order),
		cmocka_unit_test(histogram_buckets),
		cmocka_unit_test(histogram_percentiles),
		cmocka_unit_test(utf8),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
