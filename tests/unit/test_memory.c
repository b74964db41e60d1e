/* SPDX-License-Identifier: BSD-3-Clause */
/* DMA pools: runs never overlap, everything comes back together; PRP entries for any length. */
#include "tests/unit/unit.h"

#include "pcie/dma.h"
#include "pcie/prp.h"

#define POOL (8u << 20)

static struct dma_arena *arena;
static struct dma_pool *pool;

static int setup(void **state)
{
	(void)state;
	return dma_arena_new(POOL + 1, &arena) || dma_pool_new(arena, POOL, &pool);
}

static int teardown(void **state)
{
	(void)state;
	dma_pool_free(pool);
	dma_arena_free(arena);
	return 0;
}

static void arena_is_cut(void **state)
{
	struct dma_pool *second, *third;

	(void)state;
	assert_int_equal(dma_pool_new(arena, 1, &second), 0);
	assert_int_not_equal(dma_pool_new(arena, 1, &third), 0);
	dma_pool_free(second);
}

static void exact_runs(void **state)
{
	struct dma_buf buf = { 0 };

	(void)state;
	assert_true(dma_alloc(pool, 132u << 10, &buf));
	assert_int_equal(buf.len, 132u << 10);
	assert_int_equal(dma_pool_used(pool), 33);
	assert_int_equal(buf.iova & 4095, 0);
	dma_free(pool, &buf);
	assert_null(buf.va);
	dma_free(pool, &buf); /* nothing to do */
	assert_int_equal(dma_pool_used(pool), 0);
}

static void whole_pool(void **state)
{
	struct dma_buf bufs[POOL / DMA_BLOCK_SIZE], more;

	(void)state;
	for (unsigned i = 0; i < POOL / DMA_BLOCK_SIZE; i++)
		assert_true(dma_alloc(pool, DMA_BLOCK_SIZE, &bufs[i]));
	assert_false(dma_alloc(pool, 1, &more));
	for (unsigned i = 0; i < POOL / DMA_BLOCK_SIZE; i++)
		dma_free(pool, &bufs[i]);
	assert_int_equal(dma_pool_used(pool), 0);
}

/* Random runs of random sizes, each filled with its own number; at the end large runs are there
 * again. */
static void random_runs(void **state)
{
	enum { SLOTS = 200, ROUNDS = 50000 };
	struct dma_buf bufs[SLOTS] = { 0 };
	uint64_t pages = 0;

	(void)state;
	srandom(1);
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct dma_buf *buf = &bufs[random() % SLOTS];

		if (buf->va) {
			uint32_t number = (uint32_t)(buf - bufs);

			for (size_t at = 0; at < buf->len; at += DMA_PAGE_SIZE)
				assert_int_equal(*(uint32_t *)((char *)buf->va + at), number);
			pages -= buf->len / DMA_PAGE_SIZE;
			dma_free(pool, buf);
		} else if (dma_alloc(pool, 1 + (size_t)random() % (100u << 10), buf)) {
			for (size_t at = 0; at < buf->len; at += DMA_PAGE_SIZE)
				*(uint32_t *)((char *)buf->va + at) = (uint32_t)(buf - bufs);
			pages += buf->len / DMA_PAGE_SIZE;
		}
		assert_int_equal(dma_pool_used(pool), pages);
	}
	for (unsigned i = 0; i < SLOTS; i++)
		dma_free(pool, &bufs[i]);
	whole_pool(NULL);
}

/* What came back last goes out first, and small runs merge when a large one is wanted. */
static void kept_runs(void **state)
{
	enum { PAGES = POOL / DMA_PAGE_SIZE };
	static struct dma_buf bufs[PAGES];
	struct dma_buf large;
	void *last;

	(void)state;
	for (unsigned i = 0; i < PAGES; i++)
		assert_true(dma_alloc(pool, DMA_PAGE_SIZE, &bufs[i]));
	for (unsigned i = 0; i < PAGES; i += 2)
		dma_free(pool, &bufs[i]);
	assert_false(dma_alloc(pool, 2 * DMA_PAGE_SIZE, &large));
	last = bufs[1].va;
	dma_free(pool, &bufs[1]);
	assert_true(dma_alloc(pool, 1, &bufs[0]));
	assert_ptr_equal(bufs[0].va, last);
	dma_free(pool, &bufs[0]);
	assert_true(dma_alloc(pool, 2 * DMA_PAGE_SIZE, &large));
	dma_free(pool, &large);
	for (unsigned i = 0; i < PAGES; i++)
		dma_free(pool, &bufs[i]);
	whole_pool(NULL);
}

static void prp_lengths(void **state)
{
	le64 list[512];
	struct nvme_sqe sqe;

	(void)state;
	prp_build(&sqe, 0x10000, 0, list, 0x5000);
	assert_int_equal(le64_get(sqe.prp1), 0);
	prp_build(&sqe, 0x10000, 1, list, 0x5000);
	assert_int_equal(le64_get(sqe.prp1), 0x10000);
	assert_int_equal(le64_get(sqe.prp2), 0);
	prp_build(&sqe, 0x10000, 4097, list, 0x5000);
	assert_int_equal(le64_get(sqe.prp2), 0x11000);
	assert_int_equal(prp_list_bytes(4096), 0);
	assert_int_equal(prp_list_bytes(4097), 0);
	assert_int_equal(prp_list_bytes(4102), 16); /* 4 bytes, a page, and 2 */
	prp_build(&sqe, 0x10000, 8193, list, 0x5000);
	assert_int_equal(le64_get(sqe.prp2), 0x5000);
	assert_int_equal(le64_get(list[0]), 0x11000);
	assert_int_equal(le64_get(list[1]), 0x12000);
	assert_int_equal(prp_list_bytes(1u << 20), 256 * 8);
	prp_build(&sqe, 0x10000, 1u << 20, list, 0x5000);
	assert_int_equal(le64_get(list[254]), 0x10000 + 255 * 4096);
	assert_int_equal(le64_get(sqe.prp1), 0x10000);

	prp_build(&sqe, 0x10048, 4096, list, 0x5000);
	assert_int_equal(le64_get(sqe.prp1), 0x10048);
	assert_int_equal(le64_get(sqe.prp2), 0x11000);
	prp_build(&sqe, 0x10048, 4096 - 0x48, list, 0x5000);
	assert_int_equal(le64_get(sqe.prp2), 0);
	prp_build(&sqe, 0x10ffc, 8192, list, 0x5000);
	assert_int_equal(le64_get(sqe.prp1), 0x10ffc);
	assert_int_equal(le64_get(sqe.prp2), 0x5000);
	assert_int_equal(le64_get(list[0]), 0x11000);
	assert_int_equal(le64_get(list[1]), 0x12000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(arena_is_cut, setup, teardown),
		cmocka_unit_test_setup_teardown(exact_runs, setup, teardown),
		cmocka_unit_test_setup_teardown(whole_pool, setup, teardown),
		cmocka_unit_test_setup_teardown(random_runs, setup, teardown),
		cmocka_unit_test_setup_teardown(kept_runs, setup, teardown),
		cmocka_unit_test(prp_lengths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
