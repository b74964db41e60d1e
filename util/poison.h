/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory of our own pools that nobody may touch now: AddressSanitizer reports who does, as it would
 * for malloc()'s. Without it these do nothing.
 */
#ifndef NVMETD_UTIL_POISON_H
#define NVMETD_UTIL_POISON_H

#include <stddef.h>

#include "util/sanitize.h"

#if SANITIZE_ADDRESS
#include <sanitizer/asan_interface.h>
#define memory_poison(at, len)   __asan_poison_memory_region(at, len)
#define memory_unpoison(at, len) __asan_unpoison_memory_region(at, len)
#else
static inline void memory_poison(const volatile void *at, size_t len)
{
	(void)at;
	(void)len;
}
static inline void memory_unpoison(const volatile void *at, size_t len)
{
	(void)at;
	(void)len;
}
#endif

#endif
