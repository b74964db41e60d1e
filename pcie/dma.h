/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DMA memory: one memfd-backed arena, mapped into every SSD's IOMMU domain once and at the same
 * IOVA, cut into pools of which each belongs to one thread, which hand out runs of 4 KiB pages.
 *
 * A run is contiguous both for the CPU and for the SSD, so it is one iovec and its PRPs are a
 * count. Pools are buddy allocators over 2 MiB blocks: taking and giving back touches no other
 * thread, makes no system call and costs at most ten list operations. A request that does not fit
 * now waits for pages (its owner queues it); it never fails for lack of them.
 */
#ifndef NVMETD_PCIE_DMA_H
#define NVMETD_PCIE_DMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/counter.h"

#define DMA_PAGE_SIZE  4096u
#define DMA_PAGE_SHIFT 12
#define DMA_BLOCK_SIZE (2u << 20)          /* largest run; pools are multiples of it */
#define DMA_IOVA_BASE  (UINT64_C(1) << 32) /* clear of the MSI window and of low reserved ranges */

struct pcie_device;

/* A run of pages. Travels whole: address for the CPU, for the SSD, and its length in bytes. */
struct dma_buf {
	void *va; /* NULL: no run */
	uint64_t iova;
	size_t len; /* multiple of DMA_PAGE_SIZE, but for what is lent (transport/inbox.h) */
};

struct dma_arena; /* the memory */
struct dma_pool;  /* one thread's share of it */

/*
 * Allocates the arena. `size` is rounded up to DMA_BLOCK_SIZE. Huge pages are used when the kernel
 * has free ones (transparently, by madvise) and never required. 0 or -errno.
 */
int dma_arena_new(size_t size, struct dma_arena **ret_arena);
/* All pools are freed first. */
void dma_arena_free(struct dma_arena *arena);
/* Maps or unmaps the whole arena for a device. 0 or -errno (logged by the provider). */
int dma_arena_map(struct dma_arena *arena, struct pcie_device *dev);
int dma_arena_unmap(struct dma_arena *arena, struct pcie_device *dev);

/* Cuts `size` bytes (rounded up to DMA_BLOCK_SIZE) off the arena, as one run that is never given
 * back. 0, or -ENOMEM when the arena has less left. */
int dma_arena_cut(struct dma_arena *arena, size_t size, struct dma_buf *buf);

/* The same as a pool, for one thread: 0 or -ENOMEM. Pools are made at start and freed together with
 * the arena. */
int dma_pool_new(struct dma_arena *arena, size_t size, struct dma_pool **ret_pool);
void dma_pool_free(struct dma_pool *pool);

/*
 * Takes a run of at least `len` bytes (1 .. DMA_BLOCK_SIZE, rounded up to whole pages). False when
 * no such run is free now; *buf is then untouched. The content is what it was: callers that show
 * memory to a peer clear it, or overwrite all they show.
 */
bool dma_alloc(struct dma_pool *pool, size_t len, struct dma_buf *buf);
/* Gives a run back and sets buf->va to NULL. A buf without a run is left alone. */
void dma_free(struct dma_pool *pool, struct dma_buf *buf);

/* Pages handed out, and pages in all. Readable from any thread. */
uint64_t dma_pool_used(const struct dma_pool *pool);
uint64_t dma_pool_total(const struct dma_pool *pool);

#endif
