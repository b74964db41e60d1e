/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DMA memory; see dma.h. A pool is a buddy allocator: a free run of 2^order pages is naturally
 * aligned, splits into two of the order below, and merges with its buddy when both are free. A run
 * of any number of pages is the covering power of two with its tail given back.
 *
 * Runs of a power of two are kept as they are when they come back, up to a bound, and handed out
 * again, the last one first: I/O is mostly of one size, and those pages are still in the cache.
 * They merge when nothing else satisfies a request.
 *
 * What the allocator knows of a page lies in an array beside the memory, never in the pages: the
 * SSD may write to a page at any time that it owns it.
 */
#include "pcie/dma.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <unistd.h>

#include "pcie/device.h"
#include "util/check.h"
#include "util/log.h"
#include "util/num.h"
#include "util/poison.h"

#define ORDERS   (21 - DMA_PAGE_SHIFT + 1) /* 4 KiB .. 2 MiB */
#define KEPT_MAX 1024                      /* pages that are not merged at once */

struct dma_arena {
	int fd;
	uint8_t *va;
	size_t size;
	size_t used; /* by pools */
};

/* One a page. Only the first page of a free run is linked. */
struct dma_page {
	LIST_ENTRY(dma_page) link;
	uint8_t order; /* of the free run that starts here */
	bool free;     /* a free run starts here */
};

struct dma_pool {
	uint8_t *va;
	uint64_t iova;
	size_t n_pages;
	struct counter used;
	LIST_HEAD(, dma_page) free[ORDERS];
	LIST_HEAD(, dma_page) kept[ORDERS]; /* free, but not for merging */
	size_t n_kept;                      /* pages */
	struct dma_page pages[];
};

int dma_arena_new(size_t size, struct dma_arena **ret_arena)
{
	struct dma_arena *arena = calloc(1, sizeof(*arena));
	int err;

	if (!arena)
		return -ENOMEM;
	arena->size = num_round_up(size, DMA_BLOCK_SIZE);
	arena->fd = memfd_create("nvmetd-dma", MFD_CLOEXEC);
	if (arena->fd < 0 || ftruncate(arena->fd, (off_t)arena->size) < 0) {
		err = -errno;
		goto fail;
	}
	arena->va = mmap(NULL, arena->size, PROT_READ | PROT_WRITE, MAP_SHARED, arena->fd, 0);
	if (arena->va == MAP_FAILED) {
		err = -errno;
		arena->va = NULL;
		goto fail;
	}
	(void)madvise(arena->va, arena->size, MADV_HUGEPAGE); /* a wish, no more */
	(void)madvise(arena->va, arena->size, MADV_DONTFORK);
	/* Now, so that no page fault is left for the I/O path, and after the wish, so that huge
	 * pages can still come of it. Kernels before 5.14 do not know it. */
	if (madvise(arena->va, arena->size, MADV_POPULATE_WRITE) < 0) {
		if (errno != EINVAL) {
			err = -errno;
			goto fail;
		}
		memset(arena->va, 0, arena->size);
	}
	*ret_arena = arena;
	return 0;

fail:
	log_err("no DMA memory of %zu MiB: %s", arena->size >> 20, strerror(-err));
	dma_arena_free(arena);
	return err;
}

void dma_arena_free(struct dma_arena *arena)
{
	if (!arena)
		return;
	if (arena->va) {
		memory_unpoison(arena->va, arena->size);
		munmap(arena->va, arena->size);
	}
	if (arena->fd >= 0)
		close(arena->fd);
	free(arena);
}

int dma_arena_map(struct dma_arena *arena, struct pcie_device *dev)
{
	if (DMA_IOVA_BASE + arena->size - 1 > dev->iova_max) {
		log_err("%s: its IOMMU reaches only to %llx, the DMA memory needs %llx: use less "
			"of it",
			dev->name, (unsigned long long)dev->iova_max,
			(unsigned long long)(DMA_IOVA_BASE + arena->size - 1));
		return -ERANGE;
	}
	return dev->ops->map_dma(dev, arena->va, DMA_IOVA_BASE, arena->size);
}

int dma_arena_unmap(struct dma_arena *arena, struct pcie_device *dev)
{
	return dev->ops->unmap_dma(dev, DMA_IOVA_BASE, arena->size);
}

int dma_arena_cut(struct dma_arena *arena, size_t size, struct dma_buf *buf)
{
	size_t bytes = num_round_up(size, DMA_BLOCK_SIZE);

	if (bytes > arena->size - arena->used)
		return -ENOMEM;
	*buf = (struct dma_buf){
		.va = arena->va + arena->used,
		.iova = DMA_IOVA_BASE + arena->used,
		.len = bytes,
	};
	arena->used += bytes;
	return 0;
}

static void run_insert(struct dma_pool *pool, size_t index, unsigned order)
{
	struct dma_page *page = &pool->pages[index];

	page->free = true;
	page->order = (uint8_t)order;
	LIST_INSERT_HEAD(&pool->free[order], page, link);
}

static void run_remove(struct dma_page *page)
{
	page->free = false;
	LIST_REMOVE(page, link);
}

