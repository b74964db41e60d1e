/* SPDX-License-Identifier: BSD-3-Clause */
/* What is logged, as text; see logged.h. */
#include "tests/unit/logged.h"

#include <unistd.h>

#include "tests/unit/unit.h"

static int before, ends[2];

void logged_begin(void)
{
	before = dup(STDERR_FILENO);
	assert_int_equal(pipe(ends), 0);
	dup2(ends[1], STDERR_FILENO);
	close(ends[1]);
}

void logged_end(char *text, size_t size)
{
	ssize_t len;

	dup2(before, STDERR_FILENO); /* the pipe has no writer any more: reading ends */
	close(before);
	len = read(ends[0], text, size - 1);
	close(ends[0]);
	assert_true(len >= 0);
	text[len] = '\0';
}
