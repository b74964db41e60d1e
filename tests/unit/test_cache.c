/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The medium with a volatile cache (cache=1), used by two at once: what has been flushed, or
 * written with FUA, is in the file when that has ended, whatever another one flushes meanwhile.
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pcie/emul/cache.h"
#include "pcie/emul/emul.h"
#include "pcie/emul/media.h"
#include "pcie/nvme.h"

#define PAGE   4096u
#define SIZE   (64 * PAGE) /* the pages of one word of marks */
#define ROUNDS 500u
#define SPINS  2000u

static struct emul_media media;
static atomic_uint round_no, rounds_done;

static void *other(void *arg)
{
	(void)arg;
	for (unsigned i = 1; i <= ROUNDS; i++) {
		while (atomic_load(&round_no) < i)
			sched_yield();
		emul_cache_flush(&media);
		atomic_store(&rounds_done, i);
	}
	return NULL;
}

static void flushed_by_two(void **state)
{
	struct emul_options options = { .lba_shift = 9, .cache = true, .size = SIZE };
	int fd = memfd_create("medium", MFD_CLOEXEC);
	pthread_t thread;

	(void)state;
	snprintf(options.file, sizeof(options.file), "/proc/self/fd/%d", fd);
	assert_int_equal(emul_media_open(&options, &media), 0);
	assert_int_equal(pthread_create(&thread, NULL, other, NULL), 0);
	for (unsigned i = 1; i <= ROUNDS; i++) {
		memset(media.ram, (int)i, SIZE);
		emul_cache_wrote(&media, 0, SIZE, false);
		atomic_store(&round_no, i);
		/* Until the other one is about it. */
		for (unsigned n = 0; __atomic_load_n(&media.dirty[0], __ATOMIC_SEQ_CST); n++) {
			if (n > SPINS)
				sched_yield();
		}
		emul_cache_flush(&media);
		for (unsigned at = SIZE; at > 0; at -= PAGE) /* the last one first */
			assert_memory_equal(media.backing + at - PAGE, media.ram + at - PAGE, PAGE);
		while (atomic_load(&rounds_done) < i)
			sched_yield();
	}
	pthread_join(thread, NULL);
	emul_media_close(&media);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(flushed_by_two) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
