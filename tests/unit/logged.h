/* SPDX-License-Identifier: BSD-3-Clause */
/* What a test's own thread logs, as text; at most what a pipe holds (64 KiB). */
#ifndef NVMETD_TESTS_LOGGED_H
#define NVMETD_TESTS_LOGGED_H

#include <stddef.h>

/* From here on standard error is kept … */
void logged_begin(void);
/* … to here: the first bytes of it, NUL-terminated. */
void logged_end(char *text, size_t size);

#endif
