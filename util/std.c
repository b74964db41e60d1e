/* SPDX-License-Identifier: BSD-3-Clause */
/* The three standard descriptors; see std.h. */
#include "util/std.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int why; /* standard output failed: errno */

int std_open(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) >= 0)
			continue;
		/* The lowest one that is free is this one: open() takes it. */
		if (open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0)
			return -errno;
	}
	return 0;
}

int std_flush(void)
{
	if (fflush(stdout) != 0 && !why)
		why = errno;
	return -why;
}

int std_close(const char *program, int status)
{
	bool failed = std_flush() != 0 || ferror(stdout);

	if (fclose(stdout) == 0 && !failed)
		return status;
	fprintf(stderr, "%s: standard output: %s\n", program,
		why ? strerror(why) : "not all could be written");
	return status ? status : 1;
}
