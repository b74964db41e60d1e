/* SPDX-License-Identifier: BSD-3-Clause */
/* A file's text; see conf_text.h. */
#include "config/conf_text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int fail(const struct conf_reader *reader, const char *path, const char *why)
{
	snprintf(reader->err, reader->err_size, "%s: %s", path, why);
	return -EINVAL;
}

/* NULL with errno. */
static char *read_all(FILE *file, ssize_t *ret_len)
{
	char *text = NULL;
	size_t size = 0;

	*ret_len = getdelim(&text, &size, '\0', file); /* it goes on to the end, or to a NUL */
	if (*ret_len >= 0)
		return text;
	free(text);
	*ret_len = 0;
	return feof(file) ? strdup("") : NULL;
}

/* Takes over the file descriptor. */
static int read_fd(const struct conf_reader *reader, const char *path, int fd, char **ret_text)
{
	FILE *file = fdopen(fd, "r");
	char *text;
	ssize_t len;
	int err = 0;

	if (!file) {
		err = fail(reader, path, strerror(errno));
		close(fd);
		return err;
	}
	text = read_all(file, &len);
	if (!text)
		err = fail(reader, path, strerror(errno));
	else if ((size_t)len != strlen(text))
		err = fail(reader, path, "it is no text: there is a NUL in it");
	fclose(file);
	if (err)
		free(text);
	else
		*ret_text = text;
	return err;
}

int conf_text_read(const struct conf_reader *reader, char **ret_text)
{
	int fd = open(reader->path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return fail(reader, reader->path, strerror(errno));
	return read_fd(reader, reader->path, fd, ret_text);
}

int conf_text_read_again(const struct conf_reader *reader, const char *path, char **ret_text)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO would wait for a writer */
	struct stat st;

	if (fd < 0)
		return fail(reader, path, strerror(errno));
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return fail(reader, path, "what is included must be a regular file");
	}
	return read_fd(reader, path, fd, ret_text);
}
