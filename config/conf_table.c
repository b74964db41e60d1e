/* SPDX-License-Identifier: BSD-3-Clause */
/* Values and tables of keys; see conf_table.h. */
#include "config/conf_table.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "util/log.h"
#include "util/num.h"

int conf_fail(const struct conf_reader *reader, const config_setting_t *at, const char *fmt, ...)
{
	const char *file = config_setting_source_file(at); /* of an @include, another one */
	unsigned line = config_setting_source_line(at);    /* 0: all of it */
	int n = snprintf(reader->err, reader->err_size, "%s:%u: ", file ? file : reader->path,
			 line ? line : 1);
	va_list args;

	va_start(args, fmt);
	if (n >= 0 && (size_t)n < reader->err_size)
		vsnprintf(reader->err + n, reader->err_size - (size_t)n, fmt, args);
	va_end(args);
	return -EINVAL;
}

/* --- Values ----------------------------------------------------------------------------------- */

static bool is_integer(const config_setting_t *setting)
{
	int type = config_setting_type(setting);

	return type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64;
}

int conf_read_uint(const struct conf_reader *reader, const config_setting_t *setting,
		   const struct conf_key *key, unsigned *to)
{
	long long value = config_setting_get_int64(setting);

	if (!is_integer(setting) || value < (long long)key->min || value > (long long)key->max)
		return conf_fail(reader, setting, "%s: expected a number from %llu to %llu",
				 key->name, (unsigned long long)key->min,
				 (unsigned long long)key->max);
	*to = (unsigned)value;
	return 0;
}

static int read_size(const struct conf_reader *reader, const config_setting_t *setting,
		     const struct conf_key *key, size_t *to)
{
	const char *text = config_setting_get_string(setting);
	char min[NUM_TEXT_SIZE], max[NUM_TEXT_SIZE];
	uint64_t value;

	if (!text || num_parse_size(text, key->min, key->max, &value)) {
		num_format_size(key->min, min);
		num_format_size(key->max, max);
		return conf_fail(reader, setting, "%s: expected a size from \"%s\" to \"%s\"",
				 key->name, min, max);
	}
	*to = value;
	return 0;
}

static int read_duration(const struct conf_reader *reader, const config_setting_t *setting,
			 const struct conf_key *key, unsigned *to)
{
	const char *text = config_setting_get_string(setting);
	char min[NUM_TEXT_SIZE], max[NUM_TEXT_SIZE];
	uint64_t value;

	if (!text || num_parse_duration_ms(text, key->min, key->max, &value)) {
		num_format_duration_ms(key->min, min);
		num_format_duration_ms(key->max, max);
		return conf_fail(reader, setting, "%s: expected a time from \"%s\" to \"%s\"",
				 key->name, min, max);
	}
	*to = (unsigned)value;
	return 0;
}

static int read_text(const struct conf_reader *reader, const config_setting_t *setting,
		     const struct conf_key *key, char *to)
{
	const char *text = config_setting_get_string(setting);

	if (!text || strlen(text) < key->min || strlen(text) > key->max)
		return conf_fail(reader, setting, "%s: expected a text of %llu to %llu characters",
				 key->name, (unsigned long long)key->min,
				 (unsigned long long)key->max);
	memcpy(to, text, strlen(text) + 1);
	return 0;
}

/* What Identify shows as a string (Base 1.4.2): printable ASCII. */
static int read_ascii(const struct conf_reader *reader, const config_setting_t *setting,
		      const struct conf_key *key, char *to)
{
	const char *text = config_setting_get_string(setting);

	for (const char *c = text ? text : ""; *c; c++) {
		if (*c < 0x20 || *c > 0x7e)
			return conf_fail(reader, setting, "%s: expected printable ASCII characters",
					 key->name);
	}
	return read_text(reader, setting, key, to);
}

static int read_key(const struct conf_reader *reader, const config_setting_t *setting,
		    const struct conf_key *key, void *base)
{
	void *field = (char *)base + key->offset;
	const char *text = config_setting_get_string(setting);

	switch (key->type) {
	case CONF_UINT:
		return conf_read_uint(reader, setting, key, field);
	case CONF_SIZE:
		return read_size(reader, setting, key, field);
	case CONF_DURATION:
		return read_duration(reader, setting, key, field);
	case CONF_TEXT:
		return read_text(reader, setting, key, field);
	case CONF_ASCII:
		return read_ascii(reader, setting, key, field);
	case CONF_BOOL:
		if (config_setting_type(setting) != CONFIG_TYPE_BOOL)
			return conf_fail(reader, setting, "%s: expected true or false", key->name);
		*(bool *)field = config_setting_get_bool(setting);
		return 0;
	case CONF_LEVEL:
		if (!text || log_level_parse(text, field))
			return conf_fail(
				reader, setting,
				"%s: expected \"error\", \"warning\", \"info\" or \"debug\"",
				key->name);
		return 0;
	case CONF_GROUP:
		return key->group(reader, setting, field);
	}
	return -EINVAL;
}

static int fail_unknown(const struct conf_reader *reader, const config_setting_t *setting,
			const struct conf_key *keys, size_t n_keys)
{
	char known[512] = "";
	size_t len = 0;

	for (size_t i = 0; i < n_keys && len < sizeof(known); i++)
		len += (size_t)snprintf(known + len, sizeof(known) - len, "%s%s", i ? ", " : "",
					keys[i].name);
	return conf_fail(reader, setting, "%s: there is no such key here, but %s",
			 config_setting_name(setting), known);
}

/* What to call it: an element of a list has no name of its own. */
static const char *name_of(const config_setting_t *setting)
{
	const char *name = config_setting_name(setting);

	return name ? name : config_setting_name(config_setting_parent(setting));
}

/* Every key of the group must be in the table. */
int conf_read_group(const struct conf_reader *reader, const config_setting_t *group,
		    const struct conf_key *keys, size_t n_keys, void *base)
{
	if (!config_setting_is_group(group))
		return conf_fail(reader, group, "%s: expected a group: { key = value; … }",
				 name_of(group));
	for (int i = 0; i < config_setting_length(group); i++) {
		const config_setting_t *setting = config_setting_get_elem(group, (unsigned)i);
		const char *name = config_setting_name(setting);
		size_t k = 0;
		int err;

		while (k < n_keys && strcmp(keys[k].name, name) != 0)
			k++;
		if (k == n_keys)
			return fail_unknown(reader, setting, keys, n_keys);
		err = read_key(reader, setting, &keys[k], base);
		if (err)
			return err;
	}
	return 0;
}

int conf_need_list(const struct conf_reader *reader, const config_setting_t *setting)
{
	if (config_setting_is_list(setting) || config_setting_is_array(setting))
		return 0;
	return conf_fail(reader, setting, "%s: expected a list: ( …, … )",
			 config_setting_name(setting));
}

int conf_need(const struct conf_reader *reader, const config_setting_t *group, const char *name)
{
	if (config_setting_get_member(group, name))
		return 0;
	return conf_fail(reader, group, "%s is missing", name);
}
