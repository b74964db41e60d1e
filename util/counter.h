/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Counters with one writer and any number of readers.
 *
 * The writer's thread owns the counter, so adding is a plain load and store: no locked instruction,
 * no shared cache line ping-pong on the I/O path. Readers on other threads see a recent value,
 * never a torn one.
 */
#ifndef NVMETD_UTIL_COUNTER_H
#define NVMETD_UTIL_COUNTER_H

#include <stdatomic.h>
#include <stdint.h>

struct counter {
	_Atomic uint64_t value;
};

static inline uint64_t counter_get(const struct counter *c)
{
	return atomic_load_explicit(&c->value, memory_order_relaxed);
}
static inline void counter_add(struct counter *c, uint64_t n)
{
	atomic_store_explicit(&c->value, counter_get(c) + n, memory_order_relaxed);
}
static inline void counter_sub(struct counter *c, uint64_t n)
{
	atomic_store_explicit(&c->value, counter_get(c) - n, memory_order_relaxed);
}

#endif
