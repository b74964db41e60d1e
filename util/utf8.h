/* SPDX-License-Identifier: BSD-3-Clause */
/* UTF-8 (RFC 3629) as NQNs have it and as a terminal may be shown it. Pure. */
#ifndef NVMETD_UTIL_UTF8_H
#define NVMETD_UTIL_UTF8_H

#include <stddef.h>

/*
 * Bytes of the character at `text`, of which `len` bytes are there: 1 to 4. 0 for what is none, or
 * one that must not be shown: overlong forms, surrogates, beyond U+10FFFF, control characters (C0,
 * DEL, C1, ends of line and paragraph, and those that turn the direction of a text).
 */
size_t utf8_char(const char *text, size_t len);

#endif
