/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * When a file is used with O_DIRECT, and what that asks of the address of data: what the file
 * system says, whatever it says; and that data from there is taken by the one the tests run on.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "pcie/emul/emul.h"
#include "pcie/emul/media.h"
#include "pcie/nvme.h"

#define FILE_NAME "test_direct.medium"
#define SIZE      (256u << 10)
#define BLOCK     512u
#define LONGEST   (9 * BLOCK) /* more than a page */

/* What the file system says; NULL: what it says itself. */
static const struct statx *told;
static int told_errno;

int __real_statx(int fd, const char *path, int flags, unsigned mask, struct statx *ret);
int __wrap_statx(int fd, const char *path, int flags, unsigned mask, struct statx *ret);

int __wrap_statx(int fd, const char *path, int flags, unsigned mask, struct statx *ret)
{
	if (!told)
		return __real_statx(fd, path, flags, mask, ret);
	*ret = *told;
	errno = told_errno;
	return told_errno ? -1 : 0;
}

static struct emul_media media;

/* False: it is no file that O_DIRECT could be used with. */
static bool open_medium(unsigned lba_shift)
{
	struct emul_options options = { .lba_shift = lba_shift, .size = SIZE };

	snprintf(options.file, sizeof(options.file), FILE_NAME);
	assert_int_equal(emul_media_open(&options, &media), 0);
	unlink(FILE_NAME);
	return !media.in_memory;
}

static bool is_direct(void)
{
	return fcntl(media.fd, F_GETFL) & O_DIRECT;
}

static void as_it_says(void **state)
{
	static const struct {
		uint32_t mask, mem, offset;
		int err;
		bool direct;
		uint32_t align;
	} cases[] = {
		{ STATX_DIOALIGN, 512, 512, 0, true, 512 },
		{ STATX_DIOALIGN, 4, 512, 0, true, 4 },
		{ STATX_DIOALIGN, 1, 1, 0, true, 4 },
		{ STATX_DIOALIGN, 4096, 512, 0, true, 4096 },
		{ 0, 0, 0, 0, true, 4096 },
		{ 0, 0, 0, ENOSYS, true, 4096 },
		/* What cannot be had: none; other blocks; no page, or no size, at all. */
		{ STATX_DIOALIGN, 0, 0, 0, false, 4 },
		{ STATX_DIOALIGN, 512, 0, 0, false, 4 },
		{ STATX_DIOALIGN, 512, 4096, 0, false, 4 },
		{ STATX_DIOALIGN, 8192, 512, 0, false, 4 },
		{ STATX_DIOALIGN, 12, 512, 0, false, 4 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct statx stx = { .stx_mask = cases[i].mask,
					   .stx_dio_mem_align = cases[i].mem,
					   .stx_dio_offset_align = cases[i].offset };
		bool usable;

		told = &stx;
		told_errno = cases[i].err;
		usable = open_medium(9);
		told = NULL;
		if (!usable || (cases[i].direct && !is_direct())) {
			emul_media_close(&media);
			skip(); /* tmpfs, or a file system that does not know O_DIRECT */
		}
		assert_int_equal(is_direct(), cases[i].direct);
		assert_int_equal(media.data_align, cases[i].align);
		emul_media_close(&media);
	}
}

/* Wherever data may lie it is taken from, and put. */
static void as_promised(void **state)
{
	uint8_t *memory = aligned_alloc(NVME_PAGE_SIZE, 4 * NVME_PAGE_SIZE);
	uint8_t *back = memory + 2 * NVME_PAGE_SIZE;

	(void)state;
	assert_non_null(memory);
	open_medium(9);
	assert_in_range(media.data_align, 4, NVME_PAGE_SIZE);
	for (uint32_t at = 0; at < NVME_PAGE_SIZE; at += media.data_align) {
		const struct iovec from = { memory + at, LONGEST };
		const struct iovec to = { back + at, from.iov_len };

		for (size_t i = 0; i < from.iov_len; i++)
			memory[at + i] = (uint8_t)(at + i * 7 + i / 256);
		memset(to.iov_base, 0, to.iov_len);
		assert_int_equal(pwritev(media.fd, &from, 1, BLOCK), from.iov_len);
		assert_int_equal(preadv(media.fd, &to, 1, BLOCK), to.iov_len);
		assert_memory_equal(to.iov_base, from.iov_base, to.iov_len);
	}
	emul_media_close(&media);
	free(memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_it_says),
		cmocka_unit_test(as_promised),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
