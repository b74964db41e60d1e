/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A file with keys: one a line, as key.h has them; empty lines and lines that begin with # do not
 * count. More than one key is for rotation: each of them is valid, the first is the newest.
 *
 * The file must be one that nobody else can read or change: a regular file of root or of the user
 * that the process has, without any permission for others and without write permission for its
 * group. A name without a slash is a systemd credential ($CREDENTIALS_DIRECTORY).
 */
#ifndef NVMETD_SECURITY_KEY_FILE_H
#define NVMETD_SECURITY_KEY_FILE_H

#include "security/key.h"

#define KEY_SET_MAX 4

/* Who gets a copy wipes it. */
struct key_set {
	struct secret keys[KEY_SET_MAX];
	unsigned n;
};

/* Reads a file. 0, or -errno with "path:line: what is wrong" in err, which quotes no secret. */
int key_file_read(const char *path, enum key_kind kind, struct key_set *ret_set, char *err,
		  size_t err_size);

#endif
