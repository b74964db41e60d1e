/* SPDX-License-Identifier: BSD-3-Clause */
/* Numbers as they are written; see conf_numbers.h. The files are well-formed: libconfig has read
 * them. */
#include "config/conf_numbers.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct text {
	FILE *file;
	unsigned line;
};

static int take(struct text *text)
{
	int c = getc(text->file);

	text->line += c == '\n';
	return c;
}

static int peek(struct text *text)
{
	return ungetc(getc(text->file), text->file);
}

static void skip_line(struct text *text)
{
	for (int c = take(text); c != EOF && c != '\n';)
		c = take(text);
}

static void skip_comment(struct text *text)
{
	for (int c = take(text), before = 0; c != EOF && !(before == '*' && c == '/');) {
		before = c;
		c = take(text);
	}
}

static void skip_string(struct text *text)
{
	for (int c = take(text); c != EOF && c != '"'; c = take(text)) {
		if (c == '\\')
			take(text);
	}
}

/* A name, true or false, or a number. The longest number is cut off; it is too large as it is. */
static void take_word(struct text *text, char *word, size_t size)
{
	size_t len = 1;

	for (int c = peek(text); c != EOF && (isalnum(c) || strchr("_*-+.", c)); c = peek(text)) {
		if (len < size - 1)
			word[len++] = (char)c;
		take(text);
	}
	word[len] = '\0';
}

/* Not one with an L or a point behind its digits. */
static bool is_cut(const char *number)
{
	long long value;
	char *end;

	errno = 0;
	value = strtoll(number, &end, number[0] == '0' && (number[1] | 0x20) == 'x' ? 16 : 10);
	return *end == '\0' && (errno == ERANGE || value > INT_MAX || value < INT_MIN);
}

/* True: the text is at the next number that is cut. */
static bool find_cut(struct text *text, char *word, size_t size)
{
	for (int c = take(text); c != EOF; c = take(text)) {
		int next = peek(text);

		word[0] = (char)c;
		if (c == '#' || (c == '/' && next == '/')) {
			skip_line(text);
		} else if (c == '/' && next == '*') {
			take(text);
			skip_comment(text);
		} else if (c == '"') {
			skip_string(text);
		} else if (isalpha(c) || c == '*') {
			take_word(text, word, size);
		} else if (isdigit(c) || c == '-' || c == '+') {
			take_word(text, word, size);
			if (is_cut(word))
				return true;
		}
	}
	return false;
}

static int check_file(const struct conf_reader *reader, const char *path)
{
	struct text text = { .file = fopen(path, "re"), .line = 1 };
	char word[64];
	bool cut;

	if (!text.file) {
		snprintf(reader->err, reader->err_size, "%s: %s", path, strerror(errno));
		return -EINVAL;
	}
	cut = find_cut(&text, word, sizeof(word));
	fclose(text.file);
	if (cut)
		snprintf(reader->err, reader->err_size,
			 "%s:%u: %s: expected a number of 32 bits, or one with an L behind it",
			 path, text.line, word);
	return cut ? -EINVAL : 0;
}

/* *checked: the file that the setting before this one was in. */
static int check_below(const struct conf_reader *reader, const config_setting_t *setting,
		       const char **checked)
{
	const char *file = config_setting_source_file(setting);
	int err = 0;

	if (!file)
		file = reader->path;
	if (!*checked || strcmp(file, *checked) != 0)
		err = check_file(reader, file);
	*checked = file;
	for (int i = 0; !err && i < config_setting_length(setting); i++)
		err = check_below(reader, config_setting_get_elem(setting, (unsigned)i), checked);
	return err;
}

int conf_check_numbers(const struct conf_reader *reader, const config_setting_t *root)
{
	const char *checked = NULL;

	return check_below(reader, root, &checked);
}
