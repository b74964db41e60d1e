/* SPDX-License-Identifier: BSD-3-Clause */
/* cmocka, behind the headers that it wants before it. */
#ifndef NVMETD_TESTS_UNIT_H
#define NVMETD_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Leaves the rest of a test out, and says why: tests/check.py tells it. */
#define skip_because(why)                            \
	do {                                         \
		print_message("skipped: %s\n", why); \
		skip();                              \
	} while (0)

#endif
