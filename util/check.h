/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Assertions that stay in release builds, and compile-time checks of wire structures.
 *
 * must() is for our own invariants only, never for anything a host, an SSD or an operator can
 * cause: those get a status, a TermReq or a message.
 */
#ifndef NVMETD_UTIL_CHECK_H
#define NVMETD_UTIL_CHECK_H

#include <stddef.h>
#include <stdint.h>

/* Logs the broken invariant with its place and aborts. */
__attribute__((noreturn, cold)) void must_fail(const char *file, int line, const char *what);

#define must(cond) (__builtin_expect(!(cond), 0) ? must_fail(__FILE__, __LINE__, #cond) : (void)0)

/* Size and offset of a wire structure, written right under it: a size alone does not
 * see padding. */
#define WIRE_SIZE(type, size) \
	_Static_assert(sizeof(type) == (size), "size of " #type " differs from the specification")
#define WIRE_AT(type, field, off)                      \
	_Static_assert(offsetof(type, field) == (off), \
		       "offset of " #type "." #field " differs from the specification")

#define ARRAY_SIZE(a)                   (sizeof(a) / sizeof((a)[0]))

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#endif
