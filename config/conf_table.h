/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A group of a configuration file (libconfig's tree) as a table of keys, each with its type, its
 * bounds and the field that its value goes to. A key that is in no table, of another type or out of
 * its bounds is an error.
 *
 * Every function gives 0, or -EINVAL with one line in the reader's err: "file:line: what is wrong:
 * what was expected".
 */
#ifndef NVMETD_CONFIG_CONF_TABLE_H
#define NVMETD_CONFIG_CONF_TABLE_H

#include <libconfig.h>
#include <stddef.h>
#include <stdint.h>

struct conf;

struct conf_reader {
	struct conf *conf; /* what is being filled */
	const char *path;
	char *err;
	size_t err_size;
};

enum conf_key_type {
	CONF_UINT,     /* unsigned */
	CONF_SIZE,     /* size_t: bytes */
	CONF_DURATION, /* unsigned: ms */
	CONF_TEXT,     /* char[max + 1] */
	CONF_ASCII,    /* the same, printable (Base 1.4.2) */
	CONF_BOOL,     /* bool */
	CONF_LEVEL,    /* enum log_level */
	CONF_GROUP,    /* whatever `group` makes of it */
};

struct conf_key {
	const char *name;
	enum conf_key_type type;
	size_t offset;     /* of the field, in what conf_read_group() fills */
	uint64_t min, max; /* of the value, or of the length of a text */
	int (*group)(const struct conf_reader *reader, const config_setting_t *setting,
		     void *field);
};

/* Writes err, with the file and line of `at`. -EINVAL. */
__attribute__((format(printf, 3, 4))) int
conf_fail(const struct conf_reader *reader, const config_setting_t *at, const char *fmt, ...);
/* Fills the fields of `base` that the group names; others stay as they are. */
int conf_read_group(const struct conf_reader *reader, const config_setting_t *group,
		    const struct conf_key *keys, size_t n_keys, void *base);
/* One number, with the name and bounds of `key`. */
int conf_read_uint(const struct conf_reader *reader, const config_setting_t *setting,
		   const struct conf_key *key, unsigned *to);
/* The setting must be a list or an array; the group must have a member of this name. */
int conf_need_list(const struct conf_reader *reader, const config_setting_t *setting);
int conf_need(const struct conf_reader *reader, const config_setting_t *group, const char *name);

#endif
