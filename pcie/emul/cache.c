/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A medium with a volatile write cache that can be seen to be one (cache=1): what is written stays
 * in a private mapping of the file until a Flush, or FUA, or an orderly shutdown takes it over to a
 * shared one. A process that is killed, or a device that is pulled, loses the rest, as a power
 * failure would. Workers make no system call for it. For tests: it is safe from the end of the
 * process, not of the machine.
 *
 * Any worker may write while another flushes: a page's mark is taken away before the page is
 * written back, and set after it was changed. Who brings something to the file does so alone: a
 * flush that finds no mark must not end before the one that took it, nor may a page that was read
 * before a write with FUA be written behind it.
 */
#include "pcie/emul/cache.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pcie/emul/media.h"
#include "pcie/nvme.h"
#include "util/log.h"
#include "util/num.h"

#define PAGES_PER_WORD 64

static pthread_mutex_t file_lock = PTHREAD_MUTEX_INITIALIZER; /* of any such medium: for tests */

static size_t n_words(const struct emul_media *media)
{
	size_t pages = (media->size + NVME_PAGE_SIZE - 1) / NVME_PAGE_SIZE;

	return (pages + PAGES_PER_WORD - 1) / PAGES_PER_WORD;
}

int emul_cache_open(struct emul_media *media)
{
	media->dirty = calloc(n_words(media), sizeof(media->dirty[0]));
	if (!media->dirty)
		return -ENOMEM;
	media->backing = mmap(NULL, media->size, PROT_READ | PROT_WRITE, MAP_SHARED, media->fd, 0);
	if (media->backing == MAP_FAILED) {
		media->backing = NULL;
		return -errno;
	}
	media->ram = mmap(NULL, media->size, PROT_READ | PROT_WRITE, MAP_PRIVATE, media->fd, 0);
	if (media->ram == MAP_FAILED) {
		media->ram = NULL;
		return -errno;
	}
	return 0;
}

static void write_back(struct emul_media *media, uint64_t offset, uint64_t len)
{
	memcpy(media->backing + offset, media->ram + offset, num_min(len, media->size - offset));
}

static void mark(struct emul_media *media, uint64_t page)
{
	__atomic_fetch_or(&media->dirty[page / PAGES_PER_WORD],
			  UINT64_C(1) << (page % PAGES_PER_WORD), __ATOMIC_SEQ_CST);
}

void emul_cache_wrote(struct emul_media *media, uint64_t offset, uint64_t len, bool fua)
{
	if (fua) {
		pthread_mutex_lock(&file_lock);
		write_back(media, offset, len);
		pthread_mutex_unlock(&file_lock);
		return;
	}
	for (uint64_t page = offset / NVME_PAGE_SIZE; len && page * NVME_PAGE_SIZE < offset + len;
	     page++)
		mark(media, page);
}

void emul_cache_flush(struct emul_media *media)
{
	pthread_mutex_lock(&file_lock);
	for (size_t word = 0; word < n_words(media); word++) {
		uint64_t bits = __atomic_exchange_n(&media->dirty[word], 0, __ATOMIC_SEQ_CST);

		for (unsigned bit = 0; bits && bit < PAGES_PER_WORD; bit++) {
			if (bits >> bit & 1)
				write_back(media, (word * PAGES_PER_WORD + bit) * NVME_PAGE_SIZE,
					   NVME_PAGE_SIZE);
		}
	}
	pthread_mutex_unlock(&file_lock);
}

void emul_cache_drop(struct emul_media *media)
{
	memset(media->dirty, 0, n_words(media) * sizeof(media->dirty[0]));
	if (madvise(media->ram, media->size, MADV_DONTNEED) < 0)
		log_err("emulated SSD: its cache cannot be dropped: %s", strerror(errno));
}

void emul_cache_close(struct emul_media *media)
{
	if (media->backing)
		munmap(media->backing, media->size);
	media->backing = NULL;
	free(media->dirty);
	media->dirty = NULL;
}
