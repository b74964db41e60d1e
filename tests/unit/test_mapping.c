/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reads of a file on tmpfs through its mapping: the data are the file's, holes stay holes, and a
 * page that cannot be had is for preadv to read, instead of the end of the process, which any other
 * SIGBUS still is.
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pcie/emul/emul.h"
#include "pcie/emul/media.h"
#include "pcie/nvme.h"
#include "security/sandbox.h"
#include "util/check.h"

#define PAGE  4096u
#define PAGES 100u /* more than a word of bits, and no multiple of one */

static int fd; /* the file, from outside */
static struct emul_media media;
static uint8_t bytes[4 * PAGE];

static void reopen(void)
{
	struct emul_options options = { .lba_shift = 9 };

	emul_media_close(&media);
	snprintf(options.file, sizeof(options.file), "/proc/self/fd/%d", fd);
	assert_int_equal(emul_media_open(&options, &media), 0);
	assert_true(media.in_memory);
	assert_non_null(media.mapping.base);
	assert_int_equal(media.mapping.len, PAGES * PAGE);
}

static int setup(void **state)
{
	(void)state;
	fd = memfd_create("medium", MFD_CLOEXEC);
	media = (struct emul_media){ .fd = -1 };
	memset(bytes, 0, sizeof(bytes));
	return fd < 0 || ftruncate(fd, PAGES * PAGE) < 0;
}

static int teardown(void **state)
{
	(void)state;
	emul_media_close(&media);
	return close(fd);
}

/* That so many pages of the file have memory. Where the machine's are larger, neighbours have it,
 * too. */
static void check_memory(unsigned pages)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	if (sysconf(_SC_PAGESIZE) == PAGE || !pages)
		assert_int_equal(st.st_blocks, pages * PAGE / 512);
}

static void put(uint64_t offset, const char *text, size_t len)
{
	assert_int_equal(pwrite(fd, text, len, (off_t)offset), len);
}

/* Into `bytes`, in two parts that do not meet at a page's end. */
static bool map_read(uint64_t offset, size_t len)
{
	const struct iovec iov[] = { { bytes, 512 }, { bytes + 512, len - 512 } };

	return emul_mapping_read(&media.mapping, offset, len, iov, 2);
}

/* What uring.c does when it was refused. */
static ssize_t by_call(uint8_t opcode, uint64_t offset, size_t len)
{
	const struct iovec iov[] = { { bytes, 512 }, { bytes + 512, len - 512 } };
	ssize_t n = opcode == NVME_IO_READ ? preadv(media.fd, iov, 2, (off_t)offset)
					   : pwritev(media.fd, iov, 2, (off_t)offset);

	if (n > 0)
		emul_mapping_learn(&media.mapping, opcode, offset, iov, (size_t)n);
	return n;
}

static void holes_stay(void **state)
{
	(void)state;
	reopen();
	for (uint64_t offset = 0; offset < PAGES * PAGE; offset += PAGE) {
		assert_false(map_read(offset, PAGE));
		assert_int_equal(by_call(NVME_IO_READ, offset, PAGE), PAGE);
		assert_false(map_read(offset, PAGE));
	}
	check_memory(0);
}

static void written_is_known(void **state)
{
	(void)state;
	reopen();
	memset(bytes, 'a', sizeof(bytes));
	assert_int_equal(by_call(NVME_IO_WRITE, 63 * PAGE + 1024, 2 * PAGE), 2 * PAGE);
	memset(bytes, 'b', sizeof(bytes));
	assert_true(map_read(63 * PAGE, 3 * PAGE));
	assert_memory_equal(bytes, "\0\0\0\0", 4);
	assert_memory_equal(bytes + 1020, "\0\0\0\0aaaa", 8);
	assert_memory_equal(bytes + 2 * PAGE + 1020, "aaaa\0\0\0\0", 8);
	put(64 * PAGE, "cccc", 4); /* by others */
	assert_true(map_read(64 * PAGE, PAGE));
	assert_memory_equal(bytes, "ccccaaaa", 8);
	assert_false(map_read(62 * PAGE, 2 * PAGE));
	assert_false(map_read(65 * PAGE, 2 * PAGE));
}

/* Of what is read the pages with something in them become known, wherever it is. */
static void read_is_known(void **state)
{
	(void)state;
	reopen();
	put(10 * PAGE + PAGE - 1, "x", 1);
	put(12 * PAGE, "y", 1);
	assert_int_equal(by_call(NVME_IO_READ, 10 * PAGE - 512, 3 * PAGE + 1024), 3 * PAGE + 1024);
	assert_true(map_read(10 * PAGE, PAGE));
	assert_true(map_read(12 * PAGE, PAGE));
	assert_false(map_read(11 * PAGE, PAGE));
	assert_false(map_read(9 * PAGE, PAGE));
	assert_false(map_read(13 * PAGE, PAGE));
	check_memory(2);
}

static void whole_is_known(void **state)
{
	(void)state;
	for (uint64_t page = 0; page < PAGES; page++)
		put(page * PAGE, "", 1);
	reopen();
	assert_true(map_read(0, 4 * PAGE));
	assert_true(map_read((PAGES - 4) * PAGE, 4 * PAGE));
}