int dma_pool_new(struct dma_arena *arena, size_t size, struct dma_pool **ret_pool)
{
	size_t n_pages = num_round_up(size, DMA_BLOCK_SIZE) >> DMA_PAGE_SHIFT;
	struct dma_pool *pool = calloc(1, sizeof(*pool) + n_pages * sizeof(pool->pages[0]));
	struct dma_buf mem;
	int err = pool ? dma_arena_cut(arena, size, &mem) : -ENOMEM;

	if (err) {
		free(pool);
		return err;
	}
	pool->va = mem.va;
	pool->iova = mem.iova;
	pool->n_pages = n_pages;
	memory_poison(pool->va, mem.len);
	for (size_t i = n_pages; i > 0; i -= DMA_BLOCK_SIZE >> DMA_PAGE_SHIFT)
		run_insert(pool, i - (DMA_BLOCK_SIZE >> DMA_PAGE_SHIFT), ORDERS - 1);
	*ret_pool = pool;
	return 0;
}

void dma_pool_free(struct dma_pool *pool)
{
	free(pool);
}

/* Gives back pages [index, index + 2^order), merging upwards. */
static void run_free(struct dma_pool *pool, size_t index, unsigned order)
{
	while (order < ORDERS - 1) {
		struct dma_page *buddy = &pool->pages[index ^ ((size_t)1 << order)];

		if (!buddy->free || buddy->order != order)
			break;
		run_remove(buddy);
		index &= ~((size_t)1 << order);
		order++;
	}
	must(!pool->pages[index].free);
	run_insert(pool, index, order);
}

/* Gives back any range of pages, as the largest aligned runs it is made of. */
static void range_free(struct dma_pool *pool, size_t index, size_t n_pages)
{
	while (n_pages) {
		unsigned order = index ? (unsigned)__builtin_ctzl(index) : ORDERS - 1;

		order = num_min(order, (unsigned)ORDERS - 1);
		while ((size_t)1 << order > n_pages)
			order--;
		run_free(pool, index, order);
		index += (size_t)1 << order;
		n_pages -= (size_t)1 << order;
	}
}

static void keep(struct dma_pool *pool, size_t index, size_t n_pages)
{
	LIST_INSERT_HEAD(&pool->kept[num_log2_up(n_pages)], &pool->pages[index], link);
	pool->n_kept += n_pages;
}

/* A kept run of exactly that many pages, which is often there. */
static bool take_kept(struct dma_pool *pool, size_t n_pages, size_t *ret_index)
{
	unsigned order = num_log2_up(n_pages);
	struct dma_page *page = LIST_FIRST(&pool->kept[order]);

	if (!page || n_pages != (size_t)1 << order)
		return false;
	LIST_REMOVE(page, link);
	pool->n_kept -= n_pages;
	*ret_index = (size_t)(page - pool->pages);
	return true;
}

static void merge_kept(struct dma_pool *pool)
{
	for (unsigned order = 0; order < ORDERS; order++) {
		struct dma_page *page;

		while ((page = LIST_FIRST(&pool->kept[order])) != NULL) {
			LIST_REMOVE(page, link);
			run_free(pool, (size_t)(page - pool->pages), order);
		}
	}
	pool->n_kept = 0;
}

static bool take_run(struct dma_pool *pool, size_t n_pages, size_t *ret_index)
{
	unsigned wanted = num_log2_up(n_pages), order = wanted;
	size_t index;

	while (order < ORDERS && LIST_EMPTY(&pool->free[order]))
		order++;
	if (order == ORDERS)
		return false;
	index = (size_t)(LIST_FIRST(&pool->free[order]) - pool->pages);
	run_remove(&pool->pages[index]);
	while (order > wanted) {
		order--;
		run_insert(pool, index + ((size_t)1 << order), order);
	}
	range_free(pool, index + n_pages, ((size_t)1 << wanted) - n_pages);
	*ret_index = index;
	return true;
}

bool dma_alloc(struct dma_pool *pool, size_t len, struct dma_buf *buf)
{
	size_t n_pages = (len + DMA_PAGE_SIZE - 1) >> DMA_PAGE_SHIFT;
	size_t index;

	must(len > 0 && len <= DMA_BLOCK_SIZE);
	if (!take_kept(pool, n_pages, &index) && !take_run(pool, n_pages, &index)) {
		if (!pool->n_kept)
			return false;
		merge_kept(pool);
		if (!take_run(pool, n_pages, &index))
			return false;
	}
	counter_add(&pool->used, n_pages);
	memory_unpoison(pool->va + (index << DMA_PAGE_SHIFT), n_pages << DMA_PAGE_SHIFT);
	*buf = (struct dma_buf){
		.va = pool->va + (index << DMA_PAGE_SHIFT),
		.iova = pool->iova + (index << DMA_PAGE_SHIFT),
		.len = n_pages << DMA_PAGE_SHIFT,
	};
	return true;
}

void dma_free(struct dma_pool *pool, struct dma_buf *buf)
{
	size_t index, n_pages = buf->len >> DMA_PAGE_SHIFT;

	if (!buf->va)
		return;
	must((uint8_t *)buf->va >= pool->va);
	index = (size_t)((uint8_t *)buf->va - pool->va) >> DMA_PAGE_SHIFT;
	must(index + n_pages <= pool->n_pages);
	memory_poison(buf->va, n_pages << DMA_PAGE_SHIFT);
	if (num_is_pow2(n_pages) && pool->n_kept + n_pages <= KEPT_MAX)
		keep(pool, index, n_pages);
	else
		range_free(pool, index, n_pages);
	counter_sub(&pool->used, n_pages);
	buf->va = NULL;
}

uint64_t dma_pool_used(const struct dma_pool *pool)
{
	return counter_get(&pool->used);
}

uint64_t dma_pool_total(const struct dma_pool *pool)
{
	return pool->n_pages;
}
