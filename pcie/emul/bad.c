/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Blocks that Write Uncorrectable has made unreadable, until they are written again. In memory, and
 * therefore only for a medium that lives as long: a file would forget them at the next start.
 *
 * Queues mark and clear from their own threads, so the words are atomic. While no block is marked,
 * which is always but in tests, nobody pays more than a look at the counter.
 */
#include "pcie/emul/bad.h"

#include <errno.h>
#include <sys/mman.h>

#include "pcie/emul/words.h"
#include "util/log.h"

int emul_bad_init(struct emul_bad *bad, uint64_t blocks)
{
	bad->bytes = (size_t)(blocks / EMUL_WORD_BITS + 1) * sizeof(bad->words[0]);
	bad->words = mmap(NULL, bad->bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (bad->words != MAP_FAILED)
		return 0;
	bad->words = NULL;
	log_err("emulated SSD: no address space for the marks of %llu blocks",
		(unsigned long long)blocks);
	return -ENOMEM;
}

void emul_bad_fini(struct emul_bad *bad)
{
	if (bad->words)
		munmap(bad->words, bad->bytes);
	bad->words = NULL;
}

bool emul_bad_any(const struct emul_bad *bad, uint64_t first, uint64_t n)
{
	if (atomic_load_explicit(&bad->n, memory_order_relaxed) == 0)
		return false;
	while (n) {
		const _Atomic uint64_t *word = &bad->words[first / EMUL_WORD_BITS];

		if (atomic_load(word) & emul_take_word(&first, &n))
			return true;
	}
	return false;
}

void emul_bad_mark(struct emul_bad *bad, uint64_t first, uint64_t n)
{
	while (n) {
		_Atomic uint64_t *word = &bad->words[first / EMUL_WORD_BITS];
		uint64_t bits = emul_take_word(&first, &n), before = atomic_fetch_or(word, bits);

		atomic_fetch_add(&bad->n, (uint64_t)__builtin_popcountll(bits & ~before));
	}
}

void emul_bad_clear(struct emul_bad *bad, uint64_t first, uint64_t n)
{
	if (atomic_load_explicit(&bad->n, memory_order_relaxed) == 0)
		return;
	while (n) {
		_Atomic uint64_t *word = &bad->words[first / EMUL_WORD_BITS];
		uint64_t bits = emul_take_word(&first, &n), before = atomic_fetch_and(word, ~bits);

		atomic_fetch_sub(&bad->n, (uint64_t)__builtin_popcountll(bits & before));
	}
}
