/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a Deallocate takes from an SSD in memory is what it names, whatever the size of the
 * machine's pages: each is tried on a kernel that is played here.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pcie/emul/media.h"
#include "util/check.h"
#include "util/num.h"

#define BLOCK 512u
#define SIZE  (1u << 20)

static uint8_t ram[SIZE];
static size_t page_size, given_back;

long __wrap_sysconf(int name);
int __wrap_madvise(void *at, size_t len, int advice);

long __wrap_sysconf(int name)
{
	assert_int_equal(name, _SC_PAGESIZE);
	return (long)page_size;
}

/* As Linux does: the beginning must be a page's, the end is rounded up to one. */
int __wrap_madvise(void *at, size_t len, int advice)
{
	size_t first = (size_t)((uint8_t *)at - ram);

	assert_int_equal(advice, MADV_DONTNEED);
	if (first % page_size) {
		errno = EINVAL;
		return -1;
	}
	len = num_min(num_round_up(len, page_size), SIZE - first);
	memset(at, 0, len);
	given_back += len;
	return 0;
}

static void deallocate(size_t offset, size_t len)
{
	struct emul_media media = { .ram = ram, .size = SIZE };

	memset(ram, 0xa5, SIZE);
	emul_media_deallocate(&media, offset, len);
	for (size_t i = 0; i < SIZE; i++) {
		uint8_t expected = i - offset < len ? 0 : 0xa5;

		if (ram[i] != expected)
			fail_msg("pages of %zu bytes, [%zu, %zu): byte %zu is %02x", page_size,
				 offset, offset + len, i, ram[i]);
	}
}

static void no_more_than_was_named(void **state)
{
	static const size_t sizes[] = { 4096, 16384, 65536 };
	static const size_t places[] = { 0, BLOCK, 4096, 3 * 4096, 65536, 65536 + BLOCK };
	static const size_t lens[] = { BLOCK, 4096, 5 * BLOCK, 65536, 65536 + 4096, 389 * BLOCK };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		page_size = sizes[i];
		for (size_t at = 0; at < ARRAY_SIZE(places); at++) {
			for (size_t len = 0; len < ARRAY_SIZE(lens); len++)
				deallocate(places[at], lens[len]);
		}
	}
}

static void whole_pages_go_back(void **state)
{
	(void)state;
	page_size = 65536;
	given_back = 0;
	deallocate(65536 - BLOCK, 3 * 65536);
	assert_int_equal(given_back, 2 * 65536);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_more_than_was_named),
		cmocka_unit_test(whole_pages_go_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
