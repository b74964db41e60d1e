/* SPDX-License-Identifier: BSD-3-Clause */
/* Files with keys; see key_file.h. */
#include "security/key_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX 4096

/* A credential's name → its path. */
static int find(const char *name, char path[PATH_MAX])
{
	const char *folder = strchr(name, '/') ? "" : getenv("CREDENTIALS_DIRECTORY");
	int n;

	if (!folder)
		return -ENOENT;
	n = snprintf(path, PATH_MAX, "%s%s%s", folder, folder[0] ? "/" : "", name);
	return n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* NULL: only we, root, and a group that may read it can see it. */
static const char *why_unsafe(const struct stat *st)
{
	if (!S_ISREG(st->st_mode))
		return "it is no regular file";
	if (st->st_uid != 0 && st->st_uid != geteuid())
		return "it belongs to another user: chown root";
	if (st->st_mode & (S_IRWXO | S_IWGRP))
		return "others may read or change it: chmod 0600 (or 0640)";
	if (st->st_size >= FILE_MAX)
		return "it is too long for a file with keys";
	return NULL;
}

static int read_text(const char *name, char text[FILE_MAX], char *err, size_t err_size)
{
	char path[PATH_MAX];
	const char *why;
	struct stat st;
	ssize_t n;
	int fd, result = find(name, path);

	text[0] = '\0';
	if (result) {
		snprintf(err, err_size, "%s: a name without / is a systemd credential: %s", name,
			 result == -ENOENT ? "there are none ($CREDENTIALS_DIRECTORY is not set)"
					   : "too long");
		return result;
	}
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0) {
		result = -errno;
		snprintf(err, err_size, "%s: %s%s", path, strerror(-result),
			 result == -EACCES
				 ? " (chgrp to the daemon's group, chmod 0640; and its folder)"
				 : "");
		if (fd >= 0)
			close(fd);
		return result;
	}
	why = why_unsafe(&st);
	n = why ? 0 : read(fd, text, FILE_MAX - 1);
	if (why)
		result = -EPERM;
	else if (n < 0)
		result = -errno;
	close(fd);
	if (result)
		snprintf(err, err_size, "%s: %s", path, why ? why : strerror(-result));
	else
		text[n] = '\0';
	return result;
}

/* The next line, NUL-terminated, without blanks at its end; NULL: there is none. */
static char *next_line(char **at)
{
	char *line = *at, *end;

	if (!*line)
		return NULL;
	end = line + strcspn(line, "\n");
	*at = *end ? end + 1 : end;
	*end = '\0';
	while (end > line && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r'))
		*--end = '\0';
	return line;
}

static int parse(const char *name, char *text, enum key_kind kind, struct key_set *set, char *err,
		 size_t err_size)
{
	unsigned number = 0;
	const char *why;
	char *line;

	while ((line = next_line(&text)) != NULL) {
		number++;
		if (!line[0] || line[0] == '#')
			continue;
		if (set->n == KEY_SET_MAX)
			why = "more keys than one needs to change them";
		else if (key_parse(kind, line, &set->keys[set->n], &why) == 0) {
			set->n++;
			continue;
		}
		snprintf(err, err_size, "%s:%u: %s", name, number, why);
		return -EINVAL;
	}
	if (set->n)
		return 0;
	snprintf(err, err_size, "%s: there is no key in it", name);
	return -EINVAL;
}

int key_file_read(const char *path, enum key_kind kind, struct key_set *ret_set, char *err,
		  size_t err_size)
{
	struct key_set set = { .n = 0 };
	char text[FILE_MAX];
	int result = read_text(path, text, err, err_size);

	if (!result)
		result = parse(path, text, kind, &set, err, err_size);
	if (!result)
		*ret_set = set;
	secret_wipe(text, sizeof(text));
	secret_wipe(&set, sizeof(set));
	return result;
}