static void erased_is_not(void **state)
{
	(void)state;
	for (uint64_t page = 0; page < PAGES; page++)
		put(page * PAGE, "text", 4);
	reopen();
	assert_int_equal(emul_media_erase(&media, 3 * PAGE, 90 * PAGE), 0);
	check_memory(PAGES - 90);
	for (uint64_t page = 3; page < 93; page++)
		assert_false(map_read(page * PAGE, PAGE));
	assert_true(map_read(2 * PAGE, PAGE));
	assert_true(map_read(93 * PAGE, PAGE));
	check_memory(PAGES - 90);
}

/* What the file has beyond the mapping. */
static void tail(void **state)
{
	(void)state;
	assert_int_equal(ftruncate(fd, PAGES * PAGE + 1536), 0);
	for (uint64_t page = 0; page <= PAGES; page++)
		put(page * PAGE, "text", 4);
	reopen();
	assert_int_equal(media.size, PAGES * PAGE + 1536);
	assert_true(map_read((PAGES - 1) * PAGE, PAGE));
	assert_false(map_read((PAGES - 1) * PAGE, PAGE + 512));
	assert_false(map_read(PAGES * PAGE, 1024));
	assert_int_equal(by_call(NVME_IO_READ, (PAGES - 1) * PAGE, PAGE + 512), PAGE + 512);
	assert_false(map_read(UINT64_MAX - 511, 512 + 1));
}

static void cut_file(void **state)
{
	(void)state;
	for (uint64_t page = 0; page < PAGES; page++)
		put(page * PAGE, "text", 4);
	reopen();
	assert_int_equal(ftruncate(fd, 8 * PAGE), 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_false(map_read(7 * PAGE, 2 * PAGE));
		assert_int_equal(by_call(NVME_IO_READ, 7 * PAGE, 2 * PAGE), PAGE);
		assert_false(map_read((20 + i) * PAGE, PAGE));
		assert_true(map_read(7 * PAGE, PAGE));
		assert_memory_equal(bytes, "text", 4);
	}
	assert_int_equal(by_call(NVME_IO_WRITE, 20 * PAGE, PAGE), PAGE);
	assert_true(map_read(20 * PAGE, PAGE));
}

/* More than the address space: what there was of it is given back. */
static void too_large(void **state)
{
	struct emul_mapping mapping;

	(void)state;
	emul_mapping_open(&mapping, fd, UINT64_C(1) << 58);
	assert_null(mapping.base);
	assert_null(mapping.known);
	assert_false(emul_mapping_read(&mapping, 0, PAGE, &(struct iovec){ bytes, PAGE }, 1));
	emul_mapping_forget(&mapping, 0, UINT64_C(1) << 58);
	emul_mapping_close(&mapping);
}

/* --- Any other SIGBUS ------------------------------------------------------------------------- */

/* After a landing: it has left no pad behind. */
static void land(void)
{
	assert_int_equal(ftruncate(fd, 8 * PAGE), 0);
	assert_false(map_read(20 * PAGE, PAGE));
}

static void touch_same(void)
{
	land();
	(void)*(const volatile uint8_t *)(media.mapping.base + 20 * PAGE);
}

static void touch_other(void)
{
	volatile uint8_t *other = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 48 * PAGE);

	land();
	(void)other[0];
}

/* In the middle of a read: it is the host's memory that is not there. */
static void read_to_other(void)
{
	int cut = memfd_create("cut", MFD_CLOEXEC);
	struct iovec iov = { NULL, PAGE };

	iov.iov_base = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, cut, 0);
	emul_mapping_read(&media.mapping, 0, PAGE, &iov, 1);
}

static void touch_as_worker(void)
{
	assert_int_equal(sandbox_enter(SANDBOX_WORKER), 0);
	(void)*(const volatile uint8_t *)(media.mapping.base + 20 * PAGE);
}

static void land_as_worker(void)
{
	assert_int_equal(sandbox_enter(SANDBOX_WORKER), 0);
	assert_false(map_read(20 * PAGE, PAGE));
	_exit(0);
}

static void be_sent_one(void)
{
	land();
	kill(getpid(), SIGBUS);
}

/* The status of a child that does it. */
static int in_child(void (*what)(void))
{
	const struct rlimit none = { 0, 0 };
	int status;
	pid_t pid;

	for (uint64_t page = 0; page < PAGES; page++)
		put(page * PAGE, "text", 4);
	pid = fork();
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &none);
		signal(SIGBUS, SIG_DFL); /* the test program has its own, as it has for SIGABRT */
		signal(SIGABRT, SIG_DFL);
		reopen();
		if (what == touch_as_worker || what == land_as_worker)
			assert_int_equal(ftruncate(fd, 8 * PAGE), 0);
		what();
		_exit(77);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(ftruncate(fd, PAGES * PAGE), 0);
	return status;
}

static void others_kill(void **state)
{
	void (*const ways[])(void) = { touch_same, touch_other, read_to_other, touch_as_worker,
				       be_sent_one };

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(ways); i++) {
		int status = in_child(ways[i]);

		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), SIGBUS);
	}
}

static void lands_as_worker(void **state)
{
	(void)state;
	assert_int_equal(in_child(land_as_worker), 0);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(holes_stay),
		TEST(written_is_known),
		TEST(read_is_known),
		TEST(whole_is_known),
		TEST(tail),
		TEST(erased_is_not),
		TEST(cut_file),
		TEST(others_kill),
		TEST(lands_as_worker),
		TEST(too_large),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
