/* SPDX-License-Identifier: BSD-3-Clause */
/* Numbers as they are written, in text that libconfig has read; see conf_numbers.h. */
#include "config/conf_numbers.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/conf_text.h"

struct text {
	const char *at; /* ends with a NUL */
	unsigned line;
};

static int peek(const struct text *text)
{
	return *text->at ? (unsigned char)*text->at : EOF;
}

static int take(struct text *text)
{
	int c = peek(text);

	text->at += c != EOF;
	text->line += c == '\n';
	return c;
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

/* What there is of a number is one zero, behind a sign or 0x. */
static bool is_zero(const char *number, size_t len)
{
	size_t at = number[0] == '-' || number[0] == '+';

	if (len - at > 2 && number[at] == '0' && (number[at + 1] | 0x20) == 'x')
		at += 2;
	return len - at == 1 && number[at] == '0';
}

/* A name, true or false, or a number, without the zeros before it. The longest number is cut off;
 * it is too large as it is. */
static void take_word(struct text *text, char *word, size_t size)
{
	size_t len = 1;

	for (int c = peek(text); c != EOF && (isalnum(c) || strchr("_*-+.", c)); c = peek(text)) {
		if (is_zero(word, len) && isxdigit(c))
			len--;
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

static int check_text(const struct conf_reader *reader, const char *path, const char *content)
{
	struct text text = { .at = content, .line = 1 };
	char word[64];

	if (!find_cut(&text, word, sizeof(word)))
		return 0;
	snprintf(reader->err, reader->err_size,
		 "%s:%u: %s: expected a number from %d to %d: beyond, it needs an L behind it",
		 path, text.line, word, INT_MIN, INT_MAX);
	return -EINVAL;
}

static int check_included(const struct conf_reader *reader, const char *path)
{
	char *text;
	int err = conf_text_read_again(reader, path, &text);

	if (err)
		return err;
	err = check_text(reader, path, text);
	free(text);
	return err;
}

/* *checked: the file that the setting before this one was in; NULL: the one that includes. */
static int check_below(const struct conf_reader *reader, const config_setting_t *setting,
		       const char **checked)
{
	const char *file = config_setting_source_file(setting);
	int err = 0;

	if (file && (!*checked || strcmp(file, *checked) != 0))
		err = check_included(reader, file);
	*checked = file;
	for (int i = 0; !err && i < config_setting_length(setting); i++)
		err = check_below(reader, config_setting_get_elem(setting, (unsigned)i), checked);
	return err;
}

int conf_check_numbers(const struct conf_reader *reader, const char *text,
		       const config_setting_t *root)
{
	const char *checked = NULL;
	int err = check_text(reader, reader->path, text);

	return err ? err : check_below(reader, root, &checked);
}
